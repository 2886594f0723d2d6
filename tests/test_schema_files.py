"""The checked-in schema files: they match the types, parse, and carry real records both ways."""

import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import fastavro
import jsonschema_rs
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import inspect as types
from ruamel.yaml import YAML

from schemas import generate
from schemas.generate import HERE, avro_schema, from_avro, to_avro
from schemas.published import PUBLISHED
from schemas.records import HandoffRequest, ToolOutput

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Years 1 to 9999, less a day at both ends.
INSTANTS = st.integers(-62_135_510_400_000, 253_402_214_400_000).map(
    lambda ms: EPOCH + timedelta(milliseconds=ms)
)
RAW = st.one_of(
    st.sampled_from(
        ["1.50", "1e2", "-0", "123456789012345678901234567890", '{"b":1,"a":[null]}', '"\\u00e9 é"']
    ),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
        max_leaves=5,
    ).map(json.dumps),
).map(lambda text: msgspec.Raw(text.encode()))


def values(info: types.Type) -> st.SearchStrategy[Any]:
    """Every value that a type of `schemas.records` allows, times to the millisecond."""
    match info:
        case types.Metadata(type=inner):
            return values(inner)
        case types.StructType(cls=cls, fields=fields):
            return st.builds(cls, **{field.name: values(field.type) for field in fields})
        case types.UnionType(types=members):
            return st.one_of([values(member) for member in members])
        case types.ListType(item_type=item, max_length=most):
            return st.lists(values(item), max_size=min(most or 3, 3))
        case types.DictType(value_type=item):
            return st.dictionaries(st.text(max_size=5), values(item), max_size=3)
        case types.StrType(min_length=least):
            return st.text(min_size=least or 0, max_size=8)
        case types.LiteralType(values=options):
            return st.sampled_from(options)
        case types.IntType(ge=least, le=most):
            low = -(2**63) if least is None else least
            high = 2**63 - 1 if most is None else most
            return st.integers(low, high)
        case types.FloatType():
            return st.floats(allow_nan=False, allow_infinity=False)
        case types.DateTimeType():
            return INSTANTS
        case types.RawType():
            return RAW
        case types.BoolType():
            return st.booleans()
        case types.NoneType():
            return st.none()
        case _:
            raise TypeError(f"no strategy for {info}")


def stored_avro(name: str) -> Any:
    return fastavro.parse_schema(json.loads((HERE / "avro" / f"{name}.avsc").read_text()))


def over_avro(name: str, record: msgspec.Struct) -> msgspec.Struct:
    """The record after a journey through Avro bytes."""
    schema = stored_avro(name)
    wire = io.BytesIO()
    fastavro.schemaless_writer(wire, schema, to_avro(record))
    wire.seek(0)
    data = fastavro.schemaless_reader(wire, schema, None)
    assert isinstance(data, dict)
    return from_avro(type(record), data)


def in_words(record: msgspec.Struct) -> Any:
    """What a record says in JSON, its times as instants: epoch milliseconds are a spelling."""
    plain = json.loads(msgspec.json.encode(record), parse_float=str, parse_int=str)
    for name in ("occurred_at", "checked_at", "last_live_at", "until"):
        value = getattr(record, name, None)
        if isinstance(value, int):
            value = EPOCH + timedelta(milliseconds=value)
        if name in plain:
            plain[name] = value
    return plain


# --- the files ------------------------------------------------------------------------------------


def test_the_files_are_those_that_the_types_generate() -> None:
    assert generate.outdated() == []
    assert generate.main(["--check"]) == 0
    assert len(generate.files()) == 2 * len(PUBLISHED) + 3


def test_outdated_missing_and_surplus_files_are_found_and_set_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generate, "HERE", tmp_path)
    assert generate.main(["--check"]) == 1
    assert generate.main([]) == 0
    assert generate.main(["--check"]) == 0
    (tmp_path / "avro" / "package.avsc").write_text("{}")
    (tmp_path / "json" / "gone.schema.json").write_text("{}")
    (tmp_path / "json" / "ack.schema.json").unlink()
    capsys.readouterr()
    assert generate.main(["--check"]) == 1
    told = capsys.readouterr().err
    assert all(name in told for name in ("package.avsc", "gone.schema.json", "ack.schema.json"))
    assert generate.main([]) == 0
    assert generate.outdated() == []
    assert not (tmp_path / "json" / "gone.schema.json").exists()


@pytest.mark.parametrize("name", PUBLISHED)
def test_an_avro_file_parses_and_documents_its_record(name: str) -> None:
    schema = stored_avro(name)
    assert schema["name"] == f"handoff.{PUBLISHED[name].__name__}"
    assert schema["doc"]
    nullable = [f for f in schema["fields"] if isinstance(f["type"], list)]
    assert all(f["type"][0] == "null" and f["default"] is None for f in nullable)


