"""The tree of an expression.

Repetitions are one node with many parts, so that only brackets make a tree deep. `at` is where a
node begins, in code points of the text; of an operator or a step it is that of its sign.
"""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Literal:
    value: bool | int | float | str | None
    at: int


@dataclass(frozen=True, slots=True)
class ListOf:
    items: "tuple[Node, ...]"
    at: int


@dataclass(frozen=True, slots=True)
class ContextMember:
    """`context.name` or `context["name"]`; the name alone where an expression has roots."""

    name: str
    at: int
    root: bool = False


@dataclass(frozen=True, slots=True)
class InContext:
    """`has(context.name)` or `"name" in context`."""

    name: str
    at: int


@dataclass(frozen=True, slots=True)
class Select:
    """The step `.name`."""

    name: str
    at: int


@dataclass(frozen=True, slots=True)
class Index:
    """The step `[key]`."""

    key: "Node"
    at: int


@dataclass(frozen=True, slots=True)
class Call:
    """The step `.function(arguments)`; `size(x)` is read as `x.size()`."""

    function: str
    arguments: "tuple[Node, ...]"
    at: int


Step = Select | Index | Call


@dataclass(frozen=True, slots=True)
class Member:
    """A value and the steps from it: `context.crm["tier"].size()`."""

    base: "Node"
    steps: tuple[Step, ...]
    at: int


@dataclass(frozen=True, slots=True)
class Has:
    """`has(operand.name)`."""

    operand: "Node"
    name: str
    at: int


@dataclass(frozen=True, slots=True)
class Unary:
    """`!` or `-`, `times` times."""

    operator: str
    times: int
    operand: "Node"
    at: int


@dataclass(frozen=True, slots=True)
class Part:
    """An operator and its right side, in a `Chain`."""

    operator: str
    operand: "Node"
    at: int


@dataclass(frozen=True, slots=True)
class Chain:
    """Operators of one level, applied from left to right: `a + b - c`."""

    first: "Node"
    parts: tuple[Part, ...]
    at: int


@dataclass(frozen=True, slots=True)
class Logic:
    """`a && b && c` or `a || b || c`."""

    operator: str
    operands: "tuple[Node, ...]"
    at: int


@dataclass(frozen=True, slots=True)
class Conditional:
    """`a ? x : b ? y : z`: the branches (a, x) and (b, y), and z."""

    branches: "tuple[tuple[Node, Node], ...]"
    otherwise: "Node"
    at: int


Node = (
    Literal
    | ListOf
    | ContextMember
    | InContext
    | Member
    | Has
    | Unary
    | Chain
    | Logic
    | Conditional
)


def members(node: Node) -> Iterator[str]:
    """The names of the context's members that an expression may read, as often as it has them."""
    inner: list[Node] = []
    match node:
        case ContextMember() | InContext():
            yield node.name
        case Literal():
            pass
        case ListOf():
            inner.extend(node.items)
        case Has() | Unary():
            inner.append(node.operand)
        case Chain():
            inner.append(node.first)
            inner.extend(part.operand for part in node.parts)
        case Logic():
            inner.extend(node.operands)
        case Conditional():
            inner.append(node.otherwise)
            for branch in node.branches:
                inner.extend(branch)
        case Member():
            inner.append(node.base)
            for step in node.steps:
                if isinstance(step, Index):
                    inner.append(step.key)
                elif not isinstance(step, Select):
                    inner.extend(step.arguments)
    for each in inner:
        yield from members(each)
