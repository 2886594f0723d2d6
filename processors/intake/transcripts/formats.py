"""Which format a foreign record has, and its conversations or spans."""

from collections.abc import Callable
from typing import Any, Final

from processors.intake.transcripts import agents_sdk, langfuse, otel
from processors.intake.transcripts.conversations import Conversation, Kind
from processors.intake.transcripts.errors import TranscriptError
from processors.intake.transcripts.messages import is_message, read_messages
from processors.intake.transcripts.spans import Span
from processors.intake.transcripts.trees import items, loads, of, text_of

Found = list[Conversation] | list[Span]


def _talk(kind: Kind, messages: Any, task: str = "") -> Conversation:
    if not isinstance(messages, list):
        raise TranscriptError("no list of messages")
    read = read_messages(messages)
    # What ends in a question is what a model was asked: its answer may come, and the next request.
    if kind == "transcript" and not task and read and read[-1].role in ("user", "tool"):
        kind = "request"
    return Conversation(kind, read, task)


def _openai_chat(value: Any) -> Found:
    if isinstance(value, list):
        return [_talk("transcript", value)]
    if not isinstance(value, dict):
        raise TranscriptError("a transcript is an object or a list of messages")
    if isinstance(value.get("choices"), list):
        answer = next((of(each, "message") for each in value["choices"]), None)
        return [_talk("response", [answer] if isinstance(answer, dict) else [])]
    messages = value.get("traj", value.get("messages"))
    if messages is None:
        raise TranscriptError(
            "no messages; a transcript is a list of chat messages, or an object that has one under "
            "`messages` or `traj`"
        )
    task, trial = value.get("task_id"), value.get("trial")
    parts = [text_of(part) for part in (task, trial) if part is not None]
    request = "model" in value and task is None
    return [
        _talk(
            "request" if request else "transcript",
            messages,
            "" if task is None else "-".join(parts),
        )
    ]


def _openai_responses(value: Any) -> Found:
    if isinstance(of(value, "output"), list):
        return [_talk("response", value["output"])]
    given = of(value, "input")
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    return [_talk("request", given)]


def _anthropic(value: Any) -> Found:
    if isinstance(of(value, "loglines"), list):
        lines = [each for each in value["loglines"] if of(each, "message")]
        return [_talk("transcript", lines, _session(lines))]
    if isinstance(value, list):
        return [_talk("transcript", value)]
    if isinstance(of(value, "message"), dict):
        return [_talk("line", [value], text_of(value.get("sessionId")) or "session")]
    if of(value, "type") == "message":
        return [_talk("response", [{**value, "type": None}])]
    if _is_session_line(value):
        return []  # of a session, and no message
    kind: Kind = "request" if "model" in value else "transcript"
    return [_talk(kind, of(value, "messages"))]


def _session(lines: list[Any]) -> str:
    return next((text_of(each["sessionId"]) for each in lines if of(each, "sessionId")), "")


def _langchain(value: Any) -> Found:
    if isinstance(value, list):
        return [_talk("transcript", value)]
    messages = (
        of(value, "messages") or of(value, "values", "messages") or of(value, "kwargs", "messages")
    )
    thread = of(value, "thread_id") or of(value, "configurable", "thread_id")
    return [_talk("transcript", messages, text_of(thread))]


def _tau2(value: Any) -> Found:
    found = []
    for each in items(of(value, "simulations")):
        parts = [text_of(of(each, name)) for name in ("task_id", "trial")]
        task = "-".join(part for part in parts if part) or text_of(of(each, "id"))
        found.append(_talk("transcript", of(each, "messages"), task))
    return found


def _toolbench(value: Any) -> Found:
    chains = of(value, "answer_generation", "train_messages")
    if not (isinstance(chains, list) and chains):
        raise TranscriptError("no answer_generation.train_messages")
    longest = max((each for each in chains if isinstance(each, list)), key=len, default=None)
    return [_talk("transcript", longest)]


def _langfuse(value: Any) -> Found:
    if _is_chatml(value):
        return [langfuse.read_chatml(id_, each) for id_, each in value.items()]
    return langfuse.read(value)


