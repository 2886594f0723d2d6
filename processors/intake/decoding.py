"""Output decoders: one Kafka record as the spans that it holds.

What a record shows of a trace or of a conversation goes on as spans, keyed by the trace: several
records together say what happened (`processors.intake.traces`). A request to a model is a span too,
and its conversation the trace.
"""

import hashlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from msgspec import UNSET, structs

from processors.intake.transcripts import agents_sdk, otel
from processors.intake.transcripts.errors import TranscriptError
from processors.intake.transcripts.spans import Span, Take, encode, raw, take_all
from processors.intake.transcripts.trees import items, loads, nanos, of, text_of, unfold
from schemas.flow import Record, Refused
from schemas.source_decoders import ChatOptions, OtelOptions, TraceOptions


def otel_genai(record: Record, options: OtelOptions, take: Take) -> list[Span]:
    """The spans of a record of the Collector's Kafka exporter: `otlp_json`, or `otlp_proto`, which
    needs `opentelemetry-proto`."""
    value = record.value or b""
    if value.lstrip()[:1] in (b"{", b"["):
        return otel.read(loads(value), _attributes(options), take)
    return otel.read_protobuf(value, _attributes(options), take)


@lru_cache(maxsize=64)
def _attributes(options: OtelOptions) -> otel.Attributes:
    named = {
        name: found for name in otel.STANDARD.__struct_fields__ if (found := getattr(options, name))
    }
    return structs.replace(otel.STANDARD, **named)


def agents_traces(record: Record, _: TraceOptions, take: Take) -> list[Span]:
    """The spans of a record that holds what the Agents SDK exports, alone or in a batch."""
    return agents_sdk.read(loads(record.value or b""), take)


def openai_chat(record: Record, options: ChatOptions, take: Take) -> list[Span]:
    """A request, a response or both (under `request` and `response`) as one span of a model.

    The conversation is what `options.task` names; without that it is told apart by its messages up
    to the first answer, so two people who begin with the same words are one: name it.
    """
    value = loads(record.value or b"")
    request = unfold(of(value, "request")) or unfold(of(value, "body")) or value
    response = unfold(of(value, "response")) or value
    messages = of(request, "messages")
    choice = next(items(of(response, "choices")), None)
    answer = of(choice, "message")
    if not isinstance(messages, list) and not isinstance(answer, dict):
        raise TranscriptError("it holds neither messages nor choices")
    task = _named(value, request, record, options) or _begun(messages)
    if not task:
        raise TranscriptError(
            "a response alone does not say which conversation it is of; name what does under `task`"
        )
    digest = hashlib.sha256(record.value or b"").hexdigest()[:16]
    at = nanos(of(response, "created")) or record.timestamp * 10**6
    span = Span(
        task,
        digest,
        "chat",
        start=at,
        end=at,
        input=raw(messages) if isinstance(messages, list) else UNSET,
        output=raw([answer]) if isinstance(answer, dict) else UNSET,
        task=task,
    )
    return [span] if take(span, value) else []


def _named(value: Any, request: Any, record: Record, options: ChatOptions) -> str:
    headers = dict(record.headers)
    for name in options.task:
        path = name.split(".")
        found = text_of(of(value, *path)) or text_of(of(request, *path))
        if not found and headers.get(name):
            found = headers[name].decode("utf-8", "replace")
        if found:
            return found
    return ""


def _begun(messages: Any) -> str:
    begun = []
    for message in items(messages):
        if of(message, "role") == "assistant":
            break
        if of(message, "role") not in ("system", "developer"):
            begun.append(message)
    return f"conversation-{hashlib.sha256(encode(begun)).hexdigest()[:16]}" if begun else ""


_DECODERS: Final[dict[str, Callable[[Record, Any, Take], list[Span]]]] = {
    "otel-genai": otel_genai,
    "agents-sdk": agents_traces,
    "openai-chat": openai_chat,
}


def decode_spans(
    decoder: str, record: Record, options: TraceOptions, take: Take = take_all
) -> list[Span]:
    """The spans of a record by the decoder that a source names. Raises `Refused`, and what `take`
    raises."""
    if record.value is None:
        raise Refused("tombstone", "the record has no value; a trace or a transcript is expected")
    try:
        found = _DECODERS[decoder](record, options, take)
    except TranscriptError as error:
        raise Refused("undecodable", f"{decoder}: {error}") from None
    except (AttributeError, TypeError, KeyError, ValueError, RecursionError):
        raise Refused("undecodable", f"it is no record of {decoder}") from None
    for span in found:
        if span.start is None and span.kind != "other":
            span.start = record.timestamp * 10**6
    return found
