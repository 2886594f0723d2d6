"""Whether a cause is to be told now, and if not, why: the first answer of these counts.

a person resolved it                              quiet until it is more severe
no route matches it
a silence covers it
its contract's version is new                     it goes to its owner's digest
it follows from another cause that is told        `inhibition`
"""

from datetime import datetime

from processors.alerts.book import Book
from processors.alerts.causes import OF_RECEIVERS
from processors.alerts.inhibition import Inhibition
from processors.alerts.limits import AlertLimits
from processors.alerts.reasons import Reason, rank
from processors.alerts.routing import Routing, covers
from schemas.alerts import Cause
from schemas.routes import AlertRoute


class Standing:
    """How causes stand at `now`. Silences that are over are taken out of the book."""

    def __init__(self, book: Book, routing: Routing, now: datetime, limits: AlertLimits) -> None:
        self._book = book
        self._routing = routing
        self._now = now
        self._limits = limits
        self._inhibition = Inhibition(book.inhibitors, self._is_told)
        for key in [key for key, s in book.silences.items() if s.ends_at <= now]:
            del book.silences[key]  # whoever wrote it may have taken another key than its id
        self.silences = sorted(
            (s for s in book.silences.values() if s.starts_at <= now), key=lambda s: s.id
        )

    def silenced_by(self, cause: Cause) -> str | None:
        """The id of a silence that covers a cause."""
        return next((s.id for s in self.silences if covers(s, cause)), None)

    def why(self, cause: Cause) -> tuple[Reason, str | None, tuple[AlertRoute, ...]]:
        """`opened` with the routes where a cause is to be told, `digest` where it goes to one; else
        why it is not told, and what keeps it quiet."""
        if cause.quiet_at is not None and rank(cause.severity) <= rank(cause.quiet_at):
            return Reason.QUIETED, cause.by, ()
        routes = self._routing.of(cause)
        if not routes:
            return Reason.NO_ROUTE, None, ()
        silence = self.silenced_by(cause)
        if silence is not None:
            return Reason.SILENCED, silence, ()
        if self._on_probation(cause):
            return Reason.DIGEST, None, ()
        other = self._inhibition.of(cause)
        if other is not None:
            return Reason.INHIBITED, other.fingerprint, ()
        return Reason.OPENED, None, routes

    def _is_told(self, cause: Cause) -> bool:
        """Whether a cause may silence others."""
        return bool(self._routing.of(cause)) and not self._on_probation(cause)

    def _on_probation(self, cause: Cause) -> bool:
        """Whether it goes to a digest; where there is none, it is told as everything else is."""
        if self._routing.routes.digest is None:
            return False
        if cause.contract is None or cause.kind in OF_RECEIVERS:
            return False
        known = self._book.versions.get(cause.contract)
        if known is None or cause.contract_version not in (None, known.version):
            return False
        return self._now - self._limits.probation < known.since
