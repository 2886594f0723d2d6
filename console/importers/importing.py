"""Files of transcripts and traces as lines of tool outputs, and what became of them."""

import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from types import MappingProxyType
from typing import IO

from msgspec import Struct

from console.importers.reading import opened, records
from console.importers.tables import Columns, csv_events, is_csv, xes_events
from processors.intake import traces
from processors.intake.transcripts import otel, spans
from processors.intake.transcripts.building import Builder, Counts, Defaults, shortened
from processors.intake.transcripts.conversations import Clock, Conversation, Conversations
from processors.intake.transcripts.errors import TranscriptError
from processors.intake.transcripts.formats import READERS, STREAMED, detect, read
from processors.intake.transcripts.steps import Used

FORMATS = (*READERS, "csv", "xes")
DEFAULT_HANDOFFS = MappingProxyType({"transfer_to_human_agents": "human-agents"})
START_MS = 1_704_067_200_000  # 2024-01-01: no output is ahead of the clock of a broker
_SHOWN = 5
_TRACE_BYTES = 64 << 20  # of spans that wait for the rest of their traces
_TOLD_TRACES = 10_000
_SUFFIXES = re.compile(r"(\.(gz|jsonl?|ndjson|csv|xes|xml|pb|bin|request|response))+$", re.I)
_HEAD = 4096
_EVENT_STREAM = re.compile(rb"\s*(?:event: *\S+\r?\n)?data: *[{\[]")  # server-sent events


class Options(Struct, frozen=True):
    """What the command was told. `handoffs` maps tools to receivers outside of the conversation;
    with `only_these` no other tool hands off."""

    format: str = ""
    defaults: Defaults = Defaults()
    handoffs: Mapping[str, str] = DEFAULT_HANDOFFS
    only_these: bool = False
    start: int = START_MS
    columns: Columns = Columns()


