"""What was measured, on what, and when: as JSON, and as the tables of docs/speed.md."""

import os
import platform
import re
import subprocess
import sysconfig
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median

import confluent_kafka
import msgspec

from bench.latency import Latency
from bench.rates import MeasuredRun, Rate
from bench.relay import RelayRates
from bench.restoring import Restored
from bench.shape import InstanceRates, Shape
from bench.site import ROOT
from bench.throughput import Round, Throughput
from console.brokers import KAFKA_LIB

RESULTS = ROOT / "bench" / "results"
PAGE = ROOT / "docs" / "speed.md"
BEGIN, END = "<!-- made by make bench -->\n", "<!-- end -->\n"
PROGRAMS = (
    ("bare", "bare pass-through"),
    ("free", "a core that costs nothing"),
    ("integrity", "integrity, one process"),
    ("beside", "integrity of the checkout beside"),
    ("unwaited", "it, offsets before delivery"),
    ("both", "integrity and insights, one process"),
    ("streams", "Kafka Streams, one process"),
)
TITLES = dict(PROGRAMS)


class BenchMachine(msgspec.Struct):
    """Where it was measured. The broker shares it. `load` is the average of a minute, at the
    start."""

    cores: int
    cpu: str
    memory_bytes: int | None
    load: float | None


class Versions(msgspec.Struct):
    """Of what was measured. `java` is None where there is none."""

    python: str
    librdkafka: str
    broker: str
    java: str | None


class Report(msgspec.Struct):
    """Sizes are bytes; `date` is the day (UTC); `events` are the tool outputs of a round."""

    name: str
    date: str
    machine: BenchMachine
    versions: Versions
    events: int
    bytes_an_event: float
    throughput: Throughput
    shapes: list[Shape]
    instances: list[InstanceRates]
    latency: list[Latency]
    relay: RelayRates | None = None
    restored: list[Restored] = []

    @property
    def stem(self) -> str:
        """The name of its files."""
        return f"{self.date}-{self.name}"


def today() -> str:
    """The day, UTC."""
    return datetime.now(UTC).date().isoformat()


def machine() -> BenchMachine:
    """This one."""
    cpu = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        found = re.search(r"^model name\s*: (.+)$", information.read_text(), re.MULTILINE)
        cpu = found[1] if found else cpu
    names = getattr(os, "sysconf_names", {})
    memory = None
    if "SC_PHYS_PAGES" in names:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return BenchMachine(os.cpu_count() or 1, cpu, memory, load)


def versions(*, apache: bool) -> Versions:
    """Of what is installed here."""
    broker = f"noida-db {version('noida-db')}"
    java = None
    if apache:
        (jar,) = KAFKA_LIB.glob("kafka_2.13-*.jar")
        broker = f"Apache Kafka {jar.stem.partition('-')[2]}"
        told = subprocess.run(["java", "-version"], capture_output=True, text=True, check=True)
        java = told.stderr.splitlines()[0]
    librdkafka = confluent_kafka.libversion()[0]
    return Versions(python(), librdkafka, broker, java)


def python() -> str:
    """Its version, and how it was configured, which makes it 1.3 times as fast or not. Debian
    optimises its own without configuring it so."""
    asked = "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")
    return f"{platform.python_version()} (with{'' if asked else 'out'} --enable-optimizations)"


def read(path: Path) -> Report:
    """A saved report. Raises `msgspec.ValidationError` for what is none."""
    return msgspec.json.decode(path.read_bytes(), type=Report)


def save(report: Report, page: Path = PAGE, results: Path = RESULTS) -> Path:
    """Write the report's JSON, and its tables with its picture onto the page; the JSON's path."""
    results.mkdir(exist_ok=True)
    path = results / f"{report.stem}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    picture = f"![figures](../bench/results/{report.stem}.png)\n\n"
    text = page.read_text()
    before, rest = text.split(BEGIN)
    page.write_text(before + BEGIN + picture + tables(report) + END + rest.split(END)[1])
    return path


def tables(report: Report) -> str:
    """All figures in Markdown."""
    parts = [_head(report), *_throughput(report)]
    if report.shapes:
        parts += [_shapes(report.shapes), _changelog(report.shapes)]
    if report.instances:
        parts.append(_instances(report.instances))
    if report.latency:
        parts.append(_latency(report.latency))
    if report.restored:
        parts.append(restored(report.restored))
    if report.relay is not None:
        parts.append(relay(report.relay))
    return "\n".join(parts)


def relay(found: RelayRates) -> str:
    """The figures of intake, and of integrity behind it, in Markdown."""
    return _table(
        [f"foreign records of {found.bytes_a_record:,.0f} bytes", "records/s", "a CPU second"],
        [
            ["bare pass-through", *_pace([run.whole for run in found.bare])],
            ["intake, one process", *_pace([run.whole for run in found.intake])],
            ["intake to the pass-through", _range(found.ratios), _range(found.cpu_ratios)],
            ["integrity on its outputs, alone", *_pace([found.alone.whole])],
            ["integrity while intake writes them", *_pace([found.behind.whole])],
            ["integrity behind intake to integrity alone", "", _part(found.behind_ratio)],
        ],
    )


def restored(found: list[Restored]) -> str:
    """How long restoration took, in Markdown."""
    return _table(
        [f"restoration of {found[0].tasks:,} tasks", "records", "seconds"],
        [[TITLES[each.program], f"{each.records:,}", f"{each.seconds:.1f}"] for each in found],
    )


