"""The integrity core: one input advances one task. The whole of it is pure.

    tool output -> known already? -> retract -> judge its handoffs -> capture -> trigger
                -> move the open handoffs on -> trim -> next task

Read on from here: `capture` holds what a task remembers, `begin` says how handoffs begin, `handoff`
judges one with `receiver` (where it goes) and `fields` (what it carries), `lifecycle` moves the
open ones on, `publish` builds the records. `replies` takes what receivers and people say of a
handoff; deadlines and sweeps, which no record brings, are at the end of this file.
"""

from collections.abc import Mapping
from hashlib import blake2b

from msgspec.structs import replace

from processors.contracts import values
from processors.contracts.tables import Tables
from processors.integrity import feed, held, messages, replies
from processors.integrity.begin import Beginning, declared, implicit, triggered
from processors.integrity.capture import NO_CONTEXT, Carried, Memory, carry
from processors.integrity.cause import Cause
from processors.integrity.fields import Finding, Judged, Source
from processors.integrity.handoff import Verdict, decide, open_handoff
from processors.integrity.lifecycle import Handoffs
from processors.integrity.limits import DEFAULT_LIMITS, Limits
from processors.integrity.outbox import too_much
from processors.integrity.publish import to
from processors.integrity.state import MAX_EVENTS, Capture, OpenHandoff, Task, holds
from schemas.flow import UNFINISHED, Arrival, Count, Due, Emitted, Input, Refused
from schemas.records import Ack, Amendment, ToolOutput

_DIGEST = 8  # bytes of an event's digest


def advance(
    task: Task | None,
    given: Input,
    tables: Tables,
    now: int,
    limits: Limits = DEFAULT_LIMITS,
) -> tuple[Task | None, list[Emitted]]:
    """Advance a task by one input at processor time `now` (epoch ms).

    Returns the next task (the same object where nothing changed, None where it is forgotten) and
    what is to be published, in order. Raises `Refused` for an input that contradicts itself;
    nothing of it is taken then.
    """
    if isinstance(given, Arrival):
        body = given.body
        if isinstance(body, ToolOutput):
            event = _digest(body.tool, body.id)
        else:  # a receiver and a person number what they say on their own, too
            event = _digest("", f"{type(body).__name__}:{len(body.by)}:{body.by}{body.id}")
        if task is not None and holds(task.events, event, _DIGEST):
            return task, [Count("duplicates")]
        if isinstance(body, ToolOutput):
            task = task or Task(body.workflow, body.task_id)
            return _take_output(task, body, given, event, tables, now, limits)
        return _take_reply(task, body, given, event, tables, now, limits)
    assert task is not None
    if isinstance(given, Due):
        return _pass_deadlines(task, given, tables, now, limits)
    return _sweep(task, tables, now, limits)


def _digest(source: str, id_: str) -> bytes:
    """An event is the same again when the same source gives the same id; no tool is called ""."""
    return blake2b(f"{len(source)}:{source}{id_}".encode(), digest_size=_DIGEST).digest()


def _with(task: Task, event: bytes) -> bytes:
    return (task.events + event)[-MAX_EVENTS * _DIGEST :]


# --- a tool output --------------------------------------------------------------------------------


