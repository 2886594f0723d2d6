"""Which other tasks a task is linked with, as far as the records at hand tell. Pure."""

from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

import msgspec

from schemas.flow import Record
from schemas.links import LINKS, LinkMessage
from schemas.records import ToolOutput
from schemas.serde import tasks_named
from schemas.unreadable import UNREADABLE

Task = tuple[str, str]  # its workflow and its id
MOST = 32  # tasks that one story tells of
ANSWERED_MS = 60_000  # who has not answered after this is not there; clocks differ by less
_output = msgspec.json.Decoder(ToolOutput).decode
_message = msgspec.json.Decoder(LinkMessage).decode


def linked(records: Iterable[Record], task: Task) -> set[Task]:
    """The tasks that a task continues or that continue it, now or once. A task's own outputs tell
    that, those of the others, and the messages between them."""
    found: set[Task] = set()
    for record in records:
        with suppress(*UNREADABLE):
            if record.topic == "handoff.tool-outputs" and record.value is not None:
                output = _output(record.value)
                here = output.workflow, output.task_id
                named = {
                    (name.workflow or output.workflow, name.task_id)
                    for name in (*tasks_named(output.continues), *tasks_named(output.continued_by))
                }
                if here == task:
                    found |= named
                elif task in named:
                    found.add(here)
            elif record.topic == LINKS and record.value is not None:
                message = _message(record.value)
                if (message.workflow, message.task_id) == task:
                    found.add((message.of_workflow, message.of_task_id))
    return found - {task}


class WaitingLink(NamedTuple):
    """A task that continues another one, which nobody has heard of since (epoch ms)."""

    since: int
    task: Task
    continues: Task


def waiting(records: Iterable[Record], now: int) -> list[WaitingLink]:
    """The links that wait for a task that has not come, the oldest first. `records` are messages
    between tasks, in any order."""
    told: dict[tuple[Task, Task], int] = {}
    answered: dict[tuple[Task, Task], int] = {}
    for record in records:
        with suppress(*UNREADABLE):
            message = _message(record.value or b"")
            to, by = (message.workflow, message.task_id), (message.of_workflow, message.of_task_id)
            if message.kind == "linked":
                told[by, to] = max(record.timestamp, told.get((by, to), 0))
            elif message.kind in ("said", "caught_up", "refused", "unlinked"):
                for pair in ((to, by), (by, to)):
                    answered[pair] = max(record.timestamp, answered.get(pair, 0))
    return sorted(
        WaitingLink(at, *pair)
        for pair, at in told.items()
        if at + ANSWERED_MS <= now and answered.get(pair, 0) + ANSWERED_MS <= at
    )
