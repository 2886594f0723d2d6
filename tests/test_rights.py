"""Which right is missing, in words; and how topics are looked up by name."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AclOperation, AdminClient

from topics.catalogue import catalogue
from topics.look import Look, Seen, look
from topics.plan import ClusterTopics, FoundTopic, plan
from topics.rights import Right, is_refusal, missing, reason, rights_of_a_producer

ACKS = Right("READ", "topic", "handoff.acks")
GROUP = Right("READ", "group", "handoff-integrity")
ID = Right("WRITE", "transactional id", "handoff-integrity-0")


@pytest.mark.parametrize(
    ("code", "asked", "expected"),
    [
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, [ACKS, GROUP], "READ on the topic handoff.acks"),
        (
            KafkaError.GROUP_AUTHORIZATION_FAILED,
            [ACKS, GROUP],
            "READ on the group handoff-integrity",
        ),
        (
            KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
            [ACKS, ID],
            "WRITE on the transactional id handoff-integrity-0",
        ),
        (
            KafkaError.CLUSTER_AUTHORIZATION_FAILED,
            rights_of_a_producer("handoff.acks"),
            "IDEMPOTENT_WRITE on the cluster",
        ),
    ],
)
def test_of_what_was_asked_the_kind_that_was_refused_is_named(
    code: int, asked: Iterable[Right], expected: str
) -> None:
    error = KafkaError(code)
    assert is_refusal(error)
    told = reason(error, *asked)
    assert told == f"the right {expected} is missing; grant it to the user of these settings"


def test_who_asked_for_nothing_of_that_kind_is_told_so() -> None:
    told = reason(KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED, "no"), ACKS)
    assert told == "a right on a group is missing, and Kafka does not say which: no"


def test_any_other_error_is_told_as_it_is() -> None:
    error = KafkaError(KafkaError._TIMED_OUT, "Failed to get committed offsets")
    assert not is_refusal(error)
    assert reason(error, ACKS) == "_TIMED_OUT: Failed to get committed offsets"
    assert reason(KafkaError(KafkaError.NOT_COORDINATOR, ": "), ACKS) == "NOT_COORDINATOR"


def test_many_rights_are_grouped_and_counted() -> None:
    rights = [Right("READ", "topic", f"t{n}") for n in range(7)]
    rights += [Right("READ", "group", "g"), Right("IDEMPOTENT_WRITE", "cluster"), rights[0]]
    assert missing(rights) == (
        "rights are missing: IDEMPOTENT_WRITE on the cluster; READ on the group g; "
        "READ on the topics t0, t1, t2, t3, t4 and 2 more; grant them to the user of these settings"
    )


class Node:
    def __init__(self, number: int) -> None:
        self.id = number
        self.leader = None if number < 0 else self


class DescribedTopic:
    def __init__(self, leaders: list[int], operations: list[AclOperation] | None) -> None:
        self.authorized_operations = operations
        self.partitions = [DescribedPartition(n, leader) for n, leader in enumerate(leaders)]


class DescribedPartition:
    def __init__(self, number: int, leader: int) -> None:
        self.id = number
        self.leader = None if leader < 0 else Node(leader)


class TopicsAdmin:
    """Answers DescribeTopics with what it was given."""

    def __init__(self, **answers: DescribedTopic | int) -> None:
        self.answers = answers

    def describe_topics(self, topics: Any, **_: object) -> dict[str, Future[DescribedTopic]]:
        found = {}
        for name in topics.topic_names:
            future: Future[DescribedTopic] = Future()
            answer = self.answers.get(name, KafkaError.UNKNOWN_TOPIC_OR_PART)
            if isinstance(answer, int):
                future.set_exception(KafkaException(KafkaError(answer)))
            else:
                future.set_result(answer)
            found[name] = future
        return found


def looked(admin: TopicsAdmin, *names: str) -> Look:
    return look(cast(AdminClient, admin), names, 1.0)


def test_topics_are_there_hidden_or_missing() -> None:
    admin = TopicsAdmin(
        a=DescribedTopic([3, -1], [AclOperation.DESCRIBE, AclOperation.READ]),
        b=DescribedTopic([3], None),
        c=KafkaError.TOPIC_AUTHORIZATION_FAILED,
        d=KafkaError.LEADER_NOT_AVAILABLE,
    )
    found = looked(admin, "a", "b", "c", "d", "e", "a")
    assert found == Look(
        {"a": Seen({0: 3, 1: -1}, frozenset({"DESCRIBE", "READ"})), "b": Seen({0: 3}, None)},
        frozenset({"c"}),
    )
    needed = [Right("WRITE", "topic", name) for name in "abcde"]
    assert [right.name for right in found.lacks(needed)] == ["a", "c"]


def test_operations_that_cannot_be_all_are_not_believed() -> None:
    """Who sees a topic has DESCRIBE: a list without it comes from a cluster that does not tell."""
    assert looked(TopicsAdmin(a=DescribedTopic([1], [])), "a").topics["a"].allowed is None


def test_no_answer_is_an_error_and_no_missing_topic() -> None:
    with pytest.raises(KafkaException):
        looked(TopicsAdmin(a=KafkaError._TIMED_OUT), "a")
    assert looked(TopicsAdmin()) == Look({}, frozenset())


def test_a_plan_does_not_create_what_it_may_not_see() -> None:
    wanted = catalogue()
    there = {topic.physical: FoundTopic(topic.partitions, topic.config) for topic in wanted}
    hidden = frozenset(list(there)[:7])
    for name in hidden:
        del there[name]
    (refusal,) = plan(wanted, ClusterTopics(there, hidden))
    assert str(refusal) == (
        "what exists cannot be seen: rights are missing: DESCRIBE on the topics handoff.acks, "
        "handoff.amendments, handoff.contracts, handoff.internal.links, handoff.receiver-liveness "
        "and 2 more; grant them to the user of these settings"
    )
