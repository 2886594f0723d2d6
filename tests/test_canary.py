"""A classified value on a broker: it stands where its receiver reads, and nowhere else.

One contract classifies. Others of the workflow read the same value, or give it another name, or
repeat by it; tools nest it, write it into sentences and break their JSON around it. Then every
topic, every state, every page and what every command says is searched for it.
"""

import json
import logging
import re
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Producer
from prometheus_client import CollectorRegistry, generate_latest

from alerts.active import AlertSetup
from alerts.pacing import Limits
from alerts.service import AlertService
from console.kafka import Cluster, connect, read_all, read_table
from console.main import main
from processors.alerts.limits import AlertLimits
from tests.every_sink import NAMES as SINKS
from tests.every_sink import WATCHER, EverySink
from tests.test_console_running import until, up
from topics.catalogue import NAMES

pytestmark = pytest.mark.embedded

CANARY = re.compile(r"CANARY|4455667788")
PHONE = 4455667788
DOCUMENTS = r"""
kind: HandoffContract
id: lead
version: 1
owner: {name: Ana Silva, contact: ana@example.com}
action: Do it.
workflow: lead
from: {team: sales, stage: qualify}
to: {receiver: nurture, stage: nurture}
hold_on: [any]
fields:
  - {name: email, from: [email, mail, crm.email], type: string, classification: pii}
  - {name: ssn, schema: {type: string, pattern: '^[0-9]+$'}, classification: pii}
  - {name: intent, translate: {hot: high}, classification: pii}
  - {name: phone, type: integer, classification: pii}
  - {name: secret, type: string, classification: [pii, secret], rebuild: {pick: unambiguous}}
  - {name: obj, type: object, classification: pii}
rules:
  - {name: r1, expr: 'context.email == "x" && context.ssn + 1 > 2', message: a rule about email}
  - {name: r2, expr: 'context.phone / 0 > 1', message: a rule about phone}
repeat:
  by: [context.email, context.obj.email, context.crm.email]
  threshold: 2
  within: PT1H
  receiver: ops
---
kind: HandoffContract
id: elsewhere
version: 1
owner: {name: Ana Silva, contact: ana@example.com}
action: Do it.
workflow: lead
from: {team: sales, stage: score}
to: {receiver: nurture, stage: nurture}
fields:
  - {name: reach, from: [mail], required: false}
  - {name: whole, from: [crm], required: false}
  - {name: code, type: string, required: false}
repeat: {by: [context.reach], threshold: 2, within: PT1H, receiver: ops}
---
kind: HandoffContract
id: words
version: 1
owner: {name: Ana Silva, contact: ana@example.com}
action: Do it.
workflow: lead
from: {team: sales, stage: note}
to: {receiver: nurture, stage: nurture}
repeat: {by: [context.text], threshold: 2, within: PT1H, receiver: ops}
---
kind: HandoffContract
id: inside
version: 1
owner: {name: Ana Silva, contact: ana@example.com}
action: Do it.
workflow: lead
from: {team: sales, stage: nest}
to: {receiver: nurture, stage: nurture}
repeat: {by: [context.crm, context.ssn], threshold: 2, within: PT1H, receiver: ops}
---
kind: Receiver
id: nurture
team: marketing
owners: [{name: Dana Reyes, contact: dana@example.com}]
queue: handoff.queue.nurture
---
kind: Receiver
id: ops
team: ops
owners: [{name: Omar Haddad, contact: omar@example.com}]
queue: handoff.queue.ops
"""
FULL = {
    "email": "CANARYmail",
    "ssn": "CANARYssn",
    "intent": "CANARYintent",
    "phone": str(PHONE),
    "secret": "CANARYsecret",
    "obj": {"email": "CANARYobj", "CANARYname": ["CANARYdeep"]},
}
# Where a value may stand: what tools and people sent, what receivers read, what is remembered.
MAY_HOLD = {
    "handoff.tool-outputs",
    "handoff.amendments",
    "handoff.packages",
    "handoff.held",
    "handoff.queue.nurture",
    "handoff.dead-letters",
    "handoff.integrity-state",
}


