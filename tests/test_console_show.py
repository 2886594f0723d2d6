"""The story of a task: the order of its records, what stands at each hop, and who owns it now."""

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from rich.console import Console

from console import hops, sequence, story, story_render
from schemas import serde
from schemas.documents import HandoffContract
from schemas.flow import Record
from schemas.lifecycle import OPEN
from schemas.records import (
    Ack,
    From,
    Origin,
    Package,
    Provenance,
    Signal,
    To,
    ToolOutput,
    Violation,
)
from tests.core import CONTRACT

DEMO = Path(__file__).parents[1] / "console" / "demo"
NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
FROM = From("sales", "qualify", "crm")
TO = To("marketing", "mkt", "nurture", "Dana Reyes", "dana@example.com")


# --- records, short -----------------------------------------------------------------------------


def at(minute: float) -> datetime:
    return NOON + timedelta(minutes=minute)


def record(
    topic: str, body: msgspec.Struct, minute: float, offset: int = 0, partition: int = 0
) -> Record:
    held = topic == "handoff.held"
    key = (getattr(body, "id", "") if held else "t").encode()
    moment = serde.epoch_ms(at(minute))
    return Record(topic, partition, offset, key, serde.encode(body), moment)


def output(name: str, minute: float, offset: int, tool: str = "crm", **more: Any) -> Record:
    body = ToolOutput(name, "t", more.pop("workflow", "lead"), tool, at(minute), "qualify", **more)
    return record("handoff.tool-outputs", body, minute, offset)


def package(minute: float, handoff: str = "h-1", **more: Any) -> Record:
    fields: dict[str, Any] = {
        "id": handoff,
        "revision": 1,
        "task_id": "t",
        "event_id": "e1",
        "workflow": "lead",
        "contract": "lead-to-nurture",
        "contract_version": 1,
        "from_": FROM,
        "to": TO,
        "disposition": "sent",
        "action": None,
        "begun": "declared",
        "context": {},
        "provenance": {},
        "missing": [],
        "fidelity": 1.0,
        "completeness": 1.0,
        "violations": [],
        "overridden": False,
        "supersedes": None,
        "accept_by": at(240),
        "complete_by": at(2880),
        "note": None,
        "occurred_at": at(minute),
        "sent_at": at(minute),
        "hop": 1,
        "backfill": False,
        **more,
    }
    if fields["disposition"] == "held":
        fields.update(sent_at=None, accept_by=None, complete_by=None)
    topic = "handoff.held" if fields["disposition"] == "held" else "handoff.packages"
    return record(topic, Package(**fields), minute)


def violation(kind: str, minute: float, field: str | None = None, **more: Any) -> Record:
    handoff = more.get("handoff_id", "h-1")
    fields: dict[str, Any] = {
        "id": f"{handoff}:1:{kind}:{field or ''}",
        "status": "opened",
        "kind": kind,
        "severity": "error",
        "task_id": "t",
        "handoff_id": handoff,
        "event_id": "e1",
        "workflow": "lead",
        "contract": "lead-to-nurture",
        "contract_version": 1,
        "episode": 1,
        "field": field,
        "rule": None,
        "from_": FROM,
        "to": TO,
        "owner": "Dana Reyes",
        "owner_contact": None,
        "origin": None,
        "candidates": None,
        "last_seen_hop": None,
        "hop": 1,
        "disposition": "sent",
        "message": f"{kind} it is.",
        "reason": None,
        "resolution": None,
        "found_in": None,
        "occurred_at": at(minute),
        "detected_at": at(minute),
        "resolved_at": None,
        "backfill": False,
        **more,
    }
    return record("handoff.violations", Violation(**fields), minute)


def signal(kind: Any, minute: float, handoff: str = "h-1", **more: Any) -> Record:
    body = Signal(
        id=f"{handoff}:{kind}",
        kind=kind,
        late=more.get("late", False),
        supersedes=None,
        handoff_id=handoff,
        task_id="t",
        to_team="sales",
        receiver="marketing",
        owner=more.get("owner", "Dana Reyes"),
        message=f"It was {kind}.",
        occurred_at=more.get("occurred_at", at(minute)),
        at=at(minute),
        backfill=False,
    )
    return record("handoff.signals", body, minute)


