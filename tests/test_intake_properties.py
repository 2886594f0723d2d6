"""What holds of every source and every record."""

import copy
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.intake.compiled import CompiledSource
from processors.intake.decoders import VALUE_DECODERS
from processors.intake.mapping import explain, map_record
from processors.intake.reads import leaves, reads, used
from schemas.flow import Record, Refused
from schemas.records import Ack, ToolOutput
from tests.intake import NOW, SHARED, compiled

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(["2026-03-02T10:00:00Z", "", "u", "__debezium_unavailable_value", "a,b"])
)
NAMES = [
    "id",
    "at",
    "a",
    "b",
    "items",
    "type",
    "op",
    "before",
    "after",
    "source",
    "payload",
    "schema",
]
names = st.sampled_from(NAMES) | st.text(max_size=5)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=5),
    max_leaves=25,
)
# Objects that often have what the sources below ask for.
events = st.fixed_dictionaries(
    {"id": scalars, "at": st.just("2026-03-02T10:00:00Z") | scalars},
    optional={"a": values, "b": values, "items": st.lists(values, max_size=5), "type": scalars},
)
SOURCES: list[CompiledSource] = [
    compiled(
        let={
            "first": {"first": ["value.a.b", "value.b", "key"]},
            "inner": {"from": "value.b", "json": True},
        },
        defaults={**SHARED, "id": "value.id"},
        emit=[
            {"stage": {"from": "value.type", "slug": True}, "context": {"*": "value"}},
            {
                "each": "value.items",
                "stage": {"lookup": "t", "by": "it.a", "else": "skip"},
                "context": {
                    "a": "{it.a}-{value.b}",
                    "b": "first",
                    "c": {"from": "it", "split": ","},
                },
                "handoff": {"to": {"lookup": "t", "by": "it", "else": {"value": "x"}}},
            },
            {"ack": {"status": "accepted", "by": "first"}, "when": 'value.type == "ack"'},
            {"stage": {"current": True}, "when": "first != null", "context": {"i": "inner.a"}},
        ],
        lookups={"t": {"a": "stage-a", "1": "one", "true": "yes"}},
    ),
    compiled(
        when='value.type == "u" || has(value.a)',
        emit=[
            {
                "each": "value.items",
                "id": "it.id",
                "stage": "it.a",
                "accepts": "it.b > value.a",
                "retracted": ["x"],
                "handoff": [{"to": "it.b"}, {"to": {"value": "y"}, "note": "{it} {value.a}"}],
            }
        ],
    ),
    compiled(
        decode="debezium", emit=[{"stage": {"current": True}, "context": {"*": "value.after"}}]
    ),
    compiled(
        let={"known": {"lookup": "t", "by": "value.a", "else": "skip"}},
        when='value.type != "x" || known == "stage-a"',
        emit=[
            {"each": {"from": "known", "split": "-"}, "stage": "it"},
            {"when": "known != null", "stage": "known", "accepts": "known == key"},
        ],
        lookups={"t": {"1": "stage-a", "u": "stage-a", "true": "yes"}},
    ),
    compiled(
        decode="cloudevents", emit=[{"stage": {"value": "s"}, "context": {"d": "value.data"}}]
    ),
]
keys = st.none() | st.binary(max_size=20) | values.map(lambda value: json.dumps(value).encode())
headers = st.lists(
    st.tuples(
        st.sampled_from(["ce_specversion", "ce_id", "content-type", "x"]), st.binary(max_size=9)
    ),
    max_size=3,
)


def record(value: bytes | None, key: bytes | None, heads: list[tuple[str, bytes]]) -> Record:
    return Record("desk.events", 1, 5, key=key, value=value, timestamp=NOW, headers=heads)


