"""Exactly once, while requests of the transactional producers are torn: every record compared.

A torn request reaches the broker after its connection broke, when the client has sent it again and
gone on (KAFKA-17754). The moments and kinds are the seed's (`make chaos SEED=n`), the rest is the
machine's. `HANDOFF_TORN=n` tears n requests of each kind.
"""

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from console.brokers import BrokerError
from tests.chaos import DOCUMENTS, INPUT, Input, differences, expected, traffic
from tests.conftest import cannot_run
from tests.instances import Instances, drawn, judged, prepared, read, settled, telling
from tests.lanes import wait_for
from tests.tearing import KINDS, Tear, TearingKafka
from tests.test_chaos_apache import TOPICS
from topics.admin import Admin
from topics.catalogue import physical

EACH = int(os.environ.get("HANDOFF_TORN", "20"))
INSTANCES = 2
# What a renewed producer sends first. Often torn, its epochs would look like those of a twin.
RARE = {"InitProducerId": max(1, EACH // 20)}
RECORDS_A_TEAR = 400


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[TearingKafka]:
    made = TearingKafka(tmp_path / "broker")
    try:
        made.start()
    except BrokerError as error:
        cannot_run("kafka", str(error))
    yield made
    made.stop()


class RecordFeed:
    """Sends records, a few every few milliseconds, so that transactions follow each other."""

    def __init__(self, servers: str, topic: str) -> None:
        self._producer = Producer({"bootstrap.servers": servers, "enable.idempotence": True})
        self._topic = topic

    def send(self, inputs: list[Input]) -> None:
        for number, (partition, key, value) in enumerate(inputs):
            self._producer.produce(self._topic, value, key, partition)
            if number % 20 == 0:
                self._producer.poll(0.02)

    def end(self) -> None:
        assert self._producer.flush(30) == 0


def plan(seed: int) -> list[Tear]:
    pick = random.Random(seed)
    tears = [
        # Most come late, within the next transactions. Some came in time and only their answer is
        # lost, some never come, some are only slow.
        Tear(
            kind,
            *pick.choice(
                [(pick.uniform(0.01, 1.5), True)] * 6 + [(0.0, True), (None, True), (1.0, False)]
            ),
        )
        for kind in KINDS
        for _ in range(RARE.get(kind, EACH))
    ]
    pick.shuffle(tears)
    return tears


@pytest.mark.fault("requests torn: answered late, after their connection was cut")
@pytest.mark.kafka
@pytest.mark.slow
def test_torn_requests_lose_nothing_and_double_nothing(
    broker: TearingKafka, prefix: str, tmp_path: Path
) -> None:
    seed = drawn()
    queue = f"{prefix}queue.warehouse"
    settings, cluster, documents = prepared(
        broker.bootstrap_servers, prefix, tmp_path, DOCUMENTS.replace("QUEUE", queue)
    )
    admin = Admin({"bootstrap.servers": broker.bootstrap_servers})
    tears = plan(seed)
    count = RECORDS_A_TEAR * len(tears)
    now = time.time_ns() // 1_000_000
    inputs = traffic(seed, count, settings.partitions, now - count)
    must = expected(inputs, documents, settings.partitions, now)

    instances = Instances(
        settings.model_copy(update={"kafka_bootstrap_servers": broker.torn}), tmp_path
    )
    with telling(seed, [], instances):
        for ordinal in range(INSTANCES):
            instances.start(ordinal)
        wait_for(instances.all_run, 60, "both instances run")
        feed = RecordFeed(broker.bootstrap_servers, physical(INPUT, prefix))
        for number, tear in enumerate(tears):
            broker.tear(tear)
            if tear.kind in RARE:
                broker.cut()  # so that a producer is renewed: the tear before may not do so
            feed.send(inputs[number * RECORDS_A_TEAR : (number + 1) * RECORDS_A_TEAR])
            wait_for(lambda: not broker.waits, 60, f"the next {tear.kind}")
        feed.end()
        wait_for(lambda: judged(admin, settings) == count, 120, "all inputs judged")
        topics = [*TOPICS, queue]
        wait_for(lambda: settled(admin, cluster, topics), 30, "no transaction open")
        assert instances.stop() == [0] * INSTANCES
        wrong = differences(must, read(cluster, topics))
        assert not wrong, f"{len(wrong):,} differences, the first:\n" + "\n".join(wrong[:10])
        assert set(broker.torn_kinds) == set(KINDS)
        print({ordinal: instances.log(ordinal).count("new producer epoch") for ordinal in range(2)})
