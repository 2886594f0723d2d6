"""`handoff edges`, `discover` and `audit`: from recordings, and from the topics."""

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from console.commands.edges import drawing
from console.kafka import connect, write_all
from console.main import main
from schemas import serde
from schemas.feed import subject
from tests.commands import HandoffCommand
from tests.edges import handoff as handed
from tests.edges import move

DEMO = Path(__file__).parents[1] / "console" / "demo"
SALES = ("--from", str(DEMO / "sales.jsonl"), "--contracts", str(DEMO / "sales.yaml"))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def found(*arguments: str) -> Any:
    result = run(*arguments, "--output", "json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def recording(path: Path, *stages: str, task: str = "t1", workflow: str = "w", **more: Any) -> Path:
    """A task that goes through these stages, a minute apart; appended to the file."""
    with path.open("a") as file:
        for minute, stage in enumerate(stages):
            body = {
                "id": f"{task}-{minute}",
                "task_id": task,
                "workflow": workflow,
                "stage": stage,
                "tool": "x",
                "occurred_at": f"2026-03-01T09:{minute:02}:00Z",
                "context": {"note": "hello"},
                **more,
            }
            file.write(json.dumps(body) + "\n")
    return path


# --- edges ----------------------------------------------------------------------------------------


def test_moves_and_handoffs_of_a_recording(tmp_path: Path) -> None:
    path = recording(tmp_path / "in.jsonl", "a", "b", "a", "c")
    recording(path, "a", "b", task="t2")
    edges = found("edges", "--from", str(path))
    assert [(e["from"], e["to"], e["moves"], e["tasks"]) for e in edges] == [
        ("a", "b", 2, 2),
        ("a", "c", 1, 1),
        ("b", "a", 1, 1),
    ]
    assert {e["documented"] for e in edges} == {False}
    assert edges[2]["counts"]["ping_pongs"] == 1
    table = run("edges", "--from", str(path))
    assert re.search(r"^w +a +b +2 +2 +no ", table.stdout, re.MULTILINE)
    assert "3 edges, 3 undocumented; drafts" in table.stderr


def test_what_a_contract_covers_is_documented() -> None:
    edges = found("edges", *SALES)
    (handoffs,) = [edge for edge in edges if edge["kind"] == "handoff"]
    assert (handoffs["to"], handoffs["documented"]) == ("marketing-nurture", True)
    table = run("edges", *SALES).stdout
    assert re.search(r"→ marketing-nurture .* \d+%, [1-9] open ", table), "open is not failed"
    undocumented = found("edges", *SALES[:2])
    assert not any(edge["documented"] for edge in undocumented if edge["kind"] == "handoff")


def test_one_workflow_of_several(tmp_path: Path) -> None:
    path = recording(tmp_path / "in.jsonl", "a", "b")
    recording(path, "a", "b", task="t2", workflow="other")
    edges = found("edges", "--from", str(path), "--workflow", "other")
    assert [edge["workflow"] for edge in edges] == ["other"]
    none = run("edges", "--from", str(path), "--workflow", "thrid", "--output", "json")
    assert (none.exit_code, none.stdout) == (0, "[]\n")
    assert "no edge is of the workflow 'thrid'; known: 'other', 'w'" in none.stderr
    told = found("audit", "--from", str(path), "--workflow", "other")
    assert (told["edges"], told["answers"][0]["worst"][0]["workflow"]) == (1, "other")
    assert run("discover", "--from", str(path), "--workflow", "other").stdout.count("kind:") == 1


def test_the_drawing_escapes_names_and_tells_kinds_apart() -> None:
    edges = [
        move('say "hi"\\n', "b & c", 1200),
        handed('say "hi"\\n', "b & c", 7, fidelity=0.756),
        move("b & c", "x\ny", 1, workflow="v"),
    ]
    assert list(drawing(edges)) == [
        "digraph handoffs {",
        '  rankdir=LR; node [fontname="sans-serif"]; edge [fontname="sans-serif"];',
        "  subgraph cluster_0 {",
        '    label="v";',
        '    n0 [label="b &amp; c"];',
        '    n1 [label="x�y"];',
        "  }",
        "  subgraph cluster_1 {",
        '    label="w";',
        '    n2 [label="say \\"hi\\"\\\\n"];',
        '    n3 [label="b &amp; c"];',
        '    n4 [label="b &amp; c", shape=box];',
        "  }",
        '  n0 -> n1 [label="1", style=dashed];',
        '  n2 -> n3 [label="1,200", style=dashed];',
        '  n2 -> n4 [label="7, fidelity 75%"];',
        "}",
    ]


def test_dot_is_printed(tmp_path: Path) -> None:
    path = recording(tmp_path / "in.jsonl", "a", "b")
    result = run("edges", "--from", str(path), "--output", "dot")
    assert result.stdout.startswith("digraph handoffs {\n")
    assert result.stdout.endswith('  n0 -> n1 [label="1", style=dashed];\n}\n')


# --- discover -------------------------------------------------------------------------------------


def test_each_undocumented_edge_gets_a_draft_that_lints(tmp_path: Path) -> None:
    path = recording(tmp_path / "in.jsonl", "a", "b", "c")
    drafts = tmp_path / "drafts"
    written = run("discover", "--from", str(path), "--directory", str(drafts))
    assert written.exit_code == 0, written.stderr
    assert f"2 drafts in {drafts}" in written.stderr
    assert sorted(file.name for file in drafts.iterdir()) == ["w-a-to-b.yaml", "w-b-to-c.yaml"]
    streamed = run("discover", "--from", str(path)).stdout
    assert streamed.split("---\n") == [file.read_text() for file in sorted(drafts.iterdir())]
    lint = run("contracts", "lint", str(drafts))
    assert lint.exit_code == 0, lint.output
    assert "0 errors" in lint.stdout

    again = run("discover", "--from", str(path), "--directory", str(drafts))
    assert again.exit_code == 4
    assert "nothing was written" in again.stderr


def test_a_draft_has_no_id_that_is_taken_and_documented_edges_have_none(tmp_path: Path) -> None:
    path = recording(tmp_path / "in.jsonl", "a", "b", "c")
    run("discover", "--from", str(path), "--directory", str(tmp_path / "drafts"))
    contract = (tmp_path / "drafts" / "w-a-to-b.yaml").read_text()
    active = contract.replace("status: draft", "status: active").replace(
        "owner: UNKNOWN", "owner: {name: Ana, contact: ana@example.com}"
    )
    contracts = tmp_path / "contracts.yaml"
    contracts.write_text(active.replace("from:\n  stage: a", "from:\n  stage: b"))
    source = ("--from", str(path), "--contracts", str(contracts))
    assert "id: w-a-to-b-2\n" in run("discover", *source).stdout, "the other id is taken"
    contracts.write_text(active)
    left = run("discover", *source).stdout
    assert re.findall(r"^id: (.*)$", left, re.MULTILINE) == ["w-b-to-c"]


def lead(path: Path) -> Path:
    """A lead that is handed off, as the contract of the demo has it."""
    handoff = {"to": "marketing-nurture"}
    return recording(path, "qualify", workflow="inbound-lead", handoff=handoff)


def test_nothing_is_left_to_discover(tmp_path: Path) -> None:
    path = lead(tmp_path / "in.jsonl")
    result = run("discover", "--from", str(path), *SALES[2:])
    assert result.exit_code == 0
    assert result.stdout == ""
    assert "every observed edge is documented" in result.stderr
    assert run("edges", "--from", str(path), *SALES[2:]).stderr == "1 edge, 0 undocumented\n"


# --- audit ----------------------------------------------------------------------------------------


def test_the_audit_in_its_three_forms(tmp_path: Path) -> None:
    path = recording(tmp_path / "in.jsonl", "a", "b", "c")
    told = found("audit", "--from", str(path))
    assert (told["source"], told["no"], told["crossings"]) == (str(path), 6, 2)
    assert [each["answer"] for each in told["answers"]] == ["no"] * 6
    assert {edge["from"] for edge in told["answers"][0]["worst"]} == {"a", "b"}
    text = run("audit", "--from", str(path)).stdout
    assert text.startswith("6 of 6 answers are no: handoffs are not under control")
    assert "1  Is the format each receiver expects known?  NO\n" in text
    page = run("audit", "--from", str(path), "--output", "markdown").stdout
    assert page.startswith("# Audit of handoffs\n\n**6 of 6 answers are no")
    assert page.count("\n## ") == 6


def test_the_audit_of_nothing_does_not_know(tmp_path: Path) -> None:
    path = recording(tmp_path / "in.jsonl", "a")
    told = found("audit", "--from", str(path))
    assert [each["answer"] for each in told["answers"]] == ["unknown"] * 6
    result = run("audit", "--from", str(path))
    assert f"no edge was observed at {path}" in result.stderr
    assert result.stdout.startswith("Nothing was observed yet")


def test_an_owner_is_in_force_on_the_day_that_the_recording_ends(tmp_path: Path) -> None:
    path = lead(tmp_path / "in.jsonl")
    contracts = tmp_path / "sales.yaml"
    written = (DEMO / "sales.yaml").read_text()
    owners: dict[str, str] = {}
    for until in ("2026-03-01", "2026-02-28"):
        contact = "contact: dana@nordlicht.example"
        assert contact in written
        contracts.write_text(written.replace(contact, f"{contact}, until: {until}"))
        told = found("audit", "--from", str(path), "--contracts", str(contracts))
        owners[until] = told["answers"][2]["answer"]
    assert owners == {"2026-03-01": "yes", "2026-02-28": "no"}


# --- what can be wrong ----------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["edges", "discover", "audit"])
def test_sources_that_cannot_be_read(command: str, tmp_path: Path) -> None:
    missing = run(command, "--from", str(tmp_path / "missing.jsonl"))
    assert missing.exit_code == 2
    assert "missing.jsonl: there is no such file" in missing.stderr
    alone = run(command, "--contracts", str(DEMO))
    assert alone.exit_code == 2
    assert "--contracts goes with --from" in alone.stderr
    nobody = CliRunner(env={"HANDOFF_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}).invoke(
        main, [command]
    )
    assert nobody.exit_code == 3


@pytest.mark.parametrize("command", ["edges", "discover", "audit"])
def test_bad_lines_are_left_out_and_counted(command: str, tmp_path: Path) -> None:
    path = recording(tmp_path / "in.jsonl", "a", "b")
    with path.open("a") as file:
        file.write('nonsense\n{"task_id": "t1"}\n')
    result = run(command, "--from", str(path))
    assert result.exit_code == 0
    assert f"{path}: left out 2 lines that cannot be understood" in result.stderr


# --- the permit log -------------------------------------------------------------------------------


def test_the_permit_log(shared: Path, tmp_path: Path) -> None:
    path = str(shared / "data" / "permit-outputs.jsonl.gz")
    edges = found("edges", "--from", path)
    assert (len(edges), sum(edge["moves"] for edge in edges)) == (43, 5_440)
    with gzip.open(path) as lines:
        stages = {json.loads(line)["stage"] for line in lines}
    assert {edge["from"] for edge in edges} | {edge["to"] for edge in edges} <= stages

    for more, number in ((), 6), (("--most", "10"), 10), (("--all",), 18):
        directory = tmp_path / str(number)
        run("discover", "--from", path, "--directory", str(directory), *more)
        assert len(list(directory.iterdir())) == number
        lint = run("contracts", "lint", str(directory))
        assert lint.exit_code == 0, lint.output

    told = found("audit", "--from", path)
    assert told["headline"].startswith("6 of 6 answers are no: handoffs are not under control")


# --- from the topics ------------------------------------------------------------------------------


def test_the_topics_are_read_where_no_recording_is_named(
    handoff: HandoffCommand, tmp_path: Path
) -> None:
    fresh = handoff("edges", "--output", "json")
    assert (fresh.exit_code, fresh.stdout) == (0, "[]\n")
    assert "no edge was observed at" in fresh.stderr

    edges = [move("a", "b", 3), move("a", "b", 30), handed("b", "desk", 2)]
    keyed = [
        (subject(edge.kind, edge.workflow, edge.from_, edge.to), serde.encode(edge))
        for edge in edges
    ]
    write_all(connect(), "handoff.edges", [*keyed, ("move/w/x/y", b'{"kind": "new"}')])
    listed = handoff("edges", "--output", "json")
    assert [(e["from"], e["to"], e["moves"]) for e in json.loads(listed.stdout)] == [
        ("a", "b", 30),
        ("b", "desk", 2),
    ]
    assert "left out 1 record of a newer version, or not ours" in listed.stderr
    told = json.loads(handoff("audit", "--output", "json").stdout)
    assert told["crossings"] == 32

    drafts = tmp_path / "drafts"
    assert handoff("discover", "--directory", str(drafts)).exit_code == 0
    refused = handoff("contracts", "apply", str(drafts))
    assert refused.exit_code == 4
    assert "w-a-to-b@1 has the owner UNKNOWN: name the person who owns it" in refused.stderr
    (draft,) = drafts.glob("w-a-to-b.yaml")
    owned = draft.read_text().replace(
        "owner: UNKNOWN", "owner: {name: Ana, contact: ana@x.example}"
    )
    draft.write_text(owned)
    still = handoff("contracts", "apply", str(draft))
    assert still.exit_code == 4
    assert "w-a-to-b@1 has the action of a draft: say what the receiver is to do" in still.stderr
    draft.write_text(owned.replace("EDIT: say what is to be done with", "Look at"))
    assert handoff("contracts", "apply", str(draft)).exit_code == 0
