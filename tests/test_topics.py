"""Topics: the catalogue, plans as data, and applying them to clusters."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from confluent_kafka.admin import NewTopic

from tests.rights_documented import rows
from topics.admin import Admin
from topics.apply import apply, read_cluster
from topics.catalogue import NAMES, Spread, Topic, TopicError, catalogue, physical
from topics.plan import Change, ClusterTopics, Create, FoundTopic, Refusal, plan

TOPICS = [
    "acks",
    "alert-actions",
    "alerts",
    "amendments",
    "console-audit",
    "contracts",
    "dead-letters",
    "edges",
    "figures",
    "held",
    "insights-state",
    "integrity-state",
    "internal.feed",
    "internal.links",
    "internal.traces",
    "packages",
    "patterns",
    "receiver-liveness",
    "receivers",
    "signals",
    "silences",
    "source-positions",
    "sources",
    "tool-outputs",
    "traces-state",
    "violations",
]


def as_found(wanted: list[Topic]) -> dict[str, FoundTopic]:
    return {topic.physical: FoundTopic(topic.partitions, topic.config) for topic in wanted}


def as_data(changes: list[Change]) -> Any:
    return msgspec.to_builtins(changes)


def test_the_catalogue_has_these_topics() -> None:
    assert sorted(NAMES) == [f"handoff.{name}" for name in TOPICS]


def test_the_catalogue_and_the_table_of_rights_name_the_same_writers() -> None:
    """Of the processors and of `alerts run`; `processors` are all of them."""
    processes = {
        "integrity": "run --processor integrity",
        "insights": "run --processor insights",
        "intake": "run --processor intake",
        "traces": "run --processor traces",
        "handoff alerts run": "alerts run",
    }
    for topic in catalogue():
        named = set(topic.writer.replace("the probe", "integrity").split(", "))
        named = set(processes) if named == {"processors"} else named & set(processes)
        may_write = {
            process
            for process, row in processes.items()
            if f"`{topic.name.removeprefix('handoff.')}`" in rows()[row][1]
        }
        assert may_write == named, topic.name


def test_task_topics_share_the_partition_count() -> None:
    topics = catalogue(partitions=12)
    tasks = {topic.name: topic.partitions for topic in topics if topic.spread is Spread.TASK}
    assert tasks == {
        "handoff.tool-outputs": 12,
        "handoff.acks": 12,
        "handoff.amendments": 12,
        "handoff.internal.links": 12,
        "handoff.integrity-state": 12,
    }
    assert {topic.partitions for topic in topics if topic.spread is Spread.SUBJECT} == {3}


def test_every_topic_takes_records_of_4_mib() -> None:
    for topic in catalogue(queues=["support.inbox"]):
        assert topic.config["max.message.bytes"] == "4194304", topic.name


def test_changelogs_are_compacted_in_small_segments() -> None:
    for topic in catalogue():
        if topic.name.endswith("-state"):
            assert topic.config == {
                "cleanup.policy": "compact",
                "max.message.bytes": "4194304",
                "segment.bytes": "67108864",
                "segment.ms": "3600000",
                "delete.retention.ms": "86400000",
            }


def test_the_table_that_is_written_all_the_time_is_compacted_hourly() -> None:
    (found,) = [each for each in catalogue() if each.name == "handoff.receiver-liveness"]
    assert found.config["cleanup.policy"] == "compact"
    assert found.config["segment.ms"] == "3600000"


def test_names_on_a_cluster() -> None:
    assert physical("handoff.packages") == "handoff.packages"
    assert physical("handoff.internal.feed", "eu1.") == "eu1.internal.feed"
    assert physical("handoff.queue.nurture", "eu1.") == "handoff.queue.nurture", "a queue"
    names = {topic.name: topic.physical for topic in catalogue("eu1.", queues=["handoff.queue.b"])}
    assert names["handoff.acks"] == "eu1.acks"
    assert names["handoff.queue.b"] == "handoff.queue.b"


def test_queues_come_once_and_sorted() -> None:
    topics = catalogue(queues=["b", "a", "b"])[-3:]
    assert [topic.name for topic in topics] == ["handoff.console-audit", "a", "b"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"queues": ["handoff.packages"]}, "names handoff.packages as its queue"),
        ({"prefix": "eu.", "queues": ["eu.acks"]}, "names eu.acks as its queue"),
        ({"queues": ["no spaces"]}, "'no spaces' as its queue, which Kafka does not allow"),
        ({"queues": [".."]}, "which Kafka does not allow"),
        ({"prefix": "a/b"}, "prefix 'a/b' is not allowed"),
        ({"partitions": 0}, "at least 1 partition, not 0"),
    ],
)
def test_a_catalogue_that_kafka_would_refuse(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(TopicError, match=re.escape(message)):
        catalogue(**arguments)


def test_an_empty_cluster_gets_every_topic() -> None:
    changes = plan(catalogue("eu1.", 4, ["desk"]), ClusterTopics({}))
    assert all(isinstance(change, Create) for change in changes)
    data = {change["topic"]: change for change in as_data(changes)}
    assert len(data) == len(NAMES) + 1
    assert data["eu1.internal.feed"] == {
        "type": "create",
        "topic": "eu1.internal.feed",
        "partitions": 3,
        "config": {
            "cleanup.policy": "delete",
            "max.message.bytes": "4194304",
            "retention.ms": "86400000",
        },
    }
    assert data["desk"] == {
        "type": "create",
        "topic": "desk",
        "partitions": 4,
        "config": {
            "cleanup.policy": "delete",
            "max.message.bytes": "4194304",
            "retention.ms": "2592000000",
        },
    }


def test_a_cluster_as_wanted_needs_nothing() -> None:
    wanted = catalogue(queues=["desk"])
    assert plan(wanted, ClusterTopics(as_found(wanted))) == []


def change_found(name: str, partitions: int | None = None, **config: str | None) -> ClusterTopics:
    """The cluster as wanted, but for one topic; `cleanup_policy=` stands for `cleanup.policy`."""
    topics = as_found(catalogue(queues=["desk"]))
    there = topics[name]
    settings = dict(there.config)
    for key, value in config.items():
        settings.pop(key.replace("_", "."))
        if value is not None:
            settings[key.replace("_", ".")] = value
    topics[name] = FoundTopic(partitions or there.partitions, settings)
    return ClusterTopics(topics)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (
            change_found("handoff.contracts", cleanup_policy="delete"),
            [
                {
                    "type": "config",
                    "topic": "handoff.contracts",
                    "before": {"cleanup.policy": "delete"},
                    "after": {"cleanup.policy": "compact"},
                }
            ],
        ),
        (
            change_found("handoff.packages", max_message_bytes="1048588"),
            [
                {
                    "type": "config",
                    "topic": "handoff.packages",
                    "before": {"max.message.bytes": "1048588"},
                    "after": {"max.message.bytes": "4194304"},
                }
            ],
        ),
        (
            change_found("handoff.integrity-state", segment_ms=None),
            [
                {
                    "type": "config",
                    "topic": "handoff.integrity-state",
                    "before": {"segment.ms": None},
                    "after": {"segment.ms": "3600000"},
                }
            ],
        ),
        (
            change_found("handoff.packages", partitions=3),
            [{"type": "partitions", "topic": "handoff.packages", "before": 3, "after": 6}],
        ),
        (
            change_found("handoff.tool-outputs", partitions=3),
            [
                {
                    "type": "refusal",
                    "topic": "handoff.tool-outputs",
                    "reason": "handoff.tool-outputs has 3 partitions and 6 are wanted "
                    "(HANDOFF_PARTITIONS): more would move tasks away from their state. Set "
                    "HANDOFF_PARTITIONS=3, or start with another topic prefix.",
                }
            ],
        ),
        (
            change_found("handoff.integrity-state", partitions=8),
            [
                {
                    "type": "refusal",
                    "topic": "handoff.integrity-state",
                    "reason": "handoff.integrity-state has 8 partitions and 6 are wanted "
                    "(HANDOFF_PARTITIONS): Kafka cannot take partitions away. Set "
                    "HANDOFF_PARTITIONS=8, or start with another topic prefix.",
                }
            ],
        ),
        (
            change_found("handoff.insights-state", partitions=2),
            [
                {
                    "type": "refusal",
                    "topic": "handoff.insights-state",
                    "reason": "handoff.insights-state has 2 partitions and 3 are wanted: more "
                    "would move tasks away from their state. Keep 2, or start with another topic "
                    "prefix.",
                }
            ],
        ),
    ],
)
def test_one_difference_is_one_change(found: ClusterTopics, expected: Any) -> None:
    assert as_data(plan(catalogue(queues=["desk"]), found)) == expected


@pytest.mark.parametrize(
    "found",
    [
        change_found("handoff.packages", retention_ms="-1"),
        change_found("handoff.packages", retention_ms="99999999999"),
        change_found("handoff.packages", max_message_bytes="8388608"),
        change_found("handoff.packages", partitions=24),
        change_found("desk", partitions=1, cleanup_policy="compact", retention_ms="1000"),
    ],
    ids=["retention for ever", "longer retention", "larger records", "more", "a queue of theirs"],
)
def test_what_somebody_chose_is_kept(found: ClusterTopics) -> None:
    assert plan(catalogue(queues=["desk"]), found) == []


def test_changes_read_as_sentences() -> None:
    found = change_found("handoff.contracts", cleanup_policy="delete")
    found.topics["handoff.packages"] = FoundTopic(3, found.topics["handoff.packages"].config)
    del found.topics["handoff.edges"]
    assert [str(change) for change in plan(catalogue(), found)] == [
        "set on handoff.contracts: cleanup.policy delete -> compact",
        "add partitions to handoff.packages: 3 -> 6",
        "create handoff.edges with 1 partition",
    ]


def apply_to(servers: str, prefix: str) -> None:
    """Onto a cluster that has two of the topics otherwise; a second plan is empty."""
    admin = Admin({"bootstrap.servers": servers, "log_level": 0})
    made = [
        NewTopic(prefix + "packages", 2, config={"retention.ms": "-1"}),
        NewTopic(prefix + "contracts", 1, config={"cleanup.policy": "delete"}),
    ]
    for future in admin.create_topics(made).values():
        future.result()
    wanted = catalogue(prefix, 4, [prefix + "desk"])
    names = [topic.physical for topic in wanted]
    found = read_cluster(admin, names)
    assert {name: topic.partitions for name, topic in found.topics.items()} == {
        prefix + "packages": 2,
        prefix + "contracts": 1,
    }

    apply(admin, plan(wanted, found))

    after = read_cluster(admin, names)
    assert plan(wanted, after) == []
    assert set(after.topics) == set(names)
    assert after.topics[prefix + "packages"].partitions == 4
    assert after.topics[prefix + "packages"].config["retention.ms"] == "-1"
    assert after.topics[prefix + "contracts"].config["cleanup.policy"] == "compact"


def test_apply_on_the_embedded_broker(embedded: str, prefix: str) -> None:
    apply_to(embedded, prefix)


def test_apply_on_apache_kafka(apache: str, prefix: str) -> None:
    apply_to(apache, prefix)


def test_two_that_apply_at_once_do_no_harm(embedded: str, prefix: str) -> None:
    admin = Admin({"bootstrap.servers": embedded, "log_level": 0})
    wanted = catalogue(prefix, 2)
    changes = plan(wanted, read_cluster(admin, []))
    apply(admin, changes)
    apply(admin, changes)
    assert plan(wanted, read_cluster(admin, [topic.physical for topic in wanted])) == []


def test_a_refused_plan_changes_nothing(embedded: str, prefix: str) -> None:
    admin = Admin({"bootstrap.servers": embedded, "log_level": 0})
    changes: list[Change] = [
        Create(prefix + "new", 1, {}),
        Refusal(prefix + "old", "First reason."),
        Refusal(prefix + "older", "Second reason."),
    ]
    with pytest.raises(TopicError, match=r"^First reason\.\nSecond reason\.$"):
        apply(admin, changes)
    assert read_cluster(admin, [prefix + "new"]) == ClusterTopics({})


def test_a_setting_that_the_cluster_refuses_is_named(embedded: str, prefix: str) -> None:
    with pytest.raises(TopicError, match=f"^{re.escape(prefix)}bad cannot be created: "):
        apply(
            Admin({"bootstrap.servers": embedded, "log_level": 0}),
            [Create(prefix + "bad", 0, {})],
        )