def _take_output(
    task: Task,
    output: ToolOutput,
    arrival: Arrival,
    event: bytes,
    tables: Tables,
    now: int,
    limits: Limits,
) -> tuple[Task, list[Emitted]]:
    memory = Memory.of(task, limits)
    if output.retracted:
        memory.retract(output.retracted, arrival.occurred_at)
    context = carry(output.context)
    hop = task.hops + 1

    beginnings = declared(output, tables)
    nobody = implicit(task, output, arrival, beginnings, tables)
    if nobody is not None:
        beginnings.append(nobody)
    if len(beginnings) > 1:
        _refuse_same_slot(beginnings)
    source = Source(output.stage, output.tool, output.id, arrival.occurred_at)
    # All of them are judged against what came before this output; then its own context counts.
    judged: list[tuple[Beginning, Verdict]] = []
    least = 0
    beside: dict[str, Judged] | None = {} if len(beginnings) > 1 else None
    for beginning in beginnings:
        if judged:
            least = _within(least + judged[-1][1].least, limits)
        verdict = decide(
            beginning, task.workflow, source, context, memory, tables, now, beside=beside
        )
        judged.append((beginning, verdict))
    earlier = dict(memory.captures) if output.retracted else task.captures
    memory.capture(context, output, arrival, hop if judged else 0)
    # What the processor begins by itself goes by all that the task knows, this output included.
    more, true, failed = triggered(task, output, memory, beginnings, tables)
    for beginning in more:
        if judged:
            least = _within(least + judged[-1][1].least, limits)
        verdict = decide(beginning, task.workflow, source, NO_CONTEXT, memory, tables, now)
        judged.append((beginning, verdict))

    begun: list[OpenHandoff] = []
    moved: list[tuple[OpenHandoff, list[Finding]]] = []
    open_, closed, arrived, edges = task.open, task.closed, task.arrived, task.edges
    emits: list[Emitted] = []
    if judged or open_ or (arrived is not None and arrived.to_stage == output.stage):
        handoffs = _handoffs(task, arrival, memory, tables, now, limits)
        if output.retracted:
            held.retract(handoffs, output.retracted, arrival.occurred_at)
        known = {h.id for h in task.open} | {c.id for c in task.closed} if judged else set()
        for beginning, verdict in judged:
            handoff = open_handoff(beginning, verdict, output, arrival, hop, now)
            if handoff.id in known:
                return task, [Count("duplicates")]  # more than `MAX_EVENTS` ago, and told by this
            if handoff.state == "held" and handoff.begun == "declared":
                handoff = replace(handoff, context=context.values)
            handoff = handoffs.begin(handoff, verdict)
            begun.append(handoff)
            if handoff.state != "held" and verdict.moved:
                moved.append((handoff, verdict.moved))
        handoffs.keep_before(earlier, [h.id for h in begun if h.begun == "triggered"])
        for handoff, findings in moved:
            handoffs.remember_moved(handoff, findings)
        if task.open or task.arrived is not None:
            _move_on(task, handoffs, output, arrival, context, earlier, begun)
        full = memory.size > limits.state_bytes
        forgotten = memory.trim()
        handoffs.keep_forgotten(forgotten)
        handoffs.trim(weigh=full)
        open_, closed = tuple(handoffs.open.values()), tuple(handoffs.closed)
        arrived = handoffs.arrived
        edges = handoffs.outbox.feed.edges
        emits += handoffs.outbox.emits()
    else:
        forgotten = memory.trim()
    if forgotten:
        emits += [Count("captures_forgotten")] * len(forgotten)
    if failed:
        emits += [Count("when_failed")] * failed
    stage, tool, stage_at, contracts, left, handed, covered = _whereabouts(
        task, output, arrival, begun
    )
    path = task.path
    if task.stage and stage != task.stage:
        path, told = feed.moved(task, output, arrival, context, covered=nobody is not None)
        emits.append(told)
    following = Task(
        task.workflow,
        task.task_id,
        memory.captures,
        memory.retracted,
        memory.size,
        hop if begun else task.hops,
        open_,
        _with(task, event),
        now,
        closed,
        stage,
        tool,
        stage_at,
        contracts,
        left,
        true,
        arrived,
        handed,
        covered,
        path,
        edges,
    )
    return following, emits


def _within(least: int, limits: Limits) -> int:
    """The bytes that verdicts have at least: where that is too much, no more are made."""
    if least > limits.output_bytes:
        raise too_much(limits.output_bytes)
    return least


def _refuse_same_slot(beginnings: list[Beginning]) -> None:
    if len({beginning.slot for beginning in beginnings}) < len(beginnings):
        raise Refused(
            "slot_twice",
            "one output hands off twice on the same contract to the same receiver; "
            "give each handoff a 'part' of its own",
        )


