"""`handoff show`: a recording or the topics, as text or JSON, and what it does not show."""

import json
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from console.kafka import Writer, connect
from console.main import main
from console.masking import MASK
from schemas.records import Ack
from tests.core import CONTRACT, RECEIVER
from tests.test_console_show import DEMO, output

CALLS = CONTRACT | {
    "workflow": "calls",
    "from": {"team": "desk", "stage": "desk"},
    "to": {"receiver": "r1", "stage": "call"},
}
RECORDING = ("--from", str(DEMO / "sales.jsonl"), "--contracts", str(DEMO / "sales.yaml"))


def show(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["show", *arguments])


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
