"""What of a context people are not shown: what its workflow's contracts classify, wherever it is.

The paths are those of `processors/contracts/classified.py`. People are shown less than machines
are told: a value is masked, too, where it has a member by the last name of such a path, or holds
the text of a classified value that is at hand.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw

from processors.contracts import values
from processors.contracts.classified import MIN_TEXT, Classified

MASK: Final = "••••"
_MOST: Final = 1 << 26  # bytes of a value, times texts that are looked for in it
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
        self._secrets = classified.texts(
            (name, bytes(raw)) for context in contexts for name, raw in context.items()
        )

    def hides(self, name: str, raw: Raw) -> bool:
        """Whether the value of a name is not shown."""
        if self._classified.covers(name):
            return True
        value = bytes(raw)
        return (self._unplaced and b'"' in value) or self._names(value) or self._holds(value)

    def may_quote(self, raw: Raw) -> bool:
        """Whether a value that nobody declared, and so nobody cleared, has a text of more than a
        plain word: it may quote what is classified."""
        texts = values.texts(bytes(raw)) if self._classified.at else ()
        return any(_WORD.fullmatch(text) is None for text in texts)

    def tells(self, text: str) -> bool:
        """Whether words hold the text of a classified value."""
        if len(text) * len(self._secrets) > _MOST:
            return True
        return any(secret in text for secret in self._secrets)

    def _holds(self, value: bytes) -> bool:
        return bool(self._secrets) and any(map(self.tells, values.texts(value)))

    def _names(self, value: bytes) -> bool:
        if not self._members or values.spelled_type(value) not in ("object", "array"):
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
        return False

    # --- an input that could not be understood ------------------------------------------------

    def veiled(self, value: bytes) -> str | None:
        """The text of a record's value with what is classified masked; None where nothing is."""
        if not self._classified.at:
            return None
        body = _read(value)
        if not isinstance(body, (dict, list)):
            text = value.decode("utf-8", "backslashreplace")
            return _TOKEN.sub(lambda found: found[0] if found[1] else MASK, text)
        self._collect(body, ())
        veiled = self._veil(body, ())
        return None if veiled == body else msgspec.json.format(msgspec.json.encode(veiled)).decode()

    def _collect(self, body: Any, path: tuple[str, ...]) -> None:
        """Note the texts of what is classified in it."""
        for name, inner, at in _members(body, path):
            if self._is(name, at):
                found = values.texts(msgspec.json.encode(inner))
                self._secrets.update(text for text in found if len(text) >= MIN_TEXT)
            else:
                self._collect(inner, at)

    def _veil(self, body: Any, path: tuple[str, ...]) -> Any:
        if isinstance(body, dict):
            return {
                name: MASK if self._is(name, at) else self._veil(inner, at)
                for name, inner, at in _members(body, path)
            }
        if isinstance(body, list):
            return [self._veil(inner, at) for _, inner, at in _members(body, path)]
        text = body if isinstance(body, str) else msgspec.json.encode(body).decode()
        return MASK if self.tells(text) else body

    def _is(self, name: str, at: tuple[str, ...]) -> bool:
        last = name.rpartition(".")[2]
        return last in self._members or self._classified.holds(at)


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
