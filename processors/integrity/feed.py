"""What insights is told of a task: parts of sums, for its edges and for patterns.

The shape of a part and the subjects are in `schemas.feed`. A move is told by `moved`; a `Feed`
gathers what one input means for the handoffs, and for what repeats or is broken. This is on the way
of every tool output, so it looks at each value's type only.
"""

from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import Literal
from zlib import crc32

from msgspec import Struct
from msgspec.structs import replace

from processors.contracts import values
from processors.contracts.compiled import Contract, Repeat
from processors.contracts.registry import RegistrySnapshot
from processors.integrity.context import Carried
from processors.integrity.digests import holds
from processors.integrity.events import NO_EVENT
from processors.integrity.secrets import TaskSecrets
from processors.integrity.state import (
    MAX_EDGES,
    MAX_PATH,
    CloseReason,
    OpenHandoff,
    OpenViolation,
    PackageField,
    Task,
    workflow_of,
)
from processors.integrity.step import StepContext
from schemas.feed import (
    HOUR_MS,
    EdgePart,
    JudgedPart,
    PatternPart,
    Repeated,
    add_fields,
    contract_subject,
    fingerprint,
    latency_bucket,
)
from schemas.feed import subject as path_of
from schemas.flow import Accumulate, Increment, InputEvent
from schemas.records import Severity, ToolOutput, Violation

FEED = "handoff.internal.feed"
# Senders choose names: those beyond these many characters are left out, and what is about them too.
MAX_SUBJECT = 1000
MAX_NAME = 200
MAX_FIELDS = 64  # names told of one context
MAX_SHOWN = 200  # characters of a value that repeats
_DIGEST = 4  # bytes of a stage's or an edge's digest
_SKIPPED = Increment("feed_skipped")
# A receiver that is not there fails all who send to it; where no contract is, the edge needs one.
_MAY_BE_EMPTY = frozenset({"as_sent", "extra"})
# Where no handoff is known.
_NO_HANDOFF = OpenHandoff(
    id="",
    contract=None,
    version=None,
    receiver="",
    part=None,
    state="sent",
    hop=0,
    source=NO_EVENT,
)

# What senders send comes in few shapes: what was worked out of one is remembered, up to so many of
# a kind, and not where names are long.
MAX_REMEMBERED = 4096
MAX_NAMES_REMEMBERED = 4000  # characters

Fields = dict[str, dict[str, int]]  # JSON types by name, as in an `EdgePart`

_NOTHING = ("", "null")
_shapes: dict[tuple[tuple[str, ...], tuple[str, ...]], Fields] = {}


def _fields(names: tuple[str, ...], types: tuple[str, ...]) -> Fields:
    """The JSON types of what a context carries, by name; `types` are in the order of the names.

    Contexts of one shape share the result, so nobody may change it.
    """
    found = _shapes.get((names, types))
    if found is not None:
        return found
    found = {}
    for name, type_ in zip(names, types, strict=True):
        if type_ not in _NOTHING and len(name) <= MAX_NAME and len(found) < MAX_FIELDS:
            found[name] = {type_: 1}
    if len(_shapes) < MAX_REMEMBERED and sum(map(len, names)) <= MAX_NAMES_REMEMBERED:
        _shapes[names, types] = found
    return found


def _without(names: set[str], fields: Fields) -> Fields:
    return {name: fields[name] for name in fields if name not in names}


class _Edge(Struct, frozen=True, gc=False):
    """An edge's subject, None where it is too long, and four bytes that stand for it in a task."""

    subject: str | None
    digest: bytes


_edges: dict[tuple[str, str, str, str], _Edge] = {}


def _edge(kind: Literal["move", "handoff"], workflow: str, from_: str, to: str) -> _Edge:
    question = kind, workflow, from_, to
    found = _edges.get(question)
    if found is None:
        subject = path_of(kind, workflow, from_, to)
        short = len(subject) <= MAX_SUBJECT
        # A task's path is of stages: there the stage that a move leads to stands for it.
        digest = _digest(to) if kind == "move" else _digest(path_of(from_, to))
        found = _Edge(subject if short else None, digest)
        if short and len(_edges) < MAX_REMEMBERED:
            _edges[question] = found
    return found


