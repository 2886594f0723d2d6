"""What the processor remembers of a subject, and how it is written down.

State is MessagePack of arrays, as integrity's is: extended only by appending fields with defaults.
What is summed up is kept as the part that it is (`schemas.feed`). Times are epoch milliseconds.
"""

import msgspec
from msgspec import Struct

from schemas.feed import EdgePart, JudgedPart, PatternPart
from schemas.records import Severity

DAY_MS = 86_400_000
LONGEST_QUIET_MS = 30 * DAY_MS
HOURS_KEPT = 16  # whole days after a day, before the figures of its hours become those of the day
DAYS_KEPT = 400  # and before these are forgotten
WHOLE = -1  # stands for the day where else an hour does


class Entry(Struct, frozen=True, array_like=True, gc=False, tag="pattern"):
    """A pattern that is being watched, opened or not yet.

    `total` is the sum of its parts since it was first seen, but for two things: its `minutes` are
    the buckets of the window only, by the first minute of each, and its `stages` and `tools` the
    most frequent. `count` is all that came, `peak` the most that was within one window.
    `last_at` is when the last part came, by the processor's clock.

    `id` is that of the occurrence once it was opened; then `published` and `severity` are what was
    said last. `settle_at` is when it may be opened (0: not waiting). `gaps` are the last times
    without a part, those of an hour or more. One that is `closed` is remembered for these.
    `clean`: it was closed by a run of clean handoffs; `recurs`: it came again after that, before it
    would have been closed by being quiet.
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
    clean: bool = False
    recurs: bool = False

    @property
    def quiet_at(self) -> int:
        """When it has been quiet for a window, or four times as long as it was before, and waits
        for nothing; a closed one is forgotten then."""
        if self.closed:
            return self.last_at + LONGEST_QUIET_MS
        return max(self.settle_at, self.still_at)

    @property
    def still_at(self) -> int:
        """When it has been quiet for a window, or four times as long as it was before."""
        longest = min(4 * max(self.gaps, default=0), LONGEST_QUIET_MS)
        return self.last_at + max(self.window_ms, longest)


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


class DayState(Struct, frozen=True, array_like=True, gc=False, tag="day"):
    """The figures of an edge on one day of event time, `day` (days since 1970).

    `hours` are the sums by the hour of the day, until the day is old; `whole` is the sum of the day
    from then on, and `hours` are none any more. `dirty` are the hours that were not published as
    they are, `told` those of which there is a record, and `WHOLE` in them stands for the day.
    `publish_at` is when it is published next, by the processor's clock; 0 where nothing is new.
    """

    day: int
    hours: dict[int, EdgePart]
    whole: EdgePart | None = None
    dirty: tuple[int, ...] = ()
    told: tuple[int, ...] = ()
    publish_at: int = 0

    @property
    def due(self) -> int:
        """When it wants to be woken."""
        then = fold_at(self.day) if self.whole is None else forget_at(self.day)
        return min(self.publish_at or then, then)


class Runs(Struct, frozen=True, array_like=True, gc=False, tag="runs"):
    """How the handoffs on a contract go: `times` are the event times of the newest ones that were
    judged, the newest first.

    `open` are the patterns of its fields that are open, by fingerprint: the event time of the last
    violation, or of the newest handoff that was judged when the pattern was opened.
    """

    times: tuple[int, ...] = ()
    open: dict[str, int] = {}


def fold_at(day: int) -> int:
    """When the hours of a day become the day."""
    return (day + 1 + HOURS_KEPT) * DAY_MS


def forget_at(day: int) -> int:
    """When the figures of a day are forgotten."""
    return (day + 1 + DAYS_KEPT) * DAY_MS


State = Entry | EdgeState | DayState | Runs


class Fed(Struct, frozen=True, gc=False):
    """A record of the feed: its key, and the part."""

    subject: str
    part: EdgePart | PatternPart | JudgedPart


class RunBroken(Struct, frozen=True, gc=False):
    """A pattern of a contract's field is open: its last violation has the event time `at`."""

    fingerprint: str
    at: int


class RunClean(Struct, frozen=True, gc=False):
    """A run of handoffs without what a pattern counts."""


class Dated(Struct, frozen=True, gc=False):
    """A part of an edge for the figures of a day, and the hour."""

    day: int
    hour: int
    part: EdgePart


def due(state: State) -> int | None:
    """When the subject wants to be woken (epoch ms), None for never."""
    if isinstance(state, DayState):
        return state.due
    if isinstance(state, Runs):
        return None
    if isinstance(state, Entry):
        return min(state.settle_at or state.quiet_at, state.quiet_at)
    moments = [state.publish_at] if state.publish_at else []
    if state.bare is not None and state.bare.id is not None:
        moments.append(state.bare.quiet_at)
    return min(moments, default=None)


def timers(state: State) -> object:
    """What `due` and `watched` follow from: while it is the same object, they are what they were.

    It is when an edge or a day is published next, which stays while more parts come.
    """
    if isinstance(state, Entry | Runs) or (isinstance(state, EdgeState) and state.bare is not None):
        return state
    return state.publish_at or state


def watched(state: State) -> tuple[str, ...]:
    """What a subject depends on in the tables: an edge, on the contracts of its workflow."""
    return (f"workflow {state.total.workflow}",) if isinstance(state, EdgeState) else ()


class _DayChange(Struct, frozen=True, array_like=True, gc=False):
    """What changed of a day: the sums of the hours that did, and all the rest of it."""

    hours: dict[int, EdgePart]
    dirty: tuple[int, ...]
    told: tuple[int, ...]
    publish_at: int


# Of this form. A state that was written in another one is not read.
FORMAT = 2
encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(State).decode
_decode_change = msgspec.msgpack.Decoder(_DayChange).decode


def encode_change(before: State, after: State) -> bytes | None:
    """The change of a day that keeps its hours. None for any other state: it is written whole."""
    if not isinstance(before, DayState) or not isinstance(after, DayState):
        return None
    if after.whole is not None:
        return None
    hours = {hour: part for hour, part in after.hours.items() if part is not before.hours.get(hour)}
    return encode(_DayChange(hours, after.dirty, after.told, after.publish_at))


def decode(whole: bytes, changes: list[bytes]) -> State:
    """A state as it was written."""
    state: State = _decode(whole)
    for each in changes:
        change = _decode_change(each)
        assert isinstance(state, DayState)
        state = DayState(
            day=state.day,
            hours={**state.hours, **change.hours},
            whole=None,
            dirty=change.dirty,
            told=change.told,
            publish_at=change.publish_at,
        )
    return state
