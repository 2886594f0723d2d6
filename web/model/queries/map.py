"""The map: what was observed between stages, and between stages and receivers, in a range."""

import heapq
from typing import Any, Final

import apsw
from msgspec import Struct

from web.model.filters import Filters, Span
from web.model.queries.causes import Had, had_last
from web.model.queries.common import (
    ROWS,
    Place,
    Sums,
    after,
    cursor_of,
    edge_key,
    listed,
    place,
    rows,
)
from web.model.queries.ranges import (
    COUNTED,
    Earlier,
    Edge,
    Lost,
    earlier,
    figures_by_edge,
    in_all,
    losses,
    lost_by_edge,
)

BUSIEST: Final = 40
_MOVES: Final = (
    "(select sum(f.moves) from figures f where f.edge = edges.key "
    "and f.since >= :{0} and f.since < :{1})"
)


class MapEdge(Struct, frozen=True):
    """An edge. `volume` counts the handoffs that began in the range, or the moves in it, and
    `before` those of the range before. Where there are no figures of moves (`handoff.figures`),
    `volume` counts all moves that there ever were, and `whole` is true. `lost` counts violations
    of fields in the range."""

    key: str
    kind: str
    workflow: str
    from_: str
    to: str
    volume: int
    before: int
    whole: bool
    documented: bool
    contract: str | None
    fidelity: float | None
    fidelity_before: float | None
    lost: int
    late: int
    last_seen: int


class Map(Struct, frozen=True):
    """The busiest edges, and how many more there are."""

    edges: list[MapEdge]
    left_out: int


class Undocumented(Struct, frozen=True):
    """An edge that no contract documents, and how many moves and tasks went over it."""

    key: str
    kind: str
    workflow: str
    from_: str
    to: str
    moves: int
    tasks: int
    last_seen: int


class EdgeField(Struct, frozen=True):
    """A field that moves or handoffs carried: the share (0 to 1) that did, since the edge was first
    seen, and its JSON types."""

    name: str
    share: float
    types: list[str]


class EdgeHandoff(Struct, frozen=True):
    """A handoff over an edge."""

    id: str
    task_id: str
    at: int
    state: str | None
    late: bool
    fidelity: float | None
    missing: list[str]
    place: Place | None


class KnownEdge(Struct, frozen=True):
    """An edge, the ids of its lanes (none of a move), and where its record on `handoff.edges` lies
    (None where none was published yet)."""

    key: str
    kind: str
    workflow: str
    from_: str
    to: str
    lanes: list[int]
    place: Place | None


class EdgePage(Struct, frozen=True):
    """One edge: its record on `handoff.edges` (None where none was published yet), its sums in the
    range and in the one before, what was lost by field and who had it last, and a page of its
    handoffs, newest first. `counts` are since `first_seen`, with `returns` and `looped`."""

    key: str
    kind: str
    workflow: str
    from_: str
    to: str
    documented: bool
    contract: str | None
    counts: dict[str, int]
    fields: list[EdgeField]
    first_seen: int | None
    last_seen: int | None
    accept_ms_p50: int | None
    accept_ms_p95: int | None
    place: Place | None
    now: Sums
    before: Sums
    losses: list[Lost]
    had_last: list[Had]
    handoffs: list[EdgeHandoff]
    next: str | None


def map_(
    db: apsw.Connection,
    filters: Filters,
    now: int,
    limit: int = BUSIEST,
    before: Earlier | None = None,
) -> Map:
    """The edges with traffic in the range, the busiest first, against the range `before`. With a
    contract, receiver, team or owner asked for, only handoffs have these."""
    span = filters.span(now)
    here = figures_by_edge(db, filters, span, *COUNTED)
    moves: dict[Edge, dict[str, Any]] = {}
    order: list[tuple[float, str, Edge]] = [(n[0], "handoff", edge) for edge, n in here.items()]
    if not (filters.receiver or filters.team or filters.owner or filters.contract):
        moves = _moves(db, filters, now)
        order += [(_in_range(row, span), "move", edge) for edge, row in moves.items()]
    shown = heapq.nsmallest(limit, order, key=lambda each: (-each[0], each[1:]))
    was = (before or earlier(db, filters, now)).figures
    lost = lost_by_edge(db, filters, span)
    found = []
    for _, kind, edge in shown:
        if kind == "move":
            found.append(_move(moves[edge]))
            continue
        known = rows(
            db,
            "select documented, contract, last_seen from edges where key = :key",
            {"key": edge_key(*edge)},
        )
        row = known[0] if known else None
        found.append(_handoffs(edge, here[edge], was.get(edge), row=row, lost=lost, span=span))
    return Map(found, max(0, len(order) - limit))


