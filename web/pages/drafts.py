"""A draft of a contract for an edge that nobody wrote down, as `handoff discover` writes it."""

from typing import Final

import msgspec
from starlette.responses import Response

from console.discovery import Draft, drafts
from schemas.records import Edge
from web import seen
from web.auth.guard import Refusal
from web.page import Asked, render, route
from web.urls import draft_url, edge_url

NAV: Final = ()
_edge = msgspec.json.Decoder(Edge).decode


def page(asked: Asked) -> Response:
    """`/draft?key=...`: to be read; with `format=yaml`, the file."""
    key = asked.query("key")
    with asked.console.model.read() as db:
        known = seen.edge_for(db, asked.person, key)
        registered = asked.console.registered(db)
    if known.place is None:
        raise Refusal(404, "That edge was not published yet. Load the page again in a moment.")
    place = known.place
    record = asked.console.gate.read([place]).get(place)
    if record is None or record.value is None:
        raise Refusal(404, "A newer record of that edge is just being read. Load the page again.")
    found = _edge(record.value)
    draft = _draft(found, {each.id for each in registered.contracts.values()})
    if asked.query("format") == "yaml":
        named = f'attachment; filename="{draft.id}.yaml"'
        return Response(
            draft.text,
            media_type="application/yaml; charset=utf-8",
            headers={"content-disposition": named},
        )
    return render(
        asked,
        "draft.html",
        f"Draft {draft.id}",
        here="/contracts",
        draft=draft,
        edge=found,
        edge_url=edge_url(key),
        file=draft_url(key, file=True),
    )


ROUTES: Final = (route("/draft", page),)


def _draft(found: Edge, taken: set[str]) -> Draft:
    if found.documented:
        raise Refusal(404, "A contract documents that edge already: it needs no draft.")
    made = drafts([found], taken).made
    if not made:
        raise Refusal(
            404, "A contract cannot name that edge; let the tool name its stage otherwise."
        )
    return made[0]
