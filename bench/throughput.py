"""Events a second: the pass-through, a core that costs nothing, integrity alone, with and without
waiting for its outputs, and both processors in one process, over the same preloaded records."""

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import median

import msgspec

from bench.site import PATIENCE, BenchError, Process, Site, wait_for
from bench.workload import Workload
from console.kafka import read_all
from processors.runtime.clients import group_id
from schemas.records import Violation

_LOOK_SECONDS = 0.02
_PROCESSORS = {
    "integrity": ("integrity",),
    "unwaited": ("integrity",),
    "both": ("integrity", "insights"),
}
PACKAGES, VIOLATIONS = "handoff.packages", "handoff.violations"
_violation = msgspec.json.Decoder(Violation).decode


class Rate(msgspec.Struct):
    """`events` committed in `wall` seconds and `cpu` seconds of the process (None: unknown)."""

    events: int
    wall: float
    cpu: float | None

    @property
    def a_second(self) -> float:
        """Events a second of wall time."""
        return self.events / self.wall

    @property
    def a_cpu_second(self) -> float | None:
        """Events a second of CPU time, over all threads of the process."""
        return None if not self.cpu else self.events / self.cpu


class Round(msgspec.Struct):
    """The programs over the same records, one after the other."""

    bare: Rate
    free: Rate
    integrity: Rate
    unwaited: Rate
    both: Rate

    @property
    def limit(self) -> float:
        """The share of the bare rate that no core can pass: it writes the same records."""
        return self.free.a_second / self.bare.a_second

    @property
    def ratio(self) -> float:
        """Integrity's share of the bare rate."""
        return self.integrity.a_second / self.bare.a_second

    @property
    def waited(self) -> float:
        """What is left of the rate, as outputs are delivered before the offsets are sent."""
        return self.integrity.a_second / self.unwaited.a_second

    @property
    def share(self) -> float:
        """What is left of integrity's rate with insights beside it."""
        return self.both.a_second / self.integrity.a_second


class Throughput(msgspec.Struct):
    """All rounds. `state_bytes` is encoded state a task, `insights_bytes` that of all subjects,
    `resident_bytes` what the process of both holds in memory at the end of the last round (None:
    unknown)."""

    rounds: list[Round]
    state_bytes: float
    insights_bytes: float
    resident_bytes: float | None

    @property
    def ratio(self) -> float:
        """The median of the rounds' ratios."""
        return median(each.ratio for each in self.rounds)

    @property
    def limit(self) -> float:
        """The median of the rounds' limits."""
        return median(each.limit for each in self.rounds)

    @property
    def waited(self) -> float:
        """The median of what is left of the rate by waiting."""
        return median(each.waited for each in self.rounds)

    @property
    def share(self) -> float:
        """The median of the rounds' shares."""
        return median(each.share for each in self.rounds)


def measure(
    servers: str, workload: Workload, rounds: int, directory: Path, say: Callable[[str], None]
) -> Throughput:
    """Let both programs take turns, `rounds` times. Raises `BenchError` when a package or a
    violation is missing or too many: what is fast and wrong is not measured."""
    found = Throughput([], 0.0, 0.0, None)
    for number in range(rounds):
        programs = ("bare", "free", *_PROCESSORS)
        loads = f"loading {len(workload.records):,} tool outputs for each program"
        say(f"round {number + 1} of {rounds}: {loads}")
        sites = {name: Site(servers, f"bench{number}{name}") for name in programs}
        for site in sites.values():
            site.load(workload.records)
        rates: dict[str, Rate] = {}
        # Whoever comes later finds the records in the page cache, so they take turns in that too.
        for program in programs[:: 1 if number % 2 == 0 else -1]:
            site = sites[program]
            if program in _PROCESSORS:
                rates[program] = _processor(site, program, workload, directory, found)
            else:
                rates[program] = _copy(site, program, workload, directory)
            if program != "bare":
                _check(site, workload)
        done = Round(**rates)
        found.rounds.append(done)
        say(f"  pass-through {_line(done.bare)}")
        say(f"  free core    {_line(done.free)}; {done.limit:.2f} of the pass-through")
        say(f"  integrity    {_line(done.integrity)}; {done.ratio:.2f} of the pass-through")
        say(f"  unwaited     {_line(done.unwaited)}; integrity has {done.waited:.2f} of it")
        say(f"  both         {_line(done.both)}; {done.share:.2f} of integrity alone")
    return found