def _moves(db: apsw.Connection, filters: Filters, now: int) -> dict[Edge, dict[str, Any]]:
    """The edges of moves in the range, each with how many there were in it and in the range before,
    and whether figures of it are there (`told`)."""
    span = filters.span(now)
    found = rows(
        db,
        "select key, workflow, from_, to_, moves, documented, contract, first_seen, last_seen, "
        f"{_MOVES.format('since', 'until')} as now, {_MOVES.format('earlier', 'since')} as before, "
        "exists (select 1 from figures f where f.edge = edges.key) as told "
        "from edges where kind = 'move' and last_seen >= :since and first_seen < :until "
        "and (:workflow is null or workflow = :workflow)",
        {
            "since": span.since,
            "until": span.until,
            "earlier": filters.before(now).since,
            "workflow": filters.workflow,
        },
    )
    return {
        (row["workflow"], row["from_"], row["to_"]): row
        for row in found
        if row["now"] or not row["told"]
    }


def _in_range(row: dict[str, Any], span: Span) -> float:
    """How many moves of an edge are in the range; without figures, as if they had come evenly: only
    the order of edges goes by that."""
    if row["told"]:
        return float(row["now"])
    first, last = row["first_seen"], row["last_seen"]
    inside = min(last, span.until) - max(first, span.since)
    return float(row["moves"] * max(inside, 1) / max(last - first, 1))


def _move(row: dict[str, Any]) -> MapEdge:
    return MapEdge(
        key=row["key"],
        kind="move",
        workflow=row["workflow"],
        from_=row["from_"],
        to=row["to_"],
        volume=row["now"] if row["told"] else row["moves"],
        before=row["before"] or 0,
        whole=not row["told"],
        documented=bool(row["documented"]),
        contract=row["contract"],
        fidelity=None,
        fidelity_before=None,
        lost=0,
        late=0,
        last_seen=row["last_seen"],
    )


def _handoffs(
    edge: Edge,
    figures: list[int],
    before: list[int] | None,
    row: dict[str, Any] | None,
    lost: dict[Edge, int],
    span: Span,
) -> MapEdge:
    begun, judged, _, late, *_ = figures
    return MapEdge(
        edge_key(*edge),
        "handoff",
        *edge,
        begun,
        before[0] if before else 0,
        False,
        bool(row["documented"]) if row else judged > 0,
        row["contract"] if row else None,
        _fidelity(figures),
        _fidelity(before) if before else None,
        lost.get(edge, 0),
        late,
        row["last_seen"] if row else span.since,
    )


def _fidelity(figures: list[int]) -> float | None:
    return figures[2] / figures[1] / 1_000_000 if figures[1] else None


def known_edge(db: apsw.Connection, key: str) -> KnownEdge | None:
    """An edge by its key, as on `handoff.edges`; None where nothing is known of it."""
    row = db.execute(
        "select kind, workflow, from_, to_, partition, offset from edges where key = ?", (key,)
    ).fetchone()
    if row is not None:
        kind, workflow, from_, to, *at = row
    else:
        kind, *names = [_unescaped(part) for part in key.split("/")]
        if kind != "handoff" or len(names) != 3:
            return None
        workflow, from_, to = names
    found = db.execute(
        "select id from lanes where workflow = ? and from_stage = ? and receiver = ?",
        (workflow, from_, to),
    )
    lanes = [id_ for (id_,) in found]
    if row is None and not lanes:
        return None
    here = None if row is None else place("handoff.edges", *at)
    return KnownEdge(
        key=key, kind=kind, workflow=workflow, from_=from_, to=to, lanes=lanes, place=here
    )


