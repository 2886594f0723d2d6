"""What the client in use logs of its connections, held to what `connection_log` relies on.

No broker: librdkafka has a mock cluster, which lives in a process of its own here, so that it can
be stopped and killed. If an upgrade of the client changes the log, these tests fail.
"""

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest
from confluent_kafka import KafkaException, Producer

from processors.runtime import clients
from processors.runtime.connection_log import ConnectionLog
from processors.runtime.settings import Settings
from processors.runtime.transactions import Transactions
from tests.lanes import wait_for

_MOCK = """
import sys
from confluent_kafka import Producer
producer = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1})
(broker,) = producer.list_topics(timeout=10).brokers.values()
print(broker.port, flush=True)
sys.stdin.read()
"""


class MockCluster:
    """A mock cluster of one broker in a process of its own."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _MOCK],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        self.servers = f"127.0.0.1:{int(self._process.stdout.readline())}"

    def stop(self) -> None:
        self._process.send_signal(signal.SIGSTOP)
        os.waitpid(self._process.pid, os.WUNTRACED)  # it may go on for a moment

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def cluster() -> Iterator[MockCluster]:
    made = MockCluster()
    yield made
    made.end()


@contextmanager
def producer(servers: str, **kafka: str) -> Iterator[tuple[Producer, ConnectionLog]]:
    settings = Settings(kafka_bootstrap_servers=servers, kafka=kafka)
    made, connections = clients.transactional_producer(
        settings, "one", lambda error, message: None, report=False
    )
    made.init_transactions(10)
    made.poll(0)
    try:
        yield made, connections
    finally:
        made.purge()
        made.close()


def transaction(client: Producer) -> None:
    client.begin_transaction()
    client.produce("out", b"value", b"key")
    client.commit_transaction(10)
    client.poll(0)


def breaks(client: Producer, connections: ConnectionLog, before: int) -> bool:
    client.poll(0)
    return connections.lost > before


def test_a_connection_that_is_made_is_seen_and_one_that_holds_is_not_lost(
    cluster: MockCluster,
) -> None:
    with producer(cluster.servers) as (client, connections):
        assert connections.made > 0
        transaction(client)
        before = connections.lost
        for _ in range(20):
            transaction(client)
        assert connections.lost == before


def test_a_connection_that_breaks_is_seen(cluster: MockCluster) -> None:
    with producer(cluster.servers) as (client, connections):
        transaction(client)
        before = connections.lost
        cluster.end()
        wait_for(partial(breaks, client, connections, before), 10, "a loss")


def test_a_request_that_times_out_breaks_its_connection_each_time(cluster: MockCluster) -> None:
    """Twice within what librdkafka takes for a repetition, which it does not log."""
    with producer(cluster.servers, **{"socket.timeout.ms": "1000"}) as (
        client,
        connections,
    ):
        transaction(client)
        for _ in range(2):
            before = connections.lost
            cluster.stop()
            try:
                with pytest.raises(KafkaException):
                    client.list_topics(timeout=3)
                wait_for(partial(breaks, client, connections, before), 10, "a loss")
            finally:
                cluster.go_on()
            wait_for(lambda: client.list_topics(timeout=5), 10, "a new connection")


def test_a_request_that_is_sent_again_costs_its_caller_nothing_and_the_epoch(
    cluster: MockCluster,
) -> None:
    """The reason for all of it: the commit returns without an error."""
    settings = Settings(
        kafka_bootstrap_servers=cluster.servers, kafka={"socket.timeout.ms": "1000"}
    )
    transactions = Transactions(
        lambda on_delivery: clients.transactional_producer(
            settings, "one", on_delivery, report=False
        ),
        [],
        lambda: False,
        lambda: None,
    )
    transactions.initialise()
    first = transactions.producer
    for doubtful, exchanged in ((False, False), (True, False), (False, True), (False, True)):
        transactions.begin()
        transactions.producer.produce("out", b"value", b"key")
        transactions.producer.flush(5)
        if doubtful:
            cluster.stop()
            threading.Timer(1.5, cluster.go_on).start()
        transactions.abort()
        assert (transactions.producer is first) == (not exchanged)
    assert transactions.renewals == 1
    transactions.close()


@pytest.mark.parametrize(
    ("line", "made", "lost"),
    [
        ("[thrd:b/1]: b/1: Broker changed state APIVERSION_QUERY -> UP", 1, 0),
        ("[thrd:b/1]: b/1: Broker changed state UP -> DOWN", 0, 1),
        ("[thrd:b/1]: b/1: Broker changed state UP -> REAUTH", 0, 0),
        ("[thrd:b/1]: b/1: Broker changed state REAUTH -> UP", 0, 0),
        ("[thrd:b/1]: b/1: Broker changed state REAUTH -> DOWN", 0, 1),
        ("[thrd:b/1]: b/1: Broker changed state CONNECT -> DOWN", 0, 0),
        ("[thrd:b/1]: something else", 0, 0),
    ],
)
def test_which_changes_count(line: str, made: int, lost: int) -> None:
    connections = ConnectionLog(logging.getLogger("none"), verbose=False)
    connections.log(logging.DEBUG, "%s [%s] %s", "STATE", "client", line)
    assert (connections.made, connections.lost) == (made, lost)
