"""A table of a page, and the same table as CSV. Pure."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

from markupsafe import Markup, escape

from web.text import iso, moment, shown, visible

# What makes a program for tables read a text as a formula (OWASP, CSV injection).
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", *"\uff1d\uff0b\uff0d\uff20")
_LONGEST: Final = 30  # characters of a word that a column is as wide as
Kind = Literal["text", "phrase", "words", "number", "time"]  # words: a sentence
Scalar = str | int | float | datetime | None
MIME: Final = "text/csv; charset=utf-8"


@dataclass(frozen=True)
class Column:
    """A column: its heading, and how its cells are aligned and written."""

    title: str
    kind: Kind = "text"


@dataclass(frozen=True)
class Cell:
    """What stands in a cell. `value` is what CSV has; `text` is what the page shows in its place.

    `href` leads to a page of ours, `mark` is the name of a colour that goes with the words.
    """

    value: Scalar
    text: str | Markup | None = None
    href: str | None = None
    mark: str | None = None

    @property
    def long(self) -> bool:
        """Whether a word of it is broken, as a column would be too wide for it."""
        told = self.value if self.text is None else self.text
        if not isinstance(told, str) or len(told) <= _LONGEST:
            return False
        return any(len(word) > _LONGEST for word in told.split())

    def inside(self, kind: Kind) -> str:
        """The cell as HTML: its content, as a link or with a colour where it has such."""
        told: str = self.shown(kind)
        if self.href is not None:
            told = f'<a href="{escape(self.href)}">{told}</a>'
        if self.mark is not None:
            told = f'<span class="mark {escape(self.mark)}">{told}</span>'
        return told

    def shown(self, kind: Kind) -> Markup:
        """The content of the cell on a page."""
        if self.text is not None:
            return shown(self.text)
        if kind == "time" and isinstance(self.value, int | datetime):
            return moment(self.value)
        if isinstance(self.value, int):
            return Markup("{}").format(f"{self.value:,}")
        return shown(self.value)


@dataclass(frozen=True)
class Row:
    """A row. By its `key` a live page finds it again."""

    key: str
    cells: Sequence[Cell]
    fresh: bool = False


@dataclass(frozen=True)
class Table:
    """A table: its name (of letters, for the URL), its caption, and what to say when it is empty.

    `more` leads to the rows behind these.
    """

    name: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    empty: str = "Nothing here."
    hint: str | None = None
    more: str | None = None
    notes: Sequence[str] = field(default_factory=tuple)

    def body(self) -> Markup:
        """The rows as HTML. Here and not in the template, where it takes ten times as long."""
        kinds = [column.kind for column in self.columns]
        lines = []
        for each in self.rows:
            cells = [
                f'<td class="{kind}{" long" if cell.long else ""}">{cell.inside(kind)}</td>'
                for cell, kind in zip(each.cells, kinds, strict=True)
            ]
            cells[0] = f'<th scope="row"{cells[0][3:-5]}</th>'
            lines.append(f'<tr data-key="{escape(each.key)}">{"".join(cells)}</tr>')
        return Markup("\n".join(lines))


def row(key: str, *cells: Cell | Scalar) -> Row:
    """A row of cells, or of plain values."""
    return Row(key, [each if isinstance(each, Cell) else Cell(each) for each in cells])


def as_csv(table: Table) -> str:
    """The table as CSV (RFC 4180); no cell of it is read as a formula."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow([each.title for each in table.columns])
    for each in table.rows:
        writer.writerow(_cells(each.cells, table.columns))
    return out.getvalue()


def _cells(cells: Iterable[Cell], columns: Sequence[Column]) -> Iterable[str]:
    for cell, column in zip(cells, columns, strict=True):
        value = cell.value
        if column.kind == "time" and isinstance(value, int | datetime):
            yield iso(value)
        elif isinstance(value, str):
            text = visible(value)
            # The sign itself, and one behind spaces, which some programs take away.
            yield f"'{text}" if value.lstrip(" ").startswith(_FORMULA) else text
        elif isinstance(value, float):
            yield f"{value:g}"
        else:
            yield "" if value is None else str(value)
