"""Notifications for tests of the sinks."""

from datetime import UTC, datetime, timedelta
from typing import Any

from alerts.notification import Action, Notification

STARTED = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)


def notice(
    key: str = "pattern-1", number: int = 1, action: Action = "trigger", **changes: Any
) -> Notification:
    """A notification of an alert about lost context."""
    at = STARTED + timedelta(minutes=number)
    return Notification(
        **{
            "key": key,
            "number": number,
            "action": action,
            "severity": "error",
            "title": "12 handoffs reached marketing-nurture without objections",
            "facts": (("what broke", "objections was dropped"), ("who had it", "call-recorder")),
            "labels": {
                "alertname": "HandoffContextDropped",
                "workflow": "inbound-lead",
                "fingerprint": key,
            },
            "started_at": STARTED,
            "at": at,
            "ended_at": at if action == "resolve" else None,
            "command": "handoff show lead-2041",
            "link": "https://console.example/patterns/1",
            "runbook": "https://docs.example/runbook#context-dropped",
            **changes,
        }
    )
