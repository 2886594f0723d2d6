"""The values that contracts and receivers are made of: durations, paths, ids, JSON Schemas.

Each check refuses with what is wrong and what to do about it (`wrong`).
"""

import datetime as dt
import json
import math
import re
from collections import Counter
from typing import Annotated, Any, Final, Literal, NoReturn

from phonenumbers import SUPPORTED_REGIONS
from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, WithJsonSchema
from pydantic_core import PydanticCustomError

from schemas import paths
from schemas.cel.expression import ExpressionError, compile_expression
from schemas.json_schema import SchemaError, Validator
from schemas.records import MAX_NAME_BYTES

JsonType = Literal["string", "number", "integer", "boolean", "object", "array", "null"]
JsonScalar = str | int | float | bool | None

MAX_PATH_SEGMENTS: Final = 16  # deeper than any context seen; bounds the work of one look-up
MAX_DURATION: Final = dt.timedelta(days=3650)  # so that a deadline never leaves the calendar
MAX_VERSION: Final = 2**31 - 1  # fits the int of every reader's language
MAX_ID_BYTES: Final = 200
MAX_QUEUE_BYTES: Final = 249  # Kafka's own, of a topic's name
_SHOWN: Final = 80  # characters of a value in a message
# What stands in every package or violation of a contract.
MAX_SENTENCE_BYTES: Final = 8192
# Each may become a violation in each handoff of an output: thousands are a log, not a contract.
MAX_FIELDS: Final = 1_000


def wrong(message: str, suggestion: str) -> NoReturn:
    """Refuse a value: what is wrong, and what to do about it (kept apart for `schemas.loading`)."""
    raise PydanticCustomError(
        "document", "{message}; {suggestion}", {"message": message, "suggestion": suggestion}
    )


# --- durations -------------------------------------------------------------------------------

_DURATION = re.compile(
    r"P(?:(?P<weeks>\d+)W)?(?:(?P<days>\d+)D)?"
    r"(?:T(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+(?:\.\d{1,3})?)S)?)?",
    re.ASCII,
)
_CALENDAR_DURATION = re.compile(r"P(?:\d+[YMWD])*(?:T\S*)?", re.ASCII)


def parse_duration(text: str) -> dt.timedelta:
    """Read an ISO 8601 duration of weeks, days, hours, minutes and seconds, such as `P2DT4H`.

    Years and months are refused because their length depends on the date that they are counted
    from, and a deadline must be the same for every task. Seconds may have up to three decimals:
    deadlines are kept in milliseconds. Raises PydanticCustomError (a ValueError).
    """
    match = _DURATION.fullmatch(text)
    if match is None or text[-1] in "PT":
        if _CALENDAR_DURATION.fullmatch(text) and re.search(r"[YM]", text.partition("T")[0]):
            wrong(
                f"the duration {text!r} has years or months, whose length depends on the date",
                "count in weeks, days, hours, minutes or seconds, such as P30D",
            )
        wrong(
            f"{text!r} is not a duration",
            "write ISO 8601 with weeks, days, hours, minutes or seconds, such as PT4H, P2D, P1W",
        )
    try:
        duration = dt.timedelta(**{k: float(v) for k, v in match.groupdict().items() if v})
    except OverflowError:
        duration = dt.timedelta.max
    if duration > MAX_DURATION:
        wrong(f"the duration {text!r} is too long", f"give at most P{MAX_DURATION.days}D")
    if duration <= dt.timedelta(0):
        wrong(f"the duration {text!r} is zero", "give one that is longer, or leave the key out")
    return duration


def format_duration(duration: dt.timedelta) -> str:
    """The shortest ISO 8601 spelling, to the millisecond; `parse_duration` reads it back."""
    ms = duration // dt.timedelta(milliseconds=1)
    days, ms = divmod(ms, 86_400_000)
    hours, ms = divmod(ms, 3_600_000)
    minutes, ms = divmod(ms, 60_000)
    seconds = f"{ms // 1000}.{ms % 1000:03d}".rstrip("0").rstrip(".") if ms else ""
    parts = ((hours, "H"), (minutes, "M"), (seconds, "S"))
    time = "".join(f"{number}{unit}" for number, unit in parts if number)
    return "P" + (f"{days}D" if days else "") + (f"T{time}" if time else "")


