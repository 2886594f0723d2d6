"""What happens in a conversation or a trace, step by step. A builder makes tool outputs of it."""

from typing import Any

from msgspec import UNSET, Struct


class ShownInput(Struct):
    """What the next agent's input shows: the ids of calls, and all text in it."""

    calls: frozenset[str] = frozenset()
    text: str = ""


class Became(Struct):
    """An agent is active from here on."""

    agent: str


class Spoken(Struct):
    """Somebody said something: `role` is user or assistant."""

    key: str
    at: int | None
    role: str
    text: str


class Used(Struct):
    """A tool was called and answered. `arguments` and `result` are plain data, text that may be
    JSON, or UNSET where nobody recorded them; `agent` is who called it, where the step knows."""

    key: str
    at: int | None
    tool: str
    arguments: Any = UNSET
    result: Any = UNSET
    failed: bool = False
    call_id: str = ""
    agent: str = ""


class HandedOff(Struct):
    """The active agent handed off `to` another, by a `tool` or by itself.

    With `outside` the receiver does not see the conversation, only what the call says. `seen` is
    what the next agent's input shows, None where nobody recorded it. What the call itself failed
    with is `failed`: then nothing is handed off.
    """

    key: str
    at: int | None
    tool: str
    to: str
    arguments: Any = UNSET
    outside: bool = False
    seen: ShownInput | None = None
    failed: bool = False
    call_id: str = ""
    agent: str = ""


Step = Became | Spoken | Used | HandedOff
