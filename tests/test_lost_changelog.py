"""A changelog that holds less than the offsets say, and topics whose partitions are raised: each
stops the processor with a sentence, before and while it runs; `--rebuild` reads the inputs anew."""

import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AlterConfigOpType as Op
from confluent_kafka.admin import ConfigEntry, ConfigResource, NewPartitions, NewTopic

from console.brokers import ApacheKafka, BrokerError
from processors.runtime.changelog_marks import read
from tests.conftest import cannot_run
from tests.instances import ends
from tests.lanes import PARTITIONS, Bench, Instance, number, text, wait_for
from tests.outcomes import note_counts
from topics.admin import Admin

REBUILD = {"HANDOFF_REBUILD": "true"}
SENTENCE = "holds less than the offsets of"


@pytest.fixture(
    params=[
        pytest.param("bench", marks=pytest.mark.embedded, id="embedded"),
        pytest.param("real", marks=pytest.mark.kafka, id="apache"),
    ]
)
def bench(request: pytest.FixtureRequest) -> Bench:
    """Each test on both brokers: only Apache Kafka gives topics an id."""
    made: Bench = request.getfixturevalue(request.param)
    return made


@pytest.fixture(name="only_apache")
def _only_apache(real: Bench) -> Bench:
    return real


def feed(bench: Bench, count: int, keys: int = 30) -> None:
    for n in range(count):
        bench.send(f"k{n % keys}")
    bench.flush()


def caught_up(bench: Bench) -> bool:
    """Whether the group's offsets are at the ends of the input."""
    at = {(place.topic, place.partition): max(0, place.offset) for place in offsets(bench)}
    return ends(bench.admin, [TopicPartition(*place) for place in at]) == at


def settle(bench: Bench, instance: Instance) -> None:
    """Wait until it has judged all, and end it."""
    instance.ready()
    wait_for(lambda: caught_up(bench), 30, instance.log)
    instance.signal(signal.SIGTERM)
    assert instance.wait() == 0


def sentence(instance: Instance, seconds: float = 30) -> str:
    """Its last line, with which it ended."""
    assert instance.wait(seconds) == 1, instance.log
    return instance.log.splitlines()[-1]


def make_anew(bench: Bench) -> None:
    name = bench.prefix + "log"
    bench.admin.delete_topics([name])[name].result(20)
    wait_for(lambda: name not in bench.admin.list_topics(timeout=10).topics, 20, "it is deleted")
    bench.create_topics([NewTopic(name, PARTITIONS, 1)])


def cut(bench: Bench, *numbers: int) -> None:
    """Delete all records of partitions of the changelog."""
    ends = [TopicPartition(bench.prefix + "log", n, -1) for n in numbers or range(PARTITIONS)]
    for future in bench.admin.delete_records(ends).values():
        future.result(20)


def raised(bench: Bench, *topics: str) -> None:
    for topic in topics:
        name = bench.prefix + topic
        bench.admin.create_partitions([NewPartitions(name, PARTITIONS + 1)])[name].result(20)


def feed_new_partition(bench: Bench) -> None:
    """A record to the partition that was not there; a producer of old does not know of it."""
    producer = Producer({"bootstrap.servers": bench.servers})
    producer.produce(bench.prefix + "in0", b"x", b"new", PARTITIONS)
    assert producer.flush(20) == 0


def offsets(bench: Bench) -> list[TopicPartition]:
    """What the group has committed, with metadata."""
    asking = Consumer({"bootstrap.servers": bench.servers, "group.id": f"{bench.prefix}app-toy"})
    try:
        places = [TopicPartition(bench.prefix + "in0", n) for n in range(PARTITIONS)]
        return asking.committed(places, 10)
    finally:
        asking.close()


def counts(bench: Bench, enough: int) -> dict[str, list[int]]:
    """What each key's outputs tell, in their order."""
    found: dict[str, list[int]] = {}
    for message in bench.read("out", enough):
        found.setdefault(text(message.key()), []).append(number(message))
    return found


# --- less than the offsets say --------------------------------------------------------------------


