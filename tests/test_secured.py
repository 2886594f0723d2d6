"""On a broker with users and ACLs: the rights that docs/operations.md asks for are enough, and each
missing one is named."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest
from aiohttp import web
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from alerts.service import AlertService
from console.commands.alerts import routes_of, service_of
from console.commands.documents import load_documents
from console.commands.source_registry import register_sources
from console.kafka import write_all
from console.main import main
from processors.insights.processor import INSIGHTS
from processors.intake.processor import intake
from processors.intake.traces import TraceLimits
from processors.intake.traces_processor import traces_processor
from processors.intake.transcripts.building import Defaults
from processors.integrity.processor import INTEGRITY
from processors.processor import AnyProcessor, Relay
from processors.runtime import clients, cluster
from processors.runtime.cluster import check_relay_topics, check_topics
from processors.runtime.settings import Settings
from processors.runtime.transactions import Fatal
from schemas.alerts import ALERTS, Alert, entry_key
from schemas.loading import Documents
from schemas.serde import utc
from tests.instances import GUEST, ROOT
from tests.lanes import wait_for
from tests.receiving import Receiving, Request
from tests.rights_documented import Names, documented, rows
from tests.secured import SecuredKafka, environment
from tests.secured_stage import PASSWORD, Stage
from tests.test_sinks_together import HOOK
from topics.admin import Admin
from topics.catalogue import NAMES
from topics.look import Look, Seen, look
from topics.rights import Right

PROCESSORS: dict[str, AnyProcessor] = {
    "run --processor integrity": INTEGRITY,
    "run --processor insights": INSIGHTS,
    "run --processor intake": intake(1 << 20, 86_400_000),
    "run --processor traces": traces_processor(TraceLimits(), Defaults()),
}
# Services: no commands that end.
SERVICES = {"alerts run", "console"}
PEOPLE = sorted(set(rows()) - set(PROCESSORS) - SERVICES - {"a tool", "a receiver"})
# They ask no cluster.
OFFLINE = {"up", "demo", "run", "contracts lint", "import"}
OFFLINE = {"up", "demo", "run", "contracts lint", "import"}
OFFLINE |= {"sources lint", "sources test", "sources draft", "alerts lint", "alerts test"}

# What they wrote once would not be written again, or is gone.
ANEW = {
    "contracts apply",
    "receivers apply",
    "sources apply",
    "sources remove",
    "alerts silence",
    "alerts ack",
    "alerts resolve",
    "send",
    "release",
    "discard",
}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No intake runs that would begin a replay."""
    monkeypatch.setattr("console.commands.source_registry._OBEY_SECONDS", 0.2)


