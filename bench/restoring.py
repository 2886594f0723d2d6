"""How long a processor takes to have its state back from the changelog, when its process starts
anew: reading the records, and looking when each task wants to be woken."""

import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import msgspec

from bench.site import ROOT, Site, wait_for
from bench.workload import OUTPUTS_A_ROUND, make

STARTS = 3
_JUDGED_SECONDS = 1_800.0


class Restored(msgspec.Struct):
    """Seconds, the median of some starts, from the first record of the changelog that is asked for
    until the inputs are read. `program` is "integrity" or "beside". The changelog has `records`, of
    all that the tasks wrote: whatever cleans it had no time for that yet."""

    program: str
    tasks: int
    records: int
    seconds: float

    def __str__(self) -> str:
        return f"{self.program:10}{self.records:11,} records in {self.seconds:.1f} s"


def measure(
    servers: str, tasks: int, directory: Path, say: Callable[[str], None], beside: Path | None
) -> list[Restored]:
    """So many tasks of four outputs each; the integrity of the checkout `beside`, too, where one is
    named. Raises `BenchError` when a state is missing."""
    say(f"restoration of {tasks:,} tasks")
    workload = make(tasks * OUTPUTS_A_ROUND, time.time_ns() // 1_000_000)
    found: list[Restored] = []
    for program, checkout in (("integrity", ROOT), ("beside", beside)):
        if checkout is None:
            continue
        site = Site(servers, f"restored-{program}", checkout=checkout)
        site.load(workload.records)
        with site.processor(directory) as process:
            judged = partial(process.has_states, tasks)
            wait_for("a state for each task", process, judged, _JUDGED_SECONDS)
            group, events = site.group(), len(workload.records)
            wait_for("all committed", process, lambda: site.committed(group) == events)  # noqa: B023
            process.end(signal.SIGTERM)
        starts = [_start(site, directory, tasks) for _ in range(STARTS)]
        records = int(starts[0]["handoff_restored_records_total"])
        seconds = median(start["handoff_restore_seconds"] for start in starts)
        found.append(Restored(program, tasks, records, seconds))
        say(f"  {found[-1]}")
    return found


def _start(site: Site, directory: Path, tasks: int) -> dict[str, float]:
    """The metrics of a process that has its state back."""
    with site.processor(directory) as process:
        wait_for("its state", process, partial(process.has_states, tasks), _JUDGED_SECONDS)
        return process.metrics("integrity")
