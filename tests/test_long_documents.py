"""Names of contracts and receivers have the limit that names of records have."""

from pathlib import Path
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from click.testing import CliRunner

from console.main import main
from schemas.documents import HandoffContract
from schemas.records import MAX_NAME_BYTES
from schemas.values import MAX_FIELDS, MAX_SENTENCE_BYTES

CONTRACT: dict[str, Any] = {
    "kind": "HandoffContract",
    "id": "c",
    "version": 1,
    "owner": {"name": "Ana", "contact": "ana@example.com"},
    "action": "Do it.",
    "workflow": "w",
    "from": {"team": "a", "stage": ["s", "u"]},
    "to": {"receiver": "r", "stage": "z"},
    "fields": [{"name": "f", "from": ["f", "g"], "classification": ["pii"]}],
    "rules": [{"name": "rule", "expr": "true", "message": "It holds."}],
    "accept": {"tools": ["one"]},
    "repeat": {"by": ["context.f"], "threshold": 2, "within": "PT1H", "receiver": "r"},
}
RECEIVER: dict[str, Any] = {
    "kind": "Receiver",
    "id": "r",
    "team": "t",
    "owners": [{"name": "Bo", "contact": "bo@example.com"}],
    "consumer_group": "g",
}
Steps = tuple[str | int, ...]
NAMES: list[tuple[dict[str, Any], Steps]] = [
    (CONTRACT, ("owner", "name")),
    (CONTRACT, ("owner", "contact")),
    (CONTRACT, ("workflow",)),
    (CONTRACT, ("from", "team")),
    (CONTRACT, ("from", "stage", 1)),
    (CONTRACT, ("to", "stage")),
    (CONTRACT, ("fields", 0, "name")),
    (CONTRACT, ("fields", 0, "from", 1)),
    (CONTRACT, ("fields", 0, "classification", 0)),
    (CONTRACT, ("rules", 0, "name")),
    (CONTRACT, ("accept", "tools", 0)),
    (RECEIVER, ("team",)),
    (RECEIVER, ("owners", 0, "name")),
    (RECEIVER, ("owners", 0, "contact")),
    (RECEIVER, ("consumer_group",)),
]
SENTENCES: list[tuple[dict[str, Any], Steps]] = [
    (CONTRACT, ("action",)),
    (CONTRACT, ("rules", 0, "message")),
]


def with_text(document: dict[str, Any], at: Steps, text: str) -> dict[str, Any]:
    changed: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(document))
    inside: Any = changed
    for step in at[:-1]:
        inside = inside[step]
    inside[at[-1]] = text
    return changed


def lint(tmp_path: Path, document: dict[str, Any]) -> list[str]:
    (tmp_path / "d.yaml").write_bytes(msgspec.json.encode(document))  # JSON is YAML
    result = CliRunner().invoke(main, ["contracts", "lint", str(tmp_path)])
    return [line for line in result.stdout.splitlines() if " the limit" in line]


@pytest.mark.parametrize(
    ("document", "at", "most"),
    [(d, at, MAX_NAME_BYTES) for d, at in NAMES]
    + [(d, at, MAX_SENTENCE_BYTES) for d, at in SENTENCES],
    ids=lambda value: ".".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_lint_names_what_is_too_long(
    tmp_path: Path, document: dict[str, Any], at: Steps, most: int
) -> None:
    fits = "é" * (most // 2)
    assert lint(tmp_path, with_text(document, at, fits)) == []
    (told,) = lint(tmp_path, with_text(document, at, fits + "x"))
    assert f" has {most + 1:,} bytes, the limit is {most:,}; shorten it" in told
    assert str(at[0]) in told


def test_a_contract_has_so_many_fields(tmp_path: Path) -> None:
    fields = [{"name": f"f{n}"} for n in range(MAX_FIELDS + 1)]
    assert lint(tmp_path, CONTRACT | {"fields": fields[1:]}) == []
    (told,) = lint(tmp_path, CONTRACT | {"fields": fields})
    assert told.endswith("fields: has more entries than 1,000, the limit; split the contract")


def test_the_schema_knows_the_limits() -> None:
    schema = jsonschema_rs.validator_for(HandoffContract.model_json_schema())
    assert schema.is_valid(CONTRACT)
    for document, at in (*NAMES, *SENTENCES):
        if document is CONTRACT:
            assert not schema.is_valid(with_text(CONTRACT, at, "x" * (MAX_SENTENCE_BYTES + 1)))
    fields = [{"name": f"f{n}"} for n in range(MAX_FIELDS + 1)]
    assert not schema.is_valid(CONTRACT | {"fields": fields})
