"""The front page: what is broken now, and what got worse; and the handoffs that stalled."""

from typing import Final

from starlette.responses import Response

from web import cells
from web.model.queries import ranges, today
from web.model.queries.causes import PatternRow
from web.model.queries.common import Count
from web.page import Asked, render, route
from web.tables import Cell, Column, Row, Table, row
from web.text import count, percent
from web.urls import edge_url

NAV: Final = (("Today", "/"), ("Stalled", "/stalled"))
PAGES_OF: Final = {"patterns": "/causes", "held": "/held", "stalled": "/stalled"}
# What got worse over days hardly changes within seconds, and takes a look at all edges.
_CHANGES_SECONDS: Final = 30.0
_MEASURES: Final = {
    "fidelity": "fidelity",
    "lost": "fields lost per handoff",
    "late": "late",
    "returned": "returned",
    "rejected": "rejected",
}


def page(asked: Asked) -> Response:
    """`/`."""
    model, filters = asked.console.model, asked.filters
    found = model.ask(today.today, filters)
    before = asked.earlier(ranges.earlier)
    worst = model.ask(today.worst, filters, now=asked.now_ms, before=before, keep=_CHANGES_SECONDS)
    tiles = [
        _tile(asked, found.open_patterns, "open cause"),
        _tile(asked, found.held, "handoff held", "handoffs held"),
        _tile(asked, found.stalled, "handoff stalled", "handoffs stalled"),
    ]
    return render(
        asked,
        "today.html",
        "Today",
        tables=[causes_table(found.patterns), _worse(asked, worst)],
        kinds=("patterns", "held", "handoffs", "violations"),
        here="/",
        tiles=tiles,
        quiet=not (found.open_patterns.number or found.held.number or found.stalled.number),
    )


def stalled_page(asked: Asked) -> Response:
    """`/stalled`."""
    found = asked.console.model.ask(today.stalled, asked.filters, asked.query("page") or None)
    table = Table(
        "stalled",
        "Stalled handoffs",
        [
            Column("Task"),
            Column("From → to"),
            Column("Owner"),
            Column("State"),
            Column("Handed off", "time"),
            Column("Accept by", "time"),
            Column("Complete by", "time"),
        ],
        [
            row(
                each.id,
                cells.task(each.task_id, each.workflow),
                f"{each.from_stage} → {each.receiver}",
                cells.owner(each.owner, each.owner_contact),
                cells.state(each.state, stalled=True),
                each.at,
                each.accept_by,
                each.complete_by,
            )
            for each in found.rows
        ],
        "No handoff is past a deadline.",
        more=asked.at(page=found.next) if found.next else None,
    )
    return render(
        asked,
        "list.html",
        "Stalled handoffs",
        tables=[table],
        kinds=("handoffs",),
        here="/stalled",
        lead="Sent, past a deadline, and neither accepted in time nor closed. The oldest first.",
        fields=("workflow", "receiver", "team", "owner"),
        range=False,
    )


ROUTES: Final = (route("/", page), route("/stalled", stalled_page))


def causes_table(rows: list[PatternRow], more: str | None = None) -> Table:
    """Causes as a table."""
    return Table(
        "causes",
        "Open causes",
        [
            Column("What", "phrase"),
            Column("Severity"),
            Column("Where"),
            Column("Workflow"),
            Column("Owner"),
            Column("Count", "number"),
            Column("Lately", "number"),
            Column("Since", "time"),
            Column("Last", "time"),
        ],
        [_cause(each) for each in rows],
        empty="No cause keeps breaking.",
        hint="handoff tail patterns",
        more=more,
    )


def _cause(each: PatternRow) -> Row:
    return row(
        each.fingerprint,
        cells.cause(each),
        cells.severity(each.severity),
        cells.where(each),
        each.workflow,
        cells.owner(each.owner, each.owner_contact),
        each.count,
        each.recent,
        each.first_seen,
        each.last_seen,
    )


def _tile(asked: Asked, found: Count, one: str, more: str | None = None) -> dict[str, object]:
    words = (one if found.number == 1 else more or f"{one}s") if not found.more else more or one
    return {
        "number": f"{count(found.number)}{'+' if found.more else ''}",
        "words": words,
        "bad": found.number > 0,
        "href": asked.to(PAGES_OF[found.page], found.filters),
        "id": f"tile-{found.page}",
    }


def _worse(asked: Asked, rows: list[today.Worse]) -> Table:
    return Table(
        "worse",
        "What got worse",
        [
            Column("From → to"),
            Column("Workflow"),
            Column("Measure"),
            Column("Now", "number"),
            Column("Before", "number"),
            Column("Handoffs", "number"),
        ],
        [
            row(
                f"{each.key}:{each.measure}",
                Cell(
                    f"{each.from_stage} → {each.receiver}",
                    href=edge_url(each.key, asked.filters.but(workflow=None, receiver=None)),
                ),
                each.workflow,
                _MEASURES.get(each.measure, each.measure),
                Cell(each.now, _share(each.measure, each.now)),
                Cell(each.before, _share(each.measure, each.before)),
                each.handoffs,
            )
            for each in rows
        ],
        f"No edge got worse: each has to have {today.ENOUGH} handoffs in this range and in the "
        "one before, to say anything.",
        notes=["In the range above, against the range of the same length before it."],
    )


def _share(measure: str, share: float) -> str:
    return f"{share:.2f}" if measure == "lost" else percent(share)
