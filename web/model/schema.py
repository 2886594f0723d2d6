"""The tables of the read model. Whoever changes them raises `VERSION`: older files are rebuilt.

Times are epoch milliseconds, `at` and the like by the event, `written` by Kafka. `fidelity` and
`completeness` are in millionths, so that sums are exact. Topics are numbered by `TOPICS`. A *lane*
is what handoffs have in common: who hands what to whom. `sums`, `latencies` and `breaks` are sums
over `handoffs` and `violations`, which triggers keep: they say the same as a `group by` would.
`sums` and `breaks` are by hours and by days: `unit` is the length in ms, `at` counts units since
1970. So a range is a few hours at its ends, and days.
"""

from typing import Final

VERSION: Final = 6

# The number of a topic is its place here: append only, or raise the version. Of the package of a
# handoff that stands on two topics with the same revision, the later topic here counts.
TOPICS: Final = (
    "handoff.tool-outputs",
    "handoff.acks",
    "handoff.amendments",
    "handoff.held",
    "handoff.packages",
    "handoff.violations",
    "handoff.signals",
    "handoff.dead-letters",
    "handoff.patterns",
    "handoff.edges",
    "handoff.contracts",
    "handoff.receivers",
    "handoff.sources",
    "handoff.figures",
    "handoff.alerts",
    "handoff.silences",
)
NUMBER: Final = {name: number for number, name in enumerate(TOPICS)}
# Not there before another part of the system has been set up.
OPTIONAL: Final = frozenset({"handoff.figures", "handoff.alerts", "handoff.silences"})

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS

