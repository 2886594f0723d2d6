"""What is asked of the cluster before a processor runs: its topics, and the rights on them."""

from typing import Any, cast

import pytest
from confluent_kafka.admin import AdminClient

from processors.insights.processor import INSIGHTS
from processors.integrity.processor import INTEGRITY
from processors.processor import Processor
from processors.runtime import cluster
from processors.runtime.cluster import check_topics, rights_on_topics
from processors.runtime.settings import Settings
from processors.runtime.transactions import Fatal, Misconfigured
from topics.catalogue import catalogue
from topics.look import Look, Seen
from topics.rights import Right


class FakeCluster:
    """A cluster with all topics, on which everything is allowed; a test changes that."""

    def __init__(self) -> None:
        self.topics = {topic.name: Seen(_leaders(topic.partitions), None) for topic in catalogue()}
        self.hidden: set[str] = set()
        self.looks = 0

    def look(self, admin: AdminClient, names: list[str]) -> Look:
        self.looks += 1
        there = {name: seen for name, seen in self.topics.items() if name not in self.hidden}
        return Look(there, frozenset(self.hidden))

    def allow(self, topic: str, *operations: str) -> None:
        self.topics[topic] = Seen(self.topics[topic].leaders, frozenset(operations))


def _leaders(count: int) -> dict[int, int]:
    return dict.fromkeys(range(count), 1)


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    made = FakeCluster()
    monkeypatch.setattr(cluster, "_look", made.look)
    monkeypatch.setattr(cluster, "_LOOK_SECONDS", 0)
    return made


def check(processor: Processor[Any]) -> int:
    return check_topics(cast(AdminClient, None), Settings(), processor)


@pytest.mark.parametrize(
    ("processor", "missing"),
    [
        (INTEGRITY, "handoff.internal.feed"),
        (INTEGRITY, "handoff.signals"),
        (INSIGHTS, "handoff.internal.feed"),
        (INSIGHTS, "handoff.patterns"),
    ],
)
def test_a_topic_that_is_written_is_missed_before_it_is(
    processor: Processor[Any], missing: str, there: FakeCluster
) -> None:
    assert check(processor) > 0
    del there.topics[missing]
    with pytest.raises(Misconfigured, match=f"{missing} does not exist"):
        check(processor)


def test_what_is_missing_is_told_right_after_the_last_look(
    there: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []
    monkeypatch.setattr(
        "processors.runtime.cluster.time.sleep", lambda _: looks.append(there.looks)
    )
    del there.topics["handoff.signals"]
    with pytest.raises(Misconfigured):
        check(INTEGRITY)
    assert (looks, there.looks) == ([1, 2], 3)


@pytest.mark.parametrize("processor", [INTEGRITY, INSIGHTS], ids=["integrity", "insights"])
def test_each_right_on_a_topic_is_missed(processor: Processor[Any], there: FakeCluster) -> None:
    needed = rights_on_topics(processor, "handoff.")
    for right in needed:
        others = {each.operation for each in needed if each.name == right.name} - {right.operation}
        there.allow(right.name, "DESCRIBE", *others)
        with pytest.raises(Fatal, match=f"the right {right} is missing; grant it"):
            check(processor)
        there.allow(right.name, "DESCRIBE", "READ", "WRITE")
    assert check(processor) > 0


def test_a_hidden_topic_is_no_missing_one(there: FakeCluster) -> None:
    there.hidden = {"handoff.integrity-state", "handoff.acks"}
    with pytest.raises(Fatal) as info:
        check(INTEGRITY)
    assert str(info.value) == (
        "integrity cannot run: rights are missing: READ on the topics handoff.acks, "
        "handoff.integrity-state; WRITE on the topic handoff.integrity-state; "
        "grant them to the user of these settings"
    )


def test_a_missing_right_is_told_before_a_missing_topic(there: FakeCluster) -> None:
    """Who may not see the topics cannot be told that some do not exist."""
    del there.topics["handoff.signals"]
    there.allow("handoff.acks", "DESCRIBE")
    with pytest.raises(Fatal, match=r"READ on the topic handoff\.acks"):
        check(INTEGRITY)


def test_what_a_cluster_does_not_tell_is_no_missing_right(there: FakeCluster) -> None:
    """Without an authorizer no operations are told; `look` gives None, too, for a list that cannot
    be right."""
    assert {seen.allowed for seen in there.topics.values()} == {None}
    assert check(INTEGRITY) == 6
    assert there.looks == 1


def test_a_right_that_comes_a_little_later_is_waited_for(
    there: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    there.allow("handoff.acks", "DESCRIBE")

    def look(admin: AdminClient, names: list[str]) -> Look:
        found = there.look(admin, names)
        there.allow("handoff.acks", "DESCRIBE", "READ")
        return found

    monkeypatch.setattr(cluster, "_look", look)
    assert check(INTEGRITY) == 6


def test_rights_are_asked_for_under_the_prefix() -> None:
    assert rights_on_topics(INSIGHTS, "x.")[0] == Right("READ", "topic", "x.internal.feed")
