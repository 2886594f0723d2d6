"""Reading and writing topics for people: read_committed, no group, every answer with a limit.

`connect` is first in each command that needs a broker: it says within ten seconds that none is
there, or why none lets us in. A missing right is named before anything is done, where the cluster
tells what may be done with a topic; else when it refuses.
"""

import logging
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from confluent_kafka import (
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from console.errors import FOUND_PROBLEMS, CommandError, DeclinedError, UnreachableError
from console.output import Progress, number, say
from processors.partitioning import partition_of
from processors.runtime import clients, tables
from processors.runtime.connection import Unreachable, reach
from processors.runtime.restoration import TRANSIENT_READER_ERRORS
from processors.runtime.settings import Settings, load_settings
from processors.runtime.transactions import Blocked, LaneError
from schemas.flow import Headers, Record
from topics.catalogue import NAMES, physical
from topics.headers import headers
from topics.look import Look, Seen, look
from topics.rights import Right, is_refusal, missing, reason, rights_of_a_producer

ANSWER_SECONDS = 5.0
_ASK_SECONDS = 1.0  # for what is asked again and again
_LOOK_SECONDS = 2.0  # between two of those questions
_LEADERLESS = (KafkaError.LEADER_NOT_AVAILABLE, KafkaError.NOT_LEADER_FOR_PARTITION)
# What was to be read next is not there: the topic was made anew, or was cut.
_OFFSET_GONE = (
    KafkaError._AUTO_OFFSET_RESET,
    KafkaError._LOG_TRUNCATION,
    KafkaError.OFFSET_OUT_OF_RANGE,
)
# librdkafka's lines stay off the terminal where nobody set up logging: our sentences say it.
clients.log.addHandler(logging.NullHandler())


@dataclass(frozen=True)
class Cluster:
    """A cluster that has answered: the settings, its brokers, and a client to ask it with.

    Topics are looked up by name, and what was seen of one is remembered.
    """

    settings: Settings
    brokers: tuple[int, ...]
    admin: AdminClient
    _seen: dict[str, Seen] = field(default_factory=dict, init=False, repr=False)

    def name(self, topic: str) -> str:
        """The name of a canonical topic on this cluster."""
        return physical(topic, self.settings.topic_prefix)

    def look(self, topics: Iterable[str]) -> Look:
        """Look canonical topics up now; what is found goes by their names on the cluster.

        Raises `UnreachableError`.
        """
        try:
            found = look(self.admin, map(self.name, topics), ANSWER_SECONDS)
        except KafkaException as error:
            raise failed(self.settings, error.args[0]) from None
        self._seen.update(found.topics)
        return found

    def has(self, topic: str) -> bool:
        """Whether a canonical topic is there to be read. Raises `DeclinedError` where that is not
        allowed."""
        found = self.look([topic])
        if lacking := found.lacks([Right("READ", "topic", self.name(topic))]):
            raise DeclinedError(missing(lacking))
        return self.name(topic) in found.topics

    def lacking(self, operation: Literal["READ", "WRITE"], topics: Iterable[str]) -> list[Right]:
        """The rights to an operation on canonical topics that are missing, as far as the cluster
        tells. Raises `DeclinedError` where one of the topics does not exist."""
        topics = list(topics)
        found = self.look(topics)
        for name in map(self.name, topics):
            if name not in found.topics and name not in found.hidden:
                raise _no_topic(self.settings, name)
        return found.lacks(Right(operation, "topic", self.name(topic)) for topic in topics)

    def check(self, operation: Literal["READ", "WRITE"], topics: Iterable[str]) -> None:
        """Raises `DeclinedError` where one of these canonical topics does not exist, or where the
        right to the operation on it is missing."""
        if lacking := self.lacking(operation, topics):
            raise DeclinedError(missing(lacking))

    def partitions(self, topic: str) -> list[int]:
        """The partitions of a canonical topic. Raises `DeclinedError` when it does not exist, or
        may not be read."""
        name = self.name(topic)
        if name not in self._seen:
            self.check("READ", [topic])
        return sorted(self._seen[name].leaders)

    def partition_of(self, topic: str, key: str) -> int:
        """Where our producers put a key of a canonical topic."""
        return partition_of(key.encode(), len(self.partitions(topic)))


def connect(settings: Settings | None = None) -> Cluster:
    """Ask the broker of the settings who is there.

    Raises `UnreachableError` when it does not answer or let us in, and `SettingsError`.
    """
    settings = settings or load_settings()
    try:
        admin, metadata = reach(settings)
    except Unreachable as error:
        raise UnreachableError(str(error)) from None
    return Cluster(settings, tuple(metadata.brokers), admin)


def failed(settings: Settings, error: KafkaError, *asked: Right) -> CommandError:
    """What a command ends with, when the broker refused what needs the rights `asked`, or was away
    after it had answered."""
    if is_refusal(error):
        return DeclinedError(reason(error, *asked))
    return UnreachableError(
        f"the broker at {settings.kafka_bootstrap_servers} stopped answering ({reason(error)}); "
        "look at it with: handoff doctor"
    )


def _no_topic(settings: Settings, name: str) -> CommandError:
    ours = {physical(each, settings.topic_prefix) for each in NAMES}
    return DeclinedError(
        f"the topic {name} does not exist on {settings.kafka_bootstrap_servers}; "
        + ("make it with: handoff topics apply" if name in ours else "check the name")
    )


class Writer:
    """Writes records and knows what became of each.

    Partitions by murmur2, as every producer of ours. `failed` holds (label, reason) of the records
    that the cluster did not take; `place` is partition and offset of the last one that it took.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._producer = Producer(
            {
                **cluster.settings.kafka,
                "bootstrap.servers": cluster.settings.kafka_bootstrap_servers,
                "client.id": cluster.settings.application_id,
                "enable.idempotence": True,
                "partitioner": "murmur2_random",
                "linger.ms": 5,
                "message.max.bytes": clients.MAX_MESSAGE_BYTES,
                "message.timeout.ms": 30_000,
            },
            logger=clients.log,  # else on the terminal; each record's error is told
        )
        self.delivered = 0
        self.failed: list[tuple[str, str]] = []
        self._written = 0
        self._refused = False
        self._broken: KafkaError | None = None  # why the producer has failed for good
        self.place = (-1, -1)

    def write(
        self, topic: str, key: bytes, value: bytes | None, headers: Headers, label: str
    ) -> None:
        """Queue one record for a canonical topic, None for a tombstone; `label` names it in
        `failed`."""
        name = self._cluster.name(topic)
        self._written += 1

        def done(error: KafkaError | None, message: Message) -> None:
            if error is None:
                self.delivered += 1
                self.place = (message.partition() or 0, message.offset() or 0)
            else:
                self._fail(label, error, name)

        while True:
            try:
                self._producer.produce(name, value, key, headers=list(headers), on_delivery=done)
            except BufferError:
                self._serve(0.1)
            except KafkaException as error:
                self._fail(label, error.args[0], name)
                return
            else:
                self._serve(0)
                return

    def flush(self) -> None:
        """Wait until every record was taken or has failed (`message.timeout.ms` ends the wait)."""
        while len(self._producer):
            self._serve(0.1)
        if self._broken is not None:  # then a callback may have been lost
            for _ in range(self._written - self.delivered - len(self.failed)):
                self._fail("what was on its way", self._broken, "")

    def error(self, message: str) -> CommandError:
        """What a command ends with, when records have failed."""
        return DeclinedError(message) if self._refused else UnreachableError(message)

    def _serve(self, seconds: float) -> None:
        try:
            self._producer.poll(seconds)
        except (KafkaException, SystemError) as error:
            self._broken = clients.failure_of(error)
            if self._broken is None:
                raise

    def _fail(self, label: str, error: KafkaError, topic: str) -> None:
        cause = self._broken or error  # what a broken producer drops was only purged
        self._refused = self._refused or is_refusal(cause)
        self.failed.append((label, reason(cause, *rights_of_a_producer(topic))))


def write_all(cluster: Cluster, topic: str, records: Iterable[tuple[str, bytes | None]]) -> None:
    """Write (key, value) records, None for a tombstone, and wait for all. Raises `DeclinedError`
    where that is not allowed, and `UnreachableError` if one was not taken."""
    cluster.check("WRITE", [topic])
    writer = Writer(cluster)
    for key, value in records:
        writer.write(topic, key.encode(), value, [], key)
    writer.flush()
    if writer.failed:
        label, why = writer.failed[0]
        raise writer.error(
            f"{cluster.name(topic)} did not take {len(writer.failed)} of "
            f"{len(writer.failed) + writer.delivered} records, the first {label}: {why}; "
            "run the command again"
        )


class TopicReader:
    """Reads canonical topics from `begin` to now, or on and on; read_committed, without a group.

    `only` names the partitions to read of a topic; of the topics that it does not name, all. `last`
    is how many offsets of each partition are read from the beginning at most, the newest ones.
    """

    def __init__(
        self,
        cluster: Cluster,
        topics: Iterable[str],
        *,
        from_beginning: bool,
        only: Mapping[str, Collection[int]] | None = None,
        last: int | None = None,
    ) -> None:
        self._settings = cluster.settings
        self._canonical = {cluster.name(topic): topic for topic in topics}
        cluster.check("READ", self._canonical.values())
        self._consumer = clients.reader(cluster.settings)
        begin = []
        for name, topic in self._canonical.items():
            there = cluster.partitions(topic)
            for partition in (only or {}).get(topic, there):
                low, high = self._bounds(name, partition)
                low = low if last is None else max(low, high - last)
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
                cause = error.args[0]
                if cause.code() not in _LEADERLESS or time.monotonic() > limit:
                    needed = Right("DESCRIBE", "topic", name)
                    raise failed(self._settings, cause, needed) from None
            time.sleep(0.05)

    def at_end(self) -> bool:
        """Whether every partition has been read to an end that it had while reading."""
        return not self._waiting

    def poll(self, seconds: float) -> Record | None:
        """The next record, or None when `seconds` have passed without one. Raises `CommandError`
        where what was to come next is not there any more, or the cluster refuses."""
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
            elif error.code() in _OFFSET_GONE:
                raise CommandError(
                    f"the records of {message.topic()} that were to come next are not there any "
                    "more: the topic was made anew, or they were deleted (retention); start the "
                    "command again",
                    FOUND_PROBLEMS,
                )
            elif error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise _no_topic(self._settings, message.topic() or "")
            elif error.code() not in TRANSIENT_READER_ERRORS and not error.retriable():
                topic = message.topic()
                needed = [Right("READ", "topic", topic)] if topic else []
                raise failed(self._settings, error, *needed)
        return None

    def _record(self, message: Any) -> Record:
        return Record(
            topic=self._canonical[message.topic()],
            partition=message.partition(),
            offset=message.offset(),
            key=message.key(),
            value=message.value(),
            timestamp=message.timestamp()[1],
            headers=headers(message),
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

    def lost(self, seconds: float) -> CommandError | None:
        """What there is to say when the broker does not answer within `seconds`, or has the topics
        no more; else None."""
        for name in self._canonical:
            try:
                found = self._consumer.list_topics(name, timeout=seconds)
            except KafkaException:
                return UnreachableError(
                    f"the broker at {self._settings.kafka_bootstrap_servers} does not answer; "
                    "look at it with: handoff doctor"
                )
            error = found.topics[name].error
            if error is not None and error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                return _no_topic(self._settings, name)
        return None

    def close(self) -> None:
        """Give the connection back."""
        self._consumer.close()


class Watch:
    """Looks after the broker of a reader to which nothing comes, and says when it is away."""

    def __init__(self, reader: TopicReader, settings: Settings) -> None:
        self._reader = reader
        self._broker = f"the broker at {settings.kafka_bootstrap_servers}"
        self._told = False
        self.heard()

    def heard(self) -> None:
        """Something came: the broker is there."""
        if self._told:
            say(f"{self._broker} answers again", err=True)
        self._told = False
        self._lost: CommandError | None = None  # at the last look
        self._since = time.monotonic()  # so long it has been as it was at the last look
        self._next = self._since + _LOOK_SECONDS

    def look(self) -> bool:
        """Look, if it is time: whether the broker is back, having been away at the look before.
        Raises `CommandError` where it has been there for some seconds without the topics."""
        if time.monotonic() < self._next:
            return False
        lost, before = self._reader.lost(_ASK_SECONDS), self._lost
        if lost is None:
            self.heard()
            return before is not None
        now = time.monotonic()
        self._lost, self._next = lost, now + _LOOK_SECONDS
        if before is not None and type(before) is not type(lost):
            self._since = now
        if now - self._since < ANSWER_SECONDS:
            return False
        if not isinstance(lost, UnreachableError):
            raise lost
        if not self._told:
            self._told = True
            say(
                f"{self._broker} does not answer; waiting for it. Look at it with: handoff doctor",
                err=True,
            )
        return False


def read_all(
    cluster: Cluster,
    topics: Iterable[str],
    what: str = "records",
    only: Mapping[str, Collection[int]] | None = None,
    last: int | None = None,
) -> Iterator[Record]:
    """All that canonical topics hold, from their beginning to now; progress on standard error.

    `what` is what the progress counts; `only`, `last` and what is raised are as of `TopicReader`.
    """
    reader = TopicReader(cluster, topics, from_beginning=True, only=only, last=last)
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
    """What a compacted topic holds: the last value of each key, deleted ones left out. Raises
    `DeclinedError` where that is not allowed, and `UnreachableError`."""
    cluster.check("READ", [topic])
    name, read = cluster.name(topic), 0
    progress = Progress(lambda: f"{number(read, 'record')} of {name} read")

    def one_more() -> None:
        nonlocal read
        read += 1
        progress.tick()

    try:
        table = tables.read_table(
            cluster.settings,
            cluster.admin,
            name,
            cluster.partitions(topic),
            to_stable=True,
            each=one_more,
        )
    except Blocked as error:
        raise DeclinedError(str(error)) from None
    except LaneError as error:
        raise UnreachableError(
            f"the broker at {cluster.settings.kafka_bootstrap_servers} stopped answering "
            f"({error}); look at it with: handoff doctor"
        ) from None
    return {key.decode("utf-8", "replace"): value for key, value in table.items()}


class ProcessorProgress:
    """Asks how far a processor is: whether it has committed past a record of ours.

    `lacking` is the right that is missing for it, once that is known.
    """

    def __init__(self, cluster: Cluster, processor: str) -> None:
        self._cluster = cluster
        self._group = clients.group_id(cluster.settings, processor)
        # Not an admin client, as `groups` explains.
        self._onlooker = clients.onlooker(cluster.settings, self._group)
        self.lacking: str | None = None

    def past(self, topic: str, partition: int, offset: int) -> bool:
        """Whether what follows from the record is on its topics; false when nobody says."""
        if self.lacking is not None:
            return False
        place = TopicPartition(self._cluster.name(topic), partition)
        try:
            (found,) = self._onlooker.committed([place], _ASK_SECONDS)
        except KafkaException:
            self._listen()
            return False
        return bool(found.offset > offset)

    def _listen(self) -> None:
        """Where the group may not be described, the call only times out, and this tells why."""
        told = self._onlooker.poll(0)
        error = None if told is None else told.error()
        if error is not None and is_refusal(error):
            self.lacking = reason(error, Right("DESCRIBE", "group", self._group))
