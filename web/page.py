"""What every page is given, and how it is answered: HTML in the shell, or one table as CSV."""

import logging
import traceback
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from console.errors import CommandError
from processors.alerts import kinds as alert_kinds
from schemas.serde import epoch_ms
from web import text
from web.auth.guard import Refusal
from web.auth.people import Person
from web.context import Console
from web.model.filters import FilterError, Filters
from web.model.queries.common import CursorError
from web.model.reader import EARLIER_SECONDS, NotBuilt
from web.tables import MIME, Table, as_csv

Earlier = TypeVar("Earlier")
KEPT: Final = ("id", "status", "q", "key")
log = logging.getLogger("handoff.console")


class Asked:
    """One request as a page sees it: who asks for what, and what it is answered from."""

    def __init__(self, request: Request, console: Console) -> None:
        self.request = request
        self.console = console
        self.now = datetime.now(UTC)
        self.since = console.watchers.place()  # before anything is asked of the read model

    @property
    def now_ms(self) -> int:
        """When it was asked (epoch ms)."""
        return epoch_ms(self.now)

    @property
    def kept(self) -> dict[str, str]:
        """The parameters of the URL beside the filters that say what the page is about."""
        params = self.request.query_params
        return {name: params[name] for name in KEPT if params.get(name)}

    @property
    def person(self) -> Person:
        """Who asks."""
        person: Person = self.request.state.person
        return person

    @property
    def token(self) -> str:
        """What the forms of the page carry."""
        token: str = self.request.state.token
        return token

    @property
    def form(self) -> dict[str, str]:
        """What was sent with a POST."""
        form: dict[str, str] = self.request.state.form
        return form

    @property
    def path(self) -> str:
        """The path of the page."""
        return self.request.url.path

    def query(self, name: str, default: str = "") -> str:
        """A parameter of the URL."""
        return self.request.query_params.get(name, default)

    @cached_property
    def filters(self) -> Filters:
        """The filters and the range of the URL, narrowed to what the person may read."""
        try:
            wanted = Filters.parse(dict(self.request.query_params))
        except FilterError as error:
            raise Refusal(400, f"The filters in the address are wrong: {error}.") from None
        return self.console.narrowed(wanted, self.person)

    def earlier(self, question: Callable[..., Earlier]) -> Earlier:
        """What a question tells of the range before; it may be a minute old."""
        return self.console.model.ask(question, self.filters, now=self.now_ms, keep=EARLIER_SECONDS)

    def at(self, path: str | None = None, **changed: str | int | None) -> str:
        """The URL of this page, or of another one, with the filters and with these parameters."""
        return self.to(path or self.path, self.filters, **changed)

    @staticmethod
    def to(path: str, filters: Filters, **changed: str | int | None) -> str:
        """The URL of a page with these filters and parameters."""
        params: dict[str, str | int | None] = {**filters.pairs(), **changed}
        query = urlencode({name: each for name, each in params.items() if each not in (None, "")})
        return path + (f"?{query}" if query else "")

    def must(self, role: Any, workflow: str | None, *teams: str | None) -> None:
        """Raises `Refusal` where the person has no such role for something of a workflow and
        teams."""
        if not self.person.may(role, workflow, *teams):
            doing = {
                "reader": "see this",
                "operator": "change this",
                "unmasker": "see values that are masked",
            }[role]
            raise Refusal(
                403, f"You may not {doing}: the access file gives you no role for it here."
            )


