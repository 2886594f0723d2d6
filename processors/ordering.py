"""The order in which records are judged."""

from collections import defaultdict
from heapq import merge
from operator import attrgetter

from schemas.flow import Record

_timestamp = attrgetter("timestamp")


def in_order(records: list[Record]) -> list[Record]:
    """Records of co-partitioned inputs in the order in which they are judged.

    Within a partition of a topic the order is that of the offsets, always. Of the next records of
    the topics of one partition number, the one with the oldest timestamp comes first, as far as
    they were read together.
    """
    queues: defaultdict[int, defaultdict[str, list[Record]]]
    queues = defaultdict(lambda: defaultdict(list))
    for record in records:
        queues[record.partition][record.topic].append(record)
    ordered: list[Record] = []
    for topics in queues.values():
        # `merge` takes the head with the lowest timestamp, and of equal ones that of the first
        # topic. A queue need not be in the order of its timestamps.
        ordered.extend(merge(*topics.values(), key=_timestamp))
    return ordered
