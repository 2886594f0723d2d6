"""What holds of every text, and of every expression over every context."""

import json
import math
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas.cel.expression import EvaluationError, ExpressionError, compile_expression
from tests.properties import examples

many = settings(examples, max_examples=400)
NAMES = ("a", "b", "c")
WORDS = [
    *["context", "context.a", "has", "size", "startsWith", "in", "true", "null", "if", "x", "u"],
    *["==", "!=", "<", ">=", "&&", "||", "!", "+", "-", "*", "/", "%", "?", ":", ".", ","],
    *["(", ")", "[", "]", "{", "}", "0", "1", "0x", ".5", "1e", "9223372036854775808"],
    *['"', "'", '"""', "r'", "b'", "\\", "\\u00", "\\777", " ", "\n", "//", "é", "\ud800", "\0"],
]

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([0, 1, -1, 2**63 - 1, -(2**63), 2**63, 2**53 + 1]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0.0, -0.0, 1.0, 2.0**53, 2.0**63]),
    st.text(max_size=3),
    st.sampled_from(["", "a", "b"]),
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3)
    ),
    max_leaves=8,
)
raw = values.map(lambda value: json.dumps(value).encode())
contexts = st.fixed_dictionaries({"a": raw, "b": raw, "c": raw}) | st.fixed_dictionaries(
    {"a": raw}, optional={"b": raw, "c": raw}
)
# Expressions by what they may give. A member of the context may be anything, so each has it.
READS = ["context.a", "context.b", 'context["c"]', "context.a.b", "context.b[0]", "context.c['a']"]


