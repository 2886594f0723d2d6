"""What the contracts of a workflow classify, taken together: a value is no less private because
another contract reads it, or gives it another name.

    a field is one thing under several names: its own, and each path of its `from`. Where a contract
        classifies the field, or where one of the names is classified already, all of them are.
    a path is classified where it is such a name, lies inside of one, or leads to an object that has
        one inside: `crm` and `crm.email.domain` with `crm.email`, and not `crm.phone`.
    what a field takes whole with something classified inside (`from: [crm]`) is so under its name,
        too.

A name with dots may be a path or a top-level name that is spelled so; both count. Of a path into a
list the whole list is classified. Where a list, or a string that holds JSON, stands in the place of
an object, the path goes on inside of each element and of what the string holds.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import takewhile
from typing import Any

import msgspec
from msgspec import Raw, Struct

from processors.contracts import telling, values
from processors.contracts.telling import Secrets
from schemas import paths
from schemas.documents import HandoffContract, is_classified
from schemas.unreadable import UNREADABLE

Path = tuple[str, ...]
NO_SECRETS = Secrets()
_LIST_SIGNS = frozenset("['\"")
_PATH_SIGNS = _LIST_SIGNS | {"."}


class Named(Struct, frozen=True):
    """A field as far as it matters here: its name, then the paths of its `from`."""

    names: tuple[str, ...]
    classified: bool


class Classified(Struct, frozen=True):
    """What is classified. `at` are the paths where it stands, `above` those that lead there.

    `names` are the top-level names that the contracts give, for anything: they are no values.
    """

    at: frozenset[Path] = frozenset()
    above: frozenset[Path] = frozenset()
    tops: frozenset[str] = frozenset()  # what all of these begin with
    lasts: frozenset[str] = frozenset()  # what those in `at` end with
    names: frozenset[str] = frozenset()
    deepest: int = 0  # the names of the longest path in `at`
    # What was chosen of the names of a context: they come in few shapes.
    _leading: dict[tuple[str, ...], tuple[str, ...]] = {}
    _unknown: dict[tuple[str, ...], tuple[str, ...]] = {}

    def covers(self, path: str) -> bool:
        """Whether something classified may be found at, in or around a name or dotted path."""
        steps = self._steps(path)
        return steps in self.above or self.holds(steps)

    def holds(self, path: Path) -> bool:
        """Whether a path is one where something classified stands, or lies inside of one."""
        return any(part in self.at for part in _beginnings(path[: self.deepest]))

    def texts(self, context: Iterable[tuple[str, bytes]]) -> set[str]:
        """The texts of what is classified among values under their names."""
        found: set[str] = set()
        tops, at = self.tops, self.at
        pending: list[tuple[Path, Any]] = []
        for name, value in context:
            if (name,) in at:
                found.update(telling.texts(value))
            elif _may_lead(name, tops):
                read = telling.read(value)
                pending += [(steps, read) for steps in self._spelled(name)]
        while pending:
            path, inner = pending.pop()
            if self.holds(path) or (path in self.above and isinstance(inner, telling.Unreadable)):
                found.update(telling.texts_of(inner))
            elif path in self.above:
                # An object may come as a list of such, or as a string that holds it as JSON.
                for member, each in telling.inside(inner):
                    pending += [((*path, *steps), each) for steps in self._spelled(member)]
        return found

    def within(self, context: Mapping[str, bytes]) -> list[tuple[str, bytes]]:
        """What of a context may be classified, or has something classified inside."""
        if not self.at:
            return []
        names = tuple(context)
        leading = self._leading.get(names)
        if leading is None:
            leading = tuple([name for name in names if _may_lead(name, self.tops)])
            _remember(self._leading, names, leading)
        return [(name, context[name]) for name in leading] if leading else []

    def unknown(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Those of some top-level names that no contract gives: each may be a value."""
        if not self.at:
            return ()
        unknown = self._unknown.get(names)
        if unknown is None:
            unknown = tuple([name for name in names if name not in self.names])
            _remember(self._unknown, names, unknown)
        return unknown

    def cut(self, place: str) -> str:
        """A dotted name inside a context, as far as its members are no part of what is classified:
        the names in a classified object may be values themselves."""
        steps = self._steps(place)[: self.deepest]
        return next((".".join(part) for part in _beginnings(steps) if part in self.at), place)

    def _spelled(self, member: str | None) -> tuple[Path, ...]:
        """What the name of a member may stand for: itself, and the path that is spelled so."""
        if member is None:
            return ((),)
        alone = (member,)
        return (alone,) if _PATH_SIGNS.isdisjoint(member) else (alone, self._steps(member))

    def _steps(self, name: str) -> Path:
        """The names of a path, as far as it may matter: one more than the longest path has."""
        return _steps(name, self.deepest + 1)


_MAX_SHAPES, _MAX_CHARACTERS = 4096, 4000  # that are remembered, and of the names of one


