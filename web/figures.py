"""Tables of figures of a range beside the range before it. Pure."""

from collections.abc import Mapping, Sequence
from typing import Final

from processors.alerts import kinds
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
# What an edge counts since it was first seen (`schemas.feed.EDGE_COUNTS`), in words.
EDGE_WORDS: Final = {
    "moves": "Moves",
    "tasks": "Tasks",
    "bare": "Moves without any handoff",
    "uncovered": "Moves without a contract",
    "ping_pongs": "Straight back again",
    "loops": "Back to an earlier stage",
    "judged": "Judged by a contract",
    "owned": "With a named owner",
    "promised": "With a deadline to accept",
    "declared": "Declared by a tool",
    "triggered": "Triggered by a contract",
    "implicit": "Found by the next output",
    "held": "Held",
    "sent": "Sent",
    "accepted": "Accepted",
    "acked": "Accepted by an answer",
    "stalled": "Stalled",
    "in_time": "Completed in time",
    "completed": "Completed",
    "returned": "Returned",
    "rejected": "Rejected",
    "superseded": "Superseded",
    "discarded": "Discarded",
    "expired": "Expired",
    "closed": "Closed in any way",
    "required": "Required fields",
    "rebuilt": "Fields rebuilt",
    "lost": "Fields lost",
    "reentered": "Fields typed again",
    "returns": "Back over the same two stages",
    "looped": "Told as a loop",
}


def edge_counts(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """What an edge counts, in words and in the order above; names of a newer version come last."""
    known = [(words, counts[name]) for name, words in EDGE_WORDS.items() if name in counts]
    others = [name for name in counts if name not in EDGE_WORDS]
    return known + [(name.replace("_", " "), counts[name]) for name in others]


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
            Column("What", "phrase"),
            Column("In the range", "number"),
            Column("Still open", "number"),
            Column("Before", "number"),
            Column("Field"),
        ],
        [
            row(f"{each.kind}/{each.field}", Cell(each.kind, kinds.title(each.kind, each.field)),
                each.count, each.open, each.before, each.field)
            for each in losses
        ],
        "Nothing broke in this range.",
    )  # fmt: skip
