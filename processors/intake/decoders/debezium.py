"""The decoder `debezium`: change events as JSON, with or without the schema of Kafka Connect.

`value` is the payload: `before`, `after`, `source`, `op`, `ts_ms`. By the inline schema decimals
become numbers, days and times text as ISO 8601 has it (a column without a time zone is read as UTC,
as Debezium writes it), and JSON columns JSON. Without the schema values stay as they are. Columns
that the database did not tell are left out. (Debezium's connector documentation, "Data types" and
"Change event values".)
"""

import base64
import binascii
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from processors.intake.decoders.json_values import TOMBSTONE, read_value
from processors.intake.mapped import Decoded, Skipped
from processors.intake.values import read_json
from schemas.flow import Record, Refused
from schemas.source_decoders import DebeziumOptions

_UNAVAILABLE: Final = "__debezium_unavailable_value"
# The same as bytes, which Kafka Connect writes as base64.
_UNAVAILABLE_BYTES: Final = base64.b64encode(_UNAVAILABLE.encode()).decode()
_LACKING: Final = object()
_HEARTBEATS: Final = "__debezium-heartbeat."
_MOST_BYTES: Final = 512  # of a decimal's unscaled value
_MOST_SCALE: Final = 10_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_PER_SECOND: Final = {"milli": 1_000, "micro": 1_000_000, "nano": 1_000_000_000}
_TIMESTAMPS: Final = {
    "org.apache.kafka.connect.data.Timestamp": "milli",
    "io.debezium.time.Timestamp": "milli",
    "io.debezium.time.MicroTimestamp": "micro",
    "io.debezium.time.NanoTimestamp": "nano",
}
_TIMES: Final = {
    "org.apache.kafka.connect.data.Time": "milli",
    "io.debezium.time.Time": "milli",
    "io.debezium.time.MicroTime": "micro",
    "io.debezium.time.NanoTime": "nano",
}
_DATES: Final = ("org.apache.kafka.connect.data.Date", "io.debezium.time.Date")


def decode(record: Record, options: DebeziumOptions) -> Decoded | Skipped:
    """A change event as its payload. Tombstones, heartbeats, schema changes and the metadata of
    transactions are skipped. Raises `Refused`."""
    if record.value is None:
        if options.tombstones == "dead_letter":
            raise Refused(
                "tombstone", "the record has no value, and the source wants no tombstones"
            )
        return TOMBSTONE
    whole = read_value(record.value)
    payload, schema = _parts(whole)
    if type(payload) is not dict:
        raise Refused(
            "not_decoded", "the value is no change event of Debezium: it is no object; take json"
        )
    if "op" not in payload:
        return _other(record, payload, schema)
    key = _key(record.key)
    payload = _read(payload, schema)
    if payload is _LACKING or type(payload) is not dict:
        raise Refused("not_decoded", "the inline schema does not describe a change event")
    backfill = False
    if payload.get("op") == "r":
        if options.snapshot == "skip":
            return Skipped("snapshot", "it is a read of a snapshot, which the source leaves out")
        backfill = options.snapshot == "backfill"
    return Decoded(payload, key, backfill)


def _parts(whole: Any) -> tuple[Any, Any]:
    """The payload and its schema; None where there is no schema."""
    if type(whole) is dict and "payload" in whole and "schema" in whole:
        return whole["payload"], whole["schema"]
    return whole, None


def _key(data: bytes | None) -> Any:
    if data is None:
        return None
    try:
        whole = read_json(data, "the key")
    except Refused:
        return data.decode("utf-8", "replace")
    found = _read(*_parts(whole))
    return None if found is _LACKING else found


def _other(record: Record, payload: dict[str, Any], schema: Any) -> Skipped:
    """What else Debezium writes beside change events."""
    if record.topic.startswith(_HEARTBEATS) or _named(schema).endswith(".Heartbeat"):
        return Skipped("heartbeat", "it is a heartbeat of Debezium")
    if "ddl" in payload or "tableChanges" in payload:
        return Skipped("schema_change", "it tells of a change of the database's schema")
    if payload.get("status") in ("BEGIN", "END") and "id" in payload:
        return Skipped("transaction_metadata", "it tells of the begin or the end of a transaction")
    if payload.keys() == {"ts_ms"}:
        return Skipped("heartbeat", "it is a heartbeat of Debezium")
    raise Refused(
        "not_decoded",
        "the value is no change event of Debezium: it has no op; where the connector unwraps it "
        "(ExtractNewRecordState), take decode: json",
    )


