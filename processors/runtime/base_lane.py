"""What every lane does, whatever it makes of its records: its life, its transactions, its failures.

`Lane` judges records on the state of tasks; `RelayLane` maps records of others' topics and keeps no
state. Both commit what follows from records together with the offsets of those records.
"""

import concurrent.futures
import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from processors.runtime import clients
from processors.runtime.assigned import Assigned
from processors.runtime.batch import Batch
from processors.runtime.cluster import refusal_reason
from processors.runtime.input_poller import InputPoller
from processors.runtime.poison_record_isolator import PoisonRecordIsolator, may_be_a_record
from processors.runtime.restoration import Place
from processors.runtime.retry_backoff import RetryBackoff
from processors.runtime.settings import Settings
from processors.runtime.status import LaneStatus
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
from topics.rights import Right, reason

log = logging.getLogger("handoff.lane")

BATCH_RECORDS = 1_000
# A batch ends after this time, and the consumer reads its other records again: the agent must
# answer, and the consumer must be polled.
BATCH_SECONDS = 1.0
# Between a commit and the first record of the next transaction. If it begins sooner, the
# coordinator still writes the markers of the last one, and the client retries with a back-off.
GAP_SECONDS = 0.005
# How many times as long a transaction stays open while more records wait than one batch takes.
BACKLOG_INTERVALS = 3
IDLE_SECONDS = 0.1
QUIET_SECONDS = 10.0  # without a commit, until offsets alone are committed
AGENT_SECONDS, BEAT_SECONDS = 30.0, 5.0
# When nothing has failed for so long after a failed attempt, the cause counts as gone.
UNDISTURBED_SECONDS = 10.0


class TooSlow(Fatal):
    """A batch was not judged in time."""


