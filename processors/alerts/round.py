"""What the steps of one round of decisions share."""

from datetime import datetime

from processors.alerts.book import Book
from processors.alerts.events import Note
from processors.alerts.limits import AlertLimits
from processors.alerts.reasons import Reason
from processors.alerts.routing import Routing
from processors.alerts.verdict import SinkNow
from schemas.alerts import Alert


class AlertRound:
    """The book at `now`, the routes, and the decisions that were made: `notes`."""

    def __init__(self, book: Book, routing: Routing, now: datetime, limits: AlertLimits) -> None:
        self.book = book
        self.routing = routing
        self.now = now
        self.limits = limits
        self.notes: list[Note] = []

    def note(self, about: str, alert: str | None, reason: Reason) -> None:
        """Write down a decision about a cause."""
        self.notes.append(Note(self.now, about, alert, reason))

    def alerts(self) -> list[Alert]:
        """All alerts, those that began first first."""
        return sorted(self.book.alerts.values(), key=lambda each: (each.started_at, each.key))

    def sink(self, alert: Alert, sink: str) -> SinkNow:
        """What the routes say of a sink, for an alert."""
        routes = [self.routing.named(name) for name in alert.routes]
        route = next((each for each in routes if each is not None and each.sink == sink), None)
        digest = self.routing.routes.digest
        of_digest = alert.kind == "digest" and digest is not None and digest.sink == sink
        return SinkNow(
            self.routing.kinds.get(sink),
            route is not None or of_digest,
            None if route is None else route.quiet_hours,
            self.book.rates.get(sink),
        )
