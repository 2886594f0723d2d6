"""Contract and receiver documents: what they accept, what they refuse, and in which words."""

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.documents import (
    VIOLATION_KINDS,
    AcceptTools,
    Document,
    HandoffContract,
    Person,
    Receiver,
    from_json,
    key,
    parse,
    same_body,
    to_json,
)
from schemas.loading import DocumentErrors, load
from schemas.values import check_path, format_duration, parse_duration
from schemas.yaml_source import Problem

CONTRACT = """\
kind: HandoffContract
id: lead-to-nurture
version: 2
owner: {name: Ilse Kramer, contact: ilse@example.com}
action: Start the nurture track that fits the objections.
workflow: inbound-lead
from: {team: sales, stage: qualify}
to: {receiver: marketing-nurture, stage: nurture}
"""
RECEIVER = """\
kind: Receiver
id: marketing-nurture
team: marketing
owners: [{name: Dana Reyes, contact: dana@example.com, until: 2027-03-01}]
"""
FULL = (
    CONTRACT
    + """\
when: context.score >= 80
fields:
  - name: conversation_history
    from: [conversation_history, crm.transcript]
    type: [string, null]
    rebuild: {max_age: P7D, pick: unambiguous}
    weight: 3
    classification: pii
  - name: intent
    rebuild: false
    translate: {hot: high-intent, true: 1, 1: "one", null: null}
  - name: address
    schema: {type: object, properties: {city: {const: null}}}
rules:
  - {name: explained, expr: size(context.objections) > 0, message: explain, severity: warning}
hold_on: any
accept_within: PT4H
severity: {untranslatable: error}
accept: {tools: crm.open}
repeat: {by: context.error_code, threshold: 5, within: P30D, receiver: platform-engineering}
"""
)


def minimal(**changes: Any) -> dict[str, Any]:
    """A contract as plain data, with other values for some keys."""
    return {
        "kind": "HandoffContract",
        "id": "c",
        "version": 1,
        "owner": {"name": "Ilse", "contact": "ilse@example.com"},
        "action": "Act.",
        "workflow": "w",
        "from": {"stage": "s"},
        "to": {"receiver": "r"},
    } | changes


def contract(**changes: Any) -> HandoffContract:
    document = parse(minimal(**changes))
    assert isinstance(document, HandoffContract)
    return document


def receiver(**changes: Any) -> Receiver:
    owners = [{"name": "Dana", "contact": "d"}]
    document = parse({"kind": "Receiver", "id": "r", "team": "t", "owners": owners} | changes)
    assert isinstance(document, Receiver)
    return document


def problems(tmp_path: Path, text: str) -> list[str]:
    """What `load` says of one file, without the file's directory."""
    file = tmp_path / "c.yaml"
    file.write_text(text)
    with pytest.raises(DocumentErrors) as caught:
        load([file])
    return str(caught.value).replace(f"{tmp_path}/", "").splitlines()


# --- models --------------------------------------------------------------------------------------


