"""Names at hand that look like one that a contract asks for: `policyNo` for `policy_no`."""

from collections.abc import Iterable, Mapping
from itertools import islice

from processors.contracts import values
from processors.contracts.readers import folded_text
from schemas.paths import Path

MAX_NAMES = 1_000  # of those at hand that are looked at
MAX_COMPARED = 20_000  # pairs of names: what takes more is not worth a suggestion
MAX_EDITED = 100  # longer ones are none that a person mistypes
MAX_CONTEXTS = 64  # in which a member of an object is looked for
MIN_EDITED = 5  # characters of a name from which on one may be mistyped


class NearNames:
    """Some names, to look for one that is almost another one."""

    def __init__(self, names: Iterable[str]) -> None:
        self._by_letters: dict[str, str] = {}
        self._left = MAX_COMPARED
        for name in names:
            self._by_letters.setdefault(_letters(name), name)
            if len(self._by_letters) == MAX_NAMES:
                break

    def to(self, wanted: Iterable[str]) -> str | None:
        """The name that is one of the `wanted` without case and separators, or else one that is a
        single edit away from one: a character more, less, another, or two exchanged."""
        letters = [_letters(name) for name in wanted]
        for each in letters:
            if each in self._by_letters:
                return self._by_letters[each]
        for each in letters:
            if MIN_EDITED <= len(each) <= MAX_EDITED and self._left > 0:
                self._left -= len(self._by_letters)
                for other, name in self._by_letters.items():
                    if len(other) >= MIN_EDITED and _one_edit_apart(each, other):
                        return name
        return None


def member_like(path: Path, contexts: Iterable[Mapping[str, bytes]]) -> str | None:
    """The path to a member that is called almost as the one at a path, and stands beside it."""
    last = path.rest[-1] if path.rest else None
    if not isinstance(last, str) or not path.name.endswith(f".{last}"):
        return None
    for context in islice(contexts, MAX_CONTEXTS):
        whole = context.get(path.top)
        object_ = None if whole is None else values.descend(whole, path.rest[:-1])
        inside = None if object_ is None else values.members(object_)
        at_hand = [
            name
            for name, value in (inside or {}).items()
            if not set(".[\"'") & set(name) and not values.is_empty(bytes(value))
        ]
        name = NearNames(at_hand).to([last])
        if name is not None:
            return path.name[: -len(last)] + name
    return None


def _letters(name: str) -> str:
    return "".join([char for char in folded_text(name) if char.isalnum()])


def _one_edit_apart(a: str, b: str) -> bool:
    if len(a) > len(b):
        a, b = b, a
    if len(b) - len(a) > 1:
        return False
    at = next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), len(a))
    if len(b) > len(a):
        return a[at:] == b[at + 1 :]
    exchanged = a[at : at + 2] == b[at : at + 2][::-1] and a[at + 2 :] == b[at + 2 :]
    return a[at + 1 :] == b[at + 1 :] or exchanged
