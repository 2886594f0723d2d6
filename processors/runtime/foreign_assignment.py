"""The partitions of foreign topics that are assigned to a relay lane: where each is read, and why
one is not.

A topic of others may be deleted, made anew, given more partitions, or cut faster than it is read.
What is wrong with one topic keeps it from being read, and no other.
"""

import logging
from collections.abc import Callable, Iterable, Mapping

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from processors.processor import ForeignTopic
from processors.runtime.assigned import Assigned
from processors.runtime.cluster import topic_id
from processors.runtime.foreign_marks import ForeignMark, read_mark
from processors.runtime.restoration import CALL_SECONDS, Bounds, Place, bounds
from processors.runtime.settings import Settings
from processors.runtime.status import LaneStatus
from processors.runtime.transactions import Fatal
from topics.look import look

log = logging.getLogger("handoff.lane")


class ForeignAssignment(Assigned):
    """What is assigned to a relay lane.

    `marks` is what goes with the committed offsets, `counts` how many partitions each topic has.
    `unsaved` are partitions whose position has to be committed although no record was read.
    `problems` says of a topic why partitions of it are not read; they are in `left`.
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
        super().__init__(
            settings,
            name,
            consumer=consumer,
            admin=admin,
            status=status,
            beat=beat,
            stopping=stopping,
        )
        self.marks: dict[Place, ForeignMark] = {}
        self.counts: dict[str, int] = {}
        self.unsaved: set[Place] = set()
        self.left: set[Place] = set()
        self.problems: dict[str, str] = {}

    def take(
        self, partitions: Iterable[TopicPartition], topics: Mapping[str, ForeignTopic]
    ) -> None:
        """Look up where each partition is read, and assign the consumer. Raises `Fatal`."""
        self.positions, self.committed, self.marks = {}, {}, {}
        self.unsaved, self.left = set(), set()
        self.problems = {}
        self._add([(each.topic, each.partition) for each in partitions], topics)
        self._assign()

    def take_left(self, topics: Mapping[str, ForeignTopic]) -> None:
        """Try again to take the partitions that could not be read. Raises `Fatal`."""
        places = sorted(self.left)
        held = any(place in self.positions for place in places)
        self.release(places)
        self.problems = {}
        self._add(places, topics)
        if held or self.left != set(places):
            self._assign()

    def release(self, places: Iterable[Place]) -> None:
        """Forget partitions."""
        for place in list(places):
            for known in (self.positions, self.committed, self.marks):
                known.pop(place, None)
            self.unsaved.discard(place)
            self.left.discard(place)

    def seek(self, place: Place, offset: int, mark: ForeignMark) -> None:
        """A position that is to be committed with its mark."""
        self.positions[place] = offset
        self.marks[place] = mark
        self.unsaved.add(place)

    def first_since(self, place: Place, moment: int) -> int | None:
        """The offset of the first record of a partition whose timestamp is not before a moment
        (epoch ms), None where there is none. Raises `KafkaException`."""
        spec = OffsetSpec.for_timestamp(moment)
        (future,) = self._admin.list_offsets(
            {TopicPartition(*place): spec}, request_timeout=CALL_SECONDS
        ).values()
        offset = int(future.result(CALL_SECONDS + 1).offset)
        return offset if offset >= 0 else None

    def _start(self, place: Place, has: Bounds, said: ForeignTopic) -> int:
        """Where a partition is begun of which nothing was ever read. Raises `KafkaException`."""
        if said.begin is None:
            return has.end
        since = self.first_since(place, said.begin) if said.begin else has.first
        return has.end if since is None else max(has.first, since)

    def _add(self, places: list[Place], topics: Mapping[str, ForeignTopic]) -> None:
        by_topic: dict[str, list[Place]] = {}
        for place in places:
            by_topic.setdefault(place[0], []).append(place)
        for topic, own in by_topic.items():
            self._beat()
            try:
                has = bounds(self._admin, own)
                id_, count = topic_id(self._admin, topic), self._count(topic)
            except (Fatal, KafkaException) as error:
                self.left.update(own)
                self.problems[topic] = str(error)
                continue
            self.counts[topic] = count
            self._begin(topic, own, has, id_, topics.get(topic) or ForeignTopic(()))

    def _count(self, topic: str) -> int:
        seen = look(self._admin, [topic], CALL_SECONDS).topics.get(topic)
        if seen is None:
            raise Fatal(f"the topic {topic} does not exist")
        return len(seen.leaders)

    def _assign(self) -> None:
        self._consumer.assign([TopicPartition(*place, at) for place, at in self.positions.items()])

    def _begin(
        self, topic: str, own: list[Place], has: dict[Place, Bounds], id_: str, said: ForeignTopic
    ) -> None:
        """Set the positions of the partitions of one topic."""
        all_of = [(topic, number) for number in range(self.counts[topic])]
        found = self._offsets_of_group(sorted({*all_of, *own}))
        marks = [mark for each in found if (mark := read_mark(each.metadata)) is not None]
        ids = {mark.topic_id for mark in marks if mark.topic_id}
        anew = bool(ids and id_ and id_ not in ids)
        first_count = min((m.partitions for m in marks if m.topic_id in ("", id_)), default=None)
        obeyed = {source: asked.asked_at for source, asked in said.replays.items()}
        for each in found:
            place = (each.topic, each.partition)
            if place not in own:
                continue
            mark = read_mark(each.metadata)
            offset, first, end = each.offset, has[place].first, has[place].end
            if mark is not None and mark.topic_id and id_ and mark.topic_id != id_:
                mark, offset = None, -1
            if offset >= 0 and offset > end:
                log.warning("%s-%d was made anew, and is read from its first record", *place)
                mark, offset, anew = None, -1, True
            if offset < 0:
                # A partition that came later is read whole, whatever `start` says.
                new = first_count is None or each.partition < first_count
                try:
                    offset = self._start(place, has[place], said) if new and not anew else first
                except KafkaException as error:
                    self.left.add(place)
                    self.problems[topic] = (
                        f"the first record of {topic} since its source's start cannot be looked "
                        f"up: {error.args[0].str()}"
                    )
                    continue
                self.unsaved.add(place)
            elif offset < first:
                if self._settings.gap == "stop":
                    self.left.add(place)
                    self.problems[topic] = (
                        f"{topic}-{each.partition} begins at {first}, and the next record to read "
                        f"is {offset}: retention was faster; to go on at {first} set "
                        "HANDOFF_GAP=skip, or read what is lost in another way"
                    )
                    continue
                lost = first - offset
                self._status.lost_to_gaps += lost
                log.error("%s-%d: %d records were gone before they were read", *place, lost)
                offset = first
                self.unsaved.add(place)
            if mark is None:
                mark = ForeignMark(first_count or self.counts[topic], id_, obeyed=obeyed)
                self.unsaved.add(place)
            self.positions[place] = self.committed[place] = offset
            self.marks[place] = mark
