"""Tables of figures of a range beside the range before it. Pure."""

from collections.abc import Sequence
from typing import Final

from web.model.queries.common import Sums
from web.model.queries.ranges import Lost
from web.tables import Cell, Column, Row, Table, row
from web.text import percent

_SHARES: Final = {"fidelity": "Fidelity", "completeness": "Completeness"}
_COUNTS: Final = {
    "begun": "Handoffs",
    "sent": "Sent",
    "held": "Held",
    "accepted": "Accepted",
    "completed": "Completed",
    "returned": "Returned",
    "rejected": "Rejected",
    "late": "Late",
    "missing": "Fields missing",
    "rebuilt": "Fields rebuilt",
}


def sums_table(now: Sums, before: Sums, name: str = "sums", caption: str = "In figures") -> Table:
    """What handoffs add up to, against the range before."""
    rows = [
        row(each, words, getattr(now, each), getattr(before, each))
        for each, words in _COUNTS.items()
    ]
    rows += [_share(each, words, now, before) for each, words in _SHARES.items()]
    return Table(
        name,
        caption,
        [Column("Figure"), Column("In the range", "number"), Column("Before", "number")],
        rows if now.begun or before.begun else [],
        "No handoff in this range or in the one before.",
    )


def _share(name: str, words: str, now: Sums, before: Sums) -> Row:
    ours, theirs = getattr(now, name), getattr(before, name)
    return row(name, words, Cell(ours, percent(ours)), Cell(theirs, percent(theirs)))


def losses_table(losses: Sequence[Lost], name: str = "losses", caption: str = "Losses") -> Table:
    """What broke most, by kind and field."""
    return Table(
        name,
        caption,
        [
            Column("What"),
            Column("Field"),
            Column("In the range", "number"),
            Column("Still open", "number"),
            Column("Before", "number"),
        ],
        [
            row(f"{each.kind}/{each.field}", each.kind, each.field, each.count, each.open,
                each.before)
            for each in losses
        ],
        "Nothing broke in this range.",
    )  # fmt: skip
