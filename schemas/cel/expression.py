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
from schemas.cel.tree import members
from schemas.cel.values import Members

__all__ = [
    "ErrorKind",
    "EvaluationError",
    "Expression",
    "ExpressionError",
    "Members",
    "compile_expression",
]


class Expression:
    """A compiled expression.

    `text` is what was written; `reads` are the names of the context's members, or the roots, that
    it may read.
    """

    __slots__ = ("_run", "reads", "text")

    def __init__(self, text: str, reads: frozenset[str], run: Run) -> None:
        self.text: Final = text
        self.reads: Final = reads
        self._run: Final = run

    def evaluate(self, values: Mapping[str, bytes]) -> bool:
        """True or false over a context: the raw JSON of each of its members, by name.

        Only members that are read are decoded; where expressions are evaluated one after another,
        give all of them the same `Members`. Raises EvaluationError.
        """
        result = self._run(values if isinstance(values, Members) else Members(values))
        if result is True or result is False:
            return result
        raise EvaluationError(
            "not_boolean", "the expression has a result that is neither true nor false"
        )

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"


@lru_cache(maxsize=1024)
def compile_expression(text: str, roots: frozenset[str] | None = None) -> Expression:
    """Read, check and compile an expression. Raises ExpressionError.

    It is over the members of a `context`; where `roots` are given, over values of these names, and
    is evaluated with a `Members` that has these, too (`schemas.cel.values.Roots`).
    """
    node = parse(text, roots)
    check(node, text)
    return Expression(text, frozenset(members(node)), build(node))
