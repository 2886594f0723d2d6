"""Paths into a context, as contracts write them: `crm.phones[0]`, `custom_fields[id=360].value`.

    path  = name { "." name | "[" quoted "]" | "[" index "]" | "[" name "=" text "]" }
    name  = characters without "." and "[", or any in quotes: 'first name', "a.b"
    quoted = a name in quotes, as CEL has it: ["a.b"] is ."a.b"
    index = an integer of up to 18 digits; negative ones count from the end
    text  = characters without "]", or any in quotes

A name of digits is an index where it meets a list: `photos.0` is `photos[0]`. `[name=text]` is the
first element of a list whose member of that name has that text, be it a string, a number or a
boolean. In quotes a backslash takes the next character as it is.
"""

import re
from typing import Final

from msgspec import Struct

from schemas.cel.errors import ExpressionError


class Where(Struct, frozen=True):
    """The first element of a list whose `member` has this `text`."""

    member: str
    text: str


Step = str | int | Where  # a member, an index, an element that is looked for


class Path(Struct, frozen=True, gc=False):
    """A path as it is written, and what it says: a top-level name and the steps from there."""

    name: str
    top: str
    rest: tuple[Step, ...]


_MOST_DIGITS: Final = 18  # of an index: no list has more elements, and `int` refuses 5,000
_INTEGER: Final = re.compile(r"-?([0-9]+)")
_QUOTED: Final = re.compile(r"""'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)\"""", re.DOTALL)
_PLAIN: Final = re.compile(r"[^.\[]+")
_PLAIN_MEMBER: Final = re.compile(r"[^=\]]+")
_PLAIN_TEXT: Final = re.compile(r"[^\]]*")
_UNESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_ABOUT_BRACKETS: Final = (
    "write [0] for an element, [name=text] for the one that has this member, or the name in quotes"
)


def parse(text: str) -> Path:
    """A path. Raises `ExpressionError` where it is none."""
    top, at = _name(text, 0)
    rest: list[Step] = []
    while at < len(text):
        if text[at] == ".":
            name, at = _name(text, at + 1)
            rest.append(name)
        elif text[at] == "[":
            step, at = _bracket(text, at)
            rest.append(step)
        else:
            raise ExpressionError(
                "a '.' or a '[' must follow here", "put the whole name in quotes", text, at
            )
    return Path(text, top, tuple(rest))


def read(text: str) -> Path:
    """A path; what is none stands for the top-level name that is spelled so."""
    try:
        return parse(text)
    except ExpressionError:
        return Path(text, text, ())


def index_of(step: Step) -> int | None:
    """The index that a step is where it meets a list; None for one that is none."""
    if isinstance(step, int):
        return step
    found = _INTEGER.fullmatch(step) if isinstance(step, str) else None
    return int(found[0]) if found is not None and len(found[1]) <= _MOST_DIGITS else None


def _name(text: str, at: int) -> tuple[str, int]:
    """The name that begins at a position, and where it ends."""
    found = _quoted(text, at)
    if found is not None:
        return found
    plain = _PLAIN.match(text, at)
    if plain is None or not plain[0].strip():
        raise ExpressionError(
            "a name is missing here",
            "write the names with one dot between them, or a name with dots in quotes",
            text,
            at,
        )
    return plain[0], plain.end()


def _bracket(text: str, begin: int) -> tuple[Step, int]:
    """The step in brackets that begins at a position, and where it ends."""
    index = _INTEGER.match(text, begin + 1)
    if index is not None and text[index.end() : index.end() + 1] == "]":
        if len(index[1]) > _MOST_DIGITS:
            raise ExpressionError(
                f"this index has more than {_MOST_DIGITS} digits, and no list is so long",
                "write a smaller one, or the name of a member in quotes",
                text,
                begin,
            )
        return int(index[0]), index.end() + 1
    quoted = _quoted(text, begin + 1)
    if quoted is not None and text[quoted[1] : quoted[1] + 1] == "]":
        return quoted[0], quoted[1] + 1
    member = quoted or _plain(_PLAIN_MEMBER, text, begin + 1)
    if member is None or text[member[1] : member[1] + 1] != "=":
        raise ExpressionError("this bracket is no element of a list", _ABOUT_BRACKETS, text, begin)
    value = _quoted(text, member[1] + 1) or _plain(_PLAIN_TEXT, text, member[1] + 1)
    if value is None or text[value[1] : value[1] + 1] != "]":
        raise ExpressionError("this bracket is not closed", "close it with ]", text, begin)
    return Where(member[0], value[0]), value[1] + 1


def _plain(pattern: re.Pattern[str], text: str, at: int) -> tuple[str, int] | None:
    found = pattern.match(text, at)
    return None if found is None else (found[0].strip(), found.end())


def _quoted(text: str, at: int) -> tuple[str, int] | None:
    """What stands in quotes at a position, and where they end; None where there are none."""
    if text[at : at + 1] not in ("'", '"'):
        return None
    found = _QUOTED.match(text, at)
    if found is None:
        raise ExpressionError("this quote is not closed", "close it", text, at)
    inside = found[1] if found[1] is not None else found[2]
    if not inside:
        raise ExpressionError("a name is missing in these quotes", "write it", text, at)
    return _UNESCAPED.sub(r"\1", inside), found.end()
