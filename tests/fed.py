"""What must hold of all that insights was told (the feed), whoever told it."""

import json
from collections import Counter
from collections.abc import Iterable
from functools import reduce
from typing import Any, Final

import msgspec

from processors.insights.processor import FEED
from schemas.feed import (
    CLEAN_RUN,
    EDGE_COUNTS,
    EdgePart,
    JudgedPart,
    Part,
    PatternPart,
    subject,
    subject_of,
)
from schemas.flow import Output
from schemas.serde import utc

MAX_SUBJECT: Final = 1000  # characters of a subject, and of a name in a part
MAX_NAME: Final = 200
WAYS: Final = ("completed", "returned", "rejected", "superseded", "discarded", "expired")

_part = msgspec.json.Decoder[Part](Part).decode


def fed(published: Iterable[Output]) -> dict[str, Part]:
    """What all records of the feed together tell of each subject."""
    parts: dict[str, list[Part]] = {}
    for output in published:
        assert output.topic == FEED
        assert output.key is not None
        assert output.value is not None
        part = _part(output.value)
        parts.setdefault(subject_of(output.key.decode(), part), []).append(part)
    return {subject_: total(each) for subject_, each in parts.items()}


def total(parts: Iterable[Any]) -> Any:
    """The parts of one subject together, at least one: those of an edge over all hours."""
    return reduce(lambda one, other: one.plus(other), parts)


def told(parts: dict[str, Part]) -> dict[str, Any]:
    """Parts as JSON, their times written like those of a record.

    Sample tasks are sorted: their order is that of transactions, which is nobody's business. When
    handoffs were judged is left out.
    """
    found = {}
    for subject_, part in parts.items():
        if isinstance(part, JudgedPart):
            continue
        times = {name: utc(getattr(part, name)) for name in ("first_seen", "last_seen")}
        encoded = json.loads(msgspec.json.encode(part)) | msgspec.to_builtins(times)
        if isinstance(part, PatternPart):
            encoded["tasks"] = sorted(part.tasks)
        found[subject_] = encoded
    return found


def closes(parts: dict[str, Part], tasks: Iterable[Any]) -> None:
    """Of each edge of handoffs, begun = open + closed (`tasks` are the states that there are); and
    no part is larger than it may be."""
    still: Counter[str] = Counter()
    for task in tasks:
        for each in task.open:
            edge = subject("handoff", task.workflow, each.stage, each.receiver)
            if edge not in parts and "/" in each.stage:  # from a task of another workflow
                workflow, _, stage = each.stage.partition("/")
                edge = subject("handoff", workflow, stage, each.receiver)
            still[edge] += 1
    for subject_, part in parts.items():
        assert len(subject_) <= len("replay/") + MAX_SUBJECT
        if isinstance(part, JudgedPart):
            assert 0 < len(part.times) <= CLEAN_RUN
            assert list(part.times) == sorted(part.times, reverse=True)
            continue
        if not isinstance(part, EdgePart):
            assert all(len(name) <= MAX_NAME for name in (*part.tools, *part.stages, *part.tasks))
            assert len(part.from_ or "") <= MAX_NAME
            continue
        counts = part.counts
        assert counts.keys() <= set(EDGE_COUNTS)
        assert counts["moves"] >= counts.get("tasks", 0) > 0
        if part.kind == "handoff":
            assert counts["moves"] - counts.get("closed", 0) == still[subject_], subject_
            begun = sum(counts.get(how, 0) for how in ("declared", "triggered", "implicit"))
            assert begun == counts["moves"]
            assert sum(counts.get(way, 0) for way in WAYS) <= counts.get("closed", 0)
            good = counts.get("completed", 0) + counts.get("returned", 0)
            assert counts.get("in_time", 0) <= good <= counts.get("accepted", 0)
            sent = counts.get("sent", 0)
            assert counts.get("superseded", 0) + counts.get("in_time", 0) <= sent


def same(one: Any, other: Any) -> bool:
    """Equal as JSON: 1, 1.0 and true are three things; shares are compared to three digits."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        same_names = one.keys() == other.keys()
        return same_names and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float):
        return bool(abs(one - other) < 5e-4)
    return bool(one == other)
