"""A task that changes its name: what tasks that continue each other tell each other.

What a task knows goes down to those that continue it, event by event. Where they are goes up, so
that what was handed to them counts as accepted. Handoffs never move. Messages travel over
`handoff.internal.links`, in the transactions of the inputs that cause them.

A cycle does no harm: an event is known by where its record lies, and nobody takes it twice. The
link that closes it is refused, and no other one.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from msgspec import Raw
from msgspec.structs import replace

from processors.contracts.registry import RegistrySnapshot
from processors.integrity import publish
from processors.integrity.events import Alias, Remembered, TaskEvent
from processors.integrity.feed import Feed
from processors.integrity.outbox import VIOLATIONS
from processors.integrity.state import Child, Parent, Task, Waiting, state_key
from processors.integrity.step import StepContext
from schemas.flow import Effect, InputEvent, Publish, Refused
from schemas.links import LINKS, LinkMessage, SaidThere, Whereabouts
from schemas.records import DeadLetter, TaskName, ToolOutput
from schemas.serde import DEAD_LETTERS, decode_body, encode, tasks_named

MAX_PARENTS, MAX_CHILDREN = 16, 256
MAX_WAITING, MAX_WAITING_BYTES = 64, 1 << 20
MAX_ABOVE = 256  # of the tasks that a task continues, directly or not, so many are known
Other = Parent | Child


# --- an output tells of links ---------------------------------------------------------------------


def declared(
    task: Task, output: ToolOutput, step: StepContext, tables: RegistrySnapshot, wait_ms: int
) -> tuple[Task, list[Effect]]:
    """The task with the links that an output tells of, and the messages about them. From a new
    parent it waits for an answer, `wait_ms` at most."""
    effects: list[Effect] = []
    following = replace(task)
    for name in tasks_named(output.unlinked):
        effects += _unlinked(following, *_named(task, name), step)
    for name in tasks_named(output.continues):
        workflow, id_ = _named(task, name)
        why = _why_not(following, workflow, id_)
        if why is not None:
            effects += _refused(step, tables, name, why)
        elif not any(_is(parent, workflow, id_) for parent in following.parents):
            following.parents = (*following.parents, Parent(workflow, id_))
            following.told = None  # the new one knows nothing of where this task is
            following.wait_until = step.now + wait_ms
            effects.append(_to(following, workflow, id_, "linked", step.occurred_at))
    for name in tasks_named(output.continued_by):
        workflow, id_ = _named(task, name)
        if (workflow, id_) == (task.workflow, task.task_id):
            effects += _refused(step, tables, name, "itself")
        elif not any(_is(child, workflow, id_) for child in following.children):
            effects.append(_to(following, workflow, id_, "continued", step.occurred_at))
    return following, effects


def _named(task: Task, name: TaskName) -> tuple[str, str]:
    return name.workflow or task.workflow, name.task_id


def _is(other: Other, workflow: str, id_: str) -> bool:
    return (other.workflow, other.task_id) == (workflow, id_)


def _why_not(task: Task, workflow: str, id_: str) -> str | None:
    """Why a task cannot continue another one (a stable word); None where it can."""
    if (workflow, id_) == (task.workflow, task.task_id):
        return "itself"
    if any(_is(child, workflow, id_) for child in task.children):
        return "cycle"
    if any(_is(parent, workflow, id_) for parent in task.parents):
        return None
    return "too_many" if len(task.parents) >= MAX_PARENTS else None


def _refused(step: StepContext, tables: RegistrySnapshot, name: TaskName, why: str) -> list[Effect]:
    """What is told of a link that does not come to be, insights too."""
    record = publish.link_refused(step, name.workflow or step.workflow, name.task_id, why)
    feed = Feed(step, tables, b"")
    feed.unknown(record)
    return [Publish(VIOLATIONS, step.task_id, record), *feed.adds()]


def _unlinked(task: Task, workflow: str, id_: str, step: StepContext) -> Iterator[Effect]:
    """End the links to another task, in both directions."""
    others: list[Other] = [*task.parents, *task.children]
    if any(_is(other, workflow, id_) for other in others):
        yield _to(task, workflow, id_, "unlinked", step.occurred_at)
    task.parents = tuple([each for each in task.parents if not _is(each, workflow, id_)])
    task.children = tuple([each for each in task.children if not _is(each, workflow, id_)])


# --- messages -------------------------------------------------------------------------------------


def _to(task: Task, workflow: str, id_: str, kind: str, at: int, **more: Any) -> Effect:
    message = LinkMessage(
        kind=kind,  # type: ignore[arg-type]
        workflow=workflow,
        task_id=id_,
        of_workflow=task.workflow,
        of_task_id=task.task_id,
        occurred_at=at,
        **more,
    )
    return Publish(LINKS, id_, message)


def above(task: Task) -> list[str]:
    """The keys of all tasks that a task continues, directly or not, as far as it knows."""
    found: dict[str, None] = {}
    for parent in task.parents:
        found[state_key(parent.workflow, parent.task_id)] = None
        found.update(dict.fromkeys(parent.above))
    return list(found)


def left(before: Task, after: Task) -> bool:
    """Whether a task does not continue one any more that it did. Where more are above one than are
    known, nobody can tell."""
    if after.parents is before.parents or any(len(p.above) >= MAX_ABOVE for p in after.parents):
        return False
    return not set(above(before)) <= set(above(after))


def root_of(message: LinkMessage) -> str:
    """The key of the task that said what a message tells."""
    assert message.said is not None
    return message.said.root or state_key(message.of_workflow, message.of_task_id)


def all_of(task: Task, child: Child, at: int) -> Iterator[Effect]:
    """All that a task knows, for one that continues it; nothing where nothing was said yet."""
    if not _knows_anything(task):
        return
    yield from _said(task, [child], task.events, at)
    if task.retracted:
        yield _to(task, *_key(child), "taken_back", at, taken_back=task.retracted)
    yield _caught_up(task, child, at)


def _knows_anything(task: Task) -> bool:
    """Whether anything was said in it, or came to it: else it is only named by others."""
    return bool(task.stage or task.events or task.whence)


def is_anything(task: Task) -> bool:
    """Whether there is anything to keep of a task: a link with it, too, which waits for it."""
    return bool(_knows_anything(task) or task.parents or task.children or task.retracted)


def _caught_up(task: Task, child: Child, at: int) -> Effect:
    where = whereabouts(task)
    return _to(task, *_key(child), "caught_up", at, where=where, above=above(task)[:MAX_ABOVE])


def whereabouts(task: Task) -> Whereabouts | None:
    """Where a task is, or where it comes from while it has been nowhere."""
    if not task.stage:
        return task.whence
    return Whereabouts(task.workflow, task.stage, task.tool, task.stage_at, task.begun)


def _key(other: Other) -> tuple[str, str]:
    return other.workflow, other.task_id


def _said(
    task: Task, children: Iterable[Child], events: Iterable[Remembered], at: int
) -> Iterator[Effect]:
    for event in events:
        said = _there(event)
        if said is not None:
            for child in children:
                yield _to(task, *_key(child), "said", at, said=said)


def _there(event: Remembered) -> SaidThere | None:
    ref = event.ref
    more: dict[str, Any]
    if isinstance(event, TaskEvent):
        context = {name: Raw(value) for name, value in event.context.items()}
        more = {"empty": list(event.empty), "run": event.run}
    elif event.value is None:
        return None
    else:
        assert isinstance(event, Alias)
        context = {event.name: Raw(event.value)}
        more = {
            "source_name": event.source_name,
            "at": event.at,
            "candidates": event.candidates,
        }
    return SaidThere(
        stage=ref.stage,
        tool=ref.tool,
        event_id=ref.event_id,
        occurred_at=ref.occurred_at,
        partition=ref.partition,
        offset=ref.offset,
        context=context,
        from_person=ref.from_person,
        root=event.root,
        **more,
    )


def news(before: Task, after: Task, at: int) -> Iterator[Effect]:
    """What a task tells those that continue it of what one input has changed."""
    children = after.children
    if not children:
        return
    fresh = [event for event in after.events if event.number >= before.next_number]
    yield from _said(after, children, fresh, at)
    if after.retracted is not before.retracted:
        names = {n: t for n, t in after.retracted.items() if before.retracted.get(n) != t}
        if names:
            for child in children:
                yield _to(after, *_key(child), "taken_back", at, taken_back=names)
    if not _knows_anything(after):
        return  # so those that wait for its answer wait on
    first = not _knows_anything(before)
    known = children if first else [child for child in children if child in before.children]
    began = {each.id for each in after.open} - {each.id for each in before.open}
    further = after.parents is not before.parents and above(after) != above(before)
    if first or began or further:
        for child in known:
            yield _caught_up(after, child, at)


def moved(before: Task, task: Task, output: ToolOutput, at: int) -> Iterator[Effect]:
    """Tell those that a task continues where it is, where that has changed, and that it left the
    stage before by a handoff that nobody declared; `told` is set."""
    if not task.parents:
        return
    if before.told is not None and _went_by_itself(before, task, output):
        stage, tool, team = before.told
        if stage == before.stage and not team.endswith("/"):
            yield from _tell_place(task, Whereabouts(task.workflow, stage, tool, at), team, True)
    if not output.accepts or output.stage not in ("", task.stage):
        return
    here = (task.stage, output.tool, f"{output.team or ''}{'/' if task.left else ''}")
    if task.told != here:
        task.told = here
        where = Whereabouts(task.workflow, task.stage, output.tool, at)
        yield from _tell_place(task, where, output.team, task.left)


def _went_by_itself(before: Task, after: Task, output: ToolOutput) -> bool:
    """Whether an output was the first one at the next stage, and a handoff to there began by it."""
    at_next = after.stage != before.stage and after.hops > before.hops
    return at_next and not (output.handoff or after.handed)  # handed: from the next stage already


def _tell_place(task: Task, where: Whereabouts, team: str | None, left: bool) -> Iterator[Effect]:
    at = where.stage_at
    for parent in task.parents:
        yield _to(task, *_key(parent), "moved", at, where=where, team=team or None, left=left)


def stage_of(where: Whereabouts, workflow: str) -> str:
    """The stage where a task comes from, as one of a workflow names it."""
    return where.stage if where.workflow == workflow else f"{where.workflow}/{where.stage}"


# --- inputs that wait -----------------------------------------------------------------------------


def put_off(event: InputEvent) -> Waiting:
    """An input, to be taken up later."""
    return Waiting(
        topic=event.topic,
        body=encode(event.body),
        occurred_at=event.occurred_at,
        partition=event.partition,
        offset=event.offset,
        backfill=event.backfill,
        traceparent=event.traceparent,
        timestamp=event.timestamp,
    )


def taken_up(waiting: Waiting) -> InputEvent:
    """The input again."""
    return InputEvent(
        body=decode_body(waiting.topic, waiting.body),
        occurred_at=waiting.occurred_at,
        topic=waiting.topic,
        partition=waiting.partition,
        offset=waiting.offset,
        backfill=waiting.backfill,
        traceparent=waiting.traceparent,
        timestamp=waiting.timestamp,
    )


def is_too_much(waiting: tuple[Waiting, ...]) -> bool:
    """Whether no more may wait."""
    return len(waiting) >= MAX_WAITING or sum([len(w.body) for w in waiting]) >= MAX_WAITING_BYTES


def dead_letter(event: InputEvent, error: Refused) -> Effect:
    """Of an input that has waited: where its record lies, and why it is not taken."""
    record = DeadLetter(
        topic=event.topic,
        partition=event.partition,
        offset=event.offset,
        key=event.body.task_id,
        exception=error.code,
        message=error.message,
        stacktrace="",
        size=None,
    )
    return Publish(DEAD_LETTERS, event.body.task_id, record)


# --- a message has come ---------------------------------------------------------------------------


def parent_of(task: Task, message: LinkMessage) -> Parent | None:
    """The parent that says it; None where the task does not continue that one."""
    other = message.of_workflow, message.of_task_id
    return next((parent for parent in task.parents if _is(parent, *other)), None)


def _goes_round(task: Task, message: LinkMessage) -> bool:
    """Whether the circle that a parent tells of is closed: one of it continues this task. Where
    none does, the link that would close it is on its way, and is refused when it comes here."""
    circle = {state_key(message.of_workflow, message.of_task_id), *message.above}
    return any(state_key(*_key(child)) in circle for child in task.children)


def taken(
    task: Task, message: LinkMessage, step: StepContext, tables: RegistrySnapshot
) -> tuple[Task, list[Effect]]:
    """The task with its links as they are after a message, and what the others are told."""
    following = replace(task)
    other = message.of_workflow, message.of_task_id
    name = TaskName(message.of_task_id, message.of_workflow)
    at = step.occurred_at
    effects: list[Effect] = []
    parent = parent_of(task, message)
    if message.kind == "linked":
        child = Child(*other)
        why = None
        if any(_is(each, *other) for each in task.parents) or state_key(*other) in above(task):
            why = "cycle"
        elif child not in task.children and len(task.children) >= MAX_CHILDREN:
            why = "full"
        if why is not None:
            return task, [_to(task, *other, "refused", at, reason=why)]
        if child not in task.children:
            following.children = (*task.children, child)
        effects += all_of(following, child, at)
    elif message.kind == "continued":
        why = _why_not(task, *other)
        if why is not None:
            return task, _refused(step, tables, name, why)
        if parent is None:
            following.parents = (*task.parents, Parent(*other))
            following.told = None
            effects.append(_to(following, *other, "linked", at))
    elif message.kind in ("refused", "unlinked"):
        following.parents = tuple([each for each in task.parents if each is not parent])
        following.children = tuple([each for each in task.children if not _is(each, *other)])
        if message.kind == "refused" and parent is not None:
            effects += _refused(step, tables, name, message.reason)
    elif message.kind == "said" and parent is not None:
        root = root_of(message)
        known = root in parent.above or root == state_key(parent.workflow, parent.task_id)
        if not known and len(parent.above) < MAX_ABOVE:
            more = replace(parent, above=(*parent.above, root))
            following.parents = tuple([more if p is parent else p for p in task.parents])
    elif message.kind == "caught_up" and parent is not None:
        own = state_key(task.workflow, task.task_id)
        if own in message.above and _goes_round(task, message):
            following.parents = tuple([each for each in task.parents if each is not parent])
            effects.append(_to(following, *other, "unlinked", at))
            effects += _refused(step, tables, name, "cycle")
            return following, effects
        beyond = tuple([key for key in message.above if key != own])
        answered = replace(parent, answered=True, above=beyond)
        following.told = None  # the parent may have handed off anew, and hears of the next output
        following.parents = tuple([answered if p is parent else p for p in task.parents])
        where, before = message.where, task.whence
        later = where is not None and (before is None or before.stage_at <= where.stage_at)
        if later and not task.stage:
            following.whence = where
    return following, effects
