"""A mark in the offsets of each commit, by which the loss of changelog records is noticed.

The group's offsets say which inputs were judged, and the changelog holds the state that followed.
When records of the changelog were deleted, or the topic was created again, the restored state is
older than the offsets. The records that are left do not show it, because compaction removes records
too. So each commit has a mark in the metadata of its offsets, in the same transaction: the id of
the changelog topic, its first offset, and an offset that it had reached. Neither offset ever
decreases by itself, and compaction changes none of the three.

Pure: nothing here knows Kafka.
"""

from typing import NamedTuple

_FORM = "handoff/1"  # the metadata begins with it; metadata of other programs does not
_UNKNOWN = "-"


class ChangelogBounds(NamedTuple):
    """One partition of a changelog: the topic's id (KIP-516; empty when the broker gives none), its
    first offset, and its end or an offset that it had reached."""

    id: str
    first: int
    end: int


class ChangelogMark(NamedTuple):
    """A changelog partition as it was, and the number of partitions of it and of each input."""

    bounds: ChangelogBounds
    partitions: int

    def text(self) -> str:
        """The mark as metadata: about 50 characters. A broker allows 4,096 by default."""
        has = self.bounds
        return f"{_FORM} {has.id or _UNKNOWN} {has.first} {has.end} {self.partitions}"


def read(metadata: str | None) -> ChangelogMark | None:
    """The mark in the metadata of an offset. None when an older version or a tool set the
    offset."""
    form, *parts = (metadata or "").split(" ")
    if form != _FORM or len(parts) != 4:
        return None
    id_, *numbers = parts
    if not all(number.isascii() and number.isdecimal() for number in numbers):
        return None
    first, end, partitions = map(int, numbers)
    return ChangelogMark(ChangelogBounds("" if id_ == _UNKNOWN else id_, first, end), partitions)


def loss(then: ChangelogBounds, now: ChangelogBounds) -> str | None:
    """What a changelog has lost that was as `then`, in words; None when it has lost nothing."""
    if then.end <= then.first:
        return None  # it was empty
    if then.id and now.id and then.id != now.id:
        return "the topic was made anew"
    if now.first > then.first:
        return f"its records before {now.first} were deleted"
    if now.end < then.end:
        return f"it ends at {now.end}, and had reached {then.end}"
    return None
