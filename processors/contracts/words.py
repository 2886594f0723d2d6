"""Whether words of a text say a value, as the reader of a field has it.

This asks for less than to be the same: of a phone number the digits that follow the country's are
enough, from seven on.
"""

import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import partial
from typing import Final

from msgspec import Struct

from processors.contracts import readers, values
from schemas.values import SameAs

_MIN_PHONE: Final = 7  # digits
_MAX_PHONE: Final = 20  # digits: 15 of ITU-T E.164, and what stands before them
_MAX_PREFIX: Final = 5  # digits before a national number: 00 and the country's
_MIN_ID: Final = 4  # letters and digits
_MOST_GROUPS: Final = 9  # of an id: the longest IBANs
_MIN_NUMBER: Final = 100  # smaller integers stand in any text by chance
_NUMBERS: Final = re.compile(
    r"(?<![\w.,])[+\u2212-]?\d[\d.,'\u2019\u066b\u066c\u00a0\u202f ]*\d(?!\w)|(?<!\w)\d(?!\w)"
)
_PHONES: Final = re.compile(r"(?<!\w)\+?\(?\d[\d ()./\u2010-\u2015\u00a0-]{5,}\d(?!\w)")
_DIGITS: Final = re.compile(r"\d+")
_MONTH: Final = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?"
    r"|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?"
)
_DAY: Final = r"\d{1,2}(?:st|nd|rd|th)?"
_TIME: Final = r"(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?(?:Z|[+-]\d\d:?\d\d)?)?"
_YEAR_FIRST: Final = (
    r"\d{4}([/-])\d\d?\1\d\d?|\d{4}[\u5e74\ub144] ?\d\d?[\u6708\uc6d4] ?\d\d?[\u65e5\uc77c]"
)
_DATES: Final = re.compile(
    rf"(?<!\w)(?:\d{{4}}-\d\d-\d\d{_TIME}|{_YEAR_FIRST}|{_DAY}(?: of)?[ -]{_MONTH},?[ -]\d{{4}}"
    rf"|{_MONTH} {_DAY},? \d{{4}})(?!\w)",
    re.IGNORECASE | re.ASCII,
)
_WORDS: Final = re.compile(r"[^\s,;:!?()\"'<>]+")


class Words(Struct, frozen=True, gc=False):
    """What a text says: `of` gives the key of a value, None where no text can say it, and `inside`
    those of the words in a text."""

    of: Callable[[bytes], str | None]
    inside: Callable[[str], Iterator[str]]


def words(same_as: SameAs | None, region: str | None) -> Words | None:
    """How a text is read for values of a field; None where only the value itself is looked for."""
    match same_as:
        case "phone":
            return Words(partial(_national, region=region), _phones_in)
        case "number":
            return Words(_number, _numbers_in)
        case "date":
            return Words(partial(_key, key=_DATE), _dates_in)
        case "id":
            return Words(_id, _ids_in)
        case _:
            return None


_DATE: Final = readers.reader("date")


def _key(value: bytes, key: readers.Key) -> str | None:
    return None if values.scalar_text(value) is None else key(value).decode("utf-8", "replace")


def _number(value: bytes) -> str | None:
    text = values.scalar_text(value)
    number = None if text is None else readers.number_of(text)
    if number is None or (abs(number) < _MIN_NUMBER and number == int(number)):
        return None
    return _spelled(number)


def _spelled(number: Decimal) -> str:
    return str(values.number(str(number)))


def _numbers_in(text: str) -> Iterator[str]:
    for found in _NUMBERS.finditer(text):
        for part in dict.fromkeys([found[0], *found[0].split()]):
            number = readers.number_of(part.strip(".,' "))
            if number is not None:
                yield _spelled(number)


def _national(value: bytes, region: str | None) -> str | None:
    text = values.scalar_text(value)
    if text is None:
        return None
    number = readers.phone_of(text, region)
    digits = str(number.national_number) if number is not None else _digits_of(text)
    return digits if len(digits) >= _MIN_PHONE else None


def _digits_of(text: str) -> str:
    return "".join(_DIGITS.findall(readers.in_ascii(text)))


def _phones_in(text: str) -> Iterator[str]:
    for run in _PHONES.finditer(text):
        groups = _DIGITS.findall(readers.in_ascii(run[0]))
        for first in range(len(groups)):
            digits = ""
            for at in range(first, len(groups)):
                digits += groups[at]
                if len(digits) > _MAX_PHONE:
                    break
                # What is left without the whole first group is said from the next one on.
                longest = min(_MAX_PREFIX, len(digits) - _MIN_PHONE, len(groups[first]) - 1)
                for prefix in range(longest + 1):
                    yield digits[prefix:]


def _dates_in(text: str) -> Iterator[str]:
    for found in _DATES.finditer(text):
        date = _key(values.quoted(found[0].replace(".", "")), _DATE)
        if date is not None:
            yield date


def _id(value: bytes) -> str | None:
    text = values.scalar_text(value)
    found = "" if text is None else readers.id_of(text)
    return found if _is_told(found) else None


def _is_told(letters: str) -> bool:
    """Whether letters and digits are no word, and enough not to stand in a text by chance."""
    return len(letters) >= _MIN_ID and not letters.isalpha()


def _ids_in(text: str) -> Iterator[str]:
    """What each word says, and words side by side: serial and account numbers stand in groups."""
    last: list[str] = []
    for found in _WORDS.finditer(text):
        last = [*last[1 - _MOST_GROUPS :], readers.id_of(found[0])]
        together = ""
        for word in reversed(last):
            together = word + together
            if _is_told(together):
                yield together
