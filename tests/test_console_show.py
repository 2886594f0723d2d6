"""The story of a task: the order of its records, what stands at each hop, and who owns it now."""

import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result
from msgspec.structs import replace
from rich.console import Console

from console import hops, sequence, story, story_render
from console.kafka import Writer, connect
from console.main import main
from console.masking import MASK
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
from tests.core import CONTRACT, RECEIVER

DEMO = Path(__file__).parents[1] / "console" / "demo"
NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
FROM = From("sales", "qualify", "crm")
TO = To("marketing", "mkt", "nurture", "Dana Reyes", "dana@example.com")
CALLS = CONTRACT | {
    "workflow": "calls",
    "from": {"team": "desk", "stage": "desk"},
    "to": {"receiver": "r1", "stage": "call"},
}


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


# --- the command --------------------------------------------------------------------------------


def show(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["show", *arguments])


RECORDING = ("--from", str(DEMO / "sales.jsonl"), "--contracts", str(DEMO / "sales.yaml"))


def test_a_recording_is_told_without_a_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANDOFF_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    found = show("lead-2041", *RECORDING)
    assert found.exit_code == 0, found.stderr
    text = " ".join(found.stdout.split())
    assert "converse/call-recorder (sales): captured conversation_history, objections" in text
    assert "sent to marketing-nurture: 2 arrived, 1 translated, 5 rebuilt" in text
    assert "conversation_history ↺ rebuilt" in text
    assert "context_dropped objections" in text
    assert "hop 1: Dana Reyes <dana@nordlicht.example> of marketing" in text
    assert "24000" not in text, "no value without --values"
    parsed = json.loads(show("lead-2041", *RECORDING, "--output", "json").stdout)
    assert [each["what"] for each in parsed["timeline"]][:4] == ["output"] * 4
    assert parsed["handoffs"][0]["cells"]["budget"] == "rebuilt"
    assert parsed["open"] == [parsed["handoffs"][0]["id"]]


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("values", [(), ("--values",)])
def test_a_name_that_is_a_classified_value_is_masked(
    tmp_path: Path, form: str, values: tuple[str, ...]
) -> None:
    secret = "kim@b.example"
    lines = [
        {"id": "1", "stage": "converse", "context": {"contact_email": secret, "budget": 7}},
        {"id": "2", "context": {secret: "x", "tone": {secret.upper(): 1}}, "retracted": [secret]},
        {"id": "3", "context": {f"re {secret}": 1}, "handoff": {"to": "marketing-nurture"}},
    ]
    same = {"task_id": "t", "workflow": "inbound-lead", "stage": "qualify", "tool": "crm"}
    time = {"occurred_at": "2026-03-02T10:00:00Z", "team": "sales"}
    recording = tmp_path / "names.jsonl"
    recording.write_text("".join(json.dumps(same | time | line) + "\n" for line in lines))
    contracts = tmp_path / "sales.yaml"
    contracts.write_text((DEMO / "sales.yaml").read_text())
    arguments = ("--from", str(recording), "--contracts", str(contracts))
    result = show("t", *arguments, *values, "--output", form)
    assert result.exit_code == 0, result.output
    assert "kim" not in result.output.lower()
    assert MASK in result.output
    assert "tone" in result.output


@pytest.mark.parametrize("form", ["text", "json"])
def test_values_are_shown_when_asked_for_and_never_classified_ones(form: str) -> None:
    found = show("lead-2041", *RECORDING, "--values", "--output", form)
    assert "24000" in found.stdout
    for secret in ("Mara", "fjord", "40 shops"):
        assert secret not in found.stdout
    without = show("lead-2041", "--from", str(DEMO / "sales.jsonl"), "--values", "--output", form)
    assert without.exit_code == 0, without.stderr


@pytest.mark.parametrize("form", ["text", "json"])
def test_what_people_write_is_shown_without_what_is_classified(tmp_path: Path, form: str) -> None:
    """A phone number in the reason of an ack and of an amendment, and in words nobody declared."""
    fields = [{"name": "phone", "classification": "pii"}, {"name": "subject"}]
    contract = CALLS | {"fields": fields}
    receiver = RECEIVER | {"id": "r1", "team": "t"}
    said = {"workflow": "calls", "task_id": "c-1", "occurred_at": "2026-03-02T10:00:00Z"}
    output = said | {
        "id": "o-1",
        "stage": "desk",
        "tool": "crm",
        "context": {"phone": "+45 4545 4545", "subject": "Late parcel", "memo": "Ask for Kim Bo."},
        "handoff": {"to": "r1"},
    }
    documents_, recording = tmp_path / "documents.yaml", tmp_path / "recording.jsonl"
    documents_.write_text("\n---\n".join(map(json.dumps, (contract, receiver))))
    recording.write_text(json.dumps(output))
    arguments = ("c-1", "--from", str(recording), "--contracts", str(documents_))
    handoff = json.loads(show(*arguments, "--output", "json").stdout)["open"][0]
    of = said | {"handoff_id": handoff, "by": "Ilse"}
    ack = of | {"id": "a-1", "status": "accepted", "reason": "called +4545454545 twice"}
    thanks = of | {"id": "a-2", "status": "completed", "reason": "done at noon"}
    amend = of | {"id": "m-1", "action": "release", "reason": "now +45 4545 4545, I hope"}
    call = {"action": "set", "fields": {"phone": "+45 9999 8888"}, "reason": "it is +4599998888"}
    sets = of | call | {"id": "m-2"}
    lines = [("acks", ack), ("acks", thanks), ("amendments", amend), ("amendments", sets)]
    more = [json.dumps({"topic": f"handoff.{topic}", "value": value}) for topic, value in lines]
    recording.write_text("\n".join([json.dumps(output), *more]))
    found = show(*arguments, "--values", "--output", form)
    assert found.exit_code == 0, found.stderr
    for secret in ("4545", "Kim", "hope", "twice", "9999"):
        assert secret not in found.stdout
    for told in ("Late parcel", "done at noon", "••••"):
        assert told in found.stdout


