"""One Kafka transaction after another, and what each kind of failure means.

    LaneError
    ├── Abortable      abort, drop the overlay, seek back: the transaction is tried again
    ├── Unknown        nobody knows whether it was committed: a new producer, and restore
    └── Fatal          the lane ends, its supervisor starts a new one
        ├── Blocked    something outside is missing (a right, room on a disk): try again and again
        └── Fenced     another instance runs with our ids
    Misconfigured      no restart would help: the process ends with this sentence

The fourth kind, retriable, never gets out of here: the same call is repeated.

**Late requests** (KAFKA-17754). When a connection breaks, librdkafka repeats the request that was
under way, and the first copy may reach the broker later, within the next transaction. A late EndTxn
with the same producer epoch would end that transaction when it is half written. Two things prevent
that. If a connection broke during a transaction, the next one begins with a new producer, whose new
epoch makes the broker refuse whatever the old one sent (`renew`). And the outputs are delivered
before the offsets are sent, so that offsets are never in Kafka without their outputs.
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
# Longer than the broker lets a transaction live, so a commit that is still unanswered is unknown.
LIMIT_SECONDS = 30.0
# Once we were asked to stop, waiting for a broker that does not answer is no use.
STOP_SECONDS = 3.0

_FENCED = frozenset({KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.FENCED_INSTANCE_ID})
# The broker, or the client itself, refuses a record because of what it is.
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
# Only a person mends these, and a missing right.
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
    """Something ended a transaction or a lane."""


class Cause(enum.Enum):
    """Why a transaction has to be aborted."""

    RECORD = "record"  # something refuses a record of it, and will refuse it again
    TIME = "time"  # it could not be delivered in time: too much, or too slow a link
    BLOCKED = "blocked"  # something outside is missing, and a person has to see to it
    PASSING = "passing"  # something happened around it: a rebalance, a broken connection


class Abortable(LaneError):
    """This transaction cannot be committed. `refusal` is the error where Kafka refused something
    for want of a right."""

    def __init__(self, message: str, cause: Cause, refusal: KafkaError | None = None) -> None:
        super().__init__(message)
        self.cause = cause
        self.refusal = refusal


class Unknown(LaneError):
    """A commit was not answered in time."""


class Fatal(LaneError):
    """This lane cannot go on."""


class Blocked(Fatal):
    """A right, a topic or room is missing: the lane goes on by itself once that is mended."""


class Fenced(Fatal):
    """Another producer or consumer took our ids: a twin, or our own earlier self.

    A static member fences itself when it has to join again and the broker's answer to its first
    attempt was lost (seen when a broker restarts), so once is no proof.
    """


class Misconfigured(Exception):
    """No restart would help; the text is one sentence for a person, with what to do."""


class Kind(enum.Enum):
    RETRIABLE = "retriable"
    ABORTABLE = "abortable"
    FATAL = "fatal"
    UNKNOWN = "unknown"


def kind_of(error: KafkaError) -> Kind:
    """The class of an error from a call of the transactional API (KIP-98, KIP-447, KIP-1050)."""
    if error.fatal() or error.code() in _FENCED:
        return Kind.FATAL
    if error.txn_requires_abort():
        return Kind.ABORTABLE
    if error.retriable():
        return Kind.RETRIABLE
    if error.code() in (KafkaError._TIMED_OUT, KafkaError._TRANSPORT):
        return Kind.UNKNOWN
    return Kind.FATAL


def is_fenced(error: KafkaError) -> bool:
    """Whether another member or producer with our ids took over."""
    fatal = error.fatal() or error.code() == KafkaError._FATAL
    # A consumer's fatal error has only a text to tell which it is.
    return error.code() in _FENCED or (fatal and "fenced" in error.str().lower())


def cause_of(error: KafkaError) -> Cause:
    """Why a transaction failed that failed with this. What is not known is nobody's fault."""
    code = error.code()
    if code in _REFUSED_RECORD:
        return Cause.RECORD
    if code in _TOOK_TOO_LONG:
        return Cause.TIME
    return Cause.BLOCKED if is_blocked(error) else Cause.PASSING


def is_blocked(error: KafkaError) -> bool:
    """Whether something is missing that a person has to see to."""
    return is_refusal(error) or error.code() in _BLOCKED


