"""Event logs: CSV with one event a row, and XES (https://www.xes-standard.org), an output each.

Columns are found by the names that logs commonly give them, unless they are told.
"""

import csv
import io
import re
from collections.abc import Iterator
from itertools import count
from typing import IO, Any, NamedTuple
from xml.parsers import expat

from processors.intake.transcripts.conversations import Clock
from processors.intake.transcripts.errors import TranscriptError
from processors.intake.transcripts.trees import millis

_GUESSES = {
    "task": (
        "task_id",
        "case_id",
        "case:concept:name",
        "case",
        "caseid",
        "ticket",
        "incident",
        "id",
    ),
    "stage": ("stage", "org:group", "group", "assignment_group", "team", "department", "queue"),
    "tool": ("tool", "activity", "concept:name", "event", "action", "task_name"),
    "time": (
        "occurred_at",
        "time:timestamp",
        "timestamp",
        "time",
        "date",
        "datetime",
        "created_at",
    ),
}
_CHUNK = 1 << 16
_QUOTED = re.compile(r'"[^"]*"')
_MARKS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_VALUES = {"string", "date", "int", "float", "boolean", "id"}


class Columns(NamedTuple):
    """The columns that say what an event is of; empty where they are to be guessed."""

    task: str = ""
    stage: str = ""
    tool: str = ""
    time: str = ""


class LogEvent(NamedTuple):
    """One row or event. Without a `stage` or `tool` the log names none."""

    place: str
    task: str
    key: str
    stage: str
    tool: str
    at: int
    context: dict[str, Any]


def csv_events(
    stream: IO[bytes], columns: Columns, clock: Clock
) -> Iterator[LogEvent | TranscriptError]:
    """The events of a CSV file with a header. Raises `TranscriptError` without a task column."""
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
    try:
        header, first = text.readline(), 2
        mark = header[4:5] if header.startswith("sep=") else ""  # a first line that Excel reads
        if mark:
            header, first = text.readline(), 3
        while header.count('"') % 2 and (more := text.readline()):  # a name over several lines
            header, first = header + more, first + 1
        mark = mark or max(_MARKS, key=_QUOTED.sub("", header).count)
        names = _told_apart(next(csv.reader(io.StringIO(header, newline=""), delimiter=mark), []))
        chosen = _chosen(columns, names, mark)
        numbers: dict[str, int] = {}
        for row, values in enumerate(csv.reader(text, delimiter=mark), start=first):
            if any(values[len(names) :]):
                yield TranscriptError(
                    f"line {row}: it has {len(values)} values, and the header names {len(names)} "
                    "columns; put quotes around what holds the sign between columns"
                )
            elif values:
                held = {n: v for n, v in zip(names, values, strict=False) if v}
                yield _event(f"line {row}", held, chosen, clock, numbers)
    except UnicodeDecodeError:
        raise TranscriptError("it is not UTF-8; convert it first") from None
    except csv.Error as error:
        raise TranscriptError(f"it is no CSV: {error}") from None
    finally:
        text.detach()


def _told_apart(names: list[str]) -> list[str]:
    """The names of columns; a name that comes again gets a number: `note`, `note_2`."""
    counts: dict[str, int] = {}
    found = []
    for name in names:
        counts[name] = counts.get(name, 0) + 1
        found.append(name if counts[name] == 1 else f"{name}_{counts[name]}")
    return found


def is_csv(head: bytes) -> bool:
    """Whether the beginning of a file has a header of several columns."""
    line = head.split(b"\n", 1)[0]
    printable = all(byte >= 0x20 or byte in b"\t\r" for byte in line)
    return printable and any(line.count(mark) for mark in (b",", b";", b"\t", b"|"))


def _chosen(columns: Columns, names: list[str], mark: str) -> Columns:
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    has = f"it has {shown} (read with {_MARKS.get(mark, repr(mark))} between columns)"
    found = {}
    for what, given in columns._asdict().items():
        if given and given not in names:
            raise TranscriptError(f"it has no column {given} for --{what}; {has}")
        folded = {name.strip().lower().replace(" ", "_"): name for name in reversed(names)}
        found[what] = given or next((folded[g] for g in _GUESSES[what] if g in folded), "")
    if not found["task"]:
        raise TranscriptError(f"no column names the task; say which with --task COLUMN; {has}")
    return Columns(**found)


