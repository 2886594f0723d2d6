"""The decoders by the names that documents give them.

A *value* decoder makes one value of a record, from which the entries of `emit` make outputs. An
*output* decoder makes the outputs itself; `override` replaces members of them.
"""

from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct

from processors.intake.mapped import Decoded, Skipped
from schemas.flow import Record

ValueDecoder = Callable[[Record, Any], Decoded | Skipped]


class DecodedOutput(Struct):
    """An output that a decoder made: members of a tool output as plain data (`context` too), and
    the `value` that the expressions of `override` see."""

    members: dict[str, Any]
    value: Any = None


# A record and the options as the document has them. Raises Refused for what cannot be decoded.
OutputDecoder = Callable[[Record, Any], list[DecodedOutput] | Skipped]

VALUE_DECODERS: Final[dict[str, ValueDecoder]] = {}
OUTPUT_DECODERS: Final[dict[str, OutputDecoder]] = {}
