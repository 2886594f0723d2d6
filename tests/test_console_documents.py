"""`handoff contracts lint` and `handoff import`: commands that need no broker."""

import gzip
import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from console.main import main
from schemas import documents
from schemas.documents import HandoffContract, Receiver
from schemas.lint import nobody_receives
from tests.core import CONTRACT, RECEIVER

DEMO = Path(__file__).parents[1] / "console" / "demo"
TRANSCRIPT = [
    {
        "role": "assistant",
        "tool_calls": [
            {"id": "c1", "function": {"name": "find_order", "arguments": '{"order_id": "A-1"}'}}
        ],
    },
    {"role": "tool", "tool_call_id": "c1", "content": '{"order_id": "A-1", "total": 12.50}'},
    {
        "role": "assistant",
        "tool_calls": [
            {"id": "c2", "function": {"name": "escalate", "arguments": '{"summary": "please"}'}}
        ],
    },
]


def handoff(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def test_lint_warns_and_passes() -> None:
    result = handoff("contracts", "lint", str(DEMO))
    assert result.exit_code == 0
    assert "warning: owners: the receiver 'platform-engineering' has no owner" in result.stdout
    assert result.stdout.endswith("4 contracts and 4 receivers: 0 errors, 1 warning\n")
    problems = json.loads(handoff("contracts", "lint", "--output", "json", str(DEMO)).stdout)
    assert {each["level"] for each in problems} == {"warning"}
    assert [each["file"] for each in problems if each["path"] == "owners"] == [
        str(DEMO / "support.yaml")
    ]


def test_lint_names_every_error_and_fails(tmp_path: Path) -> None:
    path = tmp_path / "late.yaml"
    path.write_text((DEMO / "operations.yaml").read_text().replace("PT12H\ncomp", "PT4H\ncomp"))
    late = handoff("contracts", "lint", str(path))
    assert late.exit_code == 2
    assert "accept_within: PT4H is shorter than PT12H" in late.stdout
    path.write_text("kind: Receiver\nid: x\nteem: y\n---\nkind: HandoffKontract\n")
    broken = handoff("contracts", "lint", str(path))
    assert broken.exit_code == 2
    assert f"{path}:3: teem: unknown key; did you mean 'team'?" in broken.stdout
    assert "did you mean 'HandoffContract'?" in broken.stdout
    as_json = handoff("contracts", "lint", "--output", "json", str(path))
    assert as_json.exit_code == 2
    assert {each["line"] for each in json.loads(as_json.stdout)} >= {3}
    assert handoff("contracts", "lint", str(tmp_path / "none.yaml")).exit_code == 2


def test_transcripts_become_lines_that_dry_run_reads(tmp_path: Path) -> None:
    path = tmp_path / "chat.json.gz"
    path.write_bytes(gzip.compress(json.dumps(TRANSCRIPT).encode()))
    result = handoff(
        *("import", "openai-chat", "--handoff", "escalate=support-desk"),
        *("--start", "2026-03-01T09:00:00Z", "--workflow", "orders", str(path)),
    )
    assert result.exit_code == 0
    first, second = (json.loads(line) for line in result.stdout.splitlines())
    assert first["context"].items() >= {"order_id": "A-1", "total": 12.5}.items()
    assert first["workflow"] == "orders"
    assert first["occurred_at"] == "2026-03-01T09:00:01Z"
    assert second["handoff"] == {"to": "support-desk"}
    lines = tmp_path / "lines.jsonl"
    lines.write_text(result.stdout)
    assert "1 handoff: 1 sent" in handoff("dry-run", "--contracts", str(DEMO), str(lines)).stderr


def test_what_cannot_be_imported_is_bad_input(tmp_path: Path) -> None:
    path = tmp_path / "chat.json"
    path.write_text("nonsense")
    for arguments, words in (
        ([str(path)], str(path)),
        ([str(tmp_path / "none")], "there is no such file"),
        (["--handoff", "escalate", str(path)], "write TOOL=RECEIVER"),
        (["--start", "today", str(path)], "no time with an offset"),
    ):
        result = handoff("import", "openai-chat", *arguments)
        assert result.exit_code == 2
        assert words in result.stderr
        assert "Traceback" not in result.output


def test_every_command_says_what_it_does() -> None:
    def walk(command: object, path: list[str]) -> None:
        result = handoff(*path, "--help")
        assert result.exit_code == 0
        assert result.stdout.startswith("Usage: ")
        for name, below in getattr(command, "commands", {}).items():
            assert below.help, f"{path} {name}"
            walk(below, [*path, name])

    walk(main, [])


def test_who_applies_receivers_hears_of_contracts_that_nobody_receives_for() -> None:
    def contract(id_: str, receiver: str, **more: Any) -> HandoffContract:
        found = documents.parse(CONTRACT | {"id": id_, "to": {"receiver": receiver}} | more)
        assert isinstance(found, HandoffContract)
        return found

    def receiver(id_: str, **more: Any) -> Receiver:
        found = documents.parse(RECEIVER | {"id": id_} | more)
        assert isinstance(found, Receiver)
        return found

    repeat = {"by": ["context.a"], "threshold": 2, "within": "P1D", "receiver": "ops"}
    contracts = [
        contract("a", "gone", version=1),
        contract("a", "there", version=2, fields=[{"name": "a"}], repeat=repeat),
        contract("b", "old"),
        contract("c", "old", status="trial"),
        contract("d", "none", status="draft"),
        contract("e", "none", status="retired"),
    ]
    receivers = {each.id: each for each in (receiver("there"), receiver("old", status="retired"))}
    assert list(nobody_receives(contracts, receivers)) == [
        "old, the receiver of b@1, c@1, is retired; name another there: it receives nothing",
        "ops, the receiver of a@2, is not registered; register it, or name another there: "
        "it receives nothing",
    ]
