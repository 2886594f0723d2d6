"""PagerDuty's Events API v2, as strict as its documents: what they refuse is refused here.

From the API's description: `routing_key` and `event_action` are required, `payload` of a trigger
with `summary`, `severity` and `source`; `dedup_key` unless it is a trigger.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from aiohttp import web

from tests.receiving import Receiving, Request

ROUTING_KEY = "e93facc04764012d7bfb002500d5d1a6"
_MEMBERS = {
    "routing_key": str,
    "event_action": str,
    "dedup_key": str,
    "payload": dict,
    "client": str,
    "client_url": str,
    "links": list,
    "images": list,
}
_PAYLOAD = {
    "summary": str,
    "source": str,
    "severity": str,
    "timestamp": str,
    "component": str,
    "group": str,
    "class": str,
    "custom_details": dict,
}


class FakePagerDuty(Receiving):
    """`alerts` is what on-call people see: the state by dedup key, and every event that was
    taken. `answers` are statuses (with `Retry-After`) that are given first, one a request."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(self._enqueue, port)
        self.answers: list[tuple[int, dict[str, str]]] = []
        self.alerts: dict[str, str] = {}
        self.events: list[dict[str, Any]] = []

    async def _enqueue(self, request: Request) -> web.Response:
        if self.answers:
            status, headers = self.answers.pop(0)
            return web.Response(status=status, headers=headers)
        if request.path != "/v2/enqueue":
            return web.Response(status=404)
        errors, event = errors_of(request)
        if errors:
            body = {"status": "invalid event", "message": "Event object is invalid"}
            return web.json_response(body | {"errors": errors}, status=400)
        self.events.append(event)
        action = event["event_action"]
        key = event.get("dedup_key") or f"made-up-{len(self.events)}"
        if action == "trigger":
            self.alerts[key] = "triggered"
        elif key in self.alerts:
            self.alerts[key] = {"acknowledge": "acknowledged", "resolve": "resolved"}[action]
        body = {"status": "success", "message": "Event processed", "dedup_key": key}
        return web.json_response(body, status=202)


def errors_of(request: Request) -> tuple[list[str], dict[str, Any]]:
    """What is wrong with an event, and the event."""
    if len(request.body) > 512_000:
        return ["event is larger than 512 KB"], {}
    if not request.headers.get("content-type", "").startswith("application/json"):
        return ["content type is not JSON"], {}
    try:
        event = json.loads(request.body)
    except ValueError:
        return ["JSON parse error"], {}
    if not isinstance(event, dict):
        return ["Event object format is unrecognized"], {}
    errors = _typed(event, _MEMBERS, "")
    if len(str(event.get("routing_key"))) != 32:
        errors.append("Length of 'routing_key' is incorrect (should be 32 characters)")
    elif event["routing_key"] != ROUTING_KEY:
        errors.append("routing_key is not known")
    action = event.get("event_action")
    if action not in ("trigger", "acknowledge", "resolve"):
        errors.append("'event_action' is not one of trigger, acknowledge, resolve")
    if action != "trigger" and not event.get("dedup_key"):
        errors.append("'dedup_key' is missing or blank")
    if len(str(event.get("dedup_key", ""))) > 255:
        errors.append("'dedup_key' is longer than 255 characters")
    if action == "trigger":
        errors += _payload_errors(event)
    return errors, event


def _payload_errors(event: dict[str, Any]) -> list[str]:
    payload = event.get("payload")
    if not isinstance(payload, dict):
        return ["'payload' is missing or blank"]
    errors = _typed(payload, _PAYLOAD, "payload.")
    errors += [
        f"'payload.{member}' is missing or blank"
        for member in ("summary", "source", "severity")
        if not payload.get(member)
    ]
    if len(str(payload.get("summary"))) > 1024:
        errors.append("'payload.summary' is longer than 1024 characters")
    if payload.get("severity") not in ("critical", "error", "warning", "info"):
        errors.append("'payload.severity' is not one of critical, error, warning, info")
    try:
        datetime.fromisoformat(payload.get("timestamp", "2026-01-01"))
    except (ValueError, TypeError):
        errors.append("'payload.timestamp' is not a time")
    for link in event.get("links", []):
        if not isinstance(link, dict) or not str(link.get("href")).startswith(
            ("http://", "https://")
        ):
            errors.append("'links' needs href")
    return errors


def _typed(found: dict[str, Any], known: Mapping[str, type], where: str) -> list[str]:
    errors = [f"'{where}{name}' is unknown" for name in found.keys() - known.keys()]
    return errors + [
        f"'{where}{name}' is of the wrong type"
        for name, kind in known.items()
        if name in found and not isinstance(found[name], kind)
    ]
