"""What one sink is told next of one alert: a pure function with a reason for each outcome.

The order of the questions is the rule:

    the sink is gone             nothing can be told; it is told the end where it comes back in time
    a message is under way       wait for its answer: so none overtakes another
    the alert has ended,         resolve, where the sink was told of it at all
    or the routes lead elsewhere
    people are to be called      trigger, unless a silence, quiet hours or a storm says wait
    a person looks after it      acknowledge, where the sink knows that
    there is something to add    update in place, where nobody is called by that
"""

from datetime import datetime
from typing import NamedTuple

from processors.alerts.limits import AlertLimits
from processors.alerts.quiet import quiet_until
from processors.alerts.rates import had_summary
from processors.alerts.reasons import Reason
from processors.alerts.routing import ACKNOWLEDGED_THERE, UPDATED_IN_PLACE
from schemas.alerts import Action, Alert, SinkRate, SinkTold
from schemas.routes import QuietHours, SinkKind


class NextMessage(NamedTuple):
    """What to send, if anything, and why or why not. `done` says that nothing will follow."""

    action: Action | None
    reason: Reason
    done: bool = False


class SinkNow(NamedTuple):
    """What is known of a sink: its kind is None where the routes do not have it any more. `named`
    says whether the routes lead the alert there."""

    kind: SinkKind | None
    named: bool
    quiet_hours: QuietHours | None
    rate: SinkRate | None


def is_told(alert: Alert) -> bool:
    """Whether any sink was told of an alert."""
    return any(told.number for told in alert.sinks.values())


def next_message(
    alert: Alert, told: SinkTold, sink: SinkNow, now: datetime, limits: AlertLimits
) -> NextMessage:
    """What a sink is told next of an alert at `now`."""
    over = alert.state == "ended" or not sink.named
    if sink.kind is None:
        waits = told.stays_open and not _is_late(alert, now, limits)
        return NextMessage(None, Reason.SINK_GONE, done=over and not waits)
    if told.pending is not None:
        return NextMessage(None, Reason.IN_FLIGHT)
    if over:
        if not told.reached:
            return NextMessage(None, Reason.NEVER_TOLD, done=True)
        if told.action == "resolve":
            return NextMessage(None, Reason.UNCHANGED, done=True)
        return NextMessage("resolve", why_over(alert))
    if alert.state == "waiting":
        return NextMessage(None, Reason.GROUP_WAIT)
    quieted = alert.state in ("acknowledged", "silenced")
    # Whoever acknowledged it did so elsewhere: a sink that is new to it is told that it is there.
    is_new = told.added and told.action is None and alert.state == "acknowledged"
    if told.loud < alert.loud and (is_new or not quieted):
        if alert.muted:
            return NextMessage(None, Reason.SILENCED)
        if quiet_until(sink.quiet_hours, now) is not None:
            return NextMessage(None, Reason.QUIET_HOURS)
        if alert.kind == "summary" and told.action is None and had_summary(sink.rate, now, limits):
            return NextMessage(None, Reason.STORM)
        return NextMessage("trigger", why_called(alert, told))
    if not told.reached:
        return NextMessage(None, Reason.QUIETED if quieted else Reason.UNCHANGED)
    if alert.state == "acknowledged" and told.action != "acknowledge":
        if sink.kind in ACKNOWLEDGED_THERE:
            return NextMessage("acknowledge", Reason.ACKNOWLEDGED)
        return NextMessage(None, Reason.NO_UPDATES)
    if told.content >= alert.content:
        return NextMessage(None, Reason.UNCHANGED)
    if alert.muted or quieted:
        return NextMessage(None, Reason.SILENCED if alert.muted else Reason.QUIETED)
    if alert.kind == "digest":
        return NextMessage(None, Reason.DIGEST)
    if sink.kind not in UPDATED_IN_PLACE:
        return NextMessage(None, Reason.NO_UPDATES)
    if told.at is not None and now - limits.update_every < told.at <= now:
        return NextMessage(None, Reason.TOO_SOON)
    return NextMessage("update", Reason.UPDATED)


def why_over(alert: Alert) -> Reason:
    """Why a sink is told that an alert is over."""
    return Reason(alert.reason) if alert.state == "ended" else Reason.ROUTED_ELSEWHERE


def _is_late(alert: Alert, now: datetime, limits: AlertLimits) -> bool:
    """Whether an alert has ended so long ago that no sink is told so which was gone."""
    return alert.ended_at is not None and alert.ended_at <= now - limits.sink_back


def why_called(alert: Alert, told: SinkTold) -> Reason:
    """Why a sink is called."""
    if told.added and (told.action is None or not told.reached):
        return Reason.ROUTED_HERE
    if told.reached:
        return Reason(alert.reason)
    match alert.kind:
        case "summary":
            return Reason.SUMMARY
        case "digest":
            return Reason.DIGEST
        case "causes":
            rose = alert.reason == Reason.SEVERITY_ROSE
            return Reason.SEVERITY_ROSE if rose else Reason.OPENED