def _digest(name: str) -> bytes:
    return crc32(name.encode()).to_bytes(_DIGEST, "big")


@lru_cache(maxsize=MAX_REMEMBERED)
def _counts(names: tuple[str, ...]) -> dict[str, int]:
    """How often each name is there. Parts that count the same share it: nobody may change it."""
    return dict(Counter(names))


_contract_subject = lru_cache(maxsize=MAX_REMEMBERED)(contract_subject)


# --- moves ----------------------------------------------------------------------------------------


def moved(
    task: Task,
    output: ToolOutput,
    event: InputEvent,
    context: Carried,
    covered: bool,
    secrets: TaskSecrets,
) -> tuple[bytes, Accumulate | Increment]:
    """A task has come to another stage: its path from now on, and what insights is told.

    `covered` says that a contract covers the move although no handoff had begun before it. A name
    that tells one of the task's `secrets` is left out.
    """
    workflow, before, stage = task.workflow, task.stage, output.stage
    edge = _edge("move", workflow, before, stage)
    here = edge.digest
    path = task.path or _digest(before)
    names = ["moves"]
    handed, covered = task.handed, task.covered or covered
    if not task.path:  # before its first move a handoff that came late counts, too
        handed, covered = handed or task.left or bool(task.begun), covered or bool(task.begun)
    if not handed:
        names.append("bare")
    if not covered:
        names.append("uncovered")
    if not holds(path, here, _DIGEST):
        names.append("tasks")
    else:
        names.append("loops")
        if path[-2 * _DIGEST : -_DIGEST] == here:
            names.append("ping_pongs")
        if not holds(path, path[-_DIGEST:] + here, _DIGEST):
            names.append("tasks")
    following = (path + here)[-MAX_PATH * _DIGEST :]
    if edge.subject is None:
        return following, _SKIPPED
    at = event.occurred_at
    fields = _fields(tuple(context.values), context.types)
    if told := secrets.told_by(tuple(fields), context.values):
        fields = _without(told, fields)
    counts = _counts(tuple(names))
    came_from = _workflow_before(task, before) if task.parents and "/" in before else None
    part = EdgePart(
        kind="move",
        workflow=workflow,
        from_=before,
        to=stage,
        first_seen=at,
        last_seen=at,
        counts=counts,
        fields=fields,
        from_workflow=came_from,
    )
    return following, Accumulate(FEED, edge.subject, part)


def _workflow_before(task: Task, stage: str) -> str | None:
    """Which workflow of the tasks that a task continues a stage has before it."""
    keys = [key for parent in task.parents for key in parent.above]
    names = {*(parent.workflow for parent in task.parents), *map(workflow_of, keys)}
    found = [name for name in names - {task.workflow} if stage.startswith(f"{name}/")]
    return max(found, key=len, default=None)


# --- handoffs -------------------------------------------------------------------------------------


class _Figures(Struct, gc=False):
    """By how much the edge of handoffs rises with one input. Times are those of the handoffs."""

    edge: _Edge
    workflow: str
    from_: str
    first_seen: int
    last_seen: int
    contract: str | None
    names: list[str]
    fields: Fields
    accepted_in: dict[int, int]
    fidelity: float = 0.0
    completeness: float = 0.0
    lost: list[str] = []