class Import:
    """One import of one or several files. Its counts are complete when `lines` has ended."""

    def __init__(self, options: Options) -> None:
        self.counts = Counts()
        self.records = 0
        self.bad = 0
        self.first_bad: list[str] = []
        self._last_why = ""
        self.formats: dict[str, dict[str, int]] = {}  # of each file, with their records
        self.clock = Clock(options.start)
        self._options = options
        self._talks = Conversations(
            options.defaults, self.counts, self.clock, options.handoffs, not options.only_these
        )
        self._traces: OrderedDict[str, traces.TraceState] = OrderedDict()
        self._told: OrderedDict[str, traces.TraceState] = OrderedDict()
        self._held = 0
        self._events: dict[str, int] = {}

    def lines(self, paths: list[str]) -> Iterator[bytes]:
        """The tool outputs of the files, a line of JSON each."""
        for path in paths:
            try:
                with opened(path) as stream:
                    yield from self._file(path, stream)
            except TranscriptError as error:
                self._refuse(path, str(error))
        yield from self._talks.finish()
        for state in sorted(self._traces.values(), key=_began):
            yield from traces.finish(state, self._options.defaults, self.counts)[1]
        self._traces.clear()

    def _refuse(self, where: str, why: str) -> None:
        self.bad += 1
        if len(self.first_bad) < _SHOWN:
            told = "the same" if why == self._last_why else why
            self.first_bad.append(f"{where}: {told}")
            self._last_why = why

    def _took(self, path: str, format_: str) -> None:
        self.records += 1
        of_file = self.formats.setdefault(path, {})
        of_file[format_] = of_file.get(format_, 0) + 1

    def _file(self, path: str, stream: IO[bytes]) -> Iterator[bytes]:
        wanted = self._options.format
        head: bytes = stream.peek(_HEAD)[:_HEAD]  # type: ignore[attr-defined]
        begin = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
        if not head:
            raise TranscriptError(
                "the file is empty; transcripts, traces or an event log are expected"
            )
        if not wanted and _EVENT_STREAM.match(head):
            raise TranscriptError(STREAMED)
        if wanted == "xes" or (not wanted and begin == b"<"):
            yield from self._table(path, "xes", stream)
        elif wanted == "otel-genai" and begin not in (b"{", b"["):
            yield from self._protobuf(path, stream)
        elif wanted == "csv" or (not wanted and begin not in (b"{", b"[") and is_csv(head)):
            yield from self._table(path, "csv", stream)
        elif not wanted and head[:1] == b"\n" and begin not in (b"{", b"[", b""):
            yield from self._protobuf(path, stream)
        else:
            yield from self._json(path, stream)

    def _json(self, path: str, stream: IO[bytes]) -> Iterator[bytes]:
        stem = shortened(_SUFFIXES.sub("", PurePath(path).name) if path != "-" else "stdin")
        number = 0
        for place, value in records(stream):
            number += 1
            try:
                if isinstance(value, TranscriptError):
                    raise value
                format_ = self._options.format or detect(value)
                found = read(value, format_)
            except TranscriptError as error:
                self._refuse(f"{path}, {place}", str(error))
                continue
            self._took(path, format_)
            for each in found:
                try:
                    if isinstance(each, Conversation):
                        yield from self._talks.take(each, _names(stem, number))
                    else:
                        yield from self._span(_placed(each, f"{stem}-{number}"))
                except TranscriptError as error:
                    self._refuse(f"{path}, {place}", str(error))
        if not number:
            raise TranscriptError(
                "the file is empty; transcripts, traces or an event log are expected"
            )

    def _protobuf(self, path: str, stream: IO[bytes]) -> Iterator[bytes]:
        found = otel.read_protobuf(stream.read())
        self._took(path, "otel-genai")
        for span in found:
            yield from self._span(span)

    def _span(self, span: spans.Span) -> Iterator[bytes]:
        """Keep a span until its trace is complete; tell the oldest traces when too much waits."""
        if span.start is None and span.kind != "other":
            span.start = self.clock.tick(None) * 10**6
        state = self._traces.pop(span.trace, None) or self._told.pop(span.trace, None)
        before = state or traces.TraceState(span.trace)
        size = len(spans.encode(span))
        after, lines = traces.add(
            before,
            span,
            size,
            limits=traces.TraceLimits(),
            defaults=self._options.defaults,
            counts=self.counts,
        )
        self._held += after.size - before.size
        (self._told if after.told else self._traces)[span.trace] = after
        yield from lines
        while self._held > _TRACE_BYTES:
            name, oldest = self._traces.popitem(last=False)
            self._held -= oldest.size
            self._told[name], lines = traces.finish(oldest, self._options.defaults, self.counts)
            yield from lines
        while len(self._told) > _TOLD_TRACES:
            self._told.popitem(last=False)

    def _table(self, path: str, format_: str, stream: IO[bytes]) -> Iterator[bytes]:
        reader = csv_events if format_ == "csv" else xes_events
        defaults = self._options.defaults
        for event in reader(stream, self._options.columns, self.clock):
            if isinstance(event, TranscriptError):
                place, _, why = str(event).partition(": ")
                self._refuse(f"{path}, {place}", why)
                continue
            self._took(path, format_)
            builder = Builder(event.task, event.task, defaults, self.counts, remembers=False)
            builder.agent = event.stage
            number = self._events[event.task] = self._events.get(event.task, 0) + 1
            step = Used(str(number), event.at, event.tool or format_, dict(event.context), None)
            line = builder.take(step)
            if line is not None:
                yield line


class _names:  # noqa: N801 - it is called like a function
    """Names for the tasks of one record: the file and the record's number, then with a number more
    where that is taken."""

    def __init__(self, stem: str, number: int) -> None:
        self._name = f"{stem}-{number}"
        self._asked = 0

    def __call__(self) -> str:
        self._asked += 1
        return self._name if self._asked == 1 else f"{self._name}-{self._asked}"


def _placed(span: spans.Span, name: str) -> spans.Span:
    """A span of a trace without an id gets the record's name as that."""
    if not span.trace:
        span.trace = name
    return span


def _began(state: traces.TraceState) -> int:
    return min((span.start for span in state.spans if span.start is not None), default=0)
