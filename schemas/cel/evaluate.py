"""An expression as one Python closure, made once and called for each context.

Values are Python's own: None, bool, int (64 bits), float, str, list and dict, as they come out of
JSON. Each operator takes the types that `schemas.cel.check` lists for it, and CEL's meaning
(cel-spec, doc/langdef.md) where that differs from Python's: true is not 1, integers end at 64 bits,
division truncates, and `&&` and `||` do not care which side has an error.
"""

import operator as op
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from schemas.cel.errors import EvaluationError
from schemas.cel.syntax import (
    Call,
    Chain,
    Conditional,
    ContextMember,
    Has,
    InContext,
    Index,
    ListOf,
    Literal,
    Logic,
    Member,
    Node,
    Part,
    Select,
    Step,
    Unary,
)

# A value that nests deeper is none for an expression; fixed, so that it never depends on the stack.
MAX_VALUE_DEPTH: Final = 100
# A text of 4 KiB can name a large value 400 times: what `+` makes of them stays within a record.
MAX_CONCATENATION: Final = 1 << 20

_INT64_MIN: Final = -(2**63)
_INT64_MAX: Final = 2**63 - 1
_NONE: Final = type(None)
_SCALARS: Final = frozenset((str, int, float, bool, _NONE))
_NUMBERS: Final = frozenset((int, float))
_ORDERED: Final = frozenset((int, float, str, bool))
_SIZED: Final = frozenset((str, list, dict))
_NAMES: Final[dict[type, str]] = {
    bool: "a bool",
    int: "an int",
    float: "a double",
    str: "a string",
    _NONE: "null",
    list: "a list",
    dict: "a map",
}
_decode = msgspec.json.Decoder().decode
# Digits as 0, everything else as x: shows in one pass of C where a long number may stand.
_DIGITS: Final = bytes(ord("0") if 48 <= byte <= 57 else ord("x") for byte in range(256))


class Members(dict[str, Any]):
    """The members of one context, decoded when they are first read."""

    __slots__ = ("raw",)

    def __init__(self, raw: Mapping[str, bytes]) -> None:
        super().__init__()
        self.raw = raw

    def __missing__(self, name: str) -> Any:
        raw = self.raw.get(name)
        if raw is None:
            raise EvaluationError("no_such_member", f"{member(name)} is not there")
        value = self[name] = _read(name, bytes(raw))
        return value


Run = Callable[[Members], Any]
_Apply = Callable[[Any, Any], Any]
_Take = Callable[[Any, Members], Any]


def member(name: str) -> str:
    """How a member of the context is written."""
    return f"context.{name}" if name.isidentifier() and name.isascii() else f'context["{name}"]'


# --- values ------------------------------------------------------------------------------------


def _read(name: str, raw: bytes) -> Any:
    try:
        value = _decode(raw)
        if type(value) is int:
            return value if _INT64_MIN <= value <= _INT64_MAX else float(value)
        if type(value) in (list, dict):
            if raw.count(b"[") + raw.count(b"{") > MAX_VALUE_DEPTH:
                _check_depth(name, value)
            if b"0" * 19 in raw.translate(_DIGITS):
                _long_integers_to_doubles(value)
        return value
    except (ValueError, OverflowError, RecursionError):  # of msgspec, UTF-8, float and the stack
        raise EvaluationError(
            "unreadable",
            f"{member(name)} is no JSON with a meaning here (half a character, a number beyond a "
            "double, or too deep)",
        ) from None


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
            elif type(inner) is int and not _INT64_MIN <= inner <= _INT64_MAX:
                outer[key] = float(inner)  # no key is new, so the iteration goes on


def equal(a: Any, b: Any) -> bool:
    """CEL's equality: numbers by their value whatever their type, else only within a type.

    Python's own, in C, is the same but for true, which it takes for 1: so it decides most.
    """
    if a != b:
        return False
    pending: list[tuple[Any, Any]] | None = None
    while True:
        kind = type(a)
        if kind is not type(b):
            if kind not in _NUMBERS or type(b) not in _NUMBERS:
                return False
        elif kind not in _SCALARS:
            if pending is None:
                pending = []
            if kind is list:
                pending.extend(zip(a, b, strict=True))
            else:
                pending.extend((value, b[key]) for key, value in a.items())
        if not pending:
            return True
        a, b = pending.pop()


# --- from the tree to closures -----------------------------------------------------------------


