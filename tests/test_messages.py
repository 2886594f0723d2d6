"""What the originating team is told: in words that are true, and with what to do."""

import json

from processors.driver import Driver
from processors.integrity.processor import INTEGRITY
from schemas.flow import Record
from tests.core import Story, each_time, play, tables

FIELDS = [
    {"name": "budget", "type": "number"},
    {"name": "tone"},
    {"name": "score", "type": "integer"},
    {"name": "gift", "required": False},
]


def told(story: Story, topic: str = "handoff.signals") -> list[str]:
    outputs, _ = play(story, each_time)
    return [json.loads(o.value or b"{}")["message"] for o in outputs if o.topic == topic]


def test_a_signal_counts_broken_promises_only() -> None:
    story = {
        "contracts": [{"fields": FIELDS}],
        "inputs": [
            {"at": "09:00", "context": {"tone": "warm"}},
            {"at": "10:00", "handoff": "marketing", "context": {"budget": "9000", "score": 1.5}},
        ],
    }
    (message,) = told(story)
    assert message.endswith("(fields: 1 rebuilt, 2 not as asked).")


def test_a_signal_of_what_is_held_says_why_and_what_to_do() -> None:
    story = {
        "contracts": [{"fields": FIELDS, "hold_on": ["never_captured"]}],
        "inputs": [{"at": "10:00", "handoff": "marketing", "context": {"tone": "warm"}}],
    }
    (message,) = told(story)
    assert "because of never_captured (fields: 2 missing); amend it, release it" in message


def test_what_no_tool_captured_is_named_by_the_contracts_names() -> None:
    fields = [{"name": "history", "from": ["chat_log", "crm.transcript"]}]
    story = {
        "contracts": [{"fields": fields}],
        "inputs": [{"at": "10:00", "handoff": "marketing", "context": {"chatlog": "Hello"}}],
    }
    (message,) = told(story, "handoff.violations")
    assert message.endswith("under a name that the contract gives (chat_log, crm.transcript).")


def test_a_traceparent_that_is_none_is_not_passed_on() -> None:
    driver = Driver(INTEGRITY, tables({}))
    driver.assign(0, {})
    body = {"id": "e", "task_id": "t", "workflow": "w", "stage": "s", "tool": "x"}
    body |= {"occurred_at": "2026-11-22T10:00:00Z"}
    for number, (length, passed) in enumerate(((55, True), (4_000_000, False))):
        value = json.dumps(body | {"id": f"e{number}", "handoff": {"to": "nobody"}}).encode()
        headers = [("traceparent", b"0" * length)]
        record = Record("handoff.tool-outputs", 0, number, b"t", value, 0, headers)
        outputs = driver.step(record, 0)
        assert outputs
        assert all(("traceparent" in dict(o.headers)) is passed for o in outputs)
