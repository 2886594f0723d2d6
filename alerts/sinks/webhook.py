"""A webhook, signed as the Standard Webhooks specification says (version 1.0.0).

`webhook-id` is the same for every attempt of one message: whoever has seen it ignores the repeat.
The body is `{"type": "handoff.alert.ACTION", "timestamp": ..., "data": {...}}`.
"""

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Callable
from http import HTTPStatus

import msgspec
from msgspec import Struct
from pydantic import SecretStr

from alerts.notification import Answer, Delivered, Failed, Notification, Refused
from alerts.sinks.http import Http
from alerts.sinks.words import digest

_PREFIX = "whsec_"
_KEY_BYTES = range(24, 65)  # as the specification bounds a secret


class SigningKeyError(ValueError):
    """A signing secret is not one; the text says what is expected."""


class WebhookSettings(Struct, frozen=True, kw_only=True):
    """`secrets` are `whsec_` and base64; while they are exchanged, the new and the old one. Each
    message is signed with all of them."""

    name: str
    url: SecretStr
    secrets: tuple[SecretStr, ...]


class Webhook:
    """Sends to one URL. Raises `SigningKeyError` for a secret that is none."""

    def __init__(self, settings: WebhookSettings, clock: Callable[[], float] = time.time) -> None:
        self.name = settings.name
        self._url = settings.url.get_secret_value()
        self._keys = [_key(secret, settings.name) for secret in settings.secrets]
        if not self._keys:
            raise SigningKeyError(f"{settings.name}: a webhook needs a secret to sign with")
        self._clock = clock
        self._http = Http()

    async def send(self, notification: Notification) -> Answer:
        """Any 2xx is success, and 410 says that nobody wants it. All else is tried again: the
        endpoint may be away, or be repaired."""
        body = _body(notification)
        id_ = message_id(notification)
        at = str(int(self._clock()))
        headers = {
            "webhook-id": id_,
            "webhook-timestamp": at,
            "webhook-signature": " ".join(_signature(key, id_, at, body) for key in self._keys),
        }
        answer = await self._http.post(self._url, body, headers)
        if isinstance(answer, Failed):
            return answer
        if answer.ok:
            return Delivered()
        if answer.status == HTTPStatus.GONE:
            return Refused("it answered 410 Gone: the endpoint is no longer there; take it out")
        return answer.failed()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()


def message_id(notification: Notification) -> str:
    """The same for the same key and number, and without a full stop, as signatures need it."""
    return f"msg_{digest(notification.key)}_{notification.number}"


def _body(notification: Notification) -> bytes:
    data = msgspec.to_builtins(notification)
    data["facts"] = [{"label": label, "text": text} for label, text in notification.facts]
    for ours in ("to", "reference"):
        del data[ours]
    return msgspec.json.encode(
        {
            "type": f"handoff.alert.{notification.action}",
            "timestamp": notification.at,
            "data": data,
        }
    )


def _signature(key: bytes, id_: str, at: str, body: bytes) -> str:
    signed = f"{id_}.{at}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def _key(secret: SecretStr, name: str) -> bytes:
    text = secret.get_secret_value().removeprefix(_PREFIX)
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) not in _KEY_BYTES:
        raise SigningKeyError(
            f"{name}: a signing secret is whsec_ and 24 to 64 random bytes in base64; make one "
            "with: echo whsec_$(openssl rand -base64 32)"
        )
    return key