Page = Callable[[Asked], Response]
ENVIRONMENT = Environment(
    loader=PackageLoader("web", "templates"),
    autoescape=select_autoescape(default_for_string=True, default=True),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
ENVIRONMENT.filters.update(
    shown=text.shown,
    visible=text.visible,
    visible_lines=text.visible_lines,
    value_shown=text.value_shown,
    moment=text.moment,
    with_commands=text.with_commands,
    instant=text.iso,
    percent=text.percent,
    duration=text.duration,
    count=text.count,
)
ENVIRONMENT.globals["kinds_in_words"] = [
    (name, alert_kinds.title(name)) for name in alert_kinds.KINDS
]


def segment(name: str) -> str:
    """A name as one segment of a path."""
    return quote(name, safe="")


def render(
    asked: Asked,
    template: str,
    title: str,
    *,
    tables: Sequence[Table] = (),
    kinds: Sequence[str] = (),
    status: int = 200,
    **given: Any,
) -> Response:
    """The page: HTML, or where the URL asks for `format=csv`, one of its tables.

    `kinds` are those of the read model whose changes make it another page.
    """
    if asked.query("format") == "csv":
        return _csv(asked, tables)
    console = asked.console
    page = ENVIRONMENT.get_template(template).render(
        title=title,
        since=asked.since,
        asked=asked,
        person=asked.person,
        token=asked.token,
        now=asked.now,
        nav=console.nav,
        freshness=console.freshness(asked.now_ms),
        workflows=console.workflows(asked.person),
        tables={table.name: table for table in tables},
        kinds=" ".join(kinds),
        assets=console.assets,
        console=console,
        ago=lambda at: text.ago(at, asked.now),
        segment=segment,
        **given,
    )
    return HTMLResponse(page, status)


def _csv(asked: Asked, tables: Sequence[Table]) -> Response:
    wanted = asked.query("table") or (tables[0].name if tables else "")
    for table in tables:
        if table.name == wanted:
            named = f'attachment; filename="{table.name}.csv"'
            return Response(as_csv(table), media_type=MIME, headers={"content-disposition": named})
    known = ", ".join(table.name for table in tables) or "none"
    raise Refusal(404, f"This page has no table of that name; it has: {known}.")


def refused(asked: Asked, refusal: Refusal) -> Response:
    """A page that says in a sentence why there is no other one, and what to do about it."""
    return failure(asked, refusal.status, refusal.message, refusal)


def failure(asked: Asked, status: int, message: str, why: Refusal | None = None) -> Response:
    """A page with a sentence; of a refusal with its heading, its form to be sent once more, and the
    way back, as far as it has such."""
    page = ENVIRONMENT.get_template("failure.html").render(
        title=(why and why.title) or _TITLES.get(status, "Not answered"),
        message=message,
        again=why and why.again,
        sign_in=why and why.sign_in,
        back=why and why.back,
        path=asked.path,
        nav=asked.console.nav,
        person=asked.request.scope.get("state", {}).get("person"),
        token=asked.request.scope.get("state", {}).get("token", ""),
        assets=asked.console.assets,
        kinds="",
        since="",
        console=asked.console,
    )
    return HTMLResponse(page, status)


_TITLES: Final = {
    200: "Signed out",
    400: "That cannot be read",
    401: "Not signed in",
    403: "Not yours to see",
    409: "Somebody was faster",
    404: "Not here",
    503: "Not now",
    500: "Our mistake",
}


def route(path: str, page: Page, *, methods: Sequence[str] = ("GET",)) -> Route:
    """A page at a path. It runs in a thread of its own, as it waits for SQLite and Kafka."""

    async def answer(request: Request) -> Response:
        asked = Asked(request, request.app.state.console)

        def run() -> Response:
            try:
                return page(asked)
            except Refusal as refusal:
                return refused(asked, refusal)
            except CursorError as error:
                return failure(asked, 400, f"{str(error).capitalize()}.")
            except NotBuilt as error:
                return failure(asked, 503, _sentence(text.visible(str(error))))
            except CommandError as error:
                return failure(asked, 503, _sentence(text.visible(error.message)))
            except Exception as error:  # noqa: BLE001  # its text may quote a record
                return failure(asked, 500, broken(error))

        return await run_in_threadpool(run)

    return Route(path, answer, methods=list(methods), name=path)


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:].rstrip(".") + "."


def broken(error: Exception) -> str:
    """Log where a page failed; never what the error says, which may quote a record."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "an unknown place"
    log.error("a page could not be made: %s in %s", type(error).__name__, place)
    return (
        "This page could not be made, and the mistake is ours. The log of the console says where; "
        "the command line shows the same: handoff show TASK, handoff held list."
    )


def see(path: str, **params: str | int) -> Response:
    """After a form: look at a page."""
    query = urlencode(params)
    return RedirectResponse(path + (f"?{query}" if query else ""), 303)
