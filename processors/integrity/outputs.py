"""A tool output: its handoffs are judged, it is remembered, and the open handoffs move on."""

from collections.abc import Collection

from msgspec import Struct
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
from processors.integrity.candidates import Candidate, Candidates
from processors.integrity.context import NO_CONTEXT, Carried, carry
from processors.integrity.events import EventRef
from processors.integrity.fields import present_in
from processors.integrity.handoff import Beside, Verdict, decide, open_handoff
from processors.integrity.lifecycle import Handoffs
from processors.integrity.limits import Limits
from processors.integrity.memory import EVERY_NAME, Memory
from processors.integrity.outbox import too_much
from processors.integrity.publish import to
from processors.integrity.receiver import is_outsider
from processors.integrity.state import Closed, OpenHandoff, Task
from processors.integrity.working import after_step, handoffs_of, heard_with, memory_of
from schemas.flow import Effect, Increment, InputEvent
from schemas.records import ToolOutput


class _Said(Struct, gc=False):
    """An output while it is judged. `source` is its event, which `memory` remembers once its
    handoffs were judged; `hop` is the number of one that begins. `least` is how many bytes the
    verdicts have together, at least."""

    task: Task
    output: ToolOutput
    event: InputEvent
    context: Carried
    source: EventRef
    hop: int
    memory: Memory
    tables: RegistrySnapshot
    now: int
    limits: Limits
    least: int = 0


class _JudgedHandoff(Struct, gc=False):
    """A handoff that is to begin, how it was judged, the context that it carries, and which one it
    repeats."""

    proposed: ProposedHandoff
    verdict: Verdict
    carried: Carried
    repeated: repeats.SentAgain | None = None


def take_output(
    task: Task,
    output: ToolOutput,
    event: InputEvent,
    digest: bytes,
    tables: RegistrySnapshot,
    now: int,
    limits: Limits,
) -> tuple[Task, list[Effect]]:
    """The task after an output, and what follows from it."""
    if not output.stage:
        output = replace(output, stage=task.stage)
    memory = memory_of(task, tables, limits)
    following = memory.draft
    retracted: Collection[str] = output.retracted
    if retracted:
        taken_back = memory.retract(retracted, event.occurred_at)
        retracted = taken_back if EVERY_NAME in retracted else retracted
    context = carry(output.context)
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
    said = _Said(
        task=task,
        output=output,
        event=event,
        context=context,
        source=source,
        hop=hop,
        memory=memory,
        tables=tables,
        now=now,
        limits=limits,
    )

    # All are judged against what came before this output; then its own context counts.
    proposals = declared(output, tables)
    covering = _covering(task, output, tables)
    nobody = None
    if covering is not None:
        nobody = implicit(task, output, event, beside=proposals, contract=covering, tables=tables)
        if nobody is not None:
            proposals.append(nobody)
    if len(proposals) > 1:
        proposals = repeats.joined(proposals)
    judged = _judge(said, proposals) if proposals else []
    there = _there(task, output, event) if task.open or task.arrived is not None else None
    typed_again = _typed_again(said, there) if there is not None and output.accepts else []
    lost = len(following.lost)
    carrying = bool(judged) and any(
        each.repeated is None or each.repeated.how == "retry" for each in judged
    )
    memory.add(source, context, hop if carrying else 0, output.run or "")
    # What the processor begins by itself goes by all that the task knows, this output included.
    failed = 0
    if whens := tables.whens(output.workflow, output.stage):
        failed = _judge_triggered(said, proposals, whens, judged)

    begun: list[OpenHandoff] = []
    duplicates = 0
    effects: list[Effect] = []
    if (
        judged
        or task.open
        or (task.arrived is not None and task.arrived.stage_here == output.stage)
    ):
        handoffs = handoffs_of(task, event, memory, tables=tables, now=now, limits=limits)
        if retracted:
            reevaluate.retract(handoffs, retracted, event.occurred_at)
        if judged:
            opened = _begin(said, judged, handoffs, lost)
            if opened is None:
                return task, [Increment("duplicates")]
            begun, duplicates = opened
        if there is not None and not any(handoff.begun == "implicit" for handoff in begun):
            for name, held, count in typed_again:
                handoffs.reentered(handoffs.open.get(there.id, there), name, held, count)
        if task.open and (begun or not duplicates):
            _move_on(said, handoffs, begun)
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
    _go(following, output, event, begun, others or bool(duplicates and not begun))
    if task.stage and following.stage != task.stage:
        covered = nobody is not None
        following.path, told = feed.moved(
            task, output, event, context=context, covered=covered, secrets=memory.secrets
        )
        effects.append(told)
    if begun:
        following.hops = hop
    following.heard = heard_with(task, digest)
    following.last_input_at = now
    return following, effects


# --- judge, and begin ----------------------------------------------------------------------------