def _duration(value: object) -> dt.timedelta:
    if isinstance(value, dt.timedelta):
        return value
    if not isinstance(value, str):
        wrong("must be a duration", "write ISO 8601 text, such as PT4H or P2D")
    return parse_duration(value)


# --- checks of single values -----------------------------------------------------------------


def check_path(path: str) -> str:
    """A name, or a path into objects and lists: 1 to 16 names, indexes and elements. What is none,
    but for a name that is missing, counts as a name that is spelled so; lint asks about it."""
    try:
        found = paths.parse(path)
    except ExpressionError:
        if not all(segment.strip() for segment in path.split(".")):
            wrong(
                f"the path {path!r} has an empty segment",
                "write names with one dot between them, such as crm.transcript",
            )
        return path
    if len(found.rest) >= MAX_PATH_SEGMENTS:
        wrong(
            f"the path has {len(found.rest) + 1} segments",
            f"give at most {MAX_PATH_SEGMENTS}",
        )
    return path


def _check_context_path(path: str) -> str:
    if not path.startswith("context."):
        wrong(
            f"{path!r} does not begin with 'context.'",
            "name a context field, such as context.error_code",
        )
    check_path(path.removeprefix("context."))
    return path


def _text(value: str) -> str:
    if not value.strip():
        wrong("must not be empty", "give it a value")
    return value


def _within(most: int) -> AfterValidator:
    """At most so many bytes of UTF-8."""

    def check(value: str) -> str:
        _check_length(value, most)
        return value

    return AfterValidator(check)


def _check_length(value: str, most: int) -> None:
    length = len(value.encode())
    if length > most:
        wrong(f"has {length:,} bytes, the limit is {most:,}", "shorten it")


_ID_PATTERN = f"^[A-Za-z0-9][A-Za-z0-9._-]{{0,{MAX_ID_BYTES - 1}}}$"
# `handoff.` begins our own topics; of those names only `handoff.queue.` is for receivers.
_QUEUE_PATTERN = rf"^(?!handoff\.(?!queue\.))[A-Za-z0-9._-]{{1,{MAX_QUEUE_BYTES}}}$"


def _id(value: str) -> str:
    _check_length(value, MAX_ID_BYTES)
    if not re.fullmatch(_ID_PATTERN, value):
        wrong(
            f"{_shown(value)} is not an id",
            "use letters, digits, '.', '_' and '-', a letter or digit first",
        )
    return value


def _shown(value: str) -> str:
    return repr(value if len(value) <= _SHOWN else value[: _SHOWN - 1] + "…")


def _queue(value: str) -> str:
    if value.startswith("handoff.") and not value.startswith("handoff.queue."):
        wrong(
            f"{_shown(value)} is no name for a queue: 'handoff.' begins the processor's own topics",
            "name it handoff.queue.<receiver>, or anything that does not begin with 'handoff.'",
        )
    _check_length(value, MAX_QUEUE_BYTES)
    if not re.fullmatch(_QUEUE_PATTERN, value) or value in (".", ".."):
        wrong(
            f"{_shown(value)} is not a name for a Kafka topic",
            "use letters, digits, '.', '_' and '-'",
        )
    return value


def _date(value: object) -> dt.date:
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        return value
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", value, re.ASCII):
        try:
            return dt.date.fromisoformat(value)
        except ValueError:
            wrong(f"there is no day {value}", "give a day of the calendar, such as 2027-03-01")
    wrong("must be a day", "write it as year-month-day, such as 2027-03-01")


def one_or_many(value: object) -> object:
    """A single text is a list of one, which is the common case in contracts."""
    if isinstance(value, list):
        return tuple(value)
    return (value,) if isinstance(value, str) else value


def _types(value: object) -> object:
    if isinstance(value, list):
        # YAML reads `[string, null]` as a text and a null: the author means the type named null.
        return tuple("null" if item is None else item for item in value)
    return (value,) if isinstance(value, str) else value


def many(value: object) -> object:
    """A list as the tuple that a frozen document holds."""
    return tuple(value) if isinstance(value, list) else value


def _distinct(values: tuple[str, ...]) -> tuple[str, ...]:
    times = Counter(values)
    for value in values:
        if times[value] > 1:
            wrong(f"{value!r} stands here twice", "name it once")
    return values


def _not_empty(values: tuple[str, ...]) -> tuple[str, ...]:
    if not values:
        wrong("the list is empty", "name at least one, or leave the key out")
    return values


