"""Regular expressions of contracts: of how many places one consists, and who could run it.

The engine is linear (Rust's `regex`, by way of jsonschema-rs): it keeps a set of places in the
pattern and moves all of them on with each character, so its time is places x text at worst. What
needs an engine that goes back and tries again has no such bound, and is refused.
"""

import re
from typing import Final

import jsonschema_rs

LINEAR: Final = jsonschema_rs.RegexOptions()
_BACKTRACKING: Final = jsonschema_rs.FancyRegexOptions()

_TIMES: Final = re.compile(r"\{\s*(\d+)\s*(,)?\s*(\d*)\s*\}", re.ASCII)
_MOST_TIMES: Final = 10**9  # more than any engine takes
_GROUP: Final = re.compile(r"\(\?(?:P?<\w+>|[a-zA-Z-]*:?)")
_BRACED: Final = frozenset("pPxuUbB")  # \p{L}: no repetition
_CONSTRUCTS: Final = (
    (re.compile(r"\(\?<[=!]"), "a look-behind"),
    (re.compile(r"\(\?[=!]"), "a look-ahead"),
    (re.compile(r"\\[1-9]"), "a back-reference"),
)


def places(pattern: str) -> int:
    """How many places a pattern has when its repetitions are written out, at least: characters,
    and signs between them.

    `(ab|c)*[a-z]{3}` has nine. What is read otherwise than the engine reads it (verbose mode, sets
    in sets) counts as more, never as fewer.
    """
    open_groups: list[int] = []
    total = last = at = 0
    while at < len(pattern):
        char = pattern[at]
        if times := _TIMES.match(pattern, at):
            factor = max(_most(*times.groups()), 1)
            total += last * (factor - 1)
            last *= factor
            at = times.end()
        elif char == "(":
            open_groups.append(total)
            opening = _GROUP.match(pattern, at)
            at = opening.end() if opening else at + 1
            total = last = 0
        elif char == ")" and open_groups:
            last = total + 1
            total = open_groups.pop() + last
            at += 1
        elif char in "*+?":
            last += 1
            total += 1
            at += 1
        else:
            last = 1
            total += 1
            at = _character_ends(pattern, at)
    return total + sum(open_groups)


def _most(least: str, comma: str | None, most: str) -> int:
    """How often something is repeated that is written `{least,most}`, at most or with a `*`."""
    if len(least) > 9 or len(most) > 9:
        return _MOST_TIMES
    return int(most or least) + (1 if comma and not most else 0)


def _character_ends(pattern: str, at: int) -> int:
    """The end of a character, an escape or a set that begins at `at`."""
    if pattern[at] == "\\":
        if pattern[at + 1 : at + 2] in _BRACED and pattern[at + 2 : at + 3] == "{":
            return (pattern.find("}", at) + 1) or len(pattern)
        return at + 2
    if pattern[at] == "[":
        at += 1
        while at < len(pattern) and pattern[at] != "]":
            at += 2 if pattern[at] == "\\" else 1
    return at + 1


def is_linear(pattern: str) -> bool:
    """Whether the linear engine takes it."""
    return _taken(pattern, LINEAR)


def needs_backtracking(pattern: str) -> str | None:
    """What in a pattern only an engine that goes back understands, in words; None where it is no
    pattern for that one either."""
    if not _taken(pattern, _BACKTRACKING):
        return None
    found = (words for shape, words in _CONSTRUCTS if shape.search(pattern))
    return next(found, "a construct")


def _taken(
    pattern: str, engine: jsonschema_rs.RegexOptions | jsonschema_rs.FancyRegexOptions
) -> bool:
    try:
        jsonschema_rs.validator_for({"pattern": pattern}, pattern_options=engine)
    except (ValueError, jsonschema_rs.ValidationError):  # the first, where it is no Unicode text
        return False
    return True
