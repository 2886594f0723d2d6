"""One Kafka transaction after another, and what each kind of failure means.

    LaneError
    ├── Abortable       abort, drop the overlay, seek back: the transaction is tried again
    ├── OutcomeUnknown  no answer, so it may be committed or not: a new producer, and restore
    └── Fatal           the lane ends, its supervisor starts a new one
        ├── Blocked     a right or room on a disk is missing: try again until a person gives it
        └── Fenced      another instance runs with the same ids
    Misconfigured       no restart would help: the process ends with this sentence

Errors of the fourth kind, retriable, do not leave this module: the same call is repeated.

**Late requests** (KAFKA-17754). When a connection breaks, librdkafka repeats the request that was
under way. The first copy may reach the broker later, during the next transaction. If it is an
EndTxn with the same producer epoch, it ends that transaction when only half of it is written. Two
rules prevent that. When a connection broke during a transaction, the next transaction begins with a
new producer: its epoch is higher, so the broker refuses whatever the old one sent (`renew`). And
the outputs are delivered before the offsets are sent, so offsets are never in Kafka without their
outputs.
"""

import enum
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition

from processors.runtime.clients import close
from processors.runtime.connection_log import ConnectionLog
from topics.rights import Right, is_refusal, reason

log = logging.getLogger("handoff.transactions")

CALL_SECONDS = 5.0
LEAVE_SECONDS = 5.0
# Longer than the broker lets a transaction live. When a commit has no answer by then, its outcome
# is unknown.
LIMIT_SECONDS = 30.0
# After a request to stop, a broker that does not answer is given only this long.
STOP_SECONDS = 3.0

_FENCED = frozenset({KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.FENCED_INSTANCE_ID})
# The broker, or the client itself, refuses a record because of its content or size.
_REFUSED_RECORD = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.INVALID_MSG,
        KafkaError.INVALID_MSG_SIZE,
        KafkaError.INVALID_RECORD,
        KafkaError.INVALID_TIMESTAMP,
        KafkaError._BAD_MSG,
        KafkaError._BAD_COMPRESSION,
    }
)
_TOOK_TOO_LONG = frozenset(
    {KafkaError._MSG_TIMED_OUT, KafkaError._TIMED_OUT, KafkaError._TIMED_OUT_QUEUE}
)
# Only a person can put these right, and a missing right.
_BLOCKED = frozenset(
    {
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError._AUTHENTICATION,
        KafkaError.THROTTLING_QUOTA_EXCEEDED,
        KafkaError.POLICY_VIOLATION,
    }
)
_PURGED = frozenset({KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT})

OnDelivery = Callable[[KafkaError | None, Message], None]


class LaneError(Exception):
    """An error that ends a transaction or a lane."""


class AbortCause(enum.Enum):
    """Why a transaction has to be aborted."""

    RECORD = "record"  # a record of it was refused, and will be refused again
    TIME = "time"  # not delivered in time: it is too large, or the connection too slow
    BLOCKED = "blocked"  # something outside is missing, and a person must act
    TRANSIENT = "transient"  # it passes by itself: a rebalance, a broken connection


class Abortable(LaneError):
    """This transaction cannot be committed. When a right is missing, `refusal` is Kafka's error."""

    def __init__(self, message: str, cause: AbortCause, refusal: KafkaError | None = None) -> None:
        super().__init__(message)
        self.cause = cause
        self.refusal = refusal


class OutcomeUnknown(LaneError):
    """A call had no answer in time, so it is not known what became of the transaction. Only a
    commit raises it to the caller."""


class Fatal(LaneError):
    """This lane has to end."""


class Blocked(Fatal):
    """A right, a topic or room on a disk is missing. Once a person puts that right, the lane goes
    on by itself."""


class Fenced(Fatal):
    """Another producer or consumer has used the same ids: another instance, or an earlier attempt
    of this one.

    When a broker restarts and its answer to a static member that joins is lost, the member joins
    again and fences itself. So to be fenced once is no proof of another instance.
    """


class Misconfigured(Exception):
    """No restart would help; the text is one sentence for a person, with what to do."""


class ErrorKind(enum.Enum):
    RETRIABLE = "retriable"
    ABORTABLE = "abortable"
    FATAL = "fatal"
    UNKNOWN = "unknown"


