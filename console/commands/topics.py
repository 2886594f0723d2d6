"""`handoff topics`: the topics as the catalogue wants them, against a cluster."""

from collections.abc import Iterator
from typing import Any

import click
import msgspec
from confluent_kafka import KafkaException

from console import output
from console.commands.documents import read_documents
from console.errors import DeclinedError
from console.kafka import Cluster, connect, failed
from processors.contracts.registry import RECEIVERS
from processors.insights.processor import INSIGHTS
from processors.integrity.processor import INTEGRITY
from processors.processor import Processor
from processors.runtime.groups import held_state
from schemas.documents import Receiver
from topics import apply as cluster_side
from topics.catalogue import Topic, TopicError, catalogue
from topics.plan import Change, Create, Refusal
from topics.plan import plan as compare

PROCESSORS: tuple[Processor[Any], ...] = (INTEGRITY, INSIGHTS)


def wanted_topics(cluster: Cluster) -> list[Topic]:
    """The catalogue for a cluster, the queues of its registered receivers among them.

    Raises `TopicError` for a queue that cannot be, and `CommandError` where the receivers cannot be
    read. Where they may not even be seen, the plan says so of their topic.
    """
    queues: list[str] = []
    if cluster.name(RECEIVERS) in cluster.look([RECEIVERS]).topics:
        queues = [
            each.queue
            for each in read_documents(cluster, RECEIVERS).values()
            if isinstance(each, Receiver) and each.queue and each.status == "active"
        ]
    return catalogue(cluster.settings.topic_prefix, cluster.settings.partitions, queues)


def topic_changes(cluster: Cluster) -> list[Change]:
    """What `apply` would do to a cluster. Raises `TopicError` and `CommandError`."""
    wanted = wanted_topics(cluster)
    names = [topic.physical for topic in wanted]
    try:
        return compare(wanted, cluster_side.read_cluster(cluster.admin, names))
    except KafkaException as error:
        raise failed(cluster.settings, error.args[0]) from None


def make_topics(cluster: Cluster) -> list[Change]:
    """Make the topics as the catalogue wants them; what was done. Raises as `topic_changes`."""
    changes = topic_changes(cluster)
    carry_out(cluster, changes)
    return changes


def carry_out(cluster: Cluster, changes: list[Change]) -> None:
    """Raises `TopicError` and `CommandError`."""
    try:
        cluster_side.apply(cluster.admin, changes)
    except KafkaException as error:
        raise failed(cluster.settings, error.args[0]) from None


def lost_states(cluster: Cluster, changes: list[Change]) -> Iterator[str]:
    """Of each processor whose changelog is made, while its inputs are there and judged: a
    sentence. The new one is empty."""
    created = {change.topic for change in changes if isinstance(change, Create)}
    for processor in PROCESSORS:
        seen = cluster.look(processor.inputs).topics
        inputs = {cluster.name(topic) for topic in processor.inputs}
        if cluster.name(processor.changelog) not in created or not inputs <= seen.keys() - created:
            continue
        (first, *_) = processor.inputs
        said = held_state(cluster.settings, processor, len(seen[cluster.name(first)].leaders))
        if said is not None:
            yield said


@click.command()
@output.as_json
def plan(output_: str) -> None:
    """Show what `apply` would change on the cluster. Nothing is changed.

    Exit status 4 when something cannot be settled by a change.
    """
    cluster = connect()
    try:
        changes = topic_changes(cluster)
    except TopicError as error:
        raise DeclinedError(str(error)) from None
    _note_lost_states(cluster, changes)
    if output_ == "json":
        output.document(msgspec.to_builtins(changes))
    else:
        for change in changes:
            output.say(str(change))
        output.say(counted(changes))
    if any(isinstance(change, Refusal) for change in changes):
        raise DeclinedError("`handoff topics apply` would refuse this plan")


@click.command()
def apply() -> None:
    """Create and change topics as the catalogue wants them. Nothing is ever deleted."""
    cluster = connect()
    try:
        changes = topic_changes(cluster)
        _note_lost_states(cluster, changes)  # which the new topics would hide
        carry_out(cluster, changes)
    except TopicError as error:
        raise DeclinedError(str(error)) from None
    for change in changes:
        output.say(f"done: {change}")
    if not changes:
        output.say("nothing to change")


def counted(changes: list[Change]) -> str:
    """How many changes a plan has; what it refuses is none."""
    refused = sum(isinstance(change, Refusal) for change in changes)
    said = output.number(len(changes) - refused, "change") if changes else "nothing to change"
    return f"{said}, and {refused:,} that cannot be done" if refused else said


def _note_lost_states(cluster: Cluster, changes: list[Change]) -> None:
    for said in lost_states(cluster, changes):
        output.say(f"note: {said}", err=True)
