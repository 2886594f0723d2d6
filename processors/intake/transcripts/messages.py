"""Messages of conversations, whichever framework wrote them, in one form.

Read are chat messages of OpenAI (https://platform.openai.com/docs/api-reference/chat) with the
legacy `function_call`, items of OpenAI responses, messages of Anthropic with their blocks, the
lines of Claude Code, messages of LangChain (plain, `data` and constructor form), messages with
`parts` of OpenTelemetry's GenAI conventions, and those of tau2-bench.
"""

from typing import Any

from msgspec import Struct

from processors.intake.transcripts.errors import TranscriptError
from processors.intake.transcripts.trees import items, millis, of, text_of

_ROLES = {"human": "user", "ai": "assistant", "developer": "system", "function": "tool"}
_CLASSES = {
    "HumanMessage": "user",
    "AIMessage": "assistant",
    "SystemMessage": "system",
    "ToolMessage": "tool",
    "FunctionMessage": "tool",
}
_NO_AGENT = {"", "model", "assistant", "user", "agent"}  # names that name nobody
_UNTAKEN = {"reasoning", "thinking", "redacted_thinking", "item_reference"}
_CALL_ITEMS = {"function_call": "arguments", "custom_tool_call": "input"}
_ANSWER_ITEMS = ("function_call_output", "custom_tool_call_output")
# Members and types of parts that hold a call or its answer, and whose they are: to leave one out
# would lose what a tool did, without a word.
_FOREIGN_MEMBERS = {
    "toolUse": "Amazon Bedrock's Converse API",
    "toolResult": "Amazon Bedrock's Converse API",
    "functionCall": "Gemini's own API",
    "functionResponse": "Gemini's own API",
    "function_call": "Gemini's own API",
    "function_response": "Gemini's own API",
    "toolCallId": "the Vercel AI SDK",
    "part_kind": "Pydantic AI",
}


class ToolCall(Struct):
    """A tool that is called. `arguments` are plain data, or text that may be JSON."""

    id: str
    name: str
    arguments: Any = None


class ToolAnswer(Struct):
    """What a tool answered. `failed` where the message itself says so."""

    id: str
    content: Any = None
    failed: bool = False
    name: str = ""


class Message(Struct):
    """One message: its text, its calls and the results in it; `at` is epoch ms or None."""

    role: str
    text: str = ""
    agent: str = ""
    calls: list[ToolCall] = []
    results: list[ToolAnswer] = []
    at: int | None = None
    by_user: bool = False  # a tool that the user called, and no agent (tau2-bench)


def is_message(value: Any) -> bool:
    """Whether a value has the shape of a message."""
    if not isinstance(value, dict):
        return False
    if isinstance(value.get("role"), str):
        return (not isinstance(value.get("choices"), list) and value.get("type") != "message") or (
            "content" in value and "stop_reason" not in value
        )
    kind = value.get("type")
    if kind == "constructor":
        return "kwargs" in value
    if kind in ("human", "ai", "system", "tool", "function"):
        return "content" in value or isinstance(value.get("data"), dict)
    return kind in ("reasoning", *_CALL_ITEMS, *_ANSWER_ITEMS)


def read_messages(values: list[Any]) -> list[Message]:
    """The messages of a conversation. Raises `TranscriptError` for what is none."""
    return [read_message(value, number) for number, value in enumerate(values)]


def read_message(value: Any, number: int = 0) -> Message:
    """One message. Raises `TranscriptError`, naming the message by its number, for what is none."""
    if not isinstance(value, dict):
        kind = type(value).__name__
        raise TranscriptError(f"message {number} is of type {kind}; an object is expected")
    at = millis(value.get("timestamp") or value.get("created_at"))
    if value.get("type") == "constructor":
        path = value.get("id")
        name = path[-1] if isinstance(path, list) and path else ""
        inner = of(value, "kwargs") or {}
        if not isinstance(inner, dict):
            raise TranscriptError(f"message {number} has no object under kwargs")
        return _plain(
            {"type": _CLASSES.get(text_of(name).removesuffix("Chunk"), ""), **inner}, at, number
        )
    if isinstance(value.get("data"), dict) and "role" not in value:
        return _plain({**value["data"], "type": value.get("type")}, at, number)
    if isinstance(value.get("message"), dict) and "role" not in value:
        return _plain(value["message"], at, number)
    return _plain(value, at, number)


def _plain(value: dict[str, Any], at: int | None, number: int) -> Message:
    kind = text_of(value.get("type"))
    if kind in _CALL_ITEMS:
        given = value.get(_CALL_ITEMS[kind])
        call = ToolCall(text_of(value.get("call_id")), _name(value, number), given)
        return Message("assistant", calls=[call], at=at)
    if kind == "mcp_call":  # the call and its answer in one
        return _mcp_call(value, at, number)
    if kind in _ANSWER_ITEMS:
        failed = value.get("status") in ("incomplete", "failed")
        result = ToolAnswer(text_of(value.get("call_id")), _joined(value.get("output")), failed)
        return Message("tool", results=[result], at=at)
    if kind in _UNTAKEN or kind.endswith("_call"):
        return Message("system", at=at)
    if not value.get("tool_calls"):
        for block in (
            n for m in ("content", "parts", "toolInvocations") for n in items(value.get(m))
        ):
            _check_block(block, number)
    role = text_of(value.get("role")) or kind
    role = _CLASSES.get(role, _ROLES.get(role, role)).lower()
    if not role:
        raise TranscriptError(f"message {number} has neither a role nor a type")
    message = Message(role, at=at, by_user=value.get("requestor") == "user")
    name = text_of(value.get("name"))
    if role == "assistant" and name.lower() not in _NO_AGENT:
        message.agent = name
    if role == "tool":
        message.results = _tool_results(value, number)
        return message
    message.calls = _tool_calls(value, number)
    _take_blocks(message, value.get("parts", value.get("content")), number)
    return message


