"""What is asked of the cluster before a processor runs."""

from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from processors.insights.processor import INSIGHTS
from processors.integrity.processor import INTEGRITY
from processors.processor import Processor
from processors.runtime import cluster
from processors.runtime.settings import Settings
from processors.runtime.transactions import Misconfigured
from topics.catalogue import catalogue


class Broker:
    """Answers after so many calls, each of which seems to take `seconds`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float, silent: int) -> None:
        self.calls = 0
        self._now, self._seconds, self._silent = 0.0, seconds, silent
        monkeypatch.setattr("processors.runtime.cluster.time.monotonic", lambda: self._now)

    def list_topics(self, timeout: float) -> Any:
        self.calls += 1
        self._now += self._seconds
        if self.calls <= self._silent:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))


def test_a_broker_that_does_not_answer_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Broker(monkeypatch, cluster.CALL_SECONDS, silent=9)
    with pytest.raises(cluster.Unreachable, match="no Kafka broker answers at"):
        cluster.check_reachable(cast(AdminClient, broker), Settings())
    assert broker.calls == 1


def test_a_process_that_was_frozen_meanwhile_asks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Broker(monkeypatch, 3 * cluster.CALL_SECONDS, silent=1)
    cluster.check_reachable(cast(AdminClient, broker), Settings())
    assert broker.calls == 2, "the broker had no chance to answer the first time"


@pytest.mark.parametrize(
    ("processor", "missing"),
    [
        (INTEGRITY, "handoff.internal.feed"),
        (INTEGRITY, "handoff.signals"),
        (INSIGHTS, "handoff.internal.feed"),
        (INSIGHTS, "handoff.patterns"),
    ],
)
def test_a_topic_that_is_written_is_missed_before_it_is(
    processor: Processor[Any], missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = {topic.name: topic.partitions for topic in catalogue()}
    monkeypatch.setattr(cluster, "_partition_counts", lambda _: there)
    monkeypatch.setattr(cluster, "_LOOK_SECONDS", 0)
    assert cluster.check_topics(cast(AdminClient, None), Settings(), processor) > 0
    del there[missing]
    with pytest.raises(Misconfigured, match=f"{missing} does not exist"):
        cluster.check_topics(cast(AdminClient, None), Settings(), processor)
