"""What handoffs and violations of a range of time add up to, by edge."""

import apsw
from msgspec import Struct

from web.model.filters import Filters, Span
from web.model.queries.common import (
    SUMMED,
    Sums,
    edge_key,
    hours_of,
    of_lanes,
    of_violations,
    rows,
    sums,
    sums_of,
)


class Lost(Struct, frozen=True):
    """Violations of one kind and field that began in a range, and in the one before. `open` counts
    those of the range that are still open."""

    kind: str
    field: str | None
    count: int
    open: int
    before: int


class EdgeSums(Struct, frozen=True):
    """What an edge of handoffs adds up to in a range."""

    key: str
    workflow: str
    from_stage: str
    receiver: str
    sums: Sums


Losses = dict[tuple[str, str], tuple[int, int]]


def by_edge(db: apsw.Connection, filters: Filters, span: Span) -> dict[str, EdgeSums]:
    """The edges of handoffs with traffic in a range, by their keys."""
    where, values = of_lanes(filters)
    found: dict[str, EdgeSums] = {}
    for workflow, from_stage, receiver, *figures in db.execute(
        f"select l.workflow, l.from_stage, l.receiver, {SUMMED} from lanes l join hours h "
        "on h.lane = l.id and h.hour >= :since_hour and h.hour < :until_hour "
        f"where {where} group by l.workflow, l.from_stage, l.receiver",
        {**values, **hours_of(span)},
    ):
        key = edge_key(workflow, from_stage, receiver)
        found[key] = EdgeSums(key, workflow, from_stage, receiver, sums_of(figures))
    return found


def in_all(db: apsw.Connection, filters: Filters, span: Span, more: str = "true") -> Sums:
    """All handoffs of a range in lanes `l` that fulfil `more` too."""
    where, values = of_lanes(filters)
    (found,) = rows(
        db,
        f"select {SUMMED} from lanes l join hours h "
        "on h.lane = l.id and h.hour >= :since_hour and h.hour < :until_hour "
        f"where {where} and {more}",
        {**values, **hours_of(span)},
    )
    return sums(found)


def lost_by_edge(db: apsw.Connection, filters: Filters, span: Span) -> dict[str, int]:
    """How many violations that are about a field began in a range, by the key of the edge."""
    where, values = of_lanes(filters)
    also, of_kind = of_violations(filters, "b")
    found = rows(
        db,
        "select l.workflow, l.from_stage, l.receiver, sum(b.n) as n from lanes l join breaks b "
        "on b.lane = l.id and b.hour >= :since_hour and b.hour < :until_hour "
        f"where b.field <> '' and {where} and {also} "
        "group by l.workflow, l.from_stage, l.receiver",
        {**values, **of_kind, **hours_of(span)},
    )
    return {
        edge_key(each["workflow"], each["from_stage"], each["receiver"]): each["n"]
        for each in found
    }


def losses(
    db: apsw.Connection,
    filters: Filters,
    now: int,
    limit: int,
    more: str = "true",
) -> list[Lost]:
    """The kinds and fields that broke most in the range of the filters, against the one before."""
    here = _breaks(db, filters, filters.span(now), more)
    before = _breaks(db, filters, filters.before(now), more)
    most = sorted(here, key=lambda each: (-here[each][0], each))[:limit]
    return [
        Lost(kind, field or None, *here[kind, field], before.get((kind, field), (0, 0))[0])
        for kind, field in most
    ]


def _breaks(db: apsw.Connection, filters: Filters, span: Span, more: str) -> Losses:
    where, values = of_lanes(filters)
    also, of_kind = of_violations(filters, "b")
    found = rows(
        db,
        "select b.kind, b.field, sum(b.n) as n, sum(b.open) as open from lanes l join breaks b "
        "on b.lane = l.id and b.hour >= :since_hour and b.hour < :until_hour "
        f"where {where} and {also} and {more} group by b.kind, b.field",
        {**values, **of_kind, **hours_of(span)},
    )
    return {(each["kind"], each["field"]): (each["n"], each["open"]) for each in found}
