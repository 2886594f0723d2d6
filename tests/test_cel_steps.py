"""What the expressions of a contract go through is bounded, whatever a context holds."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from processors.driver import Driver
from processors.integrity.processor import INTEGRITY
from processors.integrity.state import Task
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
    for _ in range(times - 2):
        again()
    errors = []
    for _ in range(4):
        try:
            again()
        except EvaluationError as error:
            errors.append(error)
    assert 0 < len(errors) < 4
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
def test_what_looks_at_no_more_than_a_literal_costs_nothing(text: str) -> None:
    expression, members = compile_expression(text), Members({"t": TEXT, "l": LIST, "n": b"80"})
    expression.evaluate(members)
    assert members.left == MAX_STEPS


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
