"""The process of alerts on brokers: active and standby, kills, sinks that fail and hang."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import NewTopic

from alerts.active import AlertSetup
from alerts.delivery import Sink
from alerts.notification import Answer, Delivered, Notification, Refused
from alerts.pacing import Limits
from alerts.service import AlertService
from console.kafka import connect, read_table
from processors.runtime.clients import MAX_MESSAGE_BYTES
from processors.runtime.settings import Settings
from schemas.alerts import ALERTS, AlertAction, AlertSilence
from schemas.routes import AlertRoutes
from tests.alerts_core import pattern
from tests.lanes import wait_for
from topics.admin import Admin
from topics.catalogue import catalogue

_encode = msgspec.json.Encoder().encode
QUICK = Limits(first=0.02, longest=0.2, hang=1.0)


class Recorder:
    """A sink in memory. `answers` says what it does with a message."""

    def __init__(self, name: str, answers: Callable[[Notification], Answer | None]) -> None:
        self.name = name
        self.taken: list[Notification] = []
        self._answers = answers

    async def send(self, notification: Notification) -> Answer:
        answer = self._answers(notification)
        if answer is None:
            await asyncio.sleep(60)
            raise AssertionError("it hung longer than it may")
        if isinstance(answer, Delivered):
            self.taken.append(notification)
        return answer

    async def close(self) -> None:
        """Nothing is open."""

    def actions(self) -> list[str]:
        return [note.action for note in self.taken]


def well(_: Notification) -> Answer:
    return Delivered("ts")


class AlertBench:
    """The topics on a broker, and what is written to them."""

    def __init__(self, servers: str, prefix: str, *, topics: bool = True) -> None:
        self.settings = Settings(
            kafka_bootstrap_servers=servers,
            topic_prefix=prefix,
            application_id=prefix.rstrip("."),
            kafka={"session.timeout.ms": "6000"},
        )
        self.prefix = prefix
        if topics:
            self._make_topics()
        self.producer = Producer(
            {
                "bootstrap.servers": servers,
                "enable.idempotence": True,
                "message.max.bytes": MAX_MESSAGE_BYTES,
            }
        )
        self._services: list[AlertService] = []

    def _make_topics(self) -> None:
        topics = [t for t in catalogue(self.prefix, 1) if not t.queue]
        admin = Admin({"bootstrap.servers": self.settings.kafka_bootstrap_servers})
        made = admin.create_topics(
            [NewTopic(t.physical, t.partitions, 1, config=t.config) for t in topics]
        )
        for future in made.values():
            future.result(20)

    def put(self, topic: str, key: str, value: Any) -> None:
        body = None if value is None else _encode(value)
        self.producer.produce(self.prefix + topic, body, key.encode())
        self.producer.poll(0)

    def told(self, fingerprint: str, **given: Any) -> None:
        now = datetime.now(UTC)
        given.setdefault("first_seen", now.replace(minute=0, second=0, microsecond=0))
        self.put("patterns", fingerprint, pattern(fingerprint, now, **given))

    def start(self, *sinks: Sink, pacing: Limits = QUICK) -> AlertService:
        routes = AlertRoutes.model_validate(
            {
                "kind": "AlertRoutes",
                "sinks": {
                    sink.name: {"slack": {"token": {"env": "T"}, "channel": "c"}} for sink in sinks
                },
                "routes": [
                    {
                        "name": sink.name,
                        "sink": sink.name,
                        "continue": True,
                        "held": True,
                        "group_by": ["owner", "contract", "kind"],
                    }
                    for sink in sinks
                ],
            }
        )
        # Half a minute of waiting for others is passed over: the clock says it is later each time.
        service = AlertService(
            AlertSetup(
                settings=self.settings,
                routes=routes,
                make_sinks=lambda: sinks,
                pacing=pacing,
                clock=hurried(),
            )
        )
        service.start()
        self._services.append(service)
        return service

    def close(self) -> None:
        for service in self._services:
            assert service.stop(30)
        self.producer.close()


def hurried() -> Callable[[], datetime]:
    """A clock that runs twenty times as fast as the wall's."""
    began = datetime.now(UTC)
    return lambda: began + 20 * (datetime.now(UTC) - began)


