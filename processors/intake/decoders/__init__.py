"""The value decoders by the names that documents give them: each makes one value of a record, from
which the entries of `emit` make outputs. Those that make outputs themselves are in `decoding`."""

from collections.abc import Callable
from typing import Any, Final

from processors.intake.decoders import cloudevents, debezium, json_values
from processors.intake.mapped import Decoded, Skipped
from schemas.flow import Record

# A record and the options as the document has them. Raises Refused for what cannot be decoded.
ValueDecoder = Callable[[Record, Any], Decoded | Skipped]


VALUE_DECODERS: Final[dict[str, ValueDecoder]] = {
    "json": json_values.decode,
    "cloudevents": cloudevents.decode,
    "debezium": debezium.decode,
}
