"""A processor that reads what another one adds up, on the same clock: insights behind integrity."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from processors.driver import Driver
from processors.partitioning import partition_of
from processors.processor import Processor
from processors.timeline import Timeline
from schemas.flow import Output, Record
from topics.catalogue import SUBJECT_PARTITIONS

EDGES = "handoff.edges"
PATTERNS = "handoff.patterns"
FIGURES = "handoff.figures"


class Follower:
    """Takes the sums of the processor before it as records of its own input topic."""

    def __init__(self, processor: Processor[Any], tables: Any) -> None:
        self.processor = processor
        self._driver = Driver(processor, tables)
        self._clock = Timeline(self._driver, lambda: committed(self._driver))
        self._offsets: Counter[int] = Counter()
        for partition in range(SUBJECT_PARTITIONS):
            self._driver.assign(partition, {})

    def to(self, moment: int) -> Iterator[Output]:
        """Move the clock on to a moment (epoch ms) at which something else happens."""
        yield from self._clock.to(moment)

    def exchange(self, tables: Any) -> Iterator[Output]:
        """From now on these are the tables."""
        yield from self._clock.exchange(tables)

    def take(self, sums: Iterable[Output], now: int) -> Iterator[Output]:
        """What follows from sums that were published at a moment (epoch ms)."""
        if self._clock.now != now:
            yield from self._clock.to(now)
        for each in sums:
            assert each.key is not None
            partition = partition_of(each.key, SUBJECT_PARTITIONS)
            offset = self._offsets[partition]
            self._offsets[partition] += 1
            record = Record(
                each.topic,
                partition,
                offset,
                key=each.key,
                value=each.value,
                timestamp=now,
                headers=each.headers,
            )
            yield from self._driver.step(record, now)
        yield from committed(self._driver)

    def ended(self, now: int, ahead: int) -> Iterator[Output]:
        """What is known at a moment: the edges and the figures that would be published within
        `ahead` ms, and the patterns that would be opened, where nothing mends them.

        Nothing else of that time is told: it has not come.
        """
        yield from self._clock.through(now)
        for output in self._clock.through(now + ahead):
            status = dict(output.headers).get("handoff-status")
            if output.topic == PATTERNS:
                told = status == b"opened"
            elif output.topic == FIGURES:
                told = status is None and output.value is not None
            else:
                told = output.topic == EDGES
            if told:
                yield output


def committed(driver: Driver[Any]) -> list[Output]:
    """Commit the open transaction of a driver without a broker: its changelog."""
    changes = list(driver.changelog())
    driver.merge(changes)
    topic = driver.processor.changelog
    return [Output(topic, key.encode(), state, []) for _, key, state in changes]
