"""A source proposed from recorded records: guesses by names, and by how values repeat.

Each guess stands with what speaks for it, for a person to check. What cannot be guessed is UNKNOWN,
which lint asks about.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import combinations
from typing import Any, Final

from console import yaml_text
from processors.intake.decoders import VALUE_DECODERS
from processors.intake.mapped import Skipped
from processors.intake.reads import ITEM
from processors.intake.times import time_ms
from processors.intake.transcripts.errors import TranscriptError
from processors.intake.transcripts.formats import detect
from processors.intake.transcripts.messages import is_message
from processors.intake.transcripts.trees import items, loads, of
from schemas import paths, templates
from schemas.documents import UNKNOWN
from schemas.flow import Record, Refused
from schemas.source_decoders import DebeziumOptions

_PLAIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)+", re.ASCII)
_SCALARS: Final = (str, int, float, Decimal, bool)
_MOST_RECORDS: Final = 2_000
_MOST_DETECTED: Final = 100
# What may name the task, by the decoders that can be told.
_TASK_OPTIONS: Final = {"otel-genai": "ticket.id", "openai-chat": "session_id"}
_MOST_CONTEXT: Final = 12
_TASKS: Final = ("ticket", "issue", "incident", "case", "task", "conversation", "thread", "order")
_TASK_NAMES: Final = ("id", "key", "number", "session_id", "trace_id")
# What has an id and is not handed on: who has the task, and where the tool runs.
_NO_TASKS: Final = ("account", "user", "portal", "app", "tenant", "org", "publisher", "webhook")
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_EVENT_NAMES: Final = frozenset(
    ("id", "event_id", "eventid", "uuid", "uid", "guid", "lsn", "delivery", "message_id")
)
_TIME_NAMES: Final = ("occurred", "time", "timestamp", "created", "updated", "date", "ts_ms", "_at")
_STAGE_NAMES: Final = ("stage", "status", "state", "queue", "group", "team", "owner", "assignee")
_NO_NAMES: Final = ("*", "without")  # of what a context has: they mean something else there
_PARTS: Final = ("id", "key", "number", "version", "revision", "seq", "sequence", "offset")
_MOST_PARTS: Final = 8
_KIND_NAMES: Final = ("type", "event_type", "eventtype", "action", "event", "op", "webhook_event")


class NothingToDraftError(Exception):
    """There is no record that could be understood; the text says why."""


@dataclass
class _Leaf:
    """A path with a text, a number or a truth value: of how many records, and the values there."""

    path: str
    names: tuple[str, ...]
    records: int = 0
    values: dict[Any, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name that says what it is: of `state.value` it is `state`."""
        return (
            self.names[-2] if self.names[-1] == "value" and len(self.names) > 2 else self.names[-1]
        )

    @property
    def last(self) -> str:
        """That name in lower case, `ticketId` as `ticket_id`."""
        return _CAMEL.sub("_", self.name).casefold()

    def named(self, names: Sequence[str]) -> bool:
        return any(name in self.last for name in names)

    def is_name(self) -> bool:
        """Whether each of its values can be a name or an id: text, or a whole number."""
        return all(type(value) in (str, int) for value in self.values)

    def told(self, total: int) -> str:
        """What speaks for it, in counts; values of records are not told."""
        count = len(self.values)
        if self.records == 1:
            return f"in 1 of {total:,} records"
        values = "the same value" if count == 1 else f"{count:,} different values"
        return f"in {self.records:,} of {total:,} records, {values}"


