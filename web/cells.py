"""Cells that several tables have: a cause, an owner, a state, a lost field. Pure."""

from collections.abc import Sequence
from typing import Final

from console.render import HELD_FOR
from processors.alerts import kinds
from web.model.queries.amendments import Request
from web.model.queries.causes import PatternRow
from web.model.queries.held import Why
from web.tables import Cell
from web.text import count
from web.urls import cause_url, task_url

ASKED: Final = {
    "set": "values to be set",
    "release": "release",
    "redirect": "another receiver",
    "discard": "discard",
}
_BAD: Final = ("held", "rejected", "expired", "returned", "firing")
_GOOD: Final = ("completed", "accepted", "resolved", "released", "closed")


def owner(name: str | None, contact: str | None = None) -> Cell:
    """Who is to act."""
    if not name:
        return Cell("nobody", mark="bad")
    return Cell(f"{name} ({contact})" if contact else name)


def cause(row: PatternRow) -> Cell:
    """What keeps breaking; leads to its page."""
    what = f"{row.kind}: {row.field}" if row.field else row.kind
    words = kinds.title(row.kind, row.field, row.receiver)
    return Cell(what, words, href=cause_url(row.fingerprint))


def where(row: PatternRow) -> str:
    """Between whom it breaks."""
    between = " → ".join(each for each in (row.from_, row.receiver or row.to) if each)
    return between or row.contract or row.workflow


def severity(name: str) -> Cell:
    """How bad, in a word and a colour."""
    return Cell(name, mark=name)


def state(name: str | None, stalled: bool = False, late: bool = False) -> Cell:
    """A state of a handoff."""
    words = ", ".join(
        each for each in (name, "stalled" if stalled else "late" if late else "") if each
    )
    bad = stalled or name in _BAD
    return Cell(words or None, mark="bad" if bad else "good" if name in _GOOD else "info")


def reasons(why: Sequence[Why]) -> str:
    """The open violations of a handoff in some words, each kind once."""
    of: dict[str, list[str]] = {}
    for each in why:
        of.setdefault(each.kind, []).append(each.field or each.rule or "")
    told = []
    for kind, names in of.items():
        words, named = in_words(kind), ", ".join(name for name in names if name)
        told.append(f"{named}: {words}" if named else words)
    return "; ".join(told)


def in_words(kind: str) -> str:
    """What broke of one handoff, as one says it behind its field."""
    return HELD_FOR.get(kind, kind.replace("_", " "))


def kind_in_words(kind: str) -> str:
    """A kind of violation in words and by its name, by which docs and commands know it."""
    words = HELD_FOR.get(kind)
    return kind if words is None else f"{words} ({kind})"


def requested(pending: Sequence[Request]) -> Cell:
    """What was asked and not answered yet."""
    if not pending:
        return Cell(None)
    last = pending[-1]
    more = f" (and {count(len(pending) - 1, 'more', 'more')})" if len(pending) > 1 else ""
    return Cell(f"{ASKED.get(last.action, last.action)} requested by {last.by}{more}", mark="info")


def task(task_id: str, workflow: str | None) -> Cell:
    """A task; leads to its page."""
    return Cell(task_id, href=task_url(task_id, workflow))
