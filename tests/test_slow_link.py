"""Records that cause much, behind a slow link: memory stays flat, and the good ones go through."""

import json
import random
import string
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
from confluent_kafka import Producer

from console.brokers import KAFKA_LIB
from console.commands.documents import load_documents, register_contracts, register_receivers
from console.commands.topics import make_topics
from console.kafka import connect, read_all
from processors.runtime.settings import Settings
from tests.lanes import Bench, wait_for
from tests.outcomes import note_counts

LINKS = {"100 Mbit/s": 12_500_000, "1 Gbit/s": 125_000_000}  # bytes/s
FAT, PARTS = 12, 8  # each is published in 16 packages of 0.9 MB that nothing compresses
MOST_MIB = 400
DOCUMENTS = """\
kind: HandoffContract
id: c
version: 1
owner: {name: A, contact: a@example.com}
action: Do.
workflow: w
from: {stage: s}
to: {receiver: r}
---
kind: Receiver
id: r
team: t
owners: [{name: B, contact: b@example.com}]
queue: QUEUE
"""


def slow_down(servers: str, client: str, link: int) -> None:
    """Let a client write no faster than a link; the client library has no call for it."""
    command = ["java", "-cp", f"{KAFKA_LIB}/*", "kafka.admin.ConfigCommand"]
    command += ["--bootstrap-server", servers, "--alter", "--entity-type", "clients"]
    command += ["--entity-name", client, "--add-config", f"producer_byte_rate={link}"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


def peak_mib(pid: int) -> int:
    """The most memory that a process has had (Linux, proc(5))."""
    (line,) = [
        line
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith("VmHWM")
    ]
    return int(line.split()[1]) // 1024


def record(task: str, parts: int, text: str = "") -> bytes:
    body = {"id": "1", "task_id": task, "workflow": "w", "stage": "s", "tool": "x"}
    handoffs = [{"to": "r", "part": str(part)} for part in range(parts)]
    more = {"occurred_at": int(time.time() * 1000), "context": {"x": text}, "handoff": handoffs}
    return json.dumps(body | more).encode()


@pytest.mark.fault("large records behind a link of 100 Mbit/s and of 1 Gbit/s")
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc to read memory from")
@pytest.mark.parametrize("link", LINKS.values(), ids=LINKS)
def test_records_that_cause_much_behind_a_slow_link(real: Bench, link: int) -> None:
    application = f"{real.prefix}app"
    settings = Settings(
        kafka_bootstrap_servers=real.servers,
        topic_prefix=real.prefix,
        application_id=application,
        partitions=3,
    )
    path = real.directory / "documents.yaml"
    path.write_text(DOCUMENTS.replace("QUEUE", f"queue.{real.prefix}r"))
    make_topics(connect(settings))
    documents = load_documents([str(path)])
    register_receivers(connect(settings), documents, quiet=True)
    make_topics(connect(settings))  # the receiver's queue
    register_contracts(connect(settings), documents, quiet=True)
    slow_down(real.servers, application, link)

    producer = Producer({"bootstrap.servers": real.servers, "partitioner": "murmur2_random"})
    topic = f"{real.prefix}tool-outputs"
    pick = random.Random(1)
    wanted: Counter[str] = Counter()
    for number in range(FAT):
        text = "".join(pick.choices(string.ascii_letters + string.digits, k=880_000))
        for task, parts, value in (
            (f"fat{number}", PARTS, text),
            (f"good{number}", 1, "little"),
            (f"refused{number}", 16, text),  # more than 16 MiB would follow from it
        ):
            producer.produce(topic, record(task, parts, value), task.encode(), partition=0)
            if not task.startswith("refused"):
                wanted[task] = parts
    assert producer.flush(60) == 0

    instance = real.start(processor="processors.integrity.processor:INTEGRITY").ready()
    judged = "handoff_input_records_total"

    def all_judged() -> bool:
        told = f"{judged}{{" in instance.page("/metrics")[1]  # not before the first is
        return told and instance.metric(judged) >= 3 * FAT

    wait_for(all_judged, 180, "all of them judged")
    assert peak_mib(instance.process.pid) < MOST_MIB
    found: Counter[str] = Counter()
    for each in read_all(connect(settings), ["handoff.packages"]):
        found[(each.key or b"").decode()] += 1
    note_counts(found, wanted)
    assert found == wanted, "each once, the good ones too"
    letters = list(read_all(connect(settings), ["handoff.dead-letters"]))
    reasons = {dict(letter.headers)["__streams.errors.exception"] for letter in letters}
    assert (len(letters), reasons) == (FAT, {b"output_too_large"})
