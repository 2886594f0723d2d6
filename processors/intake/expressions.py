"""Expressions of sources as Python code: paths, templates, verbs and conditions."""

from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn

from processors.intake import making
from processors.intake.code import Body, Code, by_names
from processors.intake.following import along, walk
from processors.intake.mapped import Traced
from processors.intake.scope import Make, Scope
from processors.intake.values import free_text, kind_of, name_text, read_json, slug
from schemas import paths, templates
from schemas.cel.expression import EvaluationError, compile_expression
from schemas.flow import Refused
from schemas.paths import Path
from schemas.sources import (
    ROOTS,
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

_BIND: Final = "; bind what may be absent with let, or ask for it with has()"
_MOST_PARTS: Final = 1_000
_MOST_CHARACTERS: Final = 1 << 20  # of a text that is made; an output has no room for more


class LeftOut(Exception):
    """A look-up with `else: skip` found nothing: the entry makes nothing of this element."""


class Compiler:
    """Writes the code of the expressions of one source. `trace` is told of every path that is
    followed."""

    def __init__(
        self,
        lets: Mapping[str, Expr],
        lookups: Mapping[str, Mapping[str, Scalar]],
        trace: Trace | None = None,
    ) -> None:
        self._names = frozenset((*ROOTS, *lets))
        self._paths: dict[str, Path] = {}  # names of let that are no more than a path
        self._lookups = lookups
        self.trace = trace
        self.member = ""  # whose paths are compiled, for the trace
        self.code = Code({**_HELPERS, **making.HELPERS})
        for name, expr in lets.items():
            if isinstance(expr, str) and not templates.is_template(expr):
                self._paths[name] = self._whole(paths.parse(expr))

    def condition(self, text: str) -> Condition:
        """A condition. It raises `Refused` where it cannot be evaluated."""
        expression = compile_expression(text, self._names)

        def run(scope: Scope) -> bool:
            try:
                return expression.evaluate(scope)
            except EvaluationError as error:
                cure = _BIND if error.kind == "no_such_member" else ""
                raise Refused(
                    "condition_failed", f"has no result for this record: {error}{cure}"
                ) from None

        if self.trace is None:
            return run
        trace, member = self.trace, self.member

        def traced(scope: Scope) -> bool:
            result = run(scope)
            trace(Traced(member, text, text, "true" if result else "false"))
            return result

        return traced

    def function(self, expr: Expr, *, words: bool = False) -> str:
        """The name of a function that makes the value of an expression, None where there is none.

        `words`: it is text for people, in which a template may spell fractions. The function raises
        `Refused`, and `LeftOut`.
        """
        body = Body(self.code)
        match expr:
            case str() if templates.is_template(expr):
                return self._template(expr, words)
            case TextValue(text=text):
                return self._template(text, words)
            case FromValue():
                self._from(body, expr, words)
            case FirstValue():
                for each in expr.first:
                    value = self.value(body, each, words=words)
                    body.add(f'if {value} is not None and {value} != "":', f"    return {value}")
                body.add("return None")
            case LookupValue():
                self._lookup(body, expr)
            case _:
                body.add(f"return {self.value(body, expr)}")
        return self.code.function(body.lines)

    def value(self, body: Body, expr: Expr, *, words: bool = False) -> str:
        """The name of the value of an expression, which `body` makes."""
        match expr:
            case str() if not templates.is_template(expr):
                return self._path(body, paths.parse(expr))
            case LiteralValue(value=constant):
                return self.code.bind(constant)
            case str() | TextValue() | FromValue() | FirstValue() | LookupValue():
                return body.let(f"{self.function(expr, words=words)}(scope)")
        return self.code.bind(expr)

    def _path(self, body: Body, path: Path) -> str:
        if self.trace is None:
            return body.follow(self._whole(path))
        trace, member = self.trace, self.member

        def traced(scope: Scope) -> Any:
            value, ended = walk(path, scope)
            trace(Traced(member, path.name, ended, kind_of(value)))
            return value

        return body.let(f"{self.code.bind(traced)}(scope)")

    def _whole(self, path: Path) -> Path:
        """The same path from a root on, where it begins with a name of `let` that is a path."""
        before = self._paths.get(path.top)
        if before is None:
            return path
        whole = Path(path.name, before.top, (*before.rest, *path.rest))
        return whole if by_names(whole) else path  # which has a limit

    def _template(self, text: str, words: bool) -> str:
        body = Body(self.code)
        made = ""
        for part in templates.parse(text):
            if isinstance(part, str):
                made += f"{{{self.code.bind(part)}}}"
                continue
            body.at(part.name)
            value = body.let(self._path(body, part))
            body.add(
                f"if {_is_no_text(value)}:",
                f"    {value} = {'free_text' if words else 'name_text'}({value})",
                f"    if {value} is None:",
                "        return None",
            )
            made += f"{{{value}}}"
        last = f'return checked(f"{made}")'
        return self.code.function(body.lines, tells="tell_hole" if body.lines else "", last=last)

    def _from(self, body: Body, expr: FromValue, words: bool) -> None:
        value = body.let(self.value(body, expr.from_, words=words))
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
        for step in steps:
            body.add(f"if {value} is not None:", f"    {value} = {self.code.bind(step)}({value})")
        body.add(f"return {value}")

    def _lookup(self, body: Body, expr: LookupValue) -> None:
        bind = self.code.bind
        name, table, otherwise = expr.lookup, bind(self._lookups[expr.lookup]), expr.else_
        key = body.let(self.value(body, expr.by))
        body.add(f"if {_is_no_text(key)}:", f"    {key} = free_text({key})")
        body.add(
            f"if {key} is not None:",
            f"    if {key} in {table}:",
            f"        return {table}[{key}]",
            f"    scope.misses[{bind(name)}, {key}] = None",
        )
        if isinstance(otherwise, LiteralValue):
            body.add(f"return {bind(otherwise.value)}")
        elif otherwise == "skip":
            body.add("raise LeftOut")
        else:
            cure = "add it to lookups" + ("" if otherwise else ", or say else")
            body.add(f"missed({bind(name)}, {key}, {bind(cure)})")


def _is_no_text(name: str) -> str:
    """The test of what is no text, or blank: it is to be spelled, or refused."""
    return f"type({name}) is not str or not {name} or {name}.isspace()"


def _missed(name: str, key: str | None, cure: str) -> NoReturn:
    what = "lacks the key" if key is not None else "was asked without a key"
    raise Refused("lookup_missed", f"the look-up {name} {what}; {cure}")


def _tell_hole(error: Refused, name: str) -> None:
    colon = "" if error.code == "member_malformed" else ":"  # `value.a is a list`
    error.reword(f"{name}{colon} {error.message}")


def _once(make: Make, scope: Scope) -> Any:
    """The value that `make` makes and no element changes: it is made once a record. With 1,000
    elements and a long list to look through, a record would take minutes otherwise."""
    made = scope.made
    if make not in made:
        try:
            made[make] = make(scope)
        except LeftOut:
            made[make] = LeftOut  # the error itself would hold this frame, which holds the scope
    found = made[make]
    if found is LeftOut:
        raise LeftOut
    return found


def _each(step: Callable[[Any], str | None]) -> Callable[[Any], Any]:
    """A text of a value, or of each item of a list; together they are no longer than one may be."""

    def run(value: Any) -> Any:
        if type(value) is not list:
            return step(value)
        made: list[str] = []
        length = 0
        for item in value:
            text = step(item)
            if text is not None:
                made.append(text)
                length += len(text)
                if length > _MOST_CHARACTERS:
                    message = f"the texts have more than {_MOST_CHARACTERS:,} characters together"
                    raise Refused("too_large", message)
        return made

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
    return read_json(value, "the text that should hold JSON")


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


# What the code of expressions calls by name.
_HELPERS: Final = {
    "LeftOut": LeftOut,
    "Refused": Refused,
    "along": along,
    "checked": _checked,
    "free_text": free_text,
    "missed": _missed,
    "name_text": name_text,
    "once": _once,
    "tell_hole": _tell_hole,
}
