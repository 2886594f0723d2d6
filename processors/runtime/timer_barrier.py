"""The moment up to which the timers of a partition may fire.

A timer that is due at D fires only after every input of its partition has been read to the end that
the input had at D or later. So after an outage, an ack that waits in the topic is read before the
timer that it would have stopped.

The end is the last stable offset: a read_committed consumer cannot read further.
"""

import logging
import time
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from processors.runtime import clients
from processors.runtime.restoration import Place, ask_stable_ends
from topics.rights import Right, reason

log = logging.getLogger("handoff.timers")

_ASK_SECONDS = 0.05  # between two questions
_RETRY_SECONDS = 0.5  # after one that failed


class TimerBarrier:
    """Asks for the ends of the inputs, without waiting for the answer, and lets timers pass.

    A partition waits for one end at a time. Under load a newer end would always lie ahead of what
    was read, and no timer would ever pass.
    """

    def __init__(self, admin: AdminClient, topics: list[str]) -> None:
        self._admin = admin
        self._topics = topics
        self._passed: dict[int, int] = {}  # timers up to this moment (epoch ms) may fire
        self._known: dict[int, Any] = {}  # by moment: what was known when the ends were asked for
        # By partition: when the ends were asked for, and the ends to read to.
        self._ends: dict[int, tuple[int, dict[Place, int]]] = {}
        self._asked: tuple[int, dict[TopicPartition, Future[Any]]] | None = None
        self._ask_at = 0.0

    @property
    def asking(self) -> bool:
        """Whether an answer is on its way."""
        return self._asked is not None

    def on_seek(self, place: Place) -> None:
        """The consumer goes back in an input: timers wait until the end is reached again."""
        self._passed.pop(place[1], None)
        self._ends.pop(place[1], None)

    def clear(self) -> None:
        """The assignment has changed."""
        self._passed.clear()
        self._ends.clear()
        self._known.clear()
        self._asked = None

    def passable(
        self, due: Mapping[int, int], reached: Mapping[Place, int], now: int, known: Any = None
    ) -> dict[int, int]:
        """For each partition whose earliest timer may fire: the moment up to which all may.

        `due` is the earliest timer of each partition, `now` the present moment (epoch ms both),
        `reached` how far each input partition was read. Asks for the ends that it needs; a
        later call uses the answers. `known` is what is known now, and `known_at` gives it back.
        """
        self._answers()
        found: dict[int, int] = {}
        unknown: list[int] = []
        for number, at in due.items():
            self._read_to_end(number, reached)
            passed = self._passed.get(number)
            if passed is not None and at <= passed:
                found[number] = passed
            elif number not in self._ends:
                unknown.append(number)
        if unknown and self._asked is None and time.monotonic() >= self._ask_at:
            self._ask(unknown, now)
            self._known = {
                moment: what for moment, what in self._known.items() if moment in self._moments()
            }
            self._known[now] = known
        return found

    def known_at(self, moment: int) -> Any:
        """What was known at a moment up to which timers may fire."""
        return self._known.get(moment)

    def _moments(self) -> set[int]:
        return {*self._passed.values(), *(moment for moment, _ in self._ends.values())}

    def _read_to_end(self, number: int, reached: Mapping[Place, int]) -> None:
        if number not in self._ends:
            return
        moment, ends = self._ends[number]
        if all(reached[place] >= end for place, end in ends.items()):
            self._passed[number] = moment
            del self._ends[number]

    def _ask(self, numbers: list[int], now: int) -> None:
        self._ask_at = time.monotonic() + _ASK_SECONDS
        places = [(topic, number) for topic in self._topics for number in numbers]
        try:
            futures = ask_stable_ends(self._admin, places)
        except KafkaException as error:
            self._failed(reason(error.args[0]))
        else:
            self._asked = now, futures

    def _answers(self) -> None:
        """Take the answer, if it is complete."""
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
