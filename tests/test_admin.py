"""What an admin client does so that a lookup of offsets cannot end the process."""

import logging
from typing import Any
from uuid import uuid4

import pytest
from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

from console.brokers import free_port
from topics.admin import Admin

# What librdkafka writes down where it has to find the leaders first: then its threads may collide.
LOOKS_FOR_LEADERS = "query partition leaders"
EARLIEST = OffsetSpec.earliest()  # type: ignore[no-untyped-call]


@pytest.mark.embedded
@pytest.mark.parametrize("kind", [AdminClient, Admin])
def test_offsets_are_asked_for_where_the_leaders_are_known(
    kind: type[AdminClient], embedded: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "tests.admin")
    topics = [f"first-{uuid4().hex}", f"second-{uuid4().hex}"]
    config: dict[str, Any] = {"bootstrap.servers": embedded, "debug": "metadata"}
    with Admin({"bootstrap.servers": embedded}) as maker:
        for made in maker.create_topics([NewTopic(each, 2, 1) for each in topics]).values():
            made.result(10)
    with kind(config, logger=logging.getLogger("tests.admin")) as admin:
        for _ in range(2):
            places = [TopicPartition(topic, n) for topic in topics for n in range(2)]
            found = admin.list_offsets(dict.fromkeys(places, EARLIEST), request_timeout=10)
            assert [each.result(10).offset for each in found.values()] == [0] * 4
        admin.poll(0.1)  # the log lines
    looked = any(LOOKS_FOR_LEADERS in each.getMessage() for each in caplog.records)
    assert looked == (kind is AdminClient)


@pytest.mark.embedded
def test_a_topic_that_is_not_there_is_told_of_its_own_partitions(embedded: str) -> None:
    here, nowhere = f"here-{uuid4().hex}", f"nowhere-{uuid4().hex}"
    with Admin({"bootstrap.servers": embedded}) as admin:
        admin.create_topics([NewTopic(here, 1, 1)])[here].result(10)
        places = [TopicPartition(here, 0), TopicPartition(nowhere, 0)]
        found = admin.list_offsets(dict.fromkeys(places, EARLIEST), request_timeout=10)
        assert found[places[0]].result(10).offset == 0
        with pytest.raises(KafkaException):
            found[places[1]].result(10)


def test_without_a_broker_each_future_says_so() -> None:
    with Admin({"bootstrap.servers": f"127.0.0.1:{free_port()}", "log_level": 0}) as admin:
        asked = [TopicPartition("t", 0), TopicPartition("t", 1)]
        found = admin.list_offsets(dict.fromkeys(asked, EARLIEST), request_timeout=0.3)
        assert list(found) == asked
        for each in found.values():
            with pytest.raises(KafkaException):
                each.result(0)
