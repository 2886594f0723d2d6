"""A second processor, for tests of the runtime: it counts the records of each key.

It is also the proof that a processor is an `advance` and a few lines. What a record's value says is
done: `poison` makes it fail, `big` makes an output too large for Kafka, `wide` one too large for a
topic with narrow limits, `fat` one of a megabyte, `slow` takes 0.3 s, `huge` makes a state too
large for the changelog. `busy:60` computes for 60 seconds, and says in the log that it does.
`forget` deletes the state. `due:500` sets a deadline 500 ms later, `due:500:poison` one whose wake
does that; any other record takes the deadline away. `watch:a` waits for the subject a of the table
`facts`. A wake is published on `woken`: how many records the key had by then, and what woke it.
"""

import logging
import os
import time
from typing import Any

import msgspec

from processors.processor import Processor
from schemas.flow import (
    Effect,
    Increment,
    Input,
    InputEvent,
    Publish,
    Record,
    Refused,
    StateTold,
    TableChanged,
    TimerFired,
)
from schemas.records import DeadLetter, ToolOutput
from schemas.serde import MAX_RECORD_BYTES

log = logging.getLogger("handoff.toy")


class Tally(msgspec.Struct, frozen=True):
    """How many records a key has had, when it wants to be woken, and what it waits for.

    `said` is what the table said of that when it was looked at last.
    """

    key: str
    count: int
    padding: str = ""
    due: int | None = None
    then: str = ""
    watched: str = ""
    said: str = ""


def parse(record: Record, now: int) -> InputEvent:
    """Any record with a key; its value is the tool's name."""
    if record.key is None:
        raise Refused("key_missing", "the record has no key")
    key = record.key.decode()
    body = ToolOutput(key, key, "toy", (record.value or b"").decode(), record.timestamp, "count")
    return InputEvent(
        body, record.timestamp, record.topic, record.partition, record.offset, False, None
    )


def advance(
    state: Tally | None, given: Input, tables: Any, now: int
) -> tuple[Tally | None, list[Effect]]:
    """One more; published as a `DeadLetter`, the smallest record there is."""
    if not isinstance(given, InputEvent):
        assert state is not None
        assert not isinstance(given, StateTold)  # it tells no other state
        return wake(state, given, tables, now)
    assert isinstance(given.body, ToolOutput)
    what, key = given.body.tool, given.body.task_id
    if what == "forget":
        return None, [Increment("counted")]
    before = Tally(key, 0) if state is None else state
    following = msgspec.structs.replace(before, count=before.count + 1, due=None, then="")
    if what.startswith("due:"):
        _, after, then = f"{what}:".split(":", 2)
        following = msgspec.structs.replace(following, due=now + int(after), then=then.strip(":"))
    elif what.startswith("watch:"):
        subject = what.removeprefix("watch:")
        said = facts(tables, now).get(subject, "")
        following = msgspec.structs.replace(following, watched=subject, said=said)
    following, record = does(what, following, given)
    return following, [Publish("toy-out", key, record), Increment("counted")]


def does(what: str, state: Tally, given: Input) -> tuple[Tally, DeadLetter]:
    """What a record or a wake may do beside counting."""
    if what == "poison":
        raise ZeroDivisionError(what)
    if what == "slow":
        time.sleep(0.3)
    if what.startswith("busy:"):
        log.warning("%s is busy", state.key)
        end = time.monotonic() + float(what.removeprefix("busy:"))
        while time.monotonic() < end:
            pass
    padding = {"big": MAX_RECORD_BYTES, "fat": 1 << 20, "wide": 20_000}.get(what, 0)
    if what == "huge":
        state = msgspec.structs.replace(state, padding="x" * MAX_RECORD_BYTES)
    place = (
        (given.topic, given.partition, given.offset)
        if isinstance(given, InputEvent)
        else ("", 0, 0)
    )
    return state, DeadLetter(*place, what, str(state.count), "x" * padding, "", None)


def wake(
    state: Tally, given: TimerFired | TableChanged, tables: Any, now: int
) -> tuple[Tally, list[Effect]]:
    """Its deadline has passed, or what it waits for says something else."""
    if isinstance(given, TableChanged):
        said = facts(tables, now).get(state.watched, "")
        if said == state.said:
            return state, []
        following = msgspec.structs.replace(state, said=said)
        what = f"sweep:{state.watched}={said}"
    else:
        assert state.due is not None
        assert state.due <= given.at
        if state.then == "spin":
            return state, []
        following = msgspec.structs.replace(state, due=None, then="")
        what = state.then or "due"
    following, record = does(what, following, given)
    return following, [Publish("toy-woken", state.key, record), Increment("woken")]


def facts(tables: dict[str, dict[str, bytes]], now: int) -> dict[str, str]:
    """What the table says of each subject; `since:500` says it from the moment 500 on."""
    found = {}
    for subject, value in next(iter(tables.values()), {}).items():
        text = value.decode()
        since = text.removeprefix("since:") if text.startswith("since:") else None
        found[subject] = text if since is None else str(now >= int(since))
    return found


def build_tables(topics: dict[str, dict[str, bytes]], existing: frozenset[str] | None) -> Any:
    """The tables as they came."""
    return topics


def toy(prefix: str, inputs: int = 1) -> Processor[Tally]:
    """A toy whose topics start with `prefix`: `in0`, `in1`, ..., `out`, `woken`, `log`, `facts`."""

    def publish(
        state: Tally | None, given: Input, tables: Any, now: int
    ) -> tuple[Tally | None, list[Effect]]:
        found, effects = advance(state, given, tables, now)
        return found, [
            Publish(prefix + effect.topic.removeprefix("toy-"), effect.key, effect.record)
            if isinstance(effect, Publish)
            else effect
            for effect in effects
        ]

    return Processor(
        name="toy",
        inputs=tuple(f"{prefix}in{number}" for number in range(inputs)),
        changelog=f"{prefix}log",
        tables=(f"{prefix}facts",),
        build_tables=build_tables,
        parse=parse,
        state_key=lambda event: event.body.task_id,
        advance=publish,
        format=1,
        encode=msgspec.json.encode,
        decode=lambda whole, _: msgspec.json.decode(whole, type=Tally),
        due=lambda state: state.due,
        watched=lambda state: (state.watched,) if state.watched else (),
        facts=facts,
    )


# For a process of its own: `python -m processors.runtime tests.toy:TOY`.
TOY = toy(os.environ.get("TOY_PREFIX", "toy."), int(os.environ.get("TOY_INPUTS", "1")))
