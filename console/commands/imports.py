"""`handoff import`: transcripts of other systems as tool outputs."""

from pathlib import Path

import click

from console import output
from console.errors import BadInputError
from console.importers.openai_chat import (
    DEFAULT_HANDOFFS,
    DEFAULT_START,
    TranscriptError,
    import_openai_chat,
)
from console.lines import moment
from schemas import serde


@click.command("openai-chat")
@click.option(
    "--workflow", default="conversation", show_default=True, help="Workflow of the outputs."
)
@click.option("--stage", default="assistant", show_default=True, help="Their stage.")
@click.option("--team", default="assistants", show_default=True, help="The team that runs it.")
@click.option(
    "--handoff",
    "handoffs",
    metavar="TOOL=RECEIVER",
    multiple=True,
    help="A tool whose call hands the task off. May be given again. "
    f"[default: {', '.join('='.join(pair) for pair in DEFAULT_HANDOFFS.items())}]",
)
@click.option(
    "--start",
    metavar="TIME",
    help=f"Event time of the first message.  [default: {DEFAULT_START:%Y-%m-%dT%H:%M:%SZ}]",
)
@click.argument("file", type=click.Path(path_type=Path))
def openai_chat(
    workflow: str, stage: str, team: str, handoffs: tuple[str, ...], start: str | None, file: Path
) -> None:
    """Print the tool calls of OpenAI chat transcripts as tool outputs, one JSON line each.

    FILE is JSON or JSON Lines, plain or gzip. Pipe it on: ... | handoff send -
    """
    given = {}
    for pair in handoffs:
        tool, equals, receiver = pair.partition("=")
        if not (tool and equals and receiver):
            raise BadInputError(f"--handoff {pair}: write TOOL=RECEIVER")
        given[tool] = receiver
    options = {"start": serde.utc(moment(start))} if start else {}
    found = import_openai_chat(
        file,
        workflow=workflow,
        stage=stage,
        team=team,
        handoffs=given or DEFAULT_HANDOFFS,
        **options,
    )
    calls = 0
    with output.ends_cleanly():
        try:
            for line in found:
                output.line(line)
                calls += 1
        except TranscriptError as error:
            raise BadInputError(str(error)) from None
    if not calls:
        output.say(f"{file}: no assistant message calls a tool, so there is no output", err=True)
