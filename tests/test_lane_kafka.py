"""The lane on Apache Kafka: what only a real broker isolates, fences, refuses and forgets.

Every test ends with the same check: read_committed consumers see each expected output once.
"""

import signal
import threading
import time
from functools import partial
from pathlib import Path

import pytest
from confluent_kafka import Producer, TopicPartition

from console.brokers import ApacheKafka, BrokerError
from processors.runtime.batch import Batch
from processors.runtime.global_tables import GlobalTables
from processors.runtime.groups import committed
from processors.runtime.settings import Settings
from processors.runtime.status import LaneStatus
from tests.conftest import cannot_run
from tests.instances import ends
from tests.lanes import PARTITIONS, Bench, Instance, headers, new_lane, running, wait_for
from tests.toy import toy


@pytest.fixture
def bench(real: Bench) -> Bench:
    """No test here does without a real broker."""
    return real


def feed(bench: Bench, count: int, keys: int = 30) -> None:
    for n in range(count):
        bench.send(f"k{n % keys}")
    bench.flush()


def has_committed(instance: Instance) -> bool:
    return instance.metric("handoff_transactions_total") > 0


def has_read_all(instance: Instance) -> bool:
    return instance.metric("handoff_lag_records") == 0


@pytest.mark.fault("one instance killed")
def test_a_killed_instance_comes_back_where_it_was(bench: Bench) -> None:
    bench.create()
    feed(bench, 2000)
    instance = bench.start()
    for _ in range(3):
        running = instance.ready()
        wait_for(partial(has_committed, running), 30, running.log)
        feed(bench, 2000)
        instance.kill()
        instance = bench.start()
    bench.check_outputs(60)
    assert "restored 0 records" not in instance.log


@pytest.mark.fault("one of two instances killed")
def test_two_instances_share_the_partitions_and_take_over(bench: Bench) -> None:
    bench.create()
    feed(bench, 1000)
    first = bench.start(ordinal=None).ready([0, 1, 2])
    second = bench.start(ordinal=None).ready()
    feed(bench, 1000)
    bench.check_outputs()
    assert first.page("/readyz")[0] == 200
    second.signal(signal.SIGTERM)
    assert second.wait() == 0
    wait_for(lambda: first.log.count("runs on partitions [0, 1, 2]") == 2, 30, first.log)
    feed(bench, 1000)
    bench.check_outputs()
    assert first.metric("handoff_restarts_total") == 0


@pytest.mark.fault("an instance frozen past its session, then awake")
def test_a_stopped_instance_is_fenced_when_it_wakes(bench: Bench) -> None:
    bench.create()
    quick = {"HANDOFF_KAFKA__SESSION_TIMEOUT_MS": "6000"}
    zombie = bench.start(0, quick).ready([0, 1, 2])
    other = bench.start(1, quick).ready()
    wait_for(lambda: zombie.log.count("runs on partitions") == 2, 30, zombie.log)
    feed(bench, 3000)
    zombie.signal(signal.SIGSTOP)
    feed(bench, 3000)
    wait_for(lambda: "runs on partitions [0, 1, 2]" in other.log, 60, other.log)
    feed(bench, 1000)
    zombie.signal(signal.SIGCONT)
    feed(bench, 1000)
    bench.check_outputs(60)
    wait_for(lambda: zombie.log.count("runs on partitions") >= 3, 60, zombie.log)
    feed(bench, 1000)
    bench.check_outputs(60)


@pytest.mark.fault("two instances with one transactional id")
def test_of_two_twins_one_ends_with_a_sentence(bench: Bench) -> None:
    bench.create()
    twins = [bench.start(0).ready()]
    feed(bench, 100)
    twins.append(bench.start(0).ready())

    def one_ended() -> bool:
        feed(bench, 5)
        return any(twin.process.poll() is not None for twin in twins)

    wait_for(one_ended, 60, "the end of a twin")
    (ended,) = [twin for twin in twins if twin.process.poll() is not None]
    assert ended.wait() == 1
    assert "another instance runs with the same ordinal (0)" in ended.log
    bench.check_outputs()


@pytest.mark.fault("a record that the broker refuses")
def test_what_the_broker_refuses_becomes_a_dead_letter(bench: Bench) -> None:
    bench.create(out={"max.message.bytes": "10000"})
    feed(bench, 500)
    bench.send("bad", "wide")
    bench.send("bad", "huge")
    bench.expected["bad"] -= 2
    feed(bench, 500)
    bench.send("bad")
    bench.flush()
    bench.start(environment={"HANDOFF_KAFKA__COMPRESSION_TYPE": "none"})
    bench.check_outputs(60)
    letters = bench.read("dead-letters", 2)
    assert sorted(letter.value() or b"" for letter in letters) == [b"huge", b"wide"]
    assert {headers(x)["__streams.errors.exception"] for x in letters} == {"not_publishable"}


