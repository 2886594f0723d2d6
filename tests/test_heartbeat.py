"""The dead man: signs of life, and who notices that they stay away."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web
from pydantic import SecretStr

from alerts.delivery import Delivery
from alerts.heartbeat import WATCHDOG, Heartbeat, HeartbeatSettings
from alerts.sinks.alertmanager import Alertmanager, AlertmanagerSettings
from tests.alertmanager import RunningAlertmanager
from tests.receiving import Receiving, Request, until


async def well(request: Request) -> web.Response:
    return web.Response()


def settings(url: str, every: float = 0.1) -> HeartbeatSettings:
    return HeartbeatSettings(url=SecretStr(url), every=every)


def test_it_beats_while_all_is_well_and_says_once_why_it_does_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    state: list[str | None] = [None]
    with Receiving(well) as server:
        heart = Heartbeat(settings(server.url + "/ping/secret-id"), lambda: state[0])
        delivery = Delivery([], lambda _: None, beside=[heart.run])
        delivery.start()
        until(lambda: len(server.requests) >= 3, "it beats")
        state[0] = "integrity is 400 s behind"
        until(lambda: heart.withheld >= 3, "it is withheld")
        beats = len(server.requests)
        until(lambda: heart.withheld >= 6, "it is withheld")
        assert len(server.requests) == beats
        state[0] = None
        until(lambda: len(server.requests) > beats, "it beats again")
        delivery.close(0)
    assert caplog.text.count("is withheld: integrity is 400 s behind") == 2  # and "no longer"
    assert "secret-id" not in caplog.text
    assert "secret-id" not in repr(settings(server.url + "/ping/secret-id"))


def test_a_monitor_that_is_away_stops_nothing_and_is_told_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    heart = Heartbeat(settings("http://127.0.0.1:1/secret-id"), lambda: None)

    async def play() -> None:
        for _ in range(3):
            await heart.beat()
        await heart.close()

    asyncio.run(play())
    assert (heart.beats, heart.failures) == (3, 3)
    assert caplog.text.count("does not arrive: no connection: Connection refused") == 1
    assert "secret-id" not in caplog.text


def test_the_alert_that_always_fires_ends_when_it_is_withheld(
    alertmanager: RunningAlertmanager,
) -> None:
    """Every 0.2 s, so that it ends 0.8 s after the last; every minute it is 4 minutes."""
    state: list[str | None] = [None]
    sink = Alertmanager(AlertmanagerSettings(name="prometheus", urls=(alertmanager.url,)))
    heart = Heartbeat(HeartbeatSettings(every=0.2), lambda: state[0], (sink,))
    delivery = Delivery([sink], lambda _: None, beside=[heart.run])

    def alive() -> bool:
        return [each["labels"]["alertname"] for each in alertmanager.firing()] == [WATCHDOG]

    delivery.start()
    until(alive, "it fires")
    until(lambda: heart.beats > 10, "it beats")
    assert alive(), "it goes on"
    state[0] = "insights is 400 s behind"
    until(lambda: not alive(), "it ends")
    state[0] = None
    until(alive, "it fires again")
    delivery.close(0)
    until(lambda: not alive(), "without us it ends")


def test_every_minute_it_is_given_four() -> None:
    now = datetime(2026, 3, 2, 10, tzinfo=UTC)
    heart = Heartbeat(HeartbeatSettings(instance="berlin"), lambda: None, (), lambda: now)
    alert = heart._alert()
    assert alert["endsAt"] - now == timedelta(minutes=4)
    assert alert["labels"]["instance"] == "berlin"
