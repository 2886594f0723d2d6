"""Traces, span by span: what several records show together, as tool outputs.

Spans of one trace come in any order, children mostly before their parents. They are kept until the
trace was quiet, and then told as steps. What comes later is a late capture: an output with an id of
its own. Everything here is a function of its arguments.
"""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from msgspec import UNSET, Struct

from processors.intake.transcripts.building import Builder, Counts, Defaults
from processors.intake.transcripts.conversations import shown, target
from processors.intake.transcripts.errors import TranscriptError
from processors.intake.transcripts.messages import Message, read_message
from processors.intake.transcripts.results import members_of
from processors.intake.transcripts.spans import Span
from processors.intake.transcripts.steps import Became, HandedOff, ShownInput, Spoken, Step, Used
from processors.intake.transcripts.trees import items, loads

FORMAT: Final = 1
_NEVER = 1 << 62
# Of how many spans of a trace that was told it is known whose they were, and in how many bytes.
_MAX_AGENTS, _MAX_AGENT_BYTES = 2_000, 1 << 20
# What a source may override of each output by itself.
_OF_OUTPUTS: Final = ("id", "stage", "tool", "team", "occurred_at")


class TraceLimits(Struct, frozen=True):
    """Bounds of one trace: spans and bytes that are kept, and how long it must be `quiet_ms`. A
    trace that was told is forgotten `late_ms` after its last span. A state is one record of the
    changelog, so what is kept must fit into one."""

    spans: int = 2_000
    bytes: int = 3 << 20
    quiet_ms: int = 30_000
    late_ms: int = 3_600_000


class TraceState(Struct):
    """One trace. `spans` are kept until it is told; then `agents` tells of each span which agent it
    was part of, for what comes late. `touched` is the time of its last span, epoch ms. What a
    source overrides of task, workflow and run holds for all of the trace, by the first span that
    has it."""

    trace: str
    spans: list[Span] = []
    size: int = 0
    told: bool = False
    tools: bool = False  # whether its tools have spans of their own
    task: str = ""
    workflow: str = ""
    agents: dict[str, str] = {}
    active: str = ""
    touched: int = 0
    run: str = ""
    quiet: int = 0  # ms, where a source says so
    backfill: bool = False  # every span of it was


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(TraceState).decode


def add(
    state: TraceState,
    span: Span,
    size: int,
    limits: TraceLimits,
    defaults: Defaults,
    counts: Counts,
) -> tuple[TraceState, list[bytes]]:
    """The trace with one more span, which had `size` bytes, and the outputs that follow at once: of
    a late span, and of a trace that would grow over its limits, which is told before."""
    after = msgspec.structs.replace(state)
    outputs: list[bytes] = []
    if (
        not after.told
        and after.spans
        and (len(after.spans) >= limits.spans or after.size + size > limits.bytes)
    ):
        after, outputs = finish(after, defaults, counts)
    if after.told:
        if span.id in after.agents:
            return after, outputs  # the same span again
        agent = after.agents.get(span.parent, "") or after.active
        name = span.name if span.kind == "agent" else agent
        after.agents = _latest({**after.agents, span.id: name})
        late = ((span, step) for step in _late(span, after.tools))
        return after, outputs + _built(after, late, defaults, counts, agent)
    if any(each.id == span.id and each.kind == span.kind for each in after.spans):
        return after, outputs  # the same span again
    after.spans = [*after.spans, span]
    after.size += size
    after.quiet = max(after.quiet, span.quiet)
    return after, outputs


def finish(state: TraceState, defaults: Defaults, counts: Counts) -> tuple[TraceState, list[bytes]]:
    """The trace as it is after it was told, and its outputs in the order of time."""
    after = msgspec.structs.replace(state, told=True, spans=[], size=0)
    spans = _in_order(state.spans)
    after.task = _of_trace(spans, "task_id", "task") or state.trace
    after.workflow = _of_trace(spans, "workflow", "workflow")
    after.run = _of_trace(spans, "run", "run")
    agents = _agents(spans)
    outputs = _built(after, _steps(spans, agents, counts), defaults, counts)
    after.agents = _latest(agents)
    after.tools = any(each.kind == "tool" for each in spans)
    after.active = _last_agent(spans, agents)
    return after, outputs


def _of_trace(spans: list[Span], replaced: str, own: str) -> str:
    """A member of all outputs of a trace: what a source overrides, or else what a span says."""
    told = (each.replaced.get(replaced) for each in spans)
    return next((text for text in told if text), "") or next(
        (text for each in spans if (text := getattr(each, own))), ""
    )


