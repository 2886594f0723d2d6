"""The members of one output, ack or alert action, made by a compiled entry. What fails says which
member."""

from typing import Any, Final, NoReturn

from processors.intake.compiled import (
    CompiledAck,
    CompiledAlert,
    CompiledEntry,
    CompiledHandoff,
    CompiledLink,
    CompiledSource,
    MadeMember,
)
from processors.intake.expressions import Condition
from processors.intake.scope import Scope
from processors.intake.times import time_ms
from processors.intake.values import free_text, kind_of, name_text
from schemas.alerts import ACTIONS
from schemas.flow import Record, Refused
from schemas.records import MAX_NAME_BYTES, MAX_REASON_BYTES
from schemas.sources import ACK_STATUSES, ALERT_ACTIONS

TOOL_OUTPUTS: Final = "handoff.tool-outputs"
ACKS: Final = "handoff.acks"
MAX_TASKS: Final = 16  # that one output names
_SHORT: Final = MAX_NAME_BYTES // 4  # characters that never are more bytes


def place(error: Refused, where: str) -> None:
    """Say where it was, before what it says."""
    error.reword(f"{where}: {error.message}")


def made(
    source: CompiledSource, entry: CompiledEntry, scope: Scope, element: int
) -> tuple[str, dict[str, Any]]:
    """Topic and members of what an entry makes; `element` counts from 1, 0 without `each`.

    Raises `Refused`, and `LeftOut` where a look-up says so.
    """
    shared = _shared(entry, scope)
    for which in entry.needed:
        if shared.get(which) is None:
            _missing(entry, which)
    told = _id(source, entry, shared, scope.record, element)
    when = _occurred_at(entry, scope)
    if entry.alert is not None:
        return ACTIONS, _alert(entry.alert, scope, told, when)
    if entry.ack is not None:
        return ACKS, _ack(entry.ack, scope, shared, told, when)
    return TOOL_OUTPUTS, _tool_output(entry, scope, shared, told, when)


def _shared(entry: CompiledEntry, scope: Scope) -> dict[str, str | None]:
    """The members that are names. Raises `Refused`."""
    shared = entry.fixed.copy()
    member: MadeMember | None = None
    try:
        for which, member in entry.names:
            text = member.make(scope)
            if type(text) is not str or not 0 < len(text) <= _SHORT or text.isspace():
                text = _name(text)
            shared[which] = text
    except Refused as error:
        place(error, member.path if member is not None else entry.path)
        raise
    return shared


def value(member: MadeMember, scope: Scope) -> Any:
    """A member's value. Raises `Refused`."""
    try:
        return member.make(scope)
    except Refused as error:
        place(error, member.path)
        raise


def name(member: MadeMember, scope: Scope) -> str | None:
    """A member that is a name: text of at most 512 bytes."""
    try:
        return _name(member.make(scope))
    except Refused as error:
        place(error, member.path)
        raise


def _name(value: Any) -> str | None:
    text = name_text(value)
    if text is not None and len(text) > _SHORT:
        _check_length(text, MAX_NAME_BYTES)
    return text


def moment(member: MadeMember, scope: Scope, unit: str | None) -> int | None:
    """A member that is a time, epoch ms; None where it leads to nothing. Raises `Refused`."""
    try:
        found = member.make(scope)
        return None if found is None else time_ms(found, unit)
    except Refused as error:
        place(error, member.path)
        raise


def _needed(member: MadeMember, scope: Scope) -> str:
    text = name(member, scope)
    if text is None:
        message = f"{member.path}: leads to nothing, and it must be there"
        raise Refused("member_missing", message)
    return text


def _check_length(text: str, most: int) -> None:
    length = len(text.encode())
    if length > most:
        raise Refused("member_too_long", f"has {length:,} bytes, the limit is {most:,}")


def _missing(entry: CompiledEntry, which: str) -> NoReturn:
    member = entry.members.get(which)
    path = member.path if member is not None else f"{entry.path}.{which}"
    raise Refused("member_missing", f"{path}: leads to nothing, and it must be there")


def _occurred_at(entry: CompiledEntry, scope: Scope) -> int:
    member = entry.members.get("occurred_at")
    found = None if member is None else moment(member, scope, entry.unit)
    if found is None:
        _missing(entry, "occurred_at")
    return found


def _id(
    source: CompiledSource,
    entry: CompiledEntry,
    shared: dict[str, str | None],
    record: Record,
    element: int,
) -> str:
    """The id: of the event, or else of the record, with the entry's number and the element's.

    It does not depend on what else the record leads to, so a changed `when` changes no other id.
    """
    member = entry.members.get("id")
    if member is None:
        base = f"{source.source.id}:{record.topic}:{record.partition}:{record.offset}"
    else:
        base = shared["id"] or ""
        if not base:
            _missing(entry, "id")
    if element and not entry.id_of_element:
        text = f"{base}#{entry.number}.{element}"
    elif entry.number == 1 and member is not None:
        return base
    else:
        text = base if entry.number == 1 else f"{base}#{entry.number}"
    try:
        _check_length(text, MAX_NAME_BYTES)
    except Refused as error:
        place(error, member.path if member is not None else f"{entry.path}.id")
        raise
    return text


