"""The value decoders: json, cloudevents, debezium; and what is of another format is told."""

import base64
import json
from typing import Any

import msgspec
import pytest

from processors.intake.decoders import cloudevents, debezium, json_values
from processors.intake.mapped import Decoded, Skipped
from schemas.flow import Record, Refused
from schemas.source_decoders import DebeziumOptions
from tests.intake import NOW

PLAIN = DebeziumOptions()
ENCODE = msgspec.json.Encoder(decimal_format="number").encode


def decoded(decode: Any, value: Any, options: Any = None, **members: Any) -> Decoded:
    found = decode(record(value, **members), options)
    assert isinstance(found, Decoded)
    return found


def record(value: Any, key: Any = None, topic: str = "t", headers: Any = ()) -> Record:
    def raw(given: Any) -> bytes | None:
        return given if given is None or isinstance(given, bytes) else json.dumps(given).encode()

    return Record(topic, 0, 0, key=raw(key), value=raw(value), timestamp=NOW, headers=list(headers))


# --- bytes of other formats --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (b"\x00\x00\x00\x00\x07\x02\x08abcd\x00", "most likely Avro or Protobuf"),
        (b'\x00\x00\x00\x00\x07{"id": 1}', "JSON behind the prefix of a schema registry"),
        (b"Obj\x01\x04\x14avro.codec", "Avro container file"),
        (b"\x1f\x8b\x08\x00abc", "compressed with gzip"),
        (b"\x0a\x03\xff\xfe\x12", "binary"),
        (b"", "is empty"),
        (b"   ", "is empty"),
        (b"id=5&name=x", "is no JSON that can be read"),
        (b"{'id': 5}", "is no JSON that can be read"),
        (b'{"id": ', "is no JSON that can be read"),
        (b"\xff\xfe{\x00", "binary"),
        (b'{"a": "\xff"}', "is no JSON that can be read"),
    ],
)
def test_what_is_no_json_is_told(value: bytes, words: str) -> None:
    for decode in (json_values.decode, cloudevents.decode):
        with pytest.raises(Refused, match=words):
            decode(record(value), None)
    with pytest.raises(Refused, match=words):
        debezium.decode(record(value), PLAIN)


def test_json_may_begin_with_a_mark_of_its_encoding() -> None:
    assert decoded(json_values.decode, b'\xef\xbb\xbf{"a": 1}').value == {"a": 1}


# --- cloudevents -------------------------------------------------------------------------------

EVENT = {
    "specversion": "1.0",
    "id": "e1",
    "source": "/desk",
    "type": "desk.moved",
    "subject": "T-1",
    "time": "2026-03-02T10:00:00Z",
    "tenant": "north",
    "data": {"a": 1},
}
BINARY = [(f"ce_{name}", str(text).encode()) for name, text in EVENT.items() if name != "data"]


def test_both_forms_of_an_event_say_the_same() -> None:
    structured = decoded(cloudevents.decode, EVENT, key=b"T-1")
    binary = decoded(
        cloudevents.decode,
        {"a": 1},
        key=b"T-1",
        headers=[*BINARY, ("content-type", b"application/json; charset=utf-8")],
    )
    assert structured.value == binary.value
    assert structured.value["data"] == {"a": 1}
    assert structured.value["subject"] == "T-1"
    assert structured.value["extensions"] == {"tenant": "north"}
    assert "tenant" not in structured.value
    assert structured.key == binary.key == "T-1"


def test_headers_may_have_a_dash() -> None:
    heads = [(name.replace("ce_", "ce-"), text) for name, text in BINARY]
    assert decoded(cloudevents.decode, {"a": 1}, headers=heads).value["id"] == "e1"


def test_data_may_be_text_base64_or_nothing() -> None:
    text = [*BINARY, ("content-type", b"text/plain")]
    assert decoded(cloudevents.decode, b"hello", headers=text).value["data"] == "hello"
    assert decoded(cloudevents.decode, None, headers=BINARY).value["data"] is None
    event = {name: value for name, value in EVENT.items() if name != "data"}
    packed = base64.b64encode(b'{"a": 2}').decode()
    assert decoded(cloudevents.decode, event).value["data"] is None
    assert decoded(cloudevents.decode, {**event, "data_base64": packed}).value["data"] == {"a": 2}


