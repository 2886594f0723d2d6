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


def message(kind: str, to: str, by: str, at: int) -> Record:
    body = LinkMessage(kind, *to.split("/"), *by.split("/"), at)  # type: ignore[arg-type]
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