def draft_source(name: str, topic: str, records: Sequence[Record]) -> str:
    """A source as YAML with comments. `topic` may be empty; then it is UNKNOWN.

    Raises `NothingToDraftError`.
    """
    records = records[:_MOST_RECORDS]
    if not records:
        raise NothingToDraftError("holds no record; give a JSON value a line")
    traces = _trace_decoder(records)
    if traces is not None:
        return _of_traces(name, topic, traces)
    decoder = _decoder(records)
    found = [each for record in records if (each := _decoded(decoder, record)) is not None]
    if not found:
        raise NothingToDraftError(f"no record of it can be read: {_why(records[0])}")
    decoded = len(found)
    listed = all(type(roots["value"]) is list for roots in found)
    if listed:
        found = [{"it": element} for roots in found for element in roots["value"]]
    leaves = _leaves(found)
    total = len(found)
    task, event, when, stage, kind = _guesses(leaves, total)
    lines = [
        f"# Drafted from {decoded:,} of {len(records):,} records that decode as {decoder}. Check "
        "each line, then:",
        f"#   handoff sources lint {name}.yaml; handoff sources test {name}.yaml FILE",
        *_head(name, topic, decoder),
        "defaults:",
        _guess("task", task, total, _why_task(task)),
        f"  workflow: {{value: {UNKNOWN}}}  # as contracts name it",
        f"  tool: {{value: {yaml_text.scalar(name)}}}  # as contracts name it",
        _guess("occurred_at", when, total, "is a time in each of them"),
    ]
    if when is None:
        lines[-1] = "  occurred_at: record.timestamp  # no path is a time in every record"
    elif not _is_time(when):
        made = yaml_text.scalar(f"{{{when.path}}}Z")
        lines[-1] = (
            f"  occurred_at: {made}  # {when.told(total)}; a time without an offset in each of "
            "them: is it UTC?"
        )
    together = None if event is not None else _together(leaves, found, (task, when, kind))
    if event is not None:
        why = (
            "is another one in each of them" if total > 1 else "names the event? give more records"
        )
        lines.append(_guess("id", event, total, why))
    elif together is not None:
        why = "these together are others in each record; no path seems to be the id of the event"
        lines.append(f"  id: {yaml_text.scalar(together)}  # {why}")
    lines.append("emit:")
    entry = _guess("stage", stage, total, "has few values; is it the stage after the change?")
    if listed:
        lines.append("  - each: value  # a record is a list; the counts here are of its elements")
    lines.append(("    " if listed else "  - ") + entry.strip())
    if kind is not None:
        lines.insert(
            -2 if listed else -1,
            f"  # {_scalar(kind.path)} seems to tell the kind of event ({kind.told(total)}): write "
            "an entry for each kind, with when",
        )
    if decoder == "debezium":
        lines += ["    context:  # the row; leave out (without) what nobody needs"]
        lines += ['      "*": value.after']
        return "\n".join(lines) + "\n"
    taken = {leaf.path for leaf in (task, event, when) if leaf is not None}
    context = [
        leaf
        for leaf in leaves
        if leaf.path not in taken and leaf.records * 2 >= total and leaf.name not in _NO_NAMES
    ]
    if context:
        lines.append("    context:  # what the receiver may need; leave out what nobody does")
        shown = context[:_MOST_CONTEXT]
        names = Counter(leaf.name for leaf in shown)
        seen: set[str] = set()
        for leaf in shown:
            clashes = names[leaf.name] > 1 and len(leaf.names) > 2
            key = "_".join(leaf.names[-2:]) if clashes else leaf.name
            if key not in seen:
                seen.add(key)
                lines.append(f"      {yaml_text.scalar(key)}: {_scalar(leaf.path)}")
        more = len(context) - _MOST_CONTEXT
        if more > 0:
            lines.append(
                f"      # and {more:,} more: handoff sources test names what nothing reads"
            )
    return "\n".join(lines) + "\n"


def _guess(member: str, leaf: _Leaf | None, total: int, why: str) -> str:
    if leaf is None:
        return f"  {member}: {{value: {UNKNOWN}}}  # nothing speaks for any path"
    return f"  {member}: {_scalar(leaf.path)}  # {leaf.told(total)}; {why}"


