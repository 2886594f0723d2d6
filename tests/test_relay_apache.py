"""Every foreign record exactly once, on Apache Kafka, while instances of a relay die and freeze."""

import json
import random
import signal
import time
from collections import Counter, defaultdict
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import NewTopic

from tests.instances import drawn
from tests.lanes import Bench, Instance, wait_for
from tests.outcomes import Outcome, note

RELAY = "tests.toy_relay:RELAY"
PARTITIONS, KEYS, RECORDS = 4, 40, 20_000
READS = "relay reads "


def create(bench: Bench, *foreign: str) -> None:
    bench.create()
    names = {"sources": 1, "source-positions": 1, **dict.fromkeys(foreign, PARTITIONS)}
    bench.create_topics(NewTopic(bench.prefix + name, n, 1) for name, n in names.items())


def register(bench: Bench, id_: str, *topics: str, **more: Any) -> None:
    source = {"topics": [bench.prefix + topic for topic in topics], **more}
    bench.producer.produce(f"{bench.prefix}sources", json.dumps(source).encode(), id_.encode())
    bench.flush()


def feed(bench: Bench, topic: str, count: int) -> None:
    """Records whose key always goes to one partition."""
    for n in range(count):
        key = n % KEYS
        value, name = f"v{n}".encode(), f"k{key}".encode()
        bench.producer.produce(bench.prefix + topic, value, name, key % PARTITIONS)
        bench.producer.poll(0)
    bench.flush()


def outputs(bench: Bench, enough: int, seconds: float) -> dict[str, list[tuple[Any, ...]]]:
    """The places of the records that came out, by key and topic, in their order."""
    found: defaultdict[str, list[tuple[Any, ...]]] = defaultdict(list)
    for message in bench.read("out", enough, seconds):
        place = json.loads(message.value() or b"")["place"]
        found[f"{(message.key() or b'').decode()} of {place[0]}"].append(tuple(place))
    return found


def check(bench: Bench, found: dict[str, list[tuple[Any, ...]]], count: int) -> None:
    """Each record once, and those of a key and topic in their order."""
    times = Counter(place for places in found.values() for place in places)
    twice = [place for place, number in times.items() if number > 1]
    disordered = sum(places != sorted(places) for places in found.values())
    note(Outcome(count, count - len(times), times.total() - len(times), disordered))
    assert not twice, f"{len(twice)} came twice, such as {twice[0]}"
    assert len(times) == count, f"{count - len(times)} are lost"
    for key, places in found.items():
        assert places == sorted(places), f"{key} is not in order"


def reads(instance: Instance) -> bool:
    return READS in instance.log or instance.process.poll() is not None


@pytest.mark.fault("instances that relay foreign topics killed and frozen")
@pytest.mark.slow
def test_every_foreign_record_once_while_instances_die_and_freeze(real: Bench) -> None:
    seed = drawn()
    pick = random.Random(seed)
    create(real, "f", "g")
    register(real, "s", "f", "g")
    running = {n: real.start(n, processor=RELAY) for n in (0, 1)}
    for instance in running.values():
        wait_for(lambda i=instance: reads(i), 60, "it reads")  # type: ignore[misc]
    share = RECORDS // 20
    for n in range(10):
        feed(real, "f", share)
        feed(real, "g", share)
        struck = pick.randrange(2)
        # A blow while a transaction is open: what was fed is being copied.
        time.sleep(pick.uniform(0.0, 0.4))
        if n % 4 == 3:
            running[struck].signal(signal.SIGSTOP)
            time.sleep(pick.uniform(1, 4) if n % 8 == 3 else 12)
            running[struck].signal(signal.SIGCONT)
        else:
            running[struck].kill()
            running[struck] = real.start(struck, processor=RELAY)
    found = outputs(real, RECORDS, 120)
    print(f"seed {seed}")
    check(real, found, RECORDS)
    for instance in running.values():
        # The other one may have read it all before the last one that was started is up.
        wait_for(lambda i=instance: reads(i), 60, "it reads")  # type: ignore[misc]
        instance.signal(signal.SIGTERM)
        assert instance.wait() == 0, instance.log


