"""What would have to change on a cluster: a pure comparison of topics wanted and topics found.

A plan never deletes: no topic, no partition, and no data by a shorter retention or a smaller limit
than somebody has set.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from topics.catalogue import Spread, Topic
from topics.rights import Right, missing

# Settings where a higher value than needed is somebody's choice, and is kept; -1 means no limit.
AT_LEAST = frozenset({"retention.ms", "delete.retention.ms", "max.message.bytes"})


class FoundTopic(Struct, frozen=True):
    """A topic on the cluster: its number of partitions and its settings in force."""

    partitions: int
    config: dict[str, str]


class ClusterTopics(Struct, frozen=True):
    """The topics that a cluster has, by their names there. `hidden` are names of which this client
    may not see whether they exist."""

    topics: dict[str, FoundTopic]
    hidden: frozenset[str] = frozenset()


class Create(Struct, frozen=True, tag="create"):
    """Make a topic that is not there."""

    topic: str
    partitions: int
    config: dict[str, str]

    def __str__(self) -> str:
        return f"create {self.topic} with {_partitions(self.partitions)}"


class SetConfig(Struct, frozen=True, tag="config"):
    """Change settings of a topic; `before` is None for a setting that the cluster did not have."""

    topic: str
    before: dict[str, str | None]
    after: dict[str, str]

    def __str__(self) -> str:
        parts = [f"{key} {self.before[key]} -> {value}" for key, value in self.after.items()]
        return f"set on {self.topic}: " + ", ".join(parts)


class AddPartitions(Struct, frozen=True, tag="partitions"):
    """Give a topic more partitions; from then on a key may be in another partition."""

    topic: str
    before: int
    after: int

    def __str__(self) -> str:
        return f"add partitions to {self.topic}: {self.before} -> {self.after}"


class Refusal(Struct, frozen=True, tag="refusal"):
    """A difference that cannot be settled by changing the cluster; `reason` is a sentence."""

    topic: str
    reason: str

    def __str__(self) -> str:
        return self.reason


Change = Create | SetConfig | AddPartitions | Refusal


def plan(wanted: Sequence[Topic], found: ClusterTopics) -> list[Change]:
    """The changes that make `found` as `wanted`, in the order of `wanted`; none when it is.

    When some topics may not be seen, the first change is a refusal that names them.
    """
    changes: list[Change] = []
    hidden = [topic.physical for topic in wanted if topic.physical in found.hidden]
    if hidden:
        why = missing(Right("DESCRIBE", "topic", name) for name in hidden)
        changes.append(Refusal(hidden[0], f"what exists cannot be seen: {why}"))
    for topic in wanted:
        there = found.topics.get(topic.physical)
        if topic.physical in found.hidden:
            continue
        if there is None:
            changes.append(Create(topic.physical, topic.partitions, topic.config))
        else:
            changes += _partition_change(topic, there)
            changes += _config_change(topic, there)
    return changes


def _partition_change(topic: Topic, there: FoundTopic) -> list[Change]:
    has, needs = there.partitions, topic.partitions
    if has == needs or not topic.spread.fixed:
        # Other topics may have more partitions than wanted; a queue keeps the number that it has.
        return (
            [AddPartitions(topic.physical, has, needs)] if has < needs and not topic.queue else []
        )
    if has < needs:
        why = "more would move tasks away from their state"
    else:
        why = "Kafka cannot take partitions away"
    # Of the others the catalogue says it, and nobody can set it.
    by_us = topic.spread in (Spread.TASK, Spread.TRACE)
    wanted = f"{needs} are wanted (HANDOFF_PARTITIONS)" if by_us else f"{needs} are wanted"
    keep = f"Set HANDOFF_PARTITIONS={has}" if by_us else f"Keep {has}"
    return [
        Refusal(
            topic.physical,
            f"{topic.physical} has {_partitions(has)} and {wanted}: {why}. "
            f"{keep}, or start with another topic prefix.",
        )
    ]


def _config_change(topic: Topic, there: FoundTopic) -> list[Change]:
    # An existing queue may be the receiver's own topic: only its limit of size must fit.
    wanted = (
        {key: topic.config[key] for key in ("max.message.bytes",)} if topic.queue else topic.config
    )
    after = {
        key: value
        for key, value in wanted.items()
        if not _satisfied(key, value, there.config.get(key))
    }
    if not after:
        return []
    return [SetConfig(topic.physical, {key: there.config.get(key) for key in after}, after)]


def _satisfied(key: str, wanted: str, found: str | None) -> bool:
    if found is None:
        return False
    if key in AT_LEAST:
        return int(found) == -1 or int(found) >= int(wanted)
    return found == wanted


def _partitions(count: int) -> str:
    return "1 partition" if count == 1 else f"{count} partitions"
