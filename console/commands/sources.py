"""`handoff sources lint | test | draft`: sources without a broker."""

import difflib
import sys
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any

import click
import msgspec

from console import cards, output, render
from console.commands.documents import load_documents, shown_of
from console.commands.edges import drawn
from console.commands.running import insights_limits, limits
from console.dry_run import DryRun
from console.errors import FOUND_PROBLEMS, BadInputError
from console.follower import EDGES
from console.lines import Line, raw_lines
from console.render import percent
from console.samples import samples
from console.source_draft import draft_source
from console.source_trial import Trial, Tried, handoffs_of, line_of, near, unregistered, written
from processors.contracts.registry import CONTRACTS, RECEIVERS
from processors.intake.compiled import CompiledSource, compile_source
from processors.intake.mapping import TOOL_OUTPUTS, explain
from processors.intake.reads import shown
from processors.integrity.processor import integrity
from processors.runtime.settings import load_settings
from schemas import documents
from schemas.flow import Record
from schemas.lint_sources import lint_sources
from schemas.loading import DocumentErrors, Documents, load
from schemas.printable import listed
from schemas.records import Edge
from schemas.yaml_source import Problem
from topics.catalogue import DEFAULT_PARTITIONS

_MOST_CARDS = 12
_MOST_ROWS = 10


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


@click.command("test")
@output.as_json
@click.option(
    "--contracts",
    "contract_paths",
    metavar="PATH",
    multiple=True,
    help="Contracts and receivers: what would become of the outputs? May be given again.",
)
@click.option("--explain", "explained", metavar="N", type=int, help="Only line N, path by path.")
@click.option("--outputs", is_flag=True, help="Print the outputs as lines for dry-run and send.")
@click.option(
    "--expect", metavar="FILE", help="Compare the outputs with these lines; exit status 1."
)
@click.argument("source")
@click.argument("file")
def test(
    output_: str,
    contract_paths: tuple[str, ...],
    explained: int | None,
    outputs: bool,
    expect: str | None,
    source: str,
    file: str,
) -> None:
    """Show what recorded records become by the source in the YAML file SOURCE.

    FILE is plain or gzip, - is standard input. Each line is the value of a record, or an object of
    value and any of key, headers, timestamp (epoch ms), topic, partition, offset. A record without
    a timestamp is of now. Each record is told: what it became, or why it was left out or refused.
    A summary follows: what nothing reads, which names come out, repeated ids, disorder, look-ups
    that missed. With --contracts the outputs are judged as dry-run does it, and the map is shown.
    """
    found = load_documents([source])
    _stop_at_errors(found)
    beside = load_documents(contract_paths) if contract_paths else None
    now = int(time.time() * 1000)
    trials = {each.id: Trial(compile_source(each)) for each in found.intake_sources}
    if explained is not None:
        _explain(trials, file, now, explained)
        return
    tried: list[Tried] = []
    for one in _run(trials, file, now):
        tried.append(one)
        if not (outputs or expect) and output_ == "text":
            _tell(one)
        if outputs:
            for made in one.mapped.records:
                output.line(written(made))
    if expect is not None:
        _compare(tried, expect)
        return
    if outputs:
        return
    lines = [
        line_of(one.number, made, value)
        for one in tried
        for made, value in zip(one.mapped.records, one.outputs, strict=True)
    ]
    judged = None if beside is None else _JudgedOutputs(beside, lines)
    if output_ == "json":
        output.document(_as_json(trials, tried, beside, judged))
        return
    for trial in trials.values():
        _summarise(trial, beside)
    if judged is not None:
        judged.tell()


@click.command("draft")
@click.option("--id", "name", metavar="ID", default="draft", help="The id of the source.")
@click.option("--topic", metavar="TOPIC", default="", help="The topic that the records are from.")
@click.argument("file")
def draft(name: str, topic: str, file: str) -> None:
    """Propose a source from recorded records, as YAML to complete.

    Each guess has a comment that says what speaks for it. FILE is as of `sources test`.
    """
    records = [record for _, record in samples(file, topic or "TOPIC", int(time.time() * 1000))]
    if not records:
        raise BadInputError(f"{file}: holds no record; give lines of JSON")
    output.say(draft_source(name, topic, records), nl=False)


# --- sources test ------------------------------------------------------------------------------


def _stop_at_errors(found: Documents) -> None:
    if not found.intake_sources:
        raise BadInputError("no source is there; give a YAML file with kind: Source")
    errors: list[Problem] = [each for each in lint_sources(found) if each.level == "error"]
    if errors:
        raise BadInputError("the source cannot be used:\n" + "\n".join(map(str, errors)))


def _run(trials: dict[str, Trial], file: str, now: int) -> Iterable[Tried]:
    first = next(iter(trials.values()))
    for number, record in samples(file, first.source.source.topic[0], now):
        yield from _of(trials, file, number, record).run([(number, record)], now)