def _named(schema: Any) -> str:
    name = schema.get("name") if type(schema) is dict else None
    return name if type(name) is str else ""


def _read(value: Any, schema: Any) -> Any:
    """The value by its schema, in plain JSON, or `_LACKING` where the database did not tell it."""
    if _unavailable(value):
        return _LACKING
    if type(schema) is not dict:
        return _plain(value)
    name = _named(schema)
    if name and (made := _logical(value, name, schema)) is not None:
        return made
    match schema.get("type"):
        case "struct" if type(value) is dict:
            fields = schema.get("fields")
            kinds = {
                field["field"]: field
                for field in (fields if type(fields) is list else ())
                if type(field) is dict and type(field.get("field")) is str
            }
            return _members({n: (v, kinds.get(n)) for n, v in value.items()})
        case "array" if type(value) is list:
            items = (_read(item, schema.get("items")) for item in value)
            return [item for item in items if item is not _LACKING]
        case "map" if type(value) is dict:
            return _members({n: (v, schema.get("values")) for n, v in value.items()})
    return _plain(value)


def _plain(value: Any) -> Any:
    if type(value) is dict:
        return _members({name: (inner, None) for name, inner in value.items()})
    return value


def _members(members: dict[str, tuple[Any, Any]]) -> dict[str, Any]:
    return {
        name: made
        for name, (value, schema) in members.items()
        if (made := _read(value, schema)) is not _LACKING
    }


def _logical(value: Any, name: str, schema: dict[str, Any]) -> Any:
    """The value of a logical type; None where it is another one, or not as that type is."""
    if name == "org.apache.kafka.connect.data.Decimal":
        parameters = schema.get("parameters")
        scale = parameters.get("scale") if type(parameters) is dict else None
        return _decimal(value, scale)
    if name == "io.debezium.data.VariableScaleDecimal" and type(value) is dict:
        return _decimal(value.get("value"), value.get("scale"))
    if name == "io.debezium.data.Json" and type(value) is str:
        return _json(value)
    if type(value) is not int:
        return None
    if name in _DATES:
        return _day(value)
    if name in _TIMESTAMPS:
        return _timestamp(value, _PER_SECOND[_TIMESTAMPS[name]])
    if name in _TIMES:
        return _time(value, _PER_SECOND[_TIMES[name]])
    return None


def _decimal(value: Any, scale: Any) -> Decimal | None:
    """A decimal from its unscaled value: big-endian two's complement in base64."""
    # A fraction is no scale, and to write out 1e999999 takes half a minute.
    if type(value) is not str or type(scale) not in (int, str):
        return None
    try:
        places = int(scale)
        raw = base64.b64decode(value, validate=True)
    except (TypeError, ValueError, binascii.Error):
        return None
    if not raw or len(raw) > _MOST_BYTES or abs(places) > _MOST_SCALE:
        return None
    unscaled = int.from_bytes(raw, "big", signed=True)
    digits = tuple(map(int, str(abs(unscaled))))
    return Decimal((int(unscaled < 0), digits, -places))


def _json(text: str) -> Any:
    try:
        return read_json(text, "a column")
    except Refused:
        return text


def _unavailable(value: Any) -> bool:
    if type(value) is str:
        return value in (_UNAVAILABLE, _UNAVAILABLE_BYTES)
    if type(value) is list:
        return value in ([_UNAVAILABLE], [_UNAVAILABLE_BYTES])
    return type(value) is dict and value == {_UNAVAILABLE: _UNAVAILABLE}


def _day(days: int) -> str | None:
    try:
        return (date(1970, 1, 1) + timedelta(days=days)).isoformat()
    except OverflowError:
        return None


def _timestamp(number: int, per_second: int) -> str | None:
    seconds, part = divmod(number, per_second)
    try:
        when = _EPOCH + timedelta(seconds=seconds)
    except OverflowError:
        return None
    return f"{when:%Y-%m-%dT%H:%M:%S}".rjust(19, "0") + f"{_fraction(part, per_second)}Z"


def _time(number: int, per_second: int) -> str | None:
    seconds, part = divmod(number, per_second)
    if not 0 <= seconds <= 86_400:
        return None
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour:02}:{minute:02}:{second:02}{_fraction(part, per_second)}"


def _fraction(part: int, per_second: int) -> str:
    return "." + f"{part:0{len(str(per_second)) - 1}}".rstrip("0") if part else ""
