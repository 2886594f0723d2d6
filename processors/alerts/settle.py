"""A tick: causes join alerts, alerts that are due are told.

Each cause is in one alert at most. It waits outside of any while a silence, another cause or a
person keeps it quiet, and while no route matches it. It joins an alert that has not been told yet
and is of the same routes and group, or begins one. In an alert that was told it stays until it is
over, or more severe, or a person resolves the alert.
"""

import hashlib
from datetime import datetime
from typing import Final

from msgspec.structs import replace

from processors.alerts import message
from processors.alerts.book import Book
from processors.alerts.events import Note, Send
from processors.alerts.limits import AlertLimits
from processors.alerts.quiet import next_digest, quiet_until
from processors.alerts.reasons import Reason, rank
from processors.alerts.routing import Routing, group_of
from processors.alerts.standing import Standing
from processors.alerts.verdict import SinkNow, next_message
from schemas.alerts import (
    Action,
    Alert,
    AlertKind,
    Cause,
    Pending,
    SinkRate,
    SinkTold,
)
from schemas.records import Severity

_DIGEST: Final = "digest"
Place = tuple[str, tuple[str, ...], tuple[tuple[str, str | None], ...]]


def is_told(alert: Alert) -> bool:
    """Whether any sink was told of an alert."""
    return any(told.number for told in alert.sinks.values())