@pytest.mark.parametrize(
    ("value", "headers", "words"),
    [
        ({"a": 1}, [], "neither the header ce_specversion nor a member"),
        ([EVENT], [], "a batch of events"),
        ({**EVENT, "specversion": "0.3"}, [], "specversion is not 1.x"),
        ({**EVENT, "id": 5}, [], "attribute id is missing or no text"),
        ({"a": 1}, BINARY[:2], "attribute source is missing"),
        (b"\x00\x01", [*BINARY, ("content-type", b"application/protobuf")], "the data is no JSON"),
        ({**EVENT, "data": None, "data_base64": "%"}, [], "data_base64 is no base64"),
    ],
)
def test_what_is_no_event_is_told(value: Any, headers: Any, words: str) -> None:
    with pytest.raises(Refused, match=words):
        cloudevents.decode(record(value, headers=headers), None)


# --- debezium ----------------------------------------------------------------------------------


def change(columns: list[dict[str, Any]], row: dict[str, Any], **members: Any) -> dict[str, Any]:
    def of(field: str) -> dict[str, Any]:
        return {"type": "struct", "fields": columns, "optional": True, "field": field}

    schema = {"type": "struct", "fields": [of("before"), of("after")], "name": "db.t.Envelope"}
    payload = {"before": None, "after": row, "source": {"lsn": 5}, "op": "c", "ts_ms": NOW}
    return {"schema": schema, "payload": {**payload, **members}}


def logical(name: str, kind: str = "int64", **more: Any) -> dict[str, Any]:
    return {"field": "x", "type": kind, "name": name, "optional": True, **more}


def unscaled(number: int) -> str:
    length = number.bit_length() // 8 + 1
    return base64.b64encode(number.to_bytes(length, "big", signed=True)).decode()


CONNECT = "org.apache.kafka.connect.data."
TIME = "io.debezium.time."
SCALE_2 = {"parameters": {"scale": "2"}}


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        (logical(f"{CONNECT}Decimal", "bytes", **SCALE_2), unscaled(4990), "49.90"),
        (logical(f"{CONNECT}Decimal", "bytes", **SCALE_2), unscaled(-5), "-0.05"),
        (logical(f"{CONNECT}Decimal", "bytes", parameters={"scale": "0"}), unscaled(7), "7"),
        (logical(f"{CONNECT}Decimal", "bytes", **SCALE_2), 49.9, "49.9"),
        (
            logical("io.debezium.data.VariableScaleDecimal", "struct"),
            {"scale": 3, "value": unscaled(1234)},
            "1.234",
        ),
        ({"field": "x", "type": "string"}, "49.90", '"49.90"'),
        (logical(f"{TIME}Date", "int32"), 20514, '"2026-03-02"'),
        (logical(f"{CONNECT}Date", "int32"), -1, '"1969-12-31"'),
        (logical(f"{TIME}Timestamp"), NOW + 5, '"2026-03-02T10:00:00.005Z"'),
        (logical(f"{TIME}MicroTimestamp"), NOW * 1000 + 7, '"2026-03-02T10:00:00.000007Z"'),
        (logical(f"{TIME}NanoTimestamp"), NOW * 10**6, '"2026-03-02T10:00:00Z"'),
        (logical(f"{TIME}MicroTime"), 36_000_500_000, '"10:00:00.5"'),
        (logical(f"{CONNECT}Time", "int32"), 36_000_000, '"10:00:00"'),
        (
            logical(f"{TIME}ZonedTimestamp", "string"),
            "2026-03-02T10:00:00Z",
            '"2026-03-02T10:00:00Z"',
        ),
        (logical(f"{TIME}MicroTimestamp"), 10**30, str(10**30)),
        (logical("io.debezium.data.Json", "string"), '{"a": [1]}', '{"a":[1]}'),
        (logical("io.debezium.data.Enum", "string"), "new", '"new"'),
        (
            {"field": "x", "type": "array", "items": logical(f"{TIME}Date", "int32")},
            [0],
            '["1970-01-01"]',
        ),
        (logical(f"{TIME}Date", "int32"), None, "null"),
    ],
)
def test_a_column_by_its_schema(column: dict[str, Any], value: Any, expected: str) -> None:
    found = decoded(debezium.decode, change([column], {"x": value}), PLAIN)
    assert ENCODE(found.value["after"]["x"]).decode() == expected


