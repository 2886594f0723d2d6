"""`handoff dry-run`: the core over lines, without a broker."""

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from console.dry_run import printed
from console.main import main
from processors.partitioning import partition_of
from schemas.documents import to_json
from schemas.loading import load

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "console" / "demo"
INSIGHTS = ("handoff.edges", "handoff.patterns", "handoff.figures")


def dry_run(*arguments: str, lines: str = "") -> Result:
    return CliRunner().invoke(main, ["dry-run", *arguments], input=lines)


def demo(*arguments: str) -> Result:
    return dry_run("--contracts", str(DEMO), *arguments, str(DEMO / "sales.jsonl"))


def records(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def judged(result: Result) -> list[dict[str, Any]]:
    """What integrity published: insights comes behind it."""
    return [each for each in records(result) if each["topic"] not in INSIGHTS]


def output(**members: Any) -> str:
    body = {"id": "e1", "task_id": "t1", "workflow": "w", "stage": "s", "tool": "x"}
    return json.dumps(body | {"occurred_at": "2026-03-01T09:00:00Z"} | members) + "\n"


def test_a_file_of_yaml_is_one_sentence_and_no_dead_letters() -> None:
    contracts = str(DEMO / "sales.yaml")
    result = dry_run("--contracts", contracts, contracts)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        f"handoff: {contracts} is a YAML file, and FILE is a recording, one JSON object a line; "
        f"contracts and receivers go with --contracts {contracts}\n"
    )


def test_each_handoff_is_one_package_with_its_violations_and_signal() -> None:
    result = demo()
    assert result.exit_code == 0
    found = records(result)
    first = [each for each in found if each["value"].get("event_id") == "crm-1"]
    package = first[0]["value"]
    assert [each["topic"] for each in first] == [
        "handoff.packages",
        "handoff.queue.marketing-nurture",
        *["handoff.violations"] * 4,
    ]
    assert first[0]["key"] == "lead-2041"
    assert first[0]["headers"]["handoff-schema"] == "package/1"
    assert package["provenance"]["objections"]["how"] == "rebuilt"
    assert package["accept_by"] == "2026-03-02T14:00:00Z", "the clock is the event time"
    assert not package["backfill"]
    assert "3 handoffs: 3 sent, 0 held" in result.stderr
    assert "handoff.violations" in result.stderr


def test_the_same_input_gives_the_same_bytes() -> None:
    assert demo("--internal").stdout_bytes == demo("--internal").stdout_bytes


def test_origins_are_those_of_a_fresh_cluster_fed_by_send() -> None:
    dropped = next(
        each["value"]["origin"]
        for each in records(demo())
        if each["value"].get("field") == "budget"
    )
    partition = partition_of(b"lead-2041", 6)
    lines = (DEMO / "sales.jsonl").read_text().splitlines()
    before = [
        each["id"]
        for each in map(json.loads, lines)
        if partition_of(each["task_id"].encode(), 6) == partition
    ]
    assert dropped["partition"] == partition
    assert dropped["offset"] == before.index("cal-1")


def test_internal_records_are_printed_when_asked_for() -> None:
    assert not [each for each in records(demo()) if "state" in each["topic"]]
    with_state = records(demo("--internal"))
    states = [each for each in with_state if each["topic"] == "handoff.integrity-state"]
    assert len(states) == 8, "one a line, as each line is a transaction of its own"


def test_insights_comes_behind_and_each_edge_once_at_the_end() -> None:
    result = dry_run("--contracts", str(DEMO), str(DEMO / "support-crowd.jsonl"))
    found = records(result)
    topics = [each["topic"] for each in found]
    edges = [each["key"] for each in found if each["topic"] == "handoff.edges"]
    assert topics[-len(edges) :] == ["handoff.edges"] * len(edges)
    assert len(set(edges)) == len(edges) == 2
    assert topics.index("handoff.patterns") > topics.index("handoff.held")
    assert "handoff.internal.feed" not in topics
    assert "handoff.patterns" in result.stderr
    assert "insights-state" not in result.stderr

    everything = records(
        dry_run("--contracts", str(DEMO), "--internal", str(DEMO / "support-crowd.jsonl"))
    )
    fed = [each for each in everything if each["topic"] == "handoff.internal.feed"]
    moved = [each for each in fed if each["key"] == "move/support-ticket/answer/escalate"]
    assert sum(each["value"]["counts"]["moves"] for each in moved) == 35
    assert "handoff.insights-state" in {each["topic"] for each in everything}
    assert [each for each in everything if each in found] == found


