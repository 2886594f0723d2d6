"""Times as foreign records tell them, in epoch milliseconds; units are found out."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any, Final, NoReturn

import msgspec

from processors.intake.values import kind_of
from schemas.flow import Refused
from schemas.records import FIRST_MS, LAST_MS

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)
_DAY_MS: Final = 86_400_000
_MICROSECONDS: Final = len("2026-03-01T09:00:00.000000Z")
# A number is read in the first of these units in which it is a time of 1990 or later: seconds up to
# the year 2969, and so on. No two units share a number.
_YEAR_1990: Final = 631_152_000
_SECONDS_END: Final = 31_536_000_000
_FACTORS: Final = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
_NUMBER: Final = re.compile(r"-?\d+(?:\.\d+)?", re.ASCII)
_OFFSET: Final = re.compile(
    r" ?(?:(?P<offset>[+-]\d\d(?::?\d\d)?)|Z|z|UTC|GMT)(?:\[[\w/+-]+\])?$", re.ASCII
)
_MAIL_DATE: Final = re.compile(
    r"(?:[A-Za-z]{3}, )?\d{1,2} [A-Za-z]{3} \d{4} \d\d:\d\d(?::\d\d)? "
    r"(?:GMT|UTC|UT|[+-]\d{4})(?: \([A-Za-z ]+\))?",
    re.ASCII,
)
# 20260301090000 is a date and a time in digits, and no milliseconds of the year 2612.
_DIGITS_FROM: Final = 1990_01_01_00_00_00
_DIGITS_TO: Final = 2100_01_01_00_00_00
_DIGITS_MOST: Final = 40


def time_ms(value: Any, unit: str | None = None) -> int:
    """A time: ISO 8601 with an offset, the date of an e-mail, or a number, which may be quoted, in
    seconds, milli-, micro- or nanoseconds since 1970. Raises `Refused` with a sentence that says
    what to do."""
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
        if len(text) <= _MICROSECONDS:
            when = datetime.fromisoformat(text)
        else:  # which would cut what msgspec rounds
            when = msgspec.convert(text, datetime)
    except (ValueError, OverflowError):
        return None
    if when.tzinfo is not UTC:
        return None
    since = when - _EPOCH  # to divide it by a millisecond takes longer
    return since.days * _DAY_MS + since.seconds * 1_000 + since.microseconds // 1_000


def _number(value: int | Decimal, unit: str | None) -> int:
    if unit is None and _DIGITS_FROM <= value < _DIGITS_TO:
        _refuse(
            "is a number like 20260301090000, most likely a date and a time in digits, and nobody "
            "says their offset; take another path, or say its unit (unit: ms) where it counts "
            "since 1970"
        )
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
    try:
        when = _mail_date(text) if _MAIL_DATE.fullmatch(text) else _iso_8601(text)
        if when.tzinfo is None:
            _refuse(
                "is a time without an offset, and it could be anywhere's; add it with a template, "
                'such as "{value.created}Z" for UTC, or "{value.created}+02:00"'
            )
        ms = (when - _EPOCH) // _MS
    except (ValueError, OverflowError):
        _refuse(
            "is text that is no time; it must be RFC 3339, such as 2026-03-01T09:00:00Z, another "
            "spelling of ISO 8601, the date of an e-mail, or a number since 1970"
        )
    if not FIRST_MS <= ms <= LAST_MS:
        _refuse("lies outside of the years 1 to 9999")
    return ms


def _iso_8601(text: str) -> datetime:
    """ISO 8601 in any spelling, and as Java and Ruby add the zone: `+01:00[Europe/Berlin]`, ` UTC`,
    ` +0100`. Without `tzinfo` where no offset is said; raises ValueError."""
    return datetime.fromisoformat(_OFFSET.sub(_plain_offset, text))


def _plain_offset(match: re.Match[str]) -> str:
    return match["offset"] or "Z"


def _mail_date(text: str) -> datetime:
    """The date of an e-mail or of HTTP (RFC 5322, RFC 9110). Raises ValueError."""
    when = parsedate_to_datetime(text)
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when  # -0000 is UTC


def _refuse(message: str) -> NoReturn:
    raise Refused("wrong_time", message)
