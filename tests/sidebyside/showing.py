"""A difference for people: both records side by side, and how it came to that."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from tests.sidebyside.compare import RunDifference
from tests.sidebyside.player import Out
from tests.sidebyside.worlds import PlayedWorld
from tests.simulated import telling

WIDTH = 600  # characters of a value or an input
_NOT_THERE = "(nothing)"


def shown(difference: RunDifference) -> Iterator[str]:
    """What differs, member by member."""
    yield f"  {difference.what} of {difference.about}: {difference.sentence}"
    ours, theirs = difference.ours, difference.theirs
    if ours is None or theirs is None:
        for side, only in (("here", ours), ("there", theirs)):
            if only is not None:
                yield f"    only {side}: {_cut(_at_once(only))}"
        return
    mine, others = _members(ours), _members(theirs)
    names = sorted(mine.keys() | others.keys())
    differing = [name for name in names if mine.get(name) != others.get(name)]
    if not differing and isinstance(ours, Out):
        # The order of members, the spelling of a number.
        differing, mine, others = (
            ["value"],
            {"value": repr(ours.value)},
            {"value": repr(theirs.value)},
        )
    for name in differing:
        yield f"    {name}"
        yield f"      here   {_cut(mine.get(name, _NOT_THERE))}"
        yield f"      there  {_cut(others.get(name, _NOT_THERE))}"
    yield f"    ({len(names) - len(differing)} more are the same)"


def _at_once(only: Any) -> str:
    return (
        f"{_time(only.now)} {telling.output(only.output())}" if isinstance(only, Out) else str(only)
    )


def timeline(world: PlayedWorld) -> Iterator[str]:
    """The steps of a world, the last one last."""
    yield f"  {len(world.steps)} steps, limits: {telling.limits(world.limits) or 'the defaults'}"
    for step in world.steps:
        ending = world.endings.get(step.number, "")
        text = _cut(telling.what(step))
        yield f"    {_time(step.at)}  [{step.number}] {text}{f'  ({ending})' if ending else ''}"


def _members(side: Any) -> dict[str, str]:
    """A record, a sum or a traceback as texts by the path of each member."""
    if isinstance(side, str):
        return {"": side}
    if not isinstance(side, Out):
        return dict(_flat(side, ""))
    found = {
        "step": str(side.step),
        "clock": _time(side.now),
        "topic": side.topic,
        "key": repr(side.key),
    }
    found |= {f"header {name}": repr(value) for name, value in side.headers}
    try:
        found |= _flat(json.loads(side.value or b"null"), "value")
    except ValueError:
        found["value"] = repr(side.value)
    return found


def _flat(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _flat(inner, f"{path}.{name}" if path else name)
    else:
        yield path, json.dumps(value, ensure_ascii=False)


def _time(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).isoformat(sep=" ", timespec="milliseconds")


def _cut(text: str) -> str:
    return text if len(text) <= WIDTH else f"{text[:WIDTH]}... ({len(text):,} characters)"
