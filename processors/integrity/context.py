"""The context that a tool output carries, as raw JSON values by name."""

from collections.abc import Mapping

from msgspec import Raw, Struct

from processors.contracts.values import HELD, held_type
from processors.integrity.texts import Texts

_NONE: frozenset[str] = frozenset()


class Carried(Struct, gc=False):
    """The context that an output carries itself, and which of its names hold nothing.

    `types` are those of the values, in the same order (`values.held_type`: "" for what is empty).
    `size` is an upper bound of its bytes, names included.
    """

    values: dict[str, bytes]
    types: tuple[str, ...]
    empty: frozenset[str]
    size: int = 0
    _texts: Texts | None = None

    def texts(self) -> Texts:
        """The strings in it, read when they are first asked for."""
        if self._texts is None:
            self._texts = Texts(self.values)
        return self._texts

    def filled(self) -> dict[str, bytes]:
        """The values that are not empty."""
        if not self.empty:
            return self.values
        return {name: value for name, value in self.values.items() if name not in self.empty}


def carry(context: Mapping[str, Raw | bytes]) -> Carried:
    """A context as raw bytes of its own (an output's slices would keep the whole input alive)."""
    if not context:
        return NO_CONTEXT
    held: dict[str, bytes] = {}
    types: list[str] = []
    for name, raw in context.items():
        held[name] = value = bytes(raw)
        types.append(HELD.get(value[:2]) or held_type(value))
    empty = _NONE
    if "" in types:
        empty = frozenset([name for name, type_ in zip(held, types, strict=True) if not type_])
    size = sum(map(len, held.values())) + 4 * sum(map(len, held))
    return Carried(held, tuple(types), empty, size)


NO_CONTEXT = Carried({}, (), _NONE)
