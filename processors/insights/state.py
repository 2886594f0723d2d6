"""What the processor remembers of a subject, and how it is written down.

State is MessagePack of arrays, as integrity's is: extended only by appending fields with defaults.
What is summed up is kept as the part that it is (`schemas.feed`). Times are epoch milliseconds.
"""

import msgspec
from msgspec import Struct

from schemas.feed import EdgePart, PatternPart
from schemas.records import Severity

LONGEST_QUIET_MS = 30 * 86_400_000


class Entry(Struct, frozen=True, array_like=True, gc=False, tag="pattern"):
    """A pattern that is being watched, opened or not yet.

    `total` is the sum of its parts since it was first seen, but for two things: its `minutes` are
    the buckets of the window only, by the first minute of each, and its `stages` and `tools` the
    most frequent. `count` is all that came, `peak` the most that was within one window.
    `last_at` is when the last part came, by the processor's clock.

    `id` is that of the occurrence once it was opened; then `published` and `severity` are what was
    said last. `settle_at` is when it may be opened (0: not waiting). `gaps` are the last times
    without a part, those of an hour or more. One that is `closed` is remembered for these.
    """

    fingerprint: str
    total: PatternPart
    count: int
    peak: int
    window_ms: int
    last_at: int
    id: str | None = None
    published: int = 0
    severity: Severity = "warning"
    settle_at: int = 0
    gaps: tuple[int, ...] = ()
    closed: bool = False

    @property
    def quiet_at(self) -> int:
        """When it has been quiet for a window, or four times as long as it was before, and waits
        for nothing; a closed one is forgotten then."""
        if self.closed:
            return self.last_at + LONGEST_QUIET_MS
        longest = min(4 * max(self.gaps, default=0), LONGEST_QUIET_MS)
        return max(self.settle_at, self.last_at + max(self.window_ms, longest))


class EdgeState(Struct, frozen=True, array_like=True, gc=False, tag="edge"):
    """An edge: the sum of all its parts, and what the tables say of it.

    `contract` is the one that documents it. `publish_at` is when it is published next, by the
    processor's clock; 0 where nothing is new. `bare` is the pattern of the moves that nobody
    documented, counted from the first one or since the last such pattern was closed.
    """

    total: EdgePart
    documented: bool
    contract: str | None
    publish_at: int = 0
    bare: Entry | None = None


State = Entry | EdgeState


class Fed(Struct, frozen=True, gc=False):
    """A record of the feed: its key, and the part."""

    subject: str
    part: EdgePart | PatternPart


def due(state: State) -> int | None:
    """When the subject wants to be woken (epoch ms), None for never."""
    if isinstance(state, Entry):
        return min(state.settle_at or state.quiet_at, state.quiet_at)
    moments = [state.publish_at] if state.publish_at else []
    if state.bare is not None and state.bare.id is not None:
        moments.append(state.bare.quiet_at)
    return min(moments, default=None)


def watched(state: State) -> tuple[str, ...]:
    """What a subject depends on in the tables: an edge, on the contracts of its workflow."""
    return (f"workflow {state.total.workflow}",) if isinstance(state, EdgeState) else ()


# Of this form. A state that was written in another one is not read.
FORMAT = 2
encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(State).decode


def decode(whole: bytes, _: list[bytes]) -> State:
    """A state as it was written; it is always written whole."""
    state: State = _decode(whole)
    return state
