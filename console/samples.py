"""Foreign records, as `sources test` and `sources draft` read them: from a file, or from a topic.

A file has one JSON value a line, or values over several lines, or one list of objects. A value is
that of a record; or, to say more of it, an object of `value` and any of `key`, `headers`,
`timestamp` (epoch ms), `topic`, `partition`, `offset`; or what `kcat -J` prints of a record.
"""

import json
from collections.abc import Iterator
from itertools import chain
from typing import Any, Final

import msgspec

from console.errors import BadInputError
from console.kafka import TopicReader, connect
from console.lines import raw_lines
from schemas.flow import Headers, Record
from schemas.unreadable import UNREADABLE

_MEMBERS: Final = frozenset(
    ("value", "key", "headers", "timestamp", "topic", "partition", "offset")
)

_KCAT: Final = frozenset(("topic", "partition", "offset", "payload"))  # and more, of kcat -J

_MOST_BYTES: Final = 64 << 20


class _Envelope(msgspec.Struct, forbid_unknown_fields=True):
    value: msgspec.Raw
    key: msgspec.Raw = msgspec.Raw()
    headers: dict[str, str] | list[tuple[str, str]] = {}
    timestamp: int | None = None
    topic: str | None = None
    partition: int = 0
    offset: int | None = None


class _Kcat(msgspec.Struct):
    """A record as `kcat -J` prints it: the payload and the key as text, headers flat in pairs."""

    topic: str
    partition: int
    offset: int
    payload: str | None
    ts: int | None = None
    key: str | None = None
    headers: list[str | None] = []


_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_raw = msgspec.json.Decoder(msgspec.Raw).decode
_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_json = json.JSONDecoder()
_envelope = msgspec.json.Decoder(_Envelope).decode
_kcat = msgspec.json.Decoder(_Kcat).decode


class Samples:
    """The records to try: those of the file at `path` (`-`: standard input; plain or gzip), or the
    last `limit` of `topic` on the cluster.

    `where` names them for a person. What a file does not say of a record: the topic that is asked
    for, `now` (epoch ms) as the timestamp, and the number of the record before it as its offset.
    """

    def __init__(self, path: str | None, topic: str | None, limit: int) -> None:
        if (path is None) == (topic is None):
            raise BadInputError(
                "say where the records are: a FILE (- is standard input), or --from-topic TOPIC"
            )
        self.topic = topic
        self.where = path if path is not None else f"the topic {topic}"
        self._path = path
        self._limit = limit

    def read(self, topic: str, now: int) -> Iterator[tuple[int, Record]]:
        """The records with their numbers: that of the line where a file has one a line, else
        counted from 1. Raises `CommandError`."""
        if self._path is not None:
            yield from _of_file(self._path, topic, now)
        else:
            yield from enumerate(_last(self.topic or "", self._limit), start=1)


def _last(topic: str, limit: int) -> list[Record]:
    """The last records of a topic of the cluster, in the order of their timestamps."""
    reader = TopicReader(connect(), [topic], from_beginning=True, last=limit)
    try:
        found = sorted(reader.to_end(), key=lambda record: record.timestamp)
    finally:
        reader.close()
    return found[-limit:]


def _of_file(path: str, topic: str, now: int) -> Iterator[tuple[int, Record]]:
    for offset, (number, text) in enumerate(_values(path)):
        if (said := _said(path, number, text)) is None:
            yield number, Record(topic, 0, offset, key=None, value=text, timestamp=now)
            continue
        given, value = said
        pairs = given.headers.items() if isinstance(given.headers, dict) else given.headers
        headers: Headers = [(name, content.encode()) for name, content in pairs]
        yield (
            number,
            Record(
                given.topic or topic,
                given.partition,
                offset if given.offset is None else given.offset,
                key=_key(bytes(given.key)),
                value=value,
                timestamp=now if given.timestamp is None else given.timestamp,
                headers=headers,
            ),
        )


def _values(path: str) -> Iterator[tuple[int, bytes]]:
    """The values of a file. The first line says how it is laid out: where it is a whole value,
    every line is one."""
    lines = raw_lines(path)
    first = next(lines, None)
    if first is None:
        return
    rest: Iterator[tuple[int, bytes]] = lines
    if _is_whole(first[1]):
        second = next(lines, None)
        objects = _objects(first[1]) if second is None else []
        if objects:
            yield from enumerate(objects, start=1)
            return
        rest = chain([] if second is None else [second], lines)
    elif first[1][:1] in (b"{", b"["):
        kept = [first, *_at_most(path, lines)]
        found = _laid_out(b"\n".join(text for _, text in kept))
        if found:
            yield from enumerate(found, start=1)
            return
        rest = iter(kept[1:])
    yield first
    yield from rest


def _is_whole(text: bytes) -> bool:
    try:
        _raw(text)
    except UNREADABLE:
        return False
    return True


def _objects(text: bytes) -> list[bytes]:
    """The elements of a list that holds objects and nothing else; else none."""
    try:
        found = [bytes(each).strip() for each in _list(text)]
    except UNREADABLE:
        return []
    return found if all(each[:1] == b"{" for each in found) else []


def _at_most(path: str, lines: Iterator[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    size = 0
    for number, text in lines:
        size += len(text)
        if size > _MOST_BYTES:
            raise BadInputError(
                f"{path}: has values over several lines, and more than {_MOST_BYTES >> 20} MiB; "
                "give a JSON value a line, as jq -c makes them"
            )
        yield number, text


def _laid_out(text: bytes) -> list[bytes]:
    """The values of a text that has them one after another, over as many lines as they take; the
    elements where that is one list of objects. None where it is anything else."""
    try:
        whole, at = text.decode(), 0
        found: list[bytes] = []
        while at < len(whole):
            _, end = _json.raw_decode(whole, at)
            found.append(whole[at:end].encode())
            rest = whole[end:].lstrip() if end < len(whole) else ""
            at = len(whole) - len(rest)
    except (ValueError, RecursionError):
        return []
    return (_objects(found[0]) if len(found) == 1 else []) or found


def _said(path: str, number: int, text: bytes) -> tuple[_Envelope, bytes | None] | None:
    """What is said of a record, and its value; None where the text is the value."""
    try:
        names = _members(text).keys()
    except UNREADABLE:
        return None  # the value of a record, whatever it is: the decoder says what is wrong
    kcat = names >= _KCAT
    if not kcat and ("value" not in names or not names <= _MEMBERS):
        return None
    try:
        if kcat:
            return _of_kcat(_kcat(text))
        given = _envelope(text)
    except msgspec.ValidationError as error:
        raise BadInputError(
            f"{path}, line {number}: has the members of a record, and not their shape: {error}"
        ) from None
    value = bytes(given.value)
    return given, None if value == b"null" else value


def _of_kcat(given: _Kcat) -> tuple[_Envelope, bytes | None]:
    pairs = zip(given.headers[::2], given.headers[1::2], strict=False)
    said = _Envelope(
        value=msgspec.Raw(),
        key=msgspec.Raw(msgspec.json.encode(given.key)),
        headers=[(name or "", content or "") for name, content in pairs],
        timestamp=given.ts,
        topic=given.topic,
        partition=given.partition,
        offset=given.offset,
    )
    return said, None if given.payload is None else given.payload.encode()


def _key(given: bytes) -> bytes | None:
    """A key as it is on the topic: text in quotes is the text itself."""
    if given in (b"", b"null"):
        return None
    found: Any = msgspec.json.decode(given)
    return found.encode() if isinstance(found, str) else given
