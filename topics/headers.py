"""The headers of a message, whatever its producer has written into them."""

from typing import Any

from schemas.flow import Headers


def headers(message: Any) -> Headers:
    """The headers of a `Message`; none where a name among them is no UTF-8, which other clients may
    write: confluent-kafka cannot give any of them then."""
    try:
        return message.headers() or []
    except (SystemError, UnicodeDecodeError):
        return []