def _of(trials: dict[str, Trial], file: str, number: int, record: Record) -> Trial:
    """The source that reads a record."""
    reading = [each for each in trials.values() if record.topic in each.source.source.topic]
    if not reading and len(trials) > 1:
        known = listed(sorted({t for each in trials.values() for t in each.source.source.topic}))
        raise BadInputError(
            f"{file}, line {number}: no source reads the topic {record.topic}; they read: {known}"
        )
    return reading[0] if reading else next(iter(trials.values()))


def _tell(one: Tried) -> None:
    """What a record became, a line for each output."""
    lead = f"{one.number:>5}  "
    if one.mapped.skipped is not None:
        output.say(f"{lead}left out: {one.mapped.skipped.message} ({one.mapped.skipped.code})")
    elif one.mapped.refused is not None:
        output.say(f"{lead}refused: {one.mapped.refused.message} ({one.mapped.refused.code})")
    for made, value in zip(one.mapped.records, one.outputs, strict=True):
        output.say(lead + _told(made.topic, value))
        lead = " " * len(lead)


def _told(topic: str, value: dict[str, Any]) -> str:
    if topic != TOOL_OUTPUTS:
        return f"{value['task_id']}  ack {value['id']}: {value['status']} by {value['by']}"
    words = [f"{value['task_id']}  {value['id']}"]
    words.append(f"at {value['stage']}" if value.get("stage") else "where the task is")
    names = list(value.get("context", {}))
    if names:
        words.append(f"with {listed(names)}")
    if value.get("retracted"):
        words.append(f"takes back {listed(value['retracted'])}")
    for handoff in handoffs_of(value):
        words.append(f"hands off to {handoff['to']}")
    if value.get("accepts") is False:
        words.append("accepts nothing")
    return ", ".join(words)


def _explain(trials: dict[str, Trial], file: str, now: int, wanted: int) -> None:
    first = next(iter(trials.values()))
    for number, record in samples(file, first.source.source.topic[0], now):
        if number != wanted:
            continue
        source: CompiledSource = _of(trials, file, number, record).source
        mapped, steps = explain(source, record, now)
        for step in steps:
            ended = "" if step.ended == step.path else f"  ended after {step.ended}"
            output.say(f"{step.member}: {step.path}  → {step.found}{ended}")
        values = tuple(msgspec.json.decode(each.value or b"{}") for each in mapped.records)
        _tell(Tried(number, record, mapped, values))
        for made in mapped.records:
            output.line(written(made))
        return
    raise BadInputError(f"{file}: has no line {wanted}, or nothing stands there")


def _compare(tried: list[Tried], expect: str) -> None:
    made = [_compact(written(each)) for one in tried for each in one.mapped.records]
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
    except (msgspec.DecodeError, UnicodeDecodeError):
        return text.decode("utf-8", "replace")


# --- the summary -------------------------------------------------------------------------------


def _summarise(trial: Trial, beside: Documents | None) -> None:
    say = output.say
    say("")
    say(
        f"{trial.source.source.id}: {output.number(trial.records, 'record')}: {trial.mapped:,} "
        f"mapped, {trial.skipped.total():,} left out, {trial.refused.total():,} refused; "
        f"{output.number(trial.outputs, 'output')} and {output.number(trial.acks, 'ack')}"
    )
    for title, counter in (("left out", trial.skipped), ("refused", trial.refused)):
        if counter:
            say(f"  {title}: {_counted(counter)}")
    unknown = {} if beside is None else unregistered(trial, beside.contracts, beside.receivers)
    for title, counter in (
        ("stages", trial.stages),
        ("teams", trial.teams),
        ("receivers", trial.receivers),
    ):
        if counter:
            say(f"  {title}: {_counted(counter)}")
            if unknown.get(title):
                where = "contract" if title == "stages" else "receiver"
                say(f"    that no {where} knows: {listed(unknown[title])}")
            for alike in near(counter):
                say(f"    the same but for spelling? {' / '.join(alike)}")
    if trial.unused:
        say("  what nothing reads, by how many records have it:")
        for place, number in trial.unused.most_common(_MOST_ROWS):
            say(f"    {number:>6,}  {shown(place)}")
        more = len(trial.unused) - _MOST_ROWS
        if more > 0:
            say(f"            and {more:,} more")
    for (table, key), number in trial.misses.most_common(_MOST_ROWS):
        say(f"  look-up {table} lacks {key!r}: {output.number(number, 'time')}")
    if trial.repeated:
        say(
            f"  {output.number(trial.repeated.total(), 'output')} with an id that was there "
            f"before, which count once: {listed(list(trial.repeated))}"
        )
    if trial.single():
        wrong = "; wrong task?" if trial.single() * 2 > len(trial.tasks) > 1 else ""
        say(
            f"  {trial.single():,} of {output.number(len(trial.tasks), 'task')} with one record "
            f"only{wrong}"
        )
    if trial.disorder:
        say(
            f"  {output.number(trial.disorder, 'output')} older than one before in the same task: "
            "they move no task"
        )


