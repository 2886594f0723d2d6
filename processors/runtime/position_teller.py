"""Tells on `handoff.source-positions` how far each source was read.

What it tells is committed already, and stays true whatever comes. So it needs no transaction, and a
record of a lane that hangs or is fenced does no harm.
"""

import logging
import time

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from processors.runtime import clients
from processors.runtime.settings import Settings
from schemas import serde
from schemas.records import SourcePosition
from topics.catalogue import physical
from topics.rights import reason, rights_of_a_producer

log = logging.getLogger("handoff.positions")

_GIVE_UP_SECONDS = 10.0


class PositionTeller:
    """Produces the positions. What goes wrong is logged once until it changes, and stops nothing:
    deadlines wait meanwhile."""

    def __init__(self, settings: Settings, topic: str) -> None:
        self._settings = settings
        self._topic = physical(topic, settings.topic_prefix)
        self._producer: Producer | None = None  # made when first needed
        self._said = ""

    def tell(
        self,
        sources: tuple[str, ...],
        topic: str,
        partitions: int,
        read_to: dict[int, int],
        last: int | None,
    ) -> None:
        """Tell of each of the sources how far these partitions of a topic were read (epoch ms).
        `partitions` is how many the topic has, `last` the timestamp of the last record."""
        told = {str(number): serde.utc(at) for number, at in sorted(read_to.items())}
        now = serde.utc(time.time_ns() // 1_000_000)
        for source in sources:
            record = SourcePosition(
                source=source,
                topic=topic,
                partitions=partitions,
                read_to=dict(told),
                at=now,
                last_record_at=None if last is None else serde.utc(last),
            )
            self._produce(f"{source}/{topic}/{min(read_to)}", record)

    def close(self) -> None:
        """Wait a moment for what was told."""
        if self._producer is not None:
            self._producer.flush(1.0)

    def _produce(self, key: str, record: SourcePosition) -> None:
        try:
            if self._producer is None:
                self._producer = clients.plain_producer(self._settings, _GIVE_UP_SECONDS)
            self._producer.produce(
                self._topic,
                serde.encode(record),
                key.encode(),
                headers=list(serde.headers(record)),
                on_delivery=self._delivered,
            )
            self._producer.poll(0)
        except BufferError:
            self._say("its buffer is full")
        except KafkaException as error:
            # An idempotent producer may never recover from an error; a new one costs nothing.
            self._producer = None
            self._say(reason(error.args[0], *rights_of_a_producer(self._topic)))

    def _delivered(self, error: KafkaError | None, _: Message) -> None:
        self._say("" if error is None else reason(error, *rights_of_a_producer(self._topic)))

    def _say(self, why: str) -> None:
        if why != self._said:
            self._said = why
            if why:
                log.warning("how far sources were read cannot be told: %s", why)
