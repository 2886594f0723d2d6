"""The integrity core: one input advances one task. The whole of it is pure.

    tool output -> known already? -> retract -> judge its handoffs -> remember -> trigger
                -> move the open handoffs on -> trim -> next task

Read on from here: `memory` holds what a task remembers, `begin` says how handoffs begin, `handoff`
judges one with `receiver` (where it goes) and `fields` (what it carries), `lifecycle` moves the
open ones on, `publish` builds the records. `replies` takes what receivers and people say of a
handoff; deadlines and sweeps, which no record brings, are at the end of this file.
"""

from collections.abc import Collection
from hashlib import blake2b

from msgspec.structs import replace

from processors.contracts.compiled import Contract
from processors.contracts.registry import RegistrySnapshot
from processors.integrity import feed, links, reevaluate, repeats, replies, sentences
from processors.integrity.begin import (
    ProposedHandoff,
    declared,
    implicit,
    triggered,
)
from processors.integrity.candidates import Candidate, Candidates, Search
from processors.integrity.context import NO_CONTEXT, Carried, carry
from processors.integrity.digests import holds
from processors.integrity.events import EventRef
from processors.integrity.fields import present_in
from processors.integrity.handoff import Beside, Verdict, decide, open_handoff
from processors.integrity.lifecycle import Handoffs
from processors.integrity.limits import DEFAULT_LIMITS, Limits
from processors.integrity.memory import EVERY_NAME, Memory
from processors.integrity.outbox import too_much
from processors.integrity.publish import to
from processors.integrity.receiver import is_outsider
from processors.integrity.state import MAX_EVENTS, OpenHandoff, Task
from processors.integrity.step import StepContext
from schemas.flow import (
    UNFINISHED,
    Effect,
    Increment,
    Input,
    InputEvent,
    Publish,
    PutOff,
    Refused,
    TimerFired,
)
from schemas.links import LinkMessage
from schemas.records import Ack, Amendment, ToolOutput

_DIGEST = 8  # bytes of an event's digest
# A deadline that is held back is looked at again after a tenth of the time since it passed.
_SOONEST_MS, _LATEST_MS = 500, 30_000


def advance(
    task: Task | None,
    given: Input,
    tables: RegistrySnapshot,
    now: int,
    limits: Limits = DEFAULT_LIMITS,
) -> tuple[Task | None, list[Effect]]:
    """Advance a task by one input at processor time `now` (epoch ms).

    Returns the next task (the same object where nothing changed, None where it is forgotten) and
    what is to be published, in order. Raises `Refused` for an input that contradicts itself;
    nothing of it is taken then.
    """
    if isinstance(given, InputEvent):
        if isinstance(given.body, LinkMessage):
            return _take_link(task, given.body, given, tables, now, limits)
        body = given.body
        if isinstance(body, ToolOutput):
            digest = _digest(body.tool, body.id)
        else:  # a receiver and a person number what they say on their own, too
            digest = _digest("", f"{type(body).__name__}:{len(body.by)}:{body.by}{body.id}")
        if task is not None and holds(task.heard, digest, _DIGEST):
            return task, [Increment("duplicates")]
        if isinstance(body, ToolOutput):
            task = task or Task(body.workflow, body.task_id)
            linked = task.parents or task.children or task.waiting
            if linked or body.continues or body.continued_by or body.unlinked:
                return _take_linked(task, body, given, digest, tables, now, limits)
            return _take_output(task, body, given, digest, tables, now, limits)
        if task is not None and task.waiting:
            return _wait(task, given, digest, now, [], tables, limits)
        following, effects = _take_reply(task, body, given, digest, tables, now, limits)
        if task is not None and following is not None and task.children:
            effects += links.news(task, following, given.occurred_at)
        return following, effects
    assert task is not None
    if isinstance(given, TimerFired):
        if task.waiting and task.wait_until <= given.at:
            return _go_on(task, tables, now, limits)
        return _pass_deadlines(task, given, tables, now, limits)
    return _sweep(task, tables, now, limits)


def _digest(source: str, id_: str) -> bytes:
    """An event is the same again when the same source gives the same id; no tool is called ""."""
    return blake2b(f"{len(source)}:{source}{id_}".encode(), digest_size=_DIGEST).digest()


def _with(task: Task, digest: bytes) -> bytes:
    return (task.heard + digest)[-MAX_EVENTS * _DIGEST :]


# --- a tool output --------------------------------------------------------------------------------


