"""Lint of sources: each problem with its line and what to do."""

from pathlib import Path

import pytest

from schemas.lint_sources import lint_sources
from schemas.loading import DocumentErrors, load
from tests.intake import EXAMPLES

HEAD = """\
kind: Source
id: desk
owner: {name: Ana Silva, contact: ana@example.com}
topic: desk.events
decode: json
"""
HEAD += (
    "defaults: {task: value.id, workflow: {value: ticket}, tool: {value: desk}, "
    "occurred_at: value.at, id: value.e}\n"
)
EMIT = "emit: [{stage: {value: a}}]\n"


def told(text: str, tmp_path: Path) -> list[str]:
    path = tmp_path / "s.yaml"
    path.write_text(text, encoding="utf-8")
    try:
        problems = lint_sources(load([path]))
    except DocumentErrors as error:
        problems = error.problems
    return [str(problem).replace(str(path), "s.yaml") for problem in problems]


def test_a_source_without_a_fault(tmp_path: Path) -> None:
    assert told(HEAD + EMIT, tmp_path) == []


def test_the_examples_are_without_a_fault() -> None:
    assert lint_sources(load([EXAMPLES])) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            HEAD + "emit:\n  - stage: valeu.queue\n",
            "s.yaml:8: emit[0].stage: 'valeu' is neither a root nor a name of 'let'; "
            "did you mean 'value'?",
        ),
        (
            HEAD + "emit:\n  - stage: triage\n",
            "s.yaml:8: emit[0].stage: 'triage' is neither a root nor a name of 'let'; begin with "
            "one of: value, key, headers, record; for a fixed text write {value: triage}",
        ),
        (
            HEAD + EMIT + "let: {e: value.event}\nwhen: ev.type == 'x' && e.a == 1\n",
            "s.yaml:9: when: no such name 'ev'; did you mean 'e'?\n  ev.type == 'x' && e.a == 1\n"
            "  ^",
        ),
        (
            HEAD + "emit:\n  - when: value.a = 1\n    stage: {value: a}\n",
            "s.yaml:8: emit[0].when: '=' means nothing here; compare with '=='\n"
            "  value.a = 1\n          ^",
        ),
        (
            HEAD.replace("value.id", "{value.id}") + EMIT,
            "s.yaml:6: defaults.task.value.id: braces without quotes are a mapping in YAML, and no "
            'template; write "{value.id}" in quotes for a text, or value.id alone for the value',
        ),
        (
            HEAD + "emit: [{when: value.a ? true : false, stage: T-{key.id}}]\n",
            "s.yaml:7: is not valid YAML: expected ',' or '}', but got ':'; within braces and "
            "brackets put text in quotes that holds a brace, a bracket, a comma, '? ' or ' : '",
        ),
        (
            HEAD + 'emit:\n  - stage: "{value.a"\n',
            "s.yaml:8: emit[0].stage: this brace is not closed; close it, or write {{ for the "
            "character itself\n  {value.a\n  ^",
        ),
        (
            HEAD + "emit:\n  - stage: value.a..b\n",
            "s.yaml:8: emit[0].stage: a name is missing here; write the names with one dot between "
            "them, or a name with dots in quotes\n  value.a..b\n          ^",
        ),
        (
            HEAD.replace(", occurred_at: value.at", "") + EMIT,
            "s.yaml:7: emit[0].occurred_at: is missing; add it here, or under defaults: a path "
            "such as value.created_at, or record.timestamp",
        ),
        (
            HEAD + "emit:\n  - context: {a: value.a}\n",
            "s.yaml:8: emit[0]: the entry has neither a stage nor an ack; say at which stage the "
            "tool works: stage: {value: ...}, a path, a look-up, or {current: true} where the "
            "record does not tell",
        ),
        (
            HEAD + "emit:\n  - stage: it.a\n",
            "s.yaml:8: emit[0].stage: 'it' is an element of 'each', and there is none here; add "
            "'each' to the entry, or take another root",
        ),
        (
            HEAD + "emit:\n  - stage: {value: a}\n    continues: {tasks: value.b}\n",
            "s.yaml:9: warning: emit[0].continues: no workflow is named, so these are tasks of the "
            "same one; a ticket and an issue are in two: say workflow: ...",
        ),
        (
            HEAD + "emit:\n  - stage: {lookup: stage, by: value.a, else: skip}\n"
            "lookups: {stages: {a: b}}\n",
            "s.yaml:8: emit[0].stage.lookup: there is no look-up 'stage'; did you mean 'stages'?",
        ),
        (
            HEAD + "emit:\n  - stage: {lookup: s, by: value.a}\nlookups: {s: {a: b}}\n",
            "s.yaml:8: hint: emit[0].stage: a record whose key this look-up lacks becomes a dead "
            "letter; say it (else: dead_letter), or leave it out (else: skip), or give a value "
            "(else: {value: ...})",
        ),
        (
            HEAD + EMIT + "lookups: {s: {a: b}}\nlet: {e: value.e}\n",
            "s.yaml:9: warning: let.e: nothing reads this name; remove it",
        ),
        (
            HEAD + EMIT + "let: {a: b.x, b: value.b}\n",
            "s.yaml:8: let.a: 'b' is bound further down; move it behind the names that it reads",
        ),
        (
            HEAD + EMIT + "let: {key: value.b}\n",
            "s.yaml:8: let.key: 'key' is a root, which is there already; take another name",
        ),
        (
            HEAD.replace("desk.events", "handoff.acks") + EMIT,
            "s.yaml:4: topic: 'handoff.acks' is a topic of the processors, or of a receiver; name "
            "a topic that other tools write; ours are read already",
        ),
        (
            HEAD.replace("desk.events", "[a, b, a]") + EMIT,
            "s.yaml:4: topic: 'a' stands here twice; name it once",
        ),
        (
            HEAD + EMIT + "---\n" + HEAD + EMIT,
            "s.yaml:10: id: source desk is declared twice, first at s.yaml:2; remove one of them",
        ),
        (
            HEAD.replace("json", "jsno") + EMIT,
            "s.yaml:5: decode: unknown value 'jsno'; did you mean 'json'?",
        ),
        (
            HEAD.replace("decode: json", "decode: {json: {}, debezium: {}}") + EMIT,
            "s.yaml:5: decode: names not exactly one decoder; write one of: json, cloudevents, "
            "debezium, otel-genai, agents-sdk, openai-chat",
        ),
        (
            HEAD + EMIT + "start: yesterday\n",
            "s.yaml:8: start: is neither earliest nor latest nor a time; write a time such as "
            "2026-03-01T09:00:00Z",
        ),
        (
            HEAD + EMIT + "start: 2026-03-01T09:00:00\n",
            "s.yaml:8: start: is a time without an offset; add Z for UTC, or one such as +02:00",
        ),
        (
            HEAD + EMIT + "start: 0001-01-01T00:00:00+14:00\n",
            "s.yaml:8: start: lies outside of the years 1 to 9999; give a later one, or earliest",
        ),
        (
            HEAD.replace("json", "{otel-genai: {qiet: PT1S}}").partition("defaults")[0],
            "s.yaml:5: decode.otel-genai.qiet: unknown key; did you mean 'quiet'?",
        ),
        (
            HEAD.replace("json", "{agents-sdk: {quiet: PT2H}}").partition("defaults")[0],
            "s.yaml:5: decode.agents-sdk.quiet: is not between a second and an hour; write a "
            "duration such as PT30S",
        ),
        (HEAD, "s.yaml:1: emit: is missing; say what a record means: one entry at least"),
        (
            HEAD + "emit:\n  - ack: {status: done, by: value.who}\n",
            "s.yaml:8: emit[0].ack.status: unknown status 'done'; known here: accepted, completed, "
            "rejected",
        ),
        (
            HEAD + "emit:\n  - ack: {status: accepted, by: value.w}\n    context: {a: value.a}\n",
            "s.yaml:8: emit[0].ack: the entry is an ack, which has no context; write a second "
            "entry with the same 'when' for the output",
        ),
        (
            HEAD + "emit:\n  - alert: {key: value.k, action: close, by: value.w}\n",
            "s.yaml:8: emit[0].alert.action: unknown action 'close'; known here: ack, resolve, "
            "silence",
        ),
        (
            HEAD + "emit:\n  - alert: {key: value.k, action: ack}\n",
            "s.yaml:8: emit[0].alert.by: is missing; add it",
        ),
        (
            HEAD + "emit:\n  - alert: {key: value.k, action: ack, by: value.w}\n    "
            "ack: {status: accepted, by: value.w}\n",
            "s.yaml:8: emit[0].alert: the entry is an alert action, which has no ack; write a "
            "second entry with the same 'when' for the output",
        ),
        (
            HEAD + "emit:\n  - stage: value.team\n    handoff: {to: value.team}\n",
            "s.yaml:9: warning: emit[0].handoff.to: the stage that hands off is made of the same "
            "as the receiver: many tools show the state after a change, and then the receiver "
            "becomes the sender; take the stage before the change, or say stage: {current: true}",
        ),
        (
            HEAD + "emit:\n  - stage: {from: value.a, slgu: true}\n",
            "s.yaml:8: emit[0].stage.slgu: unknown key; did you mean 'slug'?",
        ),
        (
            HEAD + "emit:\n  - stage: {foo: 1}\n",
            "s.yaml:8: emit[0].stage: does not say where the value comes from; write a path, or a "
            "mapping with one of: value, from, text, first, lookup",
        ),
        (
            HEAD + "emit:\n  - stage: {value: a}\n    context: {a: record.time}\n",
            "s.yaml:9: emit[0].context.a: a record has no 'time'; did you mean 'timestamp'?",
        ),
        (
            HEAD.replace(", id: value.e", "") + EMIT,
            "s.yaml:7: hint: emit[0].id: the event has no id of its own, so a record that is sent "
            "twice counts twice; take the id that the tool gives to the event, if there is one",
        ),
        (
            HEAD.replace("Ana Silva", "UNKNOWN") + EMIT,
            "s.yaml:3: warning: owner: the owner is not filled in; name the person who is told "
            "when it fails",
        ),
    ],
)
def test_a_problem_is_told_with_its_line(text: str, expected: str, tmp_path: Path) -> None:
    assert expected in told(text, tmp_path)


def test_names_that_nobody_registered_are_a_hint(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(
        (EXAMPLES / "debezium-tickets" / "contracts.yaml").read_text(encoding="utf-8")
    )
    text = HEAD + "emit:\n  - stage: {value: frontdesk}\n    handoff: {to: {value: retruns-team}}\n"
    (tmp_path / "s.yaml").write_text(text, encoding="utf-8")
    assert [(p.level, p.message, p.suggestion) for p in lint_sources(load([tmp_path]))] == [
        ("hint", "no contract names the stage 'frontdesk'", "did you mean 'front-desk'?"),
        (
            "hint",
            "no receiver is registered here as 'retruns-team'",
            "did you mean 'returns-team'?",
        ),
    ]
