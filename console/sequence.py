"""The records of one task, in the order in which the processor saw and wrote them. Pure.

They come from several topics, whose offsets say nothing of each other, and tools' clocks differ. So
an input stands in the order of its partition, and what names it as its event (`event_id`) and was
made in the same step stands behind it; everything else stands where its processing time puts it.
"""

from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple, TypeGuard

import msgspec
from msgspec import Struct

from console.lines import INPUTS
from schemas import serde
from schemas.flow import Record
from schemas.records import Ack, Amendment, Package, Signal, ToolOutput, Violation
from schemas.unreadable import UNREADABLE

OUTPUTS = (
    "handoff.packages",
    "handoff.held",
    "handoff.violations",
    "handoff.signals",
    serde.DEAD_LETTERS,
)
Body = ToolOutput | Ack | Amendment | Package | Violation | Signal
_TYPES: dict[str, type[Struct]] = {
    "handoff.tool-outputs": ToolOutput,
    "handoff.acks": Ack,
    "handoff.amendments": Amendment,
    "handoff.packages": Package,
    "handoff.held": Package,
    "handoff.violations": Violation,
    "handoff.signals": Signal,
}
_decoders = {topic: msgspec.json.Decoder(kind).decode for topic, kind in _TYPES.items()}


class ReadRecord(NamedTuple):
    """A record and what it says; `body` is None where it cannot be read.

    `refused` is the reason where the processor made a dead letter of it.
    """

    record: Record
    body: Body | None
    refused: str | None = None


class Event(NamedTuple):
    """Something that happened to the task, `at` which moment of the processor (epoch ms)."""

    at: int
    record: Record
    body: Body | None
    refused: str | None = None


def of_task(records: Iterable[Record], task: str) -> list[ReadRecord]:
    """Those of the records that belong to the task, decoded; tombstones are left out."""
    key = task.encode()
    found = []
    refused: dict[tuple[str, int, int], str] = {}
    for record in records:
        if record.topic == serde.DEAD_LETTERS and record.key == key:
            with suppress(ValueError):  # no dead letter: somebody else's record
                letter = serde.read_dead_letter(record)
                refused[letter.topic, letter.partition, letter.offset] = letter.exception
        if record.value is None or record.topic not in _decoders:
            continue
        held = record.topic == "handoff.held"  # keyed by handoff: its body names the task
        if not held and record.key != key:
            continue
        try:
            body = _decoders[record.topic](record.value)
        except UNREADABLE:
            body = None
        if held and (not isinstance(body, Package) or body.task_id != task):
            continue
        found.append(ReadRecord(record, body))  # type: ignore[arg-type]  # the table above says which
    return [each._replace(refused=refused.get(_place(each.record))) for each in found]


def _place(record: Record) -> tuple[str, int, int]:
    return record.topic, record.partition, record.offset


def in_order(found: Iterable[ReadRecord]) -> list[Event]:
    """The events of a task in order."""
    found = list(found)
    inputs = _merged([each for each in found if each.record.topic in INPUTS])
    outputs = [each for each in found if each.record.topic not in INPUTS]
    cause = _causes(inputs, outputs)
    sent = _sent_at(outputs)
    made = [(each, cause.get(id(each)), sent.get(id(each), _at(each))) for each in outputs]
    stepped: dict[int, int] = {}  # the number of an input -> when the processor took it
    for _, named, at in made:
        if named is not None:
            stepped[named] = min(at, stepped.get(named, at))
    rows: list[tuple[int, float, int, int, ReadRecord]] = []
    now, when = 0, []
    for index, each in enumerate(inputs):
        now = max(now, stepped.get(index, each.record.timestamp))
        when.append(now)
        rows.append((now, index, 0, 0, each))
    # What was made of a handoff in one step belongs together, though only a part tells its cause.
    steps = {
        (_handoff(each.body), at): named
        for each, named, at in made
        if named is not None and (at == stepped[named] or _is_first(each.body))
    }
    for each, _, at in made:
        step = steps.get((_handoff(each.body), at))
        place = (at, float("inf")) if step is None else (when[step], step)
        rows.append((*place, _rank(each.body), each.record.offset, each))
    rows.sort(key=lambda row: row[:4])
    return [Event(at, *each) for at, _, _, _, each in rows]


