"""An input that could not be understood, as people are shown it: what is classified is masked.

Nobody knows what it was meant to be. So a member is masked where its name is the last one of a
classified path, a string where the JSON that it holds has such a member, and every value that holds
the text of one that is masked. Where it cannot be read in one way (it is no JSON, or an object has
a name twice), each of its words is masked that is no name of a member.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from console.masking import MASK, Mask, has_member, is_member
from processors.contracts import telling
from processors.contracts.classified import Classified
from processors.contracts.telling import Fraction, Pairs
from processors.contracts.values import MAX_DEPTH

Path = tuple[str, ...]
_ENVELOPE: Final = ("context", "fields")  # where an output and an amendment have what is classified
_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"?(\s*:)?|[-+.\w]+')


def veiled(value: bytes, classified: Classified) -> str | None:
    """The text of a record's value with what is classified masked; None where nothing is. What is
    nested deeper than `MAX_DEPTH` is masked, too."""
    if not classified.at:
        return None
    body = telling.read(value)
    if not isinstance(body, list) or isinstance(body, telling.Unreadable) or _has_twice(body):
        return _TOKEN.sub(_named_or_masked, value.decode("utf-8", "backslashreplace"))
    veil = _Veil(classified, Mask(classified, texts=_texts(body, classified)))
    shown = veil.over(body, ())
    return msgspec.json.format(msgspec.json.encode(shown)).decode() if veil.masked else None


class _Veil:
    """What is shown of a value; `masked` says whether anything of it is not."""

    def __init__(self, classified: Classified, mask: Mask) -> None:
        self._classified = classified
        self._mask = mask
        self.masked = False

    def over(self, body: Any, path: Path, depth: int = 0) -> Any:
        if isinstance(body, list) and depth > MAX_DEPTH:
            return self._masked()
        if isinstance(body, Pairs):
            shown = {}
            for name, inner in body:
                at = _at(path, name)
                hidden = _is_classified(name, at, self._classified)
                shown[name] = self._masked() if hidden else self.over(inner, at, depth + 1)
            named = self._mask.names(shown)
            self.masked |= named.keys() != shown.keys()
            return named
        if isinstance(body, list):
            return [self.over(inner, path, depth + 1) for inner in body]
        text = body if isinstance(body, str) else msgspec.json.encode(body).decode()
        if self._mask.tells(text) or has_member(body, self._classified):
            return self._masked()
        return msgspec.Raw(text.encode()) if isinstance(body, Fraction) else body

    def _masked(self) -> str:
        self.masked = True
        return MASK


def _texts(body: Any, classified: Classified) -> Iterator[str]:
    """The texts of what is classified in a value."""
    pending: list[tuple[Path, Any]] = [((), body)]
    while pending:
        path, each = pending.pop()
        for name, inner in telling.inside(each):
            at = path if name is None else _at(path, name)
            if name is not None and _is_classified(name, at, classified):
                yield from telling.texts_of(inner)
            else:
                pending.append((at, inner))


def _is_classified(name: str, at: Path, classified: Classified) -> bool:
    return is_member(name, classified) or classified.holds(at)


def _at(path: Path, name: str) -> Path:
    """The path of a member; paths begin in a context."""
    return () if not path and name in _ENVELOPE else (*path, *name.split("."))


def _has_twice(body: Any) -> bool:
    """Whether an object in it, or in a string that holds JSON, has a name twice."""
    return any(
        isinstance(each, Pairs) and len({name for name, _ in each}) < len(each)
        for _, each in telling.walk(body)
    )


def _named_or_masked(found: re.Match[str]) -> str:
    """A word of what is no JSON, masked where it is no name: what stands before a colon may be a
    value, too."""
    shown = bool(found[1]) and telling.is_plain_name(found[0].partition('"')[2].rpartition('"')[0])
    return found[0] if shown else MASK + (found[1] or "")
