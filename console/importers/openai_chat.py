"""OpenAI chat transcripts as tool outputs.

A transcript is a list of chat messages (https://platform.openai.com/docs/api-reference/chat): what
an `assistant` message asks for in `tool_calls`, a later `tool` message answers by `tool_call_id`.
The file holds one of these, plain or gzip:

- a list of transcripts, or one transcript: each a list of messages, or an object with the list
  under `messages` (fine-tuning files) or `traj` (tau-bench) and perhaps `task_id` and `trial`;
- JSON Lines of them.

Each transcript becomes one task, each answered call one tool output. What the choices are, and why:

- *Task*: `task_id` and `trial`, joined by a hyphen; a transcript without a `task_id` is named by
  the file and its number in it, from 1.
- *Event id*: the task, then the message that made the call and the call's number in it, both from
  0: `4-0#12.0`. A call's own id is none: logged ones repeat within a transcript.
- *Stage*: one for the whole transcript. Calling tools is how one assistant does its one step; a
  stage a tool would draw a map of edges that no work travels along.
- *Context*: the call's arguments under their own names; its result whole under the tool's name
  (text that is no JSON as a string); and the members of a result that is an object under theirs.
  So a contract can ask for `user_id`, whichever tool said it, and for `get_user.address`. Where an
  argument and a member have one name, the member counts: an argument is what the assistant asked
  for, a result what is true. A call whose result is an error tells nothing about the task: its
  output has no context.
- *Handoff*: a call of a tool that hands off. Its context is the arguments alone, for its result
  comes from the other side. It counts without a result too, where a log ends at the handoff, and
  not when its result is an error.
- *Time*: transcripts have none, so the clock starts at `start` and moves one second a message,
  through the whole file. The same file gives the same bytes.
"""

import gzip
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Raw, Struct

from schemas.records import Name

DEFAULT_HANDOFFS = {"transfer_to_human_agents": "human-agents"}
# In the past, so that no output is ahead of the clock of the broker that takes it.
DEFAULT_START = datetime(2024, 1, 1, tzinfo=UTC)

# How tools and agent frameworks begin a failure that they report as text.
_ERROR_TEXT = re.compile(
    r"\s*(?:(?:\w+\.)*\w*(?:error|exception)\b|an error occurred|traceback \(most recent)", re.I
)


_NULL = Raw(b"null")
_T = TypeVar("_T")


class TranscriptError(Exception):
    """The file cannot be imported. The message says where, what, and what is expected there."""


class _Function(Struct):
    name: Name
    arguments: str | dict[str, Raw] = ""


class _ToolCall(Struct):
    function: _Function
    id: str = ""


class _Message(Struct):
    role: str
    content: Raw = _NULL
    tool_calls: list[_ToolCall] | None = None
    tool_call_id: str | None = None
    function_call: Raw = _NULL


class _Wrapped(Struct):
    """A transcript inside an object."""

    messages: list[_Message] | None = None
    traj: list[_Message] | None = None
    task_id: str | int | None = None
    trial: str | int | None = None


class _Part(Struct):
    text: str = ""


class _MaybeMessage(Struct):
    role: Raw = _NULL


class _Call(Struct):
    """A tool call that waits for its result; `id` is the event id of the output it leads to."""

    id: str
    function: _Function


_decode_document = msgspec.json.Decoder(Raw).decode
_decode_list = msgspec.json.Decoder(list[Raw]).decode
_decode_maybe_message = msgspec.json.Decoder(_MaybeMessage).decode
_decode_messages = msgspec.json.Decoder(list[_Message]).decode
_decode_wrapped = msgspec.json.Decoder(_Wrapped).decode
_decode_content = msgspec.json.Decoder(str | list[_Part] | None).decode
_decode_object = msgspec.json.Decoder(dict[str, Raw]).decode
_encode = msgspec.json.Encoder().encode


def import_openai_chat(
    path: Path,
    *,
    workflow: str = "conversation",
    stage: str = "assistant",
    team: str = "assistants",
    handoffs: Mapping[str, str] = DEFAULT_HANDOFFS,
    start: datetime = DEFAULT_START,
) -> Iterator[bytes]:
    """The tool outputs of a file of transcripts, each one line of JSON without its line end.

    `handoffs` maps the name of a tool that hands off to the id of the receiver; `start` is an aware
    datetime, the event time of the file's first message. Raises `TranscriptError`, while iterating,
    for a file that cannot be read or is no file of transcripts, and `ValueError` for a `start`
    without an offset.
    """
    if start.tzinfo is None:
        raise ValueError("start needs an offset, as in 2024-01-01T00:00:00Z")
    clock = start.astimezone(UTC)
    numbers: dict[str, int] = {}
    for number, (place, raw) in enumerate(_transcripts(path), 1):
        given, messages = _read(place, raw)
        task_id = given or f"{path.name.split('.')[0]}-{number}"
        if task_id in numbers:
            raise TranscriptError(
                f"{place}: its task is named {task_id}, and so is that of transcript "
                f"{numbers[task_id]}; each transcript needs a task_id and trial of its own, or none"
            )
        numbers[task_id] = number
        for second, call, result in _answered(place, task_id, messages, handoffs):
            receiver = handoffs.get(call.function.name)
            members = _members(call.function.name, result)
            context: dict[str, Raw] = {}
            if members is not None:
                context = _arguments(call.function) | ({} if receiver else members)
            output = {
                "id": call.id,
                "task_id": task_id,
                "workflow": workflow,
                "stage": stage,
                "tool": call.function.name,
                "team": team,
                "occurred_at": clock + timedelta(seconds=second),
                "context": context,
            }
            if members is not None and receiver:
                output["handoff"] = {"to": receiver}
            line = _encode(output)
            # A pretty-printed result would break the line; inside strings JSON allows no line end.
            yield msgspec.json.format(line, indent=-1) if b"\n" in line or b"\r" in line else line
        clock += timedelta(seconds=len(messages))


