"""`python -m bench.stall`: how soon after its deadline a stall is signalled, with 100,000 open
handoffs in state; while the processor runs, and after it was stopped and killed."""

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory
from typing import NamedTuple

import msgspec

from bench.site import BenchError, Process, Site, wait_for
from console.brokers import ApacheKafka, BrokerError
from console.errors import CommandError
from console.kafka import read_all
from schemas.records import Package, Signal
from schemas.serde import epoch_ms

PACKAGES, SIGNALS = "handoff.packages", "handoff.signals"
AIM_MS = 1_000
SECONDS_TO_ACCEPT = (2, 5, 10)  # while it runs
RATE = 30  # handoffs a second that nobody will accept
RUNNING_SECONDS = 20
# Before a stop, they are sent for as long as they wait: so their deadlines fall due at an even rate
# from the stop on, some while the processor is away, and some when it is back.
AWAY_SECONDS = 40
LOAD_SECONDS = 300.0
RUNS = "runs on partitions"  # what the processor logs when it does
_WORDS = "hail on the roof, water in the cellar, the pump stopped and the heating with it " * 3

_package = msgspec.json.Decoder(Package).decode
_signal = msgspec.json.Decoder(Signal).decode


class Stall(NamedTuple):
    """A stall signal: the deadline, when it was written and when a reader had it (epoch ms)."""

    deadline: int
    written: int
    read: float


class LatencyRow(NamedTuple):
    """A line of the table: milliseconds from the deadline (or from being back) to the signal."""

    title: str
    written: list[float]
    read: list[float]


class Stalls:
    """Reads the stall signals as they come, read_committed, and notes when."""

    def __init__(self, site: Site) -> None:
        self.found: dict[str, list[Stall]] = {}  # by handoff
        self._known: set[str] = set()
        self._stop = threading.Event()
        self._consumer = site.receiver(SIGNALS)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while not self._stop.is_set():
            first = self._consumer.poll(0.2)
            if first is None:
                continue
            now = time.time() * 1000
            for message in (first, *self._consumer.consume(1_000, 0)):
                value = message.value() or b""
                if message.error() is None and b'"stalled"' in value:
                    said = _signal(value)
                    stall = Stall(epoch_ms(said.occurred_at), message.timestamp()[1], now)
                    self.found.setdefault(said.handoff_id, []).append(stall)

    def until(self, number: int, process: Process) -> list[Stall]:
        """Wait until so many handoffs have stalled; those that are new since the last time."""
        wait_for("all stalls", process, lambda: len(self.found) >= number, 2 * AWAY_SECONDS)
        new = [found[0] for id_, found in self.found.items() if id_ not in self._known]
        self._known = set(self.found)
        return new

    def close(self) -> None:
        """Stop reading."""
        self._stop.set()
        self._thread.join()
        self._consumer.close()