def _part(share: float | None) -> str:
    return "-" if share is None else f"{share:.2f}"


def _head(report: Report) -> str:
    here, of = report.machine, report.versions
    memory = f", {here.memory_bytes / 2**30:.0f} GiB" if here.memory_bytes else ""
    load = "" if here.load is None else f", load {here.load:.1f} before it began"
    rounds = len(report.throughput.rounds)
    return (
        f"{report.date}: {here.cores} cores that the broker shares ({here.cpu}{memory}){load}; "
        f"{of.broker}, Python {of.python}, librdkafka {of.librdkafka}"
        + (f", {of.java}" if of.java else "")
        + f"; {report.events:,} outputs of {report.bytes_an_event:.0f} bytes a round, medians of "
        f"{rounds} rounds.\n"
    )


def _throughput(report: Report) -> Iterator[str]:
    of = report.throughput
    yield _table(
        ["program", "events/s (wall)", "a CPU second", "second half: events/s", "a CPU second"],
        (
            [title, *_pace([run.whole for run in runs]), *_pace([run.second_half for run in runs])]
            for name, title in PROGRAMS
            if (runs := runs_of(of, name))
        ),
    )
    resident = of.resident_bytes
    shares = [
        ["integrity to the pass-through", _range(each.ratio for each in of.rounds)],
        ["a core that costs nothing to the pass-through", _range(each.limit for each in of.rounds)],
        ["integrity to it without waiting", _range(each.waited for each in of.rounds)],
        ["both to integrity alone", _range(each.share for each in of.rounds)],
        *_to_others(of.rounds),
    ]
    yield _table(
        ["", ""],
        [
            *shares,
            ["state a task", f"{of.state_bytes:,.0f} bytes"],
            ["state of insights, all of it", f"{of.insights_bytes:,.0f} bytes"],
            [
                "memory of the process of both",
                "-" if resident is None else f"{resident / 2**20:,.0f} MiB",
            ],
        ],
    )


def _to_others(rounds: list[Round]) -> Iterator[list[str]]:
    """Integrity's whole run to that of another checkout, and to Kafka Streams' whole run and second
    half."""
    both = [(each.integrity.whole, each.streams) for each in rounds if each.streams is not None]
    before = [(each.integrity.whole, each.beside.whole) for each in rounds if each.beside]
    for title, pairs in (
        ("that of the checkout beside", before),
        ("Kafka Streams' whole run", [(ours, theirs.whole) for ours, theirs in both]),
        ("Kafka Streams' second half", [(ours, theirs.second_half) for ours, theirs in both]),
    ):
        wall = [ours.a_second / theirs.a_second for ours, theirs in pairs]
        cpu = [
            ours.a_cpu_second / theirs.a_cpu_second
            for ours, theirs in pairs
            if ours.a_cpu_second and theirs.a_cpu_second
        ]
        if wall:
            yield [f"integrity to {title}, events/s", _range(wall)]
        if cpu:
            yield [f"integrity to {title}, a CPU second", _range(cpu)]


def _shapes(shapes: list[Shape]) -> str:
    return _table(
        ["outputs a task", *_BESIDE],
        ([f"{each.outputs_a_task:,}", *_beside(each.integrity, each.streams)] for each in shapes),
    )


def _changelog(shapes: list[Shape]) -> str:
    return _table(
        ["changelog an output, a commit for each", "input", "integrity", "Kafka Streams"],
        (
            [
                f"tasks of {each.outputs_a_task:,} outputs",
                f"{each.input_bytes:,.0f}",
                f"{each.changelog_bytes:,.0f}",
                _number(each.streams_changelog_bytes),
            ]
            for each in shapes
        ),
    )


def _instances(found: list[InstanceRates]) -> str:
    return _table(
        ["instances", *_BESIDE],
        ([f"{each.instances}", *_beside(each.integrity, each.streams)] for each in found),
    )


def _latency(found: list[Latency]) -> str:
    return _table(
        ["latency", "p50", "p99"],
        (
            [
                f"{TITLES[each.program]} at {each.rate:,} outputs/s",
                f"{each.p50:,.0f} ms",
                f"{each.p99:,.0f} ms",
            ]
            for each in found
        ),
    )


_BESIDE = ["integrity: events/s", "a CPU second"]
_BESIDE += ["Kafka Streams: events/s", "a CPU second", "second half: events/s", "a CPU second"]


def _beside(integrity: MeasuredRun, streams: MeasuredRun | None) -> list[str]:
    theirs = ["-"] * 4
    if streams is not None:
        theirs = [*_pace([streams.whole]), *_pace([streams.second_half])]
    return [*_pace([integrity.whole]), *theirs]


def runs_of(found: Throughput, program: str) -> list[MeasuredRun]:
    """A program's run in each round; none where it was left out."""
    return [run for each in found.rounds if (run := getattr(each, program)) is not None]


def pace(rates: list[Rate]) -> tuple[float, float | None]:
    """The medians of events a second, of wall and of CPU time."""
    cpu = [rate.a_cpu_second for rate in rates if rate.a_cpu_second is not None]
    return median(rate.a_second for rate in rates), median(cpu) if cpu else None


def _pace(rates: list[Rate]) -> list[str]:
    return [_number(each) for each in pace(rates)]


def _range(shares: Iterable[float]) -> str:
    shares = list(shares)
    if not shares:
        return "-"
    return f"{median(shares):.2f} ({min(shares):.2f} to {max(shares):.2f})"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _table(head: list[str], rows: Iterable[list[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
