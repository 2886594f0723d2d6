"""The lane on the embedded broker: inputs in, outputs and dead letters out, state restored."""

import json
import signal
import threading
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
from confluent_kafka.admin import NewTopic

from processors.runtime import base_lane, lane_supervisor
from processors.runtime.batch import Batch
from processors.runtime.global_tables import GlobalTables
from processors.runtime.settings import Settings
from processors.runtime.status import LaneStatus
from processors.runtime.transactions import Fatal
from tests import foreign_headers
from tests.lanes import Bench, headers, new_lane, number, running, text
from tests.toy import toy


def test_every_record_is_counted_once_and_restarts_go_on(bench: Bench) -> None:
    bench.create()
    for n in range(300):
        bench.send(f"k{n % 20}")
    bench.flush()
    first = bench.start().ready()
    bench.check_outputs()
    assert first.page("/healthz") == (200, '{"status":"alive"}')
    assert first.page("/readyz")[0] == 200
    assert first.metric("handoff_input_records_total") == 300
    assert first.metric("handoff_output_records_total") == 300
    began = time.monotonic()
    first.signal(signal.SIGTERM)
    assert first.wait() == 0
    assert time.monotonic() - began < 5

    second = bench.start().ready()
    assert "restored 0 records" not in second.log
    for n in range(40):
        bench.send(f"k{n % 20}")
    bench.flush()
    bench.check_outputs()


def test_what_cannot_be_judged_is_set_aside_with_its_reason(bench: Bench) -> None:
    bench.create()
    bench.start()
    for n in range(50):
        bench.send(f"k{n % 5}")
    for value in ("poison", "big"):
        bench.send("bad", value)
        bench.expected["bad"] -= 1
    bench.producer.produce(f"{bench.prefix}in0", b"x", None, headers={"own": b"1"})
    bench.send("bad")
    bench.flush()
    bench.check_outputs()
    letters = bench.read("dead-letters", 3)
    found = {headers(letter)["__streams.errors.exception"]: letter for letter in letters}
    assert set(found) == {"ZeroDivisionError", "output_too_large", "key_missing"}
    poison = found["ZeroDivisionError"]
    assert (poison.key(), poison.value()) == (b"bad", b"poison")
    assert "toy.py" in headers(poison)["__streams.errors.stacktrace"]
    assert headers(poison)["__streams.errors.topic"] == f"{bench.prefix}in0"
    assert headers(found["key_missing"])["own"] == "1"


@pytest.mark.parametrize("name", [b"\xff\xfe", b"", b"a\0b", "\u202e".encode()])
def test_headers_of_any_name_stop_nothing(bench: Bench, name: bytes) -> None:
    """Other clients write any bytes as a header's name; confluent-kafka raises over some of them,
    at each start again; in code that has warmed up one call later."""
    bench.create()
    instance = bench.start()
    for _ in range(100):
        bench.send("even")
    bench.flush()
    bench.check_outputs()
    for value in (b"x", b"poison"):
        foreign_headers.produce(bench.servers, f"{bench.prefix}in0", value, b"odd", name)
    bench.expected["odd"] += 1
    bench.send("even")
    bench.flush()
    bench.check_outputs()
    assert len(bench.read("dead-letters", 1)) == 1
    assert "starts anew" not in instance.log


def test_co_partitioned_inputs_share_the_state_of_their_key(
    embedded: str, prefix: str, tmp_path: Path
) -> None:
    with Bench(embedded, prefix, tmp_path, inputs=2) as bench:
        bench.create()
        for n in range(200):
            bench.send(f"k{n % 10}", topic=f"in{n % 2}")
        bench.flush()
        first = bench.start(ordinal=None).ready()
        bench.check_outputs()
        first.signal(signal.SIGTERM)
        assert first.wait() == 0
        for n in range(20):
            bench.send(f"k{n % 10}", topic="in1")
        bench.flush()
        bench.start(ordinal=None)
        bench.check_outputs()


def test_a_missing_topic_ends_it_with_a_sentence(bench: Bench) -> None:
    instance = bench.start()
    assert instance.wait() == 1
    (line,) = instance.log.splitlines()
    assert f"{bench.prefix}in0 does not exist" in line
    assert "handoff topics apply" in line


def test_unequal_partition_counts_end_it_with_a_sentence(bench: Bench) -> None:
    names = {"in0": 3, "log": 2, "facts": 3, "dead-letters": 3}
    bench.create_topics(NewTopic(bench.prefix + name, count, 1) for name, count in names.items())
    instance = bench.start()
    assert instance.wait() == 1
    (line,) = instance.log.splitlines()
    assert f"{bench.prefix}in0 has 3, {bench.prefix}log has 2" in line


def test_no_broker_is_one_sentence_and_status_3(prefix: str, tmp_path: Path) -> None:
    with Bench("127.0.0.1:9", prefix, tmp_path) as bench:
        began = time.monotonic()
        instance = bench.start()
        assert instance.wait() == 3
        assert time.monotonic() - began < 30
        (line,) = instance.log.splitlines()
        assert "no Kafka broker answers at 127.0.0.1:9" in line


