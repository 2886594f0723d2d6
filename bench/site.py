"""The benchmark's cluster: a broker, topics under a prefix of their own, processes to measure."""

import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from confluent_kafka import (
    Consumer,
    ConsumerGroupState,
    ConsumerGroupTopicPartitions,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, NewTopic

from console.brokers import (
    KAFKA_LIB,
    ApacheKafka,
    EmbeddedBroker,
    dying_with_us,
    free_port,
)
from console.commands.documents import load_documents, register_contracts, register_receivers
from console.commands.topics import make_topics
from console.kafka import Cluster, connect
from processors.runtime.clients import group_id
from processors.runtime.settings import Settings
from topics.catalogue import physical

DOCUMENTS = Path(__file__).with_name("documents.yaml")
ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 60.0  # seconds without any progress before the benchmark gives up
_TICK_SECONDS = 0.002  # a sender sleeps no shorter, or it would take a core for itself
_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


class BenchError(Exception):
    """The benchmark cannot go on, or what it measured is wrong; the text says what."""


def broker_of(name: str | None, directory: Path) -> ApacheKafka | EmbeddedBroker:
    """Apache Kafka where its jars and Java are (or `name` says so), else the embedded broker."""
    if name is None:
        name = "apache" if KAFKA_LIB.is_dir() and shutil.which("java") else "embedded"
    return ApacheKafka(directory) if name == "apache" else EmbeddedBroker(directory)


def handoff_of(checkout: Path) -> list[str]:
    """What runs the command `handoff` of a checkout; where it begins, its pyproject.toml says."""
    project = tomllib.loads((checkout / "pyproject.toml").read_text())["project"]
    module, _, name = project["scripts"]["handoff"].partition(":")
    return [sys.executable, "-c", f"from {module} import {name}; {name}()"]


class Site:
    """Topics and documents under a prefix that is also the application's id, as a `checkout` makes
    them: another one may know fewer keys of a document."""

    def __init__(
        self, servers: str, name: str, documents: Path = DOCUMENTS, checkout: Path = ROOT
    ) -> None:
        self.settings = Settings(
            kafka_bootstrap_servers=servers,
            topic_prefix=f"{name}.",
            application_id=name,
            ordinal=0,
            kafka={},
        )
        self.admin = AdminClient({"bootstrap.servers": servers})
        self._checkout = checkout
        if checkout != ROOT:
            for words in (["topics"], ["receivers", str(documents)], ["contracts", str(documents)]):
                self._command(words[0], "apply", *words[1:])
            return
        make_topics(connect(self.settings))
        loaded = load_documents([str(documents)])
        register_receivers(self.cluster(), loaded, quiet=True)
        register_contracts(self.cluster(), loaded, quiet=True)

    def _command(self, *words: str) -> None:
        """A command of the checkout's own `handoff`."""
        command = [*handoff_of(self._checkout), *words]
        done = subprocess.run(
            command,
            check=False,
            cwd=self._checkout,
            env=self._environment(),
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise BenchError(f"{' '.join(words)} in {self._checkout}: {done.stderr or done.stdout}")

    def _environment(self) -> dict[str, str]:
        """The environment of a process of the checkout."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith("HANDOFF_")}
        return clean | {
            "HANDOFF_KAFKA_BOOTSTRAP_SERVERS": self.settings.kafka_bootstrap_servers,
            "HANDOFF_TOPIC_PREFIX": self.settings.topic_prefix,
            "HANDOFF_APPLICATION_ID": self.settings.application_id,
            "PYTHONPATH": str(self._checkout),
        }

    def cluster(self) -> Cluster:
        """The cluster as it is now."""
        return connect(self.settings)

    def topic(self, name: str) -> str:
        """The name of a canonical topic on the broker."""
        return physical(name, self.settings.topic_prefix)

    def make_topic(self, name: str) -> None:
        """A topic beside the catalogue's."""
        topic = NewTopic(name, self.settings.partitions, 1)
        for future in self.admin.create_topics([topic]).values():
            future.result(30)

    def topic_of_others(self, name: str) -> str:
        """Make a topic that is none of ours; its name."""
        topic = f"{self.settings.topic_prefix}others-{name}"
        self.make_topic(topic)
        return topic

    def load(
        self, records: Iterable[tuple[bytes, bytes]], topic: str = "handoff.tool-outputs"
    ) -> None:
        """Put tool outputs onto their topic, or records onto another, and wait until all are
        there."""
        properties = {
            "bootstrap.servers": self.settings.kafka_bootstrap_servers,
            "partitioner": "murmur2_random",
            "linger.ms": 20,
            "batch.size": 1 << 20,
            "compression.type": "lz4",
            "enable.idempotence": True,
            "queue.buffering.max.messages": 1_000_000,
        }
        topic = self.topic(topic)
        with Producer(properties) as producer:
            for key, value in records:
                while True:
                    try:
                        producer.produce(topic, value, key)
                        break
                    except BufferError:
                        producer.poll(0.05)
            if producer.flush(60):
                raise BenchError("the broker did not take the benchmark's records within a minute")

    def send(self, records: Iterable[tuple[bytes, bytes]], rate: float) -> None:
        """Put tool outputs onto their topic, `rate` a second; each is asked for when it is due."""
        properties = {
            "bootstrap.servers": self.settings.kafka_bootstrap_servers,
            "partitioner": "murmur2_random",
            "linger.ms": 1,
        }
        topic = self.topic("handoff.tool-outputs")
        with Producer(properties) as producer:
            due = time.monotonic()
            for key, value in records:
                producer.produce(topic, value, key)
                due += 1 / rate
                if (left := due - time.monotonic()) > 0:
                    producer.poll(0)
                    time.sleep(max(left, _TICK_SECONDS))
            if producer.flush(30):
                raise BenchError("the broker did not take the tool outputs within half a minute")

    def receiver(self, topic: str) -> Consumer:
        """A reader of what is published on a canonical topic, from its beginning, at once."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.settings.kafka_bootstrap_servers,
                "group.id": "bench-receiver",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 5,
            }
        )
        places = [TopicPartition(self.topic(topic), n, 0) for n in range(self.settings.partitions)]
        consumer.assign(places)
        return consumer

    def until_shared(self, group: str, processes: Sequence["Process"]) -> None:
        """Wait until each of the processes has partitions, and their group rebalances no more."""
        for process in processes:
            wait_for("partitions", process, lambda: self._is_shared(group, len(processes)))

    def _is_shared(self, group: str, instances: int) -> bool:
        try:
            (future,) = self.admin.describe_consumer_groups([group]).values()
            found = future.result(10)
        except KafkaException:  # nobody has joined it yet
            return False
        busy = [member for member in found.members if member.assignment.topic_partitions]
        return found.state == ConsumerGroupState.STABLE and len(busy) == instances

    def committed(self, group: str, topic: str = "handoff.tool-outputs") -> int:
        """How many records of a topic the group has committed, over all partitions."""
        request = [ConsumerGroupTopicPartitions(group)]
        (future,) = self.admin.list_consumer_group_offsets(request).values()
        topic = self.topic(topic)
        return sum(
            place.offset
            for place in future.result(10).topic_partitions
            if place.topic == topic and place.offset > 0
        )

    @contextmanager
    def processor(
        self,
        directory: Path,
        names: Sequence[str] = ("integrity",),
        module: str | None = None,
        ordinal: int = 0,
    ) -> Iterator["Process"]:
        """`handoff run` with the processors of these names, as anyone would run it: one process.
        `module` is another one that is run like the command; each instance has an `ordinal`."""
        port = free_port()
        environment = self._environment() | {
            "HANDOFF_ORDINAL": str(ordinal),
            "HANDOFF_WEB_PORT": str(port),
        }
        chosen = [word for name in names for word in ("--processor", name)]
        program = handoff_of(self._checkout) if module is None else [sys.executable, "-m", module]
        command = [*program, "run", *chosen]
        log = directory / f"processor-{ordinal}.log"
        with running(command, environment, log, port) as process:
            yield process

    def pass_through(
        self, directory: Path, group: str, events: int, topic: str = "handoff.tool-outputs"
    ) -> AbstractContextManager["Process"]:
        """The bare copy of a topic by `passthrough.py`, onto a topic of its own."""
        target = f"{self.settings.topic_prefix}passed"
        self.make_topic(target)
        source = self.topic(topic)
        return self._program("passthrough", directory, source, target, group, str(events))

    def free_core(
        self, directory: Path, group: str, events: int
    ) -> AbstractContextManager["Process"]:
        """What the processor writes, by `freecore.py`, where the processor writes it."""
        prefix = self.settings.topic_prefix
        return self._program("freecore", directory, prefix, group, str(events))

    def _program(
        self, name: str, directory: Path, *arguments: str
    ) -> AbstractContextManager["Process"]:
        servers = self.settings.kafka_bootstrap_servers
        command = [sys.executable, "-m", f"bench.{name}", servers, *arguments]
        return running(command, dict(os.environ, PYTHONPATH=str(ROOT)), directory / f"{name}.log")

    def group(self) -> str:
        """The consumer group of the processor."""
        return group_id(self.settings, "integrity")


class Process:
    """A process under measurement."""

    def __init__(self, running: subprocess.Popen[bytes], log: Path, port: int | None) -> None:
        self._running = running
        self._log = log
        self._port = port

    def check(self) -> None:
        """Raises `BenchError` with its last words when it has failed."""
        if self._running.poll():
            words = "\n".join(self._log.read_text(errors="replace").splitlines()[-8:])
            raise BenchError(f"{self._log.stem} ended:\n{words}")

    def log(self) -> str:
        """What it has logged since it was started."""
        return self._log.read_text(errors="replace")

    def end(self, how: signal.Signals) -> None:
        """Send it a signal that ends it, and wait until it has ended."""
        self._running.send_signal(how)
        self._running.wait(30)

    def cpu(self) -> float | None:
        """The CPU seconds that it has used so far, all threads; None where there is no /proc."""
        try:
            line = Path(f"/proc/{self._running.pid}/stat").read_text()
        except FileNotFoundError:
            return None
        user, system = line.rpartition(")")[2].split()[11:13]  # proc(5): utime, stime
        return (int(user) + int(system)) / _TICKS

    def has_states(self, number: int) -> bool:
        """Whether integrity holds so many states; it looks once a second. False while the process
        does not listen yet."""
        try:
            return self.metrics("integrity").get("handoff_state_keys") == number
        except OSError:
            return False

    def metrics(self, processor: str | None = None) -> dict[str, float]:
        """Its metrics, each summed over its labels; those of one processor, where it is named."""
        found: dict[str, float] = {}
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=5) as page:
            for line in page.read().decode().splitlines():
                of = processor is None or f'processor="{processor}"' in line
                if of and not line.startswith("#"):
                    name, _, value = line.rpartition(" ")
                    name = name.partition("{")[0]
                    found[name] = found.get(name, 0.0) + float(value)
        return found


@contextmanager
def running(
    command: list[str], environment: dict[str, str], log: Path, port: int | None = None
) -> Iterator[Process]:
    """A process that writes to `log`, in the log's folder; it has ended on the way out."""
    with log.open("wb") as file:
        running = subprocess.Popen(
            dying_with_us(command),
            cwd=log.parent,  # nobody's handoff.toml lies there
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )
    try:
        yield Process(running, log, port)
    finally:
        running.terminate()
        try:
            running.wait(20)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


def wait_for(
    what: str, process: Process, reached: Callable[[], object], seconds: float = PATIENCE
) -> None:
    """Wait until `reached()` is true, so many seconds at most. Raises `BenchError`."""
    limit = time.monotonic() + seconds
    while not reached():
        process.check()
        if time.monotonic() > limit:
            raise BenchError(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.02)
