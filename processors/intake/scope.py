"""What the paths and conditions of a source see of one record."""

from collections.abc import Callable, Mapping
from typing import Any, Final
from weakref import proxy

from processors.intake.mapped import Decoded
from processors.intake.values import for_conditions, has_long_number
from schemas.cel.values import MAX_STEPS, NESTED_STEPS, Members
from schemas.flow import Headers, Record

_NOTHING: Final[Mapping[str, bytes]] = {}
_NONE: Final[set[str]] = set()  # never added to: only `Members.__missing__` would
Make = Callable[["Scope"], Any]


class Scope(dict[str, Any]):
    """The roots and the names of `let` with their values, each made when it is first read.

    `misses` collects the keys that look-ups lack, as (look-up, key). `exact`: no value holds a
    Decimal. `made` are values that hold for every element.
    """

    __slots__ = (
        "__weakref__",
        "_conditions",
        "_decoded",
        "_exact",
        "_lets",
        "_plain",
        "made",
        "misses",
        "record",
    )

    def __init__(
        self,
        record: Record,
        decoded: Decoded,
        lets: Mapping[str, Make],
        misses: dict[tuple[str, str], None],
        exact: bool,
    ) -> None:
        self.record = record
        self._decoded = decoded
        self._lets = lets
        self._exact = exact
        self._plain: bool | None = None
        self._conditions: Conditions | None = None
        self.misses = misses
        self.made: dict[Make, Any] = {}
        self["value"] = decoded.value

    def conditions(self) -> "Conditions":
        """The same for conditions."""
        found = self._conditions
        if found is None:
            found = self._conditions = Conditions(self)
        return found

    def element(self, item: Any) -> None:
        """Set the element of `each`, which is `it`."""
        self["it"] = item
        if self._conditions is not None:
            self._conditions.pop("it", None)

    def plain(self) -> bool:
        """Whether conditions can take all numbers of the record."""
        if self._plain is None:
            record = self.record
            self._plain = self._exact and not (
                has_long_number(record.value or b"") or has_long_number(record.key or b"")
            )
        return self._plain

    def __missing__(self, name: str) -> Any:
        make = self._lets.get(name)
        value = self[name] = self._root(name) if make is None else make(self)
        return value

    def _root(self, name: str) -> Any:
        match name:
            case "key":
                return self._decoded.key
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


class Conditions(Members):
    """The values of a scope for conditions, which know no number beyond 64 bits."""

    __slots__ = ("_scope",)

    def __init__(self, scope: Scope) -> None:
        self.raw = _NOTHING
        self.unreadable = _NONE
        self.left = MAX_STEPS
        # A cycle would keep each record until the garbage collector runs, which it does seldom.
        self._scope: Scope = proxy(scope)

    def weigh(self, a: Any, b: Any, names: tuple[str, ...]) -> None:
        """As `Members.weigh`; a value is at most as long as the record that it comes from."""
        if type(b) is list or type(b) is dict:
            self.spend(NESTED_STEPS * len(self._scope.record.value or b""))
        else:
            super().weigh(a, b, names)

    def __missing__(self, name: str) -> Any:
        value = self._scope[name]
        nested = type(value) is dict or type(value) is list
        if type(value) is not str and not (nested and self._scope.plain()):
            value = for_conditions(value)
        self[name] = value
        return value


_REPLACED: Final = "replace"


def _texts(headers: Headers) -> dict[str, str]:
    """Headers as text; of several with one name the last."""
    return {name: (content or b"").decode("utf-8", _REPLACED) for name, content in headers}
