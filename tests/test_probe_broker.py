"""The probe against brokers: receivers that come and go, and instances that come and go."""

import threading
import time
from functools import partial
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import NewTopic

from console.brokers import ApacheKafka, BrokerError
from processors.runtime import clients
from processors.runtime.groups import Groups
from processors.runtime.settings import Settings
from schemas import serde
from schemas.records import Liveness
from tests.conftest import cannot_run
from tests.lanes import PARTITIONS, Bench, Instance, wait_for

PROCESSOR = "tests.watching:WATCHING"
QUICK = {"HANDOFF_PROBE_INTERVAL": "0.5"}


class LivenessFollower:
    """All liveness records, as they come."""

    def __init__(self, bench: Bench) -> None:
        topic = bench.prefix + "receiver-liveness"
        bench.create_topics([NewTopic(topic, 1, 1, config={"cleanup.policy": "compact"})])
        settings = Settings(kafka_bootstrap_servers=bench.servers)
        self._reader = clients.reader(settings)
        self._reader.assign([TopicPartition(topic, 0, 0)])
        self.records: list[Liveness] = []

    def until(self, live: bool, what: str, seconds: float = 30) -> Liveness:
        """The first record from now on that says so."""
        found: list[Liveness] = []

        def came() -> bool:
            for message in self._reader.consume(100, 0.1):
                if message.error() is None:
                    assert message.key() == b"desk"
                    self.records.append(msgspec.json.decode(message.value() or b"", type=Liveness))
                    found.extend(each for each in self.records[-1:] if each.live == live)
            return bool(found)

        wait_for(came, seconds, what)
        return found[0]

    def close(self) -> None:
        self._reader.close()


class Desk:
    """A consumer of the receiver, polled by a thread of its own."""

    def __init__(self, bench: Bench, group: str, protocol: str = "classic") -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": bench.servers,
                "group.id": group,
                "group.protocol": protocol,
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                # The least that Kafka takes: so long it is a member where its farewell is lost.
                **({"session.timeout.ms": 6_000} if protocol == "classic" else {}),
            }
        )
        self._consumer.subscribe([bench.prefix + "out"])
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._poll, daemon=True)
        self._thread.start()

    def _poll(self) -> None:
        while not self._stop.is_set():
            self._consumer.poll(0.1)
        self._consumer.close()

    def leave(self) -> None:
        self._stop.set()
        self._thread.join(20)
        assert not self._thread.is_alive()


def start(bench: Bench, ordinal: int | None = 0, **environment: str) -> Instance:
    group = {"WATCHED_GROUP": bench.prefix + "desk"}
    return bench.start(ordinal, {**QUICK, **group, **environment}, PROCESSOR)


def test_a_receiver_comes_leaves_and_comes_back(bench: Bench) -> None:
    bench.create()
    follower = LivenessFollower(bench)
    instance = start(bench).ready()
    never = follower.until(False, "a record of a group that never was")
    assert (never.members, never.lag, never.last_live_at) == (0, None, never.checked_at)

    desk = Desk(bench, bench.prefix + "desk")
    there = follower.until(True, "its first member")
    assert (there.members, there.last_live_at) == (1, there.checked_at)
    desk.leave()
    gone = follower.until(False, "its leaving")
    last = max(each.checked_at for each in follower.records if each.live)
    assert (gone.members, gone.last_live_at) == (0, last)
    later = follower.until(False, "the same, told again")
    assert later.checked_at != gone.checked_at
    assert later.last_live_at == last

    desk = Desk(bench, bench.prefix + "desk")
    follower.until(True, "its coming back")
    desk.leave()
    follower.close()
    assert instance.metric("handoff_probes_total") >= 5
    text = f"the receiver desk has no member in its consumer group {bench.prefix}desk"
    assert instance.log.count(f"no longer: {text}") == 2
    assert instance.page("/readyz")[0] == 200


