"""The life of a task's handoffs: begun, held, sent, accepted, stalled, closed.

`Handoffs` holds those of one task while one input is judged. Each method is a row of the lifecycle
table (DESIGN section 5): it moves one handoff on and notes what is to be published about it.
"""

from collections.abc import Collection, Iterable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from processors.contracts.compiled import Contract, default_severity
from processors.contracts.tables import Tables
from processors.integrity import messages
from processors.integrity.capture import Memory, carry
from processors.integrity.fields import Finding, learnt, share
from processors.integrity.handoff import Verdict, begun_again, decide, failing, source_of
from processors.integrity.limits import Limits
from processors.integrity.publish import Publisher, sender, to
from processors.integrity.receiver import RECEIVING, destination
from processors.integrity.state import (
    MAX_CLOSED,
    Capture,
    Closed,
    Deadline,
    Kept,
    OpenHandoff,
    OpenViolation,
    Task,
    Way,
    bare,
    weighed,
)
from schemas.flow import Count, Emit
from schemas.records import Severity, SignalKind, ToolOutput, Violation, ViolationKind

OUTPUTS = "handoff.tool-outputs"
PACKAGES = "handoff.packages"
HELD = "handoff.held"
VIOLATIONS = "handoff.violations"
SIGNALS = "handoff.signals"

MAX_ARRIVED = 16 << 10  # bytes of the last handoff that arrived: its sender may have long names
_MISSED: dict[Deadline, ViolationKind] = {
    "accept": "not_accepted",
    "complete": "not_completed",
    "release": "held_too_long",
}


class Cause(Struct, frozen=True, gc=False):
    """The input that moves a handoff on. Times in epoch ms; `timestamp` is when it reached Kafka.

    `event_id` is None where no record does: then the handoff's own stands in for it.
    """

    event_id: str | None
    occurred_at: int
    timestamp: int
    backfill: bool


