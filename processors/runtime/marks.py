"""What a commit says of the changelog, so that nobody goes on with less of it unawares.

The group's offsets say which inputs were judged, and the changelog holds what came of them. Where
records of it were deleted, or the topic was made anew, a restored state is less than the offsets
say. What is there does not tell: compaction takes records away, too. So each commit carries a mark
in the metadata of its offsets, in the same transaction: which topic the changelog was, where it
began, and an offset that it had reached. None of these ever goes back by itself, and compaction
leaves them all as they are.

Pure: nothing here knows Kafka.
"""

from typing import NamedTuple

_FORM = "handoff/1"  # so does the metadata begin; another program's is none of ours
_UNKNOWN = "-"


class Log(NamedTuple):
    """One partition of a changelog: the topic's id (KIP-516; empty where the broker tells none),
    its first offset, and its end, or one that it had reached."""

    id: str
    first: int
    end: int


class Mark(NamedTuple):
    """A changelog partition as it was, and how many partitions it and the inputs had."""

    log: Log
    partitions: int

    def text(self) -> str:
        """As metadata: about 50 characters, of the 4,096 that a broker allows by default."""
        return (
            f"{_FORM} {self.log.id or _UNKNOWN} {self.log.first} {self.log.end} {self.partitions}"
        )


def read(metadata: str | None) -> Mark | None:
    """The mark in the metadata of an offset; None where an older version or a tool set it."""
    form, *parts = (metadata or "").split(" ")
    if form != _FORM or len(parts) != 4:
        return None
    id_, *numbers = parts
    if not all(number.isascii() and number.isdecimal() for number in numbers):
        return None
    first, end, partitions = map(int, numbers)
    return Mark(Log("" if id_ == _UNKNOWN else id_, first, end), partitions)


def lacking(then: Log, now: Log) -> str | None:
    """What is wrong with a changelog that was as `then`; None where nothing of it is missing."""
    if then.end <= then.first:
        return None  # it held nothing
    if then.id and now.id and then.id != now.id:
        return "the topic was made anew"
    if now.first > then.first:
        return f"its records before {now.first} were deleted"
    if now.end < then.end:
        return f"it ends at {now.end}, and had reached {then.end}"
    return None