def main() -> int:
    """Measure and print; 0, or 1: a stall was signalled too late, or a sentence says what is
    wrong."""
    parser = argparse.ArgumentParser(prog="python -m bench.stall", description=__doc__)
    parser.add_argument("--tasks", type=int, default=100_000, help="with an open handoff each")
    tasks: int = parser.parse_args().tasks
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        with TemporaryDirectory(prefix="handoff-stall-") as folder:
            directory = Path(folder)
            with ApacheKafka(directory / "broker") as broker:
                in_time = _measure(broker.bootstrap_servers, directory, tasks)
    except (BenchError, BrokerError, CommandError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0 if in_time else 1


def _measure(servers: str, directory: Path, tasks: int) -> bool:
    """Measure and print; whether the worst stall was signalled in time."""
    documents = directory / "documents.yaml"
    documents.write_text(_documents())
    site = Site(servers, "stall", documents)
    _say(f"{os.cpu_count()} cores, {_load()}; loading {tasks:,} handoffs that have a day")
    began = time.monotonic()
    site.load(_far(tasks))
    rows: list[LatencyRow] = []
    stalls = Stalls(site)
    sent = 0
    away = AWAY_SECONDS * RATE
    with site.processor(directory) as process:
        wait_for("the state of each task", process, lambda: process.has_states(tasks), LOAD_SECONDS)
        _say(f"  in state after {time.monotonic() - began:.0f} s; {_load()}")
        _say(f"{RUNNING_SECONDS} s of handoffs that nobody accepts, due after 2 to 10 s")
        site.send(_near(0, RUNNING_SECONDS, SECONDS_TO_ACCEPT), RATE)
        sent = RUNNING_SECONDS * RATE
        rows.append(_row("while it runs", stalls.until(sent, process)))
        left = _leave(site, process, sent, signal.SIGTERM)
    with site.processor(directory) as process:
        rows += _away(process, stalls, "stopped", left, sent + away)
        left = _leave(site, process, sent + away, signal.SIGKILL)
    with site.processor(directory) as process:
        rows += _away(process, stalls, "killed", left, sent + 2 * away)
    stalls.close()
    _check(site, stalls, sent + 2 * away)
    return _show(rows)


def _documents() -> str:
    """The far contract and the receiver, and a contract for each time in which to accept."""
    text = Path(__file__).with_suffix(".yaml").read_text()
    far = text[text.index("kind: HandoffContract") : text.index("---")]
    near = [
        far.replace("id: far", f"id: near-{seconds}")
        .replace("stage: far", f"stage: near-{seconds}")
        .replace("P1D", f"PT{seconds}S")
        for seconds in (*SECONDS_TO_ACCEPT, AWAY_SECONDS)
    ]
    return "---\n".join([text, *near])


def _far(tasks: int) -> Iterator[tuple[bytes, bytes]]:
    for number in range(tasks):
        yield _output(f"far-{number:06d}", "far")


def _output(task_id: str, stage: str) -> tuple[bytes, bytes]:
    output = {
        "id": f"{task_id}-out",
        "task_id": task_id,
        "workflow": "claim",
        "stage": stage,
        "tool": "claims-desk",
        "team": "claims",
        "occurred_at": time.time_ns() // 1_000_000,
        "context": {"claimant": task_id, "policy": "P-1", "incident": _WORDS, "amount": 12.5},
        "handoff": {"to": "payout"},
    }
    return task_id.encode(), msgspec.json.encode(output)


def _near(first: int, seconds: int, to_accept: tuple[int, ...]) -> Iterator[tuple[bytes, bytes]]:
    """Handoffs that nobody accepts, from number `first` on."""
    for number in range(seconds * RATE):
        stage = f"near-{to_accept[number % len(to_accept)]}"
        yield _output(f"near-{first + number:06d}", stage)


def _leave(site: Site, process: Process, sent: int, how: signal.Signals) -> float:
    """Send what will fall due when the processor is away, and end it; when (monotonic)."""
    _say(f"{AWAY_SECONDS} s of handoffs that are due after {AWAY_SECONDS} s, then {how.name}")
    site.send(_near(sent, AWAY_SECONDS, (AWAY_SECONDS,)), RATE)
    process.end(how)
    return time.monotonic()


def _away(process: Process, stalls: Stalls, word: str, left: float, sent: int) -> list[LatencyRow]:
    """What stalled since the processor was ended: it is on its way back."""
    wait_for("running again", process, lambda: RUNS in process.log())
    back, away = time.time_ns() // 1_000_000, time.monotonic() - left
    line = next(line for line in process.log().splitlines() if RUNS in line)
    _say(f"  {word}, and ran again after {away:.1f} s; {line[line.index('restored') :]}; {_load()}")
    new = stalls.until(sent, process)
    missed = [stall._replace(deadline=back) for stall in new if stall.deadline < back]
    return [
        _row(f"{word}: due when it was back", [s for s in new if s.deadline >= back]),
        _row(f"{word}: due before, since it is back", missed),
    ]


def _row(title: str, stalls: list[Stall]) -> LatencyRow:
    written = [float(stall.written - stall.deadline) for stall in stalls]
    return LatencyRow(title, written, [stall.read - stall.deadline for stall in stalls])


def _check(site: Site, stalls: Stalls, sent: int) -> None:
    """Each handoff that was to stall did so once, at its package's deadline, and no other did."""
    deadlines = {
        package.id: epoch_ms(package.accept_by or package.occurred_at + timedelta(days=-1))
        for record in read_all(site.cluster(), [PACKAGES], "packages")
        if (record.key or b"").startswith(b"near-")
        for package in (_package(record.value or b""),)
    }
    told = {id_: [stall.deadline for stall in found] for id_, found in stalls.found.items()}
    if told != {id_: [deadline] for id_, deadline in deadlines.items()} or len(told) != sent:
        raise BenchError(f"{len(told):,} handoffs stalled, {sent:,} were to, each once, in time")


def _show(rows: list[LatencyRow]) -> bool:
    print(f"\n{'ms':40}{'stalls':>7}{'p50':>7}{'p99':>7}{'max':>7}{'reader: p99':>13}{'max':>7}")
    for title, written, read in rows:
        if len(written) < 2:
            print(f"{title:40}{len(written):7}")
            continue
        at, seen = quantiles(written, n=100), quantiles(read, n=100)
        print(
            f"{title:40}{len(written):7}{at[49]:7.0f}{at[98]:7.0f}{max(written):7.0f}"
            f"{seen[98]:13.0f}{max(read):7.0f}"
        )
    worst = max(value for row in rows for value in row.read)
    print(f"within {AIM_MS:,} ms: {'yes' if worst <= AIM_MS else 'no'}; {_load()}")
    return worst <= AIM_MS


def _load() -> str:
    return f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"


def _say(sentence: str) -> None:
    print(sentence, flush=True)


if __name__ == "__main__":
    sys.exit(main())
