"""The dead man: what is withheld when, and that silence follows."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web
from pydantic import SecretStr

from alerts.delivery import SinkFigures
from alerts.health import Health, untold
from alerts.heartbeat import ALIVE, Heartbeat
from alerts.progress import LIMIT_SECONDS, Progress
from alerts.sinks.alertmanager import Alertmanager, AlertmanagerSettings
from processors.runtime.settings import load_settings
from tests.alertmanager import RunningAlertmanager
from tests.commands import HandoffCommand
from tests.receiving import Receiving, Request, until

PLACE = ("handoff.tool-outputs", 3)


def test_a_group_that_reaches_each_end_within_five_minutes_is_well() -> None:
    progress, at = Progress("integrity"), 0
    for minute in range(60):
        end = at + 1_000  # there is always something that waits
        assert progress.note(minute * 60.0, 1, {PLACE: end}, {PLACE: at}) is None
        at = end


def test_a_group_that_stands_still_is_behind_after_five_minutes() -> None:
    progress = Progress("integrity")
    for second in range(0, int(LIMIT_SECONDS), 30):
        assert progress.note(second, 1, {PLACE: 10 + second}, {PLACE: 5}) is None
    found = progress.note(LIMIT_SECONDS, 1, {PLACE: 900}, {PLACE: 5})
    assert found == "integrity is 5 minutes behind on handoff.tool-outputs, partition 3"
    assert progress.note(LIMIT_SECONDS + 30, 1, {PLACE: 900}, {PLACE: 900}) is None


def test_a_group_that_falls_behind_ever_more_is_told() -> None:
    """Each end is reached, but ever later: ten times more comes than it takes."""
    progress = Progress("integrity")
    found = [progress.note(n * 30.0, 1, {PLACE: n * 1_000}, {PLACE: n * 100}) for n in range(200)]
    assert found[-1] is not None


def test_a_group_without_a_member_is_told_although_nothing_waits() -> None:
    """Its deadlines do not fire."""
    progress = Progress("integrity")
    assert progress.note(1.0, 0, {PLACE: 5}, {PLACE: 5}) is None
    assert progress.note(100.0, 1, {PLACE: 5}, {PLACE: 5}) is None
    assert progress.note(200.0, 0, {PLACE: 5}, {PLACE: 5}) is None
    found = progress.note(200.0 + LIMIT_SECONDS, 0, {PLACE: 5}, {PLACE: 5})
    assert found == "integrity has had no member for 5 minutes"


def test_an_input_that_is_no_input_any_more_is_forgotten() -> None:
    progress = Progress("intake")
    assert progress.note(0.0, 1, {PLACE: 9}, {PLACE: 5}) is None
    assert progress.note(400.0, 1, {}, {}) is None
    assert progress.note(401.0, 1, {PLACE: 9}, {PLACE: 5}) is None


def test_the_address_is_called_while_all_is_well_and_not_else() -> None:
    async def answer(_: Request) -> web.Response:
        return web.Response(status=200)

    well: list[str | None] = [None]
    with Receiving(answer) as outside:

        async def play() -> None:
            url = SecretStr(f"{outside.url}/ping/secret-of-the-address")
            heartbeat = Heartbeat(lambda: well[0], url, [], every=60)
            await heartbeat.beat()
            assert len(outside.requests) == 1
            well[0] = "insights is 6 minutes behind"
            await heartbeat.beat()
            assert (len(outside.requests), heartbeat.withheld) == (1, well[0])
            well[0] = None
            await heartbeat.beat()
            assert (len(outside.requests), heartbeat.withheld) == (2, None)
            await heartbeat._http.close()

        asyncio.run(play())


def test_the_address_is_not_called_while_an_alertmanager_has_been_away_for_five_minutes() -> None:
    """Nobody sees there what fires. It is asked all the while, so that it is seen to be back."""

    async def answer(_: Request) -> web.Response:
        return web.Response(status=200)

    now = [datetime(2026, 3, 2, tzinfo=UTC)]
    with Receiving(answer) as outside, Receiving(answer) as there:

        async def play() -> None:
            sink = Alertmanager(AlertmanagerSettings(name="am", urls=(there.url,)))
            heartbeat = Heartbeat(
                lambda: None, SecretStr(outside.url), [sink], 60, now=lambda: now[0]
            )
            await heartbeat.beat()
            await asyncio.to_thread(there.close)
            for _ in range(5):
                now[0] += timedelta(minutes=1)
                await heartbeat.beat()
            assert (len(outside.requests), heartbeat.withheld) == (6, None)
            now[0] += timedelta(minutes=1)
            await heartbeat.beat()
            assert len(outside.requests) == 6
            assert heartbeat.withheld == "the sink am has not been reached for 5 minutes"
            with Receiving(answer, there.port):
                await heartbeat.beat()
                await sink.close()  # its connection, before the server goes
            assert len(outside.requests) == 7
            assert not heartbeat.withheld
            await heartbeat._http.close()

        asyncio.run(play())


def test_people_are_told_where_each_alert_is_taken_within_five_minutes() -> None:
    well = SinkFigures(0, 0.0, False, {}, "")
    slow = SinkFigures(3, LIMIT_SECONDS - 1, True, {}, "no answer within 15 s")
    late = SinkFigures(3, LIMIT_SECONDS + 60, True, {}, "no answer within 15 s")
    assert untold({"a": well, "b": slow}, 1.0) is None
    assert untold({}, 1.0) is None
    told = "an alert has waited for 6 minutes for the sink b: no answer within 15 s"
    assert untold({"a": well, "b": late, "c": slow}, 1.0) == told
    assert untold({"a": well}, LIMIT_SECONDS) == "no alert was decided for 5 minutes"


def test_an_instance_that_ends_at_once_again_and_again_sends_nothing() -> None:
    async def answer(_: Request) -> web.Response:
        return web.Response(status=200)

    with Receiving(answer) as outside:

        async def play() -> None:
            for _ in range(3):
                heartbeat = Heartbeat(lambda: None, SecretStr(outside.url), [], every=60)
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(heartbeat.run(), 0.2)

        asyncio.run(play())
        assert not outside.requests


def test_an_address_that_does_not_answer_is_counted_and_not_told_in_a_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def play() -> None:
        url = SecretStr("http://127.0.0.1:9/secret-of-the-address")
        heartbeat = Heartbeat(lambda: None, url, [], every=60)
        await heartbeat.beat()
        assert heartbeat.outcomes == {"sent": 1, "failed": 1}
        await heartbeat._http.close()

    asyncio.run(play())
    assert "did not arrive" in caplog.text
    assert "secret-of-the-address" not in caplog.text


def test_the_alert_that_always_fires_ends_by_itself_when_it_is_withheld(
    alertmanager: RunningAlertmanager,
) -> None:
    well: list[str | None] = [None]

    def alive() -> bool:
        return [each["labels"]["alertname"] for each in alertmanager.firing()] == [ALIVE]

    async def play() -> None:
        sink = Alertmanager(AlertmanagerSettings(name="am", urls=(alertmanager.url,)))
        heartbeat = Heartbeat(lambda: well[0], None, [sink], every=0.5)
        await heartbeat.beat()
        await asyncio.to_thread(until, alive, "it fires")
        well[0] = "integrity has had no member for 5 minutes"
        await heartbeat.beat()
        await asyncio.to_thread(until, lambda: not alive(), "it has ended")
        await sink.close()

    asyncio.run(play())


def test_who_is_away_is_seen_on_a_broker(handoff: HandoffCommand) -> None:
    now = [0.0]
    health = Health(load_settings(), lambda: now[0])
    assert health.look() is None
    now[0] = LIMIT_SECONDS + 1
    assert health.look() == "integrity has had no member for 5 minutes"
