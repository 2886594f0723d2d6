"""A mark in the offsets of each commit, by which the loss of changelog records is noticed.

The group's offsets say which inputs were judged, and the changelog holds the state that followed.
When records of the changelog were deleted, or the topic was created again, the restored state is
older than the offsets. The records that are left do not show it, because compaction removes records
too. So each commit has a mark in the metadata of its offsets, in the same transaction: the id of
the changelog topic, its first offset, and an offset that it had reached. Neither offset ever
decreases by itself, and compaction changes none of the three.

Pure: nothing here knows Kafka.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

# The metadata begins with it; metadata of other programs does not. The first form had no format.
_FORMS = ("handoff/1", "handoff/2")
_UNKNOWN = "-"
REBUILD = "handoff run --rebuild"
_NAMED = 5  # partitions that one sentence lists


class ChangelogBounds(NamedTuple):
    """One partition of a changelog: the topic's id (KIP-516; empty when the broker gives none), its
    first offset, and its end or an offset that it had reached."""

    id: str
    first: int
    end: int


class ChangelogMark(NamedTuple):
    """A changelog partition as it was, the number of partitions of it and of each input, and the
    format in which its states are written (`processors.processor`)."""

    bounds: ChangelogBounds
    partitions: int
    format: int

    def text(self) -> str:
        """The mark as metadata: about 50 characters. A broker allows 4,096 by default."""
        id_, first, end = self.bounds
        return f"{_FORMS[-1]} {id_ or _UNKNOWN} {first} {end} {self.partitions} {self.format}"


def read(metadata: str | None) -> ChangelogMark | None:
    """The mark in the metadata of an offset. None when an older version or a tool set the
    offset."""
    form, *parts = (metadata or "").split(" ")
    if form == _FORMS[0]:
        parts.append("0")
    if form not in _FORMS or len(parts) != 5:
        return None
    id_, *numbers = parts
    if not all(number.isascii() and number.isdecimal() for number in numbers):
        return None
    first, end, partitions, format_ = map(int, numbers)
    bounds = ChangelogBounds("" if id_ == _UNKNOWN else id_, first, end)
    return ChangelogMark(bounds, partitions, format_)


def newest(offsets: Iterable[tuple[int, str | None]]) -> dict[int, ChangelogMark]:
    """Of the (partition, metadata) of several inputs the mark that reached furthest, by partition.
    A partition without a mark is left out."""
    found: dict[int, ChangelogMark] = {}
    for number, metadata in offsets:
        mark = read(metadata)
        if mark is not None:
            before = found.get(number, mark)
            found[number] = max(before, mark, key=lambda mark: mark.bounds.end)
    return found


def loss(then: ChangelogBounds, now: ChangelogBounds) -> str | None:
    """What a changelog has lost that was as `then`, in words; None when it has lost nothing."""
    if not held(then):
        return None
    if then.id and now.id and then.id != now.id:
        return "the changelog was made anew"
    if now.first > then.first:
        return f"the changelog's records before {now.first} were deleted"
    if now.end < then.end:
        return f"the changelog ends at {now.end} and had reached {then.end}"
    return None


def loss_since(mark: ChangelogMark, now: ChangelogBounds, wanted: int) -> str | None:
    """As `loss`, since a mark. States in another format than is `wanted` count as lost."""
    if mark.format != wanted and held(mark.bounds):
        return f"its states are in format {mark.format}, and this version reads format {wanted}"
    return loss(mark.bounds, now)


def held(bounds: ChangelogBounds) -> bool:
    """Whether a changelog had anything to lose."""
    return bounds.end > bounds.first


def lost(changelog: str, group: str, lacks: Mapping[int, str]) -> str:
    """What a changelog has lost, in a sentence. `lacks` gives the reason by partition, at least
    one. What to do about it is left to the caller."""
    numbers = sorted(lacks)
    named = ", ".join(map(str, numbers[:_NAMED]))
    if len(numbers) > _NAMED:
        named += f" and {len(numbers) - _NAMED} more"
    return (
        f"{changelog} holds less than the offsets of {group} say "
        f"(partition {named}: {lacks[numbers[0]]})"
    )
