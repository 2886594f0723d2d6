"""What both kinds of lanes know of the partitions that are assigned to them."""

import logging
import time
from collections.abc import Callable, Iterable

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from processors.runtime import clients
from processors.runtime.restoration import Place
from processors.runtime.settings import Settings
from processors.runtime.status import LaneStatus
from processors.runtime.transactions import ended_by
from topics.rights import Right, reason

log = logging.getLogger("handoff.lane")

# No transaction is open that long: it times out after 10 s, and the coordinator looks every 10 s.
# If this client has no answer by then, it may never get one: a new client looks its coordinator up.
PENDING_SECONDS = 30.0


class Assigned:
    """The partitions of a lane of the processor `name`, as a member of `group`.

    `positions` is the next offset to read of each (topics by their names on the cluster),
    `committed` the group's committed offset of it as far as this lane knows.

    `beat` is called before each attempt of a call that is repeated. When `stopping` returns true, a
    call is not repeated any more.
    """

    def __init__(
        self,
        settings: Settings,
        name: str,
        *,
        consumer: Consumer,
        admin: AdminClient,
        status: LaneStatus,
        beat: Callable[[], None],
        stopping: Callable[[], bool],
    ) -> None:
        self._settings = settings
        self._consumer = consumer
        self._admin = admin
        self._status = status
        self._beat = beat
        self._stopping = stopping
        self.group = clients.group_id(settings, name)
        self.positions: dict[Place, int] = {}
        self.committed: dict[Place, int] = {}

    @property
    def reading(self) -> bool:
        """Whether records of them are taken now."""
        return True

    def _offsets_of_group(self, places: Iterable[Place]) -> list[TopicPartition]:
        """The group's offsets with their metadata, negative where it has none. When a transaction
        has offsets pending, wait until it ends (KIP-447). Raises `Fatal`."""
        partitions = [TopicPartition(*place) for place in places]
        limit = time.monotonic() + PENDING_SECONDS
        while True:
            self._beat()
            try:
                found = self._consumer.committed(partitions, 5.0)
                for place in found:
                    if place.error is not None:  # its offset looks like that of a new group
                        raise KafkaException(place.error)
                return found
            except KafkaException as error:
                waits = error.args[0].code() == KafkaError._TIMED_OUT and time.monotonic() < limit
                if self._stopping() or not waits:
                    why = reason(error.args[0], Right("READ", "group", self.group))
                    sentence = f"the group's offsets cannot be read: {why}"
                    raise ended_by(error.args[0], sentence) from None
                log.info("waiting for the group's offsets: %s", error.args[0].str())