@pytest.mark.parametrize("harm", [make_anew, cut])
@pytest.mark.parametrize("state", ["memory", "disk"])
def test_a_changelog_with_less_stops_a_start_and_rebuild_reads_anew(
    bench: Bench, harm: Callable[[Bench], None], state: str, tmp_path: Path
) -> None:
    environment = {"HANDOFF_STATE": state, "HANDOFF_STATE_DIR": str(tmp_path / "state")}
    bench.create()
    feed(bench, 300)
    settle(bench, bench.start(environment=environment))
    harm(bench)
    for _ in range(2):  # it stays so
        line = sentence(bench.start(environment=environment))
        assert (
            f"{bench.prefix}log {SENTENCE} {bench.prefix}app-toy say (partition 0, 1, 2: " in line
        )
        assert line.endswith("start with: handoff run --rebuild")
    assert len(bench.read("out", 300)) == 300

    rebuilding = bench.start(environment=environment | REBUILD).ready()
    assert rebuilding.log.count("is read anew from 0, and was judged up to") == PARTITIONS
    # All of it is judged again, from the first record on: what was published comes again.
    again = {key: [*range(1, 11), *range(1, 11)] for key in bench.expected}
    assert counts(bench, 600) == again
    settle(bench, rebuilding)

    # And once it has been, it starts as ever, with the flag or without.
    feed(bench, 30)
    following = bench.start(environment=environment).ready()
    assert counts(bench, 630) == {key: [*found, 11] for key, found in again.items()}
    settle(bench, following)
    feed(bench, 30)
    following = bench.start(environment=environment | REBUILD).ready()
    assert counts(bench, 660) == {key: [*found, 11, 12] for key, found in again.items()}
    assert "is read anew" not in following.log
    assert f"nothing is missing in {bench.prefix}log on partitions" in following.log


def test_only_the_partition_that_lost_something_is_read_anew(bench: Bench) -> None:
    bench.create()
    feed(bench, 300)
    settle(bench, bench.start())
    cut(bench, 1)
    line = sentence(bench.start())
    assert "say (partition 1: the changelog's records before" in line
    began = {at.partition: at.offset for at in offsets(bench)}
    instance = bench.start(environment=REBUILD).ready()
    found = counts(bench, 300 + began[1])
    twice = [key for key, told in found.items() if len(told) > 10]
    assert twice
    assert all(found[key] == [*range(1, 11), *range(1, 11)] for key in twice)
    assert sum(map(len, found.values())) == 300 + began[1]
    assert "in0-1 is read anew from 0" in instance.log
    assert "in0-0 is read anew" not in instance.log


@pytest.mark.parametrize("harm", [make_anew, cut])
def test_a_changelog_that_loses_something_under_a_running_processor_stops_it(
    bench: Bench, harm: Callable[[Bench], None]
) -> None:
    bench.create()
    feed(bench, 300)
    instance = bench.start().ready()
    wait_for(lambda: caught_up(bench), 30, instance.log)
    harm(bench)
    began = time.monotonic()
    assert SENTENCE in sentence(instance)
    assert time.monotonic() - began < 10
    assert SENTENCE in sentence(bench.start())
    instance = bench.start(environment=REBUILD).ready()
    assert counts(bench, 600) == {k: [*range(1, 11), *range(1, 11)] for k in bench.expected}


def test_a_changelog_that_is_deleted_under_a_running_processor_stops_it(
    only_apache: Bench,
) -> None:
    bench = only_apache  # the embedded broker makes a topic that is asked for
    bench.create()
    feed(bench, 300)
    instance = bench.start().ready()
    wait_for(lambda: caught_up(bench), 30, instance.log)
    name = bench.prefix + "log"
    bench.admin.delete_topics([name])[name].result(20)
    feed(bench, 30)
    line = sentence(instance)
    assert f"the topic {name} does not exist" in line
    assert "handoff topics apply" in line
    bench.create_topics([NewTopic(name, PARTITIONS, 1)])
    assert SENTENCE in sentence(bench.start())
    assert len(bench.read("dead-letters", 0)) == 0


