"""After an assignment: where the inputs of a partition start, and how its state is restored.

The state is restored up to the changelog's high watermark, which is asked for with
READ_UNCOMMITTED. A read_committed query would give the last stable offset, and that can lie before
committed records (KAFKA-10167). The records are read with read_committed, until an end-of-partition
event is at or past the high watermark. The offset of the last record would not show the end:
control records and aborted records at the end are never delivered.
"""

import logging
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Literal

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

from processors.runtime import clients
from processors.runtime.changelog_marks import ChangelogBounds
from processors.runtime.state import Store
from processors.runtime.transactions import Fatal, Misconfigured, ended_by
from topics.rights import Right, reason

log = logging.getLogger("handoff.restoration")

Place = tuple[str, int]  # topic, partition
CALL_SECONDS = 10.0
_ASK_AGAIN_SECONDS = 0.1
_PROGRESS_SECONDS = 2.0
_SAVE_EVERY = 10_000
# Tombstones older than this may be gone from the changelog (its `delete.retention.ms`), so an older
# store could keep keys that were deleted since then.
DELETE_RETENTION_MS = 86_400_000
_EARLIEST, _LATEST = OffsetSpec.earliest(), OffsetSpec.latest()  # type: ignore[no-untyped-call]
# Errors that a consumer reports and recovers from by itself.
TRANSIENT_ERRORS = frozenset(
    {
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TRANSPORT,
        KafkaError._TIMED_OUT,
        KafkaError._RESOLVE,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.NOT_COORDINATOR,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.OFFSET_NOT_AVAILABLE,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.KAFKA_STORAGE_ERROR,
    }
)
# A reader never joins its group, so a missing right on the group does not matter.
TRANSIENT_READER_ERRORS = TRANSIENT_ERRORS | {KafkaError.GROUP_AUTHORIZATION_FAILED}


@dataclass(frozen=True)
class Bounds:
    """The first offset that a partition still has, and the offset that its next record gets."""

    first: int
    end: int


@dataclass(frozen=True)
class Start:
    """The first offset to read of an input partition, and how many records before it are lost."""

    offset: int
    lost: int = 0


def bounds(admin: AdminClient, places: list[Place]) -> dict[Place, Bounds]:
    """First offset and high watermark of each partition.

    A broker that is not, or not yet, the leader of a partition is asked again, for `CALL_SECONDS`:
    shortly after a topic is made, or a broker restarts, its answers are behind. Raises `Fatal`
    without an answer.
    """
    first = _offsets(admin, places, _EARLIEST)
    end = _offsets(admin, places, _LATEST)
    return {place: Bounds(first[place], end[place]) for place in places}


def ask_stable_ends(
    admin: AdminClient, places: Iterable[Place]
) -> dict[TopicPartition, Future[Any]]:
    """Ask for the last stable offset of each partition, without waiting for the answer: a
    read_committed consumer cannot read further. Raises `KafkaException`."""
    return admin.list_offsets(
        {TopicPartition(*place): _LATEST for place in places},
        isolation_level=IsolationLevel.READ_COMMITTED,
        request_timeout=CALL_SECONDS,
    )


def _offsets(admin: AdminClient, places: list[Place], spec: OffsetSpec) -> dict[Place, int]:
    found: dict[Place, int] = {}
    until = time.monotonic() + CALL_SECONDS
    while True:
        answers = admin.list_offsets(
            {TopicPartition(*place): spec for place in places if place not in found},
            isolation_level=IsolationLevel.READ_UNCOMMITTED,
            request_timeout=CALL_SECONDS,
        )
        for place, future in answers.items():
            what = "the ends of the partitions cannot be read"
            try:
                offset = clients.offset_of(future.result(CALL_SECONDS + 1))
                found[place.topic, place.partition] = offset
            except TimeoutError as error:
                raise Fatal(f"{what}: {error}") from None
            except KafkaException as error:
                if error.args[0].code() in TRANSIENT_ERRORS and time.monotonic() < until:
                    continue
                why = reason(error.args[0], Right("DESCRIBE", "topic", place.topic))
                raise ended_by(error.args[0], f"{what}: {why}") from None
        if len(found) == len(places):
            return found
        time.sleep(_ASK_AGAIN_SECONDS)


def starts(
    committed: Mapping[Place, int], inputs: Mapping[Place, Bounds], gap: Literal["stop", "skip"]
) -> dict[Place, Start]:
    """Where each input of one partition number starts. `committed` is negative where there is none.

    An input starts at its committed offset. When the partition no longer has that offset, `gap`
    decides: skip starts at the first record, stop raises `Misconfigured`. When there is no
    committed offset, it starts at the first record; `check_anchored` says later whether that is
    right.
    """
    found: dict[Place, Start] = {}
    for place, has in inputs.items():
        offset = committed[place]
        if offset < 0:
            found[place] = Start(has.first)
        elif has.first <= offset <= has.end:
            found[place] = Start(offset)
        elif gap == "skip":
            found[place] = Start(has.first, max(0, has.first - offset))
        else:
            topic, number = place
            raise Misconfigured(
                f"{topic}-{number} has the records from {has.first} to {has.end}, and the next one "
                f"to judge is {offset}: retention was faster, or the topic was made anew; to go on "
                f"at {has.first} set HANDOFF_GAP=skip"
            )
    return found