def test_a_scale_that_is_a_fraction_is_none() -> None:
    """That takes no time: to write out the number would take half a minute."""
    column = logical("io.debezium.data.VariableScaleDecimal", "struct")
    whole = change([column], {"x": {"scale": "SCALE", "value": unscaled(5)}})
    value = json.dumps(whole).replace('"SCALE"', "1e999999").encode()
    found = decoded(debezium.decode, value, PLAIN).value["after"]["x"]
    assert found["value"] == unscaled(5)


def test_without_the_schema_values_stay() -> None:
    whole = change([logical(f"{TIME}Date", "int32")], {"x": 20514})
    found = decoded(debezium.decode, whole["payload"], PLAIN, key={"id": 4})
    assert found.value["after"] == {"x": 20514}
    assert found.key == {"id": 4}


def test_what_the_database_did_not_tell_is_left_out() -> None:
    word = "__debezium_unavailable_value"
    as_bytes = base64.b64encode(word.encode()).decode()
    columns = [{"field": name, "type": "string"} for name in "abcd"]
    row = {"a": word, "b": as_bytes, "c": [word], "d": "kept"}
    assert decoded(debezium.decode, change(columns, row), PLAIN).value["after"] == {"d": "kept"}
    bare = change(columns, row)["payload"]
    assert decoded(debezium.decode, bare, PLAIN).value["after"] == {"d": "kept"}


def test_a_key_has_its_schema_too() -> None:
    schema = {"type": "struct", "fields": [logical(f"{CONNECT}Decimal", "bytes", **SCALE_2)]}
    key = {"schema": schema, "payload": {"x": unscaled(100)}}
    found = decoded(debezium.decode, change([], {}), PLAIN, key=key)
    assert str(found.key["x"]) == "1.00"


def skipped(value: Any, options: DebeziumOptions = PLAIN, topic: str = "t") -> str:
    found = debezium.decode(record(value, topic=topic), options)
    assert isinstance(found, Skipped)
    return found.code


def test_what_else_debezium_writes_is_left_out() -> None:
    heartbeat = {
        "schema": {"name": "io.debezium.connector.common.Heartbeat"},
        "payload": {"ts_ms": 1},
    }
    assert skipped(None) == "tombstone"
    assert skipped(heartbeat) == skipped({"ts_ms": 1}) == "heartbeat"
    assert skipped({"ts_ms": 1, "x": 2}, topic="__debezium-heartbeat.shop") == "heartbeat"
    assert skipped({"source": {}, "databaseName": "d", "ddl": "ALTER"}) == "schema_change"
    assert skipped({"status": "BEGIN", "id": "5", "event_count": None}) == "transaction_metadata"


def test_reads_of_a_snapshot() -> None:
    whole = change([], {}, op="r")
    assert decoded(debezium.decode, whole, PLAIN).backfill
    assert not decoded(debezium.decode, whole, DebeziumOptions(snapshot="live")).backfill
    assert skipped(whole, DebeziumOptions(snapshot="skip")) == "snapshot"
    assert not decoded(debezium.decode, change([], {}), PLAIN).backfill


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"id": 1, "owner": "x"}, "ExtractNewRecordState"),
        ([1], "it is no object"),
        ("text", "it is no object"),
        ({"schema": {}, "payload": None}, "it is no object"),
    ],
)
def test_what_is_no_change_event_is_told(value: Any, words: str) -> None:
    with pytest.raises(Refused, match=words):
        debezium.decode(record(value), PLAIN)
    with pytest.raises(Refused, match="no tombstone"):
        debezium.decode(record(None), DebeziumOptions(tombstones="dead_letter"))
