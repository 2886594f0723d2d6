"""One Kafka transaction after another, and what each kind of failure means.

    LaneError
    ├── Abortable      abort, drop the overlay, seek back: the transaction is tried again
    ├── Unknown        nobody knows whether it was committed: a new producer, and restore
    └── Fatal          the lane ends, the supervisor starts it anew
        └── Fenced     another instance runs with our ids
    Misconfigured      no restart would help: the process ends with this sentence

The fourth kind, retriable, never gets out of here: the same call is repeated.
"""

import enum
import logging
import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition

log = logging.getLogger("handoff.transactions")

CALL_SECONDS = 5.0
LEAVE_SECONDS = 5.0
# Longer than the broker lets a transaction live, so a commit that is still unanswered is unknown.
LIMIT_SECONDS = 30.0
# Once we were asked to stop, waiting for a broker that does not answer is no use.
STOP_SECONDS = 3.0

_FENCED = frozenset({KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.FENCED_INSTANCE_ID})
# These abort a transaction because of what happened around it, not because of what is in it.
_AROUND = frozenset(
    {
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError._ASSIGNMENT_LOST,
        KafkaError._MSG_TIMED_OUT,
        KafkaError._TIMED_OUT,
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._RESOLVE,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.NETWORK_EXCEPTION,
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.CONCURRENT_TRANSACTIONS,
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.INVALID_PRODUCER_ID_MAPPING,
        KafkaError.UNKNOWN_PRODUCER_ID,
        KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER,
        KafkaError.NOT_ENOUGH_REPLICAS,
        KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.KAFKA_STORAGE_ERROR,
        # A queue that was deleted just now: the tables will tell the core in a moment.
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
    }
)


_PURGED = frozenset({KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT})

OnDelivery = Callable[[KafkaError | None, Message], None]


class LaneError(Exception):
    """Something ended a transaction or a lane."""


class Abortable(LaneError):
    """This transaction cannot be committed. `ours`: because of a record in it, for all we know."""

    def __init__(self, message: str, *, ours: bool) -> None:
        super().__init__(message)
        self.ours = ours


class Unknown(LaneError):
    """A commit was not answered in time."""


class Fatal(LaneError):
    """This lane cannot go on."""


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


def is_ours(error: KafkaError) -> bool:
    """Whether an abort may be due to a record in the transaction, so that it would repeat."""
    return error.code() not in _AROUND


class Transactions:
    """The transactional producer of a lane.

    `stopping` tells that waiting is no longer worth it; `beat` is called before each attempt.
    """

    def __init__(
        self,
        make: Callable[[OnDelivery], Producer],
        stopping: Callable[[], bool],
        beat: Callable[[], None],
    ) -> None:
        self._make = make
        self._beat = beat
        self._stopping = stopping
        self._undelivered: KafkaError | None = None
        self.producer = make(self._on_delivery)
        self.open = False

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        """Why a record was not delivered: a failed commit only tells how many were not."""
        if error is not None and error.code() not in _PURGED:
            self._undelivered = error

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
        """Discard a producer whose last transaction is unknown, and fence it with a new one."""
        self.producer = self._make(self._on_delivery)
        self.open = False
        self.initialise()

    def begin(self) -> None:
        """Begin a transaction. Raises `Fatal`."""
        try:
            self.producer.begin_transaction()
        except KafkaException as error:
            raise _fatal(error.args[0], "begin_transaction") from None
        self.open = True
        self._undelivered = None

    def commit(self, offsets: list[TopicPartition], group: Any) -> None:
        """Commit outputs, changelog and `offsets` as one. `offsets` is never empty: a transaction
        without them is not fenced by the group. Raises `Abortable`, `Unknown`, `Fatal`."""
        assert offsets
        self._send_offsets(offsets, group)
        self._call(
            "commit_transaction",
            lambda: self.producer.commit_transaction(CALL_SECONDS),
            LIMIT_SECONDS,
        )
        self.open = False

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

    def why(self, error: KafkaError, offsets: list[TopicPartition], group: Any) -> LaneError:
        """What is behind an error of `produce`: once a transaction has failed, `produce` only says
        "erroneous state", while this call gives the reason."""
        if error.code() == KafkaError._STATE:
            try:
                self._send_offsets(offsets, group)
            except LaneError as reason:
                return reason
        if error.fatal() or error.code() in _FENCED:
            return _fatal(error, "produce")
        return self._abortable(error, "produce")

    def _abortable(self, error: KafkaError, name: str) -> Abortable:
        cause = self._undelivered or error
        text = f"{name}: {error.str()}"
        if cause is not error:
            text += f": {cause.str()}"
        return Abortable(text, ours=is_ours(cause))

    def _send_offsets(self, offsets: list[TopicPartition], group: Any) -> None:
        try:
            self._call(
                "send_offsets_to_transaction",
                lambda: self.producer.send_offsets_to_transaction(offsets, group, CALL_SECONDS),
                LIMIT_SECONDS,
            )
        except Unknown as error:
            # Nothing was decided yet, so nothing is unknown.
            raise Abortable(str(error), ours=False) from None

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
                raise _fatal(error, name)
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


def _fatal(error: KafkaError, name: str) -> Fatal:
    text = f"{name}: {error.str()}"
    return Fenced(text) if is_fenced(error) else Fatal(text)
