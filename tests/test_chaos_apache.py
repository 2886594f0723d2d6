"""Exactly once, while processes die and freeze: two instances, real Kafka, every record compared.

`make chaos SEED=n` strikes as the seed says; without one, each run draws its own and names it when
it fails. The traffic and the moments of the strikes are the seed's, the rest is the machine's.
"""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    IsolationLevel,
    KafkaError,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

from console.brokers import dying_with_us
from console.commands.documents import load_documents, register_contracts, register_receivers
from console.commands.topics import make_topics
from console.kafka import Cluster, Reader, connect
from processors.runtime.clients import group_id
from processors.runtime.settings import Settings
from tests.chaos import DOCUMENTS, INPUT, Input, Story, add, differences, expected, traffic
from tests.lanes import wait_for
from topics.catalogue import physical

RECORDS = 50_000
INSTANCES = 2
SESSION_SECONDS = 10.0  # a member that is frozen longer loses its partitions to the other
KILLS, SHORT_FREEZES, LONG_FREEZES = 4, 2, 1  # for each instance
TOPICS = [
    f"handoff.{name}" for name in ("packages", "violations", "signals", "held", "dead-letters")
]


class Strike(NamedTuple):
    """At `at` seconds something happens to an instance: kill, start, freeze or thaw."""

    at: float
    instance: int
    what: str


def plan(seed: int) -> list[Strike]:
    """Each instance is struck on its own, so that one may be frozen while the other dies."""
    pick = random.Random(seed)
    strikes: list[Strike] = []
    for instance in range(INSTANCES):
        at = 0.0
        faults = ["kill"] * KILLS + ["short"] * SHORT_FREEZES + ["long"] * LONG_FREEZES
        pick.shuffle(faults)
        for fault in faults:
            at += pick.uniform(1.5, 7.0)
            if fault == "kill":
                strikes.append(Strike(at, instance, "kill"))
                at += pick.choice((0.0, 0.5, 3.0))
                strikes.append(Strike(at, instance, "start"))
            else:
                strikes.append(Strike(at, instance, "freeze"))
                past = pick.uniform(SESSION_SECONDS + 2, 15)
                at += past if fault == "long" else pick.uniform(1, 5)
                strikes.append(Strike(at, instance, "thaw"))
    return sorted(strikes)