@pytest.fixture
def stage(embedded: str, prefix: str) -> Iterator[AlertBench]:
    made = AlertBench(embedded, prefix)
    yield made
    made.close()


def test_an_alert_is_raised_updated_acknowledged_and_resolved(stage: AlertBench) -> None:
    sink = Recorder("chat", well)
    service = stage.start(sink)
    wait_for(lambda: service.status.phase == "active", 30, "it is active")
    stage.told("contract/a/rejected", count=3)
    stage.producer.flush(10)
    wait_for(lambda: sink.actions() == ["trigger"], 20, "it is raised")
    note = sink.taken[0]
    assert note.title == "Handoffs to a receiver are rejected (contract a, workflow lead)"
    said = AlertAction("1", note.key, "ack", "Ana", datetime.now(UTC))
    stage.put("alert-actions", note.key, said)
    stage.producer.flush(10)
    wait_for(lambda: sink.actions() == ["trigger", "acknowledge"], 20, "a person looks after it")
    stage.told("contract/a/rejected", status="closed")
    stage.producer.flush(10)
    wait_for(lambda: sink.actions()[-1] == "resolve", 20, "it is over")
    assert [n.number for n in sink.taken] == [1, 2, 3]
    assert sink.taken[-1].reference == "ts"
    cluster = connect(stage.settings)
    assert service.status.unreadable == 0
    wait_for(
        lambda: not [k for k in read_table(cluster, ALERTS) if not k.startswith("sink/")],
        20,
        "what is over is forgotten",
    )


def test_silences_and_what_is_not_understood(stage: AlertBench) -> None:
    now = datetime.now(UTC)
    silence = AlertSilence("s", {"contract": ["a"]}, now, now + timedelta(days=1), "Ana", "")
    stage.put("silences", "s", silence)
    stage.producer.produce(stage.prefix + "patterns", b"{}", b"x")
    stage.producer.produce(stage.prefix + "alert-actions", b"not JSON", b"y")
    stage.told("contract/a/rejected")
    stage.told("contract/b/rejected")
    stage.producer.flush(10)
    sink = Recorder("chat", well)
    service = stage.start(sink)
    wait_for(lambda: sink.actions() == ["trigger"], 30, "what no silence covers is told")
    assert "contract b" in sink.taken[0].title
    assert service.status.causes["silenced"] == 1
    stage.put("silences", "s", None)
    stage.producer.flush(10)
    wait_for(lambda: len(sink.taken) == 2, 20, "what the silence covered is told at its end")
    assert service.stop(30)
    letters = read_table(connect(stage.settings), "handoff.dead-letters")
    assert letters == {"x": b"{}", "y": b"not JSON"}


def test_an_entry_that_cannot_be_read_is_left_out_and_shown(stage: AlertBench) -> None:
    """With what stands beside, and as long as the instance is active."""
    stage.put("alerts", "cause/x", {"of": "cause", "id": 7})
    stage.put("silences", "s", {"id": "s"})
    now = datetime.now(UTC)
    long = AlertSilence("l", {}, now, now + timedelta(days=1), "x" * 513, "")  # of everything
    stage.put("silences", "l", long)
    stage.producer.flush(10)
    sink = Recorder("chat", well)
    service = stage.start(sink)
    stage.told("contract/a/rejected")
    stage.producer.flush(10)
    wait_for(lambda: sink.taken, 30, "it goes on, and has settled")
    assert service.status.unreadable == 3


