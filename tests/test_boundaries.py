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


class BoundaryTask:
    """One task under its own limits; each thing that happens is a second later."""

    def __init__(self, *contracts: Story, **limits: int) -> None:
        processor = integrity(Limits(**limits))
        self.driver: Driver[Any] = Driver(processor, tables({"contracts": list(contracts)}))
        self.driver.assign(0, {})
        self.number = 0
        self.stored: dict[Any, bytes] = {}  # what the changelog holds
        self.parts: dict[str, dict[str, Any]] = {}  # what insights was told last of a subject

    def said(self, topic: str, **body: Any) -> list[Output]:
        """What a record publishes."""
        self.number += 1
        now = DAY_ONE + self.number * 1_000
        common = {"id": f"e{self.number}", "task_id": "t1", "workflow": "lead", "occurred_at": now}
        value = json.dumps(common | body).encode()
        record = Record(f"handoff.{topic}", 0, self.number, b"t1", value, now)
        outputs = self.driver.step(record, now)
        for part in self.driver.sums():
            self.parts[(part.key or b"").decode()] = json.loads(part.value or b"")
        changes = list(self.driver.changelog())
        self.driver.merge(changes)
        self.stored |= {key: encoded or b"" for _, key, encoded in changes}
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
    task = BoundaryTask({"fields": FIELDS[:1]}, value_bytes=20)
    for value in before:
        task.captures(a=value)
    task.captures(a=of_bytes(size))
    outputs = task.hands_off()
    assert context(outputs) == ({"a": of_bytes(size)} if kept else {})
    (violation,) = published(outputs, "violations")
    assert violation["reason"] == (None if kept else "not_kept")


@pytest.mark.parametrize(("size", "kept"), [(20, True), (21, False)])
def test_a_value_that_a_person_set_is_kept_like_any_other(size: int, kept: bool) -> None:
    task = BoundaryTask({"fields": FIELDS[:1]}, value_bytes=20)
    (package,) = published(task.hands_off(), "packages")
    body = {"handoff_id": package["id"], "action": "set", "by": "Dana", "reason": "asked"}
    outputs = task.said("amendments", **body, fields={"a": of_bytes(size)})
    assert context(outputs) == {"a": of_bytes(size)}, "the package has it anyway"
    assert context(task.hands_off()) == ({"a": of_bytes(size)} if kept else {})


@pytest.mark.parametrize(("others", "kept"), [(1, True), (2, False)])
def test_the_oldest_name_goes_when_there_is_one_too_many(others: int, kept: bool) -> None:
    task = BoundaryTask({"fields": FIELDS[:1]}, fields=2)
    task.captures(a=1)
    for number in range(others):
        task.captures(**{f"other{number}": number})
    assert task.count("captures_forgotten") == (not kept)
    assert context(task.hands_off()) == ({"a": 1} if kept else {})


def test_as_many_names_as_there_may_be_in_one_output() -> None:
    task = BoundaryTask({"fields": FIELDS}, fields=2)
    task.captures(a=1, b=2)
    assert task.count("captures_forgotten") == 0
    assert context(task.hands_off()) == {"a": 1, "b": 2}


@pytest.mark.parametrize(("handoffs", "expired"), [(2, 0), (3, 1), (5, 3)])
def test_the_oldest_handoff_goes_when_there_is_one_too_many(handoffs: int, expired: int) -> None:
    task = BoundaryTask({"complete_within": "P1D"}, open_handoffs=2)
    outputs: list[Output] = []
    for number in range(handoffs):
        outputs += task.hands_off(handoff={"to": "marketing", "part": str(number)})
    packages = published(outputs, "packages")
    gone = [each["handoff_id"] for each in published(outputs, "signals") if each["kind"] != "sent"]
    assert gone == [package["id"] for package in packages[:expired]]


@pytest.mark.parametrize(("others", "known"), [(1, True), (2, False)])
def test_as_many_retractions_are_known_as_names(others: int, known: bool) -> None:
    task = BoundaryTask({"fields": FIELDS[:1]}, fields=2)
    for name in ["a", *(f"other{number}" for number in range(others))]:
        assert not task.said("tool-outputs", stage="s", tool="t", retracted=[name])
    (violation,) = published(task.hands_off(), "violations")
    assert violation["kind"] == ("context_retracted" if known else "context_dropped")
    assert violation["reason"] == (None if known else "forgotten")


