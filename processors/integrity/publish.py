"""Builds the records about a handoff: its package, its violations and its signals.

What follows from a replay is marked: that of the `step`, and all of a handoff that began in one.
"""

from msgspec import Raw

from processors.contracts.compiled import Contract
from processors.contracts.registry import RegistrySnapshot
from processors.integrity import sentences
from processors.integrity.state import OpenHandoff, OpenViolation, PackageField
from processors.integrity.step import StepContext
from schemas.records import (
    Ack,
    Amendment,
    From,
    Package,
    Provenance,
    Signal,
    SignalKind,
    To,
    Violation,
    ViolationKind,
)
from schemas.serde import utc

# Whoever wrote the contract is to act, and not the receiver.
OWNED_BY_CONTRACT = ("held_too_long", "handoff_loop")
# How a value came into a package; fields that have it in common share their provenance.
PackageOrigin = tuple[str, int, int, str | None, str | None, int]


def package(step: StepContext, handoff: OpenHandoff, contract: Contract | None) -> Package:
    """The enriched handoff, as its state says."""
    context: dict[str, Raw] = {}
    provenance: dict[str, Provenance] = {}
    made: dict[PackageOrigin, Provenance] = {}
    for name, field in handoff.values.items():
        context[name] = Raw(field.value)
        came = (
            field.how,
            field.ref.number,
            field.candidates,
            field.by,
            field.reason,
            field.passed_over,
        )
        found = made.get(came)
        if found is None:
            found = made[came] = _provenance(field)
        provenance[name] = found
    open_ = handoff.violations
    held = handoff.state == "held"
    return Package(
        id=handoff.id,
        revision=handoff.revision,
        task_id=step.task_id,
        event_id=handoff.source.event_id,
        workflow=step.workflow,
        contract=handoff.contract,
        contract_version=handoff.version,
        from_=sender(handoff),
        to=to(handoff),
        disposition="held" if held else "sent",
        action=contract.action if contract is not None else None,
        begun=handoff.begun,
        context=context,
        provenance=provenance,
        missing=list(handoff.missing),
        fidelity=handoff.fidelity,
        completeness=handoff.completeness,
        violations=[v.id(handoff) for v in open_ if v.trial is None] if open_ else [],
        overridden=handoff.overridden,
        supersedes=handoff.supersedes,
        accept_by=utc(handoff.accept_by) if handoff.accept_by else None,
        complete_by=utc(handoff.complete_by) if handoff.complete_by else None,
        note=handoff.note,
        occurred_at=utc(handoff.source.occurred_at),
        sent_at=utc(handoff.sent_at) if handoff.sent_at else None,
        hop=handoff.hop,
        backfill=handoff.backfill or step.backfill,
    )


def _provenance(field: PackageField) -> Provenance:
    ref = field.ref
    return Provenance(
        how=field.how,
        stage=ref.stage,
        tool=ref.tool,
        event_id=ref.event_id,
        occurred_at=utc(ref.occurred_at),
        candidates=field.candidates,
        by=field.by,
        reason=field.reason,
        passed_over=field.passed_over,
    )


def opened(
    step: StepContext,
    tables: RegistrySnapshot,
    handoff: OpenHandoff,
    violation: OpenViolation,
    message: str,
) -> Violation:
    """A violation that begins."""
    return _violation(step, tables, handoff, violation=violation, message=message, resolution=None)


def resolved(
    step: StepContext,
    tables: RegistrySnapshot,
    handoff: OpenHandoff,
    violation: OpenViolation,
    resolution: str,
    broken_for: To | None = None,
) -> Violation:
    """The end of a violation; `resolution` is a stable word that says why. It was `broken_for` the
    receiver of now, unless another one is given."""
    message = sentences.resolved(violation, broken_for or to(handoff), resolution)
    return _violation(
        step, tables, handoff, violation=violation, message=message, resolution=resolution
    )


