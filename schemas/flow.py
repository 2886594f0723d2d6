"""What goes into a core and what comes out of it, in plain values: no Kafka types."""

from typing import Any

from msgspec import Struct

from schemas.feed import Part

Headers = list[tuple[str, bytes]]


class Record(Struct, frozen=True, gc=False):
    """One Kafka record as it was read. `topic` is the canonical name; `timestamp` epoch ms."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int
    headers: Headers = []


class InputEvent(Struct, frozen=True, gc=False):
    """One input that was understood.

    `body` is the record that the processor's `parse` made of it.
    `occurred_at` is the event time in epoch ms, already bounded by `timestamp`, the record's own.
    `traceparent` is the W3C Trace Context header to pass on.
    """

    body: Any
    occurred_at: int
    topic: str
    partition: int
    offset: int
    backfill: bool
    traceparent: bytes | None
    timestamp: int = 0


class TimerFired(Struct, frozen=True, gc=False):
    """A task's deadlines have passed: those at or before `at` (epoch ms).

    `tables` are the tables as they were at that moment. All that was committed to the inputs before
    them was read; of the present tables that cannot be said.
    """

    at: int
    tables: Any = None


class TableChanged(Struct, frozen=True, gc=False):
    """What a task waits for may have changed in the tables: look again."""


class StateTold(Struct, frozen=True, gc=False):
    """What another state of the partition tells this one, in the same step."""

    body: Any


Input = InputEvent | TimerFired | TableChanged | StateTold


class Publish(Struct, frozen=True, gc=False):
    """One record to publish. `topic` is canonical (or a queue's own name); None is a tombstone.

    `value` is the record in JSON, where a core had to know how long that is. `backfill`: it is no
    news, whatever the record and the input say of that.
    """

    topic: str
    key: str
    record: Struct | None
    value: bytes | None = None
    backfill: bool = False


class Accumulate(Struct, frozen=True, gc=False):
    """A part of a sum under a key: a transaction publishes the sum of its parts, once."""

    topic: str
    key: str
    part: Part


# Counted by a core that has not looked at all of a swept state, as enough has come of it already:
# the state is to be swept again.
UNFINISHED = "unfinished"


class Increment(Struct, frozen=True, gc=False):
    """A thing that happened and is only counted: the metric's name and one label."""

    name: str
    label: str = ""


class PutOff(Struct, frozen=True, gc=False):
    """A deadline that has passed is held back: the state wants its `TimerFired` at `until` (epoch
    ms), later than that deadline."""

    until: int


class Tell(Struct, frozen=True, gc=False):
    """Another state of the same partition, that of `key`, gets a `StateTold` with `body`. All that
    follows is taken with it, or nothing is."""

    key: str
    body: Any


Effect = Publish | Accumulate | Increment | PutOff | Tell


class Output(Struct, frozen=True, gc=False):
    """One encoded record, ready to be produced. `timestamp` is epoch ms; 0: when it is produced."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp: int = 0


class Refused(Exception):
    """An input that cannot be understood or applied: it goes to the dead letters.

    `code` is a stable word for machines; `message` a sentence for people, never a context value.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def reword(self, message: str) -> None:
        """Say the same with more words: whoever passes it on knows where it was."""
        self.message = message
        self.args = (message,)
