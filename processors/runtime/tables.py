"""Reads a compacted topic whole, once: the last value of each key."""

import time
from collections.abc import Callable, Iterable

from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from processors.runtime import clients
from processors.runtime.restoration import TRANSIENT_READER_ERRORS, Place, bounds
from processors.runtime.settings import Settings
from processors.runtime.transactions import Fatal, ended_by
from topics.rights import Right, reason

IDLE_SECONDS = 20.0


def read_table(
    settings: Settings,
    admin: AdminClient,
    topic: str,
    partitions: Iterable[int] = (0,),
    *,
    to_stable: bool = False,
    each: Callable[[], None] = lambda: None,
) -> dict[bytes, bytes]:
    """The last value of each key, deleted ones left out. `topic` is the cluster's name; `each` is
    called for each record.

    It is read to the high watermark: what was committed when it was asked for is there, and a
    transaction that is open is waited for. With `to_stable` it is read to where one is open, for
    whoever only looks. Raises `Blocked` where a right or the topic is missing, and `Fatal` where
    nothing comes for `IDLE_SECONDS`.
    """
    found: dict[bytes, bytes] = {}
    reader = clients.reader(settings)
    try:
        has = bounds(admin, [(topic, number) for number in partitions])
        reader.assign([TopicPartition(*place, has[place].first) for place in has])
        left = {place: has[place].end for place in has if has[place].end > has[place].first}
        idle_since = time.monotonic()
        while left:
            # `consume` would wait for the whole time or the whole number; `poll` returns at once.
            first = reader.poll(0.1)
            messages = [] if first is None else [first, *reader.consume(1_000, 0)]
            for message in messages:
                if message.error() is not None:
                    _at_end(message, left, to_stable)
                    continue
                idle_since = time.monotonic()
                each()
                place = message.topic() or "", message.partition() or 0
                if (message.offset() or 0) + 1 >= left.get(place, 0):
                    left.pop(place, None)  # its end need not be waited for
                key, value = message.key() or b"", message.value()
                found.pop(key, None)
                if value is not None:
                    found[key] = value
            if time.monotonic() - idle_since > IDLE_SECONDS:
                raise Fatal(f"{topic} cannot be read: nothing came for {IDLE_SECONDS:.0f} s")
    except KafkaException as error:
        why = reason(error.args[0], Right("READ", "topic", topic))
        raise ended_by(error.args[0], f"{topic} cannot be read: {why}") from None
    finally:
        clients.close(reader.close, "a reader")
    return found


def _at_end(message: Message, left: dict[Place, int], to_stable: bool) -> None:
    """Take in an error of the reader; the end of a partition is one. Raises `Fatal`."""
    error, topic = message.error(), message.topic() or ""
    assert error is not None
    place = topic, message.partition() or 0
    if error.code() == KafkaError._PARTITION_EOF:
        if to_stable or (message.offset() or 0) >= left.get(place, 0):
            left.pop(place, None)
    elif error.code() not in TRANSIENT_READER_ERRORS and not error.retriable():
        why = reason(error, Right("READ", "topic", topic))
        raise ended_by(error, f"{topic} cannot be read: {why}")
