"""Whether the processors keep up, for the dead man: how long the oldest unread record has waited.

Timestamps of records are those of whoever sent them, and may be old when a record arrives. So the
time at which a record was first seen to be there counts, from the second look on; what was there at
the first look has waited since its timestamp.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from processors.contracts.feeding import WorkflowFeed
from processors.processor import Processor
from processors.runtime import clients
from processors.runtime.groups import CALL_SECONDS, committed
from processors.runtime.restoration import Place, bounds
from processors.runtime.settings import Settings, SettingsError
from processors.runtime.transactions import LaneError
from topics.catalogue import physical
from topics.look import look
from topics.rights import reason

log = logging.getLogger("handoff.alerts")

LONGEST_SECONDS = 300.0
_LOOK_SECONDS = 15.0
_STOP_SECONDS = 5.0
_MOST_LOOKS = 240  # that are remembered of a partition
INTAKE = "intake"


class Arrivals:
    """When the records of one partition were first seen to be there. Times are epoch seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()
        self._began: float | None = None

    def note(self, now: float, end: int) -> None:
        """At `now` the partition ended at `end`."""
        if self._began is None:
            self._began = now
        if not self._seen or end > self._seen[-1][1]:
            self._seen.append((now, end))
        if len(self._seen) > _MOST_LOOKS:
            # The oldest stays, so that nothing seems to have waited less than it has.
            self._seen = deque([self._seen[0], *list(self._seen)[2::2]])

    def since(self, at: int) -> tuple[float, bool] | None:
        """Since when the record at offset `at` has been there, and whether it was there at the
        first look; None where nothing is there yet. Forgets what lies before it."""
        while self._seen and self._seen[0][1] <= at:
            self._seen.popleft()
        if not self._seen:
            return None
        return self._seen[0][0], self._seen[0][0] == self._began


def late(waits: Mapping[str, float | None], longest: float = LONGEST_SECONDS) -> str | None:
    """Who lags, in a sentence; None where nobody does. `waits` are seconds by processor, None where
    it has not been looked at yet."""
    unknown = sorted(name for name, wait in waits.items() if wait is None)
    if unknown:
        return f"nothing is known yet of {', '.join(unknown)}"
    found = [
        f"{name} is {wait:,.0f} s behind"
        for name, wait in sorted(waits.items())
        if wait is not None and wait > longest
    ]
    return "; ".join(found) or None


class Health:
    """A thread that looks every 15 seconds at how far the groups of `processors` have read, and at
    how far intake has read its sources: `feeds` gives those that are known.

    `waits` and `healthy` may be called by any thread.
    """

    def __init__(
        self,
        settings: Settings,
        processors: Sequence[Processor[Any]],
        feeds: Callable[[], Iterable[WorkflowFeed]] = tuple,
        *,
        longest: float = LONGEST_SECONDS,
        look_every: float = _LOOK_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._processors = processors
        self._feeds = feeds
        self._longest = longest
        self._every = look_every
        self._clock = clock
        self._arrivals: dict[tuple[str, Place], Arrivals] = {}
        self._sources: dict[str, float] = {}  # since when one that was never read is known
        self._waits: dict[str, float | None] = dict.fromkeys([each.name for each in processors])
        self._looked: float | None = None
        self._why = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="alerts-health", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; one that waits for a broker is not waited for."""
        self._stop.set()
        self._thread.join(_STOP_SECONDS)

    def waits(self) -> dict[str, float | None]:
        """Seconds that the oldest unread record has waited, by processor; 0 where none does."""
        return dict(self._waits)

    def healthy(self) -> str | None:
        """None when all keep up; else who does not, or why nobody knows."""
        now = self._clock()
        if self._looked is None or now - self._looked > self._longest:
            return f"Kafka does not tell how far the processors are{self._why}"
        return late(self._waits, self._longest)

    def _run(self) -> None:
        while True:
            try:
                self.look()
                self._why = ""
            except (KafkaException, SettingsError, LaneError) as error:
                failure = clients.failure_of(error)
                self._why = f": {error if failure is None else reason(failure)}"
                log.warning("the lag of the processors is not known%s", self._why)
            except Exception as error:
                self._why = f": our defect: {type(error).__name__}"
                log.exception("our defect: the lag of the processors is not known")
            if self._stop.wait(self._every):
                return

    def look(self) -> None:
        """Look once. Raises `KafkaException`, `LaneError` or `SettingsError` where Kafka does not
        tell; what was known stays."""
        admin = clients.admin(self._settings)
        try:
            waits: dict[str, float | None] = {
                each.name: self._wait(admin, each) for each in self._processors
            }
        finally:
            clients.close_admin(admin)
        now = self._clock()
        waits[INTAKE] = self._intake(now)
        self._waits, self._looked = waits, now

    def _intake(self, now: float) -> float:
        """How long ago the source that is read least was read to its end."""
        feeds = list(self._feeds())
        self._sources = {each.source: self._sources.get(each.source, now) for each in feeds}
        read = [
            self._sources[each.source] if each.read_to is None else each.read_to / 1000
            for each in feeds
        ]
        return max(0.0, now - min(read)) if read else 0.0

    def _wait(self, admin: AdminClient, processor: Processor[Any]) -> float:
        group = clients.group_id(self._settings, processor.name)
        names = [physical(name, self._settings.topic_prefix) for name in processor.inputs]
        seen = look(admin, names, CALL_SECONDS).topics
        places = [(topic, number) for topic in seen for number in seen[topic].leaders]
        if not places:
            return 0.0
        read = committed(self._settings, group, places, CALL_SECONDS)
        there = bounds(admin, places)
        now = self._clock()
        waiting: dict[Place, int] = {}
        since: dict[Place, tuple[float, bool]] = {}
        for place in places:
            at = max(read.get(place, there[place].first), there[place].first)
            arrivals = self._arrivals.setdefault((processor.name, place), Arrivals())
            arrivals.note(now, there[place].end)
            found = arrivals.since(at)
            if found is not None and (found[1] or now - found[0] > self._longest):
                waiting[place] = at
            if found is not None:
                since[place] = found
        # Only where it matters: whether more than markers of transactions lies there, and since
        # when.
        times = first_times(self._settings, waiting)
        for place in waiting:
            if place not in times:
                del since[place]
            elif since[place][1]:
                since[place] = min(since[place][0], times[place] or now), True
        return max((now - moment for moment, _ in since.values()), default=0.0)


def first_times(settings: Settings, places: Mapping[Place, int]) -> dict[Place, float | None]:
    """The timestamp (epoch seconds, None: it has none) of the first record from an offset on, by
    partition. A partition with nothing but markers of transactions there is left out.

    Raises `KafkaException` without an answer in time.
    """
    found: dict[Place, float | None] = {}
    if not places:
        return found
    open_ = set(places)
    reader = clients.reader(settings)
    try:
        reader.assign([TopicPartition(*place, offset) for place, offset in places.items()])
        limit = time.monotonic() + CALL_SECONDS
        while open_:
            if time.monotonic() > limit:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "no record was read"))
            message = reader.poll(0.2)
            if message is None:
                continue
            topic, number, error = message.topic(), message.partition(), message.error()
            place = (topic or "", number or 0)
            if place not in open_:
                continue
            if error is None:
                _, at = message.timestamp()
                found[place] = at / 1000 if at > 0 else None
            elif error.code() != KafkaError._PARTITION_EOF:
                if error.retriable():
                    continue
                raise KafkaException(error)
            open_.discard(place)
    finally:
        reader.close()
    return found
