"""Prometheus' Alertmanager, by its API v2: `POST /api/v2/alerts`.

Labels are an alert's identity there, and it forgets what is not sent again. So this sink holds what
fires, and sends all of it every minute with an `endsAt` some minutes ahead, as Prometheus does.
When we are gone for longer, Alertmanager ends the alerts by itself; when it comes back empty, a
minute later it has them all.
"""

import asyncio
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any

import msgspec
from msgspec import Struct

from alerts.notification import Answer, Delivered, Failed, Notification, Refused
from alerts.sinks.http import Http, Response
from alerts.sinks.words import cut, details, heading, is_web
from schemas.printable import plain

RESEND_SECONDS = 60.0
_AHEAD = 4  # of these: an alert outlives three resends that fail
_BATCH = 500  # alerts in one request
_ANNOTATION = 4000
_ILLEGAL = re.compile(r"[^a-zA-Z0-9_]")
REPEAT = "repeat"


class AlertmanagerSettings(Struct, frozen=True, kw_only=True):
    """`urls` are the members of one cluster, without a path to the API: each is sent everything, as
    no load balancer may stand between."""

    name: str
    urls: tuple[str, ...]
    resend: float = RESEND_SECONDS


class Alertmanager:
    """Holds what fires, and keeps it firing there."""

    def __init__(
        self,
        settings: AlertmanagerSettings,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.name = settings.name
        self._settings = settings
        self._now = now
        self._firing: dict[str, Notification] = {}
        self._http = Http()
        # One request after another: a resend must not bring back what was just resolved.
        self._turn: asyncio.Lock = asyncio.Lock()

    def hold(self, notifications: Iterable[Notification]) -> None:
        """What an earlier process has sent and still fires; before the delivery starts."""
        for each in notifications:
            if each.labels.get("kind") != REPEAT:
                self._firing[each.key] = each

    async def send(self, notification: Notification) -> Answer:
        """Raise, change or resolve an alert. It knows no acknowledgement."""
        if notification.labels.get("kind") == REPEAT:
            return Refused("a repeat never goes to Alertmanager; route it elsewhere")
        if notification.action == "acknowledge":
            return Delivered()
        async with self._turn:
            held = self._firing.pop(notification.key, None)
            made = [self._alert(notification)]
            if notification.action != "resolve":
                self._firing[notification.key] = notification
            if held is not None and labels(held) != labels(notification):
                # Its severity has changed, and with it the identity: the old one ends.
                made.append(self._ended(held, notification.at))
            fires = [labels(other) for other in self._firing.values()]
            if notification.action == "resolve" and made[0]["labels"] in fires:
                made.pop(0)  # its next occurrence fires already, under the same labels
            return await self._post(made)

    async def resend(self) -> None:
        """Send all that fires again and again, for ever; the first time at once."""
        while True:
            await self.resend_once()
            await asyncio.sleep(self._settings.resend)

    async def resend_once(self) -> Answer:
        """Send all that fires, in requests of some hundred."""
        keys = list(self._firing)
        answer: Answer = Delivered()
        for begin in range(0, len(keys), _BATCH):
            async with self._turn:
                fires = [
                    self._firing[key] for key in keys[begin : begin + _BATCH] if key in self._firing
                ]
                posted = await self._post([self._alert(each) for each in fires])
            answer = answer if isinstance(posted, Delivered) else posted
        return answer

    async def post(self, alert: dict[str, Any]) -> Answer:
        """Send one alert that is made elsewhere."""
        async with self._turn:
            return await self._post([alert])

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    def _alert(self, notification: Notification) -> dict[str, Any]:
        if notification.action == "resolve":
            return self._ended(notification, notification.ended_at or notification.at)
        now = self._now()
        return _described(notification, now) | {"endsAt": ends_at(now, self._settings.resend)}

    def _ended(self, notification: Notification, at: datetime) -> dict[str, Any]:
        at = min(at, self._now())
        return _described(notification, at) | {"endsAt": at}

    async def _post(self, alerts: list[dict[str, Any]]) -> Answer:
        """Delivered when one member has taken it: the members tell each other, and the others get
        it with the next resend."""
        if not alerts:
            return Delivered()
        body = msgspec.json.encode(alerts)
        posts = [
            self._http.post(f"{url.rstrip('/')}/api/v2/alerts", body) for url in self._settings.urls
        ]
        answers = [_meaning(answer) for answer in await asyncio.gather(*posts)]
        order = (Delivered, Failed, Refused)
        return min(answers, key=lambda answer: order.index(type(answer)))


def labels(notification: Notification) -> dict[str, str]:
    """The alert's identity. Names have letters, digits and underscores; empty values are none."""
    made = {label_name(name): plain(value) for name, value in notification.labels.items() if value}
    return {"alertname": "HandoffAlert", "severity": notification.severity, **made}


def label_name(name: str) -> str:
    """A legal name of a label: `[a-zA-Z_][a-zA-Z0-9_]*`."""
    legal = _ILLEGAL.sub("_", name) or "_"
    return f"_{legal}" if legal[0].isdigit() else legal


def ends_at(now: datetime, resend: float) -> datetime:
    """When an alert that is not sent again ends by itself."""
    return now + timedelta(seconds=_AHEAD * resend)


def _described(notification: Notification, before: datetime) -> dict[str, Any]:
    """What is said of an alert, which began at the latest at `before`: times of events may be ahead
    of the clock, and Alertmanager refuses an alert that ends before it begins."""
    made: dict[str, Any] = {
        "labels": labels(notification),
        "annotations": _annotations(notification),
        "startsAt": min(notification.started_at, before),
    }
    if notification.link is not None and is_web(notification.link):
        made["generatorURL"] = notification.link
    return made


def _annotations(notification: Notification) -> dict[str, str]:
    lines = (f"{label}: {text}" for label, text in details(notification))
    made = {
        "summary": heading(notification),
        "description": cut("\n".join(lines), _ANNOTATION),
        "command": notification.command,
        "link": notification.link,
        "runbook_url": notification.runbook,
    }
    return {name: text for name, text in made.items() if text}


def _meaning(answer: Response | Failed) -> Answer:
    if isinstance(answer, Failed):
        return answer
    if answer.ok:
        return Delivered()
    if answer.status in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY):
        return Refused(f"Alertmanager refuses the alert: it answered {answer.words}")
    return answer.failed()
