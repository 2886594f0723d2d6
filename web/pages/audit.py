"""The six questions of `handoff audit`, and how handoffs go in a range."""

from typing import Final

from starlette.responses import Response

from web import seen
from web.auth.guard import Refusal
from web.model.queries import audit
from web.model.queries.audit import AuditPage, Measures
from web.page import Asked, render, route
from web.tables import Cell, Column, Row, Table, row
from web.text import duration, percent

NAV: Final = (("Audit", "/audit"),)
_MARKS: Final = {"yes": "good", "no": "bad"}


def page(asked: Asked) -> Response:
    """`/audit`."""
    workflow = asked.filters.workflow
    if not asked.person.everywhere and not seen.may_read_all(asked.person, workflow or ""):
        raise Refusal(
            403,
            "The audit is of a whole workflow, and of this one only some teams are yours. What "
            "your team sent and got is on its page.",
        )
    before = asked.earlier(audit.earlier_measures)
    found = asked.console.model.ask(audit.audit, asked.filters, now=asked.now_ms, before=before)
    return render(
        asked,
        "list.html",
        "Audit",
        tables=[_answers(found), _measures(found.now, found.before)],
        kinds=("edges", "registry"),
        here="/audit",
        lead=found.audit.headline,
        fields=("workflow",),
        range=True,
    )


ROUTES: Final = (route("/audit", page),)


def _answers(found: AuditPage) -> Table:
    return Table(
        "answers",
        "Six questions",
        [Column("Question"), Column("Answer"), Column("From what"), Column("First step")],
        [
            row(
                each.question,
                each.question,
                Cell(each.answer, mark=_MARKS.get(each.answer, "info")),
                Cell(_plain(each.evidence)),
                Cell(_plain(each.first_step)),
            )
            for each in found.audit.answers
        ],
        notes=["From all that was observed; the range does not count here."],
    )


def _plain(words: str) -> str:
    """Words for a terminal, without the marks around commands."""
    return words.replace("`", "")


def _measures(now: Measures, before: Measures) -> Table:
    return Table(
        "measures",
        "How handoffs go",
        [Column("Measure"), Column("In the range", "number"), Column("Before", "number")],
        [
            _times("Accepted within (half of them)", now.latency_ms_p50, before.latency_ms_p50),
            _times("Accepted within (95 %)", now.latency_ms_p95, before.latency_ms_p95),
            _share("Context that the receiver got", now.completeness, before.completeness),
            _share("Completed in time, of those sent", now.success, before.success),
        ],
    )


def _times(words: str, now: int | None, before: int | None) -> Row:
    return row(words, words, Cell(now, duration(now)), Cell(before, duration(before)))


def _share(words: str, now: float | None, before: float | None) -> Row:
    return row(words, words, Cell(now, percent(now)), Cell(before, percent(before)))