def _judge(said: _Said, proposals: list[ProposedHandoff]) -> list[_JudgedHandoff]:
    """Judge what an output proposes. Raises `Refused` where that gets too much to be published."""
    context, memory, output = said.context, said.memory, said.output
    again = repeats.of(
        proposals,
        said.task,
        output,
        event=said.event,
        context=context,
        memory=memory,
        grace_ms=said.limits.repeat_grace_ms,
    )
    judged: list[_JudgedHandoff] = []
    beside: Beside | None = {} if len(proposals) > 1 else None
    for proposed in proposals:
        carried, alike = context, beside
        if proposed.carries != "context":
            carried, alike = memory.carried(proposed.carries, output, context), None
        verdict = _verdict(said, proposed, carried, alike)
        judged.append(_JudgedHandoff(proposed, verdict, carried, again.get(proposed.slot)))
    return judged


def _judge_triggered(
    said: _Said,
    proposals: list[ProposedHandoff],
    whens: list[Contract],
    judged: list[_JudgedHandoff],
) -> int:
    """Judge the handoffs of contracts whose `when` has turned true, too: they are added to those
    that are `judged`. How many contracts have a `when` that could not be evaluated."""
    memory = said.memory
    more, memory.draft.true, failed = triggered(
        said.task, said.output, memory, beside=proposals, contracts=whens, tables=said.tables
    )
    for proposed in more:
        verdict = _verdict(said, proposed, NO_CONTEXT, None)
        judged.append(_JudgedHandoff(proposed, verdict, said.context))
    return failed


def _verdict(
    said: _Said, proposed: ProposedHandoff, carried: Carried, beside: Beside | None
) -> Verdict:
    """How a handoff is judged, if those before it leave room for it in what an input may lead to.
    Raises `Refused`."""
    if said.least > said.limits.output_bytes:
        raise too_much(said.limits.output_bytes)
    verdict = decide(
        proposed,
        said.task.workflow,
        said.source,
        context=carried,
        search=said.memory.search,
        tables=said.tables,
        now=said.now,
        beside=beside,
    )
    said.least += verdict.least
    return verdict


def _begin(
    said: _Said, judged: list[_JudgedHandoff], handoffs: Handoffs, lost: int
) -> tuple[list[OpenHandoff], int] | None:
    """Begin the handoffs that were judged: those that begin, and how many are duplicates. None
    where the output itself is one: it came more than `MAX_EVENTS` ago, as its handoff tells.
    `lost` is how much was forgotten before it came."""
    task, output, source = said.task, said.output, said.source
    before: list[OpenHandoff | Closed] = [*task.open, *task.closed]
    known = {each.id for each in before} if before else set()
    begun: list[OpenHandoff] = []
    moved: list[tuple[OpenHandoff, Verdict]] = []
    duplicates = 0
    for each in judged:
        verdict, repeated = each.verdict, each.repeated
        handoff = open_handoff(
            each.proposed,
            verdict,
            output,
            source=source,
            backfill=said.event.backfill,
            hop=said.hop,
            now=said.now,
        )
        if handoff.id in known:
            return None
        if repeated is not None and repeated.how == "duplicate":
            handoff.id = repeated.id
            handoffs.duplicate(handoff)
            duplicates += 1
            continue
        if handoff.state == "held":
            handoff.as_of, handoff.lost = source.number, lost
            if handoff.begun == "declared":
                handoff.context = each.carried.values
            else:
                # It goes by what this output said, too.
                handoff.as_of, handoff.lost = source.number + 1, len(said.memory.draft.lost)
        there_already = handoff.begun == "implicit" and output.accepts
        retried = None if repeated is None else repeated.id
        handoffs.begin(handoff, verdict, retried, accepted=there_already)
        begun.append(handoff)
        if verdict.moved:
            moved.append((handoff, verdict))
    for handoff, verdict in moved:
        if handoff.state != "held":
            handoffs.remember_moved(handoff, verdict.moved)
    return begun, duplicates


# --- what it means for the handoffs that are open -------------------------------------------------


def _move_on(said: _Said, handoffs: Handoffs, begun: list[OpenHandoff]) -> None:
    """What an output means for the handoffs that were open before it."""
    output = said.output
    carried_now = said.context.filled()
    for handoff in said.task.open:
        here = handoffs.open.get(handoff.id)
        if here is not None and here.state == "held":
            if carried_now or output.retracted:
                reevaluate.judge_again(handoffs, here)
            continue
        if here is not None and said.event.occurred_at >= here.source.occurred_at:
            here = _received(said, handoffs, here, begun)
        if here is not None and here.missing and output.stage != here.stage_here:
            handoffs.fill_late(here, carried_now, said.source)


def _received(
    said: _Said, handoffs: Handoffs, handoff: OpenHandoff, begun: list[OpenHandoff]
) -> OpenHandoff | None:
    """Whether an output shows that a handoff was accepted, completed or came back."""
    task, output, stage = said.task, said.output, handoff.stage_here
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
        and said.event.occurred_at >= task.stage_at
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


def _typed_again(said: _Said, handoff: OpenHandoff) -> list[tuple[str, Candidate, int]]:
    """What somebody typed again, where a handoff went, though the task knew it and no package
    carried it: the names, what stood there, and how many values did. A field of the contract is
    known by any of its names."""
    contract = said.tables.version(handoff.contract, handoff.version)
    context, search = said.context, said.memory.search
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
            and old.ref.stage != said.output.stage
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
