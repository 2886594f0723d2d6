"""Expressions of sources as closures: paths, templates, verbs and conditions."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from processors.intake.following import along, follow, walk
from processors.intake.mapped import Traced
from processors.intake.scope import Make, Scope
from processors.intake.values import free_text, kind_of, name_text, read_json, slug
from schemas import paths, templates
from schemas.cel.expression import EvaluationError, compile_expression
from schemas.flow import Refused
from schemas.paths import Path
from schemas.sources import (
    Expr,
    FirstValue,
    FromValue,
    LiteralValue,
    LookupValue,
    Scalar,
    TextValue,
)

Condition = Callable[[Scope], bool]
Trace = Callable[[Traced], None]

_MOST_PARTS: Final = 1_000
_MOST_CHARACTERS: Final = 1 << 20  # of a text that is made; an output has no room for more


class LeftOut(Exception):
    """A look-up with `else: skip` found nothing: the entry makes nothing of this element."""


class Compiler:
    """Compiles the expressions of one source. `trace` is told of every path that is followed."""

    def __init__(
        self,
        names: frozenset[str],
        lookups: Mapping[str, Mapping[str, Scalar]],
        trace: Trace | None = None,
    ) -> None:
        self._names = names
        self._lookups = lookups
        self.trace = trace
        self.member = ""  # whose paths are compiled, for the trace

    def condition(self, text: str) -> Condition:
        """A condition. It raises `Refused` where it cannot be evaluated."""
        expression = compile_expression(text, self._names)

        def run(scope: Scope) -> bool:
            try:
                return expression.evaluate(scope.conditions())
            except EvaluationError as error:
                raise Refused(
                    "condition_failed", f"has no result for this record: {error}"
                ) from None

        if self.trace is None:
            return run
        trace, member = self.trace, self.member

        def traced(scope: Scope) -> bool:
            result = run(scope)
            trace(Traced(member, text, text, "true" if result else "false"))
            return result

        return traced

    def expression(self, expr: Expr, *, words: bool = False) -> Make:
        """What makes the value of an expression, None where there is none.

        `words`: it is text for people, in which a template may spell fractions. The closure raises
        `Refused`, and `LeftOut`.
        """
        match expr:
            case str():
                if templates.is_template(expr):
                    return self._template(expr, words)
                return self.path(paths.parse(expr))
            case LiteralValue(value=constant):
                return lambda scope: constant
            case FromValue():
                return self._from(expr, words)
            case TextValue(text=text):
                return self._template(text, words)
            case FirstValue():
                return _first([self.expression(each, words=words) for each in expr.first])
            case LookupValue():
                return self._lookup(expr)
        return lambda scope: expr

    def name(self, expr: Expr) -> Callable[[Scope], str | None]:
        """What makes a name or an id. The closure raises `Refused` and `LeftOut`."""
        make = self.expression(expr)
        return lambda scope: name_text(make(scope))

    def path(self, path: Path) -> Make:
        """What follows a path; None where it leads nowhere."""
        make = follow(path)
        if self.trace is None:
            return make
        trace, member = self.trace, self.member

        def traced(scope: Scope) -> Any:
            value, ended = walk(path, scope)
            trace(Traced(member, path.name, ended, kind_of(value)))
            return value

        return traced

    def _template(self, text: str, words: bool) -> Make:
        spell = free_text if words else name_text
        parsed = templates.parse(text)
        names = ["" if isinstance(part, str) else part.name for part in parsed]
        parts = [part if isinstance(part, str) else "" for part in parsed]
        holes = [
            (at, self.path(part)) for at, part in enumerate(parsed) if not isinstance(part, str)
        ]

        def run(scope: Scope) -> str | None:
            texts, at = parts.copy(), 0
            try:
                for at, make in holes:
                    spelled = spell(make(scope))
                    if spelled is None:
                        return None
                    texts[at] = spelled
            except Refused as error:
                colon = "" if error.code == "member_malformed" else ":"  # `value.a is a list`
                error.reword(f"{names[at]}{colon} {error.message}")
                raise
            return _checked("".join(texts))

        return run

    def _from(self, expr: FromValue, words: bool) -> Make:
        make = self.expression(expr.from_, words=words)
        steps: list[Callable[[Any], Any]] = []
        if expr.json_:
            steps.append(_json)
        if expr.split is not None:
            mark = expr.split
            steps.append(lambda value: _split(value, mark))
        if expr.text is not None:
            steps.append(_each(_of_it(expr.text, free_text if words else name_text)))
        if expr.slug:
            steps.append(_each(_slug))

        def run(scope: Scope) -> Any:
            value = make(scope)
            for step in steps:
                if value is None:
                    return None
                value = step(value)
            return value

        return run

    def _lookup(self, expr: LookupValue) -> Make:
        by, name = self.expression(expr.by), expr.lookup
        table, otherwise = self._lookups[name], expr.else_

        def run(scope: Scope) -> Any:
            key = free_text(by(scope))
            if key is not None:
                if key in table:
                    return table[key]
                scope.misses[name, key] = None
            if isinstance(otherwise, LiteralValue):
                return otherwise.value
            if otherwise == "skip":
                raise LeftOut
            what = "lacks the key" if key is not None else "was asked without a key"
            cure = "add it to lookups" + ("" if otherwise else ", or say else")
            raise Refused("lookup_missed", f"the look-up {name} {what}; {cure}")

        return run


def once(make: Make) -> Make:
    """What makes a value that no element changes: it is made once a record. With 1,000 elements
    and a long list to look through, a record would take minutes otherwise."""

    def run(scope: Scope) -> Any:
        made = scope.made
        if make not in made:
            try:
                made[make] = make(scope)
            except LeftOut as left_out:
                made[make] = left_out
        found = made[make]
        if type(found) is LeftOut:
            raise LeftOut
        return found

    return run


def _first(makes: list[Make]) -> Make:
    def run(scope: Scope) -> Any:
        for make in makes:
            value = make(scope)
            if value is not None and value != "":
                return value
        return None

    return run


def _each(step: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A step over a value, or over each item of a list."""

    def run(value: Any) -> Any:
        if type(value) is list:
            return [made for item in value if (made := step(item)) is not None]
        return step(value)

    return run


def _of_it(text: str, spell: Callable[[Any], str | None]) -> Callable[[Any], str | None]:
    """A template over one value, which is `it` there."""
    parts = templates.parse(text)

    def run(value: Any) -> str | None:
        made = ""
        for part in parts:
            if isinstance(part, str):
                made += part
                continue
            spelled = spell(along(value, part.rest))
            if spelled is None:
                return None
            made += spelled
        return _checked(made)

    return run


def _checked(text: str) -> str:
    """A text that was made. Names of `let` that repeat each other could make one of gigabytes."""
    if len(text) > _MOST_CHARACTERS:
        message = f"has {len(text):,} characters, the limit is {_MOST_CHARACTERS:,}"
        raise Refused("too_large", message)
    return text


def _json(value: Any) -> Any:
    if type(value) is not str:
        return value  # it is read already
    return read_json(value, "the text that should hold JSON")[0]


def _split(value: Any, mark: str) -> list[str]:
    text = free_text(value)
    parts = [part.strip() for part in (text or "").split(mark)]
    if len(parts) > _MOST_PARTS:
        message = f"has {len(parts):,} parts, the limit is {_MOST_PARTS:,}"
        raise Refused("member_malformed", message)
    return [part for part in parts if part]


def _slug(value: Any) -> str | None:
    text = name_text(value)
    return None if text is None else slug(text) or None
