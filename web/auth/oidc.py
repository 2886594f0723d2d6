"""Sign-in with OpenID Connect: authorization code with PKCE, by Authlib.

The sign-in lives in a signed cookie and nowhere else: any replica with the same key knows it. It
ends after the hours that the access file says, whatever is done meanwhile.
"""

import time
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from processors.runtime.settings import Settings, SettingsError
from web.auth.access import AccessFile
from web.auth.guard import SIGN_IN, Refusal, Site
from web.auth.people import Person

BACK = SIGN_IN + "/back"
OUT = SIGN_IN + "/out"  # what somebody sees who has signed out


class ByOidc:
    """A provider of OpenID Connect says who somebody is."""

    asks = True

    def __init__(self, access: AccessFile, settings: Settings) -> None:
        assert access.oidc is not None
        self._access = access
        self._oidc = access.oidc
        self._url = settings.console_url
        try:
            from authlib.integrations.starlette_client import OAuth  # noqa: PLC0415  # an extra
        except ImportError:
            raise SettingsError(
                "sign-in with OpenID Connect needs Authlib, httpx and itsdangerous; install them "
                "with: pip install 'handoff-integrity[oidc]'"
            ) from None
        secret = settings.console_oidc_secret
        self._client = OAuth().register(
            "provider",
            server_metadata_url=f"{self._oidc.issuer}/.well-known/openid-configuration",
            client_id=self._oidc.client_id,
            client_secret=secret.get_secret_value() if secret else None,
            code_challenge_method="S256",
            client_kwargs={"scope": self._oidc.scope, "timeout": 10},
        )

    def person(self, request: Request) -> Person | None:
        """Who has signed in, as long as that lasts."""
        session = request.session
        subject, until = session.get("subject"), session.get("until")
        if not isinstance(subject, str) or not isinstance(until, int | float):
            return None
        if time.time() >= until:
            return None
        return self._access.person(subject, session.get("groups", []))

    def wrapped(self, app: ASGIApp, site: Site) -> ASGIApp:
        """The application with the cookie of the session around it."""
        # It imports itsdangerous, which is of the same extra.
        from starlette.middleware.sessions import SessionMiddleware  # noqa: PLC0415

        return SessionMiddleware(
            app,
            secret_key=site.key.hex(),
            session_cookie="__Host-handoff" if site.secure else "handoff",
            max_age=int(self._oidc.session_hours * 3600),
            same_site="lax",
            https_only=site.secure,
        )

    def routes(self) -> list[Route]:
        """The pages of signing in and out."""
        return [
            Route(SIGN_IN, self._begin, methods=["GET"]),
            Route(BACK, self._end, methods=["GET"]),
            Route("/sign-out", self._out, methods=["POST"]),
        ]

    async def _begin(self, request: Request) -> Response:
        request.session.clear()
        request.session["to"] = local_path(request.query_params.get("to", "/"))
        back = (self._url or str(request.base_url).rstrip("/")) + BACK
        try:
            response: Response = await self._client.authorize_redirect(request, back)
        except Exception as error:  # noqa: BLE001  # the provider is away, or answers anything
            raise Refusal(503, self._away(error)) from None
        return response

    async def _end(self, request: Request) -> Response:
        to = local_path(request.session.get("to", "/"))
        try:
            found: dict[str, Any] = await self._client.authorize_access_token(
                request,
                claims_options={"iss": {"essential": True, "values": [self._oidc.issuer]}},
            )
        except Exception as error:  # noqa: BLE001  # nobody is let in for an error of ours, too
            request.session.clear()
            raise Refusal(401, self._away(error)) from None
        request.session.clear()
        claims = found.get("userinfo") or {}
        subject = claims.get(self._oidc.subject)
        if not isinstance(subject, str) or not subject or len(subject.encode()) > 256:
            raise Refusal(
                403,
                f"The provider signed you in without the claim {self._oidc.subject}, which says "
                "who you are. Whoever runs the console names another one in its access file.",
            )
        if self._oidc.subject == "email" and claims.get("email_verified") is False:
            raise Refusal(403, "The provider has not verified your address, so it says nothing.")
        groups = claims.get(self._oidc.groups)
        named = [each for each in groups if isinstance(each, str)] if type(groups) is list else []
        request.session["subject"] = subject
        request.session["groups"] = self._access.known_groups(named)
        request.session["until"] = time.time() + self._oidc.session_hours * 3600
        return RedirectResponse(to, 303)

    async def _out(self, request: Request) -> Response:
        request.session.clear()
        # A browser follows no form to another site (form-action), so the provider comes later.
        return RedirectResponse(OUT, 303)

    def _away(self, error: Exception) -> str:
        kind = type(error).__name__
        return (
            f"Signing in at {self._oidc.issuer} did not work ({kind}). Try again; when it goes on, "
            "tell whoever runs the console."
        )


def local_path(given: object) -> str:
    """A path of this console to go to after the sign-in; the front page for anything else."""
    text = given if isinstance(given, str) else "/"
    inside = text.startswith("/") and not text.startswith(("//", "/\\", SIGN_IN))
    return text if inside and text.isprintable() and len(text) < 2000 else "/"
