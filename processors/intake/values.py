"""Foreign JSON as plain data, and the texts that names and ids are made of."""

import re
import unicodedata
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, Final

import msgspec

from schemas.cel.values import INT64_MAX, INT64_MIN, MAX_VALUE_DEPTH
from schemas.flow import Refused
from schemas.foreign_text import normalized

_NESTED: Final = frozenset((dict, list))
# Letters, digits, and the marks that vowels are written with in many scripts.
_MARKS: Final = "".join(
    char for char in map(chr, range(0x300, 0x10000)) if unicodedata.category(char) in ("Mn", "Mc")
)
_SHORT: Final = 512  # characters of a text whose slug is remembered
_NO_ID: Final = re.compile(f"(?:[^\\w{_MARKS}]|_)+")
_ACCENTED: Final = re.compile("[A-Za-z\u0370-\u03ff]")
# Latin letters that Unicode takes for others than those that they are written for in ASCII.
_NO_ACCENTS: Final = str.maketrans(
    {"ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "ħ": "h", "Ħ": "H", "\u0131": "i"}
    | {"ß": "ss", "ẞ": "SS"}
    | {"æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ð": "d", "Ð": "D", "þ": "th", "Þ": "TH"}
)


def _number(text: str) -> float | Decimal:
    """A fraction: a Decimal where a float would not be spelled so."""
    value = float(text)
    if repr(value) == text:
        return value
    try:
        return Decimal(text)
    except InvalidOperation:
        return value


ReadJson = Callable[[bytes, str], Any]  # bytes as plain data; the text names them in messages
_decode: Final = msgspec.json.Decoder(float_hook=_number).decode


def read_json(data: bytes | str, what: str) -> Any:
    """JSON as plain data (`Decoded`).

    Raises `Refused` for what is no JSON or nests deeper than 100; `what` names it in the message.
    """
    raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    try:
        value = _decode(raw)
    except RecursionError:
        raise Refused("not_json", f"{what} nests too deep to be read") from None
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
        reason = str(error) if isinstance(error, msgspec.DecodeError) else "it is not UTF-8"
        raise Refused("not_json", f"{what} is no JSON that can be read: {reason}") from None
    if _opens(raw, MAX_VALUE_DEPTH + 1) > MAX_VALUE_DEPTH:
        _check_depth(value, what)
    return value


def reader_of(shape: Any) -> ReadJson:
    """A `read_json` that leaves out the members which `shape`, a type of msgspec, does not have.
    What has another shape is read whole. Nobody looks into what is left out: it may nest too deep,
    or not be UTF-8."""
    decode = msgspec.json.Decoder(shape, float_hook=_number).decode

    def read(data: bytes, what: str) -> Any:
        try:
            value = decode(data)
        except (msgspec.DecodeError, ValueError, RecursionError):
            return read_json(data, what)
        if _opens(data, MAX_VALUE_DEPTH + 1) > MAX_VALUE_DEPTH:
            _check_depth(value, what)
        return value

    return read


def _opens(raw: bytes, most: int) -> int:
    """How many lists and objects JSON may open, as far as `most` of each. `replace` finds a byte
    with memchr, so it takes a third of the time of `count`, which looks at one after the other."""
    return len(raw) - len(raw.replace(b"[", b"", most).replace(b"{", b"", most))


def _check_depth(value: Any, what: str) -> None:
    level, depth = [value] if type(value) in _NESTED else [], 1
    while level:
        if depth == MAX_VALUE_DEPTH and any(level):
            message = f"{what} nests deeper than {MAX_VALUE_DEPTH}, which nothing here reads"
            raise Refused("not_json", message)
        depth += 1
        level = [
            inner
            for outer in level
            for inner in (outer.values() if type(outer) is dict else outer)
            if type(inner) in _NESTED
        ]


def for_conditions(value: Any) -> Any:
    """A copy in which each number is one that conditions take: what is not becomes a float."""
    kind = type(value)
    if kind is dict:
        return {name: for_conditions(inner) for name, inner in value.items()}
    if kind is list:
        return [for_conditions(inner) for inner in value]
    return value if _is_taken(kind, value) else _float(value)


def nested_in(value: Any) -> list[Any] | None:
    """The lists and objects within one, itself among them; None where it holds a number that
    conditions do not take."""
    found = [value]
    for outer in found:  # which grows
        for inner in outer.values() if type(outer) is dict else outer:
            kind = type(inner)
            if kind is dict or kind is list:
                found.append(inner)
            elif kind is not str and not _is_taken(kind, inner):
                return None
    return found


def _is_taken(kind: type, value: Any) -> bool:
    return kind is not Decimal and (kind is not int or INT64_MIN <= value <= INT64_MAX)


def _float(number: int | Decimal) -> float:
    try:
        return float(number)
    except OverflowError:
        return float("inf") if number > 0 else float("-inf")


def kind_of(value: Any) -> str:
    """What a value is, for messages."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true or false"
        case int():
            return "a whole number"
        case float() | Decimal():
            return "a number with a fraction"
        case str():
            return "text"
        case list():
            return "a list"
        case _:
            return "an object"


def name_text(value: Any) -> str | None:
    """A value as a name or an id: text as it is, a whole number as it is spelled; None where there
    is none, or nothing but white space: that would make one task of all that have none. Raises
    `Refused` for what is neither."""
    if type(value) is str:
        return value if value and not value.isspace() else None
    if value is None:
        return None
    if type(value) is int:
        return str(value)
    what = "and fractions are no ids" if isinstance(value, (float, Decimal)) else "not text"
    raise Refused("member_malformed", f"is {kind_of(value)}, {what}")


def free_text(value: Any) -> str | None:
    """A value within words for people: every scalar, as JSON spells it."""
    if type(value) is str:
        return value if value and not value.isspace() else None
    if type(value) is bool:
        return "true" if value else "false"
    return str(value) if isinstance(value, (float, Decimal)) else name_text(value)


def slug(text: str) -> str:
    """Text as an id: lower case, no accents, `-` for each run of what is no letter or digit. What
    stands above or below letters of other scripts than Latin and Greek is no accent."""
    # Names come again and again. Whole documents do not: thousands of them would be gigabytes.
    return _slug_of_short(text) if len(text) <= _SHORT else _slug(text)


def _slug(text: str) -> str:
    # Each character by itself: to sort all accents of one takes long, and they are left out.
    bare = "".join(map(_bare, normalized("NFC", text).translate(_NO_ACCENTS)))
    return _NO_ID.sub("-", bare.lower()).strip("-")


_slug_of_short: Final = lru_cache(maxsize=4096)(_slug)


def _bare(char: str) -> str:
    if char.isascii():
        return char
    if _is_accent(char):
        return ""
    parts = unicodedata.normalize("NFKD", char)
    if _ACCENTED.match(parts) is None:
        return unicodedata.normalize("NFKC", char)
    return "".join([part for part in parts if not _is_accent(part)])


def _is_accent(char: str) -> bool:
    return "\u0300" <= char <= "\u036f"
