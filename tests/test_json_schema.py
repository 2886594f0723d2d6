"""Schemas of contracts judge in bounded time: what is refused, and what a value may cost."""

import json
import math
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from schemas.json_schema import (
    MANY_PLACES,
    MAX_ODD_UNIQUE,
    MAX_UNITS,
    MAX_WORK,
    SchemaError,
    Validator,
)
from schemas.patterns import is_linear, needs_backtracking, places
from schemas.schema_work import Work, work
from tests.properties import examples

DRAFT = {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "string"}
LINEAR_PATTERNS = (
    r"^[^@\s]+@[^@\s]+\.[a-z]{2,}$",
    r"^\+?[0-9 ]{6,20}$",
    r"^(\d{4})-(\d{2})-(\d{2})T.*Z?$",
    r"^\p{Lu}[\p{L}\p{M}' -]{1,80}$",
    r"^.{1,2000}$",
    r"(?i)\bterms\b",
    r"\S",
    r"^(a+)+$",
    r"(?<name>a|b)*",
    r"",
)


def refused(schema: dict[str, Any]) -> SchemaError:
    with pytest.raises(SchemaError) as error:
        Validator(schema)
    return error.value


def raw(value: Any) -> bytes:
    return json.dumps(value).encode()


# --- patterns -------------------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", LINEAR_PATTERNS)
def test_what_a_linear_engine_understands_is_taken(pattern: str) -> None:
    assert is_linear(pattern)
    assert Validator({"properties": {"a": {"pattern": pattern}}}).largest > 1000


@pytest.mark.parametrize(
    ("pattern", "construct"),
    [
        (r"(?<=(.*a){20})b", "a look-behind"),
        (r"(?<!x)y", "a look-behind"),
        (r"(?=.*b)(.*)*c", "a look-ahead"),
        (r"^(?!x)", "a look-ahead"),
        (r"(a*)*\1b", "a back-reference"),
        (r"(?<n>a)\1", "a back-reference"),
    ],
)
@pytest.mark.parametrize(
    ("around", "place"),
    [
        (lambda p: {"pattern": p}, "pattern"),
        (lambda p: {"properties": {"code": {"pattern": p}}}, "properties.code.pattern"),
        (lambda p: {"patternProperties": {p: {}}}, "patternProperties"),
        (lambda p: {"items": {"anyOf": [{}, {"pattern": p}]}}, "items.anyOf.1.pattern"),
        (lambda p: {"propertyNames": {"pattern": p}}, "propertyNames.pattern"),
        (lambda p: {"additionalProperties": {"not": {"pattern": p}}}, "additionalProperties.not"),
        (lambda p: {"$defs": {"d": {"pattern": p}}, "$ref": "#/$defs/d"}, "$defs.d.pattern"),
        (lambda p: {"$schema": "http://json-schema.org/draft-07/schema#", "pattern": p}, "pattern"),
    ],
)
def test_what_only_a_backtracking_engine_understands_is_refused(
    pattern: str, construct: str, around: Any, place: str
) -> None:
    error = refused(around(pattern))
    assert repr(pattern) in error.message
    assert f"at {place}" in error.message
    assert construct in error.message
    assert "as several patterns" in error.suggestion


@pytest.mark.parametrize("pattern", ["(", "(" * 100_000, "[" * 100_000, "\ud800"])
def test_a_pattern_that_is_none_for_anybody_is_no_regular_expression(pattern: str) -> None:
    assert needs_backtracking(pattern) is None
    error = refused({"pattern": pattern})
    assert "not a valid JSON Schema" in error.message
    assert len(error.message) < 500


def test_a_pattern_too_large_for_the_engine_says_so() -> None:
    error = refused({"pattern": "(a{1,1000}){1,1000}"})
    assert "1,001,000 places with its repetitions written out" in error.message


