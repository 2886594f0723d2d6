"""docs/expressions.md says what the code does: its examples are tried, its lists compared."""

import re
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from schemas.cel.errors import ErrorKind
from schemas.cel.expression import EvaluationError, ExpressionError, compile_expression
from schemas.cel.operators import MAX_CONCATENATION
from schemas.cel.syntax import FUNCTIONS, MAX_DEPTH
from schemas.cel.tokens import MAX_LENGTH
from schemas.cel.values import MAX_VALUE_DEPTH
from schemas.documents import HandoffContract
from schemas.loading import DocumentErrors, load

PAGE = (Path(__file__).resolve().parents[1] / "docs/expressions.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
CONTRACT = """\
kind: HandoffContract
id: lead
version: 1
owner: {name: Ilse Kramer, contact: ilse@example.com}
action: Start.
workflow: inbound-lead
from: {stage: qualify}
to: {receiver: marketing}
"""


def section(title: str) -> str:
    return PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]


EXAMPLES = re.findall(r"^\| `(.+)` \| `?(\w+)`? \|$", section("Examples"), re.MULTILINE)


@pytest.mark.parametrize(("text", "result"), EXAMPLES)
def test_examples(text: str, result: str) -> None:
    (body,) = [body for language, body in BLOCKS if language == "json"]
    context = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    if result == "refused":
        with pytest.raises(ExpressionError):
            compile_expression(text)
    elif result in ("true", "false"):
        assert compile_expression(text).evaluate(
            {name: bytes(raw) for name, raw in context.items()}
        ) is (result == "true")
    else:
        with pytest.raises(EvaluationError) as caught:
            compile_expression(text).evaluate({name: bytes(raw) for name, raw in context.items()})
        assert caught.value.kind == result


def test_there_are_examples_of_everything() -> None:
    assert len(EXAMPLES) == len(re.findall(r"^\| ", section("Examples"), re.MULTILINE)) - 1
    assert {*get_args(ErrorKind)} - {result for _, result in EXAMPLES} == {
        "too_large",
        "unreadable",
    }


def test_lists_and_limits() -> None:
    kinds = re.findall(r"^\| `(\w+)` \|", section("Errors"), re.MULTILINE)
    assert kinds == [*get_args(ErrorKind)]
    functions = re.findall(r"(\w+)\(", section("Functions").partition("|---")[2])
    assert {*functions} == {*FUNCTIONS}
    for number in (MAX_LENGTH, MAX_DEPTH, MAX_CONCATENATION, MAX_VALUE_DEPTH):
        assert f"{number:,}" in section("Errors")


def test_the_contract_of_the_page(tmp_path: Path) -> None:
    file = tmp_path / "lead.yaml"
    (body,) = [body for _, body in BLOCKS if body.startswith("when: ")]
    file.write_text(CONTRACT + body)
    (contract,) = load([file]).contracts
    assert isinstance(contract, HandoffContract)
    assert contract.when == "context.score >= 80 && context.intent == 'hot'"
    assert compile_expression(contract.rules[0].expr).reads == {"objections", "score"}


def test_the_refusal_of_the_page(tmp_path: Path) -> None:
    (told,) = [body for _, body in BLOCKS if "contracts lint" in body]
    expected = told.split("\n", 1)[1].rsplit("\n", 2)[0]
    file = tmp_path / "lead.yaml"
    rule = 'size(context.objections) > 0 || context.name.matches("x")'
    file.write_text(
        CONTRACT + f"description: x\nrules:\n  - name: a\n    expr: {rule}\n    message: m\n"
    )
    with pytest.raises(DocumentErrors) as caught:
        load([file])
    assert str(caught.value).replace(str(file), "lead.yaml") == expected


@pytest.mark.parametrize("place", ["when: {}", "rules: [{{name: a, message: m, expr: {}}}]"])
@pytest.mark.parametrize("text", ["''", "context.a = 1", "context.a + 1"])
def test_a_document_refuses_a_wrong_expression(place: str, text: str, tmp_path: Path) -> None:
    file = tmp_path / "lead.yaml"
    file.write_text(CONTRACT + place.format(text))
    with pytest.raises(DocumentErrors) as caught:
        load([file])
    (problem,) = caught.value.problems
    assert problem.path == ("when" if place.startswith("when") else "rules[0].expr")
    assert problem.line == 9
    assert problem.suggestion.endswith("^")
