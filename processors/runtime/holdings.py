"""The partitions that a lane holds: where each input goes on, and the state that belongs to it.

They come in this order: the group's committed offsets, and what their marks say of the changelog;
the ends of changelog and inputs; where each input starts; assigned, and paused; the changelog read
into the stores; the stores given to the driver; resumed. The last three take a while and are done
in slices, so that the lane can poll.
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
from processors.runtime.cluster import check_topics, topic_id
from processors.runtime.marks import Log, Mark, lacking, read
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
from processors.runtime.transactions import Fatal, Misconfigured, ended_by
from processors.runtime.watch import Watch
from topics.catalogue import physical
from topics.rights import Right, reason

log = logging.getLogger("handoff.lane")

SLICE_SECONDS = 0.2
# Nobody's transaction lives that long: 10 s, and as many until its coordinator looks. What is not
# answered by then may never be, by this client: a new one finds its coordinator anew.
PENDING_SECONDS = 30.0
# A broker that just came back may tell of a topic as it was.
_LOOKS, _LOOK_SECONDS = 3, 0.7
_NAMED = 5  # partitions in one sentence


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
        self._anew: set[Place] = set()  # inputs that are read anew
        self._logs: dict[int, Log] = {}  # the changelog, by partition: `end` is what it reached
        self._watch = Watch(admin, self._inputs, self._changelog)
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
        count = check_topics(self._admin, self._settings, self._processor)
        self._driver.partition_count = count
        self._watch.clear()
        committed, marks = self._committed(places, count)
        self._beat()
        self._logs, lacks = self._compare(marks, numbers)
        if lacks and not self._settings.rebuild:
            raise Misconfigured(self._lost(lacks))
        has = bounds(self._admin, places)
        self.next, self.committed, self._unanchored, self._anew = {}, {}, set(), set()
        for number in numbers:
            own = {place: has[place] for place in places if place[1] == number}
            if number in lacks:
                self._begin_anew(own, committed, lacks[number])
            else:
                self._begin(own, committed)
        self._consumer.assign([TopicPartition(*place, at) for place, at in self.next.items()])
        self._consumer.pause([TopicPartition(*place) for place in self.next])
        for number in numbers:
            store = self._kept.pop(number, None)
            if store is None:
                store = open_store(self._settings, self._processor.name, number)
            self.stores[number] = store
            if number in lacks:
                store.wipe()  # it must not hold what its changelog will never have
        for store in self._kept.values():
            store.close()
        self._kept.clear()
        self._status.phase = "restoring"
        self.restoration = Restoration(
            clients.reader(self._settings), self._changelog, self.stores, self._logs
        )

    def _begin(self, own: dict[Place, Bounds], committed: dict[Place, int]) -> None:
        """Go on with the inputs of one partition number."""
        if all(committed[place] < 0 for place in own):
            self._unanchored.add(next(iter(own))[1])
        for place, start in starts(committed, own, self._settings.gap).items():
            self.next[place] = self.committed[place] = start.offset
            if start.lost:
                self._status.lost_to_gaps += start.lost
                log.error(
                    "%s-%d: %s records were gone before they were judged", *place, f"{start.lost:,}"
                )

    def _begin_anew(self, own: dict[Place, Bounds], committed: dict[Place, int], why: str) -> None:
        """Read the inputs of one partition number from their first records, as its changelog lacks
        something."""
        for place, has in own.items():
            self.next[place] = self.committed[place] = has.first
            self._anew.add(place)
            log.warning(
                "%s-%d is read anew from %d, and was judged up to %d: of its changelog, %s",
                *place,
                has.first,
                max(0, committed[place]),
                why,
            )

    # --- the changelog and what the offsets say of it ------------------------------------------

    def _committed(
        self, places: list[Place], count: int
    ) -> tuple[dict[Place, int], dict[int, Mark]]:
        """The group's offsets (negative where it has none), and the marks of our partitions.

        Of the first input all `count` partitions are looked at: a new one has no mark that says
        how many there were. Raises `Misconfigured` where that was another number.
        """
        looked = {*places, *((self._inputs[0], number) for number in range(count))}
        found = self._committed_offsets([TopicPartition(*place) for place in sorted(looked)])
        marks: dict[int, Mark] = {}
        for at in found:
            mark = read(at.metadata)
            if mark is not None:
                self._check_count(mark.partitions, count)
                before = marks.get(at.partition, mark)
                marks[at.partition] = max(before, mark, key=lambda mark: mark.log.end)
        return {(at.topic, at.partition): at.offset for at in found}, marks

    def _compare(
        self, marks: dict[int, Mark], numbers: list[int]
    ) -> tuple[dict[int, Log], dict[int, str]]:
        """The changelog of our partitions as it is, and what it lacks where it does."""
        for look in range(_LOOKS):
            if look:
                time.sleep(_LOOK_SECONDS)
            self._beat()
            id_ = topic_id(self._admin, self._changelog)
            has = bounds(self._admin, [(self._changelog, number) for number in numbers])
            logs = {number: Log(id_, at.first, at.end) for (_, number), at in has.items()}
            lacks = {
                number: why
                for number, now in logs.items()
                if number in marks and (why := lacking(marks[number].log, now)) is not None
            }
            if not lacks:
                break
        return logs, lacks

    def _check_count(self, then: int, now: int) -> None:
        if then != now:
            raise Misconfigured(
                f"the inputs of {self._processor.name} and its changelog have {now} partitions, "
                f"and had {then} when their state was written: a task's state does not lie where "
                "its next input arrives; begin anew with topics under another HANDOFF_TOPIC_PREFIX"
            )

    def _lost(self, lacks: dict[int, str]) -> str:
        numbers = sorted(lacks)
        named = ", ".join(map(str, numbers[:_NAMED]))
        if len(numbers) > _NAMED:
            named += f" and {len(numbers) - _NAMED} more"
        return (
            f"{self._changelog} holds less than the offsets of "
            f"{clients.group_id(self._settings, self._processor.name)} say (partition {named}: "
            f"{lacks[numbers[0]]}); to read the inputs anew, where they still are, start with: "
            "handoff run --rebuild"
        )

    def mark(self, number: int) -> str:
        """What the offsets of a partition are to say of its changelog, when what is open now is
        committed."""
        at, coming = self._logs[number], len(self._driver.partitions[number].overlay)
        return Mark(at._replace(end=at.end + coming), self._driver.partition_count).text()

    def written(self) -> None:
        """What was open is committed, and is merged next."""
        for number, partition in self._driver.partitions.items():
            if partition.overlay:
                self._reached(number, self._logs[number].end + len(partition.overlay))

    def _reached(self, number: int, end: int) -> None:
        at = self._logs[number]
        self._logs[number] = at._replace(end=max(at.end, end))

    def look(self) -> None:
        """See whether topics have changed. Raises `Misconfigured`, and `Fatal` where a new lane
        reads the inputs anew."""
        count = self._driver.partition_count
        if self._watch.suspects(self._logs, count):
            self._beat()
            self._check_count(count, check_topics(self._admin, self._settings, self._processor))
            marks = {number: Mark(log, count) for number, log in self._logs.items()}
            _, lacks = self._compare(marks, sorted(marks))
            if lacks:
                raise (Fatal if self._settings.rebuild else Misconfigured)(self._lost(lacks))
        for number, now in self._watch.now.items():
            at = self._logs[number]
            if at.end <= at.first:  # it held nothing, so it may be another
                self._logs[number] = now
            self._reached(number, now.end)

    def _committed_offsets(self, partitions: list[TopicPartition]) -> list[TopicPartition]:
        """The group's offsets. It waits for those that a transaction has pending (KIP-447)."""
        limit = time.monotonic() + PENDING_SECONDS
        while True:
            self._beat()
            try:
                found = self._consumer.committed(partitions, 5.0)
                for place in found:
                    if place.error is not None:  # its offset reads like that of a new group
                        raise KafkaException(place.error)
                return found
            except KafkaException as error:
                waits = error.args[0].code() == KafkaError._TIMED_OUT and time.monotonic() < limit
                if self._stopping() or not waits:
                    why = reason(error.args[0], Right("READ", "group", self.group))
                    sentence = f"the group's offsets cannot be read: {why}"
                    raise ended_by(error.args[0], sentence) from None
                log.info("waiting for the group's offsets: %s", error.args[0].str())

    # --- restored, kept, released --------------------------------------------------------------

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
        # Nothing counts as committed there, so that something is soon, and with it a mark.
        self.committed.update(dict.fromkeys(self._anew, -1))
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
        self._watch.clear()
        for place in partitions:
            self._logs.pop(place.partition, None)
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
        """Close all stores, and what reads the changelog. A batch that the lane has given up ends
        with the record under way."""
        self._end_restoration()
        self._driver.partitions.clear()
        for store in [*self.stores.values(), *self._kept.values()]:
            store.close()
