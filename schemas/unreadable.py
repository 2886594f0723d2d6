"""What msgspec raises on bytes that it cannot read."""

from typing import Final

import msgspec

# No JSON, or JSON of another shape; a text that is not UTF-8; a value that nests too deep.
UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