def _event(
    place: str, held: dict[str, Any], chosen: Columns, clock: Clock, numbers: dict[str, int]
) -> LogEvent | TranscriptError:
    task = str(held.get(chosen.task, ""))
    if not task:
        return TranscriptError(f"{place}: it has no {chosen.task}, so it is of no task")
    at = None
    if chosen.time:
        at = millis(str(held.get(chosen.time, "")).replace("/", "-"))
        if at is None:
            return TranscriptError(f"{place}: {chosen.time} holds no time")
    number = numbers[task] = numbers.get(task, 0) + 1
    used = {chosen.task, chosen.time, chosen.tool, chosen.stage}
    context = {_plain(name): value for name, value in held.items() if name not in used}
    stage, tool = (str(held.get(name, "")) for name in (chosen.stage, chosen.tool))
    return LogEvent(
        place=place,
        task=task,
        key=str(number),
        stage=stage,
        tool=tool,
        at=clock.tick(at),
        context=context,
    )


def _plain(name: str) -> str:
    """A column's name as paths can name it: `org:resource` is `org_resource`."""
    return name.strip().replace(":", "_").replace(" ", "_")


def xes_events(
    stream: IO[bytes], columns: Columns, clock: Clock
) -> Iterator[LogEvent | TranscriptError]:
    """The events of an XES log. What a case says of itself is in the context of its first event.

    Raises `TranscriptError` for what is no XML, and for a document type: entities are not read.
    """
    reader = _Xes(columns, clock)
    while True:
        data = stream.read(_CHUNK)
        try:
            reader.parser.Parse(data, not data)
        except expat.ExpatError as error:
            raise TranscriptError(f"it is no XML: {expat.ErrorString(error.code)}") from None
        yield from reader.events
        reader.events = []
        if not data:
            return


class _Xes:
    """Takes traces and events from the parser as they come; holds one event at a time."""

    def __init__(self, columns: Columns, clock: Clock) -> None:
        self.parser = expat.ParserCreate()
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.StartDoctypeDeclHandler = self._doctype
        self.events: list[LogEvent | TranscriptError] = []
        self._columns = columns
        self._clock = clock
        self._path: list[str] = []
        self._case: dict[str, Any] = {}
        self._event: dict[str, Any] = {}
        self._numbers: dict[str, int] = {}
        self._traces, self._count = count(1), count(1)
        self._trace = 0

    def _doctype(self, *_: Any) -> None:
        raise TranscriptError("it has a document type, which may name other files; take it out")

    def _start(self, tag: str, given: dict[str, str]) -> None:
        tag = tag.rpartition(":")[2]
        if tag == "trace":
            self._trace = next(self._traces)
            self._case = {}
        elif tag == "event":
            self._event = {}
        elif tag in _VALUES and self._path[-1:] in (["trace"], ["event"]) and "key" in given:
            held = self._event if self._path[-1] == "event" else self._case
            held[given["key"]] = given.get("value", "")
        self._path.append(tag)

    def _end(self, tag: str) -> None:
        self._path.pop()
        if tag.rpartition(":")[2] != "event":
            return
        held = dict(self._event)
        task = (
            self._case.pop("concept:name", None)
            or self._case.get("\0task")
            or f"case-{self._trace}"
        )
        chosen = Columns(
            "\0task",
            self._columns.stage or next((n for n in ("org:group", "org:role") if n in held), ""),
            self._columns.tool or "concept:name",
            self._columns.time or ("time:timestamp" if "time:timestamp" in held else ""),
        )
        held |= {f"case_{name}": value for name, value in self._case.items() if name != "\0task"}
        self._case = {"\0task": task}
        held["\0task"] = held.get(self._columns.task, "") if self._columns.task else task
        place = f"event {next(self._count)}"
        self.events.append(_event(place, held, chosen, self._clock, self._numbers))
