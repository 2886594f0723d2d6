"""Draft contracts for undocumented edges, from what was really carried over them. Pure.

A draft is YAML that `contracts lint` reads and `contracts apply` refuses, until a person has named
an owner. Names come from senders, so each is quoted where YAML would read it as something else.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from typing import Final, NamedTuple, get_args

from msgspec.structs import replace
from pydantic_core import PydanticCustomError

from console.yaml_text import scalar
from schemas.documents import ANY_STAGE, EDIT
from schemas.records import MAX_NAME_BYTES, Edge
from schemas.values import JsonType, check_path

MOST: Final = 50  # drafts that a person reads
ENOUGH: Final = 0.95  # of the undocumented moves: what is left is rare
MANY: Final = 4  # stages that lead to one place, from which on one draft says '*'
REQUIRED_SHARE: Final = 0.95  # a field that nearly every move carried is a candidate for required
_MAX_ID = 100
_TYPES: Final = frozenset(get_args(JsonType))


class Draft(NamedTuple):
    """A draft contract: its id, its YAML with the evidence as comments, and how many moves it
    covers."""

    id: str
    text: str
    moves: int


class Drafts(NamedTuple):
    """The drafts that cover most, the moves that none of them covers, and the edges whose names no
    contract can hold."""

    made: list[Draft]
    left: int
    unnameable: list[Edge]

    @property
    def covered(self) -> float:
        """The share of the undocumented moves that the drafts cover, 0 to 1."""
        moves = sum(draft.moves for draft in self.made)
        return moves / (moves + self.left) if moves + self.left else 1.0


def drafts(
    edges: Iterable[Edge], taken: Collection[str], most: int | None = MOST, share: float = ENOUGH
) -> Drafts:
    """Drafts for undocumented edges, those that cover most moves first: one for any stage where
    many stages lead to the same one, else one for each pair.

    They end when `share` of the moves are covered, or at the `most`; None: never. No id is one of
    those `taken`.
    """
    edges = list(edges)
    ids = {each.lower() for each in taken}
    unnameable: list[Edge] = []
    by_end: dict[tuple[str, str, str, str], list[Edge]] = {}
    for edge in edges:
        if edge.documented:
            continue
        names = edge.workflow, *edge.origin, edge.to
        if all(map(_is_name, names)) and (edge.from_,) != ANY_STAGE:
            end = edge.origin[0], edge.workflow, edge.kind, edge.to
            by_end.setdefault(end, []).append(edge)
        else:
            unnameable.append(edge)
    groups = [
        group
        for each in by_end.values()
        for group in ([each] if len(each) >= MANY else [[edge] for edge in each])
    ]
    order = {id(edge): number for number, edge in enumerate(edges)}
    groups.sort(key=lambda group: (-sum(edge.moves for edge in group), order[id(group[0])]))
    left = sum(edge.moves for group in groups for edge in group)
    enough = left * (1 - share)
    made: list[Draft] = []
    for group in groups:
        if most is not None and (len(made) >= most or (made and left <= enough)):
            break
        moves = sum(edge.moves for edge in group)
        together = group[0] if len(group) == 1 else _together(group)
        id_ = _id(together, ids)
        ids.add(id_)
        made.append(Draft(id_, "\n".join(_document(together, id_, group)) + "\n", moves))
        left -= moves
    return Drafts(made, left, unnameable)


def _together(edges: list[Edge]) -> Edge:
    """Several edges into one place as one from anywhere."""
    moves = sum(edge.moves for edge in edges)
    shares: Counter[str] = Counter()
    types: dict[str, Counter[str]] = {}
    counts: Counter[str] = Counter()
    for edge in edges:
        counts.update(edge.counts)
        for name, share in edge.fields.items():
            shares[name] += share * edge.moves  # type: ignore[assignment]
        for name, found in edge.types.items():
            types.setdefault(name, Counter()).update(found)
    return replace(
        edges[0],
        from_=ANY_STAGE[0],
        moves=moves,
        tasks=sum(edge.tasks for edge in edges),
        fields={name: share / moves for name, share in shares.items()},
        types={name: [each for each, _ in found.most_common()] for name, found in types.items()},
        counts=dict(counts),
        first_seen=min(edge.first_seen for edge in edges),
        last_seen=max(edge.last_seen for edge in edges),
    )


def _is_name(text: str) -> bool:
    return bool(text.strip()) and len(text.encode()) <= MAX_NAME_BYTES


def _id(edge: Edge, taken: Collection[str]) -> str:
    came_from = "any" if (edge.from_,) == ANY_STAGE else _slug(edge.from_, "stage")
    name = "-to-".join((came_from, _slug(edge.to, edge.kind)))
    base = f"{_slug(edge.workflow, 'workflow')}-{name}"[:_MAX_ID].rstrip("-")
    number, found = 1, base
    while found in taken:
        number += 1
        found = f"{base}-{number}"
    return found


def _slug(name: str, otherwise: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower())[:_MAX_ID].strip("-") or otherwise


def _document(edge: Edge, id_: str, edges: list[Edge]) -> Iterator[str]:
    yield from _evidence(edge)
    if len(edges) > 1:
        busiest = max(edges, key=lambda each: each.moves)
        yield (
            f"# From {len(edges)} stages, most often from {scalar(busiest.from_)} "
            f"({busiest.moves:,} of {edge.moves:,})."
        )
    yield "kind: HandoffContract"
    yield f"id: {scalar(id_)}"
    yield "version: 1"
    yield "status: draft"
    yield "owner: UNKNOWN  # name a person: {name: ..., contact: ...}"
    whither = "the stage" if edge.kind == "move" else "the receiver"
    before, stage = edge.origin
    whence = "any stage" if len(edges) > 1 else f"the stage {stage}"
    if edge.from_workflow is not None:
        whence += f" of {before}"
    action = f"{EDIT} say what is to be done with what comes from {whence} to {whither} {edge.to}."
    yield f"action: {scalar(action)}"
    yield f"workflow: {scalar(before)}"
    yield "from:"
    yield f"  stage: {scalar(stage)}"
    yield "to:"
    if edge.kind == "move":
        receiver = _slug(edge.to, "receiver")
        yield f"  receiver: {scalar(receiver)}  # a placeholder: no handoff named one"
        if edge.from_workflow is not None:
            yield f"  workflow: {scalar(edge.workflow)}"
        yield f"  stage: {scalar(edge.to)}"
    elif re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}", edge.to, re.ASCII):
        yield f"  receiver: {scalar(edge.to)}"
    else:
        receiver = _slug(edge.to, "receiver")
        yield f"  receiver: {scalar(receiver)}  # the senders write {scalar(edge.to)}: no id"
    yield from _fields(edge)


def _evidence(edge: Edge) -> Iterator[str]:
    what = "moved" if edge.kind == "move" else "handed off"
    counts = edge.counts
    yield (
        f"# Observed: {_times(edge.moves)} {what}, {_tasks(edge.tasks)}, "
        f"{edge.first_seen:%Y-%m-%d} to {edge.last_seen:%Y-%m-%d}."
    )
    if edge.kind == "move":
        yield f"# Without any handoff: {counts.get('bare', 0):,} of {edge.moves:,}."
        back, again = counts.get("ping_pongs", 0), counts.get("loops", 0)
        yield f"# Back to where the task just came from: {back:,}; to a stage before: {again:,}."
    else:
        yield f"# With a named owner: {counts.get('owned', 0):,} of {edge.moves:,}."


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number:,} times"


def _tasks(number: int) -> str:
    return "1 task" if number == 1 else f"{number:,} tasks"


def _fields(edge: Edge) -> Iterator[str]:
    declared: list[str] = []
    left: list[str] = []
    for name, share in sorted(edge.fields.items(), key=lambda item: (-item[1], item[0])):
        try:
            check_path(name)
        except PydanticCustomError:
            left.append(name)
            continue
        if not _is_name(name):
            left.append(name)
            continue
        declared.append(f"  - name: {scalar(name)}  # carried by {_percent(share)}")
        types = [each for each in edge.types.get(name, ()) if each in _TYPES]
        if "number" in types:  # every integer is a number
            types = [each for each in types if each != "integer"]
        if types:
            listed = ", ".join(map(scalar, types))
            declared.append(f"    type: {listed if len(types) == 1 else f'[{listed}]'}")
        declared.append(f"    required: {'true' if share >= REQUIRED_SHARE else 'false'}")
    if declared:
        yield "fields:"
        yield from declared
    else:
        yield "fields: []  # nothing was carried"
    for name in left:
        yield f"# Carried too, under a name that no contract can hold: {scalar(name)}"


def _percent(share: float) -> str:
    """Never rounded up to all of them."""
    return f"{int(share * 1000 + 1e-6) / 10:g} %"
