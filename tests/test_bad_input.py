"""Bad input through Kafka: all of it arrives in dead letters, untouched, and blocks nothing."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka import KafkaError, Message, Producer

from console.commands.documents import load_documents, register_contracts, register_receivers
from console.commands.topics import make_topics
from console.kafka import Cluster, TopicReader, connect, read_all
from processors.integrity.limits import DEFAULT_LIMITS
from processors.runtime.settings import Settings
from schemas.flow import Headers, Record
from tests.lanes import ROOT

DOCUMENTS = ROOT / "console" / "demo" / "operations.yaml"
STRINGS = 10_000
SEED = 20261122
OWN: Headers = [("traceparent", b"00-1-2-01"), ("odd", b"\xff\x00")]

Sent = tuple[bytes | None, bytes | None]


def output(task_id: object, **members: object) -> bytes:
    """A tool output that hands off as the contract asks, but for what `members` say."""
    whole: dict[str, object] = {
        "id": "1",
        "task_id": task_id,
        "workflow": "order-issue",
        "stage": "triage",
        "tool": "monitor",
        "occurred_at": 1_795_000_000_000,
        "context": {"order_id": "A-1", "customer_id": "C-1", "priority": "P1", "impact": "Late."},
        "handoff": {"to": "support-desk"},
    } | members
    return json.dumps({name: value for name, value in whole.items() if value != "-"}).encode()


KINDS: dict[str, list[Sent]] = {
    "not_json": [(b"a", b"{"), (b"a", b"hello"), (b"a", b""), (b"a", output("a")[:-1])],
    "wrong_shape": [
        (b"a", b"[]"),
        (b"a", b"17"),
        (b"a", output("a", context=["x"])),
        (b"a", output(7)),
        (b"a", output("a", occurred_at="yesterday")),
        (b"a", output("a", handoff={"to": ""})),
        *((b"a", output("a", **{name: "-"})) for name in ("id", "workflow", "tool")),
    ],
    "key_missing": [(None, output("a"))],
    "key_mismatch": [(b"b", output("a")), (b"", output("a")), (b"\xff", output("a"))],
    "tombstone": [(b"a", None)],
    "too_large": [(b"a", output("a", context={"text": "x" * DEFAULT_LIMITS.record_bytes}))],
}


@contextmanager
def processor(settings: Settings, log_path: Path) -> Iterator[None]:
    """The integrity processor, in a process of its own, until the end of the block."""
    with log_path.open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "processors.runtime"],
            cwd=log_path.parent,
            env={
                **{k: v for k, v in os.environ.items() if not k.startswith("HANDOFF_")},
                "PYTHONPATH": str(ROOT),
                "HANDOFF_KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
                "HANDOFF_TOPIC_PREFIX": settings.topic_prefix,
                "HANDOFF_APPLICATION_ID": settings.application_id,
                "HANDOFF_WEB_PORT": "0",
            },
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0, log_path.read_text()
    finally:
        process.kill()
        process.wait(10)


def send(cluster: Cluster, records: list[Sent]) -> dict[tuple[int, int], Sent]:
    """Produce them; where each came to lie, by (partition, offset)."""
    servers = cluster.settings.kafka_bootstrap_servers
    producer = Producer({"bootstrap.servers": servers, "message.max.bytes": 4 << 20})
    found: dict[tuple[int, int], Sent] = {}

    def note(sent: Sent) -> Callable[[KafkaError | None, Message], None]:
        def noted(error: KafkaError | None, message: Message) -> None:
            partition, offset = message.partition(), message.offset()
            assert error is None
            assert partition is not None
            assert offset is not None
            found[partition, offset] = sent

        return noted

    for key, value in records:
        producer.produce(
            cluster.name("handoff.tool-outputs"),
            value,
            key,
            headers=dict(OWN),
            on_delivery=note((key, value)),
        )
        producer.poll(0)
    assert producer.flush(30) == 0
    return found


def await_records(cluster: Cluster, topic: str, enough: int) -> None:
    """Wait until `enough` records of a topic are committed."""
    reader = TopicReader(cluster, [topic], from_beginning=True)
    found = 0
    limit = time.monotonic() + 60
    try:
        while found < enough:
            assert time.monotonic() < limit, f"{topic}: {found} of {enough}"
            found += reader.poll(0.2) is not None
    finally:
        reader.close()


def read(cluster: Cluster, topic: str) -> list[Record]:
    """All committed records of a topic that nobody writes to any more."""
    return list(read_all(cluster, [topic]))


def split(letter: Record) -> tuple[Headers, dict[str, str]]:
    """A dead letter's own headers, and those that say why, without their prefix."""
    prefix = "__streams.errors."
    own = [header for header in letter.headers if not header[0].startswith(prefix)]
    why = [header for header in letter.headers if header[0].startswith(prefix)]
    return own, {name.removeprefix(prefix): value.decode() for name, value in why}


def test_every_kind_is_set_aside_untouched_and_blocks_nothing(
    embedded: str, prefix: str, tmp_path: Path
) -> None:
    settings = Settings(
        kafka_bootstrap_servers=embedded, topic_prefix=prefix, application_id=prefix, partitions=3
    )
    make_topics(connect(settings))
    documents = load_documents([str(DOCUMENTS)])
    register_receivers(connect(settings), documents, quiet=True)
    make_topics(connect(settings))  # the receiver's queue
    register_contracts(connect(settings), documents, quiet=True)
    cluster = connect(settings)

    pick = random.Random(SEED)
    noise: list[Sent] = [
        (pick.randbytes(pick.randrange(1, 20)), pick.randbytes(pick.randrange(0, 300)))
        for _ in range(STRINGS)
    ]
    bad = [sent for kind in KINDS.values() for sent in kind] + noise
    good: list[Sent] = [(f"good-{n}".encode(), output(f"good-{n}")) for n in range(30)]
    mixed = bad + good
    pick.shuffle(mixed)
    with processor(settings, tmp_path / "processor.log"):
        places = send(cluster, mixed)
        assert len(places) == len(mixed)
        await_records(cluster, "handoff.dead-letters", len(bad))
        await_records(cluster, "handoff.packages", len(good))
    letters = read(cluster, "handoff.dead-letters")
    assert len(letters) == len(bad)
    codes: dict[Sent, str] = {}
    for letter in letters:
        own, why = split(letter)
        source = places.pop((int(why["partition"]), int(why["offset"])))
        assert (letter.key, letter.value) == source
        assert own == OWN
        assert set(why) == {"exception", "message", "stacktrace", "topic", "partition", "offset"}
        assert why["topic"] == "handoff.tool-outputs"
        assert why["message"]
        codes[source] = why["exception"]
    # Each once: what is left are the good ones, and each of them is one package.
    assert sorted(places.values(), key=str) == sorted(good, key=str)
    keys = [package.key for package in read(cluster, "handoff.packages")]
    assert sorted(keys, key=str) == sorted((key for key, _ in good), key=str)
    for kind, records in KINDS.items():
        assert {codes[sent] for sent in records} == {kind}
    assert {codes[sent] for sent in noise} <= {"not_json", "wrong_shape"}
