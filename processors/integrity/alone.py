"""Which names a task holds one value under, said by outputs alone: nothing is to be asked of those.

It is known of all names at once, and is carried on from event to event like a field's candidates.
"""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from processors.contracts.compiled import Field
from processors.integrity.events import Alias, EventRef, Remembered

EVERY = 0  # what was said alone, among what was found already: no field has this identity
UNSAID = (b"", EventRef(0, "", "", "", 0, False, 0, 0))


class Alone(Struct, gc=False):
    """What is said under each name, and the latest event that says it; None where not all of them
    say the same bytes, or an output did not say it."""

    said: dict[str, tuple[bytes, EventRef] | None] = {}
    read: int = 0  # events
    last: Remembered | None = None  # of these

    def anew(self) -> "Alone":
        """Nothing yet, for other events."""
        return Alone()

    def add(self, events: Sequence[Remembered]) -> None:
        """Look through more events, in order."""
        self.read += len(events)
        self.last = events[-1]
        found = self.said
        for event in events:
            if isinstance(event, Alias):
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


def goes_on(read: int, last: Remembered | None, events: Sequence[Remembered]) -> bool:
    """Whether events begin with the `read` ones of which one was the `last`: an aborted
    transaction may have taken some back."""
    return not read or (read <= len(events) and events[read - 1] is last)


def under_one(field: Field, said: Mapping[str, object]) -> bool:
    """Whether nothing is said for a field under other names than its own."""
    return not any(top in said for top in field.tops if top != field.name)
