"""Reads a compacted topic of one partition whole."""

import time

from confluent_kafka import KafkaError, TopicPartition

from processors.runtime import clients
from processors.runtime.restoration import bounds
from processors.runtime.settings import Settings
from processors.runtime.transactions import Fatal

_SECONDS = 60


def read_table(settings: Settings, topic: str) -> dict[bytes, bytes]:
    """The last value of each key, deleted ones left out. `topic` is the cluster's name. Raises
    `Fatal` where it is not read within a minute."""
    reader, admin = clients.reader(settings), clients.admin(settings)
    place = topic, 0
    found: dict[bytes, bytes] = {}
    try:
        has = bounds(admin, [place])[place]
        reader.assign([TopicPartition(*place, has.first)])
        limit = time.monotonic() + _SECONDS
        left = has.end > has.first
        while left:
            if time.monotonic() > limit:
                raise Fatal(f"{topic} was not read within {_SECONDS} s")
            for message in reader.consume(1_000, 0.1):
                error = message.error()
                if error is None:
                    key, value = message.key() or b"", message.value()
                    found.pop(key, None)
                    if value is not None:
                        found[key] = value
                elif error.code() == KafkaError._PARTITION_EOF:
                    left = left and (message.offset() or 0) < has.end
    finally:
        clients.close(reader.close, "a reader")
        clients.close_admin(admin)
    return found