def check(source: CompiledSource, given_: Record) -> None:
    before = copy.deepcopy(given_)
    found = map_record(source, given_, NOW)
    assert given_ == before
    ends = [bool(found.records), found.skipped is not None, found.refused is not None]
    assert sum(ends) == 1
    again = map_record(source, given_, NOW + 5)  # a replay, later
    assert again.records == found.records
    assert again.skipped == found.skipped
    assert again.lookup_misses == found.lookup_misses
    told, _ = explain(source, given_, NOW)
    assert told.records == found.records
    assert told.skipped == found.skipped
    if found.refused is not None:
        assert found.refused.message.startswith("source desk: ")
        assert again.refused is not None
        assert again.refused.message == found.refused.message
    ids = set()
    for output in found.records:
        kind: Any = ToolOutput if output.topic == "handoff.tool-outputs" else Ack
        plain = {n: v for n, v in json.loads(output.value or b"").items() if n != "run"}
        body = msgspec.json.decode(json.dumps(plain), type=kind)
        assert output.key == body.task_id.encode()
        ids.add((output.topic, body.id))
    assert len(ids) == len(found.records)


@pytest.mark.parametrize("number", range(len(SOURCES)))
@given(value=events | values, key=keys, heads=headers)
def test_any_json_becomes_something_or_is_told(
    number: int, value: Any, key: bytes | None, heads: list[tuple[str, bytes]]
) -> None:
    check(SOURCES[number], record(json.dumps(value).encode(), key, heads))


@pytest.mark.parametrize("number", range(len(SOURCES)))
@given(value=st.binary(max_size=60) | st.none(), key=keys, heads=headers)
def test_any_bytes_become_something_or_are_told(
    number: int, value: bytes | None, key: bytes | None, heads: list[tuple[str, bytes]]
) -> None:
    check(SOURCES[number], record(value, key, heads))


@pytest.mark.parametrize("depth", [99, 101, 5_000, 200_000])
@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_what_nests_too_deep_is_refused(depth: int, opening: str) -> None:
    closing = "]" if opening == "[" else "}"
    value = f'{{"id": "x", "at": 1772445600, "a": {opening * depth}1{closing * depth}}}'
    found = map_record(SOURCES[0], record(value.encode(), None, []), NOW, most=len(value))
    assert found.refused is not None
    assert found.refused.code == ("not_json" if depth > 99 else "member_missing")


payloads = st.fixed_dictionaries(
    {"op": st.sampled_from(["c", "u", "d", "r", "t"]), "source": values, "ts_ms": scalars},
    optional={"before": values, "after": st.dictionaries(names, scalars, max_size=4)},
)
types = st.fixed_dictionaries(
    {"type": st.sampled_from(["struct", "bytes", "int64", "array", "map", "string"])},
    optional={
        "field": names,
        "name": st.sampled_from(
            [
                "org.apache.kafka.connect.data.Decimal",
                "io.debezium.data.VariableScaleDecimal",
                "io.debezium.time.Date",
                "io.debezium.time.MicroTimestamp",
                "io.debezium.time.NanoTime",
                "io.debezium.data.Json",
            ]
        ),
        "parameters": values,
        "fields": values,
        "items": values,
    },
)
schemas = st.builds(
    lambda fields: {
        "type": "struct",
        "fields": [{"type": "struct", "field": "after", "fields": fields}],
    },
    st.lists(types, max_size=5),
)


@given(payload=payloads, schema=schemas | values)
def test_any_change_event_is_decoded_or_told(payload: Any, schema: Any) -> None:
    value = json.dumps({"schema": schema, "payload": payload}).encode()
    check(SOURCES[2], record(value, None, []))


@given(value=events | values)
def test_what_is_read_is_known(value: Any) -> None:
    """Where a place is told that nothing reads, its value changes nothing that comes out."""
    try:
        decoded = VALUE_DECODERS["json"](record(json.dumps(value).encode(), None, []), None)
    except Refused:
        return
    read = reads(SOURCES[1].source)
    found = getattr(decoded, "value", None)
    for place in set(leaves(found)):
        if used(place, read) or "[]" in place or not place:
            continue
        changed = copy.deepcopy(found)
        within: Any = changed
        for name in place[:-1]:
            within = within[name]
        within[place[-1]] = "another"
        before = map_record(
            SOURCES[1], record(msgspec.json.encode(found, enc_hook=str), None, []), NOW
        )
        after = map_record(
            SOURCES[1], record(msgspec.json.encode(changed, enc_hook=str), None, []), NOW
        )
        assert before.records == after.records