class Feed(Struct, gc=False):
    """What one input adds up to about a task's handoffs. `edges` becomes the next task's."""

    step: StepContext
    tables: RegistrySnapshot
    edges: bytes
    _figures: dict[tuple[str, str, int], _Figures] = {}  # by stage, receiver and hour
    _patterns: list[Accumulate | Increment] = []
    _judged_on: list[Accumulate] = []

    def adds(self) -> list[Accumulate | Increment]:
        """One part for each edge and hour, then the patterns, then what was judged."""
        found: list[Accumulate | Increment] = []
        for (_, to, _), f in self._figures.items():
            subject = f.edge.subject
            if subject is None:
                found.append(_SKIPPED)
                continue
            part = EdgePart(
                kind="handoff",
                workflow=f.workflow,
                from_=f.from_,
                to=to,
                first_seen=f.first_seen,
                last_seen=f.last_seen,
                counts=_counts(tuple(f.names)),
                fields=f.fields,
                accepted_in=f.accepted_in,
                fidelity=f.fidelity,
                completeness=f.completeness,
                contract=f.contract,
                lost_fields=_counts(tuple(f.lost)) if f.lost else {},
            )
            found.append(Accumulate(FEED, subject, part))
        return found + self._patterns + self._judged_on

    def _of(self, handoff: OpenHandoff) -> _Figures:
        at = handoff.source.occurred_at
        place = handoff.stage, handoff.receiver, at // HOUR_MS
        found = self._figures.get(place)
        if found is None:
            workflow, from_ = self._origin(handoff)
            edge = _edge("handoff", workflow, from_, handoff.receiver)
            found = _Figures(
                edge=edge,
                workflow=workflow,
                from_=from_,
                first_seen=at,
                last_seen=at,
                contract=handoff.contract,
                names=[],
                fields={},
                accepted_in={},
            )
            self._figures[place] = found
            return found
        found.first_seen = min(found.first_seen, at)
        if at >= found.last_seen:
            found.last_seen = at
            found.contract = handoff.contract
        return found

    def _origin(self, handoff: OpenHandoff) -> tuple[str, str]:
        """The workflow and the stage where the edge of a handoff begins. One that was found where a
        task went on in another workflow is over the same edge as one that was declared before."""
        workflow, stage = self.step.workflow, handoff.stage
        if "/" in stage and handoff.begun == "implicit":
            contract = self.tables.version(handoff.contract, handoff.version)
            if contract is not None and contract.workflow != workflow:
                return contract.workflow, stage.removeprefix(f"{contract.workflow}/")
        return workflow, stage

    def count(self, handoff: OpenHandoff, name: str) -> None:
        """Something happened to a handoff."""
        self._of(handoff).names.append(name)

    def begun(
        self,
        handoff: OpenHandoff,
        contract: Contract | None,
        secrets: TaskSecrets,
    ) -> None:
        """A handoff has been judged; it is as it will be kept. `secrets` are those of its task."""
        figures = self._of(handoff)
        names = figures.names
        names += ("moves", handoff.begun, "held" if handoff.state == "held" else "sent")
        edge = figures.edge.digest
        if not holds(self.edges, edge, _DIGEST):
            self.edges = (self.edges + edge)[-MAX_EDGES * _DIGEST :]
            names.append("tasks")
        if handoff.accepted_at:
            names.append("accepted")  # it was there before it was told, or took over
        if handoff.owner is not None:
            names.append("owned")
        if contract is not None:
            self._judged(figures, handoff, contract)
        fields = _package_fields(handoff.values)
        if secrets.classified.unknown(tuple(fields)):  # mostly the contract gives all of them
            fields = _without(secrets.told_by(tuple(fields), _values(handoff)), fields)
        figures.fields = add_fields(figures.fields, fields) if figures.fields else fields

    def _judged(self, figures: _Figures, handoff: OpenHandoff, contract: Contract) -> None:
        """What a contract promises, what it requires, and what became of that."""
        names, kept, required = figures.names, handoff.values, contract.required
        names.append("judged")
        subject = _contract_subject(contract.id, handoff.backfill)
        if len(subject) <= MAX_SUBJECT:
            times = (handoff.source.occurred_at,)
            part = JudgedPart(contract.id, times, handoff.backfill)
            self._judged_on.append(Accumulate(FEED, subject, part))
        figures.fidelity += handoff.fidelity or 0.0
        figures.completeness += handoff.completeness or 0.0
        if contract.accept_within is not None:
            names.append("promised")
        names += ["required"] * len(required)
        if handoff.fidelity != handoff.completeness:
            names += [
                "rebuilt" for name in required if name in kept and kept[name].how == "rebuilt"
            ]
        if handoff.missing:
            lost = sorted(required.intersection(handoff.missing))
            names += ["lost"] * len(lost)
            figures.lost += [name for name in lost if len(name) <= MAX_NAME]

    def accepted(self, handoff: OpenHandoff, acked: bool) -> None:
        """The receiver has taken it; `acked`: it said so itself."""
        figures = self._of(handoff)
        figures.names += ("accepted", "acked") if acked else ("accepted",)
        bucket = latency_bucket(self.step.occurred_at - handoff.source.occurred_at)
        figures.accepted_in[bucket] = figures.accepted_in.get(bucket, 0) + 1

    def closed(
        self, handoff: OpenHandoff, ended: CloseReason | Literal["returned"], in_time: bool
    ) -> None:
        """It is open no more. Of those sent each is to be counted once: so only what had been sent
        is told as superseded."""
        names = self._of(handoff).names
        names.append("closed")
        if ended != "superseded" or handoff.sent_at:
            names.append(ended)
        if in_time:
            names.append("in_time")

    def redirected(
        self,
        held: OpenHandoff,
        handoff: OpenHandoff,
        contract: Contract | None,
        secrets: TaskSecrets,
    ) -> None:
        """A held one goes to another receiver now: it leaves its edge, and begins on another."""
        self.count(held, "closed")
        self.begun(handoff, contract, secrets)

    # --- patterns -----------------------------------------------------------------------------

    def broken(self, handoff: OpenHandoff, violation: OpenViolation, record: Violation) -> None:
        """A violation was opened: `record` is how it is published."""
        if self._pages(violation.severity):
            self._patterns.append(
                self._pattern(
                    self._fingerprint(handoff, violation),
                    violation.kind,
                    handoff,
                    violation.occurred_at,
                    errors=violation.severity == "error",
                    field=violation.subject,
                    record=record,
                    backfill=record.backfill,
                )
            )

    def mended(self, handoff: OpenHandoff, violation: OpenViolation, record: Violation) -> None:
        """The cause of a violation that was told is gone: `record` is how that is published."""
        if self._pages(violation.severity):
            error = int(violation.severity == "error")
            told = self._pattern(
                self._fingerprint(handoff, violation),
                violation.kind,
                handoff,
                violation.occurred_at,
                field=violation.subject,
                record=record,
                backfill=record.backfill,
            )
            if isinstance(told, Accumulate):
                part = replace(
                    told.part, minutes={}, stages={}, tools={}, mended=1, mended_errors=error
                )
                told = replace(told, part=part)
            self._patterns.append(told)

    def unknown(self, record: Violation) -> None:
        """What is of no handoff, and so nobody's but the workflow's: an answer to one that is not
        open, or a link that is refused."""
        if self._pages(record.severity):
            subject = path_of("workflow", self.step.workflow, record.kind)
            self._patterns.append(
                self._pattern(
                    subject, record.kind, None, self.step.occurred_at, backfill=record.backfill
                )
            )

    def repeats(
        self,
        handoff: OpenHandoff,
        contract: Contract | None,
        before: OpenHandoff | None,
        secrets: TaskSecrets,
    ) -> None:
        """A handoff has begun, on a contract that watches for values that come again, maybe. Sent
        again in the place of the one `before`, with the same values, it is no repeat."""
        repeat = contract.repeat if contract is not None else None
        found = _watched(repeat, handoff) if repeat is not None else None
        if contract is None or repeat is None or found is None:
            return
        digest = _digest_of(found)
        if before is not None and (old := _watched(repeat, before)) and _digest_of(old) == digest:
            return
        hidden = repeat.tagged
        if (contract.classified.at or secrets.classified.at) and len(hidden) < len(found):
            hidden |= _telling(found, handoff, contract, secrets)
        shown = {
            path: None if path in hidden else value.decode(errors="replace")[:MAX_SHOWN]
            for path, value in found.items()
        }
        self._patterns.append(
            self._pattern(
                path_of("repeat", contract.id, digest),
                "repeat",
                handoff,
                handoff.source.occurred_at,
                backfill=handoff.backfill,
                repeated=Repeated(repeat.threshold, repeat.within, repeat.receiver, shown),
            )
        )

    def _pages(self, severity: Severity) -> bool:
        """Whether anybody is to read of it: somebody must have promised something."""
        return severity != "info" and self.tables.promised(self.step.workflow)

    def _fingerprint(self, handoff: OpenHandoff, violation: OpenViolation) -> str:
        """What the violations of one cause have in common."""
        return fingerprint(
            violation.kind,
            workflow=self.step.workflow,
            contract=handoff.contract,
            about=violation.subject,
            stage=handoff.stage,
            to_stage=handoff.to_stage,
            receiver=handoff.receiver,
            source=violation.reason,
        )

    def _pattern(
        self,
        subject: str,
        kind: str,
        handoff: OpenHandoff | None,
        at: int,
        errors: int = 0,
        field: str | None = None,
        record: Violation | None = None,
        backfill: bool = False,
        repeated: Repeated | None = None,
    ) -> Accumulate | Increment:
        """One more of a pattern, at the event time `at`; `record` is a violation as it is
        published. A replay is another pattern."""
        if len(subject) > MAX_SUBJECT:
            return _SKIPPED
        about = handoff or _NO_HANDOFF
        task_id = self.step.task_id
        origin = None if record is None else record.origin
        part = PatternPart(
            kind=kind,
            workflow=self.step.workflow,
            first_seen=at,
            last_seen=at,
            minutes={at // 60_000: 1},
            errors=int(errors),
            stages=_one(about.stage),
            tools=_one(about.tool),
            tasks=(task_id,) if len(task_id) <= MAX_NAME else (),
            contract=about.contract,
            receiver=about.receiver or None,
            from_=_named(about.stage),
            to=about.to_stage,
            field=field,
            owner=None if record is None else record.owner,
            backfill=backfill,
            repeated=repeated,
            owner_contact=None if record is None else record.owner_contact,
            last_stage=None if origin is None else _named(origin.stage),
            last_tool=None if origin is None else _named(origin.tool),
            contract_version=None if record is None else record.contract_version,
        )
        return Accumulate(FEED, f"replay/{subject}" if backfill else subject, part)


def _named(name: str) -> str | None:
    return name if 0 < len(name) <= MAX_NAME else None


def _one(name: str) -> dict[str, int]:
    return {name: 1} if 0 < len(name) <= MAX_NAME else {}


def _values(handoff: OpenHandoff) -> dict[str, bytes]:
    return {name: kept.value for name, kept in handoff.values.items()}


def _package_fields(package: Mapping[str, PackageField]) -> Fields:
    types = values.held_types([kept.value for kept in package.values()])
    if "" in types:  # what a contract translates to may be empty, and is there
        types = tuple(
            [
                type_ if type_ or kept.how in _MAY_BE_EMPTY else values.spelled_type(kept.value)
                for type_, kept in zip(types, package.values(), strict=True)
            ]
        )
    return _fields(tuple(package), types)


def _watched(repeat: Repeat, handoff: OpenHandoff) -> dict[str, bytes] | None:
    """The values that a contract watches, by path; None unless each of them is there."""
    found: dict[str, bytes] = {}
    package = _values(handoff)
    for written, path in repeat.by.items():
        value, _ = values.at(package, path)
        if value is None or values.is_empty(value):
            return None
        found[written] = value
    return found


def _telling(
    watched: Mapping[str, bytes],
    handoff: OpenHandoff,
    contract: Contract,
    secrets: TaskSecrets,
) -> set[str]:
    """The paths whose values tell what is classified: as the handoff's violations say, or that its
    package or the task has.
    """
    kinds = contract.classified, secrets.classified
    told = secrets.beside(_values(handoff))
    # A place may be told in part, or not at all: then it may be any of those inside.
    places = [
        f"context.{violation.found_in}." if violation.found_in else "context."
        for violation in handoff.violations
        if violation.kind == "context_unstructured"
        and violation.subject
        and any(classified.covers(violation.subject) for classified in kinds)
    ]
    return {
        path
        for path, value in watched.items()
        if any(place.startswith(f"{path}.") or f"{path}.".startswith(place) for place in places)
        or told.tells(value.decode(errors="replace"))
    }


def _digest_of(watched: Mapping[str, bytes]) -> str:
    hashed = blake2b(digest_size=16)
    for path, value in watched.items():
        canonical = values.canonical(value)
        hashed.update(f"{path} {len(canonical)} ".encode() + canonical)
    return hashed.hexdigest()
