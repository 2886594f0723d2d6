"""Between bytes on a topic and records: parsing inputs, encoding outputs, dead letters."""

import re
import traceback
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import PurePath
from types import TracebackType
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from schemas.alerts import AlertAction, AlertSilence
from schemas.feed import EdgePart, JudgedPart, PatternPart
from schemas.flow import Headers, InputEvent, Output, Record, Refused
from schemas.links import LINKS, LinkMessage
from schemas.published import PUBLISHED
from schemas.records import (
    FIRST_MS,
    LAST_MS,
    MAX_NAME_BYTES,
    Ack,
    Amendment,
    DeadLetter,
    HandoffRequest,
    Pattern,
    TaskName,
    TaskNames,
    ToolOutput,
    Violation,
)
from schemas.unreadable import UNREADABLE

# What Kafka accepts on our topics (`max.message.bytes`), less room for the batch's own framing.
MAX_RECORD_BYTES = (4 << 20) - 1024
# A clock this far ahead of the broker's is wrong: the record's timestamp counts instead.
MAX_AHEAD_MS = 5 * 60_000
# W3C Trace Context writes 55 characters; what is far longer is none and is not passed on.
MAX_TRACEPARENT = 512
BACKFILL_HEADER = "handoff-backfill"
DEAD_LETTERS = "handoff.dead-letters"

_OR_A_SOURCE = "; a source can read it as it is (docs/intake.md)"
_HOW_TO_TELL_A_TIME = "give epoch milliseconds, or a time such as 2026-03-01T09:00:00Z"
_WITHOUT_OFFSET = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?", re.ASCII)

Body = TypeVar("Body")
_BEFORE_1971_MS, _FIRST_SECOND = 31_536_000_000, 631_152_000
_EPOCH, _MILLISECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(milliseconds=1)
_decoders: dict[str, Callable[[bytes], ToolOutput | Ack | Amendment | LinkMessage]] = {
    "handoff.tool-outputs": msgspec.json.Decoder(ToolOutput).decode,
    "handoff.acks": msgspec.json.Decoder(Ack).decode,
    "handoff.amendments": msgspec.json.Decoder(Amendment).decode,
    LINKS: msgspec.json.Decoder(LinkMessage).decode,
}
_encode = msgspec.json.Encoder().encode
_NAMES: dict[type[msgspec.Struct], str] = {record: name for name, record in PUBLISHED.items()} | {
    EdgePart: "feed",
    PatternPart: "feed",
    JudgedPart: "feed",
    LinkMessage: "link",
}
_SCHEMA_HEADERS: dict[type[msgspec.Struct], tuple[tuple[str, bytes], ...]] = {
    record: (("content-type", b"application/json"), ("handoff-schema", f"{name}/1".encode()))
    for record, name in _NAMES.items()
}


@lru_cache(maxsize=8192)
def utc(ms: int) -> datetime:
    """Epoch milliseconds as an aware datetime in UTC."""
    return _EPOCH + ms * _MILLISECOND


def nearest_utc(ms: int) -> datetime:
    """The same, of any number: who writes a record may give it any time."""
    return utc(min(max(ms, FIRST_MS), LAST_MS))


_ENUM = re.compile(r"Invalid enum value '.*'", re.DOTALL)


def epoch_ms(when: datetime | int) -> int:
    """An input's time as epoch milliseconds (microseconds are cut off). A number that would be a
    time before 1971 is taken as seconds, where that is not before 1990."""
    if isinstance(when, int):
        return when * 1000 if _FIRST_SECOND <= when < _BEFORE_1971_MS else when
    return (when - _EPOCH) // _MILLISECOND


def parse(record: Record, now: int, max_bytes: int, backfill_after: int) -> InputEvent:
    """Understand one input record; `now` and `backfill_after` are milliseconds.

    Raises `Refused` for a tombstone, a record too large, a missing key, a key unlike the body's
    `task_id`, bytes that are not JSON, JSON of another shape, and a name that is too long.
    """
    body = read(record, _decoders[record.topic], max_bytes, "task_id")
    if type(body) is not ToolOutput or not _all_short(body):
        check_lengths(body)
    if record.key != body.task_id.encode():
        raise Refused("key_mismatch", "the record's key is not the task_id of its body")
    when, timestamp = body.occurred_at, record.timestamp
    backfill = timestamp < now - backfill_after
    traceparent = None
    for name, content in record.headers:
        if name == BACKFILL_HEADER:
            backfill = backfill or content == b"1"
        elif name == "traceparent" and content is not None and len(content) <= MAX_TRACEPARENT:
            traceparent = content
    if type(when) is int and when >= _BEFORE_1971_MS:
        occurred_at = when
    else:
        occurred_at = epoch_ms(when)
        if isinstance(when, int) and (
            when < _FIRST_SECOND or occurred_at > timestamp + MAX_AHEAD_MS
        ):
            raise Refused(
                "wrong_time",
                "occurred_at is a time before 1971 in milliseconds, and none between 1990 and the "
                f"record's own time in seconds; {_HOW_TO_TELL_A_TIME}",
            )
    if occurred_at > timestamp + MAX_AHEAD_MS:
        occurred_at = timestamp
    if not FIRST_MS <= occurred_at <= LAST_MS:  # an offset may lead out of the calendar
        raise Refused("wrong_shape", "occurred_at lies outside of the years 1 to 9999 in UTC")
    return InputEvent(
        body=body,
        occurred_at=occurred_at,
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        backfill=backfill,
        traceparent=traceparent,
        timestamp=timestamp,
    )


