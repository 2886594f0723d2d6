"""The limits of what a task remembers, at their edges."""

import json
from typing import Any, Final

import msgspec
import pytest
from msgspec.structs import replace

from processors.contracts import values
from processors.driver import Driver
from processors.integrity import stored
from processors.integrity.digests import holds
from processors.integrity.limits import DEFAULT_LIMITS
from processors.integrity.state import Task
from schemas.records import Package, Violation
from tests.core import Story, at_the_end, each_time, play, totals
from tests.states import captures, size, task_of

KIB: Final = 1024


def published(story: Story) -> tuple[list[Package], list[Violation], Driver[Task]]:
    outputs, driver = play(story, each_time)
    packages = [
        msgspec.json.decode(o.value, type=Package)
        for o in outputs
        if o.topic in ("handoff.packages", "handoff.held") and o.value
    ]
    violations = [
        msgspec.json.decode(o.value or b"", type=Violation)
        for o in outputs
        if o.topic == "handoff.violations"
    ]
    return packages, violations, driver


def the_task(driver: Driver[Task]) -> Task:
    return task_of(driver)


def text(size: int) -> str:
    """A text whose JSON has `size` bytes, quotes included."""
    return "x" * (size - 2)


def test_a_value_of_64_kib_is_kept_for_a_rebuild() -> None:
    packages, violations, _ = published(
        {
            "contracts": [{"fields": [{"name": "log"}]}],
            "inputs": [
                {"at": "09:00", "context": {"log": text(64 * KIB)}},
                {"at": "10:00", "handoff": "marketing"},
            ],
        }
    )
    assert packages[0].provenance["log"].how == "rebuilt"
    assert violations[0].severity == "warning"


def test_of_a_larger_value_the_origin_is_kept_and_the_value_is_not() -> None:
    """It travels whole, its loss is traced, under the receiver's name too, and not rebuilt."""
    packages, violations, _ = published(
        {
            "contracts": [
                {"fields": [{"name": "history", "from": "log"}]},
                {"id": "next", "to": {"receiver": "archive"}, "fields": [{"name": "history"}]},
                {"id": "same", "to": {"receiver": "desk"}, "fields": [{"name": "log"}]},
            ],
            "receivers": [{}, {"id": "archive"}, {"id": "desk"}],
            "inputs": [
                {"id": "a", "context": {"log": text(64 * KIB + 1)}, "handoff": "marketing"},
                {"id": "b", "at": "10:00", "handoff": [{"to": "archive"}, {"to": "desk"}]},
            ],
        }
    )
    assert len(bytes(packages[0].context["history"])) == 64 * KIB + 1
    assert [package.missing for package in packages] == [[], ["history"], ["log"]]
    assert [(v.kind, v.field, v.reason, v.severity) for v in violations] == [
        ("context_dropped", "history", "not_kept", "error"),
        ("context_dropped", "log", "not_kept", "error"),
    ]
    assert [v.origin and v.origin.event_id for v in violations] == ["a", "a"]
    assert [v.last_seen_hop for v in violations] == [1, 1]


def test_two_large_values_are_two_candidates_and_the_same_one_again_is_not() -> None:
    story: Story = {
        "contracts": [{"fields": [{"name": "log"}]}],
        "inputs": [
            {"at": "09:00", "context": {"log": text(70 * KIB)}},
            {"at": "09:10", "context": {"log": text(70 * KIB)}},
            {"at": "09:20", "context": {"log": text(71 * KIB)}},
            {"at": "10:00", "handoff": "marketing"},
        ],
    }
    _, violations, _ = published(story)
    assert violations[0].candidates == 2


def test_past_256_fields_the_oldest_goes() -> None:
    packages, violations, driver = published(
        {
            "contracts": [{"fields": [{"name": "n0"}, {"name": "n1"}]}],
            "inputs": [
                {"at": "09:00", "context": {"n0": 1}},
                {"at": "09:01", "context": {f"n{i}": i for i in range(1, 256)}},
                {"at": "09:02", "context": {"n256": 1}},
                {"at": "10:00", "handoff": "marketing"},
            ],
        }
    )
    assert len(captures(the_task(driver))) == 256
    assert packages[0].missing == ["n0"]
    assert [(v.kind, v.field) for v in violations] == [
        ("context_dropped", "n0"),
        ("context_dropped", "n1"),
    ]
    assert totals(driver)["captures_forgotten"] == 1


def test_past_1_mib_the_oldest_goes() -> None:
    value = text(64 * KIB)
    inputs = [{"at": f"09:{i:02}", "context": {f"n{i}": value}} for i in range(18)]
    packages, _, driver = published(
        {
            "contracts": [{"fields": [{"name": f"n{i}"} for i in range(18)]}],
            "inputs": [*inputs, {"at": "10:00", "handoff": "marketing"}],
        }
    )
    assert packages[0].missing == ["n0", "n1", "n2"], "names and origins count too"
    captured = replace(the_task(driver), open=())
    assert len(stored.encode(captured)) <= DEFAULT_LIMITS.state_bytes


