"""Questions about one JSON value that is still raw bytes; only what is asked is decoded.

A value may be valid JSON and yet unreadable for Python (a lone surrogate, a number out of range).
Such a value is passed on like any other; where it would have to be read, it is opaque: not empty,
equal to nothing but the same bytes, and it leads nowhere.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from hashlib import blake2b
from itertools import product
from typing import Any, TypeVar

import msgspec
from msgspec import Raw

from schemas.paths import Path, Step, Where, index_of
from schemas.unreadable import UNREADABLE

JSON_TYPES = ("string", "number", "integer", "boolean", "object", "array", "null")
MAX_DEPTH = 64  # deeper nesting than any context needs; bounds every walk below
MAX_WHERE = 200  # characters of a dotted name that is told: a tool may make one as long as a record

_decode = msgspec.json.Decoder().decode
_decode_members = msgspec.json.Decoder(dict[str, Raw]).decode
Inside = TypeVar("Inside")
_UNKNOWN: Any = object()
_decode_items = msgspec.json.Decoder(list[Raw]).decode

# Single bytes are looked for as integers: `bytes in bytes` first fails to read them as one.
_QUOTE, _BACKSLASH, _BRACKET, _BRACE, _POINT, _LOWER_E, _UPPER_E = b'"\\[{.eE'
_NESTED = b"[{"
_DIGITS = b"-0123456789"
_KIND = {
    _QUOTE: "string",
    _BRACKET: "array",
    _BRACE: "object",
    ord("n"): "null",
    ord("t"): "boolean",
    ord("f"): "boolean",
}
_SPELLED = tuple([_KIND.get(byte, "integer" if byte in _DIGITS else "") for byte in range(256)])
_NESTED_TYPES = ("object", "array")
_QUOTE_OR_BACKSLASH = b'"\\'
_NO_MEMBER = b"]} \t\r\n"  # what may follow the bracket of an array or object that holds nothing
# By its first two bytes, where these tell that a value holds something.
HELD = {b'{"': "object", b"tr": "boolean", b"fa": "boolean"}
HELD |= {bytes([byte]): "integer" for byte in b"0123456789"}
HELD |= {b"[" + bytes([byte]): "array" for byte in b'"[{-tfn0123456789'}
HELD |= {
    b'"' + bytes([byte]): "string" for byte in range(0x21, 0x80) if byte not in _QUOTE_OR_BACKSLASH
}

# First two bytes of values that hold something, whatever follows.
HOLDING = frozenset(HELD) | {bytes(two) for two in product(_DIGITS, b"0123456789.eE")}


def kind(value: bytes) -> str:
    """The JSON Schema type of a value; "integer" rather than "number" where both hold.

    An integer is any number without a fraction, 1.0 and 1e3 among them (JSON Schema 2020-12,
    section 6.1.1).
    """
    found = _KIND.get(value[0])
    if found is not None:
        return found
    if value.isdigit() or not (_POINT in value or _LOWER_E in value or _UPPER_E in value):
        return "integer"
    try:
        _, digits, exponent = Decimal(value.decode()).as_tuple()
    except InvalidOperation:
        return "number"  # an exponent beyond Decimal's own range
    if not isinstance(exponent, int):
        return "number"
    return "integer" if exponent >= 0 or not any(digits[exponent:]) else "number"


def spelled_type(value: bytes) -> str:
    """The JSON type of a value by its first byte; of a number, "integer" where it is all digits.

    Cheaper than `kind`, for which 1.0 is an integer.
    """
    found = _SPELLED[value[0]]
    return "number" if found == "integer" and value.strip(_DIGITS) else found


def held_type(value: bytes) -> str:
    """The `spelled_type` of a value that holds something, "" of one that is empty: null, a string
    of nothing but white space, `[]` or `{}`. Most values tell by their first two bytes."""
    known = HELD.get(value[:2])
    if known is not None:
        return known
    found = _SPELLED[value[0]]
    if found == "string":
        text = string(value)
        return found if text is None or text.strip() else ""
    if found in _NESTED_TYPES:
        return found if value[1] not in _NO_MEMBER or value[1:-1].strip() else ""
    return "" if found == "null" else spelled_type(value)


def held_types(values: Iterable[bytes]) -> tuple[str, ...]:
    """The `held_type` of each value."""
    return tuple([HELD.get(value[:2]) or held_type(value) for value in values])


def is_empty(value: bytes) -> bool:
    """Whether a value holds nothing, as `held_type` says."""
    return not held_type(value)


def string(value: bytes) -> str | None:
    """The text of a JSON string, or None for any other value."""
    if value[0] != _QUOTE:
        return None
    try:
        text = _decode(value)
    except UNREADABLE:
        return None
    return text if isinstance(text, str) else None


def scalar_text(value: bytes) -> str | None:
    """The JSON text of a scalar, a string without its quotes; None for arrays and objects."""
    first = value[0]
    if first == _QUOTE:
        return string(value)
    if first in _NESTED:
        return None
    return value.decode()


def members(value: bytes) -> dict[str, Raw] | None:
    """The members of an object, still raw; None for any other value."""
    if value[0] != _BRACE:
        return None
    try:
        return _decode_members(value)
    except UNREADABLE:
        return None


def array(value: bytes) -> list[object] | None:
    """The items of an array, decoded; None for any other value."""
    if value[0] != _BRACKET:
        return None
    try:
        found = _decode(value)
    except UNREADABLE:
        return None
    return found if isinstance(found, list) else None


def quoted(text: str) -> bytes:
    """A text as JSON."""
    return msgspec.json.encode(text)


def descend(value: bytes, steps: tuple[Step, ...]) -> bytes | None:
    """The value at a path inside objects and lists, or None where the path leads nowhere."""
    found: bytes | None = value
    for step in steps:
        if found is None:
            return None
        if found[0] == _BRACKET:
            found = _element(found, step)
        elif isinstance(step, str):
            inside = _opened(found, members)
            found = None if inside is None or step not in inside else bytes(inside[step])
        else:
            return None
    return found


def at(context: Mapping[str, bytes], path: Path) -> tuple[bytes | None, str]:
    """The value that a path leads to in a context, None for nowhere, and the name that it begins
    at: a name spelled exactly so comes first."""
    value = context.get(path.name)
    if value is not None or path.name == path.top:
        return value, path.name
    whole = context.get(path.top)
    return None if whole is None else descend(whole, path.rest), path.top


def _items(value: bytes) -> list[Raw] | None:
    try:
        return _decode_items(value)
    except UNREADABLE:
        return None


class _Lately:
    """What is inside of large values, as it was decoded lately: the paths of many fields may lead
    into the same ones, in each of a task's events."""

    def __init__(self) -> None:
        self._inside: dict[object, Any] = {}
        self._bytes = 0

    def opened(self, value: bytes, open_: Callable[..., Inside], *by: str) -> Inside:
        """What `open_` gives for a value, and `by`; nobody may change it."""
        key = (value, *by) if by else value
        found: Inside = self._inside.get(key, _UNKNOWN)
        if found is _UNKNOWN:
            found = open_(value, *by)
            self._bytes += len(value)
            if self._bytes > _MOST_OPENED:
                self._inside.clear()
                self._bytes = len(value)
            self._inside[key] = found
        return found


