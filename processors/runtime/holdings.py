"""The partitions that a lane holds: where each input goes on, and the state that belongs to it.

They come in this order: the group's committed offsets; the ends of inputs and changelog; where each
input starts; assigned, and paused; the changelog read into the stores; the stores given to the
driver; resumed. The last three take a while and are done in slices, so that the lane can poll.
"""

import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from processors.driver import Driver
from processors.processor import Processor
from processors.runtime import clients
from processors.runtime.cluster import check_topics
from processors.runtime.restoration import Place, Restoration, bounds, check_anchored, starts
from processors.runtime.settings import Settings
from processors.runtime.state import Store, open_store
from processors.runtime.status import LaneStatus
from processors.runtime.transactions import Fatal
from topics.catalogue import physical
from topics.rights import Right, reason

log = logging.getLogger("handoff.lane")

SLICE_SECONDS = 0.2
# Nobody's transaction lives that long: 10 s, and as many until its coordinator looks. What is not
# answered by then may never be, by this client: a new one finds its coordinator anew.
PENDING_SECONDS = 30.0


class Holdings:
    """What a lane holds, as a member of `group`. `next` is the offset that comes next in each
    input, by physical name, and `committed` the group's, as far as it is known here; `stores` holds
    the committed state by partition, which the driver has once it is restored.

    `beat` is called before each attempt of a call that is repeated; `stopping` ends the repeating.
    """

    def __init__(
        self,
        settings: Settings,
        processor: Processor[Any],
        driver: Driver[Any],
        consumer: Consumer,
        admin: AdminClient,
        status: LaneStatus,
        beat: Callable[[], None],
        stopping: Callable[[], bool],
    ) -> None:
        self._settings = settings
        self._processor = processor
        self._driver = driver
        self._consumer = consumer
        self._admin = admin
        self._status = status
        self._beat = beat
        self._stopping = stopping
        self.group = clients.group_id(settings, processor.name)
        self._inputs = [physical(name, settings.topic_prefix) for name in processor.inputs]
        self._changelog = physical(processor.changelog, settings.topic_prefix)
        self.next: dict[Place, int] = {}
        self.committed: dict[Place, int] = {}
        self.stores: dict[int, Store] = {}
        self._kept: dict[int, Store] = {}  # given back, complete up to their checkpoint
        self._unanchored: set[int] = set()  # partitions for which the group has no offset
        self.restoration: Restoration | None = None
        self._indexing: Iterator[None] | None = None  # after it

    def take(self, partitions: list[TopicPartition]) -> None:
        """Look up where to start, open the stores, begin to restore.

        Raises `Fatal` and `Misconfigured`.
        """
        places = [(place.topic, place.partition) for place in partitions]
        numbers = sorted({number for _, number in places})
        missing = {(topic, number) for topic in self._inputs for number in numbers} - set(places)
        if missing:
            raise Fatal(f"partitions of one number were split between instances: {missing}")
        self._driver.partition_count = check_topics(self._admin, self._settings, self._processor)
        committed = self._committed_offsets(partitions)
        self._beat()
        has = bounds(self._admin, [*places, *((self._changelog, number) for number in numbers)])
        begin: dict[Place, int] = {}
        self._unanchored = set()
        for number in numbers:
            own = {place: has[place] for place in places if place[1] == number}
            if all(committed[place] < 0 for place in own):
                self._unanchored.add(number)
            found = starts(committed, own, self._settings.gap)
            for place, start in found.items():
                begin[place] = start.offset
                if start.lost:
                    self._status.lost_to_gaps += start.lost
                    log.error(
                        "%s-%d: %s records were gone before they were judged",
                        *place,
                        f"{start.lost:,}",
                    )
        self._consumer.assign([TopicPartition(*place, offset) for place, offset in begin.items()])
        self._consumer.pause([TopicPartition(*place) for place in begin])
        self.next = begin
        self.committed = dict(begin)
        for number in numbers:
            store = self._kept.pop(number, None)
            if store is None:
                store = open_store(self._settings, self._processor.name, number)
            self.stores[number] = store
        for store in self._kept.values():
            store.close()
        self._kept.clear()
        self._status.phase = "restoring"
        self.restoration = Restoration(
            clients.reader(self._settings),
            self._changelog,
            self.stores,
            {number: has[self._changelog, number] for number in numbers},
        )

    def _committed_offsets(self, partitions: list[TopicPartition]) -> dict[Place, int]:
        """The group's offsets. It waits for those that a transaction has pending (KIP-447)."""
        limit = time.monotonic() + PENDING_SECONDS
        while True:
            self._beat()
            try:
                found = self._consumer.committed(partitions, 5.0)
                for place in found:
                    if place.error is not None:  # its offset reads like that of a new group
                        raise KafkaException(place.error)
                return {(place.topic, place.partition): place.offset for place in found}
            except KafkaException as error:
                waits = error.args[0].code() == KafkaError._TIMED_OUT and time.monotonic() < limit
                if self._stopping() or not waits:
                    why = reason(error.args[0], Right("READ", "group", self.group))
                    raise Fatal(f"the group's offsets cannot be read: {why}") from None
                log.info("waiting for the group's offsets: %s", error.args[0].str())

    def restore(self) -> None:
        """A slice of the restoration, and of what the driver finds in the stores. Raises `Fatal`
        and `Misconfigured`."""
        restoration = self.restoration
        assert restoration is not None
        if not restoration.done:
            restoration.step(SLICE_SECONDS)
            return
        if self._indexing is None:
            self._indexing = self._assigning()
        limit = time.monotonic() + SLICE_SECONDS
        for _ in self._indexing:
            if time.monotonic() > limit:
                return
        self._end_restoration()
        self._status.restore_seconds = restoration.seconds
        self._status.restored_records += restoration.records
        self._consumer.resume([TopicPartition(*place) for place in self.next])
        self._status.phase = "running"
        log.info(
            "%s runs on partitions %s; restored %s records in %.2f s",
            self._processor.name,
            sorted(self.stores),
            f"{restoration.records:,}",
            restoration.seconds,
        )

    def _assigning(self) -> Iterator[None]:
        """Give the restored stores to the driver, a slice at a time."""
        for number, store in self.stores.items():
            if number in self._unanchored:
                check_anchored(self._changelog, self.group, store)
            yield from self._driver.assigning(number, store)

    def keep(self, partitions: list[TopicPartition]) -> None:
        """They are about to be given back, and all of ours is committed: keep their stores in case
        they come back. Nobody wrote their changelog since our commit, so they are complete up to
        its end as it is now."""
        numbers = {place.partition for place in partitions} & self.stores.keys()
        try:
            has = bounds(self._admin, [(self._changelog, number) for number in numbers])
        except Fatal:
            return
        for number in numbers:
            self.stores[number].save(has[self._changelog, number].end)
            self._kept[number] = self.stores[number]

    def release(self, partitions: list[TopicPartition]) -> None:
        """Let go of them; what is not kept is closed."""
        self._end_restoration()
        for place in partitions:
            self.next.pop((place.topic, place.partition), None)
            self.committed.pop((place.topic, place.partition), None)
            self._driver.revoke(place.partition)
            store = self.stores.pop(place.partition, None)
            if store is not None and place.partition not in self._kept:
                store.close()
        self._status.stands_by()

    def _end_restoration(self) -> None:
        if self.restoration is not None:
            self.restoration.close()
        self.restoration = self._indexing = None

    def close(self) -> None:
        """Close all stores, and what reads the changelog."""
        self._end_restoration()
        for store in [*self.stores.values(), *self._kept.values()]:
            store.close()
