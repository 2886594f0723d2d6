"""The same event again, long after: a task knows it by the handoffs that it made."""

import json
from typing import Any

import pytest

from processors.integrity.advance import advance
from processors.integrity.processor import INTEGRITY
from processors.integrity.state import MAX_EVENTS, Closed, Task
from schemas.flow import Output, Publish
from schemas.records import Violation
from tests.core import Inputs, each_time, first_revision, play, tables, totals


def after_a_replay(*between: dict[str, Any]) -> tuple[list[Output], Any]:
    """A handoff, `between`, more events than a task remembers, the handoff's event, and an ack."""
    sent = {"id": "first", "handoff": "marketing"}
    others = [{"at": "10:00"} for _ in range(MAX_EVENTS)]
    ack = {"at": "10:02", "ack": {"handoff_id": "handoff of first"}}
    inputs = [sent, *between, *others, {"at": "10:01"} | sent, ack]
    inputs = [{"id": f"e{n}"} | one if "ack" not in one else one for n, one in enumerate(inputs)]
    return play({"contracts": [{}], "inputs": inputs}, each_time)


@pytest.mark.parametrize(
    "between",
    [
        [],
        [{"handoff": "marketing", "at": "09:10"}],
        [{"at": "09:10", "ack": {"handoff_id": "handoff of first", "id": "earlier"}}],
    ],
    ids=["open", "superseded", "completed"],
)
def test_an_event_is_known_by_its_handoff(between: list[dict[str, Any]]) -> None:
    outputs, driver = after_a_replay(*between)
    began = [json.loads(output.value or b"")["id"] for output in outputs if first_revision(output)]
    assert len(began) == len(set(began))
    counts = totals(driver)
    assert counts["duplicates"] == 1
    assert counts["handoffs_accepted"] == 1
    assert counts["handoffs_begun"] == sum(
        n for (name, _, _), n in driver.counts.items() if name == "handoffs_closed"
    )


def test_successors_that_name_each_other_end() -> None:
    """Nothing writes such a state; whatever did, an ack of it must not hold up everything."""
    record, now = Inputs().record({"ack": {"handoff_id": "h-1"}}, [])
    closed = (Closed("h-1", "superseded", "h-2"), Closed("h-2", "superseded", "h-1"))
    task = Task("lead", "t1", closed=closed)
    arrival = INTEGRITY.parse(record, now)
    _, effects = advance(task, arrival, tables({}), now)
    (found,) = [effect.record for effect in effects if isinstance(effect, Publish)]
    assert isinstance(found, Violation)
    assert found.reason == "closed"
