"""The parser: from the text of an expression to its tree.

The grammar is the one of CEL's language definition (cel-spec, doc/langdef.md), without what this
subset leaves out; docs/expressions.md has it in full. Repetitions are one node with many parts, so
that only brackets nest, and those are counted: no text can exhaust the stack.
"""

import difflib
from dataclasses import dataclass
from typing import Final, NoReturn

from schemas.cel.errors import ExpressionError
from schemas.cel.tokens import Token, tokens
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
    Part,
    Select,
    Step,
    Unary,
)

MAX_DEPTH: Final = 32  # brackets in brackets; CEL asks implementations for 12

FUNCTIONS: Final = ("contains", "endsWith", "has", "size", "startsWith")
_METHODS: Final = {"contains": 1, "endsWith": 1, "size": 0, "startsWith": 1}
_MACROS: Final = {"all", "exists", "exists_one", "existsOne", "filter", "map"}
_KEYWORDS: Final = {"true", "false", "null", "in"}
_CONSTANTS: Final = {"true": True, "false": False, "null": None}
# How other languages spell what CEL spells so.
_MEANT: Final = {
    "and": "&&",
    "or": "||",
    "not": "!",
    "True": "true",
    "False": "false",
    "None": "null",
}
# From the loosest to the tightest; && and || stand above these, unary minus and ! below.
_LEVELS: Final = (
    frozenset(("==", "!=", "<", "<=", ">", ">=", "in")),
    frozenset(("+", "-")),
    frozenset(("*", "/", "%")),
)


def parse(text: str, roots: frozenset[str] | None = None) -> Node:
    """The tree of an expression over a context, or over these names. Raises ExpressionError."""
    return _Parser(text, roots).whole()


@dataclass(frozen=True, slots=True)
class _Context:
    """The word `context`, before it is known which member is meant."""

    at: int


