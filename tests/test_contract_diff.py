"""What a change of a contract breaks, and for whom: by table, and for any two JSON Schemas."""

from copy import deepcopy
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.contracts.change import Change
from processors.contracts.diff import compare, version_must_rise
from processors.contracts.narrower import Schema, narrower
from schemas import documents
from schemas.documents import HandoffContract

GONE = object()  # in a patch: leave the key out

BASE: dict[str, Any] = {
    "kind": "HandoffContract",
    "id": "lead-to-nurture",
    "version": 1,
    "owner": {"name": "Ilse Kramer", "contact": "ilse@example.com"},
    "action": "Start the nurture track.",
    "workflow": "lead",
    "from": {"team": "sales", "stage": ["qualify", "converse"]},
    "to": {"receiver": "marketing", "stage": "nurture"},
    "accept_within": "PT4H",
    "complete_within": "P2D",
    "release_within": "PT4H",
    "accept": {"tools": ["crm.open", "crm.read"]},
    "fields": [
        {
            "name": "budget",
            "from": ["budget", "crm.budget"],
            "type": ["number", "null"],
            "rebuild": {"max_age": "P7D"},
        },
        {
            "name": "intent",
            "translate": {"hot": "high", "warm": "middle", "tepid": "middle"},
            "weight": 2,
        },
        {"name": "tone", "required": False},
        {"name": "address", "schema": {"type": "object", "required": ["city"]}},
        {"name": "caller", "required": False, "same_as": "phone"},
    ],
    "rules": [{"name": "rich", "expr": "context.budget > 10", "message": "poor"}],
    "hold_on": ["receiver_missing"],
    "severity": {"context_dropped": "warning"},
    "repeat": {
        "by": ["context.tone"],
        "threshold": 5,
        "within": "P1D",
        "receiver": "engineering",
    },
}
BUDGET, INTENT, TONE, ADDRESS, CALLER = (("fields", number) for number in range(5))


def contract(*patches: tuple[tuple[Any, ...], Any], **members: Any) -> HandoffContract:
    """The base with values put at paths, or taken away from there."""
    data = deepcopy(BASE) | members
    for path, value in patches:
        place: Any = data
        for step in path[:-1]:
            place = place[step]
        last = path[-1]
        if value is GONE:
            del place[last]
        elif isinstance(place, list) and last == len(place):
            place.append(value)
        else:
            place[last] = value
    # As documents come: from JSON, where a list is a list.
    found = documents.parse(data)
    assert isinstance(found, HandoffContract)
    return found


def told(old: HandoffContract, new: HandoffContract) -> dict[str, tuple[str, ...]]:
    return {change.at: change.breaks for change in compare(old, new)}


S, R = ("sender",), ("receiver",)
BOTH = ("sender", "receiver")
NOBODY: tuple[str, ...] = ()

