"""What the paths and conditions of a source see of one record."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from processors.intake.mapped import Decoded, Misses
from processors.intake.values import for_conditions, nested_in
from schemas.cel.values import MAX_STEPS, NESTED_STEPS, Members
from schemas.flow import Headers, Record

_NOTHING: Final[Mapping[str, bytes]] = {}
_NONE: Final[set[str]] = set()  # never added to: only `Members.__missing__` would
Make = Callable[["Scope"], Any]


class Scope(Members):
    """The roots and the names of `let` with their values, each made when it is first read.

    `value` is the root that most paths begin at. `misses` collects the keys that look-ups lack, as
    (look-up, key). `made` has the values of roots and of `let` by name, `it` for one element after
    the other; and by what makes it each value that no element of `each` changes.
    """

    __slots__ = ("_copies", "_lets", "_taken", "made", "misses", "record", "value")

    def __init__(
        self, record: Record, decoded: Decoded, lets: Mapping[str, Make], misses: Misses
    ) -> None:
        self.raw = _NOTHING
        self.unreadable = _NONE
        self.left = MAX_STEPS
        self.record = record
        self.value = value = decoded.value
        self.made: dict[str | Make, Any] = {"value": value, "key": decoded.key}
        self.misses = misses
        self._lets = lets
        self._taken: dict[int, Any] = {}  # lists and objects that conditions take, by their ids
        self._copies: dict[int, tuple[Any, Any]] = {}  # others, and their copies

    def root(self, name: str) -> Any:
        """The value of a root or of a name of `let`."""
        made = self.made
        if name not in made:
            let = self._lets.get(name)
            made[name] = self._root(name) if let is None else let(self)
        return made[name]

    def plain(self, value: Any) -> Any:
        """A value as conditions can take it: they know no number beyond 64 bits. A list or an
        object is looked through once, whatever reads it and for however many elements."""
        kind = type(value)
        if kind is str:
            return value
        if kind is not dict and kind is not list:
            return for_conditions(value)
        if id(value) in self._taken:
            return value
        known = self._copies.get(id(value))
        if known is not None:
            return known[1]
        nested = nested_in(value)
        if nested is not None:  # they are kept, so no other value gets their ids
            self._taken.update(zip(map(id, nested), nested, strict=True))
            return value
        copy = for_conditions(value)
        self._copies[id(value)] = value, copy
        return copy

    def weigh(self, a: Any, b: Any, names: tuple[str, ...]) -> None:
        """As `Members.weigh`; a value is taken to be as long as the record that it comes from."""
        if type(b) is list or type(b) is dict:
            record = self.record
            self.spend(NESTED_STEPS * (len(record.value or b"") + len(record.key or b"")))
        else:
            super().weigh(a, b, names)

    def _root(self, name: str) -> Any:
        match name:
            case "headers":
                return _texts(self.record.headers)
            case "record":
                record = self.record
                return {
                    "topic": record.topic,
                    "partition": record.partition,
                    "offset": record.offset,
                    "timestamp": record.timestamp,
                }
        return None  # `it` where there is no `each`, which lint refuses


_REPLACED: Final = "replace"


def _texts(headers: Headers) -> dict[str, str]:
    """Headers as text; of several with one name the last."""
    return {name: (content or b"").decode("utf-8", _REPLACED) for name, content in headers}
