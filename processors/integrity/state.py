"""What the processor remembers of a task: its events, its handoffs, and where it is.

`candidates` says how its events are searched, and `stored` how a task is written down. Times are
epoch milliseconds.
"""

from collections.abc import Collection
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from processors.contracts.spelling import folded
from processors.integrity.alone import Alone
from processors.integrity.candidates import Candidates
from processors.integrity.events import EventRef, Remembered, length
from processors.integrity.secrets import TaskSecrets
from schemas.lifecycle import OpenState
from schemas.links import Whereabouts
from schemas.records import Begun, How, Severity, ViolationKind

# What nobody needs to set; what a person may want to is in `limits`.
MAX_CLOSED = 64  # last closed handoffs of a task by which an ack is told apart from a stray one
MAX_EVENTS = 256  # last events of a task by which a repeated one is known
MAX_PATH = 128  # last stages of a task by which a loop is known
MAX_EDGES = 64  # edges of a task's handoffs by which its first one over an edge is known


class PackageField(Struct, frozen=True, array_like=True, gc=False):
    """A value as a package carries it, and the event that it came with. `by` and `reason`: who
    amended it. `passed_over`: how many later values of the task did not fit."""

    value: bytes
    how: How
    ref: EventRef
    candidates: int
    by: str | None = None
    reason: str | None = None
    passed_over: int = 0


class OpenViolation(Struct, frozen=True, array_like=True, gc=False):
    """A violation that is not resolved, as far as its resolution must repeat it.

    `subject` is the field or the rule. `origin` is the event that the lost field was captured with,
    and `last_hop` the last handoff that carried it (0: none did).
    `trial` is the contract whose trial version opened it, None for the contract of the handoff;
    `contract` is what that was, where a person sent the handoff on since.
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
    origin: EventRef | None = None
    candidates: int | None = None
    found_in: str | None = None
    trial: str | None = None
    last_hop: int = 0
    contract: str | None = None

    def id(self, handoff: "OpenHandoff") -> str:
        """Handoff, contract version, kind, and field or rule: the same again after a crash."""
        of = "" if self.trial in (None, handoff.contract) else f"{self.trial}@"
        return f"{handoff.id}:{of}{self.version or 0}:{self.kind}:{self.subject or ''}"


Deadline = Literal["accept", "complete", "release"]
CloseReason = Literal["completed", "rejected", "discarded", "superseded", "expired"]


class OpenHandoff(Struct, array_like=True, gc=False):
    """A handoff that has begun and is not closed. Its slot is (contract, receiver, part).

    The first lines are what it is, then its latest package, then its promises, and last what only
    a held one needs: to be judged again, it keeps what the sender sent (`context`), the number of
    the first event that it does not go by (`as_of`), and what people set.
    Times are epoch milliseconds of the processor's clock; 0 means none.
    """

    id: str
    contract: str | None
    version: int | None
    receiver: str
    part: str | None
    state: OpenState
    hop: int
    source: EventRef  # the output that it came from
    begun: Begun = "declared"
    asked_to: str = ""  # the receiver and the contract that the sender named
    asked_contract: str | None = None
    team: str | None = None
    stage: str = ""
    tool: str = ""
    note: str | None = None
    backfill: bool = False
    supersedes: str | None = None

    to_team: str | None = None
    to_stage: str | None = None
    owner: str | None = None
    owner_contact: str | None = None
    revision: int = 1
    values: dict[str, PackageField] = {}
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
    as_of: int = 0
    amended: dict[str, PackageField] = {}
    late: bool = False  # it was accepted late
    unqueued: bool = False  # its latest package went to no queue
    lost: int = 0  # bytes of the task's `lost` when it was held: what it is judged by again
    elsewhere: bool = False  # `to_stage` is one of another workflow, where another task goes on

    @property
    def slot(self) -> tuple[str | None, str, str | None]:
        """What can be open only once in a task."""
        return self.contract, self.receiver, self.part

    @property
    def stage_here(self) -> str | None:
        """The stage of this task that it went to; None where that is none of this task's."""
        return None if self.elsewhere else self.to_stage

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
        as_of=0,
        amended={},
    )