READERS: Final[dict[str, Callable[[Any], Found]]] = {
    "openai-chat": _openai_chat,
    "openai-responses": _openai_responses,
    "agents-sdk": agents_sdk.read,
    "otel-genai": otel.read,
    "anthropic": _anthropic,
    "langchain": _langchain,
    "langfuse": _langfuse,
    "tau2": _tau2,
    "toolbench": _toolbench,
}

_SOURCE = "describe the topic that it comes from in a source (docs/intake.md)"
# What is known and not taken, why, and what to do instead.
A2A = (
    "this is an A2A message: it shows one agent's side and no tool; handoff import does not read "
    "it because a task there is one request, not the work; import the traces of the agents, or "
    f"{_SOURCE}"
)
MCP = (
    "this is an MCP message: one call or one result, without the conversation that it belongs to; "
    "import the traces or transcripts of the client instead"
)
GEMINI = (
    "this is a request or answer of Gemini's own API, which handoff import does not read; export "
    "OpenTelemetry traces of the agent, or record it through an OpenAI-compatible endpoint"
)
PYDANTIC_AI = (
    "this is a message of Pydantic AI, which handoff import does not read; export OpenTelemetry "
    "traces of the agent"
)
STREAMED = (
    "this is a piece of a streamed answer; handoff import does not put them together; record the "
    "requests, which hold the whole history"
)
CLOUDEVENT = f"this is a CloudEvent; it is no transcript: {_SOURCE}"
DEBEZIUM = f"this is a Debezium change event; it is no transcript: {_SOURCE}"
OTHER_SIGNAL = (
    "these are logs or metrics of OpenTelemetry; handoff import reads traces (resourceSpans)"
)
OURS = "this is a tool output already: `handoff send` and `handoff dry-run` take it as it is"
UNKNOWN = (
    "its format is not known; handoff import reads "
    f"{', '.join(READERS)}, csv and xes; name one with --format if it is one of these, or "
    f"{_SOURCE}"
)


def detect(value: Any) -> str:
    """The format of a record. Raises `TranscriptError`, which says what it is, for what is not
    read."""
    if isinstance(value, list):
        return _of_list(value)
    if not isinstance(value, dict):
        raise TranscriptError(UNKNOWN)
    refused = _untaken(value)
    if refused:
        raise TranscriptError(refused)
    for name, is_one in _SIGNS:
        if is_one(value):
            return name
    raise TranscriptError(UNKNOWN)


def read(value: Any, format_: str) -> Found:
    """The conversations or spans of a record. Raises `TranscriptError`."""
    try:
        return READERS[format_](value)
    except RecursionError:
        raise TranscriptError("the JSON nests too deep to be read") from None
    except UnicodeEncodeError:
        raise TranscriptError("a text holds half a character (a lone surrogate)") from None
    except (AttributeError, TypeError, KeyError, ValueError):
        raise TranscriptError(f"it is no record of {format_}") from None


def _of_list(value: list[Any]) -> str:
    if not value:
        return "openai-chat"
    first = value[0]
    if isinstance(first, dict) and is_message(first):
        return _dialect(value)
    return detect(first)


def _untaken(value: dict[str, Any]) -> str:
    if value.get("object") == "chat.completion.chunk":
        return STREAMED
    if "specversion" in value and "source" in value:
        return CLOUDEVENT
    if _is_change(value) or any(_is_change(each) for each in value.values()):
        return DEBEZIUM
    if "resourceLogs" in value or "resourceMetrics" in value:
        return OTHER_SIGNAL
    if "contents" in value or "candidates" in value:
        return GEMINI
    if "parts" in value and value.get("kind") in ("request", "response"):
        return PYDANTIC_AI
    if "jsonrpc" in value:
        method = text_of(value.get("method"))
        a2a = method[:1].isupper() or method.startswith(("message/", "tasks/", "agent/"))
        return A2A if a2a or "contextId" in str(value.get("result"))[:2000] else MCP
    if text_of(value.get("role")).startswith("ROLE_") or (
        "parts" in value and ("messageId" in value or value.get("kind") == "message")
    ):
        return A2A
    message = value.get("message")
    if isinstance(message, dict) and "parts" in message:
        return A2A
    task = value.get("task")
    if any(name in value for name in ("statusUpdate", "artifactUpdate")) or (
        isinstance(task, dict) and "status" in task
    ):
        return A2A
    tasks = value.get("tasks")
    if isinstance(tasks, list) and "simulations" not in value:
        return A2A
    if "detail" in value and isinstance(value.get("status"), int) and "errors" in value:
        return "this is an error that an HTTP API answered (A2A answers so): it shows no work"
    if "resultType" in value or "structuredContent" in value or "_meta" in value:
        return MCP
    if "task_id" in value and "tool" in value and "workflow" in value:
        return OURS
    return ""


