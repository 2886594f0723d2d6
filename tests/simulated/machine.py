"""One processor on virtual time, which can be struck between any two things that it does.

What is committed are the changelog's bytes, the published records and the position in the inputs;
a process that dies leaves nothing else. A new one restores the state from the changelog and reads
again from the position, as the lane does.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from typing import Any, NamedTuple, Protocol

from processors.driver import Driver
from processors.processor import Processor
from processors.timeline import Timeline
from schemas.flow import Output, Record
from tests.simulated.known import must
from tests.simulated.story import PARTITIONS, Fate, Plan, StoryRegistry, StoryStep, TablesChange
from tests.simulated.watched import CoreCall, counted, watched


class PublishedRecord(NamedTuple):
    """One committed record, with the step at (or before) which it was published, and the clock."""

    step: int
    now: int
    output: Output


class Struck(NamedTuple):
    """A fault that came to pass, and before the how manieth published record."""

    step: int
    fate: Fate
    published: int


class _Strike(Exception):
    def __init__(self, fate: Fate, outage: int) -> None:
        self.fate: Fate = fate
        self.outage = outage


class _Position(NamedTuple):
    """Where a restarted processor goes on: the next step, the clock, the tables in force."""

    step: int
    now: int | None
    tables: Any


class Onlooker(Protocol):
    """Who looks on: at each call of the driver, and at what becomes of its transaction."""

    def called(self, call: CoreCall) -> None: ...
    def committed(self, counts: Counter[tuple[str, str]]) -> None: ...
    def dropped(self) -> None: ...


class Machine:
    """Plays steps through a driver, of the kind `driver`."""

    timeline: type[Timeline[Any]] = Timeline

    def __init__(
        self,
        processor: Processor[Any],
        registry: StoryRegistry,
        plan: Plan = Plan(),  # noqa: B008 - frozen
        audit: Onlooker | None = None,
        driver: type[Driver[Any]] = Driver,
    ) -> None:
        self.processor = processor
        self.steps: list[StoryStep] = []
        self.published: list[PublishedRecord] = []
        self.told: list[PublishedRecord] = []  # to insights
        self.struck: list[Struck] = []
        self.counts: Counter[tuple[str, str, str]] = Counter()
        self.changelog: list[tuple[int, Any, bytes | None]] = []
        self._registry = registry
        self._changes: list[StoryStep] = []
        self._plan = plan
        self._faults = {(fault.step, fault.place): fault for fault in plan.faults}
        self._audit = audit
        self._kind = driver if audit is None else watched(driver, audit.called)
        self._pending: list[PublishedRecord] = []
        self._index = 0  # of the step at hand
        self._moments = 0  # at which it could be struck so far
        self._away_until = 0
        self._tables = registry.after([])
        self._position = _Position(0, None, self._tables)
        self._driver = self._new_driver()
        self._clock = self.timeline(self._driver, self._settle)

    @property
    def now(self) -> int | None:
        """The clock."""
        return self._clock.now

    def play(self, steps: Collection[StoryStep]) -> None:
        """Play further steps, through all that strikes meanwhile, and commit."""
        self.steps += steps
        index = self._index
        strike: _Strike | None = None
        while index < len(self.steps):
            try:
                if strike is not None:
                    self._recover(strike)
                    strike = None
                self._play(index, self.steps[index])
                index += 1
            except _Strike as struck:
                strike = struck
                self._pending.clear()
                self._dropped()
                index = self._position.step
                self.struck.append(
                    Struck(self.steps[self._index].number, struck.fate, len(self.published))
                )
        self._index = index
        self._commit(index)

    def state(self) -> dict[Any, bytes]:
        """What the changelog holds, compacted."""
        found: dict[Any, bytes] = {}
        for _, key, value in self.changelog:
            if value is None:
                found.pop(key, None)
            else:
                found[key] = value
        return found

    def _play(self, index: int, step: StoryStep) -> None:
        self._index, self._moments = index, 0
        self._moment()
        if step.at < self._away_until:
            # Read after an outage: nobody is blamed before all that waited has been read.
            self._clock.now = self._away_until
        else:
            self._publish(self._clock.to(step.at))
        if isinstance(step.what, TablesChange):
            changes = [s for s in self.steps[: index + 1] if isinstance(s.what, TablesChange)]
            self._tables = self._registry.after(changes)
            self._publish(self._clock.exchange(self._tables))
        elif isinstance(step.what, Record):
            self._publish(self._read(step.what))
        else:
            self._publish(self._clock.through(step.at))
        self._moment()
        if self._plan.commits is None or step.number in self._plan.commits:
            self._commit(index + 1)
            self._moment()
            if self._plan.restarts:
                self._begin()

    def _read(self, record: Record) -> list[Output]:
        assert self._clock.now is not None
        outputs = self._driver.step(record, self._clock.now)
        if self._plan.aborts and not self._pending:
            self._driver.drop()
            self._dropped()
            again = self._driver.step(record, self._clock.now)
            must(outputs == again, "pure", f"{record.offset} is published otherwise after an abort")
        return outputs

    def _dropped(self) -> None:
        if self._audit is not None:
            self._audit.dropped()

    def _publish(self, outputs: Iterable[Output]) -> None:
        self._pending += map(self._published, outputs)

    def _published(self, output: Output) -> PublishedRecord:
        step = self.steps[min(self._index, len(self.steps) - 1)]
        return PublishedRecord(step.number, self._clock.now or 0, output)

    def _settle(self) -> tuple[Output, ...]:
        self._moment()
        self._commit(self._index)
        self._moment()
        return ()

    def _commit(self, index: int) -> None:
        changes = list(self._driver.changelog())
        self.changelog += changes
        self.told += map(self._published, self._driver.sums())
        self._driver.merge(changes)
        if self._audit is not None:
            self._audit.committed(counted(self.counts))
        self.published += self._pending
        self._pending.clear()
        self._position = _Position(index, self._clock.now, self._tables)

    def _moment(self) -> None:
        """A moment at which the processor may be struck; each fault strikes once."""
        self._moments += 1
        fault = self._faults.pop((self.steps[self._index].number, self._moments), None)
        if fault is not None:
            raise _Strike(fault.fate, fault.outage)

    def _recover(self, strike: _Strike) -> None:
        if strike.fate == "abort":
            self._driver.drop()
        self._begin(strike.outage, anew=strike.fate == "crash")

    def _begin(self, outage: int = 0, anew: bool = True) -> None:
        """Go on from what is committed, in a process of its own if `anew`."""
        position = self._position
        self._index, self._moments = position.step, -1_000  # it is not struck while it restores
        self._tables = position.tables
        if anew:
            self._driver = self._new_driver()
        self._clock = self.timeline(self._driver, self._settle)
        if position.now is not None:
            self._clock.now = position.now
            if outage:
                self._away_until = self._clock.now = position.now + outage
            self._publish(self._clock.exchange(self._tables))

    def _new_driver(self) -> Driver[Any]:
        """A process of its own: all that it knows is from the changelog."""
        driver = self._kind(self.processor, self._tables, self.counts)
        stores: list[dict[Any, bytes]] = [{} for _ in range(PARTITIONS)]
        for partition, key, value in self.changelog:
            if value is None:
                stores[partition].pop(key, None)
            else:
                stores[partition][key] = value
        for partition, store in enumerate(stores):
            driver.assign(partition, store)
        return driver
