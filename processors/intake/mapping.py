"""From a foreign record to tool outputs and acks: a pure function of source and record."""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from processors.intake.compiled import (
    SHARED,
    CompiledAck,
    CompiledEntry,
    CompiledSource,
    MadeMember,
    compile_source,
)
from processors.intake.decoders import OUTPUT_DECODERS, VALUE_DECODERS
from processors.intake.expressions import LeftOut
from processors.intake.mapped import Decoded, MappedRecord, Skipped, Traced
from processors.intake.scope import Scope
from processors.intake.times import time_ms
from processors.intake.values import free_text, kind_of, name_text
from schemas.flow import Headers, Output, Record, Refused
from schemas.records import MAX_NAME_BYTES, MAX_REASON_BYTES
from schemas.serde import BACKFILL_HEADER
from schemas.sources import ACK_STATUSES

TOOL_OUTPUTS: Final = "handoff.tool-outputs"
ACKS: Final = "handoff.acks"
# What one record may lead to: a list of more elements is a file, and no event.
MAX_OUTPUTS: Final = 1_000
# What integrity takes by default, and well below what Kafka does.
MAX_OUTPUT_BYTES: Final = 1 << 20
_encode = msgspec.json.Encoder(decimal_format="number").encode
_REQUIRED: Final = ("task", "workflow", "tool")


def map_record(source: CompiledSource, record: Record, now: int) -> MappedRecord:
    """What a record of a foreign topic becomes. `record.topic` is the name on the cluster; `now`
    is epoch ms. Never raises for any bytes; the same record gives the same bytes."""
    mapped = MappedRecord([], lookup_misses=[])
    try:
        if source.decoder in VALUE_DECODERS:
            _take_value(source, record, mapped)
        else:
            _take_outputs(source, record, mapped)
    except Refused as error:
        _place(error, f"source {source.source.id}")
        return MappedRecord([], None, error, mapped.lookup_misses)
    except RecursionError:
        too_deep = Refused("not_json", f"source {source.source.id}: nests too deep to be mapped")
        return MappedRecord([], None, too_deep, mapped.lookup_misses)
    return mapped


def explain(source: CompiledSource, record: Record, now: int) -> tuple[MappedRecord, list[Traced]]:
    """The same, with every path and condition that was followed on the way, in order."""
    steps: list[Traced] = []
    told = compile_source(source.source, steps.append)
    return map_record(told, record, now), steps


def _place(error: Refused, where: str) -> None:
    """Say where it was, before what it says."""
    error.message = f"{where}: {error.message}"
    error.args = (error.message,)


def _take_value(source: CompiledSource, record: Record, mapped: MappedRecord) -> None:
    decoded = VALUE_DECODERS[source.decoder](record, source.options)
    if isinstance(decoded, Skipped):
        mapped.skipped = decoded
        return
    scope = Scope(record, decoded, source.lets, simple=source.simple and decoded.exact)
    mapped.lookup_misses = scope.misses
    try:
        holds = source.when is None or source.when(scope)
    except Refused as error:
        _place(error, "when")
        raise
    if not holds:
        mapped.skipped = Skipped("when_false", "the source's when does not hold")
        return
    headers = _headers(record, decoded)
    skipped = Skipped("no_entry", "no entry of emit has a when that holds")
    ids: set[tuple[str, str]] = set()
    for entry in source.entries:
        for made in _of_entry(source, entry, scope, record):
            if isinstance(made, Skipped):
                skipped = made
                continue
            topic, members = made
            identity = topic, members["id"]
            if identity in ids:
                raise Refused(
                    "id_repeated",
                    f"{entry.path}: two of its outputs have the same id; let the id tell the "
                    "elements apart",
                )
            ids.add(identity)
            if len(mapped.records) >= MAX_OUTPUTS:
                raise Refused(
                    "too_many_outputs",
                    f"{entry.path}: the record leads to more than {MAX_OUTPUTS:,} outputs; split "
                    "it before it comes here",
                )
            mapped.records.append(_output(entry.path, topic, members, headers))
    if not mapped.records:
        mapped.skipped = skipped


