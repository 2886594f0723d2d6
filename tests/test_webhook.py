"""The webhook sink and its HTTP: signatures that the specification's own library verifies."""

from __future__ import annotations

import asyncio
import base64
import json
from datetime import UTC, datetime

import pytest
from aiohttp import web
from pydantic import SecretStr
from standardwebhooks import Webhook as Verifier

from alerts.notification import Answer, Delivered, Failed, Notification, Refused
from alerts.sinks.http import Response, retry_after
from alerts.sinks.webhook import SigningKeyError, Webhook, WebhookSettings
from tests.notices import notice
from tests.receiving import Receiving, Request

OLD, NEW = ("whsec_" + base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2))


def sent(url: str, *notifications: Notification, secrets: tuple[str, ...] = (NEW,)) -> list[Answer]:
    async def send() -> list[Answer]:
        sink = Webhook(
            WebhookSettings(name="hook", url=SecretStr(url), secrets=tuple(map(SecretStr, secrets)))
        )
        try:
            return [await sink.send(each) for each in notifications]
        finally:
            await sink.close()

    return asyncio.run(send())


async def well(request: Request) -> web.Response:
    return web.Response(status=204)


def answers(status: int, **headers: str) -> Receiving:
    async def handler(request: Request) -> web.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=status, headers=named)

    return Receiving(handler)


@pytest.mark.parametrize("secret", [OLD, NEW])
def test_either_secret_verifies_the_signature_while_they_are_exchanged(secret: str) -> None:
    with Receiving(well) as server:
        assert sent(server.url + "/hook", notice(), secrets=(NEW, OLD)) == [Delivered()]
    (request,) = server.requests
    body = Verifier(secret).verify(request.body, dict(request.headers))
    assert body["type"] == "handoff.alert.trigger"
    assert body["timestamp"] == "2026-03-02T10:01:00Z"
    assert body["data"]["facts"][0] == {"label": "what broke", "text": "objections was dropped"}
    assert {"to", "reference"}.isdisjoint(body["data"])
    assert request.headers["content-type"] == "application/json; charset=utf-8"


def test_a_changed_body_does_not_verify() -> None:
    with Receiving(well) as server:
        sent(server.url, notice())
    (request,) = server.requests
    changed = json.dumps(json.loads(request.body) | {"type": "handoff.alert.resolve"})
    with pytest.raises(Exception, match="No matching signature"):
        Verifier(NEW).verify(changed, dict(request.headers))


def test_the_id_is_that_of_the_message_and_safe_whatever_the_key_holds() -> None:
    key = "a.b\r\nwebhook-id: x:ü"
    with Receiving(well) as server:
        sent(server.url, notice(key), notice(key), notice(key, 2, "update"), notice("other"))
    ids = [request.headers["webhook-id"] for request in server.requests]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3
    assert all(each.replace("_", "").isalnum() and each.isascii() for each in ids)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (200, Delivered),
        (299, Delivered),
        (400, Failed),
        (401, Failed),
        (404, Failed),
        (410, Refused),
        (429, Failed),
        (500, Failed),
        (503, Failed),
    ],
)
def test_what_an_answer_means(status: int, kind: type[Answer]) -> None:
    with answers(status) as server:
        (answer,) = sent(server.url, notice())
    assert isinstance(answer, kind)


def test_retry_after_is_read() -> None:
    with answers(503, Retry_After="17") as server:
        assert sent(server.url, notice()) == [Failed("it answered 503 Service Unavailable", 17.0)]


def test_a_redirect_is_not_followed() -> None:
    with Receiving(well) as elsewhere, answers(307, Location=elsewhere.url) as server:
        (answer,) = sent(server.url, notice())
    assert elsewhere.requests == []
    assert isinstance(answer, Failed)
    assert "redirect" in answer.why


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/secret-path", "http://no.such.host.invalid/secret-path", "nothing"]
)
def test_what_cannot_be_reached_is_said_without_its_address(url: str) -> None:
    (answer,) = sent(url, notice())
    assert isinstance(answer, Failed)
    assert answer.after is None
    assert not any(part in answer.why for part in ("secret-path", "127.0.0.1", "nothing"))


@pytest.mark.parametrize(
    "secret", ["", "whsec_", "whsec_" + base64.b64encode(b"short").decode(), "whsec_no base64!"]
)
def test_a_secret_that_is_none_is_refused_and_not_shown(secret: str) -> None:
    with pytest.raises(SigningKeyError) as error:
        sent("http://127.0.0.1:1", notice(), secrets=(secret,))
    assert "openssl rand" in str(error.value)
    assert len(secret) < 8 or secret not in str(error.value)


NOW = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("Mon, 02 Mar 2026 10:02:00 GMT", 120.0),
        ("Mon, 02 Mar 2026 09:00:00 GMT", 0.0),
        ("Monday, 02-Mar-26 10:00:30 GMT", 30.0),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("9" * 400, None),
        ("Mon, 99 Mar 2026 10:02:00 GMT", None),
        (None, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str | None, seconds: float | None) -> None:
    assert retry_after(text, NOW) == seconds


def test_an_answer_that_nests_too_deep_says_nothing() -> None:
    assert Response(200, b'{"ok":' * 10_000, None).json() == {}
