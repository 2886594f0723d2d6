"""All teams, and one: what it sent and got, and what was lost on the way."""

from typing import Final

from starlette.responses import Response

from web import seen
from web.auth.guard import Refusal
from web.figures import losses_table, sums_table
from web.model.queries import team
from web.model.queries.team import Partner
from web.page import Asked, render, route
from web.tables import Cell, Column, Row, Table, row
from web.text import percent
from web.urls import team_url

NAV: Final = (("Teams", "/teams"),)


def page(asked: Asked) -> Response:
    """`/teams`."""
    names = asked.console.model.ask(team.teams)
    with asked.console.model.read() as db:
        ours = seen.teams_of(db, asked.person)
    if ours is not None:
        workflow = asked.filters.workflow
        names = [e for e in names if e in ours and asked.person.may("reader", workflow, e)]
    table = Table(
        "teams",
        "Teams",
        [Column("Team")],
        [row(each, Cell(each, href=team_url(each))) for each in names],
        empty="No team is known yet: outputs, contracts and receivers name them.",
        hint="handoff receivers apply PATH",
    )
    return render(asked, "plain.html", "Teams", tables=[table], kinds=("registry",), here="/teams")


def one(asked: Asked) -> Response:
    """`/team?id=...`."""
    name = asked.query("id")
    filters = asked.console.narrowed(asked.filters.but(team=name), asked.person)
    asked.must("reader", filters.workflow, name)
    found = asked.console.model.ask(team.team, name, filters.but(team=None), now=asked.now_ms)
    if not name or not (found.partners or name in asked.console.model.ask(team.teams)):
        raise Refusal(404, "No team of that name is known.")
    return render(
        asked,
        "team.html",
        f"Team {name}",
        tables=[
            sums_table(found.sent.now, found.sent.before, "sent", "What it sent"),
            losses_table(found.sent.losses, "sent-losses", "What broke in that"),
            sums_table(found.received.now, found.received.before, "received", "What it got"),
            losses_table(found.received.losses, "received-losses", "What broke in what it got"),
            _partners(found.partners),
        ],
        kinds=("handoffs", "violations"),
        here="/teams",
        name=name,
    )


ROUTES: Final = (route("/teams", page), route("/team", one))


def _partners(partners: list[Partner]) -> Table:
    return Table(
        "partners",
        "With whom",
        [
            Column("Team"),
            Column("Sent to it", "number"),
            Column("Fidelity", "number"),
            Column("Late", "number"),
            Column("Got from it", "number"),
            Column("Fidelity", "number"),
            Column("Late", "number"),
        ],
        [_partner(each) for each in partners],
        "No handoff in this range.",
    )


def _partner(each: Partner) -> Row:
    return row(
        each.team or "",
        Cell(each.team or "no known team", href=team_url(each.team) if each.team else None),
        each.sent.begun,
        Cell(each.sent.fidelity, percent(each.sent.fidelity)),
        each.sent.late,
        each.received.begun,
        Cell(each.received.fidelity, percent(each.received.fidelity)),
        each.received.late,
    )
