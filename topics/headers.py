"""The headers of a message, whatever its producer has written into them."""

from operator import methodcaller
from typing import Any

from schemas.flow import Headers

# confluent-kafka sets an error there and returns all the same. Where warm bytecode (3.14: any)
# calls it, whatever comes next raises that error; where C calls it, this call does.
_headers = methodcaller("headers")


def headers(message: Any) -> Headers:
    """The headers of a `Message`; none where a name among them is no UTF-8, which other clients may
    write: confluent-kafka cannot give any of them then."""
    try:
        return _headers(message) or []
    except (SystemError, UnicodeDecodeError):
        return []