def _built(
    state: TraceState,
    steps: Iterator[tuple[Span, Step]],
    defaults: Defaults,
    counts: Counts,
    agent: str = "",
) -> list[bytes]:
    if state.workflow and defaults.workflow == Defaults().workflow:
        defaults = msgspec.structs.replace(defaults, workflow=state.workflow)
    builder = Builder(state.task, state.run or state.trace, defaults, counts)
    builder.agent = agent
    lines = (builder.take(step, _replaced(span, step)) for span, step in steps)
    return [line for line in lines if line is not None]


def _replaced(span: Span, step: Step) -> dict[str, Any]:
    """What a source overrides of the output of one step. A span that leads to several has an id
    for each."""
    found: dict[str, Any] = {
        name: span.replaced[name] for name in _OF_OUTPUTS if name in span.replaced
    }
    if "id" in found and not isinstance(step, Became) and step.key != span.id:
        found["id"] = f"{found['id']}#{step.key}"
    return found


def _in_order(spans: list[Span]) -> list[Span]:
    """Spans by their start; of those that start together what holds the other is the first."""
    by_id = {span.id: span for span in spans}

    def depth(span: Span) -> int:
        passed = {span.id}
        while span.parent in by_id and span.parent not in passed:
            passed.add(span.parent)
            span = by_id[span.parent]
        return len(passed)

    return sorted(spans, key=lambda one: (one.start or _NEVER, depth(one), one.end or _NEVER))


def _ended(span: Span) -> int | None:
    """When a span ended, or else began, epoch ms."""
    at = span.start if span.end is None else span.end
    return None if at is None else at // 10**6


def _began(span: Span) -> int | None:
    return None if span.start is None else span.start // 10**6


def _agents(spans: list[Span]) -> dict[str, str]:
    """The agent that each span belongs to, by the span's id: its own, or that of the nearest span
    above it that names one; empty where none does."""
    by_id = {span.id: span for span in spans}
    found: dict[str, str] = {}
    for span in spans:
        at: Span | None = span
        passed: set[str] = set()
        while at is not None and at.id not in passed:
            passed.add(at.id)
            name = at.name if at.kind in ("agent", "chat") else at.to if at.kind == "tool" else ""
            if name:
                found[span.id] = name
                break
            at = by_id.get(at.parent)
        found.setdefault(span.id, "")
    return found


def _latest(agents: dict[str, str]) -> dict[str, str]:
    """As many of the last as are kept: a trace may go on for ever."""
    kept: list[tuple[str, str]] = []
    left = _MAX_AGENT_BYTES
    for each in reversed(agents.items()):
        left -= len(each[0].encode()) + len(each[1].encode())
        if left < 0 or len(kept) == _MAX_AGENTS:
            break
        kept.append(each)
    return dict(reversed(kept))


def _last_agent(spans: list[Span], agents: Mapping[str, str]) -> str:
    names = [span.to if span.kind == "handoff" else agents.get(span.id, "") for span in spans]
    return next((name for name in reversed(names) if name), "")


def _steps(
    spans: list[Span], agents: Mapping[str, str], counts: Counts
) -> Iterator[tuple[Span, Step]]:
    """What happened, in the order of time, each step with the span that shows it."""
    active = ""
    has_tools = any(span.kind == "tool" for span in spans)
    said: set[tuple[str, str]] = set()
    waiting: dict[str, Message] = {}
    answered: set[str] = set()
    handed: set[str] = set()  # to whom, by a step of its own
    for number, span in enumerate(spans):
        agent = agents.get(span.id, "") or active
        if span.kind == "agent" and span.name and span.name != active:
            if active and span.name not in handed and _follows(spans, number, active, agents):
                seen = _next(spans, number, span.name, agents)
                yield span, HandedOff(span.id, _began(span), "invoke_agent", span.name, seen=seen)
            handed.discard(span.name)
            active = span.name
            yield span, Became(active)
        elif agent and agent != active and span.kind in ("tool", "chat"):
            active = agent
            yield span, Became(active)
        if span.kind == "handoff" and span.to:
            if span.name and span.name != active:
                yield span, Became(span.name)
            if span.failed:
                continue
            seen = _next(spans, number, span.to, agents)
            yield span, HandedOff(span.id, _ended(span), "handoff", span.to, seen=seen)
            active = span.to
            handed.add(span.to)
        elif span.kind == "tool":
            step = _tool(span, spans, number, agents)
            if isinstance(step, HandedOff) and not step.failed:
                if any(s.kind == "handoff" for s in spans):
                    continue  # the trace tells its handoffs by spans of their own
                active = step.to
                handed.add(step.to)
            yield span, step
        elif span.kind == "chat":
            for step in _chat(span, said, waiting, answered, has_tools):
                yield span, step
                if isinstance(step, HandedOff) and not step.failed:
                    active = step.to
                    handed.add(step.to)
    if not has_tools:
        for call_id in waiting:
            if call_id not in answered:
                counts.leave_out("a call without an answer")


