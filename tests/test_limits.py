"""Limits are settings: what a person sets is what the processor does."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from console.limits import limits
from console.main import main
from processors.driver import Driver
from processors.integrity.processor import integrity
from processors.runtime.settings import load_settings
from schemas.flow import Output, Record
from tests.core import at_the_end, play, tables
from tests.states import captures, tasks_of

NOW = 1_795_338_900_000


def judged(
    monkeypatch: pytest.MonkeyPatch, name: str, value: int, *contexts: Any, world: Any = None
) -> Any:
    """The outputs and the task's state after outputs with these contexts, under one setting."""
    monkeypatch.setenv(f"HANDOFF_{name.upper()}", str(value))
    processor = integrity(limits(load_settings()))
    driver = Driver(processor, world or processor.build_tables({}, None))
    driver.assign(0, {})
    outputs: list[Output] = []
    for number, context in enumerate(contexts):
        body: dict[str, Any] = {
            "id": f"e{number}",
            "task_id": "t",
            "workflow": "w",
            "stage": "s",
            "tool": "x",
        }
        body |= {"occurred_at": NOW + number, "context": context}
        if "handoff" in context:
            body["handoff"] = {"to": context.pop("handoff"), "part": str(number)}
        record = Record(
            "handoff.tool-outputs", 0, number, b"t", json.dumps(body).encode(), NOW - 5_000
        )
        outputs += driver.step(record, NOW)
    driver.merge(list(driver.changelog()))
    tasks = tasks_of(driver)
    return outputs, tasks[0] if tasks else None


def test_the_largest_record(monkeypatch: pytest.MonkeyPatch) -> None:
    outputs, task = judged(monkeypatch, "max_record_bytes", 2048, {"a": "x" * 2048})
    assert [output.topic for output in outputs] == ["handoff.dead-letters"]
    assert b"2,048" in dict(outputs[0].headers)["__streams.errors.message"]
    assert task is None


def test_the_number_of_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    _, task = judged(monkeypatch, "max_fields", 2, {"a": 1}, {"b": 1}, {"c": 1})
    assert list(captures(task)) == ["b", "c"]


def test_a_held_handoff_keeps_what_the_task_forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is judged again by what stood before it: what was rebuilt then is rebuilt now."""
    fields = [{"name": "a"}, {"name": "never"}]
    contract = {"workflow": "w", "from": {"stage": "s"}, "hold_on": ["never_captured"]}
    contexts = [{"a": 1}, {"handoff": "marketing"}, {"b": 1}, {"c": 1}, {"d": 1}]
    world = tables({"contracts": [contract | {"fields": fields}]})
    outputs, task = judged(monkeypatch, "max_fields", 2, *contexts, world=world)
    assert list(captures(task)) == ["c", "d"]
    assert [output.topic for output in outputs].count("handoff.held") == 1
    assert task.open[0].values["a"].how == "rebuilt"


def test_a_held_handoff_keeps_what_it_learnt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the other name that came in the same moment, once the first is forgotten."""
    fields = [{"name": "a", "from": ["a", "b"]}, {"name": "never"}]
    contract = {"workflow": "w", "from": {"stage": "s"}, "hold_on": ["never_captured"]}
    contexts = [{"handoff": "marketing"}, {"a": 1, "b": 2}, {"c": 1}, {"d": 1}]
    world = tables({"contracts": [contract | {"fields": fields}]})
    _, task = judged(monkeypatch, "max_fields", 2, *contexts, world=world)
    assert list(captures(task)) == ["c", "d"]
    assert task.open[0].values["a"].value == b"1"


