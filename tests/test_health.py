"""Whether the processors keep up: the arithmetic, and what Kafka says of groups."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from alerts.health import Arrivals, Health, late
from processors.contracts.feeding import WorkflowFeed
from processors.integrity.processor import INTEGRITY
from processors.runtime.settings import Settings
from tests.commands import HandoffCommand
from topics.catalogue import physical


def test_a_record_has_waited_since_it_was_first_seen() -> None:
    partition = Arrivals()
    for now, end in ((0, 10), (15, 10), (30, 12), (45, 30)):
        partition.note(now, end)
    assert partition.since(9) == (0, True)
    assert partition.since(10) == (30, False)
    assert partition.since(12) == (45, False)
    assert partition.since(30) is None
    partition.note(60, 31)
    assert partition.since(30) == (60, False)


def test_of_a_partition_that_is_stuck_for_long_the_beginning_is_kept() -> None:
    partition = Arrivals()
    for number in range(10_000):
        partition.note(number * 15.0, number + 1)
    assert partition.since(0) == (0, True)
    assert len(partition._seen) <= 240


@pytest.mark.parametrize(
    ("waits", "said"),
    [
        ({"integrity": 0.0, "intake": 300.0}, None),
        ({"integrity": 301.0, "intake": 0.0}, "integrity is 301 s behind"),
        (
            {"insights": 4000.0, "intake": 400.0},
            "insights is 4,000 s behind; intake is 400 s behind",
        ),
        ({"integrity": None}, "nothing is known yet of integrity"),
        ({}, None),
    ],
)
def test_who_lags_is_said(waits: dict[str, float | None], said: str | None) -> None:
    assert late(waits) == said


class ShiftedClock:
    """The time of the health, which a test moves on."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@pytest.fixture
def settings(handoff: HandoffCommand) -> Settings:
    return Settings()


def send(settings: Settings, **more: Any) -> None:
    producer = Producer({"bootstrap.servers": settings.kafka_bootstrap_servers})
    topic = physical("handoff.tool-outputs", settings.topic_prefix)
    producer.produce(topic, json.dumps({"id": "1"}), b"task", partition=0, **more)
    assert producer.flush(20) == 0


def read_all(settings: Settings, offset: int) -> None:
    """What a processor does that has judged the records before an offset."""
    consumer = Consumer(
        {
            "bootstrap.servers": settings.kafka_bootstrap_servers,
            "group.id": f"{settings.application_id}-integrity",
        }
    )
    topic = physical("handoff.tool-outputs", settings.topic_prefix)
    consumer.commit(offsets=[TopicPartition(topic, 0, offset)], asynchronous=False)
    consumer.close()


def test_nobody_reads_and_that_is_noticed_after_five_minutes(settings: Settings) -> None:
    clock = ShiftedClock()
    health = Health(settings, [INTEGRITY], clock=clock)
    assert health.healthy() == "Kafka does not tell how far the processors are"
    health.look()
    assert health.healthy() is None
    send(settings, timestamp=1_000_000_000_000)  # of 2001: it was written long before it came
    health.look()
    assert health.healthy() is None
    clock.ahead = 250.0
    health.look()
    assert health.healthy() is None
    clock.ahead = 310.0
    health.look()
    said = health.healthy()
    assert said is not None
    assert said.startswith("integrity is 3")
    read_all(settings, 1)
    health.look()
    assert health.healthy() is None
    assert health.waits() == {"integrity": 0.0, "intake": 0.0}


def test_what_was_there_at_the_first_look_has_waited_since_its_timestamp(
    settings: Settings,
) -> None:
    send(settings, timestamp=int((time.time() - 1000) * 1000))
    health = Health(settings, [INTEGRITY])
    health.look()
    waited = health.waits()["integrity"]
    assert waited is not None
    assert 1000 <= waited < 1100


def test_markers_of_transactions_are_no_records(settings: Settings) -> None:
    producer = Producer(
        {
            "bootstrap.servers": settings.kafka_bootstrap_servers,
            "transactional.id": settings.application_id + "-test",
        }
    )
    producer.init_transactions(20)
    producer.begin_transaction()
    topic = physical("handoff.tool-outputs", settings.topic_prefix)
    producer.produce(topic, b"{}", b"task", partition=0, timestamp=1_000_000_000_000)
    producer.commit_transaction(20)
    read_all(settings, 1)
    clock = ShiftedClock()
    health = Health(settings, [INTEGRITY], clock=clock)
    health.look()
    clock.ahead = 1000.0
    health.look()
    assert health.waits()["integrity"] == 0.0


def test_a_source_that_is_not_read_is_intake_that_lags(settings: Settings) -> None:
    def feed(source: str, read_to: float | None) -> WorkflowFeed:
        at = None if read_to is None else int(read_to * 1000)
        return WorkflowFeed(source, "Ana Silva", None, None, at, None)

    clock = ShiftedClock()
    feeds = [feed("a", clock()), feed("b", clock() - 400)]
    health = Health(settings, [], lambda: feeds, clock=clock)
    health.look()
    assert (health.healthy() or "").startswith("intake is 40")
    feeds[1] = feed("b", None)  # never read: since it is known
    health.look()
    assert health.healthy() is None
    clock.ahead = 400
    health.look()
    assert (health.healthy() or "").startswith("intake is 40")


def test_a_broker_that_does_not_answer_is_no_health(settings: Settings) -> None:
    clock = ShiftedClock()
    health = Health(settings, [INTEGRITY], clock=clock)
    health.look()
    assert health.healthy() is None
    clock.ahead = 301
    assert health.healthy() == "Kafka does not tell how far the processors are"
