"""The records that travel: what tools send in, and what the processors publish.

Every record is JSON on its topic. Context values stay raw JSON bytes (`msgspec.Raw`) from input to
output, so big integers, number spelling and member order survive. Times in inputs are RFC 3339 with
an offset or integer epoch milliseconds; times in outputs are RFC 3339 in UTC.
"""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Raw, Struct

# Names go into every key and every record that follows from an input, and stay in the task's
# state: one input may make thousands of copies. The limit is in bytes of UTF-8, which a JSON Schema
# cannot say: no text of more characters fits, so its `maxLength` is a part of that. `schemas.serde`
# refuses what is longer.
MAX_NAME_BYTES = 512
# Why somebody did something stands in the package once for each field that they set.
MAX_REASON_BYTES = 4096


def _at_most(count: int) -> Meta:
    return Meta(
        description=f"At most {count} bytes of UTF-8.", extra_json_schema={"maxLength": count}
    )


ShortText = Annotated[str, _at_most(MAX_NAME_BYTES)]
Name = Annotated[ShortText, Meta(min_length=1)]
Reason = Annotated[str, _at_most(MAX_REASON_BYTES)]
# Years 1 to 9999, the range of RFC 3339, in epoch ms.
FIRST_MS, LAST_MS = -62_135_596_800_000, 253_402_300_799_999
EpochMs = Annotated[int, Meta(ge=FIRST_MS, le=LAST_MS)]
When = Annotated[datetime, Meta(tz=True)] | EpochMs
Utc = Annotated[datetime, Meta(tz=True)]

Severity = Literal["error", "warning", "info"]
Disposition = Literal["sent", "held"]
Begun = Literal["declared", "triggered", "implicit"]
Carries = Literal["context", "record", "history"]
How = Literal["arrived", "translated", "as_sent", "extra", "rebuilt", "gathered", "late", "amended"]
ViolationKind = Literal[
    "context_dropped",
    "context_empty",
    "context_unstructured",
    "context_malformed",
    "context_shortened",
    "context_changed",
    "context_retracted",
    "context_reentered",
    "never_captured",
    "untranslatable",
    "rule_failed",
    "receiver_mismatch",
    "receiver_missing",
    "receiver_silent",
    "source_silent",
    "owner_missing",
    "contract_missing",
    "handoff_missing",
    "not_accepted",
    "not_completed",
    "rejected",
    "held_too_long",
    "handoff_loop",
    "unknown_handoff",
    "link_refused",
]
SignalKind = Literal[
    "sent",
    "held",
    "released",
    "accepted",
    "completed",
    "returned",
    "rejected",
    "stalled",
    "reassigned",
    "superseded",
    "duplicate",
    "discarded",
    "expired",
]

# --- inputs -------------------------------------------------------------------------------------


class HandoffRequest(Struct, frozen=True, gc=False):
    """A declared handoff inside a tool output: to which receiver, on which contract.

    It `carries` the output's own context, or the `record`: all that the same tool captured in the
    task. Who opens a ticket sees that, whatever the last event shows. The `history` is all that was
    captured in the same run, by whatever tool: an agent that takes over sees the conversation.
    """

    to: Name
    contract: Name | None = None
    part: Name | None = None
    note: str | None = None
    carries: Carries = "context"


class TaskName(Struct, frozen=True, gc=False):
    """Another task; without a `workflow` it is one of the same."""

    task_id: Name
    workflow: Name | None = None


TaskNames = TaskName | Annotated[list[TaskName], Meta(max_length=16)]


