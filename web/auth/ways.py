"""The ways to know who somebody is: nobody signs in, or a proxy in front says it.

That with a provider of OpenID Connect is `web/auth/oidc.py`, which needs libraries of its own.
"""

import ipaddress

from starlette.requests import Request

from web.auth.access import AccessFile
from web.auth.guard import Refusal
from web.auth.people import Person, on_this_machine


class WithoutSignIn:
    """Everybody who reaches this machine's own address may do everything, as `unverified`."""

    asks = False

    def __init__(self) -> None:
        self._person = on_this_machine()

    def person(self, request: Request) -> Person:
        """The one person that there is."""
        return self._person


class ByProxy:
    """The headers of a reverse proxy, from its own addresses only."""

    asks = False

    def __init__(self, access: AccessFile) -> None:
        assert access.proxy is not None
        self._access = access
        self._proxy = access.proxy
        self._networks = access.proxy.networks()

    def person(self, request: Request) -> Person | None:
        """Who the proxy says it is. Raises `Refusal` where somebody else says so."""
        here = request.client.host if request.client else ""
        if not self._is_proxy(here):
            raise Refusal(
                403, "This console is reached by the proxy in front of it, and not directly."
            )
        subjects = request.headers.getlist(self._proxy.subject)
        subject = subjects[0].strip() if len(subjects) == 1 else ""
        if not subject or len(subject.encode()) > 256:
            return None
        said = request.headers.getlist(self._proxy.groups)
        groups = [each.strip() for line in said for each in line.split(",") if each.strip()]
        return self._access.person(subject, groups)

    def _is_proxy(self, address: str) -> bool:
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(found in network for network in self._networks)