def told(records: list[Record], contract: dict[str, Any] | None = None) -> story.TaskStory:
    made = HandoffContract.model_validate(
        {**CONTRACT, "fields": [{"name": "a"}], **(contract or {})}
    )
    events = sequence.in_order(sequence.of_task(records, "t"))
    return story.tell(events, "t", "lead", {"lead-to-nurture@1": made})


def text_of(found: story.TaskStory, now: datetime = NOON) -> str:
    stream = io.StringIO()
    for part in story_render.rendered(found, now):
        Console(file=stream, width=160).print(part)
    return stream.getvalue()


# --- the order ----------------------------------------------------------------------------------


def names(records: list[Record]) -> list[str]:
    found = []
    for event in sequence.in_order(sequence.of_task(records, "t")):
        body = event.body
        if isinstance(body, Violation):
            found.append(f"{body.status} {body.kind}")
        elif isinstance(body, Package):
            found.append(f"{body.disposition} {body.revision}")
        else:
            found.append(getattr(body, "id", "unread") if body is not None else "unread")
    return found


def test_what_follows_from_an_output_stands_behind_it_and_before_the_next() -> None:
    """All were sent at once, and judged five minutes later in one batch."""
    records = [
        signal("sent", 5),
        violation("context_dropped", 5, "a"),
        package(5),
        output("e0", 0, 0),
        output("e1", 0, 1),
        output("e2", 0, 2),
    ]
    assert names(records) == [
        *("e0", "e1", "sent 1", "opened context_dropped", "h-1:sent", "e2"),
    ]


def test_a_deadline_that_names_the_same_event_stands_where_it_fell_due() -> None:
    records = [
        output("e1", 0, 0),
        package(0),
        output("e2", 10, 1),
        violation("not_accepted", 30),
        output("e3", 40, 2),
    ]
    assert names(records) == ["e1", "sent 1", "e2", "opened not_accepted", "e3"]


def test_inputs_keep_the_order_of_their_partition_whatever_the_tools_clocks_say() -> None:
    records = [output("e2", -60, 1), output("e1", 0, 0), output("e3", 5, 2)]
    assert names(records) == ["e1", "e2", "e3"]


def test_an_implicit_handoff_stands_behind_the_receivers_output() -> None:
    """Its event is the first output at the receiving stage, its sender the one before."""
    records = [
        output("e1", 0, 0),
        output("n1", 0, 1, tool="nurture-bot"),
        output("n2", 0, 2, tool="nurture-bot"),
        package(5, event_id="n1", begun="implicit"),
        violation("handoff_missing", 5, event_id="n1"),
    ]
    assert names(records) == ["e1", "n1", "sent 1", "opened handoff_missing", "n2"]


def test_a_rejection_stands_behind_its_ack() -> None:
    ack = Ack("a1", "lead", "t", "rejected", "Dana", at(2), "h-1", "no budget")
    records = [
        violation("rejected", 5, event_id="a1"),
        signal("rejected", 5, occurred_at=at(2)),
        record("handoff.acks", ack, 2),
        output("e2", 3, 1),
        output("e1", 0, 0),
        package(0),
    ]
    assert names(records) == ["e1", "sent 1", "a1", "opened rejected", "h-1:rejected", "e2"]


def test_what_belongs_to_one_step_stays_together() -> None:
    """The record of the package was written a moment later than it was judged."""
    records = [
        output("e1", 0, 0),
        package(0, disposition="held"),
        signal("held", 0),
        output("e2", 9, 1),
        violation("context_dropped", 10, "a", status="resolved", resolved_at=at(10)),
        package(10.001, revision=2, sent_at=at(10)),
        signal("released", 10, occurred_at=at(9)),
    ]
    assert names(records) == [
        *("e1", "held 1", "h-1:held"),
        *("e2", "sent 2", "resolved context_dropped", "h-1:released"),
    ]


