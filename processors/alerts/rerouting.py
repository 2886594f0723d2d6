"""What becomes of alerts when the routes have changed: each is told at the sinks they name now.

    a sink that the routes name by now      is told the alert, as it stands
    one that they do not name any more      is told the end; then it is forgotten
    one that is not in the file any more    cannot be told: it is marked as gone, and told the end
                                            where it comes back within `AlertLimits.sink_back`
    one that was there all the time         hears nothing

An alert stays one alert, with its key. So a sink that only has another name now takes what it is
told for the same alert where it deduplicates by the key. Where the routes lead the causes of one
alert apart, most of them stay, and the others are told anew.

What nobody was told of yet is not looked at here: the next tick places it by the routes.
"""

from collections.abc import Mapping

from msgspec.structs import replace

from processors.alerts.reasons import Reason
from processors.alerts.round import AlertRound
from processors.alerts.routing import Routing
from processors.alerts.verdict import is_told
from schemas.alerts import Alert, Cause, SinkTold
from schemas.routes import AlertRoute


def reroute(round_: AlertRound) -> None:
    """Bring all alerts in line with the routes."""
    for alert in round_.alerts():
        round_.book.put_alert(_rerouted(_other_kinds(alert, round_.routing), round_))


def _rerouted(alert: Alert, round_: AlertRound) -> Alert:
    if alert.state != "ended":
        if alert.kind == "digest":
            alert = _digest(alert, round_.routing)
        elif is_told(alert):
            alert = _causes(alert, round_)
    sinks = {
        sink: replace(told, gone=sink not in round_.routing.kinds)
        for sink, told in alert.sinks.items()
    }
    return replace(alert, sinks=sinks)


def _other_kinds(alert: Alert, routing: Routing) -> Alert:
    """A sink that is of another kind now knows nothing of the alert; the one that it was is gone,
    and has a name of its own until it is back."""
    sinks: dict[str, SinkTold] = {}
    for sink, told in alert.sinks.items():
        kind = routing.kinds.get(sink)
        if kind is None or told.kind in (None, kind):
            sinks[sink] = told
            continue
        was = _name(sink, told.kind)
        if was not in alert.sinks and was not in routing.kinds:
            sinks[was] = told
    for sink, kind in routing.kinds.items():
        back = sinks.get(_name(sink, kind))
        if back is None or back.kind != kind:
            continue
        here = sinks.get(sink)
        if here is None or (here.action is None and here.pending is None):
            sinks[sink] = sinks.pop(_name(sink, kind))
    return replace(alert, sinks=sinks)


def _name(sink: str, kind: str | None) -> str:
    return f"{sink} ({kind})"


def _digest(alert: Alert, routing: Routing) -> Alert:
    digest = routing.routes.digest
    if digest is None:
        return alert  # its causes leave it, with the next tick
    if not is_told(alert):
        return replace(alert, sinks={digest.sink: SinkTold()})
    return replace(alert, sinks=_at(alert, {digest.sink: None}))


def _causes(alert: Alert, round_: AlertRound) -> Alert:
    """An alert with the causes that the routes lead to the same sinks; the others leave it."""
    book, routing = round_.book, round_.routing
    found: dict[tuple[str, ...], list[tuple[Cause, tuple[AlertRoute, ...]]]] = {}
    for cause in book.members(alert.key):
        routes = routing.of(cause)
        found.setdefault(tuple(sorted(r.sink for r in routes)), []).append((cause, routes))
    if not found:
        return alert  # its causes cannot be read: nobody knows whether they are over
    kept = max((sinks for sinks in found if sinks), key=lambda s: (len(found[s]), s), default=None)
    for sinks, causes in found.items():
        for cause, _ in causes if sinks != kept else ():
            book.put_cause(replace(cause, alert=None, reason=Reason.NEW.value, told_count=0))
            round_.note(cause.fingerprint, alert.key, Reason.ROUTED_ELSEWHERE)
    causes_left = len(book.member_names(alert.key))
    if kept is None:
        return replace(
            alert,
            state="ended",
            reason=Reason.ROUTED_ELSEWHERE.value,
            causes=0,
            ended_at=round_.now,
            until=None,
        )
    routes = found[kept][0][1]
    owners = {(cause.owner_contact, cause.owner) for cause, _ in found[kept]}
    contact, owner = owners.pop() if len(owners) == 1 else (None, None)
    to = {sink: routing.contact(sink, contact, owner) for sink in kept}
    return replace(
        alert,
        routes=tuple(route.name for route in routes),
        sinks=_at(alert, to),
        causes=causes_left,
        content=alert.content + (causes_left != alert.causes),
    )


def _at(alert: Alert, wanted: Mapping[str, str | None]) -> dict[str, SinkTold]:
    """What the sinks were told, with those that the routes name by now and that know nothing of the
    alert, or were told its end. `wanted` are the contacts there.

    Numbers go on from the highest of the alert: a sink of another name may be the same service, and
    must not take a message for one that it has had.
    """
    sinks = dict(alert.sinks)
    number = max(told.number for told in sinks.values()) if sinks else 1
    for sink, to in wanted.items():
        told = sinks.get(sink)
        if told is None:
            sinks[sink] = SinkTold(number=number, to=to, added=True)
        elif told.action == "resolve":
            sinks[sink] = SinkTold(
                number=number, to=to, added=True, pending=told.pending, kind=told.kind
            )
    return sinks
