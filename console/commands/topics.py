"""`handoff topics`: the topics as the catalogue wants them, against a cluster."""

import click
import msgspec
from confluent_kafka import KafkaException

from console import output
from console.commands.documents import read_documents
from console.errors import DeclinedError
from console.kafka import Cluster, connect, failed
from processors.contracts.tables import RECEIVERS
from schemas.documents import Receiver
from topics import apply as cluster_side
from topics.catalogue import Topic, TopicError, catalogue
from topics.plan import Change, Refusal
from topics.plan import plan as compare


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
    try:
        cluster_side.apply(cluster.admin, changes)
    except KafkaException as error:
        raise failed(cluster.settings, error.args[0]) from None
    return changes


@click.command()
@output.as_json
def plan(output_: str) -> None:
    """Show what `apply` would change on the cluster. Nothing is changed.

    Exit status 4 when something cannot be settled by a change.
    """
    try:
        changes = topic_changes(connect())
    except TopicError as error:
        raise DeclinedError(str(error)) from None
    if output_ == "json":
        output.document(msgspec.to_builtins(changes))
    else:
        for change in changes:
            output.say(str(change))
        output.say(output.number(len(changes), "change") if changes else "nothing to change")
    if any(isinstance(change, Refusal) for change in changes):
        raise DeclinedError("`handoff topics apply` would refuse this plan")


@click.command()
def apply() -> None:
    """Create and change topics as the catalogue wants them. Nothing is ever deleted."""
    try:
        changes = make_topics(connect())
    except TopicError as error:
        raise DeclinedError(str(error)) from None
    for change in changes:
        output.say(f"done: {change}")
    if not changes:
        output.say("nothing to change")
