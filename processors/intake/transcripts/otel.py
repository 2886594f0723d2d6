"""OpenTelemetry traces with the attributes of the GenAI conventions.

OTLP/JSON (https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding), its protobuf form
where `opentelemetry-proto` is installed, and the JSON that Python's console exporter prints. Read
are the attributes `gen_ai.*` (https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/) and
the events that came before them (`gen_ai.user.message` and so on); of OpenInference the spans of
agents and tools.
"""

import base64
import importlib
from collections.abc import Sequence
from typing import Any, Final

from msgspec import UNSET, Struct

from processors.intake.transcripts.errors import TranscriptError
from processors.intake.transcripts.spans import Kind, Span, Take, raw, take_all
from processors.intake.transcripts.trees import items, loads, nanos, of, text_of, unfold

_KINDS: Final[dict[str, Kind]] = {
    "execute_tool": "tool",
    "invoke_agent": "agent",
    "create_agent": "other",
    "chat": "chat",
    "text_completion": "chat",
    "generate_content": "chat",
    "handoff": "handoff",
}
# Of the convention OpenInference: https://arize-ai.github.io/openinference/spec/
_OPEN_INFERENCE: Final[dict[str, Kind]] = {"TOOL": "tool", "AGENT": "agent"}
_ERROR_CODES = (2, "2", "STATUS_CODE_ERROR", "ERROR")


class Attributes(Struct, frozen=True):
    """Where things stand: names of attributes, the first that is there counts."""

    task: Sequence[str] = ("gen_ai.conversation.id", "session.id")
    agent: Sequence[str] = ("gen_ai.agent.name", "agent.name")
    arguments: Sequence[str] = ("gen_ai.tool.call.arguments", "tool.parameters", "input.value")
    result: Sequence[str] = ("gen_ai.tool.call.result", "output.value")
    input: Sequence[str] = ("gen_ai.input.messages", "gen_ai.prompt")
    output: Sequence[str] = ("gen_ai.output.messages", "gen_ai.completion")
    workflow: str = "service.name"
    run: Sequence[str] = ()


STANDARD = Attributes()


def read(value: Any, names: Attributes = STANDARD, take: Take = take_all) -> list[Span]:
    """The spans of one OTLP document, or of one span that an exporter printed.

    `take` sees a span as it is there, with `attributes` and `resource` by name. Raises
    `TranscriptError` for what is neither.
    """
    if not isinstance(value, dict):
        raise TranscriptError("it is no object of OTLP")
    groups = value.get("resourceSpans", value.get("resource_spans"))
    if groups is None:
        return _printed(value, names, take)
    found = []
    for group in items(groups):
        resource = _attributes(of(group, "resource", "attributes"))
        scopes = of(group, "scopeSpans") or of(group, "scope_spans")
        scopes = scopes or of(group, "instrumentationLibrarySpans")
        for scope in items(scopes):
            for span in items(of(scope, "spans")):
                if not isinstance(span, dict):
                    raise TranscriptError("a span is no object")
                found += _span(span, resource, names, take)
    return found


def read_protobuf(data: bytes, names: Attributes = STANDARD, take: Take = take_all) -> list[Span]:
    """The spans of an `ExportTraceServiceRequest` or `TracesData` in protobuf.

    Raises `TranscriptError` where it is none, and where `opentelemetry-proto` is not installed.
    """
    try:
        trace = importlib.import_module("opentelemetry.proto.trace.v1.trace_pb2")
        text = importlib.import_module("google.protobuf.json_format")
        problem = importlib.import_module("google.protobuf.message").DecodeError
    except ImportError:
        raise TranscriptError(
            "reading OTLP as protobuf needs opentelemetry-proto: pip install "
            "'handoff-integrity[otlp]', or let the Collector export otlp_json"
        ) from None
    try:
        parsed = trace.TracesData.FromString(data)
    except problem:
        raise TranscriptError("it is no OTLP trace in protobuf") from None
    return read(_in_hex(loads(text.MessageToJson(parsed, indent=None))), names, take)


def _in_hex(value: Any) -> Any:
    """Protobuf's own JSON has bytes in base64, OTLP/JSON has the ids in hex."""
    for group in items(of(value, "resourceSpans")):
        for scope in items(of(group, "scopeSpans")):
            for span in items(of(scope, "spans")):
                for name in ("traceId", "spanId", "parentSpanId"):
                    if name in span:
                        span[name] = base64.b64decode(span[name]).hex()
    return value


def _printed(value: dict[str, Any], names: Attributes, take: Take) -> list[Span]:
    """A span as Python's console exporter prints it: `context` holds its ids."""
    context = value.get("context")
    if not isinstance(context, dict):
        return _span(value, {}, names, take)
    flat = {
        "traceId": text_of(context.get("trace_id")).removeprefix("0x"),
        "spanId": text_of(context.get("span_id")).removeprefix("0x"),
        "parentSpanId": text_of(value.get("parent_id")).removeprefix("0x"),
        "name": value.get("name"),
        "startTimeUnixNano": value.get("start_time"),
        "endTimeUnixNano": value.get("end_time"),
        "attributes": value.get("attributes"),
        "events": value.get("events"),
        "status": {"code": of(value, "status", "status_code")},
    }
    return _span(flat, _attributes(of(value, "resource", "attributes")), names, take)


def _span(
    span: dict[str, Any], resource: dict[str, Any], names: Attributes, take: Take
) -> list[Span]:
    """The span, or none where it is not taken."""
    held = _attributes(span.get("attributes"))
    made = _made(span, held, resource, names)
    return [made] if take(made, {**span, "attributes": held, "resource": resource}) else []


