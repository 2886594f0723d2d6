"""What receivers and people say of a handoff: acks and amendments."""

import msgspec

from processors.contracts import values
from processors.contracts.compiled import Contract
from processors.contracts.registry import RegistrySnapshot
from processors.integrity import reevaluate, sentences
from processors.integrity.context import carry
from processors.integrity.fields import well_formed
from processors.integrity.lifecycle import Handoffs
from processors.integrity.limits import Limits
from processors.integrity.publish import to
from processors.integrity.state import Closed, OpenHandoff, PackageField, Task
from processors.integrity.working import after_step, handoffs_of, heard_with, memory_of
from schemas.flow import Effect, InputEvent, Refused
from schemas.records import Ack, Amendment

AMENDMENT_TOOL = "amendment"  # the tool of a value that a person set


def take_reply(
    task: Task | None,
    said: Ack | Amendment,
    event: InputEvent,
    digest: bytes,
    tables: RegistrySnapshot,
    now: int,
    limits: Limits,
) -> tuple[Task | None, list[Effect]]:
    """What meets no task is answered too, and not remembered: anybody could name one."""
    known = task or Task(said.workflow, said.task_id)
    memory = memory_of(known, tables, limits)
    handoffs = handoffs_of(known, event, memory, tables=tables, now=now, limits=limits)
    _take(handoffs, said, event)
    handoffs.trim()
    if task is None:
        return None, handoffs.outbox.effects()
    following = after_step(handoffs)
    following.heard = heard_with(task, digest)
    following.last_input_at = now
    return following, handoffs.outbox.effects()


def _take(handoffs: Handoffs, said: Ack | Amendment, event: InputEvent) -> None:
    """Apply an ack or an amendment to the handoff that it names.

    What meets no open handoff is an `unknown_handoff`; what contradicts itself is `Refused`.
    """
    if isinstance(said, Ack):
        _ack(handoffs, said, event)
    else:
        _amend(handoffs, said, event)


def _ack(handoffs: Handoffs, ack: Ack, event: InputEvent) -> None:
    if ack.status == "rejected" and not (ack.reason or "").strip():
        raise Refused("reason_missing", "an ack that rejects must give its reason")
    closed = {handoff.id: handoff for handoff in handoffs.closed}
    id_ = ack.handoff_id
    if id_ is None:
        id_, doubt = _meant(handoffs, ack)
        if id_ is None:
            if doubt == "none_open" and handoffs.closed and _repeats(handoffs.closed[-1], ack):
                handoffs.outbox.count("acks_repeated")
            else:
                handoffs.outbox.unknown(ack, doubt, event.occurred_at)
            return
    for _ in closed:  # what was sent again is meant
        successor = closed[id_].successor if id_ in closed else None
        if successor is None:
            break
        id_ = successor
    handoff = handoffs.open.get(id_)
    if handoff is None:
        known = closed.get(id_)
        if known is not None and _repeats(known, ack):
            handoffs.outbox.count("acks_repeated")
        else:
            reason = "closed" if known is not None else "never_seen"
            handoffs.outbox.unknown(ack, reason, event.occurred_at)
    elif handoff.state == "held":
        handoffs.outbox.unknown(ack, "held", event.occurred_at)
    elif ack.status == "accepted":
        if handoff.state == "accepted":
            handoffs.outbox.count("acks_repeated")
        else:
            handoffs.accept(handoff, sentences.accepted(to(handoff), "by an ack"))
    elif ack.status == "completed" and handoff.ends:
        handoffs.outbox.count("acks_repeated")
    elif ack.status == "completed":
        handoffs.complete(handoff, "completed", sentences.completed(to(handoff), "by an ack"))
    else:
        handoffs.reject(handoff, sentences.rejected(to(handoff)))


def _meant(handoffs: Handoffs, ack: Ack) -> tuple[str | None, str]:
    """The handoff that an ack without an id is about: the only one that is open, to the receiver
    where it names one; else the reason why there is none."""
    tables = handoffs.tables
    receiver = ack.receiver
    if receiver is not None and receiver not in tables.receivers:
        receiver, _ = tables.spelled.meant(receiver) or (receiver, False)
    there = [h for h in handoffs.open.values() if receiver is None or h.receiver == receiver]
    sent = [handoff for handoff in there if handoff.state != "held"]
    if len(sent) == 1:
        return sent[0].id, ""
    if sent:
        return None, "several_open"
    return None, "held" if there else "none_open"


