"""What of a context people are not shown: what its workflow's contracts classify, wherever it is.

The paths are those of `processors/contracts/classified.py`. People are shown less than machines
are told: a value is masked, too, where it has a member by the last name of such a path, or holds
the text of a classified value that is at hand.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Raw

from processors.contracts import telling
from processors.contracts.classified import Classified
from processors.contracts.telling import Secrets

_T = TypeVar("_T")
MASK: Final = "••••"
_MOST: Final = 1 << 27  # characters that are read, times texts that are looked for in them
_ENVELOPE: Final = ("context", "fields")  # where an output and an amendment have what is classified
_WORD: Final = re.compile(r"[\w.+-]*")
_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"?(\s*:)?|[-+.\w]+')


class Mask:
    """Says of the values of one task, or of one package, which of them are not shown.

    `contexts` are all of them that are at hand. `unplaced` says that a classified text stands in
    one of their strings, and nobody knows in which.
    """

    def __init__(
        self,
        classified: Classified,
        contexts: Iterable[Mapping[str, Raw]] = (),
        *,
        unplaced: bool = False,
    ) -> None:
        self._classified = classified
        self._members = {path[-1] for path in classified.at}
        self._unplaced = unplaced
        self._texts = classified.texts(
            (name, bytes(raw)) for context in contexts for name, raw in context.items()
        )
        self._secrets = Secrets(self._texts, _MOST)

    def hides(self, name: str, raw: Raw) -> bool:
        """Whether the value of a name is not shown."""
        if self._classified.covers(name):
            return True
        value = bytes(raw)
        return (self._unplaced and b'"' in value) or self._names(value) or self._holds(value)

    def may_quote(self, raw: Raw) -> bool:
        """Whether a value that nobody declared, and so nobody cleared, has a text of more than a
        plain word: it may quote what is classified."""
        texts = telling.texts(bytes(raw)) if self._classified.at else ()
        return any(_WORD.fullmatch(text) is None for text in texts)

    def tells(self, text: str) -> bool:
        """Whether words, or a name, hold the text of a classified value."""
        return self._secrets.tells(text)

    def names(self, members: Mapping[str, _T]) -> dict[str, _T]:
        """Members with each name masked that tells a classified value."""
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

    def _names(self, value: bytes) -> bool:
        if not self._members:
            return False
        pending = [_read(value)]
        while pending:
            each = pending.pop()
            if isinstance(each, dict):
                if not self._members.isdisjoint(each):
                    return True
                pending.extend(each.values())
            elif isinstance(each, list):
                pending.extend(each)
            elif isinstance(each, str):
                pending.append(telling.within(each))
        return False

    # --- an input that could not be understood ------------------------------------------------

    def veiled(self, value: bytes) -> str | None:
        """The text of a record's value with what is classified masked; None where nothing is."""
        if not self._classified.at:
            return None
        body = _read(value)
        if not isinstance(body, (dict, list)):
            text = value.decode("utf-8", "backslashreplace")
            return _TOKEN.sub(_named_or_masked, text)
        self._collect(body, ())
        self._secrets = Secrets(self._texts, _MOST)
        veiled = self._veil(body, ())
        return None if veiled == body else msgspec.json.format(msgspec.json.encode(veiled)).decode()

    def _collect(self, body: Any, path: tuple[str, ...]) -> None:
        """Note the texts of what is classified in it."""
        for name, inner, at in _members(body, path):
            if self._is(name, at):
                self._texts.update(telling.texts(msgspec.json.encode(inner)))
            else:
                self._collect(inner, at)

    def _veil(self, body: Any, path: tuple[str, ...]) -> Any:
        if isinstance(body, dict):
            veiled = {
                name: MASK if self._is(name, at) else self._veil(inner, at)
                for name, inner, at in _members(body, path)
            }
            return self.names(veiled)
        if isinstance(body, list):
            return [self._veil(inner, at) for _, inner, at in _members(body, path)]
        text = body if isinstance(body, str) else msgspec.json.encode(body).decode()
        return MASK if self.tells(text) else body

    def _is(self, name: str, at: tuple[str, ...]) -> bool:
        last = name.rpartition(".")[2]
        return last in self._members or self._classified.holds(at)


def _named_or_masked(found: re.Match[str]) -> str:
    """A word of what is no JSON, masked where it is no name: what stands before a colon may be a
    value, too."""
    shown = bool(found[1]) and telling.is_plain_name(found[0].partition('"')[2].rpartition('"')[0])
    return found[0] if shown else MASK + (found[1] or "")


def _members(body: Any, path: tuple[str, ...]) -> list[tuple[str, Any, tuple[str, ...]]]:
    """Name, value and path of what is right inside a value; paths begin in a context."""
    if isinstance(body, dict):
        return [
            (name, inner, () if not path and name in _ENVELOPE else (*path, *name.split(".")))
            for name, inner in body.items()
        ]
    return [("", inner, path) for inner in body] if isinstance(body, list) else []


def _read(value: bytes) -> Any:
    try:
        return msgspec.json.decode(value)
    except (ValueError, RecursionError):  # of msgspec, of UTF-8, of numbers
        return None
