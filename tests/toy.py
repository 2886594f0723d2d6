"""A second processor, for tests of the runtime: it counts the records of each key.

It is also the proof that a processor is an `advance` and a few lines. A record whose value is
`poison` makes it fail, `big` makes an output too large for Kafka, `wide` one too large for a topic
with narrow limits, `huge` a state too large for the changelog.
"""

import os
from typing import Any

import msgspec

from processors.processor import Processor
from schemas.flow import Arrival, Count, Emit, Input, Record, Refused
from schemas.records import DeadLetter, ToolOutput
from schemas.wire import MAX_RECORD_BYTES


class Tally(msgspec.Struct, frozen=True):
    """How many records a key has had."""

    count: int
    padding: str = ""


def parse(record: Record, now: int) -> Arrival:
    """Any record with a key; its value is the tool's name."""
    if record.key is None:
        raise Refused("key_missing", "the record has no key")
    key = record.key.decode()
    body = ToolOutput(key, key, "toy", "count", (record.value or b"").decode(), record.timestamp)
    return Arrival(
        body, record.timestamp, record.topic, record.partition, record.offset, False, None
    )


def advance(
    state: Tally | None, arrival: Input, tables: Any, now: int
) -> tuple[Tally | None, list[Emit | Count]]:
    """One more; published as a `DeadLetter`, the smallest record there is."""
    assert isinstance(arrival, Arrival)
    assert isinstance(arrival.body, ToolOutput)
    what = arrival.body.tool
    if what == "poison":
        raise ZeroDivisionError(what)
    number = (state.count if state is not None else 0) + 1
    padding = {"big": MAX_RECORD_BYTES, "wide": 20_000}.get(what, 0)
    record = DeadLetter(
        arrival.topic, arrival.partition, arrival.offset, what, str(number), "x" * padding, "", None
    )
    huge = "x" * MAX_RECORD_BYTES if what == "huge" else ""
    return Tally(number, huge), [Emit("toy-out", arrival.body.task_id, record), Count("counted")]


def build_tables(topics: dict[str, dict[str, bytes]], existing: frozenset[str] | None) -> Any:
    """The tables as they came."""
    return topics


def toy(prefix: str, inputs: int = 1) -> Processor[Tally]:
    """A toy whose topics start with `prefix`: `in0`, `in1`, ..., `out`, `log`."""

    def publish(
        state: Tally | None, arrival: Input, tables: Any, now: int
    ) -> tuple[Tally | None, list[Emit | Count]]:
        found, emits = advance(state, arrival, tables, now)
        return found, [
            Emit(f"{prefix}out", emit.key, emit.record) if isinstance(emit, Emit) else emit
            for emit in emits
        ]

    return Processor(
        name="toy",
        inputs=tuple(f"{prefix}in{number}" for number in range(inputs)),
        changelog=f"{prefix}log",
        tables=(),
        build_tables=build_tables,
        parse=parse,
        state_key=lambda arrival: arrival.body.task_id,
        advance=publish,
        encode=msgspec.json.encode,
        decode=msgspec.json.Decoder(Tally).decode,
    )


# For a process of its own: `python -m processors.runtime tests.toy:TOY`.
TOY = toy(os.environ.get("TOY_PREFIX", "toy."), int(os.environ.get("TOY_INPUTS", "1")))
