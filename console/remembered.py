"""What was seen of each task while a command runs: the contexts of its records, bounded.

A note or a text of one record may tell a classified value that only another record of the task has.
What was read of a task is searched for with the rest; what was forgotten or never read is not.
"""

from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Final

import msgspec
from msgspec import Raw

from console.masking import texts_of
from processors.contracts.classified import Classified
from schemas.records import Amendment, ToolOutput
from schemas.unreadable import UNREADABLE

MOST_BYTES: Final = 64 << 20  # of all tasks together

Task = tuple[str, str]  # workflow, task id
_output = msgspec.json.Decoder(ToolOutput).decode
_amendment = msgspec.json.Decoder(Amendment).decode


class SeenTasks:
    """The values of tasks by their names. Beyond `most` bytes, the tasks that were quiet for the
    longest are forgotten; of one that is larger alone, its oldest values are."""

    def __init__(self, most: int = MOST_BYTES) -> None:
        self._most = most
        self._size = 0
        self._tasks: dict[Task, _SeenValues] = {}  # in the order of their last records

    def note(self, task: Task, context: Mapping[str, Raw]) -> None:
        """Remember what a record of a task holds."""
        seen = self._tasks.pop(task, None) or _SeenValues()
        self._tasks[task] = seen
        self._size += seen.add(context)
        while self._size > self._most and len(self._tasks) > 1:
            oldest = next(iter(self._tasks))
            self._size -= self._tasks.pop(oldest).size
        while self._size > self._most:
            self._size -= seen.forget_half()

    def note_input(self, topic: str, value: bytes) -> None:
        """Remember what a tool or a person says of a task; nothing of an input that cannot be
        read, or has no values."""
        with suppress(*UNREADABLE):
            if topic == "handoff.tool-outputs":
                said = _output(value)
                self.note((said.workflow, said.task_id), said.context)
            elif topic == "handoff.amendments":
                amended = _amendment(value)
                self.note((amended.workflow, amended.task_id), amended.fields)

    def texts(self, task: Task, classified: Classified) -> Collection[str]:
        """The texts of what is classified in what was seen of a task."""
        seen = self._tasks.get(task)
        return () if seen is None or not classified.at else seen.texts(classified)


class _SeenValues:
    """The values of one task, and what of them is classified, as far as that was asked."""

    def __init__(self) -> None:
        self.size = 0
        self._values: dict[tuple[str, bytes], None] = {}
        self._classified: Classified | None = None
        self._new: list[tuple[str, bytes]] = []  # not looked into yet
        self._texts: set[str] = set()

    def add(self, context: Mapping[str, Raw]) -> int:
        """Add values; returns the bytes of those that are new."""
        added = 0
        for name, raw in context.items():
            each = name, bytes(raw)
            if each not in self._values:
                self._values[each] = None
                self._new.append(each)
                added += _bytes(each)
        self.size += added
        return added

    def texts(self, classified: Classified) -> set[str]:
        if classified != self._classified:  # another contract was registered
            self._classified = classified
            self._look_again()
        self._texts |= texts_of(classified, self._new)
        self._new.clear()
        return self._texts

    def forget_half(self) -> int:
        """Forget the older half of the values; returns their bytes."""
        gone = 0
        for each in list(self._values)[: (len(self._values) + 1) // 2]:
            del self._values[each]
            gone += _bytes(each)
        self.size -= gone
        self._look_again()
        return gone

    def _look_again(self) -> None:
        self._texts = set()
        self._new = list(self._values)


def _bytes(value: tuple[str, bytes]) -> int:
    name, raw = value
    return len(name) + len(raw) + 200  # with what Python needs beside them
