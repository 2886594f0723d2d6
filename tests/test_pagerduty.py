"""The PagerDuty sink, against a fake that refuses what the API's documents refuse."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr

from alerts.notification import Answer, Delivered, Failed, Notification, Refused
from alerts.sinks.pagerduty import PagerDuty, PagerDutySettings
from tests.fake_pagerduty import ROUTING_KEY, FakePagerDuty, errors_of
from tests.notices import notice
from tests.receiving import Request
from tests.sinks import HARD, send_all


@pytest.fixture
def pagerduty() -> Iterator[FakePagerDuty]:
    with FakePagerDuty() as server:
        yield server


def sent(
    server: FakePagerDuty, *notifications: Notification, key: str = ROUTING_KEY
) -> list[Answer]:
    settings = PagerDutySettings(
        name="pager",
        routing_keys={"sales": SecretStr(key)},
        default=SecretStr(key),
        url=server.url + "/v2/enqueue",
    )
    return send_all(PagerDuty(settings), *notifications)


def test_an_alert_is_triggered_changed_acknowledged_and_resolved(pagerduty: FakePagerDuty) -> None:
    states = []
    for number, action in enumerate(("trigger", "update", "acknowledge", "resolve"), 1):
        assert sent(pagerduty, notice(number=number, action=action)) == [Delivered()]  # type: ignore[arg-type]
        states.append(dict(pagerduty.alerts))
    assert [each["pattern-1"] for each in states] == [
        "triggered",
        "triggered",
        "acknowledged",
        "resolved",
    ]
    first = pagerduty.events[0]
    assert first["payload"]["summary"] == notice().title
    assert first["payload"]["custom_details"] == {
        "what broke": "objections was dropped",
        "who had it": "call-recorder",
        "since": "2026-03-02T10:00:00Z",
        "command": "handoff show lead-2041",
    }
    assert [link["text"] for link in first["links"]] == ["Console", "Runbook"]
    assert len(pagerduty.alerts) == 1


@pytest.mark.parametrize("text", HARD)
def test_no_text_makes_an_event_that_is_refused(pagerduty: FakePagerDuty, text: str) -> None:
    hard = notice(
        text, title=text, facts=((text, text), (text, text)), labels={"workflow": text}, link=text
    )
    assert sent(pagerduty, hard) == [Delivered()]
    assert sent(pagerduty, notice(text, 2, "resolve")) == [Delivered()]
    assert list(pagerduty.alerts.values()) == ["resolved"]


def test_keys_that_are_too_long_stay_apart(pagerduty: FakePagerDuty) -> None:
    sent(pagerduty, notice("x" * 300 + "1"), notice("x" * 300 + "2"), notice("x" * 255))
    assert len(pagerduty.alerts) == 3


@pytest.mark.parametrize(
    ("status", "headers", "answer"),
    [
        (429, {"Retry-After": "3"}, Failed("it answered 429 Too Many Requests", 3.0)),
        (429, {}, Failed("it answered 429 Too Many Requests")),
        (500, {}, Failed("it answered 500 Internal Server Error")),
        (403, {}, Failed("it answered 403 Forbidden")),
    ],
)
def test_what_an_answer_means(
    pagerduty: FakePagerDuty, status: int, headers: dict[str, str], answer: Answer
) -> None:
    pagerduty.answers.append((status, headers))
    assert sent(pagerduty, notice()) == [answer]


def test_what_is_refused_says_why_and_shows_no_key(pagerduty: FakePagerDuty) -> None:
    (answer,) = sent(pagerduty, notice(), key="too short")
    assert isinstance(answer, Refused)
    assert "Length of 'routing_key' is incorrect" in answer.why
    assert "too short" not in answer.why


def test_a_contact_has_its_own_service(pagerduty: FakePagerDuty) -> None:
    known, unknown = sent(pagerduty, notice(to="sales"), notice(to="nobody"))
    assert known == Delivered()
    assert unknown == Refused("pager has no routing key for nobody; add it to the routes")


def test_the_key_is_in_no_repr() -> None:
    settings = PagerDutySettings(name="pager", routing_keys={"a": SecretStr(ROUTING_KEY)})
    assert ROUTING_KEY not in repr(settings)


GOOD: dict[str, Any] = {
    "routing_key": ROUTING_KEY,
    "event_action": "trigger",
    "dedup_key": "k",
    "payload": {"summary": "s", "source": "x", "severity": "error"},
}


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({}, None),
        ({"event_action": "update"}, "event_action"),
        ({"event_action": "resolve", "dedup_key": ""}, "dedup_key"),
        ({"dedup_key": "x" * 256}, "longer"),
        ({"dedup_key": 5}, "wrong type"),
        ({"payload": None}, "wrong type"),
        ({"payload": {"summary": "s", "severity": "error"}}, "source"),
        ({"payload": GOOD["payload"] | {"severity": "fatal"}}, "severity"),
        ({"payload": GOOD["payload"] | {"summary": "x" * 1025}}, "longer"),
        ({"payload": GOOD["payload"] | {"timestamp": "yesterday"}}, "timestamp"),
        ({"links": [{"text": "x"}]}, "href"),
        ({"colour": "red"}, "unknown"),
    ],
)
def test_the_fake_refuses_what_the_documents_refuse(
    changes: dict[str, Any], error: str | None
) -> None:
    body = json.dumps(GOOD | changes).encode()
    errors, _ = errors_of(Request(0, "", {"content-type": "application/json"}, body))
    assert (errors == []) if error is None else any(error in each for each in errors)
