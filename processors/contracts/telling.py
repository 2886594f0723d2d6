"""Text that tells a classified value, in whatever common form it is written.

A value and the text that may tell it are compared folded: compatibility forms, case, accents and
characters that show nothing are no difference (Unicode Standard Annex 15, NFKD; case folding), nor
is white space. Escapes of JSON, percent-encoding and HTML entities are undone, and undone again:
what is read may be JSON, with a string in it that is JSON, with another one in that. Numbers are
looked for as they are written out, too: 4.5e3 is 4500. Names of members are text like any other.

Not found is what takes more than reading: a value in pieces, in another order, alphabet or
language, abbreviated, enciphered or hashed.
"""

import json
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, Final, NoReturn, Self
from urllib.parse import unquote_plus

import msgspec

from schemas.foreign_text import normalized, unescape

MIN_TEXT: Final = 4  # characters: shorter texts stand in others by chance
MAX_SEARCHED: Final = 1 << 24  # characters that are read, times the texts that are looked for there
# To read a text takes about as long as to look for so many others in it, and to read one that is
# looked for as long as to look for it in so many characters.
_READING: Final = 64
_READ: Final = 4096
_LEVELS: Final = 3
# Shorter ones, of one word and of several, stand by chance across the words of others.
_WORD: Final = 8
_WORDS: Final = 6
_REMEMBERED: Final = 1000  # characters of a text whose forms are remembered
_MOST_DIGITS: Final = 4_000
_LONGEST_NUMBER: Final = 40  # digits before or behind the point of a number that is written out

_ESCAPE: Final = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_ESCAPED: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_NUMBER: Final = re.compile(r"\d(?<!\d\d)\d*+(?:\.\d++(?:[eE][+-]?\d++)?|[eE][+-]?\d++)", re.ASCII)
_JSON_STARTS: Final = ('"', "[", "{")
_UNSEEN: Final = frozenset({"Cc", "Cf"})
_ACCENTS: Final = frozenset({"Mn", "Me"})
_FILLERS: Final = frozenset("\u115f\u1160\u2800\u3164\uffa0")  # letters and signs that show nothing
# An escaped quote outside of a string begins none: to look for its end from each is quadratic.
_TOKEN: Final = re.compile(r'\\["\\]|"((?:[^"\\]|\\.)*+)"(?:\s*+(:))?|[-+.\w]+', re.DOTALL)
NO_LENGTH: Final = 1 << 30  # longer than any name
_SHRINKING: Final = re.compile(r"[\\%&+\x00-\x1f\x7f]|[0-9][.eE]")  # a form of it may be shorter
_PLAIN_TEXT: Final = re.compile(r"[ A-Za-z_.,:/@-]*+")  # nothing to undo, no number
_PLAIN_VALUE: Final = re.compile(rb'"[ A-Za-z_.,:/@-]*+"')
_PLAIN_NAME: Final = re.compile(r"[^\W\d][\w-]*")
_decode: Final = msgspec.json.Decoder(str).decode


class Secrets:
    """The texts of classified values that are at hand, and whether something tells one of them.

    `most` bounds the work: what would take more counts as telling.
    """

    def __init__(self, texts: Collection[str] = (), most: int = MAX_SEARCHED) -> None:
        self._number = len(texts)
        self._most = most
        self._texts: Collection[str] = texts
        self._compact: frozenset[str] | None = None  # without white space
        self._spaced: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return self._number > 0

    def tells(self, text: str) -> bool:
        """Whether a text, or JSON as it is written, holds the text of a classified value."""
        if not self._number:
            return False
        if (len(text) + _READ) * (self._number + _READING) > self._most:
            return True
        if self._compact is None:
            self._fold()
        read = _forms if len(text) > _REMEMBERED else _forms_of_short
        for form in read(text, _LEVELS):
            for secret in self._spaced:
                if secret in form:
                    return True
            compact = form.replace(" ", "")
            for secret in self._compact or ():
                if secret in compact:
                    return True
        return False

    def named(self, names: Collection[str]) -> set[str]:
        """Those of some names that tell a classified value."""
        if not self._number:
            return set()
        together = " ".join(names)  # most tell nothing: they are read at once
        if not self.tells(together):
            return set()
        return {name for name in names if self.tells(name)}

    def place(self, place: str, names: Iterable[str]) -> str | None:
        """A dotted name inside a context, as far as it may be told: without what tells a value, or
        was cut off, and may; None where that is the name at its beginning, one of the `names`."""
        if not self._number or not (place.endswith("…") or self.tells(place)):
            return place
        tops = [name for name in names if f"{place}.".startswith(f"{name}.")]
        top = min(tops, key=len, default=None)
        return None if top is None or self.tells(top) else top

    def _fold(self) -> None:
        found: set[str] = set()
        for text in self._texts:
            found.update(_forms_of_secret(text))
        apart = {each for each in found if len(each) >= (_WORDS if " " in each else _WORD)}
        self._compact = frozenset([each.replace(" ", "") for each in apart])
        self._spaced = frozenset(found - apart - {""})


