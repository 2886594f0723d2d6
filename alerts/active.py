"""The instance that tells alerts: patterns in, decisions, messages out.

What follows from a batch of records (entries of `handoff.alerts`, dead letters, offsets) is one
transaction; only after that the messages are handed to the delivery. So a message is never sent of
which nobody remembers that it was sent: after a crash the next instance sends it again, with its
key and number.
"""

import logging
import queue
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

import msgspec
from confluent_kafka import Consumer, Message, TopicPartition
from msgspec import Struct

from alerts.beside import Beside, topics_beside
from alerts.building import heartbeat_url
from alerts.delivery import Delivery, Sink
from alerts.health import Health, untold
from alerts.heartbeat import Heartbeat
from alerts.notification import Delivered
from alerts.pacing import Limits
from alerts.sink_queue import GivenUp, Result
from alerts.sinks.alertmanager import Alertmanager
from alerts.status import AlertStatus
from processors.alerts.book import Book
from processors.alerts.decide import again, decide, firing
from processors.alerts.events import (
    Answered,
    CauseOver,
    Event,
    RoutesRead,
    Send,
    Tick,
    of_action,
    of_told,
)
from processors.alerts.limits import DEFAULT_ALERT_LIMITS, AlertLimits
from processors.alerts.routing import Routing
from processors.runtime import clients
from processors.runtime.restoration import bounds
from processors.runtime.settings import Settings
from processors.runtime.tables import read_table
from processors.runtime.transactions import Abortable, Fatal, OutcomeUnknown, Transactions
from schemas import serde, sources
from schemas.alerts import ACTIONS, ALERTS, AlertEntry, entry_key
from schemas.flow import Output, Record, Refused
from schemas.printable import plain
from schemas.routes import AlertRoutes
from schemas.unreadable import UNREADABLE
from topics.catalogue import physical
from topics.headers import headers
from topics.rights import Right, rights_of_a_producer

log = logging.getLogger("handoff.alerts")

PATTERNS: Final = "handoff.patterns"
NAME: Final = "alerts"
# How often Alertmanager is told that all is well where no address is called.
DEFAULT_HEARTBEAT: Final = timedelta(minutes=1)
WRITES: Final = (ALERTS, serde.DEAD_LETTERS)
_TICK_SECONDS: Final = 1.0
_CALL_SECONDS: Final = 10.0

_entry = msgspec.json.Decoder(AlertEntry).decode
_encode = msgspec.json.Encoder().encode


class AlertSetup(Struct, frozen=True, kw_only=True):
    """What alerts are run with.

    `make_sinks` makes the sinks of the routes anew for each time that the instance is active.
    `console` is the address of the console's pages; `pacing` is how patient a sink is asked.
    """

    settings: Settings
    routes: AlertRoutes
    make_sinks: Callable[[], Sequence[Sink]]
    limits: AlertLimits = DEFAULT_ALERT_LIMITS
    console: str | None = None
    pacing: Limits | None = None
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)

    @property
    def reads(self) -> list[str]:
        """The topics that are read."""
        watched = [sources.TOPIC] if self.has_heartbeat else []
        return [PATTERNS, ACTIONS, ALERTS, *topics_beside(self.routes), *watched]

    @property
    def has_heartbeat(self) -> bool:
        """Whether somebody outside is told that all is well."""
        alertmanager = any(s.kind == "alertmanager" for s in self.routes.sinks.values())
        return self.routes.heartbeat is not None or alertmanager


