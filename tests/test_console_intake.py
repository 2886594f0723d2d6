"""`handoff sources lint | test`, as a person uses them."""

import gzip
import json
import re
import shlex
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Producer
from confluent_kafka.admin import NewTopic

from console.main import main
from tests.intake import EXAMPLES
from topics.admin import Admin

DESK = """\
kind: Source
id: desk
owner: {name: Ana Silva, contact: ana@example.com}
topic: desk.events
decode: json
defaults: {task: value.id, workflow: {value: ticket}, tool: {value: desk},
  occurred_at: value.at, id: value.e}
emit:
  - stage: value.queue
    team: {lookup: teams, by: value.queue, else: {value: unknown}}
    context: {note: value.note}
    handoff: {to: value.to}
lookups: {teams: {first: web-ops}}
"""


def run(*arguments: str, lines: str | None = None) -> Result:
    return CliRunner(env={"COLUMNS": "120"}).invoke(main, ["sources", *arguments], input=lines)


def event(number: int, **members: Any) -> dict[str, Any]:
    told = {"id": f"T-{number}", "at": "2026-03-02T10:00:00Z", "e": f"e{number}", "queue": "first"}
    return {**told, "to": "second", "note": "a note", **members}


@pytest.fixture
def desk(tmp_path: Path) -> str:
    path = tmp_path / "desk.yaml"
    path.write_text(DESK, encoding="utf-8")
    return str(path)


def lines(*values: Any) -> str:
    return "".join(json.dumps(value) + "\n" for value in values)