def _head(name: str, topic: str, decoder: str) -> list[str]:
    return [
        "kind: Source",
        f"id: {yaml_text.scalar(name)}",
        f"owner: {{name: {UNKNOWN}, contact: {UNKNOWN}}}  # who is told when it fails",
        f"topic: {yaml_text.scalar(topic or UNKNOWN)}",
        f"decode: {decoder}",
    ]


def _of_traces(name: str, topic: str, decoder: str) -> str:
    """A source whose decoder makes the outputs itself."""
    lines = [
        f"# These are records that {decoder} decodes, and it makes the outputs itself "
        "(docs/importing.md). Check each line, then:",
        f"#   handoff sources lint {name}.yaml; handoff sources test {name}.yaml FILE",
        *_head(name, topic, decoder),
    ]
    if decoder in _TASK_OPTIONS:
        example = f"{{{decoder}: {{task: [{_TASK_OPTIONS[decoder]}]}}}}"
        lines[-1] += f"  # does something in it name the task? Then: {example}"
    lines += ["override:", f"  workflow: {{value: {UNKNOWN}}}  # as contracts name it"]
    return "\n".join(lines) + "\n"


def _why_task(task: _Leaf | None) -> str:
    if task is not None and len(task.values) == task.records > 1:
        return "it never repeats here: is it the id of the event, and not of what is handed on?"
    if task is not None and task.records == 1:
        return "names the thing that is handed on? give more records"
    return "names the thing that is handed on, and repeats"


