"""The console's pages as a client sees them: HTML read back, forms filled in; Kafka in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from starlette.types import ASGIApp

from console.errors import UnreachableError
from processors.runtime.settings import Settings
from schemas import serde
from schemas.flow import Record
from schemas.records import Amendment, ConsoleAudit
from tests.read_model import fill
from web.app import build
from web.context import Console
from web.model.queries.common import Place
from web.model.reader import Model
from web.model.store import Store

HOST = "http://127.0.0.1:6070"


class Topics:
    """A gate to records in memory. What people say is kept, and nobody answers it."""

    def __init__(self, records: Iterable[Record]) -> None:
        self.records = {Place(each.topic, each.partition, each.offset): each for each in records}
        self.amendments: list[Amendment] = []
        self.audits: list[ConsoleAudit] = []
        self.said: list[tuple[str, str, bytes | None]] = []
        self.away = False

    def read(self, places: Iterable[Place]) -> dict[Place, Record]:
        """The records at these places."""
        self._here()
        return {place: self.records[place] for place in places if place in self.records}

    def documents(self) -> dict[str, dict[str, bytes]]:
        """What the topics of documents hold."""
        self._here()
        found: dict[str, dict[str, bytes]] = {"handoff.contracts": {}, "handoff.receivers": {}}
        for each in self.records.values():
            if each.topic in found and each.value is not None:
                found[each.topic][(each.key or b"").decode()] = each.value
        return found

    def amend(self, bodies: Sequence[Amendment]) -> None:
        """Keep amendments."""
        self._here()
        for body in bodies:
            serde.check_lengths(body)
        self.amendments += bodies

    def audit(self, entry: ConsoleAudit) -> None:
        """Keep an entry."""
        self._here()
        self.audits.append(entry)

    def alert(self, topic: str, key: str, value: bytes | None) -> None:
        """Keep what is said of alerts."""
        self._here()
        self.said.append((topic, key, value))

    def close(self) -> None:
        """Nothing is open."""

    def _here(self) -> None:
        if self.away:
            raise UnreachableError("the broker at nowhere does not answer")


@dataclass
class Form:
    """A form of a page: where it leads, what it holds, and what its controls are called."""

    action: str
    values: dict[str, str] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)


class Page(HTMLParser):
    """What is on a page: its text, links, forms, and the rows of its tables by their keys."""

    def __init__(self, response: httpx.Response) -> None:
        super().__init__()
        self.status = response.status_code
        self.headers = response.headers
        self.source = response.text
        self.text = ""
        self.title = ""
        self.links: list[str] = []
        self.forms: list[Form] = []
        self.rows: dict[str, str] = {}
        self.texts: dict[str, str] = {}  # what text areas hold, by name
        self.tags: list[tuple[str, dict[str, str]]] = []
        self._row: str | None = None
        self._area: str | None = None
        self._inside: list[str] = []
        self.feed(response.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.tags.append((tag, given))
        self._inside.append(tag)
        if tag == "a":
            self.links.append(given.get("href", ""))
        elif tag == "form":
            self.forms.append(Form(given.get("action", "")))
        elif tag in ("input", "select", "textarea") and self.forms and "name" in given:
            self.forms[-1].names.append(given["name"])
            self.forms[-1].values[given["name"]] = given.get("value", "")
            if tag == "textarea":
                self._area = given["name"]
                self.texts[self._area] = ""
        elif tag == "tr":
            self._row = given.get("data-key")
            if self._row is not None:
                self.rows[self._row] = ""

    def handle_endtag(self, tag: str) -> None:
        while self._inside and self._inside.pop() != tag:
            pass
        if tag == "tr":
            self._row = None
        elif tag == "textarea":
            self._area = None

    def handle_data(self, data: str) -> None:
        if self._inside and self._inside[-1] == "title":
            self.title += data
            return
        if self._area is not None:
            self.texts[self._area] += data
        self.text += data
        if self._row is not None:
            self.rows[self._row] += data

    def form(self, action: str, wish: str | None = None) -> Form:
        """The form that leads there, of several the one with this wish."""
        for each in self.forms:
            if each.action == action and wish in (None, each.values.get("action")):
                return each
        raise AssertionError(f"no form {action} {wish} on the page")


class Walked(NamedTuple):
    """A page that a walk came to."""

    path: str
    page: Page


class Browser:
    """Asks the application as a browser does: with cookies, and from its own pages."""

    def __init__(self, app: ASGIApp, address: str = "127.0.0.1", host: str = HOST) -> None:
        self.app, self.address, self.host = app, address, host
        self.cookies: httpx.Cookies = httpx.Cookies()
        self.headers: dict[str, str] = {}

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        """One request, without following where it leads."""

        async def asking() -> httpx.Response:
            transport = httpx.ASGITransport(
                self.app, raise_app_exceptions=False, client=(self.address, 50_000)
            )
            async with httpx.AsyncClient(
                transport=transport, base_url=self.host, cookies=self.cookies
            ) as client:
                given = httpx.Headers(more.pop("headers", {})).multi_items()
                headers = [*self.headers.items(), *given]
                response = await client.request(method, path, headers=headers, **more)
                self.cookies = client.cookies
                return response

        return asyncio.run(asking())

    def get(self, path: str, **more: Any) -> Page:
        """A page."""
        return Page(self.ask("GET", path, **more))

    def walk(self, begin: Iterable[str], leads_on: Callable[[str], bool]) -> Iterator[Walked]:
        """Pages, and each page that one of them leads to by a link that `leads_on`; each once."""
        todo, seen = list(begin), set[str]()
        while todo:
            path = todo.pop()
            if path in seen:
                continue
            seen.add(path)
            page = self.get(path)
            yield Walked(path, page)
            todo += filter(leads_on, page.links)

    def send(
        self,
        form: Form,
        values: Mapping[str, str] | None = None,
        *,
        headers: dict[str, str] | None = None,
        **more: str,
    ) -> Page:
        """Send a form; to where it leads is gone after it."""
        own = {"origin": self.host, "sec-fetch-site": "same-origin"}
        data = {**form.values, **(values or {}), **more}
        response = self.ask(
            "POST", form.action, data=data, headers=own if headers is None else headers
        )
        if response.status_code == 303:
            return self.get(response.headers["location"])
        return Page(response)


def held(browser: Browser) -> str:
    """The page of the first held handoff."""
    return next(link for link in browser.get("/held").links if link.startswith("/held/"))


class WebSite:
    """The console on a story."""

    def __init__(self, folder: Path, records: Iterable[Record], **settings: Any) -> None:
        records = list(records)
        self.store = Store(folder / "console.sqlite")
        fill(self.store, records)
        self.topics = Topics(records)
        made = Settings.model_construct(**settings)
        self.model = Model(self.store.path)
        self.console = Console(made, self.model, self.topics)
        self.app = build(made, self.console)
        self.browser = Browser(self.app)

    def person(self, name: str) -> Browser:
        """The browser of somebody whom a proxy has signed in."""
        url = self.console.settings.console_url
        assert url is not None
        made = Browser(self.app, "10.1.2.3", url)
        made.headers = {"x-forwarded-user": name}
        return made

    def add(self, *records: Record) -> None:
        """More records come."""
        self.topics.records |= {Place(r.topic, r.partition, r.offset): r for r in records}
        fill(self.store, records)

    def replica(self) -> ASGIApp:
        """The application of another process on the same topics."""
        settings = self.console.settings
        return build(settings, Console(settings, Model(self.store.path), self.topics))

    def close(self) -> None:
        """End it."""
        self.model.close()
        self.store.close()
