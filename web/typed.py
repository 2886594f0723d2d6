"""A form for values, typed by the contract: which control a field gets, and what was put in. Pure.

What a control cannot say (an object, several types) is written as JSON.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec
from msgspec import Raw

from schemas.documents import ContractField
from schemas.unreadable import UNREADABLE

Control = Literal["text", "number", "integer", "date", "time", "choice", "yes_no", "json"]
PREFIX: Final = "field:"
_BY_TYPE: Final[dict[str, Control]] = {
    "string": "text",
    "number": "number",
    "integer": "integer",
    "boolean": "yes_no",
}
_BY_FORMAT: Final[dict[str, Control]] = {"date": "date", "date-time": "time"}


class NotAsAsked(ValueError):
    """What was put in is no value of the field; the text says so without it."""


@dataclass(frozen=True)
class Input:
    """One control: the field's name, and the choices where there are such, as JSON and as text."""

    name: str
    control: Control
    choices: tuple[tuple[str, str], ...] = ()
    hint: str = ""

    @property
    def key(self) -> str:
        """Its name in the form."""
        return PREFIX + self.name


def input_of(name: str, field: ContractField | None) -> Input:
    """The control for a field; one that no contract declares takes a text."""
    if field is None:
        return Input(name, "text", hint="the contract does not declare it")
    schema: dict[str, Any] = field.schema_ or {}
    choices = schema.get("enum")
    if choices is None and field.translate:
        choices = list(dict.fromkeys(field.translate.values()))
    if isinstance(choices, list) and choices and len(choices) <= 100:
        made = tuple((msgspec.json.encode(each).decode(), _plain(each)) for each in choices)
        return Input(name, "choice", made, "one of the receiver's terms")
    types = field.type or schema.get("type")
    if isinstance(types, str):
        types = (types,)
    if not types:
        return Input(name, "json" if schema else "text", hint="JSON" if schema else "")
    named = [each for each in types if each != "null"]
    if len(named) != 1 or named[0] not in _BY_TYPE:
        return Input(name, "json", hint=f"JSON: {', '.join(map(str, types))}")
    control = _BY_TYPE[named[0]]
    if control == "text":
        control = _BY_FORMAT.get(str(schema.get("format")), "text")
        if field.same_as == "date":
            control = "text"  # in whatever way it is written
    return Input(name, control)


def read(inputs: Mapping[str, Input], form: Mapping[str, str]) -> dict[str, Raw]:
    """The values that were put in, by the names of the fields; what was left empty is left out.
    Raises `NotAsAsked` for the first that is none."""
    found = {}
    for name, each in inputs.items():
        given = form.get(each.key, "")
        if given.strip():
            found[name] = Raw(_value(each, given))
    return found


def _value(each: Input, given: str) -> bytes:
    match each.control:
        case "text":
            return msgspec.json.encode(given.replace("\r\n", "\n"))
        case "number" | "integer":
            return _number(each, given.strip())
        case "date":
            try:
                return msgspec.json.encode(dt.date.fromisoformat(given.strip()).isoformat())
            except ValueError:
                raise NotAsAsked(f"{each.name} is to be a date, such as 2026-03-01") from None
        case "time":
            return msgspec.json.encode(_time(each, given.strip()))
        case "choice":
            if given not in dict(each.choices):
                raise NotAsAsked(f"{each.name} is to be one of the choices")
            return given.encode()
        case "yes_no":
            if given not in ("true", "false"):
                raise NotAsAsked(f"{each.name} is to be yes or no")
            return given.encode()
        case "json":
            return _json(each, given)


def _number(each: Input, given: str) -> bytes:
    try:
        value = msgspec.json.decode(given.encode())
    except UNREADABLE:
        value = None
    whole = each.control == "integer"
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        kind = "a whole number, such as 12" if whole else "a number, such as 12.5"
        raise NotAsAsked(f"{each.name} is to be {kind}")
    return given.encode()  # as it was written: 1.50 stays 1.50


def _time(each: Input, given: str) -> str:
    try:
        found = dt.datetime.fromisoformat(given)
    except ValueError:
        raise NotAsAsked(f"{each.name} is to be a time, such as 2026-03-01T09:00") from None
    if found.tzinfo is None:  # as the page says, times are in UTC
        found = found.replace(tzinfo=dt.UTC)
    return found.isoformat().replace("+00:00", "Z")


def _json(each: Input, given: str) -> bytes:
    raw = given.strip().encode("utf-8", "replace")
    try:
        msgspec.json.decode(raw)
    except UNREADABLE:
        raise NotAsAsked(f"{each.name} is to be JSON, with quotes around a text") from None
    return raw


def _plain(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
