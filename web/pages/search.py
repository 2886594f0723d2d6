"""Search: whatever has a name."""

from typing import Final

from starlette.responses import Response

from web import seen
from web.model.queries import search
from web.model.queries.search import Hit
from web.page import Asked, render, route, see
from web.tables import Cell, Column, Table, row
from web.urls import cause_url, contract_url, held_url, receiver_url, sources_url, task_url

NAV: Final = ()
_WORDS: Final = {
    "task": "task",
    "linked": "another name of a task",
    "handoff": "handoff",
    "event": "event",
    "contract": "contract",
    "receiver": "receiver",
    "source": "source",
    "pattern": "cause",
}

_NOTE: Final = (
    f"Of what begins so, the first {search.LOOKED:,} names of a kind are looked through for what "
    "is yours to see. Write more of the name to find others."
)


def page(asked: Asked) -> Response:
    """`/search?q=...`. One task that has exactly that name is opened at once."""
    text = asked.query("q").strip()
    if asked.person.everywhere:
        found = asked.console.model.ask(search.search, text)
    else:
        with asked.console.model.read() as db:
            found = search.search(db, text, seen.sees(db, asked.person))
    exact = [each for each in found if each.exact]
    if len(exact) == 1 and exact[0].kind == "task" and asked.query("format") != "csv":
        return see(_url(exact[0]))
    table = Table(
        "found",
        "Found",
        [Column("Name"), Column("What"), Column("Workflow"), Column("Task")],
        [
            row(
                f"{each.kind}/{each.workflow}/{each.name}",
                Cell(each.name, href=_url(each)),
                _WORDS[each.kind] + ("" if each.exact else ", begins so"),
                each.workflow,
                each.task_id if each.task_id != each.name else None,
            )
            for each in found
        ],
        "Nothing has that name, or begins with it. Letters count as they are written."
        if text
        else "Look for the id of a task, a handoff or an event, under any of its names, for a "
        "contract, or for a receiver.",
        notes=[] if asked.person.everywhere else [_NOTE],
    )
    return render(asked, "search.html", "Search", tables=[table], here="", text=text)


ROUTES: Final = (route("/search", page),)


def _url(hit: Hit) -> str:
    match hit.kind:
        case "pattern":
            return cause_url(hit.name)
        case "contract":
            return contract_url(hit.name)
        case "receiver":
            return receiver_url(hit.name)
        case "source":
            return sources_url(id=hit.name)
        case "handoff":
            return held_url(hit.name)
    return task_url(hit.task_id or hit.name, hit.workflow)
