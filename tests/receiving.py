"""An HTTP server of a test, in a thread of its own, that notes what it was sent."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, NamedTuple, Self

from aiohttp import web


class Request(NamedTuple):
    """One request as it came, with the moment (monotonic seconds)."""

    at: float
    path: str
    headers: Mapping[str, str]
    body: bytes


Handler = Callable[[Request], Awaitable[web.StreamResponse]]


class Receiving:
    """Listens on 127.0.0.1 at a free port; `handler` answers, on the server's event loop. With
    `port`, at that one: a server that comes back."""

    def __init__(self, handler: Handler, port: int = 0, ssl: Any = None) -> None:
        self.requests: list[Request] = []
        self.port = port
        self._handler = handler
        self._ssl = ssl
        self._loop = asyncio.new_event_loop()
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def url(self) -> str:
        return f"http{'s' if self._ssl else ''}://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._up.wait(10)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it; a second time does nothing."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        came = Request(time.monotonic(), request.path, headers, await request.read())
        self.requests.append(came)
        return await self._handler(came)

    async def _start(self) -> web.AppRunner:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port, ssl_context=self._ssl)
        await site.start()
        self.port = runner.addresses[0][1]
        return runner

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        runner = self._loop.run_until_complete(self._start())
        self._up.set()
        self._loop.run_forever()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()


def until(condition: Callable[[], Any], what: str, limit: float = 20.0) -> Any:
    """Wait until the condition holds, and return what it returned."""
    end = time.monotonic() + limit
    while not (found := condition()):
        assert time.monotonic() < end, f"not within {limit:.0f} s: {what}"
        time.sleep(0.01)
    return found
