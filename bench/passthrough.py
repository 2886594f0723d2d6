"""What Kafka and its client allow: read, write the same bytes, commit, exactly once.

`python -m bench.passthrough BOOTSTRAP FROM TO GROUP EVENTS` is the measure for the processor: the
same client properties, the same transactions, nothing judged and nothing remembered.
"""

import gc
import sys
import time

from confluent_kafka import KafkaError, Message, TopicPartition

from processors.runtime import clients
from processors.runtime.settings import Settings

COMMIT_SECONDS = 0.1
_ID = "passthrough"


def _is_end(message: Message) -> bool:
    """Whether it is no record but the word that a partition was read to its end."""
    error = message.error()
    return error is not None and error.code() == KafkaError._PARTITION_EOF


def pass_through(settings: Settings, source: str, target: str, events: int) -> None:
    """Copy `events` records from the start of one topic to another, and return."""
    consumer = clients.group_consumer(settings, _ID, clients.instance_id(settings, _ID))
    producer = clients.transactional_producer(
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
        messages = [message for message in given if not _is_end(message)]
        if messages and not began:
            producer.begin_transaction()
            began = time.monotonic()
        for message in messages:
            if error := message.error():
                raise RuntimeError(error.str())
            producer.produce(target, message.value(), message.key())
            partition, offset = message.partition(), message.offset()
            assert partition is not None
            assert offset is not None
            following[partition] = offset + 1
        copied += len(messages)
        producer.poll(0)
        if began and (time.monotonic() - began >= COMMIT_SECONDS or copied >= events):
            producer.send_offsets_to_transaction(
                [TopicPartition(source, *place) for place in following.items()],
                consumer.consumer_group_metadata(),
            )
            producer.commit_transaction()
            began = 0.0
            following.clear()
    consumer.close()


def _failed(error: KafkaError | None, _: Message) -> None:
    if error is not None:
        raise RuntimeError(error.str())


if __name__ == "__main__":
    _servers, _source, _target, _group, _events = sys.argv[1:]
    pass_through(
        Settings(kafka_bootstrap_servers=_servers, application_id=_group, ordinal=0),
        _source,
        _target,
        int(_events),
    )