@pytest.mark.parametrize("others", [3, 400], ids=["few", "more than are known"])
def test_what_was_forgotten_is_never_called_never_captured(
    monkeypatch: pytest.MonkeyPatch, others: int
) -> None:
    fields = [{"name": "a"}, {"name": "deep", "from": "box.deep"}, {"name": "never"}]
    contexts: list[dict[str, Any]] = [{"a": 1}, {"box": {"deep": 2}}]
    contexts += [{f"n{number}": number} for number in range(others)]
    world = tables({"contracts": [{"workflow": "w", "from": {"stage": "s"}, "fields": fields}]})
    outputs, task = judged(
        monkeypatch, "max_fields", 2, *contexts, {"handoff": "marketing"}, world=world
    )
    assert len(captures(task)) == 2
    found = {
        violation["field"]: (violation["kind"], violation["reason"])
        for violation in (
            json.loads(each.value) for each in outputs if each.topic == "handoff.violations"
        )
    }
    lost = ("context_dropped", "forgotten")
    # Of 256 names it is known that they were there; beyond them nobody can say that one was not.
    never = lost if others > 256 else ("never_captured", None)
    assert found == {"a": lost, "deep": lost, "never": never}


@pytest.mark.parametrize("others", [3, 400], ids=["few", "more than are known"])
@pytest.mark.parametrize(
    ("paths", "context"),
    [
        (["named", "other"], {"other": 1}),
        (["rows[-1].n"], {"rows": [{"n": 1}, {"n": 2}]}),
        (["box.parts[kind=x].n"], {"box": {"parts": [{"kind": "x", "n": 1}]}}),
        (["'a.b'"], {"a.b": 1}),
        (["large"], {"large": "x" * 70_000}),
        (["none"], {"none": "None"}),
    ],
)
def test_what_was_forgotten_under_any_path_is_dropped(
    monkeypatch: pytest.MonkeyPatch, paths: list[str], context: dict[str, Any], others: int
) -> None:
    """And not kept from view by its name, its size, or that it was a placeholder."""
    fields = [{"name": "f", "from": paths}, {"name": "maybe", "from": paths, "required": False}]
    contexts = [context, *({f"n{number}": number} for number in range(others)), {}]
    contexts[-1]["handoff"] = "marketing"
    world = tables({"contracts": [{"workflow": "w", "from": {"stage": "s"}, "fields": fields}]})
    outputs, _ = judged(monkeypatch, "max_fields", 2, *contexts, world=world)
    (found,) = told(outputs, "handoff.violations")
    assert (found["field"], found["kind"], found["reason"]) == ("f", "context_dropped", "forgotten")
    (package,) = told(outputs, "handoff.packages")
    assert package["missing"] == ["f", "maybe"]


def test_what_a_package_renamed_and_the_task_forgot_is_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two handoffs later, under the receiver's name."""
    contract: dict[str, Any] = {"workflow": "w", "from": {"stage": "s"}, "accept": "explicit"}
    one = contract | {"id": "one", "fields": [{"name": "theirs", "from": "ours"}]}
    two = contract | {"id": "two", "to": {"receiver": "desk", "stage": "close"}}
    two["fields"] = [{"name": "theirs"}]
    world = tables({"contracts": [one, two], "receivers": [{}, {"id": "desk", "team": "desk"}]})
    contexts: list[dict[str, Any]] = [{"ours": 1}, {"handoff": "marketing"}, {"b": 1}, {"c": 1}]
    contexts.append({"handoff": "desk"})
    outputs, _ = judged(monkeypatch, "max_fields", 2, *contexts, world=world)
    found = [
        each["reason"]
        for each in told(outputs, "handoff.violations")
        if each["contract"] == "two" and each["field"] == "theirs"
    ]
    assert found == ["forgotten"]


