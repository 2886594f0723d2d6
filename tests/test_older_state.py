"""What the version before the feed left in the changelog: the map neither invents nor loses it."""

import json
from typing import Any

import msgspec
import pytest

from processors.driver import Driver
from processors.integrity.processor import INTEGRITY
from processors.integrity.state import Task
from schemas.feed import EdgePart, Part, PatternPart
from schemas.flow import Record
from tests.test_core_properties import START
from tests.test_life_properties import BACK, ONE, R1, tables

MEMBERS = 17  # of a task then
LAST = -1  # of an open handoff's members: that it was told
OPEN, ARRIVED = 6, 16
# A person completes it: nothing else is asked for, and nothing holds it.
SIMPLE = ONE | {"hold_on": [], "rules": [], "fields": [{"name": "a"}]}


class Life:
    """A core over one task; `age` makes its state what the older version would have written."""

    def __init__(self, *contracts: dict[str, Any]) -> None:
        self.store: dict[str, bytes] = {}
        self.tables = tables([*(contracts or (SIMPLE,)), R1])
        self.offset = 0
        self.start()

    def start(self) -> None:
        self.driver: Driver[Task] = Driver(INTEGRITY, self.tables)
        self.driver.assign(0, self.store)

    def age(self) -> None:
        for key, encoded in self.store.items():
            task = msgspec.msgpack.decode(encoded)[:MEMBERS]
            task[OPEN] = [handoff[:LAST] for handoff in task[OPEN]]
            if task[ARRIVED] is not None:
                task[ARRIVED] = task[ARRIVED][:LAST]
            self.store[key] = msgspec.msgpack.encode(task)
        self.start()

    def step(self, topic: str, **body: Any) -> dict[str, EdgePart | PatternPart]:
        """The sums after one input."""
        self.offset += 1
        now = START + self.offset * 1000
        body = {"id": str(self.offset), "task_id": "t", "workflow": "w", "occurred_at": now} | body
        value = json.dumps(body).encode()
        self.driver.step(Record(f"handoff.{topic}", 0, self.offset, b"t", value, now), now)
        found = {
            (output.key or b"").decode(): msgspec.json.decode(output.value or b"", type=Part)
            for output in self.driver.sums()
        }
        self.driver.merge(list(self.driver.changelog()))
        return found

    def output(self, stage: str, to: str | None = None) -> dict[str, EdgePart | PatternPart]:
        more = {} if to is None else {"handoff": {"to": to}}
        return self.step("tool-outputs", stage=stage, tool="x", context={"a": "v"}, **more)

    def handoff(self) -> str:
        (handoff,) = self.driver.processor.decode(next(iter(self.store.values()))).open
        return handoff.id


def counts(found: dict[str, EdgePart | PatternPart], subject: str) -> dict[str, int]:
    part = found[subject]
    assert isinstance(part, EdgePart)
    return part.counts


@pytest.mark.parametrize("status", ["accepted", "completed", "rejected"])
def test_what_becomes_of_a_handoff_that_was_never_told_is_not_told(status: str) -> None:
    life = Life()
    life.output("s1", to="r1")
    life.age()
    ack = {"handoff_id": life.handoff(), "status": status, "by": "Dana", "reason": "so"}
    assert "handoff/w/s1/r1" not in life.step("acks", **ack)


def test_what_takes_its_place_is_told_whole() -> None:
    life = Life()
    life.output("s1", to="r1")
    life.age()
    begun = counts(life.output("s1", to="r1"), "handoff/w/s1/r1")
    assert (begun["moves"], begun["sent"]) == (1, 1)
    assert not begun.keys() & {"superseded", "closed"}
    ack = {"handoff_id": life.handoff(), "status": "completed", "by": "Dana"}
    assert counts(life.step("acks", **ack), "handoff/w/s1/r1")["closed"] == 1


def test_a_task_that_was_handed_off_before_does_not_move_barely() -> None:
    life = Life(SIMPLE, BACK)
    life.output("s1", to="r1")
    life.age()
    first = counts(life.output("s3"), "move/w/s1/s3")
    assert first == {"moves": 1, "tasks": 1}
    second = counts(life.output("s4"), "move/w/s3/s4")
    assert (second["bare"], second["uncovered"]) == (1, 1)


def test_a_task_that_was_not_handed_off_still_does() -> None:
    life = Life()
    life.output("s1")
    life.age()
    first = counts(life.output("s3"), "move/w/s1/s3")
    assert (first["bare"], first["uncovered"]) == (1, 1)
