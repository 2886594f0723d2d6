"""What a commit says of the changelog, when that holds less, and the look at it. No broker."""

from concurrent.futures import Future
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from hypothesis import given
from hypothesis import strategies as st

from processors.runtime.changelog_marks import (
    ChangelogBounds,
    ChangelogMark,
    loss_since,
    lost,
    newest,
    read,
)
from processors.runtime.topic_watcher import TopicWatcher
from tests.properties import examples

offsets = st.integers(0, 2**62)
logs = st.builds(
    lambda id_, first, more: ChangelogBounds(id_, first, first + more),
    st.text("abcXYZ019+/", max_size=22),
    offsets,
    offsets,
)


@examples
@given(logs, st.integers(1, 10_000), st.integers(1, 255))
def test_a_mark_survives_its_text(log: ChangelogBounds, partitions: int, form: int) -> None:
    mark = ChangelogMark(log, partitions, form)
    assert read(mark.text()) == mark
    assert len(mark.text()) < 100


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        "",
        "NO_METADATA",
        "handoff/1",
        "handoff/3 a 1 2 3 4",
        "handoff/2 a 1 2 3",
        "handoff/1 a 1 2",
        "handoff/1 a 1 2 x",
        "handoff/1 a 1 -2 3",
        "handoff/1 a 1 2 3 4",
        "handoff/1 a 1 \u0662 3",
    ],
)
def test_what_others_set_is_no_mark(metadata: str | None) -> None:
    assert read(metadata) is None


def of(then: ChangelogBounds, now: ChangelogBounds, wanted: int = 2) -> str | None:
    """What was lost since a mark of format 2."""
    return loss_since(ChangelogMark(then, 6, 2), now, wanted)


@examples
@given(logs, offsets)
def test_a_changelog_that_only_grows_lacks_nothing(then: ChangelogBounds, more: int) -> None:
    """Compaction leaves the first offset and the end as they are."""
    assert of(then, then._replace(end=then.end + more)) is None
    assert of(then, ChangelogBounds("", then.first, then.end + more)) is None  # no ids are told


@examples
@given(logs, logs, offsets)
def test_what_held_nothing_lacks_nothing(
    then: ChangelogBounds, now: ChangelogBounds, at: int
) -> None:
    """A partition with offsets, and never a state."""
    assert of(then._replace(first=at, end=at), now) is None


@pytest.mark.parametrize(
    ("then", "now", "why"),
    [
        (ChangelogBounds("a", 0, 9), ChangelogBounds("b", 0, 0), "the changelog was made anew"),
        (ChangelogBounds("a", 0, 9), ChangelogBounds("b", 0, 90), "the changelog was made anew"),
        (
            ChangelogBounds("a", 0, 9),
            ChangelogBounds("a", 9, 9),
            "the changelog's records before 9 were deleted",
        ),
        (
            ChangelogBounds("a", 3, 9),
            ChangelogBounds("a", 4, 90),
            "the changelog's records before 4 were deleted",
        ),
        (
            ChangelogBounds("a", 0, 9),
            ChangelogBounds("a", 0, 0),
            "the changelog ends at 0 and had reached 9",
        ),
        (
            ChangelogBounds("", 0, 9),
            ChangelogBounds("", 0, 8),
            "the changelog ends at 8 and had reached 9",
        ),
    ],
)
def test_what_is_missing_is_told(then: ChangelogBounds, now: ChangelogBounds, why: str) -> None:
    assert why in (of(then, now) or "")


def test_states_in_another_format_are_lost_unless_there_are_none() -> None:
    then, now = ChangelogBounds("a", 0, 9), ChangelogBounds("a", 0, 10)
    assert of(then, now, 3) == "its states are in format 2, and this version reads format 3"
    assert of(ChangelogBounds("a", 0, 0), now, 3) is None
    older = read("handoff/1 a 0 9 6")
    assert older is not None
    assert "format 0" in (loss_since(older, now, 2) or "")


def test_of_several_inputs_the_mark_that_reached_furthest_counts() -> None:
    early, late = (
        ChangelogMark(ChangelogBounds("a", 0, 3), 6, 2),
        ChangelogMark(ChangelogBounds("a", 0, 9), 6, 2),
    )
    found = newest([(1, early.text()), (1, late.text()), (1, None), (2, "a tool's")])
    assert found == {1: late}


