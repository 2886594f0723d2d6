"""Both brokers: a transaction's round trip, starting again, and nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import NewTopic

from console.brokers import ApacheKafka, BrokerError, EmbeddedBroker, free_port
from tests.conftest import cannot_run
from topics.admin import Admin


def wait_until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "the condition did not come true in time"
        time.sleep(0.02)


def gone(pid: int) -> bool:
    """Whether no such process is left; a child of ours that ended and was not waited for is."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def round_trip(servers: str, prefix: str) -> None:
    """An aborted transaction is not seen and a committed one is, by a read_committed consumer."""
    topic = prefix + "transactions"
    admin = Admin({"bootstrap.servers": servers})
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result()
    producer = Producer({"bootstrap.servers": servers, "transactional.id": prefix + "writer"})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topic, b"aborted")
    producer.flush(10)
    producer.abort_transaction(10)
    producer.begin_transaction()
    producer.produce(topic, b"committed")
    producer.commit_transaction(10)
    assert read(servers, prefix, topic, 1) == [b"committed"]


def read(servers: str, prefix: str, topic: str, count: int) -> list[bytes | None]:
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": prefix + "reader",
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
        }
    )
    consumer.subscribe([topic])
    values: list[bytes | None] = []

    def enough() -> bool:
        for message in consumer.consume(10, 0.1):
            assert message.error() is None
            values.append(message.value())
        return len(values) >= count

    wait_until(enough, 30)
    consumer.close()
    return values


def test_embedded_isolates_transactions(embedded: str, prefix: str) -> None:
    round_trip(embedded, prefix)


def test_apache_isolates_transactions(apache: str, prefix: str) -> None:
    round_trip(apache, prefix)


@pytest.mark.embedded
def test_embedded_starts_again_on_its_port(tmp_path: Path) -> None:
    with EmbeddedBroker(tmp_path) as broker:
        first, servers = broker.pid, broker.bootstrap_servers
        assert first
        broker.restart(kill=True)
        assert gone(first)
        assert broker.bootstrap_servers == servers
        second = broker.pid
    assert second is not None
    assert gone(second)


@pytest.mark.kafka
def test_apache_keeps_its_data_over_a_kill(tmp_path: Path) -> None:
    broker = ApacheKafka(tmp_path)
    try:
        broker.start()
    except BrokerError as error:
        cannot_run("kafka", str(error))
    with_records = Admin({"bootstrap.servers": broker.bootstrap_servers, "log_level": 0})
    try:
        with_records.create_topics([NewTopic("kept", 1, 1)])["kept"].result()
        producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "log_level": 0})
        producer.produce("kept", b"still here")
        assert producer.flush(10) == 0
        first = broker.pid
        broker.restart(kill=True)
        assert first is not None
        assert gone(first)
        assert read(broker.bootstrap_servers, "kept.", "kept", 1) == [b"still here"]
    finally:
        last = broker.pid
        broker.stop()
    assert last is not None
    assert gone(last)


@pytest.mark.embedded
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends it on Linux only")
def test_broker_ends_when_its_owner_is_killed(tmp_path: Path) -> None:
    program = (
        "import sys, time; from console.brokers import EmbeddedBroker\n"
        "broker = EmbeddedBroker(sys.argv[1]); broker.start()\n"
        "print(broker.pid, flush=True); time.sleep(60)"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    with owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        assert not gone(pid)
        os.kill(owner.pid, signal.SIGKILL)
    wait_until(lambda: gone(pid))


@pytest.mark.embedded
def test_a_taken_port_is_refused(tmp_path: Path) -> None:
    with EmbeddedBroker(tmp_path / "one") as broker:
        second = EmbeddedBroker(tmp_path / "two", port=broker.port)
        with pytest.raises(BrokerError, match=f"port {broker.port} is taken"):
            second.start()
        assert second.pid is None


@pytest.mark.embedded
def test_a_broker_that_cannot_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "noida.control.json").mkdir()  # where its control file should be
    broker = EmbeddedBroker(tmp_path)
    broker.start_timeout = 3
    with pytest.raises(BrokerError, match=r"The embedded broker ended .*broker.log\) ends:\n  \S"):
        broker.start()
    assert broker.pid is None


def test_free_port_is_outside_the_range_of_outgoing_connections() -> None:
    assert all(15_000 <= free_port() < 32_000 for _ in range(20))