def size(handoff: OpenHandoff) -> int:
    """The bytes of a handoff, about, and not less than they are."""
    total = 1000 + length(handoff.note or "")
    for values in (handoff.values, handoff.amended):
        for name, field in values.items():
            total += len(field.value) + 40 + length(name)
            if field.by is not None:
                total += length(field.by) + length(field.reason or "")
    for name, value in handoff.context.items():
        total += len(value) + 8 + length(name)
    refs = {field.ref.number: field.ref for field in handoff.values.values()}
    for violation in handoff.violations:
        total += 76 + length(violation.event_id)
        for text in (violation.subject, violation.reason, violation.found_in, violation.trial):
            if text is not None:
                total += length(text)
        if violation.origin is not None:
            refs[violation.origin.number] = violation.origin
    for ref in refs.values():
        total += 100 + length(ref.stage) + length(ref.tool) + length(ref.event_id)
    for name in (*handoff.missing, *handoff.episodes):
        total += length(name) + 8
    for text in (
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


class Closed(Struct, frozen=True, array_like=True, tag=0, gc=False):
    """A handoff that is closed, and how. An ack to a superseded one counts for its successor.

    `rejected` is the handoff whose violation `rejected` is open until the slot is sent again.
    `stage_here` is where it went in this task, and `number` that of the event that it came from.
    """

    id: str
    how: CloseReason
    successor: str | None = None
    rejected: OpenHandoff | None = None
    stage_here: str | None = None
    number: int = 0


class Forgotten(Struct, frozen=True, array_like=True, gc=False):
    """An event that the task has forgotten, `at` that event number, but for a held handoff."""

    event: Remembered
    at: int


class Parent(Struct, frozen=True, array_like=True, gc=False):
    """A task that this one continues. `answered`: all that it knew is here. `above` are the keys of
    the tasks that it continues itself, directly or not.
    """

    workflow: str
    task_id: str
    answered: bool = False
    above: tuple[str, ...] = ()


class Child(Struct, frozen=True, array_like=True, gc=False):
    """A task that continues this one."""

    workflow: str
    task_id: str


class Waiting(Struct, frozen=True, array_like=True, tag=0, gc=False):
    """An input that waits until what the tasks know is here that this one continues. `body` is
    its record, as JSON."""

    topic: str
    body: bytes
    occurred_at: int
    partition: int
    offset: int
    backfill: bool
    traceparent: bytes | None
    timestamp: int


class Task(Struct, gc=False):
    """One task. `advance` never changes one: it makes the next, a copy, and changes that.

    `events` are what it remembers, and `next_number` is that of the next one; `forgotten` those
    that only held handoffs still need, and `lost` has the digests of the names in all that it has
    forgotten. `retracted` maps a name to the time of its retraction. `gone` are classified values
    by name that were taken back or forgotten: nothing shall tell them either. `size` and `names`
    are upper bounds: of the bytes of the events, and of the names that they hold values of.
    `searched` is what was found in the events lately, `secrets` are the classified values, and
    `named` has the names that it holds values of, or more: each where it was worked out.

    `hops` counts the handoffs so far. `heard` holds eight bytes for each of the last inputs.
    `last_input_at` is processor time. `stage`, `tool` and `stage_at` (event time) are those of the
    latest output, `begun` the contracts on which a handoff began since the task came to that stage,
    `left` whether that output itself handed off. `true` are the contracts whose `when` was true
    last. `arrived` is the last handoff that was accepted and is closed.

    What the feed tells of moves goes by the last lines: `handed` and `covered` say whether any
    handoff has left the stage since the task came there, and whether one on a contract did. `path`
    holds four bytes for each of the last stages, the present one last (empty before the first
    move), and `edges` four for each of the edges that its handoffs went over. `rounds` counts the
    returns between two stages, by a digest of the pair (`loops`).

    It continues its `parents`, and its `children` continue it. Its inputs are `waiting` until its
    parents have answered, or `wait_until` has come. While it has been nowhere itself, it comes from
    `whence`. `told` is where its parents know it to be.
    """

    workflow: str
    task_id: str
    events: tuple[Remembered, ...] = ()
    forgotten: tuple[Forgotten, ...] = ()
    next_number: int = 1
    retracted: dict[str, int] = {}
    gone: tuple[tuple[str, bytes], ...] = ()
    size: int = 0
    names: int = 0
    lost: bytes = b""
    searched: dict[int | str, Candidates | Alone] = {}
    secrets: TaskSecrets | None = None
    named: set[str] | None = None
    hops: int = 0
    open: tuple[OpenHandoff, ...] = ()
    heard: bytes = b""
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
    rounds: dict[bytes, int] = {}
    parents: tuple[Parent, ...] = ()
    children: tuple[Child, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    wait_until: int = 0
    whence: Whereabouts | None = None
    told: tuple[str, str, str] | None = None


def due(task: Task, handoff_ttl: int | None, task_ttl: int | None) -> int | None:
    """When the next of a task's deadlines passes (epoch ms), None for never. Both in ms."""
    if not task.open and not task.waiting:
        return None if task_ttl is None else task.last_input_at + task_ttl
    moments: list[int] = [task.wait_until] if task.waiting else []
    for handoff in task.open:
        for _, at in handoff.waits():
            moments.append(at)
        if handoff.close_by:
            moments.append(handoff.close_by)
        if handoff_ttl is not None:
            moments.append(handoff.begun_at + handoff_ttl)
    return min(moments) if moments else None


def timers(task: Task) -> object:
    """What a task's deadlines and what it watches follow from: another object, if that changed.
    Without an open handoff its time to live begins anew with each input, and never ends earlier."""
    return task.waiting or task.open


def watched(task: Task) -> Collection[str]:
    """What a task's open handoffs depend on in the tables: receivers, and contracts of held ones.

    Sent ones keep their contract version, so no change of it concerns them.
    """
    if not task.open:
        return ()
    found: set[str] = set()
    for handoff in task.open:
        found.add(f"receiver {handoff.receiver}")
        if handoff.state == "held":
            if handoff.contract is not None:
                found.add(f"contract {handoff.contract}")
            else:
                # Whom it means, and which contract covers it, may be known later.
                found.add(f"spelled {folded(handoff.asked_to)}")
                found.add(f"workflow {task.workflow}")
    return found


def state_key(workflow: str, task_id: str) -> str:
    """The key of a task's state: readable, and different for different tasks.

    The workflow's own slashes are percent-encoded, so the first slash always ends it.
    """
    if "/" in workflow or "%" in workflow:
        workflow = workflow.replace("%", "%25").replace("/", "%2F")
    return f"{workflow}/{task_id}"


def workflow_of(key: str) -> str:
    """The workflow in the key of a task's state."""
    return key.partition("/")[0].replace("%2F", "/").replace("%25", "%")
