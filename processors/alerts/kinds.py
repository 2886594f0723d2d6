"""What each kind of cause means to a person: in a few words, what to look at, and what to do.

Alerts, the console and the runbook in `docs/alerts.md` say it from here.
"""

from typing import Final, NamedTuple


class Kind(NamedTuple):
    """`title` may have `{field}` or `{receiver}` in it. The others are sentences with commands in
    backticks; `TASK` there stands for a task that it happened to. `look` goes on from "Look at"."""

    title: str
    means: str
    look: str
    do: str


def title(kind: str, field: str | None = None, receiver: str | None = None) -> str:
    """What is broken, in a few words; of a kind that is not known, its name."""
    known = KINDS.get(kind)
    text = kind.replace("_", " ") if known is None else known.title
    text = text[:1].upper() + text[1:]  # the name of a field stays as it is
    # Only what the table says is filled in: a name may have braces, too.
    what, between, rest = text.partition("{field}")
    if between:
        some = "of a contract" if kind == "rule_failed" else "a field" if what else "A field"
        return what + (field or some) + rest
    what, between, rest = text.partition("{receiver}")
    return what + ((receiver or "a receiver") if between else "") + rest


KINDS: Final[dict[str, Kind]] = {
    "context_dropped": Kind(
        "{field} is dropped",
        "A required field does not arrive; an earlier stage had it.",
        "`handoff show TASK`: which stage had it last. The tool that hands off leaves it out.",
        "have the sender pass it on. Until then packages carry it where it could be rebuilt.",
    ),
    "context_empty": Kind(
        "{field} is sent empty",
        "A required field arrives empty.",
        "`handoff show TASK`, the sender's last change.",
        "have the sender fill it, or leave the field out so that it is rebuilt.",
    ),
    "context_unstructured": Kind(
        "{field} arrives only as words in another value",
        "A value arrives only as words inside another one.",
        "`handoff show TASK`: `found_in` names the field.",
        "have the sender send it as a field of its own.",
    ),
    "context_malformed": Kind(
        "{field} arrives in another shape than asked for",
        "A field has another shape than the contract asks for.",
        "the contract's `type` or `schema`, and the sender's format.",
        "change the sender, or a new version of the contract.",
    ),
    "context_shortened": Kind(
        "{field} arrives cut",
        "A value arrives cut.",
        "a limit of the tool that hands off.",
        "raise the limit, or pass a reference.",
    ),
    "context_changed": Kind(
        "{field} changes on its way",
        "A field that the contract calls stable changed on its way.",
        "`handoff show TASK`: where it changed.",
        "have the stage that changes it stop, or drop `stable`.",
    ),
    "context_retracted": Kind(
        "{field} is taken back before the handoff",
        "A field was taken back before the handoff.",
        "who retracted it, in `handoff show TASK`.",
        "ask that team; make the field optional where this is right.",
    ),
    "context_reentered": Kind(
        "{field} is typed again",
        "People type again what the system knew.",
        "the receiver's form, and what its package carries.",
        "have the receiver read the package.",
    ),
    "never_captured": Kind(
        "no tool captures {field}",
        "No tool ever captures the field.",
        "whether any stage can know it.",
        "capture it, or make it optional.",
    ),
    "untranslatable": Kind(
        "{field} arrives in an unknown term",
        "A term arrives that the contract does not translate.",
        "the contract's `translate`.",
        "add the term in a new version.",
    ),
    "rule_failed": Kind(
        "the rule {field} fails",
        "A rule of the contract does not hold.",
        "the rule's message, `handoff show TASK`.",
        "mend what it says.",
    ),
    "receiver_missing": Kind(
        "handoffs go to {receiver}, which nobody receives",
        "Handoffs go to a receiver that nobody registered. They are held.",
        "`handoff held list`, `handoff receivers list`.",
        "register the receiver, or redirect: `handoff amend ID --to RECEIVER`.",
    ),
    "receiver_silent": Kind(
        "handoffs go to {receiver}, which has not been there",
        "Nobody reads a receiver's queue.",
        "the receiver's consumer group.",
        "start its consumer.",
    ),
    "owner_missing": Kind(
        "handoffs go to {receiver}, which has no owner in force",
        "A receiver has no owner in force. Handoffs are held.",
        "`handoff receivers list`: when the last one left.",
        "name an owner; what is held goes out by itself.",
    ),
    "source_silent": Kind(
        "a source is not read",
        "A source is not read, so nobody knows whether handoffs were answered.",
        "`handoff sources list`, `handoff doctor`.",
        "start intake, or mend its rights.",
    ),
    "contract_missing": Kind(
        "handoffs are made without a contract",
        "Handoffs are made without a contract.",
        "`handoff discover`, which drafts one.",
        "register it.",
    ),
    "handoff_missing": Kind(
        "tasks move on and nobody declares the handoff",
        "Tasks move on and nobody declares the handoff.",
        "`handoff edges`.",
        "have the sender declare it.",
    ),
    "receiver_mismatch": Kind(
        "handoffs name another receiver than the contract",
        "Handoffs name another receiver than the contract.",
        "the contract's `to`.",
        "correct the sender or the contract.",
    ),
    "not_accepted": Kind(
        "handoffs to {receiver} are not accepted in time",
        "A receiver does not take work on in time.",
        "its owner, its queue's lag.",
        "ask the owner; raise `accept_within` where it is too short.",
    ),
    "not_completed": Kind(
        "handoffs to {receiver} are not completed in time",
        "Work is taken on and not completed in time.",
        "the oldest of the sample tasks.",
        "ask the owner.",
    ),
    "rejected": Kind(
        "handoffs to {receiver} are rejected",
        "A receiver rejects handoffs.",
        "the reason in `handoff show TASK`.",
        "mend what it asks for.",
    ),
    "held": Kind(
        "a handoff to {receiver} is held",
        "One handoff is held, and a route asks for each.",
        "`handoff held show ID`.",
        "amend, release or discard it.",
    ),
    "held_too_long": Kind(
        "held handoffs are not released",
        "Held handoffs wait for longer than `release_within`.",
        "`handoff held list`.",
        "amend, release or discard them.",
    ),
    "handoff_loop": Kind(
        "tasks go back and forth",
        "Tasks go back and forth between two stages.",
        "`handoff show TASK`: what is missing each time.",
        "agree who does it, and put it into the contract.",
    ),
    "unknown_handoff": Kind(
        "answers come to handoffs that are not open",
        "Answers come to handoffs that are not open.",
        "who writes the acks.",
        "correct the ids there.",
    ),
    "undocumented_handoff": Kind(
        "tasks move on and no contract tells what they carry",
        "Tasks move on where no contract tells what they carry.",
        "`handoff discover`.",
        "register the draft.",
    ),
    "repeat": Kind(
        "the same handoff is made again and again",
        "The same handoff is made again and again.",
        "`handoff tail patterns`: its values stand only there.",
        "find the cause behind it.",
    ),
    "link_refused": Kind(
        "links between tasks are refused",
        "Links between tasks are refused.",
        "`handoff show TASK`.",
        "correct the tool that links them.",
    ),
}
