"""Inputs as lines: what `send` and `dry-run` read, one JSON object a line, plain or gzip.

A line is a tool output, or `{"topic": "handoff.acks", "value": {...}}` for another input. Its key
is the `task_id` of the value. A dry run takes changes of the tables too: `{"topic":
"handoff.receivers", "value": {...}}`, with `occurred_at` beside it where that is later than the
line before; `"value": null` deletes what `key` names. Blank lines are passed over.
"""

import gzip
import io
import sys
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from console import output
from console.errors import BadInputError
from schemas import serde
from schemas.flow import Record
from schemas.loading import nearest
from schemas.printable import plain
from schemas.records import Ack, Amendment, HandoffRequest, ToolOutput, When
from schemas.unreadable import UNREADABLE

TOOL_OUTPUTS = "handoff.tool-outputs"
_RECORDS = {TOOL_OUTPUTS: ToolOutput, "handoff.acks": Ack, "handoff.amendments": Amendment}
INPUTS = tuple(_RECORDS)
LIVENESS = "handoff.receiver-liveness"
TABLES = ("handoff.contracts", "handoff.receivers", LIVENESS)
_MEMBERS = {topic: record.__struct_encode_fields__ for topic, record in _RECORDS.items()}
_KNOWN = {topic: frozenset(members) for topic, members in _MEMBERS.items()}
_ASKED = frozenset(HandoffRequest.__struct_encode_fields__)
# So many unknown members of a file are named, each with so many characters of its name.
_WARNED, _SHOWN = 20, 80
NOT_JSON = "is not JSON"  # begins the problem of a line that is none
_GZIP = b"\x1f\x8b"


class Line(NamedTuple):
    """One line of input. `number` counts from 1; `occurred_at` is epoch ms, None when unreadable.

    Without a `key` (no JSON object, no task_id in it, no known topic) it has no place on a topic,
    and `problem` says why. The line of a table has the key that it gives, if any; its `value` is
    JSON, null where the key is deleted.
    """

    number: int
    topic: str
    key: bytes | None
    value: bytes
    occurred_at: int | None
    problem: str | None


class _Outline(msgspec.Struct):
    """The members of a line that say where it goes and when it was."""

    topic: Any = None
    value: msgspec.Raw = msgspec.Raw()
    task_id: Any = None
    occurred_at: Any = None
    key: Any = None
    checked_at: Any = None


_decode = msgspec.json.Decoder(_Outline).decode
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


_Request = dict[str, msgspec.Raw] | None
_requests = msgspec.json.Decoder(_Request | list[_Request]).decode


def read_lines(path: str) -> Iterator[Line]:
    """The lines of the file at `path`, or of standard input for `-`.

    Raises `BadInputError` when the file cannot be read or its gzip is broken.
    """
    for number, text in raw_lines(path):
        yield _line(number, text)


