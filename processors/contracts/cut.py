"""Whether a text or a list was cut on its way: it is the beginning of a longer one.

A text that says so itself, with an ellipsis or a "truncated" at its end, counts from 16 characters
on; one that does not from 64 on, and a list from 8 items on, with a mark as its last item or
without. A version "1.2" is no cut "1.2.3". Texts are compared without HTML entities, in Unicode
NFC, with single spaces: who cuts often writes line ends and entities in another way, too.
"""

import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence

from processors.contracts import values
from processors.contracts.readers import plain_text

SHORTEST = 16  # bytes: a value that has no more is no cut copy
MAX_LISTS = 64  # of those among which copies are looked for
_MARKED, _UNMARKED, _ITEMS = 16, 64, 8
_DOTS = r"(?:\.{3,}|\u2026+)"
_OPEN, _CLOSE, _REMARK = r"[\[(<\uff08\u3010]", r"[\])>\uff09\u3011]", r"[^\])>\uff09\u3011]{0,40}"
# How much is left out, as loggers write it: "12 more items", "and 38 more".
_MORE = (
    r"(?:and |\+ ?)?\d[\d,.]* (?:more|others?|further)(?: [^\W\d]{1,20}){0,2}"
    r"|(?:(?:read|show|see|view|load) )?more"
)
_WORDS = (
    r"(?:output |text |content |message )?"
    r"(?:truncated|cut|shortened|omitted|abridged|snip(?:ped)?|clipped)"
    r"|gek\u00fcrzt|weiterlesen|mehr anzeigen|tronqu\u00e9|lire la suite|truncado|leer m\u00e1s"
    r"|troncato|k\u0131salt\u0131ld\u0131|\u043e\u0431\u0440\u0435\u0437\u0430\u043d\u043e"
    r"|(?:\u4ee5\u4e0b)?\u7701\u7565|\u622a\u65ad|\u7d9a\u304d\u3092\u8aad\u3080|\u67e5\u770b\u66f4\u591a"
)
_LINE = r"(?:-{2,}|={2,}|\*{2,})"
# An ellipsis, maybe with a remark behind it; such words in brackets or lines; "truncated".
_MARK = re.compile(
    rf"\s*(?:{_DOTS}(?:\s*(?:{_OPEN}{_REMARK}{_CLOSE}|,?\s*(?:{_MORE}|{_WORDS})))?"
    rf"|{_OPEN}\s*{_DOTS}\s*{_CLOSE}|{_OPEN}\s*{_DOTS}?\s*(?:{_MORE}|{_WORDS})\b{_REMARK}{_CLOSE}"
    rf"|{_LINE}\s*(?:{_WORDS})\s*{_LINE}|\btruncated)"
    r"\.?[\"'\u201c\u201d\u2019\u00bb]?\s*",
    re.IGNORECASE,
)
_LAST_ITEM = re.compile(rf"(?:{_DOTS},?\s*)?(?:{_MORE})", re.IGNORECASE)
_LONGEST_MARK = 64
_SEEN = 256  # characters of a text that its head is read from
_QUOTE, _BRACKET = b'"['

Whole = str | list[object]  # a text, or items


def may_be_cut(value: bytes) -> bool:
    """Whether it is worth a look whether a value is a cut copy."""
    return len(value) > SHORTEST and value[0] in (_QUOTE, _BRACKET)


def head(value: bytes) -> str | None:
    """What a value has in common with its cut copies, and with others too; None: it has none."""
    if not may_be_cut(value):
        return None
    if value[0] == _QUOTE:
        begin = plain_text((values.string(value) or "")[:_SEEN])[:_MARKED]
        return begin if len(begin) == _MARKED else None
    read = values.array(value)
    return "[" if read is not None and len(read) >= _ITEMS else None


def whole_of(value: bytes, others: Iterable[bytes]) -> bytes | None:
    """The first of some values that a value is a cut copy of."""
    beginning = _beginning(_read(value), value) if may_be_cut(value) else None
    if beginning is None:
        return None
    for other in others:
        if other[0] == value[0] and _goes_on(beginning, _read(other)):
            return other
    return None


def length(value: bytes) -> int:
    """The characters of a text, or the items of a list."""
    read = values.string(value) if value[0] == _QUOTE else values.array(value)
    return len(read or "")


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
        beginning = _beginning(text, value)
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
        begun = _beginning(items, value)
        if begun is not None and any(_goes_on(begun, other) for other, _ in lists):
            found.add(value)
    return found


def _read(value: bytes) -> Whole | None:
    if value[0] == _QUOTE:
        text = values.string(value)
        return None if text is None else plain_text(text)
    return values.array(value)


def _beginning(read: Whole | None, value: bytes) -> Whole | None:
    """What a longer value begins with, if this one is a cut copy of it: a text or items without
    their mark. None where it is too short to tell, as it was sent."""
    if read is None:
        return None
    mark = _mark(read)
    if isinstance(read, str):
        if mark is not None and mark >= _MARKED:
            return read[:mark]
        # Of white space alone nothing is left, which everything begins with.
        return read if length(value) >= _UNMARKED and len(read) >= _MARKED else None
    items = read[:mark]
    return items if len(items) >= _ITEMS else None


def _goes_on(beginning: Whole, other: Whole | None) -> bool:
    """Whether another value begins so and is longer, and not by a mark alone."""
    if other is None or len(other) <= len(beginning) or other[: len(beginning)] != beginning:
        return False
    mark = _mark(other)
    return mark is None or mark > len(beginning)


def _mark(read: Whole) -> int | None:
    """Where the mark at the end of a text or list begins that says that it was cut."""
    if not isinstance(read, str):
        last = plain_text(read[-1]) if read and isinstance(read[-1], str) else None
        if last is None or (_LAST_ITEM.fullmatch(last) is None and _mark(last) != 0):
            return None
        return len(read) - 1
    for found in _MARK.finditer(read, max(len(read) - _LONGEST_MARK, 0)):
        if found.end() == len(read):
            return found.start()
    return None