def test_a_full_contract_is_read_as_it_was_meant(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(FULL + "---\n" + RECEIVER)
    documents = load([tmp_path])
    (found,) = documents.contracts
    history, intent, address = found.fields
    assert history.from_ == ("conversation_history", "crm.transcript")
    assert history.type == ("string", "null")
    assert history.rebuild.max_age == dt.timedelta(days=7)
    assert history.classification == ("pii",)
    assert intent.from_ == ("intent",)
    assert not intent.rebuild.allowed
    assert intent.translate == {"hot": "high-intent", "true": 1, "1": "one", "null": None}
    assert address.schema_ == {"type": "object", "properties": {"city": {"const": None}}}
    assert found.from_.stage == ("qualify",)
    assert found.hold_on == ("any",)
    assert found.accept == AcceptTools(tools=("crm.open",))
    assert found.accept_within == dt.timedelta(hours=4)
    assert found.repeat is not None
    assert found.repeat.by == ("context.error_code",)
    assert documents.receivers[0].owners[0].until == dt.date(2027, 3, 1)
    assert documents.receivers[0].queue is None


def test_defaults_are_those_of_the_design() -> None:
    found = contract(fields=[{"name": "a"}])
    assert found.status == "active"
    assert found.hold_on == ("receiver_missing", "owner_missing")
    assert found.accept == "on_output"
    assert found.extra == "pass"
    (field,) = found.fields
    assert (field.required, field.weight, field.rebuild.allowed) == (True, 1.0, True)
    assert field.rebuild.pick == "latest"


def test_the_topic_form_gives_back_the_same_document(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(FULL + "---\n" + RECEIVER)
    loaded = load([tmp_path])
    documents: list[Document] = [*loaded.contracts, *loaded.receivers, contract(), receiver()]
    for document in documents:
        assert from_json(to_json(document)) == document
        assert to_json(from_json(to_json(document))) == to_json(document)
    assert [key(document) for document in documents] == [
        "lead-to-nurture@2",
        "marketing-nurture",
        "c@1",
        "r",
    ]


def test_the_topic_form_writes_defaults_out() -> None:
    written = json.loads(to_json(contract()))
    assert written["from"] == {"team": None, "stage": ["s"]}
    assert written["hold_on"] == ["receiver_missing", "owner_missing"]


def test_only_status_may_differ_in_a_registered_version() -> None:
    assert same_body(contract(), contract(status="retired"))
    assert not same_body(contract(), contract(action="Other."))
    one, true = ({"name": "a", "translate": {"x": value}} for value in (1, True))
    assert not same_body(contract(fields=[one]), contract(fields=[true]))
    ab, ba = ({"name": "a", "translate": t} for t in ({"a": 1, "b": 2}, {"b": 2, "a": 1}))
    assert same_body(contract(fields=[ab]), contract(fields=[ba]))


def test_documents_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        contract().status = "retired"  # type: ignore[misc]


def test_an_unknown_owner_is_for_drafts() -> None:
    assert contract(owner="UNKNOWN", status="draft").owner == Person(
        name="UNKNOWN", contact="UNKNOWN"
    )
    for status in ("trial", "active", "deprecated"):
        with pytest.raises(ValidationError, match="has the owner UNKNOWN"):
            contract(owner="UNKNOWN", status=status)


def test_violation_kinds_hold_and_get_severities() -> None:
    found = contract(hold_on=list(VIOLATION_KINDS), severity=dict.fromkeys(VIOLATION_KINDS, "info"))
    assert found.hold_on == VIOLATION_KINDS
    assert len(VIOLATION_KINDS) == 25


@pytest.mark.parametrize("path", ["'a..b'.c", "a[id=x..y].z", '".."'])
def test_dots_in_quotes_are_no_empty_segment(path: str) -> None:
    assert check_path(path) == path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": "a@1"}, "is not an id"),
        ({"id": "a" * 600}, "has 600 bytes, the limit is 200; shorten it"),
        ({"id": "@" * 200}, f"'{'@' * 79}…' is not an id"),
        ({"id": "a\n"}, "is not an id"),
        ({"version": 0}, "greater than or equal to 1"),
        ({"version": True}, "valid integer"),
        ({"version": 1.0}, "valid integer"),
        ({"version": 2**31}, "less than or equal"),
        ({"workflow": "  "}, "must not be empty"),
        ({"from": {"stage": []}}, "the list is empty"),
        ({"from": {"stage": ["*", "a"]}}, "'\\*' means any stage"),
        ({"from": {"stage": ["a", "a"]}}, "stands here twice"),
        ({"fields": [{"name": "a"}, {"name": "a"}]}, "the field 'a' is declared twice"),
        (
            {"rules": [{"name": "a", "expr": "true", "message": "m"}] * 2},
            "the rule 'a' is declared twice",
        ),
        ({"fields": [{"name": "a", "type": "string", "schema": {}}]}, "both 'type' and 'schema'"),
        ({"fields": [{"name": "a", "type": []}]}, "the list is empty"),
        ({"fields": [{"name": "a..b"}]}, "has an empty segment"),
        ({"fields": [{"name": "a", "from": ".".join("a" * 17)}]}, "17 segments"),
        ({"fields": [{"name": "a", "from": []}]}, "the list is empty"),
        ({"fields": [{"name": "a", "weight": 0}]}, "greater than 0"),
        ({"fields": [{"name": "a", "weight": float("inf")}]}, "finite"),
        ({"fields": [{"name": "a", "weight": 1e308}]}, "less than or equal to 100000"),
        ({"fields": [{"name": "a", "translate": {"x": [1]}}]}, "is no scalar"),
        ({"fields": [{"name": "a", "translate": {"true": 1, True: 2}}]}, "stands here twice"),
        ({"fields": [{"name": "a", "schema": {"type": "strin"}}]}, "not a valid JSON Schema at"),
        ({"fields": [{"name": "a", "schema": {"pattern": "("}}]}, "not a valid JSON Schema"),
        ({"fields": [{"name": "a", "schema": {"const": float("nan")}}]}, "no such number"),
        (
            {"fields": [{"name": "a", "schema": {"$ref": "https://example.com/s"}}]},
            "leads out of the contract",
        ),
        ({"repeat": {"by": "a", "threshold": 2, "within": "P1D", "receiver": "r"}}, "'context.'"),
        (
            {"repeat": {"by": "context.a", "threshold": 1, "within": "P1D", "receiver": "r"}},
            "greater than or equal to 2",
        ),
        ({"accept": {"tools": []}}, "the list is empty"),
    ],
)
def test_a_contract_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        contract(**change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"queue": "a b"}, "not a name for a Kafka topic"),
        ({"queue": ".."}, "not a name for a Kafka topic"),
        ({"queue": "handoff.tool-outputs"}, "'handoff.' begins the processor's own topics"),
        ({"queue": "handoff.queues.a"}, "name it handoff.queue.<receiver>"),
        ({"queue": "q" * 250}, "has 250 bytes, the limit is 249; shorten it"),
        ({"owners": [{"name": "D", "contact": "d", "until": "2027-02-29"}]}, "there is no day"),
        ({"owners": [{"name": "D", "contact": "d", "until": "1 March"}]}, "must be a day"),
        (
            {"owners": [{"name": "D", "contact": "d", "until": dt.datetime(2027, 1, 1)}]},
            "must be a day",
        ),
        ({"checks_every": 12}, "must be a duration"),
    ],
)
def test_a_receiver_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        receiver(**change)


