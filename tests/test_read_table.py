"""Reading a compacted topic whole, on a broker."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import NewTopic

from processors.runtime import clients, tables
from processors.runtime.settings import Settings
from processors.runtime.tables import read_table
from processors.runtime.transactions import Fatal
from tests.lanes import wait_for


class CompactedTopic:
    """A topic of two partitions, and a reader of it."""

    def __init__(self, servers: str, topic: str) -> None:
        self.topic = topic
        self.servers = servers
        self.settings = Settings(kafka_bootstrap_servers=servers)
        self.admin = clients.admin(self.settings)
        made = self.admin.create_topics(
            [NewTopic(topic, 2, 1, config={"cleanup.policy": "compact"})]
        )
        made[topic].result(20)

    def read(self, *, to_stable: bool = False) -> dict[bytes, bytes]:
        return read_table(self.settings, self.admin, self.topic, (0, 1), to_stable=to_stable)

    def put(self, *records: tuple[str, str | None], partition: int = 0) -> None:
        producer = Producer({"bootstrap.servers": self.servers})
        for key, value in records:
            producer.produce(self.topic, value, key, partition=partition)
        assert producer.flush(20) == 0


@pytest.fixture
def table(embedded: str, prefix: str) -> Iterator[CompactedTopic]:
    made = CompactedTopic(embedded, f"{prefix}table")
    yield made
    clients.close_admin(made.admin)


def test_the_last_value_of_each_key_of_all_partitions(table: CompactedTopic) -> None:
    assert table.read() == {}
    table.put(("a", "1"), ("b", "1"), ("a", "2"), ("b", None), ("c", ""))
    table.put(("d", "1"), partition=1)
    expected = {b"a": b"2", b"c": b"", b"d": b"1"}
    assert table.read() == expected
    assert table.read(to_stable=True) == expected


def test_an_open_transaction_is_waited_for_by_who_needs_all_and_not_by_who_looks(
    table: CompactedTopic,
) -> None:
    table.put(("a", "1"))
    producer = Producer({"bootstrap.servers": table.servers, "transactional.id": table.topic})
    producer.init_transactions(20)
    producer.begin_transaction()
    producer.produce(table.topic, "2", "a", partition=0)
    assert producer.flush(20) == 0
    assert table.read(to_stable=True) == {b"a": b"1"}
    found: list[dict[bytes, bytes]] = []
    thread = threading.Thread(target=lambda: found.append(table.read()))
    thread.start()
    thread.join(1)
    assert not found, "it waits"
    producer.commit_transaction(20)
    wait_for(lambda: bool(found), 20, "it goes on")
    thread.join(10)
    assert found == [{b"a": b"2"}]


def test_where_nothing_comes_it_says_so(
    table: CompactedTopic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "IDLE_SECONDS", 0.5)
    producer = Producer({"bootstrap.servers": table.servers, "transactional.id": table.topic})
    producer.init_transactions(20)
    producer.begin_transaction()
    producer.produce(table.topic, "2", "a", partition=0)
    assert producer.flush(20) == 0
    with pytest.raises(Fatal, match="cannot be read: nothing came for"):
        table.read()
    producer.abort_transaction(20)
