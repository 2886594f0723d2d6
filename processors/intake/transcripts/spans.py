"""Spans of agents, whichever library wrote them, in one form."""

from typing import Any, Literal

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

Kind = Literal["agent", "tool", "chat", "handoff", "other"]


class Span(Struct, omit_defaults=True):
    """One span of a trace. Times are epoch nanoseconds, None where there are none.

    `name` is that of the agent or the tool. Content is JSON, unset where nobody recorded it:
    `arguments` and `result` of a tool, `input` and `output` messages of a chat. `task` and
    `workflow` are what the trace says of itself.
    """

    trace: str
    id: str
    kind: Kind
    parent: str = ""
    name: str = ""
    start: int | None = None
    end: int | None = None
    to: str = ""
    call_id: str = ""
    arguments: Raw | UnsetType = UNSET
    result: Raw | UnsetType = UNSET
    failed: bool = False
    input: Raw | UnsetType = UNSET
    output: Raw | UnsetType = UNSET
    task: str = ""
    workflow: str = ""


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Span).decode


def raw(value: Any) -> Raw:
    """Plain data as it travels in a span. Raises `UnicodeEncodeError` and `RecursionError`."""
    return Raw(encode(value))
