"""A driver that notes what it was given and what that published."""

from collections import Counter
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from processors.driver import Driver
from schemas.flow import Output, Record


class CoreCall(Struct, frozen=True):
    """What a driver was given, and what it published of that: a record, or a moment (epoch ms)
    whose deadlines have passed, or nothing (None): the tables have changed."""

    given: Record | int | None
    partition: int  # not of a change of the tables
    now: int
    tables: Any
    outputs: list[Output]


Note = Callable[[CoreCall], None]


def watched(kind: type[Driver[Any]], note: Note) -> type[Driver[Any]]:
    """A kind of driver, and each call of one is noted."""

    class Watched(kind):  # type: ignore[misc, valid-type]
        """The same, watched."""

        def step(self, record: Record, now: int) -> list[Output]:
            outputs: list[Output] = super().step(record, now)
            note(CoreCall(record, record.partition, now, self.tables, outputs))
            return outputs

        def fire(self, number: int, until: int, now: int, most: int, *_: Any) -> list[Output]:
            outputs: list[Output] = super().fire(number, until, now, most)
            note(CoreCall(until, number, now, self.tables, outputs))
            return outputs

        def sweep(self, now: int, most: int, *_: Any) -> list[Output]:
            outputs: list[Output] = super().sweep(now, most)
            note(CoreCall(None, -1, now, self.tables, outputs))
            return outputs

    return Watched


def counted(counts: Counter[tuple[str, str, str]]) -> Counter[tuple[str, str]]:
    """Counts by name and label, whatever topic they are of."""
    found: Counter[tuple[str, str]] = Counter()
    for (name, _, label), number in counts.items():
        found[name, label] += number
    return found