def test_partitions_go_from_one_instance_to_two_and_back(real: Bench) -> None:
    create(real, "f")
    register(real, "s", "f")
    first = real.start(0, processor=RELAY)
    feed(real, "f", 2_000)
    wait_for(lambda: reads(first), 60, "the first reads")
    second = real.start(1, processor=RELAY)
    wait_for(lambda: reads(second), 60, "the second reads")
    feed(real, "f", 2_000)
    second.signal(signal.SIGTERM)
    assert second.wait() == 0, second.log
    feed(real, "f", 2_000)
    check(real, outputs(real, 6_000, 60), 6_000)


def test_a_replay_that_is_killed_ends_and_comes_once(real: Bench) -> None:
    create(real, "f")
    register(real, "s", "f")
    feed(real, "f", 8_000)
    instance = real.start(0, processor=RELAY)
    real.read("out", 8_000, 60)
    register(real, "s", "f", replay=[time.time_ns() // 1_000_000, 0])
    wait_for(lambda: "again from" in instance.log, 30, "it is read again")
    instance.kill()
    feed(real, "f", 400)
    real.start(0, processor=RELAY)
    found = [json.loads(m.value() or b"") for m in real.read("out", 16_400, 60)]
    again = Counter(tuple(each["place"]) for each in found if each["again"])
    news = Counter(tuple(each["place"]) for each in found if not each["again"])
    # Where it was killed before the replay was committed, what came meanwhile is read again, too.
    assert len(again) == again.total() >= 8_000
    assert (len(news), news.total()) == (8_400, 8_400)


def test_a_foreign_topic_that_is_deleted_and_made_anew_is_read_from_its_start(real: Bench) -> None:
    create(real, "f", "g")
    register(real, "s", "f", "g")
    instance = real.start(0, processor=RELAY)
    feed(real, "f", 100)
    real.read("out", 100)
    (future,) = real.admin.delete_topics([f"{real.prefix}f"]).values()
    future.result(20)
    wait_for(lambda: f"does not read {real.prefix}f" in instance.log, 30, "it is missed")
    feed(real, "g", 40)
    real.read("out", 140)
    real.create_topics([NewTopic(f"{real.prefix}f", PARTITIONS, 1)])
    wait_for(lambda: f"reads {real.prefix}f now" in instance.log, 30, "it is there again")
    with Bench(real.servers, real.prefix, real.directory) as fresh:
        feed(fresh, "f", 20)
    found = outputs(real, 160, 60)
    assert sum(map(len, found.values())) == 160
    assert instance.process.poll() is None, instance.log


def test_what_retention_took_stops_its_partition_and_no_other_until_it_may_be_skipped(
    real: Bench,
) -> None:
    create(real, "f", "g")
    register(real, "s", "f", "g")
    first = real.start(0, processor=RELAY)
    feed(real, "f", 40)
    real.read("out", 40)
    first.signal(signal.SIGTERM)
    assert first.wait() == 0, first.log
    feed(real, "f", 40)
    (future,) = real.admin.delete_records([TopicPartition(f"{real.prefix}f", 0, 15)]).values()
    future.result(20)
    stopped = real.start(0, processor=RELAY)
    feed(real, "g", 40)
    found = outputs(real, 40 + 30 + 40, 60)
    assert sum(map(len, found.values())) == 110, "three of four partitions, and the other topic"
    assert f"{real.prefix}f-0 begins at 15, and the next record to read is 10" in stopped.log
    stopped.signal(signal.SIGTERM)
    assert stopped.wait() == 0, stopped.log
    real.start(0, {"HANDOFF_GAP": "skip"}, RELAY)
    found = outputs(real, 115, 60)
    assert sum(map(len, found.values())) == 115, "five were lost, and are counted"
