"""Who was told of a cause, by which sink, when and with which result; and why nobody was. Pure."""

from typing import Final

from processors.alerts.reasons import IN_WORDS, Reason
from web.model.queries.causes import Cause
from web.model.queries.told import Decided, SinkTold, Told
from web.tables import Cell, Column, Row, Table, row
from web.text import iso

_SAID: Final = {
    "trigger": "it began",
    "update": "it has changed",
    "acknowledge": "somebody looks after it",
    "resolve": "it is over",
}
_STATES: Final = {
    "waiting": "waits to be told",
    "acknowledged": "looked after",
    "silence": "silence",
}
# What to do about it, where somebody can.
_THEN: Final = {
    Reason.NO_ROUTE: "Add one to the file of HANDOFF_ALERT_ROUTES: handoff alerts lint FILE",
    Reason.INHIBITED: "That one is told in its place.",
    Reason.QUIETED: "It is told again when it is more severe, or begins anew.",
}


def sinks_table(found: Cause, now: int) -> Table:
    """Each sink of the alerts that tell a cause, and what became of the last message to it. `now`
    is epoch ms."""
    rows = [_sink(alert, each) for alert in found.alerts for each in alert.sinks]
    why = untold(found, now)
    return Table(
        "sinks",
        "Which sinks were told",
        [Column("Sink"), Column("Told last"), Column("Result"), Column("At", "time")],
        rows,
        why or "No sink is asked to tell it.",
        notes=[why] if why and rows else [],
    )


def alerts_table(found: Cause) -> Table:
    """The alerts that tell a cause, and the silences that cover it."""
    return Table(
        "alerts",
        "Its alert, and silences",
        [
            Column("State"),
            Column("Since", "time"),
            Column("Until", "time"),
            Column("By"),
            Column("Key"),
        ],
        [_alert(each) for each in [*found.alerts, *found.silences]],
        "No alert tells it, and no silence covers it.",
    )


def untold(found: Cause, now: int) -> str | None:
    """Why nobody was told of a cause, or was not yet; None where somebody was."""
    if any(each.action is not None for alert in found.alerts for each in alert.sinks):
        return None
    if found.alerts:
        return _waits(found.alerts[0], now)
    if found.decided is not None:
        return _quiet(found.decided)
    if found.pattern is None:
        return (
            "Nobody was told: alerts tell of what keeps breaking, and this broke too seldom, or is "
            "over."
        )
    if found.pattern.status == "closed":
        return "Nobody is told any more: it is over. What was told of it is not kept after that."
    return (
        "Nobody was told, as far as is known here: no process of the alerts has written anything "
        "of it. One has to run (handoff alerts run); handoff doctor says whether it does."
    )


def _waits(alert: Told, now: int) -> str:
    if alert.due is not None and alert.due > now:
        return (
            "Nobody was told yet: it waits for others that come with it, and is told from "
            f"{iso(alert.due)} on."
        )
    return (
        "Nobody was told yet, and it is due: its route has quiet hours, many causes came at once "
        "and are told in the next minute, or the alerts do not run (handoff doctor)."
    )


def _quiet(decided: Decided) -> str:
    reason = next((each for each in Reason if each.value == decided.reason), None)
    words = IN_WORDS[reason] if reason is not None else decided.reason or "it is not known why"
    # The other cause may be of others: the page names it to those who may see it.
    by = f" ({decided.by})" if decided.by and reason is not Reason.INHIBITED else ""
    then = _THEN.get(reason) if reason is not None else None
    return f"Nobody is told: {words}{by}." + (f" {then}" if then else "")


def _sink(alert: Told, each: SinkTold) -> Row:
    if each.action is None:
        result = Cell("not told yet", mark="info")
    elif each.undelivered is not None and not each.pending:
        result = Cell(f"not taken: {each.undelivered}", mark="bad")
    elif each.pending:
        result = Cell("sent, not answered yet", mark="info")
    else:
        result = Cell("taken", mark="good")
    said = None if each.action is None else _SAID.get(each.action, each.action)
    return row(f"{alert.key}/{each.sink}", each.sink, said, result, each.at)


def _alert(each: Told) -> Row:
    mark = "bad" if each.state == "firing" else "info"
    state = _STATES.get(each.state or "", each.state)
    return row(
        each.key,
        Cell(state or "not known", mark=mark),
        each.since,
        each.until,
        each.by,
        each.key,
    )


def because(found: Cause) -> str | None:
    """The fingerprint of the other cause from which this one follows, so that it is not told."""
    decided = found.decided
    return decided.by if decided is not None and decided.reason == Reason.INHIBITED else None