def _is_change(value: Any) -> bool:
    """Whether a value is a change event of Debezium, with its schema or without."""
    if not isinstance(value, dict):
        return False
    if isinstance(value.get("schema"), dict) and "payload" in value:
        return True
    return "op" in value and ("before" in value or "after" in value)


def _is_session_line(value: dict[str, Any]) -> bool:
    kind = value.get("type")
    if "sessionId" in value or "leafUuid" in value:
        return True
    return kind in ("summary", "file-history-snapshot", "queue-operation")


def _is_chatml(value: Any) -> bool:
    if not (isinstance(value, dict) and value):
        return False
    return all(
        any(isinstance(of(each, part, "success"), bool) for part in ("input", "output"))
        for each in value.values()
    )


def _is_otel(value: dict[str, Any]) -> bool:
    if "resourceSpans" in value or "resource_spans" in value:
        return True
    if "traceId" in value and "spanId" in value:
        return True
    return isinstance(value.get("context"), dict) and "trace_id" in value["context"]


def _is_agents_sdk(value: dict[str, Any]) -> bool:
    if value.get("object") in ("trace", "trace.span"):
        return True
    first = next(items(value.get("data")), None)
    return of(first, "object") in ("trace", "trace.span")


def _is_langfuse(value: dict[str, Any]) -> bool:
    if isinstance(value.get("observations"), list) or langfuse.is_observation(value):
        return True
    return isinstance(of(value, "trace", "observations"), list) or _is_chatml(value)


def _is_anthropic(value: dict[str, Any]) -> bool:
    if isinstance(value.get("loglines"), list) or _is_session_line(value):
        return True
    if value.get("type") == "message" and "stop_reason" in value:
        return True
    if isinstance(value.get("messages"), list):
        if any(
            "input_schema" in tool for tool in items(value.get("tools")) if isinstance(tool, dict)
        ):
            return True
        return _dialect(value["messages"]) == "anthropic"
    return False


def _is_langchain(value: dict[str, Any]) -> bool:
    messages = value.get("messages") or of(value, "values", "messages")
    return isinstance(messages, list) and _dialect(messages) == "langchain"


def _is_responses(value: dict[str, Any]) -> bool:
    if value.get("object") == "response" and isinstance(value.get("output"), list):
        return True
    given = value.get("input")
    if isinstance(given, list):
        return all(is_message(each) or of(each, "type") for each in given)
    return isinstance(given, str) and "model" in value


_RESPONSE_ITEMS: Final = (
    "function_call",
    "function_call_output",
    "custom_tool_call",
    "custom_tool_call_output",
    "mcp_call",
)


def _dialect(messages: list[Any]) -> str:
    """Whose messages these are."""
    for each in messages:
        kind = of(each, "type")
        if kind == "constructor" or (kind in ("human", "ai") and "role" not in each):
            return "langchain"
        if kind in _RESPONSE_ITEMS:
            return "openai-responses"
        for block in items(of(each, "content")):
            if of(block, "type") in ("tool_use", "tool_result"):
                return "anthropic"
    return "openai-chat"


_SIGNS: Final[list[tuple[str, Callable[[dict[str, Any]], bool]]]] = [
    ("otel-genai", _is_otel),
    ("agents-sdk", _is_agents_sdk),
    ("tau2", lambda value: isinstance(value.get("simulations"), list)),
    ("toolbench", lambda value: isinstance(value.get("answer_generation"), dict)),
    ("langfuse", _is_langfuse),
    ("anthropic", _is_anthropic),
    ("langchain", _is_langchain),
    ("openai-chat", lambda value: any(n in value for n in ("messages", "traj", "choices"))),
    ("openai-responses", _is_responses),
]


def read_text(text: bytes, format_: str = "") -> tuple[str, Found]:
    """The format of one JSON document (that which is named, or found out) and what is in it."""
    value = loads(text)
    format_ = format_ or detect(value)
    return format_, read(value, format_)
