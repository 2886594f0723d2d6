"""Who waits for records at the embedded broker waits, and is told what is written at once."""

import json
from collections.abc import Callable

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import NewTopic

from console.fetch_relay import is_empty, max_wait
from processors.runtime import clients
from processors.runtime.settings import Settings
from topics.admin import Admin


def answer(records: bytes = b"\x01", error: int = 0, aborted: bytes = b"\x01") -> bytes:
    """An answer to a fetch of two partitions, of which the second has these."""
    nothing = _partition(b"\x01", 0, b"\x00")
    topics = b"\x02" + b"\x06topic" + b"\x03" + nothing + _partition(records, error, aborted)
    return b"\x00\x00\x00\x07" + b"\x00" + bytes(10) + topics + b"\x00" + b"\x00"


def _partition(records: bytes, error: int, aborted: bytes) -> bytes:
    offsets = bytes(24)
    head = bytes(4) + error.to_bytes(2, "big") + offsets
    return head + aborted + b"\xff\xff\xff\xff" + records + b"\x00"


@pytest.mark.parametrize(
    ("frame", "empty"),
    [
        (answer(), True),
        (answer(b"\x00"), True),
        (answer(aborted=b"\x02" + bytes(17)), True),
        (answer(b"\x03ab"), False),
        (answer(b"\x81\x01" + bytes(128)), False),
        (answer(error=1), False),
        (b"\x00\x00\x00\x07" + b"\x00" + bytes(4) + b"\x00\x46" + bytes(4) + b"\x01\x00", False),
    ],
    ids=["empty", "null", "aborted", "records", "many", "error of a partition", "error of all"],
)
def test_an_answer_without_records_and_errors_is_empty(frame: bytes, empty: bool) -> None:
    assert is_empty(frame) == empty


@pytest.mark.parametrize("client", [b"\xff\xff", b"\x00\x03abc"], ids=["no name", "a name"])
def test_a_fetch_says_how_long_it_waits(client: bytes) -> None:
    head = b"\x00\x01\x00\x0c" + bytes(4) + client + b"\x00"
    assert max_wait(head + b"\xff\xff\xff\xff" + b"\x00\x00\x01\xf4" + bytes(20)) == 0.5


def _reader(servers: str, topic: str, wait: int, told: Callable[[str], None]) -> Consumer:
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": "nobody",
            "fetch.wait.max.ms": wait,
            "statistics.interval.ms": 200,
            "stats_cb": told,
        }
    )
    consumer.assign([TopicPartition(topic, number, 0) for number in (0, 1)])
    return consumer


def test_who_waits_asks_as_often_as_it_wants_to(embedded: str, prefix: str) -> None:
    topic = _topic(embedded, prefix)
    fetches: list[int] = []

    def told(statistics: str) -> None:
        brokers = json.loads(statistics)["brokers"].values()
        fetches.append(sum(each["req"].get("Fetch", 0) for each in brokers))

    consumer = _reader(embedded, topic, 400, told)
    while len(fetches) < 10:
        assert consumer.poll(0.1) is None
    consumer.close()
    assert 0 < fetches[-1] < 20, "two seconds"


def test_what_is_written_comes_at_once(embedded: str, prefix: str) -> None:
    topic = _topic(embedded, prefix)
    consumer = _reader(embedded, topic, 50_000, lambda _: None)
    for number in range(3):
        assert consumer.poll(0.2) is None
        producer = Producer({"bootstrap.servers": embedded})
        producer.produce(topic, f"{number}".encode(), partition=number % 2)
        assert producer.flush(10) == 0
        message = consumer.poll(30)
        assert message is not None, "it waits until the fetch has waited"
        assert message.value() == f"{number}".encode()
    consumer.close()


def test_more_than_100_mb_that_are_there_are_read(embedded: str, prefix: str) -> None:
    topic = _topic(embedded, prefix)
    producer = Producer({"bootstrap.servers": embedded, "message.max.bytes": 4 << 20})
    value = bytes(range(256)) * 8_192  # 2 MiB
    for _ in range(54):
        producer.produce(topic, value, partition=0)
        assert producer.flush(20) == 0
    reader = clients.reader(Settings(kafka_bootstrap_servers=embedded))
    reader.assign([TopicPartition(topic, 0, 0)])
    read = 0
    while read < 54:
        message = reader.poll(20)
        assert message is not None, f"{read} were read"
        assert message.value() == value
        read += 1
    reader.close()


def _topic(servers: str, prefix: str) -> str:
    topic = f"{prefix}waits"
    admin = Admin({"bootstrap.servers": servers})
    large = {"max.message.bytes": str(4 << 20)}
    admin.create_topics([NewTopic(topic, 2, 1, config=large)])[topic].result(20)
    return topic
