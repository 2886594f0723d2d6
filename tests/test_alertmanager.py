"""The Alertmanager sink, against a real one: it holds exactly what fires, whoever was restarted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from alerts.delivery import Delivery
from alerts.notification import Action, Answer, Delivered, Failed, Notification, Refused
from alerts.pacing import Limits
from alerts.sink_queue import Result
from alerts.sinks.alertmanager import Alertmanager, AlertmanagerSettings, label_name
from tests.alertmanager import RunningAlertmanager
from tests.notices import notice
from tests.receiving import until
from tests.sinks import HARD, send_all

QUICK = Limits(first=0.05, longest=0.3, opens_after=3)


def sink(server: RunningAlertmanager, resend: float = 60.0, **more: Any) -> Alertmanager:
    return Alertmanager(
        AlertmanagerSettings(name="prometheus", urls=(server.url,), resend=resend), **more
    )


def fires(key: str, number: int = 1, action: Action = "trigger", **changes: Any) -> Notification:
    """An alert that began a little ago by the clock that Alertmanager reads."""
    now = datetime.now(UTC)
    begun = now - timedelta(minutes=3)
    ended = now if action == "resolve" else None
    return notice(
        key, number, action, **{"started_at": begun, "at": now, "ended_at": ended} | changes
    )


def held(server: RunningAlertmanager) -> set[str]:
    return {alert["labels"]["fingerprint"] for alert in server.firing()}


def test_what_fires_is_held_and_what_is_resolved_is_not(alertmanager: RunningAlertmanager) -> None:
    assert send_all(sink(alertmanager), fires("a"), fires("b")) == [Delivered(), Delivered()]
    assert held(alertmanager) == {"a", "b"}
    (one,) = (each for each in alertmanager.firing() if each["labels"]["fingerprint"] == "a")
    assert one["labels"]["alertname"] == "HandoffContextDropped"
    assert one["annotations"]["summary"] == notice().title
    assert one["annotations"]["runbook_url"] == notice().runbook
    assert one["generatorURL"] == notice().link
    assert send_all(sink(alertmanager), fires("a", 2, "resolve")) == [Delivered()]
    assert held(alertmanager) == {"b"}


def test_after_restarts_on_either_side_it_holds_exactly_what_fires(
    alertmanager: RunningAlertmanager,
) -> None:
    """Alertmanager is stopped, robbed of its data and started; so are we, without a word."""
    results: list[Result] = []

    def delivering(made: Alertmanager) -> Delivery:
        delivery = Delivery([made], results.append, limits=QUICK, beside=[made.resend])
        delivery.start()
        return delivery

    first = delivering(sink(alertmanager, resend=1.0))
    try:
        for number in range(700):  # more than one request holds
            first.submit("prometheus", fires(f"p{number}"))
        until(lambda: len(held(alertmanager)) == 700, "all fire")
        alertmanager.stop()
        alertmanager.forget()
        tried = first.figures()["prometheus"].outcomes.get("failed", 0)
        for number in range(100):
            first.submit("prometheus", fires(f"p{number}", 2, "resolve"))
        first.submit("prometheus", fires("new"))
        until(
            lambda: first.figures()["prometheus"].outcomes.get("failed", 0) > tried, "it is tried"
        )
        alertmanager.start()
        left = {f"p{number}" for number in range(100, 700)} | {"new"}
        until(lambda: held(alertmanager) == left, "it holds what fires", limit=30)
        until(lambda: len(results) == 801, "all were delivered")
    finally:
        first.close(0)  # no word of what fires

    second = sink(alertmanager, resend=1.0)
    second.hold(fires(f"p{number}") for number in range(100, 300))  # the others ended meanwhile
    after = delivering(second)
    try:
        for number in range(300, 700):
            after.submit("prometheus", fires(f"p{number}", 2, "resolve"))
        after.submit("prometheus", fires("new", 2, "resolve"))
        left = {f"p{number}" for number in range(100, 300)}
        until(lambda: held(alertmanager) == left, "it holds what fires", limit=30)
        # They have outlived the end that the first of us gave them.
        until(
            lambda: all(_ends(each) > datetime.now(UTC) for each in alertmanager.firing()),
            "they were sent again",
        )
    finally:
        after.close(0)
    until(lambda: held(alertmanager) == set(), "without us they end by themselves", limit=15)


def _ends(alert: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(alert["endsAt"])


def test_a_resend_does_not_bring_back_what_was_resolved_meanwhile(
    alertmanager: RunningAlertmanager,
) -> None:
    async def play() -> None:
        made = sink(alertmanager)
        for number in range(50):
            await made.send(fires(f"p{number}"))
        many: list[Awaitable[Answer]] = []
        for number in range(50):
            many += [made.resend_once(), made.send(fires(f"p{number}", 2, "resolve"))]
        await asyncio.gather(*many)
        await made.close()

    asyncio.run(play())
    assert held(alertmanager) == set()


def test_when_the_severity_rises_the_alert_is_one(alertmanager: RunningAlertmanager) -> None:
    send_all(
        sink(alertmanager),
        fires("a", severity="warning"),
        fires("a", 2, "update", severity="error"),
    )
    assert [each["labels"]["severity"] for each in alertmanager.firing()] == ["error"]


def test_a_late_resolve_does_not_end_the_next_occurrence(alertmanager: RunningAlertmanager) -> None:
    """Two occurrences have the same labels, and other keys."""
    same = {"alertname": "HandoffContextDropped", "fingerprint": "f"}
    send_all(
        sink(alertmanager),
        fires("f/1", labels=same),
        fires("f/2", labels=same),
        fires("f/1", 2, "resolve", labels=same),
    )
    assert held(alertmanager) == {"f"}


def test_an_event_time_in_the_future_and_an_end_before_the_beginning_are_taken(
    alertmanager: RunningAlertmanager,
) -> None:
    now = datetime.now(UTC)
    ahead = fires("ahead", started_at=now + timedelta(hours=1))
    back = fires("back", 2, "resolve", ended_at=now - timedelta(days=1))
    answers = send_all(
        sink(alertmanager),
        ahead,
        fires("back"),
        back,
        fires("ahead", 2, "resolve", started_at=now + timedelta(hours=1)),
    )
    assert answers == [Delivered()] * 4
    assert "back" not in held(alertmanager)


@pytest.mark.parametrize("text", HARD)
def test_no_text_makes_an_alert_that_is_refused(
    alertmanager: RunningAlertmanager, text: str
) -> None:
    labels = {"alertname": text, text[:50]: text, "": "x", "1st": "y", "empty": ""}
    hard = fires(text, title=text, facts=((text, text),), labels=labels, link=text, command=text)
    assert send_all(sink(alertmanager), hard) == [Delivered()]
    (alert,) = alertmanager.firing()
    assert "empty" not in alert["labels"]


def test_repeats_never_go_there_and_acknowledgements_are_not_known(
    alertmanager: RunningAlertmanager,
) -> None:
    made = sink(alertmanager)
    repeat = fires("r", labels={"kind": "repeat", "fingerprint": "r"})
    made.hold([repeat])
    refused, acknowledged = send_all(made, repeat, fires("a", 2, "acknowledge"))
    assert isinstance(refused, Refused)
    assert acknowledged == Delivered()
    assert alertmanager.firing() == []


def test_one_member_of_a_cluster_is_enough(alertmanager: RunningAlertmanager) -> None:
    urls = ("http://127.0.0.1:1", alertmanager.url + "/")
    both = Alertmanager(AlertmanagerSettings(name="prometheus", urls=urls))
    assert send_all(both, fires("a")) == [Delivered()]
    alone = Alertmanager(AlertmanagerSettings(name="prometheus", urls=urls[:1]))
    (answer,) = send_all(alone, fires("a"))
    assert isinstance(answer, Failed)


@pytest.mark.parametrize(
    ("name", "legal"),
    [("workflow", "workflow"), ("a-b.c", "a_b_c"), ("1st", "_1st"), ("", "_"), ("ü", "_")],
)
def test_names_of_labels_are_made_legal(name: str, legal: str) -> None:
    assert label_name(name) == legal
