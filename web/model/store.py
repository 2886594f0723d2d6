"""The file of the read model, as its one writer sees it: rows and positions in one transaction."""

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import apsw

from schemas.flow import Record
from web.model import statements as to
from web.model.apply import apply
from web.model.parts import Unreadable
from web.model.schema import NUMBER, TABLES, TRIGGERS, VERSION
from web.model.statements import Row
from web.model.trouble import DAMAGED, delete

log = logging.getLogger("handoff.console")

Partition = tuple[str, int]  # of a canonical topic
DAY_MS: Final = 86_400_000
# What tools and people said is read at its coordinates, so it is of no use past the topic's own
# week; the rest is kept as long as packages are, which is a month.
SAID: Final = ("handoff.tool-outputs", "handoff.acks", "handoff.amendments")
SAID_DAYS: Final = 8
DAYS: Final = 32
FIGURES_DAYS: Final = 400
_SWEPT: Final = 2_000  # rows of a table that one sweep deletes
BUSY_MS: Final = 10_000  # waited for another process that writes
_LANES: Final = 20_000  # that are remembered as written


class Position(NamedTuple):
    """How far a partition was read: the next offset, and the end that was seen last."""

    next: int
    end: int


class Store:
    """The writer's connection. One thread uses it.

    A file of another schema version, or one that SQLite cannot read, is made anew. Where that
    cannot be, an error of apsw or an OSError is raised, and `trouble.sentence` says what to do.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._open_or_rebuild()
        except BaseException:
            self.close()
            raise

    def _open_or_rebuild(self) -> None:
        try:
            self._open()
            version = self._version()
            damage = None if version is None else self._damage()
        except DAMAGED as error:
            version, damage = None, str(error)
        if damage is not None:
            log.warning("the read model %s is damaged (%s): it is built anew", self.path, damage)
        elif version not in (None, VERSION):
            log.info("the read model %s is of another version: it is built anew", self.path)
        if version != VERSION or damage is not None:
            self.rebuild()

    def _open(self) -> None:
        self.db = apsw.Connection(str(self.path))
        self.db.set_busy_timeout(BUSY_MS)
        # What a power cut takes is read again, so no commit waits for the disk.
        self.db.execute(
            "pragma journal_mode = wal; pragma synchronous = normal; "
            "pragma journal_size_limit = 67108864; pragma wal_autocheckpoint = 8192; "
            "pragma cache_size = -65536; pragma temp_store = memory;"
        )
        self._file = _identity(self.path)
        self._lanes: set[Row] = set()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All or nothing. On a full disk SQLite has rolled back already."""
        self.db.execute("begin immediate")
        try:
            yield
            self.db.execute("commit")
        except BaseException:
            if self.db.in_transaction:
                self.db.execute("rollback")
            raise

    def _damage(self) -> str | None:
        """What is wrong with the pages of the file; None where nothing is found."""
        found = str(self.db.execute("pragma quick_check(1)").get)
        return None if found == "ok" else " ".join(found.split())

    def _version(self) -> int | None:
        found = self.db.execute("pragma user_version").get
        return found or None

    def rebuild(self) -> None:
        """Begin again with an empty file: everything is to be read from the beginning."""
        self.close()
        delete(self.path)
        self._open()
        with self._transaction():
            self.db.execute(TABLES)
            self.db.execute(TRIGGERS)
            self.db.execute(f"pragma user_version = {VERSION}")

    def gone(self) -> bool:
        """Whether somebody deleted or replaced the file."""
        return _identity(self.path) != self._file

    def positions(self) -> dict[Partition, Position]:
        """How far each partition was read."""
        names = {number: name for name, number in NUMBER.items()}
        found = self.db.execute("select topic, partition, next, end_ from positions")
        return {
            (names[topic], partition): Position(after, end)
            for topic, partition, after, end in found
        }

    def write(
        self, records: Iterable[Record], positions: Mapping[Partition, Position]
    ) -> frozenset[str]:
        """Write what follows from records, and the positions after them. Returns the kinds that
        changed. Records that are none of ours are counted, and left out."""
        kinds: set[str] = set()
        unreadable: dict[Partition, int] = {}
        last: dict[Partition, int] = {}
        execute = self.db.execute
        lanes = set(self._lanes)  # what is rolled back is not remembered
        with self._transaction():
            for record in records:
                here = record.topic, record.partition
                last[here] = record.timestamp
                try:
                    rows = apply(record)
                except Unreadable as error:
                    unreadable[here] = unreadable.get(here, 0) + 1
                    log.info("%s[%d]@%d is left out: %s", *here, record.offset, error)
                    continue
                for row in rows:
                    if row.statement is to.LANE:
                        if row in lanes:
                            continue
                        lanes.add(row)
                    execute(row.statement.sql, row.values)
                    kinds.add(row.statement.kind)
            for here, position in positions.items():
                execute(
                    "insert into positions values (?1, ?2, ?3, ?4, ?5, ?6) "
                    "on conflict do update set next = excluded.next, end_ = excluded.end_, "
                    "written = coalesce(excluded.written, written), "
                    "unreadable = unreadable + excluded.unreadable",
                    (NUMBER[here[0]], here[1], *position, last.get(here), unreadable.get(here, 0)),
                )
        self._lanes = lanes if len(lanes) <= _LANES else set()
        return frozenset(kinds)

    def seen(self, now: int) -> bool:
        """Note that the topics were looked at now (epoch ms), and that nothing is wrong. Returns
        whether something was."""
        with self._transaction():
            self.db.execute("insert or replace into meta values ('as_of', ?)", (str(now),))
            gone = self._delete("delete from meta where name = 'problem'")
        return gone > 0

    def problem(self, sentence: str) -> bool:
        """Note what keeps the topics from being read. Returns whether that is new."""
        known = self.db.execute("select content from meta where name = 'problem'").get
        with self._transaction():
            self.db.execute("insert or replace into meta values ('problem', ?)", (sentence,))
        return bool(known != sentence)

    def sweep(self, now: int) -> int:
        """Delete some of what is past its time at `now` (epoch ms). Returns how many rows went;
        where that is not 0, there may be more."""
        gone = 0
        said, rest = now - SAID_DAYS * DAY_MS, now - DAYS * DAY_MS
        with self._transaction():
            for topic, number in NUMBER.items():
                gone += self._sweep_events(number, said if topic in SAID else rest)
            for table, key in (
                ("handoffs", "n"),
                ("violations", "n"),
                ("tasks", "(task_id, workflow)"),
            ):
                names = key.strip("()")
                gone += self._delete(
                    f"delete from {table} where {key} in (select {names} from {table} "
                    f"where written < ?1 order by written limit {_SWEPT})",
                    rest,
                )
            for table, before in (
                ("amendments", said),
                ("amended", rest),
                ("dead_letters", rest),
                ("links", rest),
            ):
                column = "at" if table == "links" else "written"
                gone += self._delete(f"delete from {table} where {column} < ?1", before)
            for table, column in (("figures", "since"), ("occurrences", "at")):
                gone += self._delete(
                    f"delete from {table} where {column} < ?1", now - FIGURES_DAYS * DAY_MS
                )
            gone += self._delete(
                "delete from registrations as old where written < ?1 and exists (select 1 from "
                "registrations as newer where newer.topic = old.topic and newer.key = old.key "
                "and newer.written > old.written)",
                rest,
            )
        return gone

    def _sweep_events(self, topic: int, before: int) -> int:
        """Records of a partition are in the order of their times, nearly."""
        gone = 0
        partitions = self.db.execute("select partition from positions where topic = ?", (topic,))
        for (partition,) in list(partitions):
            gone += self._delete(
                "delete from events where topic = ?1 and partition = ?2 and offset <= "
                "(select max(offset) from (select offset, written from events "
                f"where topic = ?1 and partition = ?2 order by offset limit {_SWEPT}) "
                "where written < ?3)",
                topic,
                partition,
                before,
            )
        return gone

    def _delete(self, sql: str, *values: int) -> int:
        self.db.execute(sql, values)
        return self.db.changes()

    def tidy(self) -> None:
        """Bring the log of changes into the file, after much was written."""
        self.db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        self.db.execute("pragma optimize")

    def close(self) -> None:
        """Give the file back."""
        db = getattr(self, "db", None)  # none where the file could not be opened
        if db is not None:
            db.close(True)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
