"""Real traffic, by the commands of docs/airline.md: what the findings must say, told independently.

The oracle below reads the transcripts themselves and knows nothing of the importer or the core.
"""

import gzip
import json
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

CONTRACTS = Path(__file__).resolve().parents[1] / "examples" / "airline"
# The contract's fields that name a member of some tool's result, and how the tools call it.
SENT_AS = {
    "user_id": "user_id",
    "reservation_id": "reservation_id",
    "flights": "flights",
    "passengers": "passengers",
    "cabin": "cabin",
    "booked_at": "created_at",
    "insurance": "insurance",
    "payments": "payment_history",
}

Records = list[dict[str, Any]]


def handoff(*arguments: str | Path) -> bytes:
    """Run the command; its output, or a failure that shows what it said."""
    command = [sys.executable, "-m", "console.main", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def dry_run(path: Path) -> Records:
    return [
        json.loads(line) for line in handoff("dry-run", "--contracts", CONTRACTS, path).splitlines()
    ]


def values(records: Records, topic: str) -> Records:
    return [record["value"] for record in records if record["topic"] == topic]


@pytest.fixture(scope="module")
def transcripts(shared: Path) -> Records:
    with gzip.open(shared / "data" / "airline-transcripts.json.gz") as file:
        found: Records = json.load(file)
    return found


@pytest.fixture(scope="module")
def records(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Records:
    outputs = tmp_path_factory.mktemp("airline") / "airline.jsonl"
    source = shared / "data" / "airline-transcripts.json.gz"
    outputs.write_bytes(handoff("import", "openai-chat", source))
    return dry_run(outputs)


def handed_off(transcript: dict[str, Any]) -> tuple[str, dict[str, list[Any]]] | None:
    """The summary of a transcript's handoff, and the distinct values the tools had held before.

    None where it has no handoff. The last value held stands last.
    """
    held: dict[str, list[Any]] = defaultdict(list)
    asked: dict[str, Any] = {}
    for message in transcript["traj"]:
        for call in message.get("tool_calls") or []:
            asked = call["function"]
        if message["role"] != "tool":
            continue
        arguments = json.loads(asked["arguments"])
        if asked["name"] == "transfer_to_human_agents":
            return arguments["summary"], held
        content = message["content"]
        if content.startswith("Error"):
            continue
        result = json.loads(content) if content.startswith("{") else {}
        for name, value in (arguments | result).items():
            if value in held[name]:
                held[name].remove(value)
            if value not in ("", [], {}):
                held[name].append(value)
    return None


def test_each_of_the_48_handoffs_is_exactly_one_package(
    transcripts: Records, records: Records
) -> None:
    packages = values(records, "handoff.packages")
    expected = [f"{t['task_id']}-{t['trial']}" for t in transcripts if handed_off(t)]
    assert len(expected) == 48
    assert [package["task_id"] for package in packages] == expected
    assert {p["to"]["receiver"]: p["to"]["owner"] for p in packages} == {
        "human-agents": "Tomas Lindqvist"
    }
    assert {record["topic"] for record in records} == {
        "handoff.packages",
        "handoff.violations",
        "handoff.signals",
    }


def test_every_finding_is_what_the_transcript_shows(transcripts: Records, records: Records) -> None:
    packages = {package["task_id"]: package for package in values(records, "handoff.packages")}
    violations = {
        (violation["task_id"], violation["field"]): violation
        for violation in values(records, "handoff.violations")
    }
    checked: Counter[str] = Counter()
    for transcript in transcripts:
        found = handed_off(transcript)
        if found is None:
            continue
        summary, held = found
        task = f"{transcript['task_id']}-{transcript['trial']}"
        context = packages[task]["context"]
        assert context["summary"] == summary
        for field, name in SENT_AS.items():
            finding = violations.pop((task, field))
            candidates = held[name]
            what = f"{task} {field}: {finding['message']}"
            checked[finding["kind"]] += 1
            if not candidates:
                assert finding["kind"] == "never_captured", what
                assert field not in context, what
                continue
            last = candidates[-1]
            in_words = isinstance(last, str) and len(last) >= 4 and last in summary
            kind = "context_unstructured" if in_words else "context_dropped"
            assert finding["kind"] == kind, what
            assert finding["candidates"] == len(candidates), what
            assert finding["origin"]["tool"] != "transfer_to_human_agents", what
            if len(candidates) == 1:
                assert context[field] == candidates[0], what
            else:
                assert field not in context, what
    assert not violations, "every violation was looked at"
    assert sum(checked.values()) == 48 * len(SENT_AS)


def test_the_permit_log_goes_through_without_a_dead_letter(shared: Path) -> None:
    path = shared / "data" / "permit-outputs.jsonl.gz"
    assert dry_run(path) == [], "no handoff is declared in it, so nothing is published"
