"""What an ack or amendment came to: found in what the processor published after it. Pure.

`SentCommand` is the record that a person wrote. `answer` looks at one published record at a time
and says whether it is the answer: that of another who asks the same of the same handoff is not. A
signal is about the task at the very time of what was asked (an ack may follow a successor), a
package holds the values that were set.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import msgspec

from console.hops import absence
from schemas import serde
from schemas.flow import Record
from schemas.records import Ack, Amendment, Package, Signal, Violation
from schemas.unreadable import UNREADABLE

# applied: it took effect. held: values were set, and it is still held. refused: a violation or a
# dead letter says why not. unchanged: judged, and nothing followed. unseen: not judged in time.
# written: nobody waited.
Kind = Literal["applied", "held", "refused", "unchanged", "unseen", "written"]
# The signals that answer what was asked.
_SIGNALS: dict[str, tuple[str, ...]] = {
    "accepted": ("accepted", "completed"),
    "completed": ("completed",),
    "rejected": ("rejected",),
    "redirect": ("released",),
    "set": (),  # its answer is the next revision of the package
    "release": ("released",),
    "discard": ("discarded",),
}

_package = msgspec.json.Decoder(Package).decode
_violation = msgspec.json.Decoder(Violation).decode
_signal = msgspec.json.Decoder(Signal).decode


@dataclass(frozen=True)
class SentCommand:
    """An ack or amendment, and where it lies: canonical topic, partition, offset."""

    body: Ack | Amendment
    topic: str
    partition: int
    offset: int

    @property
    def wish(self) -> str:
        """The status of an ack, the action of an amendment."""
        return self.body.status if isinstance(self.body, Ack) else self.body.action


@dataclass(frozen=True)
class CommandResult:
    """What it came to, in a word and a sentence; `package` where one was published for it."""

    kind: Kind
    message: str
    package: Package | None = None


def answer(asked: SentCommand, record: Record) -> CommandResult | None:
    """What `record` says of what was asked; None when it is about something else."""
    if record.topic == serde.DEAD_LETTERS:
        return _dead_letter(asked, record)
    if record.value is None:  # no longer held: the package or the signal says why
        return None
    try:
        if record.topic == "handoff.violations":
            return _refusal(asked, _violation(record.value))
        if record.topic == "handoff.signals":
            return _told(asked, _signal(record.value))
        return _published(asked, _package(record.value))
    except UNREADABLE:  # a newer version's, or not ours
        return None


def _dead_letter(asked: SentCommand, record: Record) -> CommandResult | None:
    try:
        letter = serde.read_dead_letter(record)
    except ValueError:
        return None
    place = (letter.topic, letter.partition, letter.offset)
    if place != (asked.topic, asked.partition, asked.offset):
        return None
    handle = f"{record.partition}/{record.offset}"
    return CommandResult(
        "refused",
        f"it became a dead letter ({letter.exception}): {letter.message}; "
        f"the whole of it: handoff dead-letters show {handle}",
    )


def _refusal(asked: SentCommand, found: Violation) -> CommandResult | None:
    if found.kind != "unknown_handoff" or found.event_id != asked.body.id:
        return None
    reason = f", {found.reason}" if found.reason else ""
    return CommandResult("refused", f"{found.message} ({found.kind}{reason})")


def _told(asked: SentCommand, found: Signal) -> CommandResult | None:
    if found.kind not in _SIGNALS[asked.wish] or found.task_id != asked.body.task_id:
        return None
    if not _at(asked, found.occurred_at):
        return None
    late = ", late" if found.late else ""
    return CommandResult("applied", f"{found.kind}{late}: {found.message}")


def _published(asked: SentCommand, found: Package) -> CommandResult | None:
    if found.id != asked.body.handoff_id:
        return None
    if asked.wish == "redirect" and found.disposition == "held":
        return CommandResult("held", f"still held, for {found.to.receiver} now", found)
    if asked.wish != "set":
        return None
    if not any(kept.event_id == asked.body.id for kept in found.provenance.values()):
        return None
    if found.disposition == "held":
        where = f"{found.to.receiver}, revision {found.revision}"
        return CommandResult("held", f"still held for {where}", found)
    return CommandResult("applied", _sent(found), found)


def released(asked: SentCommand, record: Record) -> CommandResult | None:
    """What the package of a released handoff says of it; None for every other record.

    Whose release it was it does not say: that is for the signal.
    """
    if asked.wish != "release" or record.topic != "handoff.packages" or record.value is None:
        return None
    try:
        found = _package(record.value)
    except UNREADABLE:
        return None
    if found.id != asked.body.handoff_id or not found.overridden:
        return None
    return CommandResult("applied", _sent(found), found)


def _sent(found: Package) -> str:
    """Where a package went: a person who sends it by hand has to know when nobody gets it."""
    receiver, owner = found.to.receiver, found.to.owner or "nobody"
    said = f"sent to {receiver}, revision {found.revision}, owner {owner}"
    absent = absence(found)
    if absent is None:
        return said
    said = f"released to no queue, revision {found.revision}: {absent}. It is on handoff.packages "
    if found.to.team is None:
        return said + "alone: look there, or register the receiver (handoff receivers apply PATH)"
    return said + "alone: look there"


def _at(asked: SentCommand, when: datetime) -> bool:
    return serde.epoch_ms(when) == serde.epoch_ms(asked.body.occurred_at)
