"""Tokens that a form carries, so that no other site can send one for a person. Pure but for the
random part.

A cookie holds a random text, and the form holds its HMAC with the key of the console and the
person: another site can neither read the one nor make the other. Nothing is kept at the server, so
replicas with the same key take each other's forms.
"""

import hashlib
import hmac
import secrets


def new_cookie() -> str:
    """A random text for the cookie."""
    return secrets.token_urlsafe(24)


def token(key: bytes, cookie: str, subject: str) -> str:
    """What the forms of a person carry."""
    words = f"{len(cookie)}:{cookie}{subject}".encode("utf-8", "surrogatepass")
    return hmac.new(key, b"handoff-form\n" + words, hashlib.sha256).hexdigest()


def is_token(key: bytes, cookie: str, subject: str, given: str) -> bool:
    """Whether a form's token fits its cookie and person."""
    return hmac.compare_digest(token(key, cookie, subject), given) if given.isascii() else False
