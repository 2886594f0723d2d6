"""What a sink is given to send, and what it answers. The sinks know nothing else of an alert."""

from datetime import datetime
from typing import Literal

from msgspec import Struct

from schemas.records import Severity

Action = Literal["trigger", "update", "acknowledge", "resolve"]


class Notification(Struct, frozen=True, kw_only=True):
    """One message about one alert, for one sink.

    `key` is the same for every message about one occurrence: sinks deduplicate by it. `number`
    counts the messages of that key to that sink, from 1; one that is sent again keeps its number.
    `title` is one line of at most 200 characters; `facts` are label and text, in the order in which
    a person reads them. `labels` identify the alert (Alertmanager). `command` and `link` lead on.
    `to` is the contact at that sink: a routing key's reference, a Slack id, a mail address.
    `reference` is what the sink answered for this key before: Slack's `ts`.
    """

    key: str
    number: int
    action: Action
    severity: Severity
    title: str
    facts: tuple[tuple[str, str], ...]
    labels: dict[str, str]
    started_at: datetime
    at: datetime
    ended_at: datetime | None = None
    command: str | None = None
    link: str | None = None
    runbook: str | None = None
    to: str | None = None
    reference: str | None = None


class Delivered(Struct, frozen=True):
    """The sink has taken it; `reference` is needed to change it later."""

    reference: str | None = None


class Failed(Struct, frozen=True):
    """It was not taken, and may be sent again after `after` seconds (None: when you like)."""

    why: str
    after: float | None = None


class Refused(Struct, frozen=True):
    """It will never be taken as it is: sending it again is of no use."""

    why: str


Answer = Delivered | Failed | Refused
