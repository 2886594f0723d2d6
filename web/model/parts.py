"""What the rows of several topics have in common. Pure."""

from datetime import datetime
from typing import Any, Final

import msgspec

from schemas.flow import Record
from schemas.records import MAX_NAME_BYTES
from schemas.serde import MAX_AHEAD_MS, epoch_ms
from web.model import statements as to
from web.model.schema import NUMBER
from web.model.statements import Row

_MILLIONTHS: Final = 1_000_000


class Unreadable(Exception):
    """A record that is none of ours, or of a newer version: it is counted and left out."""


def event(
    record: Record,
    at: int,
    what: str,
    *,
    task: str | None,
    detail: str | None = None,
    workflow: str | None = None,
    stage: str | None = None,
    tool: str | None = None,
    by: str | None = None,
    handoff: str | None = None,
    event_id: str | None = None,
) -> Row:
    place = NUMBER[record.topic], record.partition, record.offset
    of = task, workflow, at, record.timestamp, what, detail, stage, tool, by, handoff, event_id
    return Row(to.EVENT, (*place, *of))


def value(record: Record) -> bytes:
    if record.value is None:
        raise Unreadable("no value")
    return record.value


def key_of(record: Record) -> str:
    return (record.key or b"").decode()


def check(record: Record, task: str, *names: str | None) -> None:
    """What becomes a dead letter is no part of any story: a name too long, or another key."""
    if record.key != task.encode():
        raise Unreadable("another key")
    check_names(task, *names)


def check_names(*names: str | None) -> None:
    for name in names:
        if (
            name is not None
            and 4 * len(name) > MAX_NAME_BYTES
            and len(name.encode()) > MAX_NAME_BYTES
        ):
            raise Unreadable("a long name")


def moment(when: datetime | int, record: Record) -> int:
    """The event time, as the processors take it."""
    at = epoch_ms(when)
    return record.timestamp if at > record.timestamp + MAX_AHEAD_MS else at


def ms(when: datetime | None) -> int | None:
    return None if when is None else epoch_ms(when)


def millionths(share: float | None) -> int | None:
    return None if share is None else round(share * _MILLIONTHS)


def json_text(found: Any) -> str:
    return msgspec.json.encode(found).decode()
