"""What the sinks share when they put a notification into words."""

import hashlib
from urllib.parse import urlsplit

from alerts.notification import Notification
from schemas.printable import plain

PRODUCT = "Handoff Integrity"
_LONGEST_URL = 1000  # characters


def heading(notification: Notification) -> str:
    """The title in one printable line; a resolved alert says so first."""
    title = plain(notification.title)
    return f"Resolved: {title}" if notification.action == "resolve" else title


def details(notification: Notification) -> list[tuple[str, str]]:
    """The facts, and then when the alert began and ended, as label and text. A fact that says
    since when its causes are there takes the place of the beginning."""
    found = [(plain(label), plain(text)) for label, text in notification.facts]
    if all(label != "since" for label, _ in found):
        found.append(("since", _clock(notification.started_at.isoformat(timespec="seconds"))))
    if notification.ended_at is not None:
        found.append(("until", _clock(notification.ended_at.isoformat(timespec="seconds"))))
    return found


def links(notification: Notification) -> list[tuple[str, str]]:
    """Label and URL of what leads on; only http and https. One that is too long for a message is
    left out: names that are percent-encoded make it nine times as long."""
    named = (("Console", notification.link), ("Runbook", notification.runbook))
    return [
        (label, url)
        for label, url in named
        if url is not None and len(url) <= _LONGEST_URL and is_web(url)
    ]


def is_web(url: str) -> bool:
    """Whether it is an http or https URL that may stand in a message."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc) and url.isprintable()


def cut(text: str, most: int) -> str:
    """At most so many characters; what is cut off is shown by an ellipsis."""
    return text if len(text) <= most else text[: most - 1] + "…"


def digest(key: str) -> str:
    """40 letters and digits that stand for a key."""
    return hashlib.sha256(key.encode(errors="replace")).hexdigest()[:40]


def _clock(text: str) -> str:
    return text.replace("+00:00", "Z")
