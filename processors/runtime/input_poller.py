"""Polls the inputs of a lane: Kafka's messages become records in the order of judgement."""

from collections.abc import Callable, Iterable, Mapping

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from processors.ordering import in_order
from processors.runtime.assigned import Assigned
from processors.runtime.restoration import TRANSIENT_ERRORS, Place
from processors.runtime.transactions import ended_by
from schemas.flow import Record
from topics.headers import headers
from topics.rights import Right, reason


class InputPoller:
    """Polls a lane's inputs. `inputs` maps physical names to canonical.

    It advances `Assigned.positions`. `began_at` is the first offset of each input partition in
    the open transaction. `on_seek` is called for each partition in which it goes back. Rebalance
    callbacks run inside each of its calls, so after a call partitions may be gone. When the
    consumer reports an error that it does not recover from by itself, each call raises `Fenced` or
    `Fatal`, unless `handles` returns true: it is given the error and its topic.
    """

    def __init__(
        self,
        inputs: Mapping[str, str],
        consumer: Consumer,
        on_seek: Callable[[Place], None],
        assignment: Assigned,
        handles: Callable[[KafkaError, str | None], bool] = lambda *_: False,
    ) -> None:
        self._inputs = inputs
        self._consumer = consumer
        self._on_seek = on_seek
        self._assignment = assignment
        self._handles = handles
        self._eof: dict[Place, int] = {}  # librdkafka tells the end of a partition once
        self.began_at: dict[Place, int] = {}

    def clear(self) -> None:
        """The assignment has changed."""
        self._eof.clear()

    def reached(self) -> dict[Place, int]:
        """How far each partition was read. Control records at its end are never delivered, so an
        end-of-partition event may lie past the position."""
        positions = self._assignment.positions
        return {place: max(at, self._eof.get(place, 0)) for place, at in positions.items()}

    def poll_now(self, most: int) -> list[Record]:
        """The records that are there now, at most `most`; does not wait."""
        return self._records(self._consumer.consume(most, 0))

    def poll(self, most: int, gap: float, wait: float) -> list[Record]:
        """The records that come within `gap` seconds, at most `most`. If there are none: wait up to
        `wait` seconds for the first one, and take what is there with it."""
        messages = self._consumer.consume(most, gap) if gap > 0 else []
        if not messages:
            # `consume` waits for the whole time or the whole number; `poll` returns at once.
            first = self._consumer.poll(wait)
            if first is not None:
                messages = [first, *(self._consumer.consume(most - 1, 0) if most > 1 else [])]
        return self._records(messages)

    def keep_membership(self) -> None:
        """Poll before the inputs are read, so that the consumer stays a member of its group."""
        self._records(self._consumer.consume(1, 0.01))

    def seek(self, places: Mapping[Place, int]) -> None:
        """Go back to these offsets; partitions that are not assigned any more are left out."""
        for place, offset in places.items():
            if place in self._assignment.positions:
                self._assignment.positions[place] = offset
                self._eof.pop(place, None)
                self._on_seek(place)
                self._consumer.seek(TopicPartition(*place, offset))

    def read_again(self, records: Iterable[Record]) -> None:
        """Go back to the first of these records in each partition: they were not judged."""
        physical = {canonical: name for name, canonical in self._inputs.items()}
        places: dict[Place, int] = {}
        for record in records:
            places.setdefault((physical[record.topic], record.partition), record.offset)
        self.seek(places)

    def _records(self, messages: Iterable[Message]) -> list[Record]:
        """The records to judge. Left out: records of partitions that are gone or not taken yet,
        and records before the position."""
        records: list[Record] = []
        inputs, began_at = self._inputs, self.began_at
        positions, reading = self._assignment.positions, self._assignment.reading
        for message in messages:
            error = message.error()
            topic, partition, offset = message.topic(), message.partition(), message.offset()
            if error is not None:
                if error.code() != KafkaError._PARTITION_EOF:
                    self._check(error, topic)
                elif topic is not None and partition is not None and offset is not None:
                    place = (topic, partition)
                    self._eof[place] = max(offset, self._eof.get(place, 0))
                continue
            assert topic is not None
            assert partition is not None
            assert offset is not None
            place = (topic, partition)
            position = positions.get(place) if reading else None
            if position is None or offset < position:
                continue
            positions[place] = offset + 1
            if place not in began_at:
                began_at[place] = offset
            key, value, (_, at) = message.key(), message.value(), message.timestamp()
            record = Record(
                topic=inputs[topic],
                partition=partition,
                offset=offset,
                key=key,
                value=value,
                timestamp=at,
                headers=headers(message),
            )
            records.append(record)
        return in_order(records) if len(inputs) > 1 else records

    def _check(self, error: KafkaError, topic: str | None) -> None:
        if error.code() not in TRANSIENT_ERRORS and not self._handles(error, topic):
            asked = [Right("READ", "topic", name) for name in ([topic] if topic else self._inputs)]
            why = reason(error, Right("READ", "group", self._assignment.group), *asked)
            raise ended_by(error, f"the inputs cannot be read: {why}")
