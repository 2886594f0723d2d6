"""A held handoff and the people around it, on a broker, with the processor running."""

import json
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from console.main import main
from tests.test_console_running import until, up

pytestmark = pytest.mark.embedded

DOCUMENTS = """
kind: HandoffContract
id: bug-to-engineering
version: 1
owner: {name: Ana Silva, contact: ana@example.com}
action: Find the cause and say which release fixes it.
workflow: support-ticket
from: {team: support, stage: answer}
to: {receiver: engineering, stage: fix}
hold_on: [never_captured]
accept_within: PT1H
complete_within: P1D
fields:
  - {name: error_code, type: string}
  - {name: customer, type: string, classification: pii}
  - {name: steps, type: string, classification: pii}
---
kind: Receiver
id: engineering
team: engineering
owners: [{name: Priya Nair, contact: priya@example.com}]
"""
SECRETS = ("Mara Lind", "She typed her name")


def test_a_held_handoff_is_amended_sent_accepted_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "documents.yaml").write_text(DOCUMENTS)
    monkeypatch.chdir(tmp_path)
    seen: list[Result] = []

    def handoff(*arguments: str, lines: str | None = None) -> Result:
        seen.append(CliRunner().invoke(main, arguments, input=lines))
        return seen[-1]

    def held() -> list[dict[str, object]]:
        found: list[dict[str, object]] = json.loads(
            handoff("held", "list", "--output", "json").stdout
        )
        return found

    with up(tmp_path, "--contracts", "documents.yaml") as (_, servers):
        monkeypatch.setenv("HANDOFF_KAFKA_BOOTSTRAP_SERVERS", servers)
        monkeypatch.setenv("HANDOFF_BY", "Ana Silva")
        output = {
            "id": "1",
            "task_id": "T-1",
            "workflow": "support-ticket",
            "stage": "answer",
            "tool": "helpdesk",
            "team": "support",
            "occurred_at": datetime.now(UTC).isoformat(),
            "context": {"error_code": "E-4012", "customer": "Mara Lind"},
            "handoff": {"to": "engineering"},
        }
        assert handoff("send", "-", lines=json.dumps(output)).exit_code == 0
        until(held, 30, "the handoff is held")
        (row,) = held()
        id_ = str(row["id"])
        assert row["held_for"] == {"never_captured": ["steps"]}
        assert "never_captured: steps is required" in " ".join(
            handoff("held", "show", id_).stdout.split()
        )

        def outcome(*arguments: str) -> tuple[int, str]:
            result = handoff(*arguments, "--wait", "30", "--output", "json")
            assert result.stdout, result.stderr
            return result.exit_code, json.loads(result.stdout)["outcome"]

        refused = outcome("amend", id_, "--set", "steps=5")
        assert refused == (1, "refused"), "a number is none of the contract's strings"
        assert outcome("ack", id_, "--status", "accepted") == (1, "refused"), "it is held"
        still = handoff("amend", id_, "--text", "step=x", "--wait", "30")
        assert (still.exit_code, "still held" in still.stdout) == (0, True)
        assert "declares no field step; it declares error_code, customer, steps" in still.stderr
        words = "steps=She typed her name"
        assert outcome("amend", id_, "--text", words, "--reason", "asked") == (0, "applied")
        assert held() == []
        assert outcome("release", id_, "--reason", "hurry") == (1, "refused"), "it is sent already"
        assert outcome("ack", id_, "--status", "accepted") == (0, "applied")
        began = time.monotonic()
        assert outcome("ack", id_, "--status", "accepted") == (0, "unchanged")
        assert time.monotonic() - began < 25, "the processor's position answers, not the wait"

        told = json.loads(handoff("show", "T-1", "--values", "--output", "json").stdout)
        (hop,) = told["handoffs"]
        assert (hop["state"], hop["owner"], hop["revision"]) == ("accepted", "Priya Nair", 3)
        assert hop["cells"] == {
            "error_code": "arrived",
            "customer": "arrived",
            "steps": "amended",
            "step": "amended",
        }
        assert told["open"] == [id_]
        kinds = [
            (each["what"], each.get("kind") or each.get("disposition"))
            for each in told["timeline"]
            if each["what"] in ("package", "signal")
        ]
        assert kinds == [
            ("package", "held"),
            ("signal", "held"),
            ("package", "held"),
            ("package", "sent"),
            ("signal", "released"),
            ("signal", "accepted"),
        ]
        text = " ".join(handoff("show", "T-1", "--values").stdout.split())
        assert "error_code=E-4012" in text
        assert "Ana Silva sets steps (hop 1): asked" in text
        assert "Priya Nair <priya@example.com> of engineering (engineering), accepted" in text

        lost = {**output, "id": "2", "task_id": "T-2", "handoff": {"to": "nobody-there"}}
        assert handoff("send", "-", lines=json.dumps(lost)).exit_code == 0
        until(held, 30, "the handoff to nobody is held")
        (row,) = held()
        given = (str(row["id"]), "--reason", "hurry", "--wait", "30")
        result = handoff("release", *given)
        assert (result.exit_code, "released to no queue" in result.stdout) == (0, True)
        assert "nobody-there is not registered" in result.stdout
        text = " ".join(handoff("show", "T-2").stdout.split())
        assert "sent to nobody-there, revision 2, on handoff.packages alone" in text
        assert "sent; it is on handoff.packages alone: nobody-there is not registered" in text
    for result in seen:
        assert not any(secret in result.output for secret in SECRETS)