def test_records_that_retention_took_stop_it_or_are_skipped(bench: Bench) -> None:
    bench.create()
    feed(bench, 300, keys=3)
    first = bench.start().ready()
    bench.check_outputs()
    first.signal(signal.SIGTERM)
    assert first.wait() == 0
    feed(bench, 300, keys=3)
    ends = [TopicPartition(f"{bench.prefix}in0", n, -1) for n in range(3)]
    for future in bench.admin.delete_records(ends).values():
        future.result(10)
    stopped = bench.start()
    assert stopped.wait(30) == 1
    assert "HANDOFF_GAP=skip" in stopped.log
    skipping = bench.start(environment={"HANDOFF_GAP": "skip"}).ready()
    assert skipping.metric("handoff_lost_to_gaps_total") == 300
    for key in list(bench.expected):
        bench.expected[key] -= 100
    feed(bench, 30, keys=3)
    bench.check_outputs()


@pytest.mark.fault("the broker killed and started")
@pytest.mark.kafka
@pytest.mark.slow
def test_a_broker_that_goes_and_comes_back_costs_nothing(prefix: str, tmp_path: Path) -> None:
    broker = ApacheKafka(tmp_path / "broker")
    try:
        broker.start()
    except BrokerError as error:
        cannot_run("kafka", str(error))
    try:
        with Bench(broker.bootstrap_servers, prefix, tmp_path) as bench:
            bench.create()
            instance = bench.start().ready()
            for kill in (False, True):
                feed(bench, 3000)
                broker.stop(kill=kill)
                time.sleep(3)  # long enough for the lane to notice
                broker.start()
                feed(bench, 1000)
                # A client call that hangs with the broker lasts 25 s, and there may be some in a
                # row: this is about nothing lost, not about how soon it is there. All is settled
                # before the next blow: a broker that is killed between a transaction's end and its
                # markers may forget the markers, and the group's offsets then wait for ever
                # (seen with Kafka 4.3.1).
                bench.check_outputs(240)
            wait_for(lambda: instance.page("/readyz")[0] == 200, 30, instance.log)
            assert len(instance.log.splitlines()) < 200, "librdkafka's lines are not limited"
    finally:
        broker.stop()


def test_a_lane_that_fails_in_the_middle_of_a_batch_commits_nothing_of_it(bench: Bench) -> None:
    bench.create()
    for n in range(3000):
        bench.send(f"k{n % 20}")
    bench.flush()
    settings = bench.settings(commit_interval_ms=5000)
    processor = toy(bench.prefix)
    tables = GlobalTables(settings, processor)
    tables.start(lambda: False)

    def judge(batch: Batch) -> None:
        # How many batches the first poll finds is Kafka's choice: fail where one came before this
        # in the same transaction.
        if failing._transactions.open:
            batch.done.set_exception(ZeroDivisionError("in the middle"))
        else:
            batch.run()

    status = LaneStatus("toy")
    failing = new_lane(
        settings, processor, instance="one", tables=tables, status=status, judge=judge
    )
    never = threading.Timer(30, failing.stop)
    never.start()
    with pytest.raises(ZeroDivisionError):
        failing.run()
    never.cancel()
    committed = sum(n for (name, *_), n in status.counts.items() if name == "applied")
    assert len(bench.read("out", 0)) == committed
    # The next one has the same id, so it ends the transaction that was left open.
    following = new_lane(settings, processor, instance="one", tables=tables, status=status)
    with running(following, tables):
        bench.check_outputs()


def test_control_records_at_the_end_of_an_input_are_not_missed(bench: Bench) -> None:
    """Retention takes them like records: offsets that stood before them would lie in a gap."""
    bench.create()
    producer = Producer(
        {
            "bootstrap.servers": bench.servers,
            "transactional.id": bench.prefix + "feeding",
            "partitioner": "murmur2_random",
        }
    )
    producer.init_transactions(20)

    def feed_in_a_transaction() -> None:
        producer.begin_transaction()
        for n in range(30):
            producer.produce(bench.prefix + "in0", b"x", f"k{n}".encode())
            bench.expected[f"k{n}"] += 1
        producer.commit_transaction(20)

    places = [TopicPartition(bench.prefix + "in0", n) for n in range(PARTITIONS)]
    settings = Settings(kafka_bootstrap_servers=bench.servers)

    def passed() -> bool:
        wanted = ends(bench.admin, places)
        return committed(settings, bench.prefix + "app-toy", list(wanted), 5) == wanted

    for stops in (False, True):
        feed_in_a_transaction()
        instance = bench.start().ready()
        bench.check_outputs()
        if stops:
            wait_for(partial(has_read_all, instance), 30, instance.log)
            instance.signal(signal.SIGTERM)
            assert instance.wait() == 0
        else:
            wait_for(passed, 30, "it passes them by itself when it is quiet")
            instance.kill()
        assert passed()
        read = [TopicPartition(*place, at) for place, at in ends(bench.admin, places).items()]
        for deleted in bench.admin.delete_records(read).values():
            deleted.result(20)
    feed_in_a_transaction()
    again = bench.start().ready()
    bench.check_outputs()
    assert again.process.poll() is None
