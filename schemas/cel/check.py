"""What can be told of an expression before any context is known.

Each part gets the set of the types that it may have; a member of the context may have any. An
operator without an overload for any of them is refused, and so is an expression that can never be
true or false. What remains is decided, with the same overloads, when it is evaluated.
"""

from collections.abc import Iterable
from typing import Final, NoReturn

from schemas.cel.errors import ExpressionError
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

Types = frozenset[str]

_ANY: Final[Types] = frozenset(("bool", "int", "double", "string", "null", "list", "map"))
_BOOL: Final[Types] = frozenset(("bool",))
_INT: Final[Types] = frozenset(("int",))
_STRING: Final[Types] = frozenset(("string",))
_LIST: Final[Types] = frozenset(("list",))
_NAMES: Final = {bool: "bool", int: "int", float: "double", str: "string", type(None): "null"}
_SIZED: Final = frozenset(("string", "list", "map"))

_Overloads = dict[tuple[str, str], str]
_SAME: Final[_Overloads] = {(t, t): "bool" for t in ("int", "double", "string", "bool")}
_ORDERED: Final[_Overloads] = _SAME | {("int", "double"): "bool", ("double", "int"): "bool"}
_NUMBERS: Final[_Overloads] = {("int", "int"): "int", ("double", "double"): "double"}
_OVERLOADS: Final[dict[str, _Overloads]] = {
    "==": {(a, b): "bool" for a in _ANY for b in _ANY},
    "!=": {(a, b): "bool" for a in _ANY for b in _ANY},
    "<": _ORDERED,
    "<=": _ORDERED,
    ">": _ORDERED,
    ">=": _ORDERED,
    "in": {(a, b): "bool" for a in _ANY for b in ("list", "map")},
    "+": _NUMBERS | {("string", "string"): "string", ("list", "list"): "list"},
    "-": _NUMBERS,
    "*": _NUMBERS,
    "/": _NUMBERS,
    "%": {("int", "int"): "int"},
}


def check(node: Node, text: str) -> None:
    """Refuse what can never be evaluated to true or false. Raises ExpressionError."""
    types = _Checker(text).types(node)
    if "bool" not in types:
        raise ExpressionError(
            f"this gives {_one_of(types)}, never true or false",
            "compare it with something",
            text,
            node.at,
        )


class _Checker:
    def __init__(self, text: str) -> None:
        self._text = text

    def types(self, node: Node) -> Types:
        match node:
            case Literal():
                return frozenset((_NAMES[type(node.value)],))
            case ContextMember():
                return _ANY
            case InContext():
                return _BOOL
            case ListOf():
                for item in node.items:
                    self.types(item)
                return _LIST
            case Member():
                types = self.types(node.base)
                for step in node.steps:
                    types = self._step(step, types)
                return types
            case Has():
                if "map" not in (types := self.types(node.operand)):
                    self._refuse_operand("has", types, "a map, such as context.crm", node.at)
                return _BOOL
            case Unary():
                return self._unary(node)
            case Chain():
                types = self.types(node.first)
                for part in node.parts:
                    types = self._apply(part.operator, types, self.types(part.operand), part.at)
                return types
            case Logic():
                for operand in node.operands:
                    self._must_be_bool(node.operator, operand)
                return _BOOL
            case Conditional():
                found = self.types(node.otherwise)
                for condition, then in node.branches:
                    self._must_be_bool("?", condition)
                    found |= self.types(then)
                return found

    def _step(self, step: Step, types: Types) -> Types:
        match step:
            case Select():
                if "map" not in types:
                    self._refuse_operand(f".{step.name[:60]}", types, "a map", step.at)
                return _ANY
            case Index():
                key = self.types(step.key)
                # A key of another type is in no map, which is an error of its own at evaluation.
                if "map" not in types and not ("list" in types and key & {"int", "double"}):
                    if "list" in types:
                        self._refuse_operand("an index", key, "an int", step.at)
                    self._refuse_operand("[...]", types, "a list or a map", step.at)
                return _ANY
            case Call(function="size"):
                if not types & _SIZED:
                    self._refuse_operand("size", types, "a string, a list or a map", step.at)
                return _INT
            case Call():
                for each in (types, *map(self.types, step.arguments)):
                    if "string" not in each:
                        self._refuse_operand(step.function, each, "strings", step.at)
                return _BOOL

    def _unary(self, node: Unary) -> Types:
        types = self.types(node.operand)
        found = types & (_BOOL if node.operator == "!" else {"int", "double"})
        if not found:
            wanted = "true or false" if node.operator == "!" else "a number"
            self._refuse_operand(repr(node.operator), types, wanted, node.at)
        return found

    def _apply(self, operator: str, left: Types, right: Types, at: int) -> Types:
        overloads = _OVERLOADS[operator]
        found = {overloads[a, b] for a in left for b in right if (a, b) in overloads}
        if not found:
            # What may be any type is not what is wrong.
            both = [_one_of(types) for types in (left, right) if types != _ANY]
            mixed = {left, right} == {_INT, frozenset(("double",))}
            raise ExpressionError(
                f"'{operator}' is not defined for {' and '.join(both)}",
                "write both numbers alike, such as 2.0 and 1.5" if mixed else "correct one of them",
                self._text,
                at,
            )
        return frozenset(found)

    def _must_be_bool(self, operator: str, node: Node) -> None:
        types = self.types(node)
        if "bool" not in types:
            self._refuse_operand(f"'{operator}'", types, "true or false", node.at)

    def _refuse_operand(self, what: str, types: Types, wanted: str, at: int) -> NoReturn:
        raise ExpressionError(
            f"{what} needs {wanted}, and this is {_one_of(types)}", "correct it", self._text, at
        )


def _one_of(types: Iterable[str]) -> str:
    article = {"int": "an int", "null": "null"}
    return " or ".join(article.get(name, f"a {name}") for name in sorted(types))