class ActiveAlerts:
    """Tells alerts from when it is made until `close`. `mine` are the partitions of its inputs."""

    def __init__(
        self,
        setup: AlertSetup,
        consumer: Consumer,
        mine: list[TopicPartition],
        status: AlertStatus,
        stopping: Callable[[], bool],
    ) -> None:
        settings = setup.settings
        self._setup = setup
        self._settings = settings
        self._clock = setup.clock
        self._consumer = consumer
        self._status = status
        self._routing = Routing(setup.routes)
        self._results: queue.SimpleQueue[Result] = queue.SimpleQueue()
        self._positions: dict[tuple[str, int], int] = {}
        self._committed: dict[tuple[str, int], int] = {}
        self._patterns = physical(PATTERNS, settings.topic_prefix)
        self._alerts = physical(ALERTS, settings.topic_prefix)
        self._letters: list[Output] = []
        self._sends: list[Send] = []
        self._unreadable = 0  # entries of `handoff.alerts`
        self._ticked = 0.0
        self._settled = time.monotonic()
        producer_id = f"{settings.application_id}-{NAME}"
        self._transactions = Transactions(
            lambda on_delivery: clients.transactional_producer(
                settings, producer_id, on_delivery, report=False
            ),
            (*rights_of_a_producer(self._alerts), Right("WRITE", "transactional id", producer_id)),
            stopping,
            lambda: None,
        )
        self._delivery: Delivery | None = None
        self._beside: Beside | None = None
        try:
            self._transactions.initialise()  # fences the one before: what it wrote is there now
            self.book = Book(self._restored())
            self._beside = Beside(settings, setup.routes)
            self._catch_up()
            self._reroute()
            self._positions = self._starts(mine)
            self._delivery = self._started()
            consumer.assign([TopicPartition(*place, at) for place, at in self._positions.items()])
        except BaseException:
            self.close(0.0)
            raise

    def _starts(self, mine: list[TopicPartition]) -> dict[tuple[str, int], int]:
        """Where to read on: after what was committed; from the first record that there is, where
        that is gone, or the topic was made anew."""
        admin = clients.admin(self._settings)
        try:
            has = bounds(admin, [(each.topic, each.partition) for each in mine])
        finally:
            clients.close_admin(admin)
        found = {}
        for each in self._consumer.committed(mine, _CALL_SECONDS):
            there = has[each.topic, each.partition]
            inside = there.first <= each.offset <= there.end
            found[each.topic, each.partition] = each.offset if inside else there.first
        return found

    def _started(self) -> Delivery:
        now, sinks = self._clock(), self._setup.make_sinks()
        heartbeat = self._setup.routes.heartbeat
        alertmanagers = [sink for sink in sinks if isinstance(sink, Alertmanager)]
        for each in alertmanagers:  # they forget what is not sent again and again
            each.hold(firing(self.book, self._routing, each.name, now, self._setup.console))
        beside = [each.resend for each in alertmanagers]
        if heartbeat or alertmanagers:
            every = heartbeat.every if heartbeat else DEFAULT_HEARTBEAT
            url = heartbeat_url(heartbeat) if heartbeat else None
            health = Health(self._settings)
            beat = Heartbeat(
                lambda: health.look() or self._untold(), url, alertmanagers, every.total_seconds()
            )
            self._status.heartbeat = beat
            beside.append(beat.run)
        delivery = Delivery(sinks, self._results.put, limits=self._setup.pacing, beside=beside)
        delivery.start()
        self._status.figures = delivery.figures
        for send in again(self.book, self._routing, now, self._setup.console):
            delivery.submit(send.sink, send.notification, in_doubt=True)
        return delivery

    def _untold(self) -> str | None:
        return untold(self._status.figures(), time.monotonic() - self._settled)

    def _restored(self) -> list[AlertEntry]:
        """The entries of `handoff.alerts`."""
        admin = clients.admin(self._settings)
        try:
            table = read_table(self._settings, admin, self._alerts)
        finally:
            clients.close_admin(admin)
        found = []
        for key, value in table.items():
            try:
                entry = _entry(value)
                if entry_key(entry).encode() != key:
                    raise msgspec.ValidationError("another key")
                found.append(entry)
            except UNREADABLE:
                self._unreadable += 1
                log.warning(
                    "%s: the entry %s cannot be read, and is left out: a newer version has written "
                    "it, or somebody else",
                    self._alerts,
                    plain(key.decode(errors="replace")),
                )
        return found

    def _catch_up(self) -> None:
        """Read what stands beside to its end, before anything is told."""
        assert self._beside is not None
        limit = time.monotonic() + 60
        while self._beside.behind:
            if time.monotonic() > limit:
                raise Fatal("silences and contracts were not read within a minute")
            for event in self._beside.events(0.1, self._clock()):
                self._decide(event)
        for fingerprint in list(self.book.causes):
            if fingerprint.startswith("held/") and fingerprint not in self._beside.held:
                self._decide(CauseOver(fingerprint))

    def _reroute(self) -> None:
        """Go by the routes of this instance; say of which sinks they have none that hold alerts."""
        self._decide(RoutesRead())
        for sink, number in sorted(self._left_open().items()):
            log.warning(
                "the sink %s is not in the routes any more, and %d alerts may stay open there: "
                "nothing can be sent to it. Put it back into the routes and start again, or close "
                "them there by hand; see them with: handoff alerts list",
                plain(sink),
                number,
            )

    def _left_open(self) -> Counter[str]:
        """How many alerts may stay open at sinks that the routes do not have any more."""
        return Counter(
            sink
            for alert in self.book.alerts.values()
            for sink, told in alert.sinks.items()
            if told.gone and told.stays_open
        )

    def close(self, seconds: float) -> None:
        """End all of it; what was not sent within `seconds` is sent by the next one."""
        self._status.figures = dict
        if self._delivery is not None:
            self._delivery.close(seconds)
            self._delivery = None
        if self._beside is not None:
            self._beside.close()
            self._beside = None
        self._transactions.leave()
        self._transactions.close()

    # --- a round ----------------------------------------------------------------------------------

    def take(self, messages: list[Message]) -> None:
        """The records that were read, what sinks have answered, and what time brings."""
        assert self._beside is not None
        for message in messages:
            self._read(message)
        for event in self._beside.events(0.0, self._clock()):
            self._decide(event)
        self._hear()
        if time.monotonic() - self._ticked >= _TICK_SECONDS:
            self._ticked = time.monotonic()
            self.settle()
        else:
            self._commit()

    def settle(self) -> None:
        """Decide what waits, and tell it."""
        self._hear()
        self._decide(Tick())
        self._commit()
        self._settled = time.monotonic()
        self._status.causes = Counter(c.reason for c in self.book.causes.values())
        self._status.alerts = Counter(a.state for a in self.book.alerts.values())
        self._status.left_open = self._left_open()
        assert self._beside is not None
        self._status.unreadable = self._unreadable + self._beside.unreadable

    def _hear(self) -> None:
        """Take in what sinks have answered."""
        while not self._results.empty():
            self._answered(self._results.get())

    def _decide(self, event: Event) -> None:
        decision = decide(
            self.book,
            event,
            self._routing,
            self._clock(),
            limits=self._setup.limits,
            console=self._setup.console,
        )
        self._sends += decision.sends
        for note in decision.notes:
            if note.sink is not None and note.action is not None:
                self._status.messages[note.sink, note.action, note.reason.value] += 1

    def _read(self, message: Message) -> None:
        topic, partition = message.topic() or "", message.partition() or 0
        offset, value = message.offset() or 0, message.value()
        self._positions[topic, partition] = offset + 1
        name = PATTERNS if topic == self._patterns else ACTIONS
        at = message.timestamp()[1]
        record = Record(
            topic=name,
            partition=partition,
            offset=offset,
            key=message.key(),
            value=value,
            timestamp=at,
            headers=headers(message),
        )
        try:
            if name == PATTERNS:
                self._decide(of_told(record, self._clock()))
            elif value is not None:
                said = of_action(record, self._settings.max_record_bytes)
                if said is not None:
                    self._decide(said)
        except Refused as error:
            self._letters.append(serde.dead_letter(record, error))

    def _answered(self, result: Result) -> None:
        note, outcome = result.notification, result.outcome
        if isinstance(outcome, Delivered):
            event = Answered(result.sink, note.key, note.number, "taken", outcome.reference)
        else:
            why = getattr(outcome, "why", "a newer message took its place")
            kind: Literal["given_up", "refused"] = (
                "given_up" if isinstance(outcome, GivenUp) else "refused"
            )
            event = Answered(
                sink=result.sink,
                key=note.key,
                number=note.number,
                outcome=kind,
                reference=None,
                why=why,
            )
            log.error("an alert was not delivered to %s: %s", result.sink, why)
            refused = Refused(f"alert_{kind}", f"the sink {result.sink} did not take it: {why}")
            now = int(self._clock().timestamp() * 1000)
            record = Record(
                topic=ALERTS,
                partition=0,
                offset=-1,
                key=note.key.encode(),
                value=_encode(note),
                timestamp=now,
            )
            self._letters.append(serde.dead_letter(record, refused))
        self._decide(event)

    def _commit(self) -> None:
        """Write down what has changed with the offsets, in one transaction; then send."""
        changed = self.book.changed()
        offsets = [TopicPartition(*place, offset) for place, offset in self._positions.items()]
        moved = self._positions != self._committed
        if not changed and not self._letters and not moved:
            assert not self._sends
            return
        transactions = self._transactions
        try:
            transactions.begin()
            for key, entry in changed.items():
                value = None if entry is None else _encode(entry)
                self._produce(self._alerts, key.encode(), value, [])
            for letter in self._letters:
                name = physical(letter.topic, self._settings.topic_prefix)
                self._produce(name, letter.key, letter.value, letter.headers)
            transactions.commit(offsets, self._consumer.consumer_group_metadata())
        except (Abortable, OutcomeUnknown) as error:
            raise Fatal(f"what was decided is not written down: {error}") from None
        self._committed = dict(self._positions)
        self._letters = []
        sends, self._sends = self._sends, []
        assert self._delivery is not None or not sends
        for send in sends:
            assert self._delivery is not None
            self._delivery.submit(send.sink, send.notification)

    def _produce(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: list[tuple[str, bytes]],
    ) -> None:
        producer = self._transactions.producer
        while True:
            try:
                producer.produce(topic, value, key, headers=list(headers))
                return
            except BufferError:
                producer.poll(0.1)
