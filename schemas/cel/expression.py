"""Expressions of contracts: a subset of CEL, compiled once and evaluated often.

What the subset has is in docs/expressions.md. `Expression` is what a contract holds of its `when`
and of each rule.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from schemas.cel.check import check
from schemas.cel.errors import ErrorKind, EvaluationError, ExpressionError
from schemas.cel.evaluate import Run, build
from schemas.cel.syntax import parse
from schemas.cel.tree import (
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
    Unary,
)
from schemas.cel.values import Members

__all__ = ["ErrorKind", "EvaluationError", "Expression", "ExpressionError", "compile_expression"]


class Expression:
    """A compiled expression.

    `text` is what was written; `reads` are the names of the context's members that it may read.
    """

    __slots__ = ("_run", "reads", "text")

    def __init__(self, text: str, reads: frozenset[str], run: Run) -> None:
        self.text: Final = text
        self.reads: Final = reads
        self._run: Final = run

    def evaluate(self, values: Mapping[str, bytes]) -> bool:
        """True or false over a context: the raw JSON of each of its members, by name.

        Only members that are read are decoded. Raises EvaluationError.
        """
        result = self._run(Members(values))
        if result is True or result is False:
            return result
        raise EvaluationError(
            "not_boolean", "the expression has a result that is neither true nor false"
        )

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"


@lru_cache(maxsize=1024)
def compile_expression(text: str) -> Expression:
    """Read, check and compile an expression. Raises ExpressionError."""
    node = parse(text)
    check(node, text)
    reads: set[str] = set()
    _collect(node, reads)
    return Expression(text, frozenset(reads), build(node))


def _collect(node: Node, reads: set[str]) -> None:
    inner: list[Node] = []
    match node:
        case ContextMember() | InContext():
            reads.add(node.name)
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
        _collect(each, reads)