def _all_short(output: ToolOutput) -> bool:
    """Whether the names together have no more bytes than one may have, so that none is too long.
    It is so of nearly every output, and costs less than to look at each name."""
    o, asked = output, output.handoff
    names = f"{o.id}{o.task_id}{o.workflow}{o.stage}{o.tool}{o.team}{o.run}"
    if o.continues or o.continued_by or o.unlinked:
        return False
    if asked is not None:
        if type(asked) is not HandoffRequest:
            return False
        names += f"{asked.to}{asked.contract}{asked.part}"
    return len(names.encode()) <= MAX_NAME_BYTES


def check_lengths(
    body: ToolOutput
    | Ack
    | Amendment
    | HandoffRequest
    | TaskName
    | LinkMessage
    | AlertAction
    | AlertSilence,
    at: str = "",
) -> None:
    """Raise `Refused` for a name, or a reason, with more bytes in UTF-8 than it may have; `at` is
    the path to `body`."""
    for member, most in _LENGTHS[type(body)]:
        text = getattr(body, member)
        if text is not None and 4 * len(text) > most and (length := len(text.encode())) > most:
            raise Refused(
                "member_too_long",
                f"{at}{member} has {length:,} bytes, the limit is {most:,}; give a shorter one",
            )
    if isinstance(body, ToolOutput) and body.handoff is not None:
        requests = body.handoff if isinstance(body.handoff, list) else [body.handoff]
        for number, request in enumerate(requests):
            check_lengths(request, f"handoff[{number}]." if len(requests) > 1 else "handoff.")
    if isinstance(body, ToolOutput):
        for member in ("continues", "continued_by", "unlinked"):
            for number, name in enumerate(tasks_named(getattr(body, member))):
                check_lengths(name, f"{member}[{number}].")


def tasks_named(names: TaskNames | None) -> list[TaskName]:
    """One task, several, or none."""
    if names is None:
        return []
    return names if isinstance(names, list) else [names]


def _lengths(record: type[msgspec.Struct]) -> tuple[tuple[str, int], ...]:
    """The members of a record that have a limit, and how many bytes each may have."""
    found = []
    info = inspect.type_info(record)
    assert isinstance(info, inspect.StructType)
    for field in info.fields:
        kinds = field.type.types if isinstance(field.type, inspect.UnionType) else (field.type,)
        for kind in kinds:
            if isinstance(kind, inspect.Metadata) and kind.extra_json_schema is not None:
                found.append((field.name, int(kind.extra_json_schema["maxLength"])))
    return tuple(found)


_LENGTHS = {
    kind: _lengths(kind)
    for kind in (
        ToolOutput,
        HandoffRequest,
        Ack,
        Amendment,
        TaskName,
        LinkMessage,
        AlertAction,
        AlertSilence,
    )
}


def read(record: Record, decode: Callable[[bytes], Body], max_bytes: int, key: str) -> Body:
    """The body of an input record, a JSON object. `key` is what its key must be, in words.

    Raises `Refused` for a tombstone, a record too large, a missing key, bytes that are not JSON,
    and JSON of another shape.
    """
    value = record.value
    if value is None:
        raise Refused("tombstone", "the record has no value; it needs a JSON object")
    if len(value) > max_bytes:
        raise Refused(
            "too_large",
            f"the value has {len(value):,} bytes, the limit is {max_bytes:,}; "
            "send a reference instead of the content",
        )
    if record.key is None:
        raise Refused("key_missing", f"the record has no key; the key must be the {key}")
    try:
        # A raw value is copied through unread, so bytes that are not UTF-8 must be found here.
        if not value.isascii():
            value.decode()
        return decode(value)
    except msgspec.ValidationError as error:
        cure = _cure_of_time(value) if "`$.occurred_at`" in str(error) else ""
        # What the input says in the place of a known word is not told.
        told = _ENUM.sub("Invalid enum value", str(error))
        why = f"the JSON has not the shape of the record: {told}{cure}"
        raise Refused("wrong_shape", why) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        # Neither kind of message quotes the input: a position and what was expected there.
        reason = error.reason if isinstance(error, UnicodeDecodeError) else str(error)
        raise Refused("not_json", f"the value is not JSON: {reason}") from None
    except RecursionError:
        raise Refused("not_json", "the value nests too deep to be read") from None


class _Time(msgspec.Struct):
    occurred_at: Any = None


