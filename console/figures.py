"""Figures of a range of time, beside those of the range before: for `edges --since`.

A record of `handoff.figures` counts in the range in which it begins. It is of an hour, or of a day
where that is old.
"""

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta

import click
import msgspec

from console import output
from console.errors import BadInputError
from console.kafka import connect, read_table
from console.lines import moment
from console.render import percent
from schemas.printable import plain
from schemas.records import Figures
from schemas.serde import epoch_ms, utc
from schemas.unreadable import UNREADABLE
from schemas.values import parse_duration

FIGURES = "handoff.figures"
_HOUR, _DAY = 3_600_000, 86_400_000
_HEADINGS = ["workflow", "from", "to", "moves", "before", "fidelity", "before", "lost", "before"]
_HEADINGS += ["late", "before", "lost most"]

Edge = tuple[str, str, str, str]  # workflow, from, kind, to
_figures = msgspec.json.Decoder(Figures).decode


class Range(msgspec.Struct, frozen=True):
    """A range of time in whole hours, and the one of the same length before it; epoch ms."""

    since: int
    until: int

    @property
    def before(self) -> "Range":
        """The range of the same length that ends where this one begins."""
        return Range(2 * self.since - self.until, self.since)

    def has(self, figures: Figures) -> bool:
        """Whether figures count in it."""
        return self.since <= epoch_ms(figures.since) < self.until


@dataclass
class Sum:
    """Figures of an edge together."""

    counts: Counter[str] = field(default_factory=Counter)
    lost_fields: Counter[str] = field(default_factory=Counter)
    fidelity_sum: float = 0.0

    def add(self, figures: Figures) -> None:
        """Add further figures of the edge."""
        self.counts.update(figures.counts)
        self.lost_fields.update(figures.lost_fields)
        self.fidelity_sum += figures.fidelity_sum

    @property
    def fidelity(self) -> float | None:
        """The mean, None where no handoff was judged."""
        judged = self.counts["judged"]
        return self.fidelity_sum / judged if judged else None


def range_of(since: str, until: str | None, now: int) -> Range:
    """The range that a person typed: `since` is a time or how long before the end (7d, 12h,
    P7D), `until` a time, or None for `now` (epoch ms). The hours at both ends are whole.

    Raises `BadInputError`.
    """
    end = -(-(now if until is None else moment(until)) // _HOUR) * _HOUR
    try:
        length = _length(since)
        begin = (moment(since) if length is None else end - length) // _HOUR * _HOUR
    except BadInputError as error:
        raise BadInputError(f"--since: {error}; or how long before the end, such as 7d") from None
    if begin >= end:
        raise BadInputError(
            f"--since {since} is not before the end of the range, {utc(end):%FT%RZ}"
        )
    return Range(begin, end)


def _length(text: str) -> int | None:
    """Milliseconds, None where it is no length of time."""
    unit = {"h": _HOUR, "d": _DAY, "w": 7 * _DAY}.get(text[-1:])
    if unit is not None and text[:-1].isdecimal() and len(text) < 7:
        return int(text[:-1]) * unit
    if not text.startswith("P"):
        return None
    try:
        return parse_duration(text) // timedelta(milliseconds=1)
    except ValueError as error:
        raise BadInputError(str(error)) from None


def sums(figures: Iterable[Figures], within: Range) -> dict[Edge, Sum]:
    """What counts in a range, by edge."""
    found: dict[Edge, Sum] = {}
    for each in figures:
        if within.has(each):
            edge = each.workflow, each.from_, each.kind, each.to
            found.setdefault(edge, Sum()).add(each)
    return found


def compared(since: str, until: str | None, workflow: str | None, as_json: bool) -> None:
    """Print the figures of a range beside those of the range before. Raises `CommandError`."""
    within = range_of(since, until, int(time.time() * 1000))
    found = [each for each in _read() if workflow is None or each.workflow == workflow]
    here, before = sums(found, within), sums(found, within.before)
    edges = sorted(here.keys() | before.keys(), key=lambda e: (-_of(here, e).counts["moves"], e))
    with output.ends_cleanly():
        if as_json:
            output.document([_document(e, _of(here, e), _of(before, e)) for e in edges])
            return
        if edges:
            output.columns(_HEADINGS, [_row(e, _of(here, e), _of(before, e)) for e in edges])
        said = f"{output.number(len(edges), 'edge')} from {utc(within.since):%F %R} to "
        said += f"{utc(within.until):%F %R} UTC; before: from {utc(within.before.since):%F %R}"
        output.say(said, err=True)
        if any(
            epoch_ms(each.until) - epoch_ms(each.since) > _HOUR and _cut(each, within)
            for each in found
        ):
            output.say("older figures are known by the day: a day counts where it begins", err=True)


def _cut(figures: Figures, within: Range) -> bool:
    begin, end = epoch_ms(figures.since), epoch_ms(figures.until)
    return any(begin < cut < end for cut in (within.before.since, within.since, within.until))


def _of(found: dict[Edge, Sum], edge: Edge) -> Sum:
    return found.get(edge) or Sum()


def _read() -> list[Figures]:
    cluster = connect()
    found, unread = [], 0
    for key, value in read_table(cluster, FIGURES).items():
        if key.startswith("pattern/"):
            continue
        try:
            found.append(_figures(value))
        except UNREADABLE:
            unread += 1
    if unread:
        left = output.number(unread, "record")
        name = cluster.name(FIGURES)
        output.say(f"{name}: left out {left} of a newer version, or not ours", err=True)
    return found


def _row(edge: Edge, here: Sum, before: Sum) -> list[str]:
    workflow, from_, kind, to = edge
    lost = here.lost_fields.most_common(1)
    return [
        workflow,
        from_,
        f"→ {to}" if kind == "handoff" else to,
        *_numbers(here, before, "moves"),
        percent(here.fidelity),
        percent(before.fidelity),
        *_numbers(here, before, "lost"),
        *_numbers(here, before, "stalled"),
        f"{plain(lost[0][0])} ({lost[0][1]:,})" if lost else "-",
    ]


def _numbers(here: Sum, before: Sum, name: str) -> tuple[str, str]:
    """A count with its change, and what it was before."""
    now, then = here.counts[name], before.counts[name]
    return f"{now:,} ({now - then:+,})" if now != then else f"{now:,}", f"{then:,}"


def _document(edge: Edge, here: Sum, before: Sum) -> dict[str, object]:
    workflow, from_, kind, to = edge
    return {"kind": kind, "workflow": workflow, "from": from_, "to": to} | {
        name: {
            "counts": dict(found.counts),
            "lost_fields": dict(found.lost_fields),
            "fidelity": None if found.fidelity is None else round(found.fidelity, 6),
        }
        for name, found in (("here", here), ("before", before))
    }


def options(command: click.decorators.FC) -> click.decorators.FC:
    """The options `since` and `until`."""
    command = click.option(
        "--until", metavar="TIME", help="With --since: the end of the range; without it, now."
    )(command)
    return click.option(
        "--since",
        metavar="TIME",
        help="The figures of the time since then, or of so long (7d, 12h), beside the time before.",
    )(command)