def test_no_odd_record_keeps_alerts_from_being_told(stage: AlertBench) -> None:
    """Neither now, nor for whoever starts after it."""
    deep = b'{"x":' + b"[" * 200_000
    contract = _encode({"id": "a", "version": 1, "status": "active"})
    produce = stage.producer.produce
    for topic in ("patterns", "alert-actions", "alerts", "silences", "contracts"):
        produce(stage.prefix + topic, deep, f"deep-{topic}")
    for number, moment in enumerate((2**62, -(2**62), 10**15)):
        produce(stage.prefix + "contracts", contract, f"a@{number}", timestamp=moment)
    now = datetime.now(UTC)
    stage.put("patterns", "another", pattern("contract/b/rejected", now))
    # An entry of it would be too long for Kafka.
    stage.put("patterns", "wide", pattern(f"x/{'w' * 1_450_000}/rejected", now))
    stage.told("contract/a/rejected", count=10**30)
    stage.producer.flush(10)
    sink = Recorder("chat", well)
    service = stage.start(sink)
    wait_for(lambda: sink.actions() == ["trigger"], 30, "it is raised")
    assert (service.status.restarts, service.status.problem) == (0, None)
    assert service.status.unreadable == 3  # of alerts, silences and contracts
    assert service.stop(30)
    letters = read_table(connect(stage.settings), "handoff.dead-letters")
    assert set(letters) == {"deep-patterns", "deep-alert-actions", "another", "wide"}


def test_what_was_under_way_is_sent_again_with_its_key_and_number(stage: AlertBench) -> None:
    asked: list[Notification] = []

    def hang(note: Notification) -> None:
        asked.append(note)

    first = stage.start(Recorder("chat", hang))
    stage.told("contract/a/rejected")
    stage.producer.flush(10)
    wait_for(lambda: asked, 30, "the sink is asked")
    assert first.stop(30)
    sink = Recorder("chat", well)
    stage.start(sink)
    wait_for(lambda: sink.taken, 30, "it is sent again")
    assert (sink.taken[0].key, sink.taken[0].number) == (asked[0].key, asked[0].number)


def test_one_is_active_and_another_takes_over(stage: AlertBench) -> None:
    sinks = [Recorder("chat", well), Recorder("chat", well)]
    services = [stage.start(sinks[0])]
    wait_for(lambda: services[0].status.phase == "active", 30, "the first is active")
    services.append(stage.start(sinks[1]))
    wait_for(
        lambda: sorted(s.status.phase for s in services) == ["active", "standby"], 40, "one of two"
    )
    stage.told("contract/a/rejected")
    stage.producer.flush(10)
    wait_for(lambda: sinks[0].taken or sinks[1].taken, 20, "it is raised")
    active = next(i for i, s in enumerate(services) if s.status.phase == "active")
    assert services[active].stop(30)
    other = 1 - active
    wait_for(lambda: services[other].status.phase == "active", 30, "the other one takes over")
    stage.told("contract/a/rejected", status="closed")
    stage.producer.flush(10)
    wait_for(lambda: sinks[other].actions()[-1:] == ["resolve"], 20, "and knows what fires")


def test_a_sink_that_is_gone_is_said_and_told_the_end_when_it_is_back(
    stage: AlertBench, caplog: pytest.LogCaptureFixture
) -> None:
    """A process starts with routes that lead elsewhere, and later with both sinks."""
    old, new = Recorder("chat", well), Recorder("log", well)
    service = stage.start(old)
    stage.told("contract/a/rejected")
    stage.producer.flush(10)
    wait_for(lambda: old.actions() == ["trigger"], 30, "it is raised")
    assert service.stop(30)
    service = stage.start(new)
    wait_for(lambda: new.actions() == ["trigger"], 30, "the new sink is told what fires")
    assert new.taken[0].key == old.taken[0].key
    assert new.taken[0].number > old.taken[0].number
    said = "the sink chat is not in the routes any more, and 1 alerts may stay open there"
    assert caplog.text.count(said) == 1
    wait_for(lambda: service.status.left_open == {"chat": 1}, 10, "it is measured")
    stage.told("contract/a/rejected", status="closed")
    stage.producer.flush(10)
    wait_for(lambda: new.actions() == ["trigger", "resolve"], 30, "it is over")
    assert service.stop(30)
    assert service.status.left_open == {"chat": 1}, "its incident is open"
    service = stage.start(old, new)
    wait_for(lambda: old.actions() == ["trigger", "resolve"], 30, "it is told the end")
    wait_for(lambda: not service.status.left_open, 10, "nothing is left open")
    assert new.actions() == ["trigger", "resolve"]


