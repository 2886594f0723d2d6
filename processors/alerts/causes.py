"""A cause, as it is read from a pattern, a held handoff or a violation."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from msgspec.structs import replace

from schemas.alerts import Cause
from schemas.records import Package, Pattern, Violation

HELD: Final = "held"
HELD_TOO_LONG: Final = "held_too_long"
# What about a receiver or a source: it is told at once, however new a contract is.
OF_RECEIVERS: Final = frozenset({"receiver_missing", "owner_missing"})
_TASKS: Final = 3
_STAGES: Final = 8


def of_pattern(pattern: Pattern, now: datetime) -> Cause:
    """The cause that an open pattern tells of. Its values, and its message, which may hold them,
    are left out."""
    return Cause(
        id=pattern.id,
        fingerprint=pattern.fingerprint,
        kind=pattern.kind,
        severity=pattern.severity,
        workflow=pattern.workflow,
        contract=pattern.contract,
        contract_version=pattern.contract_version,
        receiver=pattern.receiver,
        from_=pattern.from_,
        to=pattern.to,
        field=pattern.field,
        owner=pattern.owner,
        owner_contact=pattern.owner_contact,
        count=pattern.count,
        first_seen=pattern.first_seen,
        last_seen=pattern.last_seen,
        stages=_most(pattern.stages)[:_STAGES],
        tool=next(iter(_most(pattern.tools)), None),
        last_had=_last_had(pattern),
        tasks=tuple(pattern.tasks[:_TASKS]),
        opened_at=now,
    )


def _last_had(pattern: Pattern) -> str | None:
    """Who had the lost value last: its tool, at its stage."""
    if pattern.last_tool is None:
        return None
    return (
        f"{pattern.last_tool} at {pattern.last_stage}" if pattern.last_stage else pattern.last_tool
    )


def of_held(package: Package, now: datetime) -> Cause:
    """The cause that a held handoff is, until it is sent or discarded."""
    return Cause(
        id=package.id,
        fingerprint=f"{HELD}/{package.id}",
        kind=HELD,
        severity="warning",
        workflow=package.workflow,
        contract=package.contract,
        contract_version=package.contract_version,
        receiver=package.to.receiver,
        from_=package.from_.stage or None,
        to=package.to.stage,
        field=None,
        owner=package.to.owner,
        owner_contact=package.to.owner_contact,
        count=1,
        first_seen=package.occurred_at,
        last_seen=package.occurred_at,
        stages=(package.from_.stage,) if package.from_.stage else (),
        tool=package.from_.tool,
        tasks=(package.task_id,),
        opened_at=now,
    )


def of_violation(violation: Violation, now: datetime) -> Cause:
    """The cause that one open violation is: `held_too_long`, where a route asks for each."""
    sender, to = violation.from_, violation.to
    return Cause(
        id=f"{violation.id}@{violation.episode}",
        fingerprint=f"{HELD_TOO_LONG}/{violation.handoff_id or violation.id}",
        kind=HELD_TOO_LONG,
        severity=violation.severity,
        workflow=violation.workflow,
        contract=violation.contract,
        contract_version=violation.contract_version,
        receiver=None if to is None else to.receiver,
        from_=None if sender is None else sender.stage or None,
        to=None if to is None else to.stage,
        field=None,
        owner=violation.owner,
        owner_contact=violation.owner_contact,
        count=1,
        first_seen=violation.detected_at,
        last_seen=violation.detected_at,
        stages=(sender.stage,) if sender is not None and sender.stage else (),
        tool=None if sender is None else sender.tool,
        tasks=(violation.task_id,),
        opened_at=now,
    )


def is_single(cause: Cause) -> bool:
    """Whether it is one handoff, and not a pattern: told only where a route asks for it."""
    return cause.fingerprint.startswith((f"{HELD}/", f"{HELD_TOO_LONG}/"))


def carried_on(before: Cause, now_told: Cause) -> Cause:
    """A cause as it is told now, with what was decided about it before."""
    return replace(
        now_told,
        opened_at=before.opened_at,
        alert=before.alert,
        reason=before.reason,
        by=before.by,
        told_count=before.told_count,
        quiet_at=before.quiet_at,
    )


def _most(counts: Mapping[str, int]) -> tuple[str, ...]:
    return tuple(sorted(counts, key=lambda name: (-counts[name], name)))