def _of_entry(
    source: CompiledSource, entry: CompiledEntry, scope: Scope, record: Record
) -> Iterator[tuple[str, dict[str, Any]] | Skipped]:
    """What an entry makes: topic and members of each output, or why there is none."""
    if entry.each is None:
        if _holds(entry, scope):
            yield _made(source, entry, scope, record, 0)
        return
    items = _elements(entry.each, scope)
    if not items:
        yield Skipped("no_element", f"{entry.path}.each leads to no element")
    for number, item in enumerate(items, start=1):
        scope.element(item)
        try:
            if _holds(entry, scope):
                yield _made(source, entry, scope, record, number)
        except Refused as error:
            error.message += f" (element {number})"
            error.args = (error.message,)
            raise


def _holds(entry: CompiledEntry, scope: Scope) -> bool:
    try:
        return entry.when is None or entry.when(scope)
    except Refused as error:
        _place(error, f"{entry.path}.when")
        raise


def _elements(each: MadeMember, scope: Scope) -> list[Any]:
    items = _value(each, scope)
    if items is None:
        return []
    if type(items) is not list:
        message = f"{each.path}: is {kind_of(items)}, not a list"
        raise Refused("member_malformed", message)
    if len(items) > MAX_OUTPUTS:
        raise Refused(
            "too_many_outputs",
            f"{each.path}: has {len(items):,} elements, the limit is {MAX_OUTPUTS:,}; split the "
            "record before it comes here",
        )
    return items


def _made(
    source: CompiledSource, entry: CompiledEntry, scope: Scope, record: Record, element: int
) -> tuple[str, dict[str, Any]] | Skipped:
    try:
        shared = {
            name: _name(member, scope)
            for name, member in entry.members.items()
            if name != "occurred_at"
        }
        for name in _REQUIRED:
            if shared.get(name) is None:
                _missing(entry, name)
        told = _id(source, entry, shared, record, element)
        when = _occurred_at(entry, scope)
        if entry.ack is not None:
            return ACKS, _ack(entry.ack, scope, shared, told, when)
        return TOOL_OUTPUTS, _tool_output(entry, scope, shared, told, when)
    except LeftOut:
        return Skipped("lookup_skipped", f"a look-up of {entry.path} has no such key")


# --- members ---------------------------------------------------------------------------------


def _value(member: MadeMember, scope: Scope) -> Any:
    try:
        return member.make(scope)
    except Refused as error:
        _place(error, member.path)
        raise


def _name(member: MadeMember, scope: Scope) -> str | None:
    """A member that is a name: text of at most 512 bytes."""
    try:
        text = name_text(member.make(scope))
        if text is not None and 4 * len(text) > MAX_NAME_BYTES:
            _check_length(text, MAX_NAME_BYTES)
    except Refused as error:
        _place(error, member.path)
        raise
    return text


def _needed(member: MadeMember, scope: Scope) -> str:
    text = _name(member, scope)
    if text is None:
        message = f"{member.path}: leads to nothing, and it must be there"
        raise Refused("member_missing", message)
    return text


def _check_length(text: str, most: int) -> None:
    length = len(text.encode())
    if length > most:
        raise Refused("member_too_long", f"has {length:,} bytes, the limit is {most:,}")


def _missing(entry: CompiledEntry, name: str) -> None:
    member = entry.members.get(name)
    path = member.path if member is not None else f"{entry.path}.{name}"
    raise Refused("member_missing", f"{path}: leads to nothing, and it must be there")


def _occurred_at(entry: CompiledEntry, scope: Scope) -> int:
    member = entry.members.get("occurred_at")
    value = None if member is None else _value(member, scope)
    if value is None:
        _missing(entry, "occurred_at")
    assert member is not None
    try:
        return time_ms(value, entry.unit)
    except Refused as error:
        _place(error, member.path)
        raise


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
    else:
        text = base if entry.number == 1 else f"{base}#{entry.number}"
    try:
        _check_length(text, MAX_NAME_BYTES)
    except Refused as error:
        _place(error, member.path if member is not None else f"{entry.path}.id")
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
            reason = free_text(_value(ack.reason, scope))
            _check_length(reason or "", MAX_REASON_BYTES)
        except Refused as error:
            if not error.message.startswith(ack.reason.path):
                _place(error, ack.reason.path)
            raise
        if reason is not None:
            members["reason"] = reason
    if status == "rejected" and not members.get("reason"):
        path = (ack.reason or ack.status).path
        message = f"{path}: what is rejected needs a reason, and there is none; say ack.reason"
        raise Refused("member_missing", message)
    if ack.receiver is not None and (receiver := _name(ack.receiver, scope)) is not None:
        members["receiver"] = receiver
    return members


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
    for name in ("stage", "team", "run"):
        if name in shared:
            text = shared[name]
            if text is not None:
                members[name] = text
            elif name == "stage":
                _missing(entry, name)
    accepts = entry.accepts
    if not isinstance(accepts, bool):
        try:
            accepts = accepts(scope)
        except Refused as error:
            _place(error, f"{entry.path}.accepts")
            raise
    if not accepts:
        members["accepts"] = False
    context = _context(entry, scope)
    if context:
        members["context"] = context
    if entry.retracted:
        members["retracted"] = entry.retracted
    if entry.handoffs:
        asked = [_handoff(each, scope) for each in entry.handoffs]
        members["handoff"] = asked if len(asked) > 1 else asked[0]
    return members


