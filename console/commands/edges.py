"""`handoff edges`: the map of what was observed, as a table, as JSON or as a drawing."""

from collections.abc import Iterable, Iterator
from datetime import timedelta

import click

from console import figures, output
from console.errors import BadInputError
from console.observed import observe, sources
from console.render import percent
from schemas.printable import plain
from schemas.records import Edge
from schemas.values import format_duration

_HEADINGS = [
    "workflow",
    "from",
    "to",
    "moves",
    "tasks",
    "documented",
    "fidelity",
    "completion",
    "accepted in p50 / p95",
    "returns",
    "last seen",
]


@click.command(short_help="Show every observed move and handoff: the map.")
@sources
@figures.options
@click.option(
    "--output",
    "output_",
    type=click.Choice(["table", "json", "dot"]),
    default="table",
    show_default=True,
    help="A table for people, JSON for programs, or a graph for Graphviz.",
)
def edges(
    recording: str | None,
    paths: tuple[str, ...],
    workflow: str | None,
    since: str | None,
    until: str | None,
    output_: str,
) -> None:
    """Every observed edge: from stage to stage, and from stage to receiver (→).

    The most travelled first. A documented one is covered by a contract in force. With --since it
    is what happened in that time, and in the same time before: moves, fidelity, lost fields, and
    handoffs that were late, each with its change.
    """
    if since is not None:
        if recording is not None or paths or output_ == "dot":
            raise BadInputError("--since reads the cluster: leave out --from, --contracts and dot")
        figures.compared(since, until, workflow, output_ == "json")
        return
    if until is not None:
        raise BadInputError("--until goes with --since")
    chosen = observe(recording, paths, workflow).edges
    with output.ends_cleanly():
        if output_ == "json":
            output.document(chosen)
        elif output_ == "dot":
            for line in drawing(chosen):
                output.say(line)
        elif chosen:
            drawn(chosen)
            bare = sum(not edge.documented for edge in chosen)
            total = output.number(len(chosen), "edge")
            drafts = "; drafts for them: handoff discover" if bare else ""
            output.say(f"{total}, {bare} undocumented{drafts}", err=True)
            if recording is None:
                output.say(
                    "the last week beside the one before: handoff edges --since 7d", err=True
                )


def drawn(edges: Iterable[Edge]) -> None:
    """Print the edges as a table for people."""
    output.columns(_HEADINGS, [_row(edge) for edge in edges])


def _row(edge: Edge) -> list[str]:
    return [
        edge.workflow,
        edge.from_,
        f"→ {edge.to}" if edge.kind == "handoff" else edge.to,
        f"{edge.moves:,}",
        f"{edge.tasks:,}",
        "yes" if edge.documented else "no",
        percent(edge.fidelity),
        # Not completed is not failed: what may still come stands beside it.
        f"{percent(edge.completion_rate)}, {edge.open:,} open"
        if edge.open
        else percent(edge.completion_rate),
        f"{_span(edge.accept_ms_p50)} / {_span(edge.accept_ms_p95)}"
        if edge.accept_ms_p50 is not None
        else "-",
        _returns(edge),
        f"{edge.last_seen:%Y-%m-%d %H:%M}",
    ]


def _returns(edge: Edge) -> str:
    returns, loops = edge.counts.get("returns", 0), edge.counts.get("looped", 0)
    if not returns:
        return "-"
    return f"{returns:,}, {output.number(loops, 'loop')}" if loops else f"{returns:,}"


def _span(ms: int | None) -> str:
    """A duration as contracts write it, to the second or to the minute: it is within 5 %."""
    if ms is None:
        return "-"
    seconds = round(ms / 1000)
    if seconds >= 3600:
        seconds -= seconds % 60
    return format_duration(timedelta(seconds=seconds)) if seconds else "PT0S"


def drawing(edges: Iterable[Edge]) -> Iterator[str]:
    """The edges as a Graphviz digraph: receivers are boxes, undocumented edges are dashed."""
    places: dict[str, dict[tuple[str, str], None]] = {}  # kind and name of what is in a workflow
    edges = sorted(edges, key=lambda edge: edge.workflow)
    for edge in edges:
        whence, stage = edge.origin
        places.setdefault(whence, {})["move", stage] = None
        places.setdefault(edge.workflow, {})[edge.kind, edge.to] = None
    nodes: dict[tuple[str, str, str], str] = {}  # numbered: names may differ in what is not shown
    yield "digraph handoffs {"
    yield '  rankdir=LR; node [fontname="sans-serif"]; edge [fontname="sans-serif"];'
    for number, (workflow, here) in enumerate(sorted(places.items())):
        yield f"  subgraph cluster_{number} {{"
        yield f"    label={_quoted(workflow)};"
        for kind, name in here:
            node = nodes[workflow, kind, name] = f"n{len(nodes)}"
            box = ", shape=box" if kind == "handoff" else ""
            yield f"    {node} [label={_quoted(name)}{box}];"
        yield "  }"
    for edge in edges:
        label = f"{edge.moves:,}"
        if edge.fidelity is not None:
            label += f", fidelity {percent(edge.fidelity)}"
        style = "" if edge.documented else ", style=dashed"
        whence, stage = edge.origin
        begin, end = nodes[whence, "move", stage], nodes[edge.workflow, edge.kind, edge.to]
        yield f"  {begin} -> {end} [label={_quoted(label)}{style}];"
    yield "}"


def _quoted(text: str) -> str:
    """A DOT string (graphviz.org/doc/info/lang.html); in labels, entities are read too."""
    escaped = plain(text).replace("\\", "\\\\").replace('"', '\\"').replace("&", "&amp;")
    return f'"{escaped}"'
