"""How far the inputs of a lane were read. No broker."""

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, TopicPartition

from processors.runtime.input_poller import InputPoller
from processors.runtime.restoration import Place

A, B = ("outputs", 0), ("acks", 0)


class EndingConsumer:
    """Delivers no records, and tells the end of each partition that is named once."""

    def __init__(self) -> None:
        self.ends: dict[Place, int] = {}

    def consume(self, most: int, seconds: float) -> list[Any]:
        told, self.ends = self.ends, {}
        return [_end(place, offset) for place, offset in told.items()]

    def seek(self, place: TopicPartition) -> None:
        pass


def _end(place: Place, at: int) -> Any:
    error = KafkaError(KafkaError._PARTITION_EOF)
    return SimpleNamespace(
        error=lambda: error, topic=lambda: place[0], partition=lambda: place[1], offset=lambda: at
    )


@pytest.fixture
def consumer() -> EndingConsumer:
    return EndingConsumer()


@pytest.fixture
def sought() -> list[Place]:
    return []


@pytest.fixture
def poller(consumer: EndingConsumer, sought: list[Place]) -> InputPoller:
    assignment: Any = SimpleNamespace(positions={A: 5, B: 3}, reading=True)
    inputs = {"outputs": "outputs", "acks": "acks"}
    return InputPoller(inputs, consumer, sought.append, assignment)  # type: ignore[arg-type]


def test_the_end_of_a_partition_counts_as_read(
    poller: InputPoller, consumer: EndingConsumer
) -> None:
    assert poller.reached() == {A: 5, B: 3}
    consumer.ends = {A: 7}
    assert poller.poll_now(10) == []
    assert poller.reached() == {A: 7, B: 3}
    consumer.ends = {A: 6}
    poller.poll_now(10)
    assert poller.reached() == {A: 7, B: 3}, "an older event says nothing"


def test_what_is_sought_back_has_to_be_read_again(
    poller: InputPoller, consumer: EndingConsumer, sought: list[Place]
) -> None:
    consumer.ends = {A: 7, B: 4}
    poller.poll_now(10)
    poller.seek({A: 2, ("gone", 0): 1})
    assert poller.reached() == {A: 2, B: 4}
    assert sought == [A]


def test_ends_of_another_assignment_count_no_more(
    poller: InputPoller, consumer: EndingConsumer
) -> None:
    consumer.ends = {A: 7}
    poller.poll_now(10)
    poller.clear()
    assert poller.reached() == {A: 5, B: 3}
