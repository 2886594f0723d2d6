"""Patterns: what keeps breaking, and what there is to know of one cause at three in the morning."""

from collections.abc import Collection
from typing import Any, Final, Literal

import apsw
from msgspec import Struct

from web.model.filters import Filters
from web.model.parts import json_text
from web.model.queries.amendments import Request, asked_of
from web.model.queries.common import (
    ROWS,
    Place,
    Values,
    listed,
    place,
    rows,
)
from web.model.queries.told import Decided, Occurrence, Told, alerts, decided, earlier, silences
from web.model.schema import NUMBER

DAYS_BEFORE: Final = 3
_DAY_MS: Final = 86_400_000
_LAST: Final = 1_000  # violations that are looked at for who had the value last
_WORST: Final = "case p.severity when 'error' then 0 when 'warning' then 1 else 2 end"

Status = Literal["open", "closed", "all"]


# The lanes `l` where a pattern `p` breaks, as far as it says so.
PATTERN_LANES: Final = (
    "l.workflow = p.workflow and (p.receiver is null or l.receiver = p.receiver) "
    "and (p.from_ is null or l.from_stage = p.from_)"
)


class PatternRow(Struct, frozen=True):
    """One pattern. Times are epoch ms; `rate` is per hour; `place` is that of its record, which has
    its message. `status` is opened, updated or closed."""

    fingerprint: str
    id: str
    status: str
    kind: str
    severity: str
    workflow: str
    contract: str | None
    receiver: str | None
    from_: str | None
    to: str | None
    field: str | None
    owner: str | None
    owner_contact: str | None
    count: int
    recent: int
    rate: float
    first_seen: int
    last_seen: int
    at: int
    stages: dict[str, int]
    tools: dict[str, int]
    tasks: list[str]
    place: Place


class PatternPage(Struct, frozen=True):
    """Patterns, the worst first, and whether there are more."""

    rows: list[PatternRow]
    next: str | None


class Had(Struct, frozen=True):
    """Who had a lost value last, and of how many violations: an event of this tool at this stage;
    `place` is the latest one's record."""

    tool: str
    stage: str
    count: int
    event_id: str
    at: int
    place: Place


class Registered(Struct, frozen=True):
    """A version of a document that was registered (or `removed`), when, and where it lies."""

    what: str
    id: str
    version: int | None
    status: str
    at: int
    place: Place


class HeldBy(Struct, frozen=True):
    """A held handoff that a cause holds, with the amendments that wait for an answer."""

    id: str
    revision: int
    task_id: str
    workflow: str
    receiver: str
    since: int
    place: Place
    pending: list[Request]


class Cause(Struct, frozen=True):
    """What is known of one cause.

    `kind` and `field` (or the rule) are those of the pattern, else of its newest violation. `open`
    counts violations that are still open, `total` all that the model holds, both up to 1,000.
    `samples` are its newest violations' tasks. `before` is what was registered in the days before
    it began, newest first. `held` are at most 200 handoffs. `decided` is None where the alerts do
    not know it. `silences` are those that cover it at the moment. `earlier` are occurrences that
    were closed, the last ones first.
    """

    pattern: PatternRow | None
    fingerprint: str
    kind: str
    field: str | None
    total: int
    open: int
    owner: str | None
    owner_contact: str | None
    samples: list[str]
    had_last: list[Had]
    before: list[Registered]
    held: list[HeldBy]
    decided: Decided | None
    alerts: list[Told]
    silences: list[Told]
    earlier: list[Occurrence]


def pattern_filter(filters: Filters) -> tuple[str, Values]:
    """The condition that patterns `p` fulfil. A pattern's teams are those of its violations, or
    where none is known any more, of the handoffs on its edge."""
    parts, values = ["true"], Values()
    for name in ("workflow", "contract", "receiver", "owner", "kind", "severity"):
        wanted = getattr(filters, name)
        if wanted is not None:
            parts.append(f"p.{name} = :{name}")
            values[name] = wanted
    if filters.team is not None:
        parts.append(
            "case when exists (select 1 from violations v where v.fingerprint = p.fingerprint) "
            "then exists (select 1 from violations v join lanes l on l.id = v.lane "
            "where v.fingerprint = p.fingerprint and :team in (l.from_team, l.to_team)) "
            f"else exists (select 1 from lanes l where {PATTERN_LANES} "
            "and :team in (l.from_team, l.to_team)) end"
        )
        values["team"] = filters.team
    return " and ".join(parts), values