def _move_on(
    task: Task,
    handoffs: Handoffs,
    output: ToolOutput,
    arrival: Arrival,
    context: Carried,
    earlier: Mapping[str, Capture],
    begun: list[OpenHandoff],
) -> None:
    """What an output means for the handoffs that were open before it."""
    carried_now = [name for name in context.values if name not in context.empty]
    if not any(handoff.begun == "implicit" for handoff in begun):
        _find_reentered(task, handoffs, output, arrival.occurred_at, carried_now, earlier)
    for handoff in task.open:
        here = handoffs.open.get(handoff.id)
        if here is not None and here.state == "held":
            if carried_now or output.retracted:
                held.judge_again(handoffs, here)
            continue
        if here is not None and arrival.occurred_at >= here.occurred_at:
            here = _received(task, handoffs, here, output, arrival, begun)
        if here is not None and here.missing:
            handoffs.fill_late(here, carried_now, output)


def _received(
    task: Task,
    handoffs: Handoffs,
    handoff: OpenHandoff,
    output: ToolOutput,
    arrival: Arrival,
    begun: list[OpenHandoff],
) -> OpenHandoff | None:
    """Whether an output shows that a handoff was accepted, completed or came back."""
    stage = handoff.to_stage
    if stage is None or handoff.ends:
        return handoff
    contract = handoffs.outbox.contract_of(handoff)
    accepts = contract is not None and contract.accepted_by(output.tool)
    if handoff.state == "sent" and output.stage == stage and accepts:
        message = messages.accepted(to(handoff), f"{output.tool} at {stage}")
        handoffs.accept(handoff, message)
        if handoff.id not in handoffs.open:
            return None
        handoff = handoffs.open[handoff.id]
    if any(other.stage == stage for other in begun):
        message = messages.completed(to(handoff), f"handed off from {stage}")
        handoffs.complete(handoff, "completed", message)
        return None
    if (
        handoff.state == "accepted"
        and task.stage == stage
        and not task.left
        and arrival.occurred_at >= task.stage_at
        and contract is not None
        and output.stage in contract.stages
        and output.stage != stage
    ):
        handoffs.complete(handoff, "returned", messages.returned(to(handoff)))
        return None
    return handoff


def _find_reentered(
    task: Task,
    handoffs: Handoffs,
    output: ToolOutput,
    occurred_at: int,
    names: list[str],
    earlier: Mapping[str, Capture],
) -> None:
    """Somebody typed again, where a handoff went, what the task knew and no package carried."""
    there = [h for h in task.open if h.state != "held" and h.to_stage == output.stage]
    handoff = there[-1] if there else task.arrived
    if handoff is None or handoff.to_stage != output.stage or occurred_at < handoff.occurred_at:
        return
    handoff = handoffs.open.get(handoff.id, handoff)
    for name in names:
        old = earlier.get(name)
        if (
            old is not None
            and old.value is not None
            and not old.hop
            and old.stage != output.stage
            and old.occurred_at <= handoff.occurred_at
            and values.same(old.value, bytes(output.context[name]))
        ):
            handoffs.reentered(handoff, name, old)
            handoff = handoffs.open.get(handoff.id, handoff)


def _whereabouts(
    task: Task, output: ToolOutput, arrival: Arrival, begun: list[OpenHandoff]
) -> tuple[str, str, int, tuple[str, ...], bool, bool, bool]:
    """Where the task is after an output: `stage`, `tool`, `stage_at`, `begun`, `left`, `handed` and
    `covered` of the next task. A late output is no move, and does not say that the task left."""
    late = bool(task.stage) and arrival.occurred_at < task.stage_at
    if late:
        stage, tool, stage_at, left = task.stage, task.tool, task.stage_at, task.left
    else:
        stage, tool, stage_at, left = output.stage, output.tool, arrival.occurred_at, False
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


