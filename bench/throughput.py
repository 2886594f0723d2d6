"""Events a second: the pass-through, a core that costs nothing, integrity alone, with and without
waiting for its outputs, both processors in one process, and Kafka Streams, over the same preloaded
records."""

from collections.abc import Callable
from pathlib import Path

import msgspec

from bench import outcome
from bench.peer import Peer
from bench.rates import MeasuredRun, follow
from bench.site import ROOT, Process, Site, wait_for
from bench.workload import Workload
from processors.runtime.clients import group_id

_PROCESSORS = {
    "integrity": ("integrity",),
    "unwaited": ("integrity",),
    "both": ("integrity", "insights"),
}


class Round(msgspec.Struct):
    """The programs over the same records, one after the other; `streams` is None where Kafka
    Streams cannot run, and `beside` where no other checkout was named."""

    bare: MeasuredRun
    free: MeasuredRun
    integrity: MeasuredRun
    unwaited: MeasuredRun
    both: MeasuredRun
    streams: MeasuredRun | None = None
    beside: MeasuredRun | None = None

    @property
    def limit(self) -> float:
        """The share of the bare rate that no core can pass: it writes the same records."""
        return self.free.whole.a_second / self.bare.whole.a_second

    @property
    def ratio(self) -> float:
        """Integrity's share of the bare rate."""
        return self.integrity.whole.a_second / self.bare.whole.a_second

    @property
    def waited(self) -> float:
        """What is left of the rate, as outputs are delivered before the offsets are sent."""
        return self.integrity.whole.a_second / self.unwaited.whole.a_second

    @property
    def share(self) -> float:
        """What is left of integrity's rate with insights beside it."""
        return self.both.whole.a_second / self.integrity.whole.a_second


class Throughput(msgspec.Struct):
    """All rounds. `state_bytes` is encoded state a task, `insights_bytes` that of all subjects,
    `resident_bytes` what the process of both holds in memory at the end of the last round (None:
    unknown)."""

    rounds: list[Round]
    state_bytes: float
    insights_bytes: float
    resident_bytes: float | None


def measure(
    servers: str,
    workload: Workload,
    rounds: int,
    peer: bool,
    directory: Path,
    say: Callable[[str], None],
    beside: Path | None = None,
) -> Throughput:
    """Let the programs take turns, `rounds` times; Kafka Streams with them, if `peer`, and the
    integrity of the checkout `beside`. Raises `BenchError` when a package or a violation is
    missing, too many, or not what the generator has provoked."""
    found = Throughput([], 0.0, 0.0, None)
    programs = ["bare", "free", *_PROCESSORS, *(["streams"] if peer else [])]
    if beside is not None:
        programs.insert(2, "beside")
    for number in range(rounds):
        loads = f"loading {len(workload.records):,} tool outputs for each program"
        say(f"round {number + 1} of {rounds}: {loads}")
        sites = {
            name: Site(
                servers,
                f"bench{number}{name}",
                checkout=beside if beside is not None and name == "beside" else ROOT,
            )
            for name in programs
        }
        for site in sites.values():
            site.load(workload.records)
        runs: dict[str, MeasuredRun] = {}
        # Whoever comes later finds the records in the page cache, so they take turns in that too.
        for program in programs[:: 1 if number % 2 == 0 else -1]:
            site = sites[program]
            if program == "streams":
                runs[program] = streams(site, workload, directory)
            elif program == "beside":
                runs[program] = integrity(site, workload, directory)
            elif program in _PROCESSORS:
                runs[program] = _processor(site, program, workload, directory, found)
            else:
                runs[program] = _copy(site, program, workload, directory)
        done = Round(**runs)
        found.rounds.append(done)
        say(f"  pass-through {done.bare.whole}")
        say(f"  free core    {done.free.whole}; {done.limit:.2f} of the pass-through")
        say(f"  integrity    {done.integrity.whole}; {done.ratio:.2f} of the pass-through")
        say(f"  unwaited     {done.unwaited.whole}; integrity has {done.waited:.2f} of it")
        say(f"  both         {done.both.whole}; {done.share:.2f} of integrity alone")
        if done.streams is not None:
            say(f"  Streams      {done.streams.whole}")
            say(f"    warm half  {done.streams.second_half}")
        if done.beside is not None:
            say(f"  beside       {done.beside.whole}")
    return found


def integrity(site: Site, workload: Workload, directory: Path) -> MeasuredRun:
    """Our processor alone, one process, on records that are on the topic already."""
    with site.processor(directory) as process:
        run = follow(site, site.group(), [process], len(workload.records))
    outcome.check(outcome.published(site), workload)
    return run


def streams(site: Site, workload: Workload, directory: Path) -> MeasuredRun:
    """Kafka Streams on the same, one process with one thread."""
    peer = Peer(site)
    with peer.run(directory) as process:
        run = follow(site, peer.group, [process], len(workload.records))
    outcome.check(outcome.published(site, peer.packages, peer.violations), workload)
    return run


def _copy(site: Site, program: str, workload: Workload, directory: Path) -> MeasuredRun:
    name, events = f"{site.settings.application_id}-copy", len(workload.records)
    start = site.pass_through if program == "bare" else site.free_core
    with start(directory, name, events) as process:
        group = group_id(site.settings.model_copy(update={"application_id": name}), "passthrough")
        run = follow(site, group, [process], events)
    if program == "free":
        outcome.check(outcome.published(site), workload)
    return run


def _processor(
    site: Site, program: str, workload: Workload, directory: Path, found: Throughput
) -> MeasuredRun:
    module = "bench.unwaited" if program == "unwaited" else None
    with site.processor(directory, _PROCESSORS[program], module) as process:
        run = follow(site, site.group(), [process], len(workload.records))
        own: dict[str, float] = {}

        def measured() -> bool:  # it looks at its state once a second
            own.update(process.metrics("integrity"))
            return own.get("handoff_state_keys") == workload.tasks

        wait_for("a state for each task", process, measured)
        found.state_bytes = own["handoff_state_bytes"] / workload.tasks
        if program == "both":
            _read_whole_feed(process)
            found.insights_bytes = process.metrics("insights")["handoff_state_bytes"]
            found.resident_bytes = process.metrics().get("process_resident_memory_bytes")
    outcome.check(outcome.published(site), workload)
    return run


def _read_whole_feed(process: Process) -> None:
    """Wait until insights knows of all moves."""
    wait_for(
        "insights at the end of its feed",
        process,
        lambda: process.metrics("insights").get("handoff_lag_records") == 0,
    )