@pytest.mark.parametrize(
    "grow",
    [
        pytest.param(lambda i, long: {"context": {f"{i}{long}": 1}}, id="names"),
        pytest.param(lambda i, long: {"retracted": [f"{i}{long}"]}, id="retracted names"),
        pytest.param(lambda i, long: {"id": f"{i}{long}", "context": {f"n{i}": 1}}, id="events"),
        pytest.param(lambda i, long: {"tool": f"{i}{long}", "context": {"n": 1}}, id="tools"),
        pytest.param(
            lambda i, long: {"id": f"{i}{long}", "context": {"n": {f"m{i}": 1}}}, id="behind"
        ),
        pytest.param(
            lambda i, long: {"id": f"{i}{long}", "context": {f"n{i % 9}": {f"m{i}": 1}}},
            id="behind several",
        ),
        pytest.param(
            lambda i, long: {"handoff": {"to": "marketing", "part": f"{i}{long}"}}, id="parts"
        ),
        pytest.param(lambda i, long: {"handoff": f"{i}{long}"}, id="receivers"),
        pytest.param(
            lambda i, long: {"context": {f"{i}{long}": 1}, "handoff": "marketing"}, id="handoffs"
        ),
    ],
)
def test_no_input_makes_a_state_of_more_than_2_mib(grow: Any) -> None:
    """Whatever a sender makes long: a state too large for one record would stop the partition."""
    story: Story = {
        "contracts": [{}],
        "inputs": [{"at": f"09:{i:02}"} | grow(i, "x" * 100 * KIB) for i in range(24)],
    }
    _, driver = play(story, each_time)
    assert totals(driver)["applied"] + totals(driver)["dead_letters"] == 24
    # Events have the limit, and open handoffs have it again.
    assert size(driver) <= 2 * DEFAULT_LIMITS.state_bytes + 64 * KIB


@pytest.mark.parametrize(("size", "accepted"), [(1 << 20, True), ((1 << 20) + 1, False)])
def test_a_record_of_more_than_1_mib_is_a_dead_letter(size: int, accepted: bool) -> None:
    def body(padding: int) -> str:
        given = {"id": "e", "task_id": "t1", "workflow": "lead", "stage": "s", "tool": "x"}
        return json.dumps(given | {"occurred_at": 1_772_355_600_000, "padding": "x" * padding})

    raw = body(size - len(body(0)))
    outputs, driver = play({"inputs": [{"raw": raw}]}, each_time)
    assert totals(driver)["applied"] == accepted
    codes = [dict(o.headers)["__streams.errors.exception"] for o in outputs]
    assert codes == ([] if accepted else [b"too_large"])
    assert [o.value for o in outputs] == ([] if accepted else [raw.encode()]), "untouched"


def test_past_64_open_handoffs_the_oldest_expires() -> None:
    inputs = [
        {"at": f"{9 + i // 60:02}:{i % 60:02}", "handoff": {"to": "marketing", "part": f"p{i}"}}
        for i in range(65)
    ]
    again = {"at": "12:00", "id": "again", "handoff": {"to": "marketing", "part": "p0"}}
    packages, _, driver = published({"contracts": [{}], "inputs": [*inputs, again]})
    assert len(the_task(driver).open) == 64
    assert packages[-1].supersedes is None, "the first one was not open any more"
    assert driver.counts["handoffs_closed", "handoff.tool-outputs", "expired"] == 2


def test_an_event_is_known_among_the_last_256() -> None:
    others = [{"id": f"other{i}"} for i in range(255)]
    twice: list[Any] = [{"id": "first"}, *others, {"id": "first"}, {"id": "one more"}]
    _, driver = play({"inputs": twice}, at_the_end)
    assert totals(driver)["duplicates"] == 1
    _, driver = play({"inputs": [*twice, {"id": "first"}]}, at_the_end)
    assert (totals(driver)["duplicates"], totals(driver)["applied"]) == (1, 258)


def test_each_distinct_value_is_a_candidate() -> None:
    inputs = [{"at": f"09:{i:02}", "context": {"n": f"v{i % 20}"}} for i in range(40)]
    packages, violations, _ = published(
        {
            "contracts": [{"fields": [{"name": "n"}]}],
            "inputs": [
                *inputs,
                {"at": "10:00", "handoff": "marketing"},
                {"at": "11:00", "context": {"n": "new"}, "handoff": "marketing"},
            ],
        }
    )
    assert violations[0].candidates == 20
    assert [package.provenance["n"].candidates for package in packages] == [20, 21]


def test_an_event_is_not_found_across_two_others() -> None:
    events = b"abcdefghijklmnop"
    assert not holds(events, b"efghijkl", 8)
    assert holds(events, b"ijklmnop", 8)
    assert holds(events + b"efghijkl", b"efghijkl", 8)


@pytest.mark.parametrize("items", [9_000, 30_000], ids=["kept", "too large to keep"])
def test_a_long_value_is_read_once_for_an_output_however_often_it_hands_it_off(
    items: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    canonical = values.canonical

    def counting(value: bytes, reading: Any = None) -> bytes:
        read.append(len(value))
        return canonical(value, reading)

    monkeypatch.setattr(values, "canonical", counting)
    numbers = [float(n) for n in range(items)]
    again = {
        "at": "10:00",
        "context": {"n": [*numbers[:-1], 0.5]},
        "handoff": [{"to": "marketing", "part": f"p{i}"} for i in range(16)],
    }
    packages, _, _ = published({"inputs": [{"context": {"n": numbers}}, again]})
    assert len(packages) == 16
    assert {package.provenance["n"].candidates for package in packages} == {2}
    # The one at hand and the one before, for all handoffs; beside them what is captured then.
    assert len([size for size in read if size > 1_000]) <= 2
