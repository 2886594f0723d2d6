"""What moves a task's handoffs on: one input, or that time has passed."""

from msgspec import Struct


class StepContext(Struct, frozen=True, gc=False):
    """An input of a task, judged at `now` (processor time). Times in epoch ms; `timestamp` is when
    the input reached Kafka.

    `event_id` is None where no record came: then the handoff's own stands in for it. `backfill`
    marks a replay, and what follows from it.
    """

    workflow: str
    task_id: str
    now: int
    event_id: str | None
    occurred_at: int
    timestamp: int
    backfill: bool
    is_ack: bool = False
