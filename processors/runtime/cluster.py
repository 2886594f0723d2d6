"""What the cluster must have before a processor may run: the broker, the topics, equal counts."""

from collections.abc import Sequence
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from processors.processor import Processor
from processors.runtime.settings import Settings
from processors.runtime.transactions import Fatal, Misconfigured
from schemas.wire import DEAD_LETTERS
from topics.catalogue import physical

CALL_SECONDS = 6.0  # with the start of Python it stays within ten seconds


class Unreachable(Misconfigured):
    """No broker answers."""


def check_reachable(admin: AdminClient, settings: Settings) -> None:
    """Raises `Unreachable` when no broker answers within ten seconds."""
    try:
        admin.list_topics(timeout=CALL_SECONDS)
    except KafkaException as error:
        raise Unreachable(
            f"no Kafka broker answers at {settings.kafka_bootstrap_servers} "
            f"({error.args[0].str()}); start one, or set HANDOFF_KAFKA_BOOTSTRAP_SERVERS"
        ) from None


def check_topics(
    admin: AdminClient, settings: Settings, processors: Sequence[Processor[Any]]
) -> None:
    """Raises `Misconfigured` for a missing topic, and for inputs and changelog whose partition
    counts differ: a task's state would not lie where its next input arrives."""
    try:
        found = admin.list_topics(timeout=CALL_SECONDS).topics
    except KafkaException as error:
        raise Fatal(f"the topics cannot be listed: {error.args[0].str()}") from None
    counts = {name: len(topic.partitions) for name, topic in found.items() if topic.error is None}
    for processor in processors:
        needed = [*processor.inputs, processor.changelog, *processor.tables, DEAD_LETTERS]
        names = [physical(name, settings.topic_prefix) for name in needed]
        missing = [name for name in names if not counts.get(name)]
        if missing:
            raise Misconfigured(
                f"the topic {missing[0]} does not exist, and {processor.name} needs it; "
                "create what is missing with: handoff topics apply"
            )
        bound = names[: len(processor.inputs) + 1]
        if len({counts[name] for name in bound}) > 1:
            listed = ", ".join(f"{name} has {counts[name]}" for name in bound)
            raise Misconfigured(
                f"the inputs of {processor.name} and its changelog must have the same number of "
                f"partitions, but {listed}; make them equal (and empty) before it runs"
            )
