"""What every request meets first: the host that it names, who it is, and that a form is ours.

One piece of ASGI in front of all pages, so that no page can forget a rule. Each rule has a reason:

- the Host must be one of ours: else a page of another site, whose name is made to lead to this
    machine (DNS rebinding), could read the console with the person's browser;
- a POST must come from our own page (`Sec-Fetch-Site`, `Origin`), with a token that only our page
    has: else another site could send a form for the person;
- nothing is cached, no page is shown in a frame, nothing inline runs, and nothing is fetched from
    elsewhere.
"""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import parse_qsl, quote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from web.auth import tokens
from web.auth.people import Person

MOST_FORM_BYTES: Final = 1 << 20
MOST_FORM_FIELDS: Final = 2000
OPEN_PATHS: Final = ("/healthz", "/static/")  # they tell nothing of any handoff
SIGN_IN: Final = "/sign-in"
HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_SECURE: Final = {"strict-transport-security": "max-age=31536000"}


class Refusal(Exception):
    """A request that is not answered: its status, and a sentence for a person.

    `again` holds the fields of a form that is sent once more after the person has signed in at
    `sign_in`. `title` is the heading of the page where that of the status does not say it, `back`
    the page to go on from.
    """

    def __init__(
        self,
        status: int,
        message: str,
        again: Mapping[str, str] | None = None,
        sign_in: str | None = None,
        title: str | None = None,
        back: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.again = again
        self.sign_in = sign_in
        self.title = title
        self.back = back


class SignIn(Protocol):
    """One way to know who somebody is."""

    asks: bool
    """Whether somebody unknown is sent to a page where they sign in."""

    def person(self, request: Request) -> Person | None:
        """Who it is; None for nobody. Raises `Refusal` for what is not to be believed."""


@dataclass(frozen=True)
class Site:
    """What the console is called: the hosts that a request may name, and whether it is https.

    `key` signs what forms carry.
    """

    hosts: frozenset[str]
    secure: bool
    key: bytes

    @property
    def cookie(self) -> str:
        """The name of the cookie that forms belong to. A browser takes the prefix only with https,
        and then from nobody else in the same domain."""
        return "__Host-handoff-form" if self.secure else "handoff-form"


Fail = Callable[[Request, Refusal], Response]


class Guard:
    """The ASGI application around the pages."""

    def __init__(self, app: ASGIApp, site: Site, sign_in: SignIn, fail: Fail) -> None:
        self._app = app
        self._site = site
        self._sign_in = sign_in
        self._fail = fail

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        state = scope.setdefault("state", {})
        cookie = request.cookies.get(self._site.cookie, "")
        fresh = not cookie
        if fresh:
            cookie = tokens.new_cookie()
        send = self._with_headers(scope, send, cookie if fresh else None)
        try:
            response = await self._check(request, state, cookie)
        except Refusal as refusal:
            response = self._refused(request, refusal)
        if response is not None:
            await response(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _check(
        self, request: Request, state: dict[str, object], cookie: str
    ) -> Response | None:
        path = request.url.path
        if request.method not in ("GET", "HEAD", "POST"):
            return PlainTextResponse("Pages are read with GET and answered with POST.", 405)
        if path == "/healthz":  # asked for by address; it tells nothing
            return None
        self._check_host(request.headers)
        if path.startswith(OPEN_PATHS) or path == SIGN_IN or path.startswith(SIGN_IN + "/"):
            return None
        person = self._sign_in.person(request)
        state["person"] = person
        if person is None:
            return await self._unknown(request)
        state["token"] = tokens.token(self._site.key, cookie, person.subject)
        if not person.grants:
            raise Refusal(
                403,
                "You have signed in, and no role is yours here. Ask whoever runs the console to "
                "name you in its access file.",
            )
        if request.method == "POST":
            state["form"] = await self._form(request, cookie, person)
        return None

    def _check_host(self, headers: Headers) -> None:
        try:
            host = urlsplit("//" + headers.get("host", "")).hostname or ""
        except ValueError:
            host = ""
        if host not in self._site.hosts:
            raise Refusal(
                421,
                "This console does not answer to that name. Open it by its own address; whoever "
                "runs it sets another name with HANDOFF_CONSOLE_URL.",
            )

    async def _unknown(self, request: Request) -> Response:
        if request.method == "POST":
            raise Refusal(
                401,
                "Your sign-in has ended, and nothing was done. Sign in again, and send it again: "
                "what you put in is still here.",
                await read_form(request) if self._is_ours(request.headers) else None,
                f"{SIGN_IN}?to=/signed-in" if self._sign_in.asks else "/signed-in",
            )
        if not self._sign_in.asks:
            raise Refusal(401, "The proxy in front did not say who you are, so nothing is shown.")
        to = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"{SIGN_IN}?to={quote(to, safe='')}", 303)

    async def _form(self, request: Request, cookie: str, person: Person) -> dict[str, str]:
        headers = request.headers
        if not self._is_ours(headers):
            raise Refusal(403, "That form came from another site, and nothing was done.")
        if not headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            raise Refusal(415, "A form of the console's own pages is needed.")
        form = await read_form(request)
        given = form.pop("token", "")
        if not tokens.is_token(self._site.key, cookie, person.subject, given):
            raise Refusal(
                403,
                "That form is not fresh any more, and nothing was done. Open the page again, and "
                "say it again.",
            )
        return form

    def _is_ours(self, headers: Headers) -> bool:
        """Whether a form came from our own page, as far as the browser says it."""
        fetched, origin = headers.get("sec-fetch-site"), headers.get("origin")
        scheme = "https" if self._site.secure else "http"
        return fetched in (None, "same-origin") and origin in (
            None,
            f"{scheme}://{headers.get('host', '')}",
        )

    def _refused(self, request: Request, refusal: Refusal) -> Response:
        if refusal.status == 421:  # no page for a name that is not ours
            return PlainTextResponse(refusal.message, 421)
        return self._fail(request, refusal)

    def _with_headers(self, scope: Scope, send: Send, cookie: str | None) -> Send:
        static = scope["path"].startswith("/static/")
        secure = self._site.secure

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in {**HEADERS, **(_SECURE if secure else {})}.items():
                    headers[name] = value
                headers["cache-control"] = "no-cache" if static else "no-store"
                page = headers.get("content-type", "").startswith("text/html")
                if cookie is not None and page:
                    flags = "; Path=/; HttpOnly; SameSite=Lax" + ("; Secure" if secure else "")
                    headers.append("set-cookie", f"{self._site.cookie}={cookie}{flags}")
            await send(message)

        return sending


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a form; of two of a name the last one. Raises `Refusal` where it is too large
    or no text."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_FORM_BYTES:
            raise Refusal(413, "That form is larger than 1 MiB, and nothing was done.")
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            max_num_fields=MOST_FORM_FIELDS,
            errors="strict",
        )
    except ValueError:
        raise Refusal(400, "That form cannot be read, and nothing was done.") from None
    return dict(pairs)


def random_key() -> bytes:
    """A key for one process: its forms end with it."""
    return secrets.token_bytes(32)


def hosts_of(url: str, bound: str) -> frozenset[str]:
    """The hosts that a request may name: that of the address people use, and the one listened on;
    on this machine's own addresses also its usual names."""
    found = {urlsplit(url).hostname or ""} if url else set()
    if is_loopback(bound):
        found |= {"127.0.0.1", "localhost", "::1", bound}
    elif bound not in ("0.0.0.0", "::"):
        found.add(bound)
    return frozenset(name.lower() for name in found if name)


def is_loopback(host: str) -> bool:
    """Whether what listens on a host is reached from this machine alone."""
    return host in ("localhost", "::1", "[::1]") or (
        host.startswith("127.") and all(part.isdigit() for part in host.split("."))
    )
