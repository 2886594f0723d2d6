"""Server-sent events: which kinds of things changed, told to everybody who looks at a page."""

import json
from collections.abc import AsyncIterator, Iterable
from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from web.model.changes import Changes

GAP_MS: Final = 3000  # a browser waits so long before it connects again
QUIET_SECONDS: Final = 20.0  # then a comment is sent, so that nobody in between hangs up
MOST: Final = 1000


class Watchers:
    """All who watch at this process."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._number = 0

    async def messages(self) -> AsyncIterator[str]:
        """What one watcher is sent."""
        self._number += 1
        try:
            version = self._changes.version
            yield f"retry: {GAP_MS}\n{_message(version, ())}"
            while not self._changes.ended:
                changed = await self._changes.wait(version, QUIET_SECONDS)
                version = changed.version
                if changed.kinds:
                    yield _message(version, sorted(changed.kinds))
                else:
                    yield ": still here\n\n"
        finally:
            self._number -= 1

    async def page(self, request: Request) -> Response:
        """The stream of one watcher."""
        if self._number >= MOST:
            words = f"{MOST:,} people watch already; this page is as old as its last load.\n"
            return PlainTextResponse(words, 503)
        return StreamingResponse(self.messages(), media_type="text/event-stream")


def _message(version: int, kinds: Iterable[str]) -> str:
    data = json.dumps({"version": version, "kinds": list(kinds)})
    return f"event: changed\ndata: {data}\n\n"
