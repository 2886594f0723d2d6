"""What is registered: contracts, receivers and sources, since when, and of what use they are."""

from typing import Any, Final

import apsw
from msgspec import Struct
from msgspec.structs import replace

from web.model.filters import Filters
from web.model.queries.causes import PatternRow, Registered, patterns, registered
from web.model.queries.common import ROWS, Place, Values, after, cursor_of, place, rows
from web.model.queries.ranges import EdgeSums, Lost, Use, by_edge, losses, use
from web.model.schema import NUMBER, TOPICS

_FILTERS: Final = {
    "contract": ("workflow", "contract", "receiver", "team", "owner"),
    "receiver": ("receiver", "team", "owner"),
}


class DocumentRow(Struct, frozen=True):
    """A registered document (of a contract: one version). `at` is when its record was written,
    which may be when only its status changed. `document` is its JSON; empty in a list. `use` is of
    the contract or receiver, whatever the version, in the range."""

    id: str
    version: int | None
    status: str
    team: str | None
    owner: str | None
    contact: str | None
    workflow: str | None
    receiver: str | None
    at: int
    document: str
    use: Use
    place: Place


class Coverage(Struct, frozen=True):
    """How much of what was observed since the beginning is documented: moves, and handoffs that a
    contract judged. Shares are 0 to 1; None where there was nothing."""

    moves: int
    documented_moves: int
    handoffs: int
    judged: int
    share: float | None


class Documents(Struct, frozen=True):
    """Registered documents, by id; of a contract the newest version first."""

    rows: list[DocumentRow]
    next: str | None


class ContractPage(Struct, frozen=True):
    """One contract: its versions, newest first; what was registered when; its edges and losses in
    the range, and its open patterns."""

    id: str
    versions: list[DocumentRow]
    history: list[Registered]
    edges: list[EdgeSums]
    losses: list[Lost]
    patterns: list[PatternRow]


def contracts(
    db: apsw.Connection, filters: Filters, page: str | None = None, *, now: int
) -> Documents:
    """Registered contracts that fit. `page` is the `next` of the page before. Raises
    `CursorError`."""
    return _used(db, "contract", filters, page, now)


def receivers(
    db: apsw.Connection, filters: Filters, page: str | None = None, *, now: int
) -> Documents:
    """Registered receivers that fit. `page` is the `next` of the page before. Raises
    `CursorError`."""
    return _used(db, "receiver", filters, page, now)


def sources(db: apsw.Connection, id_: str | None = None, page: str | None = None) -> Documents:
    """Registered sources, or the one of this id. `page` is the `next` of the page before. Raises
    `CursorError`."""
    where, values = "true", Values()
    if id_ is not None:
        where, values = "id = :id", Values(id=id_)
    return _documents(db, "handoff.sources", where, values, page)


def contract(db: apsw.Connection, id_: str, filters: Filters, now: int) -> ContractPage | None:
    """One contract; None where no version of it was ever seen."""
    only = filters.but(contract=id_)
    topic = NUMBER["handoff.contracts"]
    versions = [
        _document(row)
        for row in rows(
            db,
            "select * from registry where topic = :topic and id = :id "
            "order by version desc limit 100",
            {"topic": topic, "id": id_},
        )
    ]
    history = registered(db, "topic = :topic and id = :id", {"topic": topic, "id": id_}, 100)
    if not versions and not history:
        return None
    return ContractPage(
        id=id_,
        versions=versions,
        history=history,
        edges=by_edge(db, only, only.span(now))[:100],
        losses=losses(db, only, now, 20),
        patterns=patterns(db, only).rows,
    )


def _used(db: apsw.Connection, by: str, filters: Filters, page: str | None, now: int) -> Documents:
    where, values = "true", Values()
    for column in _FILTERS[by]:
        wanted = getattr(filters, column)
        if wanted is not None:
            where += f" and {'id' if column == by else column} = :{column}"
            values[column] = wanted
    found = _documents(db, f"handoff.{by}s", where, values, page)
    used = use(db, by, {each.id for each in found.rows}, filters.span(now))
    told = [replace(each, use=used.get(each.id, Use())) for each in found.rows]
    return Documents(told, found.next)


def _documents(
    db: apsw.Connection, topic: str, where: str, values: Values, page: str | None
) -> Documents:
    last = after(page)
    if last is not None:
        where += " and (id, -coalesce(version, 0)) > (:last_id, -:last_version)"
        values |= {"last_version": last[0], "last_id": last[1]}
    found = rows(
        db,
        "select id, version, status, team, owner, contact, workflow, receiver, written, '' as "
        "document, topic, partition, offset from registry "
        f"where topic = :topic and {where} order by id, version desc limit {ROWS + 1}",
        {**values, "topic": NUMBER[topic]},
    )
    told = [_document(row) for row in found[:ROWS]]
    more = cursor_of(told[-1].version or 0, told[-1].id) if len(found) > ROWS else None
    return Documents(told, more)


def _document(row: dict[str, Any]) -> DocumentRow:
    return DocumentRow(
        id=row["id"],
        version=row["version"],
        status=row["status"],
        team=row["team"],
        owner=row["owner"],
        contact=row["contact"],
        workflow=row["workflow"],
        receiver=row["receiver"],
        at=row["written"],
        document=row["document"],
        use=Use(),
        place=place(TOPICS[row["topic"]], row["partition"], row["offset"]),
    )


def coverage(db: apsw.Connection, filters: Filters) -> Coverage:
    """What the contracts cover (of a workflow, where one is asked for)."""
    moves, documented, handoffs, judged = db.execute(
        "select coalesce(sum(case kind when 'move' then moves end), 0), "
        "coalesce(sum(case kind when 'move' then moves * documented end), 0), "
        "coalesce(sum(case kind when 'handoff' then moves end), 0), "
        "coalesce(sum(case kind when 'handoff' then json_extract(counts, '$.judged') end), 0) "
        "from edges where :workflow is null or workflow = :workflow",
        {"workflow": filters.workflow},
    ).get
    total = moves + handoffs
    share = (documented + judged) / total if total else None
    return Coverage(moves, documented, handoffs, judged, share)
