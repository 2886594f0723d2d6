"""Read-only connections to the read model. A reader never waits for the writer, and the other way
round: each sees the rows as they were when it began."""

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

Answer = TypeVar("Answer")
ANSWER_SECONDS: Final = 2.0
EARLIER_SECONDS: Final = 60.0  # of what is told of the range before, which hardly changes
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
    """The read model as the pages see it. Any thread may use it."""

    def __init__(self, path: Path) -> None:
        self.path = path
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
        except apsw.Error:
            self.close()
            raise NotBuilt("the read model is being built again; look again in a moment") from None
        try:
            yield db
        finally:
            db.execute("rollback")

    def _connection(self) -> apsw.Connection:
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            raise NotBuilt("the read model is not built yet; look again in a moment") from None
        now = found.st_dev, found.st_ino
        before = getattr(self._of_thread, "opened", None)
        if before is not None and before[0] == now:
            return before[1]  # type: ignore[no-any-return]
        self.close()  # somebody deleted the file, and it was built again
        try:
            db = apsw.Connection(str(self.path), flags=apsw.SQLITE_OPEN_READONLY)
            db.set_busy_timeout(2_000)
            db.execute(
                "pragma query_only = on; pragma cache_size = -16384; pragma mmap_size = 1073741824"
            )
            fits = db.execute("pragma user_version").get == VERSION
        except apsw.Error:
            fits = False
        if not fits:
            raise NotBuilt("the read model is being built; look again in a moment")
        self._of_thread.opened = now, db
        return db

    def close(self) -> None:
        """Close the connection of this thread."""
        before = getattr(self._of_thread, "opened", None)
        if before is not None:
            before[1].close()
            del self._of_thread.opened