@pytest.fixture(scope="module")
def stage(secured: SecuredKafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Both processors run, and have judged: two handoffs were sent, four are held."""
    prefix = f"s{time.time_ns() % 10**9}."
    made = Stage(secured, prefix, tmp_path_factory.mktemp("stage"))
    try:
        made.start()
        made.play("engineering", "engineering", *["nobody"] * 4)
        wait_for(lambda: len(made.held()) == 4, 30, made.log)
        assert "missing" not in made.log
        yield made
    finally:
        made.instances.end()


def test_a_user_sees_what_was_granted(secured: SecuredKafka, prefix: str) -> None:
    """The fixture itself: by password and by token, by name and by prefix."""
    topic = prefix + "seen"
    secured.admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(20)
    by_password, by_token = prefix + "password", prefix + "token"
    secured.add_user(by_password, PASSWORD)
    for user, by in (
        (by_password, secured.by_password(by_password, PASSWORD)),
        (by_token, secured.by_token(by_token)),
    ):
        client = Admin({**by, "log_level": 0})
        right = Right("DESCRIBE", "topic", topic)
        assert topic not in client.list_topics(timeout=10).topics
        secured.grant(user, right)
        assert topic in client.list_topics(timeout=10).topics
        secured.revoke(user, right)
        assert topic not in client.list_topics(timeout=10).topics
        secured.grant(user, Right("READ", "topic", prefix), prefixed=True)
        assert topic in client.list_topics(timeout=10).topics
        secured.revoke(user)
        assert topic not in client.list_topics(timeout=10).topics


# --- commands ------------------------------------------------------------------------------------


def test_every_command_is_documented() -> None:
    """With the rights that it needs, or as one that asks no cluster."""

    def names(group: click.Group, before: str = "") -> Iterator[str]:
        for name, command in group.commands.items():
            if isinstance(command, click.Group):
                yield from names(command, f"{before}{name} ")
            else:
                yield before + name

    told = {re.sub(r"^(tail) .*| --\S+$", r"\1", each) for each in PEOPLE}
    assert told == set(names(main)) - OFFLINE - SERVICES


def arguments_of(stage: Stage, command: str, number: int) -> tuple[list[str], str | None]:
    """The words of a documented command, and its standard input; `number` is never the same."""
    one = stage.directory / "one.yaml"
    documents = str(stage.documents)
    match command.split():
        case ["contracts", "apply"]:
            other = stage.documents.read_text().split("---")[0].replace("bug-to", f"n{number}-to")
            one.write_text(other.replace("support-ticket", f"flow{number}"))
            return ["contracts", "apply", str(one)], None
        case ["receivers", "apply"]:
            one.write_text(
                stage.documents.read_text().split("---")[1].replace("Nair", f"N{number}")
            )
            return ["receivers", "apply", str(one)], None
        case ["sources", "apply"]:
            one.write_text(stage.source.read_text().replace("Silva", f"S{number}"))
            return ["sources", "apply", str(one)], None
        case ["sources", "replay"]:
            return ["sources", "replay", "tracker", "--from", "2026-01-01T00:00:00Z"], None
        case ["sources", "remove"]:
            # Of the user's rights one may be missing: another one makes what is to be removed.
            source = documents_of(stage, f"gone-{number}")
            register_sources(stage.cluster, source, quiet=True)
            return ["sources", "remove", f"gone-{number}"], None
        case ["alerts", "silence"]:
            until = ["--until", "2099-01-01T00:00:00Z", "--by", "x", "--reason", "a test"]
            return ["alerts", "silence", f"workflow=w{number}", *until], None
        case ["alerts", "ack" | "resolve"]:
            fires = Alert(
                key=f"a-{number}",
                kind="causes",
                state="firing",
                group={},
                routes=(),
                severity="error",
                first="x",
                started_at=utc(0),
                due_at=utc(0),
                causes=1,
                loud=1,
                content=1,
                reason="opened",
                sinks={},
            )
            written = [(entry_key(fires), msgspec.json.encode(fires))]
            write_all(stage.cluster, ALERTS, written)
            return [*command.split(), fires.key, "--by", "x"], None
        case ["contracts", "show"]:
            return ["contracts", "show", "bug-to-engineering"], None
        case ["contracts", "diff"]:
            return ["contracts", "diff", "bug-to-engineering@1", "bug-to-engineering"], None
        case ["contracts", "test", option]:
            return ["contracts", "test", documents, option], None
        case ["edges", "--since"]:
            return ["edges", "--since", "7d"], None
        case ["dry-run", option]:
            return ["dry-run", "--contracts", documents, option], None
        case ["send"]:
            ack = {
                "id": f"a{number}",
                "workflow": "w",
                "task_id": "t",
                "handoff_id": "h-1",
                "status": "accepted",
                "by": "x",
                "occurred_at": "2026-01-01T00:00:00Z",
            }
            amendment = {**ack, "action": "discard", "fields": {}}
            del amendment["status"]
            lines = [stage.output(f"S-{number}")] + [
                json.dumps({"topic": f"handoff.{topic}", "value": value})
                for topic, value in (("acks", ack), ("amendments", amendment))
            ]
            return ["send", "-"], "\n".join(lines)
        case ["tail", what]:
            return ["tail", what, "--from-beginning", "--limit", "1", "--timeout", "0.5"], None
        case ["doctor"]:
            return ["doctor", "--output", "json"], None
        case ["show"]:
            return ["show", stage.sent()["task_id"]], None
        case ["held", "show"]:
            return ["held", "show", stage.held()[0]], None
        case ["ack"]:
            return ["ack", stage.sent()["id"], "--status", "accepted", "--wait", "3"], None
        case ["amend"]:
            return ["amend", stage.held()[0], "--text", "product=sync"], None
        case ["release" | "discard"]:
            return [command, stage.held()[-1], "--reason", "a test"], None
        case ["dead-letters", "show"]:
            letters = stage("dead-letters", "list", "--output", "json").stdout.splitlines()
            return [
                "dead-letters",
                "show",
                json.loads(letters[0])["id"] if letters else "0/0",
            ], None
        case _:
            return command.split(), None


def documents_of(stage: Stage, source: str) -> Documents:
    """A source of another id."""
    path = stage.directory / "gone.yaml"
    path.write_text(stage.source.read_text().replace("id: tracker", f"id: {source}"))
    return load_documents([str(path)])


def exit_code(command: str, missing: Right) -> int:
    """The doctor has found a problem, and a queue that is only looked for stops nobody."""
    if command in ("receivers apply", "sources apply") and missing.operation == "DESCRIBE":
        return 0
    return 1 if command == "doctor" else 4


def few(rights: list[Right]) -> list[Right]:
    """All of them; but of an operation on all topics, that on the packages alone."""
    often = {
        operation
        for operation, count in Counter(right.operation for right in rights).items()
        if count > len(NAMES)
    }
    return [
        right
        for right in rights
        if right.operation not in often or right.kind != "topic" or right.name.endswith(".packages")
    ]


@pytest.mark.parametrize("command", [each for each in PEOPLE if each != "topics apply"])
def test_a_command_does_with_its_rights_and_names_each_missing_one(
    stage: Stage, command: str
) -> None:
    rights = stage.allow(command)
    words, lines = arguments_of(stage, command, 0)
    result = stage(*words, lines=lines)
    assert result.exit_code == 0, result.output
    assert "right" not in result.output
    for number, right in enumerate(few(rights), 1):
        if right.kind == "group" and command in ("amend", "release", "discard"):
            continue  # only `ack` can be said of what was so already
        if command in ANEW:
            words, lines = arguments_of(stage, command, number)
        with stage.without(stage.user, right):
            result = stage(*words, lines=lines)
        assert f"{right} is missing" in result.output, words
        assert result.exit_code == exit_code(command, right), result.output


def test_where_the_cluster_does_not_tell_what_is_allowed_its_refusal_is_named(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As of brokers whose authorizer is of another kind."""

    def untold(admin: AdminClient, names: Iterable[str], seconds: float) -> Look:
        found = look(admin, names, seconds)
        seen = {name: Seen(topic.leaders, None) for name, topic in found.topics.items()}
        return Look(seen, found.hidden)

    monkeypatch.setattr("console.kafka.look", untold)
    held, acks = (stage.names.topic(name) for name in ("held", "acks"))
    stage.broker.revoke(stage.user)
    stage.broker.grant(
        stage.user, *(Right("DESCRIBE", "topic", name) for name in stage.names.all_topics())
    )
    result = stage("held", "list")
    assert f"the right READ on the topic {held} is missing" in result.output
    assert result.exit_code == 4
    # An idempotent producer that may write nowhere is refused as a whole, and breaks.
    lines = "\n".join(stage.output(f"U-{n}") for n in range(50))
    result = stage("send", "-", lines=lines)
    assert "the right IDEMPOTENT_WRITE on the cluster is missing" in result.output
    assert "the cluster did not take 50 records" in result.output
    assert result.exit_code == 4
    stage.broker.grant(stage.user, Right("WRITE", "topic", acks))
    result = stage("send", "-", lines=lines)
    named = f"the right WRITE on the topic {stage.names.topic('tool-outputs')} is missing"
    assert f": not taken by the cluster: {named}" in result.output
    assert result.exit_code == 4
    assert capfd.readouterr().err == "", "librdkafka keeps quiet"


def test_topics_are_planned_and_applied_with_the_rights_and_no_less(
    secured: SecuredKafka, stage: Stage, prefix: str
) -> None:
    """Two topics are there, and differ from what is wanted."""
    names = Names(prefix, prefix.rstrip("."), f"{prefix}queue", "")
    made = [
        NewTopic(prefix + "packages", 2),
        NewTopic(prefix + "contracts", 1, config={"cleanup.policy": "delete"}),
        NewTopic(prefix + "receivers", 1),
    ]
    for future in secured.admin.create_topics(made).values():
        future.result(20)
    secured.revoke(stage.user)
    stage.grant(stage.user, set(documented("topics apply", names)))
    own = {"HANDOFF_TOPIC_PREFIX": prefix}

    for operation, topic, expected in (
        ("READ", "receivers", "the right {} is missing"),
        ("CREATE", "acks", "{0.name} cannot be created: the right {0} is missing"),
        ("ALTER", "packages", "{0.name} cannot be given more partitions: the right {0} is missing"),
        ("ALTER_CONFIGS", "contracts", "The settings of {0.name} cannot be changed: "),
    ):
        right = Right(operation, "topic", prefix + topic)
        with stage.without(stage.user, right):
            result = stage("topics", "apply", **own)
        # ALTER brings DESCRIBE, and ALTER_CONFIGS brings DESCRIBE_CONFIGS.
        hidden = {"ALTER": "DESCRIBE", "ALTER_CONFIGS": "DESCRIBE_CONFIGS"}.get(operation)
        if hidden is not None:
            told = str(Right(hidden, "topic", right.name))
            assert f"the right {told} is missing" in result.output
            with stage.without(stage.user, right):
                secured.grant(stage.user, Right(hidden, "topic", right.name))
                result = stage("topics", "apply", **own)
        assert expected.format(right) in result.output
        assert str(right) in result.output
        assert result.exit_code == 4
    result = stage("topics", "apply", **own)
    assert result.exit_code == 0, result.output
    assert stage("topics", "apply", **own).output == "nothing to change\n"


def test_a_plan_does_not_offer_to_create_what_it_may_not_see(stage: Stage, prefix: str) -> None:
    """Neither with no right at all, nor where one topic of many is hidden."""
    stage.broker.revoke(stage.user)
    result = stage("topics", "plan")
    assert result.exit_code == 4
    assert "create" not in result.output
    assert "DESCRIBE on the topics" in result.output
    assert re.search(r" and \d\d more; grant them", result.output)
    rights = stage.allow("topics plan")
    hidden = Right("DESCRIBE", "topic", stage.names.queue)
    assert hidden in rights
    with stage.without(stage.user, hidden):
        result = stage("topics", "plan")
    assert result.stdout == (
        f"what exists cannot be seen: the right {hidden} is missing; "
        "grant it to the user of these settings\n0 changes, and 1 that cannot be done\n"
    )
    # What does not exist may not be seen either.
    result = stage("topics", "plan", HANDOFF_TOPIC_PREFIX=prefix)
    assert "create" not in result.output
    assert "DESCRIBE on the topics" in result.output


# --- processors, tools, receivers ----------------------------------------------------------------


@pytest.mark.parametrize("who", PROCESSORS)
def test_a_processor_names_each_right_on_a_topic_that_is_missing_before_it_runs(
    stage: Stage, who: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "_LOOK_SECONDS", 0)
    rights = [right for right in stage.allow(who) if right.kind == "topic"]
    by = stage.broker.by_password(stage.user, PASSWORD)
    settings = Settings(
        kafka_bootstrap_servers=by.pop("bootstrap.servers"), kafka=by, topic_prefix=stage.prefix
    )
    admin = clients.admin(settings)

    def check() -> None:
        processor = PROCESSORS[who]
        if isinstance(processor, Relay):
            check_relay_topics(admin, settings, processor)
        else:
            assert check_topics(admin, settings, processor) > 0

    check()
    later = {
        Right("WRITE", "topic", stage.names.queue),  # a queue comes and goes with its receiver
        Right("WRITE", "topic", stage.names.topic("receiver-liveness")),  # only the probe's
        Right("READ", "topic", stage.names.source),  # others' topics come and go
    }
    for right in rights:
        if right in later:
            continue
        with stage.without(stage.user, right), pytest.raises(Fatal) as info:
            check()
        assert f"the right {right} is missing" in str(info.value)


@pytest.fixture
def beating(stage: Stage) -> Iterator[tuple[Path, Receiving]]:
    """Routes that ask for all that a route can ask for, and who watches the heartbeat."""

    async def well(_: Request) -> web.Response:
        return web.Response(status=204)

    routes = stage.directory / "routes.yaml"
    with Receiving(well) as outside:
        routes.write_text(
            "kind: AlertRoutes\n"
            "sinks: {hook: {webhook: {url: 'http://127.0.0.1:9/', secret: {env: HOOK}}}}\n"
            "routes: [{name: all, sink: hook, held: true, held_too_long: true}]\n"
            f"heartbeat: {{url: '{outside.url}', every: PT1S}}\n"
        )
        yield routes, outside


@pytest.fixture
def alerts(
    stage: Stage, beating: tuple[Path, Receiving], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], AlertService]]:
    """`alerts run` without its pages, as a user whose rights a test chooses."""
    monkeypatch.setenv("HOOK", HOOK)
    by = stage.broker.by_password(stage.user, PASSWORD)
    settings = Settings(
        kafka_bootstrap_servers=by.pop("bootstrap.servers"),
        kafka={**by, "session.timeout.ms": "6000"},
        topic_prefix=stage.prefix,
        application_id=stage.names.application,
    )
    made: list[AlertService] = []

    def start() -> AlertService:
        made.append(service_of(settings, routes_of(beating[0])))
        made[-1].start()
        return made[-1]

    yield start
    for each in made:
        assert each.stop(30)


