"""Until when the deadlines of a partition may fire: nobody is blamed before the waiting is read.

A deadline at D fires when every input of its partition has been read to the end that it had at D or
later: after an outage, the acks that wait in the topic come first. The end is the last stable
offset, which is as far as a read_committed consumer can read. What was read is the next offset, or
the offset of an end-of-partition event: control records at the end are never delivered, so the
records alone may never reach it. librdkafka gives such an event once, so it is remembered.
"""

import logging
import time
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

from confluent_kafka import IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from processors.runtime import clients
from processors.runtime.restoration import CALL_SECONDS, Place
from topics.rights import Right, reason

log = logging.getLogger("handoff.gate")

_ASK_SECONDS = 0.05  # between two questions
_RETRY_SECONDS = 0.5  # after one that failed
_LATEST = OffsetSpec.latest()  # type: ignore[no-untyped-call]


class Gate:
    """The ends of the inputs, asked for without waiting, and the moments that they open.

    A partition waits for one end at a time: under load a newer one would always lie ahead.
    """

    def __init__(self, admin: AdminClient, topics: list[str]) -> None:
        self._admin = admin
        self._topics = topics
        self._open: dict[int, int] = {}  # deadlines up to this moment (epoch ms) may fire
        self._ends: dict[int, tuple[int, dict[Place, int]]] = {}  # to be read to: moment, ends
        self._eof: dict[Place, int] = {}
        self._asked: tuple[int, dict[TopicPartition, Future[Any]]] | None = None
        self._ask_at = 0.0

    @property
    def asking(self) -> bool:
        """Whether an answer is on its way."""
        return self._asked is not None

    def at_end(self, place: Place, offset: int) -> None:
        """An end-of-partition event."""
        self._eof[place] = max(offset, self._eof.get(place, 0))

    def sought(self, place: Place) -> None:
        """An input goes back: what it had reached has to be reached again."""
        self._eof.pop(place, None)
        self._open.pop(place[1], None)
        self._ends.pop(place[1], None)

    def reached(self, following: Mapping[Place, int]) -> dict[Place, int]:
        """How far each input was read, control records at its end counted."""
        return {place: max(at, self._eof.get(place, 0)) for place, at in following.items()}

    def clear(self) -> None:
        """The partitions changed."""
        self._open.clear()
        self._ends.clear()
        self._eof.clear()
        self._asked = None

    def open(
        self, due: Mapping[int, int], following: Mapping[Place, int], now: int
    ) -> dict[int, int]:
        """For each partition whose earliest deadline `due` may fire: until when they all may.

        `following` is what comes next in each input, `now` epoch ms. Asks for the ends that it
        needs; the answers count at a later call.
        """
        self._answers()
        found: dict[int, int] = {}
        unknown: list[int] = []
        for number, at in due.items():
            self._read_to_end(number, following)
            opened = self._open.get(number)
            if opened is not None and at <= opened:
                found[number] = opened
            elif number not in self._ends:
                unknown.append(number)
        if unknown and self._asked is None and time.monotonic() >= self._ask_at:
            self._ask(unknown, now)
        return found

    def _read_to_end(self, number: int, following: Mapping[Place, int]) -> None:
        if number not in self._ends:
            return
        moment, ends = self._ends[number]
        if all(
            max(following[place], self._eof.get(place, 0)) >= end for place, end in ends.items()
        ):
            self._open[number] = moment
            del self._ends[number]

    def _ask(self, numbers: list[int], now: int) -> None:
        self._ask_at = time.monotonic() + _ASK_SECONDS
        places = [TopicPartition(topic, number) for topic in self._topics for number in numbers]
        try:
            futures = self._admin.list_offsets(
                dict.fromkeys(places, _LATEST),
                isolation_level=IsolationLevel.READ_COMMITTED,
                request_timeout=CALL_SECONDS,
            )
        except KafkaException as error:
            self._failed(reason(error.args[0]))
        else:
            self._asked = now, futures

    def _answers(self) -> None:
        """Take the answer, when all of it is there."""
        if self._asked is None:
            return
        moment, futures = self._asked
        if not all(future.done() for future in futures.values()):
            return
        self._asked = None
        ends: dict[int, dict[Place, int]] = {}
        for place, future in futures.items():
            try:
                offset = clients.offset_of(future.result())
            except KafkaException as error:
                self._failed(reason(error.args[0], Right("READ", "topic", place.topic)))
                return
            ends.setdefault(place.partition, {})[place.topic, place.partition] = offset
        for number, found in ends.items():
            self._ends[number] = moment, found

    def _failed(self, why: str) -> None:
        self._ask_at = time.monotonic() + _RETRY_SECONDS
        log.warning("deadlines wait: the ends of the inputs cannot be read: %s", why)
