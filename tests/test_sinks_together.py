"""All sinks at once, each with its trouble: what arrives, how often, and what is in no log."""

from __future__ import annotations

import asyncio
import base64
import logging
import time
from collections import Counter
from contextlib import ExitStack

import pytest
from aiohttp import web
from pydantic import SecretStr
from standardwebhooks import Webhook as Verifier

from alerts.delivery import Delivery, Sink
from alerts.notification import Delivered
from alerts.pacing import Limits
from alerts.sink_queue import Result
from alerts.sinks.pagerduty import PagerDuty, PagerDutySettings
from alerts.sinks.slack import Slack, SlackSettings
from alerts.sinks.webhook import Webhook, WebhookSettings
from tests.fake_pagerduty import ROUTING_KEY, FakePagerDuty
from tests.fake_slack import TOKEN, FakeSlack
from tests.notices import notice
from tests.receiving import Receiving, Request, until

HOOK = "whsec_" + base64.b64encode(bytes(32)).decode()
LIMITS = Limits(first=0.02, longest=0.2, opens_after=4, hang=1.0)
KEYS = [f"pattern-{number}" for number in range(40)]


def test_every_firing_and_resolve_arrives_with_the_same_key_whatever_the_sinks_do(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """PagerDuty answers 429, 500 and goes away; Slack asks for pauses and does not answer once;
    the webhook fails every third time. Each holds what it should, and all alerts are closed."""
    caplog.set_level(logging.DEBUG)
    results: list[Result] = []
    calls = Counter[str]()

    async def every_third(request: Request) -> web.Response:
        calls["hook"] += 1
        return web.Response(status=503 if calls["hook"] % 3 == 0 else 204)

    with ExitStack() as stack:
        pager = FakePagerDuty()
        pager.answers = [(429, {"Retry-After": "0"}), (500, {})] * 5
        stack.enter_context(pager)
        chat = stack.enter_context(FakeSlack())
        chat.answers = [(429, {"Retry-After": "1"}), "lost"]
        hook = stack.enter_context(Receiving(every_third))
        pager_settings = PagerDutySettings(
            name="pager",
            routing_keys={},
            default=SecretStr(ROUTING_KEY),
            url=pager.url + "/v2/enqueue",
        )
        chat_settings = SlackSettings(
            name="chat", token=SecretStr(TOKEN), channel="C1", api=chat.url + "/api"
        )
        hook_settings = WebhookSettings(
            name="hook", url=SecretStr(hook.url + "/secret-path"), secrets=(SecretStr(HOOK),)
        )
        sinks: list[Sink] = [
            PagerDuty(pager_settings),
            Slack(chat_settings),
            Webhook(hook_settings),
        ]
        delivery = Delivery(sinks, results.append, limits=LIMITS)
        delivery.start()
        try:
            for key in KEYS:
                for sink in ("pager", "chat", "hook"):
                    delivery.submit(sink, notice(key))
            until(lambda: len(results) == 3 * len(KEYS), "all triggers have arrived", limit=60)
            pager.close()  # it goes away
            for key in KEYS:
                for sink in ("pager", "chat", "hook"):
                    delivery.submit(sink, notice(key, 2, "resolve"))
            until(lambda: len(results) == 5 * len(KEYS), "the others go on", limit=60)
            until(lambda: delivery.figures()["pager"].open, "its circuit is open")
            back = FakePagerDuty(pager.port)
            back.alerts = pager.alerts
            stack.enter_context(back)
            until(lambda: len(results) == 6 * len(KEYS), "all resolves have arrived", limit=60)
        finally:
            delivery.close(0)
    assert all(isinstance(each.outcome, Delivered) for each in results)
    assert back.alerts == dict.fromkeys(KEYS, "resolved")
    assert len(chat.messages) == len(KEYS) + 1, "one stands twice, as Slack did not answer"
    resolved = [body for body in chat.messages.values() if body["text"].startswith("Resolved")]
    assert len(resolved) == len(KEYS)
    bodies = [Verifier(HOOK).verify(each.body, dict(each.headers)) for each in hook.requests]
    ids = {(body["data"]["key"], body["data"]["number"]): set[str]() for body in bodies}
    for each, body in zip(hook.requests, bodies, strict=True):
        ids[body["data"]["key"], body["data"]["number"]].add(each.headers["webhook-id"])
    assert len(ids) == 2 * len(KEYS)
    assert all(len(found) == 1 for found in ids.values()), "a repeat carries the same id"
    for secret in (ROUTING_KEY, TOKEN, HOOK, "secret-path"):
        assert secret not in caplog.text


def test_a_server_that_takes_the_connection_and_never_answers_delays_no_other() -> None:
    release: list[bool] = []

    async def never(request: Request) -> web.Response:
        while not release:
            await asyncio.sleep(0.05)
        return web.Response(status=204)

    async def well(request: Request) -> web.Response:
        return web.Response(status=204)

    results: list[Result] = []
    with Receiving(never) as dead, Receiving(well) as live:
        sinks = [
            Webhook(WebhookSettings(name=name, url=SecretStr(url), secrets=(SecretStr(HOOK),)))
            for name, url in (("dead", dead.url), ("live", live.url))
        ]
        delivery = Delivery(sinks, results.append, limits=LIMITS)
        delivery.start()
        try:
            for key in KEYS:
                delivery.submit("dead", notice(key))
            until(lambda: dead.requests, "the dead one is asked")
            for number, key in enumerate(KEYS, 1):
                began = time.monotonic()
                delivery.submit("live", notice(key))
                _arrived(live, number)
                assert time.monotonic() - began < 1
            until(lambda: delivery.figures()["dead"].open, "the circuit of the dead one is open")
            release.append(True)
            until(lambda: len(results) == 2 * len(KEYS), "it has come back", limit=60)
        finally:
            release.append(True)
            delivery.close(0)


def _arrived(server: Receiving, number: int) -> None:
    until(lambda: len(server.requests) == number, "it has arrived", limit=1)
