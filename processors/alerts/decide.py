"""The decisions of alerts: one event changes the book, and says whom to tell. The whole of it is
pure: no clock, no randomness, no input or output; `now` is given.

    a cause is told, or is over     the book is brought up to date
    the routes were read            `reroute`: each alert is to be told where they lead now
    a tick                          `settle`: what waits joins an alert, what is due is told

An alert is told by `verdict.next_message`, sink by sink, one message under way at a time. So each
sink hears of an alert in order, and of its end exactly once.
"""

from datetime import datetime

from msgspec.structs import replace

from processors.alerts.book import Book
from processors.alerts.causes import carried_on
from processors.alerts.events import (
    Answered,
    CauseOver,
    CauseTold,
    Decision,
    Event,
    Note,
    PersonSaid,
    RoutesRead,
    Send,
    SilencePut,
    Tick,
    VersionInForce,
)
from processors.alerts.limits import DEFAULT_ALERT_LIMITS, AlertLimits
from processors.alerts.reasons import CLOSINGS, Reason, rank
from processors.alerts.rerouting import reroute
from processors.alerts.round import AlertRound
from processors.alerts.routing import Routing
from processors.alerts.settle import settle
from processors.alerts.telling import Telling
from processors.alerts.verdict import is_told, why_called, why_over
from schemas.alerts import Alert, Cause, Notification, VersionSince


def decide(
    book: Book,
    event: Event,
    routing: Routing,
    now: datetime,
    limits: AlertLimits = DEFAULT_ALERT_LIMITS,
    console: str | None = None,
) -> Decision:
    """Take one event into the book at `now`. What has changed is then in `book.changed()`.

    `console` is the address of the console's pages, for the links.
    """
    notes: list[Note] = []
    match event:
        case CauseTold(cause):
            _told(book, cause, routing, now=now, limits=limits, notes=notes)
        case CauseOver(fingerprint, reason):
            known = book.causes.get(fingerprint)
            closed = reason in (Reason.CLOSED, *CLOSINGS.values())
            if known is not None:
                _over(book, known, now, notes, reason if closed else Reason.CLOSED)
            elif not closed:
                notes.append(Note(now, fingerprint, None, reason))
        case VersionInForce():
            _in_force(book, event)
        case SilencePut(id_, silence):
            if silence is None:
                book.silences.pop(id_, None)
            else:
                book.silences[id_] = silence
        case PersonSaid():
            _said(book, event, now, notes)
        case Answered():
            _answered(book, event)
        case RoutesRead():
            round_ = AlertRound(book, routing, now, limits)
            reroute(round_)
            notes = round_.notes
        case Tick():
            round_ = AlertRound(book, routing, now, limits)
            return Decision(tuple(settle(round_, console)), tuple(round_.notes))
    return Decision((), tuple(notes))


def again(
    book: Book, routing: Routing, now: datetime, console: str | None = None
) -> tuple[Send, ...]:
    """The messages that were under way when the process ended: each is sent again with its number,
    since nobody knows whether the sink has it."""
    telling = Telling(AlertRound(book, routing, now, DEFAULT_ALERT_LIMITS), console)
    for alert in sorted(book.alerts.values(), key=lambda alert: (alert.started_at, alert.key)):
        for sink, told in alert.sinks.items():
            if told.pending is not None and sink in routing.kinds:
                action = told.pending.action
                why = why_over(alert) if action == "resolve" else why_called(alert, told)
                # The routes may lead back to a sink that has not answered to its end: then the
                # number is another one by now.
                sent = replace(told, number=told.pending.number)
                telling.say(alert, sink, sent, action, why)
    return tuple(telling.sends)


def firing(
    book: Book, routing: Routing, sink: str, now: datetime, console: str | None = None
) -> tuple[Notification, ...]:
    """The last message of each alert that a sink holds as firing: for a sink that forgets what is
    not said again."""
    telling = Telling(AlertRound(book, routing, now, DEFAULT_ALERT_LIMITS), console)
    for alert in sorted(book.alerts.values(), key=lambda alert: (alert.started_at, alert.key)):
        told = alert.sinks.get(sink)
        if told is not None and told.reached and told.action not in (None, "resolve"):
            telling.say(alert, sink, told, "trigger", Reason(alert.reason))
    return tuple(send.notification for send in telling.sends)