@pytest.mark.parametrize(
    ("team", "told"), [("desk", True), ("billing", True), ("t", False), ("guests", False)]
)
@pytest.mark.parametrize("declared", [True, False])
def test_an_output_of_another_team_is_told_apart(
    tmp_path: Path, team: str, told: bool, declared: bool
) -> None:
    """The sender's team, or another registered one, writes at the receiver's stage."""
    contract = CALLS | {"fields": [{"name": "subject"}]}
    receivers = [
        RECEIVER | {"id": id_, "team": team_} for id_, team_ in (("r1", "t"), ("r2", "billing"))
    ]
    said = {"workflow": "calls", "task_id": "c-1", "tool": "bot", "context": {"subject": "parcel"}}
    first = {"id": "o-1", "stage": "desk", "occurred_at": "2026-03-02T10:00:00Z"}
    next_ = {"id": "o-2", "stage": "call", "occurred_at": "2026-03-02T10:05:00Z", "team": team}
    handed = {"handoff": {"to": "r1"}} if declared else {}
    documents_, recording = tmp_path / "documents.yaml", tmp_path / "recording.jsonl"
    documents_.write_text("\n---\n".join(map(json.dumps, (contract, *receivers))))
    recording.write_text(f"{json.dumps(said | first | handed)}\n{json.dumps(said | next_)}\n")
    arguments = ("c-1", "--from", str(recording), "--contracts", str(documents_))
    found = json.loads(show(*arguments, "--output", "json").stdout)
    outputs = [each["of_others"] for each in found["timeline"] if each["what"] == "output"]
    assert outputs == [False, told]
    words = "from another team than the receiver's"
    assert (words in " ".join(show(*arguments).stdout.split())) is told
    assert found["last_stage"] == ("desk" if told else "call")
    accepted = [each for each in found["timeline"] if each.get("kind") == "accepted"]
    assert bool(accepted) is (declared and not told)


def test_acks_and_deadlines_of_a_recording_are_told_where_they_fell(tmp_path: Path) -> None:
    """Two records of another topic, and a deadline between them that no line is about."""
    first = json.loads(show("lead-2041", *RECORDING, "--output", "json").stdout)
    handoff = first["open"][0]

    def ack(name: str, status: str, when: str) -> str:
        said = Ack(name, "inbound-lead", "lead-2041", status, "Dana", when, handoff)  # type: ignore[arg-type]
        return json.dumps({"topic": "handoff.acks", "value": msgspec.to_builtins(said)})

    path = tmp_path / "acked.jsonl"
    lines = (DEMO / "sales.jsonl").read_text()
    lines += ack("a1", "accepted", "2026-03-02T15:00:00Z") + "\n"
    lines += ack("a2", "completed", "2026-03-03T15:00:00Z") + "\n"
    path.write_text(lines)
    found = show("lead-2041", "--from", str(path), *RECORDING[2:], "--output", "json")
    told = json.loads(found.stdout)
    story = [
        each["at"][5:16] + " " + (each.get("status") or each.get("kind") or each["what"])
        for each in told["timeline"]
        if each["what"] in ("ack", "signal")
    ]
    assert story == [
        "03-02T10:00 sent",
        "03-02T14:00 stalled",
        "03-02T15:00 accepted",
        "03-02T15:00 accepted",
        "03-03T15:00 completed",
        "03-03T15:00 completed",
    ]
    assert (told["open"], told["handoffs"][0]["state"]) == ([], "completed")


