"""Server-sent events: which kinds of things changed, told to everybody who looks at a page.

A watcher costs one event and one set of words. What changes while a watcher still waits for its
next turn is told once.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Collection
from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

GAP_SECONDS: Final = 1.0  # between two messages to one watcher
QUIET_SECONDS: Final = 20.0  # then a comment is sent, so that nobody in between hangs up
MOST: Final = 1000


class _Watcher:
    def __init__(self) -> None:
        self.kinds: set[str] = set()
        self.woken = asyncio.Event()


class Watchers:
    """All who watch at this process. `tell` may be called from any thread."""

    def __init__(self) -> None:
        self._watchers: set[_Watcher] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self.version = 0

    def start(self) -> None:
        """Run in the event loop that serves the pages."""
        self._loop = asyncio.get_running_loop()

    def tell(self, kinds: Collection[str]) -> None:
        """These kinds of things have changed."""
        loop = self._loop
        if loop is not None and kinds and not loop.is_closed():
            loop.call_soon_threadsafe(self._tell, frozenset(kinds))

    def _tell(self, kinds: frozenset[str]) -> None:
        self.version += 1
        for watcher in self._watchers:
            watcher.kinds |= kinds
            watcher.woken.set()

    def close(self) -> None:
        """No message comes any more: whoever watches is let go."""
        self._closed = True
        for watcher in self._watchers:
            watcher.woken.set()

    async def messages(self) -> AsyncIterator[str]:
        """What one watcher is sent."""
        watcher = _Watcher()
        self._watchers.add(watcher)
        try:
            yield f"retry: 3000\n{self._message([])}"
            while not self._closed:
                try:
                    await asyncio.wait_for(watcher.woken.wait(), QUIET_SECONDS)
                except TimeoutError:
                    yield ": still here\n\n"
                    continue
                kinds, watcher.kinds = sorted(watcher.kinds), set()
                watcher.woken.clear()
                if kinds:
                    yield self._message(kinds)
                    await asyncio.sleep(GAP_SECONDS)
        finally:
            self._watchers.discard(watcher)

    def _message(self, kinds: list[str]) -> str:
        data = json.dumps({"version": self.version, "kinds": kinds})
        return f"event: changed\ndata: {data}\n\n"

    async def page(self, request: Request) -> Response:
        """The stream of one watcher."""
        if len(self._watchers) >= MOST:
            words = f"{MOST:,} people watch already; this page is as old as its last load.\n"
            return PlainTextResponse(words, 503)
        return StreamingResponse(self.messages(), media_type="text/event-stream")
