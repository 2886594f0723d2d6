"""How fast a program commits what lies on its input: whole run and second half."""

import time
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from bench.site import PATIENCE, BenchError, Process, Site

_LOOK_SECONDS = 0.02


class Rate(msgspec.Struct):
    """`events` committed in `wall` seconds and `cpu` seconds of the processes (None: unknown)."""

    events: int
    wall: float
    cpu: float | None

    @property
    def a_second(self) -> float:
        """Events a second of wall time."""
        return self.events / self.wall

    @property
    def a_cpu_second(self) -> float | None:
        """Events a second of CPU time, over all threads."""
        return None if not self.cpu else self.events / self.cpu

    def __str__(self) -> str:
        cpu = self.a_cpu_second
        return f"{self.a_second:9,.0f}/s" + (f", {cpu:9,.0f} a CPU second" if cpu else "")


class MeasuredRun(msgspec.Struct):
    """A run from its first commit on, and the half of it when a just-in-time compiler has warmed
    up."""

    whole: Rate
    second_half: Rate


class _Look(NamedTuple):
    committed: int
    at: float
    cpu: float | None

    def until(self, later: "_Look") -> Rate:
        cpu = None if self.cpu is None or later.cpu is None else later.cpu - self.cpu
        return Rate(later.committed - self.committed, later.at - self.at, cpu)


def follow(
    site: Site,
    group: str,
    processes: Sequence[Process],
    events: int,
    topic: str = "handoff.tool-outputs",
    *,
    in_transactions: bool = False,
) -> MeasuredRun:
    """Watch a group until it has committed all events of a topic.

    From the first commit that is seen to the last: starting up is not measured. What was done
    before that first look counts neither as events nor as time. Where the topic is written
    `in_transactions`, their marks have offsets, too: few, and they count as events. Raises
    `BenchError` where that was all of it, where a process ends, or where it goes on no more.
    """
    first = half = now = _look(site, group, processes, topic)
    limit = time.monotonic() + PATIENCE
    while now.committed < events:
        if first.committed == 0:
            first = now
        if 2 * half.committed < first.committed + events:
            half = now
        time.sleep(_LOOK_SECONDS)
        before, now = now, _look(site, group, processes, topic)
        if now.committed > before.committed:
            limit = time.monotonic() + PATIENCE
        elif time.monotonic() > limit:
            break
    if now.committed != events and not (in_transactions and now.committed > events):
        raise BenchError(f"{group} committed {now.committed:,} of {events:,} records")
    if first.committed == 0 or first.committed >= events:
        raise BenchError(f"{group} was done before it could be measured: take more --events")
    return MeasuredRun(first.until(now), half.until(now))


def _look(site: Site, group: str, processes: Sequence[Process], topic: str) -> _Look:
    for process in processes:
        process.check()
    committed, at = site.committed(group, topic), time.perf_counter()
    cpu = 0.0
    for process in processes:
        used = process.cpu()
        if used is None:
            return _Look(committed, at, None)
        cpu += used
    return _Look(committed, at, cpu)
