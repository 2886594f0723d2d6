"""How far foreign topics were read: up to which moment, and how many records are left.

All that was in a partition at a moment was read once the end that it had at that moment is reached.
The end is the last stable offset: a read_committed consumer cannot read further.
"""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from processors.runtime import clients
from processors.runtime.restoration import Place, ask_stable_ends

_ASK_SECONDS = 1.0


def _now() -> int:
    return time.time_ns() // 1_000_000


class ReadMarks:
    """Asks for the ends of the partitions each second, without waiting for the answer.

    `read_to` is the moment (epoch ms) up to which each partition was read. It stays true when the
    partition goes to another instance. A partition waits for one end at a time: under load a newer
    one would always lie ahead.
    """

    def __init__(self, admin: AdminClient, clock: Callable[[], int] = _now) -> None:
        self._admin = admin
        self._clock = clock
        self._ends: dict[Place, tuple[int, int]] = {}  # when it was asked for, and the end
        self._latest: dict[Place, int] = {}  # the end as it was told last
        self._asked: tuple[int, dict[TopicPartition, Future[Any]]] | None = None
        self._ask_at = 0.0
        self.read_to: dict[Place, int] = {}

    def on_seek(self, place: Place) -> None:
        """The consumer goes back in a partition."""
        self._ends.pop(place, None)

    def clear(self) -> None:
        """The assignment has changed."""
        self._ends.clear()
        self._latest.clear()
        self._asked = None
        self.read_to.clear()

    def lag(self, reached: Mapping[Place, int]) -> dict[Place, int]:
        """The records that are left of each partition, as far as its end is known. `reached` is how
        far each was read."""
        return {
            place: max(0, self._latest[place] - at)
            for place, at in reached.items()
            if place in self._latest
        }

    def look(self, settled: Mapping[Place, int]) -> None:
        """Take the answers. `settled` is how far each partition was read and committed."""
        self._answers()
        for place, at in settled.items():
            moment, end = self._ends.get(place, (0, at + 1))
            if at >= end:
                self.read_to[place] = moment
                del self._ends[place]

    def ask(self, positions: Mapping[Place, int]) -> None:
        """Ask for the ends of these partitions, if it is time."""
        if self._asked is not None or not positions or time.monotonic() < self._ask_at:
            return
        self._ask_at = time.monotonic() + _ASK_SECONDS
        try:
            futures = ask_stable_ends(self._admin, positions)
        except KafkaException:
            return  # it is asked again
        self._asked = self._clock(), futures

    def _answers(self) -> None:
        if self._asked is None:
            return
        moment, futures = self._asked
        if not all(future.done() for future in futures.values()):
            return
        self._asked = None
        for at, future in futures.items():
            try:
                end = clients.offset_of(future.result())
            except KafkaException:
                continue  # a topic that vanished says nothing of the others
            place = (at.topic, at.partition)
            self._latest[place] = end
            self._ends.setdefault(place, (moment, end))
