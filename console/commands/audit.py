"""`handoff audit`: the six questions, answered from measured traffic."""

import textwrap
from collections.abc import Iterator
from datetime import UTC, datetime

import click
import msgspec
from rich.text import Text

from console import output, render
from console.audit import Audit, AuditAnswer, Offender
from console.audit import audit as answer
from console.observed import observe, sources
from schemas.printable import plain

_STYLE = {"yes": "bold green", "no": "bold red", "unknown": "bold yellow"}


@click.command(short_help="Answer six questions about the handoffs.")
@sources
@click.option(
    "--output",
    "output_",
    type=click.Choice(["table", "json", "markdown"]),
    default="table",
    show_default=True,
    help="A form for people, JSON for programs, or Markdown for a page.",
)
def audit(
    recording: str | None, paths: tuple[str, ...], workflow: str | None, output_: str
) -> None:
    """Answer six questions about the handoffs, each with its evidence.

    From measured traffic alone: nothing is asked of anybody. Each answer names the rule that it
    goes by and the edges that speak against a yes. Exit status 0 whatever the answers are.
    """
    found = observe(recording, paths, workflow)
    # A recording is judged on the day that it ends.
    days = [edge.last_seen for edge in found.edges] if recording else []
    today = max(days, default=datetime.now(UTC)).astimezone(UTC).date()
    active = sum(each.status == "active" for each in found.contracts)
    told = answer(found.edges, active, found.receivers, today)
    with output.ends_cleanly():
        if output_ == "json":
            output.document({"source": found.where, **msgspec.to_builtins(told)})
        elif output_ == "markdown":
            for line in page(told, found.where):
                output.say(line)
        else:
            terminal = render.console()
            for text in _form(told, terminal.width):
                terminal.print(text)


def _span(told: Audit) -> str:
    edges = output.number(told.edges, "edge")
    crossings = output.number(told.crossings, "crossing")
    if told.first_seen is None or told.last_seen is None:
        return f"{edges}, {crossings}"
    return f"{edges}, {crossings}, {told.first_seen:%Y-%m-%d} to {told.last_seen:%Y-%m-%d}"


def _name(edge: Offender) -> str:
    arrow = "→" if edge.kind == "move" else "⇒"
    return f"{edge.workflow}: {edge.from_} {arrow} {edge.to}"


def _form(told: Audit, width: int) -> Iterator[Text]:
    yield Text(told.headline, "bold")
    yield Text(_span(told), "dim")
    for number, each in enumerate(told.answers, start=1):
        yield Text()
        yield Text.assemble(
            f"{number}  {each.question}  ", (each.answer.upper(), _STYLE[each.answer])
        )
        yield from _indented(each.evidence, width)
        yield from _indented(each.rule, width, "dim")
        if each.answer == "no":
            for edge in each.worst:
                yield from _indented(f"- {_name(edge)}: {edge.why}", width)
            yield from _indented(f"first: {each.first_step}", width, "cyan")


def _indented(text: str, width: int, style: str = "") -> Iterator[Text]:
    for line in textwrap.wrap(plain(text), max(width - 3, 20)):
        yield Text(f"   {line}", style)


def page(told: Audit, where: str) -> Iterator[str]:
    """The audit as a page of Markdown."""
    yield "# Audit of handoffs"
    yield ""
    yield f"**{told.headline}**"
    yield ""
    yield f"From {escaped(where)}: {_span(told)}."
    yield ""
    yield "| | question | answer | evidence |"
    yield "|---|---|---|---|"
    for number, each in enumerate(told.answers, start=1):
        yield f"| {number} | {each.question} | **{each.answer}** | {escaped(each.evidence)} |"
    for number, each in enumerate(told.answers, start=1):
        yield from _section(number, each)


def _section(number: int, each: AuditAnswer) -> Iterator[str]:
    yield ""
    yield f"## {number}. {each.question}"
    yield ""
    yield f"**{each.answer}**: {escaped(each.evidence)}. The rule: {each.rule}."
    if each.answer != "no":
        return
    if each.worst:
        yield ""
        for edge in each.worst:
            yield f"- {escaped(_name(edge))}: {edge.why}"
    yield ""
    yield f"First: {each.first_step}"


def escaped(text: str) -> str:
    """Text that Markdown shows as it is (commonmark.org, 2.4: ASCII punctuation may be escaped)."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>#|~&!" else c for c in plain(text))
