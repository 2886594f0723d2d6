"""What people do about a handoff: `ack`, `amend`, `release`, `discard` and `held`."""

import json
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from confluent_kafka import Producer

from console.answers import CommandResult, SentCommand, answer, released
from console.commands.answering import read_fields
from console.commands.held import open_violations
from console.errors import BadInputError
from console.kafka import TopicReader, Writer, connect, write_all
from console.main import main
from schemas import serde
from schemas.flow import Record
from schemas.records import Ack, Amendment, Package, Provenance, Signal, To, Violation
from tests.commands import HandoffCommand, on_topic

DEMO = Path(__file__).parents[1] / "console" / "demo"
AT = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
TO = To("engineering", "eng", "fix", "Priya Nair", None)


@pytest.fixture(scope="module")
def story() -> list[dict[str, Any]]:
    """What the processor publishes for the demo's tickets: two of them are held."""
    arguments = ["dry-run", "--contracts", str(DEMO), str(DEMO / "support.jsonl")]
    lines = CliRunner().invoke(main, arguments).stdout.splitlines()
    return [json.loads(line) for line in lines]


def held_of(story: list[dict[str, Any]]) -> list[Package]:
    """What handoff.held holds in the end."""
    table: dict[str, Any] = {}
    for each in story:
        if each["topic"] == "handoff.held":
            table[each["key"]] = each["value"]
    return [
        msgspec.json.decode(msgspec.json.encode(value), type=Package)
        for value in table.values()
        if value is not None
    ]


# --- the answer to an ack or amendment ----------------------------------------------------------


def asked(wish: str) -> SentCommand:
    named: Any = wish
    if wish in ("accepted", "completed", "rejected"):
        return SentCommand(Ack("a1", "w", "t", named, "me", AT, "h-1"), "handoff.acks", 2, 7)
    amendment = Amendment("a1", "w", "t", "h-1", named, "me", AT)
    return SentCommand(amendment, "handoff.amendments", 2, 7)


def signal(kind: str, handoff: str = "h-1", at: datetime = AT, task: str = "t") -> Record:
    named: Any = kind
    found = Signal(
        "s", named, False, None, handoff, task, None, "r", None, "It is so.", at, at, False
    )
    return Record("handoff.signals", 0, 0, task.encode(), serde.encode(found), 0)


def package(
    story: list[dict[str, Any]], disposition: str, handoff: str = "h-1", event: str = "a1"
) -> Record:
    first = held_of(story)[0]
    found = msgspec.structs.replace(
        first,
        provenance=amended(first, event),
        id=handoff,
        disposition=disposition,
        revision=2,
        to=TO,
    )
    topic = "handoff.held" if disposition == "held" else "handoff.packages"
    return Record(topic, 0, 0, b"t", serde.encode(found), 0)


def amended(package: Package, event: str) -> dict[str, Provenance]:
    kept = Provenance("amended", "triage", "amendment", event, AT, 1, "me")
    return {**package.provenance, "os": kept}


def violation(story: list[dict[str, Any]], kind: str, event: str) -> Record:
    value = next(each["value"] for each in story if each["topic"] == "handoff.violations")
    found = msgspec.structs.replace(
        msgspec.convert(value, Violation), kind=kind, event_id=event, reason="closed", message="No."
    )
    return Record("handoff.violations", 0, 0, b"t", serde.encode(found), 0)


def letter(offset: int) -> Record:
    source = Record("handoff.acks", 2, offset, b"t", b"{}", 0)
    made = serde.dead_letter(source, ValueError())
    return Record(made.topic, 4, 9, made.key, made.value, 0, made.headers)


@pytest.mark.parametrize(
    ("wish", "kind", "expected"),
    [
        ("accepted", "accepted", "applied"),
        ("accepted", "completed", "applied"),
        ("accepted", "stalled", None),
        ("completed", "completed", "applied"),
        ("completed", "accepted", None),
        ("rejected", "rejected", "applied"),
        ("release", "released", "applied"),
        ("discard", "discarded", "applied"),
        ("discard", "released", None),
        ("set", "released", None),  # the package tells more, and comes with it
    ],
)
def test_a_signal_answers_what_it_is_about(wish: str, kind: str, expected: str | None) -> None:
    found = answer(asked(wish), signal(kind))
    assert (found and found.kind) == expected
    later = AT.replace(hour=11)
    assert answer(asked(wish), signal(kind, at=later)) is None, "another asked the same"
    assert answer(asked(wish), signal(kind, task="u")) is None