def _violation(
    step: StepContext,
    tables: RegistrySnapshot,
    handoff: OpenHandoff,
    violation: OpenViolation,
    message: str,
    resolution: str | None,
) -> Violation:
    owner, contact = handoff.owner, handoff.owner_contact
    if owner is None or violation.kind in OWNED_BY_CONTRACT:
        contract = tables.version(handoff.contract, handoff.version)
        if contract is None and handoff.contract is None:
            contract = tables.belongs_at(step.workflow, handoff.stage)
        if contract is not None:
            owner, contact = contract.owner.name, contract.owner.contact
    if violation.kind == "source_silent":
        feed = tables.feed(violation.reason)
        owner, contact = (feed.owner, feed.contact) if feed is not None else (None, None)
    origin = violation.origin
    of_a_rule = violation.kind == "rule_failed"
    return Violation(
        id=violation.id(handoff),
        status="opened" if resolution is None else "resolved",
        kind=violation.kind,
        severity=violation.severity,
        task_id=step.task_id,
        handoff_id=handoff.id,
        event_id=violation.event_id,
        workflow=step.workflow,
        contract=(
            violation.trial or violation.contract or handoff.contract or handoff.asked_contract
        ),
        contract_version=violation.version,
        episode=violation.episode,
        field=None if of_a_rule else violation.subject,
        rule=violation.subject if of_a_rule else None,
        from_=sender(handoff),
        to=to(handoff),
        owner=owner,
        owner_contact=contact,
        origin=origin.origin() if origin is not None else None,
        candidates=violation.candidates,
        last_seen_hop=violation.last_hop or None,
        hop=handoff.hop,
        disposition="held" if handoff.state == "held" else "sent",
        message=message,
        reason=violation.reason,
        resolution=resolution,
        found_in=violation.found_in,
        occurred_at=utc(violation.occurred_at),
        detected_at=utc(violation.detected_at),
        resolved_at=utc(step.now) if resolution is not None else None,
        backfill=handoff.backfill or step.backfill,
    )


def unknown(step: StepContext, said: Ack | Amendment, reason: str, occurred_at: int) -> Violation:
    """An ack or amendment that meets no open handoff of its task; there is nothing to resolve.

    Its id ends with that of the record: whatever else somebody says of it is another one.
    """
    return _noted(
        step,
        "unknown_handoff",
        f"{said.handoff_id or said.task_id}:0:unknown_handoff:{said.id}",
        event_id=said.id,
        handoff_id=said.handoff_id,
        message=sentences.unknown(said, reason),
        reason=reason,
        occurred_at=occurred_at,
    )


def link_refused(step: StepContext, workflow: str, task_id: str, why: str) -> Violation:
    """A link to another task that the task does not take part in. It is only noted."""
    return _noted(
        step,
        "link_refused",
        f"{step.task_id}:0:link_refused:{step.event_id}:{workflow}/{task_id}",
        event_id=step.event_id or "",
        handoff_id=None,
        message=sentences.link_refused(workflow, task_id, why),
        reason=why,
        occurred_at=step.occurred_at,
    )


def _noted(
    step: StepContext,
    kind: ViolationKind,
    id_: str,
    *,
    event_id: str,
    handoff_id: str | None,
    message: str,
    reason: str,
    occurred_at: int,
) -> Violation:
    """What is wrong with an input and is of no handoff: a warning, and never resolved."""
    return Violation(
        id=id_,
        status="opened",
        kind=kind,
        severity="warning",
        task_id=step.task_id,
        handoff_id=handoff_id,
        event_id=event_id,
        workflow=step.workflow,
        contract=None,
        contract_version=None,
        episode=1,
        field=None,
        rule=None,
        from_=None,
        to=None,
        owner=None,
        owner_contact=None,
        origin=None,
        candidates=None,
        last_seen_hop=None,
        hop=None,
        disposition=None,
        message=message,
        reason=reason,
        resolution=None,
        found_in=None,
        occurred_at=utc(occurred_at),
        detected_at=utc(step.now),
        resolved_at=None,
        backfill=step.backfill,
    )


def signal(
    step: StepContext,
    handoff: OpenHandoff,
    kind: SignalKind,
    message: str,
    occurred_at: int,
    late: bool,
) -> Signal:
    """What the originating team is told; `handoff.signals` counts this one already. Of a duplicate
    that may come long after the handoff is closed, the event tells which it is."""
    which = step.event_id if kind == "duplicate" else handoff.signals
    return Signal(
        id=f"{handoff.id}:{which}:{kind}",
        kind=kind,
        late=late,
        supersedes=handoff.supersedes,
        handoff_id=handoff.id,
        task_id=step.task_id,
        to_team=handoff.team,
        receiver=handoff.receiver,
        owner=handoff.owner,
        message=message,
        occurred_at=utc(occurred_at),
        at=utc(step.now),
        backfill=handoff.backfill or step.backfill,
    )


def sender(handoff: OpenHandoff) -> From:
    """The sending side of a handoff."""
    return From(handoff.team, handoff.stage, handoff.tool)


def to(handoff: OpenHandoff) -> To:
    """The receiving side of a handoff."""
    return To(
        handoff.receiver,
        handoff.to_team,
        handoff.to_stage,
        handoff.owner,
        handoff.owner_contact,
    )