def test_what_was_forgotten_arrives_late(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = [{"name": "a"}]
    world = tables({"contracts": [{"workflow": "w", "from": {"stage": "s"}, "fields": fields}]})
    contexts: list[dict[str, Any]] = [{"a": 1}, {"b": 1}, {"c": 1}, {"handoff": "marketing"}]
    outputs, _ = judged(monkeypatch, "max_fields", 2, *contexts, {"a": 2}, world=world)
    opened, resolved = told(outputs, "handoff.violations")
    assert (opened["reason"], resolved["resolution"]) == ("forgotten", "arrived_late")
    first, second = told(outputs, "handoff.packages")
    assert (first["context"], second["context"]) == ({}, {"a": 2})


def told(outputs: list[Output], topic: str) -> list[dict[str, Any]]:
    """What was published on a topic."""
    return [json.loads(each.value or b"") for each in outputs if each.topic == topic]


def test_the_largest_value(monkeypatch: pytest.MonkeyPatch) -> None:
    _, task = judged(monkeypatch, "max_value_bytes", 4, {"a": 1234, "b": 12345})
    assert (captures(task)["a"].value, captures(task)["b"].value) == (b"1234", None)


def test_the_bytes_of_a_state(monkeypatch: pytest.MonkeyPatch) -> None:
    _, task = judged(monkeypatch, "max_state_bytes", 1024, {"a": "x" * 900}, {"b": "x" * 900})
    assert list(captures(task)) == ["b"]


def test_the_number_of_open_handoffs(monkeypatch: pytest.MonkeyPatch) -> None:
    handoffs = [{"handoff": "nobody"} for _ in range(3)]
    _, task = judged(monkeypatch, "max_open_handoffs", 2, *handoffs)
    assert [handoff.part for handoff in task.open] == ["1", "2"]


def test_the_bytes_that_one_record_publishes(monkeypatch: pytest.MonkeyPatch) -> None:
    for most, topic in ((100_000, "handoff.held"), (1024, "handoff.dead-letters")):
        outputs, _ = judged(monkeypatch, "max_output_bytes", most, {"handoff": "nobody"})
        assert outputs[0].topic == topic


def test_the_age_of_a_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    for age, is_backfill in ((1_000, True), (60_000, False)):
        outputs, _ = judged(monkeypatch, "backfill_after_ms", age, {"handoff": "nobody"})
        assert json.loads(outputs[0].value)["backfill"] is is_backfill


def test_a_dry_run_marks_the_lines_that_are_replays_by_the_setting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As `send` would; an hour old is old where half an hour is set."""
    body: dict[str, Any] = {"id": "e", "task_id": "t", "workflow": "w", "stage": "s", "tool": "x"}
    body |= {"occurred_at": int(time.time() * 1000) - 3_600_000, "handoff": {"to": "nobody"}}
    (tmp_path / "lines.jsonl").write_text(json.dumps(body))
    (tmp_path / "receiver.yaml").write_text("kind: Receiver\nid: r\nteam: r\n")
    command = ["dry-run", "--backfill", "--contracts", str(tmp_path), str(tmp_path / "lines.jsonl")]
    for age, is_backfill in ((1_800_000, True), (7_200_000, False)):
        monkeypatch.setenv("HANDOFF_BACKFILL_AFTER_MS", str(age))
        result = CliRunner().invoke(main, command)
        assert result.exit_code == 0, result.stderr
        held = json.loads(result.stdout.splitlines()[0])
        assert held["value"]["backfill"] is is_backfill


def test_of_names_taken_back_at_once_the_first_by_name_is_forgotten_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever order a set has: the next run of the processor must find the same."""
    monkeypatch.setenv("HANDOFF_MAX_FIELDS", "4")
    processor = integrity(limits(load_settings()))
    driver = Driver(processor, processor.build_tables({}, None))
    driver.assign(0, {})
    names = [f"n{number}" for number in range(9)]
    body: dict[str, Any] = {"id": "e1", "task_id": "t", "workflow": "w", "stage": "s"}
    body |= {"tool": "x", "occurred_at": NOW, "context": {"kept": 1}, "retracted": names[::-1]}
    driver.step(Record("handoff.tool-outputs", 0, 0, b"t", json.dumps(body).encode(), NOW), NOW)
    driver.merge(list(driver.changelog()))
    (task,) = tasks_of(driver)
    assert list(task.retracted) == names[-4:]


def test_very_many_late_names_after_all_were_taken_back_are_cut_at_once() -> None:
    """One by one this would take minutes. The oldest go, then those that come first by name; that
    all was taken back stays known."""
    names = [f"n{number:05}" for number in range(60_000)]
    inputs = [
        {"at": "09:01", "task": "t", "context": {"x": 1}},
        {"at": "09:02", "task": "t", "retracted": ["*"]},
        {"at": "09:00", "task": "t", "context": dict.fromkeys(names, 1)},
    ]
    _, driver = play({"inputs": inputs}, at_the_end)
    driver.merge(list(driver.changelog()))
    (task,) = tasks_of(driver)
    assert sorted(task.retracted) == ["*", *names[-254:], "x"]
