"""The sentences that people read. They name fields, stages and tools, and never hold a value."""

from collections.abc import Sequence

from processors.integrity.events import EventRef
from processors.integrity.fields import FieldResult
from processors.integrity.receiver import SPELLING, Broken
from processors.integrity.state import OpenViolation
from schemas.printable import listed
from schemas.records import Ack, Amendment, From, To, ViolationKind

_REFUSALS = {
    "not_allowed": "the contract allows no rebuild",
    "forgotten": "the task has had more than it can remember",
    "not_kept": "the value was too large to keep for a rebuild",
    "too_old": "the capture is older than the contract allows",
    "ambiguous": "the task has held {candidates} different values for it",
    "untranslatable": "the captured value is none of the contract's terms",
    "malformed": "the captured value has not the shape that the contract asks for",
}


def about_field(finding: FieldResult, sender: From, to: To) -> str:
    """One sentence about a field's violation."""
    name = finding.name
    between = f"between {sender.stage} and {to.receiver}"
    match finding.kind:
        case "context_dropped":
            return f"{name} was dropped {between}; {_had(finding)}{_outcome(finding)}."
        case "context_unstructured":
            place = finding.found_in or "a value whose name tells what is classified"
            return (
                f"{name} reached {to.receiver} only as words inside {place}; "
                f"{_had(finding)}{_outcome(finding)}."
            )
        case "context_empty":
            how = "as a placeholder" if finding.refusal == "placeholder" else "empty"
            if finding.held is None:
                return f"{name} was sent {how} {between}, and the task never held a value for it."
            return f"{name} was sent {how} {between}; {_had(finding)}{_outcome(finding)}."
        case "context_retracted":
            return f"{name} was taken back before the handoff {between}, so it is not rebuilt."
        case "never_captured":
            return (
                f"{name} is required by {to.receiver}, and no tool of the task ever captured it "
                f"under a name that the contract gives ({_names(finding)}){_near(finding)}."
            )
        case "context_shortened":
            got, whole = finding.lengths or (0, 0)
            return (
                f"{name} arrived cut {between}, {got:,} of {whole:,} long; "
                f"{_had(finding)}{_outcome(finding)}."
            )
        case "context_changed":
            had = finding.held.ref if finding.held is not None else None
            before = "" if had is None else f"; {had.tool} had another value {_where(had)}"
            return (
                f"{name} changed {between} though the contract calls it stable{before}. It is "
                "passed on as sent."
            )
        case "context_malformed" if finding.rebuilt:
            return (
                f"{name} arrived from {sender.stage} in another shape than {to.receiver} asks for, "
                f"and says what the task holds; {_had(finding)}{_outcome(finding)}."
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


def _names(finding: FieldResult) -> str:
    return listed([path.name for path in finding.field.paths])


def _near(finding: FieldResult) -> str:
    return (
        f"; there is {finding.near}: if that is it, add it to the field's from"
        if finding.near
        else ""
    )


def _had(finding: FieldResult) -> str:
    held = finding.held
    if held is None:
        return "the task may have had it"
    return f"{held.ref.tool} had it {_where(held.ref)}"


def _where(ref: EventRef) -> str:
    return f"at stage {ref.stage}" if ref.stage else "before the task had a stage"


def _outcome(finding: FieldResult) -> str:
    if finding.rebuilt:
        return f", and it was rebuilt from there{_passed_over(finding.passed_over)}"
    refusal = _REFUSALS[finding.refusal or "not_allowed"]
    return f", but it was not rebuilt: {refusal.format(candidates=finding.candidates)}"


def _passed_over(later: int) -> str:
    if not later:
        return ""
    return "; a later value did not fit" if later == 1 else f"; {later} later values did not fit"


def about_handoff(
    broken: Broken,
    sender: From,
    to: To,
    asked: str,
    named: str | None,
    workflow: str,
    others: Sequence[str] = (),
) -> str:
    """One sentence about a violation of the handoff as a whole; `asked` and `named` are the
    receiver and the contract that the sender named, `others` whom else it may mean."""
    match broken.kind, broken.reason:
        case "receiver_mismatch", "spelling":
            return (
                f"{sender.stage} handed off to {asked}, which is no receiver's id; {to.receiver} "
                "is meant, and gets it."
            )
        case "receiver_mismatch", _ if asked != to.receiver:
            return (
                f"{sender.stage} handed off to {asked}, but the contract's receiver is "
                f"{to.receiver}; {to.receiver} gets it."
            )
        case "receiver_mismatch", _:
            return (
                f"{sender.stage} handed off to {asked}, and none of the contracts for that stage "
                "goes there; write one, or hand off to a receiver that has one."
            )
        case "contract_missing", "not_active":
            return (
                f"The handoff from {sender.stage} to {asked} names the contract "
                f"{named}, which is not active; apply it, or name another."
            )
        case "contract_missing", _:
            return (
                f"No active contract covers handoffs from {sender.stage} to {asked} in the "
                f"workflow {workflow}; write one so that what they must carry is known."
            )
        case "receiver_missing", "unregistered":
            return (
                f"{to.receiver} is not registered, so nobody receives this handoff; register it"
                f"{_or_redirect(others)}."
            )
        case "receiver_missing", "retired":
            return f"{to.receiver} is retired, so nobody receives this handoff; name a successor."
        case "receiver_missing", _:
            return (
                f"The queue topic of {to.receiver} does not exist, so nobody receives this "
                "handoff; run 'handoff topics apply'."
            )
        case "receiver_silent", _:
            return (
                f"Nobody reads for {to.receiver}: its consumer group has had no member for longer "
                "than it may; start it, or name another receiver."
            )
        case _:
            return f"No owner of {to.receiver} is in force, so nobody owns the next step; name one."


def _or_redirect(others: Sequence[str]) -> str:
    if not others:
        return ""
    return f", or send it on with 'amend --to': {listed(others)}"


def about_rule(name: str, message: str, reason: str | None) -> str:
    """One sentence about a rule of the contract; `message` is the contract's own."""
    if reason is None:
        return f"The rule {name} does not hold: {message.rstrip('.')}."
    return f"The rule {name} could not be evaluated ({reason}): {message.rstrip('.')}."


def nobody_declared(sender: From, stage: str, receiver: str) -> str:
    """One sentence about a move that the contract covers and nobody declared."""
    return (
        f"The task went from {sender.stage} to {stage} and nobody declared a handoff to "
        f"{receiver}; what the first output there carried was judged in its place."
    )


def missed(kind: ViolationKind, to: To) -> str:
    """One sentence about a deadline that passed."""
    match kind:
        case "not_accepted":
            return f"{to.receiver} has not accepted the handoff in time{_ask(to)}."
        case "not_completed":
            return f"{to.receiver} has not completed the handoff in time{_ask(to)}."
        case _:
            return (
                f"The handoff to {to.receiver} is still held, and nobody released it in time; "
                "amend, release or discard it."
            )


def source_silent(source: str, to: To) -> str:
    """One sentence about a source that may tell of an acceptance, and was not read."""
    return (
        f"The source {source} has not been read for longer than it may, so nobody knows whether "
        f"{to.receiver} has answered in time; look whether intake runs and can read its topics."
    )


def looped(sender: From, to: To, returns: int) -> str:
    """One sentence about a task that goes back and forth."""
    return (
        f"The task goes back and forth between {sender.stage} and {to.stage}: this is return "
        f"number {returns}; decide who is to do it."
    )


def _ask(to: To) -> str:
    return f"; ask {to.owner}" if to.owner else ""


_WHAT: dict[ViolationKind, str] = {
    "context_reentered": "was typed again although the task had it",
    "context_retracted": "was taken back before",
    "never_captured": "was never captured before",
    "context_dropped": "was dropped",
    "context_empty": "was sent empty",
    "context_unstructured": "arrived only in words",
    "context_shortened": "was cut on its way",
    "context_changed": "changed on its way",
    "context_malformed": "had a wrong shape",
    "untranslatable": "was in a term that the contract does not translate",
}
_WHOLE: dict[ViolationKind, str] = {
    "receiver_mismatch": "The handoff named another receiver than its contract",
    "receiver_missing": "Nobody received",
    "receiver_silent": "Nobody read",
    "source_silent": "A source was silent",
    "owner_missing": "Nobody owned the next step",
    "contract_missing": "No contract covered the handoff",
    "handoff_missing": "Nobody declared the handoff",
    "not_accepted": "The handoff was not accepted in time",
    "not_completed": "The handoff was not completed in time",
    "rejected": "The handoff was rejected",
    "held_too_long": "The handoff was held too long",
    "handoff_loop": "The task went back and forth",
}
_RESOLUTIONS = {
    "accepted": "it is accepted now",
    "completed": "the handoff is completed",
    "never_reached": "the handoff was completed without it",
    "rejected": "the handoff was rejected",
    "discarded": "the handoff was discarded",
    "superseded": "a newer handoff took its place",
    "expired": "nobody asked for it any more",
    "sent_again": "it was sent again",
    "released": "it is released now",
    "arrived_late": "the task has learnt it since",
    "amended": "a person has set it since",
    "owner_named": "an owner is in force now",
    "receiver_there": "the receiver is there now",
    "source_there": "the source is read again",
    "judged_again": "it was judged again, and this is no longer so",
}


def resolved(violation: OpenViolation, to: To, resolution: str) -> str:
    """One sentence about the end of a violation."""
    end = _RESOLUTIONS[resolution]
    if violation.kind == "rule_failed":
        return f"The rule {violation.subject} did not hold for {to.receiver}; {end}."
    if violation.subject is not None:
        return f"{violation.subject} {_WHAT[violation.kind]} for {to.receiver}; {end}."
    what = _WHOLE[violation.kind]
    if (violation.kind, violation.reason) == ("receiver_mismatch", SPELLING):
        what = "The receiver's name was only spelled otherwise"
    return f"{what} ({to.receiver}); {end}."


def reentered(name: str, ref: EventRef, to: To) -> str:
    """One sentence about a value that was captured again where the handoff went."""
    return (
        f"{name} was captured again at {to.stage}, with the value that {ref.tool} had "
        f"{_where(ref)}: no handoff carried it there."
    )


def unknown(said: Ack | Amendment, reason: str) -> str:
    """One sentence about an ack or amendment that meets no open handoff of its task."""
    what = f"The ack {said.status}" if isinstance(said, Ack) else f"The amendment {said.action}"
    why = {
        "closed": "that handoff is closed",
        "held": "that handoff is held, and its receiver cannot have it",
        "never_seen": "this task never had that handoff; check its id, the task and the workflow",
        "sent": "that handoff is not held",
        "revised": "it was written for another revision than the newest of that handoff; look at "
        "it again, and say it for that one",
        "none_open": "it names no handoff, and the task has none open that it may mean",
        "several_open": "it names no handoff, and the task has several open that it may mean; give "
        "the receiver, or the handoff_id",
    }
    return f"{what} changes nothing: {why[reason]}."


def link_refused(workflow: str, task_id: str, why: str) -> str:
    """One sentence about another task that a task is not linked with."""
    because = {
        "itself": "it is that task itself",
        "cycle": "that task continues this one, and no task continues itself",
        "too_many": "it continues 16 tasks already, and no more are kept",
        "full": "256 tasks continue that one already, and no more are kept",
    }
    return (
        f"The task is not linked with {task_id} of the workflow {workflow}: {because[why]}; "
        "correct the task_id, or take back one of the links (unlinked)."
    )


# --- signals ------------------------------------------------------------------------------------


def begun(to: To, holding: Sequence[str], rebuilt: int, lost: int, odd: int) -> str:
    """What the originating team is told of its handoff: what is `holding` it, and how many of its
    fields were rebuilt, are missing, or are not as asked.

    Only what broke a promise is counted: an optional field may be left out without a word.
    """
    parts = [f"{rebuilt} rebuilt"] if rebuilt else []
    parts += [f"{lost} missing"] if lost else []
    parts += [f"{odd} not as asked"] if odd else []
    context = f" (fields: {', '.join(parts)})" if parts else ""
    if holding:
        return (
            f"Your handoff to {to.receiver} is held and did not reach them, because of "
            f"{' and '.join(holding)}{context}; amend it, release it, or mend the cause."
        )
    # Nobody has confirmed anything yet: it was sent, and whether it was read is another matter.
    owner = f", owner {to.owner}" if to.owner else ""
    return f"Your handoff was sent to {to.receiver}{owner}{context}."


def accepted(to: To, how: str) -> str:
    """The receiver took it; `how` says by what."""
    return f"{to.receiver} accepted your handoff ({how})."


def completed(to: To, how: str) -> str:
    """The receiver is done with it."""
    return f"{to.receiver} completed your handoff ({how})."


def returned(to: To) -> str:
    """The task came back without a handoff."""
    return f"The task came back from {to.receiver} without a handoff; yours counts as completed."


def ended(to: To, how: str) -> str:
    """An implicit one that was completed, or came back, within its grace."""
    return returned(to) if how == "returned" else f"{to.receiver} completed your handoff."


def rejected(to: To) -> str:
    """The receiver refused it; its reason is in the ack."""
    return f"{to.receiver} rejected the handoff; the ack says why. Mend it and hand off again."


def released(to: To, override: bool, absent: bool, before: str | None) -> str:
    """A held one was sent; `absent`: its receiver is missing, so no queue has it. `before` is the
    receiver that it was held for, where that was another one."""
    if absent:
        return (
            f"Your handoff was released, but no queue of {to.receiver} has it, as the "
            "receiver is missing; register it, or look on handoff.packages."
        )
    if before is not None:
        return f"Your handoff was released and sent to {to.receiver}, and no longer to {before}."
    why = "a person released it as it is" if override else "what held it is mended"
    return f"Your handoff was released and sent to {to.receiver}: {why}."


def discarded(to: To) -> str:
    """A held one will never reach its receiver."""
    return f"Your held handoff to {to.receiver} was discarded; nobody will get it."


def superseded(to: To) -> str:
    """A newer one of the same kind took its place."""
    return f"Your handoff to {to.receiver} was superseded by a newer one."


def duplicate(to: To) -> str:
    """The same one came again, after it was accepted."""
    return f"{to.receiver} has this handoff already, so it was not handed off again."


def expired(to: To) -> str:
    """Nobody closed it."""
    return f"Your handoff to {to.receiver} expired: nobody closed it in all that time."


def reassigned(to: To) -> str:
    """Another person owns it now."""
    return f"Your handoff to {to.receiver} has another owner now: {to.owner}."
