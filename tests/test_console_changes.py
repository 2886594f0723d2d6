"""`handoff contracts diff` and `handoff contracts test`, without a broker and with one."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from console.main import main
from console.replay import ReplayedHandoff, matched
from tests.commands import HandoffCommand

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "console" / "demo"
CONTRACT = """
kind: HandoffContract
id: lead-to-nurture
version: 1
owner: {name: Ilse Kramer, contact: ilse@example.com}
action: Start the nurture track.
workflow: lead
from: {team: sales, stage: qualify}
to: {receiver: marketing, stage: nurture}
fields:
  - {name: budget, type: number}
  - {name: tone, required: false}
accept_within: PT4H
"""
RECEIVER = """
---
kind: Receiver
id: marketing
team: marketing
owners: [{name: Dana Reyes, contact: dana@example.com}]
"""


def contracts(command: str, *arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["contracts", command, *map(str, arguments)])


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return written(tmp_path / "old.yaml", CONTRACT + RECEIVER)


def new(path: Path, *changes: tuple[str, str]) -> Path:
    """The next version of the contract, without the receiver, with texts replaced."""
    text = CONTRACT.replace("version: 1", "version: 2")
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    return written(path / "new.yaml", text)


def output(task: int, number: int, stage: str, hour: int = 9, **members: Any) -> str:
    body = {"id": f"e{number}", "task_id": f"t{task}", "workflow": "lead", "stage": stage}
    body |= {"tool": "crm", "occurred_at": f"2026-03-02T{hour:02}:{task:02}:00Z"}
    return json.dumps(body | members)


def recording(path: Path, count: int = 7) -> Path:
    """Leads that are handed off: the odd ones without the budget that was captured before."""
    lines = []
    for task in range(count):
        lines.append(output(task, 1, "converse", 8, context={"budget": 1000 + task}))
        context = {"tone": "s3cret"} | ({} if task % 2 else {"budget": 1000 + task})
        hands_off = {"context": context, "handoff": {"to": "marketing"}}
        lines.append(output(task, 2, "qualify", 9, **hands_off))
    return written(path / "leads.jsonl", "\n".join(lines) + "\n")


# --- diff ---------------------------------------------------------------------------------------


def test_diff_tells_what_breaks_and_for_whom(old: Path, tmp_path: Path) -> None:
    changed = new(tmp_path, ("PT4H", "PT1H"), ("required: false", "weight: 2"))
    result = contracts("diff", old, changed)
    assert result.exit_code == 1
    assert "lead-to-nurture@1 -> @2: changed" in result.stdout
    assert "3 changes, 2 breaking" in result.stdout
    back = contracts("diff", changed, old)
    assert back.exit_code == 0, "who is asked for less is not broken"
    assert "raise the version to 3" in back.stdout
    (told,) = json.loads(contracts("diff", "--output", "json", old, changed).stdout)
    assert (told["change"], told["old_version"], told["new_version"]) == ("changed", 1, 2)
    assert (told["breaking"], told["version_must_rise"]) == (True, False)
    assert {each["at"]: each["breaks"] for each in told["changes"]} == {
        "accept_within": ["receiver"],
        "fields.tone.required": ["sender"],
        "fields.tone.weight": [],
    }


def test_diff_of_the_same_is_nothing(old: Path) -> None:
    result = contracts("diff", old, old)
    assert result.exit_code == 0
    assert result.stdout == "lead-to-nurture@1 -> @1: unchanged\n0 changes, 0 breaking\n"


def test_diff_of_directories_tells_what_came_and_went(tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    after.mkdir()
    written(before / "a.yaml", CONTRACT.replace("id: lead-to-nurture", "id: gone"))
    written(before / "b.yaml", CONTRACT.replace("id: lead-to-nurture", "id: stays"))
    stays = CONTRACT.replace("id: lead-to-nurture", "id: stays\nstatus: retired")
    written(after / "b.yaml", stays)
    written(after / "c.yaml", CONTRACT.replace("id: lead-to-nurture", "id: came"))
    result = contracts("diff", "--output", "json", before, after)
    assert result.exit_code == 1
    assert [
        (each["id"], each["change"], each["breaking"]) for each in json.loads(result.stdout)
    ] == [
        ("came", "added", False),
        ("gone", "removed", True),
        ("stays", "retired", True),
    ]


def test_of_several_versions_the_one_in_force_is_compared(old: Path, tmp_path: Path) -> None:
    draft = CONTRACT.replace("version: 1", "version: 3\nstatus: draft")
    changed = CONTRACT.replace("version: 1", "version: 2").replace("PT4H", "PT8H")
    path = written(tmp_path / "several.yaml", "---".join((CONTRACT, changed, draft)))
    (told,) = json.loads(contracts("diff", "--output", "json", old, path).stdout)
    assert told["new_version"] == 2


def test_diff_refuses_what_is_no_contract(old: Path, tmp_path: Path) -> None:
    broken = written(tmp_path / "broken.yaml", CONTRACT.replace("PT4H", "soon"))
    receivers = written(tmp_path / "receivers.yaml", RECEIVER)
    for bad, words in (
        (tmp_path / "none.yaml", "none.yaml"),
        (broken, "'soon' is not a duration"),
        (receivers, "holds no contract"),
    ):
        result = contracts("diff", old, bad)
        assert result.exit_code == 2, result.output
        assert words in result.stderr


# --- test ---------------------------------------------------------------------------------------


def outcome(*arguments: str | Path) -> Any:
    result = contracts("test", "--output", "json", *arguments)
    assert result.exit_code in (0, 1), result.output
    found = json.loads(result.stdout)
    harm = found["newly_failing"]["handoffs"] or found["newly_held"]["handoffs"]
    assert result.exit_code == (1 if harm else 0)
    return found


def test_the_same_contract_changes_nothing(old: Path, tmp_path: Path) -> None:
    lines = recording(tmp_path)
    found = outcome(old, "--contracts", old, "--against", lines)
    assert found["handoffs"] == {"before": 7, "after": 7, "concerned": 7}
    nothing = {"handoffs": 0, "by": []}
    assert found["newly_failing"] == found["newly_passing"] == nothing
    assert found["newly_held"] == found["no_longer_held"] == {"handoffs": 0, "tasks": []}
    assert found["newly_begun"] == found["not_begun"] == []
    assert found["fidelity"]["before"] == found["fidelity"]["after"] == pytest.approx(4 / 7)


def test_what_is_not_rebuilt_any_more_newly_fails_and_is_held(old: Path, tmp_path: Path) -> None:
    stricter = new(
        tmp_path,
        ("type: number}", "type: number, rebuild: false}"),
        ("accept_within: PT4H", "hold_on: [context_dropped]"),
    )
    lines = recording(tmp_path)
    found = outcome(stricter, "--contracts", old, "--against", lines)
    assert found["contracts"] == ["lead-to-nurture@2"]
    odd = ["t1", "t3", "t5"]
    assert found["newly_failing"] == {
        "handoffs": 3,
        "by": [
            {
                "kind": "context_dropped",
                "field": "budget",
                "rule": None,
                "handoffs": 3,
                "errors": 3,
                "tasks": odd,
            }
        ],
    }, "a warning that is an error now fails newly"
    assert found["newly_held"] == {"handoffs": 3, "tasks": odd}
    assert found["completeness"] == {"before": 1.0, "after": pytest.approx(4 / 7)}
    both = written(tmp_path / "both.yaml", stricter.read_text() + RECEIVER)
    back = outcome(old, "--contracts", both, "--against", lines)
    assert back["newly_passing"] == found["newly_failing"]
    assert back["no_longer_held"] == found["newly_held"]
    assert back["newly_failing"]["handoffs"] == 0


def test_five_tasks_stand_for_many_and_no_value_is_shown(old: Path, tmp_path: Path) -> None:
    stricter = new(tmp_path, ("name: budget, type: number", "name: budget, type: string"))
    lines = recording(tmp_path, 20)
    found = outcome(stricter, "--contracts", old, "--against", lines)
    malformed = next(x for x in found["newly_failing"]["by"] if x["kind"] == "context_malformed")
    assert (malformed["handoffs"], malformed["tasks"]) == (10, ["t0", "t2", "t4", "t6", "t8"])
    result = contracts("test", stricter, "--contracts", old, "--against", lines)
    assert result.exit_code == 1
    assert "s3cret" not in result.output
    assert "1002" not in result.output
    assert "newly fails  context_malformed  budget" in result.stdout
    assert "20 handoffs newly failing, 0 newly held" in result.stdout


def test_without_a_base_handoffs_are_those_that_nothing_covers(old: Path, tmp_path: Path) -> None:
    against = recording(tmp_path)
    told = contracts("test", old, "--against", against).stderr
    assert "compared with no contract; name the present ones with --contracts" in told
    told = contracts("test", old, "--contracts", old, "--against", against).stderr
    assert "no contract" not in told
    found = outcome(old, "--against", against)
    assert found["handoffs"] == {"before": 7, "after": 7, "concerned": 7}
    assert found["fidelity"]["before"] is None
    (passing,) = found["newly_passing"]["by"]
    assert (passing["kind"], passing["handoffs"]) == ("contract_missing", 7)
    (failing,) = found["newly_failing"]["by"]
    assert (failing["kind"], failing["errors"]) == ("context_dropped", 0)


def test_a_draft_is_tried_as_if_it_were_active(old: Path, tmp_path: Path) -> None:
    owner = "owner: {name: Ilse Kramer, contact: ilse@example.com}"
    draft = new(
        tmp_path,
        ("version: 2", "version: 2\nstatus: draft"),
        (owner, "owner: UNKNOWN"),
        ("required: false", "type: number"),
    )
    found = outcome(draft, "--contracts", old, "--against", recording(tmp_path))
    assert found["newly_failing"]["by"][0]["field"] == "tone"
    assert found["newly_failing"]["handoffs"] == 7


def test_what_begins_and_what_begins_no_more(old: Path, tmp_path: Path) -> None:
    lines = [output(task, 1, "qualify", 9, context={"budget": task}) for task in range(3)]
    lines += [output(task, 2, "nurture", 10) for task in range(3)]
    path = written(tmp_path / "moves.jsonl", "\n".join(lines))
    triggered = new(tmp_path, ("workflow: lead", "workflow: lead\nwhen: context.budget > 0"))
    found = outcome(triggered, "--contracts", old, "--against", path)
    assert found["not_begun"] == [{"begun": "implicit", "handoffs": 3, "tasks": ["t0", "t1", "t2"]}]
    assert found["newly_begun"] == [{"begun": "triggered", "handoffs": 2, "tasks": ["t1", "t2"]}]
    assert found["handoffs"] == {"before": 3, "after": 2, "concerned": 5}


def test_handoffs_to_another_receiver_are_known_again(old: Path, tmp_path: Path) -> None:
    moved = new(tmp_path, ("receiver: marketing", "receiver: growth"))
    lines = recording(tmp_path)
    found = outcome(moved, "--contracts", old, "--against", lines)
    assert [each["kind"] for each in found["newly_failing"]["by"]] == ["receiver_mismatch"]
    naming = '"handoff": {"to": "marketing", "contract": "lead-to-nurture"'
    written(lines, lines.read_text().replace('"handoff": {"to": "marketing"', naming))
    found = outcome(moved, "--contracts", old, "--against", lines)
    assert found["newly_begun"] == found["not_begun"] == []
    kinds = {each["kind"] for each in found["newly_failing"]["by"]}
    assert kinds == {"receiver_mismatch", "receiver_missing"}
    assert found["newly_held"]["handoffs"] == 7


def test_a_deadline_counts_where_the_clock_moves_on(old: Path, tmp_path: Path) -> None:
    shorter = new(tmp_path, ("PT4H", "PT1H"))
    lines = recording(tmp_path)
    arguments = (shorter, "--contracts", old, "--against", lines)
    assert outcome(*arguments)["newly_failing"]["handoffs"] == 0
    found = outcome(*arguments, "--until", "2026-03-02T12:00:00Z")
    assert [each["kind"] for each in found["newly_failing"]["by"]] == ["not_accepted"]
    assert found["newly_failing"]["handoffs"] == 7


def test_since_and_until_choose_handoffs_and_keep_what_was_captured(
    old: Path, tmp_path: Path
) -> None:
    lines = recording(tmp_path)
    span = ("--since", "2026-03-02T09:02:00Z", "--until", "2026-03-02T09:04:00Z")
    found = outcome(old, "--against", lines, *span)
    assert found["handoffs"] == {"before": 3, "after": 3, "concerned": 3}
    (failing,) = found["newly_failing"]["by"]
    assert (failing["kind"], failing["tasks"]) == ("context_dropped", ["t3"]), "not never_captured"


def test_a_line_that_registers_the_contract_gives_way_to_the_new_one(
    old: Path, tmp_path: Path
) -> None:
    registered = json.dumps(
        {
            "topic": "handoff.contracts",
            "occurred_at": "2026-03-02T07:00:00Z",
            "value": {
                "kind": "HandoffContract",
                "id": "lead-to-nurture",
                "version": 7,
                "owner": {"name": "Ilse", "contact": "ilse@example.com"},
                "action": "Start.",
                "workflow": "lead",
                "from": {"stage": "qualify"},
                "to": {"receiver": "marketing"},
                "fields": [{"name": "phone"}],
            },
        }
    )
    lines = recording(tmp_path)
    path = written(tmp_path / "with.jsonl", registered + "\n" + lines.read_text())
    found = outcome(old, "--against", path)
    passing = {(each["kind"], each["field"]) for each in found["newly_passing"]["by"]}
    assert passing == {("never_captured", "phone")}


def test_nothing_tested_says_what_is_there(old: Path, tmp_path: Path) -> None:
    other = new(tmp_path, ("workflow: lead", "workflow: order"))
    result = contracts("test", other, "--against", recording(tmp_path))
    assert result.exit_code == 0
    assert "nothing was tested: no handoff falls under it" in result.stdout
    assert "workflows with handoffs: lead" in result.stdout


def test_lines_that_are_no_inputs_count_for_nothing(old: Path, tmp_path: Path) -> None:
    path = written(tmp_path / "bad.jsonl", recording(tmp_path).read_text() + "nonsense\n")
    result = contracts("test", old, "--contracts", old, "--against", path)
    assert result.exit_code == 0
    assert "1 line could not be understood" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("old.yaml",), "--against FILE, or --from-topic"),
        (("old.yaml", "--against", "leads.jsonl", "--from-topic"), "--against FILE"),
        (("old.yaml", "--against", "none.jsonl"), "none.jsonl: there is no such file"),
        (("receiver.yaml", "--against", "leads.jsonl"), "holds no contract to test"),
        (("none.yaml", "--against", "leads.jsonl"), "none.yaml"),
        (("old.yaml", "--against", "leads.jsonl", "--since", "monday"), "'monday' is no time"),
    ],
)
def test_bad_input_is_told(
    old: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    words: str,
) -> None:
    recording(tmp_path)
    written(tmp_path / "receiver.yaml", RECEIVER)
    monkeypatch.chdir(tmp_path)
    result = contracts("test", *arguments)
    assert result.exit_code == 2
    assert words in result.stderr


def judged(id_: str, event: str, receiver: str = "r") -> ReplayedHandoff:
    return ReplayedHandoff(id_, "w", "t", event, None, receiver, "declared", False, None, None, 0)


def test_handoffs_are_matched_by_id_then_by_where_they_came_from() -> None:
    same, part_one, part_two = judged("1", "a"), judged("2", "b"), judged("3", "b")
    moved, gone = judged("4", "c"), judged("5", "d")
    one, two, there, came = (
        judged("6", "b"),
        judged("7", "b"),
        judged("8", "c", "other"),
        judged("9", "e"),
    )
    pairs = list(matched([same, part_one, part_two, moved, gone], [came, there, one, two, same]))
    assert pairs == [
        (same, same),
        (part_one, one),
        (part_two, two),
        (moved, there),
        (gone, None),
        (None, came),
    ]


# --- real traffic, and a cluster ----------------------------------------------------------------


def test_the_airlines_transcripts_under_a_stricter_contract(shared: Path, tmp_path: Path) -> None:
    transcripts = shared / "data" / "airline-transcripts.json.gz"
    airline = ROOT / "examples" / "airline" / "contracts.yaml"
    lines = written(
        tmp_path / "airline.jsonl",
        CliRunner().invoke(main, ["import", "openai-chat", str(transcripts)]).stdout,
    )
    text = airline.read_text().replace("version: 1", "version: 2", 1)
    stricter = written(tmp_path / "v2.yaml", text.replace("pick: unambiguous", "max_age: PT1S"))
    assert contracts("diff", airline, stricter).exit_code == 1
    found = outcome(stricter, "--contracts", airline, "--against", lines)
    assert found["handoffs"] == {"before": 48, "after": 48, "concerned": 48}
    assert found["fidelity"]["before"] == found["fidelity"]["after"] == pytest.approx(0.2)
    assert found["completeness"]["before"] == pytest.approx(0.78, abs=0.005)
    assert found["completeness"]["after"] < 0.78
    insurance = next(
        each
        for each in found["newly_failing"]["by"]
        if (each["kind"], each["field"]) == ("context_dropped", "insurance")
    )
    assert insurance["errors"] == insurance["handoffs"] <= 36, "36 were rebuilt before"


def test_against_a_cluster(handoff: HandoffCommand, old: Path, tmp_path: Path) -> None:
    changed = new(tmp_path, ("type: number}", "type: number, rebuild: false}"))
    lines = recording(tmp_path)
    for arguments in (
        ("contracts", "apply", str(old)),
        ("receivers", "apply", str(old)),
        ("contracts", "apply", str(changed)),
        ("send", str(lines)),
    ):
        assert handoff(*arguments).exit_code == 0

    assert handoff("contracts", "diff", "lead-to-nurture@1", "lead-to-nurture@2").exit_code == 1
    named = handoff("contracts", "diff", "lead-to-nurture", str(old))
    assert "lead-to-nurture@2 -> @1: changed" in named.stdout, "without a version: the one in force"
    assert "raise the version to 3" in named.stdout
    unknown = handoff("contracts", "diff", "lead-to-nurture@9", str(old))
    assert unknown.exit_code == 2
    assert "registered: lead-to-nurture@1, lead-to-nurture@2" in unknown.stderr

    back = handoff("contracts", "test", str(old), "--from-topic", "--output", "json")
    assert back.exit_code == 0, back.output
    found = json.loads(back.stdout)
    assert found["handoffs"] == {"before": 7, "after": 7, "concerned": 7}
    assert found["newly_passing"]["handoffs"] == 3
    again = handoff("contracts", "test", str(changed), "--from-topic", "--contracts", str(old))
    assert again.exit_code == 1
    assert "3 handoffs newly failing" in again.stdout


def test_the_page_about_it_shows_what_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    example = (ROOT / "docs" / "contracts.md").read_text()
    page = (ROOT / "docs" / "changing-a-contract.md").read_text()
    right = fences(example, "yaml")[0]
    leads = next(body for body in fences(example, "") if body.startswith('{"id":"1"'))
    written(tmp_path / "right.yaml", right)
    written(tmp_path / "leads.jsonl", leads)
    changed = right.partition("---")[0]
    taken = ""
    for line in fences(page, "diff")[0].splitlines(keepends=True):
        if line.startswith("-"):
            changed = changed.replace(taken, "") if taken else changed
            taken = line[1:]
            assert taken in changed
        else:
            changed = changed.replace(taken, line[1:]) if taken else changed + line[1:]
            taken = ""
    written(tmp_path / "next.yaml", changed)
    shown = [body for body in fences(page, "") if body.startswith("$ handoff")]
    assert len(shown) == 2
    for body in shown:
        typed, _, printed = body.partition("\n")
        result = CliRunner().invoke(main, typed.split()[2:])
        assert result.exit_code == 1
        assert result.stdout == printed


def fences(page: str, language: str) -> list[str]:
    return [
        body
        for found, body in re.findall(r"^```(\w*)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
        if found == language
    ]
