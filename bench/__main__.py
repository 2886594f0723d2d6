"""`python -m bench`: measure on a broker of its own, show two tables, end."""

import argparse
import os
import platform
import signal
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import msgspec

from bench import latency, throughput, workload
from bench.site import BenchError, broker_of
from console.brokers import BrokerError
from console.errors import CommandError

AIM = 0.4  # of the pass-through's events a second, in one process
AIM_OF_WAITING = 0.95  # of the rate where offsets do not wait for the outputs
AIM_OF_BOTH = 0.8  # of integrity's events a second, where insights runs in the same process


class Report(msgspec.Struct):
    """What `--json` writes. Sizes are bytes; rates are in the rounds."""

    broker: str
    cores: int
    python: str
    events: int
    bytes_an_event: float
    ratio: float
    limit: float
    share: float
    throughput: throughput.Throughput
    latency: list[latency.Latency]


def main() -> int:
    """Measure and print; 0, or 1 with a sentence when what was measured is wrong."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        with TemporaryDirectory(prefix="handoff-bench-") as folder:
            directory = Path(folder)
            with broker_of(options.broker, directory / "broker") as broker:
                say(f"{broker.name}, {os.cpu_count()} cores, Python {platform.python_version()}")
                _warn_if_busy()
                report = _measure(options, broker.bootstrap_servers, broker.name, directory)
    except (BenchError, BrokerError, CommandError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    _show(report)
    if options.json is not None:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    return 0


def _warn_if_busy() -> None:
    if not hasattr(os, "getloadavg"):
        return
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load > cores / 2:
        say(f"this machine is busy (load {load:.1f} on {cores} cores): the figures will be too low")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--events", type=int, default=200_000, help="tool outputs a round")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each program")
    parser.add_argument(
        "--seconds", type=float, default=10.0, help="of latency at each rate; 0 leaves it out"
    )
    parser.add_argument("--broker", choices=["apache", "embedded"], help="default: what is there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    return parser.parse_args()


def _measure(options: argparse.Namespace, servers: str, name: str, directory: Path) -> Report:
    outputs = workload.make(options.events, time.time_ns() // 1_000_000 - options.events)
    size = outputs.bytes_a_record
    say(f"{len(outputs.records):,} tool outputs of {size:.0f} bytes, {outputs.handoffs:,} handoffs")
    rates = throughput.measure(servers, outputs, options.rounds, directory, say)
    delays: list[latency.Latency] = []
    if options.seconds:
        say("latency, from produce to a read_committed consumer that holds the package")
        delays = latency.measure(servers, options.seconds, directory, say)
    return Report(
        broker=name,
        cores=os.cpu_count() or 1,
        python=platform.python_version(),
        events=len(outputs.records),
        bytes_an_event=size,
        ratio=rates.ratio,
        limit=rates.limit,
        share=rates.share,
        throughput=rates,
        latency=delays,
    )


def _show(report: Report) -> None:
    rounds = report.throughput.rounds
    print(f"\n{'median of ' + str(len(rounds)):28}{'events/s':>12}{'events/CPU s':>14}")
    for title, rates in (
        ("bare pass-through", [each.bare for each in rounds]),
        ("a core that costs nothing", [each.free for each in rounds]),
        ("integrity, one process", [each.integrity for each in rounds]),
        ("it, offsets before delivery", [each.unwaited for each in rounds]),
        ("with insights, one process", [each.both for each in rounds]),
    ):
        cpu = [rate.a_cpu_second for rate in rates if rate.a_cpu_second is not None]
        spent = f"{median(cpu):14,.0f}" if cpu else f"{'-':>14}"
        print(f"{title:28}{median(rate.a_second for rate in rates):12,.0f}{spent}")
    print(f"integrity / pass-through    {report.ratio:12.2f}   (the aim: {AIM})")
    print(f"free core / pass-through    {report.limit:12.2f}   (no core can pass it)")
    waited = report.throughput.waited
    print(f"integrity / unwaited        {waited:12.2f}   (the aim: {AIM_OF_WAITING})")
    print(f"with insights / integrity   {report.share:12.2f}   (the aim: {AIM_OF_BOTH})")
    print(f"state a task                {report.throughput.state_bytes:12,.0f} bytes")
    print(f"state of insights in all    {report.throughput.insights_bytes:12,.0f} bytes")
    resident = report.throughput.resident_bytes
    if resident is not None:
        print(f"memory of the process       {resident / 2**20:12,.0f} MiB")
    for each in report.latency:
        print(
            f"latency at {each.rate:6,}/s         p50 {each.p50:6.0f} ms   p99 {each.p99:6.0f} ms"
        )


def say(sentence: str) -> None:
    """Progress, as it happens."""
    print(sentence, flush=True)


if __name__ == "__main__":
    sys.exit(main())