class ToolOutput(Struct, frozen=True, gc=False):
    """What a tool produced for a task at a stage (topic `handoff.tool-outputs`, key `task_id`).

    Without a `stage` it is where the task is. With `accepts` false it accepts no handoff: that a
    ticket is assigned to somebody is no work on it. `*` in `retracted` is every name. `run` tells
    apart what happens several times in a task, such as a conversation of agents.

    A task may go on under another name: it `continues` other tasks, or is `continued_by` them. Such
    links end where a task is `unlinked` from others.
    """

    id: Name
    task_id: Name
    workflow: Name
    tool: Name
    occurred_at: When
    stage: ShortText = ""
    accepts: bool = True
    team: ShortText | None = None
    run: ShortText | None = None
    context: dict[str, Raw] = {}
    retracted: Annotated[list[str], Meta(max_length=256)] = []
    handoff: HandoffRequest | Annotated[list[HandoffRequest], Meta(max_length=16)] | None = None
    continues: TaskNames | None = None
    continued_by: TaskNames | None = None
    unlinked: TaskNames | None = None


class Ack(Struct, frozen=True, gc=False):
    """What a receiver says of a handoff (topic `handoff.acks`, key `task_id`).

    Without a `handoff_id` it is said of the task's one open handoff, or of its one open handoff to
    the `receiver`: a tracker or an incident tool knows of no handoff.
    """

    id: Name
    workflow: Name
    task_id: Name
    status: Literal["accepted", "completed", "rejected"]
    by: Name
    occurred_at: When
    handoff_id: Name | None = None
    reason: Reason | None = None
    receiver: Name | None = None


class Amendment(Struct, frozen=True, gc=False):
    """What a person changes about a handoff (topic `handoff.amendments`, key `task_id`).

    `fields` are what is `set`, `to` is the receiver that a `redirect` sends a held one on to. With
    the `revision` of the package that the person saw, it counts only while that is the newest.
    """

    id: Name
    workflow: Name
    task_id: Name
    handoff_id: Name
    action: Literal["set", "redirect", "release", "discard"]
    by: Name
    occurred_at: When
    fields: dict[str, Raw] = {}
    reason: Reason | None = None
    to: Name | None = None
    revision: Annotated[int, Meta(ge=1)] | None = None


class Liveness(Struct, frozen=True, gc=False):
    """Whether a receiver's consumer group is there (`handoff.receiver-liveness`, key `receiver`).

    `lag` counts records; `members` counts group members at `checked_at`.
    """

    receiver: Name
    live: bool
    checked_at: When
    members: int = 0
    lag: int | None = None
    last_live_at: When | None = None


class SourcePosition(Struct, frozen=True, gc=False):
    """How far intake has read a topic of a source (`handoff.source-positions`, key
    `source/topic/partition`, of the lowest partition in it).

    `read_to` is of some of the topic's partitions, by number: all that was in one at that moment
    was read, and what follows from it was committed by `at`. That stays true, so of several records
    the later moment counts. `partitions` is how many the topic has. `last_record_at` is the
    timestamp of the last record.
    """

    source: Name
    topic: Name
    partitions: int
    read_to: dict[str, Utc]
    at: Utc
    last_record_at: Utc | None = None


# --- outputs ------------------------------------------------------------------------------------


class Origin(Struct, frozen=True, gc=False):
    """Where a captured value came from: the stage, tool and event, and the record's position."""

    stage: str
    tool: str
    event_id: str
    occurred_at: Utc
    topic: str
    partition: int
    offset: int


class From(Struct, frozen=True, gc=False):
    """The sending side of a handoff."""

    team: str | None
    stage: str
    tool: str


class To(Struct, frozen=True, gc=False):
    """The receiving side of a handoff; `owner` is the first registered owner still in force."""

    receiver: str
    team: str | None
    stage: str | None
    owner: str | None
    owner_contact: str | None


class Provenance(Struct, frozen=True, gc=False, omit_defaults=True):
    """How one context value got into a package, and where it first came from.

    `candidates` is the number of distinct values that the task has held for it and that fit, and
    `passed_over` counts those that came later and do not fit. `by` and `reason` are set where a
    person amended the value.
    """

    how: How
    stage: str
    tool: str
    event_id: str
    occurred_at: Utc
    candidates: int
    by: str | None = None
    reason: str | None = None
    passed_over: int = 0


