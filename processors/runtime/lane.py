"""The lane: one processor's thread, which does the exactly-once loop of poll, judge and commit.

A turn of the loop, numbered as in `Lane.turn`:

1. Poll (`input_poller`). Records of co-partitioned inputs come in order. Rebalance callbacks run
   here: before a partition is revoked, the open transaction is settled; when one is assigned, it is
   looked up (`_take`), and then restored before its inputs are read.
2. Give the batch to the processor's agent, which steps the driver over it. New state goes to the
   overlay, never to the stores. Then, in the same way, wake a slice of tasks: those whose deadlines
   have passed, or if there are none, those that are swept because the tables changed.
3. Produce (`transactional_writer`) the outputs in an open transaction.
4. When no record waits, or the transaction is old enough: produce one changelog record for each
   changed state, into the partition of its input; send the next offset of every input whose state
   was changed; commit.
5. Only after the commit, the driver merges the overlay into the stores.

Once a second `lane_monitor` checks that records arrive and that topics are as they were, and writes
the figures for the web pages.

Steps 3 and 4 can fail with four kinds of errors (`transactions`); each kind has one handler here.
"""

import logging
import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from processors.driver import Driver
from processors.processor import Processor
from processors.runtime import clients
from processors.runtime.assignment import Assignment
from processors.runtime.base_lane import (
    BATCH_SECONDS,
    IDLE_SECONDS,
    BaseLane,
)
from processors.runtime.batch import Batch
from processors.runtime.global_tables import GlobalTables
from processors.runtime.input_poller import InputPoller
from processors.runtime.lane_monitor import LaneMonitor
from processors.runtime.poison_record_isolator import PoisonRecordIsolator
from processors.runtime.restoration import Place
from processors.runtime.retry_backoff import RetryBackoff
from processors.runtime.settings import Settings
from processors.runtime.stalled_input_detector import StalledInputDetector
from processors.runtime.state import check_state_dir
from processors.runtime.status import LaneStatus
from processors.runtime.timer_barrier import TimerBarrier
from processors.runtime.transactions import Abortable, OutcomeUnknown
from schemas.flow import Output, Record
from topics.catalogue import physical
from topics.rights import Right

log = logging.getLogger("handoff.lane")

ASKING_SECONDS = 0.005  # between two polls, while deadlines wait for an answer of Kafka
NOTICE_SECONDS = 0.1  # between two looks at the tables: time alone changes what they say
# Tasks that are woken in one slice (records that arrive meanwhile wait), and in one transaction. A
# slice ends after `BATCH_SECONDS`, too: to judge one task again may take long.
SLICE_WAKES, TRANSACTION_WAKES = 200, 1_000


