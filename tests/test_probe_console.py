"""What people see of the receivers' liveness, with the real processor and with records by hand."""

import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Consumer

from console.kafka import connect, write_all
from console.main import main
from processors.contracts.registry import LIVENESS
from schemas import serde
from schemas.records import Liveness
from tests.commands import on_topic
from tests.lanes import Bench, wait_for

RECEIVERS = """
kind: Receiver
id: {id}
team: support
owners: [{{name: Dana Reyes, contact: dana@example.com}}]
{more}
---
"""


@pytest.fixture
def servers(embedded: str, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The broker, with the settings of the commands and all topics made."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HANDOFF_KAFKA_BOOTSTRAP_SERVERS", embedded)
    monkeypatch.setenv("HANDOFF_TOPIC_PREFIX", prefix)
    monkeypatch.setenv("HANDOFF_APPLICATION_ID", prefix + "app")
    monkeypatch.setenv("COLUMNS", "200")
    assert handoff("topics", "apply").exit_code == 0
    return embedded


def handoff(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def register(**receivers: str) -> None:
    path = Path("receivers.yaml")
    path.write_text("".join(RECEIVERS.format(id=i, more=m) for i, m in receivers.items()))
    applied = handoff("receivers", "apply", str(path))
    assert applied.exit_code == 0, applied.output


def violations() -> list[tuple[str, str]]:
    """All that were opened and resolved, as (kind, status)."""
    found = [json.loads(each.value or b"") for each in on_topic("handoff.violations")]
    return [(each["kind"], each["status"]) for each in found]


def findings() -> dict[str, tuple[str, str]]:
    """What the doctor says of each watched receiver: its state, and what it is."""
    found = json.loads(handoff("doctor", "--output", "json").stdout)
    told = [(each["what"], each["state"]) for each in found if each["check"] == "liveness"]
    return {what.partition(":")[0]: (state, what.partition(": ")[2]) for what, state in told}


def test_people_see_who_is_there(servers: str) -> None:
    register(
        here="consumer_group: g",
        gone="consumer_group: h",
        old="consumer_group: i",
        never="consumer_group: j",
        broken="consumer_group: k",
        silent="",
        retired="consumer_group: g\nstatus: retired",
    )
    now = time.time_ns() // 1_000_000
    last = 1_700_000_000_000
    at, before = serde.utc(now), serde.utc(now - 26_000)
    records = [
        Liveness("here", True, at, 2, 1200, at),
        Liveness("gone", False, at, 0, None, serde.utc(last)),
        Liveness("old", True, before, 1, 0, before),
        Liveness("retired", True, at, 1, 0, at),
    ]
    values = [(each.receiver, serde.encode(each)) for each in records]
    write_all(connect(), LIVENESS, [*values, ("broken", b"{")])
    unknown = "of late; it counts as live"
    assert findings() == {
        "here": ("ok", "2 members in g, 1,200 records behind"),
        "gone": ("note", "nobody in h since 2023-11-14 22:13 UTC"),
        "old": ("note", f"nobody has looked at i {unknown}"),
        "never": ("note", f"nobody has looked at j {unknown}"),
        "broken": ("note", f"nobody has looked at k {unknown}"),
    }
    head, *rows = handoff("receivers", "list").stdout.splitlines()
    place = head.index("live")
    assert {row.split()[0]: row[place:].split()[0] for row in rows} == {
        "here": "yes",
        "gone": "no",
        "old": "unknown",
        "never": "unknown",
        "broken": "unknown",
        "silent": "-",
        "retired": "-",
    }


def test_the_integrity_processor_probes_the_registered_receivers(
    servers: str, prefix: str, tmp_path: Path
) -> None:
    group = prefix + "desk"
    register(desk=f"consumer_group: {group}")
    with Bench(servers, prefix, tmp_path) as bench:
        quick = {"HANDOFF_PROBE_INTERVAL": "0.5"}
        instance = bench.start(0, quick, "processors.integrity.processor:INTEGRITY").ready()
        wait_for(lambda: findings()["desk"][1].startswith("nobody in"), 20, instance.log)
        consumer = Consumer({"bootstrap.servers": servers, "group.id": group})
        consumer.subscribe([prefix + "packages"])
        try:

            def there() -> bool:
                consumer.poll(0.1)
                return findings()["desk"] == ("ok", f"1 member in {group}")

            wait_for(there, 30, "the receiver is there")
        finally:
            consumer.close()


CONTRACT = """
kind: HandoffContract
id: to-desk
version: 1
owner: {name: Ilse Kramer, contact: ilse@example.com}
action: Answer.
workflow: w
from: {stage: s}
to: {receiver: desk}
fields: [{name: name, type: string}]
"""


def test_a_silent_receiver_is_a_violation_until_somebody_is_there_again(
    servers: str, prefix: str, tmp_path: Path
) -> None:
    group = prefix + "desk"
    register(desk=f"consumer_group: {group}")
    Path("contract.yaml").write_text(CONTRACT)
    assert handoff("contracts", "apply", "contract.yaml").exit_code == 0
    output = {
        "id": "1",
        "task_id": "t",
        "workflow": "w",
        "stage": "s",
        "tool": "x",
        "occurred_at": time.time_ns() // 1_000_000,
        "context": {"name": "n"},
        "handoff": {"to": "desk"},
    }
    Path("lines.jsonl").write_text(json.dumps(output))
    with Bench(servers, prefix, tmp_path) as bench:
        quick = {"HANDOFF_PROBE_INTERVAL": "0.5"}
        instance = bench.start(0, quick, "tests.watching:IMPATIENT").ready()
        assert handoff("send", "lines.jsonl").exit_code == 0
        opened = [("receiver_silent", "opened")]
        wait_for(lambda: violations() == opened, 30, instance.log)
        consumer = Consumer({"bootstrap.servers": servers, "group.id": group})
        consumer.subscribe([prefix + "packages"])
        try:

            def resolved() -> bool:
                consumer.poll(0.1)
                return violations() == [*opened, ("receiver_silent", "resolved")]

            wait_for(resolved, 30, instance.log)
        finally:
            consumer.close()