def ended_by(error: KafkaError, sentence: str) -> Fatal:
    """How a lane ends by an error of Kafka's, told in a sentence."""
    if is_fenced(error):
        return Fenced(sentence)
    return Blocked(sentence) if is_blocked(error) else Fatal(sentence)


class Transactions:
    """The transactional producer of a lane.

    `make` makes one that tells what was not delivered, and the log of its connections. `needs` are
    the rights that its own calls need. `stopping` tells that waiting is no longer worth it; `beat`
    is called before each attempt.
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
        """Why a record was not delivered: a failed commit only tells how many were not."""
        if error is not None and error.code() not in _PURGED:
            self._undelivered = error, message.topic()

    def initialise(self) -> None:
        """Fence our predecessors and end what they left open.

        A broker that has just come back may refuse this for a while, or not answer: it is repeated
        as long as the failure is retriable. Raises `Fatal`.
        """
        try:
            self._call(
                "init_transactions", lambda: self.producer.init_transactions(CALL_SECONDS), None
            )
        except (Abortable, Unknown) as error:
            raise Fatal(str(error)) from None

    def renew(self) -> None:
        """A new producer with the same id, and so with a new epoch: the broker refuses whatever the
        old one still has under way. A ready producer cannot get a new epoch by itself. Raises
        `Fatal`."""
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
        self.producer.poll(0)  # what the client logged while no transaction was open
        self._lost_before = self._connections.lost
        try:
            self.producer.begin_transaction()
        except KafkaException as error:
            raise self._fatal(error.args[0], "begin_transaction") from None
        self.open = True
        self._undelivered = None

    def commit(self, offsets: list[TopicPartition], group: Any) -> None:
        """Commit outputs, changelog and `offsets` as one. `offsets` is never empty: a transaction
        without them is not fenced by the group. Raises `Abortable`, `Unknown`, `Fatal`."""
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
                    f"{left:,} records were not delivered in {waited:.0f} s", Cause.TIME
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
        except (Abortable, Unknown) as error:
            raise Fatal(str(error)) from None
        self._ended()

    def _ended(self) -> None:
        """The transaction has ended, and every request of it was answered, or its connection
        broke."""
        self.open = False
        self.producer.poll(0)  # hands over what the client has logged
        connections = self._connections
        # If the log does not show that a connection was made, it cannot be trusted to show a loss.
        self._doubtful = not connections.made or connections.lost != self._lost_before

    def leave(self) -> None:
        """End what is open as far as that goes; what is left a successor's `initialise` ends.

        Not only for its sake: a record that is under way when the successor comes would be taken by
        a broker that does not tell the two apart, and block its readers.
        """
        if self.open:
            self.open = False
            try:
                self.producer.abort_transaction(LEAVE_SECONDS)
            except KafkaException as error:
                log.info("a transaction is left open: %s", error.args[0].str())
        self.producer.purge(blocking=False)

    def close(self) -> None:
        """Close the producer, without waiting for what it still holds. Only for the thread that
        makes the calls: a producer must not be closed under a call."""

        def end() -> None:
            self.producer.purge()
            self.producer.close()

        close(end, "a producer")

    def why(
        self, error: KafkaError, topic: str, offsets: list[TopicPartition], group: Any
    ) -> LaneError:
        """What is behind an error of `produce` to a topic: once a transaction has failed, `produce`
        only says "erroneous state", while sending the offsets gives the reason."""
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
        except Unknown as error:
            # Nothing was decided yet, so nothing is unknown.
            raise Abortable(str(error), Cause.PASSING) from None

    def _call(self, name: str, call: Callable[[], None], limit: float | None) -> None:
        """Repeat `call` while its failure is retriable, at most `limit` seconds."""
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
            if kind is Kind.FATAL:
                raise self._fatal(error, name)
            if kind is Kind.ABORTABLE:
                raise self._abortable(error, name)
            if kind is Kind.UNKNOWN:
                raise Unknown(f"{name}: {error.str()}")
            waited = time.monotonic() - began
            if limit is not None and waited > (STOP_SECONDS if self._stopping() else limit):
                raise Unknown(f"{name}: no answer in {waited:.0f} s: {error.str()}")
            if limit is None and self._stopping():
                raise Fatal(f"{name}: stopped while waiting: {error.str()}")
            log.info("%s: %s; trying again", name, error.str())
            time.sleep(pause)
            pause = min(2 * pause, 2.0)
