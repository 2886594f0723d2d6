"""In which order records are judged."""

from collections import defaultdict
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
