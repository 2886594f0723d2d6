"""`handoff dry-run`: what the processors would publish, without a broker."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import PurePath

import click
import msgspec

from console import cards, output, render
from console.commands.documents import load_documents
from console.dry_run import DryRun, internal, printed
from console.errors import BadInputError
from console.kafka import TopicReader, connect
from console.limits import insights_limits, limits
from console.lines import INPUTS, Line, lines_of, moment, warned_lines
from console.remembered import SeenTasks
from console.render import percent
from console.shown import shown_of
from processors.contracts.registry import CONTRACTS, RECEIVERS
from processors.integrity.processor import integrity
from processors.runtime.settings import load_settings
from schemas import documents
from schemas.flow import Output, Record
from schemas.serde import DEAD_LETTERS
from topics.catalogue import DEFAULT_PARTITIONS

_NAMED = 20  # so many lines that become dead letters are named one by one
_ENDS = {"duplicates": ("duplicate", None), "dead_letters": ("dead letter", None)}


@click.command("dry-run")
@click.option(
    "--contracts",
    "paths",
    metavar="PATH",
    multiple=True,
    required=True,
    help="Contracts and receivers: a YAML file or a directory. May be given again.",
)
@click.option("--until", metavar="TIME", help="Move the clock on to TIME after the last line.")
@click.option("--backfill", is_flag=True, help="Mark old lines as `send` would.")
@click.option("--ttl", is_flag=True, help="Let handoffs expire and tasks be forgotten.")
@click.option("--internal", "with_internal", is_flag=True, help="Print internal records too.")
@click.option(
    "--show/--no-show",
    default=None,
    help="Print cards for people, as `tail` does; the default on a terminal.",
)
@click.option("--from-topic", is_flag=True, help="Judge what is on the cluster's input topics.")
@click.argument("file", required=False)
def dry_run(
    paths: tuple[str, ...],
    until: str | None,
    backfill: bool,
    ttl: bool,
    with_internal: bool,
    show: bool | None,
    from_topic: bool,
    file: str | None,
) -> None:
    """Judge the lines of FILE without a broker.

    FILE is plain or gzip, - is standard input. Each line is a tool output, or
    {"topic": "handoff.acks", "value": {...}} for an ack or amendment, or
    {"topic": "handoff.receivers", "occurred_at": TIME, "value": {...}} for a contract, a receiver
    or the liveness of one that changes from there on. With --from-topic the lines are all that the
    input topics of the cluster hold, in the order of their arrival; nothing is written there.
    Prints one JSON line for each record that the processors would publish, in order. With --show it
    prints packages, violations, signals, patterns and dead letters for people, and masks what is
    classified. A summary follows on standard error. The clock is the event time of the lines:
    deadlines fall due as it passes them. Nothing expires, unless --ttl says so. What was observed
    of each edge comes last.
    """
    if from_topic == (file is not None):
        raise click.UsageError("give a FILE, - for standard input, or --from-topic")
    if with_internal and show:
        raise click.UsageError("--internal prints JSON lines: leave out --show")
    if file is not None and PurePath(file).suffix in (".yaml", ".yml"):
        raise BadInputError(
            f"{file} is a YAML file, and FILE is a recording, one JSON object a line; contracts "
            f"and receivers go with --contracts {file}"
        )
    if show is None:
        show = sys.stdout.isatty() and not with_internal
    end = moment(until) if until else None
    found = load_documents(paths)
    tables = {
        CONTRACTS: {documents.key(each): documents.to_json(each) for each in found.contracts},
        RECEIVERS: {documents.key(each): documents.to_json(each) for each in found.receivers},
    }
    settings = load_settings()
    before = int(time.time() * 1000) - settings.backfill_after_ms if backfill else None
    within = limits(settings)
    if not ttl:
        within = msgspec.structs.replace(within, task_ttl_ms=None, handoff_ttl_ms=None)
    dry = DryRun(integrity(within), tables, DEFAULT_PARTITIONS, before, insights_limits(settings))
    progress = output.Progress(lambda: f"{output.number(dry.summary.inputs, 'line')} judged")
    lines = _on_topics() if file is None else warned_lines(file)
    seen = SeenTasks()
    print_ = _cards(dry, seen, file) if show else _lines(dry, file)
    with output.ends_cleanly():
        for record in dry.run(_noted(lines, seen) if show else lines, end, file):
            progress.tick()
            if with_internal or not internal(record.topic):
                print_(record)
        progress.end()
        sys.stdout.flush()
        _summarise(dry)


def _lines(dry: DryRun, file: str | None) -> Callable[[Output], None]:
    """Prints a JSON line of each record. Of a dead letter it has the partition and offset that the
    input would have on a cluster, so standard error names the line of the recording."""
    letters = 0

    def print_(record: Output) -> None:
        nonlocal letters
        output.line(printed(record.topic, record.key, record.value, record.headers))
        if record.topic == DEAD_LETTERS and file is not None:
            letters += 1
            if letters <= _NAMED:
                message = dict(record.headers)["__streams.errors.message"].decode()
                output.say(f"{file}, line {dry.line}: a dead letter: {message}", err=True)

    return print_


def _noted(lines: Iterable[Line], seen: SeenTasks) -> Iterator[Line]:
    """Lines, with what tools and people say of tasks noted before it is judged."""
    for line in lines:
        seen.note_input(line.topic, line.value)
        yield line


def _cards(dry: DryRun, seen: SeenTasks, file: str | None) -> Callable[[Output], None]:
    """Prints what people read of the records: what goes to a queue is on handoff.packages too."""
    terminal = render.console()
    offsets: Counter[str] = Counter()
    registered: dict[str, bytes] = {}
    known = shown_of(())

    def print_(record: Output) -> None:
        if record.topic in cards.TOPICS:
            place = Record(
                record.topic,
                0,
                offsets[record.topic],
                key=record.key,
                value=record.value,
                timestamp=dry.now,
                headers=record.headers,
            )
            source = None if file is None else f"{file}, line {dry.line}"
            terminal.print(cards.card(place, contracts, seen, source))
            offsets[record.topic] += 1

    def contracts(_id: str | None, _version: int | None) -> render.Contracts:
        nonlocal registered, known
        if registered != dry.table(CONTRACTS):
            registered = dict(dry.table(CONTRACTS))
            known = shown_of(registered.values())
        return known

    return print_


def _on_topics() -> Iterator[Line]:
    """All that the input topics hold, as lines."""
    reader = TopicReader(connect(), INPUTS, from_beginning=True)
    try:
        records = list(reader.to_end())
    finally:
        reader.close()
    return lines_of(records)


def _summarise(dry: DryRun) -> None:
    summary, verdicts = dry.summary, dry.verdicts()
    ends = ", ".join(
        output.number(number, *_ENDS.get(name, (name, name))) for name, number in verdicts.items()
    )
    output.say(f"{output.number(summary.inputs, 'input')}: {ends or 'none'}", err=True)
    sent = sum(each for each, _, _ in summary.handoffs.values())
    total = output.number(len(summary.handoffs), "handoff")
    output.say(f"{total}: {sent:,} sent, {len(summary.handoffs) - sent:,} held", err=True)
    if summary.deadlines:
        passed = output.number(summary.deadlines, "task")
        output.say(f"{passed} woken by a deadline", err=True)
    shares = summary.shares()
    if shares is not None:
        output.say(
            f"arrived from the senders (fidelity) {percent(shares[0])}, "
            f"the receivers get (completeness) {percent(shares[1])}, "
            "the mean of all that a contract covers",
            err=True,
        )
    for title, counter in (
        ("violations", summary.opened),
        ("of these resolved", summary.resolved),
        ("dead letters", summary.refused),
        ("records", summary.topics),
    ):
        if counter:
            output.say(f"{title}:", err=True)
            for name, number in sorted(counter.items()):
                output.say(f"  {number:>8,}  {name}", err=True)
    if dry.now:
        ended = datetime.fromtimestamp(dry.now / 1000, UTC)
        output.say(f"the clock ended at {ended:%Y-%m-%dT%H:%M:%SZ}", err=True)
