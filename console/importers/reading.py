"""A file's records, one after the other, however large it is.

JSON Lines are read line by line. Of any other JSON the elements of an outer list are taken one at a
time, without the whole in memory; a list of messages is one record.
"""

import gzip
import io
import re
import sys
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

from console.lines import unreadable
from processors.intake.transcripts.errors import TranscriptError
from processors.intake.transcripts.messages import is_message
from processors.intake.transcripts.trees import loads

_CHUNK = 1 << 20
MAX_RECORD_BYTES = 64 << 20
_TOO_LARGE = f"it has more than {MAX_RECORD_BYTES >> 20} MiB; split it"
_STRING = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
_DEEP = re.compile(_STRING + rb'|["\[\]{}]', re.S)
_FLAT = re.compile(_STRING + rb'|["\[\]{},]', re.S)
_BOM = b"\xef\xbb\xbf"


class Found(NamedTuple):
    """A record and where it stands. `value` is plain data, or what is wrong with it."""

    place: str
    value: Any


@contextmanager
def opened(path: str) -> Iterator[io.BufferedReader]:
    """The bytes of a file, or of standard input for `-`, unzipped where they are gzip.

    Raises `TranscriptError` for a file that cannot be read.
    """
    try:
        with ExitStack() as stack:
            raw: Any = (
                sys.stdin.buffer if path == "-" else stack.enter_context(Path(path).open("rb"))
            )
            stream = raw if isinstance(raw, io.BufferedReader) else io.BufferedReader(raw)
            if stream.peek(2)[:2] == b"\x1f\x8b":
                unzipped: Any = gzip.GzipFile(fileobj=stream)
                stream = io.BufferedReader(unzipped, _CHUNK)
            yield stream
    except (OSError, EOFError, zlib.error) as error:
        raise TranscriptError(unreadable(error)) from None


def records(stream: IO[bytes]) -> Iterator[Found]:
    """The records of a stream of JSON."""
    first = b""
    number = 0
    while not first.strip():
        first = stream.readline(_CHUNK)
        number += 1
        if not first:
            return
    first = first.removeprefix(_BOM)
    if len(first) < _CHUNK and _is_json(first):
        yield from _lines(first, number, stream)
    else:
        yield from _elements(first, stream)


def _is_json(line: bytes) -> bool:
    try:
        loads(line.strip())
    except TranscriptError:
        return False
    return True


def _lines(first: bytes, number: int, stream: IO[bytes]) -> Iterator[Found]:
    line = first
    while line:
        text = line.strip()
        if len(line) > MAX_RECORD_BYTES:
            yield Found(f"line {number}", TranscriptError(_TOO_LARGE))
            while line and not line.endswith(b"\n"):
                line = stream.readline(_CHUNK)
        elif text:
            yield from _of_line(f"line {number}", text)
        line = stream.readline(MAX_RECORD_BYTES + 1)
        number += 1


def _of_line(place: str, text: bytes) -> Iterator[Found]:
    try:
        value = loads(text)
    except TranscriptError as error:
        yield Found(place, error)
        return
    if isinstance(value, list) and value and not is_message(value[0]):
        for order, each in enumerate(value, start=1):
            yield Found(f"{place}, element {order}", each)
    else:
        yield Found(place, value)


def _elements(first: bytes, stream: IO[bytes]) -> Iterator[Found]:
    """The values of a stream that is no JSON Lines: each alone, or the elements of a list."""
    number = 0
    messages: list[Any] | None = None
    for kind, text in _split(first, stream):
        if kind == "end":
            if messages is not None:
                yield Found("the list", messages)
            messages = None
            continue
        number += 1
        place = f"element {number}" if kind == "element" else f"document {number}"
        try:
            value = loads(text)
        except TranscriptError as error:
            yield Found(place, error)
            continue
        if kind == "value":
            yield Found(place, value)
        elif messages is not None:
            messages.append(value)
        elif number == 1 and is_message(value):
            messages = [value]
        else:
            yield Found(place, value)


def _split(data: bytes, stream: IO[bytes]) -> Iterator[tuple[str, bytes]]:
    """The pieces of JSON text: ("value", whole) outside of a list, ("element", each) and then
    ("end", nothing) in one. A piece that breaks off comes as far as it goes: it is no JSON."""
    buffer = data
    at = start = depth = 0
    in_list = False
    while True:
        token = (_FLAT if in_list and depth == 1 else _DEEP).search(buffer, at)
        if token is None or token[0] == b'"':
            at = len(buffer) if token is None else token.start()
            buffer, at = buffer[start:], at - start
            start = 0
            if len(buffer) > MAX_RECORD_BYTES:
                raise TranscriptError(f"a record in it is too large: {_TOO_LARGE}")
            more = stream.read(_CHUNK)
            if not more:
                break
            buffer += more
            continue
        mark, at = token[0], token.end()
        if mark in (b"{", b"["):
            if depth == 0:
                in_list = mark == b"["
                start = at if in_list else token.start()
            depth += 1
        elif mark in (b"}", b"]"):
            depth -= 1
            if depth == 0 and in_list:
                piece = buffer[start : token.start()].strip()
                if piece:
                    yield "element", piece
                yield "end", b""
                in_list, start = False, at
            elif depth == 0:
                yield "value", buffer[start:at]
                start = at
            elif depth < 0:
                raise TranscriptError("it is not JSON: a bracket closes what nothing opened")
        elif mark == b"," and depth == 1:
            yield "element", buffer[start : token.start()].strip()
            start = at
    if buffer.strip() and (depth or not in_list):
        yield ("element" if in_list and depth == 1 else "value"), buffer.strip()
    if in_list:
        raise TranscriptError("it is not JSON: the list breaks off before its end")
