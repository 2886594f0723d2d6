"""The handoffs of a task as they stand: state, owner, what became of each field. Pure.

No record holds the state of a handoff. It follows from the handoff's packages and signals:
`states`. What broke follows from the last record of each violation.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from msgspec import Struct

from console.violation_ids import promises
from schemas.documents import HandoffContract
from schemas.lifecycle import AFTER, OPEN, State
from schemas.printable import plain
from schemas.records import Package, Signal, Violation

PASSED_BY = "not passed on"
OPTIONAL = "optional, missing"  # only optional fields are missing without a violation
# What a field's cell says where the package has no value of its own for it, or has it as sent.
_BROKEN = {
    "context_dropped": "dropped",
    "context_empty": "empty",
    "context_unstructured": "in words only",
    "context_malformed": "malformed",
    "context_shortened": "cut",
    "context_changed": "changed",
    "context_retracted": "retracted",
    "never_captured": "never captured",
    "untranslatable": "untranslatable",
}


class Hop(Struct, frozen=True):
    """One handoff of the task, as it stands now.

    `cells` says of each field what became of it here; a field that it does not know is left out.
    `absent` is why it is on no queue, where that is so (`absence`).
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
    absent: str | None
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


def states(
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
        if (
            "accepted" in kinds
            or latest.begun == "implicit"
            or (latest.supersedes in accepted and state == "sent")
        ):
            accepted.add(handoff)
            state = "completed" if _ends_with_acceptance(latest, contracts) else "accepted"
        for kind in kinds:
            if (after := AFTER.get(kind)) is not None and after not in OPEN:
                state = after
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


def hop(
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
        absent=absence(package),
        to_act=list(dict.fromkeys(to_act)),
        accept_by=package.accept_by,
        complete_by=package.complete_by,
        fidelity=package.fidelity,
        completeness=package.completeness,
        missing=package.missing,
        supersedes=package.supersedes,
        cells=cells,
    )


def absence(package: Package) -> str | None:
    """Why a package that was sent is on no queue, in words; None where its receiver was there."""
    kinds = (kind for kind, _ in promises(package.violations))
    if package.disposition == "held" or "receiver_missing" not in kinds:
        return None
    receiver = plain(package.to.receiver)
    if package.to.team is None:  # each registered receiver has one
        return f"{receiver} is not registered"
    return f"{receiver} is retired, or its queue did not exist"


def _cell(package: Package, name: str, kind: str | None) -> str:
    """What became of a field at one handoff, in a word or two."""
    origin = package.provenance.get(name)
    broken = _BROKEN.get(kind or "")
    if origin is not None:
        return broken or "as sent" if origin.how == "as_sent" else origin.how
    return broken or ("missing" if kind else OPTIONAL)


def promise(records: list[Violation], hops: list[Hop]) -> Promise:
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


def mark_losses(hops: list[Hop], promises: list[Promise]) -> None:
    """Write into the cells which handoffs, between the last that carried a field and the one that
    missed it, did not pass it on: their contracts do not ask for it."""
    for each in promises:
        if each.last_seen_hop is None or each.hop is None or each.field is None:
            continue
        for found in hops:
            if each.last_seen_hop < found.hop < each.hop:
                found.cells.setdefault(each.field, PASSED_BY)
