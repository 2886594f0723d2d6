"""What the cluster must have before a processor may run: the broker, the topics, equal counts."""

import time
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from processors.processor import Processor
from processors.runtime.settings import Settings
from processors.runtime.transactions import Fatal, Misconfigured
from schemas.wire import DEAD_LETTERS
from topics.catalogue import physical

CALL_SECONDS = 6.0  # with the start of Python it stays within ten seconds
_STOPPED_SECONDS = 2.0  # a call that ends so much too late did not run all the time
# A topic that was just created, or a broker that just came back, may not show it at once.
_LOOKS, _LOOK_SECONDS = 3, 0.7


class Unreachable(Misconfigured):
    """No broker answers."""


def check_reachable(admin: AdminClient, settings: Settings) -> None:
    """Raises `Unreachable` when no broker answers within ten seconds.

    A call that took longer than it may was not the broker's fault: this process was stopped
    meanwhile (SIGSTOP, a machine that sleeps), and asks again.
    """
    while True:
        began = time.monotonic()
        try:
            admin.list_topics(timeout=CALL_SECONDS)
        except KafkaException as error:
            if time.monotonic() - began > CALL_SECONDS + _STOPPED_SECONDS:
                continue
            raise Unreachable(
                f"no Kafka broker answers at {settings.kafka_bootstrap_servers} "
                f"({error.args[0].str()}); start one, or set HANDOFF_KAFKA_BOOTSTRAP_SERVERS"
            ) from None
        return


def check_topics(admin: AdminClient, settings: Settings, processor: Processor[Any]) -> int:
    """The number of partitions that the processor's inputs and its changelog have.

    Raises `Misconfigured` for a missing topic, and for inputs and changelog whose partition counts
    differ: a task's state would not lie where its next input arrives.
    """
    names = [
        physical(name, settings.topic_prefix)
        for name in (
            *processor.inputs,
            processor.changelog,
            *processor.tables,
            *processor.outputs,
            DEAD_LETTERS,
        )
    ]
    for _ in range(_LOOKS):
        counts = _partition_counts(admin)
        missing = [name for name in names if not counts.get(name)]
        if not missing:
            break
        time.sleep(_LOOK_SECONDS)
    else:
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
    return counts[bound[0]]


def _partition_counts(admin: AdminClient) -> dict[str, int]:
    try:
        found = admin.list_topics(timeout=CALL_SECONDS).topics
    except KafkaException as error:
        raise Fatal(f"the topics cannot be listed: {error.args[0].str()}") from None
    return {name: len(topic.partitions) for name, topic in found.items() if topic.error is None}
