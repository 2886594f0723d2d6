"""Traces of the OpenAI Agents SDK, as its trace exporter sends them
(https://openai.github.io/openai-agents-python/tracing/): objects `trace` and `trace.span`, alone or
in a batch under `data`."""

from typing import Any

from msgspec import UNSET

from processors.intake.transcripts.errors import TranscriptError
from processors.intake.transcripts.spans import Kind, Span, Take, raw, take_all
from processors.intake.transcripts.trees import items, nanos, of, text_of

_KINDS: dict[str, Kind] = {
    "agent": "agent",
    "function": "tool",
    "handoff": "handoff",
    "generation": "chat",
    "response": "chat",
}


def read(value: Any, take: Take = take_all) -> list[Span]:
    """The spans of one exported object or batch; `take` sees each object. Raises `TranscriptError`
    for what is none."""
    if isinstance(of(value, "data"), list):
        return [span for each in items(value["data"]) for span in read(each, take)]
    made = _made(value)
    return [made] if take(made, value) else []


def _made(value: Any) -> Span:
    kind = of(value, "object")
    if kind == "trace":
        group = text_of(value.get("group_id"))
        workflow = text_of(value.get("workflow_name"))
        return Span(_id(value, "id"), "", "other", task=group, workflow=workflow)
    if kind != "trace.span":
        raise TranscriptError("its `object` is neither trace nor trace.span")
    data = value.get("span_data")
    if not isinstance(data, dict):
        raise TranscriptError("the span has no object under span_data")
    type_ = text_of(data.get("type"))
    span = Span(
        trace=_id(value, "trace_id"),
        id=_id(value, "id"),
        kind=_KINDS.get(type_, "other"),
        parent=text_of(value.get("parent_id")),
        name=text_of(data.get("name")),
        start=nanos(value.get("started_at")),
        end=nanos(value.get("ended_at")),
        failed=bool(value.get("error")),
    )
    if type_ == "function":
        span.name = span.name or "function"
        # Without content the SDK writes null.
        span.arguments = _recorded(data.get("input"))
        span.result = _recorded(data.get("output"))
    elif type_ == "custom" and isinstance(of(data, "data", "agent_name"), str):
        # A turn ends long before the span of its agent does, and names it.
        span.kind, span.name = "agent", data["data"]["agent_name"]
    elif type_ == "handoff":
        span.name, span.to = text_of(data.get("from_agent")), text_of(data.get("to_agent"))
    elif span.kind == "chat":
        span.input, span.output = _recorded(data.get("input")), _recorded(data.get("output"))
    return span


def _recorded(value: Any) -> Any:
    return UNSET if value is None else raw(value)


def _id(value: dict[str, Any], name: str) -> str:
    found = text_of(value.get(name))
    if not found:
        raise TranscriptError(f"it has no {name}")
    return found