def test_an_ack_that_followed_the_successor_is_answered_too() -> None:
    assert answer(asked("accepted"), signal("accepted", handoff="h-2", at=AT)) == CommandResult(
        "applied", "accepted: It is so."
    )


@pytest.mark.parametrize(
    ("wish", "disposition", "expected"),
    [
        ("set", "held", "held"),
        ("set", "sent", "applied"),
        ("release", "sent", None),  # another's, or ours: the signal says whose
        ("discard", "held", None),
        ("accepted", "sent", None),
    ],
)
def test_a_package_answers_an_amendment(
    story: list[dict[str, Any]], wish: str, disposition: str, expected: str | None
) -> None:
    found = answer(asked(wish), package(story, disposition))
    assert (found and found.kind) == expected
    assert answer(asked(wish), package(story, disposition, handoff="h-2")) is None
    assert answer(asked(wish), package(story, disposition, event="another's")) is None
    if found is not None:
        assert "engineering, revision 2" in found.message


@pytest.mark.parametrize(
    ("to", "kind", "expected"),
    [
        (TO, "owner_missing", "sent to engineering, revision 2, owner Priya Nair"),
        (
            To("nobody-there", None, None, None, None),
            "receiver_missing",
            "released to no queue, revision 2: nobody-there is not registered. It is on "
            "handoff.packages alone: look there, or register the receiver (handoff receivers apply "
            "PATH)",
        ),
        (
            TO,
            "receiver_missing",
            "released to no queue, revision 2: engineering is retired, or its queue did not exist. "
            "It is on handoff.packages alone: look there",
        ),
    ],
)
def test_the_package_of_a_release_says_where_it_went(
    story: list[dict[str, Any]], to: To, kind: str, expected: str
) -> None:
    def sent(**more: Any) -> Record:
        given = {"overridden": True, "to": to, "violations": [f"h-1:0:{kind}:"], **more}
        found = msgspec.json.decode(package(story, "sent").value or b"", type=Package)
        value = serde.encode(msgspec.structs.replace(found, **given))
        return Record("handoff.packages", 0, 0, b"t", value, 0)

    found = released(asked("release"), sent())
    assert found is not None
    assert (found.kind, found.message) == ("applied", expected)
    assert released(asked("release"), sent(id="h-2")) is None
    assert released(asked("release"), sent(overridden=False)) is None
    assert released(asked("set"), sent()) is None


def test_a_violation_or_a_dead_letter_of_it_is_a_refusal(story: list[dict[str, Any]]) -> None:
    ack = asked("accepted")
    assert answer(ack, violation(story, "unknown_handoff", "a1")) == CommandResult(
        "refused", "No. (unknown_handoff, closed)"
    )
    assert answer(ack, violation(story, "unknown_handoff", "a2")) is None
    assert answer(ack, violation(story, "not_accepted", "a1")) is None
    refused = answer(ack, letter(7))
    assert refused is not None
    assert refused.kind == "refused"
    assert "handoff dead-letters show 4/9" in refused.message
    assert answer(ack, letter(8)) is None
    assert answer(ack, Record(serde.DEAD_LETTERS, 0, 0, b"t", b"{}", 0)) is None
    assert answer(ack, Record("handoff.signals", 0, 0, b"t", b"nonsense", 0)) is None
    assert answer(ack, Record("handoff.held", 0, 0, b"h-1", None, 0)) is None


# --- what is typed ------------------------------------------------------------------------------


def test_fields_keep_the_json_that_was_typed() -> None:
    fields = read_fields(('a={"b": 1.50}', "n=12345678901234567890", 's="x=y"'), ("t=a = b",))
    assert {name: bytes(raw) for name, raw in fields.items()} == {
        "a": b'{"b": 1.50}',
        "n": b"12345678901234567890",
        "s": b'"x=y"',
        "t": b'"a = b"',
    }


