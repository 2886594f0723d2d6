"""What no core can beat: the records that integrity writes, with a core that costs nothing.

`python -m bench.freecore BOOTSTRAP PREFIX GROUP EVENTS` judges the tool outputs on their topic
first, and keeps in memory what follows from each: its records, and the task's state after it. Then
it reads them again like the pass-through and writes that, with one changelog record a changed task
and transaction. Left out are the few records of the feed, which a transaction sums up.
"""

import sys
from collections import defaultdict
from typing import Any, NamedTuple

from confluent_kafka import Message, Producer, TopicPartition

from bench.passthrough import copy, is_end, place_of
from console.kafka import connect, read_table
from processors.driver import Driver
from processors.integrity.processor import INTEGRITY
from processors.runtime import clients
from processors.runtime.settings import Settings
from schemas.flow import Record
from topics.catalogue import physical

_INPUT = "handoff.tool-outputs"


class Following(NamedTuple):
    """What follows from one input: records (physical topic, key, value, headers), and its task's
    state after it."""

    records: list[tuple[str, bytes | None, bytes | None, Any]]
    key: bytes
    state: bytes | None


def judged(settings: Settings, events: int) -> dict[tuple[int, int], Following]:
    """What follows from each of the inputs, by partition and offset."""
    cluster = connect(settings)
    documents = {topic: read_table(cluster, topic) for topic in INTEGRITY.tables}
    driver: Driver[Any] = Driver(INTEGRITY, INTEGRITY.build_tables(documents, None))
    for number in range(settings.partitions):
        driver.assign(number, {})
    consumer = clients.reader(settings)
    source = physical(_INPUT, settings.topic_prefix)
    consumer.assign([TopicPartition(source, n, 0) for n in range(settings.partitions)])
    found: dict[tuple[int, int], Following] = {}
    while len(found) < events:
        for message in consumer.consume(1_000, 0.1):
            if not is_end(message):
                place = place_of(message)
                found[place] = _judged(driver, settings.topic_prefix, message, *place)
    consumer.close()
    return found


def _judged(
    driver: Driver[Any], prefix: str, message: Message, partition: int, offset: int
) -> Following:
    at = message.timestamp()[1]
    given = Record(_INPUT, partition, offset, message.key(), message.value(), at)
    records = [
        (physical(output.topic, prefix), output.key, output.value, output.headers)
        for output in driver.step(given, at)
    ]
    ((number, key, state), *_) = changes = list(driver.changelog())
    assert number == partition
    driver.merge(changes)
    return Following(records, key.encode(), state)


def main() -> None:
    """Judge, then write what is known."""
    servers, prefix, group, events = sys.argv[1:]
    settings = Settings(
        kafka_bootstrap_servers=servers, topic_prefix=prefix, application_id=group, ordinal=0
    )
    known = judged(settings, int(events))
    changelog = physical(INTEGRITY.changelog, prefix)
    changed: defaultdict[int, dict[bytes, bytes | None]] = defaultdict(dict)

    def write(producer: Producer, message: Message) -> None:
        partition, offset = place_of(message)
        following = known[partition, offset]
        for topic, key, value, headers in following.records:
            producer.produce(topic, value, key, headers=headers)
        changed[partition][following.key] = following.state

    def settle(producer: Producer) -> None:
        for partition, states in changed.items():
            for key, state in states.items():
                producer.produce(changelog, state, key, partition)
            states.clear()

    copy(settings, physical(_INPUT, prefix), int(events), write, settle)


if __name__ == "__main__":
    main()