def _json_numbers(value: object) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        wrong("JSON has no such number", "give a finite one")
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            _json_numbers(item)


def _schema(schema: object) -> object:
    if not isinstance(schema, dict):
        wrong("must be a mapping", "write JSON Schema, such as {type: string, maxLength: 80}")
    _json_numbers(schema)
    try:
        Validator(schema)
    except SchemaError as error:
        wrong(error.message, error.suggestion)
    return schema


def _cel(text: str) -> str:
    try:
        compile_expression(text)
    except ExpressionError as error:
        wrong(error.message, f"{error.suggestion}\n{error.place}")
    return text


def _region(value: str) -> str:
    if value not in SUPPORTED_REGIONS:
        wrong(
            f"{_shown(value)} is no country with phone numbers",
            "write its two letters as ISO 3166 has them, such as DK or US",
        )
    return value


def _translation(value: object) -> object:
    if not isinstance(value, dict):
        wrong("must be a mapping", "write the sender's terms as keys, the receiver's as values")
    if not value:
        wrong("the mapping is empty", "give at least one term, or leave the key out")
    terms: dict[str, object] = {}
    for key, to in value.items():
        term = key if isinstance(key, str) else json.dumps(key)
        if term in terms:
            wrong(f"the term {term} stands here twice", "translate it once")
        if not isinstance(to, JsonScalar):
            wrong(
                f"the translation of {term!r} is no scalar",
                "translate to a text, a number, true, false or null",
            )
        _json_numbers(to)
        terms[term] = to
    return terms


# --- the types -------------------------------------------------------------------------------


def _schema_of(most: int) -> WithJsonSchema:
    """In bytes, which a JSON Schema cannot say: no text of more characters fits."""
    return WithJsonSchema({"type": "string", "maxLength": most})


Text = Annotated[str, AfterValidator(_text)]
Sentence = Annotated[Text, _within(MAX_SENTENCE_BYTES), _schema_of(MAX_SENTENCE_BYTES)]
Name = Annotated[Text, _within(MAX_NAME_BYTES), _schema_of(MAX_NAME_BYTES)]
Id = Annotated[str, AfterValidator(_id), WithJsonSchema({"type": "string", "pattern": _ID_PATTERN})]
Queue = Annotated[
    str, AfterValidator(_queue), WithJsonSchema({"type": "string", "pattern": _QUEUE_PATTERN})
]
Path = Annotated[Name, AfterValidator(check_path)]
ContextPath = Annotated[Name, AfterValidator(_check_context_path)]
Version = Annotated[int, Field(ge=1, le=MAX_VERSION)]
Date = Annotated[
    dt.date, BeforeValidator(_date), WithJsonSchema({"type": "string", "format": "date"})
]
Duration = Annotated[
    dt.timedelta,
    BeforeValidator(_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "format": "duration", "examples": ["PT4H", "P2D"]}),
]
_Strings = Name | list[Name]  # what may be written where one or many are meant
Names = Annotated[
    tuple[Name, ...],
    BeforeValidator(one_or_many, json_schema_input_type=_Strings),
    AfterValidator(_not_empty),
    AfterValidator(_distinct),
]
Paths = Annotated[
    tuple[Path, ...],
    BeforeValidator(one_or_many, json_schema_input_type=_Strings),
    AfterValidator(_not_empty),
    AfterValidator(_distinct),
]
ContextPaths = Annotated[
    tuple[ContextPath, ...],
    BeforeValidator(one_or_many, json_schema_input_type=_Strings),
    AfterValidator(_not_empty),
    AfterValidator(_distinct),
]
NamesOrNone = Annotated[
    tuple[Name, ...],
    BeforeValidator(one_or_many, json_schema_input_type=_Strings),
    AfterValidator(_distinct),
]
JsonTypes = Annotated[
    tuple[JsonType, ...],
    BeforeValidator(_types, json_schema_input_type=JsonType | list[JsonType | None]),
    AfterValidator(_not_empty),
    AfterValidator(_distinct),
]
SameAs = Literal["text", "number", "date", "phone", "id"]
Region = Annotated[
    str, AfterValidator(_region), WithJsonSchema({"type": "string", "pattern": "^[A-Z]{2}$"})
]
Cel = Annotated[str, AfterValidator(_cel)]
JsonSchema = Annotated[dict[str, Any], BeforeValidator(_schema)]
Translation = Annotated[dict[str, JsonScalar], BeforeValidator(_translation)]