@pytest.mark.parametrize(
    ("values", "texts", "why"),
    [
        ((), (), "nothing to set"),
        (("budget",), (), "has no NAME="),
        (("=1",), (), "has no NAME="),
        (("budget=1", "budget=2"), (), "budget is set twice"),
        (("budget=1",), ("budget=1",), "budget is set twice"),
        (("name=Mara Lind",), (), "--text name=WORDS"),
        (("name=",), (), "not JSON"),
    ],
)
def test_bad_fields_are_named_without_their_value(
    values: tuple[str, ...], texts: tuple[str, ...], why: str
) -> None:
    with pytest.raises(BadInputError) as error:
        read_fields(values, texts)
    assert why in error.value.message
    assert "Mara" not in error.value.message


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["release", "h-1", "--by", "Ana"], "a release needs a reason"),
        (["release", "h-1", "--by", "Ana", "--reason", "  "], "a release needs a reason"),
        (["ack", "h-1", "--by", "Ana", "--status", "rejected"], "a rejection needs a reason"),
        (["ack", "h-1", "--by", " ", "--status", "accepted"], "--by is blank"),
        (["ack", "h-1", "--by", "Ana", "--status", "lost"], "'lost' is not one of"),
        (["discard", "h-1"], "Missing option '--by'"),
        (["amend", "h-1", "--by", "Ana"], "nothing to set"),
    ],
)
def test_what_is_missing_is_said_before_a_broker_is_asked(
    arguments: list[str], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HANDOFF_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.delenv("HANDOFF_BY", raising=False)
    result = CliRunner().invoke(main, arguments)
    assert (result.exit_code, why in result.stderr) == (2, True), result.stderr


def test_of_each_violation_the_last_record_counts(story: list[dict[str, Any]]) -> None:
    (held, *_) = held_of(story)
    found = [
        msgspec.convert(each["value"], Violation)
        for each in story
        if each["topic"] == "handoff.violations"
    ]
    assert [each.id for each in open_violations(found, held)] == held.violations
    resolved = [
        msgspec.structs.replace(each, status="resolved")
        for each in found
        if each.id == held.violations[0]
    ]
    assert [each.id for each in open_violations(found + resolved, held)] == held.violations[1:]


# --- on a broker --------------------------------------------------------------------------------


@pytest.fixture
def handoff(handoff: HandoffCommand, story: list[dict[str, Any]]) -> HandoffCommand:
    """The demo's tickets on the topics, as the processor would have put them there."""
    assert handoff("contracts", "apply", str(DEMO / "support.yaml")).exit_code == 0
    for topic in ("handoff.packages", "handoff.held", "handoff.violations", "handoff.signals"):
        these = [each for each in story if each["topic"] == topic and each["value"] is not None]
        gone = {e["key"] for e in story if e["topic"] == topic and e["value"] is None}
        write_all(
            connect(),
            topic,
            ((e["key"], json.dumps(e["value"]).encode()) for e in these if e["key"] not in gone),
        )
    return handoff


class FakeProcessor:
    """Stands for the processor: answers each ack or amendment with the records that it is given."""

    def __init__(self, topic: str, answers: list[Record]) -> None:
        self.asked: list[Record] = []
        self._topic, self._answers = topic, answers
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "FakeProcessor":
        self._reader = TopicReader(connect(), [self._topic], from_beginning=False)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()
        self._reader.close()

    def _run(self) -> None:
        limit = time.monotonic() + 20
        while not self.asked and time.monotonic() < limit:
            record = self._reader.poll(0.1)
            if record is not None:
                self.asked.append(record)
        writer = Writer(connect())
        for each in self._answers:
            assert each.key is not None
            assert each.value is not None
            writer.write(each.topic, each.key, each.value, each.headers, "")
        writer.flush()


def test_held_list_says_why_and_never_a_value(
    handoff: HandoffCommand, story: list[dict[str, Any]]
) -> None:
    expected = held_of(story)
    assert len(expected) >= 2
    found = handoff("held", "list", "--output", "json")
    assert found.exit_code == 0, found.stderr
    rows = json.loads(found.stdout)
    assert {row["id"] for row in rows} == {each.id for each in expected}
    unowned = next(row for row in rows if "owner_missing" in row["held_for"])
    assert unowned["owner"] is None
    listed = " ".join(handoff("held", "list").stdout.split())
    assert listed.count("nobody") >= 1
    assert "owner_missing: no owner of its receiver is in force" in listed
    only = json.loads(
        handoff("held", "list", "--receiver", unowned["receiver"], "--output", "json").stdout
    )
    assert unowned["id"] in {row["id"] for row in only}
    assert {row["receiver"] for row in only} == {unowned["receiver"]}
    none = handoff("held", "list", "--workflow", "no-such")
    assert (none.exit_code, "nothing of what was asked for is held" in none.stderr) == (0, True)
    shown = handoff("held", "show", unowned["id"])
    assert shown.exit_code == 0
    assert "owner_missing" in shown.stdout
    values = [bytes(raw) for each in expected for raw in each.context.values()]
    for text in (found.stdout, handoff("held", "list").stdout):
        assert not any(raw.decode() in text for raw in values if len(raw) > 6)
    told = json.loads(handoff("held", "show", unowned["id"], "--output", "json").stdout)
    assert [each["id"] for each in told["open"]] == told["violations"]
    assert "handoff release ID --by YOU --reason WHY" in shown.stderr
    cluster = connect()
    place = cluster.name("handoff.held"), cluster.partition_of("handoff.held", unowned["id"])
    producer = Producer({"bootstrap.servers": cluster.settings.kafka_bootstrap_servers})
    producer.produce(place[0], None, unowned["id"].encode(), place[1])
    assert producer.flush(20) == 0
    tailed = handoff("tail", "held", "--from-beginning", "--timeout", "1").stdout
    assert unowned["id"] not in tailed
    assert tailed.count("HELD") == len(expected) - 1
    raw = handoff("tail", "held", "--from-beginning", "--timeout", "1", "--output", "json").stdout
    assert unowned["id"] in raw
    unknown = handoff("held", "show", "h-none")
    assert (unknown.exit_code, "is not held now" in unknown.stderr) == (2, True)


def test_held_show_masks_what_tells_a_value_that_only_an_input_of_the_task_has(
    handoff: HandoffCommand, story: list[dict[str, Any]], tmp_path: Path
) -> None:
    held = held_of(story)[0]
    noted = msgspec.structs.replace(held, note="ring kim@b.example", id="h-noted")
    write_all(connect(), "handoff.held", [("h-noted", serde.encode(noted))])
    reach = {
        "kind": "HandoffContract", "id": "reach", "version": 1, "action": "Do it.",
        "owner": {"name": "Ana Silva", "contact": "ana@example.com"}, "workflow": held.workflow,
        "from": {"stage": "elsewhere"}, "to": {"receiver": held.to.receiver},
        "fields": [{"name": "reporter_email", "classification": "pii"}],
    }  # fmt: skip
    (tmp_path / "reach.yaml").write_text(json.dumps(reach))
    assert handoff("contracts", "apply", str(tmp_path / "reach.yaml")).exit_code == 0
    assert "ring kim@b.example" in handoff("held", "show", "h-noted").stdout
    said = {
        "id": "e-late", "task_id": held.task_id, "workflow": held.workflow, "stage": "triage",
        "tool": "x", "occurred_at": "2026-03-02T10:00:00Z",
        "context": {"reporter_email": "kim@b.example"},
    }  # fmt: skip
    assert handoff("send", "-", lines=json.dumps(said)).exit_code == 0
    masked = handoff("held", "show", "h-noted").stdout
    assert "kim@b.example" not in masked
    assert "h-noted" in masked


def test_an_amendment_is_found_by_its_id_written_and_waited_for(
    handoff: HandoffCommand, story: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("console.commands.answering._id", lambda: "a1")
    held = held_of(story)[0]
    reply = package(story, "sent", held.id)
    key = held.task_id.encode()
    with FakeProcessor(
        "handoff.amendments", [msgspec.structs.replace(reply, key=key)]
    ) as processor:
        result = handoff("amend", held.id, "--text", "os=Linux", "--reason", "asked the customer")
    assert result.exit_code == 0, result.stderr
    assert "sent to engineering, revision 2, owner Priya Nair" in result.stdout
    (record,) = processor.asked
    assert record.key == key
    assert record.value is not None
    said = msgspec.json.decode(record.value, type=Amendment)
    assert (said.task_id, said.workflow, said.handoff_id) == (
        held.task_id,
        held.workflow,
        held.id,
    )
    assert (said.by, said.reason, said.action) == ("Ana Silva", "asked the customer", "set")
    assert bytes(said.fields["os"]) == b'"Linux"'


@pytest.mark.parametrize("order", ["signal first", "package first"])
def test_a_release_says_revision_and_owner_in_whatever_order_it_is_read(
    handoff: HandoffCommand,
    story: list[dict[str, Any]],
    order: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("console.commands.answering._now", lambda: AT)
    held = next(each for each in held_of(story) if each.to.owner is None)
    key = held.task_id.encode()
    sent = msgspec.structs.replace(held, disposition="sent", overridden=True, revision=2)
    answers = [
        msgspec.structs.replace(signal("released", held.id, task=held.task_id), key=key),
        Record("handoff.packages", 0, 0, key, serde.encode(sent), 0),
    ]
    if order == "package first":
        answers.reverse()
    with FakeProcessor("handoff.amendments", answers):
        result = handoff("release", held.id, "--reason", "the customer is down")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[0] == (
        f"sent to {held.to.receiver}, revision 2, owner nobody"
    )


def test_still_held_says_why_without_a_value(
    handoff: HandoffCommand, story: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("console.commands.answering._id", lambda: "a1")
    held = next(each for each in held_of(story) if each.to.owner is None)
    provenance = amended(held, "a1")
    again = serde.encode(msgspec.structs.replace(held, revision=2, provenance=provenance))
    reply = Record("handoff.held", 0, 0, held.id.encode(), again, 0)
    with FakeProcessor("handoff.amendments", [reply]):
        result = handoff("amend", held.id, "--set", 'steps="a secret"', "--output", "json")
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert (told["outcome"], told["revision"]) == ("held", 2)
    assert "owner_missing" in told["held_for"]
    assert "secret" not in result.stdout


def test_a_redirect_to_nobody_says_why_it_is_still_held(
    handoff: HandoffCommand, story: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("console.commands.answering._id", lambda: "a1")
    held = held_of(story)[0]
    broken = f"{held.id}:0:receiver_missing:"
    told = msgspec.structs.replace(
        held, to=To("x", None, None, None, None), violations=[broken], contract=None
    )
    value = next(each["value"] for each in story if each["topic"] == "handoff.violations")
    why = "x is not registered, so nobody receives this handoff; register it."
    opened = msgspec.structs.replace(
        msgspec.convert(value, Violation), id=broken, handoff_id=held.id, task_id=held.task_id,
        kind="receiver_missing", message=why, status="opened",
    )  # fmt: skip
    key = held.task_id.encode()
    answers = [
        Record("handoff.violations", 0, 0, key, serde.encode(opened), 0),
        Record("handoff.held", 0, 0, held.id.encode(), serde.encode(told), 0),
    ]
    with FakeProcessor("handoff.amendments", answers):
        result = handoff("amend", held.id, "--to", "x", "--reason", "theirs")
    assert result.exit_code == 0, result.stderr
    assert "still held, for x now" in result.stdout
    assert why in result.stdout


@pytest.mark.parametrize("way", ["violation", "dead letter"])
def test_a_refusal_is_exit_status_1(
    handoff: HandoffCommand,
    story: list[dict[str, Any]],
    way: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("console.commands.answering._id", lambda: "a1")
    source = Record("handoff.acks", connect().partition_of("handoff.acks", "t"), 0, b"t", b"{}", 0)
    made = serde.dead_letter(source, ValueError())
    reply = (
        violation(story, "unknown_handoff", "a1")
        if way == "violation"
        else Record(made.topic, 0, 0, made.key, made.value, 0, made.headers)
    )
    given = ("--task", "t", "--workflow", "w", "--status", "accepted")
    with FakeProcessor("handoff.acks", [reply]):
        result = handoff("ack", "h-x", *given)
    assert result.exit_code == 1, result.output
    assert ("unknown_handoff, closed" if way == "violation" else "dead letter") in result.stderr


def test_without_a_processor_it_is_written_and_said_to_wait(handoff: HandoffCommand) -> None:
    given = ("--task", "t", "--workflow", "w", "--status", "accepted")
    began = time.monotonic()
    result = handoff("ack", "h-x", *given, "--wait", "1")
    assert time.monotonic() - began < 6
    assert result.exit_code == 4
    assert "written, and not yet judged after 1 s" in result.stderr
    result = handoff("ack", "h-x", *given, "--wait", "0", "--output", "json")
    assert (result.exit_code, json.loads(result.stdout)["outcome"]) == (0, "written")
    assert len(on_topic("handoff.acks")) == 2


def test_an_id_that_nobody_published_is_named(handoff: HandoffCommand) -> None:
    result = handoff("discard", "h-none")
    assert result.exit_code == 2
    assert "no package with the id h-none" in result.stderr
    assert on_topic("handoff.amendments") == []


def test_a_task_that_is_not_the_handoffs_is_refused(
    handoff: HandoffCommand, story: list[dict[str, Any]]
) -> None:
    held = held_of(story)[0]
    result = handoff("discard", held.id, "--task", "other")
    assert result.exit_code == 2
    assert f"belongs to the task {held.task_id}, not to other" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [["release", "h-1", "--by", "me", "--reason", "so"], ["held", "list"], ["show", "t"]],
    ids=["release", "held list", "show"],
)
def test_no_broker_is_status_3_within_ten_seconds(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HANDOFF_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    began = time.monotonic()
    result = CliRunner().invoke(main, arguments)
    assert (result.exit_code, "no Kafka broker answers" in result.stderr) == (3, True)
    assert time.monotonic() - began < 10
