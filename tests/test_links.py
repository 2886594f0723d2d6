"""Links at their limits: how long a task waits for another one, and what a link that waits for
nobody takes."""

import json
from typing import Any, Final

import msgspec
import pytest

from processors.driver import Driver
from processors.integrity.limits import Limits
from processors.integrity.processor import integrity
from schemas.flow import Output, Record
from schemas.links import LINKS, LinkMessage
from tests.core import DAY_ONE, Story, tables, totals

MOST: Final = 300  # bytes of a link that waits for a task that never comes
STUBS: Final = 20_000


def driver_of(*contracts: Story, **limits: Any) -> Driver[Any]:
    driver: Driver[Any] = Driver(
        integrity(Limits(**limits)), tables({"contracts": list(contracts)})
    )
    driver.assign(0, {})
    return driver


def output(number: int, **body: Any) -> Record:
    said = {"id": f"e{number}", "tool": "jira", "stage": "triage", "occurred_at": DAY_ONE}
    value = json.dumps({"workflow": "issue", "task_id": "ENG-7"} | said | body).encode()
    return Record("handoff.tool-outputs", 0, number, b"ENG-7", value, DAY_ONE)


def topics(outputs: list[Output]) -> list[str]:
    return [each.topic for each in outputs]


@pytest.mark.parametrize("grace", [0, 1, 5_000])
def test_outputs_wait_as_long_as_is_set(grace: int) -> None:
    driver = driver_of(link_grace_ms=grace)
    ticket = {"workflow": "ticket", "task_id": "ZD-12"}
    linked = output(1, continues=ticket, handoff={"to": "marketing"})
    said = topics(driver.step(linked, DAY_ONE))
    assert LINKS in said
    assert ("handoff.packages" in said) == (grace == 0)
    driver.merge(list(driver.changelog()))
    if grace:
        assert not driver.fire(0, DAY_ONE + grace - 1, DAY_ONE + grace - 1, 10)
        assert "handoff.packages" in topics(driver.fire(0, DAY_ONE + grace, DAY_ONE + grace, 10))


def test_a_link_that_waits_for_nobody_is_small_and_is_forgotten() -> None:
    """However many there are: each takes as much as one, for its time to live."""
    driver = driver_of(task_ttl_ms=86_400_000)
    written = 0
    for n in range(STUBS):
        message = LinkMessage("linked", "ticket", f"ZD-{n:07}", "issue", f"ENG-{n:07}", DAY_ONE)
        key, value = message.task_id.encode(), msgspec.json.encode(message)
        assert not driver.step(Record(LINKS, 0, n, key, value, DAY_ONE), DAY_ONE)
        if n % 1_000 == 999:
            changes = list(driver.changelog())
            sizes = [len(key.encode()) + len(value or b"") for _, key, value in changes]
            assert max(sizes) <= MOST
            written += len(sizes)
            driver.merge(changes)
    assert written == STUBS
    later = DAY_ONE + 86_400_000
    while driver.partitions[0].journal.count:
        driver.fire(0, later, later, 10_000)
        changes = list(driver.changelog())
        assert changes
        assert all(value is None for _, _, value in changes)
        driver.merge(changes)


def test_what_is_told_to_a_forgotten_task_brings_nobody_back() -> None:
    driver = driver_of()
    for n, kind in enumerate(("moved", "unlinked", "refused", "caught_up")):
        message = LinkMessage(kind, "ticket", "ZD-12", "issue", "ENG-7", DAY_ONE)  # type: ignore[arg-type]
        value = msgspec.json.encode(message)
        assert not driver.step(Record(LINKS, 0, n, b"ZD-12", value, DAY_ONE), DAY_ONE)
    assert not list(driver.changelog())
    driver.merge([])
    assert totals(driver)["links_forgotten"] == 4
