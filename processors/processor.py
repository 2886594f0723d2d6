"""What a core must bring to be run: one `Processor` each."""

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from msgspec import Struct, field

from schemas.flow import Effect, Input, InputEvent, Output, Record, Refused

State = TypeVar("State")


def misfit() -> Refused:
    """Why a state whose records do not fit together is not judged on."""
    return Refused(
        "state_misfit",
        "what the changelog holds of this task does not fit together, so it cannot be judged on; "
        "send what it still has to do under another task_id, and report this",
    )


def _never(_: Any) -> int | None:
    return None


def _nothing(_: Any) -> Collection[str]:
    return ()


def _no_groups(_: Any) -> Mapping[str, tuple[str, str]]:
    return {}


def _as_it_is(state: Any) -> object:
    return state


def _no_facts(_: Any, __: int) -> Mapping[str, Hashable]:
    return {}


@dataclass(frozen=True)
class Processor(Generic[State]):
    """A core and what it needs to be run. A second processor is one more of these.

    `inputs` are co-partitioned canonical topic names, `changelog` the topic of its state, `outputs`
    the topics it cannot do without (not the receivers' queues, which come and go),
    `tables` the compacted topics that `build_tables` makes the core's tables from: it is given
    `{topic: {key: value}}` and the names of the topics that exist, ours left out (None where nobody
    knows).

    `format` numbers the form in which states are written: one that was written in another is not
    read. `decode` makes a state of its whole form, as `encode` gives it, and of the changes since,
    which `encode_change` gives, from the state before and the one after. Without it, and where it
    gives None, a state is written whole. `decode_timers` makes of the same a state that no more
    than `due` and `watched` can be asked of. `timers` gives what these follow from: where it is the
    same object as before, they are what they were, or later.

    `due` is the moment (epoch ms) at which a state wants a `TimerFired`, None for never. `watched`
    are the subjects in the tables that a state waits for, and `facts` what the tables say of each
    subject at a moment (epoch ms): when it says something else than before, the states that watch
    the subject get a `TableChanged`. Both inputs find a state, never None.

    `queues` are the topics of receivers that the tables name, ours left out.

    `groups` are the receivers in the tables whose liveness is to be probed, each with its consumer
    group and the canonical topic that the group reads; what is found is on
    `handoff.receiver-liveness`, which is then one of the `tables`.
    """

    name: str
    inputs: tuple[str, ...]
    changelog: str
    tables: tuple[str, ...]
    build_tables: Callable[[dict[str, dict[str, bytes]], frozenset[str] | None], Any]
    parse: Callable[[Record, int], InputEvent]
    state_key: Callable[[InputEvent], str]
    advance: Callable[[State | None, Input, Any, int], tuple[State | None, list[Effect]]]
    format: int
    encode: Callable[[State], bytes]
    decode: Callable[[bytes, list[bytes]], State]
    encode_change: Callable[[State, State], bytes | None] | None = None
    outputs: tuple[str, ...] = ()
    decode_timers: Callable[[bytes, list[bytes]], State] | None = None  # None: `decode` does
    due: Callable[[State], int | None] = _never
    watched: Callable[[State], Collection[str]] = _nothing
    timers: Callable[[State], object] = _as_it_is
    facts: Callable[[Any, int], Mapping[str, Hashable]] = _no_facts
    queues: Callable[[Any], Collection[str]] = _nothing
    groups: Callable[[Any], Mapping[str, tuple[str, str]]] = _no_groups


class Replay(Struct, frozen=True):
    """Somebody has asked, at `asked_at`, that a source reads its topics again from the records of
    the time `begin` on; both are epoch ms."""

    asked_at: int
    begin: int


class ForeignTopic(Struct, frozen=True):
    """A topic of others, and the sources that read it.

    Where nothing of it was ever read, it is begun at the first record whose timestamp is not before
    `begin` (epoch ms; 0: its first record), or at its end where that is None. `replays` are what
    was asked for, by source.
    """

    sources: tuple[str, ...]
    begin: int | None = 0
    replays: dict[str, Replay] = {}


class Relayed(Struct):
    """What became of foreign records: what is to be published, the bytes of that, and how often
    what happened, by (source, outcome, label)."""

    outputs: list[Output]
    size: int = 0
    counted: Counter[tuple[str, str, str]] = field(default_factory=Counter)


@dataclass(frozen=True)
class Relay:
    """A processor without state: what a record becomes depends on the record and the tables only.

    `tables`, `build_tables`, `outputs` and `queues` are as those of `Processor`. `topics` are the
    foreign topics that the tables want read, by their names on the cluster. `step` adds to
    a `Relayed` what becomes of a record, by the tables and the processor's clock (epoch ms), for
    some sources; with None it is for all that read its topic, else it was read before, and is read
    again.
    `positions` is the canonical topic on which is told how far each source was read.
    """

    name: str
    tables: tuple[str, ...]
    build_tables: Callable[[dict[str, dict[str, bytes]], frozenset[str] | None], Any]
    topics: Callable[[Any], Mapping[str, ForeignTopic]]
    step: Callable[[Relayed, Record, Any, int, Collection[str] | None], None]
    outputs: tuple[str, ...]
    positions: str
    queues: Callable[[Any], Collection[str]] = _nothing


AnyProcessor = Processor[Any] | Relay