def _told(
    book: Book,
    cause: Cause,
    routing: Routing,
    now: datetime,
    limits: AlertLimits,
    notes: list[Note],
) -> None:
    before = book.causes.get(cause.fingerprint)
    if before is not None and before.id != cause.id:  # its end was not read: the topic is compacted
        _over(book, before, now, notes)
        before = None
    if before is None:
        book.put_cause(cause)
        return
    after = carried_on(before, cause)
    rose = rank(after.severity) > rank(before.severity)
    if rose and after.quiet_at is not None:
        after = replace(after, quiet_at=None, by=None, reason=Reason.SEVERITY_ROSE.value)
    alert = book.alerts[after.alert] if after.alert is not None else None
    if alert is None:
        book.put_cause(after)
        return
    if rose and alert.kind != "digest" and _calls_again(alert, after):
        notes.append(Note(now, after.fingerprint, alert.key, Reason.MOVED))
        book.put_cause(replace(after, alert=None, reason=Reason.SEVERITY_ROSE.value))
        left(book, alert, now, Reason.MOVED)
        return
    if _is_for_others(alert, before, after, routing):
        notes.append(Note(now, after.fingerprint, alert.key, Reason.FOR_OTHERS))
        book.put_cause(replace(after, alert=None, reason=Reason.NEW.value))
        left(book, alert, now, Reason.FOR_OTHERS)
        return
    book.put_cause(after)
    alert = replace(alert, content=alert.content + 1)
    if (
        alert.state == "firing"
        and alert.kind != "digest"
        and not alert.muted
        and after.told_count
        and after.count >= limits.grown * after.told_count
    ):
        alert = replace(alert, loud=alert.loud + 1, reason=Reason.GROWN_TENFOLD.value)
        for member in book.members(alert.key):
            book.put_cause(replace(member, told_count=member.count))
        notes.append(Note(now, after.fingerprint, alert.key, Reason.GROWN_TENFOLD))
    book.put_alert(alert)


def _calls_again(alert: Alert, cause: Cause) -> bool:
    """Whether a cause that is more severe by now is told in an alert of its own."""
    return (
        not is_told(alert)
        or alert.state in ("acknowledged", "silenced")
        or rank(cause.severity) > rank(alert.severity)
    )


def _is_for_others(alert: Alert, before: Cause, after: Cause, routing: Routing) -> bool:
    """Whether others are called by now for a cause that was told: it has another owner or receiver.
    What a person keeps quiet stays so."""
    return (
        is_told(alert)
        and alert.kind != "digest"
        and alert.state == "firing"
        and routing.called(before) != routing.called(after)
    )


def _over(
    book: Book, cause: Cause, now: datetime, notes: list[Note], reason: Reason = Reason.CLOSED
) -> None:
    book.remove_cause(cause)
    notes.append(Note(now, cause.fingerprint, cause.alert, reason))
    if cause.alert is not None:
        left(book, book.alerts[cause.alert], now, reason)


def left(book: Book, alert: Alert, now: datetime, reason: Reason) -> None:
    """A cause has left an alert: where it was the last one, the alert ends. A digest, and one that
    was never told, is looked at by the next tick."""
    causes = len(book.member_names(alert.key))
    alert = replace(alert, causes=causes, content=alert.content + 1)
    if not causes and alert.kind != "digest" and alert.state not in ("waiting", "ended"):
        alert = replace(alert, state="ended", reason=reason.value, ended_at=now, until=None)
    book.put_alert(alert)


def _in_force(book: Book, event: VersionInForce) -> None:
    known = book.versions.get(event.contract)
    if known is None or event.version > known.version:
        book.put_version(VersionSince(event.contract, event.version, event.since))
    elif event.version == known.version and event.since < known.since:
        book.put_version(replace(known, since=event.since))


def _said(book: Book, event: PersonSaid, now: datetime, notes: list[Note]) -> None:
    action = event.action
    alert = book.alerts.get(action.key)
    if alert is None or alert.state in ("ended", "waiting"):
        notes.append(Note(now, action.key, None, Reason.UNKNOWN_ALERT))
        return
    match action.action:
        case "ack":
            state, reason, until = "acknowledged", Reason.ACKNOWLEDGED, None
            book.put_alert(
                replace(alert, state=state, reason=reason.value, by=action.by, until=until)
            )
        case "silence":
            if event.until is not None and event.until <= now:
                return
            reason = Reason.SILENCED
            book.put_alert(
                replace(
                    alert, state="silenced", reason=reason.value, by=action.by, until=event.until
                )
            )
        case "resolve":
            reason = Reason.RESOLVED_BY_PERSON
            for member in book.members(alert.key):
                book.put_cause(
                    replace(
                        member,
                        alert=None,
                        reason=Reason.QUIETED.value,
                        by=action.by,
                        quiet_at=member.severity,
                    )
                )
            book.put_alert(
                replace(
                    alert,
                    state="ended",
                    reason=reason.value,
                    by=action.by,
                    until=None,
                    causes=0,
                    ended_at=now,
                )
            )
    notes.append(Note(now, alert.first, alert.key, reason))


def _answered(book: Book, event: Answered) -> None:
    alert = book.alerts.get(event.key)
    told = None if alert is None else alert.sinks.get(event.sink)
    if alert is None or told is None or told.pending is None:
        return  # of an alert that is over
    if told.pending.number != event.number:
        return  # of a message that was sent again meanwhile
    if told.action is None:  # the end of what it was told before the routes led back to it
        told = replace(told, pending=None)
    elif event.outcome == "taken":
        told = replace(
            told,
            pending=None,
            reached=True,
            reference=told.reference if event.reference is None else event.reference,
            undelivered=None,
        )
    else:
        # Who gave up does not know whether the sink has it: then its end is told, too.
        reached = told.reached or event.outcome == "given_up"
        why = event.why or "no reason is known"
        told = replace(told, pending=None, reached=reached, undelivered=why)
    book.put_alert(replace(alert, sinks={**alert.sinks, event.sink: told}))