TABLES: Final = """
create table meta (name text primary key, content text) without rowid;

create table positions (
  topic integer not null, partition integer not null,
  next integer not null,      -- offset of the record to read next
  end_ integer not null,      -- what the partition's end was when it was last seen
  written integer,            -- Kafka's time of the last record that was read
  unreadable integer not null default 0,  -- records that are none of ours
  primary key (topic, partition)
) without rowid;

create table lanes (
  id integer primary key,
  workflow text not null, from_stage text not null, receiver text not null,
  contract text not null, from_team text not null, to_team text not null, owner text not null,
  unique (workflow, from_stage, receiver, contract, from_team, to_team, owner)
);

create table events (
  topic integer not null, partition integer not null, offset integer not null,
  task_id text, workflow text, at integer not null, written integer not null,
  what text not null, detail text, stage text, tool text, by_ text,
  handoff_id text, event_id text,
  primary key (topic, partition, offset)
) without rowid;
create index events_task on events (task_id, at);
create index events_event on events (event_id) where event_id is not null;
create index events_handoff on events (handoff_id, written) where handoff_id is not null;

create table tasks (
  task_id text not null, workflow text not null,
  first_at integer not null, last_at integer not null,
  stage text, stage_at integer, written integer not null,
  primary key (task_id, workflow)
) without rowid;
create index tasks_written on tasks (written);

create table links (
  topic integer not null, partition integer not null, offset integer not null,
  number integer not null,
  kind text not null, workflow text not null, task_id text not null,
  of_workflow text not null, of_task text not null, at integer not null,
  primary key (topic, partition, offset, number)
) without rowid;
create index links_task on links (task_id);
create index links_of on links (of_task);

create table handoffs (
  n integer primary key,
  id text not null unique,
  -- what its newest package says
  revision integer, task_id text, workflow text, lane integer, contract_version integer,
  from_tool text, to_stage text, owner_contact text, disposition text, begun text,
  fidelity integer, completeness integer, missing text, missing_n integer, rebuilt text,
  rebuilt_n integer, overridden integer, supersedes text, accept_by integer, complete_by integer,
  at integer, sent_at integer, hop integer, backfill integer,
  topic integer, partition integer, offset integer,
  -- what its signals say
  state text, state_at integer, accepted_at integer,
  late integer not null default 0, stalled integer not null default 0,
  signal_partition integer, signal_offset integer,
  written integer not null,
  latency_bucket integer generated always as (
    -- by the events, as on the map: the processor's clock says little of what came later
    case when sent_at is not null and accepted_at is not null
    then cast(ceil(ln(max(accepted_at - at, 1)) / ln(1.105)) as integer) end
  ) virtual
);
create index handoffs_task on handoffs (task_id);
create index handoffs_lane on handoffs (lane, at, id);
create index handoffs_written on handoffs (written);
create index handoffs_stalled on handoffs (at, id) where stalled = 1;

create table held (
  id text primary key,
  revision integer not null, task_id text not null, workflow text not null, lane integer not null,
  contract_version integer, from_tool text, owner_contact text, fidelity integer, missing text,
  violations text, since integer not null, hop integer, backfill integer, supersedes text,
  partition integer not null, offset integer not null, written integer not null
) without rowid;
create index held_since on held (since, id);
create index held_task on held (task_id);

create table violations (
  n integer primary key,
  id text not null unique,
  status text not null, kind text not null, severity text not null, lane integer not null,
  fingerprint text, task_id text not null, handoff_id text, event_id text, workflow text not null,
  contract text, contract_version integer, episode integer, field text, rule text,
  owner text, owner_contact text,
  origin_stage text, origin_tool text, origin_event text, origin_at integer,
  origin_topic text, origin_partition integer, origin_offset integer,
  last_hop integer, hop integer, disposition text, resolution text,
  at integer not null, detected_at integer not null, resolved_at integer, backfill integer,
  partition integer not null, offset integer not null, written integer not null
);
create index violations_fingerprint on violations (fingerprint, at) where fingerprint is not null;
create index violations_handoff on violations (handoff_id);
create index violations_task on violations (task_id);
create index violations_lane on violations (lane, at);
create index violations_written on violations (written);

create table patterns (
  fingerprint text primary key,
  id text not null, status text not null, kind text not null, severity text not null,
  workflow text not null, contract text, receiver text, from_ text, to_ text, field text,
  owner text, owner_contact text, count integer not null, recent integer not null,
  rate real not null, first_seen integer not null, last_seen integer not null,
  stages text not null, tools text not null, tasks text not null, at integer not null,
  backfill integer not null,
  partition integer not null, offset integer not null, written integer not null
) without rowid;
create index patterns_status on patterns (status);

create table edges (
  key text primary key,
  kind text not null, workflow text not null, from_ text not null, to_ text not null,
  moves integer not null, tasks integer not null, documented integer not null, contract text,
  fields text not null, types text not null, counts text not null,
  fidelity real, completeness real, completion_rate real, open integer,
  accept_ms_p50 integer, accept_ms_p95 integer,
  first_seen integer not null, last_seen integer not null,
  partition integer not null, offset integer not null, written integer not null
) without rowid;

create table amendments (
  partition integer not null, offset integer not null,
  id text not null, workflow text not null, task_id text not null, handoff_id text not null,
  action text not null, by_ text not null, fields text not null, to_receiver text,
  revision integer, at integer not null, written integer not null,
  primary key (partition, offset)
) without rowid;
create index amendments_handoff on amendments (handoff_id);

create table amended (
  handoff_id text not null, event_id text not null, revision integer not null,
  written integer not null,
  primary key (handoff_id, event_id)
) without rowid;

create table dead_letters (
  partition integer not null, offset integer not null,
  source_topic text not null, source_partition integer not null, source_offset integer not null,
  code text not null, task_id text, written integer not null,
  primary key (partition, offset)
) without rowid;
create index dead_letters_source
  on dead_letters (source_topic, source_partition, source_offset);

create table registry (
  topic integer not null, key text not null,
  id text not null, version integer, status text not null, team text, owner text, contact text,
  workflow text, receiver text, document text not null,
  partition integer not null, offset integer not null, written integer not null,
  primary key (topic, key)
) without rowid;

create table registrations (
  topic integer not null, partition integer not null, offset integer not null,
  key text not null, id text not null, version integer, status text not null,
  written integer not null,
  primary key (topic, partition, offset)
) without rowid;
create index registrations_id on registrations (topic, id, written);

create table figures (
  key text primary key,
  edge text not null, kind text not null, since integer not null, until integer not null,
  moves integer not null, counts text not null, lost_fields text not null,
  partition integer not null, offset integer not null, written integer not null
) without rowid;
create index figures_edge on figures (edge, since, moves);
create index figures_since on figures (since);

create table occurrences (
  id text primary key,
  fingerprint text not null, count integer not null, first_seen integer not null,
  last_seen integer not null, at integer not null,
  partition integer not null, offset integer not null, written integer not null
) without rowid;
create index occurrences_fingerprint on occurrences (fingerprint, first_seen);

create table alerts (
  key text primary key,
  of_ text not null, fingerprint text, alert text, state text, since integer, until integer,
  by_ text, reason text, due integer,
  sinks text not null,        -- of an alert: what each sink was told, a list of SinkTold
  partition integer not null, offset integer not null, written integer not null
) without rowid;
create index alerts_fingerprint on alerts (fingerprint);

create table silences (
  id text primary key,
  match_ text not null, since integer not null, until integer not null, by_ text not null,
  partition integer not null, offset integer not null, written integer not null
) without rowid;

create table sums (
  lane integer not null, unit integer not null, at integer not null,
  begun integer not null, judged integer not null, fidelity integer not null,
  completeness integer not null, missing integer not null, rebuilt integer not null,
  owned integer not null, promised integer not null, held integer not null, sent integer not null,
  accepted integer not null, completed integer not null, returned integer not null,
  rejected integer not null, superseded integer not null, late integer not null,
  in_time integer not null,
  primary key (lane, unit, at)
) without rowid;

create table latencies (
  lane integer not null, day integer not null, bucket integer not null, n integer not null,
  primary key (lane, day, bucket)
) without rowid;

create table breaks (
  lane integer not null, unit integer not null, at integer not null,
  kind text not null, field text not null, severity text not null,
  n integer not null, open integer not null,
  primary key (lane, unit, at, kind, field, severity)
) without rowid;
"""

