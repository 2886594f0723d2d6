"""A tick: causes join alerts, alerts that are due are told."""

from msgspec.structs import replace

from processors.alerts.calling import Calling
from processors.alerts.events import Send
from processors.alerts.joining import Joining
from processors.alerts.reasons import Reason
from processors.alerts.round import AlertRound
from processors.alerts.standing import Standing
from processors.alerts.telling import Telling
from processors.alerts.verdict import is_told
from schemas.alerts import Alert


def settle(round_: AlertRound, console: str | None) -> list[Send]:
    """Decide all that waits: what is to be sent; why is in the round's notes."""
    standing = Standing(round_.book, round_.routing, round_.now, round_.limits)
    joining = Joining(round_, standing)
    _Passing(round_, standing, joining).run()
    joining.run()
    Calling(round_, joining).run()
    telling = Telling(round_, console)
    telling.run()
    return telling.sends


class _Passing:
    """What time has changed about the alerts that are there."""

    def __init__(self, round_: AlertRound, standing: Standing, joining: Joining) -> None:
        self._round = round_
        self._book = round_.book
        self._now = round_.now
        self._standing = standing
        self._joining = joining

    def run(self) -> None:
        for alert in self._round.alerts():
            self._look_at(alert)

    def _look_at(self, alert: Alert) -> None:
        if alert.state == "ended":
            return
        if not is_told(alert) or alert.kind == "digest":
            self._joining.review(alert)
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
        self._round.note(alert.first, alert.key, Reason.SILENCE_ENDED)
        return replace(alert, loud=alert.loud + 1, reason=Reason.SILENCE_ENDED.value)
