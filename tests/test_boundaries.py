"""The limits of a task at their boundary, told by what is published: neither one byte too early nor
one too late."""

import json
from typing import Any, Final

import pytest

from processors.driver import Driver
from processors.integrity.limits import Limits
from processors.integrity.processor import integrity
from schemas.flow import Output, Record
from tests.core import DAY_ONE, Story, tables

FIELDS: Final = [{"name": "a"}, {"name": "b"}]


class Task:
    """One task under its own limits; each thing that happens is a second later."""

    def __init__(self, contract: Story, **limits: int) -> None:
        processor = integrity(Limits(**limits))
        self.driver: Driver[Any] = Driver(processor, tables({"contracts": [contract]}))
        self.driver.assign(0, {})
        self.number = 0

    def said(self, topic: str, **body: Any) -> list[Output]:
        """What a record publishes."""
        self.number += 1
        now = DAY_ONE + self.number * 1_000
        common = {"id": f"e{self.number}", "task_id": "t1", "workflow": "lead", "occurred_at": now}
        value = json.dumps(common | body).encode()
        record = Record(f"handoff.{topic}", 0, self.number, b"t1", value, now)
        outputs = self.driver.step(record, now)
        self.driver.merge(list(self.driver.changelog()))
        return outputs

    def captures(self, **context: Any) -> None:
        assert not self.said("tool-outputs", stage="converse", tool="recorder", context=context)

    def hands_off(self, **more: Any) -> list[Output]:
        sent = {"stage": "qualify", "tool": "crm", "handoff": {"to": "marketing"}}
        return self.said("tool-outputs", **(sent | more))

    def count(self, name: str) -> int:
        return sum(n for (what, _, _), n in self.driver.counts.items() if what == name)


def published(outputs: list[Output], topic: str) -> list[dict[str, Any]]:
    return [json.loads(o.value) for o in outputs if o.topic == f"handoff.{topic}" and o.value]


def context(outputs: list[Output]) -> dict[str, Any]:
    (package,) = published(outputs, "packages")
    found: dict[str, Any] = package["context"]
    return found


def of_bytes(number: int) -> str:
    """A text that has so many bytes as JSON."""
    return "x" * (number - 2)


@pytest.mark.parametrize(("size", "kept"), [(20, True), (21, False)])
@pytest.mark.parametrize("before", [[], ["other"], [{"object": 1}]])
def test_a_value_of_the_largest_size_is_kept(size: int, kept: bool, before: list[Any]) -> None:
    """Whatever stood under its name."""
    task = Task({"fields": FIELDS[:1]}, value_bytes=20)
    for value in before:
        task.captures(a=value)
    task.captures(a=of_bytes(size))
    outputs = task.hands_off()
    assert context(outputs) == ({"a": of_bytes(size)} if kept else {})
    (violation,) = published(outputs, "violations")
    assert violation["reason"] == (None if kept else "not_kept")


@pytest.mark.parametrize(("size", "kept"), [(20, True), (21, False)])
def test_a_value_that_a_person_set_is_kept_like_any_other(size: int, kept: bool) -> None:
    task = Task({"fields": FIELDS[:1]}, value_bytes=20)
    (package,) = published(task.hands_off(), "packages")
    body = {"handoff_id": package["id"], "action": "set", "by": "Dana", "reason": "asked"}
    outputs = task.said("amendments", **body, fields={"a": of_bytes(size)})
    assert context(outputs) == {"a": of_bytes(size)}, "the package has it anyway"
    assert context(task.hands_off()) == ({"a": of_bytes(size)} if kept else {})


@pytest.mark.parametrize(("others", "kept"), [(1, True), (2, False)])
def test_the_oldest_name_goes_when_there_is_one_too_many(others: int, kept: bool) -> None:
    task = Task({"fields": FIELDS[:1]}, fields=2)
    task.captures(a=1)
    for number in range(others):
        task.captures(**{f"other{number}": number})
    assert task.count("captures_forgotten") == (not kept)
    assert context(task.hands_off()) == ({"a": 1} if kept else {})


def test_as_many_names_as_there_may_be_in_one_output() -> None:
    task = Task({"fields": FIELDS}, fields=2)
    task.captures(a=1, b=2)
    assert task.count("captures_forgotten") == 0
    assert context(task.hands_off()) == {"a": 1, "b": 2}


@pytest.mark.parametrize(("handoffs", "expired"), [(2, 0), (3, 1), (5, 3)])
def test_the_oldest_handoff_goes_when_there_is_one_too_many(handoffs: int, expired: int) -> None:
    task = Task({"complete_within": "P1D"}, open_handoffs=2)
    outputs: list[Output] = []
    for number in range(handoffs):
        outputs += task.hands_off(handoff={"to": "marketing", "part": str(number)})
    packages = published(outputs, "packages")
    gone = [each["handoff_id"] for each in published(outputs, "signals") if each["kind"] != "sent"]
    assert gone == [package["id"] for package in packages[:expired]]