def joined(*parts: str | st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    each = [st.just(part) if isinstance(part, str) else part for part in parts]
    return st.tuples(*each).map("".join)


def either(*words: str) -> st.SearchStrategy[str]:
    return st.sampled_from(words)


def grow(leaves: st.SearchStrategy[str], *larger: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return leaves | leaves | st.one_of(*larger)


ints: st.SearchStrategy[str] = st.deferred(
    lambda: grow(
        either(*READS, "0", "1", "-2", "0x10", "9223372036854775807", "-9223372036854775808"),
        joined("(", ints, either("+", "-", "*", "/", "%"), ints, ")"),
        joined(either("-(", "--("), ints, ")"),
        joined("size(", texts | lists, ")"),
        joined("(", booleans, "?", ints, ":", ints, ")"),
    )
)
doubles: st.SearchStrategy[str] = st.deferred(
    lambda: grow(
        either(*READS, "0.0", "-1.5", "1e3", "1e308"),
        joined("(", doubles, either("+", "-", "*", "/"), doubles, ")"),
        joined("-(", doubles, ")"),
    )
)
texts: st.SearchStrategy[str] = st.deferred(
    lambda: grow(either(*READS, "''", "'a'", "r'b'", "'é'"), joined("(", texts, "+", texts, ")"))
)
lists: st.SearchStrategy[str] = st.deferred(
    lambda: grow(
        either(*READS, "[]", "[1, 'a', null]"),
        joined("[", anything, ", ", anything, "]"),
        joined("(", lists, "+", lists, ")"),
    )
)
anything: st.SearchStrategy[str] = st.deferred(
    lambda: st.one_of(
        either(*READS, "null"),
        ints,
        doubles,
        texts,
        lists,
        booleans,
        joined("(", lists, ")[", ints, "]"),
        joined("(", either(*READS), ")[", texts, "]"),
        joined("(", either(*READS), ").a"),
    )
)
booleans: st.SearchStrategy[str] = st.deferred(
    lambda: grow(
        either(*READS, "true", "false", "has(context.a)", '("b" in context)', "has(context.c.a)"),
        joined("(", anything, either("==", "!="), anything, ")"),
        joined("(", ints | doubles, either("<", "<=", ">", ">="), ints | doubles, ")"),
        joined("(", texts, either("<", "<=", ">", ">="), texts, ")"),
        joined("(", anything, " in ", lists, ")"),
        joined("(", booleans, either("&&", "||"), booleans, ")"),
        joined(either("!", "!!"), "(", booleans, ")"),
        joined("(", booleans, "?", booleans, ":", booleans, ")"),
        joined("(", texts, ").", either("startsWith", "endsWith", "contains"), "(", texts, ")"),
    )
)


def outcome(text: str, context: dict[str, bytes]) -> Any:
    """What an expression gives, as something to compare: true, false or the kind of its error."""
    try:
        return compile_expression(text).evaluate(context)
    except EvaluationError as error:
        return error.kind


@given(st.text() | st.lists(st.sampled_from(WORDS), max_size=12).map("".join))
@example("\ud800")
@example("'\ud800'")
@example("1" * 4096)
@example("1" * 4000 + ".5e" + "9" * 90)
@example("(" * 4096)
@many
def test_a_text_is_compiled_or_refused(text: str) -> None:
    refused: ExpressionError | None = None
    try:
        assert compile_expression(text).text == text
    except ExpressionError as error:
        refused = error
    if refused is not None:
        assert 0 <= refused.position <= len(text)
        assert str(refused).endswith("^")
        assert refused.message
        assert refused.suggestion


@given(booleans, contexts)
@examples
def test_an_expression_has_one_outcome(text: str, context: dict[str, bytes]) -> None:
    first = outcome(text, context)
    assert first in (True, False) or isinstance(first, str)
    assert outcome(text, context) == first
    # Only what it says it reads can matter.
    reads = compile_expression(text).reads
    assert reads <= {*NAMES}
    kept = {name: raw for name, raw in context.items() if name in reads}
    assert outcome(text, kept) == first


@given(booleans, booleans, st.sampled_from(["&&", "||"]), contexts)
@examples
def test_logic_does_not_care_for_the_side(
    a: str, b: str, operator: str, context: dict[str, bytes]
) -> None:
    there = outcome(f"{a} {operator} {b}", context)
    back = outcome(f"{b} {operator} {a}", context)
    if isinstance(there, bool):
        assert back is there
    else:  # which of two errors is told, CEL leaves open
        assert isinstance(back, str)


@examples
@given(st.lists(booleans, min_size=2, max_size=4), contexts)
def test_logic_decides_by_any_operand(operands: list[str], context: dict[str, bytes]) -> None:
    alone = [outcome(text, context) for text in operands]
    every = outcome(" && ".join(operands), context)
    some = outcome(" || ".join(operands), context)
    assert (every is False) == (False in alone)
    assert (some is True) == (True in alone)
    assert (every is True) == all(each is True for each in alone)
    assert (some is False) == all(each is False for each in alone)


def canonical(value: Any) -> Any:
    """A value so that Python's equality of the result is CEL's: an independent definition."""
    match value:
        case bool() | None | str():
            return (type(value).__name__, value)
        case int() if not -(2**63) <= value < 2**63:
            return ("number", float(value))
        case int() | float():
            return ("number", value)
        case list():
            return ("list", [canonical(item) for item in value])
        case dict():
            return ("map", {key: canonical(item) for key, item in value.items()})
    raise TypeError(type(value))


@given(values, values)
@many
@example([1, [True]], [1.0, [1]])
@example({"a": 2**63}, {"a": 2.0**63})
@example({"a": 0, "b": False}, {"b": 0, "a": False})
def test_equality(a: Any, b: Any) -> None:
    context = {"a": json.dumps(a).encode(), "b": json.dumps(b).encode()}
    equal = canonical(a) == canonical(b)
    assert compile_expression("context.a == context.b").evaluate(context) is equal
    assert compile_expression("context.b == context.a").evaluate(context) is equal
    assert compile_expression("context.a != context.b").evaluate(context) is not equal
    assert compile_expression("context.a == context.a").evaluate(context) is True
    assert compile_expression("context.a in ['x', context.b, 7]").evaluate(context) is (
        equal or canonical(a) in (canonical("x"), canonical(7))
    )


numbers = st.integers(-(2**63), 2**63 - 1) | st.integers(-20, 20)


@given(numbers, numbers)
@many
@example(-(2**63), -1)
@example(-7, 2)
def test_integer_arithmetic(a: int, b: int) -> None:
    context = {"a": str(a).encode(), "b": str(b).encode()}
    expected = {"+": a + b, "-": a - b, "*": a * b}
    if b:
        expected["/"] = (abs(a) // abs(b)) * (1 if (a < 0) == (b < 0) else -1)
        expected["%"] = a - b * expected["/"]
    for operator in "+-*/%":
        text = f"context.a {operator} context.b == {expected.get(operator, 0)}"
        if operator in "/%" and not b:
            assert outcome(text, context) == "divide_by_zero"
        elif operator == "%" and (a, b) == (-(2**63), -1):
            assert outcome(text, context) == "overflow"
        elif -(2**63) <= expected[operator] < 2**63:
            assert outcome(text, context) is True
        else:
            text = f"context.a {operator} context.b == 0"
            assert outcome(text, context) == "overflow"


@many
@given(numbers, st.floats(allow_nan=False, allow_infinity=False))
@example(2**53 + 1, 2.0**53)
@example(2**63 - 1, 2.0**63)
def test_numbers_compare_exactly(a: int, b: float) -> None:
    context = {"a": str(a).encode(), "b": repr(b).encode()}
    floor = math.floor(b)
    smaller = a < floor or (a == floor and b > floor)
    assert outcome("context.a < context.b", context) is smaller
    assert outcome("context.b > context.a", context) is smaller
    assert outcome("context.a == context.b", context) is (a == floor and b == floor)
    assert outcome("context.a >= context.b", context) is not smaller


@many
@given(st.text(), st.text())
@pytest.mark.parametrize("operator", ["<", "<=", ">", ">="])
def test_text_is_ordered_by_code_points(operator: str, a: str, b: str) -> None:
    context = {"a": json.dumps(a).encode(), "b": json.dumps(b).encode()}
    points = [ord(char) for char in a], [ord(char) for char in b]
    expected = {
        "<": points[0] < points[1],
        "<=": points[0] <= points[1],
        ">": points[0] > points[1],
        ">=": points[0] >= points[1],
    }[operator]
    assert outcome(f"context.a {operator} context.b", context) is expected
    assert outcome(f"size(context.a) == {len(points[0])}", context) is True