def _made(
    span: dict[str, Any], held: dict[str, Any], resource: dict[str, Any], names: Attributes
) -> Span:
    trace = text_of(span.get("traceId", span.get("trace_id")))
    id_ = text_of(span.get("spanId", span.get("span_id")))
    if not (trace and id_):
        raise TranscriptError("a span has no traceId or no spanId")
    kind = _KINDS.get(text_of(held.get("gen_ai.operation.name")), "other")
    if kind == "other":
        kind = _OPEN_INFERENCE.get(text_of(held.get("openinference.span.kind")), "other")
        kind = "tool" if "gen_ai.tool.name" in held else kind
    made = Span(
        trace,
        id_,
        kind,
        text_of(span.get("parentSpanId", span.get("parent_span_id"))),
        start=nanos(span.get("startTimeUnixNano", span.get("start_time_unix_nano"))),
        end=nanos(span.get("endTimeUnixNano", span.get("end_time_unix_nano"))),
        failed=of(span, "status", "code") in _ERROR_CODES or bool(held.get("error.type")),
        task=text_of(_first({"trace_id": trace, **held}, names.task)),
        workflow=text_of(resource.get(names.workflow)),
        run=text_of(_first({"trace_id": trace, **held}, names.run)),
    )
    agent = text_of(_first(held, names.agent))
    if kind == "tool":
        made.name = text_of(_first(held, ("gen_ai.tool.name", "tool.name")))
        made.name = made.name or text_of(span.get("name")).removeprefix("execute_tool ")
        made.call_id = text_of(held.get("gen_ai.tool.call.id"))
        made.arguments = _recorded(_first(held, names.arguments))
        made.result = _recorded(_first(held, names.result))
        made.to = agent  # an agent that the span names itself
        _take_tool_events(made, span)
    elif kind == "agent":
        made.name = agent or text_of(span.get("name")).removeprefix("invoke_agent ")
        made.input = _recorded(_first(held, names.input))
    elif kind == "handoff":
        made.name = text_of(held.get("gen_ai.handoff.from_agent")) or agent
        made.to = text_of(held.get("gen_ai.handoff.to_agent"))
    elif kind == "chat":
        made.name = agent
        made.input = _recorded(_first(held, names.input))
        made.output = _recorded(_first(held, names.output))
        _take_chat_events(made, span)
    return made


def _take_chat_events(made: Span, span: dict[str, Any]) -> None:
    """Messages as events, the convention before the attributes."""
    given: list[Any] = []
    answered: list[Any] = []
    for event in items(span.get("events")):
        name = text_of(of(event, "name"))
        held = _attributes(of(event, "attributes"))
        body = {n.removeprefix("gen_ai.event."): v for n, v in held.items()}
        inner = unfold(body.get("content"))
        if name == "gen_ai.client.inference.operation.details":
            made.input = made.input or _recorded(_first(held, STANDARD.input))
            made.output = made.output or _recorded(_first(held, STANDARD.output))
        elif name in ("gen_ai.content.prompt", "gen_ai.content.completion"):
            text = unfold(held.get("gen_ai.prompt", held.get("gen_ai.completion")))
            (given if name.endswith("prompt") else answered).extend(items(text))
        elif name == "gen_ai.choice":
            message = unfold(held.get("message"))
            answered.append(
                {"role": "assistant", **message}
                if isinstance(message, dict)
                else {
                    "role": "assistant",
                    "content": inner,
                    "tool_calls": unfold(held.get("tool_calls")),
                }
            )
        elif name.startswith("gen_ai.") and name.endswith(".message"):
            role = name.removeprefix("gen_ai.").removesuffix(".message")
            calls = unfold(held.get("tool_calls"))
            one = {"role": role, "content": body.get("content"), "tool_call_id": held.get("id")}
            given.append(one | ({"tool_calls": calls} if isinstance(calls, list) else {}))
    if given and made.input is UNSET:
        made.input = raw(given)
    if answered and made.output is UNSET:
        made.output = raw(answered)


def _take_tool_events(made: Span, span: dict[str, Any]) -> None:
    for event in items(span.get("events")):
        held = _attributes(of(event, "attributes"))
        if text_of(of(event, "name")) == "gen_ai.tool.message" and made.result is UNSET:
            made.result = _recorded(held.get("content"))


def _first(held: dict[str, Any], names: Sequence[str]) -> Any:
    return next((held[name] for name in names if name in held), None)


def _recorded(value: Any) -> Any:
    return UNSET if value is None else raw(unfold(value))


def _attributes(given: Any) -> dict[str, Any]:
    """Attributes by name, of OTLP's list of `{"key", "value"}` or of a plain object."""
    if isinstance(given, dict):
        return given
    found = {}
    for each in items(given):
        if isinstance(each, dict) and isinstance(each.get("key"), str):
            found[each["key"]] = _value(each.get("value"))
    return found


def _value(given: Any) -> Any:
    """An OTLP `AnyValue` as plain data. Its integers are strings in JSON."""
    if not isinstance(given, dict):
        return None
    for name in ("stringValue", "boolValue", "doubleValue", "bytesValue"):
        if name in given:
            return given[name]
    if "intValue" in given:
        text = text_of(given["intValue"])
        return loads(text) if text.lstrip("-").isdigit() else None
    if "arrayValue" in given:
        return [_value(each) for each in items(of(given, "arrayValue", "values"))]
    if "kvlistValue" in given:
        return _attributes(of(given, "kvlistValue", "values"))
    return None
