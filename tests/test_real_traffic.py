"""Real traffic, by the commands of docs/airline.md: what the findings must say, told independently.

The oracle below reads the transcripts themselves and knows nothing of the importer or the core.
"""

import gzip
import json
import os
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


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "console", *map(str, arguments)]


def handoff(*arguments: str | Path, env: dict[str, str] | None = None) -> bytes:
    """Run the command; its output, or a failure that shows what it said."""
    done = subprocess.run(
        command(*arguments), capture_output=True, timeout=60, check=False, env=env
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def dry_run(path: Path, *options: str) -> Records:
    printed = handoff("dry-run", "--contracts", CONTRACTS, *options, path)
    return [json.loads(line) for line in printed.splitlines()]


def values(records: Records, topic: str) -> Records:
    return [record["value"] for record in records if record["topic"] == topic]


@pytest.fixture(scope="module")
def transcripts(shared: Path) -> Records:
    with gzip.open(shared / "data" / "airline-transcripts.json.gz") as file:
        found: Records = json.load(file)
    return found


@pytest.fixture(scope="module")
def outputs(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The airline's tool outputs, as the importer prints them."""
    path = tmp_path_factory.mktemp("airline") / "airline.jsonl"
    source = shared / "data" / "airline-transcripts.json.gz"
    path.write_bytes(handoff("import", "openai-chat", source))
    return path


@pytest.fixture(scope="module")
def records(outputs: Path) -> Records:
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
        "handoff.patterns",
        "handoff.edges",
        "handoff.figures",
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
            words = {word.strip(".,()'") for word in summary.split()}
            in_words = isinstance(last, str) and (
                (len(last) >= 4 and last in summary)
                or any(text in words and not text.isalpha() for text in candidates)
            )
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


def timeless(records: Records) -> list[str]:
    """Records without the processor's own times, in an order of their own."""
    clock = {"sent_at", "detected_at", "at"}
    return sorted(
        json.dumps(
            record | {"value": {k: v for k, v in record["value"].items() if k not in clock}},
            sort_keys=True,
        )
        for record in records
    )


@pytest.mark.slow
def test_through_kafka_the_records_are_those_of_the_dry_run(
    outputs: Path, embedded: str, prefix: str
) -> None:
    # `send` marks what is older than a day as backfill; so does the dry run when it is told to.
    expected = dry_run(outputs, "--backfill")
    env = os.environ | {
        "HANDOFF_KAFKA_BOOTSTRAP_SERVERS": embedded,
        "HANDOFF_TOPIC_PREFIX": prefix,
        "HANDOFF_APPLICATION_ID": prefix.rstrip("."),
        "HANDOFF_WEB_PORT": "0",
    }
    handoff("topics", "apply", env=env)
    handoff("contracts", "apply", CONTRACTS, env=env)
    handoff("receivers", "apply", CONTRACTS, env=env)
    handoff("send", outputs, env=env)

    def tail(kind: str, limit: int, quiet: float) -> Records:
        limits = ("--limit", str(limit), "--timeout", str(quiet), "--output", "json")
        printed = handoff("tail", kind, "--from-beginning", *limits, env=env)
        return [json.loads(line) for line in printed.splitlines()]

    got: Records = []
    with subprocess.Popen(command("run"), env=env, stderr=subprocess.DEVNULL) as processor:
        try:
            tail("signals", 48, 40)  # the last that a handoff publishes: then all of it is there
            for kind in ("packages", "violations", "signals"):
                expects = len(values(expected, f"handoff.{kind}"))
                got += tail(kind, expects + 1, 2)
            patterns = tail("patterns", len(expected), 3)
        finally:
            processor.terminate()
            assert processor.wait(20) == 0
    # By transactions, and not by records.
    counted = ("handoff.patterns", "handoff.edges", "handoff.figures")
    assert timeless(got) == timeless([r for r in expected if r["topic"] not in counted])
    causes = {pattern["fingerprint"] for pattern in values(expected, "handoff.patterns")}
    assert {pattern["key"] for pattern in patterns} == causes
    assert all(cause.startswith("replay/") for cause in causes), "a replay pages no one"


def test_the_permit_log_becomes_its_edges_and_nothing_else(shared: Path) -> None:
    path = shared / "data" / "permit-outputs.jsonl.gz"
    expected: Counter[tuple[str, str]] = Counter()
    latest: dict[str, str] = {}
    with gzip.open(path) as lines:
        for event in map(json.loads, lines):
            before = latest.get(event["task_id"])
            if before not in (None, event["stage"]):
                expected[before, event["stage"]] += 1
            latest[event["task_id"]] = event["stage"]
    records = dry_run(path)
    assert {record["topic"] for record in records} == {"handoff.edges", "handoff.figures"}
    edges = {r["key"]: r["value"] for r in records if r["topic"] == "handoff.edges"}
    assert {(edge["from"], edge["to"]): edge["moves"] for edge in edges.values()} == expected
    assert (len(edges), sum(expected.values())) == (43, 5_440)


def test_what_is_lost_again_and_again_is_one_pattern_a_cause(records: Records) -> None:
    """48 handoffs lose the same fields: who is on call reads one entry a field, and not 48."""
    broken: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for violation in values(records, "handoff.violations"):
        if violation["status"] == "opened":
            broken[violation["kind"], violation["field"]][violation["severity"]] += 1
    entries: dict[tuple[str, str], Records] = defaultdict(list)
    for pattern in values(records, "handoff.patterns"):
        entries[pattern["kind"], pattern["field"]].append(pattern)
    told = {cause for cause, n in broken.items() if n["error"] or n["warning"] >= 10}
    assert entries.keys() == told
    for cause, entry in entries.items():
        last, total = entry[-1], broken[cause].total()
        assert len({pattern["id"] for pattern in entry}) == 1
        assert [pattern["status"] for pattern in entry] == ["opened"] + ["updated"] * (
            len(entry) - 1
        )
        assert last["count"] <= total < 2 * last["count"]
    drops = entries["context_dropped", "passengers"]
    assert (len(drops), broken["context_dropped", "passengers"].total()) == (6, 42)
