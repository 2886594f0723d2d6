"""The story of one task: what was captured, each handoff, what broke, and who owns it now. Pure.

`tell` makes it from the task's records; `console/story_render.py` shows it to people. No value of
the context is in it but those that the caller reveals.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime

from msgspec import Raw, Struct, structs

from console.hops import Hop, Promise, absence, hop, mark_losses, promise, states
from console.others import Place, place
from console.sequence import Event
from processors.contracts.values import is_empty
from schemas import serde
from schemas.documents import HandoffContract
from schemas.lifecycle import OPEN
from schemas.records import Ack, Amendment, Package, Signal, ToolOutput, Violation

Reveals = Callable[[str, Raw], bool]  # whether a captured value may be shown; its name is first


class Captured(Struct, frozen=True, tag_field="what", tag="output"):
    """A tool output: the names that it brought (empty values are no captures) and took back.

    `values` holds those that the caller reveals, as raw JSON. `of_others` says that another team
    than the receiver's sent it from the receiver's stage: it accepted and moved nothing. `repeat`
    says that its tool sent an output of this id before, so it counted once. `refused`, here and
    below, is the reason where it became a dead letter and nothing followed from it.
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
    refused: str | None
    of_others: bool = False
    repeat: bool = False


class Acked(Struct, frozen=True, tag_field="what", tag="ack"):
    """What a receiver said; without an id, of the one open handoff."""

    at: datetime
    handoff_id: str | None
    status: str
    by: str
    reason: str | None
    refused: str | None


class Amended(Struct, frozen=True, tag_field="what", tag="amendment"):
    """What a person changed: the names alone."""

    at: datetime
    handoff_id: str
    action: str
    names: list[str]
    by: str
    reason: str | None
    refused: str | None
    to: str | None = None  # the receiver that it is sent on to


class PublishedRevision(Struct, frozen=True, tag_field="what", tag="package"):
    """One revision of a package. `how` counts its fields by the way they got there, `absent` is why
    it is on no queue, where that is so."""

    at: datetime
    handoff_id: str
    hop: int
    revision: int
    disposition: str
    begun: str
    receiver: str
    absent: str | None
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


class SignalSent(Struct, frozen=True, tag_field="what", tag="signal"):
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
    refused: str | None = None


Entry = Captured | Acked | Amended | PublishedRevision | Broke | SignalSent | Unread


class TaskStory(Struct, frozen=True):
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
    linked: list["TaskStory"] = []  # those of the tasks that it continues, or that continue it


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
    reveals: Reveals = lambda name, raw: False,
    others: Collection[Place] = (),
) -> TaskStory:
    """The story of a task from its events in order (`console/sequence.py:in_order`).

    `contracts` by `id@version` say which handoffs end with their acceptance; `reveals` says of a
    captured name whether its value may be shown; `others` are the outputs of other teams
    (`console/others.py`).
    """
    events = _of_workflow(list(events), workflow)
    packages: dict[str, list[Package]] = {}
    violations: dict[str, list[Violation]] = {}
    signals: dict[str, list[Signal]] = {}
    last: ToolOutput | None = None
    stage: str | None = None
    for event in events:
        body = event.body
        if isinstance(body, Package):
            packages.setdefault(body.id, []).append(body)
        elif isinstance(body, Violation):
            violations.setdefault(body.id, []).append(body)
        elif isinstance(body, Signal):
            signals.setdefault(body.handoff_id, []).append(body)
        elif isinstance(body, ToolOutput) and event.refused is None and place(event) not in others:
            last, stage = body, body.stage or stage
    standing = states(packages, signals, contracts)
    about: dict[str | None, list[Violation]] = {}
    for records in violations.values():
        about.setdefault(records[-1].handoff_id, []).append(records[-1])
    hops = [
        hop(revisions, about.get(handoff, []), signals.get(handoff, []), standing[handoff])
        for handoff, revisions in packages.items()
    ]
    hops.sort(key=lambda each: each.hop)
    promises = [promise(records, hops) for records in violations.values()]
    mark_losses(hops, promises)
    return TaskStory(
        task_id=task_id,
        workflow=workflow,
        timeline=_timeline(events, reveals, others),
        handoffs=hops,
        fields=list(dict.fromkeys(name for each in hops for name in each.cells)),
        violations=promises,
        open=[each.id for each in hops if each.state in OPEN],
        last_stage=stage,
        last_team=last.team if last is not None else None,
    )


def _timeline(events: list[Event], reveals: Reveals, others: Collection[Place]) -> list[Entry]:
    sent: set[tuple[str, str]] = set()
    found: list[Entry] = []
    for event in events:
        entry = _entry(event, reveals, others)
        if isinstance(entry, Captured) and entry.refused is None:
            identity = entry.tool, entry.event_id
            if identity in sent:
                entry = structs.replace(entry, repeat=True)
            sent.add(identity)
        found.append(entry)
    return found


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


def _entry(event: Event, reveals: Reveals, others: Collection[Place]) -> Entry:
    body, at, refused = event.body, serde.nearest_utc(event.at), event.refused
    match body:
        case ToolOutput():
            return _captured(body, reveals, refused, place(event) in others)
        case Ack():
            when = _when(body.occurred_at)
            return Acked(
                when, body.handoff_id, body.status, by=body.by, reason=body.reason, refused=refused
            )
        case Amendment():
            when = _when(body.occurred_at)
            return Amended(
                when,
                body.handoff_id,
                body.action,
                names=list(body.fields),
                by=body.by,
                reason=body.reason,
                refused=refused,
                to=body.to,
            )
        case Package():
            how: dict[str, int] = {}
            for each in body.provenance.values():
                how[each.how] = how.get(each.how, 0) + 1
            return PublishedRevision(
                at,
                body.id,
                body.hop,
                revision=body.revision,
                disposition=body.disposition,
                begun=body.begun,
                receiver=body.to.receiver,
                absent=absence(body),
                how=how,
                missing=body.missing,
                overridden=body.overridden,
                supersedes=body.supersedes,
                backfill=body.backfill,
            )
        case Violation():
            return Broke(
                at,
                body.id,
                body.status,
                kind=body.kind,
                severity=body.severity,
                handoff_id=body.handoff_id,
                message=body.message,
            )
        case Signal():
            return SignalSent(
                at,
                body.kind,
                body.handoff_id,
                to_team=body.to_team,
                late=body.late,
                message=body.message,
            )
        case None:
            record = event.record
            return Unread(at, record.topic, record.partition, record.offset, refused)


def _captured(body: ToolOutput, reveals: Reveals, refused: str | None, of_others: bool) -> Captured:
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
        values={name: raw for name in names if reveals(name, raw := body.context[name])},
        refused=refused,
        of_others=of_others,
    )


def _when(given: datetime | int) -> datetime:
    return serde.utc(serde.epoch_ms(given))
