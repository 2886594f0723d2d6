"""A tool output: its handoffs are judged, it is remembered, and the open handoffs move on."""

from collections.abc import Collection

from msgspec.structs import replace

from processors.contracts.compiled import Contract
from processors.contracts.registry import RegistrySnapshot
from processors.integrity import feed, reevaluate, repeats, sentences
from processors.integrity.begin import (
    ProposedHandoff,
    declared,
    implicit,
    triggered,
)
from processors.integrity.candidates import Candidate, Candidates, Search
from processors.integrity.context import NO_CONTEXT, Carried, carry
from processors.integrity.events import EventRef
from processors.integrity.fields import present_in
from processors.integrity.handoff import Beside, Verdict, decide, open_handoff
from processors.integrity.lifecycle import Handoffs
from processors.integrity.limits import Limits
from processors.integrity.memory import EVERY_NAME
from processors.integrity.outbox import too_much
from processors.integrity.publish import to
from processors.integrity.receiver import is_outsider
from processors.integrity.state import Closed, OpenHandoff, Task
from processors.integrity.working import after_step, handoffs_of, heard_with, memory_of
from schemas.flow import Effect, Increment, InputEvent
from schemas.records import ToolOutput


def take_output(
    task: Task,
    output: ToolOutput,
    event: InputEvent,
    digest: bytes,
    tables: RegistrySnapshot,
    now: int,
    limits: Limits,
) -> tuple[Task, list[Effect]]:
    if not output.stage:
        output = replace(output, stage=task.stage)
    memory = memory_of(task, tables, limits)
    retracted: Collection[str] = output.retracted
    if retracted:
        taken_back = memory.retract(retracted, event.occurred_at)
        retracted = taken_back if EVERY_NAME in retracted else retracted
    context = carry(output.context)
    following = memory.draft
    if following.retracted:
        memory.note_late(context.filled(), event.occurred_at)
    source = memory.refer(
        stage=output.stage,
        tool=output.tool,
        event_id=output.id,
        occurred_at=event.occurred_at,
        from_person=False,
        partition=event.partition,
        offset=event.offset,
    )
    hop = task.hops + 1

    proposals = declared(output, tables)
    covering = _covering(task, output, tables)
    nobody = None
    if covering is not None:
        nobody = implicit(task, output, event, proposals, covering, tables)
        if nobody is not None:
            proposals.append(nobody)
    again: dict[object, repeats.SentAgain] = {}
    judged: list[tuple[ProposedHandoff, Verdict]] = []
    records: dict[object, Carried] = {}  # what a handoff carries beside the output's own context
    carrying = False
    least = 0
    if proposals:
        if len(proposals) > 1:
            proposals = repeats.joined(proposals)
        again = repeats.of(proposals, task, output, event, context, memory, limits.repeat_grace_ms)
        # All of them are judged against what came before this output; then its own context counts.
        beside: Beside | None = {} if len(proposals) > 1 else None
        for proposed in proposals:
            if judged:
                least = _within(least + judged[-1][1].least, limits)
            carried, alike = context, beside
            if proposed.carries != "context":
                carried, alike = memory.carried(proposed.carries, output, context), None
                records[proposed.slot] = carried
            verdict = decide(
                proposed, task.workflow, source, carried, memory.search, tables, now, beside=alike
            )
            judged.append((proposed, verdict))
            found = again.get(proposed.slot)
            carrying = carrying or found is None or found.how == "retry"
    there = _there(task, output, event) if task.open or task.arrived is not None else None
    typed_again = []
    if there is not None and output.accepts:
        contract = tables.version(there.contract, there.version)
        typed_again = _typed_again(there, contract, output, context, memory.search)
    lost = len(following.lost)
    memory.add(source, context, hop if carrying else 0, output.run or "")
    # What the processor begins by itself goes by all that the task knows, this output included.
    failed = 0
    if whens := tables.whens(output.workflow, output.stage):
        more, following.true, failed = triggered(task, output, memory, proposals, whens, tables)
        for proposed in more:
            if judged:
                least = _within(least + judged[-1][1].least, limits)
            verdict = decide(
                proposed, task.workflow, source, NO_CONTEXT, memory.search, tables, now
            )
            judged.append((proposed, verdict))

    begun: list[OpenHandoff] = []
    duplicates = 0
    effects: list[Effect] = []
    if (
        judged
        or task.open
        or (task.arrived is not None and task.arrived.stage_here == output.stage)
    ):
        handoffs = handoffs_of(task, event, memory, tables, now, limits)
        if retracted:
            reevaluate.retract(handoffs, retracted, event.occurred_at)
        before: list[OpenHandoff | Closed] = [*task.open, *task.closed]
        known = {each.id for each in before} if before else set()
        verdicts: list[Verdict] = []
        for proposed, verdict in judged:
            handoff = open_handoff(proposed, verdict, output, source, event.backfill, hop, now)
            if handoff.id in known:
                # It came more than `MAX_EVENTS` ago; its handoff tells.
                return task, [Increment("duplicates")]
            repeated = again.get(proposed.slot)
            if repeated is not None and repeated.how == "duplicate":
                handoff.id = repeated.id
                handoffs.duplicate(handoff)
                duplicates += 1
                continue
            if handoff.state == "held":
                handoff.as_of, handoff.lost = source.number, lost
                if handoff.begun == "declared":
                    handoff.context = records.get(proposed.slot, context).values
                else:
                    # It goes by what this output said, too.
                    handoff.as_of, handoff.lost = source.number + 1, len(following.lost)
            there_already = handoff.begun == "implicit" and output.accepts
            retried = None if repeated is None else repeated.id
            handoffs.begin(handoff, verdict, retried, accepted=there_already)
            begun.append(handoff)
            verdicts.append(verdict)
        for handoff, verdict in zip(begun, verdicts, strict=True):
            if handoff.state != "held" and verdict.moved:
                handoffs.remember_moved(handoff, verdict.moved)
        if task.open or task.arrived is not None:
            if there is not None and not any(handoff.begun == "implicit" for handoff in begun):
                for name, held, count in typed_again:
                    now_there = handoffs.open.get(there.id, there)
                    handoffs.reentered(now_there, name, held, count)
            if begun or not duplicates:
                _move_on(task, handoffs, output, event, context, source, begun)
        forgotten = handoffs.trim(weigh=following.size > limits.state_bytes)
        after_step(handoffs)
        effects = handoffs.outbox.effects()
    else:
        forgotten = memory.trim(tuple)
    if forgotten:
        effects += [Increment("captures_forgotten")] * forgotten
    if failed:
        effects += [Increment("when_failed")] * failed
    others = (
        (covering is not None or bool(task.open))
        and not begun
        and output.team is not None
        and _is_of_others(task, output, covering, tables)
    )
    if others:
        effects.append(Increment("outputs_of_others"))
    stays = others or bool(duplicates and not begun)
    _go(following, output, event, begun, stays)
    if task.stage and following.stage != task.stage:
        covered = nobody is not None
        following.path, told = feed.moved(task, output, event, context, covered, memory.secrets)
        effects.append(told)
    if begun:
        following.hops = hop
    following.heard = heard_with(task, digest)
    following.last_input_at = now
    return following, effects