# What one handoff counts in the sums of its hour; `{row}` is `new` or `old` in a trigger.
_FIGURES: Final = {
    "begun": "1",
    "judged": "{row}.fidelity is not null",
    "fidelity": "coalesce({row}.fidelity, 0)",
    "completeness": "coalesce({row}.completeness, 0)",
    "missing": "coalesce({row}.missing_n, 0)",
    "rebuilt": "coalesce({row}.rebuilt_n, 0)",
    "owned": "(select owner <> '' from lanes where id = {row}.lane)",
    "promised": "{row}.accept_by is not null",
    "held": "coalesce({row}.state, {row}.disposition) = 'held'",
    "sent": "{row}.sent_at is not null",
    "accepted": "{row}.accepted_at is not null",
    "completed": "coalesce({row}.state, '') = 'completed'",
    "returned": "coalesce({row}.state, '') = 'returned'",
    "rejected": "coalesce({row}.state, '') = 'rejected'",
    "superseded": "coalesce({row}.state, '') = 'superseded'",
    "late": "{row}.late",
    "in_time": "coalesce({row}.state, '') = 'completed' and not {row}.late",
}
FIGURES: Final = tuple(_FIGURES)
_UNITS: Final = (HOUR_MS, DAY_MS)
_HANDOFF_CELL: Final = "lane = {row}.lane and unit = {unit} and at = {row}.at / {unit}"
_LATENCY_CELL: Final = (
    "lane = {row}.lane and day = {row}.at / 86400000 and bucket = {row}.latency_bucket"
)
_BREAK_CELL: Final = (
    "lane = {row}.lane and unit = {unit} and at = {row}.at / {unit} and kind = {row}.kind "
    "and field = coalesce({row}.field, {row}.rule, '') and severity = {row}.severity"
)


def _of(row: str, text: str, unit: int = HOUR_MS) -> str:
    return text.replace("{row}", row).replace("{unit}", str(unit))


