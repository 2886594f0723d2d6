"""`handoff show` and `dry-run` of a task that goes on under another name."""

import json
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from console.linked import ANSWERED_MS, waiting
from console.main import main
from schemas.flow import Record
from schemas.links import LINKS, LinkMessage

CONTRACT = """
kind: HandoffContract
id: bug
version: 1
owner: {name: Ana Silva, contact: ana@example.com}
action: Fix it.
workflow: ticket
from: {team: support, stage: answer}
to: {receiver: engineers, workflow: issue, stage: triage}
fields: [{name: summary, from: [summary, subject]}, {name: error_code}]
---
kind: Receiver
id: engineers
team: engineers
owners: [{name: Bo Lind, contact: bo@example.com}]
"""
TICKET = {"workflow": "ticket", "stage": "answer", "tool": "desk", "team": "support"}
ISSUE = {"workflow": "issue", "stage": "triage", "tool": "tracker", "team": "engineers"}


def ran(*arguments: str) -> str:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def recorded(tmp_path: Path) -> list[str]:
    """A ticket that goes on as two issues, one of which has another one behind it."""
    (tmp_path / "contracts.yaml").write_text(CONTRACT)
    ticket = {"workflow": "ticket", "task_id": "ZD-12"}
    lines = [
        TICKET | {"task_id": "ZD-12", "context": {"subject": "it crashes", "error_code": "E42"}},
        ISSUE | {"task_id": "ENG-7", "context": {"summary": "it crashes"}, "continues": ticket},
        ISSUE | {"task_id": "ENG-8", "context": {"summary": "again"}, "continues": ticket},
        ISSUE | {"task_id": "ENG-9", "continues": {"task_id": "ENG-8"}},
        ISSUE | {"task_id": "ENG-1", "context": {"summary": "another thing"}},
    ]
    path = tmp_path / "lines.jsonl"
    path.write_text(
        "".join(
            json.dumps({"id": f"e{n}", "occurred_at": f"2026-03-02T0{n}:00:00Z"} | line) + "\n"
            for n, line in enumerate(lines)
        )
    )
    return ["--contracts", str(tmp_path / "contracts.yaml"), str(path)]


def test_a_dry_run_judges_what_goes_on(recorded: list[str]) -> None:
    result = ran("dry-run", *recorded)
    packages = [
        line["value"]
        for line in map(json.loads, result.splitlines())
        if line["topic"] == "handoff.packages"
    ]
    assert [each["task_id"] for each in packages] == ["ENG-7", "ENG-8"]
    assert all(each["context"]["error_code"] == "E42" for each in packages)


@pytest.mark.parametrize("task", ["ZD-12", "ENG-7", "ENG-9"])
def test_the_story_is_told_under_each_name(recorded: list[str], task: str) -> None:
    *contracts, path = recorded
    result = ran("show", task, "--from", path, *contracts, "--output", "json")
    told = json.loads(result)
    names = [told["task_id"], *(each["task_id"] for each in told["linked"])]
    assert names[0] == task
    assert sorted(names) == ["ENG-7", "ENG-8", "ENG-9", "ZD-12"]
    assert all(each["linked"] == [] for each in told["linked"])
    shown = ran("show", task, "--from", path, *contracts)
    assert shown.count("fields, hop by hop") == 1
    grid = shown.partition("fields, hop by hop")[2].splitlines()
    columns, fields = grid[1], [line.split()[0] for line in grid[2:4]]
    assert "ENG-7: 1 ticket/answer → engineers" in columns
    assert columns.index("ENG-7: 1") < columns.index("ENG-8: 1")
    assert fields == ["summary", "error_code"]
    assert all(f"under another name: {name}" in shown for name in names[1:])


def test_a_task_without_links_is_told_alone(recorded: list[str]) -> None:
    *contracts, path = recorded
    told = json.loads(ran("show", "ENG-1", "--from", path, *contracts, "--output", "json"))
    assert told["linked"] == []


def test_what_is_classified_where_a_task_comes_from_is_masked_where_it_goes_on(
    recorded: list[str], tmp_path: Path
) -> None:
    contracts = CONTRACT.replace(
        "{name: error_code}]", "{name: error_code, classification: pii}]"
    ).replace(
        "---",
        """---
kind: HandoffContract
id: fix
version: 1
owner: {name: Ana Silva, contact: ana@example.com}
action: Ship it.
workflow: issue
from: {stage: triage}
to: {receiver: engineers, stage: ship}
fields: [{name: code, from: [error_code]}]
---""",
        1,
    )
    (tmp_path / "contracts.yaml").write_text(contracts)
    handed = ISSUE | {"id": "h", "task_id": "ENG-7", "handoff": {"to": "engineers"}}
    path = tmp_path / "lines.jsonl"
    with path.open("a") as file:
        file.write(json.dumps(handed | {"occurred_at": "2026-03-02T09:00:00Z"}) + "\n")
    shown = ran("dry-run", "--show", *recorded)
    assert "code" in shown
    assert "E42" not in shown


