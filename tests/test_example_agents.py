"""The command of examples/agents/README.md, and what it says comes of it."""

import json
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from console.main import main

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "agents"


@pytest.mark.parametrize("recorded", ["agents-sdk.jsonl", "otel.json"])
def test_the_command_finds_what_the_filter_dropped(
    recorded: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = re.search(r"```\n(.*)\n```", (EXAMPLE / "README.md").read_text())
    assert text
    monkeypatch.chdir(ROOT)
    given = b""
    for command in text[1].replace("agents-sdk.jsonl", recorded).split(" | "):
        name, *arguments = shlex.split(command)
        assert name == "handoff"
        result = CliRunner().invoke(main, arguments, input=given)
        assert result.exit_code == 0, result.stderr
        given = result.stdout_bytes
    records = [json.loads(line) for line in given.splitlines()]
    [package] = [each["value"] for each in records if each["topic"] == "handoff.packages"]
    assert {name: how["how"] for name, how in package["provenance"].items()} == {
        "user_said": "arrived",
        "order_id": "rebuilt",
        "warehouse": "rebuilt",
        "warranty_until": "rebuilt",
    }
    broken = {
        (each["value"]["kind"], each["value"]["field"])
        for each in records
        if each["topic"] == "handoff.violations"
    }
    fields = ("order_id", "warehouse", "warranty_until")
    assert broken == {("context_dropped", field) for field in fields}
