"""The partitions that are assigned to a lane: the position in each input, and the state of each.

When partitions are assigned, these steps follow one another:

1. read the group's committed offsets, and compare the marks in them with the changelog;
2. look up the ends of changelog and inputs, and from them where each input starts;
3. take the partitions, and read none of them yet;
4. read the changelog into the stores;
5. give the stores to the driver;
6. assign them to the consumer.

Steps 4 and 5 take long. They are done in slices, so that the lane can poll in between.
"""

import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from processors.driver import Driver
from processors.journal import UnknownFormat
from processors.processor import Processor
from processors.runtime import clients
from processors.runtime.assigned import Assigned
from processors.runtime.changelog_marks import (
    REBUILD,
    ChangelogBounds,
    ChangelogMark,
    loss_since,
    lost,
    newest,
    read,
)
from processors.runtime.cluster import check_topics, topic_id
from processors.runtime.restoration import (
    Bounds,
    Place,
    Restoration,
    bounds,
    check_anchored,
    starts,
)
from processors.runtime.settings import Settings
from processors.runtime.state import Store, open_store
from processors.runtime.status import LaneStatus
from processors.runtime.topic_watcher import TopicWatcher
from processors.runtime.transactions import Fatal, Misconfigured
from topics.catalogue import physical

log = logging.getLogger("handoff.lane")

SLICE_SECONDS = 0.2
# A broker that has just restarted may describe a topic as it was before.
_LOOKS, _LOOK_SECONDS = 3, 0.7


