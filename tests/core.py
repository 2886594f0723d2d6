"""Plays stories through the core: contracts, receivers and inputs as short plain data.

What a story leaves out is filled in, so that a test shows only what it is about.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final

from processors.driver import Driver
from processors.integrity.processor import INTEGRITY
from processors.integrity.state import Task
from schemas import documents
from schemas.flow import Output, Record

TOPIC: Final = "handoff.tool-outputs"
DAY_ONE: Final = 1_772_409_600_000  # 2026-03-02T00:00:00Z
TIME: Final = re.compile(r"(?:day (\d+) )?(\d\d):(\d\d)(?::(\d\d))?")
CONTRACT: Final[dict[str, Any]] = {
    "kind": "HandoffContract",
    "id": "lead-to-nurture",
    "version": 1,
    "owner": {"name": "Ilse Kramer", "contact": "ilse@example.com"},
    "action": "Start the nurture track that fits.",
    "workflow": "lead",
    "from": {"team": "sales", "stage": "qualify"},
    "to": {"receiver": "marketing", "stage": "nurture"},
}
RECEIVER: Final[dict[str, Any]] = {
    "kind": "Receiver",
    "id": "marketing",
    "team": "marketing",
    "owners": [{"name": "Dana Reyes", "contact": "dana@example.com"}],
}

Story = dict[str, Any]


def ms(time: str) -> int:
    """`09:00` or `day 3 09:00` as epoch milliseconds."""
    match = TIME.fullmatch(time)
    assert match is not None, f"not a time of a scenario: {time!r}"
    day, hour, minute, second = (int(part or 0) for part in match.groups())
    return DAY_ONE + (((max(day, 1) - 1) * 24 + hour) * 60 + minute) * 60_000 + second * 1000


def tables(story: Story) -> Any:
    """The story's contracts and receivers, by way of the topics that they are read from."""
    topics: dict[str, dict[str, bytes]] = {"handoff.contracts": {}, "handoff.receivers": {}}
    for name, default in (("contracts", CONTRACT), ("receivers", RECEIVER)):
        for given in story.get(name, [{}] if name == "receivers" else []):
            document = documents.parse(default | given)
            topics[f"handoff.{name}"][documents.key(document)] = documents.to_json(document)
    existing = story.get("topics")
    return INTEGRITY.build_tables(topics, None if existing is None else frozenset(existing))


def records(story: Story) -> Iterator[tuple[Record, int]]:
    """The story's inputs as Kafka records, each with the processor's clock."""
    for number, given in enumerate(story["inputs"], start=1):
        yield _record(dict(given), number)


def _record(given: Story, number: int) -> tuple[Record, int]:
    at = given.pop("at", "09:00")
    timestamp, now = ms(given.pop("timestamp", at)), ms(given.pop("now", at))
    headers = [(name, text.encode()) for name, text in given.pop("headers", {}).items()]
    if isinstance(given.get("handoff"), str):
        given["handoff"] = {"to": given["handoff"]}
    hands_off = "handoff" in given
    body = {
        "id": given.pop("id", f"e{number}"),
        "task_id": given.pop("task", "t1"),
        "workflow": "lead",
        "stage": "qualify" if hands_off else "converse",
        "tool": "crm" if hands_off else "recorder",
        "team": "sales",
    }
    key = given.pop("key", body["task_id"])
    if "raw" in given:
        text = given.pop("raw")
        value = None if text is None else text.encode()
    else:
        occurred_at = given.pop("occurred_at", at)
        body["occurred_at"] = ms(occurred_at) if TIME.fullmatch(str(occurred_at)) else occurred_at
        value = json.dumps(body | given).encode()
    encoded = None if key is None else str(key).encode()
    return Record(TOPIC, 0, number - 1, encoded, value, timestamp, headers), now


def play(
    story: Story, commit: Callable[[Driver[Task], int], None]
) -> tuple[list[Output], Driver[Task]]:
    """All that the story publishes; `commit` is called after each record with its number."""
    driver = Driver(INTEGRITY, tables(story))
    driver.assign(0, {})
    outputs: list[Output] = []
    for record, now in records(story):
        outputs += driver.step(record, now)
        commit(driver, record.offset + 1)
    driver.merge(list(driver.changelog()))
    return outputs, driver


def each_time(driver: Driver[Task], _: int) -> None:
    driver.merge(list(driver.changelog()))


def at_the_end(_: Driver[Task], __: int) -> None:
    pass


def totals(driver: Driver[Task]) -> Counter[str]:
    """Each count, over all topics and labels."""
    counted: Counter[str] = Counter()
    for (name, _, _), number in driver.counts.items():
        counted[name] += number
    return counted