def test_alerts_name_each_right_on_a_topic_that_is_missing_before_they_run(
    stage: Stage, beating: tuple[Path, Receiving], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("console.commands.alerts.log_lines", lambda: None)
    for right in stage.allow("alerts run"):
        if right.kind == "topic" and right.operation != "DESCRIBE":
            with stage.without(stage.user, right):
                more = {"HANDOFF_ALERT_ROUTES": str(beating[0]), "HOOK": HOOK}
                result = stage("alerts", "run", **more)
            assert f"{right} is missing" in result.output
            assert result.exit_code == 4


def test_alerts_tell_with_their_rights_and_name_each_missing_one(
    stage: Stage, beating: tuple[Path, Receiving], alerts: Callable[[], AlertService]
) -> None:
    rights = stage.allow("alerts run")
    service = alerts()
    wait_for(lambda: beating[1].requests, 60, "all is well, and somebody outside is told")
    assert service.status.phase == "active"
    assert sum(service.status.causes.values()) > 0, "what is held is known"
    assert service.stop(30)
    for right in rights:
        if right.kind == "topic" and right.operation != "DESCRIBE":
            continue
        with stage.without(stage.user, right):
            service = alerts()
            wait_for(partial(_names, service, right), 60, f"{right} is named")
            assert service.stop(30)


def _names(service: AlertService, right: Right) -> bool:
    beat = service.status.heartbeat
    told = (service.status.problem, None if beat is None else beat.withheld)
    return any(each is not None and f"{right} is missing" in each for each in told)


def test_a_processor_without_any_right_ends_with_one_sentence(stage: Stage) -> None:
    stage.broker.revoke(stage.user)
    by = environment(stage.broker.by_password(stage.user, PASSWORD))
    own = {"HANDOFF_TOPIC_PREFIX": stage.prefix, "HANDOFF_WEB_PORT": "0", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "console", "run"],
        env={**os.environ, **by, **own},
        cwd=stage.directory,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("handoff: integrity cannot run: rights are missing: READ on the ")
    assert done.stderr.count("\n") == 1


def test_a_running_processor_names_what_its_probe_may_not_do(stage: Stage) -> None:
    """And says when it may again. The processor goes on all the time."""
    group = Right("DESCRIBE", "group", stage.names.group)
    topic = Right("WRITE", "topic", stage.names.topic("receiver-liveness"))
    for right, what, afterwards in (
        (
            group,
            f"the consumer group {group.name} of the receiver engineering cannot be described",
            f"the receiver engineering has no member in its consumer group {group.name}",
        ),
        (topic, f"{topic.name} does not take records", f"no longer: {topic.name} does not take "),
    ):
        since = len(stage.log)
        with stage.without(stage.processor, right):
            stage.logs(f"the right {right} is missing", since)
            stage.logs(what, since)
            still = len(stage.log)
        stage.logs(afterwards, since=still)


def contains(stage: Stage, line: str) -> bool:
    return line in stage.log


def test_a_queue_that_may_not_be_seen_is_named(stage: Stage) -> None:
    with stage.without(stage.processor, Right("WRITE", "topic", stage.names.queue)):
        for name in ("integrity", "insights"):
            told = f"{name} takes queues for missing that it may not see: the right WRITE on the "
            told += f"topic {stage.names.queue} is missing"
            wait_for(partial(contains, stage, told), 20, told)


@pytest.mark.parametrize("kind", ["group", "topic"])
def test_a_right_that_is_taken_from_a_running_processor_is_named(stage: Stage, kind: str) -> None:
    """It stops, and goes on by itself when it has the right again."""
    right = {
        "group": Right("READ", "group", f"{stage.names.application}-insights"),
        "topic": Right("READ", "topic", stage.names.topic("internal.feed")),
    }[kind]
    with stage.without(stage.processor, right):
        stage.logs(f"the right {right} is missing")
        assert stage.ready() == {"integrity": True, "insights": False, "intake": True}
    # A refused commit is tried again by the same lane; a refused poll needs a new lane.
    all_three = {"integrity": True, "insights": True, "intake": True}
    wait_for(lambda: stage.ready() == all_three, 30, "all are ready")


def test_a_foreign_topic_that_may_not_be_read_is_named_and_read_once_it_may(stage: Stage) -> None:
    right = Right("READ", "topic", stage.names.source)
    before = len(stage.log)
    with stage.without(stage.processor, right):
        stage.logs(f"intake does not read {right.name}", since=before)
        assert f"the right {right} is missing" in stage.log
        still = len(stage.log)
    stage.logs(f"intake reads {right.name} now", since=still)


def test_a_receiver_reads_and_answers_with_its_rights(stage: Stage) -> None:
    user = stage.names.application + "-receiver"
    stage.broker.add_user(user, PASSWORD)
    stage.grant(user, set(documented("a receiver", stage.names)))
    by = stage.broker.by_password(user, PASSWORD)
    reader = {"group.id": stage.names.group, "isolation.level": "read_committed"}
    consumer = Consumer({**by, **reader, "auto.offset.reset": "earliest"})
    consumer.subscribe([stage.names.queue])
    before = {each["id"] for each in stage.published("handoff.packages").values()}
    stage.play("engineering")
    package: dict[str, Any] = {}

    def arrives() -> bool:
        message = consumer.poll(1)
        if message is None:
            return False
        assert message.error() is None
        package.update(json.loads(message.value() or b""))
        consumer.commit(message=message, asynchronous=False)
        return package["id"] not in before

    wait_for(arrives, 30, stage.log)
    consumer.close()
    ack = {
        "id": f"ack-{package['id']}",
        "workflow": package["workflow"],
        "task_id": package["task_id"],
        "handoff_id": package["id"],
        "status": "completed",
        "by": "Priya Nair",
        "occurred_at": datetime.now(UTC).isoformat(),
    }
    producer = Producer({**by, "partitioner": "murmur2_random"})
    producer.produce(stage.names.topic("acks"), json.dumps(ack), package["task_id"])
    assert producer.flush(20) == 0

    def completed() -> bool:
        signal = stage.published("handoff.signals").get(package["task_id"], {})
        return bool(signal["kind"] == "completed")

    wait_for(completed, 30, stage.log)


def test_no_secret_is_in_log_metrics_or_command_line(stage: Stage) -> None:
    """The processor logs at DEBUG, and its clients tell their configuration."""
    log = stage.log
    assert "Client configuration" in log
    assert PASSWORD not in log
    metrics = stage.page("/metrics")
    assert "handoff_ready" in metrics
    assert PASSWORD not in metrics
    assert PASSWORD not in Path(f"/proc/{stage.instances.pid(GUEST)}/cmdline").read_text()
