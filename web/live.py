"""Server-sent events: which kinds of things changed, told to everybody who looks at a page."""

import json
import uuid
from collections.abc import AsyncGenerator, Iterable
from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from web.model.changes import PAUSE_SECONDS, Changed, Changes
from web.model.statements import KINDS

GAP_MS: Final = 3000  # a browser waits so long before it connects again
# All who watch are sent about a hundred messages a second together: nothing else is answered while
# they are sent.
PAUSE_EACH_SECONDS: Final = 0.01
# A page is fetched so long after a change, or up to half as long again (live.js): the answer from
# before it is remembered for two seconds; and all who watch, however many, ask for about twenty
# pages a second. A change is told to all at once: what they ask for must not come at once.
GAP_LEAST_MS: Final = 2_100
GAP_EACH_MS: Final = 40
QUIET_SECONDS: Final = 20.0  # then a comment is sent, so that nobody in between hangs up
MOST: Final = 1000


class Watchers:
    """All who watch at this process."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._number = 0
        self._name = uuid.uuid4().hex[:12]  # versions of another process say nothing here

    def place(self) -> str:
        """Where a page that is made now begins to watch, so that it misses no change."""
        return f"{self._name}.{self._changes.settled()}"

    async def messages(self, since: str = "") -> AsyncGenerator[str]:
        """What one watcher is sent who has seen all up to a place."""
        self._counted(1)
        try:
            name, _, number = since.partition(".")
            if name == self._name and number.isascii() and number.isdecimal() and len(number) < 19:
                changed = self._changes.since(int(number))
            else:
                changed = Changed(self._changes.version, frozenset(KINDS))
            version = changed.version
            yield f"retry: {GAP_MS}\n{self._message(version, sorted(changed.kinds))}"
            while not self._changes.ended:
                changed = await self._changes.wait(version, QUIET_SECONDS)
                version = changed.version
                if changed.kinds:
                    yield self._message(version, sorted(changed.kinds))
                else:
                    yield ": still here\n\n"
        finally:
            self._counted(-1)

    async def page(self, request: Request) -> Response:
        """The stream of one watcher."""
        if self._number >= MOST:
            words = f"{MOST:,} people watch already; this page is as old as its last load.\n"
            return PlainTextResponse(words, 503)
        seen = request.headers.get("last-event-id") or request.query_params.get("since", "")
        return StreamingResponse(self.messages(seen), media_type="text/event-stream")

    def _counted(self, more: int) -> None:
        self._number += more
        self._changes.pause = max(PAUSE_SECONDS, self._number * PAUSE_EACH_SECONDS)

    def _message(self, version: int, kinds: Iterable[str]) -> str:
        gap = max(GAP_LEAST_MS, self._number * GAP_EACH_MS)
        data = json.dumps({"version": version, "kinds": list(kinds), "gap": gap})
        return f"id: {self._name}.{version}\nevent: changed\ndata: {data}\n\n"
