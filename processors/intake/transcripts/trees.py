"""JSON as plain data that keeps the spelling of numbers, and how to look into foreign data."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
from msgspec import Raw

from processors.intake.transcripts.errors import TranscriptError
from schemas.records import LAST_MS

encode = msgspec.json.Encoder().encode
_LAYERS = 3  # of JSON inside JSON strings, as frameworks write it
# From 1973 on: nanoseconds, microseconds and milliseconds, and what makes ns of them.
_UNITS = ((10**17, 1), (10**14, 1000), (10**11, 10**6))
_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
_SAFE_DIGITS = 18  # so many digits fit an integer of 64 bits


def _integer(text: str) -> Any:
    return int(text) if len(text) <= _SAFE_DIGITS else Raw(text.encode())


def _fraction(text: str) -> Any:
    return Raw(text.encode())


def _constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


def loads(text: bytes | str) -> Any:
    """Plain data of one JSON document. Fractions and long integers stay `Raw`, as they are spelled.

    Raises `TranscriptError` for text that is no JSON or nests too deep.
    """
    try:
        return _decoder.decode(text if isinstance(text, str) else str(text, "utf-8"))
    except RecursionError:
        raise TranscriptError("the JSON nests too deep to be read") from None
    except UnicodeDecodeError as error:
        raise TranscriptError(f"it is not UTF-8: {error.reason} at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise TranscriptError(f"it is not JSON: {error.msg} at character {error.pos}") from None
    except ValueError:
        raise TranscriptError("it is not JSON: NaN and Infinity are no numbers there") from None


_decoder = json.JSONDecoder(
    parse_float=_fraction, parse_int=_integer, parse_constant=_constant, strict=False
)


def unfold(value: Any) -> Any:
    """A value whose text is JSON, as that JSON; other text stays text. At most three layers."""
    for _ in range(_LAYERS):
        if not isinstance(value, str) or not value.strip():
            return value
        try:
            value = loads(value.strip())
        except TranscriptError:
            return value
    return value


def unfold_structure(value: Any) -> Any:
    """As `unfold`, but only text that holds an object or a list: `"12"` may be a name."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        found = unfold(value)
        return found if isinstance(found, dict | list) else value
    return value


def of(value: Any, *path: str) -> Any:
    """The value at a path of member names, None where a part of it is not there."""
    for name in path:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def text_of(value: Any) -> str:
    """A name or id as text: strings as they are, integers as spelled, anything else is none."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return str(bytes(value), "utf-8") if isinstance(value, Raw) else ""


def items(value: Any) -> Iterator[Any]:
    """The elements of a list; none of anything else."""
    if isinstance(value, list):
        yield from value


def nanos(value: Any) -> int | None:
    """A foreign time as epoch nanoseconds: RFC 3339 (without an offset: UTC), or a number of
    seconds, ms, microseconds or nanoseconds, told apart by its size. None where it is 0, missing or
    no time."""
    try:
        if isinstance(value, str) and not value.lstrip("-").isdigit():
            when = datetime.fromisoformat(value)
            when = when.replace(tzinfo=UTC) if when.tzinfo is None else when
            found = (when - _EPOCH) // _MICROSECOND * 1000
        elif isinstance(value, bool) or value is None:
            return None
        else:
            number = Decimal(text_of(value))
            unit = next((unit for least, unit in _UNITS if abs(number) >= least), 10**9)
            if not 0 < number < LAST_MS * 10**6:  # to write out 1e999999 takes half a minute
                return None
            found = int(number * unit)
    except (ValueError, OverflowError, ArithmeticError):
        return None
    return found if 0 < found <= LAST_MS * 10**6 else None


def millis(value: Any) -> int | None:
    """A foreign time as epoch ms, as `nanos` reads it."""
    found = nanos(value)
    return None if found is None else found // 10**6
