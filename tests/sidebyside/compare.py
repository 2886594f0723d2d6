"""Two players side by side: whether they publish the same, and the smallest world where not."""

import json
import math
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from tests.fed import fed, told
from tests.sidebyside import player
from tests.sidebyside.player import Out, Result
from tests.sidebyside.worlds import PlayedWorld
from tests.simulated.shrink import fewer
from tests.simulation import by_task

SECONDS: Final = 60  # to make a world smaller
# It names lines of the code; what is said beside it has to be the same.
STACK_TRACE: Final = "__streams.errors.stacktrace"
SUMS_MAY_DIFFER_BY: Final = 1e-9  # of a sum of fractions, relatively

Key = TypeVar("Key", bound=Hashable)


class RunDifference(NamedTuple):
    """One thing that is not the same: `what` kind of thing, of which task or subject, a sentence,
    and the two sides (None: it is not there)."""

    what: str
    about: str
    sentence: str
    ours: Any = None
    theirs: Any = None


class Compared(NamedTuple):
    """Of one world: how many records were compared, whether something was forgotten because of the
    limits, and what differs."""

    records: int
    cut: bool
    differences: list[RunDifference]


class Pair:
    """Two checkouts, a process each. Hashes of texts are salted otherwise in each of them: what is
    published must not go by the order of a set."""

    def __init__(self, ours: Path, theirs: Path) -> None:
        self._open = ExitStack()
        self._players = [
            self._open.enter_context(_started(checkout, salt))
            for salt, checkout in enumerate((ours, theirs))
        ]

    def __enter__(self) -> "Pair":
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def play(self, world: PlayedWorld) -> tuple[Result, Result]:
        """What both make of a world."""
        message = world.played()
        for each in self._players:
            player.write(_pipe(each.stdin), message)
        ours, theirs = (player.read(_pipe(each.stdout), Result) for each in self._players)
        if ours is None or theirs is None:
            raise SystemExit(f"a player ended while it played {world.name}")
        return ours, theirs

    def compare(self, world: PlayedWorld) -> Compared:
        """Play a world on both sides; what differs."""
        ours, theirs = self.play(world)
        counts = ours.counts.keys() | theirs.counts.keys()
        cut = any(name.startswith("captures_forgotten") for name in counts)
        records = len(ours.records) + len(ours.insights)
        return Compared(records, cut, list(differences(ours, theirs)))

    def shrunken(self, world: PlayedWorld, first: RunDifference) -> PlayedWorld:
        """A smaller world in which the same kind of thing differs."""
        until = time.monotonic() + SECONDS

        def fails(other: PlayedWorld) -> bool:
            if time.monotonic() > until:
                return False
            return any(each.what == first.what for each in self.compare(other).differences)

        def of(tasks: Sequence[str]) -> PlayedWorld:
            kept = {"", *tasks}
            return world.keeping(step for step in world.steps if step.task in kept)

        tasks: Sequence[str] = sorted({step.task for step in world.steps if step.task})
        alone = [task for task in tasks if f"/{first.about}".endswith(f"/{task}")]
        if alone and fails(of(alone)):
            tasks = alone
        else:
            tasks = fewer(tasks, lambda some: fails(of(some)))
        small = of(tasks)
        small = small.keeping(fewer(small.steps, lambda steps: fails(small.keeping(steps))))
        return small.committed() if fails(small.committed()) else small


def _started(checkout: Path, salt: int) -> "subprocess.Popen[bytes]":
    env = os.environ | {"PYTHONPATH": str(checkout), "PYTHONHASHSEED": str(salt)}
    command = [sys.executable, "-P", player.__file__]
    started = subprocess.Popen(
        command, env=env, cwd=checkout, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    where = player.read(_pipe(started.stdout), str)
    if where is None or checkout.resolve() not in Path(where).resolve().parents:
        raise SystemExit(f"{checkout}: its cores cannot be played ({where or 'see above'})")
    return started


def _pipe(stream: Any) -> Any:
    assert stream is not None
    return stream


# --- what differs ---------------------------------------------------------------------------------


def differences(ours: Result, theirs: Result) -> Iterator[RunDifference]:
    """What two results do not have in common: records, counts, sums, then what insights tells.

    Records are compared byte by byte, in their order within a task; sums and what insights makes of
    them as JSON, fractions up to `SUMS_MAY_DIFFER_BY`."""
    for side, result in (("this checkout", ours), ("the other one", theirs)):
        if result.error:
            last = result.error.strip().splitlines()[-1]
            yield RunDifference("fails", side, f"{side} fails: {last}", ours.error, theirs.error)
    yield from _in_turn("records", by_task(ours.records), by_task(theirs.records))
    for name in sorted(ours.counts.keys() | theirs.counts.keys()):
        one, other = ours.counts.get(name, 0), theirs.counts.get(name, 0)
        if one != other:
            yield RunDifference("counts", name, f"{name} is {one}, and {other} there")
    sums, others = _sums(ours.told), _sums(theirs.told)
    for subject in sorted(sums.keys() | others.keys()):
        one_sum, other_sum = sums.get(subject), others.get(subject)
        if not alike(one_sum, other_sum):
            yield RunDifference("sums", subject, "insights is told other sums", one_sum, other_sum)
    yield from _in_turn("insights", _by_subject(ours.insights), _by_subject(theirs.insights))


def _in_turn(
    what: str, ours: Mapping[str, list[Out]], theirs: Mapping[str, list[Out]]
) -> Iterator[RunDifference]:
    """The first record of each task that is another one, or that is missing."""
    for about in sorted(ours.keys() | theirs.keys()):
        mine, others = ours.get(about, []), theirs.get(about, [])
        size = f"{len(mine)} records, and {len(others)} there"
        for at in range(max(len(mine), len(others))):
            one = mine[at] if at < len(mine) else None
            other = others[at] if at < len(others) else None
            if one is None or other is None or not _same(one, other, exact=what == "records"):
                yield RunDifference(what, about, f"{size}; number {at + 1} differs", one, other)
                break


def _same(one: Out, other: Out, exact: bool) -> bool:
    place = one.step, one.now, one.topic, one.key, _headers(one)
    if place != (other.step, other.now, other.topic, other.key, _headers(other)):
        return False
    return one.value == other.value or (not exact and alike(_json(one), _json(other)))


def _headers(out: Out) -> list[tuple[str, bytes]]:
    return [
        (name, b"..." if name == STACK_TRACE and value else value) for name, value in out.headers
    ]


def _json(out: Out) -> Any:
    return None if out.value is None else json.loads(out.value)


def alike(one: Any, other: Any) -> bool:
    """Equal as JSON; 1, 1.0 and true are three things, and fractions may differ in the last bit."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(alike(one[name], other[name]) for name in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, float):
        return math.isclose(one, other, rel_tol=SUMS_MAY_DIFFER_BY)
    return bool(one == other)


def _by_subject(outs: Sequence[Out]) -> dict[str, list[Out]]:
    found: dict[str, list[Out]] = defaultdict(list)
    for out in outs:
        found[f"{out.topic} {(out.key or b'').decode(errors='replace')}"].append(out)
    return found


def _sums(told_: Sequence[Out]) -> dict[str, Any]:
    """All that insights was told of each subject."""
    return told(fed(each.output() for each in told_))
