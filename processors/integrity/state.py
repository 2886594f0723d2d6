"""What the processor remembers of a task, and how it is written down.

State is MessagePack of arrays: compact, quick to read back, and extended only by appending fields
with defaults, so that an older changelog can always be read. Times are epoch milliseconds.
"""

from collections.abc import Collection
from typing import Literal

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from schemas.records import Begun, How, Origin, Severity, ViolationKind
from schemas.wire import utc

# What nobody needs to set; what a person may want to is in `limits`.
MAX_RETRACTED = 64 << 10  # bytes of retracted names
MAX_CANDIDATES = 16  # distinct values told apart under a name: beyond "several" nobody counts
MAX_BEHIND = 4  # overwritten objects kept behind a newer one
MAX_CLOSED = 64  # last closed handoffs of a task by which an ack is told apart from a stray one
MAX_EVENTS = 256  # last events of a task by which a repeated one is known
MAX_PATH = 128  # last stages of a task by which a loop is known
MAX_EDGES = 64  # edges of a task's handoffs by which its first one over an edge is known


class Capture(Struct, frozen=True, array_like=True, gc=False):
    """The latest value under a name, with its origin.

    `value` is raw JSON, None where it was too large to keep. `hashes` are the digests of the
    distinct values that the task has held under the name; empty while the value at hand is the
    only one. `behind` are overwritten objects that have a member the newer one lacks, newest first.
    `hop` is the last handoff that carried it (0: none did). `alias_of` is the sender's name where
    this is a value as a package put it; such values are no candidates.
    """

    value: bytes | None
    stage: str
    tool: str
    event_id: str
    occurred_at: int
    topic: str
    partition: int
    offset: int
    hop: int = 0
    hashes: tuple[bytes, ...] = ()
    behind: tuple["Capture", ...] = ()
    alias_of: str | None = None

    def origin(self) -> Origin:
        """The origin as it is published."""
        return Origin(
            self.stage,
            self.tool,
            self.event_id,
            utc(self.occurred_at),
            self.topic,
            self.partition,
            self.offset,
        )

    def candidates(self) -> int:
        """How many distinct values the task has held under this name itself."""
        if self.hashes:
            return len(self.hashes)
        return 0 if self.alias_of is not None else 1


class Kept(Struct, frozen=True, array_like=True, gc=False):
    """A value as a package carries it, with its provenance. `by` and `reason`: who amended it."""

    value: bytes
    how: How
    stage: str
    tool: str
    event_id: str
    occurred_at: int
    candidates: int
    by: str | None = None
    reason: str | None = None


class OpenViolation(Struct, frozen=True, array_like=True, gc=False):
    """A violation that is not resolved, as far as its resolution must repeat it.

    `subject` is the field or the rule. `origin` is the lost field's capture, without its value.
    `trial` is the contract whose trial version opened it, None for the contract of the handoff.
    """

    kind: ViolationKind
    subject: str | None
    version: int | None
    severity: Severity
    episode: int
    event_id: str
    occurred_at: int
    detected_at: int
    reason: str | None = None
    origin: Capture | None = None
    candidates: int | None = None
    found_in: str | None = None
    trial: str | None = None

    def id(self, handoff: "OpenHandoff") -> str:
        """Handoff, contract version, kind, and field or rule: the same again after a crash."""
        of = "" if self.trial in (None, handoff.contract) else f"{self.trial}@"
        return f"{handoff.id}:{of}{self.version or 0}:{self.kind}:{self.subject or ''}"


Deadline = Literal["accept", "complete", "release"]
Way = Literal["completed", "rejected", "discarded", "superseded", "expired"]