# --- an ack or an amendment -----------------------------------------------------------------------


def _take_reply(
    task: Task | None,
    said: Ack | Amendment,
    arrival: Arrival,
    event: bytes,
    tables: Tables,
    now: int,
    limits: Limits,
) -> tuple[Task | None, list[Emitted]]:
    """What meets no task is answered too, and not remembered: anybody could name one."""
    known = task or Task(said.workflow, said.task_id)
    memory = Memory.of(known, limits)
    handoffs = _handoffs(known, arrival, memory, tables, now, limits)
    replies.take(handoffs, said, arrival)
    handoffs.keep_forgotten(memory.trim())
    handoffs.trim()
    if task is None:
        return None, handoffs.outbox.emits()
    following = _after(task, handoffs)
    return replace(following, events=_with(task, event), last_input_at=now), handoffs.outbox.emits()


# --- what no record brings ------------------------------------------------------------------------


def _pass_deadlines(
    task: Task, due: Due, tables: Tables, now: int, limits: Limits
) -> tuple[Task | None, list[Emitted]]:
    """The deadlines at or before `due.at` have passed."""
    handoffs = _without_input(task, tables, now, limits)
    passed = [(at, h.id, name) for h in task.open for name, at in h.waits() if at <= due.at]
    for at, id_, name in sorted(passed):
        if handoffs.outbox.full:
            break  # what is left is still due
        handoffs.miss(handoffs.open[id_], name, at)
    for handoff in task.open:
        if handoffs.outbox.full:
            break
        here = handoffs.open[handoff.id]
        if limits.handoff_ttl_ms is not None and here.begun_at + limits.handoff_ttl_ms <= due.at:
            handoffs.expire(here)
        elif here.close_by and here.close_by <= due.at:
            handoffs.end_grace(here)
    ttl = limits.task_ttl_ms
    if not handoffs.open and ttl is not None and task.last_input_at + ttl <= due.at:
        handoffs.forget_closed(0)
        return None, [*handoffs.outbox.emits(), Count("tasks_forgotten")]
    return _after(task, handoffs), handoffs.outbox.emits()


def _sweep(task: Task, tables: Tables, now: int, limits: Limits) -> tuple[Task, list[Emitted]]:
    """Look again at whom the open handoffs go to, and whether what held them is gone."""
    handoffs = _without_input(task, tables, now, limits)
    for handoff in task.open:
        if handoffs.outbox.full:
            handoffs.outbox.count(UNFINISHED)
            break
        if handoff.state == "held":
            held.judge_again(handoffs, handoff)
        else:
            handoffs.look_again(handoff)
    handoffs.trim(weigh=False)
    emits = handoffs.outbox.emits()
    return (_after(task, handoffs), emits) if emits else (task, [])


def _handoffs(
    task: Task, arrival: Arrival, memory: Memory, tables: Tables, now: int, limits: Limits
) -> Handoffs:
    body = arrival.body
    cause = Cause(
        task.workflow,
        task.task_id,
        now,
        body.id,
        arrival.occurred_at,
        arrival.timestamp,
        arrival.backfill,
        isinstance(body, Ack),
    )
    return Handoffs.of(task, cause, tables, limits, memory)


def _without_input(task: Task, tables: Tables, now: int, limits: Limits) -> Handoffs:
    memory = Memory.of(task, limits)
    cause = Cause(task.workflow, task.task_id, now, None, now, 0, False)
    return Handoffs.of(task, cause, tables, limits, memory)


def _after(task: Task, handoffs: Handoffs) -> Task:
    """The task with its handoffs moved on; nothing of its own has come."""
    memory = handoffs.memory
    return replace(
        task,
        captures=memory.captures,
        size=memory.size,
        open=tuple(handoffs.open.values()),
        closed=tuple(handoffs.closed),
        arrived=handoffs.arrived,
        edges=handoffs.outbox.feed.edges,
    )
