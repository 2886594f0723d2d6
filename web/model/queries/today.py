"""What is wrong now, and what got worst in the range against the one before."""

import heapq
from typing import Any, Final

import apsw
from msgspec import Struct

from web.model.filters import Filters
from web.model.queries.causes import OPEN, PatternRow, pattern_filter, patterns
from web.model.queries.common import (
    ROWS,
    Count,
    Place,
    after,
    counted,
    cursor_of,
    edge_key,
    of_lanes,
    place,
    rows,
)
from web.model.queries.held import held_filter
from web.model.queries.ranges import (
    COUNTED,
    Earlier,
    Edge,
    figures_by_edge,
    lost_by_edge,
)

ENOUGH: Final = 5  # handoffs in each range, for a change to say anything
_SHOWN: Final = 10
_NOTABLE: Final = 0.005  # a smaller change of a share is none
_SHARES: Final = ("late", "returned", "rejected", "lost", "fidelity")


class Worse(Struct, frozen=True):
    """How much worse an edge became: `now` and `before` are shares (0 to 1) by `measure`: fidelity,
    lost (violations of fields per handoff, may be above 1), late, returned or rejected. `handoffs`
    is how many there were in the range. `filters` show the edge's rows."""

    key: str
    workflow: str
    from_stage: str
    receiver: str
    measure: str
    now: float
    before: float
    handoffs: int
    filters: Filters


class Today(Struct, frozen=True):
    """What is open. `patterns` are at most 20 of the open ones."""

    patterns: list[PatternRow]
    open_patterns: Count
    held: Count
    stalled: Count


class StalledRow(Struct, frozen=True):
    """A handoff past a deadline that is neither accepted in time nor closed."""

    id: str
    task_id: str
    workflow: str
    from_stage: str
    from_team: str | None
    receiver: str
    to_team: str | None
    owner: str | None
    owner_contact: str | None
    contract: str | None
    state: str
    at: int
    accept_by: int | None
    complete_by: int | None
    place: Place


class StalledPage(Struct, frozen=True):
    """Stalled handoffs, the oldest first."""

    rows: list[StalledRow]
    next: str | None


_STALLED: Final = "from handoffs h join lanes l on l.id = h.lane where h.stalled = 1"


def today(db: apsw.Connection, filters: Filters) -> Today:
    """What is open now, whenever it began."""
    pattern_where, of_pattern = pattern_filter(filters)
    held_where, of_held = held_filter(filters)
    lane_where, of_lane = of_lanes(filters)
    return Today(
        patterns(db, filters, "open", limit=20).rows,
        counted(
            db,
            "patterns",
            filters,
            f"select 1 from patterns p where {OPEN} and {pattern_where}",
            of_pattern,
        ),
        counted(
            db,
            "held",
            filters,
            f"select 1 from held h join lanes l on l.id = h.lane where {held_where}",
            of_held,
        ),
        counted(db, "stalled", filters, f"select 1 {_STALLED} and {lane_where}", of_lane),
    )


def stalled(
    db: apsw.Connection, filters: Filters, page: str | None = None, limit: int = ROWS
) -> StalledPage:
    """Stalled handoffs that fit, oldest first. Raises `CursorError`."""
    where, values = of_lanes(filters)
    last = after(page)
    if last is not None:
        where += " and (h.at, h.id) > (:last_at, :last_id)"
        values["last_at"], values["last_id"] = last
    found = rows(
        db,
        "select h.*, l.contract, l.from_team, l.from_stage, l.receiver, l.to_team, l.owner "
        f"{_STALLED} and {where} order by h.at, h.id limit {limit + 1}",
        values,
    )
    told = [_stalled(each) for each in found[:limit]]
    more = cursor_of(told[-1].at, told[-1].id) if len(found) > limit else None
    return StalledPage(told, more)


def _stalled(row: dict[str, Any]) -> StalledRow:
    return StalledRow(
        id=row["id"],
        task_id=row["task_id"],
        workflow=row["workflow"],
        from_stage=row["from_stage"],
        from_team=row["from_team"] or None,
        receiver=row["receiver"],
        to_team=row["to_team"] or None,
        owner=row["owner"] or None,
        owner_contact=row["owner_contact"],
        contract=row["contract"] or None,
        state=row["state"] or row["disposition"],
        at=row["at"],
        accept_by=row["accept_by"],
        complete_by=row["complete_by"],
        place=place(row["topic"], row["partition"], row["offset"]),
    )


def worst(db: apsw.Connection, filters: Filters, now: int, before: Earlier) -> list[Worse]:
    """The ten changes for the worse that touch most handoffs: each edge with `ENOUGH` handoffs in
    both ranges, by each measure."""
    span = filters.span(now)
    here = figures_by_edge(db, filters, span, *COUNTED)
    lost = lost_by_edge(db, filters, span)
    found: list[tuple[float, Edge, str, float, float]] = []
    for edge, figures in here.items():
        old = before.figures.get(edge)
        if old is None or min(figures[0], old[0]) < ENOUGH:
            continue
        shares = _shares(figures, lost.get(edge, 0)), _shares(old, before.lost.get(edge, 0))
        for measure, now_, was in zip(_SHARES, *shares, strict=True):
            if now_ is None or was is None:
                continue
            worse = was - now_ if measure == "fidelity" else now_ - was
            if worse > _NOTABLE:
                found.append((worse * figures[0], edge, measure, now_, was))
    most = heapq.nsmallest(_SHOWN, found, key=lambda each: (-each[0], each[1:3]))
    return [
        Worse(
            edge_key(*edge),
            *edge,
            measure,
            share,
            share_before,
            here[edge][0],
            filters.but(workflow=edge[0], receiver=edge[2]),
        )
        for _, edge, measure, share, share_before in most
    ]


def _shares(figures: list[int], lost: int) -> tuple[float | None, ...]:
    """The measures `_SHARES` of an edge, from the figures `COUNTED`."""
    begun, judged, fidelity, late, returned, rejected = figures
    return (
        late / begun,
        returned / begun,
        rejected / begun,
        lost / begun,
        fidelity / judged / 1_000_000 if judged else None,
    )
