"""Sources and foreign records as tests write them."""

import json
from pathlib import Path
from typing import Any

from processors.intake.compiled import CompiledSource, compile_source
from processors.intake.mapped import MappedRecord
from processors.intake.mapping import map_record
from schemas import sources
from schemas.alerts import ACTIONS
from schemas.flow import Record
from schemas.lint_sources import lint_sources
from schemas.loading import Documents, load
from schemas.sources import Source

NOW = 1_772_445_600_000  # 2026-03-02T10:00:00Z
EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SHARED = {
    "task": "value.id",
    "workflow": {"value": "ticket"},
    "tool": {"value": "desk"},
    "occurred_at": "value.at",
}


def source(**members: Any) -> Source:
    """A source over `value.id` and `value.at`, with other members than the usual ones; without an
    error of lint, so that it compiles."""
    data = {
        "kind": "Source",
        "id": "desk",
        "owner": {"name": "Ana Silva", "contact": "ana@example.com"},
        "topic": "desk.events",
        "decode": "json",
        "defaults": SHARED,
        "emit": [{"stage": {"value": "intake"}}],
        **members,
    }
    found = sources.parse(data)
    wrong = [p for p in lint_sources(Documents(intake_sources=(found,))) if p.level == "error"]
    assert wrong == []
    assert sources.from_json(sources.to_json(found)) == found
    return found


def compiled(**members: Any) -> CompiledSource:
    return compile_source(source(**members))


def entry(**members: Any) -> CompiledSource:
    """A source with one entry, of the stage `intake` unless it says another."""
    return compiled(emit=[{"stage": {"value": "intake"}, **members}])


def record(value: Any, key: Any = None, **members: Any) -> Record:
    """A foreign record; `value` and `key` are JSON, bytes as they are, None is nothing."""
    told = {"topic": "desk.events", "partition": 0, "offset": 7, "timestamp": NOW, **members}
    return Record(key=_bytes(key), value=_bytes(value), **told)


def _bytes(value: Any) -> bytes | None:
    return value if value is None or isinstance(value, bytes) else json.dumps(value).encode()


def event(**members: Any) -> dict[str, Any]:
    return {"id": "T-1", "at": "2026-03-02T10:00:00Z", **members}


def mapped(given: CompiledSource, value: Any, key: Any = None, **members: Any) -> MappedRecord:
    return map_record(given, record(value, key, **members), NOW)


def made(given: CompiledSource, value: Any, key: Any = None, **members: Any) -> list[Any]:
    """What a record became, as plain data; it must become something."""
    found = mapped(given, value, key, **members)
    assert found.refused is None, found
    assert found.skipped is None, found
    for output in found.records:
        value = json.loads(output.value or b"")
        assert output.key == value["key" if output.topic == ACTIONS else "task_id"].encode()
    return [json.loads(output.value or b"") for output in found.records]


def context(given: CompiledSource, value: Any, **members: Any) -> dict[str, Any]:
    (output,) = made(given, value, **members)
    found: dict[str, Any] = output.get("context", {})
    return found


def refused(given: CompiledSource, value: Any, key: Any = None, **members: Any) -> tuple[str, str]:
    """Code and sentence of a record that is refused."""
    found = mapped(given, value, key, **members)
    assert found.refused is not None, found
    assert not found.records
    return found.refused.code, found.refused.message


def example(name: str) -> Documents:
    """The documents of a folder of examples."""
    return load([EXAMPLES / name])
