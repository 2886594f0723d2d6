"""A contract with a pattern that only a backtracking engine understands: refused where it is
written, and left out where it lies on the topic already (of an older version, or not of ours)."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from processors.contracts.registry import CONTRACTS, build_tables
from processors.driver import Driver
from processors.insights.processor import INSIGHTS
from processors.integrity.processor import INTEGRITY
from processors.integrity.state import Task
from schemas.loading import DocumentErrors, load
from tests.core import CONTRACT, Inputs, Registry

PATTERN = "(?<=(.*a){20})b"
SENTENCE = (
    f"the pattern {PATTERN!r} at pattern has a look-behind: only an engine that goes back and "
    "tries again understands that, and it may never end; write it without look-ahead, look-behind "
    "and back-references: as several patterns (allOf, not), or as a rule"
)
WITHOUT = {"fields": [{"name": "code", "schema": {"type": "string"}}]}


def on_the_topic(**more: Any) -> bytes:
    """As an older version registered it."""
    written = CONTRACT | {"version": 2, "fields": [{"name": "code", "from": ["code"]}]} | more
    written["fields"][0]["schema"] = {"type": "string", "pattern": PATTERN}
    return json.dumps(written).encode()


def test_it_is_refused_where_it_is_written(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(
        "kind: HandoffContract\nid: c\nversion: 1\nowner: {name: A, contact: a}\naction: Do.\n"
        "workflow: w\nfrom: {stage: s}\nto: {receiver: r}\n"
        "fields:\n  - name: code\n    schema:\n      type: string\n"
        f"      pattern: '{PATTERN}'\n"
    )
    with pytest.raises(DocumentErrors) as error:
        load([file])
    assert str(error.value) == f"{file}:11: fields[0].schema: {SENTENCE}"


def test_on_the_topic_it_is_left_out_and_that_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    registry = Registry({"contracts": [WITHOUT]})
    # In a field of its own name, so that no other test has been told of it.
    registry.topics[CONTRACTS]["said-once@2"] = on_the_topic(id="said-once")
    with caplog.at_level(logging.ERROR):
        for existing in (None, frozenset({"a"}), frozenset({"b"})):
            for processor in (INTEGRITY, INSIGHTS):
                tables = processor.build_tables(registry.topics, existing)
                assert list(tables.contracts) == ["lead-to-nurture"]
    assert [record.getMessage() for record in caplog.records] == [
        "handoff.contracts: the document said-once@2 cannot be used and is left out: "
        f"fields.0.schema: {SENTENCE}; correct it and apply it again"
    ]


def played(*documents: bytes) -> list[tuple[str, Any]]:
    """What a handoff with a text of 60,000 characters gives under these contracts."""
    registry, inputs = Registry({"contracts": []}), Inputs()
    for number, document in enumerate(documents, 1):
        registry.topics[CONTRACTS][f"lead-to-nurture@{number}"] = document
    driver: Driver[Task] = Driver(INTEGRITY, registry.tables())
    driver.assign(0, {})
    record, now = inputs.record({"context": {"code": "a" * 60_000}, "handoff": "marketing"}, [])
    found = driver.step(record, now)
    driver.merge(list(driver.changelog()))
    return [(each.topic, json.loads(each.value or b"null")) for each in found]


def test_its_handoffs_go_on_and_are_told_as_without_a_contract() -> None:
    found = played(on_the_topic(version=1))
    package = next(body for topic, body in found if topic == "handoff.packages")
    assert package["contract"] is None
    assert len(package["context"]["code"]) == 60_000
    kinds = [body["kind"] for topic, body in found if topic == "handoff.violations"]
    assert kinds == ["contract_missing"]


def test_an_earlier_version_that_can_be_used_judges_in_its_place() -> None:
    first = Registry({"contracts": [WITHOUT]}).topics[CONTRACTS]["lead-to-nurture@1"]
    found = played(first, on_the_topic(version=2))
    package = next(body for topic, body in found if topic == "handoff.packages")
    assert package["contract_version"] == 1
    assert not [topic for topic, _ in found if topic == "handoff.dead-letters"]


@pytest.mark.parametrize("version", [1, 2])
def test_corrected_under_the_same_version_it_judges_again(version: int) -> None:
    registry = Registry({"contracts": []})
    key = f"lead-to-nurture@{version}"
    registry.topics[CONTRACTS][key] = on_the_topic(version=version)
    assert not build_tables(registry.topics, None).contracts
    registry.register({"contracts": [WITHOUT | {"version": version}]}, 0)
    assert build_tables(registry.topics, None).contracts["lead-to-nurture"].version == version