class Lane(BaseLane):
    """Runs one processor on its partitions. `judge` gives a batch to the agent that runs it.
    `isolator` and `backoff` outlive the lane: they know of the failures of earlier lanes.

    `run` blocks until `stop`, or raises `LaneError` (start a new lane) or `Misconfigured`.
    """

    _assignment: Assignment

    def __init__(
        self,
        settings: Settings,
        processor: Processor[Any],
        *,
        instance: str,
        tables: GlobalTables,
        status: LaneStatus,
        judge: Callable[[Batch], None],
        isolator: PoisonRecordIsolator,
        backoff: RetryBackoff,
    ) -> None:
        report = settings.state == "disk"
        super().__init__(
            settings,
            processor.name,
            consumer=clients.group_consumer(settings, processor.name, instance),
            changelog=processor.changelog,
            instance=instance,
            status=status,
            judge=judge,
            isolator=isolator,
            backoff=backoff,
            report=report,
        )
        self._report = report
        self._processor = processor
        self._tables = tables
        prefix = settings.topic_prefix
        self._inputs = {physical(name, prefix): name for name in processor.inputs}
        self._driver: Driver[Any] = Driver(processor, tables.current, status.counts)
        self._touched: set[int] = set()
        self._noticed = 0.0
        self._timer_barrier = TimerBarrier(self._admin, list(self._inputs))
        self._assignment = Assignment(
            settings,
            processor,
            driver=self._driver,
            consumer=self._consumer,
            admin=self._admin,
            status=status,
            beat=self._beat,
            stopping=self._stop.is_set,
        )
        self._poller = InputPoller(
            self._inputs, self._consumer, self._timer_barrier.on_seek, self._assignment
        )
        self._monitor = LaneMonitor(
            self._inputs,
            consumer=self._consumer,
            poller=self._poller,
            stalled_inputs=StalledInputDetector(self._admin),
            assignment=self._assignment,
            driver=self._driver,
            status=status,
        )

    def _begin_to_run(self) -> None:
        check_state_dir(self._settings, self._processor.name)
        self._transactions.initialise()
        self._consumer.subscribe(
            list(self._inputs),
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_lost,
        )
        self._status.phase = "standing by"

    def _before_leaving(self) -> None:
        self._settle()
        if self._assignment.restoration is None and not self._outcome_unknown:
            self._pass_control_records()
            self._settle()

    def turn(self) -> None:
        """One turn of the loop; the numbers are those of the module's docstring."""
        self._beat()
        if self._assignment.restoration is not None:
            self._restore()
            self._monitor.clear()
            return
        # 1
        records = self._poll()
        try:
            self._notice()
            if records:
                self._process(records)  # 2, 3
            if self._transactions.open and self._isolator.isolating:
                self._commit()
            more = self._wake()  # 2, 3
            if self._transactions.open and (
                not (records or more)
                or self._isolator.isolating
                or self._driver.full
                or len(self._driver.woken) >= TRANSACTION_WAKES
                or self._is_due()
            ):
                self._commit()  # 4, 5
            self._commit_when_quiet()
        except Abortable as error:
            self._abort(error)
        except OutcomeUnknown as error:
            self._renew(error)
        if self._outcome_unknown:
            self._renew(OutcomeUnknown("the transaction of revoked partitions"))
        self._undisturbed()
        self._monitor.check()

    # --- 2, 3: judge and produce ------------------------------------------------------------

    def _process(self, records: list[Record]) -> None:
        """Judge records and produce their outputs. When the transaction is full, or the batch has
        taken `BATCH_SECONDS`, the other records are read again after the commit."""
        refusal = self._refusal(records)
        driver, now = self._driver, _now()
        ends = time.monotonic() + BATCH_SECONDS
        judged = 0

        def judge(outputs: list[Output]) -> None:
            nonlocal judged
            for record in records:
                judged += 1
                if refusal is not None:
                    outputs.append(driver.set_aside(record, refusal))
                else:
                    outputs += driver.step(record, now)
                if driver.full or time.monotonic() >= ends:
                    break

        outputs = self._judged(judge)
        self._in_batches(records, judged)
        self._begin()
        self._touched.update({record.partition for record in records[:judged]})
        self._writer.publish(outputs)

    # --- wakes ------------------------------------------------------------------------------

    def _notice(self) -> None:
        """Give the present tables to the driver, which looks whether they say something new."""
        tables, now = self._tables.current, time.monotonic()
        if tables is self._driver.tables and now - self._noticed < NOTICE_SECONDS:
            return
        self._noticed = now
        self._driver.tables = tables
        self._driver.notice(_now())

    def _wake(self) -> bool:
        """Wake a slice of the tasks whose deadlines have passed, or if there are none, of those
        that are to be swept. Returns whether more may follow at once."""
        driver, now, most = self._driver, _now(), self._isolator.max_wakes
        next_due = {number: driver.next_due(number, now) for number in driver.partitions}
        waiting = {number: due for number, due in next_due.items() if due is not None}
        due = {number: at for number, at in waiting.items() if at <= now}
        passable = self._timer_barrier.passable(due, self._poller.reached(), now, driver.tables)
        if not passable and not driver.sweeping:
            later = min((at - now for at in waiting.values() if at > now), default=1_000) / 1000
            self._wait = ASKING_SECONDS if self._timer_barrier.asking else min(later, IDLE_SECONDS)
            if next_due and not due and not self._transactions.open:
                self._isolator.no_wakes_left()
            return False
        before = len(driver.woken)
        ends = time.monotonic() + BATCH_SECONDS

        def enough() -> bool:
            return time.monotonic() >= ends

        def fire(outputs: list[Output]) -> None:
            for number, until in passable.items():
                fired = len(driver.woken) - before
                if fired < most:
                    outputs += driver.fire(
                        number,
                        until,
                        now,
                        most=most - fired,
                        enough=enough,
                        tables=self._timer_barrier.known_at(until),
                    )

        def sweep(outputs: list[Output]) -> None:
            outputs += driver.sweep(now, most, enough)

        outputs = self._judged(fire if passable else sweep)
        if passable:
            self._status.observe_lateness((now - min(due[n] for n in passable)) / 1000)
        woken = driver.woken[before:]
        if woken:
            self._begin()
            self._touched.update(number for number, _, _ in woken)
            self._writer.publish(outputs)
        elif not self._transactions.open:
            driver.merge(())  # nothing to commit; these tasks need not be looked at again
        self._wait = 0.0
        return True

    # --- 4, 5: commit -----------------------------------------------------------------------

    def _commit(self) -> None:
        """Changelog, offsets, commit, merge. Raises `Abortable`, `OutcomeUnknown`, `Fatal`."""
        began = time.monotonic()
        self._writer.publish(self._driver.sums())
        changes = list(self._driver.changelog())
        self._writer.write_changelog(changes)
        offsets = self._offsets()
        self._transactions.commit(offsets, self._consumer.consumer_group_metadata())
        self._check_not_replaced()
        self._assignment.committed.update({(at.topic, at.partition): at.offset for at in offsets})
        self._isolator.wakes_committed(len(self._driver.woken))
        self._assignment.changelog_committed()
        self._driver.merge(changes)
        if self._isolator.given_up:
            for number, key, _ in changes:
                self._isolator.changed(number, key)
        if self._report:
            self._transactions.producer.poll(0)
            for number in {number for number, _, _ in changes}:
                self._assignment.stores[number].save(self._writer.changelog_ends.get(number))
        self._committed()
        self._status.observe_commit(self._committed_at - began)
        self._clear()
        self._isolator.committed(self._assignment.positions)

    def _offsets(self) -> list[TopicPartition]:
        """The next offset of every input, for each partition whose state was changed."""
        reached = self._poller.reached()
        marks = {
            number: self._assignment.mark_to_commit(number) for number in sorted(self._touched)
        }
        return [
            TopicPartition(topic, number, reached[topic, number], mark)
            for topic in self._inputs
            for number, mark in marks.items()
        ]

    def _touch(self, places: set[Place]) -> None:
        self._touched |= {number for _, number in places}

    def _clear(self) -> None:
        self._poller.began_at.clear()
        self._touched.clear()
        self._writer.clear()

    # --- what goes wrong --------------------------------------------------------------------

    def _abort(self, error: Abortable) -> None:
        woken = list(self._driver.woken)
        needed = self._needed()
        if self._withdraw(error) and self._isolator.wakes_aborted(len(woken)):
            for wake in woken:
                self._driver.give_up(wake)
                log.error("a wake (%s) is given up: %s", wake.kind, error)
        self._back_off(error, needed)

    def _note_suspect(self, why: str) -> None:
        """As for records. Without any in the open transaction, a wake may be the reason."""
        super()._note_suspect(why)
        if self._poller.began_at:
            return
        wakes = list(self._driver.woken)
        if self._driver.waking is not None:
            wakes.append(self._driver.waking)
        if wakes and self._isolator.wakes_aborted(len(wakes)):
            self._isolator.given_up.update(wakes)
            for wake in wakes:
                log.error("a wake (%s) is given up until its task changes: %s", wake.kind, why)

    def _rights(self) -> list[Right]:
        prefix = self._settings.topic_prefix
        written = {self._processor.changelog, *self._writer.published}
        return [
            *(Right("WRITE", "topic", physical(name, prefix)) for name in sorted(written)),
            *(Right("READ", "topic", topic) for topic in self._inputs),
        ]

    def _drop(self) -> None:
        self._driver.drop()

    def _start_over(self) -> None:
        assigned = [TopicPartition(*place) for place in self._assignment.positions]
        self._release(assigned)
        if assigned:
            self._take(assigned)

    # --- partitions come and go -------------------------------------------------------------

    def _take(self, partitions: list[TopicPartition]) -> None:
        self._poller.clear()
        self._timer_barrier.clear()
        self._monitor.clear()
        self._assignment.take(partitions)

    def _restore(self) -> None:
        """A slice of the restoration. The consumer reads nothing yet, and is polled to stay a
        member."""
        before = self._assignment.restoration
        self._poller.keep_membership()
        if before is self._assignment.restoration:  # else a rebalance came in the poll
            self._assignment.restore()
            if self._assignment.restoration is None:
                self._backoff.runs()
                for wake in self._isolator.given_up:
                    if wake.partition in self._driver.partitions:
                        self._driver.give_up(wake)

    def _on_revoke(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        """Before partitions are revoked, the open transaction is committed, or if that fails
        aborted."""
        if self._failed:
            return
        self._settle()
        if (
            self._assignment.restoration is None
            and not self._outcome_unknown
            and not self._stop.is_set()
        ):
            self._assignment.retain_stores(partitions)
        self._release(partitions)

    def _release(self, partitions: list[TopicPartition]) -> None:
        self._poller.clear()
        self._timer_barrier.clear()
        self._monitor.clear()
        self._isolator.no_wakes_left()
        for place in partitions:
            self._isolator.partition_revoked((place.topic, place.partition))
        self._assignment.release(partitions)

    def _close(self) -> None:
        """End the transaction, leave the group, close the stores. Closing the consumer calls
        `_on_revoke`."""
        if self._failed:
            self._transactions.leave()
        clients.close(self._consumer.close, "the consumer of the inputs")
        self._assignment.close()


def _now() -> int:
    """The processor's clock, epoch ms."""
    return time.time_ns() // 1_000_000
