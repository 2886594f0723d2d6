"""Global tables: every instance reads all partitions of some compacted topics, as a GlobalKTable of
Kafka Streams does.

First they are read to their end, then a thread follows them. The core gets an immutable value that
`build_tables` makes of them. The lane takes the current value between two batches, so one batch is
judged by one set of tables.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from processors.processor import AnyProcessor
from processors.runtime import clients
from processors.runtime.restoration import TRANSIENT_READER_ERRORS, Place, bounds
from processors.runtime.settings import Settings
from processors.runtime.transactions import Blocked, Fatal, ended_by
from topics.catalogue import NAMES, physical
from topics.look import look
from topics.rights import Right, missing, reason

log = logging.getLogger("handoff.tables")

# Contracts change a few times a day. When many change at once, the tables are built once for all.
_REBUILD_SECONDS = 0.3
_TOPICS_SECONDS = 5.0
_RETRY_SECONDS = 1.0
_CALL_SECONDS = 10.0


class GlobalTables:
    """The tables of one processor. `current` is the last value that `build_tables` made of them.

    `unreadable` counts the records that were skipped; their content is never logged.
    """

    def __init__(self, settings: Settings, processor: AnyProcessor) -> None:
        self._processor = processor
        prefix = settings.topic_prefix
        self._topics = {physical(name, prefix): name for name in processor.tables}
        self._values: dict[str, dict[str, bytes]] = {name: {} for name in processor.tables}
        self._ours = {physical(name, prefix) for name in NAMES}
        self._existing: frozenset[str] = frozenset()
        self._hidden: frozenset[str] = frozenset()
        self._stop = threading.Event()
        self._settings = settings
        self._admin = clients.admin(settings)
        self._reader = clients.reader(settings)
        self._thread: threading.Thread | None = None
        self.unreadable = 0
        self.current: Any = None

    def start(self, stopping: Callable[[], bool]) -> None:
        """Read every table to its end, then follow them in a thread. Raises `Fatal`."""
        try:
            self._read_to_the_end(stopping)
        except BaseException:
            self._close()
            raise
        self._thread = threading.Thread(
            target=self._follow, name=f"tables-{self._processor.name}", daemon=True
        )
        self._thread.start()

    def _read_to_the_end(self, stopping: Callable[[], bool]) -> None:
        try:
            self._list_topics()
        except KafkaException as error:
            # Not to know whether a queue is there is not to know that it is missing.
            why = f"the topics cannot be listed: {reason(error.args[0])}"
            raise ended_by(error.args[0], why) from None
        ends = self._assign()
        while ends:
            if stopping():
                raise Fatal("stopped while the tables were read")
            for message in self._reader.consume(1_000, 0.05):
                self._take(message, ends)
        self._build()
        if self.current is None:
            raise Fatal(f"the tables of {self._processor.name} cannot be built")
        self._warn_of_hidden()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(_CALL_SECONDS)

    def value(self, topic: str, key: str) -> bytes | None:
        """The last value of a key in a table (canonical name), as bytes. Any thread may call it."""
        return self._values[topic].get(key)

    def _assign(self) -> dict[Place, int]:
        """Assign each partition from its first record. Returns the ends of those that have
        records."""
        try:
            found = look(self._admin, self._topics, _CALL_SECONDS)
        except KafkaException as error:
            why = f"the tables cannot be read: {reason(error.args[0])}"
            raise ended_by(error.args[0], why) from None
        lacking = found.lacks(Right("READ", "topic", topic) for topic in self._topics)
        if lacking:
            raise Blocked(f"the tables cannot be read: {missing(lacking)}")
        places = [
            (topic, number) for topic, seen in found.topics.items() for number in seen.leaders
        ]
        if not places:
            return {}
        has = bounds(self._admin, places)
        self._reader.assign([TopicPartition(*place, has[place].first) for place in places])
        return {place: has[place].end for place in places if has[place].end > has[place].first}

    def _follow(self) -> None:
        changed = False
        built = listed = time.monotonic()
        while not self._stop.is_set():
            try:
                for message in self._reader.consume(1_000, 0.1):
                    changed = self._take(message, {}) or changed
                now = time.monotonic()
                if now - listed >= _TOPICS_SECONDS:
                    listed = now
                    changed = self._list_topics() or changed
                    self._warn_of_hidden()
            except (Fatal, KafkaException) as error:
                log.warning("the tables are not followed for a moment: %s", error)
                self._stop.wait(_RETRY_SECONDS)
                continue
            if changed and now - built >= _REBUILD_SECONDS:
                built = now
                changed = False
                self._build()
        self._close()

    def _close(self) -> None:
        clients.close(self._reader.close, "the reader of the tables")
        clients.close_admin(self._admin)

    def _take(self, message: Message, ends: dict[Place, int]) -> bool:
        """Apply one record. Returns whether that changed a table."""
        topic, number, offset = message.topic(), message.partition(), message.offset()
        error = message.error()
        if error is not None:
            if error.code() == KafkaError._PARTITION_EOF:
                place = (topic or "", -1 if number is None else number)
                if offset is not None and offset >= ends.get(place, offset + 1):
                    del ends[place]
                return False
            if error.code() in TRANSIENT_READER_ERRORS:
                return False
            why = reason(error, Right("READ", "topic", topic or "?"))
            raise ended_by(error, f"{topic} cannot be read: {why}")
        assert topic is not None
        values = self._values[self._topics[topic]]
        try:
            key = str(message.key() or b"", "utf-8")
        except UnicodeDecodeError:
            key = ""
        if not key:
            self.unreadable += 1
            log.warning("%s-%s offset %s has no readable key; skipped", topic, number, offset)
            return False
        value = message.value()
        if value is None:
            return values.pop(key, None) is not None
        changed = values.get(key) != value
        values[key] = value
        return changed

    def _list_topics(self) -> bool:
        """Look which topics exist. Returns whether that has changed. Raises `KafkaException` when
        no broker answers.

        Topics of this project are left out: a receiver must not have one of them as its queue, or
        its packages would be read as inputs.
        """
        listed = self._admin.list_topics(timeout=_CALL_SECONDS).topics
        found = frozenset(listed) - self._ours
        changed = found != self._existing
        self._existing = found
        return changed

    def _warn_of_hidden(self) -> None:
        """Warn of queues that this processor has no right to see: they count as missing, so the
        handoffs to their receivers are held. Warns once, until the set of queues changes."""
        unseen = set(self._processor.queues(self.current)) - self._existing - self._ours
        try:
            hidden = look(self._admin, unseen, _CALL_SECONDS).hidden
        except KafkaException:
            return
        if hidden and hidden != self._hidden:
            rights = [Right("WRITE", "topic", queue) for queue in hidden]
            log.warning(
                "%s takes queues for missing that it may not see: %s",
                self._processor.name,
                missing(rights),
            )
        self._hidden = hidden

    def _build(self) -> None:
        """Build a new `current`. Records that make `build_tables` fail are left out."""
        snapshot = {topic: dict(values) for topic, values in self._values.items()}
        if self._try(snapshot):
            return
        # Find the records that make it fail, each by itself, and build the tables without them.
        for topic, values in snapshot.items():
            for key, value in list(values.items()):
                alone = {name: {key: value} if name == topic else {} for name in snapshot}
                if not self._try(alone, keep=False):
                    del values[key]
                    self.unreadable += 1
                    log.error("%s: the record %s cannot be used and is left out", topic, key)
        if not self._try(snapshot):
            log.error("%s: the tables stay as they were", self._processor.name)

    def _try(self, topics: dict[str, dict[str, bytes]], *, keep: bool = True) -> bool:
        try:
            made = self._processor.build_tables(topics, self._existing)
        except Exception as error:  # noqa: BLE001 - a defect of a core; its text may quote a value
            log.warning("%s: tables fail with %s", self._processor.name, type(error).__name__)
            return False
        if keep:
            self.current = made
        return True
