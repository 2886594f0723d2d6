"""A thread that finds out whether receivers are live: it describes their consumer groups every few
seconds.

Only the instance whose lane runs on input partition 0 probes. What it finds goes to
`handoff.receiver-liveness`, which every instance reads as a table. When the partition moves, two
instances may probe for a moment. Both publish what is true, so that does no harm.

When a group cannot be described, nothing is published. When the last record of a receiver is older
than `STALE_INTERVALS` intervals, nothing is known of the receiver, and it counts as live.
"""

import logging
import threading
import time
from typing import Any

import msgspec
from confluent_kafka import KafkaError, Message, Producer

from processors.contracts.registry import LIVENESS, STALE_INTERVALS
from processors.processor import Processor
from processors.runtime import clients
from processors.runtime.global_tables import GlobalTables
from processors.runtime.groups import CALL_SECONDS, GroupQueryFailed, Groups
from processors.runtime.settings import Settings, SettingsError
from processors.runtime.status import LaneStatus
from schemas import serde
from schemas.records import Liveness
from topics.catalogue import physical
from topics.rights import reason, rights_of_a_producer

log = logging.getLogger("handoff.probe")

# How often an instance looks whether it is the one that probes.
_LOOK_SECONDS = 0.5
_STOP_SECONDS = 2.0

_decode = msgspec.json.Decoder(Liveness).decode


def liveness(
    receiver: str,
    previous: Liveness | None,
    members: int,
    lag: int | None,
    now: int,
    stale_after: int,
) -> Liveness:
    """The liveness record of a receiver whose group has `members` at `now` (epoch ms).

    `last_live_at` is the last moment at which it was live or counted as live; a grace period is
    measured from it. For a receiver that never had a member it is the moment of its first probe.
    When the last record says live and is older than `stale_after` (ms), it is `now`, because
    nothing is known of the time between. It is never in the future, whatever the clock of the last
    probe said.
    """
    last = now
    if not members and previous is not None and previous.last_live_at is not None:
        known = not previous.live or now - serde.epoch_ms(previous.checked_at) <= stale_after
        if known:
            last = min(serde.epoch_ms(previous.last_live_at), now)
    return Liveness(
        receiver=receiver,
        live=members > 0,
        checked_at=serde.utc(now),
        members=members,
        lag=lag,
        last_live_at=serde.utc(last),
    )


