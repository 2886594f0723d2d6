"""Reads the topics of a cluster, and carries out a plan on it."""

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

from topics.catalogue import TopicError, TopicRightError
from topics.look import look
from topics.plan import AddPartitions, Change, ClusterTopics, Create, FoundTopic, Refusal, SetConfig
from topics.rights import Right, is_refusal, missing, reason

LOOK_SECONDS = 10.0
CARRY_OUT_SECONDS = 30.0  # for one request, and until new topics can be seen


def read_cluster(admin: AdminClient, names: Sequence[str]) -> ClusterTopics:
    """Those of the topics `names` (as on the cluster) that exist, with their settings in force.

    Raises TopicError when a setting cannot be read, and `KafkaException` without an answer.
    """
    seen = look(admin, names, LOOK_SECONDS)
    if not seen.topics:
        return ClusterTopics({}, seen.hidden)
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in seen.topics]
    answers = admin.describe_configs(resources, request_timeout=CARRY_OUT_SECONDS)
    results = _results(
        {resource.name: answer for resource, answer in answers.items()},
        "The settings of {} cannot be read",
        "DESCRIBE_CONFIGS",
    )
    topics = {}
    for name, entries in results.items():
        values = {entry.name: entry.value for entry in entries.values() if entry.value is not None}
        topics[name] = FoundTopic(len(seen.topics[name].leaders), values)
    return ClusterTopics(topics, seen.hidden)


def apply(admin: AdminClient, changes: Sequence[Change]) -> None:
    """Carry out a plan, and wait until every topic of it can be used and its settings are in force.

    When the plan has a refusal, nothing is done, and its reasons are raised as one TopicError. A
    topic that somebody else has created in the meantime is left as it is. Raises TopicError, or
    `KafkaException` without an answer. What was done before the error stays; a new plan goes on
    from there.
    """
    if refused := [change.reason for change in changes if isinstance(change, Refusal)]:
        raise TopicError("\n".join(refused))
    _create(admin, [change for change in changes if isinstance(change, Create)])
    _add_partitions(admin, [change for change in changes if isinstance(change, AddPartitions)])
    settings = [change for change in changes if isinstance(change, SetConfig)]
    _set_config(admin, settings)
    counts = {change.topic: change.partitions for change in changes if isinstance(change, Create)}
    counts |= {
        change.topic: change.after for change in changes if isinstance(change, AddPartitions)
    }
    _wait_until_usable(admin, counts)
    _wait_until_set(admin, {change.topic: change.after for change in settings})


def _create(admin: AdminClient, changes: Iterable[Create]) -> None:
    # Without a replication factor, so that the cluster's default is used.
    new = [NewTopic(each.topic, each.partitions, config=each.config) for each in changes]
    if not new:
        return
    answers = admin.create_topics(new, operation_timeout=CARRY_OUT_SECONDS)
    _results(answers, "{} cannot be created", "CREATE", unless=KafkaError.TOPIC_ALREADY_EXISTS)


def _add_partitions(admin: AdminClient, changes: Iterable[AddPartitions]) -> None:
    new = [NewPartitions(each.topic, each.after) for each in changes]
    if not new:
        return
    answers = admin.create_partitions(new, operation_timeout=CARRY_OUT_SECONDS)
    _results(answers, "{} cannot be given more partitions", "ALTER")


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
    _results(
        {resource.name: answer for resource, answer in answers.items()},
        "The settings of {} cannot be changed",
        "ALTER_CONFIGS",
    )


def _wait_until_usable(admin: AdminClient, counts: Mapping[str, int]) -> None:
    """Wait until every topic has that many partitions, each with a leader."""
    limit = time.monotonic() + CARRY_OUT_SECONDS
    while True:
        seen = look(admin, counts, CARRY_OUT_SECONDS).topics
        late = [
            name
            for name, count in counts.items()
            if name not in seen
            or sum(leader >= 0 for leader in seen[name].leaders.values()) < count
        ]
        if not late:
            return
        if time.monotonic() > limit:
            raise TopicError(
                f"{', '.join(late)} did not become usable within {CARRY_OUT_SECONDS:.0f} s: "
                "look at the cluster's brokers, then apply again."
            )
        time.sleep(0.05)


def _wait_until_set(admin: AdminClient, settings: Mapping[str, Mapping[str, str]]) -> None:
    """Wait until the broker that is asked has heard of the settings of every topic."""
    limit = time.monotonic() + CARRY_OUT_SECONDS
    while True:
        seen = read_cluster(admin, list(settings)).topics
        late = [
            name
            for name, wanted in settings.items()
            if name not in seen or not wanted.items() <= seen[name].config.items()
        ]
        if not late:
            return
        if time.monotonic() > limit:
            raise TopicError(
                f"the settings of {', '.join(late)} were accepted, and are not in force after "
                f"{CARRY_OUT_SECONDS:.0f} s: run `handoff topics plan` to see what differs."
            )
        time.sleep(0.05)


def _results(
    answers: Mapping[str, Future[Any]], what: str, operation: str, unless: int | None = None
) -> dict[str, Any]:
    """The answer for each topic. Raises TopicError when one failed, with all topics for which the
    right to the operation is missing. `what` has a place for the name of a topic. An error with the
    code `unless` is passed over."""
    results: dict[str, Any] = {}
    lacking: list[Right] = []
    for name, answer in answers.items():
        try:
            results[name] = answer.result()
        except KafkaException as error:
            cause = error.args[0]
            right = Right(operation, "topic", name)
            if is_refusal(cause):
                lacking.append(right)
            elif cause.code() != unless:
                raise TopicError(f"{what.format(name)}: {reason(cause, right)}") from error
    if lacking:
        raise TopicRightError(f"{what.format(lacking[0].name)}: {missing(lacking)}")
    return results