def test_a_promise_that_breaks_again_in_one_step_is_kept_first() -> None:
    """The receiver was unregistered, and now has no queue: the same violation, another episode."""
    kind = "receiver_missing"
    records = [
        output("e1", 0, 0),
        package(0, disposition="held"),
        violation(kind, 0),
        violation(kind, 9, status="resolved", detected_at=at(0), resolved_at=at(9)),
        violation(kind, 9, episode=2),
    ]
    records = [replace(each, offset=number) for number, each in enumerate(records)]
    ordered = ["e1", "held 1", f"opened {kind}", f"resolved {kind}", f"opened {kind}"]
    assert names(records) == ordered


def test_records_of_others_and_what_cannot_be_read() -> None:
    alien = Record("handoff.tool-outputs", 0, 9, b"t", b"nonsense", 0)
    other = Record("handoff.tool-outputs", 0, 8, b"other", b"{}", 0)
    gone = Record("handoff.held", 0, 1, b"h-1", None, 0)
    held = Record("handoff.held", 0, 2, b"h-9", b"nonsense", 0)
    assert names([alien, other, gone, held]) == ["unread"]
    assert "handoff.tool-outputs/0/9 is not what the topic holds" in text_of(told([alien]))


# --- the state of a handoff ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (["sent"], "sent"),
        (["sent", "stalled"], "sent, stalled"),
        (["sent", "stalled", "accepted"], "accepted"),
        (["sent", "accepted", "stalled", "reassigned"], "accepted, stalled"),
        (["sent", "accepted", "completed"], "completed"),
        (["sent", "accepted", "returned"], "returned"),
        (["sent", "stalled", "completed"], "completed"),
        (["sent", "rejected"], "rejected"),
        (["sent", "expired"], "expired"),
    ],
)
def test_signals_move_a_sent_handoff(kinds: list[str], expected: str) -> None:
    records = [package(0), *(signal(kind, 10 * n) for n, kind in enumerate(kinds))]
    found = told(records, {"complete_within": "P2D"})
    (hop,) = found.handoffs
    assert hop.state + (", stalled" if hop.stalled else "") == expected
    assert found.open == ([] if hop.state not in OPEN else ["h-1"])


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([package(0, disposition="held"), signal("held", 0)], "held"),
        ([package(0, disposition="held"), signal("stalled", 9)], "held, stalled"),
        (
            [package(0, disposition="held"), package(5, revision=2), signal("released", 5)],
            "sent",
        ),
        ([package(0, disposition="held"), signal("discarded", 9)], "discarded"),
        ([package(0, begun="implicit")], "completed"),
        ([package(0), signal("accepted", 1)], "completed"),
    ],
)
def test_other_ways(records: list[Record], expected: str) -> None:
    """The contract of these says nothing of completion, so acceptance completes."""
    (hop,) = told(records).handoffs
    assert hop.state + (", stalled" if hop.stalled else "") == expected


def test_a_second_send_supersedes_the_first_and_inherits_its_acceptance() -> None:
    records = [
        package(0),
        signal("accepted", 1),
        package(5, "h-2", event_id="e2", supersedes="h-1", hop=2),
    ]
    found = told(records, {"complete_within": "P2D"})
    assert [hop.state for hop in found.handoffs] == ["superseded", "accepted"]
    assert found.open == ["h-2"]


# --- fields -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "kind", "missing", "expected"),
    [
        ("arrived", None, False, "arrived"),
        ("rebuilt", "context_dropped", False, "rebuilt"),
        ("late", "context_dropped", False, "late"),
        ("as_sent", "context_malformed", False, "malformed"),
        ("as_sent", "untranslatable", False, "untranslatable"),
        ("as_sent", None, False, "as sent"),
        (None, "context_dropped", True, "dropped"),
        (None, "context_unstructured", True, "in words only"),
        (None, "never_captured", True, "never captured"),
        (None, "context_retracted", True, "retracted"),
        (None, None, True, hops.OPTIONAL),
    ],
)
def test_a_cell_says_what_became_of_a_field(
    how: Any, kind: str | None, missing: bool, expected: str
) -> None:
    origin = {} if how is None else {"a": Provenance(how, "s", "x", "e0", at(0), 1)}
    context = {"a": msgspec.Raw(b'"v"')} if origin else {}
    records = [package(0, context=context, provenance=origin, missing=["a"] if missing else [])]
    if kind is not None:
        records.append(violation(kind, 0, "a"))
    (hop,) = told(records).handoffs
    assert hop.cells == {"a": expected}


