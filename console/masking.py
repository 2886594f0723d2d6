"""What of a context people are not shown: what its workflow's contracts classify, wherever it is.

The paths are those of `processors/contracts/classified.py`. People are shown less than machines
are told: a value is masked, too, where it has a member by the last name of such a path, or holds
the text of a classified value that is at hand.
"""

import json
import re
from collections.abc import Collection, Iterable, Mapping
from itertools import chain
from typing import Any, Final, TypeVar

from msgspec import Raw

from console.violation_ids import promises, readable
from processors.contracts import telling
from processors.contracts.classified import Classified
from processors.contracts.telling import Secrets
from schemas.printable import plain
from schemas.records import Package

_T = TypeVar("_T")
MASK: Final = "••••"
_MOST: Final = 1 << 27  # characters that are read, times texts that are looked for in them
_WORD: Final = re.compile(r"[\w.+-]*")
# Strings of what may be JSON, one without its end, too; those with a colon behind are names.
_STRING: Final = re.compile(r'("(?:[^"\\]|\\.)*+"?)(\s*+:)?', re.DOTALL)
_SINGLE: Final = re.compile(r"'([^\W\d][\w.-]*+)'\s*+:")


class Mask:
    """Says of the values of one task, or of one package, which of them are not shown.

    `contexts` are all of them that are at hand, `texts` what is classified beside them. `unplaced`
    says that a classified text stands in one of their strings, and nobody knows in which.

    What cannot be read (NaN, half a character) may have any member: it is
    hidden wherever anything is classified.
    """

    def __init__(
        self,
        classified: Classified,
        contexts: Iterable[Mapping[str, Raw]] = (),
        *,
        texts: Iterable[str] = (),
        unplaced: bool = False,
    ) -> None:
        self._classified = classified
        self._unplaced = unplaced
        found = texts_of(
            classified,
            [(name, bytes(raw)) for context in contexts for name, raw in context.items()],
        )
        self._secrets = Secrets(found.union(texts), _MOST)

    def hides(self, name: str, raw: Raw) -> bool:
        """Whether the value of a name is not shown."""
        if self._classified.covers(name):
            return True
        value = bytes(raw)
        if self._unplaced and b'"' in value:
            return True
        read = telling.read(value)
        if isinstance(read, telling.Unreadable) and self._classified.at:
            return True
        return has_member(read, self._classified) or self._holds(value)

    def shows(self, name: str, raw: Raw) -> bool:
        """Whether a captured value is shown: not where no contract declares it and it may quote."""
        declared = name in self._classified.names
        return not self.hides(name, raw) and (declared or not self.may_quote(raw))

    def may_quote(self, raw: Raw) -> bool:
        """Whether a value that nobody declared, and so nobody cleared, has a text of more than a
        plain word: it may quote what is classified."""
        texts = telling.texts(bytes(raw)) if self._classified.at else ()
        return any(_WORD.fullmatch(text) is None for text in texts)

    def tells(self, text: str) -> bool:
        """Whether words, or a name, hold the text of a classified value."""
        return self._secrets.tells(text)

    def words(self, text: str) -> str:
        """What a person wrote, masked as a whole where it holds the text of a classified value."""
        return MASK if self.tells(text) else text

    def names(self, members: Mapping[str, _T]) -> dict[str, _T]:
        """Pairs with each name masked that tells a classified value."""
        found: dict[str, _T] = {}
        for name, inner in members.items():
            given = name in self._classified.names
            shown = MASK if not given and self.tells(name) else name
            while shown in found:
                shown += MASK
            found[shown] = inner
        return found

    def _holds(self, value: bytes) -> bool:
        return bool(self._secrets) and self.tells(value.decode("utf-8", "replace"))


class PackageMask:
    """What of a package people are not shown.

    Of a package whose contract is not at hand (`known`) no value is: nobody knows what it
    classifies.
    """

    def __init__(
        self, package: Package, classified: Classified, known: bool, beside: Collection[str]
    ) -> None:
        in_words = (
            about for kind, about in promises(package.violations) if kind == "context_unstructured"
        )
        # Ids that cannot be read may say that a classified text stands in some value.
        unplaced = (bool(classified.at) and not readable(package.violations)) or any(
            field not in package.context and classified.covers(field) for field in in_words
        )
        self._package = package
        self._known = known
        self._mask = Mask(classified, [package.context], texts=beside, unplaced=unplaced)

    def hidden(self) -> set[str]:
        """The names whose values are not shown."""
        package, mask, found = self._package, self._mask, set()
        if not self._known:
            return set(package.context)
        for name, raw in package.context.items():
            origin = package.provenance.get(name)
            extra = origin is None or origin.how == "extra"
            if mask.hides(name, raw) or (extra and mask.may_quote(raw)):
                found.add(name)
        return found

    def names(self) -> dict[str, str]:
        """The names as they are shown: one that tells a classified value is masked."""
        shown = self._mask.names({name: name for name in self._package.context})
        return {name: each for each, name in shown.items()}

    def note(self) -> str | None:
        """What the sender added for people, masked where it holds a classified value."""
        note = self._package.note
        if note is None:
            return None
        return plain(note) if self._known and not self._mask.tells(note) else MASK


def texts_of(classified: Classified, values: Collection[tuple[str, bytes]]) -> set[str]:
    """The texts of what is classified among values under their names, with the words around it in
    strings that look like JSON and cannot be read."""
    found = classified.texts(values)
    for _, value in values if classified.at else ():
        if b":" in value:
            for _, each in telling.walk(telling.read(value)):
                if isinstance(each, str):
                    found.update(words_around(each, classified))
    return found


def has_member(value: Any, classified: Classified) -> bool:
    """Whether a value that `telling.read` gave has, at any depth, a member whose name is the last
    one of a classified path; true where it is nested too deep to be read. In a string that looks
    like JSON and cannot be read, each name that stands before a colon counts."""
    return any(
        isinstance(each, telling.TooDeep)
        or (name is not None and is_member(name, classified))
        or (isinstance(each, str) and bool(words_around(each, classified)))
        for name, each in telling.walk(value)
    )


def words_around(text: str, classified: Classified) -> list[str]:
    """The words of a string that holds what looks like JSON, or like Python's own form of it
    (`{'email': ...}`), cannot be read, and has a member whose name is the last one of a classified
    path; none of any other string."""
    if ":" not in text or telling.within(text) is not None:
        return []
    named = (_unquoted(name) for name, colon in _STRING.findall(text) if colon)
    if any(is_member(name, classified) for name in chain(named, _SINGLE.findall(text))):
        return telling.Unreadable.of(text)
    return []


def _unquoted(name: str) -> str:
    """A name in quotes, without them and without its escapes."""
    try:
        return str(json.loads(name, strict=False))
    except ValueError:
        return name[1:-1]


def is_member(name: str, classified: Classified) -> bool:
    """Whether the name of a member is the last one of a classified path. With dots it may be a path
    itself, or one name."""
    return name in classified.lasts or name.rpartition(".")[2] in classified.lasts
