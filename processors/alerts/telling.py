"""What each sink is told of each alert now."""

from msgspec.structs import replace

from processors.alerts import message
from processors.alerts.events import Note, Send
from processors.alerts.rates import causes_told, counted
from processors.alerts.reasons import Reason, rank
from processors.alerts.round import AlertRound
from processors.alerts.verdict import is_told, next_message
from schemas.alerts import Action, Alert, Pending, SinkTold


class Telling:
    """Makes messages: `sends`. `console` is the address of the console's pages."""

    def __init__(self, round_: AlertRound, console: str | None) -> None:
        self._round = round_
        self._book = round_.book
        self._now = round_.now
        self._limits = round_.limits
        self._console = console
        self.sends: list[Send] = []

    def run(self) -> None:
        """Tell what is due."""
        for alert in self._round.alerts():
            self._tell(alert)

    def _tell(self, alert: Alert) -> None:
        """Ask for each sink what it is told next; forget an alert of which all were told the
        end."""
        done = True
        for sink in sorted(alert.sinks):
            told = alert.sinks[sink]
            verdict = next_message(
                alert, told, self._round.sink(alert, sink), self._now, self._limits
            )
            done = done and verdict.done
            if verdict.done and alert.state != "ended":  # the routes lead elsewhere
                alert = replace(
                    alert, sinks={name: t for name, t in alert.sinks.items() if name != sink}
                )
            if verdict.action is None:
                continue
            first = told.action is None
            if verdict.action == "trigger" and first and alert.kind == "causes":
                rate = self._book.rates.get(sink)
                if causes_told(rate, self._now, self._limits) > self._limits.storm:
                    continue  # the next minute: more than a person can read came in this one
            if not is_told(alert) and self._book.member_names(alert.key):
                alert = self._first_told(alert)
            told = self._told(alert, sink, verdict.action)
            if first:
                self._count(alert, sink)
            alert = replace(alert, sinks={**alert.sinks, sink: told})
            self.say(alert, sink, told, verdict.action, verdict.reason)
            self._round.notes.append(
                Note(
                    at=self._now,
                    about=alert.first,
                    alert=alert.key,
                    reason=verdict.reason,
                    sink=sink,
                    action=verdict.action,
                )
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
        if alert.kind != "digest":
            alert = replace(alert, severity=max((c.severity for c in members), key=rank))
        owners = {(cause.owner_contact, cause.owner) for cause in members}
        contact, owner = owners.pop() if len(owners) == 1 else (None, None)
        sinks = {
            sink: replace(told, to=self._round.routing.contact(sink, contact, owner))
            if sink in self._round.routing.kinds
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
            kind=self._round.routing.kinds[sink],
            pending=Pending(told.number + 1, action, self._now),
            # What was told before the first message has ended: another one is begun.
            reference=None if told.action is None else told.reference,
        )

    def _count(self, alert: Alert, sink: str) -> None:
        if alert.kind == "digest":
            return
        book, now, limits = self._book, self._now, self._limits
        book.put_rate(counted(book.rates.get(sink), sink, alert, now, limits))

    def say(self, alert: Alert, sink: str, told: SinkTold, action: Action, reason: Reason) -> None:
        """Put a message for a sink into `sends`."""
        causes = [] if action == "resolve" else self._book.members(alert.key)
        routes = self._round.routing.routes
        note = message.notification(
            alert,
            causes,
            told,
            action=action,
            reason=reason,
            now=self._now,
            to=told.to,
            console=self._console,
            runbook=routes.runbook,
        )
        self.sends.append(Send(sink, note))
