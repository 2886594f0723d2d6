"""What no story can tell of the life of handoffs: late clocks, and the limits of what is kept."""

import json
from typing import Any, Final

import pytest

from processors.driver import Driver
from processors.integrity.processor import INTEGRITY
from processors.integrity.state import MAX_CLOSED, Task
from schemas.flow import Output, Record
from tests.core import DAY_ONE, tables

HOUR: Final = 3_600_000
ONE: Final[dict[str, Any]] = {"id": "one", "accept_within": "PT4H"}


def driver(*contracts: dict[str, Any]) -> Driver[Task]:
    made = Driver(INTEGRITY, tables({"contracts": list(contracts)}))
    made.assign(0, {})
    return made


def take(of: Driver[Task], topic: str, number: int, now: int, **body: Any) -> list[Output]:
    common = {"id": f"e{number}", "task_id": "t1", "workflow": "lead", "occurred_at": now}
    value = json.dumps(common | body).encode()
    outputs = of.step(Record(f"handoff.{topic}", 0, number, b"t1", value, now), now)
    of.merge(list(of.changelog()))
    return outputs


def hand_off(of: Driver[Task], number: int, now: int, **body: Any) -> list[Output]:
    sent: dict[str, Any] = {"stage": "qualify", "tool": "crm", "handoff": {"to": "marketing"}}
    sent["context"] = {"number": number}
    return take(of, "tool-outputs", number, now, **(sent | body))


def told(outputs: list[Output], topic: str) -> list[dict[str, Any]]:
    return [json.loads(o.value or b"") for o in outputs if o.topic == f"handoff.{topic}"]


def test_after_an_outage_a_stall_says_when_the_deadline_was_and_when_it_was_found() -> None:
    of = driver(ONE)
    hand_off(of, 1, DAY_ONE)
    outputs = of.fire(0, DAY_ONE + 4 * HOUR, DAY_ONE + 9 * HOUR, 10)
    (violation,), (signal,) = told(outputs, "violations"), told(outputs, "signals")
    assert (violation["occurred_at"], violation["detected_at"]) == (
        "2026-03-02T04:00:00Z",
        "2026-03-02T09:00:00Z",
    )
    assert (signal["occurred_at"], signal["at"]) == (
        "2026-03-02T04:00:00Z",
        "2026-03-02T09:00:00Z",
    )


def test_the_last_closed_handoffs_are_known_and_no_more() -> None:
    of = driver(ONE)
    ids = []
    for number in range(MAX_CLOSED + 1):
        (package,) = told(hand_off(of, 2 * number, DAY_ONE), "packages")
        ids.append(package["id"])
        take(of, "acks", 2 * number + 1, DAY_ONE, handoff_id=ids[-1], status="accepted", by="Dana")
    reasons = []
    for number, id_ in enumerate(ids[:2], start=900):
        said = {"handoff_id": id_, "status": "rejected", "by": "Dana", "reason": "no"}
        (violation,) = told(take(of, "acks", number, DAY_ONE, **said), "violations")
        reasons.append(violation["reason"])
    assert reasons == ["never_seen", "closed"]


def test_a_rejection_that_is_forgotten_is_resolved_first() -> None:
    """Its slot is sent again by nobody: with the last that is known of it, it ends."""
    of = driver(ONE)
    (package,) = told(
        hand_off(of, 1, DAY_ONE, handoff={"to": "marketing", "part": "p"}), "packages"
    )
    said = {"handoff_id": package["id"], "status": "rejected", "by": "Dana", "reason": "no"}
    take(of, "acks", 2, DAY_ONE, **said)
    for number in range(3, 3 + MAX_CLOSED + 1):
        outputs = hand_off(of, number, DAY_ONE)
    (resolved,) = told(outputs, "violations")
    assert (resolved["kind"], resolved["resolution"]) == ("rejected", "expired")
    assert resolved["handoff_id"] == package["id"]


@pytest.mark.parametrize("extra", ["pass", "strip"])
def test_what_is_refused_of_an_amendment_names_no_field_that_no_contract_gives(extra: str) -> None:
    """Such a name may be a value itself."""
    of = driver(ONE | {"extra": extra, "fields": [{"name": "tone", "type": "number"}]})
    (package,) = told(hand_off(of, 1, DAY_ONE), "packages")
    messages = []
    for number, fields in enumerate(({"a": 1, "kim@b.example": ""}, {"tone": "warm"}), start=2):
        said = {"handoff_id": package["id"], "action": "set", "fields": fields, "by": "Dana"}
        (letter,) = take(of, "amendments", number, DAY_ONE, **said)
        messages.append(dict(letter.headers)["__streams.errors.message"].decode())
    assert "field number" in messages[0]
    assert "kim" not in messages[0]
    assert '"tone"' in messages[1]