def kind_of(error: KafkaError) -> ErrorKind:
    """The kind of an error from a call of the transactional API (KIP-98, KIP-447, KIP-1050)."""
    if error.fatal() or error.code() in _FENCED:
        return ErrorKind.FATAL
    if error.txn_requires_abort():
        return ErrorKind.ABORTABLE
    if error.retriable():
        return ErrorKind.RETRIABLE
    if error.code() in (KafkaError._TIMED_OUT, KafkaError._TRANSPORT):
        return ErrorKind.UNKNOWN
    return ErrorKind.FATAL


def is_fenced(error: KafkaError) -> bool:
    """Whether another member or producer with the same ids took over."""
    fatal = error.fatal() or error.code() == KafkaError._FATAL
    # Of a consumer's fatal error only the text tells which it is.
    return error.code() in _FENCED or (fatal and "fenced" in error.str().lower())


def cause_of(error: KafkaError) -> AbortCause:
    """Why a transaction with this error failed. An error that is not listed counts as transient."""
    code = error.code()
    if code in _REFUSED_RECORD:
        return AbortCause.RECORD
    if code in _TOOK_TOO_LONG:
        return AbortCause.TIME
    return AbortCause.BLOCKED if is_blocked(error) else AbortCause.TRANSIENT


def is_blocked(error: KafkaError) -> bool:
    """Whether something outside is missing, so that a person must act."""
    return is_refusal(error) or error.code() in _BLOCKED


def ended_by(error: KafkaError, sentence: str) -> Fatal:
    """The exception that ends a lane after an error of Kafka's, with `sentence` as its text."""
    if is_fenced(error):
        return Fenced(sentence)
    return Blocked(sentence) if is_blocked(error) else Fatal(sentence)


