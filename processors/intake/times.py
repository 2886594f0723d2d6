"""Times as foreign records tell them, in epoch milliseconds; units are found out."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, NoReturn

import msgspec

from processors.intake.values import kind_of
from schemas.flow import Refused
from schemas.records import FIRST_MS, LAST_MS

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_MS: Final = 86_400_000
_MS: Final = timedelta(milliseconds=1)
# A number is read in the first of these units in which it is a time of 1990 or later: seconds up to
# the year 2969, and so on. No two units share a number.
_YEAR_1990: Final = 631_152_000
_SECONDS_END: Final = 31_536_000_000
_FACTORS: Final = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
_NUMBER: Final = re.compile(r"-?\d+(?:\.\d+)?", re.ASCII)
_SHORT_OFFSET: Final = re.compile(r"([+-]\d\d)(\d\d)?$", re.ASCII)
_WITHOUT_OFFSET: Final = re.compile(
    r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?)?", re.ASCII
)
_DIGITS_MOST: Final = 40
_datetime: Final = msgspec.json.Decoder(datetime).decode


def time_ms(value: Any, unit: str | None = None) -> int:
    """A time: RFC 3339 with an offset, or a number, which may be quoted, in seconds, milli-, micro-
    or nanoseconds since 1970. Raises `Refused` with a sentence that says what to do."""
    if type(value) is int:
        return _number(value, unit)
    if type(value) is str:
        if value[-1:] == "Z" and (ms := _utc(value)) is not None:
            return ms
        text = value.strip()
        if len(text) <= _DIGITS_MOST and _NUMBER.fullmatch(text):
            return _number(int(text) if text.lstrip("-").isdecimal() else Decimal(text), unit)
        return _text(text)
    if isinstance(value, (float, Decimal)):
        return _number(Decimal(value), unit)
    _refuse(f"is {kind_of(value)}, not a time")


def _utc(text: str) -> int | None:
    """RFC 3339 in UTC, as most tools write it; None for what is not."""
    try:
        since = msgspec.convert(text, datetime) - _EPOCH
    except (msgspec.ValidationError, OverflowError):
        return None
    return since.days * _DAY_MS + since.seconds * 1000 + since.microseconds // 1000


def _number(value: int | Decimal, unit: str | None) -> int:
    chosen = unit or _unit(value)
    if chosen is None:
        _refuse(
            "is a number that is no time since 1990, neither in seconds nor in milli-, micro- or "
            "nanoseconds; say its unit (unit: s), or take another path"
        )
    if not -(10**30) < value < 10**30:
        _refuse("lies outside of the years 1 to 9999")
    ms = int(value * _FACTORS[chosen] // 1_000_000)
    if not FIRST_MS <= ms <= LAST_MS:
        _refuse("lies outside of the years 1 to 9999")
    return ms


def _unit(value: int | Decimal) -> str | None:
    if value < _YEAR_1990:
        return None
    if value < _SECONDS_END:
        return "s"
    if value <= LAST_MS:
        return "ms"
    if value < _YEAR_1990 * 1_000_000:
        return None
    if value < _YEAR_1990 * 1_000_000_000:
        return "us"
    return "ns" if value <= LAST_MS * 1_000_000 else None


def _text(text: str) -> int:
    if _WITHOUT_OFFSET.fullmatch(text):
        _refuse(
            "is a time without an offset, and it could be anywhere's; add it with a template, such "
            'as "{value.created}Z" for UTC, or "{value.created}+02:00"'
        )
    spelled = text if text[-1:] in "Zz" else _SHORT_OFFSET.sub(_with_colon, text)
    try:
        when = _datetime(msgspec.json.encode(spelled))
        if when.tzinfo is None:
            raise ValueError
        ms = (when - _EPOCH) // _MS
    except (msgspec.DecodeError, ValueError, OverflowError):
        _refuse(
            "is text that is no time; it must be RFC 3339, such as 2026-03-01T09:00:00Z, or a "
            "number since 1970"
        )
    if not FIRST_MS <= ms <= LAST_MS:
        _refuse("lies outside of the years 1 to 9999")
    return ms


def _with_colon(match: re.Match[str]) -> str:
    """+0200 and +02 as RFC 3339 has them: +02:00."""
    return f"{match[1]}:{match[2] or '00'}"


def _refuse(message: str) -> NoReturn:
    raise Refused("wrong_time", message)
