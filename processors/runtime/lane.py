"""The lane: one processor's thread, which does the exactly-once loop of poll, judge and commit.

A turn of the loop, numbered as in `Lane.turn`:

1. Poll (`input_poller`). Records of co-partitioned inputs come in order. Rebalance callbacks run
   here: before a partition is revoked, the open transaction is settled; when one is assigned, it is
   looked up (`_take`), and then restored while its inputs are paused.
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

import concurrent.futures
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from processors.driver import Driver
from processors.processor import Processor
from processors.runtime import clients
from processors.runtime.assignment import Assignment
from processors.runtime.batch import Batch
from processors.runtime.cluster import refusal_reason
from processors.runtime.global_tables import GlobalTables
from processors.runtime.input_poller import InputPoller
from processors.runtime.lane_monitor import LaneMonitor
from processors.runtime.poison_record_isolator import PoisonRecordIsolator, may_be_a_record
from processors.runtime.restoration import Place
from processors.runtime.retry_backoff import RetryBackoff
from processors.runtime.settings import Settings
from processors.runtime.stalled_input_detector import StalledInputDetector
from processors.runtime.state import check_state_dir
from processors.runtime.status import LaneStatus
from processors.runtime.timer_barrier import TimerBarrier
from processors.runtime.transactional_writer import TransactionalWriter
from processors.runtime.transactions import (
    Abortable,
    AbortCause,
    Fatal,
    LaneError,
    Misconfigured,
    OutcomeUnknown,
    Transactions,
    ended_by,
)
from schemas.flow import Output, Record, Refused
from topics.catalogue import physical
from topics.rights import Right, reason

log = logging.getLogger("handoff.lane")

BATCH_RECORDS = 1_000
# A batch ends after this time, and the consumer reads its other records again: the agent must
# answer, and the consumer must be polled.
BATCH_SECONDS = 1.0
# Between a commit and the first record of the next transaction. If it begins sooner, the
# coordinator still writes the markers of the last one, and the client retries with a back-off.
GAP_SECONDS = 0.005
IDLE_SECONDS = 0.1
QUIET_SECONDS = 10.0  # without a commit, until offsets alone are committed
ASKING_SECONDS = 0.005  # between two polls, while deadlines wait for an answer of Kafka
NOTICE_SECONDS = 0.1  # between two looks at the tables: time alone changes what they say
# Tasks that are woken in one slice (records that arrive meanwhile wait), and in one transaction. A
# slice ends after `BATCH_SECONDS`, too: to judge one task again may take long.
SLICE_WAKES, TRANSACTION_WAKES = 200, 1_000
AGENT_SECONDS, BEAT_SECONDS = 30.0, 5.0
# When nothing has failed for so long after a failed attempt, the cause counts as gone.
UNDISTURBED_SECONDS = 10.0


class TooSlow(Fatal):
    """A batch was not judged in time."""


class Lane:
    """Runs one processor on its partitions. `judge` gives a batch to the agent that runs it.
    `isolator` and `backoff` outlive the lane: they know of the failures of earlier lanes.

    `run` blocks until `stop`, or raises `LaneError` (start a new lane) or `Misconfigured`.
    """

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
        self._settings = settings
        self._processor = processor
        self._tables = tables
        self._status = status
        self._judge = judge
        self._stop = threading.Event()
        self._failed = False  # or it hangs: nothing more may be committed
        self._replaced = False  # it hung, and another lane runs in its place
        self.seen = time.monotonic()  # when its thread last reported; its supervisor reads it
        self._interval = settings.commit_interval_ms / 1000
        prefix = settings.topic_prefix
        self._inputs = {physical(name, prefix): name for name in processor.inputs}
        self._driver: Driver[Any] = Driver(processor, tables.current, status.counts)
        self._touched: set[int] = set()
        self._began_at = 0.0
        self._committed_at = 0.0
        self._isolator = isolator
        self._backoff = backoff
        self._failed_at = time.monotonic()
        self._batch_limit = BATCH_RECORDS  # records of the next batch, at most
        self._outcome_unknown = False
        self._wait = IDLE_SECONDS  # seconds to wait for records while no transaction is open
        self._noticed = 0.0
        group = clients.group_id(settings, processor.name)
        self._calls_need = [
            Right("WRITE", "transactional id", instance),
            Right("READ", "group", group),
        ]
        report = settings.state == "disk"
        self._transactions = Transactions(
            lambda on_delivery: clients.transactional_producer(
                settings, instance, on_delivery, report=report
            ),
            self._calls_need,
            self._stop.is_set,
            self._beat,
        )
        self._report = report
        self._admin = clients.admin(settings)
        self._timer_barrier = TimerBarrier(self._admin, list(self._inputs))
        self._consumer = clients.group_consumer(settings, processor.name, instance)
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
            self._inputs, self._consumer, self._timer_barrier, self._assignment
        )
        self._writer = TransactionalWriter(
            self._transactions, processor.changelog, prefix, self._beat, self._why, report=report
        )
        self._monitor = LaneMonitor(
            self._inputs,
            consumer=self._consumer,
            timer_barrier=self._timer_barrier,
            stalled_inputs=StalledInputDetector(self._admin),
            assignment=self._assignment,
            driver=self._driver,
            status=status,
        )

    def stop(self) -> None:
        """Ask the lane to settle and leave. Any thread may call it."""
        self._stop.set()

    def abandon(self) -> None:
        """Abandon a lane that hangs in a Kafka client; called by another thread. It leaves its
        group and closes its stores, so that the next lane can have both."""
        self._failed = self._replaced = True
        self._stop.set()
        if may_be_a_record(AbortCause.TIME, self._writer.size):
            self._note_suspect("a Kafka client hung")
        threading.Thread(target=self._close, daemon=True).start()

    def run(self) -> None:
        """Take turns until `stop`. Raises `LaneError` or `Misconfigured`."""
        try:
            check_state_dir(self._settings, self._processor.name)
            self._transactions.initialise()
            self._consumer.subscribe(
                list(self._inputs),
                on_assign=self._on_assign,
                on_revoke=self._on_revoke,
                on_lost=self._on_lost,
            )
            self._status.phase = "standing by"
            while not self._stop.is_set():
                self.turn()
            self._settle()
            if self._assignment.restoration is None and not self._outcome_unknown:
                self._pass_control_records()
                self._settle()
        except (KafkaException, SystemError) as error:
            self._failed = True
            cause = clients.failure_of(error)
            if cause is None:
                raise
            raise ended_by(cause, reason(cause, *self._needed())) from None
        except TooSlow as error:
            self._failed = True
            self._note_suspect(str(error))
            raise
        except (LaneError, Misconfigured):
            self._failed = True
            raise
        except BaseException as error:
            self._failed = True
            self._note_suspect(f"the lane ended with {type(error).__name__}")
            raise
        finally:
            self._beat()
            if not self._replaced:
                self._status.phase = "stopped"
                self._close()
            # Here no call hangs any more, so the clients can be closed.
            self._transactions.close()
            clients.close_admin(self._admin)

    def _beat(self) -> None:
        self.seen = time.monotonic()

    def _check_not_replaced(self) -> None:
        """Raises `Fatal` when another lane runs in place of this one, which hung."""
        if self._replaced:
            raise Fatal("another lane has taken the place of this one, which hung")

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
                or time.monotonic() - self._began_at >= self._interval
            ):
                self._commit()  # 4, 5
            quiet = time.monotonic() - self._committed_at >= QUIET_SECONDS
            if quiet and not self._transactions.open and self._pass_control_records():
                self._commit()
        except Abortable as error:
            self._abort(error)
        except OutcomeUnknown as error:
            self._renew(error)
        if self._outcome_unknown:
            self._renew(OutcomeUnknown("the transaction of revoked partitions"))
        if (
            self._backoff.failing
            and time.monotonic() - self._failed_at >= UNDISTURBED_SECONDS
            and not self._transactions.open
        ):
            self._backoff.succeeded()
        self._monitor.check()

    # --- 1: poll ----------------------------------------------------------------------------

    def _poll(self) -> list[Record]:
        most = min(self._isolator.max_records, self._batch_limit)
        if self._transactions.open:
            return self._poller.poll_now(most)
        gap = self._committed_at + GAP_SECONDS - time.monotonic()
        return self._poller.poll(most, gap, self._wait)

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
        if judged < len(records):
            self._poller.read_again(records[judged:])
            self._batch_limit = judged  # the next records may take as long
        else:
            self._batch_limit = min(2 * self._batch_limit, BATCH_RECORDS)
        self._begin()
        self._touched.update({record.partition for record in records[:judged]})
        self._writer.publish(outputs)

    def _judged(self, work: Callable[[list[Output]], None]) -> list[Output]:
        """The outputs of some work on the driver, which the processor's agent runs."""
        began = time.monotonic()
        batch = Batch(work)
        self._judge(batch)
        while True:
            try:
                batch.done.result(BEAT_SECONDS)
                break
            except concurrent.futures.TimeoutError:
                if time.monotonic() - began > AGENT_SECONDS:
                    message = f"the agent did not judge a batch in {AGENT_SECONDS:.0f} s"
                    raise TooSlow(message) from None
                self._beat()
        self._status.observe_batch(time.monotonic() - began)
        return batch.outputs

    def _begin(self) -> None:
        if self._transactions.open:
            return
        gap = self._committed_at + GAP_SECONDS - time.monotonic()
        if gap > 0:
            time.sleep(gap)
        self._transactions.begin()
        self._began_at = time.monotonic()

    def _why(self, error: KafkaException, topic: str) -> LaneError:
        return self._transactions.why(
            error.args[0], topic, self._offsets(), self._consumer.consumer_group_metadata()
        )

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
        passable = self._timer_barrier.passable(due, self._assignment.positions, now)
        if not passable and not driver.sweeping:
            later = min((at - now for at in waiting.values() if at > now), default=1_000) / 1000
            self._wait = ASKING_SECONDS if self._timer_barrier.asking else min(later, IDLE_SECONDS)
            if not due and not self._transactions.open:
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
                    outputs += driver.fire(number, until, now, most - fired, enough)

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
        self._committed_at = time.monotonic()
        if self._report:
            self._transactions.producer.poll(0)
            for number in {number for number, _, _ in changes}:
                self._assignment.stores[number].save(self._writer.changelog_ends.get(number))
        if self._backoff.failing:
            self._backoff.succeeded()
        status = self._status
        status.committed += 1
        status.renewed = self._transactions.renewals
        status.outputs.update(self._writer.published)
        status.observe_commit(self._committed_at - began)
        self._clear()
        self._isolator.committed(self._assignment.positions)

    def _offsets(self) -> list[TopicPartition]:
        """The next offset of every input, for each partition whose state was changed."""
        reached = self._timer_barrier.reached(self._assignment.positions)
        marks = {
            number: self._assignment.mark_to_commit(number) for number in sorted(self._touched)
        }
        return [
            TopicPartition(topic, number, reached[topic, number], mark)
            for topic in self._inputs
            for number, mark in marks.items()
        ]

    def _pass_control_records(self) -> bool:
        """Begin a transaction of offsets alone for inputs with control records after the group's
        offset. They are never delivered. When retention deletes them, the committed offset would be
        before the first one that is left, and it would look as if records were lost."""
        reached = self._timer_barrier.reached(self._assignment.positions)
        committed = self._assignment.committed
        behind = {
            number for (topic, number), at in reached.items() if at > committed[topic, number]
        }
        if not behind:
            return False
        self._begin()
        self._touched |= behind
        return True

    def _clear(self) -> None:
        self._poller.began_at.clear()
        self._touched.clear()
        self._writer.clear()

    # --- what goes wrong --------------------------------------------------------------------

    def _abort(self, error: Abortable) -> None:
        """Abort, and read again from the first records of the transaction."""
        self._check_not_replaced()
        reached = dict(self._assignment.positions)
        first = dict(self._poller.began_at)
        woken = list(self._driver.woken)
        suspect = may_be_a_record(error.cause, self._writer.size)
        needed = self._needed()
        self._abort_transaction()
        if error.cause is not AbortCause.BLOCKED:
            log.warning("transaction aborted, trying again: %s", error)
        self._poller.seek(first)
        if suspect:
            if first:
                self._note_abort(first, reached, str(error))
            elif self._isolator.wakes_aborted(len(woken)):
                for wake in woken:
                    self._driver.give_up(wake)
                    log.error("a wake (%s) is given up: %s", wake.kind, error)
        why = str(error)
        if error.refusal is not None:
            why = refusal_reason(self._admin, error.refusal, *needed)
        pause = self._backoff.failed(why, transient=error.cause is not AbortCause.BLOCKED)
        self._pause(pause)

    def _needed(self) -> list[Right]:
        """The rights that the open transaction needs."""
        prefix = self._settings.topic_prefix
        written = {self._processor.changelog, *self._writer.published}
        return [
            *(Right("WRITE", "topic", physical(name, prefix)) for name in sorted(written)),
            *(Right("READ", "topic", topic) for topic in self._inputs),
            *self._calls_need,
        ]

    def _note_abort(self, first: dict[Place, int], reached: dict[Place, int], why: str) -> None:
        """Note that a transaction of records has aborted, and log which record becomes a dead
        letter."""
        given_up = self._isolator.aborted(first, reached, why)
        if given_up is not None:
            log.error("%s-%d offset %d becomes a dead letter: %s", *given_up, first[given_up], why)

    def _note_suspect(self, why: str) -> None:
        """Note that the lane ends, perhaps because of a record in the open transaction: the next
        lane isolates it. Any thread may call it; the lane does not go on afterwards."""
        first = dict(self._poller.began_at)
        if first:
            self._note_abort(first, dict(self._assignment.positions), why)

    def _pause(self, seconds: float) -> None:
        limit = time.monotonic() + seconds
        while not self._stop.is_set() and (left := limit - time.monotonic()) > 0:
            self._beat()
            self._stop.wait(min(left, BEAT_SECONDS))
        self._failed_at = time.monotonic()

    def _refusal(self, records: list[Record]) -> Refused | None:
        if self._isolator.max_records > 1:
            return None
        (record,) = records
        ((place, _),) = self._poller.began_at.items()
        why = self._isolator.why_refused(place, record.offset)
        if why is None:
            return None
        return Refused("not_publishable", f"Kafka did not take what follows from it: {why}")

    def _abort_transaction(self) -> None:
        """Abort the open transaction and drop the overlay. Raises `Fatal`."""
        self._driver.drop()
        self._clear()
        self._status.aborted += 1
        self._transactions.abort()

    def _renew(self, error: OutcomeUnknown) -> None:
        """The transaction may be committed or not: fence it, and restore all partitions."""
        log.warning("the outcome of a transaction is unknown, starting over: %s", error)
        self._outcome_unknown = False
        self._driver.drop()
        self._clear()
        self._status.aborted += 1
        self._transactions.renew()
        assigned = [TopicPartition(*place) for place in self._assignment.positions]
        self._release(assigned)
        if assigned:
            self._take(assigned)

    # --- partitions come and go -------------------------------------------------------------

    def _on_assign(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        if self._failed:
            return
        if partitions:
            self._take(partitions)
        else:
            self._consumer.assign([])
            self._status.phase = "standing by"

    def _take(self, partitions: list[TopicPartition]) -> None:
        self._timer_barrier.clear()
        self._monitor.clear()
        self._assignment.take(partitions)

    def _restore(self) -> None:
        """A slice of the restoration. The paused consumer is polled, so that it stays a member."""
        before = self._assignment.restoration
        self._poller.keep_membership()
        if before is self._assignment.restoration:  # else a rebalance came in the poll
            self._assignment.restore()
            if self._assignment.restoration is None:
                self._backoff.runs()

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

    def _on_lost(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        """Another member has these partitions already, so the open transaction is aborted."""
        if self._failed:
            return
        if self._transactions.open:
            self._abort_transaction()
        self._release(partitions)

    def _settle(self) -> None:
        if not self._transactions.open:
            return
        try:
            self._commit()
        except Abortable as error:
            log.warning("transaction aborted before the partitions went: %s", error)
            self._abort_transaction()
        except OutcomeUnknown:
            self._outcome_unknown = True
            self._transactions.open = False

    def _release(self, partitions: list[TopicPartition]) -> None:
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
