"""Held handoffs whose contract cannot be read, or that an older version wrote, are not sent."""

import json
from typing import Any

import pytest

from processors.driver import Driver
from processors.integrity.processor import INTEGRITY
from processors.integrity.state import Task
from schemas.flow import Output
from tests.core import DAY_ONE, Inputs, Registry

NOW = DAY_ONE + 10 * 3_600_000
KEY = "lead-to-nurture@1"
CONTRACT = {"fields": [{"name": "budget"}], "hold_on": ["never_captured"]}
UNREADABLE = [None, b'{"kind": "HandoffContract", "of": "a newer version"}']


class HeldWorld:
    """One held handoff; `tell` plays one more input, `exchange` another record of its contract."""

    def __init__(self) -> None:
        self.registry, self.inputs = Registry({"contracts": [CONTRACT]}), Inputs()
        self.driver: Driver[Task] = Driver(INTEGRITY, self.registry.tables())
        self.driver.assign(0, {})
        self.contract = self.registry.topics["handoff.contracts"][KEY]
        self.all: list[Output] = []
        self.tell({"handoff": "marketing"})

    def tell(self, given: dict[str, Any]) -> list[tuple[str, Any]]:
        record, now = self.inputs.record(given, self.all)
        return self._settle(self.driver.step(record, now))

    def exchange(self, value: bytes | None) -> list[tuple[str, Any]]:
        topic = self.registry.topics["handoff.contracts"]
        topic.pop(KEY, None)
        if value is not None:
            topic[KEY] = value
        self.driver.tables = self.registry.tables()
        self.driver.notice(NOW)
        return self._settle(self.driver.sweep(NOW, 10))

    def written(self, *fields: str) -> bytes:
        """The contract's record as it would be with other fields."""
        written = json.loads(self.contract)
        (field,) = written["fields"]
        return json.dumps(
            written | {"fields": [field | {"name": name, "from": [name]} for name in fields]}
        ).encode()

    def _settle(self, outputs: list[Output]) -> list[tuple[str, Any]]:
        self.driver.merge(list(self.driver.changelog()))
        self.all += outputs
        return [(o.topic, None if o.value is None else json.loads(o.value)) for o in outputs]


@pytest.mark.parametrize("value", UNREADABLE, ids=["gone", "unreadable"])
def test_it_waits_until_its_contract_is_back(value: bytes | None) -> None:
    world = HeldWorld()
    assert world.exchange(value) == []
    fields = {"handoff_id": "handoff of e1", "fields": {"budget": 9}}
    ((topic, package),) = world.tell({"at": "09:10", "amendment": fields})
    assert (topic, package["revision"], package["missing"]) == ("handoff.held", 2, [])
    # Only now somebody can tell that this is what was missing.
    topics = [topic for topic, _ in world.exchange(world.contract)]
    assert topics == ["handoff.held", "handoff.packages", "handoff.violations", "handoff.signals"]


def test_a_person_may_send_it_all_the_same() -> None:
    world = HeldWorld()
    world.exchange(None)
    said = {"handoff_id": "handoff of e1", "action": "release", "reason": "They asked for it."}
    gone, (topic, package), signal = world.tell({"at": "09:10", "amendment": said})
    assert gone == ("handoff.held", None)
    assert topic == "handoff.packages"
    assert package["overridden"]
    assert signal[1]["kind"] == "released"


def test_a_version_written_anew_without_a_field_keeps_no_retraction_from_being_heard() -> None:
    """A registered version changes in status only, but its topic takes what anybody writes."""
    world = HeldWorld()
    world.exchange(world.written("budget", "other"))
    world.tell({"at": "09:05", "handoff": "marketing"})
    ((_, learnt), *_) = world.tell({"at": "09:10", "context": {"budget": 9}})
    assert learnt["provenance"]["budget"]["how"] == "late"
    world.exchange(world.written("other"))
    topic, package = world.tell({"at": "09:20", "retracted": ["budget"]})[0]
    assert (topic, package["context"], package["missing"]) == ("handoff.held", {}, ["other"])
