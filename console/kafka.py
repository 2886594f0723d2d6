"""Reading and writing topics for people: read_committed, no group, every answer with a limit.

`connect` is first in each command that needs a broker: it says within seconds that none is there.
"""

import logging
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import (
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import ClusterMetadata

from console.errors import CommandError, DeclinedError, UnreachableError
from console.output import Progress
from processors.partitioning import partition_of
from processors.runtime import clients
from processors.runtime.settings import Settings, load_settings
from schemas.flow import Headers, Record
from topics.catalogue import physical

ANSWER_SECONDS = 5.0
_LEADERLESS = (KafkaError.LEADER_NOT_AVAILABLE, KafkaError.NOT_LEADER_FOR_PARTITION)
# librdkafka's lines stay off the terminal where nobody set up logging: our sentences say it.
clients.log.addHandler(logging.NullHandler())


@dataclass(frozen=True)
class Cluster:
    """A cluster that has answered: the settings, and what it said of its brokers and topics."""

    settings: Settings
    metadata: ClusterMetadata

    def name(self, topic: str) -> str:
        """The name of a canonical topic on this cluster."""
        return physical(topic, self.settings.topic_prefix)

    def partitions(self, topic: str) -> list[int]:
        """The partitions of a canonical topic. Raises `DeclinedError` when it does not exist."""
        found = self.metadata.topics.get(self.name(topic))
        if found is None or not found.partitions:
            raise DeclinedError(
                f"the topic {self.name(topic)} does not exist on "
                f"{self.settings.kafka_bootstrap_servers}; make it with: handoff topics apply"
            )
        return sorted(found.partitions)

    def partition_of(self, topic: str, key: str) -> int:
        """Where our producers put a key of a canonical topic."""
        return partition_of(key.encode(), len(self.partitions(topic)))


def connect(settings: Settings | None = None) -> Cluster:
    """Ask the broker of the settings for its topics.

    Raises `UnreachableError` when it does not answer, `SettingsError` for bad settings.
    """
    settings = settings or load_settings()
    try:
        metadata = clients.admin(settings).list_topics(timeout=ANSWER_SECONDS)
    except KafkaException as error:
        raise unreachable(settings, error) from None
    return Cluster(settings, metadata)


def unreachable(settings: Settings, error: KafkaException) -> CommandError:
    """The sentence for a broker that does not answer."""
    reason = error.args[0].str() if isinstance(error.args[0], KafkaError) else str(error)
    return UnreachableError(
        f"no Kafka broker answers at {settings.kafka_bootstrap_servers} ({reason}); start one with "
        "`handoff up`, or set HANDOFF_KAFKA_BOOTSTRAP_SERVERS"
    )


def client_config(settings: Settings) -> dict[str, Any]:
    """What a client needs that writes, or that makes topics."""
    return {
        **settings.kafka,
        "bootstrap.servers": settings.kafka_bootstrap_servers,
        "client.id": settings.application_id,
        "log_level": 0,  # each call reports its own errors
    }


class Writer:
    """Writes records and knows what became of each: use as a context, which waits for the rest.

    Partitions by murmur2, as every producer of ours. `failed` holds (label, reason) of the records
    that the cluster did not take; `place` is partition and offset of the last one that it took.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._producer = Producer(
            {
                **client_config(cluster.settings),
                "enable.idempotence": True,
                "partitioner": "murmur2_random",
                "linger.ms": 5,
                "message.max.bytes": clients.MAX_MESSAGE_BYTES,
                "message.timeout.ms": 30_000,
            }
        )
        self.delivered = 0
        self.failed: list[tuple[str, str]] = []
        self.place = (-1, -1)

    def write(self, topic: str, key: bytes, value: bytes, headers: Headers, label: str) -> None:
        """Queue one record for a canonical topic; `label` names it in `failed`."""

        def done(error: KafkaError | None, message: Message) -> None:
            if error is None:
                self.delivered += 1
                self.place = (message.partition() or 0, message.offset() or 0)
            else:
                self.failed.append((label, error.str()))

        while True:
            try:
                self._producer.produce(
                    self._cluster.name(topic), value, key, headers=list(headers), on_delivery=done
                )
            except BufferError:
                self._producer.poll(0.1)
            except KafkaException as error:
                self.failed.append((label, error.args[0].str()))
                return
            else:
                self._producer.poll(0)
                return

    def flush(self) -> None:
        """Wait until every record was taken or has failed (`message.timeout.ms` ends the wait)."""
        while self._producer.flush(1.0):
            pass


def write_all(cluster: Cluster, topic: str, records: Iterable[tuple[str, bytes]]) -> None:
    """Write (key, value) records and wait for all; `UnreachableError` if one was not taken."""
    cluster.partitions(topic)
    writer = Writer(cluster)
    for key, value in records:
        writer.write(topic, key.encode(), value, [], key)
    writer.flush()
    if writer.failed:
        label, reason = writer.failed[0]
        raise UnreachableError(
            f"{cluster.name(topic)} did not take {len(writer.failed)} of "
            f"{len(writer.failed) + writer.delivered} records, the first {label}: {reason}; "
            "run the command again"
        )


class Reader:
    """Reads canonical topics from `begin` to now, or on and on; read_committed, without a group.

    `only` names the partitions to read of a topic; of the topics that it does not name, all.
    """

    def __init__(
        self,
        cluster: Cluster,
        topics: Iterable[str],
        *,
        from_beginning: bool,
        only: Mapping[str, Collection[int]] | None = None,
    ) -> None:
        self._settings = cluster.settings
        self._canonical = {cluster.name(topic): topic for topic in topics}
        self._consumer = clients.reader(cluster.settings)
        begin = []
        for name, topic in self._canonical.items():
            there = cluster.partitions(topic)
            for partition in (only or {}).get(topic, there):
                low, high = self._bounds(name, partition)
                begin.append(TopicPartition(name, partition, low if from_beginning else high))
        self._waiting = {(place.topic, place.partition) for place in begin}
        self._consumer.assign(begin)

    def _bounds(self, name: str, partition: int) -> tuple[int, int]:
        # Asked for by number and now: "the beginning" costs librdkafka half a second to find, and
        # "the end" would be where the first fetch gets to, past what comes until then.
        place = TopicPartition(name, partition)
        limit = time.monotonic() + ANSWER_SECONDS
        while True:
            try:
                low, high = self._consumer.get_watermark_offsets(place, timeout=ANSWER_SECONDS)
                return int(low), int(high)
            except KafkaException as error:
                # A topic that was just made has no leader for a moment.
                if error.args[0].code() not in _LEADERLESS or time.monotonic() > limit:
                    raise unreachable(self._settings, error) from None
            time.sleep(0.05)

    def at_end(self) -> bool:
        """Whether every partition has been read to an end that it had while reading."""
        return not self._waiting

    def poll(self, seconds: float) -> Record | None:
        """The next record, or None when `seconds` have passed without one."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 or seconds == 0:
            message = self._consumer.poll(max(left, 0))
            if message is None:
                return None
            error = message.error()
            if error is None:
                return self._record(message)
            if error.code() == KafkaError._PARTITION_EOF:
                self._waiting.discard((message.topic(), message.partition()))
                if self.at_end():
                    return None
            elif error.fatal() or not error.retriable():
                raise unreachable(self._settings, KafkaException(error))
        return None

    def _record(self, message: Any) -> Record:
        return Record(
            topic=self._canonical[message.topic()],
            partition=message.partition(),
            offset=message.offset(),
            key=message.key(),
            value=message.value(),
            timestamp=message.timestamp()[1],
            headers=message.headers() or [],
        )

    def to_end(self) -> Iterator[Record]:
        """All records up to the end. Raises `UnreachableError` when the broker stops answering."""
        idle_since = time.monotonic()
        while not self.at_end():
            record = self.poll(0.5)
            if record is not None:
                idle_since = time.monotonic()
                yield record
            elif time.monotonic() - idle_since > 4 * ANSWER_SECONDS:
                raise UnreachableError(
                    f"the broker at {self._settings.kafka_bootstrap_servers} stopped answering; "
                    "look at it with: handoff doctor"
                )

    def close(self) -> None:
        """Give the connection back."""
        self._consumer.close()


def read_all(
    cluster: Cluster,
    topics: Iterable[str],
    what: str = "records",
    only: Mapping[str, Collection[int]] | None = None,
) -> Iterator[Record]:
    """All that canonical topics hold, from their beginning to now; progress on standard error.

    `what` is what the progress counts; `only` and what is raised are as of `Reader`.
    """
    reader = Reader(cluster, topics, from_beginning=True, only=only)
    read = 0
    progress = Progress(lambda: f"{read:,} {what} read")
    try:
        for record in reader.to_end():
            read += 1
            progress.tick()
            yield record
    finally:
        reader.close()


def read_table(cluster: Cluster, topic: str) -> dict[str, bytes]:
    """What a compacted topic holds: the last value of each key, deleted ones left out."""
    table: dict[str, bytes] = {}
    for record in read_all(cluster, [topic], f"records of {cluster.name(topic)}"):
        key = (record.key or b"").decode("utf-8", "replace")
        if record.value is None:
            table.pop(key, None)
        else:
            table[key] = record.value
    return table


class Judged:
    """Asks how far a processor is: whether it has committed past a record of ours."""

    def __init__(self, cluster: Cluster, processor: str) -> None:
        self._cluster = cluster
        group = clients.group_id(cluster.settings, processor)
        # Not an admin client, as `groups` explains.
        self._onlooker = clients.onlooker(cluster.settings, group)

    def past(self, topic: str, partition: int, offset: int) -> bool:
        """Whether what follows from the record is on its topics; false when nobody says."""
        place = TopicPartition(self._cluster.name(topic), partition)
        try:
            (found,) = self._onlooker.committed([place], ANSWER_SECONDS)
        except KafkaException:
            return False
        return bool(found.offset > offset)
