"""Deadlines wait for sources, in the lane: nobody is blamed for what lies unread elsewhere."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from confluent_kafka import Producer
from confluent_kafka.admin import NewTopic

from processors.intake.processor import intake
from processors.integrity.processor import INTEGRITY
from processors.processor import AnyProcessor
from processors.runtime.batch import Batch
from processors.runtime.lane_supervisor import LaneSupervisor
from processors.runtime.settings import Settings
from schemas.serde import utc
from tests.commands import HandoffCommand, on_topic
from tests.lanes import wait_for
from topics.admin import Admin

DOCUMENTS = """\
kind: HandoffContract
id: bug-to-desk
version: 1
owner: {name: Ana Silva, contact: ana@example.com}
action: Fix it.
workflow: bug
from: {team: support, stage: triage}
to: {receiver: desk, stage: fix}
fields: [{name: summary, type: string}]
accept_within: PT1S
---
kind: Receiver
id: desk
team: platform
owners: [{name: Priya Nair, contact: priya@example.com}]
---
kind: Source
id: tracker
owner: {name: Ana Silva, contact: ana@example.com}
topic: tracker.events
decode: json
defaults: {task: value.id, workflow: {value: bug}, tool: {value: t}, occurred_at: value.at}
emit: [{ack: {status: {value: accepted}, by: value.by}}]
"""


def now() -> int:
    return time.time_ns() // 1_000_000


def violations() -> dict[str, str]:
    """The task of each violation that was opened, with its kind."""
    found = [json.loads(record.value or b"") for record in on_topic("handoff.violations")]
    return {each["task_id"]: each["kind"] for each in found if each["status"] == "opened"}


def test_nobody_is_blamed_before_the_source_was_read_past_the_deadline(
    handoff: HandoffCommand, embedded: str, prefix: str, tmp_path: Path
) -> None:
    (tmp_path / "all.yaml").write_text(DOCUMENTS)
    for kind in ("receivers", "contracts", "sources"):
        done = handoff(kind, "apply", str(tmp_path / "all.yaml"))
        assert done.exit_code == 0, done.output
    producer = Producer({"bootstrap.servers": embedded, "partitioner": "murmur2_random"})

    def produce(to: str, key: str, timestamp: int = 0, **body: Any) -> None:
        value = json.dumps(body).encode()
        producer.produce(f"{prefix}{to}", value, key.encode(), timestamp=timestamp)
        assert producer.flush(10) == 0

    def read_to(moment: int) -> None:
        at = utc(moment).isoformat()
        told: dict[str, Any] = {"partitions": 1, "read_to": {"0": at}, "at": at}
        produce(
            "source-positions",
            "tracker/tracker.events/0",
            source="tracker",
            topic="tracker.events",
            **told,
        )

    began = now()
    read_to(began)
    given_up: list[str] = []
    supervisor = LaneSupervisor(Settings(), INTEGRITY, Batch.run, given_up.append)
    supervisor.start()
    try:
        for task in ("T-1", "T-2"):
            handed = {"to": "desk"}
            produce(
                "tool-outputs",
                task,
                id=task,
                task_id=task,
                workflow="bug",
                stage="triage",
                tool="tracker",
                team="support",
                occurred_at=began,
                context={"summary": "It fails."},
                handoff=handed,
            )
        wait_for(lambda: len(on_topic("handoff.packages")) == 2, 20, "both are sent")
        packages = [json.loads(record.value or b"") for record in on_topic("handoff.packages")]
        ids = {package["task_id"]: package["id"] for package in packages}
        # Well past the deadline, as the lane's own wakes show.
        wait_for(lambda: now() > began + 4_000, 10, "the deadlines have passed")
        assert violations() == {}
        # What lay unread was given in time.
        produce(
            "acks",
            "T-1",
            timestamp=began + 500,
            id="a1",
            handoff_id=ids["T-1"],
            task_id="T-1",
            workflow="bug",
            status="accepted",
            by="Priya",
            occurred_at=began + 500,
        )
        read_to(now())
        wait_for(lambda: violations() == {"T-2": "not_accepted"}, 20, "one is blamed, rightly")
        signals = [json.loads(record.value or b"") for record in on_topic("handoff.signals")]
        assert [s["late"] for s in signals if s["kind"] == "accepted"] == [False]
    finally:
        supervisor.stop()
        assert supervisor.join(30)
        producer.close()
    assert not given_up


TRACKER = """\
kind: Source
id: tracker
owner: {name: Ana Silva, contact: ana@example.com}
topic: TOPIC
decode: json
defaults:
  task: value.id
  workflow: {value: bug}
  tool: {value: tracker}
  occurred_at: record.timestamp
  id: "{value.id}:{value.what}"
emit:
  - when: value.what == "handed"
    stage: {value: triage}
    team: {value: support}
    context: {summary: value.summary}
    handoff: {to: {value: desk}}
  - when: value.what == "accepted"
    ack: {status: {value: accepted}, by: value.by}
"""


@contextmanager
def running(processor: AnyProcessor) -> Iterator[None]:
    given_up: list[str] = []
    supervisor = LaneSupervisor(Settings(), processor, Batch.run, given_up.append)
    supervisor.start()
    try:
        yield
    finally:
        supervisor.stop()
        assert supervisor.join(30)
    assert not given_up


def test_intake_that_is_away_beside_open_deadlines_blames_nobody(
    handoff: HandoffCommand, embedded: str, prefix: str, tmp_path: Path
) -> None:
    """The whole way: what happened in the tracker while intake was away counts when it is back."""
    topic = f"{prefix}tracker.events"
    with Admin({"bootstrap.servers": embedded}) as admin:
        admin.create_topics([NewTopic(topic, 2, 1)])[topic].result(20)
    contracts, _, _ = DOCUMENTS.rpartition("---\n")
    (tmp_path / "all.yaml").write_text(
        contracts.replace("PT1S", "PT3S") + "---\n" + TRACKER.replace("TOPIC", topic)
    )
    for kind in ("receivers", "contracts", "sources"):
        done = handoff(kind, "apply", str(tmp_path / "all.yaml"))
        assert done.exit_code == 0, done.output
    producer = Producer({"bootstrap.servers": embedded})

    def happens(task: str, what: str) -> None:
        event = {"id": task, "what": what, "summary": "It fails.", "by": "Priya"}
        producer.produce(topic, json.dumps(event).encode(), task.encode())
        assert producer.flush(10) == 0

    intake_ = intake(1 << 20, 86_400_000)
    with producer, running(INTEGRITY):
        with running(intake_):
            happens("T-1", "handed")
            happens("T-2", "handed")
            wait_for(lambda: len(on_topic("handoff.packages")) == 2, 20, "both are sent")
        happens("T-1", "accepted")
        away = now()
        wait_for(lambda: now() > away + 6_000, 10, "the deadlines have passed")
        assert violations() == {}
        with running(intake_):
            wait_for(lambda: violations() == {"T-2": "not_accepted"}, 30, "one is blamed, rightly")
        signals = [json.loads(record.value or b"") for record in on_topic("handoff.signals")]
        accepted = [each for each in signals if each["kind"] == "accepted"]
        assert [(each["task_id"], each["late"]) for each in accepted] == [("T-1", False)]
