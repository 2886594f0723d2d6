"""Deadlines and sweeps in the lane: at their time, after what waits in the topics, once."""

import json
import signal
import time
from collections import Counter
from functools import partial
from pathlib import Path

from confluent_kafka import Producer

from tests.lanes import Bench, Instance, text, wait_for


def woken(bench: Bench, enough: int, seconds: float = 30.0) -> list[tuple[str, str]]:
    """Whose wake published what, of all committed records on `woken`."""
    return sorted(
        (text(message.key()), json.loads(message.value() or b"")["key"])
        for message in bench.read("woken", enough, seconds)
    )


def is_calm(instance: Instance) -> bool:
    """Whether it runs, and nobody there waits to be woken; told once a second."""
    page = instance.page("/metrics")[1]
    return "handoff_deadlines{" in page and (
        instance.metric("handoff_deadlines") == instance.metric("handoff_sweeps_waiting") == 0
    )


def stop(instance: Instance) -> None:
    instance.signal(signal.SIGTERM)
    assert instance.wait() == 0


def wait_until(moment: float) -> None:
    wait_for(lambda: time.time() >= moment, 30, "the time")


def test_a_deadline_fires_at_its_time_though_no_record_flows(bench: Bench) -> None:
    bench.create()
    instance = bench.start().ready()
    bench.send("k", "due:700")
    bench.flush()
    (message,) = bench.read("woken", 1)
    (sent,) = bench.read("out", 1)
    lateness = message.timestamp()[1] - sent.timestamp()[1] - 700
    assert -500 < lateness < 5000, lateness  # a busy machine writes the first one late
    assert instance.metric("handoff_deadline_lateness_seconds_count") == 1
    assert instance.metric("handoff_input_records_total") == 1, "a deadline is no record"
    wait_for(lambda: is_calm(instance), 5, "no deadline is left")
    bench.check_outputs()


def test_nobody_is_blamed_before_what_waits_in_the_topic_is_read(bench: Bench) -> None:
    bench.create()
    first = bench.start().ready()
    bench.send("k", "due:1500")
    bench.send("other", "due:1500")
    bench.flush()
    bench.check_outputs()
    began = time.time()
    stop(first)
    for n in range(6000):
        bench.send(f"f{n % 60}")
    bench.send("k")  # as an ack does, it takes the deadline away
    bench.flush()
    wait_until(began + 1.6)
    bench.start().ready()
    assert woken(bench, 1) == [("other", "due")]
    bench.check_outputs()


def test_deadlines_outlive_a_restart(bench: Bench) -> None:
    bench.create()
    first = bench.start().ready()
    for n in range(20):
        bench.send(f"k{n}", "due:2500")
    bench.flush()
    bench.check_outputs()
    stop(first)
    assert woken(bench, 0) == []
    bench.start().ready()
    assert woken(bench, 20) == sorted((f"k{n}", "due") for n in range(20))


def test_tasks_are_swept_when_the_tables_change_and_after_a_restart(bench: Bench) -> None:
    bench.create()
    bench.register("a", "1")
    first = bench.start().ready()
    for n in range(500):
        bench.send(f"k{n}", "watch:a" if n % 2 else "watch:b")
    bench.flush()
    bench.check_outputs()
    bench.register("a", "2")
    assert woken(bench, 250) == sorted((f"k{n}", "sweep:a=2") for n in range(1, 500, 2))
    wait_for(lambda: is_calm(first), 5, "all are swept")
    transactions = first.metric("handoff_transactions_total")
    stop(first)
    bench.register("b", "1")
    second = bench.start().ready()
    found = Counter(what for _, what in woken(bench, 500))
    assert found == {"sweep:a=2": 250, "sweep:b=1": 250}
    assert second.metric("handoff_transactions_total") < transactions


def test_a_wake_that_cannot_be_committed_is_given_up_alone(bench: Bench) -> None:
    bench.create()
    instance = bench.start().ready()
    for n in range(30):
        bench.send(f"k{n}", "due:1000:huge" if n == 13 else "due:1000")
    bench.flush()
    bench.check_outputs()
    wait_for(lambda: "a wake (due) is given up" in instance.log, 30, instance.log)
    wait_for(lambda: is_calm(instance), 30, "the others have fired")
    expected = sorted((f"k{n}", "due") for n in range(30) if n != 13)
    assert woken(bench, 29) == expected
    bench.send("k13")
    bench.flush()
    bench.check_outputs()
    assert woken(bench, 29) == expected


def test_an_input_that_is_new_to_its_group_is_read_from_its_first_record(
    embedded: str, prefix: str, tmp_path: Path
) -> None:
    with Bench(embedded, prefix, tmp_path, inputs=2) as bench:
        bench.create()
        for n in range(30):
            bench.send(f"k{n % 9}", topic=f"in{n % 2}")
        bench.flush()
        before = Counter(dict.fromkeys(bench.expected, 0))
        for n in range(0, 30, 2):
            before[f"k{n % 9}"] += 1
        everything, bench.expected, bench.inputs = bench.expected, before, 1
        old = bench.start().ready()
        bench.check_outputs()
        stop(old)
        bench.expected, bench.inputs = everything, 2
        bench.start().ready()
        bench.check_outputs()


def test_the_end_of_an_input_may_be_a_control_record(real: Bench) -> None:
    real.create()
    instance = real.start().ready()
    sender = Producer(
        {
            "bootstrap.servers": real.servers,
            "partitioner": "murmur2_random",
            "transactional.id": real.prefix + "sender",
        }
    )
    sender.init_transactions(10)
    for end in (sender.commit_transaction, sender.abort_transaction):
        sender.begin_transaction()
        for n in range(9):
            sender.produce(f"{real.prefix}in0", b"due:800", f"k{n}".encode())
        end(10)
    assert woken(real, 9) == sorted((f"k{n}", "due") for n in range(9))
    assert "deadlines wait" not in instance.log


def test_deadlines_and_sweeps_fire_once_whoever_is_killed(real: Bench) -> None:
    real.create()
    real.register("a", "1")
    keys = 3000
    for n in range(keys):
        real.send(f"d{n}", f"due:{2500 + n}")
        real.send(f"w{n}", "watch:a")
    real.flush()
    instance = real.start().ready()
    for said in ("2", "3"):
        wait_for(partial(has_published, instance), 30, instance.log)
        real.register("a", said)
        instance.kill()
        instance = real.start().ready()
    real.check_outputs(60)
    wait_for(lambda: is_calm(instance), 60, "all are woken")
    found = Counter(woken(real, keys))
    assert {key: number for key, number in found.items() if number > 1} == {}
    assert sum(what == "due" for _, what in found) == keys


def has_published(instance: Instance) -> bool:
    page = instance.page("/metrics")[1]
    return (
        "handoff_output_records_total{" in page
        and instance.metric("handoff_output_records_total") > 500
    )
