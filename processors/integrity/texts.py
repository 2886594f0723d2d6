"""Looks for lost values in the strings of a context: words of a summary, say.

A value begins and ends where words do: "1200" does not stand in "Q-9120044", nor in "1200.50" and
"1200,50". In scripts without spaces between words it may begin and end anywhere, and two characters
are enough.

One context is searched for each lost field of each of its handoffs, and it may hold a hundred
thousand strings: they are read once.
"""

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from processors.contracts import values
from processors.contracts.readers import folded_text, plain_text
from processors.contracts.values import MAX_WHERE
from processors.contracts.words import Words

_OTHERWISE = (b"\\", b"&", b"  ")
_BETWEEN = "\n\0"  # stands in few texts; where it does, it costs time only
MIN_SEARCHED_TEXT = 4  # shorter texts stand in any summary by chance
_MIN_UNSPACED = 2
MOST_SAID = 1 << 18  # words of a context that are read; only rows of single digits have more
_MOST_COMPARED = 1 << 26  # characters: a text that long, times the places where it stands
# Thai and Lao, Tibetan, Burmese, Khmer, Japanese, Chinese; Korean, whose particles follow a word
# without a space.
_UNSPACED = (
    "\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
    "\uf900-\ufaff\U00020000-\U0003ffff"
)
_is_unspaced = re.compile(f"[{_UNSPACED}]+").fullmatch
_is_date = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII).fullmatch  # its time may follow: T09:00
_is_fraction = re.compile(r",\d\d?(?![\d,])(?!\.\d)").match  # as most of Europe writes one
_word = re.compile(rf"[^\W_{_UNSPACED}]*").match


class Texts:
    """The strings of a context. A name is the dotted name of one, cut where it is longer than
    anybody reads."""

    def __init__(self, context: Mapping[str, bytes]) -> None:
        self._context = context
        self._raw = raw = b"\n".join(context.values())
        # Nothing in it can be spelled otherwise.
        self._plain = raw.isascii() and not any(sign in raw for sign in _OTHERWISE)
        self._names: list[str] | None = None
        self._texts: list[str] = []
        self._joined: dict[bool, _Joined] = {}  # folded or not
        self._said: dict[object, dict[str, int]] = {}  # what words say -> text

    def where(self, text: str, folded: bool = False) -> str | None:
        """The first string that holds a text as words of its own; `folded`: in whatever case."""
        text = folded_text(text) if folded else plain_text(text)
        if not text:
            return None
        if not (folded or self._may_hold(text)):
            return None
        self._read()
        joined = self._joined.get(folded)
        if joined is None:
            read = folded_text if folded else plain_text
            joined = self._joined[folded] = _Joined([read(each) for each in self._texts])
        return self._name(joined.first(text))

    def says(self, words: Words, value: bytes) -> str | None:
        """The first string with words that say a value."""
        self._read()
        said = self._said.get(words.inside)
        if said is None:
            said = self._said[words.inside] = {}
            every = (
                (each, number)
                for number, text in enumerate(self._texts)
                for each in words.inside(text)
            )
            for each, number in islice(every, MOST_SAID):
                said.setdefault(each, number)
        key = words.of(value) if said else None
        return None if key is None else self._name(said.get(key))

    def _may_hold(self, text: str) -> bool:
        """Most texts are ruled out unread, by the bytes."""
        return not self._plain or text.encode("utf-8", "surrogatepass") in self._raw

    def _read(self) -> list[str]:
        if self._names is None:
            found = [
                pair
                for name, raw in self._context.items()
                for pair in values.strings(raw, name[: MAX_WHERE + 1])
            ]
            found += [pair for name, text in found for pair in _escaped_in(text, name)]
            self._names = [name for name, _ in found]
            self._texts = [text for _, text in found]
        return self._names

    def _name(self, number: int | None) -> str | None:
        if number is None:
            return None
        name = self._read()[number]
        return name if len(name) <= MAX_WHERE else f"{name[: MAX_WHERE - 1]}…"


class _Joined:
    """Texts in one, to be searched at once."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts
        self._all = _BETWEEN.join(texts)
        self._starts: list[int] = []
        at = 0
        for text in texts:
            self._starts.append(at)
            at += len(text) + len(_BETWEEN)

    def first(self, text: str) -> int | None:
        """The number of the first text that holds this one as words of its own. A long one that
        stands in others again and again, as a part of words, is given up."""
        joined = self._all
        left = _MOST_COMPARED
        at = joined.find(text)
        while at >= 0 and left > 0:
            left -= len(text)
            end = at + len(text)
            number = bisect_right(self._starts, at) - 1
            if end <= self._starts[number] + len(self._texts[number]) and _apart(joined, at, end):
                return number
            # The rest of this word is no beginning of one either.
            word = _word(joined, at)
            at = joined.find(text, max(at + 1, word.end() if word is not None else 0))
        return None


def _escaped_in(text: str, name: str) -> Iterator[tuple[str, str]]:
    """The strings of JSON in a text, where its escapes may spell what they say otherwise; their
    name is that of the text."""
    inside = text.strip()
    if "\\" in inside and inside[0] in "{[":
        for _, each in values.strings(inside.encode("utf-8", "surrogatepass"), ""):
            yield name, each


def is_searched(text: str) -> bool:
    """Whether a text is long enough not to stand in others by chance."""
    if len(text) >= MIN_SEARCHED_TEXT:
        return True
    return len(text) >= _MIN_UNSPACED and _is_unspaced(text) is not None


def _apart(joined: str, at: int, end: int) -> bool:
    """Whether what stands between two places begins and ends where words do."""
    before, after = joined[max(at - 2, 0) : at], joined[end : end + 2]
    first, last = joined[at], joined[end - 1]
    if before and _joins(before[-1], first):
        return False
    if after and _joins(last, after[0]) and not (after[0] == "T" and _is_date(joined, at, end)):
        return False
    # A number is no part of a longer one.
    if len(before) == 2 and before[1] == "." and before[0].isdigit() and first.isdigit():
        return False
    if last.isdigit() and _is_fraction(joined, end):
        return False
    return not (len(after) == 2 and after[0] == "." and last.isdigit() and after[1].isdigit())


def _joins(left: str, right: str) -> bool:
    """Whether two characters side by side belong to one word."""
    return _in_word(left) and _in_word(right)


def _in_word(char: str) -> bool:
    if _is_unspaced(char) is not None:
        return False
    return char.isalnum() or unicodedata.category(char)[0] == "M"