class Assignment(Assigned):
    """What is assigned to a lane with state.

    `stores` is the committed state by partition number; the driver gets a store once it is
    restored.
    """

    def __init__(
        self,
        settings: Settings,
        processor: Processor[Any],
        *,
        driver: Driver[Any],
        consumer: Consumer,
        admin: AdminClient,
        status: LaneStatus,
        beat: Callable[[], None],
        stopping: Callable[[], bool],
    ) -> None:
        super().__init__(
            settings,
            processor.name,
            consumer=consumer,
            admin=admin,
            status=status,
            beat=beat,
            stopping=stopping,
        )
        self._processor = processor
        self._driver = driver
        self._inputs = [physical(name, settings.topic_prefix) for name in processor.inputs]
        self._changelog = physical(processor.changelog, settings.topic_prefix)
        self.stores: dict[int, Store] = {}
        self._retained: dict[int, Store] = {}  # revoked, and complete up to their checkpoint
        self._unanchored: set[int] = set()  # partitions for which the group has no offset
        self._reread: set[Place] = set()  # inputs that are read again from their first record
        self._changelogs: dict[int, ChangelogBounds] = {}  # `end` is the highest end seen
        self._topic_watcher = TopicWatcher(admin, self._inputs, self._changelog)
        self.restoration: Restoration | None = None
        self._indexing: Iterator[None] | None = None  # step 5, after the restoration

    def take(self, partitions: list[TopicPartition]) -> None:
        """Steps 1 to 3, then open the stores and begin to restore.

        Raises `Fatal` and `Misconfigured`.
        """
        places = [(place.topic, place.partition) for place in partitions]
        numbers = sorted({number for _, number in places})
        missing = {(topic, number) for topic in self._inputs for number in numbers} - set(places)
        if missing:
            raise Fatal(f"partitions of one number were split between instances: {missing}")
        count = check_topics(self._admin, self._settings, self._processor)
        self._driver.partition_count = count
        self._topic_watcher.clear()
        committed, marks = self._committed(places, count)
        self._beat()
        self._changelogs, lacks = self._compare(marks, numbers)
        if lacks and not self._settings.rebuild:
            raise Misconfigured(self._lost(lacks))
        if self._settings.rebuild and not lacks:
            log.info(
                "%s: nothing is missing in %s on partitions %s, so --rebuild does nothing",
                self._processor.name,
                self._changelog,
                numbers,
            )
        has = bounds(self._admin, places)
        self.positions, self.committed, self._unanchored, self._reread = {}, {}, set(), set()
        for number in numbers:
            own = {place: has[place] for place in places if place[1] == number}
            if number in lacks:
                self._begin_at_the_first(own, committed, lacks[number])
            else:
                self._begin(own, committed)
        # Not paused: when it is resumed, librdkafka begins to fetch up to a second later.
        self._consumer.assign([])
        for number in numbers:
            store = self._retained.pop(number, None)
            if store is None:
                store = open_store(self._settings, self._processor.name, number)
            self.stores[number] = store
            if number in lacks:
                store.wipe()  # it may hold records that the changelog has lost
        for store in self._retained.values():
            store.close()
        self._retained.clear()
        self._status.phase = "restoring"
        self.restoration = Restoration(
            clients.reader(self._settings),
            self._changelog,
            self.stores,
            self._changelogs,
            formats=dict.fromkeys(lacks, self._processor.format),
        )

    def _begin(self, own: dict[Place, Bounds], committed: dict[Place, int]) -> None:
        """Set the positions of the inputs of one partition number."""
        if all(committed[place] < 0 for place in own):
            self._unanchored.add(next(iter(own))[1])
        for place, start in starts(committed, own, self._settings.gap).items():
            self.positions[place] = self.committed[place] = start.offset
            if start.lost:
                self._status.lost_to_gaps += start.lost
                log.error(
                    "%s-%d: %s records were gone before they were judged", *place, f"{start.lost:,}"
                )

    def _begin_at_the_first(
        self, own: dict[Place, Bounds], committed: dict[Place, int], why: str
    ) -> None:
        """Read the inputs of one partition number from their first records, because its changelog
        has lost something."""
        for place, has in own.items():
            self.positions[place] = self.committed[place] = has.first
            self._reread.add(place)
            log.warning(
                "%s-%d is read anew from %d, and was judged up to %d: %s",
                *place,
                has.first,
                max(0, committed[place]),
                why,
            )

    # --- the changelog, compared with the marks in the committed offsets ------------------------

    def _committed(
        self, places: list[Place], count: int
    ) -> tuple[dict[Place, int], dict[int, ChangelogMark]]:
        """The group's offsets (negative where it has none), and the marks by partition number.

        All `count` partitions of the first input are read, not only the assigned ones: when a
        partition was added, it has no mark, and only the others say how many there were. Raises
        `Misconfigured` when a mark has another number of partitions.
        """
        looked = {*places, *((self._inputs[0], number) for number in range(count))}
        found = self._offsets_of_group(sorted(looked))
        for at in found:
            mark = read(at.metadata)
            if mark is not None:
                self._check_count(mark.partitions, count)
        marks = newest((at.partition, at.metadata) for at in found)
        return {(at.topic, at.partition): at.offset for at in found}, marks

    def _compare(
        self, marks: dict[int, ChangelogMark], numbers: list[int]
    ) -> tuple[dict[int, ChangelogBounds], dict[int, str]]:
        """The changelog of these partitions as it is now, and what it has lost, where it has."""
        for look in range(_LOOKS):
            if look:
                time.sleep(_LOOK_SECONDS)
            self._beat()
            id_ = topic_id(self._admin, self._changelog)
            has = bounds(self._admin, [(self._changelog, number) for number in numbers])
            changelogs = {
                number: ChangelogBounds(id_, at.first, at.end) for (_, number), at in has.items()
            }
            form = self._processor.format
            lacks = {
                number: why
                for number, now in changelogs.items()
                if number in marks and (why := loss_since(marks[number], now, form)) is not None
            }
            if not lacks:
                break
        return changelogs, lacks

    def _check_count(self, then: int, now: int) -> None:
        if then != now:
            raise Misconfigured(
                f"the inputs of {self._processor.name} and its changelog have {now} partitions, "
                f"and had {then} when their state was written: a task's state does not lie where "
                "its next input arrives; begin anew with topics under another HANDOFF_TOPIC_PREFIX"
            )

    def _lost(self, lacks: dict[int, str]) -> str:
        return (
            f"{lost(self._changelog, self.group, lacks)}; "
            f"to read the inputs anew, where they still are, start with: {REBUILD}"
        )

    def mark_to_commit(self, number: int) -> str:
        """The mark for the offsets of a partition: its changelog as it is after the commit of the
        open transaction."""
        at, coming = self._changelogs[number], self._driver.partitions[number].journal.written
        at = at._replace(end=at.end + coming)
        return ChangelogMark(at, self._driver.partition_count, self._processor.format).text()

    def changelog_committed(self) -> None:
        """The open transaction was committed. Called before the driver merges it."""
        for number, partition in self._driver.partitions.items():
            if partition.journal.written:
                self._reached(number, self._changelogs[number].end + partition.journal.written)

    def _reached(self, number: int, end: int) -> None:
        at = self._changelogs[number]
        self._changelogs[number] = at._replace(end=max(at.end, end))

    def check_topics_again(self) -> None:
        """Look whether topics have changed since the start. Raises `Misconfigured`; with the
        setting `rebuild` it raises `Fatal`, and the next lane reads the inputs again."""
        count = self._driver.partition_count
        if self._topic_watcher.suspects(self._changelogs, count):
            self._beat()
            self._check_count(count, check_topics(self._admin, self._settings, self._processor))
            form = self._processor.format
            marks = {
                number: ChangelogMark(at, count, form) for number, at in self._changelogs.items()
            }
            _, lacks = self._compare(marks, sorted(marks))
            if lacks:
                raise (Fatal if self._settings.rebuild else Misconfigured)(self._lost(lacks))
        for number, now in self._topic_watcher.now.items():
            at = self._changelogs[number]
            if at.end <= at.first:  # it was empty, so the topic may have been made again
                self._changelogs[number] = now
            self._reached(number, now.end)

    # --- restore, retain, release --------------------------------------------------------------

    def restore(self) -> None:
        """One slice of steps 4 to 6. Raises `Fatal` and `Misconfigured`."""
        restoration = self.restoration
        assert restoration is not None
        if not restoration.done:
            restoration.step(SLICE_SECONDS)
            return
        if self._indexing is None:
            self._indexing = self._assigning()
        limit = time.monotonic() + SLICE_SECONDS
        try:
            for _ in self._indexing:
                if time.monotonic() > limit:
                    return
        except UnknownFormat as error:
            raise Misconfigured(str(error)) from None
        for number in {number for _, number in self._reread}:
            self._driver.partitions[number].journal.delete_misfits()
        self._end_restoration()
        # As if nothing were committed there: then offsets are committed soon, and a mark with them.
        self.committed.update(dict.fromkeys(self._reread, -1))
        self._status.restore_seconds = restoration.seconds
        self._status.restored_records += restoration.records
        self._consumer.assign([TopicPartition(*place, at) for place, at in self.positions.items()])
        self._status.phase = "running"
        log.info(
            "%s runs on partitions %s; restored %s records in %.2f s",
            self._processor.name,
            sorted(self.stores),
            f"{restoration.records:,}",
            restoration.seconds,
        )

    def _assigning(self) -> Iterator[None]:
        """Step 5, a slice at a time."""
        for number, store in self.stores.items():
            if number in self._unanchored:
                check_anchored(self._changelog, self.group, store)
            yield from self._driver.assigning(number, store)

    def retain_stores(self, partitions: list[TopicPartition]) -> None:
        """Keep the stores of partitions that are about to be revoked, in case they are assigned
        again. Only when everything is committed: nobody else has written to the changelog since, so
        the stores are complete up to its present end."""
        numbers = {place.partition for place in partitions} & self.stores.keys()
        try:
            has = bounds(self._admin, [(self._changelog, number) for number in numbers])
        except Fatal:
            return
        for number in numbers:
            self.stores[number].save(has[self._changelog, number].end)
            self._retained[number] = self.stores[number]

    def release(self, partitions: list[TopicPartition]) -> None:
        """Forget revoked partitions; close the stores that are not retained."""
        self._end_restoration()
        self._topic_watcher.clear()
        for place in partitions:
            self._changelogs.pop(place.partition, None)
            self.positions.pop((place.topic, place.partition), None)
            self.committed.pop((place.topic, place.partition), None)
            self._driver.revoke(place.partition)
            store = self.stores.pop(place.partition, None)
            if store is not None and place.partition not in self._retained:
                store.close()
        self._status.stands_by()

    @property
    def reading(self) -> bool:
        """Whether the partitions are restored."""
        return self.restoration is None

    def _end_restoration(self) -> None:
        if self.restoration is not None:
            self.restoration.close()
        self.restoration = self._indexing = None

    def close(self) -> None:
        """Close all stores and the reader of the changelog. When the lane has abandoned a batch,
        the batch ends after the record that it is judging."""
        self._end_restoration()
        self._driver.partitions.clear()
        for store in [*self.stores.values(), *self._retained.values()]:
            store.close()
