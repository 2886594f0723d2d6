"""The statements that write rows, and which kinds of pages each touches.

Each can be repeated: the row of a record that was applied already stays as it is. What comes of
several topics is in columns of its own, or is decided by an order that both have, so it does not
matter which topic is read first.
"""

from typing import Final, NamedTuple

# What watchers are told by: the kinds of things that changed.
KINDS: Final = (
    "patterns", "held", "handoffs", "tasks", "violations", "edges", "registry", "amendments",
    "alerts", "dead_letters",
)  # fmt: skip


# Told beside these when the topics cannot be read, and when they can be again.
FRESH: Final = "fresh"


class Statement(NamedTuple):
    """One statement, with `?1`, `?2`... for its values, and the kind of thing that it changes."""

    kind: str
    sql: str


class Row(NamedTuple):
    """What is to be written: a statement and its values."""

    statement: Statement
    values: tuple[str | int | float | None, ...]


def _insert(table: str, columns: str, then: str = "") -> str:
    count = len(columns.split(","))
    marks = ", ".join(f"?{number}" for number in range(1, count + 1))
    return f"insert into {table} ({columns}) values ({marks}) {then}".strip()


def _set(columns: str) -> str:
    return ", ".join(f"{name} = excluded.{name}" for name in columns.replace("\n", " ").split(", "))


_LANE = (
    "(select id from lanes where workflow = ?{0} and from_stage = ?{1} and receiver = ?{2} "
    "and contract = ?{3} and from_team = ?{4} and to_team = ?{5} and owner = ?{6})"
)


def _with_lane(table: str, columns: str, then: str) -> str:
    """An insert whose last seven values name the lane."""
    count = len(columns.split(","))
    marks = ", ".join(f"?{number}" for number in range(1, count + 1))
    lane = _LANE.format(*range(count + 1, count + 8))
    return f"insert into {table} ({columns}, lane) values ({marks}, {lane}) {then}"


# In one partition the offset decides; a topic that got more partitions has a key in two.
_NEWER = (
    " where case when excluded.partition = {0}.partition then excluded.offset > {0}.offset "
    "else excluded.written >= {0}.written end"
)

_BEFORE = "and case when partition = ?{0} then offset < ?{1} else written <= ?{2} end"