def _transcripts(path: Path) -> Iterator[tuple[str, bytes]]:
    """Each transcript's JSON, with its place in the file."""
    number = 0
    for place, document in _documents(path):
        items = [document]
        if document.startswith(b"["):
            found = [bytes(item) for item in _parse(place, _decode_list, document)]
            if not (found and _is_message(found[0])):
                items = found
        for item in items:
            number += 1
            yield f"{place}: transcript {number}", item


def _documents(path: Path) -> Iterator[tuple[str, bytes]]:
    """The file's JSON documents: one a line when the first line is one, else the whole file."""
    try:
        with path.open("rb") as plain:
            zipped = plain.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rb") if zipped else path.open("rb") as file:
            first = next((line for line in file if line.strip()), b"").strip()
            if not first:
                raise TranscriptError(f"{path}: the file is empty; transcripts are expected")
            file.seek(0)
            if _is_document(first):
                for number, line in enumerate(file, 1):
                    if line.strip():
                        yield f"{path}, line {number}", line.strip()
            else:
                yield str(path), file.read().strip()
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise TranscriptError(f"{path}: cannot be read: {reason}") from None


def _is_document(line: bytes) -> bool:
    try:
        _decode_document(line)
    except (ValueError, RecursionError):
        return False
    return True


def _is_message(item: bytes) -> bool:
    """Whether an item of a list is a message, and the list therefore a transcript."""
    return item.startswith(b"{") and bytes(_decode_maybe_message(item).role) != b"null"


def _read(place: str, raw: bytes) -> tuple[str, list[_Message]]:
    """A transcript's name, empty when it has none, and its messages."""
    if raw.startswith(b"["):
        return "", _parse(place, _decode_messages, raw)
    wrapped = _parse(place, _decode_wrapped, raw)
    messages = wrapped.messages if wrapped.traj is None else wrapped.traj
    if messages is None:
        raise TranscriptError(
            f"{place}: no messages; a transcript is a list of chat messages, or an object "
            "that has one under `messages` or `traj`"
        )
    parts = [part for part in (wrapped.task_id, wrapped.trial) if part is not None]
    return ("" if wrapped.task_id is None else "-".join(map(str, parts))), messages


def _answered(
    place: str, task_id: str, messages: list[_Message], handoffs: Mapping[str, str]
) -> Iterator[tuple[int, _Call, str]]:
    """The calls in the order of their results: the message's number, the call, the result.

    Handoffs that nobody answered come last, with an empty result.
    """
    # A logged id may come again once it was answered, and even twice in one message: a queue each.
    waiting: dict[str, list[_Call]] = {}
    for at, message in enumerate(messages):
        if bytes(message.function_call) != b"null":
            raise TranscriptError(
                f"{place}, message {at}: it has a `function_call`, which OpenAI replaced by "
                "`tool_calls`; convert the file first"
            )
        for order, asked in enumerate(message.tool_calls or ()):
            call = _Call(f"{task_id}#{at}.{order}", asked.function)
            waiting.setdefault(asked.id, []).append(call)
        if message.role == "tool":
            calls = waiting.get(message.tool_call_id or "")
            if not calls:
                raise TranscriptError(
                    f"{place}, message {at}: a tool result whose tool_call_id is that of no open "
                    "call before it"
                )
            yield at, calls.pop(0), _text(f"{place}, message {at}", message.content)
    for calls in waiting.values():
        for call in calls:
            if call.function.name in handoffs:
                yield len(messages) - 1, call, ""


def _text(place: str, content: Raw) -> str:
    """A tool message's content as text: a string, or the text parts of a list."""
    found = _parse(f"{place}, content", _decode_content, content)
    if isinstance(found, list):
        return "".join(part.text for part in found)
    return found or ""


def _arguments(function: _Function) -> dict[str, Raw]:
    """A call's arguments by name. Arguments that are no JSON object, as models write, are none."""
    if isinstance(function.arguments, dict):
        return function.arguments
    try:
        return _decode_object(function.arguments)
    except (ValueError, RecursionError):
        return {}


def _members(tool: str, result: str) -> dict[str, Raw] | None:
    """What a result adds to the context, by name; None for an error."""
    if _ERROR_TEXT.match(result):
        return None
    try:
        raw = bytes(_decode_document(result))
    except (ValueError, RecursionError):
        return {tool: Raw(_encode(result))} if result.strip() else {}
    if raw.startswith(b"{"):
        members = _decode_object(raw)
        return None if _failed(members) else {tool: Raw(raw), **members}
    if raw.startswith(b'"') and _ERROR_TEXT.match(msgspec.json.decode(raw, type=str)):
        return None
    return {tool: Raw(raw)}


def _failed(members: dict[str, Raw]) -> bool:
    """Whether a result object reports an error: `error` has a value, or a flag says so."""
    return (
        bytes(members.get("error", _NULL)) not in (b"null", b"false", b'""', b"{}", b"[]")
        or any(bytes(members.get(flag, _NULL)) == b"true" for flag in ("isError", "is_error"))
        or any(bytes(members.get(flag, _NULL)) == b"false" for flag in ("success", "ok"))
    )


def _parse(place: str, decode: Callable[[bytes | Raw], _T], document: bytes | Raw) -> _T:
    try:
        return decode(document)
    except RecursionError:
        raise TranscriptError(f"{place}: the JSON nests too deep to be read") from None
    except ValueError as error:
        raise TranscriptError(f"{place}: {error}") from None