def test_nothing_of_the_time_after_the_last_line_is_told_but_the_edges() -> None:
    lines = (DEMO / "support-crowd.jsonl").read_text()
    found = records(dry_run("--contracts", str(DEMO), "-", lines=lines))
    later = records(
        dry_run("--contracts", str(DEMO), "--until", "2027-01-01T00:00:00Z", "-", lines=lines)
    )
    closed = [each for each in later if each["value"].get("status") == "closed"]
    assert closed, "with --until the patterns have been quiet for their windows"
    assert not [each for each in found if each["value"].get("status") == "closed"]


def test_a_contract_that_comes_later_documents_an_edge() -> None:
    lines = (DEMO / "sales-undeclared.jsonl").read_text()
    handed = json.dumps({"topic": "handoff.contracts", "value": lead_contract()}) + "\n"
    without = records(dry_run("--contracts", str(DEMO / "support.yaml"), "-", lines=lines))
    after = records(dry_run("--contracts", str(DEMO / "support.yaml"), "-", lines=lines + handed))
    documented = [
        {each["key"]: each["value"]["documented"] for each in run if "edges" in each["topic"]}
        for run in (without, after)
    ]
    assert documented[0]["move/inbound-lead/qualify/nurture"] is False
    assert documented[1]["move/inbound-lead/qualify/nurture"] is True


def lead_contract() -> Any:
    (found,) = load([DEMO / "sales.yaml"]).contracts
    return json.loads(to_json(found))


def test_a_line_older_than_the_clock_is_no_backfill_unless_asked_for() -> None:
    contracts = str(DEMO / "operations.yaml")
    handoff = {"to": "support-desk"}
    lines = output(id="e1") + output(
        id="e2",
        task_id="t2",
        workflow="order-issue",
        stage="triage",
        occurred_at="2026-01-01T00:00:00Z",
        handoff=handoff,
    )
    plain = judged(dry_run("--contracts", contracts, "-", lines=lines))
    marked = judged(dry_run("--contracts", contracts, "--backfill", "-", lines=lines))
    assert [each["value"]["backfill"] for each in plain] == [False] * len(plain)
    assert [each["value"]["backfill"] for each in marked] == [True] * len(marked)
    assert marked[0]["headers"]["handoff-backfill"] == "1"
    assert plain[0]["value"]["accept_by"] is not None
    assert marked[0]["value"]["accept_by"] is None


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("nonsense\n", "not_json"),
        ("[1, 2]\n", "wrong_shape"),
        ('{"task_id": "t1"}\n', "wrong_shape"),
        ('{"id": "e"}\n', "wrong_shape"),
        (output(occurred_at="yesterday"), "wrong_shape"),
        (output(context={"big": "x" * (1 << 20)}), "too_large"),
    ],
)
def test_a_bad_line_becomes_a_dead_letter_and_the_next_is_judged(line: str, code: str) -> None:
    good = output(handoff={"to": "somewhere"})
    result = dry_run("--contracts", str(DEMO), "-", lines=line + good)
    letter, *others = records(result)
    assert result.exit_code == 0
    assert letter["topic"] == "handoff.dead-letters"
    assert letter["headers"]["__streams.errors.exception"] == code
    assert "handoff.held" in {each["topic"] for each in others}
    assert "2 inputs: 1 dead letter, 1 applied" in result.stderr
    assert f"dead letters:\n         1  {code}\n" in result.stderr


def test_an_input_that_the_processor_does_not_read_stops_with_its_line() -> None:
    line = '{"topic": "handoff.packages", "value": {"task_id": "t1"}}\n'
    result = dry_run("--contracts", str(DEMO), "-", lines=line)
    assert result.exit_code == 2
    assert "handoff: -, line 1: names a topic that is no input" in result.stderr


