"""Whether a text or a list was cut on its way: it is the beginning of a longer one.

A text that says so itself, with an ellipsis or a "truncated" at its end, counts from 16 characters
on; one that does not from 64 on, and a list from 8 items on. A version "1.2" is no cut "1.2.3".
"""

import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence

from processors.contracts import values

SHORTEST = 16  # bytes: a value that has no more is no cut copy
MAX_LISTS = 64  # of those among which copies are looked for
_MARKED, _UNMARKED, _ITEMS = 16, 64, 8
_MARK = re.compile(
    r"\s*(?:\.{3}|\u2026)?\s*(?:[\[(<]\s*(?:\.{3}|\u2026)?\s*(?:output |text |content )?"
    r"(?:truncated|cut|shortened)[^\])>]{0,40}[\])>]|\.{3}|\u2026|\btruncated)\.?\s*",
    re.IGNORECASE,
)
_LONGEST_MARK = 64
_QUOTE, _BRACKET = b'"['

Whole = str | list[object]  # a text, or items


def may_be_cut(value: bytes) -> bool:
    """Whether it is worth a look whether a value is a cut copy."""
    return len(value) > SHORTEST and value[0] in (_QUOTE, _BRACKET)


def head(value: bytes) -> str | None:
    """What a value has in common with its cut copies, and with others too; None: it has none."""
    read = _read(value) if may_be_cut(value) else None
    if isinstance(read, str):
        return read[:_MARKED] if len(read) >= _MARKED else None
    return "[" if read is not None and len(read) >= _ITEMS else None


def whole_of(value: bytes, others: Iterable[bytes]) -> bytes | None:
    """The first of some values that a value is a cut copy of."""
    beginning = _beginning(_read(value)) if may_be_cut(value) else None
    if beginning is None:
        return None
    for other in others:
        if other[0] == value[0] and _goes_on(beginning, _read(other)):
            return other
    return None


def length(value: bytes) -> int:
    """The characters of a text, or the items of a list."""
    return len(_read(value) or "")


def copies(held: Sequence[bytes]) -> set[bytes]:
    """Those of some values that are cut copies of others among them; of lists, of the last ones."""
    texts: dict[str, bytes] = {}
    lists: list[tuple[list[object], bytes]] = []
    for value in held:
        read = _read(value)
        if isinstance(read, str):
            texts[read] = value
        elif read is not None:
            lists.append((read, value))
    found: set[bytes] = set()
    by_text = sorted(texts)
    for text, value in texts.items():
        beginning = _beginning(text)
        if isinstance(beginning, str):
            # Those that begin so stand side by side.
            for other in by_text[bisect_left(by_text, beginning) :]:
                if not other.startswith(beginning):
                    break
                if _goes_on(beginning, other):
                    found.add(value)
                    break
    lists = lists[-MAX_LISTS:]
    for items, value in lists:
        if _beginning(items) is not None and any(_goes_on(items, other) for other, _ in lists):
            found.add(value)
    return found


def _read(value: bytes) -> Whole | None:
    if value[0] == _QUOTE:
        return values.string(value)
    return values.array(value)


def _beginning(read: Whole | None) -> Whole | None:
    """What a longer value begins with, if this one is a cut copy of it: a text without its mark, or
    items. None where it is too short to tell."""
    if isinstance(read, str):
        mark = _mark(read)
        if mark is not None and mark >= _MARKED:
            return read[:mark]
        return read if len(read) >= _UNMARKED else None
    return read if read is not None and len(read) >= _ITEMS else None


def _goes_on(beginning: Whole, other: Whole | None) -> bool:
    """Whether another value begins so and is longer, and not by a mark alone."""
    if other is None or len(other) <= len(beginning) or other[: len(beginning)] != beginning:
        return False
    mark = _mark(other) if isinstance(other, str) else None
    return mark is None or mark > len(beginning)


def _mark(text: str) -> int | None:
    """Where the mark at the end of a text begins that says that it was cut."""
    for found in _MARK.finditer(text, max(len(text) - _LONGEST_MARK, 0)):
        if found.end() == len(text):
            return found.start()
    return None