class Instances:
    """`handoff run` twice, with the ordinals 0 and 1."""

    def __init__(self, settings: Settings, directory: Path) -> None:
        self._directory = directory
        clean = {k: v for k, v in os.environ.items() if not k.startswith("HANDOFF_")}
        self._environment = clean | {
            "HANDOFF_KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
            "HANDOFF_TOPIC_PREFIX": settings.topic_prefix,
            "HANDOFF_APPLICATION_ID": settings.application_id,
            "HANDOFF_WEB_PORT": "0",
        }
        self._running: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, ordinal: int) -> None:
        """Start one; it must not be running."""
        command = [sys.executable, "-m", "console.main", "run", "--processor", "integrity"]
        with self._path(ordinal).open("ab") as log:
            self._running[ordinal] = subprocess.Popen(
                dying_with_us(command),
                cwd=self._directory,  # nobody's handoff.toml lies there
                env=self._environment | {"HANDOFF_ORDINAL": str(ordinal)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def all_run(self) -> bool:
        """Whether each has partitions. Fails where one has ended."""
        for ordinal, process in self._running.items():
            assert process.poll() is None, f"instance {ordinal} ended by itself"
        return all("runs on partitions" in self.log(ordinal) for ordinal in self._running)

    def strike(self, strike: Strike) -> None:
        """Do what the plan says."""
        if strike.what == "start":
            self.start(strike.instance)
            return
        process = self._running[strike.instance]
        status = process.poll()
        assert status is None, f"instance {strike.instance} ended by itself with {status}"
        process.send_signal(
            {"kill": signal.SIGKILL, "freeze": signal.SIGSTOP, "thaw": signal.SIGCONT}[strike.what]
        )
        if strike.what == "kill":
            process.wait(10)

    def stop(self) -> list[int]:
        """Ask all to end; their exit statuses."""
        for process in self._running.values():
            process.terminate()
        return [process.wait(30) for process in self._running.values()]

    def end(self) -> None:
        """Whatever happened: none stays."""
        for process in self._running.values():
            if process.poll() is None:
                process.kill()
                process.wait(10)

    def log(self, ordinal: int) -> str:
        """All that one has logged, over its restarts."""
        path = self._path(ordinal)
        return path.read_text(errors="replace") if path.exists() else ""

    def _path(self, ordinal: int) -> Path:
        return self._directory / f"instance-{ordinal}.log"


def schedule(strikes: list[Strike], seed: int) -> list[tuple[float, int]]:
    """When how many records are sent: half of them evenly, and half in a burst just before each
    blow, so that it falls into an open transaction."""
    pick = random.Random(seed + 1)
    blows = [strike.at for strike in strikes if strike.what in ("kill", "freeze")]
    steady, burst = 0.02 * RECORDS / 2 / (strikes[-1].at + 3), RECORDS // 2 // len(blows)
    sent = [(0.02 * tick, steady) for tick in range(int(RECORDS / 2 / steady))]
    sent += [(at - pick.uniform(0.02, 0.25), burst) for at in blows]
    total = 0.0
    return [(at, int(total := total + number)) for at, number in sorted(sent)]


@contextmanager
def feeding(
    settings: Settings, inputs: list[Input], plan: list[tuple[float, int]]
) -> Iterator[list[str]]:
    """Send the records in order, so many until each moment; the list tells what was not taken."""
    failed: list[str] = []
    stopping = threading.Event()

    def taken(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failed.append(error.str())

    def feed() -> None:
        producer = Producer(
            {"bootstrap.servers": settings.kafka_bootstrap_servers, "enable.idempotence": True}
        )
        topic = physical(INPUT, settings.topic_prefix)
        began, done = time.monotonic(), 0
        for at, until in [*plan, (0.0, len(inputs))]:
            while (left := began + at - time.monotonic()) > 0 and not stopping.is_set():
                producer.poll(min(left, 0.1))
            for partition, key, value in inputs[done:until]:
                producer.produce(topic, value, key, partition, on_delivery=taken)
            done = until
        if producer.flush(30):
            failed.append("not everything was taken within 30 s")

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        yield failed
        thread.join()
    finally:
        stopping.set()
        thread.join()


def judged(admin: AdminClient, settings: Settings) -> int:
    """How many inputs the group has committed."""
    request = [ConsumerGroupTopicPartitions(group_id(settings, "integrity"))]
    (future,) = admin.list_consumer_group_offsets(request).values()
    return sum(max(0, place.offset) for place in future.result(20).topic_partitions)


def settled(admin: AdminClient, cluster: Cluster, topics: list[str]) -> bool:
    """Whether no transaction is open on the topics: what is not visible now never will be."""
    places = [
        TopicPartition(cluster.name(topic), n)
        for topic in topics
        for n in cluster.partitions(topic)
    ]
    end: Any = OffsetSpec.latest()  # type: ignore[no-untyped-call]
    latest = dict.fromkeys(places, end)
    stable, high = (
        [
            future.result(20).offset
            for future in admin.list_offsets(latest, isolation_level=level).values()
        ]
        for level in (IsolationLevel.READ_COMMITTED, IsolationLevel.READ_UNCOMMITTED)
    )
    return stable == high


def read(cluster: Cluster, topics: list[str]) -> Story:
    """All committed records of the topics."""
    story: Story = {}
    reader = Reader(cluster, topics, from_beginning=True)
    for record in reader.to_end():
        story.setdefault((record.topic, record.key), [])
        add(story, record)
    reader.close()
    return story


def written_at_all(settings: Settings, cluster: Cluster, topics: list[str]) -> int:
    """How many records the topics hold, those of aborted transactions too."""
    consumer = Consumer(
        {
            "bootstrap.servers": settings.kafka_bootstrap_servers,
            "group.id": settings.application_id + "-all",
            "isolation.level": "read_uncommitted",
            "enable.partition.eof": True,
        }
    )
    places = [(cluster.name(topic), n) for topic in topics for n in cluster.partitions(topic)]
    consumer.assign([TopicPartition(*place, 0) for place in places])
    ends, count = 0, 0
    limit = time.monotonic() + 60
    while ends < len(places):
        assert time.monotonic() < limit
        for message in consumer.consume(10_000, 0.1):
            error = message.error()
            if error is None:
                count += 1
            else:
                assert error.code() == KafkaError._PARTITION_EOF, error.str()
                ends += 1
    consumer.close()
    return count


@pytest.mark.slow
def test_every_record_exactly_once_while_instances_die_and_freeze(
    apache: str, prefix: str, tmp_path: Path
) -> None:
    seed = int(os.environ.get("HANDOFF_CHAOS_SEED") or random.randrange(10**6))
    settings = Settings(
        kafka_bootstrap_servers=apache, topic_prefix=prefix, application_id=prefix.rstrip(".")
    )
    queue = f"{prefix}queue.warehouse"
    path = tmp_path / "documents.yaml"
    path.write_text(DOCUMENTS.replace("QUEUE", queue))
    documents = load_documents([str(path)])
    make_topics(connect(settings))
    register_receivers(connect(settings), documents, quiet=True)
    make_topics(connect(settings))  # the queue
    register_contracts(connect(settings), documents, quiet=True)
    cluster = connect(settings)
    admin = AdminClient({"bootstrap.servers": apache})

    now = time.time_ns() // 1_000_000
    inputs = traffic(seed, RECORDS, settings.partitions, now - RECORDS)
    must = expected(inputs, documents, settings.partitions, now)
    topics = [*TOPICS, queue]
    assert Counter(topic for topic, _ in must).keys() == set(topics), "the traffic reaches all"

    strikes = plan(seed)
    instances = Instances(settings, tmp_path)
    try:
        for ordinal in range(INSTANCES):
            instances.start(ordinal)
        wait_for(instances.all_run, 60, "both instances run")
        with feeding(settings, inputs, schedule(strikes, seed)) as failed:
            began = time.monotonic()
            for strike in strikes:
                time.sleep(max(0.0, began + strike.at - time.monotonic()))
                instances.strike(strike)
        assert not failed
        wait_for(lambda: judged(admin, settings) == RECORDS, 120, "all inputs judged")
        wait_for(lambda: settled(admin, cluster, topics), 30, "no transaction open")
        assert instances.stop() == [0] * INSTANCES
        found = read(cluster, topics)
        wrong = differences(must, found)
        assert not wrong, f"{len(wrong):,} differences, the first:\n" + "\n".join(wrong[:10])
        written = sum(map(len, found.values()))
        aborted = written_at_all(settings, cluster, topics) - written
        assert aborted > 0, "no blow fell into a transaction: this run proves nothing"
    except BaseException:
        print(f"make chaos SEED={seed}")
        for strike in strikes:
            print(f"  {strike.at:6.2f} s  instance {strike.instance}  {strike.what}")
        for ordinal in range(INSTANCES):
            print(f"--- instance {ordinal}\n{instances.log(ordinal)}")
        raise
    finally:
        instances.end()
