"""Judges one declared handoff: its route, its context, and whether it is sent or held."""

from hashlib import blake2b

import msgspec
from msgspec import Struct

from processors.contracts.compiled import default_severity
from processors.contracts.tables import Tables
from processors.integrity.capture import Carried, Memory
from processors.integrity.fields import Judged, assemble
from processors.integrity.publish import Publisher
from processors.integrity.receiver import Route, route
from processors.integrity.state import OpenHandoff
from schemas.flow import Arrival
from schemas.records import (
    Disposition,
    From,
    HandoffRequest,
    Package,
    Signal,
    ToolOutput,
    Violation,
)

HOLD_WITHOUT_CONTRACT = frozenset({"receiver_missing"})  # there is nowhere to send it


class Handoff(Struct, frozen=True, gc=False):
    """A judged handoff: what is published of it, and what stays of it in the task's state."""

    package: Package
    queue: str | None  # where a sent package also goes
    violations: list[Violation]
    signal: Signal
    open: OpenHandoff
    superseded: OpenHandoff | None
    judged: Judged


def judge(
    output: ToolOutput,
    context: Carried,
    request: HandoffRequest,
    arrival: Arrival,
    memory: Memory,
    hop: int,
    open_handoffs: tuple[OpenHandoff, ...],
    tables: Tables,
    now: int,
) -> Handoff:
    """Judge a declared handoff against its contract, its receiver and what the task held before."""
    way = route(output, request, tables, now)
    contract = way.contract
    judged = assemble(contract, context, memory, arrival.occurred_at)
    holding = _holding(way, judged)
    disposition: Disposition = "held" if holding else "sent"
    team = output.team or (contract.team if contract is not None else None)
    opened = OpenHandoff(
        handoff_id(output, way, request.part),
        contract.id if contract is not None else None,
        contract.version if contract is not None else None,
        way.to.receiver,
        request.part,
        disposition,
        hop,
        arrival.occurred_at,
    )
    superseded = next((other for other in open_handoffs if slot(other) == slot(opened)), None)
    publisher = Publisher(
        opened.id,
        output,
        request,
        arrival,
        way,
        From(team, output.stage, output.tool),
        disposition,
        hop,
        now,
    )
    # Fields first, in the order of their declaration, then the handoff as a whole.
    violations = [
        publisher.about_field(finding, finding.kind, finding.field.required)
        for finding in judged.broken
        if finding.kind is not None and finding.field is not None
    ]
    # Rules over the assembled context are judged here (next step of the project).
    severity = contract.severity_of if contract is not None else default_severity
    violations += [publisher.about_handoff(broken, severity(broken.kind)) for broken in way.broken]
    package = publisher.package(
        judged, violations, superseded.id if superseded is not None else None
    )
    return Handoff(
        package,
        way.queue if disposition == "sent" else None,
        violations,
        publisher.signal(judged, holding),
        opened,
        superseded,
        judged,
    )


def handoff_id(output: ToolOutput, way: Route, part: str | None) -> str:
    """The same input always gives the same id, so a redelivery after a crash changes nothing.

    16 bytes of BLAKE2b (RFC 7693) over the JSON array of what identifies the handoff.
    """
    contract = way.contract.id if way.contract is not None else None
    identity = (
        output.workflow,
        output.task_id,
        output.tool,
        output.id,
        contract,
        way.to.receiver,
        part,
    )
    return "h-" + blake2b(msgspec.json.encode(identity), digest_size=16).hexdigest()


def slot(handoff: OpenHandoff) -> tuple[str | None, str, str | None]:
    """What can be open only once in a task: (contract, receiver, part)."""
    return handoff.contract, handoff.receiver, handoff.part


def _holding(way: Route, judged: Judged) -> list[str]:
    """The kinds of open violations that hold the handoff; a rebuilt field never does."""
    if not judged.broken and not way.broken:
        return []
    hold_on = way.contract.hold_on if way.contract is not None else HOLD_WITHOUT_CONTRACT
    kinds = [f.kind for f in judged.broken if f.kind is not None and f.how != "rebuilt"]
    kinds += [broken.kind for broken in way.broken]
    return list(dict.fromkeys(kind for kind in kinds if "any" in hold_on or kind in hold_on))
