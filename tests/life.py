"""Players of the life of handoffs: tools, receivers and people, who go by what is published.

What becomes of a task is a tale (`life_tales`), drawn from a seed. A player says a thing when all
that it waits for was heard, so whoever drives them, a broker or a clock that is only a number,
decides how it all interleaves.
"""

import heapq
import json
import random
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from schemas.flow import Output, Record
from schemas.records import Package, Signal
from tests.life_tales import ACKS, AMENDMENTS, OUTPUTS, TALES, Step

PACKAGES = "handoff.packages"
HELD = "handoff.held"
SIGNALS = "handoff.signals"
SPOKEN = (OUTPUTS, ACKS, AMENDMENTS)
HEARD = (PACKAGES, HELD, SIGNALS)

_package = msgspec.json.Decoder(Package).decode
_signal = msgspec.json.Decoder(Signal).decode


class Saying(NamedTuple):
    """A record that a player sends now."""

    topic: str
    key: bytes
    value: bytes


class _Play:
    """One task: what was heard of it, and what is still to be said."""

    def __init__(self, task: str, steps: list[Step]) -> None:
        self.task = task
        self.steps = steps
        self.waiting = list(range(len(steps)))
        self.heard: set[str] = set()
        self.told: Counter[str] = Counter()  # signals by kind
        self.handoffs: list[str] = []
        self.last = 0  # no two things happen in one millisecond, so that effects tell their cause


class Players:
    """All of them, over `tasks` tasks that begin within `seconds` of `began` (epoch ms)."""

    def __init__(self, seed: int, tasks: int, began: int, seconds: float) -> None:
        pick = random.Random(seed)
        self._plays: dict[str, _Play] = {}
        self._agenda: list[tuple[int, int, str, int]] = []  # when, tie-breaker, task, step
        self._scheduled = 0
        kinds = [kind for kind, weight in TALES for _ in range(weight)]
        for number in range(tasks):
            task = f"claim-{number:04d}"
            play = self._plays[task] = _Play(task, list(kinds[number % len(kinds)](pick)))
            self._look(play, began + int(pick.uniform(0, seconds) * 1000))

    @property
    def done(self) -> bool:
        """Whether everything was said. What waits for something unheard is never said."""
        return not self._agenda and not any(play.waiting for play in self._plays.values())

    def waiting(self) -> list[str]:
        """What is still to be heard, for whoever waits in vain."""
        return [
            f"{play.task}: {play.steps[n].after!r} (heard {sorted(play.heard)})"
            for play in self._plays.values()
            for n in play.waiting
        ]

    def hear(self, record: Record | Output, now: int) -> None:
        """Take note of a published record; what is about other tasks is nobody's business."""
        if record.value is None:
            return
        if record.topic == SIGNALS:
            signal = _signal(record.value)
            play = self._plays.get(signal.task_id)
            if play is None:
                return
            play.told[signal.kind] += 1
            marks = {signal.kind, f"{signal.kind}-{play.told[signal.kind]}"}
        else:
            package = _package(record.value)
            play = self._plays.get(package.task_id)
            if play is None:
                return
            marks = {f"revision-{package.revision}"}
            if package.revision == 1:
                play.handoffs.append(package.id)
                marks.add(f"begun-{len(play.handoffs)}")
        play.heard |= marks
        self._look(play, now)

    def _look(self, play: _Play, now: int) -> None:
        # Signals may be heard before the package that they are about.
        known = play.heard if play.handoffs else set()
        for number in list(play.waiting):
            step = play.steps[number]
            if known.issuperset(step.after.split()):
                play.waiting.remove(number)
                self._scheduled += 1
                at = now + int(step.wait * 1000)
                heapq.heappush(self._agenda, (at, self._scheduled, play.task, number))

    def say(self, now: int) -> Iterator[Saying]:
        """What is to be said by `now`, in order."""
        while self._agenda and self._agenda[0][0] <= now:
            _, _, task, number = heapq.heappop(self._agenda)
            play = self._plays[task]
            step = play.steps[number]
            play.last = max(now, play.last + 1)
            named = f"{task}-elsewhere" if step.elsewhere else task
            body = step.body | {
                "id": f"{task}-{number}",
                "task_id": named,
                "workflow": "claim",
                "occurred_at": play.last,
            }
            if step.topic != OUTPUTS:
                places = {"first": 0, "last": -1}
                known = step.which in places
                body["handoff_id"] = play.handoffs[places[step.which]] if known else "h-nobody"
            for _ in range(step.times):
                yield Saying(step.topic, named.encode(), json.dumps(body).encode())
