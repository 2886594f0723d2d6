"""Asks for the offsets that a lane's group has committed."""

import logging
import time
from collections.abc import Callable, Iterable

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from processors.runtime.restoration import Place
from processors.runtime.transactions import ended_by
from topics.rights import Right, reason

log = logging.getLogger("handoff.lane")

# No transaction is open that long: it times out after 10 s, and the coordinator looks every 10 s.
# If this client has no answer by then, it may never get one: a new client looks its coordinator up.
PENDING_SECONDS = 30.0


def committed_offsets(
    consumer: Consumer,
    group: str,
    places: Iterable[Place],
    *,
    beat: Callable[[], None],
    stopping: Callable[[], bool],
) -> list[TopicPartition]:
    """The group's offsets with their metadata, negative where it has none. When a transaction has
    offsets pending, wait until it ends (KIP-447). Raises `Fatal`."""
    partitions = [TopicPartition(*place) for place in places]
    limit = time.monotonic() + PENDING_SECONDS
    while True:
        beat()
        try:
            found = consumer.committed(partitions, 5.0)
            for place in found:
                if place.error is not None:  # its offset looks like that of a new group
                    raise KafkaException(place.error)
            return found
        except KafkaException as error:
            waits = error.args[0].code() == KafkaError._TIMED_OUT and time.monotonic() < limit
            if stopping() or not waits:
                why = reason(error.args[0], Right("READ", "group", group))
                sentence = f"the group's offsets cannot be read: {why}"
                raise ended_by(error.args[0], sentence) from None
            log.info("waiting for the group's offsets: %s", error.args[0].str())
