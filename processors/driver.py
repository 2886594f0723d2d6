"""Runs a pure core over records, in plain values: the lane and `dry-run` both stand on this.

A `Driver` holds the state of the partitions at hand, and above it an overlay of what the open
transaction has changed. Nothing here reads a clock or a network.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Generic

from processors.partitioning import partition_of
from processors.processor import Processor, State
from schemas import wire
from schemas.flow import Arrival, Count, Emit, Headers, Output, Record, Refused

Store = MutableMapping[str, bytes]  # state key -> encoded state
_VERDICTS = frozenset({"duplicates", "refused"})  # what became of an input, if not applied
MAX_RECENT = 4096  # decoded states kept a partition: a task's inputs come close together


@dataclass
class Partition(Generic[State]):
    """The state of one input partition: what is committed, and what the transaction changed.

    `recent` holds what was committed last in its decoded form too, so that the next input of the
    same task need not decode it.
    """

    store: Store
    recent: dict[str, State] = field(default_factory=dict)
    overlay: dict[str, State | None] = field(default_factory=dict)
    counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)


class Driver(Generic[State]):
    """Feeds records to a core, partition by partition, in the order they are given.

    `tables` may be exchanged between records. `counts` holds the accounting of everything merged:
    (name, topic, label) -> number.
    """

    def __init__(
        self,
        processor: Processor[State],
        tables: Any,
        counts: Counter[tuple[str, str, str]] | None = None,
    ) -> None:
        self.processor = processor
        self.tables = tables
        self.partitions: dict[int, Partition[State]] = {}
        self.counts = Counter() if counts is None else counts
        self.partition_count = 0  # of the inputs; 0 where nobody checks where keys lie

    def assign(self, partition: int, store: Store) -> None:
        """Take a partition whose restored state is `store`."""
        self.partitions[partition] = Partition(store)

    def revoke(self, partition: int) -> None:
        """Give a partition back; what was not merged is gone."""
        self.partitions.pop(partition, None)

    def step(self, record: Record, now: int) -> list[Output]:
        """Judge one input record at processor time `now` (epoch ms); what it would publish.

        The core's new state and emits are taken only when all of it has been encoded, so a record
        that fails costs itself: its one output is a dead letter.
        """
        processor = self.processor
        partition = self.partitions[record.partition]
        try:
            arrival = processor.parse(record, now)
            key = processor.state_key(arrival)
            before = self._state(partition, key)
            state, emits = processor.advance(before, arrival, self.tables, now)
            outputs, counted = _encode(emits, arrival)
        except Exception as error:  # noqa: BLE001
            # Whatever it was: this record is set aside, and the next one is judged.
            return [self.set_aside(record, error)]
        if state is not before:
            partition.overlay[key] = state
        counts = partition.counts
        if before is None and self._is_misplaced(record):
            counts["misplaced", record.topic, ""] += 1
        verdict = "applied"
        for count in counted:
            if count.name in _VERDICTS:
                verdict = count.name
            else:
                counts[count.name, record.topic, count.label] += 1
        counts[verdict, record.topic, ""] += 1
        return outputs

    def set_aside(self, record: Record, error: Exception) -> Output:
        """The dead letter of a record that is not judged, or could not be."""
        self.partitions[record.partition].counts["dead_letters", record.topic, ""] += 1
        return wire.dead_letter(record, error)

    def _is_misplaced(self, record: Record) -> bool:
        """Whether its sender has another partitioner: its task lives where it lies, but apart from
        what others send of it. Asked for new keys only: a hash costs 5 microseconds."""
        count = self.partition_count
        return count > 0 and partition_of(record.key or b"", count) != record.partition

    def _state(self, partition: Partition[State], key: str) -> State | None:
        overlay = partition.overlay
        if key in overlay:
            return overlay[key]
        state = partition.recent.get(key)
        if state is not None:
            return state
        encoded = partition.store.get(key)
        return None if encoded is None else self.processor.decode(encoded)

    def changelog(self) -> Iterator[tuple[int, str, bytes | None]]:
        """One entry a dirty key: (input partition, state key, encoded state or a tombstone)."""
        for number, partition in self.partitions.items():
            for key, state in partition.overlay.items():
                yield number, key, None if state is None else self.processor.encode(state)

    def merge(self, changes: Iterable[tuple[int, str, bytes | None]]) -> None:
        """After the commit: `changes`, as `changelog` gave them, become the state."""
        for number, key, encoded in changes:
            partition = self.partitions.get(number)
            if partition is None:
                continue
            if encoded is None:
                partition.store.pop(key, None)
            else:
                partition.store[key] = encoded
        for partition in self.partitions.values():
            if len(partition.recent) > MAX_RECENT:
                partition.recent.clear()
            for key, state in partition.overlay.items():
                if state is None:
                    partition.recent.pop(key, None)
                else:
                    partition.recent[key] = state
            self.counts.update(partition.counts)
            partition.counts.clear()
            partition.overlay.clear()

    def drop(self) -> None:
        """After an abort: the transaction never happened."""
        for partition in self.partitions.values():
            partition.counts.clear()
            partition.overlay.clear()


def in_order(records: list[Record]) -> list[Record]:
    """Records of co-partitioned inputs as they are to be judged.

    Offset order within each partition of each topic, always; between the topics of one partition
    number the head with the older timestamp goes first, as far as they were read together.
    """
    queues: dict[int, dict[str, list[Record]]] = {}
    for record in records:
        queues.setdefault(record.partition, {}).setdefault(record.topic, []).append(record)
    ordered: list[Record] = []
    for topics in queues.values():
        ordered.extend(_merged([iter(queue) for queue in topics.values()]))
    return ordered


def in_parts(records: list[Record], limit: int) -> Iterator[list[Record]]:
    """The records in order, in parts whose values have at most `limit` bytes, or that are one."""
    part: list[Record] = []
    size = 0
    for record in records:
        length = len(record.value or b"")
        if part and size + length > limit:
            yield part
            part, size = [], 0
        part.append(record)
        size += length
    if part:
        yield part


def _merged(queues: list[Iterator[Record]]) -> Iterator[Record]:
    heads = [(next(queue), queue) for queue in queues]
    while heads:
        place = min(range(len(heads)), key=lambda index: heads[index][0].timestamp)
        head, queue = heads[place]
        yield head
        following = next(queue, None)
        if following is None:
            del heads[place]
        else:
            heads[place] = (following, queue)


def _encode(emits: list[Emit | Count], arrival: Arrival) -> tuple[list[Output], list[Count]]:
    """Encode what a core emitted; raises `Refused` when a record would be too large for Kafka."""
    outputs: list[Output] = []
    counted: list[Count] = []
    if not emits:
        return outputs, counted
    from_input: Headers = []
    if arrival.traceparent is not None:
        from_input.append(("traceparent", arrival.traceparent))
    if arrival.backfill:
        from_input.append((wire.BACKFILL_HEADER, b"1"))
    encoded: dict[int, bytes] = {}  # a package goes to two topics and is encoded once
    for emit in emits:
        if isinstance(emit, Count):
            counted.append(emit)
            continue
        record = emit.record
        if record is None:
            outputs.append(Output(emit.topic, emit.key.encode(), None, from_input))
            continue
        value = encoded.get(id(record))
        if value is None:
            value = encoded[id(record)] = wire.encode(record)
        output = Output(emit.topic, emit.key.encode(), value, wire.headers(record) + from_input)
        if len(value) > wire.MAX_RECORD_BYTES // 2 and wire.size(output) > wire.MAX_RECORD_BYTES:
            raise Refused(
                "output_too_large",
                f"a record for {emit.topic} would have {len(value):,} bytes, "
                f"the limit is {wire.MAX_RECORD_BYTES:,}",
            )
        outputs.append(output)
    return outputs, counted
