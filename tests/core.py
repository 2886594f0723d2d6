"""Plays stories through the core: contracts, receivers and inputs as short plain data.

`test_scenarios` tells how a story is written.

What a story leaves out is filled in, so that a test shows only what it is about.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from processors.driver import Driver
from processors.integrity.processor import INTEGRITY
from processors.integrity.state import Task
from processors.timeline import Timeline
from schemas import documents, sources
from schemas.feed import Part
from schemas.flow import Output, Record
from schemas.serde import utc
from tests.fed import fed

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

SOURCE: Final[dict[str, Any]] = {
    "kind": "Source",
    "id": "tracker",
    "owner": {"name": "Ana Silva", "contact": "ana@example.com"},
    "topic": "tracker.events",
    "decode": "json",
    "defaults": {"task": "value.id", "workflow": {"value": "lead"}},
    "emit": [{"ack": {"status": {"value": "accepted"}, "by": "value.by"}}],
}

# What is neither a tool output nor a record of another topic.
REGISTERED: Final = frozenset({"contracts", "receivers", "liveness", "topics", "sources", "read"})
ANSWERS: Final[dict[str, dict[str, Any]]] = {
    "ack": {"status": "accepted"},
    "amendment": {"action": "set"},
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
    return Registry(story).tables()


class Registry:
    """What is registered in a story, as the compacted topics hold it."""

    def __init__(self, story: Story) -> None:
        self.topics: dict[str, dict[str, bytes]] = {name: {} for name in INTEGRITY.tables}
        self.existing: list[str] | None = None
        self.register({"contracts": [], "receivers": [{}]} | story, 0)

    def register(self, given: Story, now: int) -> None:
        """Take the contracts, receivers, liveness and topics of a story or of one of its inputs."""
        for name, default in (("contracts", CONTRACT), ("receivers", RECEIVER)):
            for each in given.get(name, []):
                document = documents.parse(default | each)
                self.topics[f"handoff.{name}"][documents.key(document)] = documents.to_json(
                    document
                )
        for each in given.get("liveness", []):
            found = {"receiver": "marketing", "checked_at": now} | each
            for member in ("checked_at", "last_live_at"):
                if isinstance(found.get(member), str):
                    found[member] = ms(found[member])
            value = json.dumps(found).encode()
            self.topics.setdefault("handoff.receiver-liveness", {})[found["receiver"]] = value
        for each in given.get("sources", []):
            source = sources.parse(SOURCE | each)
            self.topics["handoff.sources"][source.id] = sources.to_json(source)
        for source_id, time in given.get("read", {}).items():
            position = {
                "source": source_id,
                "topic": "tracker.events",
                "partitions": 1,
                "read_to": {"0": utc(ms(time))},
                "at": utc(now),
            }
            positions = self.topics["handoff.source-positions"]
            positions[f"{source_id}/tracker.events/0"] = msgspec.json.encode(position)
        self.existing = given.get("topics", self.existing)

    def tables(self) -> Any:
        existing = None if self.existing is None else frozenset(self.existing)
        return INTEGRITY.build_tables({name: dict(t) for name, t in self.topics.items()}, existing)


class Inputs:
    """The inputs of a story as Kafka records; each kind is numbered from 1."""

    def __init__(self) -> None:
        self._count: Counter[str] = Counter()

    def record(self, given: Story, outputs: list[Output]) -> tuple[Record, int]:
        """One input as its record, with the processor's clock. `outputs` is all that came before:
        an ack speaks of a handoff in there."""
        given = dict(given)
        at = given.pop("at", "09:00")
        timestamp, now = ms(given.pop("timestamp", at)), ms(given.pop("now", at))
        headers = [(name, text.encode()) for name, text in given.pop("headers", {}).items()]
        kind = next((kind for kind in ANSWERS if kind in given), None)
        topic = TOPIC if kind is None else f"handoff.{kind}s"
        self._count[topic] += 1
        number = self._count[topic]
        if kind is None:
            body = _output(given, number)
        else:
            body = {"id": f"{kind[:2]}{number}", "workflow": "lead", "task_id": "t1", "by": "Dana"}
            body |= ANSWERS[kind] | given.pop(kind)
            if "task" in body:
                body["task_id"] = body.pop("task")
            if (named := body.get("handoff_id")) is not None:
                body["handoff_id"] = handoff_ids(outputs).get(str(named), named)
        key = given.pop("key", body["task_id"])
        if "raw" in given:
            text = given.pop("raw")
            value = None if text is None else text.encode()
        else:
            when = body.pop("occurred_at", given.pop("occurred_at", at))
            body["occurred_at"] = ms(when) if TIME.fullmatch(str(when)) else when
            value = json.dumps(body | given).encode()
        encoded = None if key is None else str(key).encode()
        return Record(topic, 0, number - 1, encoded, value, timestamp, headers), now


def _output(given: Story, number: int) -> Story:
    if isinstance(given.get("handoff"), str):
        given["handoff"] = {"to": given["handoff"]}
    hands_off = "handoff" in given
    return {
        "id": given.pop("id", f"e{number}"),
        "task_id": given.pop("task", "t1"),
        "workflow": "lead",
        "stage": "qualify" if hands_off else "converse",
        "tool": "crm" if hands_off else "recorder",
        **({} if "stage" in given else {"team": "sales"}),  # another stage is another team's
    }


def handoff_ids(outputs: list[Output]) -> dict[str, str]:
    """What a story calls a handoff -> its id: `handoff of e2`, `handoff of e2 to marketing`."""
    ids: dict[str, str] = {}
    for output in outputs:
        if output.topic in ("handoff.packages", "handoff.held") and output.value is not None:
            package = json.loads(output.value)
            ids.setdefault(f"handoff of {package['event_id']}", package["id"])
            ids[f"handoff of {package['event_id']} to {package['to']['receiver']}"] = package["id"]
    return ids


def is_record(given: Story) -> bool:
    """Whether an input of a story is a record, and not a change of the tables or of the clock."""
    return given.keys() != {"at"} and given.keys().isdisjoint(REGISTERED)


class Feeding(Driver[Task]):
    """A driver that keeps what each transaction published for insights."""

    def __init__(self, tables: Any) -> None:
        super().__init__(INTEGRITY, tables)
        self.published: list[Output] = []

    def merge(self, changes: Iterable[tuple[int, str, bytes | None]]) -> None:
        self.published += self.sums()
        super().merge(changes)

    def fed(self) -> dict[str, Part]:
        """What all transactions together told of each subject."""
        return fed(self.published)


def play(story: Story, commit: Callable[[Driver[Task], int], None]) -> tuple[list[Output], Feeding]:
    """All that the story publishes; `commit` is called after each record with its number.

    Between its inputs the clock moves on, and what falls due meanwhile does; a transaction is
    committed before that too.
    """
    registry, inputs = Registry(story), Inputs()
    driver = Feeding(registry.tables())
    driver.assign(0, {})

    def settle() -> tuple[Output, ...]:
        driver.merge(list(driver.changelog()))
        return ()

    clock = Timeline(driver, settle)
    outputs: list[Output] = []
    number = 0
    for given in story["inputs"]:
        if is_record(given):
            record, now = inputs.record(given, outputs)
            outputs += clock.to(now)
            outputs += clock.step(record, now)
            number += 1
            commit(driver, number)
            continue
        moment = ms(given["at"])
        if given.keys() == {"at"}:
            outputs += clock.through(moment)
        else:
            outputs += clock.to(moment)
            registry.register(given, moment)
            outputs += clock.exchange(registry.tables())
    settle()
    return outputs, driver


def commit_into(store: dict[str, bytes], driver: Driver[Any]) -> None:
    """Commit; the store holds what a restart reads back."""
    changes = list(driver.changelog())
    for _, key, value in changes:
        if value is None:
            store.pop(key, None)
        else:
            store[key] = value
    driver.merge(changes)


def each_time(driver: Driver[Task], _: int) -> None:
    driver.merge(list(driver.changelog()))


def at_the_end(_: Driver[Task], __: int) -> None:
    pass


def first_revision(output: Output) -> bool:
    """Whether a record is the first package of a handoff, sent or held."""
    if output.topic not in ("handoff.packages", "handoff.held") or output.value is None:
        return False
    return bool(json.loads(output.value)["revision"] == 1)


def totals(driver: Driver[Task]) -> Counter[str]:
    """Each count, over all topics and labels."""
    counted: Counter[str] = Counter()
    for (name, _, _), number in driver.counts.items():
        counted[name] += number
    return counted