OPEN: Final = "p.status in ('opened', 'updated')"


def patterns(
    db: apsw.Connection,
    filters: Filters,
    status: Status = "open",
    cursor: str | None = None,
    limit: int = ROWS,
) -> PatternPage:
    """Patterns that fit, the worst first: by severity, then by how many came lately."""
    where, values = pattern_filter(filters)
    which = {"open": OPEN, "closed": "p.status = 'closed'", "all": "true"}[status]
    begin = int(cursor) if cursor and cursor.isdecimal() and len(cursor) < 8 else 0
    found = rows(
        db,
        f"select p.* from patterns p where {which} and {where} "
        f"order by {_WORST}, p.recent desc, p.count desc, p.fingerprint limit :limit offset :begin",
        {**values, "limit": limit + 1, "begin": begin},
    )
    more = str(begin + limit) if len(found) > limit else None
    return PatternPage([_pattern(each) for each in found[:limit]], more)


def cause(
    db: apsw.Connection, fingerprint: str, now: int, lanes: Collection[int] | None = None
) -> Cause | None:
    """What is known of one cause at a moment; None where there is neither a pattern nor a
    violation of it. With `lanes` only handoffs in these are told of."""
    of: Values = {"fingerprint": fingerprint}
    only = ""
    if lanes is not None:
        of["lanes"] = json_text(sorted(lanes))
        only = "and {0}lane in (select value from json_each(:lanes)) "
    pattern = pattern_of(db, fingerprint)
    newest = (
        f"(select * from violations where fingerprint = :fingerprint {only.format('')}"
        f"order by at desc limit {_LAST})"
    )
    total, open_, first = db.execute(
        f"select count(*), coalesce(sum(status = 'opened'), 0), min(at) from {newest}", of
    ).get
    if pattern is None and not total:
        return None
    who = rows(
        db,
        f"select owner, owner_contact from {newest} where owner is not null order by at desc "
        "limit 1",
        of,
    )
    about: tuple[str, str | None] = db.execute(
        f"select kind, coalesce(field, rule) from {newest} limit 1", of
    ).get or ("", None)
    kind, field = (pattern.kind, pattern.field) if pattern is not None else about
    samples = db.execute(
        f"select task_id from {newest} group by task_id order by max(at) desc limit 10", of
    )
    tasks = [task for (task,) in samples]
    if not tasks and pattern is not None and lanes is None:
        tasks = pattern.tasks
    owner = pattern.owner if pattern and pattern.owner else (who[0]["owner"] if who else None)
    contact = pattern.owner_contact if pattern else None
    began = pattern.first_seen if pattern else first
    return Cause(
        pattern=pattern,
        fingerprint=fingerprint,
        kind=kind,
        field=field,
        total=total,
        open=open_,
        owner=owner,
        owner_contact=contact or (who[0]["owner_contact"] if who else None),
        samples=tasks,
        had_last=had_last(db, newest, of),
        before=_before(db, began, pattern, newest, of),
        held=_held(db, of, only.format("h.")),
        decided=decided(db, of),
        alerts=alerts(db, of),
        silences=silences(db, pattern, now) if pattern is not None else [],
        earlier=earlier(db, of),
    )


def pattern_of(db: apsw.Connection, fingerprint: str) -> PatternRow | None:
    """The pattern of a cause, where there is one."""
    of: Values = {"fingerprint": fingerprint}
    found = rows(db, "select * from patterns where fingerprint = :fingerprint", of)
    return _pattern(found[0]) if found else None