def _mcp_call(value: dict[str, Any], at: int | None, number: int) -> Message:
    id_, error = text_of(value.get("id")), value.get("error")
    answer = ToolAnswer(id_, value.get("output") if error is None else error, error is not None)
    call = ToolCall(id_, _name(value, number), value.get("arguments"))
    return Message("assistant", calls=[call], results=[answer], at=at)


def _check_block(block: Any, number: int) -> None:
    """Raise `TranscriptError` for a part that shows the work of a tool in a form not read here."""
    if not isinstance(block, dict):
        return
    for name, whose in _FOREIGN_MEMBERS.items():
        if name in block:
            raise TranscriptError(
                f"message {number}: it is in the form of {whose} ({name}), which is not read; "
                "export OpenTelemetry traces of the agent, or record it through an "
                "OpenAI-compatible endpoint"
            )


def _tool_results(value: dict[str, Any], number: int) -> list[ToolAnswer]:
    nested = value.get("tool_messages")  # tau2-bench answers several calls in one message
    if isinstance(nested, list):
        return [r for each in nested if isinstance(each, dict) for r in _tool_results(each, number)]
    if isinstance(value.get("parts"), list):
        message = Message("tool")
        _take_blocks(message, value["parts"], number)
        return message.results
    blocks = [b for b in items(value.get("content")) if of(b, "type") == "tool_result"]
    if blocks:
        return [_block_result(block) for block in blocks]
    id_ = text_of(value.get("tool_call_id"))
    if not id_ and "error" in value:
        id_ = text_of(value.get("id"))
    failed = value.get("error") is True or value.get("status") == "error" or _flag(value)
    content = value.get("content")
    if not (content is None or isinstance(content, str | list | dict)):
        raise TranscriptError(
            f"message {number}: the content of a tool's answer is neither text nor a list"
        )
    return [ToolAnswer(id_, _joined(content), failed, text_of(value.get("name")))]


def _tool_calls(value: dict[str, Any], number: int) -> list[ToolCall]:
    calls = value.get("tool_calls") or of(value, "additional_kwargs", "tool_calls") or []
    if not isinstance(calls, list):
        raise TranscriptError(f"message {number}: tool_calls is no list")
    found = []
    for call in calls:
        function = of(call, "function") or of(call, "custom")
        named = function if isinstance(function, dict) else call
        if not isinstance(named, dict):
            raise TranscriptError(f"message {number}: a tool call is no object")
        given = named.get("arguments", named.get("args", named.get("input")))
        found.append(ToolCall(text_of(call.get("id")), _name(named, number), given))
    legacy = value.get("function_call") or of(value, "additional_kwargs", "function_call")
    if legacy and not found:
        if not isinstance(legacy, dict):
            raise TranscriptError(f"message {number}: function_call is no object")
        found.append(ToolCall("", _name(legacy, number), legacy.get("arguments")))
    return found


def _take_blocks(message: Message, content: Any, number: int) -> None:
    """Take the text of a message, and the calls and results that stand in its blocks."""
    if isinstance(content, str):
        message.text = content
        return
    texts = []
    for block in items(content):
        kind = text_of(of(block, "type"))
        if isinstance(block, str):
            texts.append(block)
        elif kind in ("tool_use", "server_tool_use", "tool_call"):
            if not any(call.id and call.id == text_of(block.get("id")) for call in message.calls):
                given = block.get("input", block.get("arguments", block.get("args")))
                message.calls.append(
                    ToolCall(text_of(block.get("id")), _name(block, number), given)
                )
        elif kind == "tool_call_response" or kind.endswith("tool_result"):  # a server's too
            message.results.append(_block_result(block))
        elif kind not in _UNTAKEN:
            text = of(block, "text")
            text = of(block, "content") if text is None and kind in ("text", "") else text
            texts += [text] if isinstance(text, str) else []
    message.text = "".join(texts)


def _block_result(block: dict[str, Any]) -> ToolAnswer:
    id_ = text_of(block.get("tool_use_id")) or text_of(block.get("id"))
    content = next((block[n] for n in ("content", "result", "response") if n in block), None)
    return ToolAnswer(id_, _joined(content), _flag(block), text_of(block.get("name")))


def _flag(value: dict[str, Any]) -> bool:
    return value.get("is_error") is True or value.get("isError") is True


def _joined(content: Any) -> Any:
    """A list of nothing but text parts as one text; other content as it is."""
    if isinstance(content, list) and content:
        texts = [part if isinstance(part, str) else of(part, "text") for part in content]
        if all(isinstance(text, str) for text in texts) and not all(
            isinstance(part, str) for part in content
        ):
            return "".join(texts)
    return content


def _name(value: dict[str, Any], number: int) -> str:
    name = text_of(value.get("name"))
    if not name:
        raise TranscriptError(f"message {number}: a tool call names no tool")
    return name