def _follows(spans: list[Span], number: int, active: str, agents: Mapping[str, str]) -> bool:
    """Whether an agent's span stands beside that of the active one, and not within it."""
    span = spans[number]
    above = {each.id: each for each in spans}
    at, passed = above.get(span.parent), set[str]()
    while at is not None and at.id not in passed:
        passed.add(at.id)
        if at.kind == "agent" and at.name:
            return False
        at = above.get(at.parent)
    return any(s.kind == "agent" and s.name == active and s.parent == span.parent for s in spans)


def _next(spans: list[Span], number: int, to: str, agents: Mapping[str, str]) -> ShownInput | None:
    """What the first input of the next agent shows, None where none was recorded."""
    for span in spans[number:]:
        if span.kind == "chat" and agents.get(span.id) == to:
            found = _messages(span.input)
            return shown(found) if found else None
    return None


def _tool(span: Span, spans: list[Span], number: int, agents: Mapping[str, str]) -> Step:
    at = _ended(span)
    arguments = UNSET if span.arguments is UNSET else loads(bytes(span.arguments))
    result = UNSET if span.result is UNSET else loads(bytes(span.result))
    to = target(span.name, None, None if result is UNSET else result)
    if to is None:
        return Used(
            key=span.id,
            at=at,
            tool=span.name,
            arguments=arguments,
            result=result,
            failed=span.failed,
            call_id=span.call_id,
        )
    failed = span.failed or members_of(span.name, result) is None
    name = _spelled(to[0], spans)
    seen = _next(spans, number, name, agents)
    return HandedOff(
        key=span.id,
        at=at,
        tool=span.name,
        to=name,
        arguments=arguments,
        outside=False,
        seen=seen,
        failed=failed,
        call_id=span.call_id,
    )


def _spelled(name: str, spans: list[Span]) -> str:
    """An agent's name as its own span has it; a tool's name holds it in small letters."""
    folded = _folded(name)
    return next((s.name for s in spans if s.kind == "agent" and _folded(s.name) == folded), name)


def _folded(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())


def _chat(
    span: Span,
    said: set[tuple[str, str]],
    waiting: dict[str, Message],
    answered: set[str],
    has_tools: bool,
) -> Iterator[Step]:
    """What a model was told and said, for the first time in this trace; and without spans of tools
    the calls and results that stand in its messages. Their ids follow from what they are, so that
    a history that comes once more, late, is a repeat."""
    given = _messages(span.input)
    start, end = _began(span), _ended(span)
    told = [(message, start) for message in given]
    told += [(message, end) for message in _messages(span.output)]
    for message, at in told:
        if not has_tools:
            for result in message.results:
                owner = waiting.get(result.id)
                if not result.id or result.id in answered or owner is None:
                    continue
                answered.add(result.id)
                call = next(c for c in owner.calls if c.id == result.id)
                to = target(call.name, None, result.content)
                name = f"call-{_digest(result.id)}"
                if to is None:
                    yield Used(
                        key=name,
                        at=at,
                        tool=call.name,
                        arguments=call.arguments,
                        result=result.content,
                        failed=result.failed,
                        call_id=call.id,
                    )
                else:
                    failed = result.failed or members_of(call.name, result.content) is None
                    yield HandedOff(
                        key=name,
                        at=at,
                        tool=call.name,
                        to=to[0],
                        arguments=call.arguments,
                        outside=False,
                        seen=shown(given),
                        failed=failed,
                    )
            for call in message.calls:
                waiting.setdefault(call.id, message)
        text = (message.role, message.text)
        if message.role in ("user", "assistant") and message.text.strip() and text not in said:
            said.add(text)
            yield Spoken(f"said-{_digest(*text)}", at, message.role, message.text)


def _digest(*texts: str) -> str:
    data = "\0".join(texts).encode("utf-8", "replace")
    return hashlib.sha256(data).hexdigest()[:16]


def _messages(given: object) -> list[Message]:
    """Recorded messages; what is none is passed over, as spans hold anything."""
    if given is UNSET:
        return []
    value = loads(bytes(given))  # type: ignore[call-overload]
    if isinstance(value, str):
        return [Message("user", value)]
    found = []
    for each in items(value):
        try:
            found.append(read_message(each))
        except TranscriptError:
            continue
    return found


def _late(span: Span, tools: bool) -> Iterator[Step]:
    if span.kind == "tool":
        yield _tool(span, [span], 0, {})
    elif span.kind == "handoff" and span.to and not span.failed:
        if span.name:
            yield Became(span.name)
        yield HandedOff(span.id, _ended(span), "handoff", span.to)
    elif span.kind == "chat":
        yield from _chat(span, set(), {}, set(), tools)
