"""`handoff import`: transcripts, traces and event logs of other systems as tool outputs."""

from datetime import UTC, datetime

import click

from console import output
from console.errors import FOUND_PROBLEMS, BadInputError, CommandError
from console.importers.importing import DEFAULT_HANDOFFS, FORMATS, START_MS, Import, Options
from console.importers.tables import Columns
from console.lines import moment
from processors.intake.transcripts.building import Defaults

_START = datetime.fromtimestamp(START_MS / 1000, UTC)


@click.command("import")
@click.option("--format", "format_", type=click.Choice(FORMATS), help="Found out, unless given.")
@click.option(
    "--workflow", default="conversation", show_default=True, help="Workflow of the outputs."
)
@click.option(
    "--stage", default="assistant", show_default=True, help="Their stage, where no agent is named."
)
@click.option("--team", default="assistants", show_default=True, help="The team that runs it.")
@click.option(
    "--handoff",
    "handoffs",
    metavar="TOOL=RECEIVER",
    multiple=True,
    help="A tool that hands off to somebody who does not see the conversation. May be given again; "
    "then no other tool hands off.  "
    f"[default: {', '.join('='.join(pair) for pair in DEFAULT_HANDOFFS.items())}, and "
    "transfer_to_AGENT between agents]",
)
@click.option(
    "--start",
    metavar="TIME",
    help="Event time of the first message, where the file tells no times.  "
    f"[default: {_START:%Y-%m-%dT%H:%M:%SZ}]",
)
@click.option("--task", "task_column", default="", metavar="COLUMN", help="CSV, XES: the task.")
@click.option("--stage-column", default="", metavar="COLUMN", help="CSV, XES: the stage.")
@click.option("--tool", "tool_column", default="", metavar="COLUMN", help="CSV, XES: the tool.")
@click.option("--time", "time_column", default="", metavar="COLUMN", help="CSV, XES: the time.")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
def import_(
    format_: str | None,
    workflow: str,
    stage: str,
    team: str,
    handoffs: tuple[str, ...],
    start: str | None,
    task_column: str,
    stage_column: str,
    tool_column: str,
    time_column: str,
    files: tuple[str, ...],
) -> None:
    """Print transcripts, traces or event logs as tool outputs, one JSON line each.

    FILE is JSON, JSON Lines, CSV or XES, plain or gzip, or - for standard input. Its format is
    found out and told. Files that belong together, as a request and its response, are given
    together. Pipe it on: ... | handoff send -
    """
    if files[0] in FORMATS and len(files) > 1:  # `handoff import openai-chat FILE`
        format_, files = files[0], files[1:]
    given = {}
    for pair in handoffs:
        tool, equals, receiver = pair.partition("=")
        if not (tool and equals and receiver):
            raise BadInputError(f"--handoff {pair}: write TOOL=RECEIVER")
        given[tool] = receiver
    options = Options(
        format=format_ or "",
        defaults=Defaults(workflow, stage, team),
        handoffs=given or DEFAULT_HANDOFFS,
        only_these=bool(given),
        start=moment(start) if start else START_MS,
        columns=Columns(task_column, stage_column, tool_column, time_column),
    )
    found = Import(options)
    with output.ends_cleanly():
        for line in found.lines(list(files)):
            output.line(line)
    _tell(found, options, list(files))


def _tell(found: Import, options: Options, files: list[str]) -> None:
    """Say what was taken, what was left out and why, on standard error."""
    for path in files:
        for format_, records in found.formats.get(path, {}).items():
            output.say(f"{path}: {format_} ({_number(records, 'record')})", err=True)
    if found.clock.used:
        start = datetime.fromtimestamp(options.start / 1000, UTC)
        output.say(
            f"what has no time gets one of a clock: from {start:%Y-%m-%dT%H:%M:%SZ} on, a second a "
            "message; set the start with --start",
            err=True,
        )
    for why in found.first_bad:
        output.say(why, err=True)
    if found.bad > len(found.first_bad):
        output.say(f"and {found.bad - len(found.first_bad)} more that could not be read", err=True)
    counts = found.counts
    if counts.unrecorded:
        output.say(
            f"{_number(counts.unrecorded, 'call')} of tools: arguments and results were not "
            "recorded; switch on the capture of content where the traces are made",
            err=True,
        )
    parts = [
        f"{_number(found.records, 'record')} read",
        _number(counts.outputs, "output"),
        _number(counts.handoffs, "handoff"),
    ]
    parts += [f"left out: {why} ({number:,})" for why, number in sorted(counts.left_out.items())]
    output.say("; ".join(parts), err=True)
    if not counts.outputs:
        why = _nothing(found)
        if found.bad:
            raise BadInputError(f"nothing came of {', '.join(files[:5])}: {why}")
        output.say(f"nothing came of {', '.join(files[:5])}: {why}", err=True)
    elif found.bad:
        raise CommandError(
            f"{_number(found.bad, 'record')} could not be read; the others were imported",
            FOUND_PROBLEMS,
        )


def _nothing(found: Import) -> str:
    if found.bad:
        return (
            "no record of it could be read" if not found.records else "what was read shows no work"
        )
    if not found.records:
        return "it holds no record, row or event"
    if found.counts.left_out:
        return "all that it shows was left out, as told above"
    return "no message in it calls a tool or says anything, and no span is of an agent or a tool"


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"
