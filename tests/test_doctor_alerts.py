"""What `handoff doctor` says of alerts."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from alerts.active import AlertSetup
from alerts.service import AlertService
from console.kafka import connect, write_all
from processors.runtime.settings import load_settings
from schemas import serde
from schemas.alerts import Alert, AlertSilence, Pending, SinkTold, entry_key
from schemas.flow import Record, Refused
from schemas.routes import AlertRoutes
from tests.alerts_core import ONE_WEBHOOK, pattern
from tests.commands import HandoffCommand
from tests.lanes import wait_for
from tests.test_alerts_service import Recorder, well

NOW = datetime.now(UTC)


def told(handoff: HandoffCommand, check: str = "alerts") -> list[tuple[str, str]]:
    found = json.loads(handoff("doctor", "--output", "json").stdout)
    return [(each["state"], each["what"]) for each in found if each["check"] == check]


def put(topic: str, key: str, value: Any) -> None:
    write_all(connect(), topic, [(key, msgspec.json.encode(value))])


@pytest.fixture
def broken(handoff: HandoffCommand) -> HandoffCommand:
    """One pattern that is told, and three that are not."""
    put("handoff.patterns", "contract/a/rejected", pattern("contract/a/rejected", NOW))
    put("handoff.patterns", "b", pattern("contract/b/rejected", NOW, severity="info"))
    put("handoff.patterns", "c", pattern("contract/c/rejected", NOW, status="closed"))
    put("handoff.patterns", "d", pattern("replay/contract/d/rejected", NOW))
    return handoff


def test_nobody_tells_what_is_open(broken: HandoffCommand, prefix: str) -> None:
    group = f"{prefix.rstrip('.')}-alerts"
    what = f"nobody tells alerts: no member in {group}; 1 open pattern"
    assert told(broken) == [("note", what)]
    # They were told of late, so people count on it.
    consumer = Consumer(
        {"bootstrap.servers": load_settings().kafka_bootstrap_servers, "group.id": group}
    )
    consumer.commit(offsets=[TopicPartition(f"{prefix}patterns", 0, 1)], asynchronous=False)
    consumer.close()
    assert told(broken) == [("problem", what)]
    write_all(connect(), "handoff.patterns", [("contract/a/rejected", None)])
    what = f"nobody tells alerts: no member in {group}; no pattern is open"
    assert told(broken) == [("note", what)]


def test_somebody_tells(broken: HandoffCommand, prefix: str) -> None:
    setup = AlertSetup(
        settings=load_settings(),
        routes=AlertRoutes.model_validate(ONE_WEBHOOK),
        make_sinks=lambda: [Recorder("hook", well)],
    )
    service = AlertService(setup)
    service.start()
    try:
        wait_for(lambda: service.status.alerts["waiting"] == 1, 30, "it waits for others")
        assert told(broken) == [("ok", f"1 member in {prefix.rstrip('.')}-alerts, 1 alert")]
    finally:
        assert service.stop(30)


def test_a_sink_that_takes_nothing(handoff: HandoffCommand) -> None:
    at = NOW - timedelta(minutes=10)
    refused = SinkTold(number=1, action="trigger", reached=True, undelivered="it answered 400")
    waiting = SinkTold(number=1, pending=Pending(1, "trigger", at))
    just_now = SinkTold(number=1, pending=Pending(1, "trigger", datetime.now(UTC)))
    gone = SinkTold(number=1, action="trigger", reached=True, kind="pagerduty", gone=True)
    for number in range(2):
        alert = Alert(
            key=f"a-{number}",
            kind="causes",
            state="firing",
            group={},
            routes=("all",),
            severity="error",
            first="x",
            started_at=at,
            due_at=at,
            causes=1,
            loud=1,
            content=1,
            reason="opened",
            sinks={"pager": refused, "hook": waiting, "chat": just_now, "old": gone},
        )
        put("handoff.alerts", entry_key(alert), alert)
    put("handoff.alerts", "cause/x", {"of": "cause"})
    found = told(handoff)
    assert found[:3] == [
        ("problem", "the sink pager did not take 2 alerts: it answered 400"),
        ("problem", "the sink old is not in the routes any more, and 2 alerts may stay open there"),
        ("problem", f"the sink hook has kept 2 alerts waiting since {at:%Y-%m-%d %H:%M} UTC"),
    ]
    assert [state for state, _ in found] == ["problem"] * 3 + ["note"]
    assert "1 entry of " in found[3][1]
    listed = handoff("alerts", "list").output
    assert listed.count("old: not in the routes any more, may stay open there") == 2


def test_what_a_sink_refused_is_told_for_a_day(handoff: HandoffCommand) -> None:
    record = Record("handoff.alerts", 0, -1, b"a-1", b"{}", 0)
    letter = serde.dead_letter(
        record, Refused("alert_refused", "the sink chat did not take it: Slack says no_text")
    )
    settings = load_settings()
    producer = Producer({"bootstrap.servers": settings.kafka_bootstrap_servers})
    for at in (NOW, NOW, NOW - timedelta(days=2)):
        producer.produce(
            connect().name("handoff.dead-letters"),
            letter.value,
            letter.key,
            headers=list(letter.headers),
            timestamp=int(at.timestamp() * 1000),
        )
    assert producer.flush(10) == 0
    why = "2 messages of the last day lost: the sink chat did not take it: Slack says no_text"
    assert told(handoff) == [("note", why)]


def test_silences_that_are_over_or_soon_will_be(handoff: HandoffCommand) -> None:
    for name, hours in (("s-1", -1), ("s-2", 3), ("s-3", 48)):
        ends = NOW + timedelta(hours=hours)
        match = {"workflow": ["lead"]}
        put(
            "handoff.silences",
            name,
            AlertSilence(name, match, NOW - timedelta(days=1), ends, "Ana", "x"),
        )
    put("handoff.silences", "s-4", {"id": "s-4"})
    ends = NOW + timedelta(hours=3)
    assert told(handoff, "silences") == [
        (
            "note",
            f"s-2 of Ana ends at {ends:%Y-%m-%d %H:%M} UTC: what still fires is told then",
        ),
        ("note", "the silence s-4 cannot be read, and silences nothing"),
        ("note", "1 silence over: s-1"),
    ]


def test_records_that_nest_too_deep_are_none_that_can_be_read(handoff: HandoffCommand) -> None:
    deep = b'{"x":' + b"[" * 50_000 + b"]" * 50_000 + b"}"
    for topic in ("handoff.patterns", "handoff.alerts", "handoff.silences"):
        write_all(connect(), topic, [("s-1", deep)])
    assert any("1 entry of " in what and "cannot be read" in what for _, what in told(handoff))
    assert ("note", "the silence s-1 cannot be read, and silences nothing") in told(
        handoff, "silences"
    )


def test_what_nests_too_deep_ends_no_list(handoff: HandoffCommand) -> None:
    deep = b'{"x":' + b"[" * 50_000 + b"]" * 50_000 + b"}"
    for topic in ("handoff.alerts", "handoff.silences", "handoff.held"):
        write_all(connect(), topic, [("s-1", deep)])
    for command in (("alerts", "list"), ("alerts", "silences"), ("held", "list")):
        found = handoff(*command)
        assert (found.exit_code, found.exception) == (0, None), command
        assert "s-1 cannot be read" in found.stderr


def test_a_silence_is_listed_by_the_key_that_ends_it(handoff: HandoffCommand) -> None:
    ends = NOW + timedelta(hours=3)
    put("handoff.silences", "s-1", AlertSilence("another", {}, NOW, ends, "Ana", "x"))
    listed = json.loads(handoff("alerts", "silences", "--output", "json").stdout)
    assert listed["id"] == "s-1"
    assert handoff("alerts", "silence", "--by", "a", "--reason", "b", "--end", "s-1").exit_code == 0
    assert handoff("alerts", "silences", "--output", "json").stdout == ""
