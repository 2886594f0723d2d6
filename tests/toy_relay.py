"""A relay for tests of the runtime: it copies each record of the topics that its sources name.

A source lies in the table `sources` as JSON: `topics`, `tag`, `begin` (epoch ms, null: the end),
and `replay` (asked at, from when; epoch ms). What a record's value says is done: `bad` is refused,
`poison` fails, `huge` makes an output too large for Kafka, `busy:60` computes for 60 seconds.
"""

import os
import time
from collections.abc import Collection
from typing import Any

import msgspec

from processors.processor import ForeignTopic, Relay, Relayed, Replay
from schemas import serde
from schemas.flow import Output, Record, Refused


class ToySource(msgspec.Struct):
    """One source of the toy."""

    topics: list[str]
    tag: str = ""
    begin: int | None = 0
    replay: tuple[int, int] | None = None


def build_tables(
    topics: dict[str, dict[str, bytes]], existing: frozenset[str] | None
) -> dict[str, ToySource]:
    """The sources by id."""
    (table,) = topics.values()
    return {id_: msgspec.json.decode(value, type=ToySource) for id_, value in table.items()}


def topics(tables: dict[str, ToySource]) -> dict[str, ForeignTopic]:
    """What they want read."""
    found = {}
    for topic in {topic for source in tables.values() for topic in source.topics}:
        own = {id_: source for id_, source in sorted(tables.items()) if topic in source.topics}
        found[topic] = ForeignTopic(
            tuple(own),
            min((s.begin for s in own.values() if s.begin is not None), default=None),
            {id_: Replay(*source.replay) for id_, source in own.items() if source.replay},
        )
    return found


def relay(prefix: str) -> Relay:
    """A relay whose topics start with `prefix`: `sources` and `out`."""

    def step(
        done: Relayed,
        record: Record,
        tables: dict[str, ToySource],
        now: int,
        again: Collection[str] | None,
    ) -> None:
        for id_, source in sorted(tables.items()):
            if record.topic in source.topics and (again is None or id_ in again):
                _copy(done, id_, source, record, again is not None)

    def _copy(done: Relayed, id_: str, source: ToySource, record: Record, again: bool) -> None:
        what = (record.value or b"").decode()
        if what.startswith("busy:"):
            end = time.monotonic() + float(what.removeprefix("busy:"))
            while time.monotonic() < end:
                pass
        if what == "bad":
            done.outputs.append(serde.dead_letter(record, Refused("bad", "it is bad")))
            done.counted[id_, "dead_letters", "bad"] += 1
            return
        if what == "poison":
            raise ZeroDivisionError
        told: dict[str, Any] = {
            "source": id_,
            "tag": source.tag,
            "place": [record.topic, record.partition, record.offset],
            "again": again,
            "value": what,
            "padding": "x" * (4 << 20) if what == "huge" else "",
        }
        value = msgspec.json.encode(told)
        done.outputs.append(Output(f"{prefix}out", record.key, value, [], record.timestamp))
        done.size += len(value)
        done.counted[id_, "mapped", ""] += 1

    return Relay(
        name="relay",
        tables=(f"{prefix}sources",),
        build_tables=build_tables,
        topics=topics,
        step=step,
        outputs=(f"{prefix}out", "handoff.source-positions"),
        positions="handoff.source-positions",
    )


# For a process of its own: `python -m processors.runtime tests.toy_relay:RELAY`.
RELAY = relay(os.environ.get("TOY_PREFIX", "toy."))
