"""What the originating team is told: in words that are true, and with what to do."""

import json
from typing import get_args

import pytest

from processors.driver import Driver
from processors.integrity import sentences
from processors.integrity.processor import INTEGRITY
from processors.integrity.state import CloseReason, OpenViolation
from schemas.flow import Record
from schemas.records import To, ViolationKind
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
    assert message.endswith(
        "under a name that the contract gives (chat_log, crm.transcript); there is "
        "chatlog: if that is it, add it to the field's from."
    )


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


NOTED = ("unknown_handoff", "link_refused")  # of no handoff, and never resolved
KINDS = [kind for kind in get_args(ViolationKind) if kind not in NOTED]
ENDS = ["sent_again", "released", "arrived_late", "amended", "accepted", "judged_again"]
ENDS += ["owner_named", "receiver_there", *get_args(CloseReason)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_end_of_every_violation_is_a_sentence(kind: ViolationKind) -> None:
    of_a_field = kind.startswith("context_") or kind in ("never_captured", "untranslatable")
    subject = "budget" if of_a_field else "rich" if kind == "rule_failed" else None
    violation = OpenViolation(kind, subject, 1, "error", 1, "e", 0, 0)
    for end in ENDS:
        said = sentences.resolved(violation, To("desk", None, None, None, None), end)
        assert said.endswith("."), said
        assert "desk" in said
        assert "None" not in said
        assert subject is None or subject in said


def test_an_answer_that_meets_nothing_says_what_to_check() -> None:
    story: Story = {
        "contracts": [{}],
        "inputs": [
            {"at": "09:00", "id": "a", "handoff": "marketing"},
            {"at": "09:10", "ack": {"handoff_id": "h-unheard", "status": "completed"}},
            {"at": "09:20", "amendment": {"handoff_id": "handoff of a", "action": "discard"}},
            {"at": "09:30", "ack": {"handoff_id": "handoff of a"}},
            {"at": "09:40", "amendment": {"handoff_id": "handoff of a", "action": "discard"}},
        ],
    }
    stray, sent, closed = told(story, "handoff.violations")
    assert stray == (
        "The ack completed changes nothing: this task never had that handoff; check its id, the "
        "task and the workflow."
    )
    assert sent == "The amendment discard changes nothing: that handoff is not held."
    assert closed == "The amendment discard changes nothing: that handoff is closed."


def test_a_stall_names_whom_to_ask_and_what_to_do() -> None:
    held: Story = {"id": "held", "to": {"receiver": "desk"}, "hold_on": ["never_captured"]}
    held |= {"release_within": "PT1H", "fields": FIELDS[:1]}
    story: Story = {
        "contracts": [{"accept_within": "PT1H"}, held],
        "receivers": [{}, {"id": "desk"}],
        "inputs": [
            {"at": "09:00", "id": "a", "handoff": [{"to": "marketing"}, {"to": "desk"}]},
            {"at": "10:30"},
        ],
    }
    stalled = sorted(told(story)[2:])
    assert stalled == [
        "The handoff to desk is still held, and nobody released it in time; amend, release or "
        "discard it.",
        "marketing has not accepted the handoff in time; ask Dana Reyes.",
    ]


def test_a_refused_amendment_names_the_field_and_never_the_value() -> None:
    story: Story = {
        "contracts": [{"hold_on": ["never_captured"], "fields": FIELDS}],
        "inputs": [
            {"at": "09:00", "id": "a", "handoff": "marketing"},
            {"amendment": {"handoff_id": "handoff of a", "fields": {"budget": "zq1"}}},
            {"amendment": {"handoff_id": "handoff of a", "fields": {"score": 7777.5}}},
        ],
    }
    for given in story["inputs"][1:]:
        given["at"] = "09:10"
    outputs, _ = play(story, each_time)
    letters = [dict(o.headers) for o in outputs if o.topic == "handoff.dead-letters"]
    said = [letter["__streams.errors.message"].decode() for letter in letters]
    assert all(name in text for name, text in zip(("budget", "score"), said, strict=True))
    assert all("lead-to-nurture" in text for text in said)
    assert not any("zq1" in text or "7777" in text for text in said)
