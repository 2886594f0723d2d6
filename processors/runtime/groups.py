"""Asks Kafka about the consumer groups of receivers: how many members, how far behind.

Classic groups and those of KIP-848 alike. Topics here are the cluster's names.

Two defects of librdkafka decide how this asks.

Issue 4605 of librdkafka, seen on 2.16: when a request to a group's coordinator times out while the
coordinator is down, the request stays in the client. When the coordinator is back, the client
aborts the whole process. So no such request may time out inside the client: its time-out is an
hour, this module waits a few seconds, and then closes the client with all requests that are pending
in it. That also helps a client that does not find a coordinator again after it was down (seen on
2.16, too).

When a coordinator shuts down and an admin client asks it for a group's offsets, the whole process
crashes (`rd_kafka_handle_OffsetFetch` takes every client for a consumer). So a consumer asks for
them, one that never joins the group.
"""

import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from typing import Any, Literal, TypeVar

from confluent_kafka import (
    ConsumerGroupState,
    IsolationLevel,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

from processors.processor import Processor
from processors.runtime import clients
from processors.runtime.changelog_marks import REBUILD, held, newest
from processors.runtime.restoration import Place
from processors.runtime.settings import Settings
from topics.catalogue import physical
from topics.rights import Right, is_refusal, reason

CALL_SECONDS = 4.0
# A client that does not answer is closed long before this. It is the longest that librdkafka
# allows.
_NEVER_SECONDS = 3600.0
_ABSENT = (ConsumerGroupState.DEAD, ConsumerGroupState.EMPTY)

Key = TypeVar("Key", str, Place)


class GroupQueryFailed(Exception):
    """Kafka did not answer a question about a group; the text is the reason."""


class Groups:
    """Asks about the consumer groups of a cluster. Not safe for several threads at once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._open: AdminClient | None = None
        self._broken = False

    def close(self) -> None:
        """Close the connections. The next question opens new ones."""
        if self._open is not None:
            clients.close_admin(self._open)
            self._open = None
        self._broken = False

    def members(self, groups: Iterable[str]) -> tuple[dict[str, int], dict[str, str]]:
        """The number of members by group, and for each group that Kafka did not describe, why.

        `groups` has at least one. Raises `SettingsError`.
        """
        asked = self._admin().describe_consumer_groups(
            sorted(groups), request_timeout=_NEVER_SECONDS
        )
        described, reasons = self._answers(asked, "group")
        self._close_broken()
        counts = {
            group: 0 if found.state in _ABSENT else len(found.members)
            for group, found in described.items()
        }
        return counts, reasons

    def lags(self, pairs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], int]:
        """The lag of each (group, topic) in offsets, up to the end that a read_committed reader
        sees.

        When a group has no offset in a topic, the pair is left out. When it has some, a partition
        without an offset counts from its first record. In a topic that is written in transactions,
        the end is one offset past the last record, because of the transaction's marker. Raises
        `GroupQueryFailed`, `SettingsError`.
        """
        try:
            return self._lags(pairs)
        except KafkaException as error:
            self._broken = True
            raise GroupQueryFailed(reason(error.args[0])) from None
        finally:
            self._close_broken()

    def _lags(self, pairs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], int]:
        there = self._admin().list_topics(timeout=CALL_SECONDS).topics
        partitions = {topic: sorted(found.partitions) for topic, found in there.items()}
        read = {
            (group, topic): self._committed(group, [(topic, n) for n in partitions.get(topic, ())])
            for group, topic in pairs
        }
        read = {pair: offsets for pair, offsets in read.items() if offsets}
        every = {(topic, n) for _, topic in read for n in partitions[topic]}
        ends = self._offsets(every, OffsetSpec.latest())  # type: ignore[no-untyped-call]
        unread = {(topic, n) for (_, topic), at in read.items() for n in partitions[topic]} - {
            place for at in read.values() for place in at
        }
        firsts = self._offsets(unread, OffsetSpec.earliest())  # type: ignore[no-untyped-call]
        return {
            (group, topic): sum(
                max(0, ends[place] - (at[place] if place in at else firsts[place]))
                for place in ((topic, n) for n in partitions[topic])
            )
            for (group, topic), at in read.items()
        }

    def _committed(self, group: str, places: list[Place]) -> dict[Place, int]:
        try:
            return committed(self._settings, group, places, CALL_SECONDS)
        except KafkaException as error:
            self._broken = True
            topic, _ = places[0]
            needed = Right("DESCRIBE", "group", group), Right("DESCRIBE", "topic", topic)
            raise GroupQueryFailed(reason(error.args[0], *needed)) from None

    def _offsets(self, places: set[Place], spec: OffsetSpec) -> dict[Place, int]:
        if not places:
            return {}
        asked = self._admin().list_offsets(
            {TopicPartition(*place): spec for place in places},
            isolation_level=IsolationLevel.READ_COMMITTED,
            request_timeout=CALL_SECONDS,
        )
        named = {(place.topic, place.partition): answer for place, answer in asked.items()}
        found, reasons = self._answers(named, "topic")
        for why in reasons.values():
            raise GroupQueryFailed(why)
        return {place: clients.offset_of(answer) for place, answer in found.items()}

    # --- the client ---------------------------------------------------------------------------

    def _admin(self) -> AdminClient:
        if self._open is None:
            self._open = clients.admin(self._settings)
        return self._open

    def _close_broken(self) -> None:
        if self._broken:
            self.close()

    def _answers(
        self, asked: Mapping[Key, "Future[Any]"], kind: Literal["group", "topic"]
    ) -> tuple[dict[Key, Any], dict[Key, str]]:
        """The answers that came within `CALL_SECONDS`, and for each of the others, why not."""
        limit = time.monotonic() + CALL_SECONDS
        found: dict[Key, Any] = {}
        reasons: dict[Key, str] = {}
        for key, answer in asked.items():
            try:
                error = answer.exception(max(0.0, limit - time.monotonic()))
            except TimeoutError:
                self._broken = True
                reasons[key] = "no answer in time"
                continue
            if error is None:
                found[key] = answer.result()
            elif isinstance(error, KafkaException):
                # A negative code is an error of the client, not of a broker.
                self._broken = self._broken or error.args[0].code() < 0
                name = key if isinstance(key, str) else key[0]
                reasons[key] = reason(error.args[0], Right("DESCRIBE", kind, name))
            else:
                raise error
        return found, reasons


def committed(
    settings: Settings, group: str, places: list[Place], seconds: float
) -> dict[Place, int]:
    """The next offset that a group has committed in each of `places`, where it has one.

    Waits for `seconds` at most. Raises `KafkaException`, `SettingsError`.
    """
    found = offsets(settings, group, places, seconds)
    return {(place.topic, place.partition): place.offset for place in found if place.offset >= 0}


def offsets(
    settings: Settings, group: str, places: list[Place], seconds: float
) -> list[TopicPartition]:
    """As `committed`, with metadata; the offset is negative where the group has none."""
    if not places:
        return []
    asked = clients.onlooker(settings, group)
    try:
        found = asked.committed([TopicPartition(*place) for place in places], seconds)
    except KafkaException:
        # Where the group may not be described, the call only times out, and this tells why.
        told = asked.poll(0)
        error = None if told is None else told.error()
        if error is not None and is_refusal(error):
            raise KafkaException(error) from None
        raise
    finally:
        asked.close()
    for place in found:
        if place.error is not None:
            raise KafkaException(place.error)
    return found


def held_state(settings: Settings, processor: Processor[Any], partitions: int) -> str | None:
    """What to say of a processor whose changelog is missing, although its group has judged records
    of which state followed; None where it has not, or where nobody tells.

    `partitions` is the number that its inputs have.
    """
    group = clients.group_id(settings, processor.name)
    inputs = [physical(name, settings.topic_prefix) for name in processor.inputs]
    places = [(topic, number) for topic in inputs for number in range(partitions)]
    try:
        found = offsets(settings, group, places, CALL_SECONDS)
    except KafkaException:
        return None
    marks = newest((at.partition, at.metadata) for at in found)
    if not any(held(mark.bounds) for mark in marks.values()):
        return None
    return (
        f"{physical(processor.changelog, settings.topic_prefix)} held the state of what {group} "
        f"has judged, and that is gone; to read the inputs anew, where they still are: {REBUILD}"
    )
