"""A story as a timeline that a person reads: when, what came, and what was published then."""

import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from processors.driver import Driver
from processors.integrity.limits import DEFAULT_LIMITS, Limits
from processors.integrity.processor import integrity
from schemas.flow import Output, Record
from tests.simulated.machine import Machine, PublishedRecord, Struck
from tests.simulated.story import (
    DAY,
    START,
    Plan,
    Story,
    StoryRegistry,
    StoryStep,
    TablesChange,
    silence,
)

PACKAGE = ("id", "revision", "disposition", "contract", "contract_version", "begun", "missing")


def told(story: Story, core: type[Driver[Any]]) -> str:
    """The story and what it publishes; a run with faults, where it has one, after the one without.

    What breaks while a run is checked does not stop the telling: it is played without a ledger.
    """
    lines = [f"limits: {limits(story.limits)}"]
    processor = integrity(story.limits)
    registry = StoryRegistry(processor)
    for plan in (Plan(), *story.plans):
        machine = Machine(processor, registry, plan, driver=core)
        machine.play([*story.steps, *silence(story.steps)])
        lines += [_title(plan), *_timeline(machine)]
    return "\n".join(lines)


def _title(plan: Plan) -> str:
    if plan == Plan():
        return "\n--- straight on: each step is committed"
    faults = ", ".join(
        f"{f.fate} at moment {f.place} of step {f.step}"
        + (f", away for {f.outage // 60_000} min" if f.outage else "")
        for f in plan.faults
    )
    faults += " restarts after each commit" if plan.restarts else ""
    commits = "each step" if plan.commits is None else str(sorted(plan.commits))
    return f"\n--- with faults: {faults}; commits after {commits}"


def limits(given: Limits) -> str:
    """Those that are not the defaults."""
    differing = [
        f"{name} {getattr(given, name)}"
        for name in given.__struct_fields__
        if getattr(given, name) != getattr(DEFAULT_LIMITS, name)
    ]
    return ", ".join(differing)


def _timeline(machine: Machine) -> Iterator[str]:
    published: dict[int, list[PublishedRecord]] = defaultdict(list)
    struck: dict[int, list[Struck]] = defaultdict(list)
    for record in machine.published:
        published[record.step].append(record)
    for strike in machine.struck:
        struck[strike.step].append(strike)
    for step in machine.steps:
        # What falls due on the way to a step stands before it.
        before = [record for record in published[step.number] if record.now < step.at]
        for record in before:
            yield _line(record)
        yield f"{_time(step.at)}  [{step.number}] {what(step)}"
        for strike in struck[step.number]:
            yield f"{'':16}{strike.fate.upper()}"
        for record in published[step.number][len(before) :]:
            yield _line(record)


def _time(at: int) -> str:
    day, rest = divmod(at - START, DAY)
    second, thousandth = divmod(rest, 1_000)
    clock = f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"
    return f"day {day + 1} {clock}" + (f".{thousandth:03}" if thousandth else "")


def what(step: StoryStep) -> str:
    """What happens in a step."""
    if step.what is None:
        return "time passes"
    if isinstance(step.what, TablesChange):
        entries = [_document(value) for _, _, value in step.what.entries]
        if step.what.existing is not None:
            entries.append(f"topics {sorted(step.what.existing)}")
        return "the tables: " + "; ".join(entries)
    return _record(step.what)


def _document(value: bytes) -> str:
    """A document without what it leaves to the defaults."""

    def given(data: Any) -> Any:
        if isinstance(data, dict):
            return {name: given(inner) for name, inner in data.items() if inner or inner is False}
        return [given(each) for each in data] if isinstance(data, list) else data

    data = json.loads(value)
    for member in ("kind", "owner", "action", "contact"):
        data.pop(member, None)
    return json.dumps(given(data))


def _record(record: Record) -> str:
    head = f"{record.topic} {(record.key or b'').decode()}"
    if record.headers:
        head += f" {[name for name, _ in record.headers]}"
    try:
        body = json.loads(record.value or b"")
        body["occurred_at"] = _time(body["occurred_at"])
    except (ValueError, TypeError, KeyError):
        return f"{head} {record.value!r}"
    return f"{head} (timestamp {_time(record.timestamp)}) {json.dumps(body)}"


def _line(published: PublishedRecord) -> str:
    return f"{_time(published.now):16}    -> {output(published.output)}"


def output(published: Output) -> str:
    """A published record in one line."""
    topic = published.topic.removeprefix("handoff.")
    if published.value is None:
        return f"{topic} {(published.key or b'').decode()}: gone"
    if topic == "dead-letters":
        return f"{topic}: {dict(published.headers)['__streams.errors.exception'].decode()}"
    body: dict[str, Any] = json.loads(published.value)
    if topic == "violations":
        return f"{topic} {body['status']} {body['id']} episode {body['episode']}" + (
            f" ({body['resolution']})" if body["resolution"] else f": {body['message']}"
        )
    if topic == "signals":
        return f"{topic} {body['id']}"
    if "provenance" not in body:
        return f"{topic} {published.value.decode()}"
    carried = {name: origin["how"] for name, origin in body["provenance"].items()}
    return f"{topic} {json.dumps({name: body[name] for name in PACKAGE} | {'context': carried})}"
