"""Plays worlds through the cores of one checkout, in a process of its own.

The checkout is the one in PYTHONPATH; it may be older or newer than this file. So nothing is used
here but what every version has: the two processors, the driver, and the clock.

Worlds come in on standard input and what they publish goes out on standard output, as MessagePack,
each after its length (8 bytes, big endian). A world that cannot be played gives a traceback.
"""

import logging
import os
import sys
import traceback
from collections import Counter
from collections.abc import Iterable
from typing import Any, BinaryIO, Literal, get_type_hints

import msgspec
from msgspec import Struct

import processors.driver
from processors.driver import Driver
from processors.insights.processor import insights
from processors.integrity.processor import integrity
from processors.timeline import Timeline
from schemas.flow import Output, Record

Headers = list[tuple[str, bytes]]
# What happens after a step: nothing (the transaction stays open), it is committed, committed and
# the processors are started anew, or the step's record is aborted and read again.
Ending = Literal["", "commit", "restart", "abort"]


class Read(Struct, frozen=True, array_like=True, tag="read"):
    """A record is read."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int
    headers: Headers


class Changed(Struct, frozen=True, array_like=True, tag="changed"):
    """The tables change: (topic, key, value), and the topics that there are (None: as before)."""

    entries: list[tuple[str, str, bytes]]
    existing: list[str] | None


class Given(Struct, frozen=True, array_like=True):
    """One step at `at` (epoch ms); `what` None: only time passes."""

    number: int
    at: int
    what: Read | Changed | None
    ending: Ending


class Played(Struct, frozen=True, array_like=True):
    """A world. Limits are by name; those that a version does not know are left out."""

    partitions: int
    limits: dict[str, int | None]
    insights: dict[str, int | None]
    steps: list[Given]


class Out(Struct, frozen=True, array_like=True):
    """A published record, with the step before or at which it was published, and the clock."""

    step: int
    now: int
    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers

    def output(self) -> Output:
        """The record as it was published."""
        return Output(self.topic, self.key, self.value, self.headers)


class Result(Struct, array_like=True):
    """What became of a world: the records of both processors, what the first told the second, the
    counts as `name topic label`, and bytes: written to the changelog, and of the state at the end.
    `error` is a traceback where the world could not be played to its end."""

    records: list[Out] = []
    insights: list[Out] = []
    told: list[Out] = []
    counts: dict[str, int] = {}
    written: int = 0
    state: int = 0
    error: str = ""


def write(stream: BinaryIO, message: Any) -> None:
    """One message."""
    encoded = msgspec.msgpack.encode(message)
    stream.write(len(encoded).to_bytes(8, "big"))
    stream.write(encoded)
    stream.flush()


def read(stream: BinaryIO, type_: Any) -> Any:
    """The next message; None at the end."""
    length = stream.read(8)
    if len(length) < 8:
        return None
    return msgspec.msgpack.decode(stream.read(int.from_bytes(length, "big")), type=type_)


class CoreLane:
    """One processor, its clock, and its changelog: all that a restart leaves."""

    def __init__(self, processor: Any, partitions: int, settled: Any) -> None:
        self.processor = processor
        self.published: list[Out] = []
        self.counts: Counter[tuple[str, str, str]] = Counter()
        self.written = 0
        self.step = 0
        self.kept: list[dict[Any, bytes]] = [{} for _ in range(partitions)]
        self._settled = settled
        self._tables: Any = None
        self._existing: list[str] | None = None
        self._topics: dict[str, dict[str, bytes]] = {name: {} for name in processor.tables}
        self._build()
        self.start()

    def start(self) -> None:
        """A process of its own: all that it knows is from the changelog."""
        self.driver = Driver(self.processor, self._tables, self.counts)
        for partition, store in enumerate(self.kept):
            self.driver.assign(partition, dict(store))
        self.clock = Timeline(self.driver, self._settle)

    def restart(self) -> None:
        """The process is another one; the clock goes on."""
        now = self.clock.now
        self.start()
        if now is not None:
            self.clock.now = now
            self.note(self.clock.exchange(self._tables))

    def change(self, change: Changed) -> None:
        """The tables are others from now on."""
        for topic, key, value in change.entries:
            if topic in self._topics:
                self._topics[topic][key] = value
        self._existing = change.existing if change.existing is not None else self._existing
        self._build()
        self.note(self.clock.exchange(self._tables))

    def judge(self, what: Read, ending: Ending) -> None:
        """Read one record."""
        record = Record(
            topic=what.topic,
            partition=what.partition,
            offset=what.offset,
            key=what.key,
            value=what.value,
            timestamp=what.timestamp,
            headers=what.headers,
        )
        now = self.clock.now
        assert now is not None
        outputs = self.driver.step(record, now)
        if ending == "abort":
            self.driver.drop()
            again = self.driver.step(record, now)
            assert again == outputs, "after an abort the same record publishes something else"
        self.note(outputs)

    def note(self, outputs: Iterable[Output]) -> None:
        """These are published."""
        for each in outputs:
            self.published.append(self.out(each))

    def out(self, output: Output) -> Out:
        """An output, here and now."""
        now = self.clock.now or 0
        return Out(self.step, now, output.topic, output.key, output.value, list(output.headers))

    def commit(self) -> list[Output]:
        """Commit the open transaction; what it adds up."""
        changes = list(self.driver.changelog())
        sums = list(self.driver.sums())
        self.driver.merge(changes)
        for partition, key, value in changes:
            self.written += _size(key) + len(value or b"")
            if value is None:
                self.kept[partition].pop(key, None)
            else:
                self.kept[partition][key] = value
        return sums

    def _settle(self) -> tuple[Output, ...]:
        self._settled()
        return ()

    def _build(self) -> None:
        topics = {name: dict(table) for name, table in self._topics.items()}
        existing = None if self._existing is None else frozenset(self._existing)
        self._tables = self.processor.build_tables(topics, existing)


class Player:
    """One world: integrity, and insights behind it, as they run."""

    def __init__(self, world: Played) -> None:
        self.world = world
        self.first = CoreLane(_within(integrity, world.limits), world.partitions, self._commit)
        self.second = CoreLane(_within(insights, world.insights), 1, self._commit_second)
        self.told: list[Out] = []
        self._offset = 0

    def play(self) -> Result:
        """The whole world."""
        error = ""
        try:
            for step in self.world.steps:
                self._play(step)
            self._commit()
        except Exception:  # noqa: BLE001 - of whatever version: it is told
            error = traceback.format_exc()
        counts = {" ".join(name): number for name, number in self.first.counts.items() if number}
        for name, number in self.second.counts.items():
            counts[f"insights: {' '.join(name)}"] = number
        state = sum(
            _size(key) + len(value) for store in self.first.kept for key, value in store.items()
        )
        return Result(
            self.first.published,
            self.second.published,
            self.told,
            counts,
            self.first.written,
            state,
            error,
        )

    def _play(self, step: Given) -> None:
        first, second = self.first, self.second
        first.step = second.step = step.number
        if step.ending == "abort":
            self._commit()
        first.note(first.clock.to(step.at))
        second.note(second.clock.to(first.clock.now or 0))
        if isinstance(step.what, Changed):
            first.change(step.what)
            second.change(step.what)
        elif step.what is None:
            first.note(first.clock.through(step.at))
            second.note(second.clock.through(step.at))
        elif step.what.topic in second.processor.inputs:
            second.judge(step.what, step.ending)
            second.commit()
        else:
            first.judge(step.what, step.ending)
        if step.ending:
            self._commit()
        if step.ending == "restart":
            first.restart()
            second.restart()

    def _commit(self) -> None:
        """Integrity commits; insights reads what it told, at once."""
        now = self.first.clock.now or 0
        sums = self.first.commit()
        if not sums:
            return
        second = self.second
        second.step = self.first.step
        if second.clock.now != now:
            second.note(second.clock.to(now))
        for each in sums:
            self.told.append(self.first.out(each))
            record = Read(each.topic, 0, self._offset, each.key, each.value, now, each.headers)
            self._offset += 1
            second.judge(record, "")
        second.commit()

    def _commit_second(self) -> None:
        self.second.commit()


def _within(make: Any, limits: dict[str, int | None]) -> Any:
    """A processor with limits, those of them that its version has."""
    made = get_type_hints(make)["limits"]
    known = made.__struct_fields__
    return make(made(**{name: limit for name, limit in limits.items() if name in known}))


def _size(key: Any) -> int:
    return len(key.encode() if isinstance(key, str) else key)


def main() -> None:
    """Play what comes in until nothing comes any more."""
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # nothing else is written among the results
    logging.disable()
    write(out, processors.driver.__file__)
    while (world := read(sys.stdin.buffer, Played)) is not None:
        write(out, Player(world).play())


if __name__ == "__main__":
    main()
