"""Finds a stalled input: records wait in a partition, and the consumer delivers none of them.

Seen once on librdkafka 2.16: a consumer did a seek while its broker restarted. From then on it
delivered nothing of one partition, without an error. A new consumer reads on.

Kafka is asked for the end of the partition, which is its last stable offset: records after it
belong to an open transaction of another producer, and no read_committed consumer gets them yet.
"""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from processors.runtime import clients
from processors.runtime.restoration import Place, ask_stable_ends

ASK_SECONDS = 10.0
# A consumer skips aborted records without delivering any: in this time it skips gigabytes of them.
STALLED_SECONDS = 60.0


class StalledInputDetector:
    """Asks for the ends of the inputs every `ASK_SECONDS`, without waiting for the answer.
    Remembers since when an input has been at the same offset, before its end."""

    def __init__(self, admin: AdminClient, clock: Callable[[], float] = time.monotonic) -> None:
        self._admin = admin
        self._clock = clock
        self._asked: dict[TopicPartition, Future[Any]] = {}
        self._at: dict[Place, int] = {}  # how far they were read when the question was sent
        self._ask_at = clock() + ASK_SECONDS
        self._since: dict[Place, tuple[int, float]] = {}  # where, since when

    def clear(self) -> None:
        """The assignment has changed, or the inputs are paused: start to measure again."""
        self._asked = {}
        self._since.clear()
        self._ask_at = self._clock() + ASK_SECONDS

    def find(self, reached: Mapping[Place, int]) -> Place | None:
        """A stalled input, if there is one; `reached` is how far each input was read."""
        now = self._clock()
        if self._asked:
            if not all(future.done() for future in self._asked.values()):
                return None
            self._answered(reached, now)
        elif now >= self._ask_at:
            self._ask(reached, now)
        for place, (_, since) in self._since.items():
            if now - since >= STALLED_SECONDS:
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
            self._asked = ask_stable_ends(self._admin, still)
        except KafkaException:
            self._since.clear()  # it is not known whether records wait

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
