"""Questions about raw JSON values, one table a question."""

import json
import math
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.contracts import values
from schemas.paths import Where

HUGE = b"9" * 5000
DEEP = b"[" * 500 + b"]" * 500

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
).filter(lambda value: b"\\ud" not in json.dumps(value).encode())
small = settings(max_examples=100, deadline=None, derandomize=True)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (b'"1"', "string"),
        (b"1", "integer"),
        (b"-0", "integer"),
        (b"1.0", "integer"),
        (b"1.50", "number"),
        (b"1e3", "integer"),
        (b"1500E-2", "integer"),
        (b"1501e-2", "number"),
        (b"0.0e-5", "integer"),
        (b"12345678901234567890123", "integer"),
        (HUGE, "integer"),
        (b"1e400", "integer"),
        (b"1e-400", "number"),
        (b"1e99999999999999999999", "number"),
        (b"true", "boolean"),
        (b"false", "boolean"),
        (b"null", "null"),
        (b"[]", "array"),
        (b"{}", "object"),
    ],
)
def test_kind(value: bytes, kind: str) -> None:
    assert values.kind(value) == kind


@small
@given(json_values)
def test_kind_is_that_of_json_schema(value: Any) -> None:
    raw = json.dumps(value).encode()
    for name in values.JSON_TYPES:
        says = jsonschema_rs.is_valid({"type": name}, value)
        found = values.kind(raw)
        assert says == (found == name or (found == "integer" and name == "number"))


@pytest.mark.parametrize(
    ("value", "empty"),
    [
        (b"null", True),
        (b'""', True),
        (b'" \\t\\n"', True),
        (b'"\xc2\xa0"', True),
        (b'"\\u00a0\\u2003"', True),
        (b"[]", True),
        (b"[ \n ]", True),
        (b"{}", True),
        (b"{\t}", True),
        (b"0", False),
        (b"false", False),
        (b'"0"', False),
        (b'" x "', False),
        (b'"\\\\"', False),
        (b'"\\u0000"', False),
        (b"[null]", False),
        (b'{"a":null}', False),
    ],
)
def test_is_empty(value: bytes, empty: bool) -> None:
    assert values.is_empty(value) is empty


@pytest.mark.parametrize(
    ("value", "spelled", "held"),
    [
        (b'"a"', "string", "string"),
        (b'""', "string", ""),
        (b'{"a":1}', "object", "object"),
        (b"{}", "object", ""),
        (b"[0]", "array", "array"),
        (b"[ ]", "array", ""),
        (b"true", "boolean", "boolean"),
        (b"-12", "integer", "integer"),
        (b"1.0", "number", "number"),
        (b"1e3", "number", "number"),
        (b"null", "null", ""),
    ],
)
def test_types_as_they_are_spelled(value: bytes, spelled: str, held: str) -> None:
    assert (values.spelled_type(value), values.held_type(value)) == (spelled, held)


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (b"1", b"1.0", True),
        (b"1e2", b"100", True),
        (b"-0.0", b"0", True),
        (b"0.1", b"0.10", True),
        (b"0.1", b"0.1000000000000000000001", False),
        (b"12345678901234567890", b"12345678901234567891", False),
        (b"1e400", b"10e399", True),
        (b"1e-400", b"1e-401", False),
        (b"1e999999", b"1e999998", False),
        (b"1", b'"1"', False),
        (b"1", b"true", False),
        (b'"a"', b'"\\u0061"', True),
        (b'"\xc3\xa9"', b'"\\u00e9"', True),
        (b'{"a":1,"b":2}', b'{ "b": 2.0, "a": 1 }', True),
        (b'{"a":1}', b'{"a":1,"b":null}', False),
        (b"[1,2]", b"[2,1]", False),
        (b"[1, 2]", b"[1,2]", True),
        (b'["1.5"]', b"[1.5]", False),
        (HUGE, HUGE, True),
        (HUGE, HUGE + b"0", False),
    ],
)
def test_same(a: bytes, b: bytes, same: bool) -> None:
    assert values.same(a, b) is same
    assert values.same(b, a) is same
    assert (values.digest(a) == values.digest(b)) is same


@small
@given(json_values)
def test_a_value_has_one_canonical_form(value: Any) -> None:
    plain = json.dumps(value).encode()
    spaced = json.dumps(value, indent=1, ensure_ascii=False).encode()
    assert values.same(plain, spaced)
    assert values.canonical(values.canonical(plain)) == values.canonical(plain)


