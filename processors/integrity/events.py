"""What a task remembers is events: what its tools said, and what its packages put elsewhere."""

from collections.abc import Iterable
from operator import attrgetter
from typing import Final, final

from msgspec import Struct

from schemas.records import Origin
from schemas.serde import utc

SHARED = 1024  # bytes of a value from which on a task does not keep it twice
# Where an event came from, by number: three bytes an event less than the name.
_TOPICS = ("handoff.tool-outputs", "handoff.amendments")


class EventRef(Struct, frozen=True, array_like=True, gc=False):
    """Which event: its number in the task (from 1, in order of arrival), who said it when (event
    time, epoch ms), and where its record lies in Kafka."""

    number: int
    stage: str
    tool: str
    event_id: str
    occurred_at: int
    from_person: bool
    partition: int
    offset: int

    @property
    def topic(self) -> str:
        """The canonical topic of its record."""
        return _TOPICS[self.from_person]

    def origin(self) -> Origin:
        """As it is published."""
        return Origin(
            stage=self.stage,
            tool=self.tool,
            event_id=self.event_id,
            occurred_at=utc(self.occurred_at),
            topic=self.topic,
            partition=self.partition,
            offset=self.offset,
        )


NO_EVENT: Final = EventRef(
    number=0,
    stage="",
    tool="",
    event_id="",
    occurred_at=0,
    from_person=False,
    partition=0,
    offset=0,
)


@final
class TaskEvent(Struct, frozen=True, array_like=True, tag=0, gc=False):
    """What one tool output said, or what a person set with one amendment.

    `context` holds the raw JSON values that are not empty, by name; `large` the digests of those
    that are too large to keep, and `empty` the names under which nothing was said. `hop` is the
    handoff that carried it (0: none did), `run` what it belongs to, where the output said that.
    `root` is the key of the task that it came from, where this one continues that, directly or not
    (empty: its own).
    """

    ref: EventRef
    hop: int
    context: dict[str, bytes]
    large: dict[str, bytes] = {}
    empty: tuple[str, ...] = ()
    run: str = ""
    root: str = ""

    @property
    def number(self) -> int:
        """Its number in the task."""
        return self.ref.number


@final
class Alias(Struct, frozen=True, array_like=True, tag=1, gc=False):
    """A value as a package of the handoff `hop` carried it: under the receiver's `name`, in the
    receiver's terms. It came from the event `ref`, under `source_name`, and stands there from the
    time `at` (event time). `value` is None where it was too large to keep. `candidates` is how many
    values the task held for it then. `root` is that of the event that it came from."""

    number: int
    hop: int
    name: str
    value: bytes | None
    ref: EventRef
    source_name: str
    at: int
    candidates: int = 1
    root: str = ""


Remembered = TaskEvent | Alias
number_of = attrgetter("number")  # of an event in a task: its events lie in this order


def weight(event: Remembered) -> int:
    """An upper bound of the bytes that an event takes: a character has at most four."""
    ref = event.ref
    characters = len(ref.stage) + len(ref.tool) + len(ref.event_id) + len(event.root)
    if isinstance(event, Alias):
        characters += len(event.name) + len(event.source_name)
        return 64 + 4 * characters + len(event.value or b"")
    context = event.context
    characters += len(event.run) + sum(map(len, (*context, *event.large, *event.empty)))
    return 64 + 4 * characters + sum(map(len, context.values())) + 16 * len(event.large)


def total_weight(events: Iterable[Remembered]) -> int:
    """The bytes of events; those that several hold count once."""
    seen: set[int] = set()
    return sum([weight_beside(event, seen) for event in events])


def weight_beside(event: Remembered, seen: set[int]) -> int:
    """The bytes of an event, without the values that another one holds: those were `seen`."""
    total = weight(event)
    if isinstance(event, TaskEvent):
        for value in event.context.values():
            if len(value) >= SHARED:
                if id(value) in seen:
                    total -= len(value)
                else:
                    seen.add(id(value))
    return total


def length(text: str) -> int:
    """The bytes of a text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())