def test_what_became_a_dead_letter_is_not_told_as_done(tmp_path: Path) -> None:
    """A lead's release without a reason, and an output that hands off twice to one receiver."""
    outputs = (DEMO / "sales.jsonl").read_text().splitlines()
    handoff = json.loads(show("lead-2041", *RECORDING, "--output", "json").stdout)["open"][0]
    release = {
        "id": "m1",
        "task_id": "lead-2041",
        "workflow": "inbound-lead",
        "handoff_id": handoff,
        "action": "release",
        "by": "Ilse",
        "occurred_at": "2026-03-02T11:00:00Z",
    }
    twice = {
        "id": "crm-9",
        "task_id": "lead-2041",
        "workflow": "inbound-lead",
        "stage": "elsewhere",
        "tool": "crm-sync",
        "occurred_at": "2026-03-02T11:30:00Z",
        "context": {},
        "handoff": {"to": "n" * 600},
    }
    path = tmp_path / "refused.jsonl"
    lines = [*outputs, json.dumps({"topic": "handoff.amendments", "value": release})]
    path.write_text("\n".join([*lines, json.dumps(twice)]))
    recording = ("--from", str(path), *RECORDING[2:])
    told = json.loads(show("lead-2041", *recording, "--output", "json").stdout)
    refused = [(each["what"], each["refused"]) for each in told["timeline"] if each.get("refused")]
    assert refused == [("amendment", "reason_missing"), ("output", "member_too_long")]
    assert told["last_stage"] == "qualify"
    text = " ".join(show("lead-2041", *recording).stdout.split())
    assert (
        "Ilse releases it (hop 1); became a dead letter (reason_missing), nothing followed" in text
    )


def test_an_unknown_task_is_one_sentence() -> None:
    found = show("lead-1", *RECORDING)
    assert (found.exit_code, found.stdout) == (1, "")
    assert found.stderr.count("\n") == 1
    assert "nobody has heard of a task 'lead-1'" in found.stderr
    assert "TASK is the task_id that tools send" in found.stderr
    pasted = show("h-a7865f13732877f7ad38bf3b9ae9ef92", *RECORDING)
    assert "; that is the id of a handoff, and TASK is the task_id" in pasted.stderr


def test_of_several_workflows_one_is_to_be_named(tmp_path: Path) -> None:
    path = tmp_path / "two.jsonl"
    lines = [output("e1", 0, 0), output("e2", 1, 1, workflow="other")]
    path.write_bytes(b"\n".join(each.value or b"" for each in lines))
    both = show("t", "--from", str(path))
    assert both.exit_code == 2
    assert "lead, other; say which: --workflow NAME" in both.stderr
    one = show("t", "--from", str(path), "--workflow", "other", "--output", "json")
    assert [each["event_id"] for each in json.loads(one.stdout)["timeline"]] == ["e2"]
    none = show("t", "--from", str(path), "--workflow", "third")
    assert (none.exit_code, "these have: lead, other" in none.stderr) == (1, True)


def test_contracts_go_with_a_recording() -> None:
    found = show("t", "--contracts", str(DEMO))
    assert (found.exit_code, "--contracts goes with --from" in found.stderr) == (2, True)


def test_the_topics_tell_the_same_story_as_the_recording(
    embedded: str, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HANDOFF_KAFKA_BOOTSTRAP_SERVERS", embedded)
    monkeypatch.setenv("HANDOFF_TOPIC_PREFIX", prefix)
    monkeypatch.setenv("HANDOFF_APPLICATION_ID", prefix.rstrip("."))
    run = CliRunner().invoke
    assert run(main, ["topics", "apply"]).exit_code == 0
    assert run(main, ["contracts", "apply", str(DEMO / "support.yaml")]).exit_code == 0
    path, paths = str(DEMO / "support.jsonl"), ["--contracts", str(DEMO / "support.yaml")]
    assert run(main, ["send", path]).exit_code == 0
    writer = Writer(connect())
    for line in run(main, ["dry-run", *paths, path]).stdout.splitlines():
        each = json.loads(line)
        if ".queue." not in each["topic"]:
            key, value = each["key"].encode(), json.dumps(each["value"]).encode()
            writer.write(each["topic"], key, value, [], "")
    writer.flush()
    task = json.loads(Path(path).read_text().splitlines()[0])["task_id"]
    live, rehearsed = (
        show(task, "--output", "json"),
        show(task, "--from", path, *paths, "--output", "json"),
    )
    assert live.exit_code == 0, live.stderr
    first, second = json.loads(live.stdout), json.loads(rehearsed.stdout)
    for part in ("handoffs", "violations", "fields", "open", "last_stage"):
        assert first[part] == second[part], part
    assert len(first["timeline"]) == len(second["timeline"])
    assert "held, so it still lies with support" in " ".join(show(task).stdout.split())
    assert show("no-such").exit_code == 1


def test_a_repeat_is_marked(tmp_path: Path) -> None:
    output = {"id": "1", "task_id": "T-1", "workflow": "w", "stage": "answer", "tool": "bot"}
    output |= {"team": "support", "occurred_at": "2026-03-02T10:00:00Z"}
    told = [output | {"context": {"a": 1}}, output | {"tool": "other", "context": {"b": 1}}]
    path = tmp_path / "outputs.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in [*told, told[0]]))
    result = CliRunner(env={"COLUMNS": "120"}).invoke(main, ["show", "T-1", "--from", str(path)])
    lines = [line for line in result.output.splitlines() if "captured" in line]
    assert [line.endswith("; a repeat, which counts once") for line in lines] == [
        False,
        False,
        True,
    ]
