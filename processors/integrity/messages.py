"""The sentences that people read. They name fields, stages and tools, and never hold a value."""

from processors.integrity.fields import Finding, Judged
from processors.integrity.receiver import Broken
from schemas.records import From, HandoffRequest, To

_REFUSALS = {
    "not_allowed": "the contract allows no rebuild",
    "not_kept": "the value was too large to keep for a rebuild",
    "too_old": "the capture is older than the contract allows",
    "ambiguous": "the task has held {candidates} different values for it",
    "untranslatable": "the captured value is none of the contract's terms",
    "malformed": "the captured value has not the shape that the contract asks for",
}


def about_field(finding: Finding, sender: From, to: To) -> str:
    """One sentence about a field's violation."""
    name = finding.name
    between = f"between {sender.stage} and {to.receiver}"
    match finding.kind:
        case "context_dropped":
            return f"{name} was dropped {between}; {_had(finding)}{_outcome(finding)}."
        case "context_unstructured":
            return (
                f"{name} reached {to.receiver} only as words inside {finding.found_in}; "
                f"{_had(finding)}{_outcome(finding)}."
            )
        case "context_empty":
            if finding.capture is None:
                return f"{name} was sent empty {between}, and the task never held a value for it."
            return f"{name} was sent empty {between}; {_had(finding)}{_outcome(finding)}."
        case "context_retracted":
            return f"{name} was taken back before the handoff {between}, so it is not rebuilt."
        case "never_captured":
            return (
                f"{name} is required by {to.receiver}, and no tool of the task ever captured it "
                f"under a name that the contract gives ({_names(finding)})."
            )
        case "untranslatable":
            return (
                f"{name} arrived from {sender.stage} in a term that the contract does not "
                f"translate for {to.receiver}; it is passed on as sent."
            )
        case _:
            return (
                f"{name} arrived from {sender.stage} in another shape than {to.receiver} "
                "asks for; it is passed on as sent."
            )


def _names(finding: Finding) -> str:
    paths = finding.field.paths if finding.field is not None else ()
    return ", ".join(path.name for path in paths) or finding.name


def _had(finding: Finding) -> str:
    capture = finding.capture
    if capture is None:
        return "nothing is known of its origin"
    return f"{capture.tool} had it at stage {capture.stage}"


def _outcome(finding: Finding) -> str:
    if finding.rebuilt:
        return ", and it was rebuilt from there"
    refusal = _REFUSALS[finding.refusal or "not_allowed"]
    return f", but it was not rebuilt: {refusal.format(candidates=finding.candidates)}"


def about_handoff(
    broken: Broken, sender: From, to: To, request: HandoffRequest, workflow: str
) -> str:
    """One sentence about a violation of the handoff as a whole."""
    asked = request.to
    match broken.kind, broken.reason:
        case "receiver_mismatch", _ if asked != to.receiver:
            return (
                f"{sender.stage} handed off to {asked}, but the contract's receiver is "
                f"{to.receiver}; {to.receiver} gets it."
            )
        case "receiver_mismatch", _:
            return (
                f"{sender.stage} handed off to {asked}, and none of the contracts for that stage "
                "goes there."
            )
        case "contract_missing", "not_active":
            return (
                f"The handoff from {sender.stage} to {asked} names the contract "
                f"{request.contract}, which is not active; apply it, or name another."
            )
        case "contract_missing", _:
            return (
                f"No active contract covers handoffs from {sender.stage} to {asked} in the "
                f"workflow {workflow}; write one so that what they must carry is known."
            )
        case "receiver_missing", "unregistered":
            return f"{to.receiver} is not registered, so nobody receives this handoff; register it."
        case "receiver_missing", "retired":
            return f"{to.receiver} is retired, so nobody receives this handoff; name a successor."
        case "receiver_missing", _:
            return (
                f"The queue topic of {to.receiver} does not exist, so nobody receives this "
                "handoff; run 'handoff topics apply'."
            )
        case _:
            return f"No owner of {to.receiver} is in force, so nobody owns the next step; name one."


def signal_sentence(to: To, judged: Judged, holding: list[str]) -> str:
    """What the originating team is told about its handoff; `holding` are the kinds that hold it.

    Only what broke a promise is counted: an optional field may be left out without a word.
    """
    missing = sum(finding.value is None for finding in judged.broken)
    odd = sum(finding.how == "as_sent" for finding in judged.broken)
    parts = [f"{judged.rebuilt} rebuilt"] if judged.rebuilt else []
    parts += [f"{missing} missing"] if missing else []
    parts += [f"{odd} not as asked"] if odd else []
    context = f" (fields: {', '.join(parts)})" if parts else ""
    if holding:
        return (
            f"Your handoff to {to.receiver} is held and did not reach them, because of "
            f"{' and '.join(holding)}{context}; mend that and hand off again."
        )
    # Nobody has confirmed anything yet: it was sent, and whether it was read is another matter.
    owner = f", owner {to.owner}" if to.owner else ""
    return f"Your handoff was sent to {to.receiver}{owner}{context}."