def _line(rate: Rate) -> str:
    cpu = rate.a_cpu_second
    return f"{rate.a_second:9,.0f}/s" + (f", {cpu:9,.0f} a CPU second" if cpu else "")


def _copy(site: Site, program: str, workload: Workload, directory: Path) -> Rate:
    name, events = f"{site.settings.application_id}-copy", len(workload.records)
    run = site.pass_through if program == "bare" else site.free_core
    with run(directory, name, events) as process:
        group = group_id(site.settings.model_copy(update={"application_id": name}), "passthrough")
        return _rate(site, group, process, events)


def _processor(
    site: Site, program: str, workload: Workload, directory: Path, found: Throughput
) -> Rate:
    module = "bench.unwaited" if program == "unwaited" else "console.main"
    with site.processor(directory, _PROCESSORS[program], module) as process:
        rate = _rate(site, site.group(), process, len(workload.records))
        own: dict[str, float] = {}

        def measured() -> bool:  # it looks at its state once a second
            own.update(process.metrics("integrity"))
            return own.get("handoff_state_keys") == workload.handoffs

        wait_for("a state for each task", process, measured)
        found.state_bytes = own["handoff_state_bytes"] / workload.handoffs
        if program == "both":
            _read_whole_feed(process)
            found.insights_bytes = process.metrics("insights")["handoff_state_bytes"]
            found.resident_bytes = process.metrics().get("process_resident_memory_bytes")
        return rate


def _read_whole_feed(process: Process) -> None:
    """Wait until insights knows of all moves."""
    wait_for(
        "insights at the end of its feed",
        process,
        lambda: process.metrics("insights").get("handoff_lag_records") == 0,
    )


def _rate(site: Site, group: str, process: Process, events: int) -> Rate:
    """From the first commit that is seen to the last: starting up is not measured.

    What was done before that first look counts neither as events nor as time. Raises `BenchError`
    where that was all of it.
    """
    first: tuple[int, float, float | None] | None = None
    limit = time.monotonic() + PATIENCE
    while True:
        process.check()
        committed, now, cpu = site.committed(group), time.perf_counter(), process.cpu()
        if first is None and committed == events:
            raise BenchError(f"{group} was done before it could be measured: take more --events")
        if first is None and committed:
            first = committed, now, cpu
        elif first is not None and committed == events:
            begun, start, used = first
            spent = None if cpu is None or used is None else cpu - used
            return Rate(events - begun, now - start, spent)
        if committed > events or time.monotonic() > limit:
            raise BenchError(f"{group} committed {committed:,} of {events:,} tool outputs")
        time.sleep(_LOOK_SECONDS)


def _check(site: Site, workload: Workload) -> None:
    """Exactly the packages and violations that the generator has provoked."""
    packages: Counter[bytes | None] = Counter()
    lost: Counter[tuple[str, str | None]] = Counter()
    for record in read_all(site.cluster(), [PACKAGES, VIOLATIONS]):
        if record.topic == PACKAGES:
            packages[record.key] += 1
            continue
        violation = _violation(record.value or b"")
        if violation.kind != "context_dropped":
            raise BenchError(f"a violation that nobody provoked: {violation.id}")
        lost[violation.task_id, violation.field] += 1
    if len(packages) != workload.handoffs or packages.total() != workload.handoffs:
        raise BenchError(
            f"{packages.total():,} packages of {len(packages):,} tasks; "
            f"{workload.handoffs:,} of as many were expected"
        )
    if lost.keys() != workload.lost or lost.total() != len(workload.lost):
        raise BenchError(
            f"{lost.total():,} violations about {len(lost):,} fields; "
            f"{len(workload.lost):,} of as many were expected"
        )
