"""What was observed between stages and receivers, for `edges`, `discover` and `audit`.

It stands on `handoff.edges`, or comes out of a recording by a dry run of both processors.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import click
import msgspec

from console import output
from console.commands.documents import load_documents, read_documents
from console.dry_run import DryRun
from console.errors import BadInputError
from console.follower import EDGES
from console.kafka import connect, read_table
from console.limits import insights_limits, limits
from console.lines import check_readable, read_lines
from processors.contracts.registry import CONTRACTS, RECEIVERS
from processors.integrity.processor import integrity
from processors.runtime.settings import load_settings
from schemas import documents
from schemas.documents import HandoffContract, Receiver
from schemas.printable import listed
from schemas.records import Edge
from schemas.unreadable import UNREADABLE
from topics.catalogue import DEFAULT_PARTITIONS

_edge = msgspec.json.Decoder(Edge).decode


@dataclass(frozen=True)
class Observed:
    """The edges, the most travelled first, and the documents that they were judged by.

    `where` names the source: a broker or a file.
    """

    where: str
    edges: tuple[Edge, ...]
    contracts: tuple[HandoffContract, ...]
    receivers: tuple[Receiver, ...]


def sources(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say which edges: `recording` and `paths`, `workflow`."""
    command = click.option("--workflow", help="Only the edges of this workflow.")(command)
    command = click.option(
        "--contracts",
        "paths",
        metavar="PATH",
        multiple=True,
        help="With --from: contracts and receivers, YAML or a directory. May be given again.",
    )(command)
    return click.option(
        "--from",
        "recording",
        metavar="FILE",
        help="From a recording, without a broker: lines as `dry-run` reads them.",
    )(command)


def observe(recording: str | None, paths: Sequence[str], workflow: str | None) -> Observed:
    """Read the edges of the cluster, or of a recording; without `paths` it has no contracts.
    Where a workflow is named, only its edges.

    Raises `CommandError`. Says on standard error what was left out, and when there is no edge.
    """
    if recording is not None:
        found = _recorded(recording, paths)
    elif paths:
        raise BadInputError(
            "--contracts goes with --from; without it the registered ones are taken"
        )
    else:
        found = _published()
    if not found.edges:
        output.say(
            f"no edge was observed at {found.where}: no task has moved to another stage or was "
            "handed off",
            err=True,
        )
    elif workflow is not None:
        chosen = tuple(edge for edge in found.edges if edge.workflow == workflow)
        if not chosen:
            known = listed(sorted({repr(edge.workflow) for edge in found.edges}))
            output.say(f"no edge is of the workflow {workflow!r}; known: {known}", err=True)
        found = replace(found, edges=chosen)
    return found


def _published() -> Observed:
    cluster = connect()
    edges: list[Edge] = []
    unread = 0
    for value in read_table(cluster, EDGES).values():
        try:
            edges.append(_edge(value))
        except UNREADABLE:
            unread += 1
    if unread:
        name = cluster.name(EDGES)
        left = output.number(unread, "record")
        output.say(f"{name}: left out {left} of a newer version, or not ours", err=True)
    contracts = read_documents(cluster, CONTRACTS).values()
    receivers = read_documents(cluster, RECEIVERS).values()
    return Observed(
        cluster.settings.kafka_bootstrap_servers,
        _sorted(edges),
        tuple(each for each in contracts if isinstance(each, HandoffContract)),
        tuple(each for each in receivers if isinstance(each, Receiver)),
    )


def _recorded(recording: str, paths: Sequence[str]) -> Observed:
    check_readable(recording)
    found = load_documents(paths)
    tables = {
        CONTRACTS: {documents.key(each): documents.to_json(each) for each in found.contracts},
        RECEIVERS: {documents.key(each): documents.to_json(each) for each in found.receivers},
    }
    # As in `dry-run`: a recording may span years, and nothing of it is forgotten.
    settings = load_settings()
    within = msgspec.structs.replace(limits(settings), task_ttl_ms=None, handoff_ttl_ms=None)
    dry = DryRun(integrity(within), tables, DEFAULT_PARTITIONS, None, insights_limits(settings))
    progress = output.Progress(lambda: f"{output.number(dry.summary.inputs, 'line')} judged")
    edges: dict[bytes | None, bytes] = {}
    for made in dry.run(read_lines(recording), source=recording):
        progress.tick()
        if made.topic == EDGES and made.value is not None:
            edges[made.key] = made.value
    progress.end()
    left = dry.verdicts()["dead_letters"]
    if left:
        output.say(
            f"{recording}: left out {output.number(left, 'line')} that cannot be understood; see "
            "them with: handoff dry-run",
            err=True,
        )
    return Observed(
        recording, _sorted(map(_edge, edges.values())), found.contracts, found.receivers
    )


def _sorted(edges: Iterable[Edge]) -> tuple[Edge, ...]:
    def rank(edge: Edge) -> tuple[int, str, str, str, str]:
        return -edge.moves, edge.workflow, edge.from_, edge.kind, edge.to

    return tuple(sorted(edges, key=rank))
