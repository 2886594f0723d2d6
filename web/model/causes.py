"""Which pattern a violation belongs to, as integrity tells insights (docs/insights.md)."""

from schemas.feed import BY_EDGE, BY_RECEIVER, subject
from web.model.outlines import ViolationOutline


def fingerprint_of(found: ViolationOutline) -> str | None:
    """The fingerprint; none where nobody is to read of it (severity info: a contract on trial)."""
    if found.severity == "info":
        return None
    path = _path(found)
    return f"replay/{path}" if found.backfill else path


def _path(found: ViolationOutline) -> str:
    kind, sender, receiver = found.kind, found.from_, found.to
    if kind in BY_RECEIVER and receiver is not None:
        return subject("receiver", receiver.receiver, kind)
    if kind == "source_silent":
        return subject("source", found.reason or "", kind)
    if kind == "handoff_loop" and sender is not None and receiver is not None:
        return subject("loop", found.workflow, *sorted((sender.stage, receiver.stage or "")))
    # Where the contract that was asked for is not there, the handoff is on none.
    if found.contract is not None and kind != "contract_missing":
        about = found.field if found.field is not None else found.rule
        return subject("contract", found.contract, kind, *(() if about is None else (about,)))
    if kind in BY_EDGE and sender is not None and receiver is not None:
        return subject("edge", found.workflow, sender.stage, receiver.receiver, kind)
    return subject("workflow", found.workflow, kind)
