"""Which names a task holds one value under, said by outputs alone: nothing is to be asked of those.

It is known of all names at once, and is carried on from event to event like a field's candidates.
"""

from collections.abc import Iterable, KeysView, Mapping, Sequence

from msgspec import Struct

from processors.contracts.compiled import Field
from processors.integrity.events import NO_EVENT, EventRef, Remembered, TaskEvent

EVERY = 0  # what was said alone, among what was found already: no field has this identity
UNSAID = (b"", NO_EVENT)


class Alone(Struct, gc=False):
    """What is said under each name, and the latest event that says it; None where not all of them
    say the same bytes, or an output did not say it."""

    said: dict[str, tuple[bytes, EventRef] | None] = {}
    read: int = 0  # events
    last: Remembered | None = None  # of these

    def after(self, events: Sequence[Remembered], first: int) -> "Alone":
        """What is left of `events` from the one with the index `first` on."""
        if self.read < first or not goes_on(self.read, self.last, events):
            return Alone()
        number, names = events[first].number, names_of(events[first : self.read])
        # What was said last in an event that is gone, and is left, was not said in order.
        said = {
            name: one if one is None or one[1].number >= number else None
            for name, one in self.said.items()
            if name in names
        }
        return Alone(said, self.read - first, self.last)

    def add(self, events: Sequence[Remembered]) -> None:
        """Look through more events, in order."""
        self.read += len(events)
        self.last = events[-1]
        found = self.said
        for event in events:
            if type(event) is not TaskEvent:
                found[event.name] = None
                continue
            ref = event.ref
            for name, value in event.context.items():
                if name not in found:
                    found[name] = value, ref
                    continue
                before = found[name]
                if before is not None and before[0] != value:
                    found[name] = None
                elif before is not None and before[1].occurred_at <= ref.occurred_at:
                    found[name] = value, ref
            if event.large:
                found.update(dict.fromkeys(event.large))


def names_of(events: Iterable[Remembered]) -> KeysView[str]:
    """The names that events hold anything under, in the order of their arrival."""
    found: dict[str, object] = {}
    for event in events:
        if isinstance(event, TaskEvent):
            found.update(event.context)
            if event.large:
                found.update(event.large)
        else:
            found[event.name] = None
    return found.keys()


def goes_on(read: int, last: Remembered | None, events: Sequence[Remembered]) -> bool:
    """Whether events begin with the `read` ones of which one was the `last`: an aborted
    transaction may have taken some back."""
    return not read or (read <= len(events) and events[read - 1] is last)


def under_one(field: Field, said: Mapping[str, object]) -> bool:
    """Whether nothing is said for a field under other names than its own."""
    return not any(top in said for top in field.tops if top != field.name)