class BaseLane(ABC):
    """A lane of the processor `name`. `judge` gives a batch to the agent that runs it. `isolator`
    and `backoff` outlive the lane: they know of the failures of earlier lanes. `consumer` reads its
    inputs; with `report`, the records of `changelog` report their offsets.

    `run` blocks until `stop`, or raises `LaneError` (start a new lane) or `Misconfigured`.
    """

    _assignment: Assigned
    _poller: InputPoller

    def __init__(
        self,
        settings: Settings,
        name: str,
        *,
        consumer: Consumer,
        changelog: str,
        instance: str,
        status: LaneStatus,
        judge: Callable[[Batch], None],
        isolator: PoisonRecordIsolator,
        backoff: RetryBackoff,
        report: bool,
    ) -> None:
        self._settings = settings
        self._status = status
        self._judge = judge
        self._stop = threading.Event()
        self._failed = False  # or it hangs: nothing more may be committed
        self._replaced = False  # it hung, and another lane runs in its place
        self.seen = time.monotonic()  # when its thread last reported; its supervisor reads it
        self._interval = settings.commit_interval_ms / 1000
        self._began_at = 0.0
        self._committed_at = 0.0
        self._isolator = isolator
        self._backoff = backoff
        self._failed_at = time.monotonic()
        self._batch_limit = BATCH_RECORDS  # records of the next batch, at most
        self._backlog = False  # the last poll gave a whole batch
        self._outcome_unknown = False
        self._wait = IDLE_SECONDS  # seconds to wait for records while no transaction is open
        self._calls_need = [
            Right("WRITE", "transactional id", instance),
            Right("READ", "group", clients.group_id(settings, name)),
        ]
        self._transactions = Transactions(
            lambda on_delivery: clients.transactional_producer(
                settings, instance, on_delivery, report=report
            ),
            self._calls_need,
            self._stop.is_set,
            self._beat,
        )
        self._admin: AdminClient = clients.admin(settings)
        self._consumer = consumer
        self._writer = TransactionalWriter(
            self._transactions,
            changelog,
            settings.topic_prefix,
            self._beat,
            self._why,
            report=report,
        )

    # --- what a kind of lane does -----------------------------------------------------------

    @abstractmethod
    def turn(self) -> None:
        """One turn of the loop."""

    @abstractmethod
    def _begin_to_run(self) -> None:
        """Before the first turn. Raises `LaneError` and `Misconfigured`."""

    @abstractmethod
    def _before_leaving(self) -> None:
        """After the last turn of a lane that was asked to stop."""

    @abstractmethod
    def _commit(self) -> None:
        """Commit the open transaction. Raises `Abortable`, `OutcomeUnknown`, `Fatal`."""

    @abstractmethod
    def _offsets(self) -> list[TopicPartition]:
        """The offsets that the open transaction commits."""

    @abstractmethod
    def _drop(self) -> None:
        """Forget what the open transaction would have changed."""

    @abstractmethod
    def _clear(self) -> None:
        """The transaction has ended."""

    @abstractmethod
    def _start_over(self) -> None:
        """Look everything up again: whether the last transaction was committed is not known."""

    @abstractmethod
    def _close(self) -> None:
        """End the transaction, leave the group, close what was opened."""

    @abstractmethod
    def _rights(self) -> list[Right]:
        """The rights on topics that the open transaction needs."""

    @abstractmethod
    def _touch(self, places: set[Place]) -> None:
        """The open transaction commits the offsets of these partitions."""

    # --- its life ---------------------------------------------------------------------------

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
            self._begin_to_run()
            while not self._stop.is_set():
                self.turn()
            self._before_leaving()
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

    # --- records and transactions -----------------------------------------------------------

    def _poll(self) -> list[Record]:
        most = min(self._isolator.max_records, self._batch_limit)
        if self._transactions.open:
            records = self._poller.poll_now(most)
        else:
            gap = self._committed_at + GAP_SECONDS - time.monotonic()
            records = self._poller.poll(most, gap, self._wait)
        self._backlog = len(records) == most
        return records

    def _is_due(self) -> bool:
        """Whether the open transaction is old enough to be committed. With a backlog it gets older:
        nothing is judged during a commit, so fewer of them catch up sooner."""
        interval = BACKLOG_INTERVALS * self._interval if self._backlog else self._interval
        return time.monotonic() - self._began_at >= interval

    def _in_batches(self, records: list[Record], judged: int) -> None:
        """So many of the polled records were judged: the consumer reads the others again."""
        if judged < len(records):
            self._poller.read_again(records[judged:])
            self._batch_limit = judged  # the next records may take as long
        else:
            self._batch_limit = min(2 * self._batch_limit, BATCH_RECORDS)

    def _judged(self, work: Callable[[list[Output]], None]) -> list[Output]:
        """The outputs of some work, which the processor's agent runs."""
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

    def _pass_control_records(self) -> bool:
        """Begin a transaction of offsets alone for inputs with control records after the group's
        offset. They are never delivered. When retention deletes them, the committed offset would be
        before the first one that is left, and it would look as if records were lost."""
        committed = self._assignment.committed
        behind = {place for place, at in self._poller.reached().items() if at > committed[place]}
        if not behind:
            return False
        self._begin()
        self._touch(behind)
        return True

    def _commit_when_quiet(self) -> None:
        quiet = time.monotonic() - self._committed_at >= QUIET_SECONDS
        if quiet and not self._transactions.open and self._pass_control_records():
            self._commit()

    def _settle(self) -> None:
        """Commit the open transaction, or if that fails abort it."""
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

    def _on_assign(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        if self._failed:
            return
        if partitions:
            self._take(partitions)
        else:
            self._consumer.assign([])
            self._status.phase = "standing by"

    @abstractmethod
    def _take(self, partitions: list[TopicPartition]) -> None:
        """Begin with partitions that are this lane's now."""

    def _on_lost(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        """Another member has these partitions already, so the open transaction is aborted."""
        if self._failed:
            return
        if self._transactions.open:
            self._abort_transaction()
        self._release(partitions)

    @abstractmethod
    def _release(self, partitions: list[TopicPartition]) -> None:
        """Forget partitions that are not this lane's any more."""

    # --- what goes wrong --------------------------------------------------------------------

    def _abort(self, error: Abortable) -> None:
        """Abort, and read again from the first records of the transaction."""
        needed = self._needed()
        self._withdraw(error)
        self._back_off(error, needed)

    def _withdraw(self, error: Abortable) -> bool:
        """Abort, and go back to the first records of the transaction. Returns whether what is in it
        may be the reason, and no record is: a wake may be."""
        self._check_not_replaced()
        reached = dict(self._assignment.positions)
        first = dict(self._poller.began_at)
        suspect = may_be_a_record(error.cause, self._writer.size)
        self._abort_transaction()
        if error.cause is not AbortCause.BLOCKED:
            log.warning("transaction aborted, trying again: %s", error)
        self._poller.seek(first)
        if suspect and first:
            self._note_abort(first, reached, str(error))
        return suspect and not first

    def _back_off(self, error: Abortable, needed: list[Right]) -> None:
        """Wait before the next attempt."""
        why = str(error)
        if error.refusal is not None:
            why = refusal_reason(self._admin, error.refusal, *needed)
        pause = self._backoff.failed(why, transient=error.cause is not AbortCause.BLOCKED)
        self._pause(pause)

    def _needed(self) -> list[Right]:
        """The rights that the open transaction needs."""
        return [*self._rights(), *self._calls_need]

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

    def _undisturbed(self) -> None:
        """When nothing has failed for a while, the cause of the last failure counts as gone."""
        if (
            self._backoff.failing
            and time.monotonic() - self._failed_at >= UNDISTURBED_SECONDS
            and not self._transactions.open
        ):
            self._backoff.succeeded()

    def _refusal(self, records: list[Record]) -> Refused | None:
        """Why the one record of a transaction becomes a dead letter without being judged."""
        if self._isolator.max_records > 1:
            return None
        (record,) = records
        ((place, _),) = self._poller.began_at.items()
        why = self._isolator.why_refused(place, record.offset)
        if why is None:
            return None
        return Refused("not_publishable", f"Kafka did not take what follows from it: {why}")

    def _abort_transaction(self) -> None:
        """Abort the open transaction and drop what it would have changed. Raises `Fatal`."""
        self._drop()
        self._clear()
        self._status.aborted += 1
        self._transactions.abort()

    def _renew(self, error: OutcomeUnknown) -> None:
        """The transaction may be committed or not: fence it, and look everything up again."""
        log.warning("the outcome of a transaction is unknown, starting over: %s", error)
        self._outcome_unknown = False
        self._drop()
        self._clear()
        self._status.aborted += 1
        self._transactions.renew()
        self._start_over()

    def _committed(self) -> None:
        """The open transaction was committed, and what it changed is taken over: count it."""
        self._committed_at = time.monotonic()
        if self._backoff.failing:
            self._backoff.succeeded()
        status = self._status
        status.committed += 1
        status.renewed = self._transactions.renewals
        status.outputs.update(self._writer.published)