def _counted(counter: Counter[str]) -> str:
    return listed([f"{name} {number:,}" for name, number in counter.most_common()])


def _as_json(
    trials: dict[str, Trial],
    tried: list[Tried],
    beside: Documents | None,
    judged: "_JudgedOutputs | None",
) -> dict[str, Any]:
    return {
        "records": [
            {
                "line": one.number,
                "outputs": [
                    {
                        "topic": made.topic,
                        "key": (made.key or b"").decode(),
                        "headers": {name: (text or b"").decode() for name, text in made.headers},
                        "value": msgspec.Raw(made.value or b"null"),
                    }
                    for made in one.mapped.records
                ],
                "skipped": one.mapped.skipped,
                "refused": None
                if one.mapped.refused is None
                else {"code": one.mapped.refused.code, "message": one.mapped.refused.message},
            }
            for one in tried
        ],
        "sources": {
            name: {
                "records": trial.records,
                "mapped": trial.mapped,
                "skipped": trial.skipped,
                "refused": trial.refused,
                "outputs": trial.outputs,
                "acks": trial.acks,
                "stages": trial.stages,
                "teams": trial.teams,
                "receivers": trial.receivers,
                "unregistered": {}
                if beside is None
                else unregistered(trial, beside.contracts, beside.receivers),
                "near": [*near(trial.stages), *near(trial.teams), *near(trial.receivers)],
                "unused": {shown(place): number for place, number in trial.unused.items()},
                "lookup_misses": [
                    {"lookup": table, "key": key, "records": number}
                    for (table, key), number in trial.misses.items()
                ],
                "repeated": trial.repeated,
                "tasks": len(trial.tasks),
                "tasks_with_one_record": trial.single(),
                "disorder": trial.disorder,
            }
            for name, trial in trials.items()
        },
        "judged": None if judged is None else judged.as_json(),
    }


class _JudgedOutputs:
    """What integrity makes of the outputs, on the clock of their event times."""

    def __init__(self, beside: Documents, lines: list[Line]) -> None:
        tables = {
            CONTRACTS: {documents.key(each): documents.to_json(each) for each in beside.contracts},
            RECEIVERS: {documents.key(each): documents.to_json(each) for each in beside.receivers},
        }
        settings = load_settings()
        within = msgspec.structs.replace(limits(settings), task_ttl_ms=None, handoff_ttl_ms=None)
        dry = DryRun(integrity(within), tables, DEFAULT_PARTITIONS, None, insights_limits(settings))
        self._dry = dry
        self._contracts = shown_of(tables[CONTRACTS].values())
        self._told: list[Record] = []
        edges: dict[bytes | None, Edge] = {}
        for made in dry.run(lines):
            if made.topic == EDGES and made.value is not None:
                edges[made.key] = msgspec.json.decode(made.value, type=Edge)
            elif made.topic in _SHOWN and made.value is not None:
                place = len(self._told)
                self._told.append(
                    Record(made.topic, 0, place, made.key, made.value, dry.now, made.headers)
                )
        self._edges = sorted(edges.values(), key=lambda edge: (-edge.moves, edge.from_, edge.to))

    def tell(self) -> None:
        """Cards, the map and the shares, for people."""
        terminal = render.console()
        output.say("")
        for record in self._told[:_MOST_CARDS]:
            terminal.print(cards.card(record, lambda _id, _version: self._contracts))
        more = len(self._told) - _MOST_CARDS
        if more > 0:
            output.say(f"and {more:,} more; all of them: --outputs | handoff dry-run --show ... -")
        if self._edges:
            output.say("")
            drawn(self._edges)
        summary = self._dry.summary
        sent = sum(each for each, _, _ in summary.handoffs.values())
        output.say("")
        output.say(
            f"{output.number(len(summary.handoffs), 'handoff')}: {sent:,} sent, "
            f"{len(summary.handoffs) - sent:,} held; violations: "
            f"{_counted(summary.opened) or 'none'}"
        )
        shares = summary.shares()
        if shares is not None:
            output.say(
                f"arrived from the senders (fidelity) {percent(shares[0])}, the receivers get "
                f"(completeness) {percent(shares[1])}"
            )

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        summary, shares = self._dry.summary, self._dry.summary.shares()
        return {
            "handoffs": len(summary.handoffs),
            "sent": sum(each for each, _, _ in summary.handoffs.values()),
            "violations": summary.opened,
            "dead_letters": summary.refused,
            "fidelity": shares and shares[0],
            "completeness": shares and shares[1],
            "edges": self._edges,
        }


_SHOWN = (cards.PACKAGES, cards.HELD, cards.VIOLATIONS, "handoff.dead-letters")