def _within(least: int, limits: Limits) -> int:
    """The bytes that verdicts have at least: where that is too much, no more are made."""
    if least > limits.output_bytes:
        raise too_much(limits.output_bytes)
    return least


def _move_on(
    task: Task,
    handoffs: Handoffs,
    output: ToolOutput,
    event: InputEvent,
    context: Carried,
    source: EventRef,
    begun: list[OpenHandoff],
) -> None:
    """What an output means for the handoffs that were open before it."""
    carried_now = context.filled()
    for handoff in task.open:
        here = handoffs.open.get(handoff.id)
        if here is not None and here.state == "held":
            if carried_now or output.retracted:
                reevaluate.judge_again(handoffs, here)
            continue
        if here is not None and event.occurred_at >= here.source.occurred_at:
            here = _received(task, handoffs, here, output, event, begun)
        if here is not None and here.missing and output.stage != here.stage_here:
            handoffs.fill_late(here, carried_now, source)


def _received(
    task: Task,
    handoffs: Handoffs,
    handoff: OpenHandoff,
    output: ToolOutput,
    event: InputEvent,
    begun: list[OpenHandoff],
) -> OpenHandoff | None:
    """Whether an output shows that a handoff was accepted, completed or came back."""
    stage = handoff.stage_here
    if stage is None or handoff.ends:
        return handoff
    contract = handoffs.outbox.contract_of(handoff)
    accepts = output.accepts and contract is not None and contract.accepted_by(output.tool)
    if accepts and _is_outsider(output, handoff, contract, handoffs.tables):
        return handoff
    if handoff.state == "sent" and output.stage == stage and accepts:
        message = sentences.accepted(to(handoff), f"{output.tool} at {stage}")
        handoffs.accept(handoff, message)
        if handoff.id not in handoffs.open:
            return None
        handoff = handoffs.open[handoff.id]
    if any(other.stage == stage for other in begun):
        message = sentences.completed(to(handoff), f"handed off from {stage}")
        handoffs.complete(handoff, "completed", message)
        return None
    if (
        handoff.state == "accepted"
        and task.stage == stage
        and not task.left
        and event.occurred_at >= task.stage_at
        and contract is not None
        and contract.workflow == task.workflow
        and output.stage in contract.stages
        and output.stage != stage
    ):
        handoffs.complete(handoff, "returned", sentences.returned(to(handoff)))
        return None
    return handoff


