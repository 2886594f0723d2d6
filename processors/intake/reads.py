"""Which parts of its records a source reads: to decode no others, and to tell what it does not
read."""

import dataclasses
from collections.abc import Collection, Iterable, Iterator
from typing import Any, Final, TypedDict

from processors.intake.following import written
from processors.intake.values import read_json
from schemas import paths, templates
from schemas.cel.syntax import parse
from schemas.cel.tree import ContextMember, Has, Index, Literal, Member, Select
from schemas.flow import Refused
from schemas.paths import Step, Where, index_of
from schemas.sources import (
    LINKS,
    ROOTS,
    CurrentStage,
    Expr,
    FromValue,
    LookupValue,
    Source,
    TextValue,
    parts_of,
)

# Names from the root `value` on; every element of a list is `[]`.
Place = tuple[str, ...]
ITEM: Final = "[]"
_MOST_PLACES: Final = 200
_DEEPEST: Final = 16
_MOST_PATHS: Final = 10_000  # that are followed: names of `let` that read others can make billions
# msgspec looks for each name of a record among all those that are read, one after the other: from
# about 50 of them on it is faster to decode all.
_MOST_NAMES: Final = 40
_object: Final[Any] = TypedDict  # made of what a source says, which no type checker can follow
# Members that are no expressions, or that are looked at apart.
_PLAIN: Final = frozenset(
    {"when", "accepts", "carries", "context", "retracted", "handoff", "ack", "alert", *LINKS}
)


def reads(source: Source) -> frozenset[Place]:
    """The places within `value` that something reads; what lies below one is read too."""
    return frozenset(_Reads(source).all())


def read_of(source: Source) -> tuple[Any, bool]:
    """What is to be decoded of the records of a source: the type that msgspec decodes their values
    to, and whether their keys are read. The type has no members that nothing reads; what lies in a
    list is there whole, and so are what lies deep, and an object of which many names are read, or
    one beyond ASCII."""
    found = _Reads(source)
    places = {place[:_DEEPEST] for place in (*found.all(), *found.texts)}
    return _shape(places), "key" in found.followed or not found.left


def _shape(places: Collection[Place]) -> Any:
    inner: dict[str, list[Place]] = {}
    for place in places:
        # msgspec may take no member, or another, for a name beyond ASCII (its pull request 1126).
        if not place or place[0] == ITEM or not place[0].isascii():
            return Any
        inner.setdefault(place[0], []).append(place[1:])
    if len(inner) > _MOST_NAMES:
        return Any
    members = {name: _shape(below) for name, below in inner.items()}
    return _object("Read", members, total=False) | None


def used(place: Place, read: frozenset[Place]) -> bool:
    """Whether a place is read, or lies below one that is."""
    return any(place[:length] in read for length in range(len(place) + 1))


def around(place: Place) -> Iterator[Place]:
    """A place and those that hold it; a name of digits may be of a list, as paths write both."""
    steps = _steps(place)
    for length in range(len(steps) + 1):
        yield steps[:length]


def leaves(
    value: Any, before: Place = (), opened: Collection[Place] = frozenset()
) -> Iterator[Place]:
    """The places of a value that hold text, a number or a truth value, as often as it has them; at
    a depth of 16 whatever is there. A text at a place that is `opened` is what it holds as JSON."""
    if type(value) is str and before in opened:
        try:
            value = read_json(value, "")
        except Refused:
            yield before
            return
    if len(before) < _DEEPEST and type(value) is dict:
        for name, inner in value.items():
            yield from leaves(inner, (*before, name), opened)
    elif len(before) < _DEEPEST and type(value) is list:
        for inner in value[:_MOST_PLACES]:
            yield from leaves(inner, (*before, ITEM), opened)
    elif value is not None:
        yield before


def opened(read: Iterable[Place]) -> frozenset[Place]:
    """The places that hold others which are read."""
    return frozenset(place[:length] for place in read for length in range(1, len(place)))


def shown(place: Place) -> str:
    """A place as paths have it: `value.items[].id`."""
    text = "value"
    for name in place:
        text += name if name == ITEM else written(name)
    return text