@pytest.mark.parametrize(("size", "known"), [(65_535, True), (65_536, False)])
def test_retracted_names_have_64_kibibytes(size: int, known: bool) -> None:
    task = BoundaryTask({"fields": FIELDS[:1]})
    for name in ("a", "x" * size):
        assert not task.said("tool-outputs", stage="s", tool="t", retracted=[name])
    (violation,) = published(task.hands_off(), "violations")
    assert violation["kind"] == ("context_retracted" if known else "context_dropped")
    assert violation["reason"] == (None if known else "forgotten")


@pytest.mark.parametrize(("size", "told"), [(1_000, True), (1_001, False)])
def test_an_edge_is_told_unless_its_names_are_too_long(size: int, told: bool) -> None:
    task = BoundaryTask({})
    from_ = "s" * 500
    to = "x" * (size - len(f"move/lead/{from_}/"))
    for stage in (from_, to):
        task.said("tool-outputs", stage=stage, tool="t")
    assert (f"move/lead/{from_}/{to}" in task.parts) is told
    assert task.count("feed_skipped") == (not told)


@pytest.mark.parametrize(("size", "kept"), [(20, True), (21, False)])
def test_what_a_package_put_under_a_name_is_kept_like_any_other(size: int, kept: bool) -> None:
    fields = [{"name": "renamed", "from": ["a"]}]
    onwards = {"id": "on", "from": {"stage": "nurture"}, "to": {"receiver": "marketing"}}
    second = onwards | {"fields": [{"name": "renamed"}]}
    task = BoundaryTask({"fields": fields}, second, value_bytes=20)
    task.hands_off(context={"a": of_bytes(size)})
    outputs = task.hands_off(stage="nurture", handoff={"to": "marketing", "contract": "on"})
    assert context(outputs) == ({"renamed": of_bytes(size)} if kept else {})


@pytest.mark.parametrize("long", ["stage", "tool", "id", "name"])
def test_what_a_sender_makes_long_does_not_grow_the_state(long: str) -> None:
    task = BoundaryTask({}, state_bytes=10_000)
    for number in range(60):
        text = f"{number:04}" + "x" * 2_000
        body: dict[str, Any] = {"stage": "s", "tool": "t", "context": {f"n{number}": 1}}
        body |= {"context": {text: 1}} if long == "name" else {long: text}
        task.said("tool-outputs", **body)
    held = sum(map(len, task.stored.values()))
    assert held < 3 * 10_000, "of 120,000"


@pytest.mark.parametrize(("size", "told"), [(200, True), (201, False)])
def test_a_name_is_told_unless_it_is_too_long(size: int, told: bool) -> None:
    """Stages and tools of patterns, and what a move carries."""
    task = BoundaryTask({})
    name = "x" * size
    task.said("tool-outputs", stage="s", tool="t")
    outputs = {"stage": name, "tool": name, "context": {name: 1}, "handoff": {"to": "gone"}}
    task.said("tool-outputs", **outputs)
    pattern = task.parts["receiver/gone/receiver_missing"]
    assert pattern.get("stages", {}) == pattern.get("tools", {}) == ({name: 1} if told else {})
    assert pattern.get("from_") == (name if told else None)
    move = task.parts[f"move/lead/s/{name}"]
    assert move.get("fields", {}) == ({name: {"integer": 1}} if told else {})


def test_an_answer_to_nobodys_handoff_names_no_stage_and_no_tool() -> None:
    task = BoundaryTask({})
    task.said("acks", handoff_id="h-1", status="accepted", by="Dana")
    pattern = task.parts["workflow/lead/unknown_handoff"]
    assert pattern["tasks"] == ["t1"]
    assert not pattern.keys() & {"stages", "tools", "from_", "receiver", "contract"}


@pytest.mark.parametrize(("names", "told"), [(64, 64), (65, 64)])
def test_a_move_tells_of_so_many_names(names: int, told: int) -> None:
    task = BoundaryTask({})
    task.said("tool-outputs", stage="s", tool="t")
    context = {f"n{number}": number for number in range(names)}
    task.said("tool-outputs", stage="u", tool="t", context=context)
    assert len(task.parts["move/lead/s/u"]["fields"]) == told


@pytest.mark.parametrize(("size", "told"), [(1_000, True), (1_001, False)])
def test_a_pattern_is_told_unless_its_names_are_too_long(size: int, told: bool) -> None:
    task = BoundaryTask({})
    to = "t" * 500
    stage = "x" * (size - len(f"edge/lead//{to}/contract_missing"))
    task.hands_off(stage=stage, handoff={"to": to})
    subject = f"edge/lead/{stage}/{to}/contract_missing"
    assert (subject in task.parts) is told
    assert task.count("feed_skipped") == (not told)
