"""In which order records are judged, and how many of them at once."""

from collections.abc import Iterator

from schemas.flow import Record


def in_order(records: list[Record]) -> list[Record]:
    """Records of co-partitioned inputs as they are to be judged.

    Offset order within each partition of each topic, always; between the topics of one partition
    number the head with the older timestamp goes first, as far as they were read together.
    """
    queues: dict[int, dict[str, list[Record]]] = {}
    for record in records:
        queues.setdefault(record.partition, {}).setdefault(record.topic, []).append(record)
    ordered: list[Record] = []
    for topics in queues.values():
        ordered.extend(_merged([iter(queue) for queue in topics.values()]))
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


def _merged(queues: list[Iterator[Record]]) -> Iterator[Record]:
    heads = [(next(queue), queue) for queue in queues]
    while heads:
        place = min(range(len(heads)), key=lambda index: heads[index][0].timestamp)
        head, queue = heads[place]
        yield head
        following = next(queue, None)
        if following is None:
            del heads[place]
        else:
            heads[place] = (following, queue)