class LivenessProbe:
    """The thread that probes for one processor while its lane runs on partition 0.

    It never stops the lane. What goes wrong is counted in `status.probes` (by outcome: live,
    not_live, failed), and is logged once until it changes.
    """

    def __init__(
        self,
        settings: Settings,
        processor: Processor[Any],
        tables: GlobalTables,
        status: LaneStatus,
    ) -> None:
        self._settings = settings
        self._processor = processor
        self._tables = tables
        self._status = status
        self._topic = physical(LIVENESS, settings.topic_prefix)
        self._needed = rights_of_a_producer(self._topic)
        self._interval = settings.probe_interval
        self._stale_after = int(STALE_INTERVALS * self._interval * 1000)
        self._published: dict[str, Liveness] = {}
        self._said: dict[str, str] = {}  # subject -> what was logged of it last
        self._groups = Groups(settings)
        self._producer: Producer | None = None  # made when first needed: most instances never probe
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name=f"probe-{processor.name}", daemon=True
        )

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread. If it waits for a broker that does not answer, do not wait for it."""
        self._stop.set()
        self._thread.join(_STOP_SECONDS)

    def _run(self) -> None:
        pause = 0.0
        while not self._stop.wait(pause):
            if not self._status.runs_on(0):
                pause = _LOOK_SECONDS
                continue
            began = time.monotonic()
            try:
                self.look()
            except SettingsError as error:
                self._status.probes["failed"] += 1
                self._say("probe", f"the receivers cannot be probed: {error}")
            except Exception as error:  # noqa: BLE001 - no error here may stop the lane
                self._status.probes["failed"] += 1
                failure = clients.failure_of(error)
                if failure is None:
                    what = f"our defect; the receivers are not probed: {type(error).__name__}"
                    self._say("probe", what, defect=True)
                else:
                    # `produce` itself raised: the idempotent producer has failed for good.
                    self._producer = None
                    why = reason(failure, *self._needed)
                    self._say("probe", f"the receivers cannot be probed: {why}")
            else:
                self._say("probe", "")
            pause = max(0.1, self._interval - (time.monotonic() - began))
        self._groups.close()

    def look(self) -> None:
        """Describe the groups of all receivers and publish what was found.

        Raises `SettingsError` and `KafkaException` where no client can be made or used.
        """
        watched = self._processor.groups(self._tables.current)
        if not watched:
            return
        members, reasons = self._groups.members({group for group, _ in watched.values()})
        now = time.time_ns() // 1_000_000
        reads = {
            receiver: (group, physical(topic, self._settings.topic_prefix))
            for receiver, (group, topic) in watched.items()
        }
        lags = self._lags({pair for pair in reads.values() if pair[0] in members})
        for receiver, (group, topic) in sorted(reads.items()):
            if group in reasons:
                self._status.probes["failed"] += 1
                self._say(
                    f"receiver {receiver}",
                    f"the consumer group {group} of the receiver {receiver} cannot be described "
                    f"({reasons[group]}); it counts as live",
                )
                continue
            found = members[group]
            absent = f"the receiver {receiver} has no member in its consumer group {group}"
            self._say(f"receiver {receiver}", "" if found else absent, logging.INFO)
            lag = lags.get((group, topic))
            self._publish(
                liveness(
                    receiver,
                    self._previous(receiver),
                    found,
                    lag=lag,
                    now=now,
                    stale_after=self._stale_after,
                )
            )
        if self._producer is not None:
            self._producer.flush(CALL_SECONDS + 1)

    def _previous(self, receiver: str) -> Liveness | None:
        """The last record of a receiver: from this instance, or a newer one from another
        instance."""
        ours = self._published.get(receiver)
        value = self._tables.value(LIVENESS, receiver)
        if value is None:
            return ours
        try:
            theirs = _decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return ours
        if ours is None or serde.epoch_ms(theirs.checked_at) > serde.epoch_ms(ours.checked_at):
            return theirs
        return ours

    def _lags(self, pairs: set[tuple[str, str]]) -> dict[tuple[str, str], int]:
        """The lags of these (group, topic) pairs. When the rights for it are missing, only the lag
        is unknown: members are reported all the same."""
        try:
            found = self._groups.lags(pairs)
        except GroupQueryFailed as error:
            self._say("lag", f"the lag of receivers is not known: {error}")
            return {}
        self._say("lag", "")
        return found

    def _publish(self, record: Liveness) -> None:
        if self._producer is None:
            self._producer = clients.plain_producer(self._settings, CALL_SECONDS)

        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is None:
                self._status.probes["live" if record.live else "not_live"] += 1
                self._published[record.receiver] = record
                self._say(self._topic, "")
                return
            self._status.probes["failed"] += 1
            why = reason(error, *self._needed)
            self._say(self._topic, f"{self._topic} does not take records: {why}")
            # An idempotent producer may never recover from an error; a new one costs nothing.
            self._producer = None

        self._producer.produce(
            self._topic,
            serde.encode(record),
            record.receiver.encode(),
            headers=list(serde.headers(record)),
            on_delivery=delivered,
        )

    def _say(
        self, subject: str, what: str, level: int = logging.WARNING, *, defect: bool = False
    ) -> None:
        """Log what is wrong with a subject, once until it changes. An empty `what`: nothing is
        wrong."""
        before = self._said.get(subject, "")
        if what == before:
            return
        self._said[subject] = what
        if what:
            log.log(level, "%s", what, exc_info=defect)
        else:
            log.info("no longer: %s", before)
