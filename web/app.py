"""The console as an ASGI application: its pages, what stands in front of them, and how it starts.

A page is a module of `web/pages` with a tuple `ROUTES`, and where it has an entry in the
navigation, `NAV`.
"""

import hashlib
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from processors.runtime.settings import Settings, SettingsError
from web.auth.access import AccessFile, load_access
from web.auth.guard import Fail, Guard, Refusal, SignIn, Site, hosts_of, is_loopback, random_key
from web.auth.oidc import OUT, ByOidc
from web.auth.ways import ByProxy, WithoutSignIn
from web.context import Console
from web.page import Asked, broken, failure, refused
from web.pages import PAGES

log = logging.getLogger("handoff.console")
STATIC = Path(str(files("web"))) / "static"


def build(settings: Settings, console: Console, *routes: Route) -> ASGIApp:
    """The application. Raises `SettingsError` where it would be open to anybody; the text says what
    to set.

    `routes` are added to those of the pages.
    """
    access = load_access(settings.console_access) if settings.console_access else None
    site = site_of(settings, access)
    sign_in = _sign_in(settings, access)
    console.nav = [nav for page in PAGES for nav in page.NAV]
    console.assets = _version(STATIC)
    console.signs_out = isinstance(sign_in, ByOidc)
    pages = [each for page in PAGES for each in page.ROUTES]
    signing = sign_in.routes() if isinstance(sign_in, ByOidc) else []
    app = Starlette(
        routes=[
            Route("/healthz", _health),
            Route("/live", console.watchers.page),
            Route("/signed-in", _signed_in),
            Route(OUT, _signed_out),
            Mount("/static", StaticFiles(directory=STATIC)),
            *signing,
            *pages,
            *routes,
        ],
        exception_handlers={
            HTTPException: _not_here,
            Refusal: _refused,
            Exception: _broken,
        },
        lifespan=_lifespan(console),
    )
    app.state.console = console
    guarded: ASGIApp = Guard(app, site, sign_in, _fail(console))
    return sign_in.wrapped(guarded, site) if isinstance(sign_in, ByOidc) else guarded


def site_of(settings: Settings, access: AccessFile | None) -> Site:
    """What the console is called. Raises `SettingsError` where it would be open to anybody."""
    host, url = settings.console_host, settings.console_url
    if access is None and not is_loopback(host):
        raise SettingsError(
            f"the console would listen on {host} without sign-in, where anybody may reach it; keep "
            "HANDOFF_CONSOLE_HOST on 127.0.0.1, or say who may do what in an access file "
            "(HANDOFF_CONSOLE_ACCESS)"
        )
    if access is None and url:
        raise SettingsError(
            "HANDOFF_CONSOLE_URL says that others reach the console, and nobody signs in; say who "
            "may do what in an access file (HANDOFF_CONSOLE_ACCESS), or remove it"
        )
    if access is not None and settings.console_key is None:
        raise SettingsError(
            "with sign-in the console needs a key that signs its cookies and forms, the same for "
            'each replica: set HANDOFF_CONSOLE_KEY to what this prints: python -c "import secrets; '
            'print(secrets.token_urlsafe(32))"'
        )
    if access is not None and not url:
        raise SettingsError(
            "with sign-in the console needs to know by which address people reach it: set "
            "HANDOFF_CONSOLE_URL, such as https://handoffs.example.com"
        )
    key = settings.console_key
    return Site(
        hosts_of(url or "", host),
        (url or "").startswith("https://"),
        key.get_secret_value().encode() if key else random_key(),
    )


def _sign_in(settings: Settings, access: AccessFile | None) -> SignIn:
    if access is None:
        return WithoutSignIn()
    return ByOidc(access, settings) if access.oidc is not None else ByProxy(access)


def _lifespan(
    console: Console,
) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def living(app: Starlette) -> AsyncIterator[None]:
        yield
        console.close()

    return living


def _version(folder: Path) -> str:
    """A text that is another one when a static file is."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _fail(console: Console) -> Fail:
    def fail(request: Request, refusal: Refusal) -> Response:
        return refused(Asked(request, console), refusal)

    return fail


async def _health(request: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _signed_in(request: Request) -> Response:
    """Where somebody lands who signs in beside a page that is open."""
    words = "You are signed in. Close this page, and go on where you were.\n"
    return PlainTextResponse(words)


async def _signed_out(request: Request) -> Response:
    asked = Asked(request, request.app.state.console)
    return failure(asked, 200, "You have signed out. The front page leads to signing in again.")


async def _not_here(request: Request, error: Any) -> Response:
    message = "There is no such page. Look for it by its id, or begin at the front page."
    if error.status_code == 405:
        message = "That page is not answered that way. Begin at the front page."
    asked = Asked(request, request.app.state.console)
    return failure(asked, error.status_code, message)


async def _refused(request: Request, error: Any) -> Response:
    return refused(Asked(request, request.app.state.console), error)


async def _broken(request: Request, error: Exception) -> Response:
    return failure(Asked(request, request.app.state.console), 500, broken(error))