def test_a_member_that_no_record_has_is_named_once_and_changes_nothing(tmp_path: Path) -> None:
    ack: dict[str, object] = {"id": "a", "workflow": "w", "task_id": "t", "handoff_id": "h"}
    ack |= {"status": "accepted", "by": "Kim", "occurred_at": 7, "handof": 1}
    path = tmp_path / "lines.jsonl"
    path.write_text(
        output()
        + output(id="e2", handof={"to": "somewhere"})
        + output(id="e3", handof=None, **{"zq\n\x1b": 1, "x" * 200: 2})
        + on("acks", ack)
        + '{"id": "e4", "taskid": "t"}\n'
    )
    result = dry_run("--contracts", str(DEMO), str(path))
    known = "known here: id, task_id, workflow, tool, occurred_at, stage, accepts, team, run, "
    known += "context, retracted, handoff, continues, continued_by, unlinked"
    said = [line for line in result.stderr.splitlines() if "unknown" in line]
    assert said == [
        f"{path}, line 2: the unknown member 'handof' is ignored; did you mean 'handoff'?",
        f"{path}, line 3: the unknown member 'zq��' is ignored; {known}",
        f"{path}, line 3: the unknown member '{'x' * 80}…' is ignored; {known}",
        f"{path}, line 4: the unknown member 'handof' is ignored; did you mean 'handoff_id'?",
        f"{path}, line 5: the unknown member 'taskid' is ignored; did you mean 'task_id'?",
    ]
    assert result.exit_code == 0
    assert not [each for each in judged(result) if each["topic"] == "handoff.packages"]