@pytest.mark.parametrize(
    ("pattern", "number"),
    [
        ("", 0),
        ("abc", 3),
        ("(ab|c)*[a-z]{3}", 9),
        (r"[\]a]{2}", 2),
        ("(a{1,100}){1,100}b", 10_101),
        (r"\p{L}{2}\d{3}\x{41}", 6),
        ("a{2}{3}", 6),
        ("(?:ab|cd){2,}", 18),
        ("(?<n>a)b|(?i)c", 6),
        ("a{0}", 1),
        ("((a|b{3}c)){2}d", 17),
        ("^||$", 4),
        ("()" * 5, 5),
        ("a{99999999999999999999}", 10**9),
    ],
)
def test_the_places_of_a_pattern(pattern: str, number: int) -> None:
    assert places(pattern) == number


ATOMS = st.sampled_from(["a", "b", ".", "[ab]", "[^a]", "\\w", "\\d", "\\.", "[a-c-]"])
PATTERNS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map("|".join).map("({})".format),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "*?", "{2}", "{1,9}", "{0,30}", "{7,}"]))
        .map("".join)
        .map("(?:{})".format),
    ),
    max_leaves=12,
)


@examples
@given(PATTERNS)
def test_a_pattern_has_no_more_places_than_are_counted(pattern: str) -> None:
    # The engine's program has some 30 to 1,200 bytes a place: `.` stands for all of Unicode.
    limit = jsonschema_rs.RegexOptions(size_limit=2_000 * (places(pattern) + 5))
    jsonschema_rs.validator_for({"pattern": pattern}, pattern_options=limit)


@examples
@given(PATTERNS, st.text("abc.1 é", max_size=12))
def test_the_linear_engine_finds_what_the_other_one_found(pattern: str, text: str) -> None:
    assume(places(pattern) < MANY_PLACES)
    schema = {"pattern": pattern}
    assert Validator(schema).fits(raw(text)) is jsonschema_rs.is_valid(schema, text)


# --- the work of a schema -------------------------------------------------------------------------

TYPES = st.sampled_from([{"type": name} for name in ("string", "integer", "array", "object")])


def _schemas(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    several = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(
        several.map(lambda each: {"anyOf": each}),
        several.map(lambda each: {"allOf": each}),
        several.map(lambda each: {"oneOf": each}),
        inner.map(lambda each: {"not": each}),
        inner.map(lambda each: {"items": each}),
        inner.map(lambda each: {"properties": {"n": each}}),
        inner.map(lambda each: {"additionalProperties": each}),
        inner.map(lambda each: {"contains": each}),
        st.tuples(inner, inner, inner).map(
            lambda each: dict(zip(("if", "then", "else"), each, strict=True))
        ),
        st.tuples(inner, several).map(
            lambda each: {"unevaluatedProperties": each[0], "anyOf": each[1]}
        ),
        st.tuples(inner, several).map(lambda each: {"unevaluatedItems": each[0], "allOf": each[1]}),
    )


REFERENCES = st.sampled_from([{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}, {"$ref": "#"}])
WITH_REFERENCES = st.recursive(TYPES | REFERENCES, _schemas, max_leaves=14)
VALUES = st.recursive(
    st.sampled_from([1, "x", None]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["n", "m"]), inner),
    max_leaves=12,
)


def _nested(depth: int, kind: int) -> Any:
    value: Any = 1
    for level in range(depth):
        value = [value] if kind == 0 or (kind == 2 and level % 2) else {"n": value}
    return value