@pytest.mark.parametrize("name", [*PUBLISHED, "handoff-contract", "receiver"])
def test_a_json_file_is_a_valid_schema(name: str) -> None:
    schema = json.loads((HERE / "json" / f"{name}.schema.json").read_text())
    assert jsonschema_rs.meta.is_valid(schema)


def test_context_values_are_json_text_in_avro() -> None:
    schema = avro_schema(PUBLISHED["package"])
    context = next(field for field in schema["fields"] if field["name"] == "context")
    assert context["type"] == {"type": "map", "values": "string"}
    assert context["doc"] == "Each value is JSON text."


def test_what_avro_cannot_say_is_refused() -> None:
    class Odd(msgspec.Struct):
        kinds: set[int]

    with pytest.raises(TypeError, match="no Avro type"):
        avro_schema(Odd)


# --- records --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PUBLISHED)
def test_records_survive_avro_and_fit_the_json_schema(name: str) -> None:
    schema = json.loads((HERE / "json" / f"{name}.schema.json").read_text())
    fits = jsonschema_rs.validator_for(schema)

    @settings(max_examples=30, deadline=None)
    @given(values(types.type_info(PUBLISHED[name])))
    def check(record: msgspec.Struct) -> None:
        assert in_words(over_avro(name, record)) == in_words(record)
        fits.validate(json.loads(msgspec.json.encode(record)))

    check()


def test_a_value_keeps_its_spelling_in_avro() -> None:
    text = b'{"z": 1.50, "a": 123456789012345678901234567890}'
    output = ToolOutput(
        id="e",
        task_id="t",
        workflow="w",
        stage="s",
        tool="x",
        occurred_at=EPOCH,
        context={"price": msgspec.Raw(text)},
        handoff=[HandoffRequest(to="a"), HandoffRequest(to="b", part="2")],
    )
    back = over_avro("tool-output", output)
    assert isinstance(back, ToolOutput)
    assert bytes(back.context["price"]) == text
    assert back.handoff == output.handoff


def test_a_reader_with_a_newer_schema_reads_an_older_record() -> None:
    """What `null` defaults are for: a member that came later is null in what was written before."""
    newer = avro_schema(PUBLISHED["ack"])
    older = newer | {"fields": [field for field in newer["fields"] if field["name"] != "reason"]}
    wire = io.BytesIO()
    ack: dict[str, Any] = dict.fromkeys(("id", "workflow", "task_id", "handoff_id", "by"), "x")
    ack |= {"status": "accepted", "occurred_at": 0}
    fastavro.schemaless_writer(wire, fastavro.parse_schema(older), ack)
    wire.seek(0)
    data = fastavro.schemaless_reader(
        wire, fastavro.parse_schema(older), fastavro.parse_schema(newer)
    )
    assert isinstance(data, dict)
    assert data["reason"] is None


# --- documents ------------------------------------------------------------------------------------

CONTRACT = """\
kind: HandoffContract
id: c
version: 1
owner: {name: Ilse, contact: ilse@example.com}
action: Act.
workflow: w
from: {stage: [a, b]}
to: {receiver: r}
fields:
  - {name: a, type: [string, null], rebuild: {max_age: P7D}, translate: {hot: null, warm: 1}}
  - {name: b, from: crm.b, rebuild: false, classification: pii, schema: {type: object}}
hold_on: any
accept: {tools: crm.open}
accept_within: PT4H
"""


def test_an_editor_accepts_what_the_models_accept_and_flags_a_typing_error() -> None:
    schema = json.loads((HERE / "json" / "handoff-contract.schema.json").read_text())
    editor = jsonschema_rs.validator_for(schema)
    data = YAML(typ="safe", pure=True).load(CONTRACT)
    editor.validate(data)
    for wrong in ({"acton": "x"}, {"status": "activ"}, {"when": None}, {"accept": "never"}):
        assert not editor.is_valid(data | wrong), wrong


def test_an_editor_flags_a_typing_error_in_a_source() -> None:
    editor = jsonschema_rs.validator_for(
        json.loads((HERE / "json" / "source.schema.json").read_text())
    )
    for path in sorted((HERE.parent / "examples").glob("*/source.yaml")):
        data = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
        editor.validate(data)
        mistyped: list[dict[str, object]] = [
            {"emti": []},
            {"decode": "jsno"},
            {"emit": [{"stage": {"form": "value.a"}}]},
            {"emit": [{"stage": {"value": "a"}, "continues": {}}]},
        ]
        for wrong in mistyped:
            assert not editor.is_valid(data | wrong), wrong