_LARGE, _MOST_OPENED = 512, 2 << 20  # bytes of one from which on it is kept, and of all
_lately = _Lately()


def _opened(value: bytes, open_: Callable[[bytes], Inside]) -> Inside:
    return open_(value) if len(value) < _LARGE else _lately.opened(value, open_)


def _element(value: bytes, step: Step) -> bytes | None:
    """The element of a list that a step leads to."""
    if isinstance(step, Where):
        if len(value) < _LARGE:
            found = _by_text(value, step.member).get(step.text)
        else:
            found = _lately.opened(value, _by_text, step.member).get(step.text)
        return None if found is None else bytes(found)
    items = _opened(value, _items)
    if items is None:
        return None
    index = index_of(step)
    if index is None or not -len(items) <= index < len(items):
        return None
    return bytes(items[index])


def _by_text(value: bytes, member: str) -> dict[str, Raw]:
    """The elements of a list by the text of a member; of equal ones the first."""
    found: dict[str, Raw] = {}
    for item in _items(value) or ():
        inside = members(bytes(item))
        text = scalar_text(bytes(inside[member])) if inside and member in inside else None
        if text is not None:
            found.setdefault(text, item)
    return found


def lacks_member_of(new: bytes, old: bytes, depth: int = 0) -> bool:
    """Whether the object `old` has a value at some path where `new` has none."""
    before = members(old)
    if before is None or depth > MAX_DEPTH:
        return False
    now = members(new) or {}
    for name, raw in before.items():
        value = bytes(raw)
        if is_empty(value):
            continue
        held = bytes(now[name]) if name in now else b"null"
        if is_empty(held) or lacks_member_of(held, value, depth + 1):
            return True
    return False


