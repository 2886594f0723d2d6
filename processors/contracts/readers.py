"""When two values of a field are the same although they are spelled otherwise.

A reader gives each value a key; two values are the same where their keys are equal, so that to be
the same is an equivalence. A contract names one with `same_as`; in lists and objects it reads each
value inside. What a reader cannot read it leaves to the one without a name.
"""

import ast
import datetime as dt
import json
import re
import unicodedata
import warnings
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from functools import lru_cache, partial
from typing import Any, Final

import msgspec
import phonenumbers
from dateutil import parser as dates
from phonenumbers import NumberParseException, PhoneNumber, PhoneNumberFormat

from processors.contracts import values
from schemas.foreign_text import normalized, unescape
from schemas.values import SameAs

Key = Callable[[bytes], bytes]  # of a JSON value

_LONGEST: Final = 64 << 10  # characters of a text that is read as JSON or as Python writes it
_LONGEST_NUMBER: Final = 64  # characters
_LONGEST_DATE: Final = 64
_LONGEST_PHONE: Final = 40
_DEEPEST: Final = 32  # brackets in each other that are read as Python writes them
# Texts that were read so lately: each held handoff that is judged again asks for the same ones.
_READ_LATELY: Final = 64
_MS_OF_1971: Final = 31_536_000_000  # below it an integer is seconds
# An integer outside of these years is no time.
_MS_OF_1990: Final = 631_152_000_000
_MS_OF_2100: Final = 4_102_444_800_000
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)

# No "&" and no "\"; no space at an end. Two spaces are looked for apart: a pattern with a group
# for each word takes several times as long.
_SIMPLE: Final = re.compile(rb'"(?! )[ !#-%\'-\[\]-~]*+(?<! )"')
_PLAIN: Final = re.compile(r"(?! )[ -%'-~]++(?<! )")
_ALL_PLAIN: Final = re.compile(rb"[ -%'-\[\]-~]*+")
_NOT_PLAIN: Final = (b"  ", b'" ', b' "')
_GROUPED: Final = re.compile(r"\d{1,3}(?:[ '_\u2019]\d{3})+(?=$|[.,])")
# Of three digits, or as in India: 12,34,567.
_COMMAS: Final = re.compile(r"\d{1,3}(?:,\d{3})+|\d{1,2}(?:,\d{2})+,\d{3}")
_POINTS: Final = re.compile(r"\d{1,3}(?:\.\d{3}){2,}")
_NUMBER: Final = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?")
_WRITTEN: Final = re.compile(r"(?=.*\b[0-9]{4}\b)(?=.*[A-Za-z]{3}).*", re.DOTALL)
# In Chinese, Japanese and Korean signs, too.
_YEAR_FIRST: Final = re.compile(
    r"(\d{4})(?:-|[/.\u5e74\ub144] ?)(\d{1,2})(?:-|[/.\u6708\uc6d4] ?)(\d{1,2})"
    r"(?:[\u65e5\uc77c]|\.(?= |$))?(?!\d)"
)
_DAY_IN_ZONE: Final = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:Z|[+-][0-9]{2}:?[0-9]{2})", re.I)
_TWELVE_HOURS: Final = re.compile(r"[0-9-]{10} [0-9]{1,2}(?::[0-9]{2}){0,2} ?[AP]\.?M\.?", re.I)
_NAMED_ZONE: Final = re.compile(
    r"(?:\[[^][]+\])+$"
)  # RFC 9557: 2026-05-01T12:00+02:00[Europe/Rome]
# Zero width, soft hyphens, marks of writing direction; not the joiners, which make other words.
_UNSEEN: Final = re.compile("[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")
_MOST_ESCAPED: Final = 3  # times that a text is escaped, as by systems one after the other
# Letters of full width, katakana of half width -> those of the usual one (Unicode UAX 11).
_WIDTHS: Final = {
    char: chr(int(unicodedata.decomposition(chr(char)).split()[1], 16))
    for char in range(0xFF01, 0xFFEF)
    if unicodedata.decomposition(chr(char)).startswith(("<wide>", "<narrow>"))
}
_ARABIC: Final = {0x66B: ".", 0x66C: "'"}  # its decimal and its thousands separator
_EPOCH_TEXT: Final = re.compile(r"[0-9]{9,13}")
_PHONE: Final = re.compile(r"[+0-9(][0-9 ()./\u2010-\u2015\u00a0-]*", re.ASCII)
_TWO: Final = (dt.datetime(2001, 1, 1), dt.datetime(2004, 2, 2))  # to see what a date leaves out