def test_lag_counts_what_the_group_has_not_read(bench: Bench) -> None:
    bench.create()
    for n in range(30):
        bench.producer.produce(bench.prefix + "out", b"x", partition=n % PARTITIONS)
    bench.flush()
    out, group = bench.prefix + "out", bench.prefix + "desk"
    asked = Groups(Settings(kafka_bootstrap_servers=bench.servers))
    assert asked.lags([(group, out), ("nobody", out), (group, "no-topic")]) == {}
    consumer = Consumer({"bootstrap.servers": bench.servers, "group.id": group})
    offsets = [TopicPartition(out, 0, 4), TopicPartition(out, 1, 10)]
    consumer.commit(offsets=offsets, asynchronous=False)
    consumer.close()
    assert asked.lags([(group, out)]) == {(group, out): 16}, "6, 0, and 10 never begun"
    assert asked.members([group, "nobody"]) == ({group: 0, "nobody": 0}, {})
    asked.close()


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_both_kinds_of_groups_are_described(real: Bench, protocol: str) -> None:
    real.create()
    group = real.prefix + protocol
    asked = Groups(Settings(kafka_bootstrap_servers=real.servers))
    desk = Desk(real, group, protocol)
    wait_for(lambda: asked.members([group]) == ({group: 1}, {}), 30, "one member")
    desk.leave()
    wait_for(lambda: asked.members([group]) == ({group: 0}, {}), 30, "no member")
    asked.close()


def probes(instance: Instance) -> float:
    return instance.metric("handoff_probes_total")


def test_one_of_two_instances_probes_and_the_other_takes_over(real: Bench) -> None:
    real.create()
    follower = LivenessFollower(real)
    first = start(real, 0, HANDOFF_KAFKA__SESSION_TIMEOUT_MS="6000").ready([0, 1, 2])
    second = start(real, 1, HANDOFF_KAFKA__SESSION_TIMEOUT_MS="6000").ready()
    wait_for(lambda: first.log.count("runs on partitions") == 2, 30, first.log)
    running = {
        each: each.log.split("runs on partitions ")[-1].startswith("[0") for each in (first, second)
    }
    (owner,) = (each for each, owns in running.items() if owns)
    (other,) = (each for each, owns in running.items() if not owns)
    wait_for(lambda: probes(owner) > 0, 30, "the owner of partition 0 probes")
    before = probes(other)
    desk = Desk(real, real.prefix + "desk")
    follower.until(True, "its member")
    desk.leave()
    gone = follower.until(False, "its leaving")
    assert probes(other) == before, "it probed before it had lost partition 0, if at all"

    owner.kill()
    wait_for(lambda: "runs on partitions [0, 1, 2]" in other.log[-2000:], 60, other.log)
    wait_for(lambda: probes(other) > before, 30, "the takeover")
    told = len(follower.records)
    while len(follower.records) <= told:
        after = follower.until(False, "a record of the other")
    assert serde.epoch_ms(after.checked_at) > serde.epoch_ms(gone.checked_at)
    assert after.last_live_at == gone.last_live_at, "it survives the takeover"
    follower.close()


def count(instance: Instance, outcome: str) -> int:
    lines = instance.page("/metrics")[1].splitlines()
    (found,) = [x for x in lines if x.startswith("handoff_probes") and f'"{outcome}"' in x]
    return int(float(found.rsplit(" ", 1)[1]))


def noticed(instance: Instance, before: int) -> bool:
    """Whether the probe has failed since, or has ended with the lane's hold on partition 0."""
    return count(instance, "failed") > before or '"running"' not in instance.page("/readyz")[1]


@pytest.mark.kafka
@pytest.mark.slow
def test_a_broker_that_goes_and_comes_back_costs_the_probe_nothing(
    prefix: str, tmp_path: Path
) -> None:
    """A coordinator that was away makes librdkafka abort a process that asks it carelessly."""
    broker = ApacheKafka(tmp_path / "broker")
    try:
        broker.start()
    except BrokerError as error:
        cannot_run("kafka", str(error))
    try:
        with Bench(broker.bootstrap_servers, prefix, tmp_path) as bench:
            bench.create()
            follower = LivenessFollower(bench)
            instance = start(bench).ready()
            desk = Desk(bench, prefix + "desk")
            follower.until(True, "its member")
            for kill in (False, True):
                before = count(instance, "failed")
                broker.stop(kill=kill)
                wait_for(partial(noticed, instance, before), 30, instance.log)
                broker.start()
                begun = time.time_ns() // 1_000_000
                while serde.epoch_ms(follower.until(True, instance.log, 90).checked_at) < begun:
                    pass
            desk.leave()
            # Where the broker came back just now, its farewell is lost: its session ends in 6 s.
            follower.until(False, instance.log, 90)
            follower.close()
            assert instance.process.poll() is None
    finally:
        broker.stop()
