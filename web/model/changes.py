"""Tells watchers that something changed: cheap, whatever their number.

A version counts the changes; of each kind only the last version is kept. A watcher names the
version that it has seen, so it misses nothing between two waits.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from web.model.reader import ANSWER_SECONDS

# Watchers are told at most this often, all at once: what changes in between is told together.
PAUSE_SECONDS: Final = 0.5


class Changed(NamedTuple):
    """The version after the changes, and the kinds (`statements.KINDS`) that they touched."""

    version: int
    kinds: frozenset[str]


class Changes:
    """Written by the builder's thread, awaited in one event loop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._version = 0
        self._last: dict[str, int] = {}  # kind: the version that touched it last
        self._lately: deque[tuple[float, int]] = deque()  # when a version came, monotonic seconds
        self._older = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._event: asyncio.Event | None = None
        self._planned = False  # that the event is set
        self.pause = PAUSE_SECONDS
        self.ended = False

    @property
    def version(self) -> int:
        """The number of changes so far."""
        return self._version

    def note(self, kinds: Iterable[str]) -> None:
        """Something of these kinds changed. Any thread may say so."""
        touched = list(kinds)
        if not touched:
            return
        with self._lock:
            self._version += 1
            self._last.update(dict.fromkeys(touched, self._version))
            self._lately.append((time.monotonic(), self._version))
            self._forget()
        self._soon(self._plan)

    def settled(self) -> int:
        """The version that every answer has by now, one that is remembered too."""
        with self._lock:
            self._forget()
            return self._older

    def _forget(self) -> None:
        before = time.monotonic() - ANSWER_SECONDS
        while self._lately and self._lately[0][0] < before:
            self._older = self._lately.popleft()[1]

    def end(self) -> None:
        """No change follows: who waits is told at once. Any thread may say so."""
        with self._lock:
            self.ended = True
        self._soon(self._wake)

    def _soon(self, then: Callable[[], None]) -> None:
        loop = self._loop
        if loop is not None:
            try:
                loop.call_soon_threadsafe(then)
            except RuntimeError:  # the loop has ended, and nobody watches
                self._loop = None

    def _plan(self) -> None:
        if not self._planned:
            self._planned = True
            asyncio.get_running_loop().call_later(self.pause, self._wake)

    def _wake(self) -> None:
        self._planned = False
        if self._event is not None:
            self._event.set()
            self._event = None  # who waits from now on waits for the next change

    def since(self, version: int) -> Changed:
        """What changed after a version. A version of another process, larger than ours, is told
        that everything may have."""
        with self._lock:
            everything = version > self._version
            kinds = frozenset(
                kind for kind, last in self._last.items() if everything or last > version
            )
            return Changed(self._version, kinds)

    async def wait(self, version: int, seconds: float) -> Changed:
        """Wait until something has changed after a version, for `seconds` at most, or until no
        change follows; then no kinds are told."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while True:
            with self._lock:
                if self.ended:
                    return Changed(version, frozenset())
                if self._loop is not loop:
                    self._loop, self._event, self._planned = loop, None, False
                self._event = event = self._event or asyncio.Event()
                if self._version != version:
                    self._plan()
            try:
                async with asyncio.timeout_at(end):
                    await event.wait()
            except TimeoutError:
                return self.since(version)
            changed = self.since(version)
            if changed.version != version:
                return changed
