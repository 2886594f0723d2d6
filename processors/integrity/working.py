"""A task while one input is judged: its memory, its handoffs, and the task that follows."""

from msgspec.structs import replace

from processors.contracts.classified import Classified
from processors.contracts.registry import RegistrySnapshot
from processors.integrity.lifecycle import Handoffs
from processors.integrity.limits import Limits
from processors.integrity.memory import Memory
from processors.integrity.state import MAX_EVENTS, Task, workflow_of
from processors.integrity.step import StepContext
from schemas.flow import InputEvent
from schemas.records import Ack

DIGEST = 8  # bytes of an event's digest


def memory_of(task: Task, tables: RegistrySnapshot, limits: Limits) -> Memory:
    """What a task remembers, in a draft of the next one."""
    return Memory(replace(task), limits, classified_in(task, tables))


def classified_in(task: Task, tables: RegistrySnapshot) -> Classified:
    """What is so in a task: what the workflows classify that it comes from, too."""
    if not task.parents:
        return tables.classified(task.workflow)
    workflows = {task.workflow, *(parent.workflow for parent in task.parents)}
    workflows.update([workflow_of(key) for parent in task.parents for key in parent.above])
    return tables.classified(*sorted(workflows))


def handoffs_of(
    task: Task,
    event: InputEvent,
    memory: Memory,
    tables: RegistrySnapshot,
    now: int,
    limits: Limits,
) -> Handoffs:
    """The handoffs of a task that an input has come to."""
    return Handoffs.of(task, step_of(task, event, now), tables, limits, memory)


def step_of(task: Task, event: InputEvent, now: int) -> StepContext:
    """An input as what moves a task on."""
    body = event.body
    return StepContext(
        workflow=task.workflow,
        task_id=task.task_id,
        now=now,
        event_id=body.id,
        occurred_at=event.occurred_at,
        timestamp=event.timestamp,
        backfill=event.backfill,
        is_ack=type(body) is Ack,
    )


def without_input(task: Task, tables: RegistrySnapshot, now: int, limits: Limits) -> Handoffs:
    """The handoffs of a task to which time has passed, or the tables have changed."""
    memory = memory_of(task, tables, limits)
    step = StepContext(
        workflow=task.workflow,
        task_id=task.task_id,
        now=now,
        event_id=None,
        occurred_at=now,
        timestamp=0,
        backfill=False,
    )
    return Handoffs.of(task, step, tables, limits, memory)


def after_step(handoffs: Handoffs) -> Task:
    """The task with its handoffs moved on."""
    following = handoffs.memory.draft
    following.open = tuple(handoffs.open.values())
    following.closed = tuple(handoffs.closed)
    following.arrived = handoffs.arrived
    following.edges, following.rounds = handoffs.outbox.feed.edges, handoffs.rounds
    return following


def heard_with(task: Task, digest: bytes) -> bytes:
    """The last events that a task has heard of, with one more."""
    return (task.heard + digest)[-MAX_EVENTS * DIGEST :]
