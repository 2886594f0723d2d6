"""An input that could not be understood, as people are shown it: what is classified is masked.

Nobody knows what it was meant to be. So a member is masked where its name is the last one of a
classified path, a string where the JSON that it holds has such a member, and every value that holds
the text of one that is masked. Where it cannot be read in one way (it is no JSON, or an object has
a name twice), each of its words is masked that is no name of a member.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from console.masking import MASK, Mask, has_member, is_member, words_around
from processors.contracts import telling
from processors.contracts.classified import Classified
from processors.contracts.telling import Fraction, Pairs
from processors.contracts.values import MAX_DEPTH
from schemas.flow import Headers

Path = tuple[str, ...]
_ENVELOPE: Final = ("context", "fields")  # where an output and an amendment have what is classified
_WHY: Final = frozenset(
    f"__streams.errors.{what}"
    for what in ("exception", "message", "stacktrace", "topic", "partition", "offset")
)
_HEADERS: Final = {  # those that we know, and what they may hold
    "traceparent": re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}"),
    "content-type": re.compile(rb"application/json"),
    "handoff-schema": re.compile(rb"[a-z-]{1,20}/[0-9]{1,3}"),
    "handoff-backfill": re.compile(rb"[01]"),
}
_HEADER_NAME: Final = re.compile(r"[^\W\d][\w.-]*")
# A string, and whether it stands where a name does in JSON; or a word, in any script.
_TOKEN: Final = re.compile(
    r'([{,]\s*+)?"((?:[^"\\]|\\.)*+)"?(\s*+:)?|[-+.\w\x80-\U0010ffff]+', re.DOTALL
)


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
    return shown if veil.masked else None


def veiled_headers(headers: Headers, classified: Classified) -> Headers:
    """The headers of a dead letter as they are shown. Those that say why it is one are ours, and
    stand last. Of the input's own only those are shown whose form leaves no room for anything
    else, where anything is classified."""
    if not classified.at:
        return headers
    why = {name: at for at, (name, _) in enumerate(headers) if name in _WHY}
    return [
        (name, content)
        if why.get(name) == at or _is_known(name, content)
        else (_header_name(name), content and MASK.encode())
        for at, (name, content) in enumerate(headers)
    ]


def _is_known(name: str, content: bytes | None) -> bool:
    form = _HEADERS.get(name)
    return form is not None and form.fullmatch(content or b"") is not None


def _header_name(name: str) -> str:
    return name if _HEADER_NAME.fullmatch(name) else MASK


class _Veil:
    """What is shown of a value, as JSON; `masked` says whether anything of it is not."""

    def __init__(self, classified: Classified, mask: Mask) -> None:
        self._classified = classified
        self._mask = mask
        self.masked = False

    def over(self, body: Any, path: Path, depth: int = 0) -> str:
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
            members = [f"{_written(name)}: {inner}" for name, inner in named.items()]
            return _within("{", members, "}", depth)
        if isinstance(body, list):
            return _within("[", [self.over(inner, path, depth + 1) for inner in body], "]", depth)
        text = body if isinstance(body, str) else _written(body)
        if self._mask.tells(text) or has_member(body, self._classified):
            return self._masked()
        return text if isinstance(body, Fraction) else _written(body)

    def _masked(self) -> str:
        self.masked = True
        return _written(MASK)


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
                if isinstance(inner, str):
                    yield from words_around(inner, classified)


def _is_classified(name: str, at: Path, classified: Classified) -> bool:
    return is_member(name, classified) or classified.holds(at)


def _written(value: Any) -> str:
    """A value that holds no other as JSON. Half a character has an escape there, and no UTF-8."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace").decode()


def _within(opening: str, inner: list[str], closing: str, depth: int) -> str:
    """The JSON of an object or a list around that of what is in it, a line each."""
    if not inner:
        return opening + closing
    line = "\n" + "  " * depth
    return f"{opening}{line}  {f',{line}  '.join(inner)}{line}{closing}"


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
    before, text, colon = found.groups("")
    if before and colon and telling.is_plain_name(text):
        return found[0]
    return before + MASK + colon