def _ack(
    ack: CompiledAck, scope: Scope, shared: dict[str, str | None], told: str, when: int
) -> dict[str, Any]:
    status = _needed(ack.status, scope)
    if status not in ACK_STATUSES:
        raise Refused(
            "member_malformed",
            f"{ack.status.path}: is none of {', '.join(ACK_STATUSES)}; translate it with a look-up",
        )
    members: dict[str, Any] = {
        "id": told,
        "workflow": shared["workflow"],
        "task_id": shared["task"],
        "status": status,
        "by": _needed(ack.by, scope),
        "occurred_at": when,
    }
    if ack.reason is not None:
        try:
            reason = free_text(value(ack.reason, scope))
            _check_length(reason or "", MAX_REASON_BYTES)
        except Refused as error:
            if not error.message.startswith(ack.reason.path):
                place(error, ack.reason.path)
            raise
        if reason is not None:
            members["reason"] = reason
    if status == "rejected" and not members.get("reason"):
        path = (ack.reason or ack.status).path
        message = f"{path}: what is rejected needs a reason, and there is none; say ack.reason"
        raise Refused("member_missing", message)
    if ack.receiver is not None and (receiver := name(ack.receiver, scope)) is not None:
        members["receiver"] = receiver
    return members


def _alert(alert: CompiledAlert, scope: Scope, told: str, when: int) -> dict[str, Any]:
    action = _needed(alert.action, scope)
    if action not in ALERT_ACTIONS:
        raise Refused(
            "member_malformed",
            f"{alert.action.path}: is none of {', '.join(ALERT_ACTIONS)}; translate it with a "
            "look-up",
        )
    return {
        "id": told,
        "key": _needed(alert.key, scope),
        "action": action,
        "by": _needed(alert.by, scope),
        "occurred_at": when,
    }


def _tool_output(
    entry: CompiledEntry, scope: Scope, shared: dict[str, str | None], told: str, when: int
) -> dict[str, Any]:
    members: dict[str, Any] = {
        "id": told,
        "task_id": shared["task"],
        "workflow": shared["workflow"],
        "tool": shared["tool"],
        "occurred_at": when,
    }
    for which in entry.told:
        text = shared[which]
        if text is not None:
            members[which] = text
        elif which == "stage":
            _missing(entry, which)
    if entry.accepts is not True and not _accepts(entry.accepts, entry, scope):
        members["accepts"] = False
    context = _context(entry, scope)
    if context:
        members["context"] = context
    if entry.retracted:
        members["retracted"] = entry.retracted
    if entry.handoffs:
        asked = [_handoff(each, scope) for each in entry.handoffs]
        members["handoff"] = asked if len(asked) > 1 else asked[0]
    for link in entry.links:
        tasks = _tasks(link, scope)
        if tasks:
            members[link.which] = tasks
    return members


def _accepts(accepts: bool | Condition, entry: CompiledEntry, scope: Scope) -> bool:
    try:
        return accepts if isinstance(accepts, bool) else accepts(scope)
    except Refused as error:
        place(error, f"{entry.path}.accepts")
        raise


def _tasks(link: CompiledLink, scope: Scope) -> list[dict[str, Any]]:
    """Other tasks, as an output names them; of what leads to nothing none."""
    found = value(link.tasks, scope)
    path = link.tasks.path
    listed = found if isinstance(found, list) else [found]
    if len(listed) > MAX_TASKS:
        message = f"{path}: leads to {len(listed):,} tasks, and {MAX_TASKS} may be named"
        raise Refused("member_malformed", message)
    tasks = []
    for each in listed:
        try:
            text = name_text(each)
            _check_length(text or "", MAX_NAME_BYTES)
        except Refused as error:
            place(error, path)
            raise
        if text:
            of = {} if link.workflow is None else {"workflow": link.workflow}
            tasks.append({"task_id": text, **of})
    return tasks


def _context(entry: CompiledEntry, scope: Scope) -> dict[str, Any]:
    context: dict[str, Any] = {}
    member = "*"
    try:
        if entry.spread is not None:
            spread = entry.spread(scope)
            if spread is not None and type(spread) is not dict:
                raise Refused("member_malformed", f"is {kind_of(spread)}, not an object")
            for each, found in (spread or {}).items():
                if found is not None and each not in entry.without:
                    context[each] = found
        for member, make in entry.context:
            found = make(scope)
            if found is not None:
                context[member] = found
    except Refused as error:
        place(error, f"{entry.path}.context.{member}")
        raise
    return context


def _handoff(handoff: CompiledHandoff, scope: Scope) -> dict[str, Any]:
    asked: dict[str, Any] = {"to": _needed(handoff.to, scope)}
    for which, member in handoff.optional:
        if which == "note":
            try:
                text = free_text(member.make(scope))
            except Refused as error:
                place(error, member.path)
                raise
        else:
            text = name(member, scope)
        if text is not None:
            asked[which] = text
    if handoff.carries != "context":
        asked["carries"] = handoff.carries
    return asked
