"""Spans of agents, whichever library wrote them, in one form."""

from collections.abc import Callable
from typing import Any, Literal

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

Kind = Literal["agent", "tool", "chat", "handoff", "other"]


class Span(Struct, omit_defaults=True):
    """One span of a trace. Times are epoch nanoseconds, None where there are none.

    `name` is that of the agent or the tool. Content is JSON, unset where nobody recorded it:
    `arguments` and `result` of a tool, `input` and `output` messages of a chat. `task` and
    `workflow` are what the trace says of itself, and `run` where that is not the trace.

    `replaced` are members of outputs that a source overrides, as they are in a tool output, and
    `quiet` is how long (ms) the trace is to be quiet where a source says so.
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
    run: str = ""
    replaced: dict[str, Any] = {}
    quiet: int = 0


# Is given each span and the value that it was made of; false leaves it out.
Take = Callable[[Span, Any], bool]


def take_all(_: Span, __: Any) -> bool:
    """Leaves no span out."""
    return True


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Span).decode


def raw(value: Any) -> Raw:
    """Plain data as it travels in a span. Raises `UnicodeEncodeError` and `RecursionError`."""
    return Raw(encode(value))