class Package(Struct, frozen=True, gc=False, rename={"from_": "from"}):
    """The enriched handoff (`handoff.packages` and the receiver's queue; `handoff.held` when held).

    `id` is the handoff id and `revision` counts from 1. `fidelity` is the share (0 to 1, by weight)
    of the required fields that arrived from the sender; `completeness` counts the rebuilt ones too;
    both are null without a contract. `missing` lists the declared fields, required or not, that
    `context` lacks. `violations` lists the ids of the open violations. `hop` counts from 1.
    """

    id: str
    revision: int
    task_id: str
    event_id: str
    workflow: str
    contract: str | None
    contract_version: int | None
    from_: From
    to: To
    disposition: Disposition
    action: str | None
    begun: Begun
    context: dict[str, Raw]
    provenance: dict[str, Provenance]
    missing: list[str]
    fidelity: float | None
    completeness: float | None
    violations: list[str]
    overridden: bool
    supersedes: str | None
    accept_by: Utc | None
    complete_by: Utc | None
    note: str | None
    occurred_at: Utc
    sent_at: Utc | None
    hop: int
    backfill: bool


class Violation(Struct, frozen=True, gc=False, rename={"from_": "from"}):
    """A broken promise of a contract, opened and later resolved (`handoff.violations`).

    `message` is one sentence for a person and never holds a value. `owner` is who is to act: the
    receiver's named owner, or else the contract's. `origin` is where a lost field was last had,
    `last_seen_hop` the hop that last carried it (null when no handoff ever did). `found_in` names
    the string that holds an unstructured value. `episode` counts the openings of one id, from 1.
    """

    id: str
    status: Literal["opened", "resolved"]
    kind: ViolationKind
    severity: Severity
    task_id: str
    handoff_id: str | None
    event_id: str
    workflow: str
    contract: str | None
    contract_version: int | None
    episode: int
    field: str | None
    rule: str | None
    from_: From | None
    to: To | None
    owner: str | None
    owner_contact: str | None
    origin: Origin | None
    candidates: int | None
    last_seen_hop: int | None
    hop: int | None
    disposition: Disposition | None
    message: str
    reason: str | None
    resolution: str | None
    found_in: str | None
    occurred_at: Utc
    detected_at: Utc
    resolved_at: Utc | None
    backfill: bool


class Signal(Struct, frozen=True, gc=False):
    """The close-the-loop message to the originating team (`handoff.signals`).

    `to_team` is the team addressed, `owner` the named owner at the receiver, `occurred_at` the time
    of the event behind it and `at` the processor's time.
    """

    id: str
    kind: SignalKind
    late: bool
    supersedes: str | None
    handoff_id: str
    task_id: str
    to_team: str | None
    receiver: str
    owner: str | None
    message: str
    occurred_at: Utc
    at: Utc
    backfill: bool


class DeadLetter(Struct, frozen=True, gc=False):
    """An input that could not be understood, as a reader of `handoff.dead-letters` sees it.

    It is also the value of the dead letter itself where the input is too large to travel on: then
    it points at the record. `size` is the value's length in bytes, null for a tombstone.
    """

    topic: str
    partition: int
    offset: int
    key: str | None
    exception: str
    message: str
    stacktrace: str
    size: int | None


class Pattern(Struct, frozen=True, gc=False, rename={"from_": "from"}):
    """Violations of one cause, or repeats of one handoff, as one entry (`handoff.patterns`).

    What people and pagers read. `id` is that of one occurrence: `opened` at its threshold,
    `updated` each time that its count has doubled, `closed` after a quiet window; the next one of
    the same `fingerprint` has another id. `kind` is that of the violations, `undocumented_handoff`
    or `repeat`. `count` is all since `first_seen`, `recent` those within the window, `rate` the
    same an hour. `stages`, `tools` and `tasks` say where: the most frequent first, and up to 10
    sample tasks. `values` are what repeats, as JSON text by path; null where the field is tagged.
    `owner` is who is to act, and `owner_contact` how they are reached. `last_stage` and `last_tool`
    are where the latest lost value was last had, null where that is not known; `contract_version`
    is that of the latest. `first_seen` and `last_seen` are event times, `at` the processor's.
    `closed_by` says why it was closed: `quiet`, `mended`, `clean_run`, `documented` or
    `not_promised`; null while it is open. Other words may be added.
    """

    id: str
    status: Literal["opened", "updated", "closed"]
    kind: str
    fingerprint: str
    severity: Severity
    workflow: str
    contract: str | None
    receiver: str | None
    from_: str | None
    to: str | None
    field: str | None
    owner: str | None
    count: int
    recent: int
    rate: float
    first_seen: Utc
    last_seen: Utc
    stages: dict[str, int]
    tools: dict[str, int]
    tasks: list[str]
    values: dict[str, str | None] | None
    message: str
    at: Utc
    backfill: bool
    owner_contact: str | None = None
    contract_version: int | None = None
    last_stage: str | None = None
    last_tool: str | None = None
    closed_by: str | None = None


