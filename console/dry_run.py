"""The processors without a broker: the same cores over lines, on the clock of their event times.

Deadlines fall due as the clock passes them, and a line of a table changes it from there on. Each
line is a transaction of integrity; what it adds up is what insights reads, at the same moment.

Partitions and offsets are those of a fresh cluster fed by `send` with the same lines, so the
origins in the records are too. Nothing here reads a clock: the same lines give the same bytes.
"""

import base64
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pydantic
from msgspec.structs import replace

from console.cards import HELD, PACKAGES, VIOLATIONS
from console.errors import BadInputError
from console.follower import Follower, committed
from console.lines import LIVENESS, Line
from processors.driver import Driver
from processors.insights.limits import Limits as InsightsLimits
from processors.insights.processor import insights as insights_within
from processors.partitioning import partition_of
from processors.processor import Processor
from processors.timeline import Timeline
from schemas import documents, serde
from schemas.flow import Headers, Output, Record
from schemas.links import LINKS
from schemas.records import Liveness
from schemas.unreadable import UNREADABLE

# A line without a key lies on no partition; what it becomes is judged beside the others.
_NOWHERE = -1
_FOR_EVER = 1_000 * 365 * 86_400_000  # ms
_INTERNAL = ("handoff.internal.feed", "handoff.integrity-state", "handoff.insights-state")


class _Judged(msgspec.Struct):
    id: str
    disposition: str
    fidelity: float | None
    completeness: float | None


class _Broken(msgspec.Struct):
    status: str


_judged = msgspec.json.Decoder(_Judged).decode
_broken = msgspec.json.Decoder(_Broken).decode


@dataclass
class Summary:
    """What a dry run published: records a topic, violations opened and resolved a kind, handoffs;
    `refused` counts the dead letters a reason.

    `handoffs` has of each handoff, by its id, whether it was sent at last, and the two shares;
    `deadlines` is how many tasks were woken by one.
    """

    inputs: int = 0
    topics: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)
    opened: Counter[str] = field(default_factory=Counter)
    resolved: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    handoffs: dict[str, tuple[bool, float | None, float | None]] = field(default_factory=dict)
    deadlines: int = 0

    def note(self, output: Output) -> None:
        """Count one published record."""
        self.topics[output.topic] += 1
        if output.topic == VIOLATIONS and output.value is not None:
            again = _broken(output.value).status == "resolved"
            kinds = self.resolved if again else self.opened
            kinds[dict(output.headers)["handoff-kind"].decode()] += 1
        elif output.topic == serde.DEAD_LETTERS:
            self.refused[dict(output.headers)["__streams.errors.exception"].decode()] += 1
        elif output.topic in (PACKAGES, HELD) and output.value is not None:
            found = _judged(output.value)
            sent = found.disposition == "sent"
            self.handoffs[found.id] = sent, found.fidelity, found.completeness

    def shares(self) -> tuple[float, float] | None:
        """The mean fidelity and completeness of the handoffs that a contract covers."""
        judged = [
            (fidelity, completeness)
            for _, fidelity, completeness in self.handoffs.values()
            if fidelity is not None and completeness is not None
        ]
        if not judged:
            return None
        arrived, got = map(sum, zip(*judged, strict=True))
        return arrived / len(judged), got / len(judged)