def _parts(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(_parts(each) for each in inner)


def _counting(schema: Any) -> Any:
    """The schema with a keyword of ours in each subschema that has a type: it counts its visits."""
    if isinstance(schema, list):
        return [_counting(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _counting(each) for name, each in schema.items()}
    return {**found, "visited": True} if "type" in schema else found


class _Visits:
    number = 0

    def __init__(self, parent: Any, value: Any, path: Any) -> None:
        pass

    def validate(self, instance: Any) -> None:
        _Visits.number += 1


@examples
@given(
    WITH_REFERENCES,
    WITH_REFERENCES,
    WITH_REFERENCES,
    VALUES | st.builds(_nested, st.integers(1, 14), st.integers(0, 2)),
)
def test_no_schema_is_more_work_than_was_told(root: Any, a: Any, b: Any, value: Any) -> None:
    schema = {"$defs": {"a": a, "b": b}, **root}
    try:
        told = work(schema)
    except ValueError:
        assume(False)
    assert _visits(schema, value) <= told.units * _parts(value)


def _visits(schema: Any, value: Any) -> int:
    _Visits.number = 0
    jsonschema_rs.validator_for(_counting(schema), keywords={"visited": _Visits}).is_valid(value)
    return _Visits.number


@pytest.mark.parametrize(
    "around",
    [
        lambda inner: {"allOf": [inner], "unevaluatedProperties": False},
        lambda inner: {"anyOf": [inner], "unevaluatedProperties": False},
        lambda inner: {"oneOf": [inner], "unevaluatedItems": False},
        lambda inner: {"if": inner, "then": inner, "unevaluatedProperties": False},
        lambda inner: {"anyOf": [{"properties": {"n": inner}}, inner], "unevaluatedItems": inner},
        lambda inner: {"not": {"not": inner}, "unevaluatedProperties": True},
        lambda inner: {"dependentSchemas": {"n": inner}, "unevaluatedProperties": inner},
    ],
)
def test_what_is_evaluated_again_and_again_is_counted_so(around: Any) -> None:
    schema: Any = {"type": "object", "properties": {"n": {"type": "object"}}}
    for _ in range(6):
        schema = around(schema)
    values: list[Any] = [{"n": {}}, {"n": 1}, {}, [], {"n": {"n": {"n": {}}}}]
    for value in values:
        assert _visits(schema, value) <= work(schema).units * _parts(value)


def _doubling(levels: int) -> dict[str, Any]:
    defs: dict[str, Any] = {
        f"a{i}": {"anyOf": [{"$ref": f"#/$defs/a{i + 1}"}, {"$ref": f"#/$defs/a{i + 1}"}]}
        for i in range(levels)
    }
    return {"$defs": defs | {f"a{levels}": {"type": "string"}}, "$ref": "#/$defs/a0"}


def test_references_that_double_are_refused_where_they_have_become_too_many() -> None:
    assert Validator(_doubling(10)).fits(b'"x"')
    error = refused(_doubling(30))
    assert "is too much work" in error.message
    assert f"{MAX_UNITS:,}" in error.message


def test_a_schema_may_refer_to_itself() -> None:
    tree = {
        "type": "object",
        "properties": {"children": {"type": "array", "items": {"$ref": "#"}}},
        "required": ["children"],
    }
    found = Validator(tree)
    assert found.fits(raw({"children": [{"children": []}]}))
    assert not found.fits(raw({"children": [{"children": [{}]}]}))
    assert Validator({"$defs": {"n": {"$anchor": "n", "items": {"$ref": "#n"}}}, "$ref": "#n"})
    assert Validator({"$ref": DRAFT["$schema"]}).fits(raw(DRAFT))


def test_what_refers_to_itself_does_not_ask_for_what_is_not_evaluated() -> None:
    error = refused({"allOf": [{"items": {"$ref": "#"}}], "unevaluatedItems": {"$ref": "#"}})
    assert "the time doubles with each level of a value" in error.message
    assert Validator({"allOf": [{"properties": {"a": {}}}], "unevaluatedProperties": False})


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"properties": {"a": {"$id": "x", "$ref": "#"}}}, "has an $id at properties.a"),
        (
            {"$id": "https://example.com/a", "$defs": {"b": {}}, "$ref": "a#/$defs/b"},
            "the reference 'a#/$defs/b' at its top leads where nobody can follow",
        ),
        (
            {
                "$defs": {f"a{i}": {"$ref": f"#/$defs/a{i + 1}"} for i in range(2000)}
                | {"a2000": {}},
                "$ref": "#/$defs/a0",
            },
            "nests too deep, or its references do",
        ),
    ],
)
def test_a_schema_whose_work_nobody_can_tell_is_refused(schema: Any, words: str) -> None:
    assert words in refused(schema).message