def _take_output(
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
    memory = _memory(task, tables, limits)
    retracted: Collection[str] = output.retracted
    if retracted:
        taken_back = memory.retract(retracted, event.occurred_at)
        retracted = taken_back if EVERY_NAME in retracted else retracted
    context = carry(output.context)
    if memory.retracted:
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
    lost = len(memory.lost)
    memory.add(source, context, hop if carrying else 0, output.run or "")
    # What the processor begins by itself goes by all that the task knows, this output included.
    more, true, failed = triggered(task, output, memory, proposals, tables)
    for proposed in more:
        if judged:
            least = _within(least + judged[-1][1].least, limits)
        verdict = decide(proposed, task.workflow, source, NO_CONTEXT, memory.search, tables, now)
        judged.append((proposed, verdict))

    begun: list[OpenHandoff] = []
    verdicts: list[Verdict] = []
    duplicates = 0
    open_, closed, arrived, edges = task.open, task.closed, task.arrived, task.edges
    rounds = task.rounds
    effects: list[Effect] = []
    if judged or open_ or (arrived is not None and arrived.to_stage == output.stage):
        handoffs = _handoffs(task, event, memory, tables, now, limits)
        if retracted:
            reevaluate.retract(handoffs, retracted, event.occurred_at)
        known = {h.id for h in task.open} | {c.id for c in task.closed} if judged else set()
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
                    handoff.as_of, handoff.lost = source.number + 1, len(memory.lost)
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
        forgotten = handoffs.trim(weigh=memory.size > limits.state_bytes)
        open_, closed = tuple(handoffs.open.values()), tuple(handoffs.closed)
        arrived = handoffs.arrived
        edges, rounds = handoffs.outbox.feed.edges, handoffs.rounds
        effects += handoffs.outbox.effects()
    else:
        forgotten = memory.trim(tuple)
    if forgotten:
        effects += [Increment("captures_forgotten")] * forgotten
    if failed:
        effects += [Increment("when_failed")] * failed
    others = not begun and output.team is not None and _is_of_others(task, output, covering, tables)
    if others:
        effects.append(Increment("outputs_of_others"))
    stays = others or bool(duplicates and not begun)
    stage, tool, stage_at, contracts, left, handed, covered = _whereabouts(
        task, output, event, begun, stays
    )
    path = task.path
    if task.stage and stage != task.stage:
        path, told = feed.moved(task, output, event, context, nobody is not None, memory.secrets)
        effects.append(told)
    following = replace(
        task,
        hops=hop if begun else task.hops,
        open=open_,
        closed=closed,
        arrived=arrived,
        edges=edges,
        rounds=rounds,
        heard=_with(task, digest),
        last_input_at=now,
        stage=stage,
        tool=tool,
        stage_at=stage_at,
        begun=contracts,
        true=true,
        left=left,
        handed=handed,
        covered=covered,
        path=path,
    )
    return memory.put_into(following), effects


def _memory(task: Task, tables: RegistrySnapshot, limits: Limits) -> Memory:
    if not task.parents:
        return Memory.of(task, limits, tables.classified(task.workflow))
    workflows = {task.workflow, *(parent.workflow for parent in task.parents)}
    return Memory.of(task, limits, tables.classified(*sorted(workflows)))


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
    carried_now = [name for name in context.values if name not in context.empty]
    for handoff in task.open:
        here = handoffs.open.get(handoff.id)
        if here is not None and here.state == "held":
            if carried_now or output.retracted:
                reevaluate.judge_again(handoffs, here)
            continue
        if here is not None and event.occurred_at >= here.source.occurred_at:
            here = _received(task, handoffs, here, output, event, begun)
        if here is not None and here.missing and output.stage != here.to_stage:
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
    stage = handoff.to_stage
    if stage is None or handoff.ends:
        return handoff
    contract = handoffs.outbox.contract_of(handoff)
    accepts = output.accepts and contract is not None and contract.accepted_by(output.tool)
    if contract is not None and contract.to_workflow not in (None, task.workflow):
        accepts = False  # it goes to a task of another workflow
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
    if output.stage != handoff.to_stage or output.team is None:
        return False
    if contract is not None and isinstance(contract.accepts, frozenset):
        return False
    return is_outsider(output.team, handoff.team, handoff.receiver, tables)


def _there(task: Task, output: ToolOutput, event: InputEvent) -> OpenHandoff | None:
    """The handoff that went to where an output comes from now: the latest that is open, or else the
    one that arrived last."""
    there = [h for h in task.open if h.state != "held" and h.to_stage == output.stage]
    handoff = there[-1] if there else task.arrived
    if handoff is None or handoff.to_stage != output.stage:
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


def _whereabouts(
    task: Task, output: ToolOutput, event: InputEvent, begun: list[OpenHandoff], stays: bool
) -> tuple[str, str, int, tuple[str, ...], bool, bool, bool]:
    """Where the task is after an output: `stage`, `tool`, `stage_at`, `begun`, `left`, `handed` and
    `covered` of the next task. A late output is no move, and does not say that the task left; nor
    is one with which it `stays`."""
    late = stays or (bool(task.stage) and event.occurred_at < task.stage_at)
    if late:
        stage, tool, stage_at, left = task.stage, task.tool, task.stage_at, task.left
    else:
        stage, tool, stage_at, left = output.stage, output.tool, event.occurred_at, False
    if stage == task.stage:
        contracts, handed, covered = task.begun, task.handed, task.covered
    else:
        contracts, handed, covered = (), False, False
    for handoff in begun:
        if handoff.contract is not None and handoff.contract not in contracts:
            contracts = (*contracts, handoff.contract)
        if handoff.stage == stage:
            handed, covered = True, covered or handoff.contract is not None
            left = left or not late
    return stage, tool, stage_at, contracts, left, handed, covered


# --- a task that continues others -----------------------------------------------------------------


def _take_linked(
    task: Task,
    output: ToolOutput,
    event: InputEvent,
    digest: bytes,
    tables: RegistrySnapshot,
    now: int,
    limits: Limits,
) -> tuple[Task, list[Effect]]:
    """An output of a task that is linked to others, or will be. It waits where one that the task
    continues has not answered yet."""
    step = StepContext(
        task.workflow,
        task.task_id,
        now,
        output.id,
        event.occurred_at,
        event.timestamp,
        event.backfill,
    )
    effects: list[Effect] = []
    following = task
    if output.continues or output.continued_by or output.unlinked:
        following, effects = links.declared(task, output, step, limits.link_grace_ms)
        _disinherit(task, following, tables, limits)
    if task.waiting or _awaits(following, now):
        return _wait(following, event, digest, now, effects, tables, limits)
    following, more = _judge_linked(following, output, event, digest, tables, now, limits)
    return following, [*effects, *more]


def _awaits(task: Task, now: int) -> bool:
    return now < task.wait_until and any(not parent.answered for parent in task.parents)


def _judge_linked(
    task: Task,
    output: ToolOutput,
    event: InputEvent,
    digest: bytes,
    tables: RegistrySnapshot,
    now: int,
    limits: Limits,
) -> tuple[Task, list[Effect]]:
    """An output of a linked task, and what the others are told of it."""
    before = task
    if task.whence is not None and not task.stage:
        whence = task.whence
        task = replace(
            task,
            stage=links.stage_of(whence, task.workflow),
            tool=whence.tool,
            stage_at=min(whence.stage_at, event.occurred_at),
            begun=whence.begun,
            whence=None,
        )
    following, effects = _take_output(task, output, event, digest, tables, now, limits)
    effects += links.news(before, following, event.occurred_at)
    following = replace(following)
    effects += links.moved(following, output, event.occurred_at)
    return following, effects


def _wait(
    task: Task,
    event: InputEvent,
    digest: bytes,
    now: int,
    effects: list[Effect],
    tables: RegistrySnapshot,
    limits: Limits,
) -> tuple[Task, list[Effect]]:
    """The input waits until the parents have answered; not where too much waits already."""
    waiting = (*task.waiting, links.put_off(event))
    following = replace(task, waiting=waiting, heard=_with(task, digest), last_input_at=now)
    if links.is_too_much(waiting):
        following, more = _go_on(following, tables, now, limits)
        effects = [*effects, *more]
    return following, effects


def _go_on(
    task: Task, tables: RegistrySnapshot, now: int, limits: Limits
) -> tuple[Task, list[Effect]]:
    """Take the inputs that have waited, in their order. Where that makes as much as one record may
    make, the others follow at once."""
    waiting = task.waiting
    task = replace(task, waiting=(), wait_until=0)
    effects: list[Effect] = []
    for number, each in enumerate(waiting):
        if (
            sum([len(e.value or b"") for e in effects if isinstance(e, Publish)])
            > limits.output_bytes
        ):
            task = replace(task, waiting=waiting[number:], wait_until=now)
            break
        event = links.taken_up(each)
        try:
            if isinstance(event.body, ToolOutput):
                task, more = _judge_linked(task, event.body, event, b"", tables, now, limits)
            else:
                after, more = _take_reply(task, event.body, event, b"", tables, now, limits)
                assert after is not None
                more += links.news(task, after, event.occurred_at)
                task = after
        except Refused as error:
            more = [links.dead_letter(event, error)]
        effects += more
    return task, effects


def _disinherit(before: Task, following: Task, tables: RegistrySnapshot, limits: Limits) -> None:
    """What came from tasks that it does not continue any more goes."""
    gone = {parent.number for parent in before.parents} - {p.number for p in following.parents}
    if gone:
        memory = _memory(before, tables, limits)
        for number in gone:
            memory.disinherit(number)
        memory.put_into(following)


def _take_link(
    task: Task | None,
    message: LinkMessage,
    event: InputEvent,
    tables: RegistrySnapshot,
    now: int,
    limits: Limits,
) -> tuple[Task | None, list[Effect]]:
    """What another task says that this one continues, or that continues it."""
    known = task or Task(message.workflow, message.task_id, last_input_at=now)
    at = event.occurred_at
    step = StepContext(
        known.workflow, known.task_id, now, None, at, event.timestamp, event.backfill
    )
    following, effects = links.taken(known, message, step)
    _disinherit(known, following, tables, limits)
    parent = links.parent_of(following, message)
    if message.kind in ("said", "taken_back") and parent is not None:
        following, more = _learn(following, message, parent.number, step, tables, limits)
        effects += more
    elif message.kind == "moved":
        handoffs = Handoffs.of(following, step, tables, limits, _memory(following, tables, limits))
        for handoff in following.open:
            _arrived_there(handoffs, handoff, message)
        following = _after(following, handoffs)
        effects += handoffs.outbox.effects()
    effects += links.news(known, following, at)
    if following.waiting and not _awaits(following, now):
        following, more = _go_on(following, tables, now, limits)
        effects += more
    if task is None and following == known:
        return None, effects
    return following, effects


def _learn(
    task: Task,
    message: LinkMessage,
    parent: int,
    step: StepContext,
    tables: RegistrySnapshot,
    limits: Limits,
) -> tuple[Task, list[Effect]]:
    """Remember what a parent says, or that it took something back, and look what that means for
    the open handoffs."""
    memory = _memory(task, tables, limits)
    handoffs = Handoffs.of(task, step, tables, limits, memory)
    ref = None
    if message.said is not None:
        ref = memory.inherit(message.said, parent)
        if ref is None:
            return task, []
    for at in sorted(set(message.taken_back.values())):
        names = [name for name, until in message.taken_back.items() if until == at]
        reevaluate.retract(handoffs, memory.retract(names, at), at)
    for handoff in task.open:
        here = handoffs.open.get(handoff.id)
        if here is not None and here.state == "held":
            reevaluate.judge_again(handoffs, here)
        elif here is not None and here.missing and ref is not None and message.said is not None:
            handoffs.fill_late(here, message.said.context, ref)
    handoffs.trim()
    return _after(task, handoffs), handoffs.outbox.effects()


def _arrived_there(handoffs: Handoffs, handoff: OpenHandoff, message: LinkMessage) -> None:
    """A task that continues this one is somewhere: whether that accepts or completes a handoff."""
    where, contract = message.where, handoffs.outbox.contract_of(handoff)
    if where is None or contract is None or handoff.state == "held" or handoff.ends:
        return
    if (contract.to_workflow or contract.workflow) != where.workflow:
        return
    if handoff.to_stage != where.stage or message.occurred_at < handoff.source.occurred_at:
        return
    if not isinstance(contract.accepts, frozenset) and is_outsider(
        message.team, handoff.team, handoff.receiver, handoffs.tables
    ):
        return
    place = f"{where.tool} at {where.workflow}/{where.stage}"
    if handoff.state == "sent" and contract.accepted_by(where.tool):
        handoffs.accept(handoff, sentences.accepted(to(handoff), place))
    here = handoffs.open.get(handoff.id)
    if here is not None and here.state == "accepted" and message.left:
        message_ = sentences.completed(to(here), f"handed off from {where.workflow}/{where.stage}")
        handoffs.complete(here, "completed", message_)


# --- an ack or an amendment -----------------------------------------------------------------------


def _take_reply(
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
    memory = _memory(known, tables, limits)
    handoffs = _handoffs(known, event, memory, tables, now, limits)
    replies.take(handoffs, said, event)
    handoffs.trim()
    if task is None:
        return None, handoffs.outbox.effects()
    following = _after(task, handoffs)
    following.heard = _with(task, digest)
    following.last_input_at = now
    return following, handoffs.outbox.effects()


# --- what no record brings ------------------------------------------------------------------------


def _pass_deadlines(
    task: Task, due: TimerFired, tables: RegistrySnapshot, now: int, limits: Limits
) -> tuple[Task | None, list[Effect]]:
    """The deadlines at or before `due.at` have passed. Those of receivers wait until the sources of
    the workflow were read past them: by the tables as they were at `due.at`, as all that came of
    the sources by then was judged."""
    known = tables if due.tables is None else due.tables
    handoffs = _without_input(task, tables, now, limits)
    passed = []
    held_back = []
    moved = False
    for handoff in task.open:
        silent = None
        for name, at in handoff.waits():
            if at > due.at:
                continue
            late = None if name == "release" else known.behind(task.workflow, at)
            if late is None:
                passed.append((at, handoff.id, name))
                continue
            held_back.append(at)
            if late.silent(now, at):
                silent = late
        moved = handoffs.look_at_sources(handoff, silent) or moved
    for at, id_, name in sorted(passed):
        if handoffs.outbox.full:
            break  # what is left is still due
        handoffs.miss(handoffs.open[id_], name, at)
    moved = moved or bool(passed)
    for handoff in task.open:
        if handoffs.outbox.full:
            break
        here = handoffs.open[handoff.id]
        if limits.handoff_ttl_ms is not None and here.begun_at + limits.handoff_ttl_ms <= due.at:
            handoffs.expire(here)
            moved = True
        elif here.close_by and here.close_by <= due.at:
            handoffs.end_grace(here)
            moved = True
    ttl = limits.task_ttl_ms
    if not handoffs.open and ttl is not None and task.last_input_at + ttl <= due.at:
        handoffs.forget_closed(0)
        return None, [*handoffs.outbox.effects(), Increment("tasks_forgotten")]
    effects = handoffs.outbox.effects()
    if not held_back:
        return _after(task, handoffs), effects
    following = _after(task, handoffs) if moved else task
    later = now + min(max(_SOONEST_MS, (now - min(held_back)) // 10), _LATEST_MS)
    others = [at for h in following.open for _, at in h.waits() if at > due.at]
    if following.waiting:
        others.append(following.wait_until)
    return following, [*effects, PutOff(min([later, *others]))]


def _sweep(
    task: Task, tables: RegistrySnapshot, now: int, limits: Limits
) -> tuple[Task, list[Effect]]:
    """Look again at whom the open handoffs go to, and whether what held them is gone."""
    handoffs = _without_input(task, tables, now, limits)
    for handoff in task.open:
        if handoffs.outbox.full:
            handoffs.outbox.count(UNFINISHED)
            break
        if handoff.state == "held":
            reevaluate.judge_again(handoffs, handoff)
        else:
            handoffs.look_again(handoff)
    handoffs.trim(weigh=False)
    effects = handoffs.outbox.effects()
    return (_after(task, handoffs), effects) if effects else (task, [])


def _handoffs(
    task: Task,
    event: InputEvent,
    memory: Memory,
    tables: RegistrySnapshot,
    now: int,
    limits: Limits,
) -> Handoffs:
    body = event.body
    step = StepContext(
        task.workflow,
        task.task_id,
        now,
        body.id,
        event.occurred_at,
        event.timestamp,
        event.backfill,
        isinstance(body, Ack),
    )
    return Handoffs.of(task, step, tables, limits, memory)


def _without_input(task: Task, tables: RegistrySnapshot, now: int, limits: Limits) -> Handoffs:
    memory = _memory(task, tables, limits)
    step = StepContext(task.workflow, task.task_id, now, None, now, 0, False)
    return Handoffs.of(task, step, tables, limits, memory)


def _after(task: Task, handoffs: Handoffs) -> Task:
    """The task with its handoffs moved on; nothing of its own has come."""
    following = handoffs.memory.put_into(replace(task))
    following.open = tuple(handoffs.open.values())
    following.closed = tuple(handoffs.closed)
    following.arrived = handoffs.arrived
    following.edges, following.rounds = handoffs.outbox.feed.edges, handoffs.rounds
    return following