def check_anchored(topic: str, group: str, store: Store) -> None:
    """For a partition without any committed offset: raises `Misconfigured` when it has state,
    because it is not known then which inputs that state contains.

    The end of the changelog does not show whether there is state: an aborted first transaction has
    moved it.
    """
    if next(iter(store), None) is not None:
        raise Misconfigured(
            f"{topic} holds state, but its consumer group {group} has no offsets: they expired, or "
            "were deleted; set them with kafka-consumer-groups --reset-offsets, or delete and "
            "create the topic to begin anew"
        )


def _goes_on_at(store: Store, has: ChangelogBounds) -> int | None:
    """The offset from which the changelog completes a store; None when the store must be wiped."""
    at = store.checkpoint
    if at is None or not has.first <= at <= has.end:
        return None
    if store.changelog_id and has.id and store.changelog_id != has.id:
        return None  # the store belongs to a topic that was deleted
    age = time.time_ns() // 1_000_000 - store.saved_at
    return at if abs(age) <= DELETE_RETENTION_MS else None


class Restoration:
    """Reads the changelog of some partitions into their stores, a slice of time at a time.

    Of those in `formats`, what is written in another format than it says is left out.
    """

    def __init__(
        self,
        reader: Consumer,
        topic: str,
        stores: Mapping[int, Store],
        changelogs: Mapping[int, ChangelogBounds],
        formats: Mapping[int, int],
    ) -> None:
        self._reader = reader
        self._topic = topic
        self._stores = dict(stores)
        self._formats = formats
        self._ends: dict[int, int] = {}
        self._at: dict[int, int] = {}  # the next offset to read of each incomplete partition
        self._unsaved = 0
        self.records = 0
        self._began = self._shown = time.monotonic()
        assigned = []
        self._to_read = 0
        for number, store in stores.items():
            has = changelogs[number]
            start = _goes_on_at(store, has)
            if start is None:
                store.wipe()
                start = has.first
            store.changelog_id = has.id
            if start < has.end:
                self._ends[number] = has.end
                self._to_read += has.end - start
                assigned.append(TopicPartition(topic, number, start))
            else:
                store.save(has.end)
        if assigned:
            reader.assign(assigned)

    @property
    def done(self) -> bool:
        """Whether every store is complete."""
        return not self._ends

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return time.monotonic() - self._began

    def step(self, seconds: float) -> None:
        """Read for at most `seconds`. Raises `Fatal` when the changelog cannot be read."""
        limit = time.monotonic() + seconds
        while self._ends and time.monotonic() < limit:
            for message in self._reader.consume(5_000, 0.02):
                self._take(message)
            if self._unsaved >= _SAVE_EVERY:
                self._unsaved = 0
                for number, offset in self._at.items():
                    self._stores[number].save(offset)
        now = time.monotonic()
        if self._ends and now - self._shown > _PROGRESS_SECONDS:
            self._shown = now
            log.info(
                "restoring %s: %s records of at most %s, partitions left: %s",
                self._topic,
                f"{self.records:,}",
                f"{self._to_read:,}",
                sorted(self._ends),
            )

    def _take(self, message: Message) -> None:
        number = message.partition()
        assert number is not None
        error = message.error()
        if error is None:
            key = message.key()
            value = message.value()
            if key is None:
                return  # of another program: the records of a changelog have keys
            store = self._stores[number]
            if value is None:
                store.pop(key.decode(), None)
            elif self._formats.get(number, value[0]) == value[0]:
                store[key.decode()] = value
            offset = message.offset()
            assert offset is not None
            self._at[number] = offset + 1
            self.records += 1
            self._unsaved += 1
        elif error.code() == KafkaError._PARTITION_EOF:
            offset = message.offset()
            if number in self._ends and offset is not None and offset >= self._ends[number]:
                del self._ends[number]
                self._at.pop(number, None)
                self._stores[number].save(offset)
                self._reader.pause([TopicPartition(self._topic, number)])
        elif error.code() not in TRANSIENT_READER_ERRORS:
            why = reason(error, Right("READ", "topic", self._topic))
            raise ended_by(error, f"{self._topic} cannot be read: {why}")

    def close(self) -> None:
        """Close the consumer."""
        clients.close(self._reader.close, "the reader of the changelog")
