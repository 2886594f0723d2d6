"""The relay lane on the embedded broker: topics of others come, change and go while it runs."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import NewPartitions, NewTopic

from processors.runtime import base_lane, lane_supervisor, relay_lane, retry_backoff
from processors.runtime.batch import Worker
from processors.runtime.lane_supervisor import LaneSupervisor
from tests.lanes import Bench, headers, supervised, wait_for
from tests.toy_relay import relay

TABLES = ("sources", "source-positions")


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_lane, "LOOK_SECONDS", 0.3)


def create(bench: Bench, **foreign: int) -> None:
    """Our topics, and foreign ones with so many partitions."""
    bench.create()
    counts = {**dict.fromkeys(TABLES, 1), **foreign}
    bench.create_topics(NewTopic(bench.prefix + name, n, 1) for name, n in counts.items())


def register(bench: Bench, id_: str, *topics: str, **more: Any) -> None:
    source = {"topics": [bench.prefix + topic for topic in topics], **more}
    bench.producer.produce(f"{bench.prefix}sources", json.dumps(source).encode(), id_.encode())
    bench.flush()


def produce(bench: Bench, topic: str, *values: str, key: str = "k", partition: int = 0) -> None:
    for value in values:
        bench.producer.produce(bench.prefix + topic, value.encode(), key.encode(), partition)
    bench.flush()


@contextmanager
def running(bench: Bench) -> Iterator[LaneSupervisor]:
    with supervised(bench, relay(bench.prefix)) as supervisor:
        yield supervisor


def told(messages: list[Message]) -> list[dict[str, Any]]:
    return [json.loads(message.value() or b"") for message in messages]


def values(bench: Bench, enough: int) -> list[str]:
    return [each["value"] for each in told(bench.read("out", enough))]


def partitions(bench: Bench, topic: str) -> int:
    name = bench.prefix + topic
    return len(bench.admin.list_topics(name).topics[name].partitions)


def positions(bench: Bench) -> dict[str, Any]:
    found = {}
    for message in bench.read("source-positions", 0):
        found[(message.key() or b"").decode()] = json.loads(message.value() or b"")
    return found


def test_records_come_keyed_once_with_their_time_and_the_lane_goes_on_after_a_restart(
    bench: Bench,
) -> None:
    create(bench, f=3)
    for n in range(30):
        produce(bench, "f", f"v{n}", key=f"k{n % 5}", partition=n % 3)
    register(bench, "s", "f")
    with running(bench):
        first = bench.read("out", 30)
    assert sorted(each["value"] for each in told(first)) == sorted(f"v{n}" for n in range(30))
    assert {message.key() for message in first} == {f"k{n}".encode() for n in range(5)}
    produce(bench, "f", "after")
    with running(bench) as supervisor:
        assert Counter(values(bench, 31)).most_common(1)[0][1] == 1
        wait_for(lambda: supervisor.status.sources["s", "mapped", ""] == 1, 10, "counted")
        wait_for(lambda: sum(supervisor.status.lag.values()) == 0, 10, "no lag")


def test_without_a_source_it_stands_by_and_is_ready(bench: Bench) -> None:
    create(bench)
    with running(bench) as supervisor:
        wait_for(lambda: supervisor.status.phase == "standing by", 10, "stands by")
        assert supervisor.status.ready
    assert supervisor.status.committed == 0


def test_a_source_that_changes_counts_from_the_next_record_and_rereads_nothing(
    bench: Bench,
) -> None:
    create(bench, f=1)
    register(bench, "s", "f", tag="one")
    produce(bench, "f", "a")
    with running(bench):
        bench.read("out", 1)
        register(bench, "s", "f", tag="two")
        limit = time.monotonic() + 20
        tags = []
        while "two" not in tags:
            assert time.monotonic() < limit
            produce(bench, "f", "b")
            tags = [each["tag"] for each in told(bench.read("out", 1))]
    assert tags[0] == "one"
    assert [each["value"] for each in told(bench.read("out", 1))].count("a") == 1


def test_a_record_of_two_sources_maps_through_each(bench: Bench) -> None:
    create(bench, f=1)
    register(bench, "s", "f")
    register(bench, "t", "f")
    produce(bench, "f", "a")
    with running(bench):
        assert {each["source"] for each in told(bench.read("out", 2))} == {"s", "t"}


def test_a_topic_that_is_not_there_yet_keeps_no_other_and_is_read_once_it_is(
    bench: Bench,
) -> None:
    create(bench, f=1)
    register(bench, "s", "f")
    register(bench, "late", "g")
    produce(bench, "f", "a")
    with running(bench) as supervisor:
        assert values(bench, 1) == ["a"]
        (topic,) = supervisor.status.problems
        assert topic == f"{bench.prefix}g"
        assert "does not exist" in supervisor.status.problems[topic]
        assert supervisor.status.ready, "it reads the other one"
        bench.create_topics([NewTopic(f"{bench.prefix}g", 1, 1)])
        produce(bench, "g", "b")
        assert set(values(bench, 2)) == {"a", "b"}
        wait_for(lambda: not supervisor.status.problems, 10, "no problem any more")


def test_a_lane_none_of_whose_topics_can_be_read_is_not_ready(bench: Bench) -> None:
    create(bench)
    register(bench, "s", "nowhere")
    with running(bench) as supervisor:
        wait_for(lambda: supervisor.status.problems, 10, "the problem is known")
        assert not supervisor.status.ready


def test_a_source_that_is_taken_away_is_read_no_more(bench: Bench) -> None:
    create(bench, f=1, g=1)
    register(bench, "s", "f")
    register(bench, "t", "g")
    produce(bench, "f", "a")
    with running(bench) as supervisor:
        bench.read("out", 1)
        bench.producer.produce(f"{bench.prefix}sources", None, b"s")
        bench.flush()
        wait_for(
            lambda: {topic for topic, _ in supervisor.status.lag} == {f"{bench.prefix}g"},
            20,
            "only the other topic is read",
        )
        produce(bench, "f", "gone")
        produce(bench, "g", "b")
        assert values(bench, 2) == ["a", "b"]


def test_partitions_that_are_added_are_read_from_their_first_record(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    from processors.runtime import clients

    monkeypatch.setattr(clients, "FOREIGN_REFRESH_MS", 500)
    create(bench, f=1)
    register(bench, "s", "f", begin=None)
    produce(bench, "f", "before")
    with running(bench) as supervisor:
        wait_for(lambda: supervisor.status.committed, 20, "the start is committed")
        (future,) = bench.admin.create_partitions([NewPartitions(f"{bench.prefix}f", 2)]).values()
        future.result(20)
        wait_for(lambda: partitions(bench, "f") == 2, 10, "two partitions")
        fresh = Producer({"bootstrap.servers": bench.servers})  # it knows the partition
        fresh.produce(f"{bench.prefix}f", b"new", b"k", 1)
        assert fresh.flush(10) == 0
        assert values(bench, 1) == ["new"]


def test_latest_counts_for_a_topic_that_is_new_and_never_again(bench: Bench) -> None:
    create(bench, f=1)
    produce(bench, "f", "before")
    register(bench, "s", "f", begin=None)
    with running(bench) as supervisor:
        wait_for(lambda: supervisor.status.committed, 20, "the start is committed")
    produce(bench, "f", "while it was away")
    with running(bench):
        assert values(bench, 1) == ["while it was away"]


def test_a_topic_that_is_new_is_begun_at_a_time(bench: Bench) -> None:
    create(bench, f=2)
    now = time.time_ns() // 1_000_000
    for partition, age, value in ((0, 90, "a"), (0, 30, "b"), (0, 10, "c"), (1, 90, "d")):
        at = now - age * 60_000
        bench.producer.produce(f"{bench.prefix}f", value, "k", partition, timestamp=at)
    bench.flush()
    register(bench, "s", "f", begin=now - 60 * 60_000)
    with running(bench) as supervisor:
        assert values(bench, 2) == ["b", "c"]
        wait_for(lambda: supervisor.status.committed, 20, "the start is committed")
        produce(bench, "f", "e", partition=1)
        assert values(bench, 3) == ["b", "c", "e"], "what is older than its start is never read"


def test_a_replay_reads_again_for_its_source_only_and_once(bench: Bench) -> None:
    create(bench, f=1)
    register(bench, "s", "f")
    register(bench, "t", "f")
    produce(bench, "f", "a", "b")
    with running(bench):
        bench.read("out", 4)
        now = time.time_ns() // 1_000_000
        register(bench, "s", "f", replay=[now, 0])
        found = told(bench.read("out", 6))
        assert [each["value"] for each in found if each["again"]] == ["a", "b"]
        assert {each["source"] for each in found if each["again"]} == {"s"}
        produce(bench, "f", "c")
        found = told(bench.read("out", 8))
        assert [each["again"] for each in found if each["value"] == "c"] == [False, False]
    with running(bench):
        produce(bench, "f", "d")
        found = told(bench.read("out", 10))
    assert len(found) == 10, "it was obeyed once, and the next lane knows"


def test_a_replay_asked_for_before_a_topic_was_read_is_none(bench: Bench) -> None:
    create(bench, f=1)
    produce(bench, "f", "a")
    register(bench, "s", "f", replay=[time.time_ns() // 1_000_000, 0])
    with running(bench):
        assert values(bench, 1) == ["a"]


def test_what_cannot_be_mapped_is_a_dead_letter_and_the_next_record_goes_on(bench: Bench) -> None:
    create(bench, f=1)
    register(bench, "s", "f")
    produce(bench, "f", "a", "bad", "b")
    with running(bench):
        assert values(bench, 2) == ["a", "b"]
        (letter,) = bench.read("dead-letters", 1)
    assert letter.value() == b"bad"
    assert headers(letter)["__streams.errors.topic"] == f"{bench.prefix}f"
    assert headers(letter)["__streams.errors.offset"] == "1"


def test_a_record_that_no_transaction_takes_or_that_takes_for_ever_is_isolated(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_lane, "AGENT_SECONDS", 1.0)
    monkeypatch.setattr(base_lane, "BEAT_SECONDS", 0.1)
    monkeypatch.setattr(lane_supervisor, "_BACK_OFF", (0.0, 0.0))
    monkeypatch.setattr(retry_backoff, "_PAUSE_SECONDS", 0.0)
    create(bench, f=1)
    register(bench, "s", "f")
    produce(bench, "f", *(f"v{n}" for n in range(20)), "busy:2", "huge", "last")
    with supervised(bench, relay(bench.prefix), Worker("judge").give):
        found = [json.loads(m.value() or b"")["value"] for m in bench.read("out", 21, 60)]
        assert found[-1] == "last"
        letters = bench.read("dead-letters", 2)
    assert {letter.value() for letter in letters} == {b"busy:2", b"huge"}


def test_how_far_each_source_was_read_is_told_and_moves_on_at_the_end(bench: Bench) -> None:
    create(bench, f=2)
    register(bench, "s", "f")
    produce(bench, "f", "a")
    began = time.time()
    with running(bench) as supervisor:
        bench.read("out", 1)
        first = dict(supervisor.status.read_to)
        wait_for(lambda: supervisor.status.read_to, 10, "a moment is known")
        first = dict(supervisor.status.read_to)
        wait_for(lambda: supervisor.status.read_to != first, 10, "it moves on without records")
    (place,) = first
    assert place == ("s", f"{bench.prefix}f")
    (record,) = positions(bench).values()
    assert record["source"] == "s"
    assert record["partitions"] == 2
    assert set(record["read_to"]) == {"0", "1"}
    assert first[place] / 1000 > began


def test_offsets_that_somebody_has_set_by_hand_are_gone_by(bench: Bench) -> None:
    create(bench, f=1)
    register(bench, "s", "f")
    produce(bench, "f", "a", "b", "c")
    with running(bench):
        bench.read("out", 3)
    by_hand = Consumer({"bootstrap.servers": bench.servers, "group.id": f"{bench.prefix}app-relay"})
    place = TopicPartition(f"{bench.prefix}f", 0, 2)
    by_hand.commit(offsets=[place], asynchronous=False)
    by_hand.close()
    with running(bench):
        found = values(bench, 4)
    assert found == ["a", "b", "c", "c"]