def outputs() -> Iterator[dict[str, Any]]:
    """What the tools say of ten tasks."""
    at, number = datetime.now(UTC) - timedelta(minutes=5), 0

    def said(task: str, context: dict[str, Any], **more: Any) -> dict[str, Any]:
        nonlocal number
        number += 1
        return {
            "id": f"e{number}",
            "task_id": task,
            "workflow": "lead",
            "stage": "qualify",
            "tool": "crm",
            "team": "sales",
            "occurred_at": (at + timedelta(seconds=number)).isoformat(),
            "context": context,
        } | more

    to = {"handoff": {"to": "nurture"}}
    sentence = "CANARYmail, said CANARYsecret twice, call 4455667788"
    escaped = json.dumps({"email": "CANARYmail"})
    for n in range(3):
        yield said(f"whole-{n}", FULL)
        yield said(f"whole-{n}", FULL, **to)
        yield said(f"lost-{n}", FULL | {"phone": PHONE})
        yield said(f"lost-{n}", {"text": sentence, "note": f"<{escaped}>"}, **to)
        yield said(f"named-{n}", {"mail": "CANARYmail", "crm": {"email": "CANARYcrm"}})
        named = {"mail": "CANARYmail", "crm": {"email": "CANARYcrm", "tier": "gold"}}
        yield said(f"named-{n}", named, stage="score", **to)
        yield said(f"words-{n}", {"email": "CANARYmail", "phone": PHONE})
        yield said(f"words-{n}", {"text": sentence, "more": escaped}, stage="note", **to)
        yield said(
            f"inside-{n}",
            {"crm": {"email": "CANARYcrm"}, "ssn": "CANARYssn", "wrap": {"email": "CANARYwrap"}},
            stage="nest",
            handoff={"to": "nurture", "note": "write to CANARYcrm or CANARYssn"},
        )
        yield said(f"again-{n}", FULL | {"phone": PHONE})
        yield said(f"again-{n}", {"email": "CANARYtwo", "secret": "CANARYother"})
        yield said(f"again-{n}", {}, **to)
        yield said(f"again-{n}", {"email": "CANARYmail"}, stage="nurture")


