"""Which pattern a violation belongs to, as integrity tells insights (docs/insights.md)."""

from schemas.feed import fingerprint
from web.model.outlines import ViolationOutline


def fingerprint_of(found: ViolationOutline) -> str | None:
    """The fingerprint; none where nobody is to read of it (severity info: a contract on trial)."""
    if found.severity == "info":
        return None
    sender, receiver = found.from_, found.to
    path = fingerprint(
        found.kind,
        workflow=found.workflow,
        # Where the contract that was asked for is not there, the handoff is on none.
        contract=None if found.kind == "contract_missing" else found.contract,
        about=found.rule if found.field is None else found.field,
        stage=None if sender is None else sender.stage,
        to_stage=None if receiver is None else receiver.stage,
        receiver=None if receiver is None else receiver.receiver,
        source=found.reason,
    )
    return f"replay/{path}" if found.backfill else path
