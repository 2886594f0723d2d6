"""What the tests of the runtime share: topics, a processor in a process of its own, its outputs."""

import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from confluent_kafka import Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import NewTopic

from processors.processor import AnyProcessor, Processor
from processors.runtime import clients
from processors.runtime.base_lane import BATCH_RECORDS
from processors.runtime.batch import Batch
from processors.runtime.global_tables import GlobalTables
from processors.runtime.lane import SLICE_WAKES, Lane
from processors.runtime.lane_supervisor import LaneSupervisor
from processors.runtime.poison_record_isolator import PoisonRecordIsolator
from processors.runtime.retry_backoff import RetryBackoff
from processors.runtime.settings import Settings
from processors.runtime.status import LaneStatus
from schemas.flow import Headers
from tests.outcomes import note_sequences
from topics.admin import Admin

ROOT = Path(__file__).resolve().parents[1]
PARTITIONS = 3


def wait_for(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Wait until `condition` holds; an assertion names what did not come."""
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.05)


class Bench:
    """The toy's topics on a broker, and everything a test does with them."""

    def __init__(self, servers: str, prefix: str, directory: Path, inputs: int = 1) -> None:
        self.servers, self.prefix, self.directory, self.inputs = servers, prefix, directory, inputs
        self.admin = Admin({"bootstrap.servers": servers})
        # Idempotent, or a broker that restarts makes this one send records twice.
        self.producer = Producer(
            {
                "bootstrap.servers": servers,
                "partitioner": "murmur2_random",
                "enable.idempotence": True,
            }
        )
        self.expected: Counter[str] = Counter()
        self.instances: list[Instance] = []

    def __enter__(self) -> "Bench":
        return self

    def __exit__(self, *_: object) -> None:
        for instance in self.instances:
            instance.end()
            print(f"--- the last that it has logged\n{instance.log[-8_000:]}")  # shown if it failed
        clients.close(self.producer.close, "the producer of a test")
        clients.close_admin(self.admin)

    def settings(self, **others: Any) -> Settings:
        """Those of a processor in this process."""
        return Settings(
            kafka_bootstrap_servers=self.servers,
            topic_prefix=self.prefix,
            application_id=self.prefix + "app",
            **others,
        )

    def create(self, **configs: dict[str, str]) -> None:
        """All topics; `configs` gives single ones (in0, out, log) settings."""
        names = [*(f"in{n}" for n in range(self.inputs)), "out", "woken", "log", "dead-letters"]
        names.append("facts")
        config = {"max.message.bytes": str(4 << 20)}
        self.create_topics(
            NewTopic(self.prefix + name, PARTITIONS, 1, config={**config, **configs.get(name, {})})
            for name in names
        )

    def create_topics(self, topics: Iterable[NewTopic]) -> None:
        for future in self.admin.create_topics(list(topics)).values():
            future.result(20)

    def send(self, key: str, value: str = "x", topic: str = "in0") -> None:
        self.producer.produce(self.prefix + topic, value.encode(), key.encode())
        self.producer.poll(0)
        self.expected[key] += 1

    def register(self, subject: str, value: str) -> None:
        """Say something of a subject in the table."""
        self.producer.produce(self.prefix + "facts", value.encode(), subject.encode())
        self.flush()

    def flush(self) -> None:
        assert self.producer.flush(30) == 0

    def start(
        self,
        ordinal: int | None = 0,
        environment: dict[str, str] | None = None,
        processor: str = "tests.toy:TOY",
    ) -> "Instance":
        instance = Instance(self, ordinal, environment or {}, processor)
        self.instances.append(instance)
        return instance

    def read(self, topic: str, enough: int, seconds: float = 30.0) -> list[Message]:
        """Committed records of a topic, from the start; it waits until there are `enough`."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.servers,
                "group.id": "reader",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "receive.message.max.bytes": 2**31 - 1,  # as in clients.py
            }
        )
        consumer.assign([TopicPartition(self.prefix + topic, n, 0) for n in range(PARTITIONS)])
        found: list[Message] = []
        limit = time.monotonic() + seconds
        while len(found) < enough and time.monotonic() < limit:
            found += [m for m in consumer.consume(1000, 0.1) if m.error() is None]
        # What must not be there would come now.
        while more := consumer.consume(1000, 0.5):
            found += [m for m in more if m.error() is None]
        consumer.close()
        assert len(found) >= enough, f"{topic}: {len(found)} of {enough} in {seconds:.0f} s"
        return found

    def check_outputs(self, seconds: float = 30.0) -> None:
        """Every record counted once: each key's outputs are 1, 2, ... up to what was sent."""
        found: dict[str, list[int]] = {key: [] for key in self.expected}
        for message in self.read("out", sum(self.expected.values()), seconds):
            found[text(message.key())].append(number(message))
        note_sequences(found, self.expected)
        assert {key: sorted(n) for key, n in found.items()} == {
            key: list(range(1, count + 1)) for key, count in self.expected.items()
        }


def new_lane(
    settings: Settings,
    processor: Processor[Any],
    *,
    instance: str,
    tables: GlobalTables,
    status: LaneStatus,
    judge: Callable[[Batch], None] = Batch.run,
) -> Lane:
    """A lane that knows of no failed one before it."""
    return Lane(
        settings,
        processor,
        instance=instance,
        tables=tables,
        status=status,
        judge=judge,
        isolator=PoisonRecordIsolator(BATCH_RECORDS, SLICE_WAKES),
        backoff=RetryBackoff(status),
    )


@contextmanager
def running(lane: Lane, tables: GlobalTables) -> Iterator[None]:
    """The lane takes its turns in a thread until the block ends; then the tables end, too."""
    thread = threading.Thread(target=lane.run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        lane.stop()
        thread.join(20)
        tables.stop()
    assert not thread.is_alive()


@contextmanager
def supervised(
    bench: Bench, processor: AnyProcessor, judge: Callable[[Batch], None] = Batch.run
) -> Iterator[LaneSupervisor]:
    """A processor kept running in this process; it must not be given up."""
    given_up: list[str] = []
    supervisor = LaneSupervisor(bench.settings(), processor, judge, given_up.append)
    supervisor.start()
    try:
        yield supervisor
    finally:
        supervisor.stop()
        assert supervisor.join(30)
    assert not given_up


class Instance:
    """One process of the toy, or of another `processor`. Its log is in `log`."""

    def __init__(
        self, bench: Bench, ordinal: int | None, environment: dict[str, str], processor: str
    ) -> None:
        self.log_path = bench.directory / f"instance-{ordinal}-{len(bench.instances)}.log"
        own = {} if ordinal is None else {"HANDOFF_ORDINAL": str(ordinal)}
        with self.log_path.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "processors.runtime", processor],
                cwd=bench.directory,
                env={
                    **{k: v for k, v in os.environ.items() if not k.startswith("HANDOFF_")},
                    "PYTHONPATH": str(ROOT),
                    "HANDOFF_KAFKA_BOOTSTRAP_SERVERS": bench.servers,
                    "HANDOFF_TOPIC_PREFIX": bench.prefix,
                    "HANDOFF_APPLICATION_ID": bench.prefix + "app",
                    "HANDOFF_WEB_PORT": "0",
                    "TOY_PREFIX": bench.prefix,
                    "TOY_INPUTS": str(bench.inputs),
                    **own,
                    **environment,
                },
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    def ready(self, partitions: list[int] | None = None, seconds: float = 30.0) -> "Instance":
        """Wait until it runs, on exactly these partitions where they are given."""
        line = "runs on partitions" + (f" {partitions};" if partitions is not None else "")
        wait_for(
            lambda: line in self.log or self.process.poll() is not None,
            seconds,
            f"{line}\n{self.log}",
        )
        assert self.process.poll() is None, self.log
        return self

    def page(self, path: str) -> tuple[int, str]:
        """Status and text of one of its web pages."""
        (line,) = [line for line in self.log.splitlines() if "web pages on" in line]
        base = next(word for word in line.split() if word.startswith("http"))
        try:
            with urllib.request.urlopen(base.removesuffix("/healthz") + path, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except urllib.error.URLError:
            assert self.process.poll() is None, f"ended with {self.process.poll()}\n{self.log}"
            raise

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels. Some are there a second after the lane runs."""
        values: list[float] = []

        def told() -> list[float]:
            for line in self.page("/metrics")[1].splitlines():
                if line.startswith((name + "{", name + " ")):
                    values.append(float(line.rsplit(" ", 1)[1]))
            return values

        wait_for(told, 10, name)
        return sum(values)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, seconds: float = 20.0) -> int:
        """Its exit status."""
        return self.process.wait(seconds)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.kill()


def text(data: bytes | None) -> str:
    assert data is not None
    return data.decode()


def number(message: Message) -> int:
    """The count that an output of the toy tells."""
    from msgspec import json

    found = json.decode(message.value() or b"")["exception"]
    assert isinstance(found, str)
    return int(found)


def headers(message: Message) -> dict[str, str]:
    return {name: text(value) for name, value in cast(Headers, message.headers() or [])}
