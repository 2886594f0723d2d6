"""The decoder `json`: the value of a record is JSON. The bytes of other formats are named."""

import re
from collections.abc import Callable
from typing import Any, Final

from processors.intake.mapped import Decoded, Skipped
from processors.intake.values import ReadJson, read_json
from schemas.flow import Record, Refused

TOMBSTONE: Final = Skipped("tombstone", "the record has no value")
_JSON_BEGINS: Final = re.compile(rb"[\s\xef\xbb\xbf]*[\[{\"0-9tfn-]")
_OBJECT_OR_LIST: Final = (b"{", b"[")
_WORD_BEGINS: Final = (b"t", b"f", b"n")  # true, false, null
# Magic 0 and a schema id of four bytes before the data (Confluent's wire format).
_PREFIX: Final = 5
_LOOKED_AT: Final = 4096


def decoder(read: ReadJson, *, key: bool) -> Callable[[Record], Decoded | Skipped]:
    """What decodes a record whose value is JSON; without a value it is a tombstone. `read` reads
    the value; without `key` the key is not read. It raises `Refused`."""

    def decode(record: Record) -> Decoded | Skipped:
        data = record.value
        if data is None:
            return TOMBSTONE
        value = (
            read(data, "the value") if data.startswith(_OBJECT_OR_LIST) else read_value(data, read)
        )
        return Decoded(value, read_key(record.key) if key else None)

    return decode


_decode: Final = decoder(read_json, key=True)


def decode(record: Record, _: Any) -> Decoded | Skipped:
    """A record whose value is JSON, all of it. Raises `Refused`."""
    return _decode(record)


def read_value(data: bytes, read: ReadJson = read_json) -> Any:
    """The JSON of a value. Raises `Refused`; it says which other format the bytes may be."""
    if data.startswith(_OBJECT_OR_LIST):
        return read(data, "the value")
    check_format(data)
    return read(data.removeprefix(b"\xef\xbb\xbf"), "the value")


def check_format(data: bytes) -> None:
    """Raise `Refused` for bytes that are of another format than JSON."""
    if data.startswith(_OBJECT_OR_LIST):
        return
    if data[:1] == b"\x00":
        if len(data) > _PREFIX and _JSON_BEGINS.match(data, _PREFIX) and _is_text(data[_PREFIX:]):
            raise Refused(
                "not_decoded",
                "the value is JSON behind the prefix of a schema registry (a zero byte and a "
                "schema id), which this version does not take off; write it without the registry's "
                "serializer, such as Kafka Connect's JsonConverter",
            )
        if len(data) > _PREFIX:
            raise Refused(
                "not_decoded",
                "the value begins with the prefix of a schema registry (a zero byte and a schema "
                "id), so it is most likely Avro or Protobuf, which this version does not decode; "
                "write the topic as JSON",
            )
    if data.startswith(b"Obj\x01"):
        message = "the value is an Avro container file, not JSON; write the topic as JSON"
        raise Refused("not_decoded", message)
    if data.startswith(b"\x1f\x8b"):
        raise Refused(
            "not_decoded",
            "the value is compressed with gzip by who wrote it; let Kafka compress instead "
            "(compression.type of the producer)",
        )
    if not data.strip():
        raise Refused("not_json", "the value is empty; it needs JSON")
    if not _JSON_BEGINS.match(data) and not _is_text(data):
        raise Refused(
            "not_decoded",
            "the value is binary (it may be Avro or Protobuf), not JSON; this version decodes JSON "
            "only: write the topic as JSON",
        )


def read_key(data: bytes | None) -> Any:
    """A key: JSON where it is JSON, else its text; one with the inline schema of Kafka Connect is
    what its payload is."""
    if data is None:
        return None
    if data[:1].isalpha() and data[:1] not in _WORD_BEGINS:  # text, as most keys are
        return data.decode("utf-8", "replace")
    try:
        key = read_json(data, "the key")
    except Refused:
        return data.decode("utf-8", "replace")
    if type(key) is dict and key.keys() == {"schema", "payload"}:
        key = key["payload"]
    return key


def _is_text(data: bytes) -> bool:
    """Whether the first bytes are UTF-8 without control characters, but for white space."""
    try:
        text = data[:_LOOKED_AT].decode()
    except UnicodeDecodeError as error:
        return len(data) > _LOOKED_AT and error.start > _LOOKED_AT - 4  # cut within a character
    return not any(char < " " and not char.isspace() for char in text)
