"""The value decoders over published samples, where the folder `shared` is there."""

import json
from pathlib import Path

import msgspec
import pytest

from processors.intake.decoders import cloudevents, debezium
from processors.intake.mapped import Decoded
from schemas.flow import Record
from schemas.source_decoders import DebeziumOptions

ENCODE = msgspec.json.Encoder(decimal_format="number").encode


def record(value: bytes, headers: list[tuple[str, bytes]] | None = None) -> Record:
    return Record("t", 0, 0, None, value, 0, headers or [])


@pytest.mark.parametrize("schema", ["exclude", "include"])
def test_change_events(schema: str, shared: Path) -> None:
    path = shared / "data" / "formats" / "debezium" / f"schema-{schema}.json"
    for name, event in json.loads(path.read_bytes()).items():
        found = debezium.decode(record(json.dumps(event).encode()), DebeziumOptions())
        assert isinstance(found, Decoded)
        after = found.value["after"]
        assert found.value["op"] == ("r" if name == "expected_snapshot" else "u")
        assert found.backfill == (name == "expected_snapshot")
        if schema == "exclude" or name != "expected_snapshot":  # whose schema names no column
            assert after["decimal_c"] == "EtaH"
            continue
        assert after["date_c"] == "2020-07-17"
        assert after["time_c"].startswith("18:00:22")
        assert after["datetime3_c"] == "2020-07-17T18:00:22.123Z"
        assert after["datetime6_c"] == "2020-07-17T18:00:22.123456Z"
        assert ENCODE(after["decimal_c"]) == b"123.4567"
        assert ENCODE(after["numeric_c"]) == b"346"


def test_events(shared: Path) -> None:
    files = sorted((shared / "data" / "formats" / "cloudevents").glob("*.json"))
    assert len(files) >= 4
    binary = [("ce_specversion", b"1.0"), ("ce_id", b"1"), ("ce_source", b"s"), ("ce_type", b"t")]
    for path in files:
        content = path.read_bytes()
        headers = binary if path.name.startswith("binary") else []
        found = cloudevents.decode(record(content, headers), None)
        assert isinstance(found, Decoded)
        whole = json.loads(content)
        assert found.value["data"] == (whole if headers else whole["data"])
