"""Builds the records about one judged handoff: its package, its violations and its signal."""

from msgspec import Raw, Struct

from processors.integrity import messages
from processors.integrity.fields import Finding, Judged
from processors.integrity.receiver import Broken, Route
from schemas.flow import Arrival
from schemas.records import (
    Disposition,
    From,
    HandoffRequest,
    Origin,
    Package,
    Provenance,
    Severity,
    Signal,
    ToolOutput,
    Violation,
    ViolationKind,
)
from schemas.wire import utc


class Publisher(Struct, frozen=True, gc=False):
    """What all records about one handoff have in common. `now` is processor time in epoch ms."""

    handoff_id: str
    output: ToolOutput
    request: HandoffRequest
    arrival: Arrival
    route: Route
    sender: From
    disposition: Disposition
    hop: int
    now: int

    def about_field(self, finding: Finding, kind: ViolationKind, required: bool) -> Violation:
        """The violation about one declared field."""
        contract = self.route.contract
        capture = finding.capture
        return self._violation(
            kind,
            contract.severity_of(kind, finding.rebuilt, not required) if contract else "warning",
            messages.about_field(finding, self.sender, self.route.to),
            finding.refusal,
            field=finding.name,
            origin=capture.origin() if capture is not None else None,
            candidates=finding.candidates,
            last_seen_hop=(capture.hop or None) if capture is not None else None,
            found_in=finding.found_in,
        )

    def about_handoff(self, broken: Broken, severity: Severity) -> Violation:
        """The violation about the handoff as a whole."""
        message = messages.about_handoff(
            broken, self.sender, self.route.to, self.request, self.output.workflow
        )
        return self._violation(broken.kind, severity, message, broken.reason)

    def _violation(
        self,
        kind: ViolationKind,
        severity: Severity,
        message: str,
        reason: str | None,
        field: str | None = None,
        origin: Origin | None = None,
        candidates: int | None = None,
        last_seen_hop: int | None = None,
        found_in: str | None = None,
    ) -> Violation:
        contract = self.route.contract
        to = self.route.to
        owner, contact = to.owner, to.owner_contact
        if owner is None and contract is not None:
            owner, contact = contract.owner.name, contract.owner.contact
        version = contract.version if contract is not None else None
        return Violation(
            id=f"{self.handoff_id}:{version or 0}:{kind}:{field or ''}",
            status="opened",
            kind=kind,
            severity=severity,
            task_id=self.output.task_id,
            handoff_id=self.handoff_id,
            event_id=self.output.id,
            workflow=self.output.workflow,
            contract=contract.id if contract is not None else self.request.contract,
            contract_version=version,
            episode=1,
            field=field,
            rule=None,
            from_=self.sender,
            to=to,
            owner=owner,
            owner_contact=contact,
            origin=origin,
            candidates=candidates,
            last_seen_hop=last_seen_hop,
            hop=self.hop,
            disposition=self.disposition,
            message=message,
            reason=reason,
            resolution=None,
            found_in=found_in,
            occurred_at=utc(self.arrival.occurred_at),
            detected_at=utc(self.now),
            resolved_at=None,
            backfill=self.arrival.backfill,
        )

    def package(
        self, judged: Judged, violations: list[Violation], supersedes: str | None
    ) -> Package:
        """The enriched handoff, revision 1. Deadlines start only for what is sent, and is new."""
        contract = self.route.contract
        sent = self.disposition == "sent"
        accept_by = complete_by = None
        if contract is not None and sent and not self.arrival.backfill:
            if contract.accept_within is not None:
                accept_by = utc(self.now + contract.accept_within)
            if contract.complete_within is not None:
                complete_by = utc(self.now + contract.complete_within)
        context: dict[str, Raw] = {}
        provenance: dict[str, Provenance] = {}
        for finding in judged.findings:
            if finding.value is not None:
                context[finding.name] = Raw(finding.value)
                provenance[finding.name] = self._provenance(finding)
        return Package(
            id=self.handoff_id,
            revision=1,
            task_id=self.output.task_id,
            event_id=self.output.id,
            workflow=self.output.workflow,
            contract=contract.id if contract is not None else None,
            contract_version=contract.version if contract is not None else None,
            from_=self.sender,
            to=self.route.to,
            disposition=self.disposition,
            action=contract.action if contract is not None else None,
            begun="declared",
            context=context,
            provenance=provenance,
            missing=judged.missing,
            fidelity=judged.fidelity,
            completeness=judged.completeness,
            violations=[violation.id for violation in violations],
            overridden=False,
            supersedes=supersedes,
            accept_by=accept_by,
            complete_by=complete_by,
            note=self.request.note,
            occurred_at=utc(self.arrival.occurred_at),
            sent_at=utc(self.now) if sent else None,
            hop=self.hop,
            backfill=self.arrival.backfill,
        )

    def _provenance(self, finding: Finding) -> Provenance:
        """The capture that a value came from; this output where the value is the sender's own."""
        how = finding.how or "arrived"
        capture = finding.capture
        if capture is None or how == "as_sent":
            output = self.output
            at = utc(self.arrival.occurred_at)
            return Provenance(how, output.stage, output.tool, output.id, at, finding.candidates)
        return Provenance(
            how,
            capture.stage,
            capture.tool,
            capture.event_id,
            utc(capture.occurred_at),
            finding.candidates,
        )

    def signal(self, judged: Judged, holding: list[str]) -> Signal:
        """What the originating team is told."""
        to = self.route.to
        return Signal(
            id=f"{self.handoff_id}:1:{self.disposition}",
            kind=self.disposition,
            late=False,
            supersedes=None,
            handoff_id=self.handoff_id,
            task_id=self.output.task_id,
            to_team=self.sender.team,
            receiver=to.receiver,
            owner=to.owner,
            message=messages.signal_sentence(to, judged, holding),
            occurred_at=utc(self.arrival.occurred_at),
            at=utc(self.now),
            backfill=self.arrival.backfill,
        )