def _remember(
    chosen: dict[tuple[str, ...], tuple[str, ...]], names: tuple[str, ...], found: tuple[str, ...]
) -> None:
    if sum(map(len, names)) <= _MAX_CHARACTERS:
        if len(chosen) >= _MAX_SHAPES:
            chosen.clear()
        chosen[names] = found


def _may_lead(name: str, tops: frozenset[str]) -> bool:
    """Whether a top-level name may lead to what is classified: it may be spelled as a path is."""
    return name in tops or not _PATH_SIGNS.isdisjoint(name)


def classify(fields: Iterable[Named]) -> Classified:
    """What follows from the fields of all contracts of one workflow."""
    fields = list(fields)
    known = [tuple(map(_steps, field.names)) for field in fields]
    inside: defaultdict[Path, list[int]] = defaultdict(list)  # fields with a name there or in it
    exactly: defaultdict[Path, list[int]] = defaultdict(list)
    for number, names in enumerate(known):
        for name in names:
            exactly[name].append(number)
            for part in _beginnings(name):
                inside[part].append(number)

    at: set[Path] = set()
    above: set[Path] = set()
    pending = [number for number, field in enumerate(fields) if field.classified]
    while pending:
        for name in known[pending.pop()]:
            if name not in at:
                at.add(name)
                pending += inside[name]

    # What takes an object whole with something classified inside: nobody knows where it is then.
    found = list(at)
    while found:
        path = found.pop()
        holders = [known[number][0] for number in inside[path]]
        for part in _beginnings(path[:-1]):
            if part not in above:
                above.add(part)
                holders += [
                    known[number][0] for number in exactly[part] if known[number][0] != part
                ]
        for name in holders:
            if not any(part in at for part in _beginnings(name)):
                at.add(name)
                found.append(name)
    tops = frozenset(path[0] for path in at | above)
    given = {name for field in fields for name in field.names}
    given |= {path[0] for names in known for path in names}
    lasts = frozenset(path[-1] for path in at)
    deepest = max(map(len, at), default=0)
    return Classified(
        at=frozenset(at),
        above=frozenset(above),
        tops=tops,
        lasts=lasts,
        names=frozenset(given),
        deepest=deepest,
    )


def _steps(name: str, most: int = values.MAX_DEPTH) -> Path:
    """The first names of a path, as far as the first list: nobody knows which element has what. Of
    a path that is cut so all in the last object counts."""
    if _LIST_SIGNS.isdisjoint(name):
        top, *rest = name.split(".", most)[:most]
    else:
        path = paths.read(name)
        top = path.top
        rest = list(takewhile(lambda step: isinstance(step, str), path.rest[: most - 1]))  # type: ignore[arg-type]
    return (top, *takewhile(lambda step: paths.index_of(step) is None, rest))


def _beginnings(path: Path) -> Iterator[Path]:
    """A path's beginnings, the shortest first, and the path itself."""
    for length in range(1, len(path) + 1):
        yield path[:length]


# --- from documents -------------------------------------------------------------------------------


def fields_of(contract: HandoffContract) -> Iterator[Named]:
    """The fields of a contract."""
    for field in contract.fields:
        yield Named((field.name, *field.from_), field.classified)


def leading_to(contracts: Collection[HandoffContract]) -> Callable[[str], list[str]]:
    """For a workflow: itself, and those from which tasks go on in it. What is classified there
    comes along."""
    sources: dict[str, set[str]] = {}
    for contract in contracts:
        if contract.to.workflow is not None:
            sources.setdefault(contract.to.workflow, set()).add(contract.workflow)

    def before(workflow: str) -> list[str]:
        found, pending = {workflow}, [workflow]
        while pending:
            more = sources.get(pending.pop(), set()) - found
            found |= more
            pending += sorted(more)
        return sorted(found)

    return before


class _Field(Struct, rename={"from_": "from"}):
    name: str
    from_: str | list[str] | None = None
    classification: str | list[str] | None = None


_field = msgspec.json.Decoder(_Field).decode


class Outline(Struct):
    """A contract that cannot be used, as far as it says what it classifies: that still holds."""

    workflow: str
    fields: list[Raw] = []

    def named(self) -> Iterator[Named]:
        """Its fields, as `fields_of` gives those of another. Of a field that is none, every text in
        it counts as a name, and as classified where it says anything of that."""
        for raw in self.fields:
            try:
                field = _field(raw)
            except msgspec.ValidationError:
                names = [text for _, text in values.strings(bytes(raw), "")]
                said = "classification" in (values.members(bytes(raw)) or {})
                if names:
                    yield Named(tuple(names), said)
                continue
            names = [field.from_] if isinstance(field.from_, str) else field.from_ or []
            given = field.classification or []
            tags = [given] if isinstance(given, str) else given
            yield Named((field.name, *names), is_classified(tags))


def outline(value: bytes) -> Outline | None:
    """What can be told of a record of `handoff.contracts` that is no usable document."""
    try:
        return msgspec.json.decode(value, type=Outline)
    except UNREADABLE:
        return None
