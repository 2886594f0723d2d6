"""Instances of `handoff run` that are killed, frozen, started anew: what the chaos tests share."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

from console.brokers import dying_with_us
from console.commands.documents import load_documents, register_contracts, register_receivers
from console.commands.topics import make_topics
from console.kafka import Cluster, connect, read_all
from processors.runtime.clients import group_id
from processors.runtime.settings import Settings
from schemas.loading import Documents
from tests.chaos import INPUT, Input, Story, add
from topics.catalogue import physical

ROOT: Final = Path(__file__).resolve().parents[1]
GUEST: Final = 9  # an instance without an ordinal
SIGNALS: Final = {
    "kill": signal.SIGKILL,
    "stop": signal.SIGTERM,
    "freeze": signal.SIGSTOP,
    "thaw": signal.SIGCONT,
}


class Strike(NamedTuple):
    """At `at` seconds something happens to an instance: start, kill, stop, freeze or
    thaw."""

    at: float
    instance: int
    what: str


class Instances:
    """`handoff run` several times, each with an ordinal; `GUEST` has none, and is dynamic."""

    def __init__(
        self,
        settings: Settings,
        directory: Path,
        processors: Sequence[str] = ("integrity",),
        **environment: str,
    ) -> None:
        self._directory = directory
        self._chosen = [word for name in processors for word in ("--processor", name)]
        clean = {k: v for k, v in os.environ.items() if not k.startswith("HANDOFF_")}
        self._environment = clean | {
            "HANDOFF_KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
            "HANDOFF_TOPIC_PREFIX": settings.topic_prefix,
            "HANDOFF_APPLICATION_ID": settings.application_id,
            "HANDOFF_WEB_PORT": "0",
            "PYTHONPATH": str(ROOT),  # the code that the tests stand beside
            **environment,
        }
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self._leaving: list[subprocess.Popen[bytes]] = []  # asked to end

    def start(self, ordinal: int) -> None:
        """Start one; it must not be running."""
        own = {} if ordinal == GUEST else {"HANDOFF_ORDINAL": str(ordinal)}
        command = [sys.executable, "-m", "console", "run", *self._chosen]
        with self._path(ordinal).open("ab") as log:
            self._running[ordinal] = subprocess.Popen(
                dying_with_us(command),
                cwd=self._directory,  # nobody's handoff.toml lies there
                env=self._environment | own,
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
        process.send_signal(SIGNALS[strike.what])
        if strike.what == "kill":
            process.wait(10)
        elif strike.what == "stop":
            self._leaving.append(self._running.pop(strike.instance))

    def kill(self, ordinal: int) -> None:
        """Kill one that runs, at once."""
        self.strike(Strike(0.0, ordinal, "kill"))

    def stop(self) -> list[int]:
        """Ask all that run to end; the exit statuses of all that were ever asked."""
        for process in self._running.values():
            if process.poll() is None:
                process.terminate()
                self._leaving.append(process)
        return [process.wait(30) for process in self._leaving]

    def end(self) -> None:
        """Whatever happened: none stays."""
        for process in (*self._running.values(), *self._leaving):
            if process.poll() is None:
                process.kill()
                process.wait(10)

    def log(self, ordinal: int) -> str:
        """All that one has logged, over its restarts."""
        path = self._path(ordinal)
        return path.read_text(errors="replace") if path.exists() else ""

    def pid(self, ordinal: int) -> int:
        """The process id of one that runs."""
        return self._running[ordinal].pid

    def _path(self, ordinal: int) -> Path:
        return self._directory / f"instance-{ordinal}.log"


def drawn() -> int:
    """The seed of this run: of `make chaos SEED=n`, or any."""
    return int(os.environ.get("HANDOFF_CHAOS_SEED") or random.randrange(10**6))


def prepared(
    servers: str, prefix: str, directory: Path, documents: str
) -> tuple[Settings, Cluster, Documents]:
    """Topics, queues and documents (YAML) on a broker; the prefix names the application too."""
    settings = Settings(
        kafka_bootstrap_servers=servers, topic_prefix=prefix, application_id=prefix.rstrip(".")
    )
    path = directory / "documents.yaml"
    path.write_text(documents)
    loaded = load_documents([str(path)])
    make_topics(connect(settings))
    register_receivers(connect(settings), loaded, quiet=True)
    make_topics(connect(settings))  # the queues
    register_contracts(connect(settings), loaded, quiet=True)
    return settings, connect(settings), loaded


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


def read(cluster: Cluster, topics: list[str]) -> Story:
    """All committed records of the topics."""
    story: Story = {}
    for record in read_all(cluster, topics):
        story.setdefault((record.topic, record.key), [])
        add(story, record)
    return story


@contextmanager
def telling(seed: int, strikes: list[Strike], instances: Instances) -> Iterator[None]:
    """Where something is wrong: how to repeat it, and what the instances logged. None stays."""
    try:
        yield
    except BaseException:
        print(f"make chaos SEED={seed}")
        for strike in strikes:
            print(f"  {strike.at:6.2f} s  instance {strike.instance}  {strike.what}")
        for ordinal in sorted({strike.instance for strike in strikes}):
            print(f"--- instance {ordinal}\n{instances.log(ordinal)}")
        raise
    finally:
        instances.end()


def settled(admin: AdminClient, cluster: Cluster, topics: list[str]) -> bool:
    """Whether no transaction is open on the topics: what is not visible now never will be."""
    places = [
        TopicPartition(cluster.name(topic), n)
        for topic in topics
        for n in cluster.partitions(topic)
    ]
    return ends(admin, places, IsolationLevel.READ_COMMITTED) == ends(admin, places)


def ends(
    admin: AdminClient,
    places: list[TopicPartition],
    level: IsolationLevel = IsolationLevel.READ_UNCOMMITTED,
) -> dict[tuple[str, int], int]:
    """The end of each partition; asked again while its leader has only just changed."""
    end: Any = OffsetSpec.latest()  # type: ignore[no-untyped-call]
    latest = dict.fromkeys(places, end)
    limit = time.monotonic() + 20
    while True:
        asked = admin.list_offsets(latest, isolation_level=level).items()
        try:
            return {
                (place.topic, place.partition): future.result(20).offset for place, future in asked
            }
        except KafkaException as error:
            if error.args[0].code() != KafkaError.FENCED_LEADER_EPOCH or time.monotonic() > limit:
                raise
            admin.list_topics(timeout=10)  # the client learns the new epoch


def judged(admin: AdminClient, settings: Settings) -> int:
    """How many inputs the group has committed."""
    request = [ConsumerGroupTopicPartitions(group_id(settings, "integrity"))]
    (future,) = admin.list_consumer_group_offsets(request).values()
    return sum(max(0, place.offset) for place in future.result(20).topic_partitions)


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
