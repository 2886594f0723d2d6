"""Traces of Langfuse, as its API and its export give them: a trace and its observations."""

from typing import Any

from msgspec import UNSET

from processors.intake.transcripts.errors import TranscriptError
from processors.intake.transcripts.messages import is_message
from processors.intake.transcripts.spans import Kind, Span, raw
from processors.intake.transcripts.trees import items, nanos, of, text_of, unfold

_KINDS: dict[str, Kind] = {"GENERATION": "chat", "TOOL": "tool", "AGENT": "agent"}
_TOOL_OPERATION = "execute_tool"


def read(value: Any) -> list[Span]:
    """The spans of one exported trace, or of one observation. Raises `TranscriptError` for what is
    none."""
    if is_observation(value):
        session, name = value.get("sessionId"), value.get("traceName")
        return [_span(value, text_of(session), text_of(name))]
    found = value.get("observations") if isinstance(value, dict) else None
    if not isinstance(found, list):
        found = of(value, "trace", "observations")
    if not isinstance(found, list):
        raise TranscriptError("it has no list of observations")
    session = text_of(of(value, "trace", "sessionId") or of(value, "sessionId"))
    name = text_of(of(value, "trace", "name") or of(value, "name"))
    return [_span(each, session, name) for each in found]


def is_observation(value: Any) -> bool:
    """Whether a value is an observation alone, as an export of observations has it a line."""
    kinds = ("SPAN", "EVENT", *_KINDS)
    return "traceId" in value and "spanId" not in value and of(value, "type") in kinds


def read_chatml(id_: str, value: Any) -> Span:
    """One observation of a ChatML export, which holds messages and neither trace nor times."""
    span = Span("", id_, "chat")
    span.input = _messages(of(value, "input", "data"), "user")
    span.output = _messages(of(value, "output", "data"), "assistant")
    return span


def _span(value: Any, session: str, workflow: str) -> Span:
    trace, id_ = text_of(of(value, "traceId")), text_of(of(value, "id"))
    if not (trace and id_):
        raise TranscriptError("an observation has no traceId or no id")
    metadata = unfold(value.get("metadata"))
    given, answered = unfold(value.get("input")), unfold(value.get("output"))
    kind = _KINDS.get(text_of(value.get("type")), "other")
    if of(metadata, "attributes", "gen_ai.operation.name") == _TOOL_OPERATION:
        kind = "tool"
    elif of(answered, "type") == "tool" and of(answered, "tool_call_id"):
        kind = "tool"  # LangChain's tools are plain spans whose output is a tool message
    name = text_of(value.get("name"))
    span = Span(
        trace=trace,
        id=id_,
        kind=kind,
        parent=text_of(value.get("parentObservationId")),
        name=name,
        start=nanos(value.get("startTime")),
        end=nanos(value.get("endTime")),
        failed=value.get("level") == "ERROR",
        task=session,
        workflow=workflow,
    )
    if kind == "tool":
        inner = of(given, "input") if isinstance(of(given, "input"), dict) else given
        span.arguments = UNSET if inner is None else raw(_python(inner))
        if of(answered, "tool_call_id"):
            span.call_id = text_of(answered["tool_call_id"])
            span.failed = span.failed or answered.get("status") == "error"
        content = of(answered, "content")
        answered = answered if content is None else content
        span.result = UNSET if answered is None else raw(_text(answered))
    elif kind == "chat":
        span.name = ""
        span.input, span.output = _messages(given, "user"), _messages(answered, "assistant")
    return span


def _messages(value: Any, role: str) -> Any:
    """What a generation was given or said, as a list of messages; unset where it shows none."""
    inner = of(value, "messages") or value
    if isinstance(inner, dict):
        inner = [inner]
    if isinstance(inner, str):
        inner = [{"role": role, "content": inner}]
    if not isinstance(inner, list):
        return UNSET
    # LangChain writes the tools that it offers as messages whose content is their schema.
    taken = [m for m in inner if is_message(m) and not isinstance(m.get("content"), dict)]
    return raw(taken) if taken else UNSET


def _python(value: Any) -> Any:
    """LangChain writes arguments as Python does: that stays text, under the name `input`."""
    return {"input": value} if isinstance(value, str) else value


def _text(value: Any) -> Any:
    texts = [of(part, "text") for part in items(value)]
    if texts and all(isinstance(text, str) for text in texts):
        return "".join(texts)
    return value
