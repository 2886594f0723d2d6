"""Texts against the patterns of alert routes and of silences: `*` stands for anything, `\\*` for a
star."""

import re
from typing import Final

_STAR: Final = re.compile(r"(?<!\\)\*")


def matches(pattern: str, text: str | None) -> bool:
    """Whether a text fits a pattern. A text that is not there fits only `*`.

    The parts between the stars are looked for one after another, the first place of each counts:
    so the time grows with the length of the text, however many stars there are.
    """
    if text is None:
        return pattern == "*"
    first, *others = map(unescaped, _STAR.split(pattern))
    if not others:
        return first == text
    *middle, last = others
    if not text.startswith(first) or len(text) < len(first) + len(last):
        return False
    at, end = len(first), len(text) - len(last)
    for part in middle:
        at = text.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return at <= end and text.endswith(last)


def exactly(text: str) -> str:
    """The pattern that this text alone fits."""
    return text.replace("*", r"\*")


def unescaped(pattern: str) -> str:
    """A pattern, or a part of one, as a text: with each star as it is."""
    return pattern.replace(r"\*", "*")