def test_members_that_no_record_has_are_named_only_so_often(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text(output(**{f"zq{number}": 1 for number in range(99)}) + output(id="e2", zzz=1))
    result = dry_run("--contracts", str(DEMO), str(path))
    assert result.stderr.count("the unknown member") == 20


def test_every_command_that_reads_a_recording_names_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text(output() + on("receivers", {"kind": "Receiver"}))
    contracts, lines = str(DEMO / "sales.yaml"), str(path)
    for arguments in (
        ["dry-run", "--contracts", contracts, lines],
        ["edges", "--contracts", contracts, "--from", lines],
        ["show", "t1", "--contracts", contracts, "--from", lines],
        ["contracts", "test", contracts, "--against", lines],
    ):
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 2
        assert f"handoff: {path}, line 2: handoff.receivers: " in result.stderr


def test_the_clock_goes_on_to_until() -> None:
    result = demo("--until", "2026-03-09T00:00:00Z")
    assert "the clock ended at 2026-03-09T00:00:00Z" in result.stderr
    assert demo("--until", "monday").exit_code == 2


# --- deadlines and tables: a contract with all of them ----------------------------------------


@pytest.fixture
def contracts(tmp_path: Path) -> str:
    path = tmp_path / "contracts.yaml"
    path.write_text(
        """
kind: HandoffContract
id: w-to-desk
version: 1
owner: {name: Ilse Kramer, contact: ilse@example.com}
action: Look at it.
workflow: w
from: {team: a, stage: s}
to: {receiver: desk, stage: d}
accept_within: PT4H
"""
    )
    return str(path)


DESK = {
    "kind": "Receiver",
    "id": "desk",
    "team": "desk",
    "owners": [
        {"name": "Dana", "contact": "dana@example.com", "until": "2026-03-01"},
        {"name": "Kim", "contact": "kim@example.com"},
    ],
}


def on(topic: str, value: object, **beside: Any) -> str:
    return json.dumps({"topic": f"handoff.{topic}", "value": value} | beside) + "\n"


def told(result: Result) -> list[tuple[str, str]]:
    """The signals: what, and when by the clock."""
    return [
        (each["value"]["kind"], each["value"]["at"])
        for each in records(result)
        if each["topic"] == "handoff.signals"
    ]


def test_deadlines_fall_due_as_the_clock_passes_them(contracts: str) -> None:
    desk = on("receivers", DESK, occurred_at="2026-03-01T08:00:00Z")
    sent = desk + output(handoff={"to": "desk"})
    late = output(id="e2", task_id="t2", occurred_at="2026-03-01T15:00:00Z")
    at = "2026-03-01T13:00:00Z"
    stalled = dry_run("--contracts", contracts, "-", lines=sent + late)
    assert told(stalled) == [("sent", "2026-03-01T09:00:00Z"), ("stalled", at)]
    assert "1 task woken by a deadline" in stalled.stderr
    assert told(dry_run("--contracts", contracts, "-", lines=sent)) == [
        ("sent", "2026-03-01T09:00:00Z")
    ]
    until = dry_run("--contracts", contracts, "--until", at, "-", lines=sent)
    assert told(until)[-1] == ("stalled", at)
    assert (
        until.stdout_bytes
        == dry_run("--contracts", contracts, "--until", at, "-", lines=sent).stdout_bytes
    )


def test_an_ack_at_the_deadline_is_in_time(contracts: str) -> None:
    sent = on("receivers", DESK, occurred_at="2026-03-01T08:00:00Z")
    sent += output(handoff={"to": "desk"})
    found = records(dry_run("--contracts", contracts, "-", lines=sent))
    handoff_id = next(x["value"]["id"] for x in found if x["topic"] == "handoff.packages")
    ack = {
        "id": "a1",
        "task_id": "t1",
        "workflow": "w",
        "handoff_id": handoff_id,
        "status": "accepted",
        "by": "Kim",
        "occurred_at": "2026-03-01T13:00:00Z",
    }
    until = "2026-03-01T23:00:00Z"
    lines = sent + on("acks", ack)
    accepted = dry_run("--contracts", contracts, "--until", until, "-", lines=lines)
    assert [kind for kind, _ in told(accepted)] == ["sent", "accepted"]


def test_a_receiver_that_is_registered_late_releases_what_is_held(contracts: str) -> None:
    lines = output(handoff={"to": "desk"})
    lines += on("receivers", DESK, occurred_at="2026-03-01T10:00:00Z")
    held = dry_run("--contracts", contracts, "-", lines=lines)
    assert told(held) == [
        ("held", "2026-03-01T09:00:00Z"),
        ("released", "2026-03-01T10:00:00Z"),
    ]
    # One handoff was held and is sent now: its records are several, and it is counted once.
    assert "1 handoff: 1 sent, 0 held" in held.stderr
    assert "violations:\n         1  receiver_missing\n" in held.stderr
    assert "of these resolved:\n         1  receiver_missing\n" in held.stderr


def test_an_owner_whose_time_ends_is_followed_at_that_moment(contracts: str) -> None:
    lines = on("receivers", DESK, occurred_at="2026-03-01T08:00:00Z")
    lines += output(handoff={"to": "desk"})
    ended = dry_run("--contracts", contracts, "--until", "2026-03-05T00:00:00Z", "-", lines=lines)
    assert ("reassigned", "2026-03-02T00:00:00Z") in told(ended)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (on("receivers", {"kind": "Receiver", "id": "x"}), "line 1: handoff.receivers: "),
        (on("receivers", None), "line 1: a null needs the key that it deletes"),
        (on("receiver-liveness", {"receiver": "x"}), "line 1: handoff.receiver-liveness: "),
        ('{"topic": "handoff.contracts"}', "line 1: has a topic, but no value"),
        (on("nonsense", {}), "line 1: names a topic that is no input"),
    ],
)
def test_a_line_of_a_table_that_is_wrong_stops_with_its_number(
    contracts: str, line: str, said: str
) -> None:
    result = dry_run("--contracts", contracts, "-", lines=line)
    assert result.exit_code == 2
    assert said in result.stderr


def test_what_is_deleted_from_a_table_is_gone(contracts: str) -> None:
    lines = on("receivers", DESK) + on("receivers", None, key="desk")
    found = records(
        dry_run("--contracts", contracts, "-", lines=lines + output(handoff={"to": "desk"}))
    )
    assert "receiver_missing" in {x["value"].get("kind") for x in found}


