"""Finds an input that stands still: records wait in it, and the consumer does not give them.

Seen once on librdkafka 2.16: after a seek while its broker came back, a consumer gave nothing of a
partition any more, without an error. A new consumer reads on.

What waits is asked of Kafka, up to the last stable offset: what lies behind the open transaction of
another producer cannot be read by anybody.
"""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

from confluent_kafka import IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from processors.runtime import clients
from processors.runtime.restoration import CALL_SECONDS, Place

ASK_SECONDS = 10.0
# Aborted records are read and not given: a consumer gets over gigabytes of them in this time.
STILL_SECONDS = 60.0
_LATEST = OffsetSpec.latest()  # type: ignore[no-untyped-call]


class Standstill:
    """Asks for the ends of the inputs now and then, without waiting, and remembers since when an
    input has been behind its end at the same offset."""

    def __init__(self, admin: AdminClient, clock: Callable[[], float] = time.monotonic) -> None:
        self._admin = admin
        self._clock = clock
        self._asked: dict[TopicPartition, Future[Any]] = {}
        self._at: dict[Place, int] = {}  # where they stood when that was asked
        self._ask_at = clock() + ASK_SECONDS
        self._since: dict[Place, tuple[int, float]] = {}  # behind at this offset, since when

    def clear(self) -> None:
        """The partitions changed, or were not read on purpose."""
        self._asked = {}
        self._since.clear()
        self._ask_at = self._clock() + ASK_SECONDS

    def find(self, reached: Mapping[Place, int]) -> Place | None:
        """An input that stands still; `reached` is how far each one was read."""
        now = self._clock()
        if self._asked:
            if not all(future.done() for future in self._asked.values()):
                return None
            self._answered(reached, now)
        elif now >= self._ask_at:
            self._ask(reached, now)
        for place, (_, since) in self._since.items():
            if now - since >= STILL_SECONDS:
                return place
        return None

    def _ask(self, reached: Mapping[Place, int], now: float) -> None:
        self._ask_at = now + ASK_SECONDS
        still = {place: at for place, at in reached.items() if self._at.get(place) == at}
        self._since = {place: kept for place, kept in self._since.items() if place in still}
        self._at = dict(reached)
        if not still:
            return
        try:
            self._asked = self._admin.list_offsets(
                {TopicPartition(*place): _LATEST for place in still},
                isolation_level=IsolationLevel.READ_COMMITTED,
                request_timeout=CALL_SECONDS,
            )
        except KafkaException:
            self._since.clear()  # nobody knows what waits

    def _answered(self, reached: Mapping[Place, int], now: float) -> None:
        asked, self._asked = self._asked, {}
        for each, future in asked.items():
            place = each.topic, each.partition
            try:
                end = clients.offset_of(future.result())
            except KafkaException:
                self._since.pop(place, None)
                continue
            at = reached.get(place)
            if at is None or at >= end or at != self._at.get(place):
                self._since.pop(place, None)
            elif place not in self._since:
                self._since[place] = at, now