# --- durations -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("PT4H", 14400), ("P2D", 172800), ("P1W", 604800), ("P1DT1M", 86460), ("PT0.25S", 0.25)],
)
def test_a_duration_is_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == dt.timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("P1M", "years or months"),
        ("P1Y", "years or months"),
        ("P1Y2DT3H", "years or months"),
        ("P", "is not a duration"),
        ("P1DT", "is not a duration"),
        ("4h", "is not a duration"),
        ("-PT4H", "is not a duration"),
        ("P1.5D", "is not a duration"),
        ("PT4H\n", "is not a duration"),
        ("P٤D", "is not a duration"),
        ("PT0S", "is zero"),
        ("P3651D", "too long"),
        (f"P{10**400}D", "too long"),
    ],
)
def test_a_duration_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_duration(text)


@given(st.integers(1, 3650 * 86_400_000))
def test_every_duration_is_read_back(ms: int) -> None:
    duration = dt.timedelta(milliseconds=ms)
    assert parse_duration(format_duration(duration)) == duration


# --- loading -------------------------------------------------------------------------------------


def test_every_problem_is_told_with_its_line_and_the_nearest_word(tmp_path: Path) -> None:
    text = """\
kind: HandoffContract
id: lead to nurture
version: "2"
status: activ
acton: Start
owner: {name: 3}
workflow: inbound-lead
from: {team: sales, stge: qualify}
to: {receiver: marketing-nurture}
description:
fields:
  - name: history
    from: crm..transcript
    type: strng
    rebuild: {max_age: P1M, pik: latest}
    weight: -1
  - requried: yes
    name: intent
hold_on: [owner_mising]
severity: {context_droped: error}
accept: {tols: x}
accept_within: 4h
"""
    told = problems(tmp_path, text)
    ids = "use letters, digits, '.', '_' and '-', a letter or digit first"
    write = "write ISO 8601 with weeks, days, hours, minutes or seconds, such as PT4H, P2D, P1W"
    assert told == [
        "c.yaml:1: action: is missing; add it",
        f"c.yaml:2: id: 'lead to nurture' is not an id; {ids}",
        "c.yaml:3: version: must be a whole number, not text; write digits only, without quotes",
        "c.yaml:4: status: unknown value 'activ'; did you mean 'active'?",
        "c.yaml:5: acton: unknown key; did you mean 'action'?",
        "c.yaml:6: owner.name: must be text, not a number; put it in quotes",
        "c.yaml:6: owner.contact: is missing; add it",
        "c.yaml:8: from.stage: is missing; add it",
        "c.yaml:8: from.stge: unknown key; did you mean 'stage'?",
        "c.yaml:10: description: has no value; give it one, or leave the key out",
        "c.yaml:13: fields[0].from: the path 'crm..transcript' has an empty segment; "
        "write names with one dot between them, such as crm.transcript",
        "c.yaml:14: fields[0].type: unknown value 'strng'; did you mean 'string'?",
        "c.yaml:15: fields[0].rebuild.max_age: the duration 'P1M' has years or months, whose "
        "length depends on the date; count in weeks, days, hours, minutes or seconds, such as P30D",
        "c.yaml:15: fields[0].rebuild.pik: unknown key; did you mean 'pick'?",
        "c.yaml:16: fields[0].weight: must be more than 0; change the number",
        "c.yaml:17: fields[1].requried: unknown key; did you mean 'required'?",
        "c.yaml:19: hold_on[0]: unknown value 'owner_mising'; did you mean 'owner_missing'?",
        "c.yaml:20: severity.context_droped: unknown key; did you mean 'context_dropped'?",
        "c.yaml:21: accept.tools: is missing; add it",
        "c.yaml:21: accept.tols: unknown key; did you mean 'tools'?",
        f"c.yaml:22: accept_within: '4h' is not a duration; {write}",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "c.yaml: has no document; write one, or remove the file"),
        ("# nothing\n---\n", "c.yaml: has no document; write one, or remove the file"),
        (
            "- 1\n",
            "c.yaml:1: is not a mapping; begin the document with a kind: "
            "HandoffContract, Receiver, Source",
        ),
        (
            "a: 1\n",
            "c.yaml:1: kind: 'kind' is missing; known here: HandoffContract, Receiver, Source",
        ),
        ("kind: Reciever\n", "c.yaml:1: kind: unknown kind 'Reciever'; did you mean 'Receiver'?"),
        (
            RECEIVER + "id: b\n",
            "c.yaml:5: id: this key stands here twice, first in line 2; keep one of them",
        ),
        (
            RECEIVER + "queue: a: b\n",
            "c.yaml:5: is not valid YAML: mapping values are not allowed here; "
            "check the indentation, and put text that holds ': ' in quotes",
        ),
        (
            RECEIVER + "queue: !!python/name:os.system ''\n",
            "c.yaml:5: queue: has the tag tag:yaml.org,2002:python/name:os.system; "
            "remove it: only JSON's types are known",
        ),
        (
            RECEIVER + "checks_every: .inf\n",
            "c.yaml:5: checks_every: JSON has no such number; give a finite one",
        ),
        (
            RECEIVER + "? [a]\n: b\n",
            "c.yaml:1: has a key that is a list or a mapping; use text as keys",
        ),
        (
            RECEIVER + "queue: [a]\n",
            "c.yaml:5: queue: must be text, not a list; write text in its place",
        ),
        (
            RECEIVER + "queue: on\nstatus: no\n",
            "c.yaml:6: status: unknown value 'no'; known here: active, retired",
        ),
        (
            RECEIVER + "---\n" + RECEIVER,
            "c.yaml:7: id: marketing-nurture is declared twice, first at c.yaml:2; "
            "remove one of them",
        ),
        (
            RECEIVER + "queue: !!bool perhaps\n",
            "c.yaml:5: queue: is not a value of the type bool; correct it, or put it in quotes",
        ),
        (
            RECEIVER + 'queue: "\\ud83d"\n',
            "c.yaml:5: queue: has half a character (an escaped surrogate); write it unescaped",
        ),
        (
            "%YAML 1.1\n---\n" + RECEIVER,
            "c.yaml:1: has a YAML directive, and files here are YAML 1.2; remove the line",
        ),
        (
            "a: &a [*a]\n",
            "c.yaml:1: holds more than 100,000 values, or nests deeper than 64; "
            "split the document, or write aliases out",
        ),
    ],
)
def test_a_file_is_refused_with_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    assert problems(tmp_path, text) == [message]