_MOST_WRAPPED: Final = 3  # texts in each other that hold values
_FENCE: Final = "```"
_LANGUAGE: Final = re.compile(r"\w*")
# Numbers with a fraction as they are written, and not as the nearest float.
_exact_decode: Final = msgspec.json.Decoder(float_hook=Decimal).decode
_exact_encode: Final = msgspec.json.Encoder(decimal_format="number").encode

_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError)


def reader(same_as: SameAs | None, region: str | None = None) -> Key:
    """The keys of values of a field. `region` is where its national phone numbers are of."""
    if same_as is None:
        return _key
    if same_as == "phone":
        return partial(_key_by, read=partial(_phone, region=region))
    return partial(_key_by, read=_READERS[same_as])


def loosely(key: Key) -> Key:
    """The same keys, where a text that holds a value as JSON or as Python writes it counts as that
    value, in lists and objects too: "True" is true, and "['a']" and "[\\"a\\"]" are ["a"]."""
    return partial(_unwrapped_key, key=key)


# --- keys -----------------------------------------------------------------------------------------

Read = Callable[[str | int], object]


def _key(value: bytes) -> bytes:
    if _SIMPLE.fullmatch(value) is not None and b"  " not in value:
        return value
    if not any(map(value.__contains__, _NOT_PLAIN)) and _ALL_PLAIN.fullmatch(value) is not None:
        return values.canonical(value)  # no text in it is read otherwise than it is
    return _key_by(value, read=_text)


def _key_by(value: bytes, read: Read) -> bytes:
    return values.canonical(value, partial(_each, read=read))


