"""An expression as one Python closure, made once and called for each context.

The tree has been checked: what is left to find is in the values (`schemas.cel.values`), whose types
decide what an operator does (`schemas.cel.operators`). An error is an exception, and `&&` and `||`
do not care which side has it.
"""

import operator as op
from collections.abc import Callable
from itertools import takewhile
from typing import Any, Final

from schemas.cel.errors import EvaluationError
from schemas.cel.operators import Apply, mismatch, operator, overflow
from schemas.cel.tree import (
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
    Select,
    Step,
    Unary,
)
from schemas.cel.tree import members as names_in
from schemas.cel.values import INT64_MIN, NUMBERS, Members, member

_SIZED: Final = frozenset((str, list, dict))

Run = Callable[[Members], Any]
_Take = Callable[[Any, Members], Any]


# --- from the tree to closures -----------------------------------------------------------------


def build(node: Node) -> Run:
    """The closure of a checked expression; it raises EvaluationError."""
    match node:
        case Literal():
            constant = node.value
            return lambda members: constant
        case ContextMember():
            return _from_root(node.name, []) if node.root else op.itemgetter(node.name)
        case InContext():
            name = node.name
            return lambda members: name in members.raw
        case ListOf():
            literals = [item.value for item in node.items if isinstance(item, Literal)]
            if len(literals) == len(node.items):  # nothing changes a list, so all may share it
                return lambda members: literals
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
            return f" ({_written(node)})"
        case Member(base=ContextMember() as base, steps=steps):
            path = "".join(
                f".{step.name}" if isinstance(step, Select) else "[...]"
                for step in steps
                if not isinstance(step, Call)
            )
            if _calls_nothing(steps):
                return f" ({_written(base)}{path})"
    return ""


def _written(node: ContextMember) -> str:
    return node.name if node.root else member(node.name)


def _from_root(name: str, takes: list[_Take], *, plain: bool = True) -> Run:
    """Where a path from a root leads; `plain`: as an expression can take it."""

    def run(members: Any) -> Any:
        value = members.root(name)
        for take in takes:
            value = take(value, members)
        return members.plain(value) if plain else value

    return run


def _looked_into(node: Node) -> Run:
    """A value of which it only matters which members it has."""
    match node:
        case ContextMember(root=True):
            return _from_root(node.name, [], plain=False)
        case Member(base=ContextMember(root=True) as base) if _calls_nothing(node.steps):
            return _from_root(base.name, _takes(node), plain=False)
    return build(node)


def _calls_nothing(steps: tuple[Step, ...]) -> bool:
    return not any(isinstance(step, Call) for step in steps)


def _takes(node: Member) -> list[_Take]:
    takes: list[_Take] = []
    for i, step in enumerate(node.steps):
        before = Member(node.base, node.steps[:i], node.at) if i else node.base
        takes.append(_step(step, _named(before)))
    return takes


def _member(node: Member) -> Run:
    takes = _takes(node)
    if isinstance(node.base, ContextMember) and node.base.root:
        path = list(takewhile(lambda step: not isinstance(step, Call), node.steps))
        base = _from_root(node.base.name, takes[: len(path)])
        takes = takes[len(path) :]
    else:
        base = build(node.base)
    if not takes:
        return base
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
            raise mismatch(f"'.{name}'", "a map", value, named)
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
            elif kind not in NUMBERS:
                raise mismatch("the index of a list", "an int", at, "")
            elif kind is float:
                at = -1
            if 0 <= at < len(value):
                return value[at]
            raise EvaluationError("no_such_member", f"a list{named} has no item at this index")
        if type(value) is not dict:
            raise mismatch("'[...]'", "a list or a map", value, named)
        if kind is str and at in value:
            return value[at]
        raise EvaluationError("no_such_member", f"a map{named} has no member of this name")

    return take


def _size(named: str) -> _Take:
    def take(value: Any, members: Members) -> int:
        if type(value) not in _SIZED:
            raise mismatch("size", "a string, a list or a map", value, named)
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
    searches = name == "contains"

    def take(value: Any, members: Members) -> bool:
        other = argument(members)
        if type(value) is not str:
            raise mismatch(name, "strings", value, named)
        if type(other) is not str:
            raise mismatch(name, "strings", other, argument_named)
        if searches:
            members.spend(len(value))
        return function(value, other)

    return take


def _has(node: Has) -> Run:
    operand, name, named = _looked_into(node.operand), node.name, _named(node.operand)

    def run(members: Members) -> bool:
        value = operand(members)
        if type(value) is not dict:
            raise mismatch("has", "a map", value, named)
        return name in value

    return run


def _not(node: Unary) -> Run:
    operand, named = build(node.operand), _named(node.operand)
    odd = node.times % 2 == 1

    def run(members: Members) -> bool:
        value = operand(members)
        if value is not True and value is not False:
            raise mismatch("'!'", "true or false", value, named)
        return value is not odd

    return run


def _negate(node: Unary) -> Run:
    operand, named = build(node.operand), _named(node.operand)
    odd = node.times % 2 == 1

    def run(members: Members) -> Any:
        value = operand(members)
        if type(value) is int:
            if value == INT64_MIN:
                raise overflow("-")
        elif type(value) is not float:
            raise mismatch("'-'", "a number", value, named)
        return -value if odd else value

    return run


# --- operators ---------------------------------------------------------------------------------


def _chain(node: Chain) -> Run:
    first = build(node.first)
    named = _named(node.first)
    left = tuple(names_in(node.first))
    parts: list[tuple[Apply, Run, tuple[str, ...]]] = []
    for part in node.parts:
        apply = operator(part.operator, named, _named(part.operand))
        right = tuple(names_in(part.operand))
        weighed = left + right if _goes_through(part.operator, left, right) else ()
        parts.append((apply, build(part.operand), weighed))
        named = ""
        left += right
    if len(parts) == 1:
        ((apply, operand, names),) = parts
        if not names:
            return lambda members: apply(first(members), operand(members), members)

    def run(members: Members) -> Any:
        value = first(members)
        for apply, operand, names in parts:
            other = operand(members)
            if names:
                members.weigh(value, other, names)
            value = apply(value, other, members)
        return value

    return run


def _goes_through(symbol: str, left: tuple[str, ...], right: tuple[str, ...]) -> bool:
    """Whether the time of an operator grows with a context. What is compared with a literal is
    compared with no more than that."""
    match symbol:
        case "+":
            return bool(left or right)
        case "in":
            return bool(right)
        case "-" | "*" | "/" | "%":
            return False
    return bool(left and right)


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
                error = mismatch(f"'{symbol}'", "true or false", value, named)
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
                raise mismatch("'?'", "true or false", value, named)
        return otherwise(members)

    return run
