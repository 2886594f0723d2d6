"""What is registered: contracts, receivers and sources, since when, and of what use they are."""

from typing import Final

import msgspec
from starlette.responses import Response

from web import cells, seen
from web.auth.guard import Refusal
from web.figures import losses_table
from web.model.queries import registry
from web.model.queries.map import Undocumented, undocumented
from web.model.queries.registry import DocumentRow, Documents
from web.page import Asked, render, route
from web.pages.today import causes_table
from web.tables import Cell, Column, Row, Table, row
from web.text import percent
from web.urls import change_url, contract_url, draft_url, edge_url, sources_url, team_url

NAV: Final = (("Contracts", "/contracts"), ("Receivers", "/receivers"))


def contracts(asked: Asked) -> Response:
    """`/contracts`."""
    model, filters, page = asked.console.model, asked.filters, asked.query("page") or None
    found = model.ask(registry.contracts, filters, page, now=asked.now_ms)
    table = Table(
        "contracts",
        "Contracts",
        [
            Column("Contract"),
            Column("Version", "number"),
            Column("State"),
            Column("Workflow"),
            Column("To"),
            Column("Owner"),
            Column("Handoffs", "number"),
            Column("Fidelity", "number"),
            Column("Registered", "time"),
        ],
        [_contract(each) for each in found.rows],
        empty="No contract is registered. Draft some from the traffic, and register them.",
        hint="handoff discover; handoff contracts apply PATH",
        more=asked.at(page=found.next) if found.next else None,
    )
    tables = [table]
    # What nobody wrote down has no owner; a source is of no team and no receiver either.
    if page is None and not (filters.owner or filters.contract):
        tables.append(_unwritten(model.ask(undocumented, filters)))
        if not (filters.team or filters.receiver):
            tables.append(_sources(model.ask(registry.sources)))
    covered = model.ask(registry.coverage, filters)
    lead = (
        f"A contract covers {percent(covered.share)} of what was observed: "
        f"{covered.documented_moves:,} of {covered.moves:,} moves, and {covered.judged:,} of "
        f"{covered.handoffs:,} handoffs."
        if covered.share is not None
        else "Nothing was observed yet that a contract could cover."
    )
    return render(
        asked,
        "contracts.html",
        "Contracts",
        tables=tables,
        kinds=("registry", "edges"),
        here="/contracts",
        lead=lead,
        fields=("workflow", "receiver", "team", "owner", "contract"),
        range=True,
    )


def contract(asked: Asked) -> Response:
    """`/contract?id=...`."""
    id_ = asked.query("id")
    with asked.console.model.read() as db:
        found = registry.contract(db, id_, asked.filters, asked.now_ms)
        if found is None:
            raise Refusal(404, "No version of that contract was ever registered here.")
        if not seen.may_read_document(db, asked.person, "contract", id_):
            raise Refusal(403, "That contract is of a workflow or of teams that are not yours.")
    history = Table(
        "history",
        "What was registered when",
        [Column("Version", "number"), Column("State"), Column("When", "time")],
        [row(f"{e.version}/{e.place.offset}", e.version, e.status, e.at) for e in found.history],
        "Its registrations are past retention.",
    )
    edges = Table(
        "edges",
        "Where it is used",
        [Column("From → to"), Column("Handoffs", "number"), Column("Fidelity", "number"),
         Column("Late", "number")],
        [
            row(each.key, Cell(f"{each.from_stage} → {each.receiver}", href=edge_url(each.key)),
                each.sums.begun, Cell(each.sums.fidelity, percent(each.sums.fidelity)),
                each.sums.late)
            for each in found.edges
        ],
        "It judged no handoff in this range.",
    )  # fmt: skip
    return render(
        asked,
        "contract.html",
        f"Contract {id_}",
        tables=[causes_table(found.patterns), edges, losses_table(found.losses), history],
        kinds=("registry", "patterns"),
        here="/contracts",
        change=change_url(id_),
        documents=[(each, _pretty(each.document)) for each in found.versions],
    )