@pytest.mark.fault("a rebuild killed")
def test_a_rebuild_that_is_killed_goes_on_where_it_was(bench: Bench) -> None:
    bench.create()
    feed(bench, 3000)
    settle(bench, bench.start())
    make_anew(bench)
    quick = {"HANDOFF_COMMIT_INTERVAL_MS": "1"}
    instance = bench.start(environment=REBUILD | quick)
    wait_for(lambda: "read anew" in instance.log, 30, instance.log)
    bench.read("out", 3010)
    instance.kill()
    # Partitions that had not committed anything are still as they were; so, again with the flag.
    bench.start(environment=REBUILD).ready()
    found = counts(bench, 6000)
    each = Counter((key, n) for key, numbers in found.items() for n in numbers)
    note_counts(each, Counter({(k, n): 2 for k in bench.expected for n in range(1, 101)}))
    assert found == {key: [*range(1, 101), *range(1, 101)] for key in bench.expected}


def test_an_input_whose_records_are_gone_is_rebuilt_to_nothing(bench: Bench) -> None:
    """Nothing is left to read, so nothing would be committed; the mark is, all the same."""
    bench.create()
    feed(bench, 300)
    settle(bench, bench.start())
    cut(bench)
    gone = [TopicPartition(bench.prefix + "in0", n, -1) for n in range(PARTITIONS)]
    for future in bench.admin.delete_records(gone).values():
        future.result(20)
    instance = bench.start(environment=REBUILD).ready()
    instance.signal(signal.SIGTERM)
    assert instance.wait() == 0
    bench.start().ready()


# --- what is no loss ------------------------------------------------------------------------------


def test_partitions_that_never_had_a_state_are_no_loss(bench: Bench) -> None:
    bench.create()
    for _ in range(30):
        bench.send("the only one")
    bench.flush()
    # One that only ever became dead letters: it has offsets, and no state.
    bench.producer.produce(bench.prefix + "in0", b"poison", b"k", partition=0)
    bench.producer.produce(bench.prefix + "in0", b"poison", b"k", partition=1)
    bench.producer.produce(bench.prefix + "in0", b"poison", b"k", partition=2)
    bench.flush()
    settle(bench, bench.start())
    marks = {at.partition: read(at.metadata) for at in offsets(bench)}
    assert all(mark is not None for mark in marks.values())
    (full,) = [n for n, mark in marks.items() if mark and mark.bounds.end > mark.bounds.first]
    cut(bench, *({0, 1, 2} - {full}))
    settle(bench, bench.start())
    make_anew(bench)
    assert f"say (partition {full}: " in sentence(bench.start())


def test_offsets_without_a_mark_start_as_they_always_did(bench: Bench) -> None:
    """Those of an earlier version, and those that a tool has set."""
    bench.create()
    feed(bench, 300)
    settle(bench, bench.start(None))  # who has an ordinal is a member for some seconds more
    plain = [TopicPartition(at.topic, at.partition, at.offset) for at in offsets(bench)]
    asking = Consumer({"bootstrap.servers": bench.servers, "group.id": f"{bench.prefix}app-toy"})
    asking.commit(offsets=plain, asynchronous=False)
    asking.close()
    assert not any(read(at.metadata) for at in offsets(bench))
    make_anew(bench)
    instance = bench.start(None).ready()
    feed(bench, 30)
    bench.read("out", 330)
    settle(bench, instance)
    assert all(read(at.metadata) for at in offsets(bench))


def test_every_commit_marks_how_far_its_changelog_came(bench: Bench) -> None:
    bench.create()
    feed(bench, 300)
    instance = bench.start()
    settle(bench, instance)
    told = bench.read("log", 30)
    last = {
        n: max((m.offset() or 0 for m in told if m.partition() == n), default=-1) for n in range(3)
    }
    for at in offsets(bench):
        mark = read(at.metadata)
        assert mark is not None
        assert mark.partitions == PARTITIONS
        assert mark.bounds.first == 0
        # Exact for the first transaction; later ones lie behind markers, which are not counted.
        assert 0 < mark.bounds.end <= last[at.partition] + 1


class CompactingKafka(ApacheKafka):
    """Its cleaner looks for what is to be compacted twice a second, and not every 15 s."""

    def _properties(self) -> str:
        return super()._properties() + "log.cleaner.backoff.ms=500\n"