def _merged(inputs: list[ReadRecord]) -> list[ReadRecord]:
    """The inputs in offset order within each partition, the head with the older timestamp first."""
    queues: dict[tuple[str, int], list[ReadRecord]] = {}
    for each in sorted(inputs, key=lambda each: each.record.offset):
        queues.setdefault((each.record.topic, each.record.partition), []).append(each)
    # A head cannot be passed, so a record counts as young as the youngest before it.
    rows = []
    for (topic, partition), queue in queues.items():
        youngest = 0
        for each in queue:
            youngest = max(youngest, each.record.timestamp)
            place = INPUTS.index(topic), partition, each.record.offset
            rows.append((youngest, place, each))
    return [each for _, _, each in sorted(rows, key=lambda row: row[:2])]


def _causes(inputs: list[ReadRecord], outputs: list[ReadRecord]) -> dict[int, int | None]:
    """For each output (by `id()`) the number of the input that it follows from, where it tells.

    Packages and violations name their event: ids are unique within a tool, and the event of an
    implicit handoff is not its sender's. Signals name only its time; a handoff's first one is that
    of its package, and where two inputs have the time, none is taken.
    """
    names: dict[tuple[str | None, str], int] = {}
    times: dict[int, list[int]] = {}
    for index, (_, body, refused) in enumerate(inputs):
        if refused is None and isinstance(body, ToolOutput | Ack | Amendment):
            if isinstance(body, ToolOutput):
                names.setdefault((body.tool, body.id), index)
            names.setdefault((None, body.id), index)
            times.setdefault(serde.epoch_ms(body.occurred_at), []).append(index)
    found: dict[int, int | None] = {}
    begun: dict[str, int | None] = {}
    for each in outputs:
        body = each.body
        if isinstance(body, Package | Violation):
            tool = body.from_.tool if body.from_ is not None else None
            named = names.get((tool, body.event_id), names.get((None, body.event_id)))
            found[id(each)] = named
            if _is_first(body):
                begun[body.id] = named
    for each in outputs:
        if isinstance(each.body, Signal):
            there = times.get(serde.epoch_ms(each.body.occurred_at), [])
            found[id(each)] = there[0] if len(there) == 1 else None
            if each.body.kind in ("sent", "held"):
                found[id(each)] = begun.get(each.body.handoff_id)
    return found


def _at(each: ReadRecord) -> int:
    """When the processor made an output. Of a package the record's timestamp, a moment later."""
    body = each.body
    if isinstance(body, Violation):
        resolved = body.status == "resolved" and body.resolved_at
        return serde.epoch_ms(resolved or body.detected_at)
    if isinstance(body, Signal):
        return serde.epoch_ms(body.at)
    return each.record.timestamp


def _sent_at(outputs: list[ReadRecord]) -> dict[int, int]:
    """By `id()` of each handoff's first package that was sent: when, to the millisecond."""
    first: dict[str, tuple[int, int, int]] = {}
    for each in outputs:
        if isinstance(each.body, Package) and each.body.sent_at is not None:
            package = each.body
            row = package.revision, id(each), serde.epoch_ms(each.body.sent_at)
            first[package.id] = min(row, first.get(package.id, row))
    return {which: at for _, which, at in first.values()}


def _is_first(body: Body | None) -> TypeGuard[Package]:
    return isinstance(body, Package) and body.revision == 1


def _handoff(body: Body | None) -> str | None:
    if isinstance(body, Package):
        return body.id
    return body.handoff_id if isinstance(body, Violation | Signal) else None


def _rank(body: Body | None) -> int:
    """Within one step: packages, violations in the order of their topic, signals."""
    if isinstance(body, Violation):
        return 2
    return 1 if isinstance(body, Package) else 3
