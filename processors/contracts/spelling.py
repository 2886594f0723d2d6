"""Whom a handoff means: receivers by id, by alias, or by a name that is only spelled otherwise."""

import unicodedata
from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct

from processors.contracts.readers import folded_text
from schemas.documents import Receiver

# Dashes and `_`, brackets, quotes, spaces, and what shows nothing (Unicode general categories).
_LOST: Final = frozenset({"Pd", "Pc", "Ps", "Pe", "Pi", "Pf", "Zs", "Cc", "Cf"})
_SIGNS: Final = frozenset("'\"`\u00b4<>\u2212")  # of other categories


class Spelled(Struct, frozen=True, gc=False):
    """Receivers by what they are called: `aliases` exactly, `spellings` without case and signs.
    What two are called leads to none."""

    aliases: dict[str, str]
    spellings: dict[str, str]
    shared: dict[str, tuple[str, ...]]  # those of each spelling that several are called by

    def meant(self, name: str) -> tuple[str, bool] | None:
        """The receiver that a name which is no id means, and whether it is only spelled so."""
        alias = self.aliases.get(name)
        if alias is not None:
            return alias, False
        spelled = self.spellings.get(folded(name))
        return None if spelled is None else (spelled, True)

    def called(self, name: str) -> Sequence[str]:
        """The receivers that are called so, where they are several."""
        return self.shared.get(folded(name), ())


def folded(name: str) -> str:
    """A name without case, spaces, quotes, brackets, `_` and `-`, in whatever script. A name of
    nothing else stays as it is."""
    text = folded_text(name)
    return "".join([char for char in text if not _is_lost(char)]) or text


def _is_lost(char: str) -> bool:
    return char in _SIGNS or unicodedata.category(char) in _LOST


def spelled(receivers: Iterable[Receiver]) -> Spelled:
    """What receivers are called."""
    aliases: dict[str, set[str]] = {}
    spellings: dict[str, set[str]] = {}
    for receiver in receivers:
        for name in (receiver.id, *receiver.aliases):
            spellings.setdefault(folded(name), set()).add(receiver.id)
        for alias in receiver.aliases:
            aliases.setdefault(alias, set()).add(receiver.id)
    shared = {name: tuple(sorted(ids)) for name, ids in spellings.items() if len(ids) > 1}
    return Spelled(_only(aliases), _only(spellings), shared)


def _only(named: dict[str, set[str]]) -> dict[str, str]:
    return {name: next(iter(ids)) for name, ids in named.items() if len(ids) == 1}
