"""Which sources a deadline waits for, and how far they were read."""

from typing import Any

import msgspec
import pytest

from processors.contracts.feeding import POSITIONS, SOURCES, behind, feeds, workflows
from schemas import sources
from schemas.serde import utc
from schemas.sources import Source


def source(**given: Any) -> Source:
    base: dict[str, Any] = {
        "kind": "Source",
        "id": "s",
        "owner": {"name": "Ana Silva", "contact": "ana@example.com"},
        "topic": "t",
        "decode": "json",
        "defaults": {"task": "value.id", "workflow": {"value": "bug"}},
        "emit": [{"stage": {"value": "triage"}}],
    }
    return sources.parse(base | given)


ALERT = {"alert": {"key": "value.dedup", "action": "ack", "by": "value.who"}}


def topics(*found: Source, **read: dict[str, Any]) -> dict[str, dict[str, bytes]]:
    """`read` are positions by key."""
    positions = {}
    for key, given in read.items():
        record = {"source": "s", "topic": "t", "partitions": 1, "at": utc(9_999), **given}
        record["read_to"] = {number: utc(at) for number, at in record["read_to"].items()}
        positions[key] = msgspec.json.encode(record)
    return {SOURCES: {each.id: sources.to_json(each) for each in found}, POSITIONS: positions}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"bug"}),
        ({"emit": [{"workflow": {"value": "a"}}, {"stage": {"value": "x"}}]}, {"a", "bug"}),
        ({"emit": [{"workflow": "value.kind"}, {"stage": {"value": "x"}}]}, None),
        ({"defaults": {"task": "value.id"}}, None),
        # What is said to alerts is of no workflow: no deadline waits for it.
        ({"defaults": {}, "emit": [ALERT]}, set()),
        ({"emit": [ALERT, {"stage": {"value": "x"}}]}, {"bug"}),
    ],
)
def test_a_source_feeds_the_workflows_that_it_names_or_any(
    given: dict[str, Any], expected: set[str] | None
) -> None:
    assert workflows(source(**given)) == expected


def test_of_all_partitions_the_one_read_least_counts_and_an_unknown_one_is_not_read() -> None:
    two = {"partitions": 2}
    (feed,) = feeds(topics(source(), a={**two, "read_to": {"0": 5_000}}))
    assert feed.read_to is None
    known = topics(source(), a={**two, "read_to": {"0": 5_000}}, b={**two, "read_to": {"1": 3_000}})
    (feed,) = feeds(known)
    assert feed.read_to == 3_000
    assert behind([feed], "bug", 3_000) is None
    assert behind([feed], "bug", 3_001) == feed
    assert behind([feed], "lead", 3_001) is None


def test_what_was_told_once_stays_true_and_a_partition_that_came_is_waited_for() -> None:
    stale = {"partitions": 2, "read_to": {"0": 2_000, "1": 6_000}}
    newer = {"partitions": 2, "read_to": {"0": 7_000}}
    (feed,) = feeds(topics(source(), a=stale, b=newer))
    assert feed.read_to == 6_000
    more = {"partitions": 3, "read_to": {"0": 8_000}}
    (feed,) = feeds(topics(source(), a=stale, b=more))
    assert feed.read_to is None


def test_every_topic_of_a_source_counts() -> None:
    both = source(topic=["t", "u"])
    (feed,) = feeds(topics(both, a={"read_to": {"0": 5_000}}))
    assert feed.read_to is None
    (feed,) = feeds(
        topics(both, a={"read_to": {"0": 5_000}}, b={"topic": "u", "read_to": {"0": 4_000}})
    )
    assert feed.read_to == 4_000


def test_a_source_that_is_retired_or_cannot_be_used_is_not_waited_for() -> None:
    found = topics(source(status="retired"))
    found[SOURCES]["broken"] = b"{}"
    found[SOURCES]["s/replay"] = b'{"source": "s"}'
    assert feeds(found) == ()


def test_a_position_that_cannot_be_read_is_none() -> None:
    found = topics(source())
    found[POSITIONS]["x"] = b"no"
    (feed,) = feeds(found)
    assert feed.read_to is None
