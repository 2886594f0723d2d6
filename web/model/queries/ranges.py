"""What handoffs and violations of a range of time add up to, by edge."""

import json
from collections import Counter
from collections.abc import Iterable
from operator import add
from typing import Final, NamedTuple, TypeVar

import apsw
from msgspec import Struct

from web.model.filters import Filters, Span
from web.model.queries.common import (
    SUMMED,
    Sums,
    edge_key,
    of_lanes,
    of_violations,
    rows,
    sums,
    sums_of,
    within,
)
from web.model.schema import FIGURES

Key = TypeVar("Key", str, tuple[str, str, str])


class Lost(Struct, frozen=True):
    """Violations of one kind and field that began in a range, and in the one before. `open` counts
    those of the range that are still open."""

    kind: str
    field: str | None
    count: int
    open: int
    before: int


class Use(Struct, frozen=True):
    """Handoffs of a range: how many began, the mean fidelity (0 to 1) of those that a contract
    judged, and how many were late."""

    begun: int = 0
    fidelity: float | None = None
    late: int = 0


class EdgeSums(Struct, frozen=True):
    """What an edge of handoffs adds up to in a range."""

    key: str
    workflow: str
    from_stage: str
    receiver: str
    sums: Sums


# What edges are compared by, of `schema.FIGURES`.
COUNTED: Final = ("begun", "judged", "fidelity", "late", "returned", "rejected")
Losses = dict[tuple[str, str], tuple[int, int]]
Edge = tuple[str, str, str]  # its workflow, stage and receiver


class Earlier(NamedTuple):
    """Of the range before: the figures `COUNTED`, and the losses of fields, by edge."""

    figures: dict[Edge, list[int]]
    lost: dict[Edge, int]


def figures_by_edge(
    db: apsw.Connection, filters: Filters, span: Span, *figures: str
) -> dict[Edge, list[int]]:
    """Some figures (of `schema.FIGURES`) of the edges of handoffs with traffic in a range."""
    where, values = of_lanes(filters)
    added = ", ".join(f"sum(h.{name} * r.sign)" for name in figures)
    found: dict[Edge, list[int]] = {}
    here = "having sum(h.begun * r.sign) <> 0"
    # By lane the rows are in the order of the index; several lanes of an edge are added up here.
    for workflow, from_stage, receiver, *more in db.execute(
        f"select l.workflow, l.from_stage, l.receiver, {added} from "
        f"{within(span, 'sums', 'h')} where {where} group by l.id {here}",
        values,
    ):
        _add(found, (workflow, from_stage, receiver), more)
    return found


def earlier(db: apsw.Connection, filters: Filters, now: int) -> Earlier:
    """What the edges of handoffs were in the range before that of the filters."""
    span = filters.before(now)
    return Earlier(figures_by_edge(db, filters, span, *COUNTED), lost_by_edge(db, filters, span))


def use(db: apsw.Connection, by: str, names: Iterable[str], span: Span) -> dict[str, Use]:
    """How much use was made in a range of what a column of lanes names."""
    found: dict[str, list[int]] = {}
    for name, *more in db.execute(
        f"select l.{by}, sum(h.begun * r.sign), sum(h.judged * r.sign), sum(h.fidelity * r.sign), "
        f"sum(h.late * r.sign) from {within(span, 'sums', 'h')} "
        f"where l.{by} in (select value from json_each(:names)) group by l.id "
        "having sum(h.begun * r.sign) <> 0",
        {"names": json.dumps(sorted(names))},
    ):
        _add(found, name, more)
    return {
        name: Use(begun, fidelity / judged / 1_000_000 if judged else None, late)
        for name, (begun, judged, fidelity, late) in found.items()
    }


def _add(found: dict[Key, list[int]], key: Key, more: list[int]) -> None:
    before = found.get(key)
    found[key] = more if before is None else list(map(add, before, more))


def by_edge(db: apsw.Connection, filters: Filters, span: Span) -> list[EdgeSums]:
    """All figures of the edges of handoffs with traffic in a range, the busiest first."""
    found = figures_by_edge(db, filters, span, *FIGURES)
    busiest = sorted(found.items(), key=lambda each: (-each[1][0], each[0]))
    return [EdgeSums(edge_key(*names), *names, sums_of(figures)) for names, figures in busiest]


def in_all(db: apsw.Connection, filters: Filters, span: Span, more: str = "true") -> Sums:
    """All handoffs of a range in lanes `l` that fulfil `more` too."""
    where, values = of_lanes(filters)
    (found,) = rows(
        db,
        f"select {SUMMED} from {within(span, 'sums', 'h')} where {where} and {more}",
        values,
    )
    return sums(found)


def lost_by_edge(db: apsw.Connection, filters: Filters, span: Span) -> dict[Edge, int]:
    """How many violations that are about a field began in a range, by edge."""
    where, values = of_lanes(filters)
    also, of_kind = of_violations(filters)
    found: Counter[Edge] = Counter()
    for workflow, from_stage, receiver, number in db.execute(
        "select l.workflow, l.from_stage, l.receiver, sum(b.n * r.sign) from "
        f"{within(span, 'breaks', 'b')} "
        f"where b.field <> '' and {where} and {also} group by l.id "
        "having sum(b.n * r.sign) <> 0",
        {**values, **of_kind},
    ):
        found[workflow, from_stage, receiver] += number
    return found


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
    also, of_kind = of_violations(filters)
    found = rows(
        db,
        "select b.kind, b.field, sum(b.n * r.sign) as n, sum(b.open * r.sign) as open from "
        f"{within(span, 'breaks', 'b')} "
        f"where {where} and {also} and {more} group by b.kind, b.field "
        "having sum(b.n * r.sign) <> 0",
        {**values, **of_kind},
    )
    return {(each["kind"], each["field"]): (each["n"], each["open"]) for each in found}
