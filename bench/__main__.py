"""`python -m bench`: measure on a broker of its own, show the figures, end."""

import argparse
import re
import signal
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import latency, plot, relay, report, restoring, shape, throughput, workload
from bench.peer import is_built
from bench.report import Report
from bench.site import BenchError, broker_of
from console.brokers import ApacheKafka, BrokerError
from console.errors import CommandError


def main() -> int:
    """Measure and print; 0, or 1 with a sentence when what was measured is wrong."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    began = time.monotonic()
    try:
        with TemporaryDirectory(prefix="handoff-bench-") as folder:
            directory = Path(folder)
            with broker_of(options.broker, directory / "broker") as broker:
                apache = isinstance(broker, ApacheKafka)
                if options.only is not None:
                    print(f"\n{_part(options, broker.bootstrap_servers, directory)}")
                    return 0
                found = _measure(options, broker.bootstrap_servers, apache, directory)
    except (BenchError, BrokerError, CommandError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    print(f"\n{report.tables(found)}\n{time.monotonic() - began:,.0f} s in all")
    if options.name is not None:
        path = report.save(found)
        plot.draw(found, path.with_suffix(".png"))
        print(f"written: {path}, its picture beside it, and the figures of {report.PAGE}")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--events", type=int, default=200_000, help="tool outputs a round; tasks to restore"
    )
    parser.add_argument("--rounds", type=int, default=3, help="turns of each program")
    parser.add_argument(
        "--seconds", type=float, default=10.0, help="of latency at each rate; 0 leaves it out"
    )
    parser.add_argument(
        "--no-shapes",
        action="store_true",
        help="leave out tasks of other lengths, and more instances",
    )
    parser.add_argument(
        "--only",
        choices=["intake", "restoration"],
        help="measure intake and integrity behind it, or how long restoration takes, and no more",
    )
    parser.add_argument(
        "--beside", type=Path, help="another checkout, whose integrity is measured, too"
    )
    parser.add_argument("--broker", choices=["apache", "embedded"], help="default: what is there")
    parser.add_argument(
        "--name",
        type=_name,
        help="save the figures as bench/results/<date>-NAME.json and .png, and in docs/speed.md",
    )
    options = parser.parse_args()
    if options.only is not None and options.name is not None:
        parser.error("--only gives a part of the figures, and only all of them have a name")
    if options.beside is not None:
        options.beside = options.beside.resolve()
    return options


def _name(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", text):
        raise argparse.ArgumentTypeError("lower case letters, digits, dots and dashes, please")
    return text


def _part(options: argparse.Namespace, servers: str, directory: Path) -> str:
    """The figures of one part, in Markdown."""
    if options.only == "intake":
        return report.relay(relay.measure(servers, options.events, directory, say))
    return report.restored(
        restoring.measure(servers, options.events, directory, say, options.beside)
    )


def _measure(options: argparse.Namespace, servers: str, apache: bool, directory: Path) -> Report:
    machine, versions = report.machine(), report.versions(apache=apache)
    say(f"{versions.broker}, {machine.cores} cores, Python {versions.python}")
    if machine.load is not None and machine.load > machine.cores / 2:
        say(f"this machine is busy (load {machine.load:.1f}): the figures will be too low")
    peer = apache and is_built()
    if not peer:
        say("without Kafka Streams: it needs Apache Kafka, and bench/streams/build to have run")
    outputs = workload.make(options.events, time.time_ns() // 1_000_000 - options.events)
    size = outputs.bytes_a_record
    say(f"{len(outputs.records):,} tool outputs of {size:.0f} bytes, {outputs.handoffs:,} handoffs")
    beside = options.beside
    rates = throughput.measure(servers, outputs, options.rounds, peer, directory, say, beside)
    shapes: list[shape.Shape] = []
    instances: list[shape.InstanceRates] = []
    if not options.no_shapes:
        shapes = shape.measure(servers, options.events, peer, directory, say)
        instances = shape.instances(servers, outputs, peer, directory, say)
    relayed = relay.measure(servers, options.events, directory, say)
    restored = restoring.measure(servers, options.events, directory, say, beside)
    delays: list[latency.Latency] = []
    if options.seconds:
        say("latency, from produce to a read_committed consumer that holds the package")
        delays = latency.measure(servers, options.seconds, peer, directory, say, beside)
    return Report(
        name=options.name or "unnamed",
        date=report.today(),
        machine=machine,
        versions=versions,
        events=len(outputs.records),
        bytes_an_event=size,
        throughput=rates,
        shapes=shapes,
        instances=instances,
        latency=delays,
        relay=relayed,
        restored=restored,
    )


def say(sentence: str) -> None:
    """Progress, as it happens."""
    print(sentence, flush=True)


if __name__ == "__main__":
    sys.exit(main())