LANE: Final = Statement(
    "handoffs",
    _insert(
        "lanes",
        "workflow, from_stage, receiver, contract, from_team, to_team, owner",
        "on conflict do nothing",
    ),
)
EVENT: Final = Statement(
    "tasks",
    _insert(
        "events",
        "topic, partition, offset, task_id, workflow, at, written, what, detail, stage, tool, by_, "
        "handoff_id, event_id",
        "on conflict do nothing",
    ),
)
TASK: Final = Statement(
    "tasks",
    "insert into tasks (task_id, workflow, first_at, last_at, stage, stage_at, written) "
    "values (?1, ?2, ?3, ?3, ?4, case when ?4 is not null then ?3 end, ?5) "
    "on conflict (task_id, workflow) do update set "
    "first_at = min(first_at, excluded.first_at), last_at = max(last_at, excluded.last_at), "
    "stage = case when excluded.stage_at >= coalesce(stage_at, excluded.stage_at) "
    "then excluded.stage else stage end, "
    "stage_at = max(coalesce(stage_at, excluded.stage_at), coalesce(excluded.stage_at, stage_at)), "
    "written = max(written, excluded.written)",
)
LINK: Final = Statement(
    "tasks",
    _insert(
        "links",
        "topic, partition, offset, number, kind, workflow, task_id, of_workflow, of_task, at",
        "on conflict do nothing",
    ),
)
_PACKAGE = (
    "revision, task_id, workflow, contract_version, from_tool, to_stage, owner_contact, "
    "disposition, begun, fidelity, completeness, missing, missing_n, rebuilt, rebuilt_n, "
    "overridden, supersedes, accept_by, complete_by, at, sent_at, hop, backfill, topic, partition, "
    "offset"
)
HANDOFF: Final = Statement(
    "handoffs",
    _with_lane(
        "handoffs",
        f"id, written, {_PACKAGE}",
        f"on conflict (id) do update set {_set(_PACKAGE + ', lane')}, "
        "written = max(written, excluded.written) "
        "where handoffs.revision is null or (excluded.revision, excluded.topic, excluded.offset) "
        "> (handoffs.revision, handoffs.topic, handoffs.offset)",
    ),
)
# Several signals of a handoff lie in one partition, in their order.
SIGNAL: Final = Statement(
    "handoffs",
    "insert into handoffs "
    "(id, task_id, state, state_at, accepted_at, late, stalled, signal_partition, signal_offset, "
    "written) values "
    "(?1, ?2, ?3, case when ?3 is not null then ?4 end, ?5, ?6, coalesce(?7, 0), ?8, ?9, ?10) "
    "on conflict (id) do update set task_id = coalesce(task_id, excluded.task_id), "
    "state = coalesce(excluded.state, state), state_at = coalesce(excluded.state_at, state_at), "
    "accepted_at = coalesce(accepted_at, excluded.accepted_at), "
    "late = max(late, excluded.late), stalled = coalesce(?7, stalled), "
    "signal_partition = excluded.signal_partition, signal_offset = excluded.signal_offset, "
    "written = max(written, excluded.written) "
    "where signal_offset is null or excluded.signal_partition <> signal_partition "
    "or excluded.signal_offset > signal_offset",
)
_HELD = (
    "id, revision, task_id, workflow, contract_version, from_tool, owner_contact, fidelity, "
    "missing, violations, since, hop, backfill, supersedes, partition, offset, written"
)
HELD: Final = Statement(
    "held",
    _with_lane(
        "held", _HELD, f"on conflict (id) do update set {_set(_HELD + ', lane')} "
        + _NEWER.format("held"),
    ),
)  # fmt: skip
NOT_HELD: Final = Statement("held", f"delete from held where id = ?1 {_BEFORE.format(2, 3, 4)}")
_VIOLATION = (
    "id, status, kind, severity, fingerprint, task_id, handoff_id, event_id, workflow, contract, "
    "contract_version, episode, field, rule, owner, owner_contact, origin_stage, origin_tool, "
    "origin_event, origin_at, origin_topic, origin_partition, origin_offset, last_hop, hop, "
    "disposition, resolution, at, detected_at, resolved_at, backfill, partition, offset, written"
)
# The record of its end names the receiver and the contract of then, and a person may have sent the
# handoff on to another receiver. Where it broke, and so of which cause it is, stays as it was.
_BROKE_AT: Final = ("fingerprint", "contract", "contract_version", "owner", "owner_contact", "lane")
_VIOLATION_SET = ", ".join(
    f"{name} = case excluded.status when 'resolved' then violations.{name} else excluded.{name} end"
    if name in _BROKE_AT
    else f"{name} = excluded.{name}"
    for name in f"{_VIOLATION}, lane".split(", ")
)
VIOLATION: Final = Statement(
    "violations",
    _with_lane(
        "violations",
        _VIOLATION,
        f"on conflict (id) do update set {_VIOLATION_SET}" + _NEWER.format("violations"),
    ),
)
_PATTERN = (
    "fingerprint, id, status, kind, severity, workflow, contract, receiver, from_, to_, field, "
    "owner, owner_contact, count, recent, rate, first_seen, last_seen, stages, tools, tasks, at, "
    "backfill, partition, offset, written"
)
PATTERN: Final = Statement(
    "patterns",
    _insert("patterns", _PATTERN, f"on conflict (fingerprint) do update set {_set(_PATTERN)} ")
    + _NEWER.format("patterns"),
)
NO_PATTERN: Final = Statement(
    "patterns", f"delete from patterns where fingerprint = ?1 {_BEFORE.format(2, 3, 4)}"
)
_EDGE = (
    "key, kind, workflow, from_, to_, moves, tasks, documented, contract, fields, types, counts, "
    "fidelity, completeness, completion_rate, open, accept_ms_p50, accept_ms_p95, first_seen, "
    "last_seen, partition, offset, written"
)
EDGE: Final = Statement(
    "edges",
    _insert("edges", _EDGE, f"on conflict (key) do update set {_set(_EDGE)} ")
    + _NEWER.format("edges"),
)
NO_EDGE: Final = Statement("edges", f"delete from edges where key = ?1 {_BEFORE.format(2, 3, 4)}")
AMENDMENT: Final = Statement(
    "amendments",
    _insert(
        "amendments",
        "partition, offset, id, workflow, task_id, handoff_id, action, by_, fields, to_receiver, "
        "revision, at, written",
        "on conflict do nothing",
    ),
)
AMENDED: Final = Statement(
    "amendments",
    _insert(
        "amended",
        "handoff_id, event_id, revision, written",
        "on conflict do update set revision = min(revision, excluded.revision), "
        "written = max(written, excluded.written)",
    ),
)
DEAD_LETTER: Final = Statement(
    "dead_letters",
    _insert(
        "dead_letters",
        "partition, offset, source_topic, source_partition, source_offset, code, task_id, written",
        "on conflict do nothing",
    ),
)
_REGISTRY = (
    "topic, key, id, version, status, team, owner, contact, workflow, receiver, document, "
    "partition, offset, written"
)
REGISTRY: Final = Statement(
    "registry",
    _insert("registry", _REGISTRY, f"on conflict (topic, key) do update set {_set(_REGISTRY)} ")
    + _NEWER.format("registry"),
)
NOT_REGISTERED: Final = Statement(
    "registry",
    f"delete from registry where topic = ?1 and key = ?2 {_BEFORE.format(3, 4, 5)}",
)
REGISTRATION: Final = Statement(
    "registry",
    _insert(
        "registrations",
        "topic, partition, offset, key, id, version, status, written",
        "on conflict do nothing",
    ),
)
_FIGURES = "key, edge, kind, since, until, moves, counts, lost_fields, partition, offset, written"
FIGURES: Final = Statement(
    "edges",
    _insert("figures", _FIGURES, f"on conflict (key) do update set {_set(_FIGURES)} ")
    + _NEWER.format("figures"),
)
NO_FIGURES: Final = Statement(
    "edges", f"delete from figures where key = ?1 {_BEFORE.format(2, 3, 4)}"
)
_OCCURRENCE = "id, fingerprint, count, first_seen, last_seen, at, partition, offset, written"
OCCURRENCE: Final = Statement(
    "patterns",
    _insert("occurrences", _OCCURRENCE, f"on conflict (id) do update set {_set(_OCCURRENCE)} ")
    + _NEWER.format("occurrences"),
)
_ALERT = (
    "key, of_, fingerprint, alert, state, since, until, by_, reason, due, sinks, "
    "partition, offset, written"
)
ALERT: Final = Statement(
    "alerts",
    _insert("alerts", _ALERT, f"on conflict (key) do update set {_set(_ALERT)} ")
    + _NEWER.format("alerts"),
)
NO_ALERT: Final = Statement(
    "alerts", f"delete from alerts where key = ?1 {_BEFORE.format(2, 3, 4)}"
)
_SILENCE = "id, match_, since, until, by_, partition, offset, written"
SILENCE: Final = Statement(
    "alerts",
    _insert("silences", _SILENCE, f"on conflict (id) do update set {_set(_SILENCE)} ")
    + _NEWER.format("silences"),
)
NO_SILENCE: Final = Statement(
    "alerts", f"delete from silences where id = ?1 {_BEFORE.format(2, 3, 4)}"
)
