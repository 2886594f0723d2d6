"""What comes into a lane: Kafka's messages become records, those that are ours to judge."""

from collections.abc import Iterable, Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from processors.ordering import in_order
from processors.runtime.assignment import Assignment
from processors.runtime.gate import Gate
from processors.runtime.restoration import PASSING, Place
from processors.runtime.transactions import ended_by
from schemas.flow import Record
from topics.rights import Right, reason


class Intake:
    """Reads a lane's inputs. `inputs` maps physical names to canonical.

    It advances `Assignment.positions`. `first` is where each input was when the open transaction
    began. Rebalance callbacks run in each of its calls, so that what is held may be another's after
    it. Any of them raises `Fenced` or `Fatal` for what a consumer does not get over by itself.
    """

    def __init__(
        self, inputs: Mapping[str, str], consumer: Consumer, gate: Gate, assignment: Assignment
    ) -> None:
        self._inputs = inputs
        self._consumer = consumer
        self._gate = gate
        self._assignment = assignment
        self.first: dict[Place, int] = {}

    def at_once(self, most: int) -> list[Record]:
        """What is there, `most` records."""
        return self._records(self._consumer.consume(most, 0))

    def when_they_come(self, most: int, gap: float, wait: float) -> list[Record]:
        """What has come after `gap` seconds, or else what comes first within `wait` seconds and
        what is there with it."""
        messages = self._consumer.consume(most, gap) if gap > 0 else []
        if not messages:
            # `consume` waits for the whole time or the whole number; `poll` returns at once.
            first = self._consumer.poll(wait)
            if first is not None:
                messages = [first, *(self._consumer.consume(most - 1, 0) if most > 1 else [])]
        return self._records(messages)

    def stay(self) -> None:
        """Poll while the inputs are paused, so that the consumer stays a member."""
        self._records(self._consumer.consume(1, 0.01))

    def go_back(self, places: Mapping[Place, int]) -> None:
        """Read again from these offsets, where the input is still held."""
        for place, offset in places.items():
            if place in self._assignment.positions:
                self._assignment.positions[place] = offset
                self._gate.sought(place)
                self._consumer.seek(TopicPartition(*place, offset))

    def give_back(self, records: Iterable[Record]) -> None:
        """Read these again: they were not judged."""
        physical = {canonical: name for name, canonical in self._inputs.items()}
        places: dict[Place, int] = {}
        for record in records:
            places.setdefault((physical[record.topic], record.partition), record.offset)
        self.go_back(places)

    def _records(self, messages: Iterable[Message]) -> list[Record]:
        """The records to judge: not those of partitions that are gone or that came before."""
        records: list[Record] = []
        inputs, first = self._inputs, self.first
        positions, stores = self._assignment.positions, self._assignment.stores
        restoring = self._assignment.restoration is not None
        for message in messages:
            error = message.error()
            topic, partition, offset = message.topic(), message.partition(), message.offset()
            if error is not None:
                if error.code() != KafkaError._PARTITION_EOF:
                    self._check(error, topic)
                elif topic is not None and partition is not None and offset is not None:
                    self._gate.at_end((topic, partition), offset)
                continue
            assert topic is not None
            assert partition is not None
            assert offset is not None
            place = (topic, partition)
            if restoring or partition not in stores or offset < positions[place]:
                continue
            positions[place] = offset + 1
            first.setdefault(place, offset)
            headers: Any = message.headers()
            records.append(
                Record(
                    inputs[topic],
                    partition,
                    offset,
                    message.key(),
                    message.value(),
                    message.timestamp()[1],
                    headers or [],
                )
            )
        return in_order(records) if len(inputs) > 1 else records

    def _check(self, error: KafkaError, topic: str | None) -> None:
        if error.code() not in PASSING:
            asked = [Right("READ", "topic", name) for name in ([topic] if topic else self._inputs)]
            why = reason(error, Right("READ", "group", self._assignment.group), *asked)
            raise ended_by(error, f"the inputs cannot be read: {why}")
