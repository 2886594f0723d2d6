"""The processor that puts the spans of a trace together: its core, and where its state lives.

Intake writes each span of an output decoder to an internal topic, keyed by the trace. Here they
wait until the trace was quiet, and become tool outputs.
"""

from collections.abc import Callable, Hashable, Mapping
from typing import Any, Final

import msgspec

from processors.intake import traces
from processors.intake.source_spans import MAX_SPAN_BYTES, TRACES
from processors.intake.traces import TraceLimits, TraceState
from processors.intake.transcripts import spans
from processors.intake.transcripts.building import Counts, Defaults
from processors.intake.transcripts.spans import Span
from processors.processor import Processor
from schemas.flow import Effect, Increment, Input, InputEvent, Publish, Record, Refused, TimerFired
from schemas.records import ToolOutput
from schemas.serde import BACKFILL_HEADER, read

OUTPUTS: Final = "handoff.tool-outputs"

_output: Callable[[bytes], ToolOutput] = msgspec.json.Decoder(ToolOutput).decode


def traces_processor(limits: TraceLimits, defaults: Defaults) -> Processor[TraceState]:
    """The processor of traces with these limits; `defaults` are what spans do not say."""

    def advance(
        before: TraceState | None, given: Input, _: Any, now: int
    ) -> tuple[TraceState | None, list[Effect]]:
        return _advance(before, given, now, limits, defaults)

    def due(state: TraceState) -> int | None:
        return state.touched + (limits.late_ms if state.told else state.quiet or limits.quiet_ms)

    return Processor(
        name="traces",
        inputs=(TRACES,),
        outputs=(OUTPUTS,),
        changelog="handoff.traces-state",
        tables=(),
        build_tables=_no_tables,
        parse=parse,
        state_key=_state_key,
        advance=advance,
        format=traces.FORMAT,
        encode=traces.encode,
        decode=_decode_state,
        due=due,
    )


def parse(record: Record, _: int) -> InputEvent:
    """Understand one span of the topic.

    Raises `Refused` as `serde.read` does, and for a key that is not the span's trace.
    """
    span = read(record, spans.decode, MAX_SPAN_BYTES, "trace of the span")
    if (record.key or b"") != span.trace.encode():
        raise Refused("key_mismatch", "the record's key is not the trace of its span")
    return InputEvent(
        body=(span, len(record.value or b"")),
        occurred_at=record.timestamp,
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        backfill=(BACKFILL_HEADER, b"1") in record.headers,
        traceparent=None,
        timestamp=record.timestamp,
    )


def _advance(
    before: TraceState | None, given: Input, now: int, limits: TraceLimits, defaults: Defaults
) -> tuple[TraceState | None, list[Effect]]:
    counts = Counts()
    if isinstance(given, InputEvent):
        body: tuple[Span, int] = given.body
        span, size = body
        state = before or TraceState(span.trace)
        after, lines = traces.add(
            state, span, size, limits=limits, defaults=defaults, counts=counts
        )
        backfill = given.backfill and (before is None or before.backfill)
        # By the clock of whoever judges: a deadline is told by it too.
        after = msgspec.structs.replace(after, touched=now, backfill=backfill)
        return after, _effects(lines, counts, given.backfill)
    if not isinstance(given, TimerFired) or before is None:
        return before, []
    if before.told:
        return None, []
    after, lines = traces.finish(before, defaults, counts)
    return after, _effects(lines, counts, before.backfill)


def _effects(lines: list[bytes], counts: Counts, backfill: bool) -> list[Effect]:
    effects: list[Effect] = []
    for line in lines:
        output = _output(line)
        effects.append(Publish(OUTPUTS, output.task_id, output, line, backfill))
    effects += [Increment("traces_left_out", why) for why in sorted(counts.left_out)]
    if counts.unrecorded:
        effects.append(Increment("traces_not_recorded"))
    return effects


def _no_tables(_: dict[str, dict[str, bytes]], __: frozenset[str] | None) -> Mapping[str, Hashable]:
    return {}


def _state_key(event: InputEvent) -> str:
    body: tuple[Span, int] = event.body
    return body[0].trace


def _decode_state(whole: bytes, _: list[bytes]) -> TraceState:
    return traces.decode(whole)
