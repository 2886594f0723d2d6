"""What Kafka and its client allow: read, write, commit, exactly once, and nothing is judged.

`python -m bench.passthrough BOOTSTRAP FROM TO GROUP EVENTS` writes the same bytes, and is the
measure for the processor: the same client properties, the same transactions.
"""

import gc
import sys
import time
from collections.abc import Callable

from confluent_kafka import KafkaError, Message, Producer, TopicPartition

from processors.runtime import clients
from processors.runtime.settings import Settings

COMMIT_SECONDS = 0.1
_ID = "passthrough"


def copy(
    settings: Settings,
    source: str,
    events: int,
    write: Callable[[Producer, Message], None],
    settle: Callable[[Producer], None] = lambda _: None,
) -> None:
    """Read `events` records from the start of a topic, and return. `write` produces what follows
    from one, `settle` what belongs to a transaction before its commit."""
    consumer = clients.group_consumer(settings, _ID, clients.instance_id(settings, _ID))
    producer, _ = clients.transactional_producer(
        settings, clients.instance_id(settings, _ID), _failed, report=False
    )
    producer.init_transactions()
    # The processor's consumer never guesses where to start, so neither does this one.
    consumer.subscribe(
        [source],
        on_assign=lambda it, places: it.assign(
            [TopicPartition(place.topic, place.partition, 0) for place in places]
        ),
    )
    gc.disable()
    copied, began, following = 0, 0.0, dict[int, int]()
    while copied < events:
        given = consumer.consume(1_000, 0 if began else 0.05)
        messages = [message for message in given if not is_end(message)]
        if messages and not began:
            producer.begin_transaction()
            began = time.monotonic()
        for message in messages:
            partition, offset = place_of(message)
            write(producer, message)
            following[partition] = offset + 1
        copied += len(messages)
        producer.poll(0)
        if began and (time.monotonic() - began >= COMMIT_SECONDS or copied >= events):
            settle(producer)
            producer.send_offsets_to_transaction(
                [TopicPartition(source, *place) for place in following.items()],
                consumer.consumer_group_metadata(),
            )
            producer.commit_transaction()
            began = 0.0
            following.clear()
    consumer.close()


def is_end(message: Message) -> bool:
    """Whether it is no record but the word that a partition was read to its end."""
    error = message.error()
    return error is not None and error.code() == KafkaError._PARTITION_EOF


def place_of(message: Message) -> tuple[int, int]:
    """Partition and offset of a record. Raises `RuntimeError` for what is an error."""
    if error := message.error():
        raise RuntimeError(error.str())
    partition, offset = message.partition(), message.offset()
    assert partition is not None
    assert offset is not None
    return partition, offset


def _failed(error: KafkaError | None, _: Message) -> None:
    if error is not None:
        raise RuntimeError(error.str())


def main() -> None:
    """Copy one topic to another."""
    servers, source, target, group, events = sys.argv[1:]

    def write(producer: Producer, message: Message) -> None:
        producer.produce(target, message.value(), message.key())

    settings = Settings(kafka_bootstrap_servers=servers, application_id=group, ordinal=0)
    copy(settings, source, int(events), write)


if __name__ == "__main__":
    main()