@small
@given(json_values, json_values)
def test_different_values_have_different_forms(a: Any, b: Any) -> None:
    same = values.same(json.dumps(a).encode(), json.dumps(b).encode())
    assert same == (_exactly(a) == _exactly(b))


def _exactly(value: Any) -> Any:
    """Python's equality, without its 1 == True."""
    if isinstance(value, dict):
        return {name: _exactly(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_exactly(inner) for inner in value]
    if isinstance(value, float) and math.isinf(value):
        return str(value)
    return (isinstance(value, bool), value)


@pytest.mark.parametrize(
    ("value", "path", "found"),
    [
        (b'{"a":{"b":1}}', "a.b", b"1"),
        (b'{"a":{"b": [ 1 ]}}', "a.b", b"[ 1 ]"),
        (b'{"a":{"b":null}}', "a.b", b"null"),
        (b'{"a":1}', "a.b", None),
        (b'{"a":[{"b":1}]}', "a.b", None),
        (b'{"a":{"b":1}}', "a.c", None),
        (b'{"a.b":1}', "a.b", None),
        (b'"text"', "a", None),
        (b'{"a":1,"a":2}', "a", b"2"),
    ],
)
def test_descend(value: bytes, path: str, found: bytes | None) -> None:
    assert values.descend(value, tuple(path.split("."))) == found


@pytest.mark.parametrize(
    ("new", "old", "lacks"),
    [
        (b'{"a":1}', b'{"a":2}', False),
        (b'{"a":1}', b'{"a":2,"b":3}', True),
        (b'{"a":1,"b":3}', b'{"a":2}', False),
        (b'{"a":1}', b'{"a":2,"b":null}', False),
        (b'{"a":null}', b'{"a":2}', True),
        (b'{"a":{"x":1}}', b'{"a":{"x":2,"y":3}}', True),
        (b'{"a":{"x":1}}', b'{"a":5}', False),
        (b'{"a":5}', b'{"a":{"x":1}}', True),
        (b"{}", b"{}", False),
        (b'{"a":1}', b"5", False),
    ],
)
def test_lacks_member_of(new: bytes, old: bytes, lacks: bool) -> None:
    assert values.lacks_member_of(new, old) is lacks


def test_strings_are_found_wherever_they_stand() -> None:
    value = b'{"a":"x","b":[1,"y",{"c":"z"}],"d":null,"e":"\\u0061"}'
    assert list(values.strings(value, "n")) == [
        ("n.a", "x"),
        ("n.b.1", "y"),
        ("n.b.2.c", "z"),
        ("n.e", "a"),
    ]
    assert list(values.strings(b'"x"', "n")) == [("n", "x")]
    assert list(values.strings(b"5", "n")) == []


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b'"hot"', "hot"),
        (b'"\\u0068ot"', "hot"),
        (b"1", "1"),
        (b"1.0", "1.0"),
        (b"true", "true"),
        (b"null", "null"),
        (b"[1]", None),
        (b"{}", None),
    ],
)
def test_scalar_text(value: bytes, text: str | None) -> None:
    assert values.scalar_text(value) == text


@pytest.mark.parametrize("value", [HUGE, DEEP, b'{"a":' + DEEP + b"}", b"1e99999999999999999999"])
def test_what_python_cannot_read_is_opaque_and_raises_nothing(value: bytes) -> None:
    assert values.kind(value) in values.JSON_TYPES
    assert not values.is_empty(value)
    assert values.same(value, value)
    values.digest(value)
    values.descend(value, ("a", "b"))
    values.lacks_member_of(value, value)
    assert list(values.strings(value, "n")) == []


def test_the_elements_of_a_long_list_are_read_once_for_all_fields(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read: list[bytes] = []
    members = values.members

    def counted(value: bytes) -> object:
        read.append(value)
        return members(value)

    monkeypatch.setattr(values, "members", counted)
    elements = [{"kind": str(n // 2), "n": n} for n in range(100)]
    value = json.dumps(elements).encode()
    for n in range(50):
        found = values.descend(value, (Where("kind", str(n)),))
        assert found is not None
        assert json.loads(found) == elements[2 * n]
    assert values.descend(value, (Where("kind", "none"),)) is None
    assert len(read) == len(elements)