def test_documents_with_errors_stop_it_with_exit_status_2(tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text("kind: HandoffContract\nid: x\nverzion: 1\n")
    result = dry_run("--contracts", str(path), "-")
    assert result.exit_code == 2
    assert f"{path}:3: verzion: unknown key; did you mean 'version'?" in result.stderr


def test_a_record_is_one_line_whatever_it_holds() -> None:
    head = [("a", b"1"), ("b", b"\xff")]
    assert printed("t", b"k", b'{"n": 12345678901234567890,\n "x": 1.50}', head) == (
        b'{"topic":"t","key":"k","headers":{"a":"1","b":"\\\\xff"},'
        b'"value":{"n":12345678901234567890,"x":1.50}}'
    )
    assert json.loads(printed("t", None, None, [])) == {
        "topic": "t",
        "key": None,
        "headers": {},
        "value": None,
    }
    assert json.loads(printed("t", None, b"no\njson", []))["value"] == "no\njson"
    odd = json.loads(printed("t", None, b"\xff\x00", []))
    assert odd["value"] is None
    assert base64.b64decode(odd["value_base64"]) == b"\xff\x00"


def test_a_file_or_the_topics_must_be_given() -> None:
    assert dry_run("--contracts", str(DEMO)).exit_code == 2
    assert dry_run("--contracts", str(DEMO), "--from-topic", "-").exit_code == 2


def test_cards_are_shown_to_people_without_what_is_classified() -> None:
    result = demo("--show")
    assert result.exit_code == 0
    text = " ".join(result.stdout.split())
    assert "sales · qualify → marketing-nurture task lead-2041" in text
    assert "rebuilt from converse/call-recorder" in text
    assert "context_dropped task lead-2042: budget was dropped" in text
    assert "sent to sales: Your handoff was sent to marketing-nurture" in text
    assert "context_dropped: budget was dropped between qualify and nurture" in text, "a pattern"
    assert result.stdout.count("task lead-2041 ─") == 1, "and none for the queue beside it"
    for secret in ("Mara", "fjord"):
        assert secret not in result.stdout
        assert secret in demo("--no-show").stdout
    assert "3 handoffs: 3 sent, 0 held" in result.stderr


def test_of_a_line_that_cannot_be_read_a_card_says_why() -> None:
    bad = '{"id": "e1", "task_id": "t1"}\n'
    result = dry_run("--contracts", str(DEMO), "--show", "-", lines=bad)
    assert "missing required field" in result.stdout
    assert "from -, line 1" in result.stdout


@pytest.mark.parametrize("form", ["--show", "--no-show"])
def test_a_dead_letter_of_a_dry_run_names_the_line_of_the_recording(
    tmp_path: Path, form: str
) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(output() + "\n" + output(id="e2", tool=7) + output(id="e3") + "nonsense\n")
    result = dry_run("--contracts", str(DEMO), form, str(path))
    text = "".join(result.stdout.split()) if form == "--show" else result.stderr
    for line in ("line 3", "line 5"):
        assert (f"{path}, {line}".replace(" ", "") if form == "--show" else line) in text
    assert "line 1:" not in text
    assert "line 4" not in text
    path.write_text("x\n" * 25)
    assert dry_run("--contracts", str(DEMO), "--no-show", str(path)).stderr.count("line ") == 20


def test_cards_go_by_the_contracts_of_their_moment(tmp_path: Path) -> None:
    """A contract that is registered by a line classifies from there on."""
    (contract,) = [c for c in load([str(DEMO)]).contracts if c.id == "lead-to-nurture"]
    registered = json.loads(to_json(contract))
    line = {"topic": "handoff.contracts", "occurred_at": "2026-03-01T08:00:00Z"}
    hand = {"handoff": {"to": registered["to"]["receiver"]}, "workflow": registered["workflow"]}
    said = {"stage": registered["from"]["stage"][0], "context": {"contact_name": "Mara Lind"}}
    receiver = {"kind": "Receiver", "id": registered["to"]["receiver"], "team": "marketing"}
    path = tmp_path / "receivers.yaml"
    path.write_text(
        json.dumps(receiver | {"owners": [{"name": "Ada", "contact": "ada@x.example"}]})
    )
    late = json.dumps(line | {"value": registered}) + "\n" + output(**hand, **said)
    result = dry_run("--contracts", str(path), "--show", "-", lines=late)
    assert "contact_name" in result.stdout, result.stderr
    assert "Mara" not in result.stdout


def test_on_a_terminal_cards_are_the_default() -> None:
    """And JSON lines in a pipe, or where internal records are asked for."""
    leader, follower = os.openpty()
    command = [sys.executable, "-m", "console", "dry-run", "--contracts", str(DEMO)]
    subprocess.run(
        [*command, str(DEMO / "sales.jsonl")],
        stdout=follower,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
        check=True,
    )
    os.close(follower)
    assert b"arrived from the sender" in os.read(leader, 1 << 16)
    os.close(leader)
    assert demo().stdout.startswith('{"topic"')
    assert demo("--internal", "--show").exit_code == 2


def test_a_mistyped_member_of_a_handoff_is_named_too(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    one = output(handoff={"to": "a", "contrct": "x"})
    several = output(id="e2", handoff=[{"to": "a"}, {"to": "b", "prat": "1", "contrct": "y"}])
    path.write_text(one + several + output(id="e3", handoff="a"))
    said = dry_run("--contracts", str(DEMO), str(path)).stderr
    assert f"{path}, line 1: the unknown member 'handoff.contrct' is ignored; did you mean" in said
    assert "line 2: the unknown member 'handoff.prat' is ignored; did you mean 'part'?" in said
    assert said.count("unknown member") == 2


TWO_CONTRACTS = """
kind: HandoffContract
id: words
version: 1
owner: {name: Ana Silva, contact: ana@example.com}
action: Do it.
workflow: lead
from: {stage: qualify}
to: {receiver: nurture}
extra: strip
fields: [{name: summary}, {name: tier}]
---
kind: HandoffContract
id: reach
version: 1
owner: {name: Ana Silva, contact: ana@example.com}
action: Do it.
workflow: lead
from: {stage: other}
to: {receiver: nurture}
fields: [{name: email, classification: pii}]
---
kind: Receiver
id: nurture
team: marketing
owners: [{name: Dana Reyes, contact: dana@example.com}]
"""


@pytest.fixture
def two_contracts(tmp_path: Path) -> str:
    path = tmp_path / "two.yaml"
    path.write_text(TWO_CONTRACTS)
    return str(path)


def test_a_card_masks_what_tells_a_value_that_only_another_record_of_the_task_has(
    two_contracts: str,
) -> None:
    """An output, another task's, and one that a person sets."""
    told = {"summary": "ask kim@b.example", "tier": "gold"}
    hand = {"stage": "qualify", "handoff": {"to": "nurture", "note": "ring kim@b.example"}}
    known = output(id="e1", stage="z", workflow="lead", context={"email": "kim@b.example"})
    lines = known + output(id="e2", workflow="lead", context=told, **hand)
    result = dry_run("--contracts", two_contracts, "--show", "-", lines=lines)
    assert "kim@b.example" not in result.stdout, result.stdout
    assert "gold" in result.stdout
    elsewhere = output(id="e3", task_id="t9", workflow="lead", context=told, **hand)
    result = dry_run("--contracts", two_contracts, "--show", "-", lines=known + elsewhere)
    assert "ring kim@b.example" in result.stdout, "no record of that task has it"
    amended = {
        "id": "m1", "workflow": "lead", "task_id": "t1", "handoff_id": "h-0", "action": "set",
        "by": "Ilse", "occurred_at": "2026-03-02T10:00:00Z", "fields": {"email": "jim@b.example"},
    }  # fmt: skip
    hand["handoff"] = {"to": "nurture", "note": "ring jim@b.example"}
    lines = on("amendments", amended) + output(workflow="lead", context=told, **hand)
    result = dry_run("--contracts", two_contracts, "--show", "-", lines=lines)
    assert "jim@b.example" not in result.stdout, result.stdout
    assert "nurture" in result.stdout