@pytest.mark.parametrize(
    ("schema", "found"),
    [
        ({}, Work(1)),
        ({"type": "string", "title": {"pattern": "("}}, Work(1)),
        ({"properties": {"pattern": {"type": "string"}}}, Work(2)),
        ({"enum": ["a", "b"]}, Work(1)),
        ({"enum": [1, 2, 3]}, Work(1)),
        ({"enum": [None, "a"]}, Work(5)),
        ({"minimum": 0, "maximum": 1}, Work(129, 2)),
        ({"enum": [0.5, 1.5]}, Work(133, 2)),
        ({"uniqueItems": True}, Work(9, 0, True)),
        ({"pattern": "a{20}"}, Work(22)),
        ({"items": {"allOf": [{}, {}]}}, Work(4)),
        (
            {"allOf": [{}], "properties": {"a": {}}, "unevaluatedProperties": False},
            Work(7, unevaluated=True),
        ),
    ],
)
def test_the_work_of_a_schema(schema: Any, found: Work) -> None:
    assert work(schema) == found


# --- a value that is too large to be judged -------------------------------------------------------


def test_a_value_beyond_what_is_judged_in_time_does_not_fit() -> None:
    found = Validator({"allOf": [{"type": "string"}] * 1000})
    assert found.largest == MAX_WORK // 1001
    longest = b'"' + b"a" * (found.largest - 2) + b'"'
    assert found.fits(longest)
    assert not found.fits(longest[:-1] + b'a"')


def test_a_usual_schema_takes_a_whole_record() -> None:
    items = {
        "type": "object",
        "properties": {f"name{i}": {"type": ["string", "null"]} for i in range(40)},
        "required": ["name1"],
        "additionalProperties": False,
    }
    found = Validator({"type": "array", "items": items, "uniqueItems": True})
    assert found.largest > 1 << 20
    assert Validator({"type": "string", "pattern": r"\S"}).largest > 1 << 20
    # The longest text that it takes has three bytes a character, or six where they are escaped.
    assert Validator({"pattern": "^.{1,2000}$"}).largest > 6 * 2000


def test_many_numbers_of_odd_size_do_not_fit_where_each_is_compared_with_each() -> None:
    found = Validator({"uniqueItems": True})
    large = [2**70 + i for i in range(MAX_ODD_UNIQUE + 1)]
    assert found.fits(raw(large[1:]))
    assert not found.fits(raw(large))
    assert not found.fits(raw([[each] for each in large]))
    assert found.fits(raw([str(each) for each in large]))
    assert found.fits(raw(list(range(10_000))))


def test_many_numbers_of_odd_size_do_not_fit_where_each_is_compared() -> None:
    found = Validator({"items": {"minimum": 0.5}})
    assert found.fits(raw([1.5] * 40_000))
    assert found.fits(raw([1e300] * 30_000))
    assert not found.fits(raw([1e300] * 40_000))


@pytest.mark.parametrize("number", [1e-300, 5e-324, 1e-100, 2.0**-1000])
@pytest.mark.parametrize(
    "around",
    [lambda s: s, lambda s: {"items": s}, lambda s: {"$defs": {"a": s}, "$ref": "#/$defs/a"}],
)
def test_a_tiny_divisor_is_weighed_by_its_places(number: float, around: Any) -> None:
    plain, tiny = Validator(around({"multipleOf": 0.5})), Validator(around({"multipleOf": number}))
    places = -math.log2(number)
    assert MAX_WORK / tiny.largest > MAX_WORK / plain.largest + 0.9 * places
    assert not tiny.fits(b"[" + b"1," * (MAX_WORK // 700) + b"1]"), "a megabyte of them: seconds"
    assert tiny.fits(b"0")


@pytest.mark.parametrize("number", [1, 3.0, 0.5, 1e300, 10**300, 1e308])
def test_a_divisor_of_few_places_takes_values_of_a_whole_record(number: float) -> None:
    assert Validator({"items": {"multipleOf": number}}).largest > 1 << 20


@pytest.mark.parametrize("value", [b'"\\ud800"', b"1e999", b"[" * 50_000 + b"]" * 50_000, b""])
def test_what_python_cannot_read_fits_no_schema(value: bytes) -> None:
    assert not Validator({}).fits(value)
