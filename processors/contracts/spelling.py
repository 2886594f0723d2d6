"""Whom a handoff means: receivers by id, by alias, or by a name that is only spelled otherwise."""

from collections.abc import Iterable

from msgspec import Struct

from schemas.documents import Receiver

_LOST = frozenset(" \t\n\r\u00a0'\"`\u00b4\u2018\u2019\u201c\u201d\u201e\u00ab\u00bb[](){}<>_-")


class Spelled(Struct, frozen=True, gc=False):
    """Receivers by what they are called: `aliases` exactly, `spellings` without case and signs.
    What two are called leads to none."""

    aliases: dict[str, str]
    spellings: dict[str, str]

    def meant(self, name: str) -> tuple[str, bool] | None:
        """The receiver that a name which is no id means, and whether it is only spelled so."""
        alias = self.aliases.get(name)
        if alias is not None:
            return alias, False
        spelled = self.spellings.get(folded(name))
        return None if spelled is None else (spelled, True)


def folded(name: str) -> str:
    """A name without case, spaces, quotes, brackets, `_` and `-`."""
    return "".join([char for char in name.casefold() if char not in _LOST])


def spelled(receivers: Iterable[Receiver]) -> Spelled:
    """What receivers are called."""
    aliases: dict[str, set[str]] = {}
    spellings: dict[str, set[str]] = {}
    for receiver in receivers:
        for name in (receiver.id, *receiver.aliases):
            spellings.setdefault(folded(name), set()).add(receiver.id)
        for alias in receiver.aliases:
            aliases.setdefault(alias, set()).add(receiver.id)
    return Spelled(_only(aliases), _only(spellings))


def _only(named: dict[str, set[str]]) -> dict[str, str]:
    return {name: next(iter(ids)) for name, ids in named.items() if len(ids) == 1}
