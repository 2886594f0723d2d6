"""The classified values that a task holds. What tells one of them, insights does not get.

What is classified says the registry; the values under such names come with the task's events.
"""

from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct

from processors.contracts.classified import NO_SECRETS, Classified
from processors.contracts.telling import Secrets
from processors.integrity.events import Remembered, TaskEvent

MAX_VALUES = 5  # of a name, the last ones: as many as stand behind each other in an index


class TaskSecrets(Struct, frozen=True, gc=False):
    """The values of a task that may be `classified`, by top-level name, the newest first."""

    classified: Classified
    values: dict[str, tuple[bytes, ...]] = {}
    secrets: Secrets = NO_SECRETS

    def after(self, events: Iterable[Remembered]) -> "TaskSecrets":
        """What a task holds after these events."""
        values = self.values
        for event in events:
            for name, value in _classified_of(event, self.classified):
                known = values.get(name, ())
                if value not in known:
                    if values is self.values:
                        values = values.copy()
                    values[name] = (value, *known)[:MAX_VALUES]
        if values is self.values:
            return self
        secrets = Secrets(self.classified.texts(_pairs(values)))
        return TaskSecrets(self.classified, values, secrets)

    def beside(self, context: Mapping[str, bytes]) -> Secrets:
        """What must not be told of these values, and of those of a context."""
        if not self.classified.at:
            return NO_SECRETS
        more = [
            (name, value)
            for name, value in self.classified.within(context)
            if value not in self.values.get(name, ())
        ]
        if not more:
            return self.secrets
        return Secrets(self.classified.texts([*_pairs(self.values), *more]))

    def told_by(self, names: tuple[str, ...], context: Mapping[str, bytes]) -> set[str]:
        """Those of some top-level names that tell what is classified of a task and a context."""
        unknown = self.classified.unknown(names)
        return self.beside(context).named(unknown) if unknown else set()


def _classified_of(event: Remembered, classified: Classified) -> Iterator[tuple[str, bytes]]:
    if isinstance(event, TaskEvent):
        yield from classified.within(event.context)
    elif event.value is not None:
        yield from classified.within({event.name: event.value})


def _pairs(values: Mapping[str, tuple[bytes, ...]]) -> Iterator[tuple[str, bytes]]:
    return ((name, value) for name, held in values.items() for value in held)
