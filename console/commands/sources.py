"""`handoff sources lint | test | draft`: sources without a broker."""

import difflib
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import click
import msgspec

from console import output
from console.commands.documents import load_documents
from console.errors import FOUND_PROBLEMS, BadInputError, CommandError
from console.lines import Line, raw_lines
from console.samples import Samples
from console.source_draft import NothingToDraftError, draft_source
from console.source_judged import JudgedOutputs
from console.source_report import as_json, summarise, tell
from console.source_trial import Trial, Tried, line_of, values_of, written
from processors.intake.compiled import CompiledSource, compile_source
from processors.intake.mapping import explain
from processors.intake.source_spans import TRACES
from schemas.alerts import ACTIONS
from schemas.flow import Record
from schemas.lint_sources import lint_sources
from schemas.loading import DocumentErrors, Documents, load
from schemas.printable import listed
from schemas.unreadable import UNREADABLE
from schemas.yaml_source import Problem

_MOST_CARDS = 12
_MOST_ROWS = 10


def records_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that take the records from a topic: `from_topic` and `limit`."""
    command = click.option(
        "--limit",
        type=click.IntRange(1, 100_000),
        default=200,
        show_default=True,
        metavar="N",
        help="With --from-topic: so many of its last records.",
    )(command)
    return click.option(
        "--from-topic",
        metavar="TOPIC",
        help="In the place of FILE: the last records of a topic of the cluster.",
    )(command)


@click.command("lint")
@output.as_json
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
def lint(output_: str, paths: tuple[str, ...]) -> None:
    """Check sources without their traffic.

    Contracts and receivers below PATH are looked at too: which names does nobody know? Exit status
    2 when there is an error; warnings and hints do not count.
    """
    found = Documents()
    try:
        found = load(paths)
        problems = lint_sources(found)
    except DocumentErrors as error:
        problems = error.problems
    if output_ == "json":
        output.document([msgspec.to_builtins(problem) for problem in problems])
    else:
        for problem in problems:
            output.say(str(problem))
        levels = Counter(problem.level for problem in problems)
        counts = [output.number(levels[level], level) for level in ("error", "warning", "hint")]
        output.say(
            f"{output.number(len(found.intake_sources), 'source')}: {', '.join(counts)}"
            if found.locations
            else ", ".join(counts)
        )
    if any(problem.level == "error" for problem in problems):
        sys.exit(2)
    if not found.intake_sources:
        raise BadInputError(
            f"{listed(paths)}: no source is there; give YAML files with kind: Source "
            "(contracts and receivers: handoff contracts lint)"
        )


@click.command("test")
@output.as_json
@click.option(
    "--contracts",
    "contract_paths",
    metavar="PATH",
    multiple=True,
    help="Contracts and receivers: what would become of the outputs? May be given again.",
)
@click.option("--explain", "explained", metavar="N", type=int, help="Only record N, path by path.")
@click.option("--outputs", is_flag=True, help="Print the outputs as lines for dry-run and send.")
@click.option(
    "--expect", metavar="FILE", help="Compare the outputs with these lines; exit status 1."
)
@records_options
@click.argument("source")
@click.argument("file", required=False)
def test(
    output_: str,
    contract_paths: tuple[str, ...],
    explained: int | None,
    outputs: bool,
    expect: str | None,
    from_topic: str | None,
    limit: int,
    source: str,
    file: str | None,
) -> None:
    """Show what recorded records become by the source in the YAML file SOURCE.

    FILE is plain or gzip, - is standard input: a JSON value a line, values over several lines, or
    one list of objects. Each is the value of a record, or an object of value and any of key,
    headers, timestamp (epoch ms), topic, partition, offset. A record without a timestamp is of now.
    Each record is told: what it became, or why it was left out or refused. A summary follows: what
    nothing reads, paths that no record has, which names come out, repeated ids, disorder, look-ups
    that missed. With --contracts the outputs are judged as dry-run does it, and the map is shown.
    Exit status 1 where every record was refused, 2 where there is none.
    """
    _check_order(source, file)
    found = load_documents([source])
    _stop_at_errors(found)
    beside = load_documents(contract_paths) if contract_paths else None
    now = int(time.time() * 1000)
    given = Samples(file, from_topic, limit)
    trials = {each.id: Trial(compile_source(each)) for each in found.intake_sources}
    if explained is not None:
        _explain(trials, given, now, explained)
        return
    kept: list[Tried] = []
    keep, show = expect is not None or output_ == "json", not outputs and output_ == "text"

    def told() -> Iterator[Line]:
        """The outputs as lines; each record is told on the way."""
        for one in _run(trials, given, now):
            if keep:
                kept.append(one)
            elif show:
                tell(one)
            for made, value in zip(one.mapped.records, one.outputs, strict=True):
                if made.topic == ACTIONS:
                    continue  # neither dry-run nor send reads it
                if outputs:
                    output.line(written(made))
                yield line_of(one.number, made, value)

    with output.ends_cleanly():
        judged = None
        if beside is not None and not outputs and expect is None:
            judged = JudgedOutputs(beside, told())
        else:
            deque(told(), maxlen=0)
        if expect is not None:
            _compare(kept, expect)
        elif output_ == "json":
            output.document(as_json(trials, kept, beside, judged.as_json() if judged else None))
        elif not outputs:
            for trial in trials.values():
                summarise(trial, beside)
            if judged is not None:
                judged.tell()
    _end(trials, given.where)


@click.command("draft")
@click.option("--id", "name", metavar="ID", default="draft", help="The id of the source.")
@click.option("--topic", metavar="TOPIC", default="", help="The topic that the records are from.")
@records_options
@click.argument("file", required=False)
def draft(name: str, topic: str, from_topic: str | None, limit: int, file: str | None) -> None:
    """Propose a source from recorded records, as YAML to complete.

    Each guess has a comment that says what speaks for it. FILE is as of `sources test`.
    """
    given, topic = Samples(file, from_topic, limit), topic or from_topic or ""
    found = given.read(topic or "TOPIC", int(time.time() * 1000))
    try:
        output.say(draft_source(name, topic, [record for _, record in found]), nl=False)
    except NothingToDraftError as error:
        raise BadInputError(f"{given.where}: {error}") from None


# --- sources test ------------------------------------------------------------------------------


def _stop_at_errors(found: Documents) -> None:
    if not found.intake_sources:
        raise BadInputError("no source is there; give a YAML file with kind: Source")
    errors: list[Problem] = [each for each in lint_sources(found) if each.level == "error"]
    if errors:
        raise BadInputError("the source cannot be used:\n" + "\n".join(map(str, errors)))


def _check_order(source: str, file: str | None) -> None:
    yaml = (".yaml", ".yml")
    if file is not None and file.endswith(yaml) and not source.endswith(yaml):
        raise BadInputError(
            f"{source} is no YAML file, and {file} is one: the source comes first: "
            f"handoff sources test {file} {source}"
        )


def _end(trials: dict[str, Trial], where: str) -> None:
    """End with an exit status that says so where nothing could be mapped."""
    if not sum(trial.records for trial in trials.values()):
        raise BadInputError(f"{where}: holds no record; give a JSON value a line")
    refused = sum(trial.refused.total() for trial in trials.values())
    if refused == sum(trial.records for trial in trials.values()):
        raise CommandError(
            f"{where}: no record could be mapped; each says why above, and --explain N follows the "
            "paths of one",
            FOUND_PROBLEMS,
        )


def _run(trials: dict[str, Trial], given: Samples, now: int) -> Iterable[Tried]:
    first = next(iter(trials.values()))
    for number, record in given.read(first.source.source.topic[0], now):
        yield from _of(trials, given.where, number, record).run([(number, record)], now)
    for trial in trials.values():
        yield from trial.finish()


def _of(trials: dict[str, Trial], where: str, number: int, record: Record) -> Trial:
    """The source that reads a record."""
    reading = [each for each in trials.values() if record.topic in each.source.source.topic]
    if not reading and len(trials) > 1:
        known = listed(sorted({t for each in trials.values() for t in each.source.source.topic}))
        raise BadInputError(
            f"{where}, record {number}: no source reads the topic {record.topic}; they read: "
            f"{known}"
        )
    return reading[0] if reading else next(iter(trials.values()))


def _explain(trials: dict[str, Trial], given: Samples, now: int, wanted: int) -> None:
    first = next(iter(trials.values()))
    for number, record in given.read(first.source.source.topic[0], now):
        if number != wanted:
            continue
        source: CompiledSource = _of(trials, given.where, number, record).source
        mapped, steps = explain(source, record, now)
        for step in steps:
            ended = "" if step.ended == step.path else f"  ended after {step.ended}"
            output.say(f"{step.member}: {step.path}  → {step.found}{ended}")
        if all(each.topic != TRACES for each in mapped.records):
            tell(Tried(number, record, mapped, values_of(mapped)))
        for made in mapped.records:
            output.line(written(made))
        return
    raise BadInputError(f"{given.where}: has no record {wanted}, or nothing stands there")


def _compare(tried: list[Tried], expect: str) -> None:
    made = [
        _compact(written(each))
        for one in tried
        for each in one.mapped.records
        if each.topic != ACTIONS
    ]
    wanted = [_compact(text) for _, text in raw_lines(expect)]
    if made == wanted:
        output.say(f"as expected: {output.number(len(made), 'output')}")
        return
    for row in difflib.unified_diff(wanted, made, expect, "the source", lineterm="", n=1):
        output.say(row)
    sys.exit(FOUND_PROBLEMS)


def _compact(text: bytes) -> str:
    """One JSON value in one spelling, so that white space makes no difference."""
    try:
        return msgspec.json.format(text, indent=-1).decode()
    except UNREADABLE:
        return text.decode("utf-8", "replace")
