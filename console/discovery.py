"""Draft contracts for undocumented edges, from what was really carried over them. Pure.

A draft is YAML that `contracts lint` reads and `contracts apply` refuses, until a person has named
an owner. Names come from senders, so each is quoted where YAML would read it as something else.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from typing import Final, NamedTuple, get_args

from pydantic_core import PydanticCustomError

from console.yaml_text import scalar
from schemas.documents import ANY_STAGE, EDIT
from schemas.records import MAX_NAME_BYTES, Edge
from schemas.values import JsonType, check_path

REQUIRED_SHARE: Final = 0.95  # a field that nearly every move carried is a candidate for required
_MAX_ID = 100
_TYPES: Final = frozenset(get_args(JsonType))


class Draft(NamedTuple):
    """A draft contract: its id, and its YAML with the evidence as comments."""

    id: str
    text: str


def drafts(edges: Iterable[Edge], taken: Collection[str]) -> tuple[list[Draft], list[Edge]]:
    """One draft for each undocumented edge, and the edges whose names no contract can hold.

    No id is one of those `taken`.
    """
    ids = {each.lower() for each in taken}
    made: list[Draft] = []
    unnameable: list[Edge] = []
    for edge in edges:
        if edge.documented:
            continue
        names = edge.workflow, edge.from_, edge.to
        if not all(map(_is_name, names)) or (edge.from_,) == ANY_STAGE:
            unnameable.append(edge)
            continue
        id_ = _id(edge, ids)
        ids.add(id_)
        made.append(Draft(id_, "\n".join(_document(edge, id_)) + "\n"))
    return made, unnameable


def _is_name(text: str) -> bool:
    return bool(text.strip()) and len(text.encode()) <= MAX_NAME_BYTES


def _id(edge: Edge, taken: Collection[str]) -> str:
    name = "-to-".join((_slug(edge.from_, "stage"), _slug(edge.to, edge.kind)))
    base = f"{_slug(edge.workflow, 'workflow')}-{name}"[:_MAX_ID].rstrip("-")
    number, found = 1, base
    while found in taken:
        number += 1
        found = f"{base}-{number}"
    return found


def _slug(name: str, otherwise: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower())[:_MAX_ID].strip("-") or otherwise


def _document(edge: Edge, id_: str) -> Iterator[str]:
    yield from _evidence(edge)
    yield "kind: HandoffContract"
    yield f"id: {scalar(id_)}"
    yield "version: 1"
    yield "status: draft"
    yield "owner: UNKNOWN  # name a person: {name: ..., contact: ...}"
    whither = "the stage" if edge.kind == "move" else "the receiver"
    action = (
        f"{EDIT} say what is to be done with what comes from the stage {edge.from_} "
        f"to {whither} {edge.to}."
    )
    yield f"action: {scalar(action)}"
    yield f"workflow: {scalar(edge.workflow)}"
    yield "from:"
    yield f"  stage: {scalar(edge.from_)}"
    yield "to:"
    if edge.kind == "move":
        receiver = _slug(edge.to, "receiver")
        yield f"  receiver: {scalar(receiver)}  # a placeholder: no handoff named one"
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
