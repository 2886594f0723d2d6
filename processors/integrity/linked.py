"""What a task is told while it continues others, and what of it waits for their answer."""

from msgspec.structs import replace

from processors.contracts.registry import RegistrySnapshot
from processors.integrity import links, reevaluate, sentences
from processors.integrity.lifecycle import Handoffs
from processors.integrity.limits import Limits
from processors.integrity.memory import Memory
from processors.integrity.outputs import take_output
from processors.integrity.publish import to
from processors.integrity.receiver import is_outsider
from processors.integrity.replies import take_reply
from processors.integrity.state import OpenHandoff, Task, state_key
from processors.integrity.step import StepContext
from processors.integrity.working import (
    after_step,
    classified_in,
    heard_with,
    memory_of,
    step_of,
)
from schemas.flow import Effect, Increment, InputEvent, Publish, Refused
from schemas.links import LinkMessage
from schemas.records import ToolOutput


def take_linked(
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
    step = step_of(task, event, now)
    effects: list[Effect] = []
    following = task
    if output.continues or output.continued_by or output.unlinked:
        following, effects = links.declared(task, output, step, tables, limits.link_grace_ms)
        following, more = _disinherit(task, following, step, tables, limits)
        effects += [*more, *links.news(task, following, event.occurred_at)]
    if task.waiting or _awaits(following, now):
        return wait(
            following, event, digest, now=now, effects=effects, tables=tables, limits=limits
        )
    following, more = _judge_linked(
        following, output, event, digest=digest, tables=tables, now=now, limits=limits
    )
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
    following, effects = take_output(
        task, output, event, digest=digest, tables=tables, now=now, limits=limits
    )
    effects += links.news(before, following, event.occurred_at)
    following = replace(following)
    effects += links.moved(task, following, output, event.occurred_at)
    return following, effects


def wait(
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
    following = replace(task, waiting=waiting, heard=heard_with(task, digest), last_input_at=now)
    if links.is_too_much(waiting):
        following, more = go_on(following, tables, now, limits)
        effects = [*effects, *more]
    return following, effects


def go_on(
    task: Task, tables: RegistrySnapshot, now: int, limits: Limits
) -> tuple[Task, list[Effect]]:
    """Take the inputs that have waited, in their order. Where that makes as much as one record may
    make, the others follow at once."""
    waiting = task.waiting
    task = replace(task, waiting=(), wait_until=0)
    effects: list[Effect] = []
    size = 0
    for number, each in enumerate(waiting):
        if size > limits.output_bytes:
            task = replace(task, waiting=waiting[number:], wait_until=now)
            break
        event = links.taken_up(each)
        try:
            if isinstance(event.body, ToolOutput):
                task, more = _judge_linked(
                    task, event.body, event, digest=b"", tables=tables, now=now, limits=limits
                )
            else:
                after, more = take_reply(
                    task, event.body, event, digest=b"", tables=tables, now=now, limits=limits
                )
                assert after is not None
                more += links.news(task, after, event.occurred_at)
                task = after
        except Refused as error:
            more = [links.dead_letter(event, error)]
        effects += more
        size += sum([len(each.value or b"") for each in more if isinstance(each, Publish)])
    return task, effects


def _disinherit(
    before: Task, following: Task, step: StepContext, tables: RegistrySnapshot, limits: Limits
) -> tuple[Task, list[Effect]]:
    """What came from tasks that it does not continue any more goes, from held handoffs too."""
    if not links.left(before, following):
        return following, []
    memory = Memory(replace(following), limits, classified_in(before, tables))
    gone = memory.disinherit(links.above(following))
    handoffs = Handoffs.of(following, step, tables, limits, memory)
    if gone:
        reevaluate.unlearn(handoffs, gone)
    return after_step(handoffs), handoffs.outbox.effects()


def take_link(
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
        workflow=known.workflow,
        task_id=known.task_id,
        now=now,
        event_id=None,
        occurred_at=at,
        timestamp=event.timestamp,
        backfill=event.backfill,
    )
    following, effects = links.taken(known, message, step, tables)
    following, gone = _disinherit(known, following, step, tables, limits)
    effects += gone
    parent = links.parent_of(following, message)
    if message.kind in ("said", "taken_back") and parent is not None:
        following, more = _learn(following, message, step, tables, limits)
        effects += more
    elif message.kind == "moved":
        handoffs = Handoffs.of(
            following, step, tables, limits, memory_of(following, tables, limits)
        )
        for handoff in following.open:
            _arrived_there(handoffs, handoff, message)
        following = after_step(handoffs)
        effects += handoffs.outbox.effects()
    effects += links.news(known, following, at)
    if following.waiting and not _awaits(following, now):
        following, more = go_on(following, tables, now, limits)
        effects += more
    if task is None and not links.is_anything(following):
        return None, [*effects, Increment("links_forgotten", message.kind)]
    return following, effects


def _learn(
    task: Task,
    message: LinkMessage,
    step: StepContext,
    tables: RegistrySnapshot,
    limits: Limits,
) -> tuple[Task, list[Effect]]:
    """Remember what a parent says, or that it took something back, and look what that means for
    the open handoffs."""
    memory = memory_of(task, tables, limits)
    handoffs = Handoffs.of(task, step, tables, limits, memory)
    ref = None
    if message.said is not None:
        root = links.root_of(message)
        own = root == state_key(task.workflow, task.task_id)  # which has gone round in a circle
        ref = None if own else memory.inherit(message.said, root)
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
    return after_step(handoffs), handoffs.outbox.effects()


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
