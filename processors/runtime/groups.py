"""What Kafka tells of other people's consumer groups: how many members, how far behind.

Classic groups and those of KIP-848 alike. Topics here are the cluster's names.
"""

from collections import defaultdict
from collections.abc import Iterable

from confluent_kafka import (
    ConsumerGroupState,
    ConsumerGroupTopicPartitions,
    IsolationLevel,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

from processors.runtime.restoration import Place

CALL_SECONDS = 4.0
# A future that is still silent after the request's own time-out never speaks.
_WAIT_SECONDS = 2 * CALL_SECONDS
_ABSENT = (ConsumerGroupState.DEAD, ConsumerGroupState.EMPTY)


def members(admin: AdminClient, groups: Iterable[str]) -> dict[str, int | Exception]:
    """The number of members of each group (at least one group), or why nobody can tell."""
    found: dict[str, int | Exception] = {}
    asked = admin.describe_consumer_groups(sorted(groups), request_timeout=CALL_SECONDS)
    for group, answer in asked.items():
        try:
            described = answer.result(_WAIT_SECONDS)
        except (KafkaException, TimeoutError) as error:
            found[group] = error
        else:
            found[group] = 0 if described.state in _ABSENT else len(described.members)
    return found


def lags(admin: AdminClient, pairs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """How many offsets each (group, topic) is behind the end that a read_committed reader sees.

    A group that has no offset in the topic is left out; where it has some, a partition without one
    counts from its first record. In a topic that is written in transactions the end is one offset
    past the last record, for the transaction's marker. Raises `KafkaException` or `TimeoutError`.
    """
    committed = _committed(admin, pairs)
    if not committed:
        return {}
    there = admin.list_topics(timeout=CALL_SECONDS).topics
    partitions = {
        topic: sorted(there[topic].partitions) for _, topic in committed if topic in there
    }
    every = {(topic, number) for topic, numbers in partitions.items() for number in numbers}
    ends = _offsets(admin, every, OffsetSpec.latest())  # type: ignore[no-untyped-call]
    unread = {
        (topic, number)
        for (_, topic), offsets in committed.items()
        for number in partitions.get(topic, ())
        if number not in offsets
    }
    firsts = _offsets(admin, unread, OffsetSpec.earliest())  # type: ignore[no-untyped-call]
    found: dict[tuple[str, str], int] = defaultdict(int)
    for (group, topic), offsets in committed.items():
        for number in partitions.get(topic, ()):
            place = (topic, number)
            begin = offsets[number] if number in offsets else firsts[place]
            found[group, topic] += max(0, ends[place] - begin)
    return dict(found)


def _committed(
    admin: AdminClient, pairs: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], dict[int, int]]:
    """{(group, topic): {partition: offset}} of those that have an offset there."""
    asked = {
        pair: admin.list_consumer_group_offsets(
            [ConsumerGroupTopicPartitions(pair[0])], request_timeout=CALL_SECONDS
        )[pair[0]]
        for pair in pairs
    }
    found = {}
    for (group, topic), answer in asked.items():
        offsets = {
            place.partition: place.offset
            for place in answer.result(_WAIT_SECONDS).topic_partitions
            if place.topic == topic and place.offset >= 0
        }
        if offsets:
            found[group, topic] = offsets
    return found


def _offsets(admin: AdminClient, places: set[Place], spec: OffsetSpec) -> dict[Place, int]:
    if not places:
        return {}
    asked = admin.list_offsets(
        {TopicPartition(*place): spec for place in places},
        isolation_level=IsolationLevel.READ_COMMITTED,
        request_timeout=CALL_SECONDS,
    )
    return {
        (place.topic, place.partition): answer.result(_WAIT_SECONDS).offset
        for place, answer in asked.items()
    }