@lru_cache(maxsize=1024)
def longest_plain(names: tuple[str, ...]) -> int | None:
    """The characters of the longest of some names, if nothing is longer in any form of theirs; else
    None."""
    if any(_PLAIN_TEXT.fullmatch(name) is None for name in names):
        return None
    return max(map(len, names), default=0)


def least(text: str) -> int:
    """How many characters something has at least that tells this text, white space left out."""
    if text.isascii() and _SHRINKING.search(text) is None:
        return len("".join(text.split()))
    lengths = [len("".join(form.split())) for form in _forms_of_secret(text)]
    return min(lengths, default=NO_LENGTH)


def least_of_plain(value: bytes) -> int | None:
    """The `least` of a JSON string in which nothing is to be undone, and no number; of others
    None."""
    if _PLAIN_VALUE.fullmatch(value) is None:
        return None
    return len(value) - 2 - value.count(b" ")


def _forms_of_secret(text: str) -> set[str]:
    """A text that must not be told, as it may stand in another one; nothing for a short one."""
    if _PLAIN_TEXT.fullmatch(text) is not None:
        return {form for form in _forms(text, 0) if len(form) >= MIN_TEXT}
    return {
        form
        for each in {text, _undone(text)}
        for form in _forms(each, 0)
        if max(len(_seen(each)), len(form)) >= MIN_TEXT
    }


# --- forms of a text ------------------------------------------------------------------------------


def _forms(text: str, levels: int) -> set[str]:
    """A text folded, as it is and with its escapes undone up to so many times."""
    if _PLAIN_TEXT.fullmatch(text) is not None:
        return {" ".join(text.split()).lower()}
    found = set()
    for _ in range(levels + 1):
        folded = _fold(text)
        found |= {folded, _NUMBER.sub(_written_out, folded)}
        undone = _undone(text)
        if undone == text:
            break
        text = undone
    return found


def _undone(text: str) -> str:
    """A text with the escapes of JSON, of addresses and of HTML undone once."""
    if "\\" in text:
        text = _ESCAPE.sub(_unescaped, text)
        if _SURROGATE.search(text):  # two of them are one character
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    if "%" in text or "+" in text:
        text = unquote_plus(text, errors="replace")
    return unescape(text)


def _unescaped(found: re.Match[str]) -> str:
    code, char = found.groups()
    return chr(int(code, 16)) if code else _ESCAPED.get(char, char)


def _fold(text: str) -> str:
    text = _seen(text)
    if text.isascii():
        return text.lower()
    text = normalized("NFKD", normalized("NFKD", text).casefold())
    return _seen("".join([char for char in text if unicodedata.category(char) not in _ACCENTS]))


def _seen(text: str) -> str:
    """A text as it shows: without what shows nothing, and with one space for white space."""
    if not (text.isascii() and text.isprintable()):
        text = "".join(
            [
                char
                for char in text
                if char.isspace()
                or (unicodedata.category(char) not in _UNSEEN and char not in _FILLERS)
            ]
        )
    return " ".join(text.split())


