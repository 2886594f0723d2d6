"""One HTTP request of a sink: time-outs, no redirects, and a sentence for whatever goes wrong.

Certificates are verified by the system's authorities, or those of `SSL_CERT_FILE`. No sentence
holds an address, a header or a body: addresses of webhooks are secrets too.
"""

import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

import aiohttp
import msgspec
from msgspec import Struct

from alerts.notification import Failed
from schemas.unreadable import UNREADABLE

_TIMEOUT = aiohttp.ClientTimeout(total=10.0, connect=5.0, sock_connect=5.0)
_LONGEST_ANSWER = 65_536  # bytes that are read of an answer
USER_AGENT = "handoff-integrity"


class Response(Struct, frozen=True):
    """An answer: its status, the beginning of its body, and `Retry-After` in seconds."""

    status: int
    body: bytes
    after: float | None

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    def json(self) -> dict[str, Any]:
        """The body as an object; empty where it is none."""
        try:
            return msgspec.json.decode(self.body, type=dict[str, Any])
        except UNREADABLE:
            return {}

    def failed(self) -> Failed:
        """Why it is no success, for one that may be sent again."""
        return Failed(f"it answered {self.words}", self.after)

    @property
    def words(self) -> str:
        """The status in words."""
        if 300 <= self.status < 400:
            return f"{self.status}, a redirect, which is not followed; name the final address"
        try:
            return f"{self.status} {HTTPStatus(self.status).phrase}"
        except ValueError:
            return str(self.status)


class Http:
    """A client with connections that are kept. Used on one event loop."""

    def __init__(
        self,
        headers: Mapping[str, str] | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._headers = {"User-Agent": USER_AGENT, **(headers or {})}
        self._now = now
        self._session: aiohttp.ClientSession | None = None

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str] | None = None
    ) -> Response | Failed:
        """POST JSON."""
        sent = {"Content-Type": "application/json; charset=utf-8", **(headers or {})}
        return await self._request("POST", url, body, sent)

    async def get(self, url: str) -> Response | Failed:
        """GET."""
        return await self._request("GET", url, None, {})

    async def _request(
        self, method: str, url: str, body: bytes | None, headers: Mapping[str, str]
    ) -> Response | Failed:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=_TIMEOUT, headers=self._headers, cookie_jar=aiohttp.DummyCookieJar()
            )
        try:
            async with self._session.request(
                method, url, data=body, headers=headers, allow_redirects=False
            ) as answer:
                return Response(
                    answer.status,
                    await _beginning(answer.content),
                    retry_after(answer.headers.get("Retry-After"), self._now()),
                )
        except TimeoutError:
            return Failed("no answer within 10 s, so it may have arrived")
        except aiohttp.ClientConnectorCertificateError:
            return Failed("its certificate is not trusted")
        except aiohttp.ClientConnectorDNSError:
            return Failed("its name cannot be looked up")
        except aiohttp.ClientConnectorError as error:
            # The error's own text holds the address.
            return Failed(f"no connection: {os.strerror(error.os_error.errno or 0)}")
        except aiohttp.InvalidURL:
            return Failed("its address is not an http or https URL")
        except (aiohttp.ClientError, OSError) as error:
            return Failed(f"the connection broke: {type(error).__name__}")

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None


def retry_after(text: str | None, now: datetime) -> float | None:
    """The seconds that a `Retry-After` asks for (RFC 9110, section 10.2.3: seconds or a date); None
    where there is none that can be understood."""
    if text is None:
        return None
    text = text.strip()
    if text.isascii() and text.isdecimal() and len(text) < 10:
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, (date - now).total_seconds())


async def _beginning(content: aiohttp.StreamReader) -> bytes:
    found = b""
    while len(found) < _LONGEST_ANSWER:
        more = await content.read(_LONGEST_ANSWER - len(found))
        if not more:
            break
        found += more
    return found
