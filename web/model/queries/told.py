"""What people were told of a cause: its alert, its silences, and when it was closed before."""

import apsw
import msgspec
from msgspec import Struct

from processors.alerts.routing import fits
from schemas.matching import unescaped
from web.model.queries.common import Place, Values, listed, place, rows


class Occurrence(Struct, frozen=True):
    """An earlier time that a cause was a pattern, closed since."""

    id: str
    count: int
    first_seen: int
    last_seen: int
    closed_at: int
    place: Place


class SinkTold(Struct, frozen=True):
    """What one sink was told of an alert last (trigger, update, acknowledge or resolve; None:
    nothing yet), and when. `pending` says that it has not answered, `undelivered` why it has not
    taken it."""

    sink: str
    action: str | None
    at: int | None
    pending: bool
    undelivered: str | None


class Told(Struct, frozen=True):
    """An alert or a silence: its key, its state (waiting, firing, acknowledged, silenced, ended; of
    a silence silence), since when, until when, and who acknowledged, silenced or put it. Of an
    alert, `due` is when it is told first, or a digest again."""

    key: str
    state: str | None
    since: int | None
    until: int | None
    by: str | None
    place: Place
    due: int | None = None
    sinks: list[SinkTold] = []


class Decided(Struct, frozen=True):
    """What the alerts have decided of a cause: the alert that tells it, or None. `reason` is the
    name of why; `by` the silence, the other cause or the person that keeps it quiet."""

    alert: str | None
    reason: str | None
    by: str | None


def decided(db: apsw.Connection, of: Values) -> Decided | None:
    """What is decided of a cause; None where the alerts do not know it."""
    found = db.execute(
        "select alert, reason, by_ from alerts where of_ = 'cause' and fingerprint = :fingerprint",
        of,
    ).fetchone()
    return None if found is None else Decided(*found)


def alerts(db: apsw.Connection, of: Values) -> list[Told]:
    """The alert that tells a cause."""
    found = rows(
        db,
        "select a.* from alerts c join alerts a on a.key = 'alert/' || c.alert "
        "where c.of_ = 'cause' and c.fingerprint = :fingerprint limit 10",
        of,
    )
    return [
        Told(
            key=each["key"].removeprefix("alert/"),
            state=each["state"],
            since=each["since"],
            until=each["until"],
            by=each["by_"],
            place=place("handoff.alerts", each["partition"], each["offset"]),
            due=each["due"],
            sinks=_sinks(each["sinks"]),
        )
        for each in found
    ]


_sinks = msgspec.json.Decoder(list[SinkTold]).decode


def fingerprints(db: apsw.Connection, key: str) -> list[str]:
    """The causes that an alert tells."""
    found = db.execute("select fingerprint from alerts where of_ = 'cause' and alert = ?", (key,))
    return [name for (name,) in found if name]


def silences(db: apsw.Connection, pattern: Struct, now: int) -> list[Told]:
    """The silences that cover a pattern at a moment: each member that one names fits one of its
    texts."""
    found = rows(
        db,
        "select * from silences where since <= :now and until > :now order by id limit 1000",
        {"now": now},
    )
    return [
        Told(
            key=each["id"],
            state="silence",
            since=each["since"],
            until=each["until"],
            by=each["by_"],
            place=place("handoff.silences", each["partition"], each["offset"]),
        )
        for each in found
        if fits(listed(each["match_"]), pattern)
    ]


def silenced_workflows(db: apsw.Connection, id_: str) -> list[str]:
    """The workflows that a silence is about, as it names them (`*` may stand for anything)."""
    found = db.execute("select match_ from silences where id = ?", (id_,)).get
    named = listed(found).get("workflow") if found else None
    return [unescaped(each) for each in named or ["*"]]


def earlier(db: apsw.Connection, of: Values) -> list[Occurrence]:
    found = rows(
        db,
        "select * from occurrences where fingerprint = :fingerprint "
        "order by first_seen desc limit 20",
        of,
    )
    return [
        Occurrence(
            id=each["id"],
            count=each["count"],
            first_seen=each["first_seen"],
            last_seen=each["last_seen"],
            closed_at=each["at"],
            place=place("handoff.figures", each["partition"], each["offset"]),
        )
        for each in found
    ]