def edge(
    db: apsw.Connection, known: KnownEdge, filters: Filters, now: int, page: str | None = None
) -> EdgePage:
    """One edge, as far as its lanes go; of the filters only the range counts, and the kind and
    severity of what was lost. Raises `CursorError`."""
    found = rows(db, "select * from edges where key = :key", {"key": known.key})
    row = found[0] if found else None
    kind, workflow, from_, to = known.kind, known.workflow, known.from_, known.to
    ids = known.lanes
    only = Filters(
        workflow=workflow,
        receiver=to,
        kind=filters.kind,
        severity=filters.severity,
        since=filters.since,
        until=filters.until,
        hours=filters.hours,
    )
    # The stage is of a closed set of lanes: numbers, not text.
    within = f"l.id in ({', '.join(map(str, ids)) or 'null'})"
    span = only.span(now)
    violations = (
        f"(select v.* from violations v where v.lane in ({', '.join(map(str, ids)) or 'null'}) "
        "and v.at >= :since and v.at < :until order by v.at desc limit 1000)"
    )
    handoffs, more = _of_edge(db, ids, span.until, page)
    is_handoff = kind == "handoff"
    return EdgePage(
        key=known.key,
        kind=kind,
        workflow=workflow,
        from_=from_,
        to=to,
        documented=bool(row["documented"]) if row else True,
        contract=row["contract"] if row else None,
        counts={**listed(row["counts"]), "moves": row["moves"], "tasks": row["tasks"]}
        if row
        else {},
        fields=_fields(row) if row else [],
        first_seen=row["first_seen"] if row else None,
        last_seen=row["last_seen"] if row else None,
        accept_ms_p50=row["accept_ms_p50"] if row else None,
        accept_ms_p95=row["accept_ms_p95"] if row else None,
        place=known.place,
        now=in_all(db, only, span, within) if is_handoff else Sums(),
        before=in_all(db, only, only.before(now), within) if is_handoff else Sums(),
        losses=losses(db, only, now, 20, within) if is_handoff else [],
        had_last=had_last(db, violations, {"since": span.since, "until": span.until})
        if ids
        else [],
        handoffs=handoffs,
        next=more,
    )


def undocumented(db: apsw.Connection, filters: Filters, limit: int = ROWS) -> list[Undocumented]:
    """Edges that no contract documents, of a workflow or to a receiver where one is asked for, the
    busiest first. Of a team only handoffs are: a move has no team."""
    where = "true"
    if filters.team is not None:
        where = (
            "kind = 'handoff' and exists (select 1 from lanes l where l.workflow = edges.workflow "
            "and l.from_stage = edges.from_ and l.receiver = edges.to_ "
            "and :team in (l.from_team, l.to_team))"
        )
    found = db.execute(
        "select key, kind, workflow, from_, to_, moves, tasks, last_seen from edges "
        "where not documented and (:workflow is null or workflow = :workflow) "
        "and (:receiver is null or (kind = 'handoff' and to_ = :receiver)) "
        f"and {where} order by moves desc, key limit :limit",
        {
            "workflow": filters.workflow,
            "receiver": filters.receiver,
            "team": filters.team,
            "limit": limit,
        },
    )
    return [Undocumented(*row) for row in found]


def _of_edge(
    db: apsw.Connection, lanes: list[int], until: int, page: str | None
) -> tuple[list[EdgeHandoff], str | None]:
    last = after(page) or (until, "")
    found: list[dict[str, Any]] = []
    for lane in lanes:
        found += rows(
            db,
            "select id, task_id, at, state, disposition, late, fidelity, missing, topic, "
            "partition, offset from handoffs where lane = :lane and (at, id) < (:at, :id) "
            f"order by at desc, id desc limit {ROWS + 1}",
            {"lane": lane, "at": last[0], "id": last[1]},
        )
    found.sort(key=lambda each: (each["at"], each["id"]), reverse=True)
    told = [
        EdgeHandoff(
            id=each["id"],
            task_id=each["task_id"],
            at=each["at"],
            state=each["state"] or each["disposition"],
            late=bool(each["late"]),
            fidelity=None if each["fidelity"] is None else each["fidelity"] / 1_000_000,
            missing=listed(each["missing"]),
            place=place(each["topic"], each["partition"], each["offset"]),
        )
        for each in found[:ROWS]
    ]
    more = cursor_of(told[-1].at, told[-1].id) if len(found) > ROWS else None
    return told, more


def _fields(row: dict[str, Any]) -> list[EdgeField]:
    types = listed(row["types"])
    return [
        EdgeField(name, share, types.get(name, [])) for name, share in listed(row["fields"]).items()
    ]


def _unescaped(part: str) -> str:
    return part.replace("%2F", "/").replace("%25", "%")
