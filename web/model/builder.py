"""Reads the topics into the read model: one thread, read_committed, without a group.

It begins at the positions in the file. A topic that was made anew, or a file that is gone, makes it
begin again. While the cluster is away it waits, and the file says so.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import apsw
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from processors.runtime import clients
from processors.runtime.settings import Settings
from schemas.flow import Record
from topics.catalogue import physical
from topics.headers import headers
from topics.rights import is_refusal
from web.model.reader import Model
from web.model.schema import TOPICS
from web.model.statements import FRESH
from web.model.store import Partition, Position, Store
from web.model.trouble import DAMAGED, delete, sentence

log = logging.getLogger("handoff.console")

BATCH: Final = 2_000  # records of one transaction at most
POLL_SECONDS: Final = 0.25
_LOOK_SECONDS: Final = 5.0  # between two looks whether the broker answers, and for new partitions
_SEEN_SECONDS: Final = 1.0
_SWEEP_SECONDS: Final = 60.0
_PAUSE_SECONDS: Final = 1.0  # after a failure
_ANSWER_SECONDS: Final = 5.0
_OFFSET_GONE: Final = (
    KafkaError._AUTO_OFFSET_RESET,
    KafkaError._LOG_TRUNCATION,
    KafkaError.OFFSET_OUT_OF_RANGE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
)


class _Again(Exception):
    """What is read has changed: look at the topics again."""


class Builder:
    """Keeps the file of a read model up with the topics. `changed` is told the kinds of what
    changed after each transaction; `model`, where pages are answered from the file, what keeps it
    from being written."""

    def __init__(
        self,
        settings: Settings,
        path: Path,
        changed: Callable[[Iterable[str]], None],
        model: Model | None = None,
    ) -> None:
        self._settings = settings
        self._path = path
        self._model = model or Model(path)
        self._logged: str | None = None
        self._changed = changed
        self._names = {physical(name, settings.topic_prefix): name for name in TOPICS}
        self._stop = threading.Event()
        self._caught_up = threading.Event()
        self._thread = threading.Thread(target=self._run, name="read-model", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """End, and wait for the end."""
        self._stop.set()
        self._thread.join(clients.CLOSE_SECONDS)

    def caught_up(self, seconds: float) -> bool:
        """Whether all that the topics held when they were looked at has been read; waits for that
        so long."""
        return self._caught_up.wait(seconds)

    def _run(self) -> None:
        store: Store | None = None
        while not self._stop.is_set():
            try:
                store = store or Store(self._path)
                self._read(store)
            except _Again:
                continue
            except KafkaException as error:
                self._tell(_sentence(self._settings, error.args[0]), store)
            except (apsw.Error, OSError) as error:
                self._tell_of_file(store, error)
                _close(store)
                store = None
            except Exception:
                log.exception("the read model stopped reading, and begins again")
                self._tell("the read model stopped on an error of its own; see the log", store)
            self._stop.wait(_PAUSE_SECONDS)
        _close(store)

    def _tell_of_file(self, store: Store | None, error: Exception) -> None:
        """Say what is wrong with the file. A damaged one is deleted, and begun anew."""
        if store is not None and store.gone():
            log.warning("the read model %s is gone: it is built again", self._path)
        elif isinstance(error, DAMAGED):
            log.warning("the read model %s is damaged (%s): it is built anew", self._path, error)
            try:
                delete(self._path)
            except OSError as refused:
                self._tell(sentence(self._path, refused))
        else:
            self._tell(sentence(self._path, error))

    def _tell(self, problem: str, store: Store | None = None) -> None:
        """Note what keeps the topics from being read: in the file, or where it is the file that
        cannot be written, beside it."""
        new, self._logged = problem != self._logged, problem
        if new:
            log.warning("%s", problem)
        if store is None:
            self._model.trouble = problem
        else:
            try:
                store.problem(problem)
            except apsw.Error:
                self._model.trouble = problem
        if new:
            self._changed([FRESH])

    def _fine(self) -> bool:
        """All is well again. Returns whether something was not."""
        known, self._logged, self._model.trouble = self._logged, None, None
        return known is not None

    def _read(self, store: Store) -> None:
        consumer = clients.reader(self._settings)
        changed, fine = self._changed, self._fine
        try:
            _Reading(
                consumer,
                store,
                self._names,
                changed=changed,
                fine=fine,
                caught_up=self._caught_up,
                stop=self._stop,
            ).run()
        finally:
            clients.close(consumer.close, "the reader of the read model")


class _Reading:
    """One assignment of partitions, from their positions on."""

    def __init__(
        self,
        consumer: Any,
        store: Store,
        names: dict[str, str],
        changed: Callable[[Iterable[str]], None],
        fine: Callable[[], bool],
        caught_up: threading.Event,
        stop: threading.Event,
    ) -> None:
        self._consumer, self._store, self._names = consumer, store, names
        self._changed, self._fine = changed, fine
        self._caught_up, self._stop = caught_up, stop
        self._written = False  # since this assignment began
        self._positions: dict[Partition, Position] = {}
        self._waiting: set[Partition] = set()

    def run(self) -> None:
        """Read until somebody stops it, or what there is to read has changed."""
        partitions = self._partitions()
        self._begin(partitions)
        now = time.monotonic()
        looked, swept, seen = now, now, -_SEEN_SECONDS
        while not self._stop.is_set():
            messages = self._consumer.consume(BATCH, POLL_SECONDS)
            self._take(messages)
            now = time.monotonic()
            if self._store.gone():
                raise apsw.CantOpenError("the file is gone")
            # Where there is something to read, nothing is known to be well before it is written.
            heard = bool(messages) or (seen < 0 and not self._waiting)
            if now - looked >= _LOOK_SECONDS:
                looked, heard = now, True
                if self._partitions() != partitions:
                    raise _Again
            well = self._written or not self._waiting
            if heard and well and now - seen >= _SEEN_SECONDS:
                seen = now
                self._seen()
            if now - swept >= _SWEEP_SECONDS:
                # While there is more to delete, it goes on with the next batch.
                swept = swept if self._store.sweep(int(time.time() * 1000)) else now
                self._store.tidy()

    def _seen(self) -> None:
        """The broker has just answered: what is known is of this moment."""
        noted = self._store.seen(int(time.time() * 1000))
        if self._fine() or noted:
            self._changed([FRESH])

    def _partitions(self) -> set[Partition]:
        """The partitions of our topics that are there."""
        found = self._consumer.list_topics(timeout=_ANSWER_SECONDS).topics
        return {
            (canonical, partition)
            for name, canonical in self._names.items()
            if name in found and found[name].error is None
            for partition in found[name].partitions
        }

    def _begin(self, partitions: set[Partition]) -> None:
        physical_of = {canonical: name for name, canonical in self._names.items()}
        stored = self._store.positions()
        bounds: dict[Partition, tuple[int, int]] = {}
        for here in partitions:
            place = TopicPartition(physical_of[here[0]], here[1])
            low, high = self._consumer.get_watermark_offsets(place, timeout=_ANSWER_SECONDS)
            bounds[here] = low, high
        anew = [
            here
            for here, (_, high) in bounds.items()
            if here in stored and stored[here].next > high
        ]
        gone = stored.keys() - partitions
        if anew or gone:
            # A topic of less records than were read is another topic of the same name.
            log.warning(
                "%s was made anew or is gone: the read model is built again",
                (anew or [*gone])[0][0],
            )
            self._store.rebuild()
            stored = {}
        begin = []
        for here, (low, high) in bounds.items():
            start = max(low, stored[here].next) if here in stored else low
            self._positions[here] = Position(start, high)
            begin.append(TopicPartition(physical_of[here[0]], here[1], start))
            if start < high:
                self._waiting.add(here)
        self._store.write([], self._positions)
        self._consumer.assign(begin)
        self._told()

    def _take(self, messages: list[Any]) -> None:
        records, touched = [], {}
        for message in messages:
            error = message.error()
            topic = self._names.get(message.topic() or "")
            if error is not None:
                if error.code() == KafkaError._PARTITION_EOF and topic is not None:
                    # Marks of transactions lie behind the last record.
                    here = topic, message.partition()
                    touched[here] = Position(message.offset(), message.offset())
                    self._waiting.discard(here)
                elif error.code() in _OFFSET_GONE:
                    raise _Again
                elif not error.retriable():
                    raise KafkaException(error)
                continue
            assert topic is not None
            here = topic, message.partition()
            after = message.offset() + 1
            touched[here] = Position(after, max(after, self._end(message)))
            records.append(_record(topic, message))
        moved = {here: at for here, at in touched.items() if self._positions.get(here) != at}
        if records or moved:
            self._positions |= moved
            kinds = self._store.write(records, touched)
            self._written = self._written or bool(records)
            self._changed(kinds)
        self._told()

    def _end(self, message: Any) -> int:
        place = TopicPartition(message.topic(), message.partition())
        _, high = self._consumer.get_watermark_offsets(place, cached=True)
        return int(high)

    def _told(self) -> None:
        if not self._waiting:
            self._caught_up.set()


def _close(store: Store | None) -> None:
    if store is not None:
        try:
            store.close()
        except apsw.Error:
            log.info("%s could not be closed in order", store.path)


def _record(topic: str, message: Any) -> Record:
    return Record(
        topic=topic,
        partition=message.partition(),
        offset=message.offset(),
        key=message.key(),
        value=message.value(),
        timestamp=message.timestamp()[1],
        headers=headers(message),
    )


def _sentence(settings: Settings, error: KafkaError) -> str:
    if is_refusal(error):
        return (
            f"the cluster does not let the console read ({error.str()}); give it READ and DESCRIBE "
            "on the topics: handoff doctor"
        )
    return (
        f"the broker at {settings.kafka_bootstrap_servers} does not answer ({error.str()}); "
        "look at it with: handoff doctor"
    )