class OpenHandoff(Struct, frozen=True, array_like=True, gc=False):
    """A handoff that has begun and is not closed. Its slot is (contract, receiver, part).

    The first lines are what it is, then its latest package, then its promises, and last what only
    a held one needs: to be judged again, it keeps what the sender sent (`context`), what stood
    `before` it under each name that was captured since (None: nothing), and what people set.
    Times are epoch milliseconds of the processor's clock but for `occurred_at`; 0 means none.
    """

    id: str
    contract: str | None
    version: int | None
    receiver: str
    part: str | None
    state: Literal["held", "sent", "accepted"]
    hop: int
    occurred_at: int
    event_id: str = ""
    begun: Begun = "declared"
    asked_to: str = ""  # the receiver and the contract that the sender named
    asked_contract: str | None = None
    team: str | None = None
    stage: str = ""
    tool: str = ""
    partition: int = 0  # where its output lies in the topic of tool outputs
    offset: int = 0
    note: str | None = None
    backfill: bool = False
    supersedes: str | None = None

    to_team: str | None = None
    to_stage: str | None = None
    owner: str | None = None
    owner_contact: str | None = None
    revision: int = 1
    values: dict[str, Kept] = {}
    missing: tuple[str, ...] = ()
    fidelity: float | None = None
    completeness: float | None = None
    overridden: bool = False

    violations: tuple[OpenViolation, ...] = ()
    episodes: dict[str, int] = {}  # how often a violation that is resolved now was opened
    signals: int = 0  # how many were sent about it
    begun_at: int = 0
    sent_at: int = 0
    accepted_at: int = 0  # also of a held one that took over from an accepted one
    accept_by: int = 0
    complete_by: int = 0
    release_by: int = 0
    # An implicit one waits so long for the declared one that may be on its way; what has ended it
    # meanwhile is told then.
    close_by: int = 0
    ends: Literal["completed", "returned"] | None = None
    passed: tuple[Deadline, ...] = ()  # the deadlines that were missed

    context: dict[str, bytes] = {}
    before: dict[str, Capture | None] = {}
    amended: dict[str, Kept] = {}
    late: bool = False  # it was accepted late
    told: bool = False  # insights knows that it began: not so in what an older version left

    @property
    def slot(self) -> tuple[str | None, str, str | None]:
        """What can be open only once in a task."""
        return self.contract, self.receiver, self.part

    def waits(self) -> list[tuple[Deadline, int]]:
        """The deadlines that still run."""
        if self.state == "held":
            running: list[tuple[Deadline, int]] = [("release", self.release_by)]
        else:
            running = [("complete", 0 if self.ends else self.complete_by)]
            if self.state == "sent":
                running.append(("accept", self.accept_by))
        return [(name, at) for name, at in running if at and name not in self.passed]


def bare(handoff: OpenHandoff, *left: OpenViolation) -> OpenHandoff:
    """What stays of a closed handoff where more than its id is needed; `left`: still open."""
    return replace(
        handoff,
        note=None,
        values={},
        missing=(),
        violations=left,
        episodes={},
        context={},
        before={},
        amended={},
    )


def size(handoff: OpenHandoff) -> int:
    """An upper bound of a handoff's bytes: a character has at most four."""
    bytes_ = characters = 0
    for values in (handoff.values, handoff.amended):
        for name, kept in values.items():
            bytes_ += len(kept.value) + 32
            characters += len(name) + len(kept.stage) + len(kept.tool) + len(kept.event_id)
            if kept.by is not None:
                characters += len(kept.by) + len(kept.reason or "")
    for name, value in handoff.context.items():
        bytes_ += len(value)
        characters += len(name)
    for name, capture in handoff.before.items():
        characters += len(name)
        bytes_ += 0 if capture is None else weight(capture)
    return bytes_ + 4 * (characters + len(handoff.note or "")) + _told_size(handoff)


def _told_size(handoff: OpenHandoff) -> int:
    """An upper bound of its bytes without what it carries: who, to whom, and what is broken."""
    total = 1000
    for violation in handoff.violations:
        total += 76 + length(violation.event_id)
        for text in (violation.subject, violation.reason, violation.found_in, violation.trial):
            if text is not None:
                total += length(text)
        if violation.origin is not None:
            total += 100 + weight(violation.origin)
    for name in (*handoff.missing, *handoff.episodes):
        total += length(name) + 8
    for text in (
        handoff.event_id,
        handoff.stage,
        handoff.tool,
        handoff.team,
        handoff.part,
        handoff.asked_to,
        handoff.to_team,
        handoff.to_stage,
        handoff.owner,
        handoff.owner_contact,
    ):
        if text is not None:
            total += length(text)
    return total


