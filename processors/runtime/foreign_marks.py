"""What goes with each committed offset of a foreign topic, as its metadata.

Kafka keeps it with the offset, in the same transaction. So it costs no call and no state, and it is
right after a crash. Pure.
"""

from collections.abc import Container
from typing import Final

import msgspec
from msgspec import Struct

from processors.processor import Replay

# A broker takes no longer metadata, unless it is set otherwise (offset.metadata.max.bytes).
MAX_BYTES: Final = 4096
_OF_A_REPLAY: Final = 200  # at most: the source twice, a time and an offset


class ForeignMark(Struct, frozen=True, omit_defaults=True):
    """What is known of a partition beside how far it was read.

    `partitions` is how many the topic had when it was first read, and `topic_id` its id (empty
    where the broker gives none). Below the offset `live` the partition was read before: there a
    record is for those sources only that read `again` from an offset at or before it. `obeyed` is
    when the last replay of a source that was begun was asked for (epoch ms).
    """

    partitions: int
    topic_id: str = ""
    live: int = 0
    again: dict[str, int] = {}
    obeyed: dict[str, int] = {}

    def sources_for(self, offset: int) -> list[str] | None:
        """The sources that the record at `offset` is for; None for all that read its topic."""
        if offset >= self.live:
            return None
        return [source for source, first in self.again.items() if offset >= first]

    def to_obey(self, replays: dict[str, Replay]) -> dict[str, Replay]:
        """Those of the replays that were not begun."""
        return {
            source: asked
            for source, asked in replays.items()
            if asked.asked_at > self.obeyed.get(source, 0)
        }

    def has_room(self) -> bool:
        """Whether one more replay can be noted."""
        return len(self.text()) + _OF_A_REPLAY <= MAX_BYTES

    def of(self, sources: Container[str]) -> "ForeignMark":
        """The mark without what was obeyed for other sources: they ask for nothing any more."""
        obeyed = {source: at for source, at in self.obeyed.items() if source in sources}
        return msgspec.structs.replace(self, obeyed=obeyed)

    def begun(self, source: str, asked: Replay, first: int, position: int) -> "ForeignMark":
        """A replay begins at the offset `first`; `position` is how far the partition was read."""
        obeyed = {**self.obeyed, source: asked.asked_at}
        if first >= position:
            return msgspec.structs.replace(self, obeyed=obeyed)
        return msgspec.structs.replace(
            self,
            obeyed=obeyed,
            live=max(self.live, position),
            again={**self.again, source: min(first, self.again.get(source, first))},
        )

    def at(self, position: int) -> "ForeignMark":
        """The mark for this position: at `live` every replay has ended."""
        if position < self.live or not self.live:
            return self
        return msgspec.structs.replace(self, live=0, again={})

    def text(self) -> str:
        """As metadata."""
        return msgspec.json.encode(self).decode()


_decode = msgspec.json.Decoder(ForeignMark).decode


def read_mark(metadata: str | None) -> ForeignMark | None:
    """The mark in the metadata of an offset, None where there is none."""
    try:
        return _decode(metadata) if metadata else None
    except msgspec.DecodeError:
        return None