class Settling:
    """One tick at `now`. What is to be sent, and why, is in `sends` and `notes`."""

    def __init__(
        self,
        book: Book,
        routing: Routing,
        now: datetime,
        limits: AlertLimits,
        console: str | None,
    ) -> None:
        self._book = book
        self._routing = routing
        self._now = now
        self._limits = limits
        self._console = console
        self._standing = Standing(book, routing, now, limits)
        self._open: dict[Place, str] = {}
        self.sends: list[Send] = []
        self.notes: list[Note] = []

    def run(self) -> None:
        """Decide all that waits."""
        for alert in self._alerts():
            self._look_at(alert)
        for alert in self._alerts():
            if alert.state == "waiting" or (alert.kind != "causes" and alert.state != "ended"):
                self._open[_place(alert)] = alert.key
        for cause in self._book.untold():
            self._place_cause(cause)
        self._call()
        for alert in self._alerts():
            self._tell(alert)

    def _alerts(self) -> list[Alert]:
        return sorted(self._book.alerts.values(), key=lambda each: (each.started_at, each.key))

    # --- alerts that are there ------------------------------------------------------------------

    def _look_at(self, alert: Alert) -> None:
        """What time has changed about an alert."""
        if alert.state == "ended":
            return
        if not is_told(alert) or alert.kind == "digest":
            self._review(alert)
            return
        if alert.state == "silenced" and alert.until is not None and alert.until <= self._now:
            alert = self._loud(replace(alert, state="firing", by=None, until=None))
        if self._standing.silences or alert.muted:
            members = self._book.members(alert.key)
            muted = all(self._standing.silenced_by(cause) is not None for cause in members)
            if muted != alert.muted:
                alert = replace(alert, muted=muted)
                if not muted and alert.state == "firing":
                    alert = self._loud(alert)
        self._book.put_alert(alert)

    def _loud(self, alert: Alert) -> Alert:
        for member in self._book.members(alert.key):
            self._book.put_cause(replace(member, told_count=member.count))
        self._note(alert.first, alert.key, Reason.SILENCE_ENDED)
        return replace(alert, loud=alert.loud + 1, reason=Reason.SILENCE_ENDED.value)

    def _review(self, alert: Alert) -> None:
        """Let go of the causes that do not belong in an alert that is not told yet (or a digest).
        One that has none left is forgotten where nobody was told of it."""
        for cause in self._book.members(alert.key):
            reason, by, routes = self._standing.why(cause)
            kept = (
                reason is Reason.DIGEST
                if alert.kind == "digest"
                else reason is Reason.OPENED
                and tuple(route.name for route in routes) == alert.routes
            )
            if not kept:
                self._book.put_cause(replace(cause, alert=None, reason=reason.value, by=by))
                self._note(cause.fingerprint, None, reason)
        members = self._book.member_names(alert.key)
        if not members and not is_told(alert):
            self._book.remove_alert(alert)
        elif len(members) != alert.causes:
            self._book.put_alert(replace(alert, causes=len(members), content=alert.content + 1))

    # --- causes that no alert tells --------------------------------------------------------------

    def _place_cause(self, cause: Cause) -> None:
        reason, by, routes = self._standing.why(cause)
        if reason is Reason.DIGEST:
            self._join_digest(cause)
            return
        if reason is not Reason.OPENED:
            if (cause.reason, cause.by) != (reason.value, by):
                self._book.put_cause(replace(cause, reason=reason.value, by=by))
                self._note(cause.fingerprint, None, reason)
            return
        rose = cause.reason == Reason.SEVERITY_ROSE
        names = tuple(route.name for route in routes)
        group = group_of(routes[0], cause)
        key = self._open.get(("causes", names, _items(group)))
        alert = None if key is None else self._book.alerts[key]
        if alert is None:
            alert = self._begin("causes", cause, names, group, [r.sink for r in routes])
        self._join(alert, cause, Reason.SEVERITY_ROSE if rose else Reason.GROUP_WAIT)

    def _join_digest(self, cause: Cause) -> None:
        digest = self._routing.routes.digest
        assert digest is not None
        group: dict[str, str | None] = {"owner": cause.owner}
        key = self._open.get((_DIGEST, (), _items(group)))
        alert = None if key is None else self._book.alerts[key]
        if alert is None:
            alert = self._begin(_DIGEST, cause, (), group, [digest.sink])
            alert = replace(alert, due_at=next_digest(digest, self._now))
        self._join(alert, cause, Reason.DIGEST)

    def _begin(
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
        self._open[_place(alert)] = alert.key
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
        self._note(cause.fingerprint, alert.key, reason)

    # --- what is due ----------------------------------------------------------------------------

    def _call(self) -> None:
        """Alerts that are due call people, many at once as one summary."""
        waiting: dict[tuple[str, ...], list[Alert]] = {}
        for alert in self._alerts():
            if alert.kind == "digest":
                self._call_digest(alert)
            elif alert.kind == "causes" and alert.state == "waiting":
                waiting.setdefault(alert.routes, []).append(alert)
        for alerts in waiting.values():
            due = [a for a in alerts if self._is_due(a) and not self._all_quiet(a)]
            if due and self._is_storm(alerts, due):
                self._summarise(alerts)
                continue
            for alert in due:
                rose = alert.reason == Reason.SEVERITY_ROSE
                reason = Reason.SEVERITY_ROSE if rose else Reason.OPENED
                self._book.put_alert(replace(alert, state="firing", loud=1, reason=reason.value))

    def _is_due(self, alert: Alert) -> bool:
        """Whether the wait is over; also where the clock was set back to before it."""
        return alert.due_at <= self._now or alert.due_at > self._now + self._limits.group_wait

    def _all_quiet(self, alert: Alert) -> bool:
        return all(
            quiet_until(self._sink(alert, sink).quiet_hours, self._now) is not None
            for sink in alert.sinks
        )

    def _is_storm(self, waiting: list[Alert], due: list[Alert]) -> bool:
        most = self._limits.storm
        told = max(self._told_lately(sink) for sink in due[0].sinks)
        new = sum(alert.causes for alert in due)
        return told + new > most and (len(waiting) > 1 or told > most)

    def _summarise(self, alerts: list[Alert]) -> None:
        """Tell all causes of several alerts, which nobody was told of yet, in one."""
        causes = [cause for alert in alerts for cause in self._book.members(alert.key)]
        place: Place = ("summary", alerts[0].routes, ())
        key = self._open.get(place)
        summary = None if key is None else self._book.alerts[key]
        if summary is None or is_told(summary):
            summary = self._begin("summary", causes[0], alerts[0].routes, {}, [*alerts[0].sinks])
            summary = replace(summary, state="firing", loud=1, reason=Reason.SUMMARY.value)
        for cause in causes:
            self._book.put_cause(
                replace(cause, alert=summary.key, reason=Reason.SUMMARY.value, by=None)
            )
            self._note(cause.fingerprint, summary.key, Reason.SUMMARY)
        for alert in alerts:
            self._book.remove_alert(alert)
        severities: list[Severity] = [summary.severity, *(cause.severity for cause in causes)]
        self._open[place] = summary.key
        self._book.put_alert(
            replace(
                summary,
                severity=max(severities, key=rank),
                causes=len(self._book.member_names(summary.key)),
                content=summary.content + 1,
            )
        )

    def _call_digest(self, alert: Alert) -> None:
        digest = self._routing.routes.digest
        if alert.due_at > self._now or alert.state == "ended":
            return
        if not alert.causes:
            ended = replace(alert, state="ended", reason=Reason.CLOSED.value, ended_at=self._now)
            self._book.put_alert(ended)
            return
        new = any(told.content < alert.content for told in alert.sinks.values())
        self._book.put_alert(
            replace(
                alert,
                state="firing" if alert.state == "waiting" else alert.state,
                loud=alert.loud + new,
                reason=Reason.DIGEST.value,
                due_at=alert.due_at if digest is None else next_digest(digest, self._now),
            )
        )

    def _told_lately(self, sink: str) -> int:
        rate = self._book.rates.get(sink)
        begin = self._now - self._limits.storm_within
        # What the clock has not reached yet was told before it was set back: it counts no more.
        told = () if rate is None else rate.told
        return sum(number for at, number in told if begin < at <= self._now)

    # --- telling --------------------------------------------------------------------------------

    def _tell(self, alert: Alert) -> None:
        """Ask for each sink what it is told next; forget an alert of which all were told the
        end."""
        done = True
        for sink in sorted(alert.sinks):
            told = alert.sinks[sink]
            verdict = next_message(alert, told, self._sink(alert, sink), self._now, self._limits)
            done = done and verdict.done
            if verdict.action is None:
                continue
            first = not told.number
            if verdict.action == "trigger" and first and alert.kind == "causes":
                lately = self._told_lately(sink)
                if lately > self._limits.storm:
                    continue  # the next minute: more than a person can read came in this one
            if not is_told(alert):
                alert = self._first_told(alert)
            told = self._told(alert, sink, verdict.action)
            if first:
                self._count(alert, sink)
            alert = replace(alert, sinks={**alert.sinks, sink: told})
            self.say(alert, sink, told, verdict.action, verdict.reason)
            self.notes.append(
                Note(self._now, alert.first, alert.key, verdict.reason, sink, verdict.action)
            )
        if self.sends and self.sends[-1].notification.key == alert.key:
            alert = replace(alert, title=self.sends[-1].notification.title)
        self._book.put_alert(alert)
        if done and alert.state == "ended":
            self._book.remove_alert(alert)

    def _first_told(self, alert: Alert) -> Alert:
        """What stays as it is told first: severity, labels, and whom it is about."""
        members = self._book.members(alert.key)
        for member in members:
            reason = Reason.OPENED.value if alert.kind == "causes" else member.reason
            self._book.put_cause(replace(member, told_count=member.count, reason=reason))
        alert = replace(alert, first=members[0].fingerprint)
        if alert.kind != _DIGEST:
            alert = replace(alert, severity=max((c.severity for c in members), key=rank))
        owners = {(cause.owner_contact, cause.owner) for cause in members}
        contact, owner = owners.pop() if len(owners) == 1 else (None, None)
        sinks = {
            sink: replace(told, to=self._routing.contact(sink, contact, owner))
            if sink in self._routing.kinds
            else told
            for sink, told in alert.sinks.items()
        }
        return replace(alert, labels=message.labels(alert, members[0]), sinks=sinks)

    def _told(self, alert: Alert, sink: str, action: Action) -> SinkTold:
        told = alert.sinks[sink]
        return replace(
            told,
            number=told.number + 1,
            action=action,
            loud=alert.loud,
            content=alert.content,
            at=self._now,
            pending=Pending(told.number + 1, action, self._now),
        )

    def _count(self, alert: Alert, sink: str) -> None:
        if alert.kind == "digest":
            return
        rate = self._book.rates.get(sink) or SinkRate(sink)
        begin = self._now - self._limits.storm_within
        told = tuple(each for each in rate.told if begin < each[0] <= self._now)
        summary_at = self._now if alert.kind == "summary" else rate.summary_at
        self._book.put_rate(SinkRate(sink, (*told, (self._now, alert.causes)), summary_at))

    def say(self, alert: Alert, sink: str, told: SinkTold, action: Action, reason: Reason) -> None:
        """Put a message for a sink into `sends`."""
        causes = [] if alert.state == "ended" else self._book.members(alert.key)
        routes = self._routing.routes
        note = message.notification(
            alert,
            causes,
            told,
            action,
            reason,
            self._now,
            to=told.to,
            console=self._console,
            runbook=routes.runbook,
        )
        self.sends.append(Send(sink, note))

    def _sink(self, alert: Alert, sink: str) -> SinkNow:
        routes = [self._routing.named(name) for name in alert.routes]
        route = next((each for each in routes if each is not None and each.sink == sink), None)
        return SinkNow(
            self._routing.kinds.get(sink),
            None if route is None else route.quiet_hours,
            self._book.rates.get(sink),
        )

    def _note(self, about: str, alert: str | None, reason: Reason) -> None:
        self.notes.append(Note(self._now, about, alert, reason))


def _place(alert: Alert) -> Place:
    return alert.kind, alert.routes, _items(alert.group)


def _items(group: dict[str, str | None]) -> tuple[tuple[str, str | None], ...]:
    return tuple(sorted(group.items()))


def _key(kind: str, first: Cause, routes: tuple[str, ...], now: datetime) -> str:
    """The key of an alert: that of its first cause and of when it began, by these routes."""
    text = "\0".join((kind, first.id, first.severity, now.isoformat(), *routes))
    return f"a-{hashlib.sha256(text.encode()).hexdigest()[:32]}"
