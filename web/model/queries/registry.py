"""What is registered: contracts, receivers and sources, since when, and of what use they are."""

from typing import Any

import apsw
from msgspec import Struct

from web.model.filters import Filters
from web.model.queries.causes import PatternRow, Registered, patterns, registered
from web.model.queries.common import Place, place, rows
from web.model.queries.ranges import EdgeSums, Lost, Use, by_edge, losses, use
from web.model.schema import NUMBER, TOPICS


class DocumentRow(Struct, frozen=True):
    """A registered document (of a contract: one version). `at` is when its record was written,
    which may be when only its status changed. `document` is its JSON; empty for a source. `use` is
    of the contract or receiver, whatever the version, in the range."""

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


class Contracts(Struct, frozen=True):
    """All versions of all contracts, and what they cover."""

    rows: list[DocumentRow]
    coverage: Coverage


class ContractPage(Struct, frozen=True):
    """One contract: its versions, newest first; what was registered when; its edges and losses in
    the range, and its open patterns."""

    id: str
    versions: list[DocumentRow]
    history: list[Registered]
    edges: list[EdgeSums]
    losses: list[Lost]
    patterns: list[PatternRow]


def contracts(db: apsw.Connection, filters: Filters, now: int) -> Contracts:
    """All registered contracts (of a workflow or team, where one is asked for)."""
    return Contracts(_documents(db, "handoff.contracts", filters, now), _coverage(db, filters))


def receivers(db: apsw.Connection, filters: Filters, now: int) -> list[DocumentRow]:
    """All registered receivers."""
    return _documents(db, "handoff.receivers", filters, now)


def sources(db: apsw.Connection, filters: Filters, now: int) -> list[DocumentRow]:
    """All registered sources."""
    return _documents(db, "handoff.sources", filters, now)


def contract(db: apsw.Connection, id_: str, filters: Filters, now: int) -> ContractPage | None:
    """One contract; None where no version of it was ever seen."""
    only = filters.but(contract=id_)
    topic = NUMBER["handoff.contracts"]
    versions = [
        _document(row, {})
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
        id_,
        versions,
        history,
        by_edge(db, only, only.span(now))[:100],
        losses(db, only, now, 20),
        patterns(db, only).rows,
    )


def _documents(db: apsw.Connection, topic: str, filters: Filters, now: int) -> list[DocumentRow]:
    by = "contract" if topic == "handoff.contracts" else "receiver"
    used = use(db, by, filters.span(now))
    found = rows(
        db,
        "select * from registry where topic = :topic "
        "and (:workflow is null or workflow is null or workflow = :workflow) "
        "and (:team is null or team = :team) "
        "order by id, version desc limit 2000",
        {"topic": NUMBER[topic], "workflow": filters.workflow, "team": filters.team},
    )
    return [_document(row, used) for row in found]


def _document(row: dict[str, Any], used: dict[str, Use]) -> DocumentRow:
    return DocumentRow(
        row["id"],
        row["version"],
        row["status"],
        row["team"],
        row["owner"],
        row["contact"],
        row["workflow"],
        row["receiver"],
        row["written"],
        row["document"],
        used.get(row["id"], Use()),
        place(TOPICS[row["topic"]], row["partition"], row["offset"]),
    )


def _coverage(db: apsw.Connection, filters: Filters) -> Coverage:
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
