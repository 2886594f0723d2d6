"""What becomes of a task, told as what is to be said of it, and when.

It is acknowledged or not, in time or late, once or twice; rejected, sent again; held and mended,
released or discarded; filled by what a tool finds out later; and spoken of by those who should not.
"""

import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

OUTPUTS = "handoff.tool-outputs"
ACKS = "handoff.acks"
AMENDMENTS = "handoff.amendments"
ARCHIVE = "archive"  # the stage at which something is captured late: nobody's receiver
RELEASE_WITHIN_MS = 4_000  # as the contract of the held ones says

DOCUMENTS = """\
kind: HandoffContract
id: check-to-settle
version: 1
owner: {name: Mira Holt, contact: mira@kasse.example}
action: Settle the claim.
workflow: claim
from: {team: claims, stage: check}
to: {receiver: settlers, stage: settle}
fields:
  - {name: policy, type: string}
  - {name: photo, type: string}
  - {name: meter, type: integer}
accept: explicit
accept_within: P1D
complete_within: P2D
---
kind: HandoffContract
id: triage-to-crew
version: 1
owner: {name: Mira Holt, contact: mira@kasse.example}
action: Drive there.
workflow: claim
from: {team: claims, stage: triage}
to: {receiver: crew, stage: visit}
fields:
  - {name: policy, type: string}
accept: explicit
accept_within: PT3S
complete_within: PT6S
---
kind: HandoffContract
id: review-to-partner
version: 1
owner: {name: Mira Holt, contact: mira@kasse.example}
action: Take the claim over.
workflow: claim
from: {team: claims, stage: review}
to: {receiver: partner, stage: take}
fields:
  - {name: policy, type: string}
  - {name: photo, type: string}
  - {name: stamp, type: string}
hold_on: [never_captured]
release_within: PT4S
accept: explicit
accept_within: P1D
complete_within: P2D
---
kind: Receiver
id: settlers
team: settlement
owners: [{name: Ede Roth, contact: ede@kasse.example}]
queue: QUEUE
---
kind: Receiver
id: crew
team: field
owners: [{name: Ada Blum, contact: ada@kasse.example}]
---
kind: Receiver
id: partner
team: partners
owners: [{name: Jo Kern, contact: jo@kasse.example}]
"""


class Step(NamedTuple):
    """Something to be said `wait` seconds after all of `after` was heard of the task, `times`
    times. `which` of the task's handoffs it is about: the first, the last, or nobody's."""

    after: str
    wait: float
    topic: str
    body: dict[str, Any]
    which: str = "last"
    times: int = 1
    elsewhere: bool = False  # said of a task that there is not


def _output(
    after: str, wait: float, stage: str, context: dict[str, Any], to: str | None = None
) -> Step:
    body = {"stage": stage, "tool": f"{stage}-tool", "team": "claims", "context": context}
    if to is not None:
        body["handoff"] = {"to": to}
    return Step(after, wait, OUTPUTS, body)


def _ack(
    after: str,
    wait: float,
    status: str,
    reason: str | None = None,
    which: str = "last",
    times: int = 1,
    elsewhere: bool = False,
) -> Step:
    body = {"status": status, "by": "receiver", "reason": reason}
    return Step(after, wait, ACKS, body, which, times, elsewhere)


def _amend(
    after: str,
    wait: float,
    action: str,
    fields: dict[str, Any] | None = None,
    reason: str | None = None,
    which: str = "last",
    times: int = 1,
) -> Step:
    body = {"action": action, "by": "person", "reason": reason, "fields": fields or {}}
    return Step(after, wait, AMENDMENTS, body, which, times)


def _photo(pick: random.Random) -> dict[str, Any]:
    return {"photo": f"img/{pick.randrange(10**6)}.jpg"}


def _begun(pick: random.Random, stage: str, to: str, *lacks: str) -> Iterator[Step]:
    """A capture, and then a handoff that lacks fields."""
    policy = {"policy": f"P-{pick.randrange(10**6)}"}
    whole = policy | _photo(pick) | {"meter": pick.randrange(10**6), "stamp": "dry"}
    yield _output("", 0, "register", policy)
    sent = {name: value for name, value in whole.items() if name not in lacks}
    yield _output("", pick.uniform(0.05, 1), stage, sent, to)


def _closed(pick: random.Random, after: str) -> Iterator[Step]:
    """Accepted, and then completed; some say it twice, and some go on talking."""
    yield _ack(after, pick.uniform(0, 2), "accepted", times=pick.choice((1, 1, 2)))
    if pick.random() < 0.3:
        yield _ack("accepted", pick.uniform(0, 2), "accepted")
    yield _ack("accepted", pick.uniform(0, 2), "completed", times=pick.choice((1, 1, 2)))
    if pick.random() < 0.2:
        yield _ack("completed", pick.uniform(0, 1), "completed")
    if pick.random() < 0.2:
        yield _ack("completed", pick.uniform(0, 1), "rejected", "too late for that")
    if pick.random() < 0.2:
        yield _amend("completed", pick.uniform(0, 1), "discard")


def _plain(pick: random.Random) -> Iterator[Step]:
    yield from _begun(pick, "check", "settlers")
    yield from _closed(pick, "sent")


def _left_open(pick: random.Random) -> Iterator[Step]:
    yield from _begun(pick, "check", "settlers", *pick.choice(((), ("photo",))))
    if pick.random() < 0.5:
        yield _ack("sent", pick.uniform(0, 2), "accepted")


