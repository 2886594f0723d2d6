"""Traces that come span by span over Kafka: put together when they were quiet."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.driver import Driver
from processors.intake import traces
from processors.intake.decoding import decode_spans
from processors.intake.mapping import map_record
from processors.intake.source_spans import MAX_SPAN_BYTES, TRACES
from processors.intake.traces import TraceLimits, TraceState
from processors.intake.traces_processor import parse, traces_processor
from processors.intake.transcripts import spans, trees
from processors.intake.transcripts.building import Counts, Defaults
from processors.intake.transcripts.spans import Span
from schemas.flow import Output, Record, Refused
from schemas.records import ToolOutput
from schemas.serde import MAX_RECORD_BYTES
from schemas.source_decoders import ChatOptions, OtelOptions, TraceOptions
from tests.intake import compiled

NOW = 1_760_000_000_000
LIMITS = TraceLimits(quiet_ms=30_000, late_ms=600_000)


def sdk(id: str, parent: str | None, second: float, **data: Any) -> dict[str, Any]:
    """A span as the Agents SDK exports it, that began at a second and ended half of one later."""
    begun, ended = second, second + 0.5
    return {
        "object": "trace.span",
        "id": id,
        "trace_id": "trace_1",
        "parent_id": parent,
        "started_at": f"2025-10-09T08:00:{begun:09.6f}+00:00",
        "ended_at": f"2025-10-09T08:00:{ended:09.6f}+00:00",
        "span_data": data,
        "error": None,
    }


TRIAGE = sdk("a", None, 0, type="agent", name="Triage Agent")
LOOKED = sdk(
    "b", "a", 1, type="function", name="look_up", input='{"n": 1}', output='{"city": "Oslo"}'
)
HANDED = sdk("c", "a", 2, type="handoff", from_agent="Triage Agent", to_agent="Shipping Agent")
SHIPPING = sdk("d", None, 3, type="agent", name="Shipping Agent")
SENT = sdk("e", "d", 4, type="function", name="send", input="{}", output="on its way")
STORY = [LOOKED, HANDED, TRIAGE, SENT, SHIPPING]  # children end before their parents


def span_of(value: Any) -> Span:
    record = Record("foreign", 0, 0, None, json.dumps(value).encode(), NOW)
    [found] = decode_spans("agents-sdk", record, TraceOptions())
    return found


class TraceLane:
    """A driver of the processor of traces, without Kafka."""

    def __init__(self, limits: TraceLimits = LIMITS) -> None:
        self.driver: Driver[TraceState] = Driver(traces_processor(limits, Defaults()), {})
        self.driver.assign(0, {})
        self.offset = 0

    def send(self, value: Any, at: int) -> list[Output]:
        span = span_of(value)
        record = Record(TRACES, 0, self.offset, span.trace.encode(), spans.encode(span), at)
        self.offset += 1
        return self._settled(self.driver.step(record, at))

    def wait(self, at: int) -> list[Output]:
        return self._settled(self.driver.fire(0, at, at, 100))

    def _settled(self, outputs: list[Output]) -> list[Output]:
        self.driver.merge(list(self.driver.changelog()))
        return outputs


def shown(outputs: list[Output]) -> list[tuple[str, str, Any]]:
    found = []
    for output in outputs:
        assert output.topic == "handoff.tool-outputs"
        made = msgspec.json.decode(output.value or b"", type=ToolOutput)
        assert output.key == made.task_id.encode()
        handoff = made.handoff
        found.append(
            (made.stage, made.tool, None if handoff is None else msgspec.to_builtins(handoff)["to"])
        )
    return found


TOLD = [
    ("Triage Agent", "look_up", None),
    ("Triage Agent", "handoff", "Shipping Agent"),
    ("Shipping Agent", "send", None),
]


@given(st.permutations(STORY))
@settings(max_examples=40, deadline=None)
def test_spans_in_any_order_are_told_in_the_order_of_time(order: list[Any]) -> None:
    lane = TraceLane()
    for number, value in enumerate(order):
        assert lane.send(value, NOW + number) == []
    last = NOW + len(order) - 1
    assert lane.wait(last + 29_999) == []
    assert shown(lane.wait(last + 30_000)) == TOLD
    assert lane.wait(last + 60_000) == []


def test_a_span_that_comes_again_is_one() -> None:
    lane = TraceLane()
    for value in [*STORY, *STORY]:
        lane.send(value, NOW)
    assert shown(lane.wait(NOW + 30_000)) == TOLD
    assert [output for value in STORY for output in lane.send(value, NOW + 31_000)] == []


def test_a_late_span_is_a_capture_of_its_own() -> None:
    lane = TraceLane()
    for value in [LOOKED, HANDED, TRIAGE]:
        lane.send(value, NOW)
    lane.wait(NOW + 30_000)
    [late] = lane.send(SENT, NOW + 40_000)
    assert shown([late]) == [("Shipping Agent", "send", None)]
    assert json.loads(late.value or b"")["id"] == "trace_1#e"
    assert json.loads(late.value or b"")["occurred_at"] == "2025-10-09T08:00:04.500000Z"


def test_a_trace_is_forgotten_after_a_while() -> None:
    lane = TraceLane()
    lane.send(LOOKED, NOW)
    lane.wait(NOW + 30_000)
    assert lane.driver.next_due(0, NOW + 10**9) == NOW + 600_000
    lane.wait(NOW + 600_000)
    assert lane.driver.next_due(0, NOW + 10**9) is None


def test_what_is_kept_of_a_trace_is_bounded() -> None:
    lane = TraceLane(TraceLimits(spans=2))
    assert lane.send(LOOKED, NOW) == []
    assert lane.send(TRIAGE, NOW) == []
    assert shown(lane.send(SENT, NOW)) == [
        ("Triage Agent", "look_up", None),
        ("Triage Agent", "send", None),  # of the agent that was active: its own is not known yet
    ]


def test_a_trace_fits_into_a_record_of_the_changelog() -> None:
    """What does not costs the record: spans of a trace that was long became dead letters."""
    state, counts, limits = TraceState("trace_1"), Counts(), TraceLimits()
    named = msgspec.structs.replace(span_of(LOOKED), name="n" * 10_000, kind="agent")
    for number in range(2_000):
        span = msgspec.structs.replace(named, id=f"s{number}")
        size = len(spans.encode(span))
        state, _ = traces.add(state, span, size, limits, Defaults(), counts)
        if number % 100 == 0:
            assert len(traces.encode(state)) < MAX_RECORD_BYTES
    assert state.told
    assert len(traces.encode(state)) < MAX_RECORD_BYTES


def test_what_comes_late_for_ever_is_not_kept_for_ever() -> None:
    state, counts = TraceState("trace_1", told=True), Counts()
    for number in range(2_100):
        span = msgspec.structs.replace(span_of(LOOKED), id=f"s{number}")
        state, _ = traces.add(state, span, 100, LIMITS, Defaults(), counts)
    assert len(state.agents) == 2_000
    assert "s2099" in state.agents


def test_a_state_is_read_as_it_was_written() -> None:
    state, counts = TraceState("trace_1"), Counts()
    for value in STORY:
        state, _ = traces.add(state, span_of(value), 100, LIMITS, Defaults(), counts)
    assert traces.encode(traces.decode(traces.encode(state))) == traces.encode(state)
    again = traces.decode(traces.encode(state))
    assert (
        traces.finish(again, Defaults(), counts)[1] == traces.finish(state, Defaults(), counts)[1]
    )


def test_a_growing_history_over_kafka_is_told_once() -> None:
    def request(*messages: Any, **more: Any) -> Span:
        body = {"model": "m", "messages": list(messages), **more}
        record = Record("chats", 0, 0, None, json.dumps(body).encode(), NOW, [("chat", b"t-1")])
        options = ChatOptions(task=("metadata.thread", "chat"))
        [span] = decode_spans("openai-chat", record, options)
        return span

    hello = {"role": "user", "content": "Where is A7?"}
    call = {"id": "c1", "function": {"name": "look", "arguments": '{"n": 1}'}}
    asked = {"role": "assistant", "tool_calls": [call]}
    answer = {"role": "tool", "tool_call_id": "c1", "content": "in Oslo"}
    state, counts = TraceState("t-1"), Counts()
    for span in (request(hello), request(hello, asked, answer)):
        assert span.trace == "t-1"
        state, lines = traces.add(state, span, 10, LIMITS, Defaults(), counts)
        assert lines == []
    state, told = traces.finish(state, Defaults(), counts)
    assert [json.loads(line)["context"] for line in told] == [
        {"user_said": "Where is A7?"},
        {"n": 1, "look": "in Oslo"},
    ]
    more = request(hello, asked, answer, {"role": "user", "content": "Thanks"})
    state, late = traces.add(state, more, 10, LIMITS, Defaults(), counts)
    ids = [json.loads(line)["id"] for line in late]
    assert ids[:2] == [json.loads(line)["id"] for line in told], "what was told is a repeat"
    assert len(ids) == 3


@pytest.mark.parametrize("decoder", ["otel-genai", "agents-sdk", "openai-chat"])
@pytest.mark.parametrize(
    "value", [None, b"", b"{", b"[1]", b'{"object": "trace.span"}', b"\xff\x00"]
)
def test_what_cannot_be_decoded_is_refused(decoder: str, value: bytes | None) -> None:
    with pytest.raises(Refused) as refused:
        decode_spans(decoder, Record("foreign", 0, 0, None, value, NOW), OtelOptions())
    assert refused.value.code in ("undecodable", "tombstone")


# --- what a source says ------------------------------------------------------------------------


def mapped(decode: Any, override: dict[str, Any], *values: Any, **members: Any) -> list[Span]:
    """The spans that a source makes of records."""
    given = compiled(decode=decode, defaults={}, emit=[], override=override, **members)
    found = [map_record(given, foreign(value), NOW) for value in values]
    return [spans.decode(each.value or b"") for one in found for each in one.records]


def foreign(value: Any) -> Record:
    return Record("desk.events", 0, 0, None, json.dumps(value).encode(), NOW)


@pytest.mark.parametrize("more", [0, 1])
def test_a_span_that_traces_would_refuse_is_refused_with_its_record(more: int) -> None:
    given = compiled(decode="agents-sdk", defaults={}, emit=[])
    around = map_record(given, foreign({**LOOKED, "span_data": said("")}), NOW).size
    long = foreign({**LOOKED, "span_data": said("x" * (MAX_SPAN_BYTES - around + more))})
    found = map_record(given, long, NOW, most=3 << 20)
    assert (found.refused is None) is (more == 0)
    if found.refused is not None:
        assert found.refused.code == "output_too_large"
    for each in found.records:
        parse(Record(TRACES, 0, 0, each.key, each.value, NOW, each.headers), NOW)


def said(output: str) -> dict[str, Any]:
    return {"type": "function", "name": "look_up", "input": "{}", "output": output}


def finished(found: list[Span]) -> list[dict[str, Any]]:
    state, counts = TraceState(found[0].trace), Counts()
    for span in found:
        state, lines = traces.add(state, span, 100, LIMITS, Defaults(), counts)
        assert lines == []
    told = traces.finish(state, Defaults(), counts)[1]
    for line in told:
        msgspec.json.decode(line, type=ToolOutput)
    return [json.loads(line) for line in told]


def test_a_source_overrides_members_of_the_outputs_of_a_trace() -> None:
    override = {
        "task": "value.span_data.ticket",
        "workflow": {"value": "furniture"},
        "run": {"value": "r-1"},
        "stage": {"lookup": "stages", "by": "value.span_data.name", "else": {"value": "talk"}},
        "team": {"value": "after-sales"},
        "tool": "sdk:{value.span_data.type}",
        "occurred_at": "value.ended_at",
        "id": "{value.trace_id}/{value.id}",
    }
    story = [{**each, "span_data": dict(each["span_data"])} for each in STORY]
    story[3]["span_data"]["ticket"] = "T-7"  # one span names it, and it holds for the trace
    found = mapped("agents-sdk", override, *story, lookups={"stages": {"look_up": "search"}})
    outputs = finished(found)
    assert [each["id"] for each in outputs] == ["trace_1/b", "trace_1/c", "trace_1/e"]
    assert [each["stage"] for each in outputs] == ["search", "talk", "talk"]
    assert [each["tool"] for each in outputs] == ["sdk:function", "sdk:handoff", "sdk:function"]
    for each in outputs:
        assert each["task_id"] == "T-7"
        assert (each["workflow"], each["run"]) == ("furniture", "r-1")
        assert each["team"] == "after-sales"
    assert outputs[0]["occurred_at"] == 1_759_996_801_500
    assert outputs[1]["handoff"]["to"] == "Shipping Agent", "who hands off to whom stays"


def test_an_id_that_is_overridden_is_one_for_each_output_of_a_span() -> None:
    body = {
        "model": "m",
        "chat": "t-1",
        "n": 7,
        "messages": [
            {"role": "user", "content": "Where is A7?"},
            {"role": "assistant", "content": "Which one?"},
        ],
    }
    decode = {"openai-chat": {"task": "chat"}}
    first, second = finished(mapped(decode, {"id": "req-{value.n}"}, body))
    assert first["id"].startswith("req-7#said-")
    assert second["id"].startswith("req-7#said-")
    assert first["id"] != second["id"]


def test_a_span_that_a_look_up_skips_is_left_out() -> None:
    override = {"team": {"lookup": "teams", "by": "value.id", "else": "skip"}}
    given = {"defaults": {}, "emit": [], "lookups": {"teams": {"b": "search"}}}
    source = compiled(decode="agents-sdk", override=override, **given)
    assert len(map_record(source, foreign(LOOKED), NOW).records) == 1
    found = map_record(source, foreign(SENT), NOW)
    assert found.skipped is not None
    assert found.skipped.code == "lookup_skipped"
    assert found.lookup_misses == [("teams", "e")]


def test_an_override_that_fails_says_which_and_tells_no_value() -> None:
    source = compiled(
        decode="agents-sdk", defaults={}, emit=[], override={"occurred_at": "value.span_data.name"}
    )
    found = map_record(source, foreign(LOOKED), NOW)
    assert found.refused is not None
    assert "source desk: override.occurred_at (value.span_data.name)" in found.refused.message
    assert "look_up" not in found.refused.message


def test_a_source_says_how_long_its_traces_are_quiet() -> None:
    lane = TraceLane()
    for number, value in enumerate(STORY):
        (span,) = mapped({"agents-sdk": {"quiet": "PT2S"}}, {}, value)
        record = Record(TRACES, 0, number, span.trace.encode(), spans.encode(span), NOW)
        lane._settled(lane.driver.step(record, NOW))
    assert lane.wait(NOW + 1_999) == []
    assert shown(lane.wait(NOW + 2_000)) == TOLD


def test_attributes_of_spans_may_have_names_of_their_own() -> None:
    def attribute(name: str, text: str) -> dict[str, Any]:
        return {"key": name, "value": {"stringValue": text}}

    told = [attribute("gen_ai.tool.name", "find"), attribute("my.args", '{"n": "1"}')]
    told += [attribute("my.result", "in Oslo"), attribute("my.agent", "Triage")]
    span = {"traceId": "5b", "spanId": "01", "attributes": [*told, attribute("my.ticket", "T-1")]}
    decode = {
        "otel-genai": {
            "task": "my.ticket",
            "agent": "my.agent",
            "arguments": "my.args",
            "result": "my.result",
        }
    }
    document = {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}
    (output,) = finished(mapped(decode, {}, document))
    assert output["task_id"] == "T-1"
    assert output["stage"] == "Triage"
    assert output["context"] == {"n": "1", "find": "in Oslo"}


@pytest.mark.parametrize("again", [True, False])
def test_a_trace_that_is_read_again_is_no_news(again: bool) -> None:
    lane = TraceLane()
    for number, value in enumerate(STORY):
        span = span_of(value)
        # One span that is news makes the trace news.
        marked = again or number
        headers = [("handoff-backfill", b"1")] if marked else []
        key = span.trace.encode()
        record = Record(TRACES, 0, number, key, spans.encode(span), NOW, headers)
        lane._settled(lane.driver.step(record, NOW))
    outputs = lane.wait(NOW + 30_000)
    assert len(outputs) == 3
    assert {("handoff-backfill", b"1") in each.headers for each in outputs} == {again}


@pytest.mark.parametrize("number", ["1e999999", "-1e999999", "9" * 5_000])
def test_a_number_of_very_many_digits_is_no_time(number: str) -> None:
    """That takes no time: to write it out would take half a minute."""
    assert trees.nanos(trees.loads(number)) is None