def receivers(asked: Asked) -> Response:
    """`/receivers`."""
    found = asked.console.model.ask(
        registry.receivers, asked.filters, asked.query("page") or None, now=asked.now_ms
    )
    table = Table(
        "receivers",
        "Receivers",
        [
            Column("Receiver"),
            Column("State"),
            Column("Team"),
            Column("Owner"),
            Column("Handoffs", "number"),
            Column("Fidelity", "number"),
            Column("Late", "number"),
            Column("Registered", "time"),
        ],
        [_receiver(each) for each in found.rows],
        empty="No receiver is registered, so every handoff is held.",
        hint="handoff receivers apply PATH",
        more=asked.at(page=found.next) if found.next else None,
    )
    return render(
        asked,
        "list.html",
        "Receivers",
        tables=[table],
        kinds=("registry",),
        here="/receivers",
        lead="Who gets work, and who is to act on it.",
        fields=("receiver", "team", "owner"),
        range=True,
    )


def sources(asked: Asked) -> Response:
    """`/sources`; `/sources?id=...` shows one."""
    id_, page = asked.query("id") or None, asked.query("page") or None
    with asked.console.model.read() as db:
        if not seen.may_read_document(db, asked.person, "source", id_ or ""):
            raise Refusal(403, "Sources are of no team: they are for who may read of all teams.")
    table = _sources(asked.console.model.ask(registry.sources, id_, page))
    return render(
        asked, "sources.html", "Sources", tables=[table], kinds=("registry",), here="/contracts"
    )


ROUTES: Final = (
    route("/contracts", contracts),
    route("/contract", contract),
    route("/receivers", receivers),
    route("/sources", sources),
)


def _unwritten(rows: list[Undocumented]) -> Table:
    return Table(
        "undocumented",
        "What nobody wrote down",
        [
            Column("From → to"),
            Column("Workflow"),
            Column("What"),
            Column("Times", "number"),
            Column("Tasks", "number"),
            Column("Last", "time"),
            Column("Contract"),
        ],
        [
            row(
                each.key,
                Cell(f"{each.from_} → {each.to}", href=edge_url(each.key)),
                each.workflow,
                each.kind,
                each.moves,
                each.tasks,
                each.last_seen,
                Cell("draft it", href=draft_url(each.key)),
            )
            for each in rows
        ],
        "A contract documents every edge that was observed.",
        notes=["The busiest first. All drafts at once, several stages in one: handoff discover."],
    )


def _sources(found: Documents) -> Table:
    columns = [Column("Source"), Column("Version", "number"), Column("State")]
    return Table(
        "sources",
        "Sources",
        [*columns, Column("Registered", "time")],
        [row(f"{e.id}@{e.version}", e.id, e.version, e.status, e.at) for e in found.rows],
        empty="No source is registered: tools write to handoff.tool-outputs themselves.",
        hint="handoff sources apply PATH",
        more=sources_url(page=found.next) if found.next else None,
    )


def _contract(each: DocumentRow) -> Row:
    return row(
        f"{each.id}@{each.version}",
        Cell(each.id, href=contract_url(each.id)),
        each.version,
        cells.state(each.status),
        each.workflow,
        each.receiver,
        cells.owner(each.owner, each.contact),
        each.use.begun,
        Cell(each.use.fidelity, percent(each.use.fidelity)),
        each.at,
    )


def _receiver(each: DocumentRow) -> Row:
    return row(
        each.id,
        each.id,
        cells.state(each.status),
        Cell(each.team, href=team_url(each.team) if each.team else None),
        cells.owner(each.owner, each.contact),
        each.use.begun,
        Cell(each.use.fidelity, percent(each.use.fidelity)),
        each.use.late,
        each.at,
    )


def _pretty(document: str) -> str:
    return msgspec.json.format(document, indent=2)