def test_a_standby_with_other_routes_takes_over_and_back(stage: AlertBench) -> None:
    """As in a deployment that rolls: whoever is active goes by its own routes."""
    told = {"chat": Recorder("chat", well), "log": Recorder("log", well)}
    stage.told("contract/a/rejected")
    stage.producer.flush(10)
    before: AlertService | None = None
    for turn, name in enumerate(("chat", "log", "chat", "log")):
        service = stage.start(told[name])
        if before is not None:
            wait_for(lambda: service.status.phase in ("standby", "active"), 30, "it is there")  # noqa: B023
            assert before.stop(30)
        wait_for(lambda: len(told[name].taken) >= 1, 30, f"turn {turn}: {name} holds it")  # noqa: B023
        wait_for(lambda: service.status.alerts["firing"] == 1, 30, "it fires")  # noqa: B023
        before = service
    assert [told["chat"].actions(), told["log"].actions()] == [["trigger"], ["trigger"]]
    assert before is not None
    assert before.stop(30)
    stage.start(*told.values())
    stage.told("contract/a/rejected", status="closed")
    stage.producer.flush(10)
    for sink in told.values():
        wait_for(lambda: sink.actions() == ["trigger", "resolve"], 30, "both are told the end")  # noqa: B023


def test_a_refusal_is_a_dead_letter_and_no_end_is_told(stage: AlertBench) -> None:
    sink = Recorder("chat", lambda _: Refused("it is too long"))
    other = Recorder("log", well)
    service = stage.start(sink, other)
    stage.told("contract/a/rejected")
    stage.producer.flush(10)

    def is_refused() -> bool:
        figures = service.status.figures().get("chat")  # none until it tells alerts
        return figures is not None and figures.outcomes.get("refused") == 1

    wait_for(is_refused, 30, "it is refused")
    stage.told("contract/a/rejected", status="closed")
    stage.producer.flush(10)
    wait_for(lambda: other.actions() == ["trigger", "resolve"], 30, "the other sink is told both")
    assert service.stop(30)
    letters = read_table(connect(stage.settings), "handoff.dead-letters")
    assert list(letters) == [other.taken[0].key]


# --- kills ----------------------------------------------------------------------------------------