# path, value, where the change is told, whom it breaks, and whom the opposite breaks
TABLE: list[tuple[tuple[Any, ...], Any, str, tuple[str, ...], tuple[str, ...]]] = [
    (("fields", 5), {"name": "phone"}, "fields.phone", S, R),
    (("fields", 5), {"name": "phone", "required": False}, "fields.phone", NOBODY, R),
    (TONE, GONE, "fields.tone", R, NOBODY),
    ((*TONE, "required"), True, "fields.tone.required", S, NOBODY),
    ((*TONE, "type"), "string", "fields.tone.type", S, NOBODY),
    ((*BUDGET, "type"), "number", "fields.budget.type", S, NOBODY),
    ((*BUDGET, "type"), "integer", "fields.budget.type", S, NOBODY),
    ((*BUDGET, "type"), "string", "fields.budget.type", S, S),
    ((*ADDRESS, "schema", "required"), ["city", "zip"], "fields.address.schema", S, NOBODY),
    ((*ADDRESS, "schema", "$ref"), "#/$defs/x", "fields.address.schema", S, S),
    ((*ADDRESS, "schema", "title"), "An address", "fields.address.schema", NOBODY, NOBODY),
    ((*BUDGET, "from"), ["budget"], "fields.budget.from", S, NOBODY),
    ((*BUDGET, "from"), ["crm.budget", "budget"], "fields.budget.from", R, R),
    ((*BUDGET, "from"), ["money", "budget", "crm.budget"], "fields.budget.from", R, S),
    ((*INTENT, "translate", "warm"), GONE, "fields.intent.translate.warm", S, NOBODY),
    ((*INTENT, "translate", "warm"), "high", "fields.intent.translate.warm", R, R),
    ((*INTENT, "translate", "cold"), "high", "fields.intent.translate.cold", NOBODY, S),
    ((*INTENT, "translate", "high"), "middle", "fields.intent.translate.high", R, R),
    ((*INTENT, "translate"), GONE, "fields.intent.translate", R, BOTH),
    ((*INTENT, "weight"), 3, "fields.intent.weight", NOBODY, NOBODY),
    ((*INTENT, "classification"), "pii", "fields.intent.classification", NOBODY, NOBODY),
    ((*TONE, "rebuild"), False, "fields.tone.rebuild", BOTH, NOBODY),
    ((*BUDGET, "rebuild", "max_age"), "P1D", "fields.budget.rebuild.max_age", BOTH, NOBODY),
    ((*BUDGET, "rebuild", "max_age"), GONE, "fields.budget.rebuild.max_age", NOBODY, BOTH),
    ((*BUDGET, "rebuild", "pick"), "unambiguous", "fields.budget.rebuild.pick", BOTH, NOBODY),
    (
        ("rules", 1),
        {"name": "r", "expr": "has(context.tone)", "message": "m"},
        "rules.r",
        S,
        NOBODY,
    ),
    (("rules", 0, "expr"), "context.budget > 9", "rules.rich.expr", S, S),
    (("rules", 0, "message"), "not rich", "rules.rich.message", NOBODY, NOBODY),
    (("rules", 0, "severity"), "warning", "rules.rich.severity", NOBODY, S),
    (("hold_on",), ["receiver_missing", "context_dropped"], "hold_on", BOTH, NOBODY),
    (("hold_on",), ["any"], "hold_on", BOTH, NOBODY),
    (("hold_on",), [], "hold_on", NOBODY, BOTH),
    (("severity", "context_dropped"), "error", "severity.context_dropped", S, NOBODY),
    (("severity", "context_dropped"), GONE, "severity.context_dropped", S, NOBODY),
    (("severity", "context_dropped"), "info", "severity.context_dropped", NOBODY, S),
    (("severity", "receiver_silent"), "error", "severity.receiver_silent", R, NOBODY),
    (("severity", "held_too_long"), "info", "severity.held_too_long", NOBODY, ("owner",)),
    (("severity", "receiver_silent"), "warning", "severity.receiver_silent", NOBODY, NOBODY),
    (("accept_within",), "PT1H", "accept_within", R, NOBODY),
    (("accept_within",), GONE, "accept_within", NOBODY, R),
    (("complete_within",), "P1D", "complete_within", R, NOBODY),
    (("release_within",), "PT1H", "release_within", ("owner",), NOBODY),
    (("accept",), "explicit", "accept", R, NOBODY),
    (("accept",), "on_output", "accept", NOBODY, R),
    (("accept", "tools"), ["crm.open"], "accept", R, NOBODY),
    (("extra",), "strip", "extra", R, NOBODY),
    (("placeholders",), ["none given"], "placeholders", S, S),
    (("placeholders",), [], "placeholders", NOBODY, S),
    (("loop_after",), 2, "loop_after", ("owner",), NOBODY),
    ((*TONE, "same_as"), "text", "fields.tone.same_as", NOBODY, BOTH),
    ((*TONE, "stable"), True, "fields.tone.stable", S, NOBODY),
    ((*CALLER, "region"), "DK", "fields.caller.region", NOBODY, BOTH),
    (("when",), "context.budget > 20", "when", R, R),
    (("workflow",), "deal", "workflow", BOTH, BOTH),
    (("from", "stage"), "qualify", "from.stage", BOTH, NOBODY),
    (("from", "stage"), "*", "from.stage", NOBODY, BOTH),
    (("from", "team"), "presales", "from.team", NOBODY, NOBODY),
    (("to", "receiver"), "growth", "to.receiver", BOTH, BOTH),
    (("to", "stage"), "campaign", "to.stage", BOTH, BOTH),
    (("owner", "name"), "Omar Haddad", "owner", NOBODY, NOBODY),
    (("action",), "Do something.", "action", NOBODY, NOBODY),
    (("description",), "Why.", "description", NOBODY, NOBODY),
    (("repeat",), GONE, "repeat", R, NOBODY),
    (("repeat", "receiver"), "support", "repeat", R, R),
    (("repeat", "threshold"), 6, "repeat", NOBODY, NOBODY),
    (("status",), "retired", "status", BOTH, NOBODY),
    (("status",), "deprecated", "status", NOBODY, NOBODY),
]


@pytest.mark.parametrize(
    ("path", "value", "at", "breaks", "opposite"),
    TABLE,
    ids=[f"{row[2]}:{number}" for number, row in enumerate(TABLE)],
)
def test_each_change_says_whom_it_breaks(
    path: tuple[Any, ...], value: Any, at: str, breaks: tuple[str, ...], opposite: tuple[str, ...]
) -> None:
    if value == "#/$defs/x":
        base = contract(((*ADDRESS, "schema", "$defs"), {"x": {"maxProperties": 9}}))
        changed = contract(
            ((*ADDRESS, "schema", "$defs"), {"x": {"maxProperties": 9}}), (path, value)
        )
    else:
        base, changed = contract(), contract((path, value))
    assert told(base, changed) == {at: breaks}
    assert told(changed, base) == {at: opposite}


