"""The decoder `cloudevents`: events of CloudEvents 1.0 in Kafka (spec 1.0.2, Kafka binding 1.0.2).

Structured: the value is one JSON object with the attributes and `data`. Binary: the attributes are
headers `ce_...`, and the value is the data. Both give the same `value`: the attributes, `data`, and
the extension attributes under `extensions`.
"""

import base64
import binascii
from typing import Any, Final

from processors.intake.decoders.json_values import TOMBSTONE, read_key, read_value
from processors.intake.mapped import Decoded, Skipped
from schemas.flow import Record, Refused

_REQUIRED: Final = ("specversion", "id", "source", "type")
_ATTRIBUTES: Final = (*_REQUIRED, "subject", "time", "datacontenttype", "dataschema")
_NO_EXTENSIONS: Final = frozenset((*_ATTRIBUTES, "data", "data_base64"))
_PREFIXES: Final = ("ce_", "ce-")
_ABOUT: Final = "see the attributes in CloudEvents 1.0, or take decode: json"


def decode(record: Record, options: Any) -> Decoded | Skipped:
    """An event as its attributes, `data` and `extensions`. Raises `Refused`."""
    attributes = {
        name[3:].lower(): (content or b"").decode("utf-8", "replace")
        for name, content in record.headers
        if name[:3].lower() in _PREFIXES
    }
    if "specversion" in attributes:
        data = _binary_data(record)
        event: dict[str, Any] = {
            name: attributes[name] for name in _ATTRIBUTES if name in attributes
        }
        extensions: dict[str, Any] = {
            name: text for name, text in attributes.items() if name not in _NO_EXTENSIONS
        }
    else:
        if record.value is None:
            return TOMBSTONE
        whole = read_value(record.value)
        if type(whole) is list:
            raise Refused(
                "not_decoded",
                "the value is a list; a batch of events has no place in Kafka, one record is one "
                "event (CloudEvents, Kafka binding)",
            )
        if type(whole) is not dict or "specversion" not in whole:
            raise Refused(
                "not_decoded",
                "the record is no CloudEvent: neither the header ce_specversion nor a member "
                f"specversion is there; {_ABOUT}",
            )
        event = {name: whole[name] for name in _ATTRIBUTES if name in whole}
        extensions = {name: inner for name, inner in whole.items() if name not in _NO_EXTENSIONS}
        data = whole.get("data")
        if data is None and "data_base64" in whole:
            data = _from_base64(whole["data_base64"])
    _check(event)
    value = {**event, "data": data, "extensions": extensions}
    return Decoded(value, read_key(record.key))


def _check(event: dict[str, Any]) -> None:
    version = event["specversion"]
    if not isinstance(version, str) or not version.startswith("1."):
        message = "specversion is not 1.x, the version of CloudEvents that is decoded"
        raise Refused("not_decoded", message)
    for name in _REQUIRED:
        if not isinstance(event.get(name), str) or not event[name]:
            message = f"the required attribute {name} is missing or no text; {_ABOUT}"
            raise Refused("not_decoded", message)


def _binary_data(record: Record) -> Any:
    if not record.value:
        return None
    kind = ""
    for name, content in record.headers:
        if name.lower() == "content-type":
            kind = (content or b"").decode("utf-8", "replace").partition(";")[0].strip().lower()
    if kind.startswith("text/"):
        return record.value.decode("utf-8", "replace")
    if kind and not kind.endswith(("/json", "+json")):
        raise Refused(
            "not_decoded",
            "the header content-type says that the data is no JSON; this version decodes JSON and "
            "text",
        )
    return read_value(record.value)


def _from_base64(data: Any) -> Any:
    try:
        raw = base64.b64decode(data, validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise Refused("not_decoded", "data_base64 is no base64") from None
    return read_value(raw)
