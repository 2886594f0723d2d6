"""The map of who hands what to whom, and one edge of it."""

import math
from typing import Any, Final

from starlette.responses import Response

from web import cells, drawing, seen
from web.figures import edge_counts, losses_table, sums_table
from web.model.queries import map as edges
from web.model.queries import ranges
from web.model.queries.map import EdgePage, MapEdge
from web.page import Asked, render, route
from web.tables import Cell, Column, Table, row
from web.text import percent, visible
from web.urls import change_url, draft_url, edge_url, record_url

NAV: Final = (("Map", "/map"),)
KINDS: Final = ("edges", "handoffs")
_GOOD, _FAIR = 0.9, 0.6  # fidelity from which an edge is drawn as good, or as fair
_LETTERS: Final = 20  # of a name in a box


def page(asked: Asked) -> Response:
    """`/map`."""
    before = asked.earlier(ranges.earlier)
    found = asked.console.model.ask(edges.map_, asked.filters, now=asked.now_ms, before=before)
    return render(
        asked,
        "map.html",
        "Map",
        tables=[_edges(asked, found.edges)],
        kinds=KINDS,
        here="/map",
        drawn=_drawn(asked, found.edges),
        left_out=found.left_out,
    )


def edge(asked: Asked) -> Response:
    """`/edge?key=...`."""
    with asked.console.model.read() as db:
        known = seen.edge_for(db, asked.person, asked.query("key"))
        found = edges.edge(db, known, asked.filters, asked.now_ms, asked.query("page") or None)
    return render(
        asked,
        "edge.html",
        f"{found.from_} → {found.to}",
        tables=[
            sums_table(found.now, found.before),
            losses_table(found.losses),
            _had(found),
            _fields(found),
            _handoffs(asked, found),
        ],
        kinds=KINDS,
        here="/map",
        found=found,
        draft=None if found.documented else draft_url(found.key),
        change=change_url(found.contract) if found.contract else None,
        counts=edge_counts(found.counts),
    )


ROUTES: Final = (route("/map", page), route("/edge", edge))


def _edges(asked: Asked, found: list[MapEdge]) -> Table:
    return Table(
        "edges",
        "Edges",
        [
            Column("From → to"),
            Column("Workflow"),
            Column("What"),
            Column("Volume", "number"),
            Column("Before", "number"),
            Column("Fidelity", "number"),
            Column("Before", "number"),
            Column("Lost", "number"),
            Column("Late", "number"),
            Column("Contract"),
        ],
        [
            row(
                each.key,
                Cell(f"{each.from_} → {each.to}", href=edge_url(each.key, asked.filters)),
                each.workflow,
                each.kind,
                Cell(each.volume, f"{each.volume:,} since ever" if each.whole else None),
                each.before,
                Cell(each.fidelity, percent(each.fidelity)),
                Cell(each.fidelity_before, percent(each.fidelity_before)),
                each.lost,
                each.late,
                Cell(each.contract or ("documented" if each.documented else "undocumented"),
                     mark=None if each.documented else "warning"),
            )
            for each in found
        ],
        empty="No work moved in this range.",
        hint="handoff send FILE.jsonl",
        notes=["The busiest first. A move is a change of stage; a handoff has a receiver."],
    )  # fmt: skip


def _drawn(asked: Asked, found: list[MapEdge]) -> dict[str, Any] | None:
    """The edges as a drawing: width is volume, colour is fidelity, dashes are undocumented."""
    if not found:
        return None
    ends = {each.key: ((each.workflow, each.from_), (each.workflow, each.to)) for each in found}
    nodes, wide, high = drawing.placed(ends.values())
    at = {each.node: each for each in nodes}
    most = max(each.volume for each in found) or 1
    half, _ = drawing.BOX[0] // 2, drawing.BOX[1]
    lines = []
    for each in found:
        begin, end = (at[node] for node in ends[each.key])
        x1, x2 = begin.x + half, end.x - half
        bend = max(40, abs(x2 - x1) // 2)
        lines.append(
            {
                "path": f"M{x1},{begin.y} C{x1 + bend},{begin.y} {x2 - bend},{end.y} {x2},{end.y}",
                "width": f"{1 + 7 * math.sqrt(each.volume / most):.1f}",
                "kind": _colour(each) + ("" if each.documented else " undocumented"),
                "href": edge_url(each.key, asked.filters),
                "title": f"{visible(each.from_)} → {visible(each.to)} ({visible(each.workflow)}): "
                f"{each.volume:,}, fidelity {percent(each.fidelity)}"
                + ("" if each.documented else ", undocumented"),
            }
        )
    boxes = [
        {
            "x": each.x - half,
            "y": each.y - drawing.BOX[1] // 2,
            "text_y": each.y + 5,
            "name": _short(each.node[1]),
            "title": f"{visible(each.node[1])} ({visible(each.node[0])})",
        }
        for each in nodes
    ]
    return {
        "lines": lines, "boxes": boxes, "wide": wide, "high": high,
        "box_wide": drawing.BOX[0], "box_high": drawing.BOX[1],
    }  # fmt: skip


def _short(name: str) -> str:
    told = visible(name[: _LETTERS + 1])
    return told if len(name) <= _LETTERS else f"{told[: _LETTERS - 1]}…"


def _colour(each: MapEdge) -> str:
    if each.fidelity is None:
        return "unknown"
    return "good" if each.fidelity >= _GOOD else "fair" if each.fidelity >= _FAIR else "poor"


def _had(found: EdgePage) -> Table:
    return Table(
        "had",
        "Who had it last",
        [Column("Tool"), Column("Stage"), Column("Times", "number"), Column("At", "time")],
        [
            row(
                f"{each.tool}/{each.stage}",
                Cell(each.tool, href=record_url(each.place)),
                each.stage,
                each.count,
                each.at,
            )
            for each in found.had_last
        ],
        "Of nothing that was lost here a tool is known that had it.",
    )


def _fields(found: EdgePage) -> Table:
    return Table(
        "fields",
        "What it carries",
        [Column("Field"), Column("Share", "number"), Column("Types")],
        [
            row(each.name, each.name, Cell(each.share, percent(each.share)), ", ".join(each.types))
            for each in found.fields
        ],
        "It carried no fields yet.",
        notes=["The share of all since the edge was first seen."],
    )


def _handoffs(asked: Asked, found: EdgePage) -> Table:
    return Table(
        "handoffs",
        "Handoffs",
        [
            Column("Task"),
            Column("At", "time"),
            Column("State"),
            Column("Fidelity", "number"),
            Column("Missing"),
        ],
        [
            row(
                each.id,
                cells.task(each.task_id, found.workflow),
                each.at,
                cells.state(each.state, late=each.late),
                Cell(each.fidelity, percent(each.fidelity)),
                ", ".join(each.missing),
            )
            for each in found.handoffs
        ],
        "No handoff over it in this range.",
        more=asked.at(page=found.next, **asked.kept) if found.next else None,
    )