def test_the_table_has_every_key_of_a_contract() -> None:
    keys = {info.alias or name for name, info in HandoffContract.model_fields.items()}
    assert keys - {row[2].partition(".")[0] for row in TABLE} == {"kind", "id", "version"}
    of_a_field = {info.alias or name for name, info in documents.ContractField.model_fields.items()}
    changed = {row[2].split(".")[2] for row in TABLE if row[2].count(".") >= 2}
    assert of_a_field - changed == {"name"}


def test_a_term_that_nothing_is_translated_into_passes_no_more() -> None:
    changed = contract(((*INTENT, "translate", "hot"), GONE))
    assert told(contract(), changed) == {
        "fields.intent.translate.hot": S,
        "fields.intent.translate.high": S,
    }


def test_another_name_is_a_removed_field_and_a_new_one() -> None:
    changed = contract(((*TONE, "name"), "mood"), ((*TONE, "from"), "tone"))
    assert told(contract(), changed) == {"fields.tone": R, "fields.mood": NOBODY}


def test_what_means_the_same_is_told_as_such() -> None:
    for path, value in (
        (("fields",), [*BASE["fields"][1:], BASE["fields"][0]]),
        (("from", "stage"), ["converse", "qualify"]),
        (("accept", "tools"), ["crm.read", "crm.open"]),
    ):
        (change,) = compare(contract(), contract((path, value)))
        assert not change.breaking
        assert not version_must_rise(contract(), contract((path, value), version=2))
        assert version_must_rise(contract(), contract((path, value)))


def test_a_version_must_rise_when_the_body_changes() -> None:
    changed = contract((("accept_within",), "PT8H"))
    assert version_must_rise(contract(), changed)
    assert version_must_rise(contract(version=2), changed)
    assert not version_must_rise(contract(), contract((("accept_within",), "PT8H"), version=2))
    assert not version_must_rise(contract(), contract(status="retired"))
    assert compare(contract(), contract(version=2)) == []


def test_a_draft_of_the_next_version_leaves_the_one_at_hand() -> None:
    (change,) = compare(contract(), contract(version=2, status="draft"))
    assert change == Change(
        "status", "active -> draft", "nothing changes yet: version 1 stays as it is"
    )


def test_no_value_of_a_schema_or_translation_is_in_the_words() -> None:
    secret = {"enum": ["hunter2", "letmein"]}
    old, new = contract(((*ADDRESS, "schema"), secret)), contract(((*ADDRESS, "schema"), {}))
    for change in (*compare(old, new), *compare(new, old)):
        assert "hunter2" not in str(change)


patches = st.lists(st.sampled_from([row[:2] for row in TABLE[5:]]), max_size=4)


def patched(chosen: list[tuple[tuple[Any, ...], Any]]) -> HandoffContract:
    # A path may be gone by an earlier patch: then the later one changes nothing.
    kept: list[tuple[tuple[Any, ...], Any]] = []
    for patch in chosen:
        if patch[1] == "#/$defs/x":
            continue
        try:
            contract(*kept, patch)
        except (KeyError, IndexError, TypeError):
            continue
        kept.append(patch)
    return contract(*kept)


@settings(max_examples=100, deadline=None)
@given(patches, patches)
def test_nothing_is_told_when_and_only_when_nothing_changed(
    one: list[tuple[tuple[Any, ...], Any]], other: list[tuple[tuple[Any, ...], Any]]
) -> None:
    old, new = patched(one), patched(other)
    assert compare(old, old) == []
    same = documents.same_body(old, new) and old.status == new.status
    assert (compare(old, new) == []) == same
    there = {change.at for change in compare(old, new)}
    assert there == {change.at for change in compare(new, old)}, "whatever changed, changes back"