def test_five_partitions_are_named_and_the_others_counted() -> None:
    lacks = dict.fromkeys(range(7), "the changelog was made anew")
    assert lost("log", "group", lacks) == (
        "log holds less than the offsets of group say (partition 0, 1, 2, 3, 4 and 2 more: "
        "the changelog was made anew)"
    )


# --- the look -------------------------------------------------------------------------------------


class FakeTopic:
    """As `describe_topics` tells of one."""

    def __init__(self, id_: str, partitions: int) -> None:
        self.topic_id, self.partitions = id_, list(range(partitions))


class Offset:
    def __init__(self, offset: int) -> None:
        self.offset = offset


class ChangingCluster:
    """Stands for an admin client; `answers` says whether anything comes."""

    def __init__(self) -> None:
        self.topics: dict[str, FakeTopic | KafkaError] = {
            "in": FakeTopic("i", 2),
            "log": FakeTopic("l", 2),
        }
        self.logs = {0: (0, 10), 1: (0, 0)}
        self.answers = True

    def describe_topics(self, names: Any, request_timeout: float) -> dict[str, Future[Any]]:
        return {name: self._told(found) for name, found in self.topics.items()}

    def list_offsets(
        self, asked: dict[TopicPartition, Any], isolation_level: Any, request_timeout: float
    ) -> dict[TopicPartition, Future[Any]]:
        which = next(iter(asked.values()))._value  # -2 is the earliest, -1 the latest
        return {
            place: self._told(Offset(self.logs[place.partition][0 if which == -2 else 1]))
            for place in asked
        }

    def _told(self, what: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        if isinstance(what, KafkaError):
            future.set_exception(KafkaException(what))
        elif self.answers:
            future.set_result(what)
        return future


HELD = {0: ChangelogBounds("l", 0, 10), 1: ChangelogBounds("l", 0, 0)}


def watched(cluster: ChangingCluster) -> TopicWatcher:
    return TopicWatcher(cast(AdminClient, cluster), ["in"], "log")


def suspects(
    cluster: ChangingCluster, held: dict[int, ChangelogBounds] = HELD, partitions: int = 2
) -> bool:
    """What the answer to the first question says."""
    watch = watched(cluster)
    assert not watch.suspects(held, partitions)
    return watch.suspects(held, partitions)


def test_nothing_is_suspected_where_nothing_changed() -> None:
    assert not suspects(ChangingCluster())


def test_a_raised_input_or_changelog_is_suspected() -> None:
    for name in ("in", "log"):
        cluster = ChangingCluster()
        cluster.topics[name] = FakeTopic("l", 3)
        assert suspects(cluster)
    cluster = ChangingCluster()
    cluster.topics = {"in": FakeTopic("i", 3), "log": FakeTopic("l", 3)}
    assert suspects(cluster)
    assert not suspects(cluster, partitions=3)


def test_a_missing_topic_is_suspected_and_an_unanswered_question_is_not() -> None:
    cluster = ChangingCluster()
    cluster.topics["log"] = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)
    assert suspects(cluster)
    cluster.topics["log"] = KafkaError(KafkaError._TIMED_OUT)
    assert not suspects(cluster)
    cluster = ChangingCluster()
    cluster.answers = False
    assert not suspects(cluster)


def test_a_changelog_that_lacks_something_is_suspected() -> None:
    cluster = ChangingCluster()
    cluster.topics["log"] = FakeTopic("another", 2)
    assert suspects(cluster)
    cluster = ChangingCluster()
    cluster.logs[0] = (4, 10)
    assert suspects(cluster)


def test_an_answer_is_held_against_what_was_known_at_the_question() -> None:
    cluster = ChangingCluster()
    watch = watched(cluster)
    for end in range(10, 20):
        cluster.logs[0] = (0, end)
        assert not watch.suspects({0: ChangelogBounds("l", 0, end)}, 2)
    assert watch.now[0].end == 18


def test_an_answer_for_partitions_that_went_is_not_looked_at() -> None:
    cluster = ChangingCluster()
    watch = watched(cluster)
    cluster.logs[0] = (4, 10)
    assert not watch.suspects(HELD, 2)
    watch.clear()
    assert not watch.suspects({1: HELD[1]}, 2)
    assert not watch.suspects({1: HELD[1]}, 2)


def test_nothing_is_asked_without_partitions() -> None:
    assert not suspects(cast(ChangingCluster, None), {})
