"""`handoff dry-run`: the core over lines, without a broker."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from console.dry_run import printed
from console.main import main
from processors.partitioning import partition_of

DEMO = Path(__file__).parents[1] / "console" / "demo"


def dry_run(*arguments: str, lines: str = "") -> Result:
    return CliRunner().invoke(main, ["dry-run", *arguments], input=lines)


def demo(*arguments: str) -> Result:
    return dry_run("--contracts", str(DEMO), *arguments, str(DEMO / "sales.jsonl"))


def records(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def output(**members: Any) -> str:
    body = {"id": "e1", "task_id": "t1", "workflow": "w", "stage": "s", "tool": "x"}
    return json.dumps(body | {"occurred_at": "2026-03-01T09:00:00Z"} | members) + "\n"


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
    plain = records(dry_run("--contracts", contracts, "-", lines=lines))
    marked = records(dry_run("--contracts", contracts, "--backfill", "-", lines=lines))
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


def test_an_input_that_the_processor_does_not_read_stops_with_its_line() -> None:
    line = '{"topic": "handoff.acks", "value": {"task_id": "t1"}}\n'
    result = dry_run("--contracts", str(DEMO), "-", lines=line)
    assert result.exit_code == 2
    assert "line 1: this version does not read handoff.acks" in result.stderr


def test_the_clock_goes_on_to_until() -> None:
    result = demo("--until", "2026-03-09T00:00:00Z")
    assert "the clock ended at 2026-03-09T00:00:00Z" in result.stderr
    assert demo("--until", "monday").exit_code == 2


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
