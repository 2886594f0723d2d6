"""What is registered on `handoff.sources`: the sources, and what they are to read again.

A source lies under its id. What somebody asked it to read again lies beside it, under
`ID/replay`; an id holds no `/`.
"""

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from processors.intake.compiled import CompiledSource, compile_source
from processors.processor import ForeignTopic, Replay
from schemas import serde
from schemas.sources import TOPIC, from_json

_REPLAY = "/replay"


class ReplayRequest(Struct, frozen=True, kw_only=True):
    """Somebody wants a source to read its topics again, from the records of the time `begin` on."""

    source: str
    begin: Annotated[datetime, Meta(tz=True)]
    asked_at: Annotated[datetime, Meta(tz=True)]
    by: str = ""


def replay_key(source: str) -> str:
    """Where the request of a source lies."""
    return source + _REPLAY


def is_replay(key: str) -> bool:
    """Whether a request lies under a key, and no source."""
    return key.endswith(_REPLAY)


_decode_replay = msgspec.json.Decoder(ReplayRequest).decode


class SourceTables:
    """The active sources by topic (names on the cluster), ready to map records, and the topics to
    read. Immutable."""

    def __init__(self, sources: Mapping[str, CompiledSource], replays: Mapping[str, Replay]):
        self.sources = dict(sources)
        by_topic: dict[str, list[CompiledSource]] = {}
        for _, compiled in sorted(self.sources.items()):
            for topic in compiled.source.topic:
                by_topic.setdefault(topic, []).append(compiled)
        self.by_topic = {topic: tuple(found) for topic, found in by_topic.items()}
        self.topics = {
            topic: ForeignTopic(
                tuple(each.source.id for each in found),
                # Where several read it, the one that wants the most of it decides.
                begin=min((b for each in found if (b := _begin(each)) is not None), default=None),
                replays={
                    each.source.id: replays[each.source.id]
                    for each in found
                    if each.source.id in replays
                },
            )
            for topic, found in self.by_topic.items()
        }


def _begin(source: CompiledSource) -> int | None:
    """Where a source begins a topic that is new: epoch ms, 0 for all of it, None for its end."""
    match source.source.start:
        case "earliest":
            return 0
        case "latest":
            return None
        case moment:
            return max(0, serde.epoch_ms(moment))


def build_tables(
    topics: dict[str, dict[str, bytes]], existing: frozenset[str] | None
) -> SourceTables:
    """The tables of what lies on `handoff.sources`. Raises for a record that cannot be used."""
    sources: dict[str, CompiledSource] = {}
    replays: dict[str, Replay] = {}
    for key, value in topics[TOPIC].items():
        if is_replay(key):
            asked = _decode_replay(value)
            replays[asked.source] = Replay(
                serde.epoch_ms(asked.asked_at), serde.epoch_ms(asked.begin)
            )
            continue
        compiled = _active(value)
        if compiled is not None:
            sources[compiled.source.id] = compiled
    return SourceTables(sources, replays)


@lru_cache(maxsize=1_000)
def _active(value: bytes) -> CompiledSource | None:
    """A source ready to map records; None where it is not active. To compile one takes a
    millisecond and more, and most are what they were when another one changes."""
    source = from_json(value)
    return compile_source(source) if source.status == "active" else None
