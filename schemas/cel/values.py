"""The values that expressions see: read from JSON, compared, and named in messages.

They are Python's own: None, bool, int (64 bits), float, str, list and dict.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final, Protocol

import msgspec

from schemas.cel.errors import EvaluationError

# A value that nests deeper is none for an expression; fixed, so that it never depends on the stack.
MAX_VALUE_DEPTH: Final = 100

# What expressions over one context may go through together: a character of a text is one step, and
# a byte of JSON in a list or a map, which are read and compared member by member, `NESTED_STEPS`.
# A text of 1 MiB may be searched 256 times, a list of 1 MiB compared 16 times; that takes about a
# second. Where true could be taken for 1, two values are compared once more, here and not in C:
# then each list or map in them takes `_AGAIN_STEPS`.
MAX_STEPS: Final = 1 << 28
NESTED_STEPS: Final = 16
_AGAIN_STEPS: Final = 256

INT64_MIN: Final = -(2**63)
INT64_MAX: Final = 2**63 - 1
NUMBERS: Final = frozenset((int, float))
NAMES: Final[dict[type, str]] = {
    bool: "a bool",
    int: "an int",
    float: "a double",
    Decimal: "a double",  # within what a root leads to
    str: "a string",
    type(None): "null",
    list: "a list",
    dict: "a map",
}
_SCALARS: Final = frozenset((str, int, float, bool, type(None)))
_NESTED: Final = b"[{"
_decode = msgspec.json.Decoder().decode
# Digits as 0, everything else as x: shows in one pass of C where a long number may stand.
_DIGITS: Final = bytes(ord("0") if 48 <= byte <= 57 else ord("x") for byte in range(256))


class Members(dict[str, Any]):
    """The members of one context, decoded when they are first read; what cannot be is tried once.

    `left` is what may still be gone through (`MAX_STEPS`): reading a member takes of it, and
    operators do, by `weigh` or `spend`.
    """

    __slots__ = ("left", "raw", "unreadable")

    def __init__(self, raw: Mapping[str, bytes]) -> None:
        self.raw = raw
        self.left = MAX_STEPS
        self.unreadable: set[str] = set()

    def weigh(self, a: Any, b: Any, names: tuple[str, ...]) -> None:
        """An operator is about to go through two values, made of the members of these names."""
        kind = type(b)
        if kind is str:
            if type(a) is str:
                self.spend(len(a) + len(b))
        elif kind is list or kind is dict:
            self.spend(NESTED_STEPS * sum([len(self.raw.get(name, b"")) for name in names]))

    def spend(self, steps: int) -> None:
        """So many steps are about to be made. Raises EvaluationError."""
        self.left -= steps
        if self.left < 0:
            raise EvaluationError(
                "too_large",
                "the expressions would go through more of the context than they may",
            )

    def __missing__(self, name: str) -> Any:
        found = self.raw.get(name)
        if found is None:
            raise EvaluationError("no_such_member", f"{member(name)} is not there")
        if name in self.unreadable:
            raise _unreadable(name)
        raw = bytes(found)
        self.spend(NESTED_STEPS * len(raw) if raw[0] in _NESTED else len(raw))
        try:
            value = self[name] = _read(name, raw)
        except EvaluationError:
            self.unreadable.add(name)
            raise
        return value


class Roots(Protocol):
    """The values that an expression with roots is over. They were decoded before: paths go through
    them as they are, and what a path leads to is made what an expression can take."""

    def root(self, name: str) -> Any:
        """The value of a root: as JSON has it; a number may be a Decimal, or beyond 64 bits."""

    def plain(self, value: Any) -> Any:
        """The same value as an expression can take it."""


def member(name: str) -> str:
    """How a member of the context is written."""
    return f"context.{name}" if name.isidentifier() and name.isascii() else f'context["{name}"]'


def _read(name: str, raw: bytes) -> Any:
    try:
        value = _decode(raw)
        if type(value) is int:
            return value if INT64_MIN <= value <= INT64_MAX else float(value)
        if type(value) in (list, dict):
            if raw.count(b"[") + raw.count(b"{") > MAX_VALUE_DEPTH:
                _check_depth(name, value)
            if b"0" * 19 in raw.translate(_DIGITS):
                _long_integers_to_doubles(value)
        return value
    except (ValueError, OverflowError, RecursionError):  # of msgspec, UTF-8, float and the stack
        raise _unreadable(name) from None


def _unreadable(name: str) -> EvaluationError:
    return EvaluationError(
        "unreadable",
        f"{member(name)} is no JSON with a meaning here (half a character, a number beyond a "
        "double, or too deep)",
    )


def _check_depth(name: str, value: Any) -> None:
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > MAX_VALUE_DEPTH:
            raise RecursionError(f"{name} nests deeper than {MAX_VALUE_DEPTH}")
        level = [
            inner
            for outer in level
            for inner in (outer.values() if type(outer) is dict else outer)
            if type(inner) in (list, dict)
        ]


def _long_integers_to_doubles(value: Any) -> None:
    """JSON has no 64 bits: what is beyond them is a double, as every number is in CEL's JSON."""
    pending = [value]
    while pending:
        outer = pending.pop()
        for key, inner in outer.items() if type(outer) is dict else enumerate(outer):
            if type(inner) in (list, dict):
                pending.append(inner)
            elif type(inner) is int and not INT64_MIN <= inner <= INT64_MAX:
                outer[key] = float(inner)  # no key is new, so the iteration goes on


def equal(a: Any, b: Any, members: Members) -> bool:
    """CEL's equality: numbers by their value whatever their type, else only within a type.

    Python's own, in C, is the same but for true, which it takes for 1: so it decides most. Raises
    EvaluationError where what is left to do is more than the `members` have left.
    """
    if a != b:
        return False
    pending: list[tuple[Any, Any]] | None = None
    while True:
        kind = type(a)
        if kind is not type(b):
            if kind not in NUMBERS or type(b) not in NUMBERS:
                return False
        elif kind not in _SCALARS:
            if pending is None:
                pending = []
            members.spend(_AGAIN_STEPS)
            if kind is list:
                pending.extend(zip(a, b, strict=True))
            else:
                pending.extend((value, b[key]) for key, value in a.items())
        if not pending:
            return True
        a, b = pending.pop()
