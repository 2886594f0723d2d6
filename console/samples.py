"""Recorded foreign records, as `sources test` and `sources draft` read them: one JSON value a line.

A line is the value of a record; or, to say more of it, an object of `value` and any of `key`,
`headers`, `timestamp` (epoch ms), `topic`, `partition`, `offset`.
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from console.errors import BadInputError
from console.lines import raw_lines
from schemas.flow import Headers, Record

_MEMBERS: Final = frozenset(
    ("value", "key", "headers", "timestamp", "topic", "partition", "offset")
)


class _Envelope(msgspec.Struct, forbid_unknown_fields=True):
    value: msgspec.Raw
    key: msgspec.Raw = msgspec.Raw()
    headers: dict[str, str] | list[tuple[str, str]] = {}
    timestamp: int | None = None
    topic: str | None = None
    partition: int = 0
    offset: int | None = None


_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_envelope = msgspec.json.Decoder(_Envelope).decode


def samples(path: str, topic: str, now: int) -> Iterator[tuple[int, Record]]:
    """The records of the file at `path` (`-`: standard input; plain or gzip), with the numbers of
    their lines. What a line does not say: `topic`, `now` (epoch ms) as the timestamp, and the
    number of the record before it as its offset. Raises `BadInputError`.
    """
    for offset, (number, text) in enumerate(raw_lines(path)):
        if (given := _said(path, number, text)) is None:
            yield number, Record(topic, 0, offset, key=None, value=text, timestamp=now)
            continue
        pairs = given.headers.items() if isinstance(given.headers, dict) else given.headers
        headers: Headers = [(name, content.encode()) for name, content in pairs]
        value = bytes(given.value)
        yield (
            number,
            Record(
                given.topic or topic,
                given.partition,
                offset if given.offset is None else given.offset,
                key=_key(bytes(given.key)),
                value=None if value == b"null" else value,
                timestamp=now if given.timestamp is None else given.timestamp,
                headers=headers,
            ),
        )


def _said(path: str, number: int, text: bytes) -> _Envelope | None:
    try:
        names = _members(text).keys()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None  # the value of a record, whatever it is: the decoder says what is wrong
    if "value" not in names or not names <= _MEMBERS:
        return None
    try:
        return _envelope(text)
    except msgspec.ValidationError as error:
        raise BadInputError(
            f"{path}, line {number}: has the members of a record, and not their shape: {error}"
        ) from None


def _key(given: bytes) -> bytes | None:
    """A key as it is on the topic: text in quotes is the text itself."""
    if given in (b"", b"null"):
        return None
    found: Any = msgspec.json.decode(given)
    return found.encode() if isinstance(found, str) else given
