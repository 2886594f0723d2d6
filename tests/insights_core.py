"""Plays stories through the insights core; `test_insights_scenarios` tells how one is written."""

import json
from collections.abc import Callable
from typing import Any, Final

from msgspec import convert

from processors.driver import Driver
from processors.insights.limits import Limits
from processors.insights.processor import FEED, insights
from processors.insights.state import State
from processors.timeline import Timeline
from schemas import serde
from schemas.feed import (
    EdgePart,
    JudgedPart,
    PatternPart,
    Repeated,
    contract_subject,
    key_of,
    newest,
    subject,
)
from schemas.flow import Output, Record
from tests.core import REGISTERED, Registry, Story, ms

MINUTE: Final = 60_000
_REPEATED: Final = ("threshold", "within_ms", "receiver", "values")


def pattern_part(fingerprint: str, at: int, given: Story) -> PatternPart:
    """A pattern's part from a story: `times` at one moment, and what the fingerprint says."""
    given = dict(given)
    named = fingerprint.removeprefix("replay/").split("/")
    about: Story = {"kind": named[2] if len(named) > 2 else named[-1]}
    match named[0]:
        case "contract":
            about["contract"] = named[1]
            about["field"] = named[3] if len(named) > 3 else None
        case "receiver":
            about["receiver"] = named[1]
        case "edge":
            about |= {"kind": named[4], "from_": named[2], "to": named[3]}
        case "repeat":
            about |= {"kind": "repeat", "contract": named[1]}
            given["repeated"] = convert(
                {"threshold": 5, "within_ms": 3_600_000, "receiver": "engineering", "values": {}}
                | {name: given.pop(name) for name in _REPEATED if name in given},
                Repeated,
            )
    times = given.pop("times", 1)
    if given.pop("error", False):
        given["errors"] = times
    given["tasks"] = tuple(given.get("tasks", ()))
    about |= {"workflow": "lead", "backfill": fingerprint.startswith("replay/")}
    about |= {"first_seen": at, "last_seen": at, "minutes": {at // MINUTE: times} if times else {}}
    return PatternPart(**(about | given))


def edge_part(kind: Any, between: list[str], at: int, given: Story) -> EdgePart:
    """An edge's part from a story: `times` moves; what is not known by name is a count."""
    known = {"fields", "fidelity", "completeness", "contract", "workflow", "times", "accepted_in"}
    known |= {"lost_fields"}
    counts = {name: number for name, number in given.items() if name not in known}
    return EdgePart(
        kind,
        given.get("workflow", "lead"),
        between[0],
        between[1],
        at,
        at,
        {"moves": given.get("times", 1)} | counts,
        given.get("fields", {}),
        dict.fromkeys(given.get("accepted_in", ()), 1),
        given.get("fidelity", 0.0),
        given.get("completeness", 0.0),
        given.get("contract"),
        given.get("lost_fields", {}),
    )


def record(given: Story, offset: int) -> tuple[Record, int]:
    """One input of a story as a record of the feed, with the processor's clock."""
    given = dict(given)
    at = given.pop("at", "09:00")
    now, when = ms(given.pop("now", at)), ms(given.pop("occurred_at", at))
    part: PatternPart | EdgePart | JudgedPart
    if "judged_on" in given:
        contract, every = given.pop("judged_on"), given.pop("every", 1_000)
        times = newest([when + number * every for number in range(given.pop("times", 1))])
        part = JudgedPart(contract, times, **given)
        key = contract_subject(contract, part.backfill)
    elif "pattern" in given:
        key = given.pop("pattern")
        part = pattern_part(key, when, given)
        key = key_of(key, part)
    else:
        kind = "move" if "move" in given else "handoff"
        part = edge_part(kind, given.pop(kind), when, given)
        key = subject(part.kind, part.workflow, part.from_, part.to)
    return Record(FEED, 0, offset, key.encode(), serde.encode(part), now), now


def play(
    story: Story, commit: Callable[[Driver[State]], None]
) -> tuple[list[Output], Driver[State]]:
    """All that the story publishes; `commit` is called after each record."""
    registry = Registry(story)
    limits = {"pattern_settle_ms": 0} | story.get("limits", {})
    driver = Driver(insights(Limits(**limits)), registry.tables())
    driver.assign(0, {})

    def settle() -> tuple[Output, ...]:
        driver.merge(list(driver.changelog()))
        return ()

    clock = Timeline(driver, settle)
    outputs: list[Output] = []
    for offset, given in enumerate(story["inputs"]):
        moment = ms(given.get("now", given.get("at", "09:00")))
        if given.keys() == {"at"}:
            outputs += clock.through(moment)
        elif given.keys().isdisjoint(REGISTERED):
            made, now = record(given, offset)
            outputs += clock.to(now)
            outputs += driver.step(made, now)
            commit(driver)
        else:
            outputs += clock.to(moment)
            registry.register(given, moment)
            outputs += clock.exchange(registry.tables())
    settle()
    return outputs, driver


def each_time(driver: Driver[State]) -> None:
    driver.merge(list(driver.changelog()))


def at_the_end(_: Driver[State]) -> None:
    pass


def shown(output: Output) -> tuple[str, Any]:
    """The topic and the value of a published record."""
    return output.topic, None if output.value is None else json.loads(output.value)
