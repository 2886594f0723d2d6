"""In which order records are judged, and how many of them at once."""

from collections import defaultdict
from collections.abc import Iterator
from heapq import merge
from operator import attrgetter

from schemas.flow import Record

_timestamp = attrgetter("timestamp")


def in_order(records: list[Record]) -> list[Record]:
    """Records of co-partitioned inputs as they are to be judged.

    Offset order within each partition of each topic, always; between the topics of one partition
    number the head with the older timestamp goes first, as far as they were read together.
    """
    queues: defaultdict[int, defaultdict[str, list[Record]]]
    queues = defaultdict(lambda: defaultdict(list))
    for record in records:
        queues[record.partition][record.topic].append(record)
    ordered: list[Record] = []
    for topics in queues.values():
        # Of the heads it takes the lowest, and of equal ones the first topic's: no queue has to be
        # in the order of its timestamps.
        ordered.extend(merge(*topics.values(), key=_timestamp))
    return ordered


def in_parts(records: list[Record], limit: int) -> Iterator[list[Record]]:
    """The records in order, in parts whose values have at most `limit` bytes, or that are one."""
    part: list[Record] = []
    size = 0
    for record in records:
        length = len(record.value or b"")
        if part and size + length > limit:
            yield part
            part, size = [], 0
        part.append(record)
        size += length
    if part:
        yield part