def strings(value: bytes, name: str, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Every string inside a value, in order, with its dotted name: `notes.0.text`; of a name longer
    than `MAX_WHERE` there is more than that, and not all."""
    first = value[0]
    if depth > MAX_DEPTH:
        return
    if first == _QUOTE:
        text = string(value)
        if text is not None:
            yield name, text
    elif first == _BRACE:
        for member, raw in (members(value) or {}).items():
            yield from strings(bytes(raw), _step(name, member), depth + 1)
    elif first == _BRACKET:
        try:
            items = _decode_items(value)
        except UNREADABLE:
            return
        for index, raw in enumerate(items):
            yield from strings(bytes(raw), _step(name, index), depth + 1)


def _step(name: str, inside: str | int) -> str:
    return name if len(name) > MAX_WHERE else f"{name}.{inside}"[: MAX_WHERE + 1]


def number(text: str) -> int | str:
    """One spelling for each number that is written with a point or an exponent."""
    try:
        sign, digits, exponent = Decimal(text).as_tuple()
    except InvalidOperation:
        return text
    if not isinstance(exponent, int):
        return text
    written = "".join(map(str, digits)).lstrip("0")
    significant = written.rstrip("0")
    if not significant:
        return 0
    exponent += len(written) - len(significant)
    if 0 <= exponent <= 400:
        return int(significant + "0" * exponent) * (-1 if sign else 1)
    # Tagged, so that no text in a context can be taken for it.
    return f"\0{'-' if sign else ''}{significant}e{exponent}"


_canonical_decode = msgspec.json.Decoder(float_hook=number).decode
_canonical_encode = msgspec.json.Encoder(order="deterministic").encode


def canonical(value: bytes, read: Callable[[Any], object] | None = None) -> bytes:
    """Bytes that are equal for equal JSON values: member order and number spelling are folded.

    `read` may make another value of the decoded one; numbers with a fraction or an exponent that
    are no integers of ordinary size are texts that begin with NUL there.
    """
    if read is None and value[0] == _QUOTE and _BACKSLASH not in value:
        return value  # a string without escapes has one spelling
    try:
        decoded: Any = _canonical_decode(value)
        return _canonical_encode(decoded if read is None else read(decoded))
    except (*UNREADABLE, OverflowError, ValueError):
        return value


def same(a: bytes, b: bytes, canonical: Callable[[bytes], bytes] = canonical) -> bool:
    """Whether two JSON values are equal. `canonical` is for those who remember what it gave."""
    return a == b or (_KIND.get(a[0]) == _KIND.get(b[0]) and canonical(a) == canonical(b))


def digest(value: bytes, canonical: Callable[[bytes], bytes] = canonical) -> bytes:
    """Eight bytes that stand for a JSON value (BLAKE2b, RFC 7693)."""
    return blake2b(canonical(value), digest_size=8).digest()
