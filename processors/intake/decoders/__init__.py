"""The decoders by the names that documents give them.

A *value* decoder makes one value of a record, from which the entries of `emit` make outputs. An
*output* decoder makes the outputs itself; `override` replaces members of them.
"""

from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct

from processors.intake.decoders import cloudevents, debezium, json_values
from processors.intake.mapped import Decoded, Skipped
from schemas.flow import Record

# A record and the options as the document has them. Raises Refused for what cannot be decoded.
ValueDecoder = Callable[[Record, Any], Decoded | Skipped]


class DecodedOutput(Struct):
    """An output that a decoder made: members of a tool output as plain data (`context` too), and
    the `value` that the expressions of `override` see."""

    members: dict[str, Any]
    value: Any = None


# The same, for one record that shows whole outputs.
OutputDecoder = Callable[[Record, Any], list[DecodedOutput] | Skipped]

VALUE_DECODERS: Final[dict[str, ValueDecoder]] = {
    "json": json_values.decode,
    "cloudevents": cloudevents.decode,
    "debezium": debezium.decode,
}
OUTPUT_DECODERS: Final[dict[str, OutputDecoder]] = {}
