"""Reading a cluster's topics, and carrying a plan out on it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)

from topics.catalogue import TopicError
from topics.plan import AddPartitions, Change, Create, Found, FoundTopic, Refusal, SetConfig

REACH_SECONDS = 5.0  # until a cluster counts as out of reach
CARRY_OUT_SECONDS = 30.0  # for one request, and until new topics can be seen


class ClusterUnreachable(TopicError):
    """No broker answered in time."""


def read_cluster(config: Mapping[str, Any], names: Sequence[str]) -> Found:
    """Those of the topics `names` (as on the cluster) that exist, with their settings in force.

    `config` is librdkafka's. Raises ClusterUnreachable when no broker answers, and TopicError when
    the cluster does not tell.
    """
    admin = _client(config)
    counts = {name: len(leaders) for name, leaders in _leaders(admin, config, names).items()}
    if not counts:
        return Found({})
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in counts]
    answers = admin.describe_configs(resources, request_timeout=CARRY_OUT_SECONDS)
    topics = {}
    for resource, answer in answers.items():
        entries = _result(answer, f"The settings of {resource.name} cannot be read")
        values = {entry.name: entry.value for entry in entries.values() if entry.value is not None}
        topics[resource.name] = FoundTopic(counts[resource.name], values)
    return Found(topics)


def apply(config: Mapping[str, Any], changes: Sequence[Change]) -> None:
    """Carry out a plan, and wait until every topic of it can be used.

    Nothing is done when the plan holds a refusal: its reasons are raised as one TopicError. A topic
    that somebody else made in the meantime is left as it is. Raises ClusterUnreachable or
    TopicError; what was done until then stays, and applying a new plan goes on from there.
    """
    if refused := [change.reason for change in changes if isinstance(change, Refusal)]:
        raise TopicError("\n".join(refused))
    if not changes:
        return
    admin = _client(config)
    _leaders(admin, config, [])  # out of reach is a better message than a request that timed out
    _create(admin, [change for change in changes if isinstance(change, Create)])
    _add_partitions(admin, [change for change in changes if isinstance(change, AddPartitions)])
    _set_config(admin, [change for change in changes if isinstance(change, SetConfig)])
    counts = {change.topic: change.partitions for change in changes if isinstance(change, Create)}
    counts |= {
        change.topic: change.after for change in changes if isinstance(change, AddPartitions)
    }
    _wait_until_usable(admin, config, counts)


def _create(admin: AdminClient, changes: Iterable[Create]) -> None:
    # Without a replication factor: the cluster's default holds.
    new = [NewTopic(each.topic, each.partitions, config=each.config) for each in changes]
    if not new:
        return
    for name, answer in admin.create_topics(new, operation_timeout=CARRY_OUT_SECONDS).items():
        _result(answer, f"{name} cannot be created", unless=KafkaError.TOPIC_ALREADY_EXISTS)


def _add_partitions(admin: AdminClient, changes: Iterable[AddPartitions]) -> None:
    new = [NewPartitions(each.topic, each.after) for each in changes]
    if not new:
        return
    for name, answer in admin.create_partitions(new, operation_timeout=CARRY_OUT_SECONDS).items():
        _result(answer, f"{name} cannot be given more partitions")


def _set_config(admin: AdminClient, changes: Iterable[SetConfig]) -> None:
    resources = [
        ConfigResource(
            ResourceType.TOPIC,
            each.topic,
            incremental_configs=[
                ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
                for key, value in each.after.items()
            ],
        )
        for each in changes
    ]
    if not resources:
        return
    answers = admin.incremental_alter_configs(resources, request_timeout=CARRY_OUT_SECONDS)
    for resource, answer in answers.items():
        _result(answer, f"The settings of {resource.name} cannot be changed")


def _wait_until_usable(
    admin: AdminClient, config: Mapping[str, Any], counts: Mapping[str, int]
) -> None:
    """Until every topic shows that many partitions, each with a leader."""
    limit = time.monotonic() + CARRY_OUT_SECONDS
    while True:
        seen = _leaders(admin, config, list(counts))
        late = [
            name
            for name, count in counts.items()
            if sum(leader >= 0 for leader in seen.get(name, [])) < count
        ]
        if not late:
            return
        if time.monotonic() > limit:
            raise TopicError(
                f"{', '.join(late)} did not become usable within {CARRY_OUT_SECONDS:.0f} s: "
                "look at the cluster's brokers, then apply again."
            )
        time.sleep(0.05)


def _client(config: Mapping[str, Any]) -> AdminClient:
    # Our own sentences say what is wrong; librdkafka would print a line at each attempt.
    try:
        return AdminClient({"log_level": 0, **config})
    except KafkaException as error:
        raise TopicError(f"The Kafka settings cannot be used: {_text(error)}.") from error


def _leaders(
    admin: AdminClient, config: Mapping[str, Any], names: Sequence[str]
) -> dict[str, list[int]]:
    """For each of the topics that exist, the broker that leads each partition (-1: none yet).

    Asks for all topics: asking for one by name can create it on some clusters.
    """
    try:
        topics = admin.list_topics(timeout=REACH_SECONDS).topics
    except KafkaException as error:
        servers = config.get("bootstrap.servers", "")
        silent = error.args[0].code() == KafkaError._TRANSPORT
        why = "" if silent else f" ({_text(error)})"
        raise ClusterUnreachable(
            f"No Kafka broker answers at {servers}{why}: start one, or set "
            "HANDOFF_KAFKA_BOOTSTRAP_SERVERS to one that runs."
        ) from error
    return {
        name: [partition.leader for partition in topics[name].partitions.values()]
        for name in names
        if name in topics and topics[name].error is None
    }


def _result(answer: Future[Any], what: str, unless: int | None = None) -> Any:
    try:
        return answer.result()
    except KafkaException as error:
        if unless is not None and error.args[0].code() == unless:
            return None
        raise TopicError(f"{what}: {_text(error)}") from error


def _text(error: KafkaException) -> str:
    return str(error.args[0].str())
