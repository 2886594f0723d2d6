"""Records, read from Kafka when somebody looks at them. Nothing of them is kept.

Who calls this asks only for places that the read model holds. A place whose record retention or
compaction took has no record any more: that is an answer, and no error.
"""

import logging
import queue
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from console.errors import UnreachableError
from console.kafka import failed
from processors.runtime import clients
from processors.runtime.restoration import TRANSIENT_READER_ERRORS
from processors.runtime.settings import Settings
from schemas.flow import Record
from topics.catalogue import physical
from topics.headers import headers
from topics.rights import Right
from web.model.queries.common import Place

log = logging.getLogger("handoff.console")

_POOL: Final = 4  # consumers, each with a connection to every broker that it read from
_SECONDS: Final = 5.0  # for all that one page reads
_FAR: Final = 200  # records between two places; farther ones are sought
_GONE: Final = (
    KafkaError._AUTO_OFFSET_RESET,
    KafkaError.OFFSET_OUT_OF_RANGE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_PARTITION,
    KafkaError._UNKNOWN_TOPIC,
)


class RecordReader:
    """Reads records by their places, read_committed and without a group. Any thread may use it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._idle: queue.LifoQueue[Any] = queue.LifoQueue()
        self._free: queue.LifoQueue[None] = queue.LifoQueue()
        for _ in range(_POOL):
            self._free.put(None)

    def read(self, places: Iterable[Place]) -> dict[Place, Record]:
        """The records at these places that are still there. Raises `CommandError` when the broker
        does not answer in time, or refuses."""
        wanted: dict[tuple[str, int], list[int]] = {}
        for place in sorted(set(places)):
            wanted.setdefault((place.topic, place.partition), []).append(place.offset)
        if not wanted:
            return {}
        with self._consumer() as consumer:
            return _Reading(consumer, self._settings, wanted).run()

    @contextmanager
    def _consumer(self) -> Iterator[Any]:
        try:
            self._free.get(timeout=_SECONDS)
        except queue.Empty:
            raise _late(self._settings) from None
        try:
            try:
                consumer = self._idle.get_nowait()
            except queue.Empty:
                consumer = clients.reader(self._settings)
            try:
                yield consumer
                consumer.unassign()
            except BaseException:
                clients.close(consumer.close, "a reader of the console")
                raise
            self._idle.put(consumer)
        finally:
            self._free.put(None)

    def close(self) -> None:
        """Give the connections back."""
        while not self._idle.empty():
            clients.close(self._idle.get_nowait().close, "a reader of the console")


class _Reading:
    """One look at some places with one consumer."""

    def __init__(
        self, consumer: Any, settings: Settings, wanted: dict[tuple[str, int], list[int]]
    ) -> None:
        self._consumer = consumer
        self._settings = settings
        self._canonical = {physical(topic, settings.topic_prefix): topic for topic, _ in wanted}
        self._left = {
            (physical(topic, settings.topic_prefix), partition): offsets
            for (topic, partition), offsets in wanted.items()
        }
        self._found: dict[Place, Record] = {}

    def run(self) -> dict[Place, Record]:
        self._consumer.assign(
            [TopicPartition(name, number, at[0]) for (name, number), at in self._left.items()]
        )
        limit = time.monotonic() + _SECONDS
        while self._left:
            for message in self._consumer.consume(200, 0.05):
                self._take(message)
            if self._left and time.monotonic() > limit:
                raise _late(self._settings)
        return self._found

    def _take(self, message: Any) -> None:
        here = message.topic(), message.partition()
        offsets = self._left.get(here)
        if offsets is None:
            return
        error = message.error()
        if error is not None:
            self._failed(here, error)
            return
        offset = message.offset()
        while offsets and offsets[0] < offset:  # compacted, or a mark of a transaction
            offsets.pop(0)
        if offsets and offsets[0] == offset:
            offsets.pop(0)
            record = Record(
                topic=self._canonical[here[0]],
                partition=here[1],
                offset=offset,
                key=message.key(),
                value=message.value(),
                timestamp=message.timestamp()[1],
                headers=headers(message),
            )
            self._found[Place(record.topic, record.partition, offset)] = record
        if not offsets:
            self._done(here)
        elif offsets[0] - offset > _FAR:
            self._consumer.seek(TopicPartition(*here, offsets[0]))

    def _failed(self, here: tuple[str, int], error: KafkaError) -> None:
        if error.code() == KafkaError._PARTITION_EOF:
            self._done(here)  # what was wanted behind the end is not there any more
        elif error.code() in _GONE:
            self._from_the_beginning(here)
        elif not error.retriable() and error.code() not in TRANSIENT_READER_ERRORS:
            raise failed(self._settings, error, Right("READ", "topic", here[0]))

    def _from_the_beginning(self, here: tuple[str, int]) -> None:
        """Retention took what was wanted first: go on with what it left."""
        try:
            low, _ = self._consumer.get_watermark_offsets(TopicPartition(*here), timeout=_SECONDS)
        except KafkaException:
            self._done(here)
            return
        left = [offset for offset in self._left[here] if offset >= low]
        if not left or left == self._left[here]:
            self._done(here)
            return
        self._left[here] = left
        self._consumer.incremental_unassign([TopicPartition(*here)])
        self._consumer.incremental_assign([TopicPartition(*here, left[0])])

    def _done(self, here: tuple[str, int]) -> None:
        self._left.pop(here, None)
        self._consumer.incremental_unassign([TopicPartition(*here)])


def _late(settings: Settings) -> UnreachableError:
    return UnreachableError(
        f"the broker at {settings.kafka_bootstrap_servers} did not answer within {_SECONDS:g} s; "
        "look at it with: handoff doctor"
    )
