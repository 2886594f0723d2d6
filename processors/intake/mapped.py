"""What a foreign record becomes, in plain values."""

from typing import Any, final

from msgspec import Struct

from schemas import serde
from schemas.flow import Headers, Output, Refused


@final
class Skipped(Struct, frozen=True):
    """Why nothing came of a record, and nothing is wrong with it.

    `code` is a stable word: `tombstone`, `heartbeat`, `schema_change`, `transaction_metadata`,
    `snapshot`, `when_false` (of the source), `no_entry` (none whose `when` holds), `no_element`
    (`each` over an empty list, or none), `lookup_skipped`. `message` is a sentence without a value.
    """

    code: str
    message: str


# Of outputs: headers, time (epoch ms, 0: when it is produced), and the most bytes of one.
Stamp = tuple[Headers, int, int]
Misses = dict[tuple[str, str], None]  # (look-up, key), in order, each once


class MappedRecord(Struct):
    """What a foreign record became: exactly one of `records` (some), `skipped` and `refused`.

    `records` are to be published in this order, all or none: tool outputs and acks under canonical
    topic names, keyed by `task_id`, with their headers; alert actions, keyed by their alert's key;
    or spans, keyed by their trace. `size` is their bytes. `refused`
    names the source, the member and the path, and never a value: the foreign record becomes a dead
    letter. `lookup_misses` are (lookup, key) of every key that a table lacks, whatever came of it;
    a key is the tool's own value: count it, and tell it to nobody but who runs the source.
    """

    records: list[Output] = []
    size: int = 0
    skipped: Skipped | None = None
    refused: Refused | None = None
    lookup_misses: list[tuple[str, str]] = []

    def add(self, output: Output, of: str, most: int) -> None:
        """Add a record. Raises `Refused` for one of more than `most` bytes; `of` is the place in
        the document that makes it."""
        size = serde.size(output)
        if size > most:
            raise Refused(
                "output_too_large",
                f"{of}: a record for {output.topic} would have {size:,} bytes, the limit is "
                f"{most:,}; leave names out of the context (without), or split the record before "
                "it comes here",
            )
        self.size += size
        self.records.append(output)


@final
class Decoded(Struct):
    """What a value decoder makes of a record: plain JSON data (None, bool, int, float, str, list,
    dict; a Decimal for a number that a float would not spell again).

    `key` is what the root `key` is. `backfill` marks what is no news.
    """

    value: Any
    key: Any
    backfill: bool = False


class Traced(Struct, frozen=True):
    """A path as it was followed: of which member, how it is written, and where it ended.

    `ended` is the part of the path that was followed; all of it where it led to `found`, the kind
    of the value (`text`, `a number`, `nothing`, ...).
    """

    member: str
    path: str
    ended: str
    found: str
