"""The integrity core: one input advances one task. The whole of it is pure.

    tool output -> known already? -> retract -> judge its handoffs -> capture -> trim -> next task

Read on from here: `capture` holds what a task remembers, `handoff` judges one handoff with
`receiver` (where it goes) and `fields` (what it carries), `publish` builds the records. The further
inputs of a handoff's life (acks, amendments, deadlines, sweeps) are further branches of `advance`.
"""

from hashlib import blake2b

from processors.contracts.tables import Tables
from processors.integrity import handoff as handoffs
from processors.integrity.capture import Memory, captured, carried
from processors.integrity.handoff import Handoff
from processors.integrity.limits import DEFAULT_LIMITS, Limits
from processors.integrity.state import MAX_EVENTS, Capture, OpenHandoff, Task
from schemas.flow import Arrival, Count, Emit, Input, Refused
from schemas.records import HandoffRequest, ToolOutput

PACKAGES = "handoff.packages"
HELD = "handoff.held"
VIOLATIONS = "handoff.violations"
SIGNALS = "handoff.signals"

_DIGEST = 8  # bytes of an event's digest


def advance(
    task: Task | None,
    arrival: Input,
    tables: Tables,
    now: int,
    limits: Limits = DEFAULT_LIMITS,
) -> tuple[Task, list[Emit | Count]]:
    """Advance a task by one input at processor time `now` (epoch ms).

    Returns the next task (the same object where nothing changed) and what is to be published, in
    order. Raises `Refused` for an input that contradicts itself; nothing of it is taken then.
    """
    if not isinstance(arrival, Arrival):
        raise Refused("not_supported", "this version has no deadlines")
    output = arrival.body
    if not isinstance(output, ToolOutput):
        raise Refused("not_supported", f"{arrival.topic} is not an input of this version")
    if task is None:
        task = Task(output.workflow, output.task_id)
    event = _digest(output)
    if _knows(task.events, event):
        return task, [Count("duplicates")]
    memory = Memory(task.captures, task.retracted, task.size, limits)
    if output.retracted:
        memory.retract(output.retracted, arrival.occurred_at)
    context = carried(output)
    hop = task.hops + 1
    judged = [
        handoffs.judge(output, context, request, arrival, memory, hop, task.open, tables, now)
        for request in _requests(output)
    ]
    if len(judged) > 1:
        _refuse_same_slot(judged)
    # All of them were judged against what came before this output; now its own context counts.
    memory.capture(context, output, arrival, hop if judged else 0)
    for handoff in judged:
        _alias(handoff, memory, output, arrival, hop)
    forgotten = memory.trim()
    open_, closed = _open(task.open, judged, limits.open_handoffs)
    following = Task(
        workflow=task.workflow,
        task_id=task.task_id,
        captures=memory.captures,
        retracted=memory.retracted,
        size=memory.size,
        hops=hop if judged else task.hops,
        open=open_,
        events=(task.events + event)[-MAX_EVENTS * _DIGEST :],
        last_input_at=now,
    )
    emits = _emits(output.task_id, judged, closed) if judged else []
    # What closes is counted; its signal and the resolution of its violations are the next step.
    emits += [Count("handoffs_closed", how) for _, how in closed]
    if forgotten:
        emits.extend([Count("captures_forgotten")] * forgotten)
    return following, emits


def _requests(output: ToolOutput) -> list[HandoffRequest]:
    if output.handoff is None:
        return []
    return output.handoff if isinstance(output.handoff, list) else [output.handoff]


def _digest(output: ToolOutput) -> bytes:
    """An event is the same again when the same tool gives the same id."""
    return blake2b(
        f"{len(output.tool)}:{output.tool}{output.id}".encode(), digest_size=_DIGEST
    ).digest()


def _knows(events: bytes, event: bytes) -> bool:
    at = events.find(event)
    while at > 0 and at % _DIGEST:  # found across two digests
        at = events.find(event, at + 1)
    return at >= 0


def _refuse_same_slot(judged: list[Handoff]) -> None:
    slots = {handoffs.slot(handoff.open) for handoff in judged}
    if len(slots) < len(judged):
        raise Refused(
            "slot_twice",
            "one output hands off twice on the same contract to the same receiver; "
            "give each handoff a 'part' of its own",
        )


def _alias(
    handoff: Handoff, memory: Memory, output: ToolOutput, arrival: Arrival, hop: int
) -> None:
    """What a sent package carried is remembered under the receiver's names, with its origin."""
    if handoff.package.disposition != "sent":
        return
    for finding in handoff.judged.moved:
        if finding.value is None:
            continue
        source = finding.capture or captured(finding.value, output, arrival)
        held = memory.captures.get(finding.name)
        if _is_newer(held, source, output):
            continue
        memory.alias(finding.name, finding.value, source, source.alias_of or finding.source, hop)


def _is_newer(held: Capture | None, source: Capture, output: ToolOutput) -> bool:
    """Whether the task has learnt something later under a name than where a value came from."""
    if held is None or (held.tool, held.event_id) == (output.tool, output.id):
        return False
    return held.occurred_at > source.occurred_at


def _open(
    before: tuple[OpenHandoff, ...], judged: list[Handoff], most: int
) -> tuple[tuple[OpenHandoff, ...], list[tuple[OpenHandoff, str]]]:
    """The open handoffs of the next task, and those that this output closed, with how."""
    if not judged:
        return before, []
    closed = [(h.superseded, "superseded") for h in judged if h.superseded is not None]
    gone = {other.id for other, _ in closed}
    still = [other for other in before if other.id not in gone] + [h.open for h in judged]
    over = len(still) - most
    if over > 0:
        closed += [(other, "expired") for other in still[:over]]
        still = still[over:]
    return tuple(still), closed


def _emits(
    task_id: str, judged: list[Handoff], closed: list[tuple[OpenHandoff, str]]
) -> list[Emit | Count]:
    """Packages first, each followed by its queue, then all violations, then all signals."""
    emits: list[Emit | Count] = []
    for handoff in judged:
        package = handoff.package
        if package.disposition == "held":
            emits.append(Emit(HELD, package.id, package))
        else:
            emits.append(Emit(PACKAGES, task_id, package))
            if handoff.queue is not None:
                emits.append(Emit(handoff.queue, task_id, package))
        emits.append(Count("handoffs_begun", package.disposition))
    emits += [Emit(HELD, other.id, None) for other, _ in closed if other.state == "held"]
    for handoff in judged:
        emits.extend(Emit(VIOLATIONS, task_id, violation) for violation in handoff.violations)
    for handoff in judged:
        emits.append(Emit(SIGNALS, task_id, handoff.signal))
    return emits
