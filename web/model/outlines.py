"""What the read model reads of records: their outlines. Members that are not here are not decoded,
so no value of a context and no words of a person can get into a row.
"""

from msgspec import Raw, Struct

from schemas.records import From, Origin, TaskNames, To, Utc, When


class OutputOutline(Struct, frozen=True, gc=False):
    """Of a `ToolOutput`."""

    id: str
    task_id: str
    workflow: str
    tool: str
    occurred_at: When
    stage: str = ""
    continues: TaskNames | None = None
    continued_by: TaskNames | None = None
    unlinked: TaskNames | None = None


class AckOutline(Struct, frozen=True, gc=False):
    """Of an `Ack`: not its reason."""

    id: str
    workflow: str
    task_id: str
    status: str
    by: str
    occurred_at: When
    handoff_id: str | None = None


class AmendmentOutline(Struct, frozen=True, gc=False):
    """Of an `Amendment`: not its reason, and of its `fields` the caller keeps the names only."""

    id: str
    workflow: str
    task_id: str
    handoff_id: str
    action: str
    by: str
    occurred_at: When
    fields: dict[str, Raw] = {}
    to: str | None = None
    revision: int | None = None


class ValueOutline(Struct, frozen=True, gc=False):
    """Of a `Provenance`: how a value came, and from which event."""

    how: str
    event_id: str


class PackageOutline(Struct, frozen=True, gc=False, rename={"from_": "from"}):
    """Of a `Package`: neither its context nor its note."""

    id: str
    revision: int
    task_id: str
    event_id: str
    workflow: str
    contract: str | None
    contract_version: int | None
    from_: From
    to: To
    disposition: str
    begun: str
    provenance: dict[str, ValueOutline]
    missing: list[str]
    fidelity: float | None
    completeness: float | None
    violations: list[str]
    overridden: bool
    supersedes: str | None
    accept_by: Utc | None
    complete_by: Utc | None
    occurred_at: Utc
    sent_at: Utc | None
    hop: int
    backfill: bool


class ViolationOutline(Struct, frozen=True, gc=False, rename={"from_": "from"}):
    """Of a `Violation`: not its message. `reason` is used for the fingerprint of a silent source,
    and never kept: of a rejection a person has typed it."""

    id: str
    status: str
    kind: str
    severity: str
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
    last_seen_hop: int | None
    hop: int | None
    disposition: str | None
    reason: str | None
    resolution: str | None
    occurred_at: Utc
    detected_at: Utc
    resolved_at: Utc | None
    backfill: bool


class SignalOutline(Struct, frozen=True, gc=False):
    """Of a `Signal`: not its message."""

    id: str
    kind: str
    late: bool
    handoff_id: str
    task_id: str
    receiver: str
    occurred_at: Utc
    at: Utc


class PatternOutline(Struct, frozen=True, gc=False, rename={"from_": "from"}):
    """Of a `Pattern`: neither its message nor the `values` that repeat."""

    id: str
    status: str
    kind: str
    fingerprint: str
    severity: str
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
    at: Utc
    backfill: bool
    owner_contact: str | None = None


class FiguresOutline(Struct, frozen=True, gc=False):
    """What happened over an edge in an hour or a day."""

    kind: str
    since: Utc
    until: Utc
    counts: dict[str, int]
    lost_fields: dict[str, int]


class PendingOutline(Struct, frozen=True, gc=False):
    """Of a message that a sink has not answered yet."""

    at: Utc


class SinkOutline(Struct, frozen=True, gc=False):
    """Of what one sink was told of an alert: not whom it calls there."""

    action: str | None = None
    at: Utc | None = None
    pending: PendingOutline | None = None
    undelivered: str | None = None


class AlertOutline(Struct, frozen=True, gc=False):
    """Of an entry of `handoff.alerts`, a cause or an alert: not its title."""

    of: str
    fingerprint: str | None = None
    alert: str | None = None
    state: str | None = None
    started_at: Utc | None = None
    opened_at: Utc | None = None
    until: Utc | None = None
    by: str | None = None
    reason: str | None = None
    due_at: Utc | None = None
    sinks: dict[str, SinkOutline] = {}


class SilenceOutline(Struct, frozen=True, gc=False):
    """Of a silence: not its reason."""

    id: str
    match: dict[str, list[str]]
    starts_at: Utc
    ends_at: Utc
    by: str
