"""What the expressions of a contract go through is bounded, whatever a context holds."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from processors.driver import Driver
from processors.integrity.processor import INTEGRITY
from processors.integrity.state import Task
from schemas.cel import values
from schemas.cel.expression import EvaluationError, Members, compile_expression
from schemas.cel.values import MAX_STEPS
from tests.core import Inputs, tables

MIB = 1 << 20
TEXT = b'"' + b"a" * (MIB - 2) + b'"'
LIST = b"[" + b"1," * (MIB // 2 - 2) + b"10]"


def evaluated(text: str, context: dict[str, bytes]) -> Callable[[], bool]:
    """One expression over one context, again and again."""
    expression, members = compile_expression(text), Members(context)
    return lambda: expression.evaluate(members)


@pytest.mark.parametrize(
    ("text", "context", "times"),
    [
        ("context.t.contains('b')", {"t": TEXT}, MAX_STEPS // MIB),
        ("context.t < context.u", {"t": TEXT, "u": TEXT}, MAX_STEPS // (2 * MIB)),
        ("size(context.t + 'b') > 1", {"t": TEXT}, MAX_STEPS // MIB),
        ("2 in context.l", {"l": LIST}, MAX_STEPS // (16 * MIB)),
        ("context.l == context.m", {"l": LIST, "m": LIST}, MAX_STEPS // (32 * MIB)),
        ("context.l == [context.n, context.n]", {"l": LIST, "n": b"1"}, MAX_STEPS // (16 * MIB)),
    ],
)
def test_an_operator_goes_through_a_context_only_so_often(
    text: str, context: dict[str, bytes], times: int
) -> None:
    again = evaluated(text, context)
    for _ in range(times - 4):  # to read it counts once, too
        again()
    errors = []
    for _ in range(6):
        try:
            again()
        except EvaluationError as error:
            errors.append(error)
    assert 0 < len(errors) < 6
    assert {error.kind for error in errors} == {"too_large"}
    assert "a" * 10 not in str(errors[0])


@pytest.mark.parametrize(
    "text",
    [
        "context.t == 'hot'",
        "'hot' != context.t",
        "context.t in ['hot', 'warm']",
        "context.n >= 80 && context.n - 1 < 90 || has(context.t)",
        "size(context.t) > 3 && size(context.l) > 3",
        "context.t.startsWith('b') || context.t.endsWith('b')",
        "context.l[0] > 1",
    ],
)
def test_what_looks_at_no_more_than_a_literal_costs_nothing_but_to_read_it_once(text: str) -> None:
    expression, members = compile_expression(text), Members({"t": TEXT, "l": LIST, "n": b"80"})
    expression.evaluate(members)
    reading = {"t": MIB, "l": 16 * len(LIST), "n": 2}
    assert members.left == MAX_STEPS - sum(reading[name] for name in members)
    left = members.left
    expression.evaluate(members)
    assert members.left == left


DIGITS = b"9" * 400  # beyond a double
UNREADABLE = {
    "too deep": b"[" + b"[1]," * 1000 + b"[" * 101 + b"]" * 101 + b"]",
    "a number beyond a double": b"[" + b"1," * 1000 + DIGITS + b"]",
    "one alone": DIGITS,
    "spelled with an exponent": b'{"a": 1e999}',
    "half a character": b'"' + b"a" * 1000 + b'\\ud800"',
    "half of one in a map": b'{"a": ["x", "\\udc00"]}',
    "no UTF-8": b'"\xff"',
}


@pytest.mark.parametrize("raw", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_what_cannot_be_read_is_tried_once_for_all_rules(
    monkeypatch: pytest.MonkeyPatch, raw: bytes
) -> None:
    tried = []

    def decode(given: bytes) -> Any:
        tried.append(given)
        return msgspec.json.decode(given)

    monkeypatch.setattr(values, "_decode", decode)
    members = Members({"a": raw})
    for text in ("context.a == 1 || context.a == 2", "size(context.a) > 1", "1 in context.a"):
        for _ in range(3):
            with pytest.raises(EvaluationError) as error:
                compile_expression(text).evaluate(members)
            assert error.value.kind == "unreadable"
            assert error.value.__cause__ is None
    assert tried == [raw]
    assert members.left <= MAX_STEPS - len(raw), "and it counts"


def test_a_context_larger_than_may_be_read_is_not_read() -> None:
    members = Members({f"m{i}": LIST for i in range(20)})
    with pytest.raises(EvaluationError) as error:
        compile_expression(" || ".join(f"context.m{i} == 1" for i in range(20))).evaluate(members)
    assert error.value.kind == "too_large"
    assert len(members) < 17


@pytest.mark.parametrize(
    ("text", "context"),
    [
        ("[[[[[[1]]]]]] in context.l", {"l": b"[[[[[[true]]]]]]"}),
        ("[1] in context.l", {"l": b"[true]"}),
        ("context.x in context.l", {"l": b'{"a":[true,0]}', "x": b'{"a":[1,false]}'}),
        ("[context.l] == [context.m]", {"l": b"[1, 0]", "m": b"[1.0, 0.0]"}),
    ],
)
def test_where_true_could_be_taken_for_1_each_list_and_map_counts(
    text: str, context: dict[str, bytes]
) -> None:
    many = {
        name: raw if name == "x" else b"[" + b",".join([raw] * 20_000) + b"]"
        for name, raw in context.items()
    }
    members = Members(many)
    compile_expression(text).evaluate(members)
    read = 16 * sum(map(len, many.values()))
    assert MAX_STEPS - members.left > read + 19_000 * 256


def test_many_terms_of_one_expression_count_together() -> None:
    again = evaluated(" || ".join(["context.a in context.l"] * 100), {"a": b"2", "l": LIST})
    with pytest.raises(EvaluationError):
        again()


def test_the_rules_of_a_contract_count_together_and_the_handoff_is_judged() -> None:
    rules = [
        {"name": f"r{i}", "expr": "context.a in context.list", "message": "must be there"}
        for i in range(40)
    ]
    driver: Driver[Task] = Driver(INTEGRITY, tables({"contracts": [{"rules": rules}]}))
    driver.assign(0, {})
    context: dict[str, Any] = {"a": -1, "list": list(range(100_000))}
    record, now = Inputs().record({"context": context, "handoff": "marketing"}, [])
    found = driver.step(record, now)
    topics = [each.topic for each in found]
    assert "handoff.packages" in topics
    assert "handoff.dead-letters" not in topics
    reasons = [
        json.loads(each.value or b"")["reason"]
        for each in found
        if each.topic == "handoff.violations"
    ]
    assert len(reasons) == 40
    assert reasons[0] is None, "the first ones are evaluated"
    assert reasons[-1] == "too_large"