class Transactions:
    """The transactional producer of a lane.

    `make` makes a producer, which reports what was not delivered to the given callback, and the log
    of its connections. `needs` are the rights that the producer's own calls need. When `stopping`
    returns true, waiting is cut short. `beat` is called before each attempt of a call.
    """

    def __init__(
        self,
        make: Callable[[OnDelivery], tuple[Producer, ConnectionLog]],
        needs: Sequence[Right],
        stopping: Callable[[], bool],
        beat: Callable[[], None],
    ) -> None:
        self._make = make
        self._needs = needs
        self._beat = beat
        self._stopping = stopping
        self._undelivered: tuple[KafkaError, str | None] | None = None  # and the topic
        self.producer, self._connections = make(self._on_delivery)
        self._lost_before = 0  # connections that had broken when the transaction began
        self._doubtful = False  # one broke during the last transaction
        self.open = False
        self.renewals = 0

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        """Note why a record was not delivered: a failed commit says only how many were not."""
        if error is not None and error.code() not in _PURGED:
            self._undelivered = error, message.topic()

    def initialise(self) -> None:
        """Fence earlier producers with the same id, and end the transaction that they left open.

        A broker that has just restarted may refuse this for a while, or not answer. The call is
        repeated as long as the error is retriable. Raises `Fatal`.
        """
        try:
            self._call(
                "init_transactions", lambda: self.producer.init_transactions(CALL_SECONDS), None
            )
        except (Abortable, OutcomeUnknown) as error:
            raise Fatal(str(error)) from None

    def renew(self) -> None:
        """Make a new producer with the same id. It gets a higher epoch, so the broker refuses
        requests of the old one that are still under way. A producer in use cannot get a new epoch.
        Raises `Fatal`."""
        self.close()
        self.producer, self._connections = self._make(self._on_delivery)
        self.open = self._doubtful = False
        self.renewals += 1
        self.initialise()

    def begin(self) -> None:
        """Begin a transaction. Raises `Fatal`."""
        if self._doubtful:
            log.info("a connection broke during the last transaction: a new producer epoch")
            self.renew()
        self.producer.poll(0)  # handles the client's log lines from before this transaction
        self._lost_before = self._connections.lost
        try:
            self.producer.begin_transaction()
        except KafkaException as error:
            raise self._fatal(error.args[0], "begin_transaction") from None
        self.open = True
        self._undelivered = None

    def commit(self, offsets: list[TopicPartition], group: Any) -> None:
        """Commit outputs, changelog and `offsets` in one. `offsets` is never empty: without offsets
        the group does not fence the transaction. Raises `Abortable`, `OutcomeUnknown`, `Fatal`."""
        assert offsets
        self._deliver()
        self._send_offsets(offsets, group)
        self._call(
            "commit_transaction",
            lambda: self.producer.commit_transaction(CALL_SECONDS),
            LIMIT_SECONDS,
        )
        self._ended()

    def _deliver(self) -> None:
        """Wait until Kafka has every record of the transaction. Raises `Abortable`."""
        began = time.monotonic()
        self._beat()
        while left := self.producer.flush(CALL_SECONDS):
            waited = time.monotonic() - began
            if self._undelivered is not None:
                break
            if waited > (STOP_SECONDS if self._stopping() else LIMIT_SECONDS):
                raise Abortable(
                    f"{left:,} records were not delivered in {waited:.0f} s", AbortCause.TIME
                )
            self._beat()
        if self._undelivered is not None:
            raise self._abortable(self._undelivered[0], "produce")

    def abort(self) -> None:
        """Abort the open transaction. A failed abort ends the lane: raises `Fatal`."""
        self.open = False
        try:
            self._call(
                "abort_transaction",
                lambda: self.producer.abort_transaction(CALL_SECONDS),
                LIMIT_SECONDS,
            )
        except (Abortable, OutcomeUnknown) as error:
            raise Fatal(str(error)) from None
        self._ended()

    def _ended(self) -> None:
        """The transaction has ended: each of its requests was answered, or its connection broke."""
        self.open = False
        self.producer.poll(0)  # handles the client's log lines
        connections = self._connections
        # A log that shows no connection at all may not show a broken one either.
        self._doubtful = not connections.made or connections.lost != self._lost_before

    def leave(self) -> None:
        """Try to abort the open transaction. If that fails, the next lane's `initialise` ends it.

        To leave it to the next lane would not do: a broker that does not tell the two producers
        apart would accept a late record of this one, and its open transaction would block readers.
        """
        if self.open:
            self.open = False
            try:
                self.producer.abort_transaction(LEAVE_SECONDS)
            except KafkaException as error:
                log.info("a transaction is left open: %s", error.args[0].str())
        self.producer.purge(blocking=False)

    def close(self) -> None:
        """Close the producer without waiting for its records. Only the thread that makes the calls
        may do it: a producer must not be closed during a call."""

        def end() -> None:
            self.producer.purge()
            self.producer.close()

        close(end, "a producer")

    def why(
        self, error: KafkaError, topic: str, offsets: list[TopicPartition], group: Any
    ) -> LaneError:
        """The exception for an error of `produce` to a topic. When the transaction has failed
        before, `produce` says only "erroneous state"; then sending the offsets gives the reason."""
        if error.code() == KafkaError._STATE:
            try:
                self._send_offsets(offsets, group)
            except LaneError as reason:
                return reason
        if error.fatal() or error.code() in _FENCED:
            return self._fatal(error, "produce")
        return self._abortable(error, f"produce to {topic}")

    def _abortable(self, error: KafkaError, name: str) -> Abortable:
        text = f"{name}: {error.str()}"
        if self._undelivered is not None:
            error, topic = self._undelivered
            text += f": {topic}: {error.str()}"
        return Abortable(text, cause_of(error), error if is_refusal(error) else None)

    def _fatal(self, error: KafkaError, name: str) -> Fatal:
        return ended_by(error, f"{name}: {reason(error, *self._needs)}")

    def _send_offsets(self, offsets: list[TopicPartition], group: Any) -> None:
        try:
            self._call(
                "send_offsets_to_transaction",
                lambda: self.producer.send_offsets_to_transaction(offsets, group, CALL_SECONDS),
                LIMIT_SECONDS,
            )
        except OutcomeUnknown as error:
            # The commit has not begun, so its outcome is not in question.
            raise Abortable(str(error), AbortCause.TRANSIENT) from None

    def _call(self, name: str, call: Callable[[], None], limit: float | None) -> None:
        """Make `call`, and repeat it while its error is retriable, for at most `limit` seconds."""
        began = time.monotonic()
        pause = 0.05
        while True:
            self._beat()
            try:
                call()
                return
            except KafkaException as failure:
                error = failure.args[0]
            kind = kind_of(error)
            if kind is ErrorKind.FATAL:
                raise self._fatal(error, name)
            if kind is ErrorKind.ABORTABLE:
                raise self._abortable(error, name)
            if kind is ErrorKind.UNKNOWN:
                raise OutcomeUnknown(f"{name}: {error.str()}")
            waited = time.monotonic() - began
            if limit is not None and waited > (STOP_SECONDS if self._stopping() else limit):
                raise OutcomeUnknown(f"{name}: no answer in {waited:.0f} s: {error.str()}")
            if limit is None and self._stopping():
                raise Fatal(f"{name}: stopped while waiting: {error.str()}")
            log.info("%s: %s; trying again", name, error.str())
            time.sleep(pause)
            pause = min(2 * pause, 2.0)