class DryRun:
    """Integrity over lines, and insights behind it. `partitions` is that of the task-keyed topics.

    `backfill_before` (epoch ms): lines older than it carry the header that `send` would set; None
    sets it on no line. `insights` are the limits of the second processor; without them nobody reads
    what integrity adds up. It publishes each edge once, when the lines have ended: on the clock of
    the events nearly every move would be an interval of its own.
    """

    def __init__(
        self,
        processor: Processor[Any],
        tables: Mapping[str, dict[str, bytes]],
        partitions: int,
        backfill_before: int | None = None,
        insights: InsightsLimits | None = None,
    ) -> None:
        self._tables = {name: dict(tables.get(name, {})) for name in processor.tables}
        self._processor = processor
        self._driver = Driver(processor, self._build(processor))
        self._driver.partition_count = partitions
        self._clock = Timeline(self._driver, self._settled)
        self._follower = None
        if insights is not None:
            second = insights_within(replace(insights, edge_interval_ms=_FOR_EVER))
            self._follower = Follower(second, self._build(second))
        self._partitions = partitions
        self._backfill_before = backfill_before
        self._offsets: Counter[tuple[str, int]] = Counter()
        self._source = ""
        self.line = 0  # the number of the line that is judged
        self.summary = Summary()
        for partition in (_NOWHERE, *range(partitions)):
            self._driver.assign(partition, {})

    @property
    def now(self) -> int:
        """The clock, epoch ms; 0 before the first line."""
        return self._clock.now or 0

    def table(self, name: str) -> Mapping[str, bytes]:
        """What a table holds now, by key."""
        return self._tables[name]

    def run(
        self, lines: Iterable[Line], until: int | None = None, source: str | None = None
    ) -> Iterator[Output]:
        """What the processors would publish for each line, in order: integrity's records, its
        sums and its changelog, then what insights makes of the sums.

        Between two lines comes what falls due meanwhile, and after the last one what has fallen due
        up to `until` (epoch ms) and the edges. Raises `BadInputError` for a line
        of a topic that the processors do not read, and for a document of a table that is none; it
        names the file that the lines are from, `source`.
        """
        self._source = f"{source}, " if source else ""
        for line in lines:
            self.line = line.number
            yield from self._noted(self._to(line.occurred_at or 0))
            if line.topic in self._tables:
                self._register(line)
                yield from self._noted(self._exchange())
            elif line.topic in self._processor.inputs:
                yield from self._noted(self._step(line))
            else:
                raise self._bad(line, line.problem or unread(line.topic))
        yield from self._noted(self._clock.through(until or 0))
        if self._follower is not None:
            yield from self._noted(self._follower.ended(self.now, _FOR_EVER))
        self.summary.deadlines = self._clock.fired

    def _to(self, moment: int) -> Iterator[Output]:
        yield from self._clock.to(moment)
        if self._follower is not None:
            yield from self._follower.to(self.now)

    def _exchange(self) -> Iterator[Output]:
        yield from self._clock.exchange(self._build(self._processor))
        if self._follower is not None:
            yield from self._follower.exchange(self._build(self._follower.processor))

    def _noted(self, outputs: Iterable[Output]) -> Iterator[Output]:
        for output in outputs:
            if not internal(output.topic):
                self.summary.note(output)
            yield output

    def _build(self, processor: Processor[Any]) -> Any:
        tables = {name: dict(self._tables[name]) for name in processor.tables}
        return processor.build_tables(tables, None)

    def _register(self, line: Line) -> None:
        """Take the line of a table."""
        if line.problem is not None:
            raise self._bad(line, line.problem)
        table = self._tables[line.topic]
        if line.value == b"null":
            if line.key is None:
                raise self._bad(line, "a null needs the key that it deletes")
            table.pop(line.key.decode(), None)
            return
        try:
            key, value = _document(line)
        except (pydantic.ValidationError, msgspec.ValidationError) as error:
            raise self._bad(line, f"{line.topic}: {_why(error)}") from None
        table[key] = value

    def _bad(self, line: Line, why: str) -> BadInputError:
        return BadInputError(f"{self._source}line {line.number}: {why}")

    def _step(self, line: Line) -> Iterator[Output]:
        partition, offset = self._place(line)
        key = line.key or b""
        headers: Headers = []
        if is_backfill(line, self._backfill_before):
            headers.append((serde.BACKFILL_HEADER, b"1"))
        # A record arrives when the clock is at hand, so only the header makes it backfill.
        record = Record(
            line.topic,
            partition,
            offset,
            key=key,
            value=line.value,
            timestamp=self.now,
            headers=headers,
        )
        self.summary.inputs += 1
        yield from self._clock.step(record, self.now)
        yield from self._settled()

    def _settled(self) -> Iterator[Output]:
        """Commit: the sums, and the changelog; then whoever reads the sums."""
        sums = self._driver.sums()
        changelog = committed(self._driver)
        yield from sums
        yield from changelog
        if sums and self._follower is not None:
            yield from self._follower.take(sums, self.now)

    def _place(self, line: Line) -> tuple[int, int]:
        if line.key is None:
            return _NOWHERE, line.number - 1
        partition = partition_of(line.key, self._partitions)
        offset = self._offsets[line.topic, partition]
        self._offsets[line.topic, partition] += 1
        return partition, offset

    def verdicts(self) -> Counter[str]:
        """How the inputs ended: applied, duplicates, refused, dead_letters. What tasks tell each
        other is none of them, unless it is refused."""
        found: Counter[str] = Counter()
        for (name, topic, _label), number in self._driver.counts.items():
            if topic == LINKS and name in ("applied", "duplicates"):
                continue
            if name in ("applied", "duplicates", "refused", "dead_letters"):
                found[name] += number
        return found


def _document(line: Line) -> tuple[str, bytes]:
    """The key and the value that a table would have for a line."""
    if line.topic == LIVENESS:
        found = msgspec.json.decode(line.value, type=Liveness)
        return found.receiver, line.value
    document = documents.from_json(line.value)
    return documents.key(document), documents.to_json(document)


def _why(error: pydantic.ValidationError | msgspec.ValidationError) -> str:
    if isinstance(error, msgspec.ValidationError):
        return str(error)
    first = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg'].removeprefix('Value error, ')}"


def is_backfill(line: Line, before: int | None) -> bool:
    """Whether a line is marked as backfill: it is older than `before` (epoch ms)."""
    return before is not None and line.occurred_at is not None and line.occurred_at < before


def internal(topic: str) -> bool:
    """Whether a topic is the processors' own business: the feed, and the changelogs."""
    return topic in _INTERNAL


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
    except UNREADABLE:
        return msgspec.json.encode(_Printed(topic, name, texts, text))
    return msgspec.json.encode(_Printed(topic, name, texts, msgspec.Raw(compact)))
