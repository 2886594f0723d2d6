"""Two replicas behind one address, each with a read model of its own; and many who watch one."""

from __future__ import annotations

import asyncio
import json
import resource
import socket
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from pydantic import SecretStr
from ruamel.yaml import YAML
from starlette.types import Receive, Scope, Send

from schemas import serde
from schemas.flow import Record
from tests.read_model import START, story
from tests.web_client import Browser, WebSite

URL = "https://handoffs.example.com"
WATCHERS = 200
SECONDS = 60.0


class Balanced:
    """Sends each request to the next replica, as a balancer without sticky sessions does."""

    def __init__(self, *sites: WebSite) -> None:
        self._next = cycle(sites)
        self.asked = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked += 1
        await next(self._next).app(scope, receive, send)


@pytest.fixture
def replicas(tmp_path: Path) -> Iterator[tuple[WebSite, WebSite]]:
    access = {
        "kind": "ConsoleAccess",
        "proxy": {"addresses": ["10.0.0.0/8"]},
        "roles": [{"who": ["olga"], "role": "operator"}],
    }
    made = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        with (folder / "access.yaml").open("w") as file:
            YAML().dump(access, file)
        made.append(
            WebSite(
                folder,
                story(),
                console_access=folder / "access.yaml",
                console_url=URL,
                console_key=SecretStr("k" * 32),
            )
        )
    one, two = made
    two.topics = two.console.gate = one.topics  # one Kafka
    yield one, two
    one.close()
    two.close()


def test_a_person_does_not_notice_which_replica_answers(replicas: tuple[WebSite, WebSite]) -> None:
    one, two = replicas
    both = Balanced(one, two)
    browser = Browser(both, "10.1.2.3", URL)
    browser.headers = {"x-forwarded-user": "olga"}
    held = browser.get("/held?workflow=sales&last=24h")
    link = next(each for each in held.links if each.startswith("/held/"))
    before = both.asked
    page = browser.send(browser.get(link).form(link, "release"), reason="Go.")
    assert both.asked == before + 3  # the form came from one, went to the other, and back
    assert page.status == 200
    (found,) = one.topics.amendments
    assert found.by == "olga"

    # What is pending stands on the topic, so that each replica says it.
    body = serde.encode(found)
    written = Record("handoff.amendments", 5, 900, found.task_id.encode(), body, START + 10**8, [])
    for site in replicas:
        site.add(written)
    for _ in replicas:
        assert "not answered yet" in browser.get(link).rows[found.id]
    # The same address is the same page.
    address = "/held?workflow=sales&receiver=nurture&last=24h"
    assert browser.get(address).rows == browser.get(address).rows
    # A page of one replica that watches the other is told to look again.
    asyncio.run(_told_to_look_again(one, two))


async def _told_to_look_again(one: WebSite, two: WebSite) -> None:
    stream = two.console.watchers.messages(one.console.watchers.place())
    assert '"held"' in await anext(stream)
    await stream.aclose()


# --- many watchers -------------------------------------------------------------------------------


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[WebSite, str]]:
    """A console at an address."""
    site = WebSite(tmp_path, story())
    listening = socket.create_server(("127.0.0.1", 0), backlog=WATCHERS)
    config = uvicorn.Config(
        site.app, log_config=None, access_log=False, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],), name="console of a test")
    thread.start()
    yield site, f"http://127.0.0.1:{listening.getsockname()[1]}"
    site.console.changes.end()
    server.should_exit = True
    thread.join(SECONDS)
    assert not thread.is_alive()
    listening.close()
    site.close()


async def _message(lines: Any) -> dict[str, Any]:
    async for line in lines:
        if line.startswith("data: "):
            return dict(json.loads(line.removeprefix("data: ")))
    raise AssertionError("the stream has ended")


def test_two_hundred_watch_and_one_who_reads_nothing_holds_nobody(
    served: tuple[WebSite, str],
) -> None:
    site, url = served
    megabytes = asyncio.run(_watched(site, url))
    assert megabytes < 100


async def _watched(site: WebSite, url: str) -> float:
    """Open the streams, change the model over and over; how much more memory that took, in MB."""
    address = httpx.URL(url)
    slow = socket.create_connection((address.host, address.port or 80))
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.sendall(f"GET /live HTTP/1.1\r\nHost: {address.host}\r\n\r\n".encode())
    limits = httpx.Limits(max_connections=WATCHERS + 10)
    try:
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(
                httpx.AsyncClient(base_url=url, limits=limits, timeout=SECONDS)
            )
            streams = []
            for _ in range(WATCHERS):
                answer = await stack.enter_async_context(client.stream("GET", "/live"))
                streams.append(answer.aiter_lines())
            await asyncio.gather(*map(_message, streams))  # each has begun
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            for number in range(5):
                kind = ("held", "patterns", "edges", "tasks", "handoffs")[number]
                site.console.changes.note([kind])
                async with asyncio.timeout(SECONDS):
                    told = await asyncio.gather(*map(_message, streams))
                assert all(kind in each["kinds"] for each in told)
                page = await client.get("/held")  # pages are answered meanwhile
                assert page.status_code == 200
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before
    finally:
        slow.close()