def build(node: Node) -> Run:
    """The closure of a checked expression; it raises EvaluationError."""
    match node:
        case Literal():
            constant = node.value
            return lambda members: constant
        case ContextMember():
            return op.itemgetter(node.name)
        case InContext():
            name = node.name
            return lambda members: name in members.raw
        case ListOf():
            items = [build(item) for item in node.items]
            return lambda members: [item(members) for item in items]
        case Member():
            return _member(node)
        case Has():
            return _has(node)
        case Unary():
            return _not(node) if node.operator == "!" else _negate(node)
        case Chain():
            return _chain(node)
        case Logic():
            return _logic(node)
        case Conditional():
            return _conditional(node)


def _named(node: Node) -> str:
    """` (context.crm.tier)` for what has a name, to stand behind its type in a message."""
    match node:
        case ContextMember():
            return f" ({member(node.name)})"
        case Member(base=ContextMember(name=name), steps=steps):
            path = "".join(
                f".{step.name}" if isinstance(step, Select) else "[...]"
                for step in steps
                if not isinstance(step, Call)
            )
            if not any(isinstance(step, Call) for step in steps):
                return f" ({member(name)}{path})"
    return ""


def _mismatch(what: str, wanted: str, value: Any, named: str) -> EvaluationError:
    return EvaluationError(
        "no_such_overload", f"{what} needs {wanted}, and got {_NAMES[type(value)]}{named}"
    )


def _member(node: Member) -> Run:
    base = build(node.base)
    takes: list[_Take] = []
    for i, step in enumerate(node.steps):
        before = Member(node.base, node.steps[:i], node.at) if i else node.base
        takes.append(_step(step, _named(before)))
    if len(takes) == 1:
        (take,) = takes
        return lambda members: take(base(members), members)

    def run(members: Members) -> Any:
        value = base(members)
        for take in takes:
            value = take(value, members)
        return value

    return run


def _step(step: Step, named: str) -> _Take:
    match step:
        case Select():
            return _select(step.name, named)
        case Index():
            return _index(build(step.key), named)
        case Call(function="size"):
            return _size(named)
        case Call():
            return _text_function(step, named)


def _select(name: str, named: str) -> _Take:
    def take(value: Any, members: Members) -> Any:
        if type(value) is not dict:
            raise _mismatch(f"'.{name}'", "a map", value, named)
        if name in value:
            return value[name]
        raise EvaluationError("no_such_member", f"a map{named} has no member {name!r}")

    return take


def _index(key: Run, named: str) -> _Take:
    def take(value: Any, members: Members) -> Any:
        at = key(members)
        kind = type(at)
        if type(value) is list:
            if kind is float and at.is_integer():
                at = int(at)
            elif kind not in _NUMBERS:
                raise _mismatch("the index of a list", "an int", at, "")
            elif kind is float:
                at = -1
            if 0 <= at < len(value):
                return value[at]
            raise EvaluationError("no_such_member", f"a list{named} has no item at this index")
        if type(value) is not dict:
            raise _mismatch("'[...]'", "a list or a map", value, named)
        if kind is str and at in value:
            return value[at]
        raise EvaluationError("no_such_member", f"a map{named} has no member of this name")

    return take


def _size(named: str) -> _Take:
    def take(value: Any, members: Members) -> int:
        if type(value) not in _SIZED:
            raise _mismatch("size", "a string, a list or a map", value, named)
        return len(value)

    return take


_TEXT_FUNCTIONS: Final[dict[str, Callable[[str, str], bool]]] = {
    "contains": op.contains,
    "endsWith": str.endswith,
    "startsWith": str.startswith,
}


def _text_function(call: Call, named: str) -> _Take:
    name = call.function
    function = _TEXT_FUNCTIONS[name]
    argument = build(call.arguments[0])
    argument_named = _named(call.arguments[0])

    def take(value: Any, members: Members) -> bool:
        other = argument(members)
        if type(value) is not str:
            raise _mismatch(name, "strings", value, named)
        if type(other) is not str:
            raise _mismatch(name, "strings", other, argument_named)
        return function(value, other)

    return take


def _has(node: Has) -> Run:
    operand, name, named = build(node.operand), node.name, _named(node.operand)

    def run(members: Members) -> bool:
        value = operand(members)
        if type(value) is not dict:
            raise _mismatch("has", "a map", value, named)
        return name in value

    return run


def _not(node: Unary) -> Run:
    operand, named = build(node.operand), _named(node.operand)
    odd = node.times % 2 == 1

    def run(members: Members) -> bool:
        value = operand(members)
        if value is not True and value is not False:
            raise _mismatch("'!'", "true or false", value, named)
        return value is not odd

    return run


def _negate(node: Unary) -> Run:
    operand, named = build(node.operand), _named(node.operand)
    odd = node.times % 2 == 1

    def run(members: Members) -> Any:
        value = operand(members)
        if type(value) is int:
            if value == _INT64_MIN:
                raise _overflow("-")
        elif type(value) is not float:
            raise _mismatch("'-'", "a number", value, named)
        return -value if odd else value

    return run


