"""What the paths and conditions of a source see of one record."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from processors.intake.mapped import Decoded
from processors.intake.values import for_conditions
from schemas.cel.values import MAX_STEPS, NESTED_STEPS, Members
from schemas.flow import Headers, Record

_NOTHING: Final[Mapping[str, bytes]] = {}
_NONE: Final[set[str]] = set()  # never added to: `_make` takes the place of what would
Make = Callable[["Scope"], Any]


class Scope(Members):
    """The roots and the names of `let` with their values, each made when it is first read.

    `misses` collects the keys that look-ups lack, as (look-up, key).
    """

    __slots__ = ("_conditions", "_decoded", "_lets", "_record", "_simple", "misses")

    def __init__(
        self, record: Record, decoded: Decoded, lets: Mapping[str, Make], *, simple: bool
    ) -> None:
        self.raw = _NOTHING
        self.unreadable = _NONE
        self.left = MAX_STEPS
        self._record = record
        self._decoded = decoded
        self._lets = lets
        self._simple = simple  # numbers are such that conditions can take them
        self._conditions: Scope | None = None
        self.misses: dict[tuple[str, str], None] = {}  # in order, each once
        self["value"] = decoded.value

    def weigh(self, a: Any, b: Any, names: tuple[str, ...]) -> None:
        """As `Members.weigh`; a value is at most as long as the record that it comes from."""
        if type(b) is list or type(b) is dict:
            self.spend(NESTED_STEPS * len(self._record.value or b""))
        else:
            super().weigh(a, b, names)

    def conditions(self) -> "Scope":
        """The same for conditions, which know no number beyond 64 bits."""
        if self._simple:
            return self
        if self._conditions is None:
            decoded = Decoded(
                for_conditions(self._decoded.value), for_conditions(self._decoded.key)
            )
            self._conditions = _Simple(self._record, decoded, self._lets, simple=True)
            self._conditions.misses = self.misses
            if "it" in self:
                self._conditions["it"] = for_conditions(self["it"])
        return self._conditions

    def element(self, item: Any) -> None:
        """Set the element of `each`, which is `it`."""
        self["it"] = item
        if self._conditions is not None:
            self._conditions["it"] = for_conditions(item)

    def __missing__(self, name: str) -> Any:
        self[name] = value = self._make(name)
        return value

    def _make(self, name: str) -> Any:
        if name in self._lets:
            return self._made(self._lets[name])
        match name:
            case "key":
                return self._decoded.key
            case "headers":
                return _texts(self._record.headers)
            case "record":
                record = self._record
                return {
                    "topic": record.topic,
                    "partition": record.partition,
                    "offset": record.offset,
                    "timestamp": record.timestamp,
                }
        return None  # `it` where there is no `each`, which lint refuses

    def _made(self, make: Make) -> Any:
        return make(self)


class _Simple(Scope):
    __slots__ = ()

    def _made(self, make: Make) -> Any:
        return for_conditions(make(self))  # JSON within text may hold such numbers too


_REPLACED: Final = "replace"


def _texts(headers: Headers) -> dict[str, str]:
    """Headers as text; of several with one name the last."""
    return {name: (content or b"").decode("utf-8", _REPLACED) for name, content in headers}