class Hook(ThreadingHTTPServer):
    """A webhook that fails every third time, says 429 now and then, hangs for a while, and notes
    what it has taken."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _HookPage)
        self.taken: list[tuple[str, int, str]] = []  # key, number, action
        self.asked = 0
        self.until = 0.0
        self.lock = threading.Lock()


class _HookPage(BaseHTTPRequestHandler):
    server: Hook
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        data = body.get("data", body)
        hook = self.server
        with hook.lock:
            hook.asked += 1
            asked = hook.asked
        if asked % 97 == 0:
            time.sleep(0.3)
        if asked % 50 == 0:
            self._say(429, {"Retry-After": "0"})
        elif asked % 3 == 0:
            self._say(503, {})
        else:
            with hook.lock:
                hook.taken.append((data["key"], data["number"], data["action"]))
            self._say(200, {})

    def _say(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name, text)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def hook_running() -> Iterator[Hook]:
    hook = Hook()
    thread = threading.Thread(target=hook.serve_forever, daemon=True)
    thread.start()
    yield hook
    hook.shutdown()
    hook.server_close()
    thread.join(10)


@pytest.mark.slow
def test_kills_of_active_and_standby_lose_no_firing_and_no_resolve(
    apache: str, prefix: str, tmp_path: Path
) -> None:
    """Ten thousand patterns of 40 owners; the storm rule makes summaries of them. Two instances are
    killed at random all the while."""
    stage, chance = AlertBench(apache, prefix), random.Random(7)
    with hook_running() as hook:
        routes = {
            "kind": "AlertRoutes",
            "sinks": {
                "hook": {
                    "webhook": {
                        "url": f"http://127.0.0.1:{hook.server_port}/",
                        "secret": {"env": "HOOK_SECRET"},
                    }
                }
            },
            "routes": [{"name": "all", "sink": "hook"}],
        }
        file = tmp_path / "routes.yaml"
        file.write_text(json.dumps(routes))
        environment = os.environ | {
            "HANDOFF_KAFKA_BOOTSTRAP_SERVERS": apache,
            "HANDOFF_TOPIC_PREFIX": prefix,
            "HANDOFF_APPLICATION_ID": stage.settings.application_id,
            "HANDOFF_WEB_PORT": "0",
            "HANDOFF_ALERT_ROUTES": str(file),
            "HANDOFF_KAFKA__SESSION_TIMEOUT_MS": "6000",
            "HOOK_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        }
        command = [sys.executable, "-m", "console", "alerts", "run"]
        logs = [(tmp_path / f"{n}.log").open("ab") for n in range(2)]

        def begun(number: int) -> subprocess.Popen[bytes]:
            return subprocess.Popen(command, env=environment, stderr=logs[number])

        instances = [begun(0), begun(1)]
        names = [f"contract/c{n}/rejected" for n in range(10_000)]
        try:
            for step in range(4):
                for number, name in enumerate(names[step::4]):
                    stage.told(name, owner=f"Owner {number % 40}")
                stage.producer.flush(30)
                victim = chance.randrange(2)
                enough = 2_500 * step + chance.randrange(2_500)
                wait_for(partial(_read, stage, enough), 60, "some are read")
                instances[victim].send_signal(signal.SIGKILL)
                instances[victim].wait(10)
                instances[victim] = begun(victim)
            wait_for(lambda: _causes(stage) == (10_000, 0), 120, "each cause is told")
            for name in names:
                stage.put("patterns", name, None)
            stage.producer.flush(30)
            instances[0].send_signal(signal.SIGKILL)
            instances[0].wait(10)
            instances[0] = begun(0)
            wait_for(lambda: _causes(stage) == (0, 0), 120, "all is over, and forgotten")
        finally:
            for each in instances:
                each.kill()
                each.wait(10)
            for log in logs:
                log.close()
        told: dict[str, list[str]] = defaultdict(list)
        for key, _, action in dict.fromkeys(hook.taken):  # a repeat has its key and number
            told[key].append(action)
        assert told
        for key, actions in told.items():
            assert actions[0] == "trigger", (key, actions)
            assert actions[-1] == "resolve", (key, actions)
            assert actions.count("resolve") == 1, (key, actions)


def _read(stage: AlertBench, least: int) -> bool:
    return _causes(stage)[0] > least


def _causes(stage: AlertBench) -> tuple[int, int]:
    """How many causes are written down, and how many of them, or alerts, are not settled."""
    found = read_table(connect(stage.settings), ALERTS)
    causes = [json.loads(v) for k, v in found.items() if k.startswith("cause/")]
    alerts = [json.loads(v) for k, v in found.items() if k.startswith("alert/")]
    open_ = sum(any(s["pending"] or not s["number"] for s in a["sinks"].values()) for a in alerts)
    untold = sum(cause["alert"] is None for cause in causes)
    return len(causes), untold + open_ + (len(alerts) if not causes else 0)
