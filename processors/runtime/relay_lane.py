"""The relay lane: one processor's thread, which maps the records of others' topics to ours.

It keeps no state, so a turn is short:

1. Follow the tables: which topics are to be read, and which are to be read again.
2. Poll. Rebalance callbacks run here: before partitions are revoked, the open transaction is
   settled; when some are assigned, it is looked up where each is read (`foreign_assignment`).
3. Give the batch to the processor's agent, which maps it, and produce what comes of it.
4. When no record waits, or the transaction is old enough or full: commit it with the next offset of
   each partition.

Once a second it looks how far each partition was read (`read_marks`), and tells that
(`position_teller`). Without a topic to read it has no part in its group and asks Kafka nothing.

**Read again.** A replay is a seek back in a transaction of its own. Below the offset that was
reached before, records are for the sources that asked only, and backfill. What is to be read again
stands in the metadata of the offset (`foreign_marks`), so it is right after a crash, too.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from processors.processor import ForeignTopic, Relay, Relayed
from processors.runtime import clients
from processors.runtime.base_lane import BATCH_SECONDS, IDLE_SECONDS, BaseLane
from processors.runtime.batch import Batch
from processors.runtime.foreign_assignment import ForeignAssignment
from processors.runtime.global_tables import GlobalTables
from processors.runtime.input_poller import InputPoller
from processors.runtime.poison_record_isolator import PoisonRecordIsolator
from processors.runtime.position_teller import PositionTeller
from processors.runtime.read_marks import ReadMarks
from processors.runtime.restoration import CALL_SECONDS, Place
from processors.runtime.retry_backoff import RetryBackoff
from processors.runtime.settings import Settings
from processors.runtime.stalled_input_detector import STALLED_SECONDS, StalledInputDetector
from processors.runtime.status import LaneStatus
from processors.runtime.transactions import Abortable, Fatal, OutcomeUnknown
from schemas import serde
from schemas.flow import Output, Record
from topics.catalogue import NAMES, physical
from topics.look import look
from topics.rights import Right, is_refusal, missing, reason

log = logging.getLogger("handoff.lane")

LOOK_SECONDS = 5.0  # between two looks at the topics
FULL_BYTES = 8 << 20  # a transaction with more is committed
_MONITOR_SECONDS = 1.0
_NOT_YET = "does not exist; it is read once it does"
# What is wrong with one topic, and with no other.
_OF_A_TOPIC = frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.TOPIC_EXCEPTION,
        KafkaError._AUTO_OFFSET_RESET,
        KafkaError.OFFSET_OUT_OF_RANGE,
        KafkaError._LOG_TRUNCATION,
        KafkaError.UNKNOWN_TOPIC_ID,
        KafkaError.INCONSISTENT_TOPIC_ID,
    }
)


class RelayLane(BaseLane):
    """Runs one relay on the partitions of foreign topics that it gets."""

    _assignment: ForeignAssignment

    def __init__(
        self,
        settings: Settings,
        relay: Relay,
        *,
        instance: str,
        tables: GlobalTables,
        status: LaneStatus,
        judge: Callable[[Batch], None],
        isolator: PoisonRecordIsolator,
        backoff: RetryBackoff,
    ) -> None:
        super().__init__(
            settings,
            relay.name,
            consumer=clients.group_consumer(settings, relay.name, instance, apart=True),
            changelog="",
            instance=instance,
            status=status,
            judge=judge,
            isolator=isolator,
            backoff=backoff,
            report=False,
        )
        self._relay = relay
        self._tables = tables
        self._ours = {physical(name, settings.topic_prefix) for name in NAMES}
        self._inputs: dict[str, str] = {}  # the topics that are subscribed, by their own names
        self._initialised = False
        self._followed: object = None  # the tables that were followed last
        self._topics: dict[str, ForeignTopic] = {}
        self._unreadable: dict[str, str] = {}
        self._looked_at = self._monitored_at = 0.0
        self._taken = False  # partitions have come, and what is asked of them is to be looked at
        self._full: set[Place] = set()  # their marks have no room for another replay
        self._touched: set[Place] = set()
        self._counted: Counter[tuple[str, str, str]] = Counter()
        self._last_at: dict[Place, int] = {}  # the timestamp of the last record
        self._read_marks = ReadMarks(self._admin)
        self._stalled = StalledInputDetector(self._admin)
        self._teller = PositionTeller(settings, relay.positions)
        self._assignment = ForeignAssignment(
            settings,
            relay.name,
            consumer=self._consumer,
            admin=self._admin,
            status=status,
            beat=self._beat,
            stopping=self._stop.is_set,
        )
        self._poller = InputPoller(
            self._inputs, self._consumer, self._read_marks.on_seek, self._assignment, self._handle
        )

    def _begin_to_run(self) -> None:
        self._status.phase = "standing by"

    def _before_leaving(self) -> None:
        self._settle()
        if not self._outcome_unknown and self._initialised:
            self._pass_control_records()
            self._settle()
            self._tell()

    def turn(self) -> None:
        """One turn of the loop; the numbers are those of the module's docstring."""
        self._beat()
        try:
            self._follow()  # 1
            if not self._initialised:
                self._stop.wait(IDLE_SECONDS)
                return
            records = self._poll()  # 2
            if records:
                self._process(records)  # 3
            if self._assignment.unsaved:
                self._begin()
                self._touched |= self._assignment.unsaved
            if self._transactions.open and (
                not records
                or self._isolator.isolating
                or self._writer.size >= FULL_BYTES
                or self._is_due()
            ):
                self._commit()  # 4
            self._commit_when_quiet()
        except Abortable as error:
            self._abort(error)
        except OutcomeUnknown as error:
            self._renew(error)
        if self._outcome_unknown:
            self._renew(OutcomeUnknown("the transaction of revoked partitions"))
        self._undisturbed()
        self._monitor()

    # --- 1: which topics --------------------------------------------------------------------

    def _follow(self) -> None:
        """Read what the present tables want read."""
        tables, now = self._tables.current, time.monotonic()
        changed = tables is not self._followed
        if changed:
            self._followed = tables
            self._topics = dict(self._relay.topics(tables))
        if changed or (self._topics and now - self._looked_at >= LOOK_SECONDS):
            self._looked_at = now
            self._look()
            self._taken = self._taken or bool(self._full)
        if changed or self._taken:
            self._taken = False
            self._replay()

    def _look(self) -> None:
        """Look which of the topics can be read, and subscribe to them."""
        try:
            found = look(self._admin, self._topics, CALL_SECONDS)
        except KafkaException as error:
            log.warning("the topics are not looked at for a moment: %s", reason(error.args[0]))
            return
        unreadable: dict[str, str] = {}
        for topic in sorted(self._topics):
            right = Right("READ", "topic", topic)
            if topic in self._ours:
                unreadable[topic] = f"the topic {topic} is the processor's own; name another one"
            elif found.lacks([right]):
                unreadable[topic] = missing([right])
            elif topic not in found.topics:
                unreadable[topic] = f"the topic {topic} {_NOT_YET}"
        self._unreadable = unreadable
        self._subscribe(set(self._topics) - unreadable.keys())
        if self._assignment.left:
            self._settle()
            self._assignment.take_left(self._topics)
            self._taken = True
        self._say_problems()

    def _subscribe(self, topics: set[str]) -> None:
        if topics == self._inputs.keys():
            return
        self._settle()
        if topics and not self._initialised:
            self._transactions.initialise()
            self._initialised = True
        self._inputs.clear()
        self._inputs.update({topic: topic for topic in topics})
        if not topics:
            self._consumer.unsubscribe()
            self._release([TopicPartition(*place) for place in self._assignment.positions])
            return
        self._consumer.subscribe(
            sorted(topics),
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_lost,
        )

    def _say_problems(self) -> None:
        """Note what cannot be read. The lane is ready as long as it reads anything."""
        problems = {**self._unreadable, **self._assignment.problems}
        for topic, why in problems.items():
            if self._status.problems.get(topic) != why:
                level = logging.WARNING if why.endswith(_NOT_YET) else logging.ERROR
                log.log(level, "%s does not read %s: %s", self._relay.name, topic, why)
        for topic in self._status.problems.keys() - problems.keys():
            wanted = topic in self._topics
            told = "%s reads %s now" if wanted else "%s need not read %s any more"
            log.info(told, self._relay.name, topic)
        self._status.problems = problems

    def _handle(self, error: KafkaError, topic: str | None) -> bool:
        """Note an error of one topic, which keeps no other from being read."""
        if topic is None or error.code() not in _OF_A_TOPIC:
            return False
        # The consumer may report it while it polls: partitions are exchanged after that.
        self._looked_at = 0.0
        why = reason(error, Right("READ", "topic", topic)) if is_refusal(error) else error.str()
        self._assignment.problems[topic] = f"the topic {topic} cannot be read: {why}"
        self._assignment.left |= {
            place for place in self._assignment.positions if place[0] == topic
        }
        return True

    def _replay(self) -> None:
        """Begin the replays that were asked for, in a transaction of their own."""
        asked = [
            (place, source, replay)
            for place, mark in self._assignment.marks.items()
            if (topic := self._topics.get(place[0])) is not None
            for source, replay in sorted(mark.to_obey(topic.replays).items())
        ]
        if not asked:
            self._full = set()
            return
        self._settle()
        if self._outcome_unknown:
            return
        full: set[Place] = set()
        for place, source, replay in asked:
            position, mark = self._assignment.positions[place], self._assignment.marks[place]
            mark = mark.of(self._topics[place[0]].replays)
            if not mark.has_room():
                if place not in self._full:
                    log.warning("%s reads %s-%d again once others have ended", source, *place)
                full.add(place)
                continue
            try:
                since = self._assignment.first_since(place, replay.begin)
            except KafkaException as error:
                log.warning("%s is not read again yet: %s", place[0], reason(error.args[0]))
                self._taken = True  # it is asked for again
                continue
            first = position if since is None else since
            mark = mark.begun(source, replay, first, position)
            self._assignment.seek(place, min(first, position), mark)
            if first < position:
                log.info("%s reads %s-%d again from %d to %d", source, *place, first, mark.live)
                self._poller.seek({place: first})
        self._full = full

    # --- 3: map and produce -----------------------------------------------------------------

    def _process(self, records: list[Record]) -> None:
        refusal = self._refusal(records)
        relay, tables, now = self._relay, self._followed, time.time_ns() // 1_000_000
        marks = self._assignment.marks
        replays = any(mark.live for mark in marks.values())
        ends = time.monotonic() + BATCH_SECONDS
        judged, counted = 0, Counter[tuple[str, str, str]]()

        def judge(outputs: list[Output]) -> None:
            nonlocal judged
            done = Relayed(outputs, counted=counted)
            again: list[str] | None = None
            for record in records:
                judged += 1
                if replays:
                    again = marks[record.topic, record.partition].sources_for(record.offset)
                if refusal is not None:
                    outputs.append(serde.dead_letter(record, refusal))
                    counted["", "dead_letters", refusal.code] += 1
                elif again is None or again:
                    relay.step(done, record, tables, now, again)
                if done.size >= FULL_BYTES or time.monotonic() >= ends:
                    break

        outputs = self._judged(judge)
        self._in_batches(records, judged)
        self._begin()
        self._counted.update(counted)
        last = {(each.topic, each.partition): each.timestamp for each in records[:judged]}
        self._touched.update(last)
        self._last_at.update(last)
        self._writer.publish(outputs)

    # --- 4: commit --------------------------------------------------------------------------

    def _commit(self) -> None:
        began = time.monotonic()
        offsets = self._offsets()
        if not offsets:  # its partitions are gone
            self._abort_transaction()
            return
        self._transactions.commit(offsets, self._consumer.consumer_group_metadata())
        self._check_not_replaced()
        assignment = self._assignment
        for at in offsets:
            place = (at.topic, at.partition)
            assignment.committed[place] = at.offset
            assignment.marks[place] = assignment.marks[place].at(at.offset)
            assignment.unsaved.discard(place)
        self._status.sources.update(self._counted)
        self._committed()
        self._status.observe_commit(self._committed_at - began)
        self._clear()
        self._isolator.committed(assignment.positions)

    def _offsets(self) -> list[TopicPartition]:
        reached = self._poller.reached()
        marks = self._assignment.marks
        return [
            TopicPartition(*place, reached[place], marks[place].at(reached[place]).text())
            for place in sorted(self._touched)
            if place in reached
        ]

    def _touch(self, places: set[Place]) -> None:
        self._touched |= places

    def _drop(self) -> None:
        """Nothing but what is counted is kept of an open transaction."""
        self._counted.clear()

    def _clear(self) -> None:
        self._poller.began_at.clear()
        self._touched.clear()
        self._counted.clear()
        self._writer.clear()

    def _rights(self) -> list[Right]:
        prefix = self._settings.topic_prefix
        return [
            *(Right("WRITE", "topic", physical(name, prefix)) for name in self._writer.published),
            *(Right("READ", "topic", topic) for topic in self._inputs),
        ]

    def _start_over(self) -> None:
        assigned = [*self._assignment.positions, *self._assignment.left]
        self._release([TopicPartition(*place) for place in assigned])
        if assigned:
            self._take([TopicPartition(*place) for place in assigned])

    # --- partitions come and go -------------------------------------------------------------

    def _take(self, partitions: list[TopicPartition]) -> None:
        self._poller.clear()
        self._read_marks.clear()
        self._stalled.clear()
        self._assignment.take(partitions, self._topics)
        self._taken = True
        self._say_problems()
        self._status.phase = "running"
        self._backoff.runs()
        log.info(
            "%s reads %s",
            self._relay.name,
            ", ".join(f"{topic}-{number}" for topic, number in sorted(self._assignment.positions)),
        )

    def _on_revoke(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        """Before partitions are revoked, the open transaction is committed, or if that fails
        aborted."""
        if self._failed:
            return
        self._settle()
        self._release(partitions)

    def _release(self, partitions: list[TopicPartition]) -> None:
        places = [(each.topic, each.partition) for each in partitions]
        for place in places:
            self._isolator.partition_revoked(place)
        self._assignment.release(places)
        self._poller.clear()
        self._read_marks.clear()
        self._stalled.clear()
        self._status.stands_by()

    def _close(self) -> None:
        if self._failed:
            self._transactions.leave()
        clients.close(self._consumer.close, "the consumer of the foreign topics")
        self._teller.close()

    # --- once a second ----------------------------------------------------------------------

    def _monitor(self) -> None:
        self._read_marks.ask(self._assignment.positions)
        now = time.monotonic()
        if now - self._monitored_at < _MONITOR_SECONDS:
            return
        self._monitored_at = now
        reached = self._poller.reached()
        stalled = self._stalled.find(reached)
        if stalled is not None:
            raise Fatal(
                f"nothing came from {stalled[0]}-{stalled[1]} for {STALLED_SECONDS:.0f} s, "
                "although records wait there"
            )
        self._status.lag.update(self._read_marks.lag(reached))
        self._tell()

    def _tell(self) -> None:
        """Tell how far each source was read: what is committed, and nothing else."""
        reached = self._poller.reached()
        self._read_marks.look(
            {
                place: self._assignment.committed[place] if place in self._touched else at
                for place, at in reached.items()
                if not self._assignment.marks[place].live
            }
        )
        read_to = self._read_marks.read_to
        for topic, said in self._topics.items():
            places = [place for place in reached if place[0] == topic and place in read_to]
            if not places:
                continue
            own = {number: read_to[topic, number] for _, number in places}
            last = max(self._last_at.get(place, 0) for place in places)
            count = self._assignment.counts[topic]
            self._teller.tell(said.sources, topic, count, own, last or None)
            for source in said.sources:
                self._status.read_to[source, topic] = min(own.values())