def _each(value: Any, read: Read) -> object:
    """A decoded value with each text and integer in it as it counts. What is no text is tagged
    there, so that no text can be taken for it."""
    if isinstance(value, str):
        return value if value[:1] == "\0" else read(value)
    if isinstance(value, dict):
        read_ = {plain_text(name): _each(inside, read) for name, inside in value.items()}
        if len(read_) == len(value):
            return read_
        # Two names are the same but for their white space: they stay apart.
        return {name: _each(inside, read) for name, inside in value.items()}
    if isinstance(value, list):
        return [_each(inside, read) for inside in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return read(value)
    return value


def plain_text(text: str) -> str:
    """A text without its HTML entities, in Unicode NFC, with single spaces for white space, without
    characters that show nothing."""
    if _PLAIN.fullmatch(text) is not None and "  " not in text:
        return text
    for _ in range(_MOST_ESCAPED):
        if "&" not in text:
            break
        text = unescape(text)
    return " ".join(normalized("NFC", _UNSEEN.sub("", text)).split())


def in_ascii(text: str) -> str:
    """A plain text with the digits of any script as 0 to 9, and without other widths of letters."""
    text = plain_text(text)
    if text.isascii():
        return text
    return "".join([_digit(char) for char in normalized("NFKC", text)])


def folded_text(text: str) -> str:
    """The same in whatever case and width. The Turkish dotted and dotless i are one letter here."""
    text = plain_text(text)
    if text.isascii():
        return text.lower()
    folded = text.translate(_WIDTHS).casefold().replace("i\u0307", "i").replace("\u0131", "i")
    return plain_text(folded)


def _text(said: str | int) -> str | int:
    return plain_text(said) if isinstance(said, str) else said


def _folded(said: str | int) -> object:
    return folded_text(said) if isinstance(said, str) else said


def _number(said: str | int) -> object:
    number = None if isinstance(said, int) else number_of(said)
    return _text(said) if number is None else values.number(str(number))


def number_of(text: str) -> Decimal | None:
    """The number that a text is, None for any other text. "1,200.00" and "1 200" are 1200; "1,200"
    is 1200, "1,5" is 1.5 and "1.200" is 1.2. With both marks the last one is decimal."""
    if len(text) > _LONGEST_NUMBER:
        return None
    text = in_ascii(text).replace("\u2212", "-").translate(_ARABIC)
    sign, text = (text[0], text[1:].lstrip()) if text[:1] in ("+", "-") else ("", text)
    if _GROUPED.match(text) is not None:
        text = re.sub(r"(?<=\d)[ '_\u2019](?=\d{3})", "", text)
    comma, point = text.rfind(","), text.rfind(".")
    if comma >= 0 and point >= 0:
        group, decimal = (",", ".") if point > comma else (".", ",")
        whole, _, rest = text.rpartition(decimal)
        if decimal in whole or _COMMAS.fullmatch(whole.replace(group, ",")) is None:
            return None
        text = f"{whole.replace(group, '')}.{rest}"
    elif _COMMAS.fullmatch(text) is not None:
        text = text.replace(",", "")
    elif _POINTS.fullmatch(text) is not None:
        text = text.replace(".", "")
    elif text.count(",") == 1:
        text = text.replace(",", ".")
    if _NUMBER.fullmatch(text) is None:
        return None
    try:
        return Decimal(sign + text)
    except InvalidOperation:
        return None


def _digit(char: str) -> str:
    return str(unicodedata.decimal(char)) if char.isdecimal() else char


def _date(said: str | int) -> object:
    """A day, or a moment. Midnight in its own offset is the day."""
    found = _moment(in_ascii(str(said)))
    if found is None:
        return _text(said)
    if found.time() == dt.time.min:
        return f"\0d{found.date().isoformat()}"
    if found.tzinfo is None:
        return f"\0l{found.isoformat()}"
    return f"\0t{(found - _EPOCH) // dt.timedelta(microseconds=1)}"


def _moment(text: str) -> dt.datetime | None:
    if not text or len(text) > _LONGEST_DATE:
        return None
    if _EPOCH_TEXT.fullmatch(text) is not None:
        number = int(text)
        ms = number * 1000 if number < _MS_OF_1971 else number
        if not _MS_OF_1990 <= ms < _MS_OF_2100:
            return None
        return _EPOCH + dt.timedelta(milliseconds=ms)
    if text[-1] == "]":
        unnamed = _NAMED_ZONE.sub("", text)
        found = None if unnamed == text else _moment(unnamed)
        return None if found is None or found.tzinfo is None else found
    year_first = _YEAR_FIRST.match(text)
    if year_first is not None:
        year, month, day = year_first.groups()
        text = f"{year}-{month:0>2}-{day:0>2}{text[year_first.end() :]}"
        in_zone = _DAY_IN_ZONE.fullmatch(text)  # as XML has days: else the zone counts as a time
        text = text if in_zone is None else in_zone[1]
    if text[:4].isdigit() and len(text) >= 8 and text.isascii():
        try:
            if _TWELVE_HOURS.fullmatch(text) is not None:
                return _written_out(text) if dt.date.fromisoformat(text[:10]) else None
            return dt.datetime.fromisoformat(text.upper())  # RFC 3339 has "t" and "z", too
        except ValueError:
            pass
    return _written_out(text) if _WRITTEN.fullmatch(text) is not None else None


@lru_cache(maxsize=1024)
def _written_out(text: str) -> dt.datetime | None:
    """A date with its month in English letters: "1 May 2026", "May 1st, 2026 at 3 pm"."""
    found = []
    for default in _TWO:
        try:
            found.append(dates.parse(text, default=default, tzinfos=_zone))
        except (ValueError, OverflowError, TypeError):
            return None
    return found[0] if found[0] == found[1] else None  # else it leaves out the day or the year


def _zone(name: str | None, offset: int | None) -> dt.tzinfo | None:
    """Of a date's zone: names other than UTC mean different ones in different places."""
    if offset is None:
        if name is not None:
            raise ValueError(name)
        return None
    return dt.timezone(dt.timedelta(seconds=offset))


def _phone(said: str | int, region: str | None) -> object:
    """A number in its international form (ITU-T E.164); else its digits, where it has nothing but
    digits and what stands between them."""
    text = plain_text(str(said))
    number = phone_of(text, region)
    if number is not None:
        ext = f"x{number.extension}" if number.extension else ""
        return f"\0p{phonenumbers.format_number(number, PhoneNumberFormat.E164)}{ext}"
    if len(text) <= _LONGEST_PHONE and _PHONE.fullmatch(text) is not None:
        digits = "".join([char for char in text if char.isdigit()])
        if digits:
            return f"\0p{digits}"
    return _text(said)


def phone_of(text: str, region: str | None) -> PhoneNumber | None:
    """The phone number that a text is: international, or national in a region."""
    text = plain_text(text)
    if not text or len(text) > _LONGEST_PHONE:
        return None
    if text.startswith("00"):
        text = f"+{text[2:]}"
    return _parsed(text, region)


@lru_cache(maxsize=1024)
def _parsed(text: str, region: str | None) -> PhoneNumber | None:
    try:
        number = phonenumbers.parse(text, region)
    except NumberParseException:
        return None
    return number if phonenumbers.is_possible_number(number) else None


def _id(said: str | int) -> object:
    found = id_of(str(said))
    return f"\0i{found}" if found else _text(said)


def id_of(text: str) -> str:
    """The letters and digits of a text, without case."""
    return "".join([char for char in folded_text(in_ascii(text)) if _is_of_id(char)])


def _is_of_id(char: str) -> bool:
    """A letter, a digit, or a vowel sign that belongs to one."""
    return char.isalnum() or unicodedata.category(char)[0] == "M"


_READERS: Final[dict[str, Read]] = {
    "text": _folded,
    "number": _number,
    "date": _date,
    "id": _id,
}


# --- values in texts ------------------------------------------------------------------------------


def _unwrapped_key(value: bytes, key: Key) -> bytes:
    try:
        return key(_exact_encode(_opened(_exact_decode(value))))
    except (*_UNREADABLE, InvalidOperation):
        return key(value)


def _opened(value: Any, level: int = 0) -> Any:
    """A decoded value with each text in it as what it holds."""
    if isinstance(value, str):
        inside = unwrapped(value)
        if inside is None or level == _MOST_WRAPPED:
            return value
        return _opened(_exact_decode(inside), level + 1)
    if isinstance(value, dict):
        return {name: _opened(inside, level) for name, inside in value.items()}
    if isinstance(value, list):
        return [_opened(inside, level) for inside in value]
    return value


def _unfenced(text: str) -> str:
    """What stands within a fence. Cut, and not matched: a pattern that looks for the blanks around
    it takes minutes over 64 KiB of them, and nothing can interrupt it."""
    language, _, inside = text[len(_FENCE) : -len(_FENCE)].partition("\n")
    return (_LANGUAGE.fullmatch(language.rstrip()) and inside.strip()) or text


def unwrapped(text: str) -> bytes | None:
    """The JSON value, no string itself, that a text holds as JSON (in a string again, or in a
    fence as models write it) or as Python writes it."""
    text = text.strip()
    if not text or len(text) > _LONGEST:
        return None
    if text.startswith(_FENCE) and text.endswith(_FENCE):
        text = _unfenced(text)
    raw = text.encode("utf-8", "surrogatepass")
    try:
        found = msgspec.json.decode(raw)
    except _UNREADABLE:
        return _as_python(text)
    return unwrapped(found) if isinstance(found, str) else raw


@lru_cache(maxsize=_READ_LATELY)
def _as_python(text: str) -> bytes | None:
    if text in ("True", "False", "TRUE", "FALSE"):
        return text.lower().encode()
    if (
        text[0] not in "[{("
        or max(map(text.count, "[{(")) > _LONGEST // 16
        or _depth(text) > _DEEPEST
    ):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of an odd escape in a text
            found = ast.literal_eval(text)
        # A set has no order, and bytes are no JSON: `dumps` refuses both.
        return json.dumps(found, allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError, OverflowError):
        return None


def _depth(text: str) -> int:
    """An upper bound of how deep brackets stand in each other."""
    depth = deepest = 0
    for char in text:
        if char in "[{(":
            depth += 1
            deepest = max(deepest, depth)
        elif char in "]})":
            depth -= 1
    return deepest
