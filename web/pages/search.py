"""Search: whatever has a name."""

from typing import Final

import apsw
from starlette.responses import Response

from web import seen
from web.auth.people import Person
from web.model.queries import search
from web.model.queries.search import Hit
from web.page import Asked, render, route, see
from web.tables import Cell, Column, Table, row
from web.urls import cause_url, contract_url, held_url, task_url

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


def page(asked: Asked) -> Response:
    """`/search?q=...`. One task that has exactly that name is opened at once."""
    text = asked.query("q").strip()
    everything = asked.console.model.ask(search.search, text)
    with asked.console.model.read() as db:
        found = [each for each in everything if _may_see(db, asked.person, each)]
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
    )
    return render(asked, "search.html", "Search", tables=[table], here="", text=text)


ROUTES: Final = (route("/search", page),)


def _may_see(db: apsw.Connection, person: Person, hit: Hit) -> bool:
    if person.everywhere:
        return True
    match hit.kind:
        case "contract" | "receiver" | "source":
            return seen.may_read_document(db, person, hit.kind, hit.name)
        case "pattern":
            return seen.may_read_cause(db, person, hit.name)
        case "linked":  # the name that was found, and the one that says so
            return seen.may_read_link(db, person, hit.name, hit.task_id or "", hit.workflow or "")
    return seen.may_read_task(db, person, hit.task_id or hit.name, hit.workflow or "")


def _url(hit: Hit) -> str:
    match hit.kind:
        case "pattern":
            return cause_url(hit.name)
        case "contract":
            return contract_url(hit.name)
        case "receiver" | "source":
            return "/receivers" if hit.kind == "receiver" else "/contracts"
        case "handoff":
            return held_url(hit.name)
    return task_url(hit.task_id or hit.name, hit.workflow)
