"""What the questions have in common: coordinates, counts, pages, and filters as SQL."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import apsw
import msgspec
from msgspec import Struct

from schemas.feed import subject
from web.model.filters import Filters, Span
from web.model.schema import DAY_MS, FIGURES, HOUR_MS, TOPICS

MOST: Final = 10_000  # counted at most: what is beyond is "more than"
ROWS: Final = 50  # of a page
Values = dict[str, str | int | float | None]


class Place(NamedTuple):
    """Where a record lies: canonical topic, partition and offset."""

    topic: str
    partition: int
    offset: int


class Count(Struct, frozen=True):
    """How many there are, and the page and filters that show exactly these. With `more` there are
    more than `number`, which is where counting ended."""

    number: int
    more: bool
    page: str
    filters: Filters


class CursorError(ValueError):
    """A place in a list that is none of ours; the text is a sentence for a person."""


def place(topic: str | int, partition: int, offset: int) -> Place:
    """A place by the name or the number of the topic."""
    return Place(topic if isinstance(topic, str) else TOPICS[topic], partition, offset)


def rows(db: apsw.Connection, sql: str, values: Values | None = None) -> list[dict[str, Any]]:
    """All rows of a question, by the names of their columns."""
    cursor = db.execute(sql, values or {})
    try:
        names = [column[0] for column in cursor.get_description()]
    except apsw.ExecutionCompleteError:  # no row
        return []
    return [dict(zip(names, row, strict=True)) for row in cursor]


def after(cursor: str | None) -> tuple[int, str] | None:
    """The last row that was shown, of a list that is ordered by a number and a text."""
    if not cursor:
        return None
    number, mark, text = cursor.partition("~")
    if not mark or not number.lstrip("-").isdecimal() or len(number) > 18:
        raise CursorError("this place in the list is not known; begin with its first page")
    return int(number), text


def cursor_of(number: int, text: str) -> str:
    """The other way round."""
    return f"{number}~{text}"


def counted(
    db: apsw.Connection, page: str, filters: Filters, sql: str, values: Values | None = None
) -> Count:
    """How many rows a question has, up to `MOST`."""
    number = int(db.execute(f"select count(*) from ({sql} limit {MOST + 1})", values or {}).get)
    return Count(min(number, MOST), number > MOST, page, filters)


def of_lanes(filters: Filters) -> tuple[str, Values]:
    """The condition that the lanes `l` fulfil, and its values."""
    parts, values = ["true"], Values()
    for name in ("workflow", "contract", "receiver", "owner"):
        wanted = getattr(filters, name)
        if wanted is not None:
            parts.append(f"l.{name} = :{name}")
            values[name] = wanted
    if filters.team is not None:
        parts.append("(:team in (l.from_team, l.to_team))")
        values["team"] = filters.team
    return " and ".join(parts), values


def of_violations(filters: Filters) -> tuple[str, Values]:
    """The condition on kind and severity of `b`, and its values."""
    parts, values = ["true"], Values()
    for name in ("kind", "severity"):
        wanted = getattr(filters, name)
        if wanted is not None:
            parts.append(f"b.{name} = :{name}")
            values[name] = wanted
    return " and ".join(parts), values


class Piece(NamedTuple):
    """Hours or days (`unit` in ms), counted since 1970 from `since` to before `until`, that are
    added (`sign` 1) or taken away (-1)."""

    unit: int
    since: int
    until: int
    sign: int


def pieces(span: Span) -> list[Piece]:
    """A range of whole hours in as few rows as can be: whole days, and at each end the hours of the
    day that are in it, or the whole day without the hours that are not."""
    since, until = span.since // HOUR_MS, span.until // HOUR_MS
    first, last = -(-since // 24), until // 24  # the days that are in it as a whole
    if first > last or (first == last and until - since <= 12):
        return [Piece(HOUR_MS, since, until, 1)]
    found = []
    if first * 24 - since > 12:
        first -= 1
        found.append(Piece(HOUR_MS, first * 24, since, -1))
    else:
        found.append(Piece(HOUR_MS, since, first * 24, 1))
    if until - last * 24 > 12:
        last += 1
        found.append(Piece(HOUR_MS, until, last * 24, -1))
    else:
        found.append(Piece(HOUR_MS, last * 24, until, 1))
    return [each for each in (Piece(DAY_MS, first, last, 1), *found) if each.since < each.until]


def within(span: Span, table: str, alias: str) -> str:
    """The join of lanes `l` with what `table` (sums or breaks) has of them in a range; each figure
    counts times `r.sign`, so that some add up to 0."""
    listed_ = " union all ".join(
        f"select {unit} as unit, {begin} as since, {end} as until, {sign} as sign"
        for unit, begin, end, sign in pieces(span)
    )
    # In this order the rows of a lane come together, and each range is one search.
    return (
        f"lanes l cross join ({listed_}) r cross join {table} {alias} on {alias}.lane = l.id "
        f"and {alias}.unit = r.unit and {alias}.at >= r.since and {alias}.at < r.until"
    )


class Sums(Struct, frozen=True):
    """What handoffs that began in a range add up to.

    `begun` counts them; of those the contract judged, `fidelity` and `completeness` are means (0 to
    1). `missing` and `rebuilt` count fields. `late` counts those that passed a deadline, `in_time`
    those completed without. The others count handoffs that are, or were, in that state.
    """

    begun: int = 0
    judged: int = 0
    fidelity: float | None = None
    completeness: float | None = None
    missing: int = 0
    rebuilt: int = 0
    owned: int = 0
    promised: int = 0
    held: int = 0
    sent: int = 0
    accepted: int = 0
    completed: int = 0
    returned: int = 0
    rejected: int = 0
    superseded: int = 0
    late: int = 0
    in_time: int = 0


SUMMED: Final = ", ".join(f"coalesce(sum(h.{name} * r.sign), 0) as {name}" for name in FIGURES)


def sums(row: dict[str, Any]) -> Sums:
    """The sums in a row that selected `SUMMED`."""
    return sums_of([row[name] for name in FIGURES])


def sums_of(figures: Sequence[int]) -> Sums:
    """The sums of figures in the order of `FIGURES`."""
    begun, judged, fidelity, completeness, *rest = figures
    if not judged:
        return Sums(begun, judged, None, None, *rest)
    whole = judged * 1_000_000
    return Sums(begun, judged, fidelity / whole, completeness / whole, *rest)


def edge_key(workflow: str, from_stage: str, receiver: str) -> str:
    """The key of an edge of handoffs, as on `handoff.edges`."""
    return subject("handoff", workflow, from_stage, receiver)


def listed(text: str | None) -> Any:
    """A column that holds JSON."""
    return msgspec.json.decode(text) if text else []
