"""Read-only connections to the read model. A reader never waits for the writer, and the other way
round: each sees the rows as they were when it began."""

import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import apsw

from web.model.schema import VERSION
from web.model.trouble import AWAY, DAMAGED, delete

log = logging.getLogger("handoff.console")
Answer = TypeVar("Answer")
ANSWER_SECONDS: Final = 2.0
EARLIER_SECONDS: Final = 60.0  # of what is told of the range before, which hardly changes
BUSY_MS: Final = 2_000  # waited for a file that is locked as a whole
_MOST_ANSWERS: Final = 256


class _Remembered:
    """An answer, or whoever is about to find it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.found: Any = None
        self.until = 0.0


class NotBuilt(Exception):
    """The read model is not there yet; the text is a sentence for a person."""


class Model:
    """The read model as the pages see it. Any thread may use it.

    `trouble` is what keeps the file from being written, as a sentence: the builder says so here,
    for it cannot be written down in that file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.trouble: str | None = None
        self._of_thread = threading.local()
        self._answers: OrderedDict[Hashable, _Remembered] = OrderedDict()
        self._lock = threading.Lock()

    def ask(
        self,
        question: Callable[..., Answer],
        *arguments: Hashable,
        keep: float = ANSWER_SECONDS,
        before: Any = None,
        **more: Hashable,
    ) -> Answer:
        """The answer to a question of `queries`, with these arguments after the connection. It is
        remembered for `keep` seconds: many who watch the same page ask once. Two moments `now`
        within an hour are the same question. `before`, where it is given, is handed on, and is no
        part of the question. Raises `NotBuilt`, and what the question raises."""
        now = more.get("now")
        same = more | ({"now": now // 3_600_000} if isinstance(now, int) else {})
        key = question, arguments, tuple(sorted(same.items()))
        with self._lock:
            answer = self._answers.setdefault(key, _Remembered())
            self._answers.move_to_end(key)
            while len(self._answers) > _MOST_ANSWERS:
                self._answers.popitem(last=False)
        with answer.lock:
            if time.monotonic() >= answer.until:
                given = more if before is None else {**more, "before": before}
                with self.read() as db:
                    answer.found = question(db, *arguments, **given)
                answer.until = time.monotonic() + keep
            return answer.found  # type: ignore[no-any-return]

    @contextmanager
    def read(self) -> Iterator[apsw.Connection]:
        """A connection whose rows do not change while it is used; within another use of this thread
        it sees the same rows. Raises `NotBuilt`."""
        db = self._connection()
        if db.in_transaction:
            yield db
            return
        try:
            db.execute("begin")
            yield db
        except DAMAGED as error:
            self._damaged(error)
            raise self._not_built("it was damaged and is being built again") from None
        except AWAY as error:
            self.close()
            raise self._not_built(f"it cannot be read now ({error})") from None
        finally:
            if self._open_here() is db and db.in_transaction:
                db.execute("rollback")

    def _open_here(self) -> apsw.Connection | None:
        """The connection of this thread."""
        opened = getattr(self._of_thread, "opened", None)
        return None if opened is None else opened[1]

    def _not_built(self, why: str) -> NotBuilt:
        """Why there is no answer: what the builder says, or else what was met here."""
        return NotBuilt(self.trouble or f"the read model: {why}; look again in a moment")

    def _damaged(self, error: Exception) -> None:
        """Delete the file, so that the builder begins a new one."""
        mine = self._of_thread.opened[0]
        self.close()
        with self._lock:  # of many threads that meet the damage, the first one deletes
            try:
                if _identity(self.path) != mine:
                    return
                log.warning("the read model %s is damaged (%s): it is built anew", self.path, error)
                delete(self.path)
            except OSError as refused:
                log.warning("%s cannot be deleted: %s", self.path, refused.strerror)

    def _connection(self) -> apsw.Connection:
        try:
            now = _identity(self.path)
        except OSError:
            raise self._not_built("it is not built yet") from None
        before = getattr(self._of_thread, "opened", None)
        if before is not None and before[0] == now:
            return before[1]  # type: ignore[no-any-return]
        self.close()  # somebody deleted the file, and it was built again
        try:
            db = apsw.Connection(str(self.path), flags=apsw.SQLITE_OPEN_READONLY)
        except apsw.Error:
            raise self._not_built("it cannot be opened") from None
        self._of_thread.opened = now, db
        try:
            db.set_busy_timeout(BUSY_MS)
            # Not mapped into memory: a file that somebody cuts short would end the process.
            db.execute(
                "pragma query_only = on; pragma cache_size = -8192; pragma temp_store = memory"
            )
            fits = db.execute("pragma user_version").get == VERSION
        except DAMAGED as error:
            self._damaged(error)
            fits = False
        except apsw.Error:
            fits = False
        if not fits:
            self.close()
            raise self._not_built("it is being built")
        return db

    def close(self) -> None:
        """Close the connection of this thread."""
        before = getattr(self._of_thread, "opened", None)
        if before is not None:
            before[1].close(True)
            del self._of_thread.opened


def _identity(path: Path) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino
