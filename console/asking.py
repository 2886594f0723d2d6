"""What people say of handoffs, written to Kafka: for commands and for the console in a browser."""

from collections.abc import Sequence
from datetime import UTC, datetime

from console.answers import SentCommand
from console.kafka import Cluster, Writer
from schemas import serde
from schemas.records import Ack, Amendment

ACKS, AMENDMENTS = "handoff.acks", "handoff.amendments"


def now() -> datetime:
    """This moment, to the millisecond, as records have it."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def write_said(
    cluster: Cluster, topic: str, bodies: Sequence[Ack | Amendment], again: str
) -> SentCommand:
    """Write what is said, and wait until the cluster has taken all of it. Returns the last one with
    its place.

    Raises `Refused` for a text that is too long, before anything is written, and `CommandError`
    where the cluster does not take it; `again` says what a person is to do then.
    """
    for body in bodies:
        serde.check_lengths(body)
    writer = Writer(cluster)
    for body in bodies:
        writer.write(topic, body.task_id.encode(), serde.encode(body), [], body.id)
    writer.flush()
    if writer.failed:
        taken = f"{writer.delivered} of {len(bodies)} were written; " if len(bodies) > 1 else ""
        raise writer.error(
            f"{cluster.name(topic)} did not take it: {writer.failed[0][1]}; {taken}{again}"
        )
    return SentCommand(bodies[-1], topic, *writer.place)
