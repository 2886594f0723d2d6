"""What the paths and conditions of a source see of one record."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from processors.intake.mapped import Decoded, Misses
from processors.intake.values import for_conditions, has_long_number
from schemas.cel.values import MAX_STEPS, NESTED_STEPS, Members
from schemas.flow import Headers, Record

_NOTHING: Final[Mapping[str, bytes]] = {}
_NONE: Final[set[str]] = set()  # never added to: only `Members.__missing__` would
Make = Callable[["Scope"], Any]


class Scope(Members):
    """The roots and the names of `let` with their values, each made when it is first read.

    Paths read `root`, and `value`, which is the root that most begin at. As a mapping it is what
    conditions read: they know no number beyond 64 bits. `misses` collects the keys that look-ups
    lack, as (look-up, key). `exact`: no value holds a Decimal. `made` has what holds for every
    element of `each`: roots by name, and other values by what makes them.
    """

    __slots__ = ("_exact", "_lets", "_plain", "made", "misses", "record", "value")

    def __init__(
        self,
        record: Record,
        decoded: Decoded,
        lets: Mapping[str, Make],
        misses: Misses,
        exact: bool,
    ) -> None:
        self.raw = _NOTHING
        self.unreadable = _NONE
        self.left = MAX_STEPS
        self.record = record
        self.value = value = decoded.value
        self.made: dict[str | Make, Any] = {"value": value, "key": decoded.key}
        self.misses = misses
        self._lets = lets
        self._exact = exact
        self._plain: bool | None = None

    def root(self, name: str) -> Any:
        """The value of a root or of a name of `let`."""
        made = self.made
        if name not in made:
            let = self._lets.get(name)
            made[name] = self._root(name) if let is None else let(self)
        return made[name]

    def element(self, item: Any) -> None:
        """Set the element of `each`, which is `it`."""
        self.made["it"] = item
        self.pop("it", None)

    def weigh(self, a: Any, b: Any, names: tuple[str, ...]) -> None:
        """As `Members.weigh`; a value is at most as long as the record that it comes from."""
        if type(b) is list or type(b) is dict:
            self.spend(NESTED_STEPS * len(self.record.value or b""))
        else:
            super().weigh(a, b, names)

    def __missing__(self, name: str) -> Any:
        value = self.root(name)
        nested = type(value) is dict or type(value) is list
        if type(value) is not str and not (nested and self._is_plain()):
            value = for_conditions(value)
        self[name] = value
        return value

    def _is_plain(self) -> bool:
        """Whether conditions can take all numbers of the record."""
        if self._plain is None:
            record = self.record
            self._plain = self._exact and not (
                has_long_number(record.value or b"") or has_long_number(record.key or b"")
            )
        return self._plain

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
