"""What of a record a source reads: nothing else is decoded, and nothing else is told as read."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given, reject
from hypothesis import strategies as st

from processors.intake.compiled import CompiledSource, compile_source
from processors.intake.decoders import VALUE_DECODERS
from processors.intake.mapping import map_record
from processors.intake.reads import around, reads, shown
from schemas import sources
from schemas.lint_sources import lint_sources
from schemas.loading import Documents
from schemas.sources import Source
from tests.intake import NOW, SHARED, compiled, context, entry, event, made, mapped, record, source

NAMES = st.sampled_from(["a", "b", "id", "0", "a.b", "größe", ""])
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-1, 3)
    | st.just(2**70)
    | st.sampled_from([0.5, 1e300, 1.000000000000000000001])
    | st.sampled_from(["", "a", "a,b", '{"a": {"b": 1}}', "[1, 2]", "2026-03-02T10:00:00Z"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
RECORDS = st.dictionaries(NAMES, VALUES, max_size=5) | VALUES.filter(lambda it: it is not None)
NAMED = [".a", ".b", ".id", ".größe", '."a.b"', '["a.b"]']
STEPS = st.lists(st.sampled_from([*NAMED, *NAMED, ".0", "[0]", "[-1]", "[id=1]"]), max_size=3)
PATHS = st.tuples(
    st.sampled_from(["value.a", "value.b", "value.a.b", "value.b.a", "x", "y", "it", "key"]),
    STEPS.map("".join),
).map("".join)
EXPRESSIONS = st.recursive(
    PATHS | st.lists(PATHS, min_size=1, max_size=2).map(lambda them: f"{{{'}-{'.join(them)}}}"),
    lambda inner: (
        st.fixed_dictionaries(
            {"from": inner},
            optional={
                "json": st.booleans(),
                "split": st.just(","),
                "text": st.sampled_from(["{it.a} {it}", "{it.b}"]),
                "slug": st.booleans(),
            },
        )
        | st.fixed_dictionaries({"first": st.lists(inner, min_size=1, max_size=2)})
        | st.fixed_dictionaries(
            {"lookup": st.just("t"), "by": inner, "else": st.sampled_from(["skip", {"value": "e"}])}
        )
    ),
    max_leaves=3,
)
CONDITIONS = st.sampled_from(
    [
        "has(value.a)",
        "has(value.a.b) && value.a.b != null",
        '!has(value["a.b"].id)',
        '"a" in value.b',
        "value.a == value.b",
        "size(value.b) > 1",
        "value.b[0].id != 1",
        "value.a[value.id] == 1",
        "key != null || x == y",
        "x.a.b == 1 || y.b > 0",
    ]
)


@st.composite
def written(draw: st.DrawFn) -> Source:
    """A source of any paths and verbs that lint takes."""
    emit: dict[str, Any] = {
        "stage": {"value": "s"},
        "context": draw(st.dictionaries(st.sampled_from("mno"), EXPRESSIONS, min_size=1)),
        **draw(
            st.fixed_dictionaries(
                {},
                optional={
                    "stage": EXPRESSIONS,
                    "each": EXPRESSIONS,
                    "when": CONDITIONS,
                    "accepts": CONDITIONS,
                    "handoff": st.fixed_dictionaries({"to": EXPRESSIONS, "note": EXPRESSIONS}),
                    "continues": st.fixed_dictionaries({"tasks": EXPRESSIONS}),
                },
            )
        ),
    }
    data = {
        "kind": "Source",
        "id": "desk",
        "owner": {"name": "Ana Silva", "contact": "ana@example.com"},
        "topic": "desk.events",
        "decode": "json",
        "let": {"x": draw(PATHS | EXPRESSIONS), "y": draw(EXPRESSIONS)},
        "when": draw(st.none() | CONDITIONS),
        "defaults": {**SHARED, "task": {"first": [draw(PATHS), {"value": "t"}]}},
        "emit": [emit],
        "lookups": {"t": {"a": "stage-a", "1": 7}},
    }
    try:
        found = sources.parse(data)
    except ValueError:
        reject()
    problems = lint_sources(Documents(intake_sources=(found,)))
    assume(not any(problem.level == "error" for problem in problems))
    return found


def whole(given_: CompiledSource) -> CompiledSource:
    """The same source over records that are decoded whole."""
    return replace(given_, decode=lambda each: VALUE_DECODERS["json"](each, None))


@given(told=written(), value=RECORDS, key=VALUES)
def test_a_record_becomes_the_same_as_if_it_were_decoded_whole(
    told: Source, value: Any, key: Any
) -> None:
    given_ = compile_source(told)
    members = {"id": "T-1", "at": "2026-03-02T10:00:00Z"}
    full = {**members, **value} if isinstance(value, dict) else value
    at = record(full, key)
    found, expected = map_record(given_, at, NOW), map_record(whole(given_), at, NOW)
    assert found.records == expected.records
    assert found.skipped == expected.skipped
    assert found.lookup_misses == expected.lookup_misses
    assert str(found.refused) == str(expected.refused)


def test_nothing_but_what_is_read_is_decoded() -> None:
    given_ = entry(
        context={"name": "value.user.name", "all": "value.notes"},
        when='has(value.kind) && value.labels[0] == "x"',
    )
    assert given_.decode is not None
    value = event(
        user={"name": "Ana", "mail": "ana@example.com"},
        notes={"a": [1]},
        kind=None,
        labels=["x", {"y": 1}],
        other={"a": 1},
    )
    decoded = given_.decode(record(value, "K-1"))
    assert getattr(decoded, "value", None) == {
        "id": "T-1",
        "at": "2026-03-02T10:00:00Z",
        "user": {"name": "Ana"},
        "notes": {"a": [1]},
        "kind": None,
        "labels": ["x", {"y": 1}],
    }
    assert getattr(decoded, "key", "") is None


def test_text_that_holds_json_is_decoded_with_what_else_is_read() -> None:
    entries = [{"stage": {"value": "s"}, "context": {"a": "e.a"}}]
    given_ = compiled(let={"e": {"from": "value.data", "json": True}}, emit=entries)
    assert given_.decode is not None
    value = event(data='{"a": 1}', other=1)
    decoded = given_.decode(record(value))
    assert getattr(decoded, "value", None) == event(data='{"a": 1}')
    assert context(given_, value) == {"a": 1}


def test_an_object_of_which_many_names_are_read_is_decoded_whole() -> None:
    few, many = ([f"n{i}" for i in range(number)] for number in (30, 60))
    value = event(user={"n0": 0, "other": 1})
    for names, user in ((few, {"n0": 0}), (many, {"n0": 0, "other": 1})):
        given_ = entry(context={name: f"value.user.{name}" for name in names})
        assert given_.decode is not None
        decoded = given_.decode(record(value))
        assert getattr(decoded, "value", {})["user"] == user


@pytest.mark.parametrize(
    "other", [b'"\xff"', b"[" * 200 + b"]" * 200, b"1e999", b'{"id": 1, "id": 2}']
)
def test_what_is_not_read_keeps_no_record_out(other: bytes) -> None:
    value = json.dumps(event()).encode().replace(b"{", b'{"other": ' + other + b", ")
    found = mapped(entry(), value)
    assert found.refused is None
    assert [json.loads(output.value or b"")["task_id"] for output in found.records] == ["T-1"]


def test_a_name_beyond_ascii_is_read() -> None:
    given_ = entry(context={"size": "value.größe", "name": "value.user.名前"})
    value = event(größe=4, user={"名前": "Ana", "": "other"}, **{"": "another"})
    assert context(given_, value) == {"size": 4, "name": "Ana"}


def test_a_record_that_is_cut_is_refused_wherever_it_ends() -> None:
    value = json.dumps(event(other={"a": ["b", 1]}, last="x")).encode()
    for length in range(1, len(value)):
        refused = mapped(entry(), value[:length]).refused
        assert refused is not None
        assert refused.code == "not_json"


def test_to_look_whether_a_member_is_there_reads_no_other() -> None:
    assert reads(source(when="has(value.a.b) || has(value.c)")) == {
        ("a", "b"),
        ("c",),
        ("id",),
        ("at",),
    }


@pytest.mark.parametrize("name", ["[0]", "a.b", "1" * 20])
def test_a_place_is_known_and_told_as_paths_have_it(name: str) -> None:
    quoted = f'value.users["{name}"]'
    (place,) = reads(source(defaults={**SHARED, "task": quoted, "occurred_at": "key.at"}))
    assert place in set(around(("users", name)))
    assert reads(source(defaults={**SHARED, "task": shown(place), "occurred_at": "key.at"})) == {
        place
    }


def test_no_more_paths_are_followed_than_is_quick_and_what_is_not_is_read_whole() -> None:
    let: dict[str, Any] = {"x0": {"first": ["value.a", "key.a"]}}
    let |= {f"x{i}": {"first": [f"x{i - 1}.b", f"x{i - 1}.c"]} for i in range(1, 17)}
    emit = [{"stage": {"value": "s"}, "context": {"x": "x16", "other": "value.other"}}]
    assert len(reads(source(let=let, emit=emit))) < 2**16
    nested: Any = "deep"
    for _ in range(16):
        nested = {"c": nested}
    (output,) = made(compiled(let=let, emit=emit), event(other=1), {"a": nested})
    assert output["context"] == {"x": "deep", "other": 1}


def test_what_a_text_is_made_of_is_read_whatever_is_read_of_the_text() -> None:
    x = {"first": [{"from": "value.a", "text": "{it.b}"}, "value.d"]}
    given_ = compiled(let={"x": x}, emit=[{"stage": {"value": "s"}, "context": {"c": "x.c"}}])
    assert context(given_, event(a={"b": "q"}, d={"c": 1})) == {}


def test_the_parts_of_a_text_are_no_elements_of_a_record() -> None:
    tags = {"from": "value.tags", "split": ","}
    entries = [{"stage": {"value": "s"}, "each": "tags", "context": {"tag": "it"}}]
    assert reads(source(let={"tags": tags}, emit=entries)) == {("tags",), ("id",), ("at",)}


def test_the_elements_of_a_list_are_counted_where_nothing_of_them_is_read() -> None:
    assert len(mapped(entry(each="value.items"), event(items=[1, 2, 3])).records) == 3
