"""A source over recorded records: what each became, and what a person needs to trust the source."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Final

import msgspec

from console.lines import Line
from processors.contracts.spelling import folded
from processors.intake.compiled import TOOL_OUTPUTS, CompiledSource
from processors.intake.decoders import VALUE_DECODERS
from processors.intake.mapped import MappedRecord, Skipped
from processors.intake.mapping import map_record
from processors.intake.reads import Place, around, leaves, opened, reads, shown, used
from processors.intake.source_spans import TRACES
from processors.intake.traces import TraceLimits, TraceState, add, finish
from processors.intake.transcripts import spans
from processors.intake.transcripts.building import Counts, Defaults
from processors.intake.transcripts.spans import Span
from schemas import serde
from schemas.alerts import ACTIONS
from schemas.documents import HandoffContract, Receiver
from schemas.flow import Output, Record, Refused
from schemas.records import When

_MOST_NAMES: Final = 10_000
KEPT: Final = "span"  # why nothing came of a record yet
# Fractions stay as they are spelled: they may lie beyond a double, and nothing here looks at them.
_value: Final = msgspec.json.Decoder(dict[str, Any], float_hook=str).decode


@dataclass(frozen=True)
class Tried:
    """A record, the number of its line, and what it became; `outputs` are the decoded values."""

    number: int
    record: Record
    mapped: MappedRecord
    outputs: tuple[dict[str, Any], ...]


@dataclass
class Trial:
    """What came of all records so far. Names and ids are counted, context values never."""

    source: CompiledSource
    records: int = 0
    mapped: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    outputs: int = 0
    acks: int = 0
    alert_actions: int = 0
    stages: Counter[str] = field(default_factory=Counter)
    teams: Counter[str] = field(default_factory=Counter)
    receivers: Counter[str] = field(default_factory=Counter)
    misses: Counter[tuple[str, str]] = field(default_factory=Counter)
    unused: Counter[Place] = field(default_factory=Counter)
    seen: set[Place] = field(default_factory=set)
    tasks: Counter[tuple[str, str]] = field(default_factory=Counter)
    repeated: Counter[str] = field(default_factory=Counter)
    disorder: int = 0
    _ids: set[tuple[str, ...]] = field(default_factory=set)
    _latest: dict[tuple[str, str], int] = field(default_factory=dict)
    _read: frozenset[Place] = frozenset()
    _opened: frozenset[Place] = frozenset()
    _spans: dict[str, list[Span]] = field(default_factory=dict)
    _last: dict[str, tuple[int, Record]] = field(default_factory=dict)
    _counts: Counts = field(default_factory=Counts)

    def __post_init__(self) -> None:
        self._read = reads(self.source.source)
        self._opened = opened(self._read)

    def run(self, samples: Iterable[tuple[int, Record]], now: int) -> Iterator[Tried]:
        """Map records, and count what comes of them."""
        for number, record in samples:
            mapped = map_record(self.source, record, now)
            if mapped.records and mapped.records[0].topic == TRACES:
                mapped = self._keep(number, record, mapped)
            outputs = values_of(mapped)
            self._note(record, mapped, outputs)
            yield Tried(number, record, mapped, outputs)

    def _keep(self, number: int, record: Record, mapped: MappedRecord) -> MappedRecord:
        """Keep the spans of a record until all are there."""
        for each in mapped.records:
            span = spans.decode(each.value or b"")
            self._spans.setdefault(span.trace, []).append(span)
            self._last[span.trace] = number, record
        count = len(mapped.records)
        words = "a span" if count == 1 else f"{count:,} spans"
        return MappedRecord([], skipped=Skipped(KEPT, f"{words}, told with the trace below"))

    def finish(self) -> Iterator[Tried]:
        """The traces of all records as they are told once they are quiet; each with the record that
        had its last span."""
        for trace, kept in self._spans.items():
            state, lines = TraceState(trace), list[bytes]()
            for span in kept:
                size = len(spans.encode(span))
                state, more = add(
                    state,
                    span,
                    size,
                    limits=TraceLimits(),
                    defaults=Defaults(),
                    counts=self._counts,
                )
                lines += more
            if not state.told:
                lines += finish(state, Defaults(), self._counts)[1]
            outputs = tuple(map(_value, lines))
            for value in outputs:  # as intake's own outputs have it
                value["occurred_at"] = serde.epoch_ms(msgspec.convert(value["occurred_at"], When))
            records = [
                Output(TOOL_OUTPUTS, value["task_id"].encode(), line, [])
                for line, value in zip(lines, outputs, strict=True)
            ]
            number, record = self._last[trace]
            mapped = MappedRecord(records)
            self._note_outputs(mapped, outputs, len(kept))
            yield Tried(number, record, mapped, outputs)

    def _note(
        self, record: Record, mapped: MappedRecord, outputs: tuple[dict[str, Any], ...]
    ) -> None:
        self.records += 1
        self.misses.update(mapped.lookup_misses)
        if mapped.skipped is not None and mapped.skipped.code != KEPT:
            self.skipped[mapped.skipped.code] += 1
        elif mapped.refused is not None:
            self.refused[mapped.refused.code] += 1
        else:
            self.mapped += 1
        self._note_places(record)
        self._note_outputs(mapped, outputs, 1)

    def _note_outputs(
        self, mapped: MappedRecord, outputs: tuple[dict[str, Any], ...], records: int
    ) -> None:
        here: set[tuple[str, str]] = set()
        for output, value in zip(mapped.records, outputs, strict=True):
            if output.topic == ACTIONS:
                self.alert_actions += 1
                continue
            task = value["workflow"], value["task_id"]
            here.add(task)
            told = output.topic, *task, value.get("tool", value.get("by", "")), value["id"]
            if told in self._ids:
                self.repeated[value["id"]] += 1
            self._ids.add(told)
            if value["occurred_at"] < self._latest.get(task, value["occurred_at"]):
                self.disorder += 1
            self._latest[task] = max(self._latest.get(task, 0), value["occurred_at"])
            if output.topic != TOOL_OUTPUTS:
                self.acks += 1
                continue
            self.outputs += 1
            for names, name in ((self.stages, value.get("stage")), (self.teams, value.get("team"))):
                if name:
                    names[name] += 1
            self.receivers.update(handoff["to"] for handoff in handoffs_of(value))
        for task in here:
            self.tasks[task] += records

    def _note_places(self, record: Record) -> None:
        decode = VALUE_DECODERS.get(self.source.source.decode.name)
        try:
            found = None if decode is None else decode(record, self.source.source.decode.options)
        except Refused:
            return
        if found is None or isinstance(found, Skipped):
            return
        for place in dict.fromkeys(leaves(found.value, (), self._opened)):
            if len(self.seen) < _MOST_NAMES:
                self.seen.update(around(place))
            if not used(place, self._read) and (
                place in self.unused or len(self.unused) < _MOST_NAMES
            ):
                self.unused[place] += 1

    def absent(self) -> list[tuple[str, str | None]]:
        """The paths that the source reads and no record has, each with a path of the records that
        may be meant."""
        if not self.seen:
            return []
        known = {shown(place): place for place in self.seen if place}
        found = []
        for path in sorted(shown(place) for place in self._read if place not in self.seen):
            near = get_close_matches(path, known, n=1, cutoff=0.8)
            found.append((path, near[0] if near else None))
        return found

    def single(self) -> int:
        """How many tasks have one event only."""
        return sum(number == 1 for number in self.tasks.values())


def unregistered(
    trial: Trial, contracts: Iterable[HandoffContract], receivers: Iterable[Receiver]
) -> dict[str, list[str]]:
    """Stages and receivers that came out, and that no contract or receiver knows."""
    contracts, receivers = list(contracts), list(receivers)
    stages = {s for c in contracts for s in (*c.from_.stage, *filter(None, [c.to.stage]))}
    known = {name for r in receivers for name in (r.id, *r.aliases)}
    return {
        "stages": [] if "*" in stages else sorted(set(trial.stages) - stages),
        "receivers": sorted(set(trial.receivers) - known),
    }


def near(names: Iterable[str]) -> list[list[str]]:
    """Names that are the same but for case, spaces and signs."""
    alike: dict[str, set[str]] = defaultdict(set)
    for name in names:
        alike[folded(name)].add(name)
    return [sorted(found) for found in alike.values() if len(found) > 1]


def handoffs_of(value: dict[str, Any]) -> list[dict[str, Any]]:
    """The handoffs that an output declares."""
    asked = value.get("handoff", [])
    return asked if isinstance(asked, list) else [asked]


def values_of(mapped: MappedRecord) -> tuple[dict[str, Any], ...]:
    """The decoded values of what a record became, for names and counts."""
    return tuple(_value(each.value or b"{}") for each in mapped.records)


def line_of(number: int, output: Output, value: dict[str, Any]) -> Line:
    """An output as a line that a dry run takes."""
    return Line(
        number=number,
        topic=output.topic,
        key=output.key,
        value=output.value or b"",
        occurred_at=value["occurred_at"],
        problem=None,
    )


def written(output: Output) -> bytes:
    """An output as a line of a recording: as `dry-run` and `send` read it."""
    value = output.value or b"null"
    if output.topic == TOOL_OUTPUTS:
        return value
    return msgspec.json.encode({"topic": output.topic, "value": msgspec.Raw(value)})