def test_a_property_that_kafka_clients_do_not_know_is_status_2(bench: Bench) -> None:
    instance = bench.start(environment={"HANDOFF_KAFKA__SECURITY_PROTOKOL": "SSL"})
    assert instance.wait() == 2
    assert "security.protokol" in instance.log


def test_state_on_disk_is_read_on_from_its_checkpoint(bench: Bench, tmp_path: Path) -> None:
    bench.create()
    disk = {"HANDOFF_STATE": "disk", "HANDOFF_STATE_DIR": str(tmp_path / "state")}
    for n in range(100):
        bench.send(f"k{n % 10}")
    bench.flush()
    first = bench.start(environment=disk).ready()
    bench.check_outputs()
    first.signal(signal.SIGTERM)
    assert first.wait() == 0
    second = bench.start(environment=disk).ready()
    assert "restored 0 records" in second.log
    for n in range(10):
        bench.send(f"k{n % 10}")
    bench.flush()
    bench.check_outputs()
    assert second.metric("handoff_state_keys") >= 10


def test_a_batch_that_publishes_much_is_cut_and_read_on_exactly(
    embedded: str, prefix: str, tmp_path: Path
) -> None:
    """What is left of it is read again: of each input, and in order."""
    with Bench(embedded, prefix, tmp_path, inputs=2) as bench:
        bench.create()
        for n in range(60):
            bench.send(f"k{n % 4}", "fat", topic=f"in{n % 2}")
            bench.send(f"good{n}", topic=f"in{n % 2}")
        bench.flush()
        instance = bench.start().ready()
        bench.check_outputs()
        # 60 MiB in transactions of 8 MiB and what one record adds, of all three partitions.
        assert instance.metric("handoff_transactions_total") >= 4
        assert instance.metric("handoff_restarts_total") == 0
        aborted = 'handoff_transactions_total{outcome="aborted",processor="toy"} 0.0'
        assert aborted in instance.page("/metrics")[1]
        for n in range(20):
            bench.send(f"k{n % 4}", topic=f"in{n % 2}")
        bench.flush()
        bench.check_outputs()


def test_a_batch_that_takes_long_is_cut_and_read_on_exactly(bench: Bench) -> None:
    """One record that takes 0.3 s is no reason, and twenty in one batch are no failure."""
    bench.create()
    for n in range(20):
        bench.send("slow", "slow")
        bench.send(f"good{n}")
    bench.flush()
    instance = bench.start().ready()
    bench.check_outputs(60)
    assert instance.metric("handoff_transactions_total") >= 2
    assert instance.metric("handoff_restarts_total") == 0


def test_outputs_tell_where_they_came_from(bench: Bench) -> None:
    bench.create()
    bench.start()
    bench.send("k")
    bench.flush()
    (message,) = bench.read("out", 1)
    assert number(message) == 1
    assert text(message.key()) == "k"
    assert json.loads(text(message.value()))["topic"] == f"{bench.prefix}in0"
    assert headers(message)["content-type"] == "application/json"


def test_a_lane_that_hangs_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane_supervisor, "STUCK_SECONDS", 0.1)
    released = threading.Event()

    class Hanging:
        seen = time.monotonic()
        abandoned = False

        def run(self) -> None:
            released.wait(30)

        def abandon(self) -> None:
            self.abandoned = True

    made = lane_supervisor.LaneSupervisor(
        Settings(), toy("t."), lambda batch: None, lambda sentence: None
    )
    lane = Hanging()
    with pytest.raises(Fatal, match="has not returned for"):
        made._run(lane)  # type: ignore[arg-type]
    assert lane.abandoned
    released.set()


def test_with_a_backlog_a_transaction_lasts_longer(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is judged during a commit, so with fewer of them a backlog is caught up sooner."""
    bench.create()
    for n in range(400):
        bench.send(f"k{n % 20}")
    bench.flush()
    settings = bench.settings()
    passed = 0.0
    monkeypatch.setattr(base_lane, "BATCH_RECORDS", 10)
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + passed, sleep=time.sleep)
    monkeypatch.setattr(base_lane, "time", clock)
    status = LaneStatus("toy")
    batches: Counter[int] = Counter()  # by transaction

    def judge(batch: Batch) -> None:
        """Each batch takes as long as a transaction lasts without a backlog."""
        nonlocal passed
        passed += settings.commit_interval_ms / 1000
        batches[status.committed] += 1
        batch.run()

    processor = toy(bench.prefix)
    tables = GlobalTables(settings, processor)
    tables.start(lambda: False)
    lane = new_lane(settings, processor, instance="one", tables=tables, status=status, judge=judge)
    with running(lane, tables):
        bench.check_outputs()
    # A transaction begins when its first batch has been judged.
    assert max(batches.values()) == 1 + base_lane.BACKLOG_INTERVALS