def _written_out(found: re.Match[str]) -> str:
    """A number without an exponent and without zeros at its end: 4500 for 4.50e3."""
    try:
        _, digits, exponent = Decimal(found[0]).as_tuple()
    except InvalidOperation:  # an exponent beyond Decimal's own range
        return found[0]
    written = "".join(map(str, digits)).lstrip("0")
    significant = written.rstrip("0")
    if not isinstance(exponent, int) or not significant:
        return found[0]
    exponent += len(written) - len(significant)
    if abs(exponent) > _LONGEST_NUMBER:
        return found[0]
    if exponent >= 0:
        return significant + "0" * exponent
    significant = significant.rjust(1 - exponent, "0")
    return f"{significant[:exponent]}.{significant[exponent:]}"


_forms_of_short = lru_cache(maxsize=1024)(_forms)  # the names of contexts come again and again


# --- texts of a value -----------------------------------------------------------------------------


class Pairs(list[tuple[str, Any]]):
    """The members of an object in their order; one name may come twice."""


class Unreadable(list[str]):
    """The words of what cannot be read as JSON."""

    @classmethod
    def of(cls, written: str) -> Self:
        return cls(
            found[0] if found[1] is None else found[1]
            for found in _TOKEN.finditer(written)
            if found[0][0] != "\\"
            if not found[2] or _PLAIN_NAME.fullmatch(found[1]) is None
        )


class TooDeep(Unreadable):
    """The words of JSON that is nested deeper than Python reads."""


class Fraction(str):
    """A number with a fraction, an exponent or very many digits, as it is written."""

    __slots__ = ()


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _whole(digits: str) -> int | Fraction:
    """An integer; one that is longer than Python converts stays as it is written."""
    return int(digits) if len(digits) <= _MOST_DIGITS else Fraction(digits)


_decode_pairs: Final = json.JSONDecoder(
    object_pairs_hook=Pairs, parse_float=Fraction, parse_int=_whole, parse_constant=_no_number
).decode
_decode_held: Final = json.JSONDecoder(
    object_pairs_hook=Pairs, parse_float=Fraction, parse_int=_whole, parse_constant=Fraction
).decode


def read(value: bytes) -> Any:
    """A JSON value with each object as its `Pairs`; `Unreadable` where it cannot be read."""
    try:
        if value[:1] == b'"':
            return _decode(value)
        return _decode_pairs(value.decode())
    except ValueError:  # of msgspec, of JSON, of UTF-8 (half a character, say), of numbers
        return Unreadable.of(value.decode("utf-8", "replace"))
    except RecursionError:
        return TooDeep.of(value.decode("utf-8", "replace"))


def within(text: str) -> Any:
    """The value that a string holds as JSON, or as Python writes it (NaN); None where it is none,
    or no more than a number."""
    if text.lstrip()[:1] not in _JSON_STARTS:
        return None
    try:
        return _decode_held(text)
    except ValueError:
        return None
    except RecursionError:
        return TooDeep.of(text)


def inside(value: Any) -> Iterator[tuple[str | None, Any]]:
    """What stands right inside a value that `read` gave: members with their names, and without one
    the elements of a list and what a string holds as JSON."""
    if isinstance(value, Pairs):
        yield from value
    elif isinstance(value, list):
        yield from ((None, each) for each in value)
    elif isinstance(value, str):
        held = within(value)
        if held is not None:
            yield None, held


def walk(value: Any) -> Iterator[tuple[str | None, Any]]:
    """A value that `read` gave and all that is `inside` of it at any depth, in any order."""
    pending: list[tuple[str | None, Any]] = [(None, value)]
    while pending:
        name, each = pending.pop()
        yield name, each
        pending += inside(each)


def texts(value: bytes) -> list[str]:
    """The text of each string and number inside a JSON value, in any order; of a string that is
    JSON itself, what is in it, too; and of names of members those that no tool would give, such as
    an address."""
    found = read(value)
    if isinstance(found, str) and found.lstrip()[:1] not in _JSON_STARTS:
        return [found]
    return texts_of(found)


def texts_of(value: Any) -> list[str]:
    """The `texts` of a value that `read` gave."""
    found: list[str] = []
    for name, each in walk(value):
        if name is not None and not is_plain_name(name):
            found.append(name)
        if isinstance(each, str):
            found.append(each)
        elif isinstance(each, int) and not isinstance(each, bool):
            found.append(str(each))
    return found


def is_plain_name(name: str) -> bool:
    """Whether a name is one that a tool would give a member, and no value."""
    return _PLAIN_NAME.fullmatch(name) is not None