# --- operators ---------------------------------------------------------------------------------


def _chain(node: Chain) -> Run:
    first = build(node.first)
    named = _named(node.first)
    parts: list[tuple[_Apply, Run]] = []
    for part in node.parts:
        parts.append((_operator(part, named), build(part.operand)))
        named = ""
    if len(parts) == 1:
        ((apply, right),) = parts
        return lambda members: apply(first(members), right(members))

    def run(members: Members) -> Any:
        value = first(members)
        for apply, right in parts:
            value = apply(value, right(members))
        return value

    return run


def _operator(part: Part, left_named: str) -> _Apply:
    symbol, right_named = part.operator, _named(part.operand)

    def no_overload(a: Any, b: Any) -> EvaluationError:
        return EvaluationError(
            "no_such_overload",
            f"'{symbol}' is not defined for {_NAMES[type(a)]}{left_named} and "
            f"{_NAMES[type(b)]}{right_named}",
        )

    match symbol:
        case "==":
            return equal
        case "!=":
            return lambda a, b: not equal(a, b)
        case "in":
            return _in(right_named)
        case "<" | "<=" | ">" | ">=":
            return _comparison(_COMPARISONS[symbol], no_overload)
        case _:
            return _arithmetic(symbol, no_overload)


_COMPARISONS: Final[dict[str, _Apply]] = {"<": op.lt, "<=": op.le, ">": op.gt, ">=": op.ge}
_Mismatch = Callable[[Any, Any], EvaluationError]


def _comparison(compare: _Apply, no_overload: _Mismatch) -> _Apply:
    def apply(a: Any, b: Any) -> Any:
        kind = type(a)
        if kind is type(b) and kind in _ORDERED:
            return compare(a, b)
        if kind in _NUMBERS and type(b) in _NUMBERS:
            return compare(a, b)  # Python compares int and float by their exact values, as CEL does
        raise no_overload(a, b)

    return apply


def _in(named: str) -> _Apply:
    def apply(a: Any, b: Any) -> bool:
        if type(b) is list:
            return a in b and any(equal(a, item) for item in b)  # as in `equal`: C decides most
        if type(b) is dict:
            return type(a) is str and a in b
        raise _mismatch("'in'", "a list or a map on its right", b, named)

    return apply


def _arithmetic(symbol: str, no_overload: _Mismatch) -> _Apply:
    whole, fraction = _INT_ARITHMETIC[symbol], _DOUBLE_ARITHMETIC.get(symbol)
    joins = (str, list) if symbol == "+" else ()

    def apply(a: Any, b: Any) -> Any:
        kind = type(a)
        if kind is not type(b):
            raise no_overload(a, b)
        if kind is int:
            value = whole(a, b)
            if _INT64_MIN <= value <= _INT64_MAX:
                return value
            raise _overflow(symbol)
        if kind is float and fraction is not None:
            return fraction(a, b)
        if kind in joins:
            if len(a) + len(b) > MAX_CONCATENATION:
                raise EvaluationError(
                    "too_large",
                    f"'+' would make {_NAMES[kind]} longer than {MAX_CONCATENATION:,}",
                )
            return a + b
        raise no_overload(a, b)

    return apply


def _overflow(symbol: str) -> EvaluationError:
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
    if b == -1 and a == _INT64_MIN:
        raise _overflow("%")  # its quotient has no place in 64 bits, so other CELs refuse it too
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


# --- logic -------------------------------------------------------------------------------------


def _logic(node: Logic) -> Run:
    operands = [(build(each), _named(each)) for each in node.operands]
    symbol = node.operator
    decides = symbol == "||"

    def run(members: Members) -> Any:
        error: EvaluationError | None = None
        for operand, named in operands:
            try:
                value = operand(members)
            except EvaluationError as raised:
                # Without its traceback, which would hold this frame, which holds the error.
                error = error or raised.with_traceback(None)
                continue
            if value is decides:
                return value
            if type(value) is not bool and error is None:
                error = _mismatch(f"'{symbol}'", "true or false", value, named)
        if error is None:
            return not decides
        try:
            raise error
        finally:
            error = None

    return run


def _conditional(node: Conditional) -> Run:
    branches = [(build(c), _named(c), build(then)) for c, then in node.branches]
    otherwise = build(node.otherwise)

    def run(members: Members) -> Any:
        for condition, named, then in branches:
            value = condition(members)
            if value is True:
                return then(members)
            if value is not False:
                raise _mismatch("'?'", "true or false", value, named)
        return otherwise(members)

    return run
