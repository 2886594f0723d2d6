"""Which alerts are due, and whether they come as one summary, as in a storm."""

from msgspec.structs import replace

from processors.alerts.joining import Joining, Place
from processors.alerts.quiet import next_digest, quiet_until
from processors.alerts.rates import causes_told
from processors.alerts.reasons import Reason, rank
from processors.alerts.round import AlertRound
from processors.alerts.verdict import is_told
from schemas.alerts import Alert
from schemas.records import Severity


class Calling:
    """Has alerts that are due call people."""

    def __init__(self, round_: AlertRound, joining: Joining) -> None:
        self._round = round_
        self._book = round_.book
        self._now = round_.now
        self._limits = round_.limits
        self._joining = joining

    def run(self) -> None:
        """Alerts that are due call people, many at once as one summary."""
        waiting: dict[tuple[str, ...], list[Alert]] = {}
        for alert in self._round.alerts():
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
            quiet_until(self._round.sink(alert, sink).quiet_hours, self._now) is not None
            for sink in alert.sinks
        )

    def _is_storm(self, waiting: list[Alert], due: list[Alert]) -> bool:
        most = self._limits.storm
        book, now, limits = self._book, self._now, self._limits
        told = max(causes_told(book.rates.get(sink), now, limits) for sink in due[0].sinks)
        new = sum(alert.causes for alert in due)
        return told + new > most and (len(waiting) > 1 or told > most)

    def _summarise(self, alerts: list[Alert]) -> None:
        """Tell all causes of several alerts, which nobody was told of yet, in one."""
        causes = [cause for alert in alerts for cause in self._book.members(alert.key)]
        place: Place = ("summary", alerts[0].routes, ())
        key = self._joining.open.get(place)
        summary = None if key is None else self._book.alerts[key]
        if summary is None or is_told(summary):
            summary = self._joining.begin(
                "summary", causes[0], alerts[0].routes, {}, [*alerts[0].sinks]
            )
            summary = replace(summary, state="firing", loud=1, reason=Reason.SUMMARY.value)
        for cause in causes:
            self._book.put_cause(
                replace(cause, alert=summary.key, reason=Reason.SUMMARY.value, by=None)
            )
            self._round.note(cause.fingerprint, summary.key, Reason.SUMMARY)
        for alert in alerts:
            self._book.remove_alert(alert)
        severities: list[Severity] = [summary.severity, *(cause.severity for cause in causes)]
        self._joining.open[place] = summary.key
        self._book.put_alert(
            replace(
                summary,
                severity=max(severities, key=rank),
                causes=len(self._book.member_names(summary.key)),
                content=summary.content + 1,
            )
        )

    def _call_digest(self, alert: Alert) -> None:
        digest = self._round.routing.routes.digest
        if alert.state == "ended":
            return
        if alert.due_at > self._now:
            if digest is not None:  # where the clock was set back, or the digest is told earlier
                due_at = min(alert.due_at, next_digest(digest, self._now))
                self._book.put_alert(replace(alert, due_at=due_at))
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