# --- JSON Schemas -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (True, {}, None),
        (True, {"type": "string"}, "no array and no boolean"),
        ({"type": "integer"}, {"type": "number"}, None),
        ({"type": "number"}, {"type": "integer"}, "no number fits"),
        ({"maxLength": 5}, {"maxLength": 9}, None),
        ({"maxLength": 9}, {"maxLength": 5}, "maxLength is stricter"),
        ({"type": "string"}, {"type": "string", "minLength": 1}, "minLength is new"),
        ({"type": "string"}, {"minimum": 1}, None),
        ({"enum": [1, 2]}, {"type": "integer"}, None),
        ({"enum": [1, "a"]}, {"type": "integer"}, "1 of the 2 values"),
        (
            {"enum": ["a" * 100, "b" * 100]},
            {"pattern": "^([a-z]{1,300}){1,300}!$"},
            "cannot tell: to try the values that it listed would take too long",
        ),
        ({"const": "a" * 2000}, {"pattern": "^([a-z]{1,300}){1,300}$"}, "1 of the 1 values"),
        ({"type": "string"}, {"enum": ["a"]}, "only listed values"),
        ({}, {"const": None}, "only listed values"),
        ({"multipleOf": 6}, {"multipleOf": 3}, None),
        ({"multipleOf": 3}, {"multipleOf": 6}, "multipleOf is stricter"),
        ({"pattern": "^a"}, {"pattern": "^b"}, "cannot tell: pattern"),
        ({"anyOf": [{}]}, {"anyOf": [{}, {}]}, "cannot tell: anyOf"),
        ({"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}, "cannot tell: a schema with references"),
        ({"contains": {}, "minContains": 0}, {"contains": {}}, "cannot tell: contains"),
        ({"properties": {"a": {"type": "string"}}}, {"properties": {"a": True}}, None),
        ({"properties": {"a": True}}, {"properties": {"a": {"type": "string"}}}, "in the member a"),
        ({"additionalProperties": False}, {"properties": {"a": False}}, None),
        ({"properties": {"a": True}}, {"additionalProperties": False}, "in the member a: nothing"),
        ({"items": {"maximum": 1}}, {"items": {"maximum": 2}}, None),
        ({"items": {"maximum": 2}}, {"items": {"maximum": 1}}, "in its items"),
        ({"type": "array"}, {"uniqueItems": True}, "unique"),
        ({"required": ["a", "b"]}, {"required": ["a"]}, None),
        ({"required": ["a"]}, {"required": ["a", "b"]}, "the members b are required"),
        ({"title": "a"}, {"title": "b", "description": "c"}, None),
        ({"exclusiveMinimum": 1}, {"exclusiveMinimum": True}, "cannot tell: exclusiveMinimum"),
    ],
)
def test_narrower_schemas(old: Schema, new: Schema, why: str | None) -> None:
    found = narrower(old, new)
    assert (found is None) == (why is None), found
    assert why is None or why in (found or "")


values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 7) | st.sampled_from(["", "a", "ab", "abc", 1.5]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=6,
)
small = st.integers(0, 3)
types = st.sampled_from(["string", "number", "integer", "boolean", "object", "array", "null"])


def objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    names = st.sampled_from("abc")
    return st.fixed_dictionaries(
        {},
        optional={
            "type": types | st.lists(types, min_size=1, max_size=6, unique=True),
            "enum": st.lists(values, min_size=1, max_size=3),
            "const": values,
            "minimum": small,
            "exclusiveMaximum": small,
            "multipleOf": st.sampled_from([1, 2, 0.5]),
            "minLength": small,
            "maxLength": small,
            "pattern": st.sampled_from(["^a", "b"]),
            "minItems": small,
            "maxProperties": small,
            "uniqueItems": st.booleans(),
            "items": inner,
            "prefixItems": st.lists(inner, min_size=1, max_size=2),
            "contains": inner,
            "minContains": small,
            "required": st.lists(names, max_size=2, unique=True),
            "properties": st.dictionaries(names, inner, max_size=2),
            "additionalProperties": inner,
            "patternProperties": st.dictionaries(st.just("^a"), inner, max_size=1),
            "not": inner,
            "anyOf": st.lists(inner, min_size=1, max_size=2),
            "if": inner,
            "then": inner,
            "else": inner,
        },
    )


schemas = st.recursive(st.booleans() | objects(st.booleans()), objects, max_leaves=4)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Schema, Schema]:
    """Two schemas; often the second is the first with a few keywords from another one, or without
    some, so that many of them are wider."""
    old = draw(schemas)
    other = draw(schemas)
    if isinstance(old, bool) or isinstance(other, bool) or draw(st.integers(0, 3)) == 0:
        return old, other
    keys = draw(st.sets(st.sampled_from(sorted({*old, *other, "type"}))))
    mixed = {key: other[key] if key in other else old[key] for key in keys if key in old | other}
    return old, mixed


@settings(max_examples=300, deadline=None)
@given(pairs(), st.lists(values, min_size=1, max_size=30))
def test_a_schema_that_is_not_narrower_takes_all_that_the_old_one_took(
    schemas: tuple[Schema, Schema], tried: list[Any]
) -> None:
    old, new = schemas
    assert narrower(old, old) is None
    if narrower(old, new) is None:
        before, after = map(jsonschema_rs.validator_for, schemas)
        assert [
            value for value in tried if before.is_valid(value) and not after.is_valid(value)
        ] == []
