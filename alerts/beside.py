"""What alerts read beside the patterns: silences, contracts, and where a route asks what is held.

Whoever becomes active reads these topics whole, and then follows them; no group keeps a place in
them, since reading them again changes nothing.
"""

import logging
from collections.abc import Iterator
from datetime import datetime
from typing import Final

import msgspec
from confluent_kafka import KafkaError, Message, TopicPartition
from msgspec.structs import replace

from processors.alerts.causes import HELD, HELD_TOO_LONG, of_held, of_violation
from processors.alerts.events import CauseOver, CauseTold, Event, SilencePut, VersionInForce
from processors.runtime import clients
from processors.runtime.restoration import TRANSIENT_READER_ERRORS, bounds
from processors.runtime.settings import Settings
from processors.runtime.transactions import Fatal
from schemas import serde
from schemas.alerts import SILENCES, AlertSilence
from schemas.flow import Refused
from schemas.records import Package, Violation
from schemas.routes import AlertRoutes
from schemas.unreadable import UNREADABLE
from topics.catalogue import physical
from topics.headers import headers
from topics.look import look
from topics.rights import Right, reason

log = logging.getLogger("handoff.alerts")

CONTRACTS: Final = "handoff.contracts"
HELD_TOPIC: Final = "handoff.held"
VIOLATIONS: Final = "handoff.violations"
_CALL_SECONDS: Final = 10.0


class _Contract(msgspec.Struct):
    id: str
    version: int
    status: str


_contract = msgspec.json.Decoder(_Contract).decode
_silence = msgspec.json.Decoder(AlertSilence).decode
_package = msgspec.json.Decoder(Package).decode
_violation = msgspec.json.Decoder(Violation).decode


def topics_beside(routes: AlertRoutes) -> list[str]:
    """The topics that are read beside the patterns."""
    topics = [SILENCES, CONTRACTS]
    if any(route.held for route in routes.routes):
        topics.append(HELD_TOPIC)
    if any(route.held_too_long for route in routes.routes):
        topics.append(VIOLATIONS)
    return topics


class Beside:
    """Reads the topics beside. `unreadable` counts records that are none of ours."""

    def __init__(self, settings: Settings, routes: AlertRoutes) -> None:
        self._names = {
            physical(name, settings.topic_prefix): name for name in topics_beside(routes)
        }
        self._admin = clients.admin(settings)
        self._reader = clients.reader(settings)
        found = look(self._admin, self._names, _CALL_SECONDS)
        missing = sorted(set(self._names) - set(found.topics))
        if missing:
            raise Fatal(f"the topic {missing[0]} is not there, or may not be read")
        places = [(topic, n) for topic, seen in found.topics.items() for n in seen.leaders]
        has = bounds(self._admin, places)
        self._reader.assign([TopicPartition(*place, has[place].first) for place in places])
        self._behind = {p: has[p].end for p in places if has[p].end > has[p].first}
        self.unreadable = 0
        self.held: set[str] = set()  # fingerprints of what is held, as far as it was read

    @property
    def behind(self) -> bool:
        """Whether it has not read yet what was there when it began."""
        return bool(self._behind)

    def close(self) -> None:
        """Close the clients."""
        clients.close(self._reader.close, "a reader")
        clients.close_admin(self._admin)

    def events(self, seconds: float, now: datetime) -> Iterator[Event]:
        """What has come, within `seconds`."""
        for message in self._reader.consume(1_000, seconds):
            error = message.error()
            place = message.topic() or "", message.partition() or 0
            if error is not None:
                if error.code() == KafkaError._PARTITION_EOF:
                    self._behind.pop(place, None)
                elif error.code() not in TRANSIENT_READER_ERRORS:
                    why = reason(error, Right("READ", "topic", place[0]))
                    raise Fatal(f"{place[0]} cannot be read: {why}")
                continue
            try:
                yield from self._event(message, now)
            except (*UNREADABLE, Refused):
                self.unreadable += 1

    def _event(self, message: Message, now: datetime) -> Iterator[Event]:
        key, value = (message.key() or b"").decode(), message.value()
        match self._names[message.topic() or ""]:
            case name if name == SILENCES:
                silence = None if value is None else _silence(value)
                if silence is not None:
                    serde.check_lengths(silence)
                    silence = replace(silence, id=key)  # which ends it, whatever it says of itself
                yield SilencePut(key, silence)
            case name if name == CONTRACTS and value is not None:
                contract = _contract(value)
                if contract.status in ("active", "deprecated"):
                    # Whoever writes a record says when: a time that has not come would be a first
                    # week that does not end.
                    _, ms = message.timestamp()
                    since = min(serde.nearest_utc(ms), now)
                    yield VersionInForce(contract.id, contract.version, since)
            case name if name == HELD_TOPIC:
                yield self._of_held(f"{HELD}/{key}", value, now)
            case name if name == VIOLATIONS and value is not None:
                kind = dict(headers(message)).get("handoff-kind")
                if kind == HELD_TOO_LONG.encode():
                    yield from self._too_long(_violation(value), now)

    def _of_held(self, fingerprint: str, value: bytes | None, now: datetime) -> Event:
        if value is None:
            self.held.discard(fingerprint)
            return CauseOver(fingerprint)
        package = _package(value)
        if package.backfill:
            return CauseOver(fingerprint)
        self.held.add(fingerprint)
        return CauseTold(of_held(package, now))

    def _too_long(self, violation: Violation, now: datetime) -> Iterator[Event]:
        cause = of_violation(violation, now)
        if violation.status == "resolved":
            yield CauseOver(cause.fingerprint)
        elif not violation.backfill and violation.severity != "info":
            yield CauseTold(cause)