def test_a_loss_is_blamed_on_the_hop_after_the_one_that_last_carried_it() -> None:
    legal = To("legal", "legal", "review", None, None)
    carried = {"a": Provenance("arrived", "s", "x", "e0", at(0), 1)}
    origin = Origin("s", "x", "e0", at(0), "handoff.tool-outputs", 0, 0)
    records = [
        package(0, context={"a": msgspec.Raw(b"1")}, provenance=carried),
        package(10, "h-2", hop=2, event_id="e2", from_=From("mkt", "nurture", "x"), to=legal),
        package(20, "h-3", hop=3, event_id="e3", missing=["a"]),
        violation(
            "context_dropped", 20, "a", handoff_id="h-3", hop=3, last_seen_hop=1, origin=origin
        ),
    ]
    found = told(records)
    (lost,) = found.violations
    assert lost.lost_at == ["hop 2, nurture → legal"]
    assert [hop.cells.get("a") for hop in found.handoffs] == [
        "arrived",
        hops.PASSED_BY,
        "dropped",
    ]
    text = " ".join(text_of(found).split())
    assert "Last carried by hop 1; lost at hop 2, nurture → legal." in text


def test_a_trial_only_tells() -> None:
    records = [
        package(0, context={"a": msgspec.Raw(b"1")}, disposition="held"),
        violation("never_captured", 0, "b", contract_version=2, owner="Trial"),
        violation("owner_missing", 0),
    ]
    found = told(records)
    assert found.handoffs[0].cells == {"a": hops.OPTIONAL}
    assert found.handoffs[0].to_act == ["Dana Reyes"]
    assert len(found.violations) == 2


def test_a_violation_is_open_or_resolved_and_says_why() -> None:
    records = [
        package(0),
        violation("context_dropped", 0, "a"),
        violation(
            "context_dropped",
            9,
            "a",
            status="resolved",
            resolved_at=at(9),
            resolution="arrived_late",
        ),
        violation("not_accepted", 30),
    ]
    found = told(records)
    assert [(each.kind, each.status) for each in found.violations] == [
        ("context_dropped", "resolved"),
        ("not_accepted", "opened"),
    ]
    assert found.violations[0].opened_at == at(0)
    assert "arrived_late" in text_of(found)


# --- who owns it now ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([package(0)], "Dana Reyes <dana@example.com> of mkt (marketing), sent; accept by"),
        ([package(0, accept_by=at(-1))], "accept by 2026-03-02 11:59 UTC, passed"),
        (
            [package(0, disposition="held"), violation("never_captured", 0, "a")],
            "held, so it still lies with sales; to act: Dana Reyes",
        ),
        ([package(0), signal("reassigned", 5, owner="Jo Park")], "Jo Park of mkt"),
        ([package(0), signal("rejected", 5)], "No handoff is open. The last one, hop 1"),
        ([output("e1", 0, 0)], "It was never handed off: it is at qualify."),
    ],
)
def test_the_end_names_who_owns_it(records: list[Record], expected: str) -> None:
    text = " ".join(text_of(told(records, {"complete_within": "P2D"})).split())
    assert expected in text


def test_text_of_others_does_nothing_to_the_terminal() -> None:
    evil = "\x1b]0;title\x07[bold red]x"
    records = [
        output("e1", 0, 0, tool=evil, context={evil: msgspec.Raw(b"1")}, retracted=[evil]),
        package(0, missing=[evil], to=To(evil, evil, evil, evil, evil)),
        violation("context_dropped", 0, evil, message=evil, reason=evil),
        signal("sent", 0),
    ]
    text = text_of(told(records))
    assert not {"\x1b", "\x07"} & set(text)
    assert "[bold red]x" in text, "markup is text"
