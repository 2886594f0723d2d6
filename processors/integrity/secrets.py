"""The classified values that a task holds. What tells one of them, insights does not get.

What is classified says the registry; the values under such names come with the task's events.
"""

from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct

from processors.contracts import telling, values
from processors.contracts.classified import NO_SECRETS, Classified
from processors.contracts.telling import Secrets
from processors.integrity.events import Remembered, TaskEvent

_SHORT = 256  # characters of a text that counts where its value is too large
_SHORT_OF_ONE = 16 << 10  # bytes of such texts of one value
MAX_VALUES = 5  # of a name, the last ones: as many as stand behind each other in an index


class TaskSecrets(Struct, gc=False):
    """The values of a task that may be `classified`, by top-level name, the newest first.

    A plain name of fewer characters than `least` tells none of them.
    """

    classified: Classified
    values: dict[str, tuple[bytes, ...]] = {}
    least: int = telling.NO_LENGTH
    _secrets: Secrets | None = None

    def after(self, events: Iterable[Remembered]) -> "TaskSecrets":
        """What a task holds after these events."""
        classified = self.classified
        return self.beyond([pair for event in events for pair in classified_of(event, classified)])

    def beyond(self, pairs: Iterable[tuple[str, bytes]]) -> "TaskSecrets":
        """What a task holds with these values, too."""
        values, least = self.values, self.least
        for name, value in pairs:
            known = values.get(name, ())
            if value not in known:
                if values is self.values:
                    values = values.copy()
                values[name] = (value, *known)[:MAX_VALUES]
                least = min(least, self._least(name, value))
        if values is self.values:
            return self
        return TaskSecrets(self.classified, values, least)

    def _least(self, name: str, value: bytes) -> int:
        plain = telling.least_of_plain(value)
        if plain is not None and (name,) in self.classified.at:
            return plain
        texts = self.classified.texts(((name, value),))
        return min(map(telling.least, texts), default=telling.NO_LENGTH)

    def _all(self) -> Secrets:
        if self._secrets is None:
            self._secrets = Secrets(self.classified.texts(_pairs(self.values)))
        return self._secrets

    def beside(self, context: Mapping[str, bytes]) -> Secrets:
        """What must not be told of these values, and of those of a context."""
        if not self.classified.at:
            return NO_SECRETS
        return Secrets(self.texts(context)) if self._more(context) else self._all()

    def texts(self, context: Mapping[str, bytes]) -> set[str]:
        """The texts of these values, and of those of a context."""
        return self.classified.texts([*_pairs(self.values), *self._more(context)])

    def _more(self, context: Mapping[str, bytes]) -> list[tuple[str, bytes]]:
        """What of a context may be classified, and is not known."""
        found = self.classified.within(context)
        if not found:
            return found
        return [(name, value) for name, value in found if value not in self.values.get(name, ())]

    def told_by(self, names: tuple[str, ...], context: Mapping[str, bytes]) -> set[str]:
        """Those of some top-level names that tell what is classified of a task and a context."""
        unknown = self.classified.unknown(names)
        if not unknown:
            return set()
        longest = telling.longest_plain(unknown)
        if longest is not None and longest < self.least:
            more = self._more(context)
            if not more or all(longest < self._least(name, value) for name, value in more):
                return set()
        return self.beside(context).named(unknown)


def classified_of(event: Remembered, classified: Classified) -> list[tuple[str, bytes]]:
    """The values of an event that may be classified, by top-level name."""
    if type(event) is TaskEvent:
        return classified.within(event.context)
    return [] if event.value is None else classified.within({event.name: event.value})


def short_texts(name: str, value: bytes, classified: Classified) -> list[tuple[str, bytes]]:
    """What is classified of a value that is too large to be kept: its short strings, the last ones,
    as a list under the path where they stand. In lists each element counts as the list."""
    at: dict[str, bool] = {}
    found: dict[str, list[bytes]] = {}
    left = _SHORT_OF_ONE
    for where, text in reversed(list(values.strings(value, name))):
        if len(text) > _SHORT:
            continue
        path = ".".join([step for step in where.split(".") if not step.isdecimal()])
        written = values.quoted(text)
        if path not in at:
            at[path] = bool(classified.texts(((path, b'"some text"'),)))
        if at[path]:
            left -= len(written) + (0 if path in found else len(path))
            if left < 0:
                break
            found.setdefault(path, []).append(written)
    return [(path, b"[" + b",".join(texts) + b"]") for path, texts in found.items()]


def _pairs(values: Mapping[str, tuple[bytes, ...]]) -> Iterator[tuple[str, bytes]]:
    return ((name, value) for name, held in values.items() for value in held)
