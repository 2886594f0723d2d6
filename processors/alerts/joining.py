"""Which alert tells a cause.

Each cause is in one alert at most. It waits outside of any while a silence, another cause or a
person keeps it quiet, and while no route matches it. It joins an alert that has not been told yet
and is of the same routes and group, or begins one. In an alert that was told it stays until it is
over, or more severe, or a person resolves the alert.
"""

import hashlib
from datetime import datetime
from typing import Final

from msgspec.structs import replace

from processors.alerts.quiet import next_digest
from processors.alerts.reasons import Reason, rank
from processors.alerts.round import AlertRound
from processors.alerts.routing import group_of
from processors.alerts.standing import Standing
from processors.alerts.verdict import is_told
from schemas.alerts import Alert, AlertKind, Cause, SinkTold

_DIGEST: Final = "digest"
Place = tuple[str, tuple[str, ...], tuple[tuple[str, str | None], ...]]


class Joining:
    """Lets causes go from alerts that are not told yet, and puts those into alerts that none has.

    `open` are the alerts that can be joined, by what their causes share.
    """

    def __init__(self, round_: AlertRound, standing: Standing) -> None:
        self._round = round_
        self._book = round_.book
        self._now = round_.now
        self._limits = round_.limits
        self._standing = standing
        self.open: dict[Place, str] = {}

    def run(self) -> None:
        """Place each cause that no alert tells."""
        for alert in self._round.alerts():
            if alert.state == "waiting" or (alert.kind != "causes" and alert.state != "ended"):
                self.open[_place(alert)] = alert.key
        for cause in self._book.untold():
            self._place_cause(cause)

    def review(self, alert: Alert) -> None:
        """Let go of the causes that do not belong in an alert that is not told yet (or a digest).
        One that has none left is forgotten where nobody was told of it."""
        for cause in self._book.members(alert.key):
            reason, by, routes = self._standing.why(cause)
            kept = (
                reason is Reason.DIGEST
                if alert.kind == "digest"
                else reason is Reason.OPENED
                and tuple(route.name for route in routes) == alert.routes
                and {route.sink for route in routes} == alert.sinks.keys()
            )
            if not kept:
                self._book.put_cause(replace(cause, alert=None, reason=reason.value, by=by))
                self._round.note(cause.fingerprint, None, reason)
        members = self._book.member_names(alert.key)
        if not members and not is_told(alert):
            self._book.remove_alert(alert)
        elif len(members) != alert.causes:
            self._book.put_alert(replace(alert, causes=len(members), content=alert.content + 1))

    def _place_cause(self, cause: Cause) -> None:
        reason, by, routes = self._standing.why(cause)
        if reason is Reason.DIGEST:
            self._join_digest(cause)
            return
        if reason is not Reason.OPENED:
            if (cause.reason, cause.by) != (reason.value, by):
                self._book.put_cause(replace(cause, reason=reason.value, by=by))
                self._round.note(cause.fingerprint, None, reason)
            return
        rose = cause.reason == Reason.SEVERITY_ROSE
        names = tuple(route.name for route in routes)
        group = group_of(routes[0], cause)
        key = self.open.get(("causes", names, _items(group)))
        alert = None if key is None else self._book.alerts[key]
        if alert is None:
            alert = self.begin("causes", cause, names, group, [r.sink for r in routes])
        self._join(alert, cause, Reason.SEVERITY_ROSE if rose else Reason.GROUP_WAIT)

    def _join_digest(self, cause: Cause) -> None:
        digest = self._round.routing.routes.digest
        assert digest is not None
        group: dict[str, str | None] = {"owner": cause.owner}
        key = self.open.get((_DIGEST, (), _items(group)))
        alert = None if key is None else self._book.alerts[key]
        if alert is None:
            alert = self.begin(_DIGEST, cause, (), group, [digest.sink])
            alert = replace(alert, due_at=next_digest(digest, self._now))
        self._join(alert, cause, Reason.DIGEST)

    def begin(
        self,
        kind: AlertKind,
        first: Cause,
        routes: tuple[str, ...],
        group: dict[str, str | None],
        sinks: list[str],
    ) -> Alert:
        return Alert(
            key=_key(kind, first, routes, self._now),
            kind=kind,
            state="waiting",
            group=group,
            routes=routes,
            severity="info",
            first=first.fingerprint,
            started_at=self._now,
            due_at=self._now + self._limits.group_wait,
            causes=0,
            loud=0,
            content=0,
            reason=Reason.GROUP_WAIT.value,
            sinks={sink: SinkTold() for sink in sinks},
        )

    def _join(self, alert: Alert, cause: Cause, reason: Reason) -> None:
        self._book.put_cause(
            replace(cause, alert=alert.key, reason=reason.value, by=None, told_count=0)
        )
        self.open[_place(alert)] = alert.key
        severity = alert.severity
        if alert.kind != "digest" and rank(cause.severity) > rank(severity):
            severity = cause.severity
        rose = reason is Reason.SEVERITY_ROSE
        self._book.put_alert(
            replace(
                alert,
                severity=severity,
                causes=len(self._book.member_names(alert.key)),
                content=alert.content + 1,
                due_at=min(alert.due_at, self._now) if rose else alert.due_at,
                reason=reason.value if rose else alert.reason,
            )
        )
        self._round.note(cause.fingerprint, alert.key, reason)


def _place(alert: Alert) -> Place:
    return alert.kind, alert.routes, _items(alert.group)


def _items(group: dict[str, str | None]) -> tuple[tuple[str, str | None], ...]:
    return tuple(sorted(group.items()))


def _key(kind: str, first: Cause, routes: tuple[str, ...], now: datetime) -> str:
    """The key of an alert: that of its first cause and of when it began, by these routes."""
    text = "\0".join((kind, first.id, first.severity, now.isoformat(), *routes))
    return f"a-{hashlib.sha256(text.encode()).hexdigest()[:32]}"
