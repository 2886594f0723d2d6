"""Tickets that go on as issues, over partitions and workflows, while instances are killed."""

import json
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from console.kafka import Cluster, read_all
from processors.partitioning import partition_of
from schemas.links import LINKS
from tests.chaos import Input
from tests.instances import Instances, Strike, drawn, feeding, prepared, settled, telling
from tests.lanes import wait_for
from tests.outcomes import note_counts
from topics.admin import Admin

PAIRS = 20_000
DOCUMENTS = """
kind: HandoffContract
id: bug
version: 1
owner: {name: Ana Silva, contact: ana@example.com}
action: Fix it.
workflow: ticket
from: {stage: answer}
to: {receiver: engineers, workflow: issue, stage: triage}
fields: [{name: summary}]
---
kind: HandoffContract
id: fix
version: 1
owner: {name: Ana Silva, contact: ana@example.com}
action: Ship it.
workflow: issue
from: {stage: triage}
to: {receiver: release, stage: ship}
fields: [{name: error_code}, {name: version}]
---
kind: Receiver
id: engineers
team: engineers
owners: [{name: Bo Lind, contact: bo@example.com}]
---
kind: Receiver
id: release
team: release
owners: [{name: Bo Lind, contact: bo@example.com}]
"""


def output(partitions: int, task: str, **body: Any) -> Input:
    said = {"task_id": task, "occurred_at": time.time_ns() // 1_000_000} | body
    key = task.encode()
    return Input(partition_of(key, partitions), key, json.dumps(said).encode())


def linked(partitions: int, pick: random.Random) -> list[Input]:
    """Each ticket, and the issue that continues it: sometimes that is there first."""
    found = []
    for n in range(PAIRS):
        ticket = {"workflow": "ticket", "stage": "answer", "tool": "desk", "id": f"t{n}"}
        issue = {"workflow": "issue", "stage": "triage", "tool": "tracker", "id": f"i{n}"}
        pair = [
            output(partitions, f"ZD-{n}", **ticket, context={"error_code": n, "version": f"v{n}"}),
            output(
                partitions,
                f"ENG-{n}",
                **issue,
                context={"summary": "it crashes"},
                continues={"workflow": "ticket", "task_id": f"ZD-{n}"},
            ),
        ]
        found += pair if pick.random() < 0.9 else pair[::-1]
    return found


def handed(partitions: int) -> list[Input]:
    """Each issue is handed on, with nothing of what the ticket said."""
    issue = {"workflow": "issue", "stage": "triage", "tool": "tracker"}
    return [
        output(partitions, f"ENG-{n}", **issue, id=f"h{n}", handoff={"to": "release"})
        for n in range(PAIRS)
    ]


def messages(cluster: Cluster) -> Counter[tuple[str, str]]:
    """How often each task was told what, by kind."""
    return Counter(
        (body["kind"], body["task_id"])
        for record in read_all(cluster, [LINKS])
        for body in [json.loads(record.value or b"")]
    )


@pytest.mark.fault("instances killed; tasks that continue others over partitions")
@pytest.mark.slow
def test_each_link_once_whoever_is_killed(apache: str, prefix: str, tmp_path: Path) -> None:
    seed = drawn()
    pick = random.Random(seed)
    settings, cluster, _ = prepared(apache, prefix, tmp_path, DOCUMENTS)
    admin = Admin({"bootstrap.servers": apache})
    strikes = []
    for instance in range(2):
        at = 0.0
        for _ in range(3):
            at += pick.uniform(2, 6)
            strikes.append(Strike(at, instance, "kill"))
            at += pick.choice((0.0, 1.0))
            strikes.append(Strike(at, instance, "start"))
    strikes.sort()
    instances = Instances(settings, tmp_path)
    with telling(seed, strikes, instances):
        for ordinal in range(2):
            instances.start(ordinal)
        wait_for(instances.all_run, 60, "both instances run")
        inputs = linked(settings.partitions, pick)
        seconds = strikes[-1].at
        plan = [(seconds * n / 100, len(inputs) * n // 100) for n in range(100)]
        with feeding(settings, inputs, plan) as failed:
            began = time.monotonic()
            for strike in strikes:
                time.sleep(max(0.0, began + strike.at - time.monotonic()))
                instances.strike(strike)
        assert not failed
        wait_for(
            lambda: (
                sum(n for (kind, _), n in messages(cluster).items() if kind == "caught_up") >= PAIRS
            ),
            120,
            "every ticket has answered",
        )
        with feeding(settings, handed(settings.partitions), []) as failed:
            pass
        assert not failed

        def packages() -> list[dict[str, Any]]:
            found = (json.loads(r.value or b"") for r in read_all(cluster, ["handoff.packages"]))
            return [each for each in found if each["to"]["receiver"] == "release"]

        wait_for(lambda: len(packages()) >= PAIRS, 120, "all are handed on")
        topics = [LINKS, "handoff.packages", "handoff.violations", "handoff.dead-letters"]
        wait_for(lambda: settled(admin, cluster, topics), 30, "no transaction open")
        assert instances.stop() == [0, 0]
        found = Counter(
            (each["task_id"], each["context"].get("error_code"), each["context"].get("version"))
            for each in packages()
        )
        wanted = Counter((f"ENG-{n}", n, f"v{n}") for n in range(PAIRS))
        note_counts(found, wanted)
        assert found == wanted
        told = messages(cluster)
        for kind, task in (("linked", "ZD-"), ("said", "ENG-"), ("caught_up", "ENG-")):
            counts = Counter(told[kind, f"{task}{n}"] for n in range(PAIRS))
            assert counts == {1: PAIRS}, kind
        assert not list(read_all(cluster, ["handoff.dead-letters"]))
