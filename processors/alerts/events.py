"""What alerts hear of, and what they decide."""

from datetime import datetime
from typing import Final, Literal

import msgspec
from msgspec import Struct

from processors.alerts.causes import of_pattern
from processors.alerts.reasons import CLOSINGS, Reason
from schemas import serde
from schemas.alerts import AlertAction, AlertSilence, Cause, Notification
from schemas.flow import Record, Refused
from schemas.records import FIRST_MS, LAST_MS, Pattern
from schemas.unreadable import UNREADABLE

# Names make up a pattern: insights writes some kilobytes. An entry has the name twice, and must fit
# into a message of Kafka, or nothing could be written down any more.
_MOST_OF_A_PATTERN: Final = 1 << 20
_NOT_A_PATTERN: Final = "the record is not of its shape; correct who writes it"

_action: Final = msgspec.json.Decoder(AlertAction).decode
_pattern: Final = msgspec.json.Decoder(Pattern).decode


class CauseTold(Struct, frozen=True):
    """Something is broken, or there is more to say of it."""

    cause: Cause


class CauseOver(Struct, frozen=True):
    """Something is not broken any more, or is not to be told."""

    fingerprint: str
    reason: Reason = Reason.CLOSED


class VersionInForce(Struct, frozen=True):
    """A contract's version is in force since a moment."""

    contract: str
    version: int
    since: datetime


class SilencePut(Struct, frozen=True):
    """A silence was written down, or taken back."""

    id: str
    silence: AlertSilence | None


class PersonSaid(Struct, frozen=True):
    """A person said something to an alert."""

    action: AlertAction
    until: datetime | None = None


class Answered(Struct, frozen=True):
    """What became of a message: the sink took it, refused it, or nobody knows and it was given
    up."""

    sink: str
    key: str
    number: int
    outcome: Literal["taken", "refused", "given_up"]
    reference: str | None = None
    why: str | None = None


class Tick(Struct, frozen=True):
    """Time has passed: what waits is decided, and what is due is told."""


class RoutesRead(Struct, frozen=True):
    """The routes were read anew, and may have changed."""


Event = (
    CauseTold | CauseOver | VersionInForce | SilencePut | PersonSaid | Answered | Tick | RoutesRead
)


class Send(Struct, frozen=True):
    """A message for a sink."""

    sink: str
    notification: Notification


class Note(Struct, frozen=True):
    """A decision with its reason: about a cause (its fingerprint) or a message (with a sink)."""

    at: datetime
    about: str
    alert: str | None
    reason: Reason
    sink: str | None = None
    action: str | None = None


class Decision(Struct, frozen=True):
    """What follows from an event."""

    sends: tuple[Send, ...] = ()
    notes: tuple[Note, ...] = ()


def of_record(fingerprint: str, pattern: Pattern | None, now: datetime) -> CauseTold | CauseOver:
    """What a record of `handoff.patterns` says: its value is None where it was deleted."""
    if pattern is None:
        return CauseOver(fingerprint)
    if pattern.status == "closed":
        return CauseOver(fingerprint, CLOSINGS.get(pattern.closed_by, Reason.CLOSED))
    if pattern.backfill:
        return CauseOver(fingerprint, Reason.BACKFILL)
    if pattern.severity == "info":
        return CauseOver(fingerprint, Reason.INFO)
    return CauseTold(of_pattern(pattern, now))


def of_told(record: Record, now: datetime) -> CauseTold | CauseOver:
    """What a record of `handoff.patterns` says. Raises `Refused` for one that is not understood."""
    value = record.value
    if value is not None and len(value) > _MOST_OF_A_PATTERN:
        raise Refused(
            "too_large",
            f"the value has {len(value):,} bytes, and a pattern has at most "
            f"{_MOST_OF_A_PATTERN:,}; correct who writes it",
        )
    try:
        key = (record.key or b"").decode()
        pattern = None if value is None else _pattern(value)
    except msgspec.ValidationError:
        raise Refused("wrong_shape", _NOT_A_PATTERN) from None
    except UNREADABLE:
        raise Refused("not_json", _NOT_A_PATTERN) from None
    if pattern is not None and pattern.fingerprint != key:  # no end would come for it
        raise Refused("wrong_shape", "the key is not the fingerprint; correct who writes it")
    return of_record(key, pattern, now)


def of_action(record: Record, max_bytes: int) -> PersonSaid | None:
    """What a record of `handoff.alert-actions` says; None where it is a replay, which is no news.
    Raises `Refused` for one that is not understood."""
    action = serde.read(record, _action, max_bytes, "alert's key")
    serde.check_lengths(action)
    if (serde.BACKFILL_HEADER, b"1") in record.headers:
        return None
    if action.until is None:
        return PersonSaid(action)
    until = serde.epoch_ms(action.until)
    if not FIRST_MS <= until <= LAST_MS:  # an offset may lead out of the calendar
        raise Refused("wrong_shape", "until lies outside of the years 1 to 9999 in UTC")
    return PersonSaid(action, serde.utc(until))
