"""The processor without a broker: the same core over lines, on the clock of their event times.

Partitions and offsets are those of a fresh cluster fed by `send` with the same lines, so the
origins in the records are too. Nothing here reads a clock: the same lines give the same bytes.
"""

import base64
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from console.errors import BadInputError
from console.lines import Line
from processors.driver import Driver
from processors.partitioning import partition_of
from processors.processor import Processor
from schemas import wire
from schemas.flow import Headers, Output, Record

# A line without a key lies on no partition; what it becomes is judged beside the others.
_NOWHERE = -1
PACKAGES, HELD, VIOLATIONS = "handoff.packages", "handoff.held", "handoff.violations"


class _Judged(msgspec.Struct):
    fidelity: float | None
    completeness: float | None


_judged = msgspec.json.Decoder(_Judged).decode


@dataclass
class Summary:
    """What a dry run published: records a topic, violations opened a kind, shares of packages."""

    inputs: int = 0
    topics: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)
    violations: Counter[str] = field(default_factory=Counter)
    judged: int = 0
    fidelity: float = 0.0
    completeness: float = 0.0

    def note(self, output: Output) -> None:
        """Count one published record."""
        self.topics[output.topic] += 1
        if output.topic == VIOLATIONS:
            self.violations[dict(output.headers)["handoff-kind"].decode()] += 1
        elif output.topic in (PACKAGES, HELD) and output.value is not None:
            found = _judged(output.value)
            if found.fidelity is not None and found.completeness is not None:
                self.judged += 1
                self.fidelity += found.fidelity
                self.completeness += found.completeness


class DryRun:
    """One processor over lines. `partitions` is that of the task-keyed topics.

    `backfill_before` (epoch ms): lines older than it carry the header that `send` would set; None
    sets it on no line.
    """

    def __init__(
        self,
        processor: Processor[Any],
        tables: Mapping[str, dict[str, bytes]],
        partitions: int,
        backfill_before: int | None = None,
    ) -> None:
        self._driver = Driver(processor, processor.build_tables(dict(tables), None))
        self._partitions = partitions
        self._backfill_before = backfill_before
        self._offsets: Counter[tuple[str, int]] = Counter()
        self.now = 0
        self.summary = Summary()
        for partition in (_NOWHERE, *range(partitions)):
            self._driver.assign(partition, {})

    def run(self, lines: Iterable[Line]) -> Iterator[Output]:
        """What the processor would publish for each line, in order, its changelog last.

        Raises `BadInputError` for a line of a topic that the processor does not read.
        """
        for line in lines:
            yield from self._step(line)

    def _step(self, line: Line) -> Iterator[Output]:
        processor = self._driver.processor
        if line.topic not in processor.inputs:
            raise BadInputError(
                f"line {line.number}: {unread(line.topic)}; leave such lines out of a dry run"
            )
        self.now = max(self.now, line.occurred_at or 0)
        partition, offset = self._place(line)
        key = line.key or b""
        headers: Headers = []
        if is_backfill(line, self._backfill_before):
            headers.append((wire.BACKFILL_HEADER, b"1"))
        # A record arrives when the clock is at hand, so only the header makes it backfill.
        record = Record(line.topic, partition, offset, key, line.value, self.now, headers)
        outputs = self._driver.step(record, self.now)
        self.summary.inputs += 1
        for output in outputs:
            self.summary.note(output)
            yield output
        changes = list(self._driver.changelog())
        self._driver.merge(changes)
        for _, state_key, encoded in changes:
            yield Output(processor.changelog, state_key.encode(), encoded, [])

    def _place(self, line: Line) -> tuple[int, int]:
        if line.key is None:
            return _NOWHERE, line.number - 1
        partition = partition_of(line.key, self._partitions)
        offset = self._offsets[line.topic, partition]
        self._offsets[line.topic, partition] += 1
        return partition, offset

    def clock_to(self, moment: int | None) -> None:
        """Move the clock on to a moment (epoch ms); it never goes back."""
        self.now = max(self.now, moment or 0)

    def verdicts(self) -> Counter[str]:
        """How the inputs ended: applied, duplicates, refused, dead_letters."""
        found: Counter[str] = Counter()
        for (name, _topic, _label), number in self._driver.counts.items():
            if name in ("applied", "duplicates", "refused", "dead_letters"):
                found[name] += number
        return found


def is_backfill(line: Line, before: int | None) -> bool:
    """Whether a line is marked as backfill: it is older than `before` (epoch ms)."""
    return before is not None and line.occurred_at is not None and line.occurred_at < before


def internal(topic: str, processor: Processor[Any]) -> bool:
    """Whether a topic is the processors' own business."""
    return topic == processor.changelog or topic.startswith("handoff.internal.")


def unread(topic: str) -> str:
    """What to say of an input that no processor of this version reads."""
    return f"this version does not read {topic}"


class _Printed(msgspec.Struct):
    topic: str
    key: str | None
    headers: dict[str, str]
    value: msgspec.Raw | str | None


class _PrintedBytes(_Printed):
    value_base64: str


def printed(topic: str, key: bytes | None, value: bytes | None, headers: Headers) -> bytes:
    """One record as one compact JSON line, without the line's end.

    `value` is the JSON of the record, or its text where it is no JSON; bytes that are not text
    stand in `value_base64`, beside a null.
    """
    name = None if key is None else key.decode("utf-8", "backslashreplace")
    texts = {head: (text or b"").decode("utf-8", "backslashreplace") for head, text in headers}
    if value is None:
        return msgspec.json.encode(_Printed(topic, name, texts, None))
    try:
        text = str(value, "utf-8")
    except UnicodeDecodeError:
        coded = base64.b64encode(value).decode()
        return msgspec.json.encode(_PrintedBytes(topic, name, texts, None, coded))
    try:
        # A line is a line: the JSON that a tool sent may hold line breaks between its members.
        compact = msgspec.json.format(value, indent=-1)
    except (msgspec.DecodeError, RecursionError):
        return msgspec.json.encode(_Printed(topic, name, texts, text))
    return msgspec.json.encode(_Printed(topic, name, texts, msgspec.Raw(compact)))