def _covering(task: Task, output: ToolOutput, tables: RegistrySnapshot) -> Contract | None:
    """The contract that an output's move from another stage falls under, if it is a move."""
    if not task.stage or task.stage == output.stage:
        return None
    return tables.between(output.workflow, task.stage, output.stage)


def _is_of_others(
    task: Task, output: ToolOutput, covering: Contract | None, tables: RegistrySnapshot
) -> bool:
    """Whether an output at the next stage of a contract or of an open handoff is none of the
    receiver's there."""
    if covering is not None and is_outsider(output.team, covering.team, covering.receiver, tables):
        return True
    return any(
        handoff.state == "sent"
        and _is_outsider(output, handoff, tables.version(handoff.contract, handoff.version), tables)
        for handoff in task.open
    )


def _is_outsider(
    output: ToolOutput,
    handoff: OpenHandoff,
    contract: Contract | None,
    tables: RegistrySnapshot,
) -> bool:
    """Whether an output at the stage of a handoff is none of its receiver's. Where the contract
    names the tools that accept, they are."""
    if output.stage != handoff.stage_here or output.team is None:
        return False
    if contract is not None and isinstance(contract.accepts, frozenset):
        return False
    return is_outsider(output.team, handoff.team, handoff.receiver, tables)


def _there(task: Task, output: ToolOutput, event: InputEvent) -> OpenHandoff | None:
    """The handoff that went to where an output comes from now: the latest that is open, or else the
    one that arrived last."""
    there = [h for h in task.open if h.state != "held" and h.stage_here == output.stage]
    handoff = there[-1] if there else task.arrived
    if handoff is None or handoff.stage_here != output.stage:
        return None
    return handoff if event.occurred_at >= handoff.source.occurred_at else None


def _typed_again(
    handoff: OpenHandoff,
    contract: Contract | None,
    output: ToolOutput,
    context: Carried,
    search: Search,
) -> list[tuple[str, Candidate, int]]:
    """What somebody typed again, where a handoff went, though the task knew it and no package
    carried it: the names, what stood there, and how many values did. A field of the contract is
    known by any of its names."""
    found: list[tuple[str, bytes, Candidates | None]] = []
    taken: set[str] = set()
    for field in contract.fields if contract is not None else ():
        present = present_in(field, context)
        if present is not None and not present.empty:
            taken.update((field.name, present.top))
            found.append((field.name, present.value, search.candidates(field)))
    for name, value in context.values.items():
        if name not in taken and name not in context.empty:
            found.append((name, value, search.under(name)))
    again = []
    for name, value, held in found:
        old = None if held is None or held.last_hop else held.same(value)[0]
        if (
            held is not None
            and old is not None
            and old.ref.stage != output.stage
            and old.ref.occurred_at <= handoff.source.occurred_at
        ):
            again.append((name, old, len(held.said)))
    return again


def _go(
    task: Task, output: ToolOutput, event: InputEvent, begun: list[OpenHandoff], stays: bool
) -> None:
    """Note where a task is after an output. A late output is no move, and does not say that the
    task left; nor is one with which it `stays`."""
    late = stays or (bool(task.stage) and event.occurred_at < task.stage_at)
    if not late:
        if output.stage != task.stage:
            task.begun, task.handed, task.covered = (), False, False
        task.stage, task.tool, task.stage_at = output.stage, output.tool, event.occurred_at
        task.left = False
    for handoff in begun:
        if handoff.contract is not None and handoff.contract not in task.begun:
            task.begun = (*task.begun, handoff.contract)
        if handoff.stage == task.stage:
            task.handed, task.covered = True, task.covered or handoff.contract is not None
            task.left = task.left or not late