def _rejected(pick: random.Random) -> Iterator[Step]:
    yield from _begun(pick, "check", "settlers")
    yield _ack("sent", pick.uniform(0, 2), "rejected", "not ours", times=pick.choice((1, 2)))
    if pick.random() < 0.5:
        again = _photo(pick) | {"policy": "P-1", "meter": 1}
        yield _output("rejected", pick.uniform(0, 1), "check", again, "settlers")
        yield from _closed(pick, "rejected begun-2")


def _stalled(pick: random.Random) -> Iterator[Step]:
    """Acknowledged only when it has stalled."""
    yield from _begun(pick, "triage", "crew")
    yield from _closed(pick, "stalled")


def _unfinished(pick: random.Random) -> Iterator[Step]:
    yield from _begun(pick, "triage", "crew")
    yield _ack("sent", 0, "accepted")
    yield _ack("accepted stalled", pick.uniform(0, 1), "completed")


def _at_the_deadline(pick: random.Random) -> Iterator[Step]:
    yield from _begun(pick, "triage", "crew")
    yield _ack("sent", pick.uniform(2.5, 3.5), "accepted")
    yield _ack("sent", pick.uniform(5.5, 6.5), "completed")


def _forgotten(pick: random.Random) -> Iterator[Step]:
    yield from _begun(pick, "triage", "crew")
    yield _ack("stalled-2", 0, "accepted", which="nobody")  # so that both are waited for


def _mended(pick: random.Random) -> Iterator[Step]:
    yield from _begun(pick, "review", "partner", "stamp")
    times = pick.choice((1, 2))
    if pick.random() < 0.5:
        yield _amend("stalled", pick.uniform(0, 1), "set", {"stamp": "wet"}, "I asked", times=times)
    else:
        yield _amend("held", pick.uniform(0, 5), "set", {"stamp": "wet"}, "I asked", times=times)
    yield from _closed(pick, "released")


def _overridden(pick: random.Random) -> Iterator[Step]:
    yield from _begun(pick, "review", "partner", "stamp")
    yield _amend("held", pick.uniform(0, 5), "release", reason="they know", times=2)
    yield from _closed(pick, "released")


def _discarded(pick: random.Random) -> Iterator[Step]:
    yield from _begun(pick, "review", "partner", "stamp")
    yield _amend("held", pick.uniform(0, 5), "discard", times=pick.choice((1, 2)))


def _held(pick: random.Random) -> Iterator[Step]:
    yield from _begun(pick, "review", "partner", "stamp")
    yield _ack("stalled", pick.uniform(0, 2), "accepted")  # nobody has it


def _filled(pick: random.Random) -> Iterator[Step]:
    """A sent one gets one field from a tool, and one from a person."""
    yield from _begun(pick, "check", "settlers", "photo", "meter")
    yield _output("sent", pick.uniform(0, 3), ARCHIVE, _photo(pick))
    yield _amend("sent", pick.uniform(0, 3), "set", {"meter": 7}, "read it", times=2)
    yield _ack("sent", pick.uniform(0, 3), "accepted")
    yield _ack("accepted revision-3", pick.uniform(0, 1), "completed")


def _held_and_filled(pick: random.Random) -> Iterator[Step]:
    """A held one gets one field from a tool, and one from a person; then it is sent."""
    yield from _begun(pick, "review", "partner", "photo", "stamp")
    yield _output("held", pick.uniform(0, 5), ARCHIVE, _photo(pick))
    yield _amend("held", pick.uniform(0, 5), "set", {"stamp": "wet"})
    yield from _closed(pick, "released revision-3")


def _sent_again(pick: random.Random) -> Iterator[Step]:
    """Sent again while somebody accepts the first one."""
    yield from _begun(pick, "check", "settlers")
    again = _photo(pick) | {"policy": "P-1", "meter": 1}
    yield _output("sent", pick.uniform(0, 1.5), "check", again, "settlers")
    yield _ack("sent", pick.uniform(0, 1.5), "accepted", which="first")
    which = pick.choice(("first", "last"))
    yield _ack("accepted begun-2", pick.uniform(0, 1), "completed", which=which)


def _mistaken(pick: random.Random) -> Iterator[Step]:
    """What nobody should say: it is answered, and changes nothing."""
    yield from _begun(pick, "check", "settlers")
    yield _ack("sent", pick.uniform(0, 2), "accepted", which="nobody", times=2)
    yield _ack("sent", pick.uniform(0, 2), "completed", elsewhere=True)
    yield _ack("sent", pick.uniform(0, 2), "rejected")  # without a reason
    yield _amend("sent", pick.uniform(0, 2), "release")  # without one either
    yield _amend("sent", pick.uniform(0, 2), "discard")  # what is not held
    yield _amend("sent", pick.uniform(0, 2), "set", {"policy": "x"}, which="nobody")


TALES: tuple[tuple[Callable[[random.Random], Iterator[Step]], int], ...] = (
    (_plain, 3),
    (_left_open, 2),
    (_rejected, 2),
    (_stalled, 2),
    (_unfinished, 1),
    (_at_the_deadline, 2),
    (_forgotten, 1),
    (_mended, 2),
    (_overridden, 1),
    (_discarded, 1),
    (_held, 1),
    (_filled, 3),
    (_held_and_filled, 2),
    (_sent_again, 2),
    (_mistaken, 1),
)