class Edge(Struct, frozen=True, gc=False, rename={"from_": "from"}):
    """What was observed between two stages, or a stage and a receiver (`handoff.edges`).

    A `move` is a change of stage between consecutive outputs of a task, `to` is then a stage; a
    `handoff` is one that began, `to` is then a receiver. `moves` counts them, `tasks` the tasks
    that made one. `documented` says whether a contract in force covers the edge. `fields` maps each
    carried field to the share (0 to 1) of moves that carried it, `types` to its JSON types, the
    most frequent first. `counts` are the other figures by name, as docs/insights.md lists them.

    Of handoffs only, else null: `fidelity` and `completeness` are means over those that a contract
    covers; `completion_rate` is those accepted and completed in time, of those sent and not
    superseded; `open` counts those not closed; latencies from the handoff to its acceptance are in
    milliseconds of event time, within 5 %.

    `from_workflow` is set of moves of tasks that went on in another workflow: `from` is a stage of
    that one, with its name before it (`ticket/answer`).
    """

    kind: Literal["move", "handoff"]
    workflow: str
    from_: str
    to: str
    moves: int
    tasks: int
    documented: bool
    contract: str | None
    fields: dict[str, float]
    types: dict[str, list[str]]
    counts: dict[str, int]
    fidelity: float | None
    completeness: float | None
    completion_rate: float | None
    open: int | None
    accept_ms_p50: int | None
    accept_ms_p95: int | None
    first_seen: Utc
    last_seen: Utc
    from_workflow: str | None = None

    @property
    def origin(self) -> tuple[str, str]:
        """The workflow and the stage where it begins."""
        if self.from_workflow is None:
            return self.workflow, self.from_
        return self.from_workflow, self.from_.removeprefix(f"{self.from_workflow}/")


class Figures(Struct, frozen=True, gc=False, rename={"from_": "from"}):
    """What happened over an edge in one hour of event time, or one day (`handoff.figures`).

    `since` is the first moment of it and `until` the first after it. `counts` are those of the edge
    by name, `moves` and `tasks` among them; what becomes of a handoff later counts in the hour in
    which it was made. `lost_fields` says which fields `counts.lost` counts. `fidelity_sum` and
    `completeness_sum` divided by `counts.judged` are the means. `accepted_in_ms` counts acceptances
    by the milliseconds that they took, which are within 5 %. `contract` is that of the last
    handoff, null of moves. All of it adds up: over hours to a day, and over all to the edge.
    """

    kind: Literal["move", "handoff"]
    workflow: str
    from_: str
    to: str
    contract: str | None
    since: Utc
    until: Utc
    counts: dict[str, int]
    lost_fields: dict[str, int]
    fidelity_sum: float
    completeness_sum: float
    accepted_in_ms: dict[str, int]


class ConsoleAudit(Struct, frozen=True, gc=False):
    """That a person was shown a masked value in the console (`handoff.console-audit`, key `who`).

    It is written before the value is shown, and never holds it: `topic` (canonical), `partition`
    and `offset` are the record's, `field` is the name of the value in it.
    """

    id: str
    who: str
    at: Utc
    workflow: str
    task_id: str
    topic: str
    partition: int
    offset: int
    field: str
    reason: str
