"""What insights takes from the feed, and what it sets aside."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from processors.driver import Driver
from processors.insights.processor import FEED, INSIGHTS, facts
from schemas.feed import EDGE_COUNTS
from schemas.flow import Record
from tests.core import tables

EDGE: dict[str, Any] = {
    "of": "edge",
    "kind": "move",
    "workflow": "lead",
    "from_": "a/b",
    "to": "c",
    "first_seen": 1,
    "last_seen": 2,
}
PATTERN: dict[str, Any] = {
    "of": "pattern",
    "kind": "rejected",
    "workflow": "lead",
    "first_seen": 1,
    "last_seen": 2,
    "minutes": {"0": 1},
}
EDGE_KEY = b"move/lead/a%2Fb/c"


def step(key: bytes | None, value: bytes | None) -> str | None:
    """The code of the dead letter, None where the record was taken."""
    driver = Driver(INSIGHTS, tables({}))
    driver.assign(0, {})
    for output in driver.step(Record(FEED, 0, 0, key, value, 1), 1):
        headers = dict(output.headers)
        if "__streams.errors.exception" in headers:
            assert output.topic == "handoff.dead-letters"
            return headers["__streams.errors.exception"].decode()
    return None


@pytest.mark.parametrize(
    ("key", "given"), [(EDGE_KEY, EDGE), (b"contract/c/rejected", PATTERN), (b"x", PATTERN)]
)
def test_a_part_is_taken(key: bytes, given: dict[str, Any]) -> None:
    assert step(key, json.dumps(given).encode()) is None


@pytest.mark.parametrize(
    ("key", "given", "code"),
    [
        (b"move/lead/a/b/c", EDGE, "key_mismatch"),
        (b"handoff/lead/a%2Fb/c", EDGE, "key_mismatch"),
        (b"move/lead/a/c", PATTERN, "key_mismatch"),  # it would share a state with an edge
        (b"\xff", PATTERN, "key_mismatch"),
        (b"x" * (1 << 21), PATTERN, "key_mismatch"),
        (None, EDGE, "key_missing"),
        (EDGE_KEY, EDGE | {"of": "rumour"}, "wrong_shape"),
        (EDGE_KEY, {k: v for k, v in EDGE.items() if k != "of"}, "wrong_shape"),
        (EDGE_KEY, EDGE | {"counts": {"moves": -1}}, "wrong_shape"),
        (EDGE_KEY, EDGE | {"counts": {"moves": 1 << 41}}, "wrong_shape"),
        (EDGE_KEY, EDGE | {"accepted_in": {"401": 1}}, "wrong_shape"),
        (EDGE_KEY, EDGE | {"last_seen": 1 << 60}, "wrong_shape"),
        (b"x", PATTERN | {"minutes": {str(1 << 60): 1}}, "wrong_shape"),
        (b"x", PATTERN | {"errors": -1}, "wrong_shape"),
        (b"x", PATTERN | {"tasks": ["t" * (1 << 20)]}, "too_large"),
    ],
)
def test_what_is_no_part_is_a_dead_letter(key: bytes | None, given: Any, code: str) -> None:
    assert step(key, json.dumps(given).encode()) == code


def test_bytes_that_are_no_json_are_a_dead_letter() -> None:
    assert step(b"x", None) == "tombstone"
    assert step(b"x", b"{") == "not_json"


def test_edges_are_swept_by_the_contracts_of_their_workflow() -> None:
    found = tables(
        {
            "contracts": [
                {"id": "b"},
                {"id": "a", "version": 3},
                {"id": "c", "workflow": "support"},
                {"id": "d", "status": "draft"},
            ]
        }
    )
    assert facts(found, 0) == {
        "workflow lead": (("a", 3, False), ("b", 1, False)),
        "workflow support": (("c", 1, False),),
    }
    deprecated = tables({"contracts": [{"id": "b", "status": "deprecated"}]})
    # Another one documents the move now, though no version is another.
    assert facts(deprecated, 0) == {"workflow lead": (("b", 1, True),)}


def test_every_count_is_explained() -> None:
    page = (Path(__file__).parents[1] / "docs" / "insights.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (?:both|moves|handoffs) \|", page, re.MULTILINE)
    assert tuple(rows) == EDGE_COUNTS
