"""The same handoff again: twice in one output, or sent again by the tool that sent it before.

A tool that tries again says what it said. What differs in a declared field is another handoff.
"""

from collections.abc import Iterable
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from processors.contracts.compiled import Contract, Field, undeclared
from processors.integrity.begin import ProposedHandoff
from processors.integrity.candidates import said_by
from processors.integrity.context import Carried
from processors.integrity.events import TaskEvent
from processors.integrity.fields import present_in
from processors.integrity.handoff import handoff_id
from processors.integrity.memory import Memory
from processors.integrity.state import Task
from schemas.flow import InputEvent
from schemas.records import ToolOutput


class SentAgain(Struct, frozen=True, gc=False):
    """The handoff that is sent again, and what that is: a `duplicate` of one that was accepted, or
    a `retry` of one that was not."""

    id: str
    how: Literal["duplicate", "retry"]


def joined(proposals: list[ProposedHandoff]) -> list[ProposedHandoff]:
    """One handoff of each kind that an output proposes; what their notes say is joined."""
    found: dict[object, list[ProposedHandoff]] = {}
    for proposed in proposals:
        found.setdefault(proposed.slot, []).append(proposed)
    return [
        same[0] if len(same) == 1 else replace(same[0], note=_joined([p.note for p in same]))
        for same in found.values()
    ]


def _joined(notes: Iterable[str | None]) -> str | None:
    return "\n".join(dict.fromkeys([note for note in notes if note])) or None


def of(
    proposals: Iterable[ProposedHandoff],
    task: Task,
    output: ToolOutput,
    event: InputEvent,
    context: Carried,
    memory: Memory,
    grace_ms: int,
) -> dict[object, SentAgain]:
    """By their slots, what the declared ones of some proposed handoffs repeat."""
    if not task.open and not task.closed:
        return {}
    at = event.occurred_at
    return {
        proposed.slot: found
        for proposed in proposals
        if proposed.begun == "declared"
        and (
            found := _repeated(
                proposed,
                task,
                output,
                occurred_at=at,
                context=context,
                memory=memory,
                grace_ms=grace_ms,
            )
        )
    }


def _repeated(
    proposed: ProposedHandoff,
    task: Task,
    output: ToolOutput,
    occurred_at: int,
    context: Carried,
    memory: Memory,
    grace_ms: int,
) -> SentAgain | None:
    """The handoff of the task that a proposed one repeats, if any does."""
    contract = proposed.asked.contract
    id_ = contract.id if contract is not None else None
    receiver = contract.receiver if contract is not None else proposed.asked.receiver
    begun = {handoff.source.number for handoff in task.open if handoff.state != "held"}
    begun |= {closed.number for closed in task.closed if closed.how == "completed"}
    oldest = min(begun, default=0)
    for event in reversed(memory.draft.events) if begun else ():
        if event.number < oldest:
            break
        if type(event) is not TaskEvent or not event.hop or event.number not in begun:
            continue
        ref = event.ref
        if ref.stage != output.stage or ref.tool != output.tool or ref.occurred_at > occurred_at:
            continue
        if not _same(contract, event, context):
            continue
        earlier = handoff_id(
            task.workflow,
            task.task_id,
            ref.tool,
            event_id=ref.event_id,
            contract=id_,
            receiver=receiver,
            part=proposed.part,
        )
        open_ = next((handoff for handoff in task.open if handoff.id == earlier), None)
        if open_ is not None and open_.state == "sent":
            return SentAgain(earlier, "retry")
        taken = open_ is not None and open_.state == "accepted" and open_.begun == "declared"
        taken = taken or any(c.id == earlier and c.how == "completed" for c in task.closed)
        if taken and occurred_at - ref.occurred_at <= grace_ms:
            if _came_back(task, output.stage, ref.number):
                return None
            return SentAgain(earlier, "duplicate")
    return None


def _came_back(task: Task, stage: str, since: int) -> bool:
    """Whether a handoff into a stage has begun after an event."""
    return any(h.stage_here == stage and h.source.number > since for h in task.open) or any(
        closed.stage_here == stage and closed.number > since for closed in task.closed
    )


def _says(field: Field, was: bytes, now: bytes) -> bool:
    return was == now or field.key(was) == field.key(now)


def _same(contract: Contract | None, event: TaskEvent, context: Carried) -> bool:
    """Whether an output carries what an earlier one did: the declared fields, or all names where
    none are."""
    if event.large:
        return False
    before = event.context
    if contract is not None and contract.fields:
        for field in contract.fields:
            was = said_by(event, field)
            present = present_in(field, context)
            now = None if present is None or present.empty else present.value
            if (was is None) != (now is None):
                return False
            if was is not None and now is not None and not _says(field, was, now):
                return False
        return True
    filled = context.filled()
    return before == filled or (
        before.keys() == filled.keys()
        and all(undeclared(n).key(v) == undeclared(n).key(filled[n]) for n, v in before.items())
    )
