"""Text of records on a page: escaped, cut where it is long, isolated from its neighbours.

Names and sentences come from tools and people. What is not printable in them is shown as a sign
that stands for it; a text from right to left does not turn what stands beside it around (`bdi`);
of a text of a megabyte the beginning is shown, with a note that it goes on.
"""

from datetime import datetime
from typing import Final

from markupsafe import Markup, escape

from processors.alerts.message import argument
from schemas.serde import epoch_ms, nearest_utc

MOST_CHARACTERS: Final = 300
MOST_OF_A_VALUE: Final = 4000
_NONE: Final = "\N{EN DASH}"


def visible(text: str) -> str:
    """Text whose unprintable characters are shown: C0 controls by their pictures, and others by
    their numbers."""
    return text if text.isprintable() else "".join(map(_sign, text))


def visible_lines(text: str) -> str:
    """The same, where line feeds stay."""
    return "\n".join(map(visible, text.split("\n")))


def _sign(char: str) -> str:
    if char.isprintable():
        return char
    number = ord(char)
    if number < 0x20:
        return chr(0x2400 + number)
    if number == 0x7F:
        return "\u2421"
    return " " if number == 0xA0 else f"\\u{{{number:x}}}"


def shown(value: object, most: int = MOST_CHARACTERS) -> Markup:
    """A text of a record for a page."""
    if value is None or value == "":
        return Markup('<span class="none">{}</span>').format(_NONE)
    if isinstance(value, Markup):
        return value
    text = str(value)
    if len(text) <= most:
        return Markup("<bdi>{}</bdi>").format(visible(text))
    begun, length = visible(text[:most]), f"{len(text):,}"
    return Markup('<bdi>{}…</bdi> <span class="cut">(cut: {} characters in all)</span>').format(
        begun, length
    )


def value_shown(value: object) -> Markup:
    """A value of a context for a page; line feeds stay."""
    text = str(value)
    cut = text[:MOST_OF_A_VALUE]
    lines = Markup("<br>").join(escape(visible(line)) for line in cut.split("\n"))
    if len(text) <= MOST_OF_A_VALUE:
        return Markup("<bdi>{}</bdi>").format(lines)
    return Markup('<bdi>{}…</bdi> <span class="cut">(cut: {} characters in all)</span>').format(
        lines, f"{len(text):,}"
    )


def with_commands(sentence: str, task: str | None = None) -> Markup:
    """A sentence of ours with commands in backticks; `TASK` in one is the task, as a shell reads
    it."""
    parts = []
    for number, part in enumerate(sentence.split("`")):
        if number % 2 == 0:
            parts.append(escape(part))
            continue
        words = part if task is None else part.replace("TASK", argument(task[:MOST_CHARACTERS]))
        parts.append(Markup("<code>{}</code>").format(words))
    return Markup("").join(parts)


def moment(at: datetime | int | None) -> Markup:
    """A time (epoch milliseconds, or a datetime) in UTC, to the minute; to the second for
    machines."""
    if at is None:
        return shown(None)
    when = _when(at)
    return Markup('<time datetime="{}">{}</time>').format(
        when.strftime("%Y-%m-%dT%H:%M:%SZ"), when.strftime("%Y-%m-%d %H:%M")
    )


def iso(at: datetime | int | None) -> str:
    """A time for a table in a file."""
    return "" if at is None else _when(at).strftime("%Y-%m-%dT%H:%M:%SZ")


def _when(at: datetime | int) -> datetime:
    return nearest_utc(at if isinstance(at, int) else epoch_ms(at))


def ago(at: datetime | int | None, now: datetime) -> str:
    """How long ago a time was, in the largest unit that fits."""
    if at is None:
        return _NONE
    seconds = max((now - _when(at)).total_seconds(), 0)
    return duration(seconds * 1000)


def duration(milliseconds: float | None) -> str:
    """A length of time in one unit, rounded down."""
    if milliseconds is None:
        return _NONE
    seconds = milliseconds / 1000
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


def percent(share: float | None) -> str:
    """A share (0 to 1) as a whole percentage; never 100 % or 0 % where it is not quite."""
    if share is None:
        return _NONE
    rounded = round(share * 100)
    if rounded == 100 and share < 1:
        rounded = 99
    if rounded == 0 and share > 0:
        rounded = 1
    return f"{rounded} %"


def count(number: int | None, one: str | None = None, more: str | None = None) -> str:
    """A number with its thousands, and what it counts where that is given."""
    if number is None:
        return _NONE
    text = f"{number:,}"
    if one is None:
        return text
    return f"{text} {one if number == 1 else more or one + 's'}"