def raw_lines(path: str) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, each with its number from 1, as `read_lines` reads them."""
    number = 0
    try:
        with _opened(path) as stream:
            for raw in stream:
                number += 1
                text = raw.removeprefix(b"\xef\xbb\xbf").strip()
                if text:
                    yield number, text
    except OSError as error:
        # gzip's BadGzipFile is an OSError too, without the strerror of the system's.
        raise BadInputError(f"{path}: {unreadable(error)}") from None
    except (EOFError, zlib.error) as error:
        raise BadInputError(
            f"{path}: the gzip data ends or breaks after line {number}: {error}"
        ) from None


def warned_lines(path: str) -> Iterator[Line]:
    """As `read_lines`; says on standard error, once for each name, which members are unknown. Who
    mistypes `handoff` hands off nothing, and would not be told."""
    told: set[tuple[str, str]] = set()
    for line in read_lines(path):
        if len(told) < _WARNED:
            for name, near in _unknown(line):
                if (line.topic, name) not in told and len(told) < _WARNED:
                    told.add((line.topic, name))
                    shown = plain(name if len(name) <= _SHOWN else f"{name[:_SHOWN]}…")
                    output.say(
                        f"{path}, line {line.number}: the unknown member '{shown}' is ignored; "
                        f"{near}",
                        err=True,
                    )
        yield line


def _unknown(line: Line) -> Iterator[tuple[str, str]]:
    """The unknown members of a line, each with the name that may be meant."""
    if line.topic not in _KNOWN:
        return
    try:
        members = _members(line.value)
        known = _KNOWN[line.topic]
        if not members.keys() <= known:
            for name in members:
                if name not in known:
                    yield name, nearest(name, _MEMBERS[line.topic])
        if "handoff" in members and line.topic == TOOL_OUTPUTS:
            asked = _requests(members["handoff"])
            for request in asked if isinstance(asked, list) else [asked]:
                for name in [each for each in request or () if each not in _ASKED]:
                    yield f"handoff.{name}", nearest(name, HandoffRequest.__struct_encode_fields__)
    except UNREADABLE:
        return  # the line is refused, and that is told


def unreadable(error: Exception) -> str:
    """Why a file cannot be read, and what to do where the path is wrong."""
    if isinstance(error, FileNotFoundError):
        return "there is no such file; check the path"
    return f"cannot be read: {getattr(error, 'strerror', None) or error}"


def check_readable(path: str) -> None:
    """Raise `BadInputError` when the file at `path` is not there or cannot be opened.

    A pipe is left alone: opening and closing one would end whoever writes to it.
    """
    try:
        if path != "-" and not Path(path).is_fifo():
            Path(path).open("rb").close()
    except OSError as error:
        raise BadInputError(f"{path}: {unreadable(error)}") from None


def lines_of(records: Iterable[Record]) -> Iterator[Line]:
    """Records of input topics as lines, in the order of their arrival: by their timestamps, but for
    those that are older than one before them in their partition."""
    latest: dict[tuple[str, int], int] = {}

    def arrival(record: Record) -> int:
        place = record.topic, record.partition
        latest[place] = max(latest.get(place, 0), record.timestamp)
        return latest[place]

    for number, record in enumerate(sorted(records, key=arrival), start=1):
        value = record.value or b""
        try:
            occurred_at = _time(_decode(value).occurred_at)
        except UNREADABLE:
            occurred_at = None
        problem = "has no key" if record.key is None else None
        yield Line(
            number, record.topic, record.key, value=value, occurred_at=occurred_at, problem=problem
        )


@contextmanager
def _opened(path: str) -> Iterator[Iterable[bytes]]:
    with ExitStack() as stack:
        raw: Any = sys.stdin.buffer if path == "-" else stack.enter_context(Path(path).open("rb"))
        stream = raw if isinstance(raw, io.BufferedReader) else io.BufferedReader(raw)
        if stream.peek(2)[:2] == _GZIP:
            yield gzip.GzipFile(fileobj=stream)
        else:
            yield stream


def _line(number: int, text: bytes) -> Line:
    try:
        str(text, "utf-8")
        outline = _decode(text)
    except UnicodeDecodeError as error:
        problem = f"is not UTF-8: {error.reason} at byte {error.start}"
        return Line(number, TOOL_OUTPUTS, None, value=text, occurred_at=None, problem=problem)
    except msgspec.ValidationError:
        problem = "is JSON, but not an object"
        return Line(number, TOOL_OUTPUTS, None, value=text, occurred_at=None, problem=problem)
    except UNREADABLE as error:
        problem = f"{NOT_JSON}: {error}"
        return Line(number, TOOL_OUTPUTS, None, value=text, occurred_at=None, problem=problem)
    if outline.task_id is not None or outline.topic is None:
        return _keyed(number, TOOL_OUTPUTS, text, outline)
    if outline.topic in TABLES:
        return _of_table(number, outline)
    if outline.topic not in INPUTS:
        problem = f"names a topic that is no input; the inputs are {', '.join(INPUTS)}"
        topic = outline.topic if isinstance(outline.topic, str) else TOOL_OUTPUTS
        return Line(number, topic, None, value=text, occurred_at=None, problem=problem)
    value = bytes(outline.value)
    try:
        return _keyed(number, outline.topic, value, _decode(value))
    except UNREADABLE:
        problem = "has a topic, but no object as its value"
        return Line(number, outline.topic, None, value=value, occurred_at=None, problem=problem)


def _of_table(number: int, outline: _Outline) -> Line:
    key = outline.key.encode() if isinstance(outline.key, str) and outline.key else None
    value = bytes(outline.value)
    occurred_at = _time(outline.occurred_at)
    if occurred_at is None and outline.topic == LIVENESS and value.startswith(b"{"):
        occurred_at = _time(_decode(value).checked_at)
    problem = None if value else "has a topic, but no value"
    return Line(number, outline.topic, key, value=value, occurred_at=occurred_at, problem=problem)


def _time(given: Any) -> int | None:
    try:
        return serde.epoch_ms(msgspec.convert(given, When))
    except msgspec.ValidationError:
        return None


def _keyed(number: int, topic: str, value: bytes, outline: _Outline) -> Line:
    occurred_at = _time(outline.occurred_at)
    if not isinstance(outline.task_id, str) or not outline.task_id:
        problem = "has no task_id, so it has no key"
        return Line(number, topic, None, value=value, occurred_at=occurred_at, problem=problem)
    return Line(
        number, topic, outline.task_id.encode(), value=value, occurred_at=occurred_at, problem=None
    )


def moment(text: str) -> int:
    """A point in time that a person typed (RFC 3339 with an offset), as epoch ms.

    Raises `BadInputError`.
    """
    try:
        when: datetime = msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        when = datetime.min
    if when.tzinfo is None:
        raise BadInputError(f"{text!r} is no time with an offset; write it as 2026-03-01T09:00:00Z")
    return serde.epoch_ms(when)
