"""Traces that come span by span over Kafka: put together when they were quiet."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.driver import Driver
from processors.intake import traces
from processors.intake.decoding import DecoderOptions, decode_spans
from processors.intake.traces import TraceLimits, TraceState
from processors.intake.traces_processor import TRACES, traces_processor
from processors.intake.transcripts import spans, trees
from processors.intake.transcripts.building import Counts, Defaults
from processors.intake.transcripts.spans import Span
from schemas.flow import Output, Record, Refused
from schemas.records import ToolOutput

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
    [found] = decode_spans("agents-sdk", record, DecoderOptions())
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
        [span] = decode_spans("openai-chat", record, DecoderOptions(("metadata.thread", "chat")))
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
        decode_spans(decoder, Record("foreign", 0, 0, None, value, NOW), DecoderOptions())
    assert refused.value.code in ("undecodable", "tombstone")


@pytest.mark.parametrize("number", ["1e999999", "-1e999999", "9" * 5_000])
def test_a_number_of_very_many_digits_is_no_time(number: str) -> None:
    """That takes no time: to write it out would take half a minute."""
    assert trees.nanos(trees.loads(number)) is None