def _same(cell: str) -> str:
    """Whether the old row and the new one are counted in the same cell. The same hour is of the
    same day."""
    ends = [part.split(" = ", 1)[1] for part in cell.split(" and ")]
    return " and ".join(f"{_of('old', end)} is {_of('new', end)}" for end in ends)


def _each_unit(text: str) -> str:
    return " ".join(text.replace("{unit}", str(unit)) for unit in _UNITS)


def _more(row: str) -> str:
    added = ", ".join(_of(row, text) for text in _FIGURES.values())
    raised = ", ".join(f"{name} = {name} + excluded.{name}" for name in FIGURES)
    return _each_unit(
        f"insert into sums (lane, unit, at, {', '.join(FIGURES)}) "
        f"select {row}.lane, {{unit}}, {row}.at / {{unit}}, {added} where {row}.lane is not null "
        f"on conflict (lane, unit, at) do update set {raised};"
    )


def _less(row: str) -> str:
    lowered = ", ".join(f"{name} = {name} - ({_of(row, text)})" for name, text in _FIGURES.items())
    where = _HANDOFF_CELL.replace("{row}", row)
    return _each_unit(
        f"update sums set {lowered} where {where}; delete from sums where {where} and begun = 0;"
    )


# The figures that a handoff can change within its cell.
_CHANGING: Final = {name: text for name, text in _FIGURES.items() if name not in ("begun", "owned")}


def _counts_otherwise() -> str:
    """Whether the new row counts otherwise than the old one: the signal `sent` changes nothing."""
    old, new = (", ".join(_of(row, text) for text in _CHANGING.values()) for row in ("old", "new"))
    return f"({old}) is not ({new})"


def _changed() -> str:
    changed = ", ".join(
        f"{name} = {name} + ({_of('new', text)}) - ({_of('old', text)})"
        for name, text in _CHANGING.items()
    )
    return _each_unit(f"update sums set {changed} where {_HANDOFF_CELL.replace('{row}', 'new')};")


def _triggers() -> str:
    same = _same(_HANDOFF_CELL)
    more_latency = (
        "insert into latencies select new.lane, new.at / 86400000, new.latency_bucket, 1 "
        "where new.lane is not null and new.latency_bucket is not null "
        "on conflict (lane, day, bucket) do update set n = n + 1;"
    )
    cell = _of("old", _LATENCY_CELL)
    less_latency = (
        f"update latencies set n = n - 1 where {cell}; "
        f"delete from latencies where {cell} and n = 0;"
    )
    more_breaks = _each_unit(
        "insert into breaks select new.lane, {unit}, new.at / {unit}, new.kind, "
        "coalesce(new.field, new.rule, ''), new.severity, 1, new.status = 'opened' where true "
        "on conflict (lane, unit, at, kind, field, severity) "
        "do update set n = n + 1, open = open + excluded.open;"
    )
    cell = _BREAK_CELL.replace("{row}", "old")
    less_breaks = _each_unit(
        f"update breaks set n = n - 1, open = open - (old.status = 'opened') where {cell}; "
        f"delete from breaks where {cell} and n = 0;"
    )
    made = {
        "handoffs_more after insert on handoffs": f"{_more('new')} {more_latency}",
        f"handoffs_same after update on handoffs when {same} and {_counts_otherwise()}": (
            _changed()
        ),
        f"handoffs_moved after update on handoffs when not ({same})": (
            f"{_less('old')} {_more('new')}"
        ),
        f"handoffs_latency after update on handoffs when not ({_same(_LATENCY_CELL)})": (
            f"{less_latency} {more_latency}"
        ),
        "handoffs_less after delete on handoffs": f"{_less('old')} {less_latency}",
        "violations_more after insert on violations": more_breaks,
        f"violations_moved after update on violations when not ({_same(_BREAK_CELL)}) "
        "or old.status <> new.status": f"{less_breaks} {more_breaks}",
        "violations_less after delete on violations": less_breaks,
    }
    return "\n".join(f"create trigger {head} begin {body} end;" for head, body in made.items())


TRIGGERS: Final = _triggers()
