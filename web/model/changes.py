"""Tells watchers that something changed: cheap, whatever their number.

A version counts the changes; of each kind only the last version is kept. A watcher names the
version that it has seen, so it misses nothing between two waits.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Iterable
from typing import Final, NamedTuple

from web.model.reader import ANSWER_SECONDS

# Watchers are woken at most this often: what changes in between is told together.
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
        self._wake_soon()

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
        self._wake_soon()

    def _wake_soon(self) -> None:
        loop = self._loop
        if loop is not None:
            try:
                loop.call_soon_threadsafe(self._wake)
            except RuntimeError:  # the loop has ended, and nobody watches
                self._loop = None

    def _wake(self) -> None:
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
        end = asyncio.get_running_loop().time() + seconds
        while True:
            with self._lock:
                if self.ended:
                    return Changed(version, frozenset())
                self._loop = asyncio.get_running_loop()
                if self._version == version:
                    self._event = self._event or asyncio.Event()
                    event = self._event
                else:
                    event = None
            left = end - asyncio.get_running_loop().time()
            if event is None:
                await asyncio.sleep(min(PAUSE_SECONDS, max(left, 0)))
                return self.since(version)
            try:
                await asyncio.wait_for(event.wait(), max(left, 0))
            except TimeoutError:
                return Changed(version, frozenset())