def _cure_of_time(value: bytes) -> str:
    """What to do about a time that is none."""
    try:
        given = msgspec.json.decode(value, type=_Time).occurred_at
    except UNREADABLE:
        return ""
    if isinstance(given, int) and not isinstance(given, bool) and given > LAST_MS:
        return f"; micro- or nanoseconds: give epoch milliseconds{_OR_A_SOURCE}"
    if isinstance(given, float):
        return f"; a fraction: give epoch milliseconds{_OR_A_SOURCE}"
    if isinstance(given, str) and given.strip().lstrip("-").replace(".", "", 1).isdecimal():
        return f"; a number in quotes: give it without them, as epoch milliseconds{_OR_A_SOURCE}"
    if isinstance(given, str) and _WITHOUT_OFFSET.fullmatch(given):
        return f"; a time without an offset: add Z for UTC, or one such as +02:00{_OR_A_SOURCE}"
    return f"; {_HOW_TO_TELL_A_TIME}"


def decode_body(topic: str, body: bytes) -> Any:
    """An input's record again, which was understood before."""
    return _decoders[topic](body)


def encode(record: msgspec.Struct) -> bytes:
    """A published record as JSON bytes."""
    return _encode(record)


def headers(record: msgspec.Struct) -> Headers:
    """The headers of a published record, before those that come from its input."""
    kind = type(record)
    found = [*_SCHEMA_HEADERS[kind]]
    if kind in _OWN_HEADERS:
        found += _OWN_HEADERS[kind](record)
    return found


def _of_pattern(pattern: Pattern) -> Headers:
    return [
        ("handoff-kind", pattern.kind.encode()),
        ("handoff-severity", pattern.severity.encode()),
        ("handoff-status", pattern.status.encode()),
    ]


def _of_violation(violation: Violation) -> Headers:
    return [
        ("handoff-kind", violation.kind.encode()),
        ("handoff-severity", violation.severity.encode()),
        ("handoff-contract", (violation.contract or "").encode()),
    ]


def dead_letter(record: Record, error: Exception) -> Output:
    """The dead letter for an input: the record untouched, and why, in the headers of KIP-1034.

    The stack trace is empty for a `Refused`, which is the input's fault. Else it names code and
    never the exception's own text, which could quote a value. An input too large to travel with its
    headers is replaced by a `DeadLetter` that points at it.
    """
    if isinstance(error, Refused):
        code, message, trace = error.code, error.message, ""
    else:
        code = type(error).__name__
        message = (
            "the processor failed on this record; it is our defect, the stack trace says where"
        )
        trace = stack(error.__traceback__)
    pointer = DeadLetter(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        key=None,
        exception=code,
        message=message,
        stacktrace=trace,
        size=None if record.value is None else len(record.value),
    )
    why = _why(pointer)
    letter = Output(DEAD_LETTERS, record.key, record.value, [*record.headers, *why])
    if size(letter) <= MAX_RECORD_BYTES:
        return letter
    return Output(DEAD_LETTERS, None, _encode(pointer), headers(pointer))


def _why(letter: DeadLetter) -> Headers:
    """The headers of KIP-1034."""
    found = {
        "exception": letter.exception,
        "message": letter.message,
        "stacktrace": letter.stacktrace,
        "topic": letter.topic,
        "partition": str(letter.partition),
        "offset": str(letter.offset),
    }
    return [(f"__streams.errors.{name}", text.encode()) for name, text in found.items()]


# What the headers of a record say beside its schema, where they say anything.
_OWN_HEADERS: dict[type[msgspec.Struct], Callable[[Any], Headers]] = {
    Pattern: _of_pattern,
    Violation: _of_violation,
    DeadLetter: _why,
}


def stack(found: TracebackType | None) -> str:
    """Where it failed, outermost first: file, line and function, without what is installed where.

    Files are shown from their top package on, whatever directory that lies in. The exception's own
    text is not here: it could quote a value.
    """
    lines = []
    for frame, line in traceback.walk_tb(found):
        code = frame.f_code
        path = PurePath(code.co_filename)
        depth = str(frame.f_globals.get("__name__", "")).count(".") + 1
        inside = path.parts[-depth - (path.name == "__init__.py") :]
        lines.append(f'File "{"/".join(inside)}", line {line}, in {code.co_name}\n')
    return "".join(lines)


def size(output: Output) -> int:
    """The bytes that Kafka counts for a record, batch framing left out."""
    total = len(output.key or b"") + len(output.value or b"")
    for name, content in output.headers:
        total += len(name) + len(content or b"") + 10
    return total


def read_dead_letter(record: Record) -> DeadLetter:
    """A dead letter as its reader sees it. Raises `ValueError` for a record that is none."""
    why: dict[str, Any] = {
        name.removeprefix("__streams.errors."): (content or b"").decode("utf-8", "replace")
        for name, content in record.headers
        if name.startswith("__streams.errors.")
    }
    try:
        return DeadLetter(
            topic=why["topic"],
            partition=int(why["partition"]),
            offset=int(why["offset"]),
            key=None if record.key is None else record.key.decode("utf-8", "replace"),
            exception=why["exception"],
            message=why["message"],
            stacktrace=why["stacktrace"],
            size=None if record.value is None else len(record.value),
        )
    except KeyError as error:
        missing = f"__streams.errors.{error.args[0]}"
        raise ValueError(f"not a dead letter: the header {missing} is missing") from None
