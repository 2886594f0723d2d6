"""A lane without a broker, for tests of stores: a changelog, and whoever judges on it."""

import time
from collections.abc import Callable, Iterator
from typing import cast

from confluent_kafka import Consumer, KafkaError, TopicPartition

from processors.driver import Driver
from processors.journal import StoreError
from processors.runtime.changelog_marks import ChangelogBounds
from processors.runtime.restoration import Restoration
from processors.runtime.state import Store
from schemas.flow import Output, Record
from tests.toy import Tally, toy

NOW = 1_800_000_000_000
LATER = NOW + 86_400_000
TOPIC = "t.log"
Change = tuple[str, bytes | None]


class _ChangelogMessage:
    def __init__(self, offset: int, change: Change | None) -> None:
        self._offset, self._change = offset, change

    def error(self) -> KafkaError | None:
        return KafkaError(KafkaError._PARTITION_EOF) if self._change is None else None

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset

    def key(self) -> bytes:
        assert self._change is not None
        return self._change[0].encode()

    def value(self) -> bytes | None:
        assert self._change is not None
        return self._change[1]


class Reader:
    """Stands for the consumer of a `Restoration`: gives a changelog, then its end."""

    def __init__(self, changes: list[Change], first: int = 0) -> None:
        self._changes, self._first = changes, first
        self._given: Iterator[_ChangelogMessage] = iter(())
        self.began: int | None = None  # the offset that was asked for

    def assign(self, places: list[TopicPartition]) -> None:
        (place,) = places
        self.began = place.offset
        self._given = self._messages(place.offset)

    def _messages(self, at: int) -> Iterator[_ChangelogMessage]:
        for n in range(at, self._first + len(self._changes)):
            yield _ChangelogMessage(n, self._changes[n - self._first])
        yield _ChangelogMessage(self._first + len(self._changes), None)

    def consume(self, most: int, seconds: float) -> list[_ChangelogMessage]:
        return [message for _, message in zip(range(most), self._given, strict=False)]

    def pause(self, places: list[TopicPartition]) -> None:
        """Nothing comes after the end anyhow."""


def restore(store: Store, changes: list[Change], id_: str = "id", first: int = 0) -> int | None:
    """Restore a store from a changelog; from which offset it was read, None where it was not."""
    reader = Reader(changes, first)
    changelogs = {0: ChangelogBounds(id_, first, first + len(changes))}
    restoration = Restoration(cast(Consumer, reader), TOPIC, {0: store}, changelogs, {})
    limit = time.monotonic() + 20
    while not restoration.done:
        assert time.monotonic() < limit
        restoration.step(0.05)
    return reader.began


def record(offset: int, key: str, value: str) -> Record:
    return Record("t.in0", 0, offset, key.encode(), value.encode(), NOW)


class Lanes:
    """Judge records as lanes do, in transactions of ten; `committed` is what came of them.

    `harm` is called before each transaction. A lane that its store ends is followed by another,
    which restores; there may be `most` of them.
    """

    def __init__(
        self,
        records: list[Record],
        opened: Callable[[], Store],
        harm: Callable[[int, Store], None] = lambda at, store: None,
        most: int = 4,
    ) -> None:
        self._records, self._opened, self._harm, self._most = records, opened, harm, most
        self._at = 0
        self.changes: list[Change] = []
        self.committed: list[Output] = []
        self.failures: list[str] = []

    def run(self) -> list[Output]:
        for _ in range(self._most):
            store: Store | None = None
            try:
                store = self._opened()
                self._lane(store)
            except StoreError as error:
                self.failures.append(str(error))
                continue
            finally:
                if store is not None:
                    store.close()
            return self.committed
        raise AssertionError("lanes end again and again")

    def _lane(self, store: Store) -> None:
        restore(store, self.changes)
        driver: Driver[Tally] = Driver(toy("t."), {})
        driver.assign(0, store)
        while self._at < len(self._records):
            self._harm(self._at, store)
            batch = self._records[self._at : self._at + 10]
            self._commit(driver, store, [x for one in batch for x in driver.step(one, NOW)])
        self._harm(self._at, store)
        while outputs := driver.fire(0, LATER, LATER, 10):
            self._commit(driver, store, outputs)

    def _commit(self, driver: Driver[Tally], store: Store, outputs: list[Output]) -> None:
        changed = list(driver.changelog())
        # What fails from here on comes too late to undo it.
        self.changes += [(key, state) for _, key, state in changed]
        self.committed += outputs
        self._at += 10
        driver.merge(changed)
        store.save(len(self.changes))