def weight(capture: Capture) -> int:
    """The bytes that a capture takes, its origin and what stands behind it included."""
    total = length(capture.alias_of) if capture.alias_of else 0
    for held in (capture, *capture.behind):
        total += len(held.value or b"")
        total += length(held.stage) + length(held.tool) + length(held.event_id)
    return total


def length(text: str) -> int:
    """The bytes of a text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


class Closed(Struct, frozen=True, array_like=True, gc=False):
    """A handoff that is closed, and how. An ack to a superseded one counts for its successor.

    `rejected` is the handoff whose violation `rejected` is open until the slot is sent again.
    """

    id: str
    how: Way
    successor: str | None = None
    rejected: OpenHandoff | None = None


class Task(Struct, frozen=True, array_like=True, gc=False):
    """One task. `advance` never changes one: it makes the next.

    `retracted` maps a name to the time of its retraction. `size` is an upper bound of the bytes of
    all captures, and of the open handoffs when they were weighed last. `hops` counts the handoffs
    so far. `events` holds eight bytes for each of the last events. `last_input_at` is processor
    time. `stage`, `tool` and `stage_at` (event time) are those of the latest output, `begun` the
    contracts on which a handoff began since the task came to that stage, `left` whether that output
    itself handed off. `true` are the contracts whose `when` was true last. `arrived` is the last
    handoff that was accepted and is closed.

    What the feed tells of moves goes by the last lines: `handed` and `covered` say whether any
    handoff has left the stage since the task came there, and whether one on a contract did. `path`
    holds four bytes for each of the last stages, the present one last (empty before the first
    move), and `edges` four for each of the edges that its handoffs went over.
    """

    workflow: str
    task_id: str
    captures: dict[str, Capture] = {}
    retracted: dict[str, int] = {}
    size: int = 0
    hops: int = 0
    open: tuple[OpenHandoff, ...] = ()
    events: bytes = b""
    last_input_at: int = 0
    closed: tuple[Closed, ...] = ()
    stage: str = ""
    tool: str = ""
    stage_at: int = 0
    begun: tuple[str, ...] = ()
    left: bool = False
    true: tuple[str, ...] = ()
    arrived: OpenHandoff | None = None
    handed: bool = False
    covered: bool = False
    path: bytes = b""
    edges: bytes = b""


def holds(row: bytes, wanted: bytes, width: int) -> bool:
    """Whether a row of digests, each of `width` bytes, holds these, side by side."""
    at = row.find(wanted)
    while at > 0 and at % width:  # found across two digests
        at = row.find(wanted, at + 1)
    return at >= 0


def due(task: Task, handoff_ttl: int | None, task_ttl: int | None) -> int | None:
    """When the next of a task's deadlines passes (epoch ms), None for never. Both in ms."""
    if not task.open:
        return None if task_ttl is None else task.last_input_at + task_ttl
    moments: list[int] = []
    for handoff in task.open:
        for _, at in handoff.waits():
            moments.append(at)
        if handoff.close_by:
            moments.append(handoff.close_by)
        if handoff_ttl is not None:
            moments.append(handoff.begun_at + handoff_ttl)
    return min(moments) if moments else None


def watched(task: Task) -> Collection[str]:
    """What a task's open handoffs depend on in the tables: receivers, and contracts of held ones.

    Sent ones keep their contract version, so no change of it concerns them.
    """
    if not task.open:
        return ()
    found: set[str] = set()
    for handoff in task.open:
        found.add(f"receiver {handoff.receiver}")
        if handoff.state == "held" and handoff.contract is not None:
            found.add(f"contract {handoff.contract}")
    return found


encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Task).decode


def state_key(workflow: str, task_id: str) -> str:
    """The key of a task's state: readable, and different for different tasks.

    The workflow's own slashes are percent-encoded, so the first slash always ends it.
    """
    if "/" in workflow or "%" in workflow:
        workflow = workflow.replace("%", "%25").replace("/", "%2F")
    return f"{workflow}/{task_id}"
