"""PagerDuty, by its Events API v2: `POST /v2/enqueue`.

`dedup_key` is the notification's key, so that what is sent twice is one alert. An update is a
`trigger` with a known key: PagerDuty adds it to the alert and pages nobody anew. Its answers (from
the API's description): 202 is taken, 400 will never be, 429 and 5xx are to be sent again.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from msgspec import Struct
from pydantic import SecretStr

from alerts.notification import Answer, Delivered, Failed, Notification, Refused
from alerts.sinks.http import Http, Response
from alerts.sinks.words import PRODUCT, cut, details, digest, heading, links
from schemas.printable import plain

ENQUEUE = "https://events.pagerduty.com/v2/enqueue"  # in Europe: https://events.eu.pagerduty.com/..
# The API's limits, in characters; the whole event may have 512 KB.
_DEDUP_KEY, _SUMMARY, _DETAIL = 255, 1024, 4000
_REASON = 300


class PagerDutySettings(Struct, frozen=True, kw_only=True):
    """`routing_keys` are integration keys by the names that `Notification.to` gives; `default` is
    for those without a name."""

    name: str
    routing_keys: Mapping[str, SecretStr]
    default: SecretStr | None = None
    url: str = ENQUEUE


class PagerDuty:
    """Sends to the services whose routing keys it has."""

    def __init__(self, settings: PagerDutySettings) -> None:
        self.name = settings.name
        self._settings = settings
        self._http = Http()

    async def send(self, notification: Notification) -> Answer:
        """Trigger, acknowledge or resolve."""
        key = self._settings.default
        if notification.to is not None:
            key = self._settings.routing_keys.get(notification.to)
        if key is None:
            whom = "anybody" if notification.to is None else plain(notification.to)
            return Refused(f"{self.name} has no routing key for {whom}; add it to the routes")
        secret = key.get_secret_value()
        answer = await self._http.post(self._settings.url, event(notification, secret))
        if isinstance(answer, Failed):
            return answer
        if answer.ok:
            return Delivered()
        if answer.status == HTTPStatus.BAD_REQUEST:
            return Refused(f"PagerDuty refuses the event: {_reason(answer, secret)}")
        return answer.failed()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()


def event(notification: Notification, routing_key: str) -> bytes:
    """The request's body."""
    known = len(notification.key) <= _DEDUP_KEY
    sent: dict[str, Any] = {
        "routing_key": routing_key,
        "event_action": "trigger" if notification.action == "update" else notification.action,
        "dedup_key": notification.key if known else digest(notification.key),
    }
    if sent["event_action"] == "trigger":
        sent |= {
            "client": PRODUCT,
            "payload": _payload(notification),
            "links": _links(notification),
        }
        if sent["links"]:
            sent["client_url"] = sent["links"][0]["href"]
    return msgspec.json.encode(sent)


def _payload(notification: Notification) -> dict[str, Any]:
    labels = notification.labels
    shown: dict[str, str] = {}
    for label, text in details(notification):
        shown[label] = cut(f"{shown[label]}, {text}" if label in shown else text, _DETAIL)
    if notification.command is not None:
        shown["command"] = cut(notification.command, _DETAIL)
    named = {"component": "contract", "group": "workflow", "class": "kind"}
    return {
        "summary": cut(heading(notification), _SUMMARY),
        "source": cut(labels.get("workflow") or PRODUCT, _SUMMARY),
        "severity": notification.severity,
        "timestamp": notification.started_at,
        "custom_details": shown,
        **{member: labels[label] for member, label in named.items() if labels.get(label)},
    }


def _links(notification: Notification) -> list[dict[str, str]]:
    return [{"href": url, "text": label} for label, url in links(notification)]


def _reason(answer: Response, secret: str) -> str:
    """What PagerDuty says is wrong with the event; it never shows the routing key."""
    errors = answer.json().get("errors")
    told = "; ".join(map(str, errors)) if isinstance(errors, list) else ""
    return cut(plain(told.replace(secret, "***")), _REASON) or "it gives no reason"