class _Reads:
    def __init__(self, source: Source) -> None:
        self._source = source
        self._roots = frozenset((*ROOTS, *source.let))
        self.followed: set[str] = set()  # the roots of the paths
        self.texts: list[Place] = []  # that hold JSON of which something is read
        self.left = _MOST_PATHS

    def all(self) -> Iterator[Place]:
        """The places that are read; the root for all paths that are too many to follow."""
        source = self._source
        if source.when is not None:
            yield from self._condition(source.when, [])
        for emit in source.emit:
            items = [] if emit.each is None else self._of(emit.each, [], (ITEM,))
            shared = [*_exprs(source.defaults), *_exprs(emit)]
            context = emit.context
            if context is not None:
                shared += list(context.named.values())
                shared += [context.spread] if context.spread is not None else []
            shared += [link.tasks for name in LINKS if (link := getattr(emit, name)) is not None]
            for part in (*emit.handoff, *filter(None, (emit.ack, emit.alert))):
                shared += list(_exprs(part))
            for expr in shared:
                yield from self._of(expr, items)
            for text in (emit.when, emit.accepts):
                if isinstance(text, str):
                    yield from self._condition(text, items)

    def _of(self, expr: Expr, items: list[Place], beyond: Place = ()) -> list[Place]:
        """The places that an expression reads; `items` are those of `it`, and `beyond` is what is
        read of its value."""
        if isinstance(expr, TextValue) or (isinstance(expr, str) and templates.is_template(expr)):
            text = expr.text if isinstance(expr, TextValue) else expr
            parts = [part for part in templates.parse(text) if not isinstance(part, str)]
            return [
                place for part in parts for place in self._at(part.top, _steps(part.rest), items)
            ]
        if isinstance(expr, str):
            path = paths.parse(expr) if expr.partition(".")[0] in self._roots else paths.read(expr)
            return self._at(path.top, (*_steps(path.rest), *beyond), items)
        if _made_anew(expr):
            beyond = ()
        elif beyond and isinstance(expr, FromValue) and expr.json_:
            self.texts += self._of(expr.from_, items)
        return [place for part in parts_of(expr) for place in self._of(part, items, beyond)]

    def _at(self, top: str, steps: Place, items: list[Place]) -> list[Place]:
        if not self.left:
            return [()]
        self.left -= 1
        self.followed.add(top)
        if top == "value":
            return [steps]
        if top == "it":
            return [(*place, *steps) for place in items]
        if top in self._source.let:
            return self._of(self._source.let[top], [], steps)
        return []

    def _condition(self, text: str, items: list[Place]) -> Iterator[Place]:
        for top, rest in _paths_in(parse(text, self._roots)):
            yield from self._at(top, _steps(rest), items)


def _exprs(part: Any) -> Iterator[Expr]:
    """The expressions that are members of a part of a document."""
    for name in type(part).model_fields:
        found = getattr(part, name)
        if found is not None and name not in _PLAIN and not isinstance(found, CurrentStage):
            yield found


def _made_anew(expr: Expr) -> bool:
    """Whether the value of an expression is no part of the record: all that it is made of is read,
    and nothing beyond."""
    if isinstance(expr, FromValue):
        return expr.split is not None or expr.text is not None or expr.slug
    return isinstance(expr, LookupValue)


def _steps(rest: Iterable[Step]) -> Place:
    return tuple(
        ITEM if isinstance(step, Where) or index_of(step) is not None else str(step)
        for step in rest
    )


def _paths_in(node: Any) -> Iterator[tuple[str, list[Step]]]:
    """The paths in the tree of a condition."""
    match node:
        case ContextMember():
            yield node.name, []
            return
        case Member(base=ContextMember(name=top), steps=steps):
            path: list[Step] = []
            for step in steps:
                if isinstance(step, Select):
                    path.append(step.name)
                elif isinstance(step, Index) and isinstance(step.key, Literal):
                    path.append(str(step.key.value))
                else:
                    break
            yield top, path
            for step in steps[len(path) :]:
                yield from _paths_in(step)
            return
        case Has(operand=ContextMember() | Member() as operand, name=name):
            steps = operand.steps if isinstance(operand, Member) else ()
            base = operand.base if isinstance(operand, Member) else operand
            yield from _paths_in(Member(base, (*steps, Select(name, node.at)), node.at))
            return
        case tuple():
            for inner in node:
                yield from _paths_in(inner)
            return
    if dataclasses.is_dataclass(node):
        for field in dataclasses.fields(node):
            yield from _paths_in(getattr(node, field.name))