@pytest.mark.fault("changelog compacted, broker killed and started")
@pytest.mark.kafka
@pytest.mark.slow
def test_compaction_and_a_restart_of_the_broker_are_no_loss(prefix: str, tmp_path: Path) -> None:
    broker = CompactingKafka(tmp_path / "broker")
    try:
        broker.start()
    except BrokerError as error:
        cannot_run("kafka", str(error))
    config = {
        "cleanup.policy": "compact",
        "segment.bytes": "1048576",
        "segment.ms": "1000",
        "min.cleanable.dirty.ratio": "0.01",
        "delete.retention.ms": "0",
        "max.compaction.lag.ms": "1",
    }
    try:
        with Bench(broker.bootstrap_servers, prefix, tmp_path) as bench:
            bench.create(log=config)
            instance = bench.start().ready()

            def compacted() -> bool:
                feed(bench, 30)  # a new segment, so that the older ones may be cleaned
                return len(bench.read("log", 0)) < sum(bench.expected.values()) // 2

            for _ in range(20):
                feed(bench, 100)
                wait_for(lambda: caught_up(bench), 30, instance.log)
            wait_for(compacted, 120, "it is compacted")
            broker.restart()
            bench.admin = Admin({"bootstrap.servers": bench.servers})
            feed(bench, 30)
            bench.check_outputs(120)
            settle(bench, instance)
            again = bench.start().ready()
            feed(bench, 30)
            bench.check_outputs(60)
            broker.restart()
            bench.admin = Admin({"bootstrap.servers": bench.servers})
            feed(bench, 30)
            bench.check_outputs(120)
            assert SENTENCE not in instance.log + again.log
            # And what it knew before is still compared with what is there.
            make_anew(bench)
            assert SENTENCE in sentence(again)
    finally:
        broker.stop()


def test_retention_of_a_changelog_that_deletes_is_a_loss(only_apache: Bench) -> None:
    bench = only_apache
    bench.create()
    feed(bench, 300)
    instance = bench.start().ready()
    wait_for(lambda: caught_up(bench), 30, instance.log)
    resource = ConfigResource(
        ConfigResource.Type.TOPIC,
        bench.prefix + "log",
        incremental_configs=[
            ConfigEntry(name, value, incremental_operation=Op.SET)
            for name, value in {
                "cleanup.policy": "compact,delete",
                "retention.ms": "1000",
                "segment.ms": "1000",
            }.items()
        ],
    )
    for future in bench.admin.incremental_alter_configs([resource]).values():
        future.result(20)
    # Retention looks every five minutes: what it does then is done now.
    cut(bench)
    assert "were deleted" in sentence(instance)


# --- more partitions ------------------------------------------------------------------------------


@pytest.mark.fault("partitions raised under a running processor")
@pytest.mark.parametrize("topic", ["in0", "log"])
def test_partitions_raised_under_a_running_processor_stop_it_as_at_a_start(
    bench: Bench, topic: str
) -> None:
    bench.create()
    feed(bench, 300)
    instance = bench.start().ready()
    bench.check_outputs()
    raised(bench, topic)
    began = time.monotonic()
    if topic == "in0":
        feed_new_partition(bench)
    line = sentence(instance)
    assert time.monotonic() - began < 10
    assert "must have the same number of partitions" in line
    assert f"{bench.prefix}{topic} has {PARTITIONS + 1}" in line
    assert sentence(bench.start()).partition("handoff: ")[2] == line.partition("handoff: ")[2]
    if topic == "in0":  # none of the new partition was judged
        bench.check_outputs()


def test_partitions_of_all_topics_raised_stop_it_before_and_after_a_start(bench: Bench) -> None:
    """A restart found them equal, and judged tasks without their state."""
    bench.create()
    feed(bench, 300)
    instance = bench.start().ready()
    bench.check_outputs()
    raised(bench, "in0", "log")
    assert "partitions, " in sentence(instance)
    feed_new_partition(bench)
    line = sentence(bench.start())
    assert f"have {PARTITIONS + 1} partitions, and had {PARTITIONS} when their state was" in line
    assert "HANDOFF_TOPIC_PREFIX" in line
    bench.check_outputs()


def test_partitions_raised_before_there_is_a_state_are_taken_as_they_are(bench: Bench) -> None:
    bench.create()
    raised(bench, "in0", "log")
    feed(bench, 300)
    bench.start().ready([0, 1, 2, 3])
    assert Counter({key: len(told) for key, told in counts(bench, 300).items()}) == bench.expected