class Handoffs:
    """A task's open and closed handoffs while one input is judged, and what is published of them.

    Nothing here changes the task: `open`, `closed` and `arrived` become the next task's. A method
    that moves a handoff on returns it as it is then.
    """

    def __init__(
        self, task: Task, memory: Memory, tables: Tables, now: int, cause: Cause, limits: Limits
    ) -> None:
        self.open = {handoff.id: handoff for handoff in task.open}
        self.closed = list(task.closed)
        self.arrived = task.arrived
        self.publisher = Publisher(task.workflow, task.task_id, tables, now, cause.backfill)
        self.counts: list[Count] = []
        self.memory = memory
        self._tables = tables
        self._now = now
        self._cause = cause
        self._limits = limits
        self._packages: list[Emit] = []
        self._violations: list[Emit] = []
        self._signals: list[Emit] = []

    def emits(self) -> list[Emit | Count]:
        """Packages first, each followed by its queue, then violations, then signals."""
        return [*self._packages, *self._violations, *self._signals, *self.counts]

    def contract_of(self, handoff: OpenHandoff) -> Contract | None:
        """The contract version that a handoff keeps."""
        return self._tables.version(handoff.contract, handoff.version)

    def newest_of(self, handoff: OpenHandoff) -> Contract | None:
        """The contract version that judges a handoff now: held ones take the newest."""
        if handoff.state != "held" or handoff.contract is None:
            return self.contract_of(handoff)
        return self._tables.contracts.get(handoff.contract) or self.contract_of(handoff)

    # --- it begins ----------------------------------------------------------------------------

    def begin(self, handoff: OpenHandoff, verdict: Verdict) -> OpenHandoff:
        """Judged: sent or held; the one that is open in its slot is superseded."""
        contract = verdict.route.contract
        before = next((h for h in self.open.values() if h.slot == handoff.slot), None)
        if before is not None:
            handoff = replace(
                handoff,
                supersedes=before.id,
                accepted_at=before.accepted_at,
                close_by=0 if handoff.state == "held" else before.close_by,
            )
        if handoff.begun == "implicit":
            handoff = replace(
                handoff, accepted_at=self._now, close_by=self._now + self._limits.early_grace_ms
            )
        if handoff.state == "sent":
            handoff = self._sent(handoff, contract)
        elif contract is not None and contract.release_within and not handoff.backfill:
            handoff = replace(handoff, release_by=self._now + contract.release_within)
        self._publish(handoff, contract, verdict.route.queue)
        for violation, message in verdict.opened:
            self._emit_opened(handoff, violation, message)
        kind: SignalKind = "held" if handoff.state == "held" else "sent"
        message = messages.begun(to(handoff), handoff.missing, verdict)
        handoff = self._signal(handoff, kind, message)
        self.counts.append(Count("handoffs_begun", kind))
        if before is not None:
            message = messages.superseded(to(before))
            self.close(self._signal(before, "superseded", message), "superseded", handoff.id)
        # What the receiver rejected before is mended by sending again.
        for index, closed in enumerate(self.closed):
            rejected = closed.rejected
            if rejected is not None and rejected.slot == handoff.slot:
                self.closed[index] = replace(closed, rejected=None)
                self._resolve(rejected, rejected.violations, "sent_again")
        handoff = weighed(handoff)
        self.open[handoff.id] = handoff
        return handoff

    def _sent(self, handoff: OpenHandoff, contract: Contract | None) -> OpenHandoff:
        """As it is once it is sent. Deadlines count from here; a replay starts none."""
        accept_by = complete_by = close_by = 0
        if contract is not None and not (handoff.backfill or self._cause.backfill):
            if contract.accept_within and not handoff.accepted_at:
                accept_by = self._now + contract.accept_within
            if contract.complete_within:
                complete_by = self._now + contract.complete_within
        if handoff.accepted_at and not _must_complete(handoff, contract):
            # Accepted before it was sent: nobody will close it.
            close_by = handoff.close_by or self._now + self._limits.early_grace_ms
        return replace(
            handoff,
            state="accepted" if handoff.accepted_at else "sent",
            sent_at=self._now,
            accept_by=accept_by,
            complete_by=complete_by,
            release_by=0,
            close_by=close_by,
            context={},
            before={},
            amended={},
        )

    # --- the receiver says something ----------------------------------------------------------

    def accept(self, handoff: OpenHandoff, message: str) -> None:
        """Sent -> accepted, and closed where nothing more is promised."""
        late = self._is_late(handoff, "accept", handoff.accept_by)
        handoff = replace(handoff, state="accepted", accepted_at=self._now)
        handoff = self._resolve(handoff, _of_kind(handoff, "not_accepted"), "accepted")
        handoff = self._signal(handoff, "accepted", message, late)
        self.counts.append(Count("handoffs_accepted", "late" if late else "in_time"))
        if _must_complete(handoff, self.contract_of(handoff)):
            self.open[handoff.id] = handoff
        else:
            self.close(handoff, "completed")

    def complete(self, handoff: OpenHandoff, kind: SignalKind, message: str) -> None:
        """Sent or accepted -> closed: completed, or `returned` to where it came from."""
        late = self._is_late(handoff, "complete", handoff.complete_by)
        if not handoff.accepted_at:  # who completes has accepted, too
            late = late or self._is_late(handoff, "accept", handoff.accept_by)
        handoff = replace(handoff, accepted_at=handoff.accepted_at or self._now)
        handoff = self._signal(handoff, kind, message, late)
        self.counts.append(Count("handoffs_completed", "late" if late else "in_time"))
        self.close(handoff, "completed")

    def reject(self, handoff: OpenHandoff, message: str) -> None:
        """Sent or accepted -> closed: rejected; its violation is open until it is sent again."""
        handoff = self._break(handoff, "rejected", None, message)
        handoff = self._signal(handoff, "rejected", message)
        self.close(handoff, "rejected", left=handoff.violations[-1:])

    def _is_late(self, handoff: OpenHandoff, deadline: Deadline, by: int) -> bool:
        return deadline in handoff.passed or bool(by and self._cause.timestamp > by)

    # --- time passes --------------------------------------------------------------------------

    def miss(self, handoff: OpenHandoff, deadline: Deadline, at: int) -> OpenHandoff:
        """A deadline passed: the handoff is stalled, which is a mark and not a state."""
        kind = _MISSED[deadline]
        message = messages.missed(kind, to(handoff))
        handoff = replace(handoff, passed=(*handoff.passed, deadline))
        handoff = self._break(handoff, kind, None, message, at)
        handoff = self._signal(handoff, "stalled", message, at=at)
        self.counts.append(Count("handoffs_stalled", deadline))
        self.open[handoff.id] = handoff
        return handoff

    def expire(self, handoff: OpenHandoff) -> None:
        """Nobody closed it in all that time, or the task has too many."""
        self.close(self._signal(handoff, "expired", messages.expired(to(handoff))), "expired")

    def discard(self, handoff: OpenHandoff, message: str) -> None:
        """Held -> closed: a person decided that nobody is to get it."""
        self.close(self._signal(handoff, "discarded", message), "discarded")

    def close(
        self,
        handoff: OpenHandoff,
        how: Way,
        successor: str | None = None,
        left: tuple[OpenViolation, ...] = (),
    ) -> None:
        """Closed in any way: its violations are resolved, but for what is `left`."""
        if handoff.state == "held":
            self._packages.append(Emit(HELD, handoff.id, None))
        self._resolve(handoff, [v for v in handoff.violations if v not in left], how)
        self.open.pop(handoff.id)
        rejected = bare(handoff, *left) if left else None
        self.closed.append(Closed(handoff.id, how, successor, rejected))
        self.forget_closed(MAX_CLOSED)
        if handoff.accepted_at:
            arrived = bare(handoff)
            self.arrived = arrived if arrived.size <= MAX_ARRIVED else None
        self.counts.append(Count("handoffs_closed", how))

    def trim(self) -> None:
        """Past the limits of a task the oldest goes: what is rejected, and then what is open."""
        most, largest = self._limits.open_handoffs, self._limits.state_bytes
        while len(self.open) > most:
            self.expire(next(iter(self.open.values())))
        rejected = [closed.rejected for closed in self.closed if closed.rejected is not None]
        size = sum(handoff.size for handoff in (*rejected, *self.open.values()))
        while size > largest and (rejected or len(self.open) > 1):
            if rejected:
                oldest = rejected.pop(0)
                self._resolve(oldest, oldest.violations, "expired")
                self.closed = [
                    replace(c, rejected=None) if c.rejected is oldest else c for c in self.closed
                ]
            else:
                oldest = next(iter(self.open.values()))
                self.expire(oldest)
            size -= oldest.size

    def forget_closed(self, most: int) -> None:
        """Forget the oldest closed ones; what was rejected in them nobody will send again."""
        while len(self.closed) > most:
            rejected = self.closed.pop(0).rejected
            if rejected is not None:
                self._resolve(rejected, rejected.violations, "expired")

    # --- what it carries changes --------------------------------------------------------------

    def fill(self, handoff: OpenHandoff, filled: dict[str, Kept], resolution: str) -> OpenHandoff:
        """A sent one gets what it lacked, in its next revision; fidelity stays as it was."""
        contract = self.contract_of(handoff)
        values = handoff.values | filled
        handoff = replace(
            handoff,
            values=values,
            missing=tuple([name for name in handoff.missing if name not in filled]),
            completeness=share(contract, [n for n, k in values.items() if k.how != "as_sent"]),
        )
        gone = [v for v in handoff.violations if v.kind != "rule_failed" and v.subject in filled]
        failed = [v for v in _of_kind(handoff, "rule_failed") if v.trial is None]
        if contract is not None and failed:
            still = {rule.name for rule, _ in failing(contract, values, frozenset())}
            gone += [v for v in failed if v.subject not in still]
        handoff = self._resolve(handoff, gone, resolution)
        return self._revise(handoff, contract)

    def fill_late(self, handoff: OpenHandoff, names: Collection[str], output: ToolOutput) -> None:
        """Missing fields of a sent one that an output has captured just now, elsewhere."""
        contract = self.contract_of(handoff)
        if contract is None or output.stage == handoff.to_stage:
            return
        filled: dict[str, Kept] = {}
        for name in handoff.missing:
            field = contract.fields_by_name.get(name)
            if field is None or not any(top in names for top in field.tops):
                continue
            late = learnt(field, self.memory)
            if late is not None and late.capture.event_id == output.id:
                filled[name] = late.kept()
                self._remember(name, late.value, late.capture, late.top, handoff)
        if filled:
            self.fill(handoff, filled, "arrived_late")

    def judge_again(self, handoff: OpenHandoff, override: bool = False) -> None:
        """A held one is judged anew, with what was learnt and set since, under the contract of
        today; sent when nothing holds it any more, or when a person overrides what does."""
        contract = self.newest_of(handoff)
        beginning = begun_again(handoff, contract)
        if any(h.slot == beginning.slot for h in self.open.values() if h.id != handoff.id):
            # The new version names a receiver to whom this task has a handoff open already.
            contract = self.contract_of(handoff)
            beginning = begun_again(handoff, contract)

        def judge(filled: dict[str, Kept]) -> Verdict:
            return decide(
                beginning,
                self.publisher.workflow,
                source_of(handoff),
                carry(handoff.context),
                self.memory.as_before(handoff.before),
                self._tables,
                self._now,
                filled,
            )

        verdict = judge(handoff.amended)
        late = self._learnt(handoff, contract, verdict.missing)
        if contract is not None and contract.version == handoff.version:
            # What it has learnt it keeps until something newer comes, whatever the task forgets.
            for name, kept in handoff.values.items():
                if kept.how == "late" and name in verdict.missing:
                    newer = late.get(name)
                    if newer is None or newer.occurred_at <= kept.occurred_at:
                        late[name] = kept
        if late:
            verdict = judge({**late, **handoff.amended})
        held = handoff
        handoff = replace(
            handoff,
            version=contract.version if contract is not None else None,
            receiver=verdict.route.to.receiver,
            to_team=verdict.route.to.team,
            to_stage=verdict.route.to.stage,
            owner=verdict.route.to.owner,
            owner_contact=verdict.route.to.owner_contact,
            values=verdict.values,
            missing=verdict.missing,
            fidelity=verdict.fidelity,
            completeness=verdict.completeness,
        )
        if verdict.holding and not override:
            handoff = self._settle(held, handoff, verdict)
            if handoff != held:
                handoff = self._revise(handoff, contract)
            self.open[handoff.id] = handoff
            return
        self._packages.append(Emit(HELD, handoff.id, None))
        handoff = replace(self._sent(handoff, contract), overridden=override)
        handoff = self._settle(held, handoff, verdict)
        handoff = self._resolve(handoff, _of_kind(handoff, "held_too_long"), "released")
        handoff = self._revise(handoff, contract)
        handoff = self._signal(handoff, "released", messages.released(to(handoff), override))
        self.counts.append(Count("handoffs_released", "overridden" if override else "mended"))
        self.open[handoff.id] = handoff
        self.remember_moved(handoff, verdict.moved)

    def amend_held(self, id_: str, filled: dict[str, Kept]) -> None:
        """A person has set fields of a held one."""
        handoff = self.open[id_]
        self.judge_again(replace(handoff, amended=handoff.amended | filled))

    def _learnt(
        self, handoff: OpenHandoff, contract: Contract | None, missing: Iterable[str]
    ) -> dict[str, Kept]:
        """What the task learnt, since a handoff was held, of the fields that it misses."""
        found: dict[str, Kept] = {}
        for name in missing:
            field = contract.fields_by_name.get(name) if contract is not None else None
            late = learnt(field, self.memory) if field is not None else None
            if late is None or late.top not in handoff.before:
                continue
            capture, before = late.capture, handoff.before[late.top]
            if capture.alias_of is not None:
                continue  # a package that went out carried it: that is no news
            stood = () if before is None else (before, *before.behind)
            if any(_same_origin(capture, old) for old in stood):
                continue  # nor is it that one touched a capture
            if capture.topic != OUTPUTS or capture.offset > handoff.offset:
                found[name] = late.kept()
        return found

    def _settle(self, held: OpenHandoff, handoff: OpenHandoff, verdict: Verdict) -> OpenHandoff:
        """The violations of now: those whose cause is gone are resolved, new ones opened."""
        found = {violation.id(handoff): (violation, text) for violation, text in verdict.opened}
        absent = any(violation.kind == "receiver_missing" for violation, _ in verdict.opened)
        there = set()
        for violation in handoff.violations:
            id_ = violation.id(handoff)
            differs = id_ in found and violation.reason != found[id_][0].reason
            if differs and violation.kind in RECEIVING:
                # Broken in another way now: what is open says how.
                handoff = self._resolve(handoff, [violation], "judged_again")
                continue
            there.add(id_)
            if id_ in found or violation.trial is not None or violation.kind == "held_too_long":
                continue
            kept = handoff.values.get(violation.subject or "")
            if held.version != handoff.version:
                word = "judged_again"
            else:
                how = kept.how if kept is not None else None
                word = _why_gone(violation, how, absent)
            handoff = self._resolve(handoff, [violation], word)
        for id_, (violation, text) in found.items():
            if id_ not in there:
                handoff = self._open(handoff, violation, text)
        return handoff

    def retract(self, names: Iterable[str], at: int) -> None:
        """What was taken back goes from the held ones too; packages already sent stay."""
        gone = set(names)
        for handoff in list(self.open.values()):
            if handoff.state != "held" or at < handoff.occurred_at:
                continue
            context = {n: v for n, v in handoff.context.items() if n not in gone}
            amended = {n: v for n, v in handoff.amended.items() if n not in gone}
            before: dict[str, Capture | None] = {}
            for name, capture in handoff.before.items():
                hit = capture is not None and not gone.isdisjoint((name, capture.alias_of))
                before[name] = None if hit else capture
            contract = self.contract_of(handoff)
            values = {
                name: kept
                for name, kept in handoff.values.items()
                if kept.how != "late"
                or kept.occurred_at > at
                or contract is None
                or gone.isdisjoint(contract.fields_by_name[name].tops)
            }
            self.open[handoff.id] = replace(
                handoff, context=context, amended=amended, before=before, values=values
            )

    def keep_before(self, earlier: Mapping[str, Capture], but: Collection[str] = ()) -> None:
        """Held ones, `but` for some, remember what stood `earlier` under names captured anew."""
        held = [handoff for handoff in self._held() if handoff.id not in but]
        if held:
            self._keep(held, self.memory.changed_since(earlier))

    def keep_forgotten(self, forgotten: Mapping[str, Capture]) -> None:
        """Held ones are judged again by what stood before them, though the task forgets it."""
        if forgotten:
            self._keep(self._held(), forgotten)

    def _held(self) -> list[OpenHandoff]:
        return [handoff for handoff in self.open.values() if handoff.state == "held"]

    def _keep(self, held: list[OpenHandoff], changed: Mapping[str, Capture | None]) -> None:
        for handoff in held:
            before = {**changed, **handoff.before}
            self.open[handoff.id] = weighed(replace(handoff, before=before))

    def remember_moved(self, handoff: OpenHandoff, moved: list[Finding]) -> None:
        """What a sent package carried is remembered under the receiver's names, with its origin."""
        for finding in moved:
            kept = handoff.values.get(finding.name)
            if finding.value is None or kept is None or kept.value != finding.value:
                continue
            source = finding.capture or Capture(
                finding.value,
                kept.stage,
                kept.tool,
                kept.event_id,
                kept.occurred_at,
                OUTPUTS,
                handoff.partition,
                handoff.offset,
            )
            self._remember(finding.name, finding.value, source, finding.source, handoff)

    def _remember(
        self, name: str, value: bytes, source: Capture, source_name: str, handoff: OpenHandoff
    ) -> None:
        held = self.memory.captures.get(name)
        if (
            held is not None
            and held.occurred_at > source.occurred_at
            and held.event_id != handoff.event_id  # its own context, captured after it was judged
        ):
            return  # the task has learnt something later under that name
        self.memory.alias(name, value, source, source.alias_of or source_name, handoff.hop)
        if self.memory.captures.get(name) is not held:
            self._keep(self._held(), {name: held})  # whoever was held before it knew nothing of it

    # --- its receiver changes -----------------------------------------------------------------

    def look_again(self, handoff: OpenHandoff) -> None:
        """A sent one: who receives it now? Owners end, receivers retire, groups fall silent."""
        contract = self.contract_of(handoff)
        there, _, broken = destination(handoff.receiver, contract, self._tables, self._now)
        wanted = {(found.kind, found.reason): found for found in broken}
        absent = any(found.kind == "receiver_missing" for found in broken)
        for violation in handoff.violations:
            if violation.kind not in RECEIVING:
                continue
            if wanted.pop((violation.kind, violation.reason), None) is None:
                word = _why_gone(violation, None, absent)
                handoff = self._resolve(handoff, [violation], word)
        reassigned = there.owner is not None and there.owner != handoff.owner
        if reassigned:
            handoff = replace(
                handoff,
                owner=there.owner,
                owner_contact=there.owner_contact,
                to_team=there.team,
            )
        for found in wanted.values():
            message = messages.about_handoff(
                found,
                sender(handoff),
                to(handoff),
                handoff.asked_to,
                handoff.asked_contract,
                self.publisher.workflow,
            )
            handoff = self._break(handoff, found.kind, found.reason, message)
        if reassigned:
            handoff = self._revise(handoff, contract)
            handoff = self._signal(handoff, "reassigned", messages.reassigned(to(handoff)))
        self.open[handoff.id] = handoff

    # --- somebody types again what the system knew ----------------------------------------------

    def reentered(self, handoff: OpenHandoff, name: str, capture: Capture) -> None:
        """A value that the task had, that no package carried, and that was captured again where
        the handoff went. A closed handoff keeps no violation: it is resolved at once."""
        violation = OpenViolation(
            "context_reentered",
            name,
            handoff.version,
            self._severity(handoff, "context_reentered"),
            1,
            self._cause.event_id or handoff.event_id,
            self._cause.occurred_at,
            self._now,
            origin=replace(capture, value=None, hashes=(), behind=()),
            candidates=capture.candidates(),
        )
        if any(v.id(handoff) == violation.id(handoff) for v in handoff.violations):
            return
        message = messages.reentered(name, capture, to(handoff))
        is_open = handoff.id in self.open
        handoff = self._open(handoff, violation, message)
        if is_open:
            self.open[handoff.id] = handoff
        else:
            self._resolve(handoff, handoff.violations[-1:], "completed")

    # --- what is published ----------------------------------------------------------------------

    def _publish(self, handoff: OpenHandoff, contract: Contract | None, queue: str | None) -> None:
        package = self.publisher.package(handoff, contract)
        if handoff.state == "held":
            self._packages.append(Emit(HELD, handoff.id, package))
            return
        self._packages.append(Emit(PACKAGES, self.publisher.task_id, package))
        if queue is not None:
            self._packages.append(Emit(queue, self.publisher.task_id, package))

    def _revise(self, handoff: OpenHandoff, contract: Contract | None) -> OpenHandoff:
        """The next revision of its package."""
        handoff = weighed(replace(handoff, revision=handoff.revision + 1))
        _, queue, _ = destination(handoff.receiver, contract, self._tables, self._now)
        self._publish(handoff, contract, queue)
        self.open[handoff.id] = handoff
        return handoff

    def _break(
        self,
        handoff: OpenHandoff,
        kind: ViolationKind,
        reason: str | None,
        message: str,
        at: int | None = None,
    ) -> OpenHandoff:
        """Open a violation about the handoff as a whole."""
        violation = OpenViolation(
            kind,
            None,
            handoff.version,
            self._severity(handoff, kind),
            1,
            self._cause.event_id or handoff.event_id,
            self._cause.occurred_at if at is None else at,
            self._now,
            reason,
        )
        return self._open(handoff, violation, message)

    def _severity(self, handoff: OpenHandoff, kind: ViolationKind) -> Severity:
        contract = self.contract_of(handoff)
        return contract.severity_of(kind) if contract is not None else default_severity(kind)

    def _open(self, handoff: OpenHandoff, violation: OpenViolation, message: str) -> OpenHandoff:
        episode = handoff.episodes.get(violation.id(handoff), 0) + 1
        violation = replace(violation, episode=episode)
        handoff = replace(handoff, violations=(*handoff.violations, violation))
        self._emit_opened(handoff, violation, message)
        return handoff

    def publish_violation(self, record: Violation) -> None:
        """A violation that belongs to no handoff of the task."""
        self._violations.append(Emit(VIOLATIONS, self.publisher.task_id, record))

    def _emit_opened(self, handoff: OpenHandoff, violation: OpenViolation, message: str) -> None:
        record = self.publisher.opened(handoff, violation, message)
        self._violations.append(Emit(VIOLATIONS, self.publisher.task_id, record))

    def _resolve(
        self, handoff: OpenHandoff, gone: Collection[OpenViolation], resolution: str
    ) -> OpenHandoff:
        if not gone:
            return handoff
        episodes = dict(handoff.episodes)
        for violation in gone:
            episodes[violation.id(handoff)] = violation.episode
            record = self.publisher.resolved(handoff, violation, resolution)
            self._violations.append(Emit(VIOLATIONS, self.publisher.task_id, record))
        left = tuple([v for v in handoff.violations if v not in gone])
        return replace(handoff, violations=left, episodes=episodes)

    def _signal(
        self,
        handoff: OpenHandoff,
        kind: SignalKind,
        message: str,
        late: bool = False,
        at: int | None = None,
    ) -> OpenHandoff:
        handoff = replace(handoff, signals=handoff.signals + 1)
        occurred_at = self._cause.occurred_at if at is None else at
        record = self.publisher.signal(handoff, kind, message, occurred_at, late)
        self._signals.append(Emit(SIGNALS, self.publisher.task_id, record))
        return handoff


def _must_complete(handoff: OpenHandoff, contract: Contract | None) -> bool:
    """Whether more than acceptance was promised."""
    if contract is None:
        return bool(handoff.complete_by)
    return contract.complete_within is not None


def _same_origin(one: Capture, other: Capture) -> bool:
    return (one.topic, one.offset) == (other.topic, other.offset)


def _of_kind(handoff: OpenHandoff, kind: ViolationKind) -> list[OpenViolation]:
    return [violation for violation in handoff.violations if violation.kind == kind]


def _why_gone(violation: OpenViolation, how: str | None, absent: bool) -> str:
    """The word for why a violation's cause is gone; `how` its field stands in the package now.

    Of a receiver that is `absent` no owner is missed and nobody is silent, which mends nothing.
    """
    match violation.kind:
        case _ if absent and violation.kind in RECEIVING:
            return "judged_again"
        case "owner_missing":
            return "owner_named"
        case "receiver_missing" | "receiver_silent":
            return "receiver_there"
    return {"amended": "amended", "late": "arrived_late"}.get(how or "", "judged_again")
