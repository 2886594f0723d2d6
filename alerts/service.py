"""The thread of alerts: one instance tells them, the others stand by.

The instance is active that the consumer group gives the single partition of patterns; another one
takes over within the session time-out. What the active one does is in `alerts.active`.
"""

import logging
import threading
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from alerts.active import NAME, PATTERNS, ActiveAlerts, AlertSetup
from alerts.status import AlertStatus
from processors.runtime import clients
from processors.runtime.restoration import TRANSIENT_ERRORS
from processors.runtime.transactions import Fatal, LaneError
from schemas.alerts import ACTIONS
from topics.catalogue import physical
from topics.rights import Right, reason

log = logging.getLogger("handoff.alerts")

_BATCH: Final = 500
_POLL_SECONDS: Final = 0.1
_PAUSE_SECONDS: Final = 1.0
_DRAIN_SECONDS: Final = 3.0


class AlertService(threading.Thread):
    """Runs until `stop`. What goes wrong is logged, and it begins anew."""

    def __init__(self, setup: AlertSetup) -> None:
        super().__init__(name="alerts", daemon=True)
        self.setup = setup
        self.status = AlertStatus()
        self._ending = threading.Event()

    def stop(self, seconds: float) -> bool:
        """End it; whether it has ended within `seconds`."""
        self._ending.set()
        self.join(seconds)
        return not self.is_alive()

    def run(self) -> None:
        """The body of the thread."""
        while not self._ending.is_set():
            try:
                self._serve()
            except (LaneError, KafkaException) as error:
                self._problem(str(error))
            except Exception as error:
                log.exception("our defect: the alerts are started anew")
                self._problem(type(error).__name__)
        self.status.phase = "stopped"

    def _problem(self, why: str) -> None:
        if self.status.problem != why:
            log.warning("alerts are not told, and are started anew: %s", why)
        self.status.problem, self.status.phase = why, "waiting"
        self.status.restarts += 1
        self._ending.wait(_PAUSE_SECONDS)

    def _serve(self) -> None:
        """Join the group; tell alerts while the partition is ours."""
        settings = self.setup.settings
        consumer = clients.group_consumer(settings, NAME, clients.instance_id(settings, NAME))
        topics = [physical(name, settings.topic_prefix) for name in (PATTERNS, ACTIONS)]
        got: list[list[TopicPartition]] = []
        lost: list[bool] = []

        def revoked(_: object, partitions: list[TopicPartition]) -> None:
            got.clear()
            lost.append(True)
            consumer.unassign()

        # Nothing is read until the instance is active: a record that came with the callback would
        # be taken for one that is not ours any more.
        def assigned(_: object, partitions: list[TopicPartition]) -> None:
            got.append(partitions)
            consumer.assign([])

        consumer.subscribe(topics, on_assign=assigned, on_revoke=revoked, on_lost=revoked)
        active: ActiveAlerts | None = None
        try:
            while not self._ending.is_set():
                messages = self._read(consumer)
                if lost:
                    lost.clear()
                    messages = []
                    if active is not None:
                        active.close(0.0)
                        active = None
                if got:
                    mine = got.pop()
                    got.clear()
                    self.status.phase = "standby"
                    if any(each.topic == topics[0] for each in mine):
                        active = ActiveAlerts(
                            self.setup, consumer, mine, self.status, self._ending.is_set
                        )
                        self.status.phase, self.status.problem = "active", None
                if active is not None:
                    active.take(messages)
            if active is not None:
                active.settle()
                active.close(_DRAIN_SECONDS)
                active = None
        finally:
            if active is not None:
                active.close(0.0)
            clients.close(consumer.close, "the consumer of alerts")

    def _read(self, consumer: Consumer) -> list[Message]:
        """The next records. Raises `Fatal` where they cannot be read."""
        found = []
        for message in consumer.consume(_BATCH, _POLL_SECONDS):
            error = message.error()
            if error is None:
                found.append(message)
            elif error.code() not in (KafkaError._PARTITION_EOF, *TRANSIENT_ERRORS):
                settings, topic = self.setup.settings, message.topic()
                asked = [Right("READ", "group", clients.group_id(settings, NAME))]
                names = [topic] if topic else []
                asked += [Right("READ", "topic", name) for name in names]
                raise Fatal(f"patterns cannot be read: {reason(error, *asked)}")
        return found