def had_last(db: apsw.Connection, violations: str, values: Values) -> list[Had]:
    """The tools that had the lost values last, most often first; `violations` is a query in
    brackets."""
    found = rows(
        db,
        "select origin_tool, origin_stage, count(*) as n, origin_event, max(origin_at) as at, "
        f"origin_topic, origin_partition, origin_offset from {violations} "
        "where origin_tool is not null group by origin_tool, origin_stage "
        "order by n desc, origin_tool, origin_stage limit 10",
        values,
    )
    return [
        Had(
            tool=each["origin_tool"],
            stage=each["origin_stage"],
            count=each["n"],
            event_id=each["origin_event"],
            at=each["at"],
            place=place(each["origin_topic"], each["origin_partition"], each["origin_offset"]),
        )
        for each in found
    ]


def registered(db: apsw.Connection, where: str, values: Values, limit: int) -> list[Registered]:
    """Registrations that fit, newest first."""
    found = rows(
        db,
        f"select * from registrations r where {where} order by written desc, offset desc "
        f"limit {limit}",
        values,
    )
    words = {
        NUMBER["handoff.contracts"]: "contract",
        NUMBER["handoff.receivers"]: "receiver",
        NUMBER["handoff.sources"]: "source",
    }
    return [
        Registered(
            what=words[each["topic"]],
            id=each["id"],
            version=each["version"],
            status=each["status"],
            at=each["written"],
            place=place(each["topic"], each["partition"], each["offset"]),
        )
        for each in found
    ]


def _before(
    db: apsw.Connection, began: int, pattern: PatternRow | None, newest: str, of: Values
) -> list[Registered]:
    """What of this cause's contract and receivers, and which sources, was registered before it
    began."""
    named: Values = {"contract": None, "receiver": None}
    found = rows(
        db,
        "select contract, (select receiver from lanes where id = lane) as receiver "
        f"from {newest} order by at desc limit 1",
        of,
    )
    if found:
        named = found[0]
    if pattern is not None:
        named = {
            "contract": pattern.contract or named["contract"],
            "receiver": pattern.receiver or named["receiver"],
        }
    return registered(
        db,
        "written between :begin and :end and ("
        "(topic = :contracts and id = :contract) or (topic = :receivers and id = :receiver) "
        "or topic = :sources)",
        {
            **named,
            "begin": began - DAYS_BEFORE * _DAY_MS,
            "end": began,
            "contracts": NUMBER["handoff.contracts"],
            "receivers": NUMBER["handoff.receivers"],
            "sources": NUMBER["handoff.sources"],
        },
        20,
    )


def _held(db: apsw.Connection, of: Values, only: str) -> list[HeldBy]:
    found = rows(
        db,
        "select distinct h.*, l.receiver from held h join lanes l on l.id = h.lane "
        "join violations v on v.handoff_id = h.id where v.fingerprint = :fingerprint "
        f"and v.status = 'opened' {only}order by h.since, h.id limit 200",
        of,
    )
    asked = asked_of(db, [each["id"] for each in found])
    return [
        HeldBy(
            id=each["id"],
            revision=each["revision"],
            task_id=each["task_id"],
            workflow=each["workflow"],
            receiver=each["receiver"],
            since=each["since"],
            place=place(NUMBER["handoff.held"], each["partition"], each["offset"]),
            pending=[one for one in asked.get(each["id"], []) if one.answered is None],
        )
        for each in found
    ]


def _pattern(row: dict[str, Any]) -> PatternRow:
    return PatternRow(
        fingerprint=row["fingerprint"],
        id=row["id"],
        status=row["status"],
        kind=row["kind"],
        severity=row["severity"],
        workflow=row["workflow"],
        contract=row["contract"],
        receiver=row["receiver"],
        from_=row["from_"],
        to=row["to_"],
        field=row["field"],
        owner=row["owner"],
        owner_contact=row["owner_contact"],
        count=row["count"],
        recent=row["recent"],
        rate=row["rate"],
        first_seen=row["first_seen"],
        last_seen=row["last_seen"],
        at=row["at"],
        stages=listed(row["stages"]),
        tools=listed(row["tools"]),
        tasks=listed(row["tasks"]),
        place=place("handoff.patterns", row["partition"], row["offset"]),
    )
