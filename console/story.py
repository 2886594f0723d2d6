"""The story of one task: what was captured, each handoff, what broke, and who owns it now. Pure.

`tell` makes it from the task's records; `console/story_render.py` shows it to people. No value of
the context is in it but those that the caller reveals.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Literal

from msgspec import Raw, Struct

from console.sequence import Event
from processors.contracts.values import is_empty
from schemas import wire
from schemas.documents import HandoffContract
from schemas.records import Ack, Amendment, Package, Signal, ToolOutput, Violation

State = Literal[
    "held", "sent", "accepted",
    "completed", "returned", "rejected", "superseded", "discarded", "expired",
]  # fmt: skip
OPEN = ("held", "sent", "accepted")
_CLOSING = ("completed", "returned", "rejected", "superseded", "discarded", "expired")
OPTIONAL = "optional, missing"  # only optional fields are missing without a violation
Reveals = Callable[[str], bool]  # whether the value of a captured name may be shown
# What a field's cell says where the package has no value of its own for it, or has it as sent.
_BROKEN = {
    "context_dropped": "dropped",
    "context_empty": "empty",
    "context_unstructured": "in words only",
    "context_malformed": "malformed",
    "context_retracted": "retracted",
    "never_captured": "never captured",
    "untranslatable": "untranslatable",
}


class Captured(Struct, frozen=True, tag_field="what", tag="output"):
    """A tool output: the names that it brought (empty values are no captures) and took back.

    `values` holds those that the caller reveals, as raw JSON.
    """

    at: datetime
    stage: str
    tool: str
    team: str | None
    event_id: str
    names: list[str]
    retracted: list[str]
    handed_to: list[str]
    values: dict[str, Raw]


class Acked(Struct, frozen=True, tag_field="what", tag="ack"):
    """What a receiver said."""

    at: datetime
    handoff_id: str
    status: str
    by: str
    reason: str | None


class Amended(Struct, frozen=True, tag_field="what", tag="amendment"):
    """What a person changed: the names alone."""

    at: datetime
    handoff_id: str
    action: str
    names: list[str]
    by: str
    reason: str | None


class Published(Struct, frozen=True, tag_field="what", tag="package"):
    """One revision of a package. `how` counts its fields by the way they got there."""

    at: datetime
    handoff_id: str
    hop: int
    revision: int
    disposition: str
    begun: str
    receiver: str
    how: dict[str, int]
    missing: list[str]
    overridden: bool
    supersedes: str | None
    backfill: bool


class Broke(Struct, frozen=True, tag_field="what", tag="violation"):
    """A violation that was opened or resolved."""

    at: datetime
    id: str
    status: str
    kind: str
    severity: str
    handoff_id: str | None
    message: str


class Told(Struct, frozen=True, tag_field="what", tag="signal"):
    """What the originating team was told."""

    at: datetime
    kind: str
    handoff_id: str
    to_team: str | None
    late: bool
    message: str


class Unread(Struct, frozen=True, tag_field="what", tag="unread"):
    """A record under this key that is not what its topic holds."""

    at: datetime
    topic: str
    partition: int
    offset: int


Entry = Captured | Acked | Amended | Published | Broke | Told | Unread


class Hop(Struct, frozen=True):
    """One handoff of the task, as it stands now.

    `cells` says of each field what became of it here; a field that it does not know is left out.
    """

    id: str
    hop: int
    from_stage: str
    from_team: str | None
    receiver: str
    to_team: str | None
    to_stage: str | None
    contract: str | None
    contract_version: int | None
    begun: str
    revision: int
    state: State
    stalled: bool
    owner: str | None
    owner_contact: str | None
    to_act: list[str]
    accept_by: datetime | None
    complete_by: datetime | None
    fidelity: float | None
    completeness: float | None
    missing: list[str]
    supersedes: str | None
    cells: dict[str, str]

    @property
    def edge(self) -> str:
        """From which stage to whom."""
        return f"{self.from_stage} → {self.receiver}"


class Promise(Struct, frozen=True):
    """A broken promise, whatever became of it.

    `lost_at` names the handoffs that lost the field: those after the hop that last carried it.
    """

    id: str
    kind: str
    severity: str
    field: str | None
    rule: str | None
    hop: int | None
    handoff_id: str | None
    status: Literal["opened", "resolved"]
    episode: int
    opened_at: datetime | None
    resolved_at: datetime | None
    message: str
    reason: str | None
    resolution: str | None
    last_seen_hop: int | None
    lost_at: list[str]


class Story(Struct, frozen=True):
    """All of it. `open` holds the ids of the handoffs that are open, in their order."""

    task_id: str
    workflow: str
    timeline: list[Entry]
    handoffs: list[Hop]
    fields: list[str]
    violations: list[Promise]
    open: list[str]
    last_stage: str | None
    last_team: str | None


def workflows(events: Iterable[Event]) -> list[str]:
    """The workflows that have a task of this id."""
    found = {each.body.workflow for each in events if _has_workflow(each)}  # type: ignore[union-attr]
    return sorted(found)


def _has_workflow(event: Event) -> bool:
    return event.body is not None and not isinstance(event.body, Signal)


def versions(events: Iterable[Event]) -> set[str]:
    """The contract versions that its packages were judged by."""
    return {
        f"{each.body.contract}@{each.body.contract_version}"
        for each in events
        if isinstance(each.body, Package) and each.body.contract is not None
    }


def tell(
    events: Iterable[Event],
    task_id: str,
    workflow: str,
    contracts: Mapping[str, HandoffContract],
    reveals: Reveals = lambda name: False,
) -> Story:
    """The story of a task from its events in order (`console/sequence.py:in_order`).

    `contracts` by `id@version` say which handoffs end with their acceptance; `reveals` says of a
    captured name whether its value may be shown.
    """
    events = _of_workflow(list(events), workflow)
    packages: dict[str, list[Package]] = {}
    violations: dict[str, list[Violation]] = {}
    signals: dict[str, list[Signal]] = {}
    last: ToolOutput | None = None
    for event in events:
        body = event.body
        if isinstance(body, Package):
            packages.setdefault(body.id, []).append(body)
        elif isinstance(body, Violation):
            violations.setdefault(body.id, []).append(body)
        elif isinstance(body, Signal):
            signals.setdefault(body.handoff_id, []).append(body)
        elif isinstance(body, ToolOutput):
            last = body
    states = _states(packages, signals, contracts)
    about: dict[str | None, list[Violation]] = {}
    for records in violations.values():
        about.setdefault(records[-1].handoff_id, []).append(records[-1])
    hops = [
        _hop(revisions, about.get(handoff, []), signals.get(handoff, []), states[handoff])
        for handoff, revisions in packages.items()
    ]
    hops.sort(key=lambda each: each.hop)
    return Story(
        task_id=task_id,
        workflow=workflow,
        timeline=[_entry(event, reveals) for event in events],
        handoffs=hops,
        fields=list(dict.fromkeys(name for each in hops for name in each.cells)),
        violations=[_promise(records, hops) for records in violations.values()],
        open=[each.id for each in hops if each.state in OPEN],
        last_stage=last.stage if last is not None else None,
        last_team=last.team if last is not None else None,
    )


def _of_workflow(events: list[Event], workflow: str) -> list[Event]:
    """Signals name no workflow: theirs is that of their handoff."""
    others = {
        each.body.id
        for each in events
        if isinstance(each.body, Package) and each.body.workflow != workflow
    }
    return [
        each
        for each in events
        if each.body is None
        or (
            each.body.handoff_id not in others
            if isinstance(each.body, Signal)
            else each.body.workflow == workflow
        )
    ]


def _states(
    packages: Mapping[str, list[Package]],
    signals: Mapping[str, list[Signal]],
    contracts: Mapping[str, HandoffContract],
) -> dict[str, tuple[State, bool]]:
    """Of each handoff its state, and whether it is stalled."""
    successors = {
        revision.supersedes
        for each in packages.values()
        for revision in each
        if revision.supersedes
    }
    found: dict[str, tuple[State, bool]] = {}
    accepted: set[str] = set()
    for handoff, revisions in packages.items():
        latest = revisions[-1]
        state: State = latest.disposition
        kinds = [each.kind for each in signals.get(handoff, [])]
        moves = [kind for kind in kinds if kind in ("accepted", *_CLOSING)]
        if (
            "accepted" in moves
            or latest.begun == "implicit"
            or (latest.supersedes in accepted and state == "sent")
        ):
            accepted.add(handoff)
            state = "completed" if _ends_with_acceptance(latest, contracts) else "accepted"
        for kind in moves:
            if kind in _CLOSING:
                state = kind  # type: ignore[assignment]
        if handoff in successors and state in OPEN:
            state = "superseded"
        marks = [kind for kind in kinds if kind != "reassigned"]
        found[handoff] = state, bool(marks) and marks[-1] == "stalled" and state in OPEN
    return found


def _ends_with_acceptance(package: Package, contracts: Mapping[str, HandoffContract]) -> bool:
    """Whether an accepted handoff is complete: nothing says by when the work is to be done."""
    contract = contracts.get(f"{package.contract}@{package.contract_version}")
    if contract is not None:
        return contract.complete_within is None
    return package.complete_by is None and not package.backfill


def _hop(
    revisions: list[Package],
    violations: list[Violation],
    signals: list[Signal],
    standing: tuple[State, bool],
) -> Hop:
    package = revisions[-1]
    state, stalled = standing
    # Those of a trial contract are only told, and those of an earlier version are over.
    version = package.contract_version
    violations = [
        each
        for each in violations
        if each.contract_version == version and (package.contract in (None, each.contract))
    ]
    kinds: dict[str, str] = {}
    # An open one tells more than one that is resolved.
    for each in sorted(violations, key=lambda each: each.status == "opened"):
        if each.field is not None:
            kinds[each.field] = each.kind
    names = dict.fromkeys((*package.context, *package.missing, *kinds))
    cells = {name: _cell(package, name, kinds.get(name)) for name in names}
    to_act = [
        f"{each.owner} <{each.owner_contact}>" if each.owner_contact else each.owner
        for each in violations
        if each.status == "opened" and each.owner
    ]
    owner, contact = package.to.owner, package.to.owner_contact
    if signals and signals[-1].owner and signals[-1].owner != owner:
        owner, contact = signals[-1].owner, None  # reassigned, and no package of it was read
    return Hop(
        id=package.id,
        hop=package.hop,
        from_stage=package.from_.stage,
        from_team=package.from_.team,
        receiver=package.to.receiver,
        to_team=package.to.team,
        to_stage=package.to.stage,
        contract=package.contract,
        contract_version=package.contract_version,
        begun=package.begun,
        revision=package.revision,
        state=state,
        stalled=stalled,
        owner=owner,
        owner_contact=contact,
        to_act=list(dict.fromkeys(to_act)),
        accept_by=package.accept_by,
        complete_by=package.complete_by,
        fidelity=package.fidelity,
        completeness=package.completeness,
        missing=package.missing,
        supersedes=package.supersedes,
        cells=cells,
    )


def _cell(package: Package, name: str, kind: str | None) -> str:
    """What became of a field at one handoff, in a word or two."""
    origin = package.provenance.get(name)
    broken = _BROKEN.get(kind or "")
    if origin is not None:
        return broken or "as sent" if origin.how == "as_sent" else origin.how
    return broken or ("missing" if kind else OPTIONAL)


def _promise(records: list[Violation], hops: list[Hop]) -> Promise:
    latest = records[-1]
    opened = [each.detected_at for each in records if each.status == "opened"]
    lost_at: list[str] = []
    if latest.last_seen_hop is not None and latest.field is not None:
        after = latest.last_seen_hop + 1
        lost_at = [f"hop {each.hop}, {each.edge}" for each in hops if each.hop == after]
    return Promise(
        id=latest.id,
        kind=latest.kind,
        severity=latest.severity,
        field=latest.field,
        rule=latest.rule,
        hop=latest.hop,
        handoff_id=latest.handoff_id,
        status=latest.status,
        episode=latest.episode,
        opened_at=opened[-1] if opened else None,
        resolved_at=latest.resolved_at,
        message=latest.message,
        reason=latest.reason,
        resolution=latest.resolution,
        last_seen_hop=latest.last_seen_hop,
        lost_at=lost_at,
    )


def _entry(event: Event, reveals: Reveals) -> Entry:
    body, at = event.body, wire.utc(event.at)
    match body:
        case ToolOutput():
            return _captured(body, reveals)
        case Ack():
            when = _when(body.occurred_at)
            return Acked(when, body.handoff_id, body.status, body.by, body.reason)
        case Amendment():
            names = list(body.fields)
            when = _when(body.occurred_at)
            return Amended(when, body.handoff_id, body.action, names, body.by, body.reason)
        case Package():
            how: dict[str, int] = {}
            for each in body.provenance.values():
                how[each.how] = how.get(each.how, 0) + 1
            return Published(
                at,
                body.id,
                body.hop,
                body.revision,
                body.disposition,
                body.begun,
                body.to.receiver,
                how,
                body.missing,
                body.overridden,
                body.supersedes,
                body.backfill,
            )
        case Violation():
            return Broke(
                at,
                body.id,
                body.status,
                body.kind,
                body.severity,
                body.handoff_id,
                body.message,
            )
        case Signal():
            return Told(at, body.kind, body.handoff_id, body.to_team, body.late, body.message)
        case None:
            record = event.record
            return Unread(at, record.topic, record.partition, record.offset)


def _captured(body: ToolOutput, reveals: Reveals) -> Captured:
    names = [name for name, raw in body.context.items() if not is_empty(bytes(raw))]
    asked = body.handoff or []
    requests = asked if isinstance(asked, list) else [asked]
    return Captured(
        at=_when(body.occurred_at),
        stage=body.stage,
        tool=body.tool,
        team=body.team,
        event_id=body.id,
        names=names,
        retracted=body.retracted,
        handed_to=[each.to for each in requests],
        values={name: body.context[name] for name in names if reveals(name)},
    )


def _when(given: datetime | int) -> datetime:
    return wire.utc(wire.epoch_ms(given))
