"""The state of a task fits into one record of the changelog, whatever makes it grow."""

from typing import Any

import pytest

from processors.integrity.limits import DEFAULT_LIMITS
from schemas.serde import MAX_RECORD_BYTES
from tests.core import each_time, play, totals
from tests.states import size, task_of

HELD = {"fields": [{"name": "never"}], "hold_on": ["never_captured"]}
BIG = "x" * 900_000
LONG = "n" * 500
LARGEST_ALONE = 200_000  # by so much an estimate may be too small: what no handoff has


def parts(number: int, **more: Any) -> list[dict[str, Any]]:
    """Outputs that each begin a handoff to the same receiver."""
    asked = {"to": "marketing"} | more
    return [{"id": f"h{n}", "handoff": asked | {"part": str(n)}} for n in range(number)]


def sizes(*inputs: dict[str, Any], contract: dict[str, Any] = HELD) -> tuple[list[int], Any]:
    """The bytes of the task's state after each input."""
    found: list[int] = []

    def commit(driver: Any, number: int) -> None:
        each_time(driver, number)
        found.append(size(driver))

    _, driver = play({"contracts": [contract], "inputs": list(inputs)}, commit)
    return found, driver


def amendments(number: int, **fields: Any) -> list[dict[str, Any]]:
    return [
        {"at": "09:10", "amendment": {"handoff_id": f"handoff of h{n}", "fields": fields}}
        for n in range(number)
    ]


@pytest.mark.parametrize(
    "inputs",
    [
        parts(6, note=BIG),
        [one | {"context": {"a": BIG}} for one in parts(6)],
        [*parts(6), *amendments(6, a=BIG)],
        [*parts(1), *[a for n in range(6) for a in amendments(1, **{f"a{n}": BIG})]],
    ],
    ids=["notes", "contexts", "amendments", "amendments of one"],
)
def test_what_makes_handoffs_heavy(inputs: list[dict[str, Any]]) -> None:
    found, driver = sizes(*inputs)
    assert max(found) <= MAX_RECORD_BYTES
    counts = totals(driver)
    begun, closed = counts["handoffs_begun"], counts["handoffs_closed"]
    assert closed > 0
    assert begun - closed == len(task_of(driver).open)


def test_names_that_come_and_go_while_it_is_held() -> None:
    """Not even each for a moment are they kept: they came after it."""
    names = [{"at": "09:10", "context": {f"{n}-{m}": 1 for m in range(250)}} for n in range(12)]
    found, driver = sizes(*parts(1), *names)
    assert task_of(driver).forgotten == ()
    assert found[-1] < 2 * found[2]


@pytest.mark.parametrize(
    ("number", "name", "more"),
    [(1000, "f", {}), (200, LONG, {}), (200, LONG, {"hold_on": ["any"]}), (1000, LONG, {})],
    ids=["many fields", "long fields", "long fields, held", "many long fields"],
)
def test_what_is_broken_and_missing_weighs_too(
    number: int, name: str, more: dict[str, Any]
) -> None:
    """A task that captured nothing may have open handoffs that miss a thousand fields each."""
    contract = {"fields": [{"name": f"{name}{n}"} for n in range(number)]} | more
    found, driver = sizes(*parts(40), contract=contract)
    assert max(found) <= DEFAULT_LIMITS.state_bytes + LARGEST_ALONE
    assert 0 < len(task_of(driver).open) < 40
    assert totals(driver)["handoffs_closed"] > 0


def test_a_new_version_adds_no_more_than_fits() -> None:
    """Held ones are judged again by a sweep, under a contract with many more fields."""
    newer = HELD | {"version": 2, "fields": [{"name": f"{LONG}{n}"} for n in range(300)]}
    inputs = [*parts(30), {"at": "09:30", "contracts": [newer | {"hold_on": ["any"]}]}]
    _, driver = sizes(*inputs)
    assert size(driver) <= DEFAULT_LIMITS.state_bytes + LARGEST_ALONE
    assert totals(driver)["handoffs_closed"] > 0