class _Parser:
    def __init__(self, text: str, roots: frozenset[str] | None) -> None:
        self._text = text
        self._roots = roots
        self._tokens = tokens(text)
        self._position = 0
        self._depth = 0
        self.next: Token = self._tokens[0]

    # --- words -------------------------------------------------------------------------------

    def _take(self) -> Token:
        token = self.next
        if token.kind != "end":
            self._position += 1
            self.next = self._tokens[self._position]
        return token

    def _sees(self, word: str) -> bool:
        return self.next.kind in ("symbol", "name") and self.next.value == word

    def _skip(self, word: str) -> bool:
        found = self._sees(word)
        if found:
            self._take()
        return found

    def _expect(self, word: str) -> None:
        if not self._skip(word):
            self._refuse_next(repr(word))

    def _refuse(self, message: str, suggestion: str, at: int) -> NoReturn:
        raise ExpressionError(message, suggestion, self._text, at)

    def _refuse_next(self, expected: str) -> NoReturn:
        if self.next.kind == "end":
            self._refuse(
                f"the expression ends where {expected} should follow",
                "complete it",
                self.next.start,
            )
        word = self._text[self.next.start : self.next.end]
        if word.startswith(".") and word != ".":
            self._refuse(
                "a member's name does not begin with a digit",
                "write x[0], or x['0']",
                self.next.start,
            )
        shown = word if len(word) <= 40 else word[:40] + "…"
        self._refuse(
            f"{shown!r} stands where {expected} should follow",
            f"write {_MEANT[word]}" if word in _MEANT else "correct it",
            self.next.start,
        )

    def whole(self) -> Node:
        if not self._text.strip():
            example = "context.score >= 80" if self._roots is None else 'value.op == "u"'
            self._refuse("the expression is empty", f"write one, such as {example}", 0)
        node = self.expression()
        if self.next.kind != "end":
            self._refuse_next("an operator or the end")
        return node

    # --- from the loosest to the tightest ------------------------------------------------------

    def expression(self) -> Node:
        start = self.next.start
        branches: list[tuple[Node, Node]] = []
        node = self._or()
        while self._skip("?"):
            then = self._or()
            self._expect(":")
            branches.append((node, then))
            node = self._or()
        return Conditional(tuple(branches), node, start) if branches else node

    def _or(self) -> Node:
        start = self.next.start
        operands = [self._and()]
        while self._skip("||"):
            operands.append(self._and())
        return Logic("||", tuple(operands), start) if len(operands) > 1 else operands[0]

    def _and(self) -> Node:
        start = self.next.start
        operands = [self._chain(0)]
        while self._skip("&&"):
            operands.append(self._chain(0))
        return Logic("&&", tuple(operands), start) if len(operands) > 1 else operands[0]

    def _chain(self, level: int) -> Node:
        if level == len(_LEVELS):
            return self._unary()
        start = self.next.start
        first = self._chain(level + 1)
        parts: list[Part] = []
        while self.next.kind in ("symbol", "name") and self.next.value in _LEVELS[level]:
            operator = self._take()
            if operator.value == "in" and self._bare_context():
                # `"name" in context`: whether a member is there, known before the evaluation.
                if parts or not isinstance(first, Literal) or not isinstance(first.value, str):
                    self._refuse_whole_context(self._tokens[self._position].start)
                self._take()
                first = InContext(first.value, start)
                continue
            parts.append(Part(str(operator.value), self._chain(level + 1), operator.start))
        return Chain(first, tuple(parts), start) if parts else first

    def _bare_context(self) -> bool:
        if self._roots is not None:
            return False  # each of them is a value
        after = self._tokens[min(self._position + 1, len(self._tokens) - 1)]
        return self._sees("context") and after.value not in (".", "[")

    def _unary(self) -> Node:
        start = self.next.start
        times = 0
        if self._sees("!"):
            while self._skip("!"):
                times += 1
            return Unary("!", times, self._member(), start)
        while self._sees("-"):
            minus = self._take()
            times += 1
            if self.next.kind in ("int", "double"):
                # The innermost minus belongs to the number: -9223372036854775808 is one.
                times -= 1
                operand = self._member(minus)
                return Unary("-", times, operand, start) if times else operand
        operand = self._member()
        return Unary("-", times, operand, start) if times else operand

    # --- a value and the steps from it ---------------------------------------------------------

    def _member(self, minus: Token | None = None) -> Node:
        start = self.next.start
        base = self._primary(minus)
        steps: list[Step] = []
        if isinstance(base, _Context):
            base = self._context_member(base)
        elif isinstance(base, Member):  # size(x), to which further steps may follow
            steps, base = list(base.steps), base.base
        while True:
            at = self.next.start
            if self._skip("."):
                name = self._selector()
                if self._sees("("):
                    arguments = self._method_arguments(name)
                    steps.append(Call(str(name.value), arguments, name.start))
                else:
                    steps.append(Select(str(name.value), at))
            elif self._skip("["):
                steps.append(Index(self._nested("]"), at))
            else:
                break
        return Member(base, tuple(steps), start) if steps else base

    def _context_member(self, context: _Context) -> ContextMember:
        if self._skip("."):
            name = self._selector()
            if self._sees("("):
                if name.value == "size":
                    self._refuse_whole_context(context.at)
                self._refuse_function(name)
            return ContextMember(str(name.value), context.at)
        if self._skip("["):
            key = self._nested("]")
            if isinstance(key, Literal) and isinstance(key.value, str):
                return ContextMember(key.value, context.at)
            self._refuse(
                "which member of the context is read must stand in the expression",
                'write its name in quotes, such as context["first-name"]',
                key.at,
            )
        if self.next.kind == "double":  # context.5
            self._refuse_next("the name of a member")
        self._refuse_whole_context(context.at)

    def _refuse_whole_context(self, at: int) -> NoReturn:
        self._refuse(
            "the context as a whole is no value here",
            'name a member, such as context.score, or ask "score" in context',
            at,
        )

    def _selector(self) -> Token:
        token = self.next
        if token.kind != "name":
            self._refuse_next("the name of a member")
        if token.value in _KEYWORDS:
            self._refuse(
                f"{token.value!r} is a word of CEL", f'write ["{token.value}"] instead', token.start
            )
        return self._take()

    def _primary(self, minus: Token | None) -> "Node | _Context":
        token = self.next
        match token.kind:
            case "int" | "double":
                assert isinstance(token.value, (int, float))
                self._take()
                value = -token.value if minus else token.value
                if value == 2**63 and token.kind == "int":
                    self._refuse(
                        "this whole number does not fit into 64 bits",
                        "write a smaller one, or a double such as 1e19",
                        token.start,
                    )
                return Literal(value, minus.start if minus else token.start)
            case "string":
                self._take()
                assert isinstance(token.value, str)
                return Literal(token.value, token.start)
            case "name":
                return self._named(self._take())
        if self._skip("("):
            return self._inner(token)
        if self._skip("["):
            return ListOf(self._arguments("]"), token.start)
        self._refuse_next("a value")

    def _inner(self, opening: Token) -> "Node | _Context":
        if self._bare_context():  # (context).score
            after = self._tokens[self._position + 1]
            if after.kind == "symbol" and after.value == ")":
                self._take()
                self._take()
                return _Context(opening.start)
        return self._nested(")")

    def _named(self, name: Token) -> "Node | _Context":
        word = str(name.value)
        if self._sees("("):
            return self._function(name)
        if word in _CONSTANTS:
            return Literal(_CONSTANTS[word], name.start)
        if self._roots is None and word == "context":
            return _Context(name.start)
        if self._roots is not None and word in self._roots:
            return ContextMember(word, name.start, root=True)
        if word == "in":
            self._refuse(
                "'in' has nothing on its left", "write a value before it, as in x in y", name.start
            )
        suggestion = f"write context.{word[:60]} for a member of the context, or text in quotes"
        if word in _MEANT:
            suggestion = f"write {_MEANT[word]}"
        elif self._roots is not None:
            near = difflib.get_close_matches(word, sorted(self._roots), n=1)
            known = f"put text in quotes; known here: {', '.join(sorted(self._roots))}"
            suggestion = f"did you mean {near[0]!r}?" if near else known
        elif difflib.get_close_matches(word, ("context",), cutoff=0.75):
            suggestion = "did you mean 'context'?"
        self._refuse(f"no such name {word[:60]!r}", suggestion, name.start)

    def _function(self, name: Token) -> Node:
        word = str(name.value)
        if word == "has":
            return self._has(name)
        if word != "size":
            if word in _METHODS:
                self._refuse(
                    f"{word!r} is asked of a text",
                    f'write it behind, as in context.name.{word}("...")',
                    name.start,
                )
            self._refuse_function(name)
        self._take()
        if self._bare_context():
            self._refuse_whole_context(self.next.start)
        arguments = self._arguments(")")
        if len(arguments) != 1:
            self._refuse(
                f"size has one argument, not {len(arguments)}", "write size(x)", name.start
            )
        return Member(arguments[0], (Call("size", (), name.start),), name.start)

    def _has(self, name: Token) -> Node:
        self._take()
        argument = self._nested(")")
        if self._roots is None and isinstance(argument, ContextMember) and self._selected(-2):
            return InContext(argument.name, name.start)
        if isinstance(argument, Member) and isinstance(last := argument.steps[-1], Select):
            before = argument.steps[:-1]
            operand = Member(argument.base, before, argument.at) if before else argument.base
            return Has(operand, last.name, name.start)
        self._refuse(
            "has asks for a member that is named behind a dot",
            'write has(context.a.b); for other names "a-b" in context',
            name.start,
        )

    def _selected(self, back: int) -> bool:
        """Whether the word before the last bracket was a name: context.a, not context["a"]."""
        return self._tokens[self._position + back].kind == "name"

    def _method_arguments(self, name: Token) -> tuple[Node, ...]:
        word = str(name.value)
        if word == "has":
            self._refuse("'has' stands before its argument", "write has(x.y)", name.start)
        if word not in _METHODS:
            self._refuse_function(name)
        self._take()
        arguments = self._arguments(")")
        if len(arguments) != _METHODS[word]:
            one = _METHODS[word] == 1
            self._refuse(
                f"{word} has {'one argument' if one else 'no arguments'} here, "
                f"not {len(arguments)}",
                f"write x.{word}({'...' if one else ''})",
                name.start,
            )
        return arguments

    def _refuse_function(self, name: Token) -> NoReturn:
        word = str(name.value)
        known = ", ".join(FUNCTIONS)
        if word in _MACROS:
            self._refuse(
                f"{word!r} is not in this subset of CEL, which has no loops",
                f"let a tool compute it; these are known: {known}",
                name.start,
            )
        near = difflib.get_close_matches(word, FUNCTIONS, n=1, cutoff=0.75)
        self._refuse(
            f"no such function {word[:60]!r}",
            f"did you mean {near[0]!r}?" if near else f"these are known: {known}",
            name.start,
        )

    # --- brackets ------------------------------------------------------------------------------

    def _nested(self, closing: str) -> Node:
        """An expression within brackets that are already open."""
        self._deeper()
        node = self.expression()
        self._expect(closing)
        self._depth -= 1
        return node

    def _arguments(self, closing: str) -> tuple[Node, ...]:
        """A list, which in square brackets may end with a comma."""
        self._deeper()
        found: list[Node] = []
        while not self._sees(closing):
            found.append(self.expression())
            if not self._skip(","):
                break
            if closing == ")" and self._sees(closing):
                self._refuse_next("a value")
        self._expect(closing)
        self._depth -= 1
        return tuple(found)

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._refuse(
                f"the expression nests deeper than {MAX_DEPTH} brackets",
                "split it into several rules",
                self.next.start,
            )
