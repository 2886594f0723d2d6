"""Whether one JSON Schema takes all that another one takes, compared keyword by keyword.

Inclusion of JSON Schemas is not decidable in practice, so this is careful: it answers "it takes as
much" only where each keyword shows it, and "cannot tell" counts as narrower. The keywords are those
of draft 2020-12 (https://json-schema.org/draft/2020-12/json-schema-validation).
"""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any, Final

import msgspec

from processors.contracts.values import JSON_TYPES
from schemas.json_schema import MOST_TRIED, Validator
from schemas.printable import listed

Schema = dict[str, Any] | bool

# Keywords that say nothing of which values are taken. `format` is one in draft 2020-12, but not in
# every reader's hands, so it is compared.
_REMARKS: Final = frozenset(
    [
        "$comment",
        "$defs",
        "definitions",
        "title",
        "description",
        "default",
        "examples",
        "deprecated",
        "readOnly",
        "writeOnly",
        "contentEncoding",
        "contentMediaType",
        "contentSchema",
    ]
)
# What a keyword means may hang on another document, another draft or the keywords beside it.
_FAR: Final = frozenset(
    [
        "$ref",
        "$dynamicRef",
        "$recursiveRef",
        "$schema",
        "$id",
        "unevaluatedProperties",
        "unevaluatedItems",
    ]
)
_UPPER: Final = {
    "maximum": "number",
    "exclusiveMaximum": "number",
    "maxLength": "string",
    "maxItems": "array",
    "maxProperties": "object",
}
_LOWER: Final = {
    "minimum": "number",
    "exclusiveMinimum": "number",
    "minLength": "string",
    "minItems": "array",
    "minProperties": "object",
}
_OF_TYPE: Final = _UPPER | _LOWER | {"multipleOf": "number", "pattern": "string"}
# Keywords that mean something only together.
_TOGETHER: Final = (
    frozenset({"if", "then", "else"}),
    frozenset({"contains", "minContains", "maxContains"}),
)
_MEMBERS: Final = ("properties", "additionalProperties", "patternProperties", "required")
_ITEMS: Final = ("items", "prefixItems", "uniqueItems")


def narrower(old: Schema, new: Schema) -> str | None:
    """Why `new` may refuse a value that `old` takes; None when it surely takes all of them."""
    if _same(old, new) or old is False or new is True:
        return None
    if new is False:
        return "nothing fits any more"
    before: dict[str, Any] = {} if old is True else dict(old)
    if any(_FAR & keys for schema in (before, new) for keys in _keywords(schema)):
        return "cannot tell: a schema with references, or of another draft"
    if "enum" in before or "const" in before:
        return _finite(before, new)
    for group in _TOGETHER:
        if group & set(new) and not all(_same(before.get(name), new.get(name)) for name in group):
            return f"cannot tell: {' or '.join(sorted(group & set(new)))} is another one"
    for keyword in new:
        if keyword in _REMARKS or (keyword in before and _same(before[keyword], new[keyword])):
            continue
        why = _keyword(keyword, before, new)
        if why is not None:
            return why
    return _members(before, new) or _items(before, new)


def _same(a: Any, b: Any) -> bool:
    """Equal as JSON: 1, 1.0 and true are three things here."""
    encode = msgspec.json.encode
    return encode(a, order="deterministic") == encode(b, order="deterministic")


def _keywords(schema: Any) -> Iterator[set[str]]:
    """The members of every object in a schema, however deep."""
    if isinstance(schema, dict):
        yield set(schema)
        schema = list(schema.values())
    if isinstance(schema, list):
        for each in schema:
            yield from _keywords(each)


def _finite(old: dict[str, Any], new: dict[str, Any]) -> str | None:
    """The values of an enum or a const are few enough to be tried."""
    values = list(map(msgspec.json.encode, old["enum"] if "enum" in old else [old["const"]]))
    validator = Validator(new)
    if sum(map(validator.cost, values)) > MOST_TRIED:
        return "cannot tell: to try the values that it listed would take too long"
    lost = sum(not validator.fits(value) for value in values)
    return (
        f"{lost} of the {len(values)} values that it listed do not fit any more" if lost else None
    )


def _types(schema: dict[str, Any]) -> set[str]:
    found = schema.get("type", list(JSON_TYPES))
    types = {found} if isinstance(found, str) else set(found)
    return types | {"integer"} if "number" in types else types


def _keyword(keyword: str, old: dict[str, Any], new: dict[str, Any]) -> str | None:
    """Why a keyword of `new`, which `old` has not or has otherwise, may refuse what `old` takes."""
    if keyword in _OF_TYPE and not _concerns(_OF_TYPE[keyword], old):
        return None
    was, now = old.get(keyword), new[keyword]
    if keyword == "type":
        lost = sorted(_types(old) - _types(new))
        return f"no {' and no '.join(lost)} fits any more" if lost else None
    if keyword in ("enum", "const"):
        return "only listed values fit now"
    if keyword in _UPPER or keyword in _LOWER:
        return _bound(keyword, was, now)
    if keyword == "multipleOf":
        fits = was is not None and (Fraction(str(was)) / Fraction(str(now))).denominator == 1
        return None if fits else "multipleOf is stricter"
    if keyword in _MEMBERS or keyword in _ITEMS:
        return None  # compared with those beside them
    return f"cannot tell: {keyword} is {'new' if was is None else 'another one'}"


def _concerns(type_: str, schema: dict[str, Any]) -> bool:
    """Whether a schema takes values of a type at all."""
    types = _types(schema)
    return type_ in types or (type_ == "number" and "integer" in types)


def _bound(keyword: str, was: Any, now: Any) -> str | None:
    if isinstance(now, bool) or isinstance(was, bool):
        return f"cannot tell: {keyword} is written as in draft 4"
    if was is None:
        return f"{keyword} is new"
    looser = now >= was if keyword in _UPPER else now <= was
    return None if looser else f"{keyword} is stricter"


def _members(old: dict[str, Any], new: dict[str, Any]) -> str | None:
    if not any(name in new for name in _MEMBERS) or not _concerns("object", old):
        return None
    if not _same(old.get("patternProperties"), new.get("patternProperties")):
        return "cannot tell: patternProperties is another one"
    required = set(new.get("required", ())) - set(old.get("required", ()))
    if required:
        return f"the members {listed(sorted(required))} are required now"
    had, has = old.get("properties", {}), new.get("properties", {})
    rest = old.get("additionalProperties", True), new.get("additionalProperties", True)
    if "patternProperties" in new and (set(had) != set(has) or not _same(*rest)):
        return "cannot tell: members beside patternProperties are others"
    for name in sorted(set(had) | set(has)):
        why = narrower(had.get(name, rest[0]), has.get(name, rest[1]))
        if why is not None:
            return f"in the member {name}: {why}"
    why = narrower(*rest)
    return None if why is None else f"in members beside the named ones: {why}"


def _items(old: dict[str, Any], new: dict[str, Any]) -> str | None:
    if not any(name in new for name in _ITEMS) or not _concerns("array", old):
        return None
    if new.get("uniqueItems") is True and old.get("uniqueItems") is not True:
        return "its items must be unique now"
    if not _same(old.get("prefixItems"), new.get("prefixItems")):
        return "cannot tell: prefixItems is another one"
    items = old.get("items", True), new.get("items", True)
    if isinstance(items[0], list) or isinstance(items[1], list):
        return "cannot tell: items is a list, as in older drafts"
    why = narrower(*items)
    return None if why is None else f"in its items: {why}"