def _context(entry: CompiledEntry, scope: Scope) -> dict[str, Any]:
    context: dict[str, Any] = {}
    place = f"{entry.path}.context"
    try:
        if entry.spread is not None:
            place = f"{entry.path}.context.*"
            spread = entry.spread(scope)
            if spread is not None and type(spread) is not dict:
                raise Refused("member_malformed", f"is {kind_of(spread)}, not an object")
            for name, value in (spread or {}).items():
                if value is not None and name not in entry.without:
                    context[name] = value
        for name, make in entry.context:
            place = f"{entry.path}.context.{name}"
            value = make(scope)
            if value is not None:
                context[name] = value
    except Refused as error:
        _place(error, place)
        raise
    return context


def _handoff(handoff: Any, scope: Scope) -> dict[str, Any]:
    asked: dict[str, Any] = {"to": _needed(handoff.to, scope)}
    for name, member in handoff.optional:
        if name == "note":
            try:
                text = free_text(member.make(scope))
            except Refused as error:
                _place(error, member.path)
                raise
        else:
            text = _name(member, scope)
        if text is not None:
            asked[name] = text
    if handoff.carries != "context":
        asked["carries"] = handoff.carries
    return asked


# --- records ---------------------------------------------------------------------------------


def _headers(record: Record, decoded: Decoded) -> Headers:
    """The headers of all that follows from a record: the foreign trace goes on."""
    headers = [header for header in record.headers if header[0] == "traceparent"]
    if decoded.backfill:
        headers.append((BACKFILL_HEADER, b"1"))
    return headers


def _output(path: str, topic: str, members: dict[str, Any], headers: Headers) -> Output:
    value = _encode(members)
    if len(value) > MAX_OUTPUT_BYTES:
        raise Refused(
            "too_large",
            f"{path}: the output has {len(value):,} bytes, the limit is {MAX_OUTPUT_BYTES:,}; "
            "leave names out of the context (without)",
        )
    return Output(topic, members["task_id"].encode(), value, headers)


# --- outputs that a decoder made -------------------------------------------------------------


def _take_outputs(source: CompiledSource, record: Record, mapped: MappedRecord) -> None:
    """Outputs of a decoder, with the members that `override` replaces."""
    decode = OUTPUT_DECODERS.get(source.decoder)
    if decode is None:
        raise Refused(
            "not_decoded", f"the decoder {source.decoder} does not take single records here"
        )
    made = decode(record, source.options)
    if isinstance(made, Skipped):
        mapped.skipped = made
        return
    for output in made:
        decoded = Decoded(output.value, None, exact=False)
        members = override(source, record, decoded, output.members, mapped.lookup_misses)
        mapped.records.append(_output("decode", TOOL_OUTPUTS, members, _headers(record, decoded)))
    if not mapped.records:
        mapped.skipped = Skipped("no_entry", "the decoder found no output in it")


def override(
    source: CompiledSource,
    record: Record,
    decoded: Decoded,
    members: dict[str, Any],
    misses: list[tuple[str, str]],
) -> dict[str, Any]:
    """The members of an output that a decoder made, with those replaced that the source overrides.

    What leads to nothing replaces nothing. Raises `Refused`.
    """
    scope = Scope(record, decoded, source.lets, simple=False)
    scope.misses = misses
    found = dict(members)
    for name, member in source.override.items():
        if name == "occurred_at":
            value = _value(member, scope)
            if value is not None:
                found[name] = time_ms(value)
        elif (text := _name(member, scope)) is not None:
            found["task_id" if name == "task" else name] = text
    return found


assert set(_REQUIRED) < set(SHARED)
