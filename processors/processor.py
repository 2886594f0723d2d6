"""What a core must bring to be run: one `Processor` each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from schemas.flow import Arrival, Count, Emit, Record

State = TypeVar("State")


@dataclass(frozen=True)
class Processor(Generic[State]):
    """A core and what it needs to be run. A second processor is one more of these.

    `inputs` are co-partitioned canonical topic names, `changelog` the topic of its state, `outputs`
    the topics it cannot do without (not the receivers' queues, which come and go),
    `tables` the compacted topics that `build_tables` makes the core's tables from: it is given
    `{topic: {key: value}}` and the names of the topics that exist, ours left out (None where nobody
    knows).
    """

    name: str
    inputs: tuple[str, ...]
    changelog: str
    tables: tuple[str, ...]
    build_tables: Callable[[dict[str, dict[str, bytes]], frozenset[str] | None], Any]
    parse: Callable[[Record, int], Arrival]
    state_key: Callable[[Arrival], str]
    advance: Callable[[State | None, Arrival, Any, int], tuple[State | None, list[Emit | Count]]]
    encode: Callable[[State], bytes]
    decode: Callable[[bytes], State]
    outputs: tuple[str, ...] = ()
