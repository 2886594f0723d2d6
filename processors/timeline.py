"""A virtual clock for a driver: for `dry-run`, stories and simulations, where no real time passes.

Between two inputs everything happens that would have happened in a running processor, each at its
moment: deadlines pass, and what the tables say changes with time (an owner's last day ends, a
receiver has been silent for too long).
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic

from processors.driver import Driver
from processors.processor import State
from schemas.flow import Output, Record

_SLICE = 1_000


class Timeline(Generic[State]):
    """Advances the clock of a driver, and wakes tasks at their moments.

    `settle` commits the driver's open transaction and returns what that publishes besides. `now` is
    the clock in epoch ms, None before it was first set. `fired` counts the deadlines that fired.
    """

    def __init__(self, driver: Driver[State], settle: Callable[[], Iterable[Output]]) -> None:
        self._driver = driver
        self._settle = settle
        self.now: int | None = None
        self.fired = 0
        self._sent_count = 0

    def step(self, record: Record, now: int) -> Iterator[Output]:
        """Judge a record at processor time `now`, and what the processor sends to itself then."""
        yield from self._sent(self._driver.step(record, now), now)

    def _sent(self, outputs: Iterable[Output], now: int) -> Iterator[Output]:
        """What of some outputs others read; those that are inputs are judged at once."""
        for output in outputs:
            if output.topic not in self._driver.processor.inputs:
                yield output
                continue
            number = self._driver.partition_of(output.key or b"")
            self._sent_count += 1
            record = Record(
                topic=output.topic,
                partition=number,
                offset=self._sent_count,
                key=output.key,
                value=output.value,
                timestamp=now,
                headers=output.headers,
            )
            yield from self.step(record, now)

    def to(self, moment: int) -> Iterator[Output]:
        """Advance to the moment of the next input. Deadlines at that very moment do not fire yet,
        because an ack at the deadline is in time. A moment in the past changes nothing."""
        moment = max(moment, self.now or 0)
        yield from self._pass(moment, moment - 1)

    def through(self, moment: int) -> Iterator[Output]:
        """Advance past a moment: deadlines at that very moment fire, too."""
        moment = max(moment, self.now or 0)
        yield from self._pass(moment, moment)

    def exchange(self, tables: Any) -> Iterator[Output]:
        """Exchange the tables of the driver."""
        self._driver.tables = tables
        yield from self._sweep()

    def _pass(self, moment: int, deadline: int) -> Iterator[Output]:
        if self.now is None:
            self.now = moment
            yield from self._sweep()
        while True:
            if self._driver.restless(deadline):
                yield from self._settle()
            due = self._next_due(deadline)
            change = self._next_change(moment if due is None else due - 1)
            if change is not None:
                self.now = change
                yield from self._sweep()
            elif due is not None:
                self.now = max(self.now, due)
                yield from self._fire(due)
            else:
                break
        self.now = moment

    def _next_due(self, deadline: int) -> int | None:
        found = (self._driver.next_due(number, deadline) for number in self._driver.partitions)
        return min((due for due in found if due is not None and due <= deadline), default=None)

    def _next_change(self, until: int) -> int | None:
        """The first moment up to `until` at which the tables say something new.

        It is found by bisection. So when the tables say something new and, still before `until`,
        the old thing again, that may not be found.
        """
        low, high = self.now or 0, until
        if high < low or not self._driver.news(high):
            return None
        if self._driver.news(low):
            return low
        while high - low > 1:
            middle = (low + high) // 2
            if self._driver.news(middle):
                high = middle
            else:
                low = middle
        return high

    def _fire(self, due: int) -> Iterator[Output]:
        assert self.now is not None
        for number in self._driver.partitions:
            outputs = self._driver.fire(number, due, self.now, _SLICE)
            self.fired += sum(each.kind == "due" for each in self._driver.woken)
            yield from self._sent(outputs, self.now)
            yield from self._settle()  # also where all that was due is held back

    def _sweep(self) -> Iterator[Output]:
        assert self.now is not None
        self._driver.notice(self.now)
        while self._driver.sweeping:
            yield from self._sent(self._driver.sweep(self.now, _SLICE), self.now)
            yield from self._settle()
