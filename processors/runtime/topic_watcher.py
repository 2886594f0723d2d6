"""Checks the topics while a lane runs: what was right at the start may change later.

It asks without waiting for the answer. What it finds is only a suspicion, because a broker that has
just restarted may describe topics as they were before. So its caller repeats the checks of a start.
"""

from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from typing import Any

from confluent_kafka import (
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

from processors.runtime import clients
from processors.runtime.changelog_marks import ChangelogBounds, loss
from processors.runtime.cluster import id_of
from processors.runtime.restoration import CALL_SECONDS

_EARLIEST, _LATEST = OffsetSpec.earliest(), OffsetSpec.latest()  # type: ignore[no-untyped-call]


class TopicWatcher:
    """Watches a lane's inputs and its changelog, by their names on the cluster."""

    def __init__(self, admin: AdminClient, inputs: Iterable[str], changelog: str) -> None:
        self._admin = admin
        self._changelog = changelog
        self._topics = TopicCollection([*inputs, changelog])
        self.clear()

    def clear(self) -> None:
        """The assignment has changed: forget what was asked."""
        self._then: dict[int, ChangelogBounds] = {}
        self._described: Mapping[str, Future[Any]] = {}
        self._firsts: Mapping[TopicPartition, Future[Any]] = {}
        self._ends: Mapping[TopicPartition, Future[Any]] = {}
        self.now: dict[int, ChangelogBounds] = {}  # the changelog as the last answer describes it

    def suspects(self, changelogs: Mapping[int, ChangelogBounds], partitions: int) -> bool:
        """Whether the last answer shows that something has changed; then ask again.

        `changelogs` is what is known of the changelog, by partition. `partitions` is the number of
        partitions that it and each input had.
        """
        found = bool(self._described) and self._answer(partitions)
        if not self._described and changelogs:
            self._ask(changelogs)
        return found

    def _ask(self, changelogs: Mapping[int, ChangelogBounds]) -> None:
        places = [TopicPartition(self._changelog, number) for number in changelogs]
        self._then = dict(changelogs)  # records that come after the question are not in the answer
        try:
            self._firsts, self._ends = (
                self._admin.list_offsets(
                    dict.fromkeys(places, spec),
                    isolation_level=IsolationLevel.READ_UNCOMMITTED,
                    request_timeout=CALL_SECONDS,
                )
                for spec in (_EARLIEST, _LATEST)
            )
            self._described = self._admin.describe_topics(
                self._topics, request_timeout=CALL_SECONDS
            )
        except KafkaException:
            self._described = {}

    def _answer(self, partitions: int) -> bool:
        futures = [*self._described.values(), *self._firsts.values(), *self._ends.values()]
        if not all(future.done() for future in futures):
            return False
        described, self._described = self._described, {}
        try:
            return self._differs(described, partitions)
        except KafkaException:
            return False  # no answer, and it is asked again

    def _differs(self, described: Mapping[str, Future[Any]], partitions: int) -> bool:
        id_ = ""
        for name, future in described.items():
            try:
                topic = future.result()
            except KafkaException as error:
                if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                    return True
                raise
            if len(topic.partitions) != partitions:
                return True
            if name == self._changelog:
                id_ = id_of(topic)
        if any(loss(then, then._replace(id=id_)) for then in self._then.values()):
            return True
        firsts, ends = (
            {place.partition: clients.offset_of(future.result()) for place, future in asked.items()}
            for asked in (self._firsts, self._ends)
        )
        self.now = {
            number: ChangelogBounds(id_, firsts[number], ends[number]) for number in self._then
        }
        return any(loss(self._then[number], now) for number, now in self.now.items())
