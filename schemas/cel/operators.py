"""What the binary operators do: each takes the types that `schemas.cel.check` lists for it.

Their meaning is CEL's (cel-spec, doc/langdef.md) where that differs from Python's: true is not 1,
integers end at 64 bits, division truncates.
"""

import operator as op
from collections.abc import Callable
from typing import Any, Final

from schemas.cel.errors import EvaluationError
from schemas.cel.values import INT64_MAX, INT64_MIN, NAMES, NUMBERS, Members, equal

# A text of 4 KiB can name a large value 400 times: what `+` makes of them stays within a record.
MAX_CONCATENATION: Final = 1 << 20

Apply = Callable[[Any, Any, Members], Any]  # the last one counts the steps
_Compute = Callable[[Any, Any], Any]
_Mismatch = Callable[[Any, Any], EvaluationError]
_ORDERED: Final = frozenset((int, float, str, bool))


def mismatch(what: str, wanted: str, value: Any, named: str) -> EvaluationError:
    """The error of a value that has not the type that is wanted."""
    return EvaluationError(
        "no_such_overload", f"{what} needs {wanted}, and got {NAMES[type(value)]}{named}"
    )


def operator(symbol: str, left_named: str, right_named: str) -> Apply:
    """The function of a binary operator; it raises EvaluationError.

    `left_named` and `right_named` stand behind the types of its sides in a message.
    """

    def no_overload(a: Any, b: Any) -> EvaluationError:
        return EvaluationError(
            "no_such_overload",
            f"'{symbol}' is not defined for {NAMES[type(a)]}{left_named} and "
            f"{NAMES[type(b)]}{right_named}",
        )

    match symbol:
        case "==":
            return equal
        case "!=":
            return lambda a, b, members: not equal(a, b, members)
        case "in":
            return _in(right_named)
        case "<" | "<=" | ">" | ">=":
            return _comparison(_COMPARISONS[symbol], no_overload)
        case _:
            return _arithmetic(symbol, no_overload)


_COMPARISONS: Final[dict[str, _Compute]] = {"<": op.lt, "<=": op.le, ">": op.gt, ">=": op.ge}


def _comparison(compare: _Compute, no_overload: _Mismatch) -> Apply:
    def apply(a: Any, b: Any, members: Members) -> Any:
        kind = type(a)
        if kind is type(b) and kind in _ORDERED:
            return compare(a, b)
        if kind in NUMBERS and type(b) in NUMBERS:
            return compare(a, b)  # Python compares int and float by their exact values, as CEL does
        raise no_overload(a, b)

    return apply


def _in(named: str) -> Apply:
    def apply(a: Any, b: Any, members: Members) -> bool:
        if type(b) is list:  # as in `equal`: C decides most
            return a in b and (type(a) is str or any(equal(a, item, members) for item in b))
        if type(b) is dict:
            return type(a) is str and a in b
        raise mismatch("'in'", "a list or a map on its right", b, named)

    return apply


def _arithmetic(symbol: str, no_overload: _Mismatch) -> Apply:
    whole, fraction = _INT_ARITHMETIC[symbol], _DOUBLE_ARITHMETIC.get(symbol)
    joins = (str, list) if symbol == "+" else ()

    def apply(a: Any, b: Any, members: Members) -> Any:
        kind = type(a)
        if kind is not type(b):
            raise no_overload(a, b)
        if kind is int:
            value = whole(a, b)
            if INT64_MIN <= value <= INT64_MAX:
                return value
            raise overflow(symbol)
        if kind is float and fraction is not None:
            return fraction(a, b)
        if kind in joins:
            if len(a) + len(b) > MAX_CONCATENATION:
                raise EvaluationError(
                    "too_large",
                    f"'+' would make {NAMES[kind]} longer than {MAX_CONCATENATION:,}",
                )
            return a + b
        raise no_overload(a, b)

    return apply


def overflow(symbol: str) -> EvaluationError:
    """The error of an int beyond 64 bits."""
    return EvaluationError("overflow", f"the result of '{symbol}' does not fit into 64 bits")


def _divide_by_zero(symbol: str) -> EvaluationError:
    return EvaluationError("divide_by_zero", f"the right side of '{symbol}' is zero")


def _divide(a: int, b: int) -> int:
    if b == 0:
        raise _divide_by_zero("/")
    quotient = abs(a) // abs(b)  # truncated, where Python's // rounds down
    return quotient if (a < 0) == (b < 0) else -quotient


def _remainder(a: int, b: int) -> int:
    if b == 0:
        raise _divide_by_zero("%")
    if b == -1 and a == INT64_MIN:
        raise overflow("%")  # its quotient has no place in 64 bits, so other CELs refuse it too
    remainder = abs(a) % abs(b)
    return -remainder if a < 0 else remainder


def _divide_doubles(a: float, b: float) -> float:
    if b != 0.0:
        return a / b
    if a == 0.0 or a != a:  # noqa: PLR0124 (only NaN is unlike itself)
        return float("nan")
    return float("inf") if (a < 0) == (str(b)[0] == "-") else float("-inf")


_INT_ARITHMETIC: Final[dict[str, Callable[[int, int], int]]] = {
    "+": op.add,
    "-": op.sub,
    "*": op.mul,
    "/": _divide,
    "%": _remainder,
}
_DOUBLE_ARITHMETIC: Final[dict[str, Callable[[float, float], float]]] = {
    "+": op.add,
    "-": op.sub,
    "*": op.mul,
    "/": _divide_doubles,
}
