"""The life of a handoff as a table: what can happen to it, in which states, and what follows.

The integrity core moves handoffs on by it, `handoff show` tells their state by it, and
docs/contracts.md prints it. *Stalled* is no state but a mark: a deadline has passed.
"""

from typing import Final, Literal

from msgspec import Struct

from schemas.records import SignalKind, ViolationKind

OpenState = Literal["held", "sent", "accepted"]
ClosedState = Literal["completed", "returned", "rejected", "superseded", "discarded", "expired"]
State = OpenState | ClosedState

OPEN: Final[tuple[OpenState, ...]] = ("held", "sent", "accepted")
_SENT: Final[tuple[OpenState, ...]] = ("sent", "accepted")


class Transition(Struct, frozen=True):
    """One row: in the states `before` (none: it is new), `what` may happen, and then it `becomes`.

    `after` is the state that follows, None where it stays as it is. `signal` is what the sender's
    team is told, `violation` the promise that is broken.
    """

    before: tuple[OpenState, ...]
    what: str
    becomes: str
    after: State | None = None
    signal: SignalKind | None = None
    violation: ViolationKind | None = None


TransitionName = Literal[
    "sent",
    "held",
    "mended",
    "released",
    "discarded",
    "release_missed",
    "accepted",
    "accept_missed",
    "completed",
    "complete_missed",
    "returned",
    "rejected",
    "filled",
    "reassigned",
    "receiver_gone",
    "superseded",
    "expired",
]

TRANSITIONS: Final[dict[TransitionName, Transition]] = {
    "sent": Transition((), "judged, and nothing holds it", "sent", "sent", "sent"),
    "held": Transition((), "judged, and a kind in `hold_on` holds it", "held", "held", "held"),
    "mended": Transition(
        ("held",),
        "a missing value is amended, or captured by a tool; the receiver or an owner appears; "
        "a new version of the contract",
        "judged again: sent, where nothing holds it any more",
        "sent",
        "released",
    ),
    "released": Transition(
        ("held",),
        "a person releases it, with a reason",
        "sent as it is; the package is `overridden`",
        "sent",
        "released",
    ),
    "discarded": Transition(("held",), "a person discards it", "closed", "discarded", "discarded"),
    "release_missed": Transition(
        before=("held",),
        what="`release_within` passes",
        becomes="a broken promise: `held_too_long`",
        after=None,
        signal="stalled",
        violation="held_too_long",
    ),
    "accepted": Transition(
        ("sent",),
        "an ack, or an output at `to.stage` as `accept` says",
        "accepted; closed where there is no `complete_within`",
        "accepted",
        "accepted",
    ),
    "accept_missed": Transition(
        before=("sent",),
        what="`accept_within` passes",
        becomes="a broken promise: `not_accepted`",
        after=None,
        signal="stalled",
        violation="not_accepted",
    ),
    "completed": Transition(
        _SENT, "an ack, or a handoff that leaves `to.stage`", "closed", "completed", "completed"
    ),
    "complete_missed": Transition(
        before=_SENT,
        what="`complete_within` passes",
        becomes="a broken promise: `not_completed`",
        after=None,
        signal="stalled",
        violation="not_completed",
    ),
    "returned": Transition(
        ("accepted",),
        "the task is at the sender's stage again, and nobody handed it back",
        "closed",
        "returned",
        "returned",
    ),
    "rejected": Transition(
        before=_SENT,
        what="an ack rejects it, with a reason",
        becomes="closed; `rejected` stays open until it is sent again",
        after="rejected",
        signal="rejected",
        violation="rejected",
    ),
    "filled": Transition(
        _SENT,
        "a missing value is amended, or captured at another stage",
        "the next `revision` of the package: `amended`, `late`",
    ),
    "reassigned": Transition(
        _SENT,
        "another owner comes into force",
        "the next `revision`, to that owner",
        signal="reassigned",
    ),
    "receiver_gone": Transition(
        _SENT,
        "the receiver is retired, or has no owner any more",
        "`receiver_missing`, `owner_missing`",
    ),
    "superseded": Transition(
        OPEN,
        "handed off again",
        "closed; the new one takes its place, and its acks",
        "superseded",
        "superseded",
    ),
    "expired": Transition(OPEN, "30 days", "closed", "expired", "expired"),
}

# The kinds of signals that name a state: the state that follows.
AFTER: Final[dict[SignalKind, State]] = {
    each.signal: each.after for each in TRANSITIONS.values() if each.signal and each.after
}
