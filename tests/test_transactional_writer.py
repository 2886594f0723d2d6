"""What is written into a transaction, and what is known of it when Kafka refuses a record."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException

from processors.runtime.transactional_writer import TransactionalWriter
from processors.runtime.transactions import Abortable, AbortCause, LaneError, Transactions
from schemas.flow import Output


class Refusing:
    """A producer that may not write to one topic."""

    def __init__(self, topic: str) -> None:
        self.topic = topic

    def produce(self, topic: str, *_: Any, **__: Any) -> None:
        if topic == self.topic:
            raise KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))

    def poll(self, _: float) -> int:
        return 0


def test_a_topic_that_kafka_refuses_is_among_those_of_the_transaction() -> None:
    def why(error: KafkaException, topic: str) -> LaneError:
        return Abortable(topic, AbortCause.BLOCKED, error.args[0])

    transactions = cast(Transactions, SimpleNamespace(producer=Refusing("x.signals")))
    writer = TransactionalWriter(transactions, "state", "x.", lambda: None, why, report=False)
    outputs = [
        Output(f"handoff.{name}", b"k", b"v", []) for name in ("packages", "signals", "held")
    ]
    with pytest.raises(Abortable, match="signals"):
        writer.publish(outputs)
    # Whoever says which right is missing looks among them.
    assert set(writer.published) == {"handoff.packages", "handoff.signals"}