def test_aliases_that_multiply_are_refused(tmp_path: Path) -> None:
    lines = ["a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    for above, name in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f"{name}: &{name} [{', '.join([f'*{above}'] * 10)}]")
    (told,) = problems(tmp_path, "\n".join(lines))
    assert "holds more than 100,000 values" in told


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_bytes(b"kind: Receiver\nid: \xff\n")
    with pytest.raises(DocumentErrors, match=r"c\.yaml:2: is not UTF-8 text"):
        load([tmp_path])


def test_paths_without_documents_are_told_together(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a document")
    with pytest.raises(DocumentErrors) as caught:
        load([tmp_path, tmp_path / "gone.yaml"])
    assert [(p.message, p.line) for p in caught.value.problems] == [
        ("holds no documents", 0),
        ("there is no such file", 0),
    ]


def test_the_same_id_in_two_files_names_both_places(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(CONTRACT)
    (tmp_path / "b.yml").write_text("# moved\n" + CONTRACT)
    with pytest.raises(DocumentErrors) as caught:
        load([tmp_path])
    (problem,) = caught.value.problems
    assert (Path(problem.file).name, problem.line) == ("b.yml", 3)
    assert f"first at {tmp_path}/a.yaml:2" in problem.message
    assert "raise the version" in problem.suggestion


def test_a_directory_is_read_below_in_order_and_each_file_once(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "one.yaml").write_text(CONTRACT)
    (tmp_path / "a.yaml").write_text(CONTRACT.replace("version: 2", "version: 3"))
    documents = load([tmp_path, tmp_path / "a.yaml"])
    assert [c.version for c in documents.contracts] == [3, 2]


LIKE_YAML = st.text(alphabet="abk:- \n\t[]{}&*!|>'\"#?,%@`0123456789.~", max_size=60)


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.binary(max_size=60), LIKE_YAML.map(str.encode)), st.booleans())
def test_any_bytes_are_documents_or_problems(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, after_receiver: bool
) -> None:
    file = tmp_path_factory.getbasetemp() / "any.yaml"
    file.write_bytes((RECEIVER.encode() if after_receiver else b"") + content)
    told: list[Problem] = []
    try:
        load([file])
    except DocumentErrors as errors:
        told = errors.problems
        assert told, "an error without a problem helps nobody"
    assert all(problem.message and problem.suggestion for problem in told)
    assert told or after_receiver
