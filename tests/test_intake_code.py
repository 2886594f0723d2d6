"""Nothing that a document says stands in the code that is written for it."""

import json
import re
from typing import Any

import pytest

from processors.intake.compiled import CompiledSource, compile_source
from processors.intake.mapping import map_record
from schemas import sources
from tests.intake import NOW, SHARED, event, record

HOSTILE = '"""\'\\\n;import os#k1(f2)'


def compiled(**members: Any) -> CompiledSource:
    """A source as it is registered: nobody has linted it."""
    owner = {"name": "Ana Silva", "contact": "ana@example.com"}
    usual = {"kind": "Source", "id": "desk", "owner": owner, "topic": "t", "decode": "json"}
    return compile_source(sources.parse({**usual, "defaults": SHARED, **members}))


def path_to(word: str) -> str:
    quoted = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'value."{quoted}"'


def members(word: str) -> dict[str, Any]:
    """A source of every verb and kind of entry, with a word wherever a document has its own."""
    path, hole = path_to(word), f"{word}{{{path_to(word)}}}{word}"
    lookup = {"lookup": word, "by": path, "else": {"value": word}}
    made = {"from": path, "json": True, "split": word, "text": f"{word}{{it}}", "slug": True}
    return {
        "let": {word: {"first": [path, made, {"lookup": word, "by": path}]}},
        "defaults": {**SHARED, "tool": {"value": word}, "team": lookup, "run": hole},
        "emit": [
            {
                "when": "value == " + json.dumps(word),
                "stage": made,
                "accepts": "key == " + json.dumps(word),
                "context": {"*": "value", "without": [word], word: path, "t": {"text": hole}},
                "retracted": [word],
                "handoff": [{"to": {"value": word}, "note": hole}, {"to": lookup, "part": path}],
                "continues": {"tasks": path, "workflow": word},
            },
            {"each": path, "stage": path, "id": "it.id", "context": {"a": f"{path}[0]"}},
            {"ack": {"status": path, "by": {"value": word}, "reason": hole, "receiver": path}},
            {"alert": {"key": path, "action": "ack", "by": {"value": word}}},
        ],
        "lookups": {word: {word: word}},
    }


def code_of(source: CompiledSource) -> dict[str, tuple[Any, ...]]:
    names = source.entries[0].make.__globals__
    codes = {name: made.__code__ for name, made in names.items() if re.fullmatch(r"f\d+", name)}
    return {
        name: (code.co_code, code.co_consts, code.co_names, code.co_varnames)
        for name, code in codes.items()
    }


def test_documents_of_one_structure_have_one_code() -> None:
    found = code_of(compiled(**members(HOSTILE)))
    assert len(found) > 10
    assert found == code_of(compiled(**members("x")))


@pytest.mark.parametrize("word", [HOSTILE, "k1", "f2", "value", "scope", "None", "__builtins__"])
def test_a_word_of_a_document_is_a_value_wherever_it_stands(word: str) -> None:
    source = compiled(
        emit=[
            {
                "stage": {"lookup": "t", "by": path_to(word)},
                "context": {word: {"value": word}, "text": f"{word}{{{path_to(word)}}}{{{{"},
            }
        ],
        lookups={"t": {word: word}},
    )
    (output,) = map_record(source, record(event(**{word: word})), NOW).records
    found = json.loads(output.value or b"")
    assert found["stage"] == word
    assert found["context"] == {word: word, "text": f"{word}{word}{{"}


def test_a_path_may_be_longer_than_any_value_nests() -> None:
    context = {"deep": "value" + ".a" * 5_000, "a": "value.a"}
    source = compiled(emit=[{"stage": {"value": "s"}, "context": context}])
    (made,) = map_record(source, record(event(a={"a": 1})), NOW).records
    assert json.loads(made.value or b"")["context"] == {"a": {"a": 1}}