def _repeats(closed: Closed, ack: Ack) -> bool:
    """Whether an ack says again what is known; who completed has accepted, too."""
    return closed.how == ack.status or (closed.how, ack.status) == ("completed", "accepted")


def _amend(handoffs: Handoffs, amendment: Amendment, event: InputEvent) -> None:
    action = amendment.action
    if action == "release" and not (amendment.reason or "").strip():
        raise Refused("reason_missing", "an amendment that releases must give its reason")
    if action == "set" and not amendment.fields:
        raise Refused("no_fields", "an amendment that sets needs 'fields': {name: value}")
    if action == "redirect" and not amendment.to:
        raise Refused("no_receiver", "an amendment that redirects needs 'to': the receiver")
    handoff = handoffs.open.get(amendment.handoff_id)
    if handoff is None:
        closed = any(other.id == amendment.handoff_id for other in handoffs.closed)
        reason = "closed" if closed else "never_seen"
        handoffs.outbox.unknown(amendment, reason, event.occurred_at)
    elif amendment.revision not in (None, handoff.revision):
        handoffs.outbox.unknown(amendment, "revised", event.occurred_at)
    elif action == "set":
        _set(handoffs, handoff, amendment, event)
    elif handoff.state != "held":
        handoffs.outbox.unknown(amendment, "sent", event.occurred_at)
    elif action == "redirect":
        assert amendment.to is not None
        reevaluate.redirect(handoffs, handoff, amendment.to)
    elif action == "release":
        reevaluate.judge_again(handoffs, handoff, override=True)
    else:
        handoffs.discard(handoff, sentences.discarded(to(handoff)))


def _set(handoffs: Handoffs, handoff: OpenHandoff, amendment: Amendment, event: InputEvent) -> None:
    """A person's values go into the package, with who and why, and the task knows them too."""
    contract = handoffs.newest_of(handoff)
    memory = handoffs.memory
    ref = memory.refer(
        stage=handoff.stage,
        tool=AMENDMENT_TOOL,
        event_id=amendment.id,
        occurred_at=event.occurred_at,
        from_person=True,
        partition=event.partition,
        offset=event.offset,
    )
    asked = {
        name: _asked_for(contract, name, bytes(raw), number)
        for number, (name, raw) in enumerate(amendment.fields.items(), 1)
    }
    filled = {
        name: PackageField(
            value=value,
            how="amended",
            ref=ref,
            candidates=1,
            by=amendment.by,
            reason=amendment.reason,
        )
        for name, value in asked.items()
    }
    memory.add(ref, carry(asked), handoff.hop)
    if handoff.state == "held":
        reevaluate.amend(handoffs, handoff.id, filled)
    else:
        handoffs.fill(handoff, filled, "amended")
    for other in handoffs.held():
        if other.id != handoff.id:
            reevaluate.judge_again(handoffs, other)  # the task has learnt something


def _asked_for(contract: Contract | None, name: str, value: bytes, number: int) -> bytes:
    """The value in the receiver's terms; refused where it is none that the contract asks for. Only
    a name that the contract gives is told: another may be a value itself."""
    field = contract.fields_by_name.get(name) if contract is not None else None
    if field is None:
        if values.is_empty(value):
            raise Refused(
                "not_as_asked", f"the value of field number {number} is empty; set one that is not"
            )
        if contract is not None and contract.strip:
            raise Refused(
                "not_declared",
                f"the contract {contract.id} does not declare field number {number}, and passes "
                "no other; set one that it declares",
            )
        return value
    ours = well_formed(field, value)
    if ours is None:
        shown = msgspec.json.encode(name).decode()
        raise Refused(
            "not_as_asked",
            f"the value for {shown} is empty, or not of the shape or terms that the contract "
            f"{contract.id if contract is not None else ''} asks for",
        )
    return ours
