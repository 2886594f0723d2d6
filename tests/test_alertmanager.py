"""Alertmanager, the real one: it holds what fires and nothing else, whoever restarts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from alerts.heartbeat import ALIVE, Heartbeat
from alerts.notification import Delivered, Failed, Notification, Refused
from alerts.sinks.alertmanager import Alertmanager, AlertmanagerSettings
from tests.alertmanagers import RealAlertmanager
from tests.notices import notice
from tests.receiving import until
from tests.sinks import HARD


def recent(key: str, number: int = 1, action: Any = "trigger", **more: Any) -> Notification:
    now = datetime.now(UTC)
    labels = {"alertname": "HandoffContextDropped", "fingerprint": key}
    ended = {"ended_at": now} if action == "resolve" else {"ended_at": None}
    given = {"started_at": now - timedelta(minutes=5), "at": now, "labels": labels, **ended, **more}
    return notice(key, number, action, **given)


def run(
    server: RealAlertmanager,
    play: Callable[[Alertmanager], Coroutine[Any, Any, None]],
    fires: tuple[Notification, ...] = (),
) -> None:
    async def whole() -> None:
        sink = Alertmanager(AlertmanagerSettings(name="am", urls=(server.url,)))
        sink.hold(fires)
        try:
            await play(sink)
        finally:
            await sink.close()

    asyncio.run(whole())


def held(server: RealAlertmanager) -> list[str]:
    return sorted(each["labels"]["fingerprint"] for each in server.firing())


def test_it_holds_what_fires_after_either_side_has_restarted(
    alertmanager: RealAlertmanager,
) -> None:
    fired = tuple(recent(f"p{n}") for n in range(5))

    async def fire(sink: Alertmanager) -> None:
        for each in fired:
            assert await sink.send(each) == Delivered()
        assert await sink.send(recent("p3", 2, "resolve")) == Delivered()

    async def resend(sink: Alertmanager) -> None:
        assert await sink.resend_once() == Delivered()

    run(alertmanager, fire)
    left = [each for each in fired if each.key != "p3"]
    keys = [each.key for each in left]
    until(lambda: held(alertmanager) == keys, "what fires is held")

    run(alertmanager, resend, tuple(left))  # our process is another one
    assert held(alertmanager) == keys

    alertmanager.stop(forget=True)
    alertmanager.start()
    assert held(alertmanager) == []
    run(alertmanager, resend, tuple(left))
    until(lambda: held(alertmanager) == keys, "it has all of them again")

    async def end(sink: Alertmanager) -> None:
        for each in left:
            assert await sink.send(recent(each.key, 2, "resolve")) == Delivered()
        assert await sink.resend_once() == Delivered()

    run(alertmanager, end, tuple(left))
    until(lambda: held(alertmanager) == [], "all are resolved")


def test_a_rise_of_the_severity_ends_the_alert_that_had_the_lower_one(
    alertmanager: RealAlertmanager,
) -> None:
    async def rise(sink: Alertmanager) -> None:
        await sink.send(recent("p", severity="warning"))
        assert await sink.send(recent("p", 2, severity="error")) == Delivered()

    run(alertmanager, rise)
    until(
        lambda: [each["labels"]["severity"] for each in alertmanager.firing()] == ["error"],
        "one alert, an error",
    )


@pytest.mark.parametrize("text", HARD, ids=range(len(HARD)))
def test_it_takes_whatever_names_and_texts_hold(alertmanager: RealAlertmanager, text: str) -> None:
    labels = {"alertname": "HandoffContextDropped", "fingerprint": "p", "odd-name.1": text[:500]}

    async def fire(sink: Alertmanager) -> None:
        made = recent("p", title=text[:200], facts=(("what broke", text),), labels=labels)
        assert await sink.send(made) == Delivered()

    run(alertmanager, fire)
    until(lambda: held(alertmanager) == ["p"], "it is held")


def test_a_repeat_never_goes_there(alertmanager: RealAlertmanager) -> None:
    async def fire(sink: Alertmanager) -> None:
        answer = await sink.send(recent("p", labels={"kind": "repeat", "fingerprint": "p"}))
        assert isinstance(answer, Refused)

    run(alertmanager, fire)
    assert held(alertmanager) == []


def test_a_server_that_is_away_is_tried_again(alertmanager: RealAlertmanager) -> None:
    alertmanager.stop()

    async def fire(sink: Alertmanager) -> None:
        assert isinstance(await sink.send(recent("p")), Failed)

    run(alertmanager, fire)


def test_the_alert_that_always_fires_ends_by_itself_when_it_is_withheld(
    alertmanager: RealAlertmanager,
) -> None:
    well: list[str | None] = [None]

    def alive() -> bool:
        return [each["labels"]["alertname"] for each in alertmanager.firing()] == [ALIVE]

    async def beat(sink: Alertmanager) -> None:
        heartbeat = Heartbeat(lambda: well[0], None, [sink], every=0.5)
        await heartbeat.beat()
        await asyncio.to_thread(until, alive, "it fires")
        well[0] = "integrity has had no member for 5 minutes"
        await heartbeat.beat()
        assert heartbeat.withheld == well[0]
        await asyncio.to_thread(until, lambda: not alive(), "it has ended")

    run(alertmanager, beat)