BROKEN = (
    b'{"id":"1","task_id":"b","context":{"email":"CANARY7f3a"} "x"}',
    b'{"id":"1","task_id":"b","context":{"email": CANARY7f3a}}',
    b'"CANARY"',
    b'{"id":"1","task_id":"b","workflow":"lead","stage":"s","tool":"t","occurred_at":"CANARY",'
    b'"context":{"email":"CANARY"}}',
    b'{"id":"1","task_id":"b","workflow":["lead"],"stage":"s","tool":"t","occurred_at":1795000000000,'
    b'"context":{"obj":{"a":"CANARY"},"text":"said CANARY","wrap":[{"email":"CANARY"}]}}',
    b'{"id":"1","task_id":"b","workflow":"lead","stage":"s","tool":"t","occurred_at":1795000000000,'
    b'"email":"CANARY","context":{}}',
    b'\xff{"email":"CANARY',
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator["CanaryWorld"]:
    directory = tmp_path_factory.mktemp("canary")
    (directory / "documents.yaml").write_text(DOCUMENTS)
    lines = [json.dumps(each) for each in outputs()]
    (directory / "lines.jsonl").write_text("\n".join(lines) + "\n")
    settings = {"log_level": "DEBUG", "edge_interval_ms": "500"}
    with up(directory, "--contracts", "documents.yaml", **settings) as (_, servers):
        made = CanaryWorld(directory, servers)
        made.play(lines)
        yield made


class CanaryWorld:
    """The processors with all of it judged."""

    def __init__(self, directory: Path, servers: str) -> None:
        self.directory = directory
        self._environment = {
            "HANDOFF_KAFKA_BOOTSTRAP_SERVERS": servers,
            "HANDOFF_BY": "Ana Silva",
            "HANDOFF_CONFIG": str(directory / "none.toml"),
        }
        (directory / "none.toml").write_text("")
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self._environment.items():
                patch.setenv(name, value)
            self.cluster: Cluster = connect()
        self.said: dict[str, str] = {}

    def __call__(self, *arguments: str, lines: str | None = None) -> Result:
        found = CliRunner(env=self._environment).invoke(main, arguments, input=lines)
        assert not isinstance(found.exception, Exception) or found.exit_code, found.exception
        self.said[" ".join(arguments)] = found.output  # not the result, which keeps its clients
        return found

    def play(self, lines: list[str]) -> None:
        """Send it all, repair what is held, and wait until nothing is left to do."""
        assert self("send", "-", lines="\n".join(lines)).exit_code == 0
        producer = Producer({"bootstrap.servers": self.cluster.settings.kafka_bootstrap_servers})
        for number, value in enumerate(BROKEN):
            producer.produce(
                self.cluster.name("handoff.tool-outputs"), value, f"b{number}".encode()
            )
        assert producer.flush(30) == 0
        until(lambda: len(self.held()) == 9, 60, "nine are held")
        until(lambda: len(self.records("handoff.dead-letters")) == len(BROKEN), 60, "dead letters")
        first, second, third, *_ = self.held()
        self("amend", first, "--text", "phone=CANARYphone", "--reason", "wrong", "--wait", "30")
        self("amend", second, "--text", "email=CANARYset", "--reason", "asked", "--wait", "30")
        self("release", third, "--reason", "in a hurry", "--wait", "30")
        self("discard", self.held()[-1], "--reason", "twice", "--wait", "30")
        until(lambda: len(self.records("handoff.patterns")) >= 5, 60, "patterns are opened")
        until(lambda: len(self.records("handoff.edges")) >= 6, 60, "edges are published")

    def held(self) -> list[str]:
        found = json.loads(self("held", "list", "--output", "json").stdout)
        return [each["id"] for each in found]

    def entries(self, kind: str) -> list[str]:
        """What stands on the topic of alerts."""
        table = read_table(self.cluster, "handoff.alerts")
        return [value.decode() for key, value in table.items() if key.startswith(kind)]

    def records(self, topic: str) -> list[Any]:
        return list(read_all(self.cluster, [topic]))


def test_no_topic_but_those_of_its_readers_and_no_state_but_the_tasks_has_it(
    world: CanaryWorld,
) -> None:
    holding = set()
    known = [*NAMES, "handoff.queue.nurture", "handoff.queue.ops"]
    seen = {topic: world.records(topic) for topic in known}
    for topic, records in seen.items():
        for record in records:
            beside = [record.key or b"", *(text or b"" for _, text in record.headers)]
            assert not any(CANARY.search(text.decode("latin-1")) for text in beside), topic
            if CANARY.search((record.value or b"").decode("latin-1")):
                holding.add(topic)
    assert holding == MAY_HOLD, "it got where it should, and nowhere else"
    for topic in ("violations", "signals", "patterns", "edges", "internal.feed", "insights-state"):
        assert seen[f"handoff.{topic}"], "there was something to look at"
    assert seen["handoff.queue.ops"]


def test_patterns_tell_of_repeats_and_none_of_their_values(world: CanaryWorld) -> None:
    found = [json.loads(each.value) for each in world.records("handoff.patterns")]
    repeats = {each["contract"]: each["values"] for each in found if each["kind"] == "repeat"}
    assert set(repeats) == {"elsewhere", "words", "inside"}
    assert all(value is None for values in repeats.values() for value in values.values())


def test_neither_the_log_nor_a_page_has_it(world: CanaryWorld) -> None:
    log = (world.directory / "up.log").read_text()
    base = re.search(r"(http://\S+)/healthz", log)
    assert base is not None
    assert not CANARY.search(log)
    for path in ("/healthz", "/readyz", "/metrics"):
        with urllib.request.urlopen(base[1] + path, timeout=10) as answer:
            assert not CANARY.search(answer.read().decode())


def test_no_command_shows_it_to_people(world: CanaryWorld) -> None:
    lines, documents = str(world.directory / "lines.jsonl"), str(world.directory / "documents.yaml")
    for what in ("packages", "violations", "signals", "patterns", "held", "dead-letters"):
        assert world("tail", what, "--from-beginning", "--timeout", "3").stdout
    for task in ("whole-0", "lost-0", "named-0", "words-0", "inside-0", "again-0"):
        for options in ([], ["--values"], ["--values", "--output", "json"]):
            assert world("show", task, *options).exit_code == 0
        recorded = ["--from", lines, "--contracts", documents]
        assert world("show", task, "--values", *recorded).exit_code == 0
    for held in world.held():
        world("held", "show", held)
        world("held", "show", held, "--output", "json")
    world("held", "list")
    letters = [
        json.loads(x) for x in world("dead-letters", "list", "--output", "json").stdout.splitlines()
    ]
    assert len(letters) > len(BROKEN), "and that of the amendment"
    for letter in letters:
        assert world("dead-letters", "show", letter["id"]).exit_code == 0
    for command in (
        ["dead-letters", "list"],
        ["edges"],
        ["edges", "--from", lines, "--contracts", documents],
        ["discover"],
        ["discover", "--output", "json"],
        ["audit"],
        ["audit", "--output", "json"],
        ["doctor"],
        ["contracts", "list"],
        ["contracts", "show", "lead"],
        ["contracts", "lint", documents],
        ["contracts", "diff", documents, documents],
        ["contracts", "test", documents, "--against", lines],
        ["contracts", "test", documents, "--from-topic", "--output", "json"],
        ["receivers", "list"],
        ["topics", "plan"],
    ):
        assert world(*command).output, command
    for said, text in world.said.items():
        found = CANARY.search(text)
        assert not found, (said, text[max(0, found.start() - 200) : found.end() + 100])


def test_a_dry_run_shows_it_in_packages_and_nowhere_else(world: CanaryWorld) -> None:
    lines, documents = str(world.directory / "lines.jsonl"), str(world.directory / "documents.yaml")
    result = world("dry-run", "--internal", "--contracts", documents, lines)
    world.said.clear()
    found = [json.loads(line) for line in result.stdout.splitlines()]
    holding = {each["topic"] for each in found if CANARY.search(json.dumps(each))}
    assert holding == {"handoff.packages", "handoff.held", "handoff.queue.nurture"}
    assert {"handoff.patterns", "handoff.violations"} < {each["topic"] for each in found}
    assert not CANARY.search(result.stderr)


def test_no_alert_has_it_whatever_the_sink(
    world: CanaryWorld,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What is held is told, too; and then all that is still held is discarded, so it ends."""
    caplog.set_level(logging.DEBUG)
    with EverySink(tmp_path) as sinks:
        monkeypatch.setenv(WATCHER, sinks.watcher)
        service = AlertService(
            AlertSetup(
                settings=world.cluster.settings,
                routes=sinks.routes(),
                make_sinks=sinks.sinks,
                limits=AlertLimits(group_wait=timedelta(seconds=1), storm=10_000),
                console="https://console.example",
                pacing=Limits(first=0.02, longest=0.2),
            )
        )
        registry = CollectorRegistry()
        registry.register(service.status)
        service.start()
        try:
            until(lambda: set(service.status.alerts) == {"firing"}, 60, "all that broke is told")
            kinds = {json.loads(x)["kind"] for x in world.entries("cause/")}
            assert kinds >= {"repeat", "context_dropped", "held"}
            number = len(world.entries("alert/"))
            until(lambda: all(len(sinks.sent()[n]) >= number for n in SINKS), 60, "all have them")
            until(lambda: sinks.sent()["watcher"], 60, "somebody watches")
            for each in world.held():
                world("discard", each, "--reason", "over", "--wait", "30")
            until(lambda: len(world.entries("alert/")) < number, 60, "some are over")
        finally:
            assert service.stop(30)
    for name, texts in sinks.sent().items():
        for text in texts:
            assert not CANARY.search(text), (name, text)
    assert not CANARY.search(generate_latest(registry).decode())
    assert not CANARY.search(caplog.text)
    assert not CANARY.search("".join(world.entries("")))
    world("alerts", "list")
    world("alerts", "list", "--output", "json")
    for said, told in world.said.items():
        assert not CANARY.search(told), said
    world.said.clear()


def test_what_is_not_classified_is_still_shown(world: CanaryWorld) -> None:
    packages = world("tail", "packages", "--from-beginning", "--timeout", "3").stdout
    assert '{"tier":"gold"}' not in packages, "it stands beside the e-mail"
    assert "••••" in packages
    letters = [
        json.loads(x) for x in world("dead-letters", "list", "--output", "json").stdout.splitlines()
    ]
    shown = [world("dead-letters", "show", letter["id"]).stdout for letter in letters]
    assert any('"stage": "s"' in text for text in shown), "what is not classified is there"
    assert any('"context":{"email":••••}' in text for text in shown)
    world.said.clear()