# --- the examples ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "pagerduty",
            [
                "web-ops · first-line → storage",
                "runbook   -                         missing",
                "1 handoff: 1 sent, 0 held; violations: never_captured 1",
                "arrived from the senders (fidelity) 75%",
            ],
        ),
        (
            "debezium-tickets",
            [
                "front-desk · front-desk → returns-team",
                "49.90",
                "1 handoff: 1 sent, 0 held; violations: never_captured 1, not_accepted 1",
                "left out: heartbeat 1, tombstone 1",
            ],
        ),
    ],
)
def test_the_command_of_an_example(
    name: str, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(EXAMPLES.parent)
    readme = (EXAMPLES / name / "README.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^handoff (.*)$", readme, re.MULTILINE)
    result = CliRunner(env={"COLUMNS": "120"}).invoke(main, shlex.split(command))
    assert result.exit_code == 0, result.output
    for words in expected:
        assert words in result.output


def test_a_ticket_goes_on_as_an_issue(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Both sources of the example, one after the other, and what their outputs become together."""
    monkeypatch.chdir(EXAMPLES.parent)
    readme = (EXAMPLES / "tickets-to-issues" / "README.md").read_text(encoding="utf-8")
    outputs = tmp_path / "outputs.jsonl"
    said = []
    for command in re.findall(r"^handoff (.*)$", readme, re.MULTILINE):
        asked, _, into = command.partition(">")
        words = [str(outputs) if w == "outputs.jsonl" else w for w in shlex.split(asked)]
        result = CliRunner(env={"COLUMNS": "120"}).invoke(main, words)
        assert result.exit_code == 0, result.output
        if into:
            with outputs.open("a") as file:
                file.write(result.stdout)
        said.append(result.stdout)
        if words[0] == "dry-run":  # what the tasks tell each other is not counted
            assert "5 inputs: 5 applied\n" in result.stderr
    *_, judged, told = said
    assert "support · ticket/answer → engineering  task ENG-311" in judged
    assert "customer_mail  ••••    rebuilt from answer/desk" in judged
    assert all(f"under another name: T-{n} (ticket)" in told for n in (4102, 4107))


def test_lint_of_contracts_says_where_they_are_checked() -> None:
    contracts = str(EXAMPLES / "pagerduty" / "contracts.yaml")
    result = run("lint", contracts)
    assert result.exit_code == 2
    assert f"{contracts}: no source is there" in result.output
    assert "handoff contracts lint" in result.output


# --- test --------------------------------------------------------------------------------------


def test_each_record_is_told_and_counted(desk: str) -> None:
    given = lines(
        event(1, unused={"a": 1}),
        event(2, queue="First", to="Second"),
        event(2, at="2026-03-02T09:00:00Z"),
        event(3, id=1.5),
        [1],
    )
    result = run("test", desk, "-", lines=given)
    assert result.exit_code == 0, result.output
    for words in (
        "    1  T-1  e1, at first, with note, hands off to second",
        "    4  refused: source desk: defaults.task (value.id): is a number with a fraction",
        "desk: 5 records: 3 mapped, 0 left out, 2 refused; 3 outputs and 0 acks",
        "refused: member_malformed 1, member_missing 1",
        "stages: first 2, First 1",
        "the same but for spelling? First / first",
        "the same but for spelling? Second / second",
        "     1  value.unused.a",
        "look-up teams lacks 'First': 1 time",
        "1 output with an id that was there before, which count once: e2",
        "1 of 2 tasks with one record only",
        "1 output older than one before in the same task",
    ):
        assert words in result.output, words


def test_tasks_with_one_record_each_are_suspicious(desk: str) -> None:
    result = run("test", desk, "-", lines=lines(*map(event, range(5))))
    assert "5 of 5 tasks with one record only; wrong task?" in result.output


def test_a_record_that_is_too_large_for_intake_is_refused(desk: str) -> None:
    told = run("test", desk, "-", lines=lines(event(1, other="x" * (1 << 20)), event(2))).output
    assert "1  refused: source desk: the value has 1,048," in told
    assert "bytes, the limit is 1,048,576 (too_large)" in told
    assert "2  T-2  e2" in told


def test_what_nothing_reads_is_told_in_the_order_of_the_records(desk: str) -> None:
    names = [f"n{number}" for number in range(9)]
    told = run("test", desk, "-", lines=lines(event(1, **dict.fromkeys(names, 1)))).output
    assert re.findall(r"value\.(n\d)\n", told) == names


def test_a_record_may_be_told_whole(desk: str, tmp_path: Path) -> None:
    envelope = {"value": event(1), "key": "T-1", "timestamp": 5, "topic": "desk.events"}
    path = tmp_path / "events.jsonl.gz"
    path.write_bytes(gzip.compress(lines(envelope, {**envelope, "value": None}).encode()))
    result = run("test", desk, str(path))
    assert "    1  T-1  e1" in result.output
    assert "    2  left out: the record has no value (tombstone)" in result.output
    wrong = run("test", desk, "-", lines=lines({**envelope, "timestamp": "now"}))
    assert wrong.exit_code == 2
    assert "line 1: has the members of a record, and not their shape" in wrong.output


def test_what_kcat_prints_of_a_record_is_one(desk: str) -> None:
    printed = {"topic": "desk.events", "partition": 3, "offset": 41, "tstype": "create"}
    printed |= {"ts": 1772445600000, "broker": 0, "key": "T-1", "headers": ["a", "b"]}
    given = lines({**printed, "payload": json.dumps(event(1))}, {**printed, "payload": None})
    told = run("test", desk, "-", lines=given).output
    assert "T-1  e1, at first" in told
    assert "left out: the record has no value (tombstone)" in told
    explained = run("test", desk, "-", "--explain", "1", lines=given).output
    assert "value.queue  → text" in explained
    for payload, why in (
        ("null", "defaults.task (value.id): leads to nothing"),  # JSON's null is no tombstone
        ("", "the value is empty; it needs JSON"),
    ):
        told = run("test", desk, "-", lines=lines({**printed, "payload": payload})).output
        assert f"1  refused: source desk: {why}" in told


def test_names_that_no_contract_knows(desk: str) -> None:
    contracts = str(EXAMPLES / "debezium-tickets" / "contracts.yaml")
    result = run("test", desk, "-", "--contracts", contracts, lines=lines(event(1)))
    assert "that no contract knows: first" in result.output
    assert "that no receiver knows: second" in result.output
    assert "receiver_missing" in result.output


def test_one_record_is_explained(desk: str) -> None:
    result = run("test", desk, "-", "--explain", "2", lines=lines(event(1), event(2, note=None)))
    assert "emit[0].context.note: value.note  → nothing  ended after value" in result.output
    assert "emit[0].stage: value.queue  → text\n" in result.output
    assert '"id":"e2"' in result.output
    assert run("test", desk, "-", "--explain", "9", lines=lines(event(1))).exit_code == 2


def test_outputs_are_compared_for_a_build(desk: str, tmp_path: Path) -> None:
    made = run("test", desk, "-", "--outputs", lines=lines(event(1), event(2)))
    expected = tmp_path / "expected.jsonl"
    expected.write_text(made.output, encoding="utf-8")
    same = run("test", desk, "-", "--expect", str(expected), lines=lines(event(1), event(2)))
    assert (same.exit_code, same.output) == (0, "as expected: 2 outputs\n")
    other = run("test", desk, "-", "--expect", str(expected), lines=lines(event(1)))
    assert other.exit_code == 1
    assert '-{"id":"e2"' in other.output


def test_outputs_are_what_dry_run_reads() -> None:
    source = str(EXAMPLES / "pagerduty" / "source.yaml")
    made = run("test", source, str(EXAMPLES / "pagerduty" / "webhooks.jsonl"), "--outputs")
    contracts = str(EXAMPLES / "pagerduty" / "contracts.yaml")
    result = CliRunner().invoke(main, ["dry-run", "--contracts", contracts, "-"], input=made.stdout)
    assert "1 handoff: 1 sent, 0 held" in result.output


def test_what_people_say_to_alerts_comes_back() -> None:
    """Without what our own integration resolved, what was merged, what an automation resolved, and
    incidents that are none of ours. Lines for `dry-run` and `send` have none of it."""
    folder = EXAMPLES / "pagerduty-alerts"
    arguments = (str(folder / "source.yaml"), str(folder / "webhooks.jsonl"))
    key = "a-0f2c9e5b7a8d4c6e1b3f5a7092d4e6f8"
    told = run("test", *arguments).output
    assert f"    2  alert {key}: ack by Ines Duarte\n" in told
    assert f"    3  alert {key}: resolve by Ines Duarte\n" in told
    assert "7 records: 2 mapped, 5 left out, 0 refused; 0 outputs and 0 acks\n" in told
    assert "  2 alert actions\n" in told
    assert run("test", *arguments, "--outputs").stdout == ""
    found = json.loads(run("test", *arguments, "--output", "json").output)
    assert found["sources"]["pagerduty-alerts"]["alert_actions"] == 2
    assert [len(each["outputs"]) for each in found["records"]] == [0, 1, 1, 0, 0, 0, 0]


def test_a_number_beyond_a_double_is_tried_like_any_other(desk: str) -> None:
    given = json.dumps(event(1, note=0)).replace('"note": 0', '"note": 1e999')
    assert "with note" in run("test", desk, "-", lines=given).output
    assert "with note" in run("test", desk, "-", "--explain", "1", lines=given).output
    assert '"note":1E+999' in run("test", desk, "-", "--output", "json", lines=given).output


def test_programs_read_json() -> None:
    folder = EXAMPLES / "pagerduty"
    arguments = (str(folder / "source.yaml"), str(folder / "webhooks.jsonl"))
    contracts = ("--contracts", str(folder / "contracts.yaml"))
    found = json.loads(run("test", *arguments, *contracts, "--output", "json").output)
    assert found["records"][4]["outputs"][0]["value"]["handoff"]["to"] == "storage"
    assert found["records"][5]["skipped"]["code"] == "when_false"
    assert found["sources"]["pagerduty"]["acks"] == 2
    assert found["judged"]["violations"] == {"never_captured": 1}


def test_what_cannot_be_tried_is_told(desk: str, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(DESK.replace("value.queue", "valeu.queue"), encoding="utf-8")
    result = run("test", str(bad), "-", lines=lines(event(1)))
    assert result.exit_code == 2
    assert "did you mean 'value'?" in result.output
    assert run("test", desk, str(tmp_path / "gone.jsonl")).exit_code == 2
    contracts = str(EXAMPLES / "airline")
    assert "no source is there" in run("test", contracts, "-", lines="").output


# --- lint --------------------------------------------------------------------------------------


def test_lint(desk: str, tmp_path: Path) -> None:
    assert run("lint", desk).output == "1 source: 0 errors, 0 warnings, 0 hints\n"
    bad = tmp_path / "bad.yaml"
    bad.write_text(DESK.replace("value.note", "valeu.note"), encoding="utf-8")
    result = run("lint", str(bad))
    assert result.exit_code == 2
    assert "bad.yaml:11: emit[0].context.note: 'valeu'" in result.output
    found = json.loads(run("lint", str(bad), "--output", "json").output)
    assert [each["line"] for each in found] == [11]


# --- how records lie there ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "layout",
    [
        lambda values: json.dumps(values, indent=2),
        json.dumps,
        lambda values: "\n".join(json.dumps(each, indent=2) for each in values),
        lambda values: "".join(json.dumps(each, indent=1) for each in values),
    ],
    ids=["a list over lines", "a list in one", "values over lines", "values without a break"],
)
def test_records_may_lie_over_several_lines(desk: str, layout: Any, tmp_path: Path) -> None:
    path = tmp_path / "events.json"
    path.write_text(layout([event(1), event(2)]), encoding="utf-8")
    result = run("test", desk, str(path))
    assert result.exit_code == 0, result.output
    assert "    1  T-1  e1, at first, with note, hands off to second" in result.output
    assert "    2  T-2  e2, at first, with note, hands off to second" in result.output
    assert "desk: 2 records: 2 mapped" in result.output


@pytest.mark.parametrize("given", ["[1, 2]\n", "[[1], [2]]\n", '[{"id": 1}]\n[2]\n'])
def test_a_list_that_is_a_record_stays_one(desk: str, given: str) -> None:
    result = run("test", desk, "-", lines=given)
    assert f"desk: {len(given.splitlines())} record" in result.output


def test_half_a_value_is_told_line_by_line(desk: str) -> None:
    result = run("test", desk, "-", lines='{"id": \n"T-1"\n')
    assert result.exit_code == 1
    assert "desk: 2 records: 0 mapped, 0 left out, 2 refused" in result.output


def test_a_trial_of_which_nothing_comes_does_not_succeed(desk: str) -> None:
    for given, status, why in (
        ("", 2, "-: holds no record; give a JSON value a line"),
        ("no JSON\n", 1, "-: no record could be mapped"),
        (lines(event(1, at="yesterday")), 1, "-: no record could be mapped"),
        (lines(event(1, at="yesterday"), event(2)), 0, "1 mapped"),
    ):
        for more in ((), ("--outputs",)):
            result = run("test", desk, "-", *more, lines=given)
            assert result.exit_code == status, result.output
        assert why in run("test", desk, "-", lines=given).output


def test_a_path_that_no_record_has_is_told(desk: str, tmp_path: Path) -> None:
    path = tmp_path / "typo.yaml"
    path.write_text(DESK.replace("{note: value.note}", "{note: value.ntoe}"), encoding="utf-8")
    result = run("test", str(path), "-", lines=lines(event(1), event(2)))
    assert "  reads value.ntoe, which no record has; did you mean value.note?" in result.output
    assert "which no record has" not in run("test", desk, "-", lines=lines(event(1))).output
    told = json.loads(run("test", str(path), "-", "--output", "json", lines=lines(event(1))).output)
    assert told["sources"]["desk"]["absent"] == {"value.ntoe": "value.note"}


def test_the_tasks_of_a_link_are_read(tmp_path: Path) -> None:
    linked = DESK.replace(
        "    handoff: {to: value.to}",
        "    handoff: {to: value.to}\n    continues: {tasks: value.parents, workflow: ticket}\n"
        "    unlinked: {tasks: value.gone, workflow: ticket}",
    )
    path = tmp_path / "linked.yaml"
    path.write_text(linked, encoding="utf-8")
    told = run("test", str(path), "-", lines=lines(event(1, parents=["T-8", "T-9"]))).output
    assert "what nothing reads" not in told
    assert "reads value.gone, which no record has" in told


def test_the_source_comes_first(desk: str, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text(lines(event(1)), encoding="utf-8")
    result = run("test", str(path), desk)
    assert result.exit_code == 2
    assert f"the source comes first: handoff sources test {desk} {path}" in result.output


def test_records_come_from_a_file_or_a_topic(desk: str) -> None:
    for command in (("test", desk), ("draft",), ("test", desk, "-", "--from-topic", "t")):
        result = run(*command)
        assert result.exit_code == 2
        assert "a FILE (- is standard input), or --from-topic TOPIC" in result.output


def test_the_last_records_of_a_topic(
    desk: str, embedded: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HANDOFF_KAFKA_BOOTSTRAP_SERVERS", embedded)
    topic = f"desk-{uuid.uuid4().hex[:8]}"
    with Admin({"bootstrap.servers": embedded}) as admin:
        admin.create_topics([NewTopic(topic, 2, 1)])[topic].result(20)
    now = int(time.time() * 1000)  # records of long ago are past the topic's retention
    with Producer({"bootstrap.servers": embedded}) as producer:
        for number in range(6):
            value = json.dumps(event(number))
            producer.produce(topic, value, f"k{number}", number % 2, timestamp=now + number)
        assert producer.flush(10) == 0
    result = run("test", desk, "--from-topic", topic, "--limit", "3")
    assert result.exit_code == 0, result.output
    told = [line.split()[1:3] for line in result.output.splitlines()[:3]]
    assert told == [["T-3", "e3,"], ["T-4", "e4,"], ["T-5", "e5,"]]
    assert "desk: 3 records: 3 mapped" in result.output
    drafted = run("draft", "--from-topic", topic)
    assert f"topic: {topic}" in drafted.output
    gone = run("draft", "--from-topic", "no-such-topic")
    assert gone.exit_code == 4
    assert "the topic no-such-topic does not exist" in gone.output
    assert gone.output.endswith("; check the name\n"), "topics apply makes ours alone"


def test_a_source_of_traces_is_tried_whole(tmp_path: Path) -> None:
    source = tmp_path / "agents.yaml"
    source.write_text(
        "kind: Source\nid: agents\nowner: {name: A, contact: a@example.com}\ntopic: spans\n"
        "decode: agents-sdk\noverride: {workflow: {value: repairs}}\n",
        encoding="utf-8",
    )
    spans = str(EXAMPLES / "agents" / "agents-sdk.jsonl")
    result = run("test", str(source), spans)
    assert result.exit_code == 0, result.output
    assert "    2  a span, told with the trace below" in result.output
    assert "at Triage Agent, with email, find_order, order_id" in result.output
    assert "with one record only" not in result.output
    assert "hands off to Repairs Agent" in result.output
    assert "agents: 8 records: 8 mapped, 0 left out, 0 refused" in result.output
    made = run("test", str(source), spans, "--outputs").stdout.splitlines()
    assert {json.loads(line)["workflow"] for line in made} == {"repairs"}
    assert '"span_data"' not in run("test", str(source), spans, "--explain", "2").output
    assert '"kind":"' in run("test", str(source), spans, "--explain", "2").output


def test_paths_into_json_within_a_text_are_known(tmp_path: Path) -> None:
    """A record that holds JSON as text, as many systems write what changed."""
    path = tmp_path / "wrapped.yaml"
    path.write_text(
        DESK.replace("emit:", "let: {inside: {from: value.raw, json: true}}\nemit:", 1).replace(
            "{note: value.note}", "{note: inside.note, gone: inside.parts.gone}"
        ),
        encoding="utf-8",
    )
    raw = json.dumps({"note": "n", "other": 1, "parts": {"k": 1}})
    told = run("test", str(path), "-", lines=lines(event(1, raw=raw))).output
    assert "  reads value.raw.parts.gone, which no record has" in told
    assert "reads value.raw.note" not in told
    assert "1  value.raw.other" in told