def test_what_goes_on_is_one_edge_of_the_map_that_is_drafted_and_counted(
    recorded: list[str], tmp_path: Path
) -> None:
    """Nobody documents how changes come of issues; a ticket hands one issue on itself."""
    path = tmp_path / "lines.jsonl"
    change = {"workflow": "change", "stage": "plan", "tool": "calendar"}
    more = [
        TICKET | {"task_id": "ZD-13", "handoff": {"to": "engineers"}},
        ISSUE | {"task_id": "ENG-13", "continues": {"workflow": "ticket", "task_id": "ZD-13"}},
        change | {"task_id": "CHG-1", "continues": {"workflow": "issue", "task_id": "ENG-13"}},
    ]
    with path.open("a") as file:
        for n, line in enumerate(more):
            at = f"2026-03-02T1{n}:00:00Z"
            file.write(json.dumps({"id": f"m{n}", "occurred_at": at} | line) + "\n")
    told = json.loads(ran("edges", "--output", "json", "--from", str(path), *recorded[:2]))
    edges = {(e["kind"], e["workflow"], e["from"], e["to"]): e for e in told}
    handed = edges["handoff", "ticket", "answer", "engineers"]
    assert (handed["moves"], handed["counts"]["implicit"], handed["counts"]["declared"]) == (
        3,
        2,
        1,
    )
    assert not [key for key in edges if key[0] == "handoff" and key[1] != "ticket"]
    across = edges["move", "issue", "ticket/answer", "triage"]
    assert (across["moves"], across["documented"], across["contract"]) == (3, True, "bug")
    assert across["from_workflow"] == "ticket"
    assert not edges["move", "change", "issue/triage", "plan"]["documented"]
    drafts = ran("discover", "--from", str(path), *recorded[:2])
    (draft,) = [d for d in drafts.split("---") if "kind: HandoffContract" in d]
    assert "workflow: issue\nfrom:\n  stage: triage\nto:\n" in draft
    assert "  workflow: change\n  stage: plan\n" in draft
    drawn = ran("edges", "--output", "dot", "--from", str(path), *recorded[:2])
    assert drawn.count('label="answer"') == drawn.count('label="triage"') == 1
    assert "ticket/answer" not in drawn
    audit = json.loads(ran("audit", "--output", "json", "--from", str(path), *recorded[:2]))
    # Three tickets were handed on, and one issue went on with no handoff at all.
    assert audit["crossings"] == 4


def message(kind: str, to: str, by: str, at: int) -> Record:
    (workflow, task), (of_workflow, of_task) = to.split("/"), by.split("/")
    body = LinkMessage(kind, workflow, task, of_workflow, of_task, at)  # type: ignore[arg-type]
    return Record(LINKS, 0, 0, None, msgspec.json.encode(body), at)


def test_links_that_nobody_has_answered_are_listed_the_oldest_first() -> None:
    minute = ANSWERED_MS
    told = [
        message("linked", "ticket/ZD-2", "issue/ENG-2", 2 * minute),
        message("linked", "ticket/ZD-1", "issue/ENG-1", minute),
        message("caught_up", "issue/ENG-3", "ticket/ZD-3", 3 * minute - 10),  # of a slower clock
        message("linked", "ticket/ZD-3", "issue/ENG-3", 3 * minute),
        message("linked", "ticket/ZD-4", "issue/ENG-4", minute),
        message("unlinked", "ticket/ZD-4", "issue/ENG-4", 2 * minute),
        message("refused", "issue/ENG-5", "ticket/ZD-5", minute),
        message("linked", "ticket/ZD-5", "issue/ENG-5", minute),
        message("caught_up", "issue/ENG-6", "ticket/ZD-6", minute),  # and was forgotten since
        message("linked", "ticket/ZD-6", "issue/ENG-6", 5 * minute),
        message("linked", "ticket/ZD-7", "issue/ENG-7", 10 * minute),  # just now
        Record(LINKS, 0, 0, None, b"{", 0),
    ]
    found = waiting(told, 11 * minute - 1)
    assert [(each.task[1], each.continues[1]) for each in found] == [
        ("ENG-1", "ZD-1"),
        ("ENG-2", "ZD-2"),
        ("ENG-6", "ZD-6"),
    ]
    assert found[0].since == minute