def _guesses(leaves: list[_Leaf], total: int) -> tuple[_Leaf | None, ...]:
    always = [leaf for leaf in leaves if leaf.records == total]
    names = [leaf for leaf in always if leaf.is_name()]
    task = _best(
        [
            leaf
            for leaf in names
            if (leaf.last in _TASK_NAMES or leaf.last.endswith("_id"))
            and not leaf.named((*_STAGE_NAMES, *_NO_TASKS))
        ],
        lambda leaf: (
            any(word in name.casefold() for word in _TASKS for name in leaf.names),
            len(leaf.values) < leaf.records,
            len(leaf.values) > 1,
            -len(leaf.names),
        ),
    )
    event = _best(
        [
            leaf
            for leaf in names
            if leaf.last in _EVENT_NAMES and len(leaf.values) == total and leaf is not task
        ],
        lambda leaf: (leaf.last != "id", -len(leaf.names)),
    )
    when = _best(
        [leaf for leaf in always if _is_time(leaf) or _is_time(leaf, offset="Z")],
        lambda leaf: (
            _is_time(leaf),
            "occurred" in leaf.last,
            "updated" in leaf.last,
            "source" in leaf.names,  # Debezium: when the database changed, not when it was read
            -len(leaf.names),
        ),
    )
    often = [leaf for leaf in leaves if leaf.records * 2 >= total and leaf.is_name()]
    few = [leaf for leaf in often if len(leaf.values) <= max(2, min(20, total // 2))]
    stage = _best(
        [leaf for leaf in few if leaf.named(_STAGE_NAMES) and leaf is not task],
        lambda leaf: ("before" not in leaf.names, len(leaf.values) > 1, -len(leaf.names)),
    )
    kind = _best(
        [leaf for leaf in names if leaf.last in _KIND_NAMES and 1 < len(leaf.values) <= 20],
        lambda leaf: ("event" in leaf.last, -len(leaf.names)),
    )
    return task, event, when, stage, kind


def _best(leaves: list[_Leaf], rank: Any) -> _Leaf | None:
    return max(leaves, key=rank, default=None)


def _is_time(leaf: _Leaf, offset: str = "") -> bool:
    if not (leaf.named(_TIME_NAMES) or leaf.last == "at"):
        return False
    try:
        return all(time_ms(f"{v}{offset}" if offset else v) is not None for v in leaf.values)
    except Refused:
        return False


# --- what the records hold ---------------------------------------------------------------------


def _trace_decoder(records: Sequence[Record]) -> str | None:
    """The decoder of traces or transcripts that reads most records; None where none does."""
    formats = [_format(record) for record in records[:_MOST_DETECTED]]
    for name in ("otel-genai", "agents-sdk", "openai-chat"):
        if formats.count(name) * 2 > len(formats):
            return name
    return None


def _format(record: Record) -> str:
    """What `import` would take a record for."""
    try:
        value = loads(record.value or b"")
        name = detect(value)
    except TranscriptError:
        return ""
    if name == "openai-chat" and not is_message(next(items(of(value, "messages")), None)):
        return ""  # records of other kinds have messages, too
    return name


def _decoder(records: Sequence[Record]) -> str:
    """The decoder of most records, the most special first; else json."""
    for name in ("debezium", "cloudevents"):
        if sum(_decoded(name, record) is not None for record in records) * 2 > len(records):
            return name
    return "json"


def _decoded(decoder: str, record: Record) -> Any:
    """Roots `value` and `key` of a record; None for one that is left out or not understood."""
    options = DebeziumOptions() if decoder == "debezium" else None
    try:
        found = VALUE_DECODERS[decoder](record, options)
    except Refused:
        return None
    if isinstance(found, Skipped):
        return None
    if decoder == "debezium" and not isinstance(found.value.get("source"), dict):
        return None  # any object with an `op` decodes as one
    return {"key": found.key, "value": found.value}


def _why(record: Record) -> str:
    try:
        decoded = VALUE_DECODERS["json"](record, None)
    except Refused as error:
        return error.message
    return decoded.message if isinstance(decoded, Skipped) else "it is of no known kind"


def _together(leaves: list[_Leaf], found: list[Any], chosen: Sequence[_Leaf | None]) -> str | None:
    """A template of few paths that together are other ones in each record; None where none are."""
    total = len(found)
    tried = [leaf for leaf in chosen if leaf is not None and leaf.is_name()]
    tried += [
        leaf
        for leaf in leaves
        if leaf.records == total
        and leaf not in tried
        and leaf.is_name()
        and (leaf.last.endswith(_PARTS) or leaf.last in _KIND_NAMES)
    ][:_MOST_PARTS]
    for count in (2, 3):
        for leaves_ in combinations(tried, count):
            rows = {tuple(_at(roots, leaf.names) for leaf in leaves_) for roots in found}
            if len(rows) == total > 1:
                return ":".join(f"{{{leaf.path}}}" for leaf in leaves_)
    return None


def _at(roots: Any, names: tuple[str, ...]) -> Any:
    for name in names:
        roots = roots[name]
    return roots


def _leaves(found: list[Any]) -> list[_Leaf]:
    leaves: dict[tuple[str, ...], _Leaf] = {}
    for roots in found:
        for names, value in _scalars(roots, ()):
            leaf = leaves.get(names)
            if leaf is None:
                leaf = leaves[names] = _Leaf(_path(names), names)
            leaf.records += 1
            leaf.values[value] = leaf.values.get(value, 0) + 1
    return [leaf for leaf in leaves.values() if _leads(leaf)]


def _leads(leaf: _Leaf) -> bool:
    """Whether its path leads there: none names what has no name, and braces make a template."""
    if templates.is_template(leaf.path):
        return False
    path = paths.read(leaf.path)
    return (path.top, *path.rest) == leaf.names


def _scalars(value: Any, before: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if type(value) is dict and len(before) < 8:
        for name, inner in value.items():
            yield from _scalars(inner, (*before, name))
    elif type(value) in _SCALARS and value != "" and ITEM not in before:
        yield before, value


def _path(names: tuple[str, ...]) -> str:
    plain = all(name and not any(char in name for char in ".[]'\"{} ") for name in names)
    return ".".join(names) if plain else ".".join(map(_quoted, names))


def _scalar(path: str) -> str:
    """A path as a YAML scalar."""
    return path if _PLAIN.fullmatch(path) else yaml_text.scalar(path)


def _quoted(name: str) -> str:
    if name and not any(char in name for char in ".[]'\"{} \\"):
        return name
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
