"""The life of a task's handoffs: begun, held, sent, accepted, stalled, closed.

`Handoffs` holds those of one task while one input is judged. Each method is a row of the lifecycle
table (DESIGN section 5): it moves one handoff on and notes what is to be published about it.
"""

from collections.abc import Collection, Mapping
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from processors.contracts.compiled import Contract
from processors.contracts.tables import Tables
from processors.integrity import messages
from processors.integrity.capture import Memory
from processors.integrity.cause import Cause
from processors.integrity.feed import Feed
from processors.integrity.fields import Finding, learnt, share
from processors.integrity.handoff import Verdict, failing
from processors.integrity.limits import Limits
from processors.integrity.outbox import Outbox
from processors.integrity.publish import sender, to
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
    encode,
    size,
)
from schemas.records import SignalKind, ToolOutput, ViolationKind
from schemas.wire import MAX_RECORD_BYTES

OUTPUTS = "handoff.tool-outputs"
MAX_ARRIVED = 16 << 10  # bytes of the last handoff that arrived: its sender may have long names
MOST_TOLD = 4096  # bytes of a violation, or of a handoff with none and without what it carries
REST_BYTES = 256 << 10  # of a task beside its captures and handoffs: what is closed, retracted, ...
_MISSED: dict[Deadline, ViolationKind] = {
    "accept": "not_accepted",
    "complete": "not_completed",
    "release": "held_too_long",
}


class Handoffs(Struct, gc=False):
    """A task's open and closed handoffs while one input is judged, and what is published of them.

    Nothing here changes the task: `open`, `closed` and `arrived` become the next task's. A method
    that moves a handoff on returns it as it is then.
    """

    cause: Cause
    tables: Tables
    limits: Limits
    memory: Memory
    outbox: Outbox
    open: dict[str, OpenHandoff]
    closed: list[Closed]
    arrived: OpenHandoff | None

    @classmethod
    def of(
        cls, task: Task, cause: Cause, tables: Tables, limits: Limits, memory: Memory
    ) -> "Handoffs":
        """Those of a task, before anything has moved them on."""
        outbox = Outbox(cause, tables, Feed(cause, tables, task.edges), limits.output_bytes)
        open_ = {handoff.id: handoff for handoff in task.open}
        return cls(cause, tables, limits, memory, outbox, open_, list(task.closed), task.arrived)

    def newest_of(self, handoff: OpenHandoff) -> Contract | None:
        """The contract version that judges a handoff now: held ones take the newest."""
        if handoff.state != "held" or handoff.contract is None:
            return self.outbox.contract_of(handoff)
        return self.tables.contracts.get(handoff.contract) or self.outbox.contract_of(handoff)

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
                late=before.late,
                ends=before.ends,
                close_by=0 if handoff.state == "held" else before.close_by,
            )
        self.memory.size += 4 * len(handoff.note or "")
        if handoff.begun == "implicit":
            handoff = replace(
                handoff,
                accepted_at=self.cause.now,
                close_by=self.cause.now + self.limits.early_grace_ms,
            )
        if handoff.state == "sent":
            handoff = self.sent(handoff, contract)
        elif contract is not None and contract.release_within and not handoff.backfill:
            handoff = replace(handoff, release_by=self.cause.now + contract.release_within)
        self.outbox.package(handoff, contract, verdict.route.queue)
        for violation, message in verdict.opened:
            self.outbox.opened(handoff, violation, message)
        kind: SignalKind = "held" if handoff.state == "held" else "sent"
        message = messages.begun(verdict)
        self.outbox.told(handoff, kind, message)
        self.outbox.count("handoffs_begun", kind)
        self.outbox.feed.begun(handoff, contract)
        self.outbox.feed.repeats(handoff, contract, before, self.memory.captures)
        if before is not None:
            message = messages.superseded(to(before))
            self.close(self.outbox.signal(before, "superseded", message), "superseded", handoff.id)
        # What the receiver rejected before is mended by sending again.
        for index, closed in enumerate(self.closed):
            rejected = closed.rejected
            if rejected is not None and rejected.slot == handoff.slot:
                self.closed[index] = replace(closed, rejected=None)
                self.outbox.resolve(rejected, rejected.violations, "sent_again")
        self.open[handoff.id] = handoff
        return handoff

    def sent(self, handoff: OpenHandoff, contract: Contract | None) -> OpenHandoff:
        """As it is once it is sent. Deadlines count from here; a replay starts none."""
        accept_by = complete_by = close_by = 0
        if contract is not None and not (handoff.backfill or self.cause.backfill):
            if contract.accept_within and not handoff.accepted_at:
                accept_by = self.cause.now + contract.accept_within
            if contract.complete_within and not handoff.ends:
                complete_by = self.cause.now + contract.complete_within
        if handoff.accepted_at and not _must_complete(handoff, contract):
            # Accepted before it was sent: nobody will close it.
            close_by = handoff.close_by or self.cause.now + self.limits.early_grace_ms
        return replace(
            handoff,
            state="accepted" if handoff.accepted_at else "sent",
            sent_at=self.cause.now,
            accept_by=accept_by,
            complete_by=complete_by,
            close_by=close_by,
        )

    # --- the receiver says something ----------------------------------------------------------

    def accept(self, handoff: OpenHandoff, message: str) -> None:
        """Sent -> accepted, and closed where nothing more is promised."""
        late = self._is_late(handoff, "accept", handoff.accept_by)
        handoff = replace(handoff, state="accepted", accepted_at=self.cause.now, late=late)
        handoff = self.outbox.resolve(handoff, of_kind(handoff, "not_accepted"), "accepted")
        handoff = self.outbox.signal(handoff, "accepted", message, late)
        self.outbox.count("handoffs_accepted", "late" if late else "in_time")
        self.outbox.feed.accepted(handoff, self.cause.is_ack)
        if _must_complete(handoff, self.outbox.contract_of(handoff)):
            self.open[handoff.id] = handoff
        else:
            self.close(handoff, "completed", in_time=not late)

    def complete(
        self, handoff: OpenHandoff, kind: Literal["completed", "returned"], message: str
    ) -> None:
        """Sent or accepted -> closed: completed, or `returned` to where it came from."""
        grace_ends = handoff.begun_at + self.limits.early_grace_ms
        if handoff.begun == "implicit" and self.cause.now < grace_ends:
            # Its declaration may still be on its way, and must find it open.
            self.open[handoff.id] = replace(handoff, ends=kind, close_by=grace_ends)
            return
        late = self._is_late(handoff, "complete", handoff.complete_by)
        if not handoff.accepted_at:  # who completes has accepted, too
            late = late or self._is_late(handoff, "accept", handoff.accept_by)
            self.outbox.feed.accepted(handoff, self.cause.is_ack)
        handoff = replace(handoff, accepted_at=handoff.accepted_at or self.cause.now)
        handoff = self.outbox.signal(handoff, kind, message, late)
        self.outbox.count("handoffs_completed", "late" if late else "in_time")
        self.close(handoff, "completed", ended=kind, in_time=not (late or handoff.late))

    def end_grace(self, handoff: OpenHandoff) -> None:
        """Nobody declared an implicit one in time: closed, and told what has ended it."""
        if handoff.ends:
            message = messages.ended(to(handoff), handoff.ends)
            handoff = self.outbox.signal(handoff, handoff.ends, message)
            self.outbox.count("handoffs_completed", "in_time")
        self.close(handoff, "completed", ended=handoff.ends, in_time=not handoff.late)

    def reject(self, handoff: OpenHandoff, message: str) -> None:
        """Sent or accepted -> closed: rejected; its violation is open until it is sent again."""
        handoff = self.outbox.break_promise(handoff, "rejected", None, message)
        handoff = self.outbox.signal(handoff, "rejected", message)
        self.close(handoff, "rejected", left=handoff.violations[-1:])

    def _is_late(self, handoff: OpenHandoff, deadline: Deadline, by: int) -> bool:
        return deadline in handoff.passed or bool(by and self.cause.timestamp > by)

    # --- time passes --------------------------------------------------------------------------

    def miss(self, handoff: OpenHandoff, deadline: Deadline, at: int) -> OpenHandoff:
        """A deadline passed: the handoff is stalled, which is a mark and not a state."""
        kind = _MISSED[deadline]
        message = messages.missed(kind, to(handoff))
        if not handoff.passed:
            self.outbox.feed.count(handoff, "stalled")
        handoff = replace(handoff, passed=(*handoff.passed, deadline))
        handoff = self.outbox.break_promise(handoff, kind, None, message, at)
        handoff = self.outbox.signal(handoff, "stalled", message, at=at)
        self.outbox.count("handoffs_stalled", deadline)
        self.open[handoff.id] = handoff
        return handoff

    def expire(self, handoff: OpenHandoff) -> None:
        """Nobody closed it in all that time, or the task has too many."""
        self.close(self.outbox.signal(handoff, "expired", messages.expired(to(handoff))), "expired")

    def discard(self, handoff: OpenHandoff, message: str) -> None:
        """Held -> closed: a person decided that nobody is to get it."""
        self.close(self.outbox.signal(handoff, "discarded", message), "discarded")

    def close(
        self,
        handoff: OpenHandoff,
        how: Way,
        successor: str | None = None,
        left: tuple[OpenViolation, ...] = (),
        ended: Literal["completed", "returned"] | None = None,
        in_time: bool = False,
    ) -> None:
        """Closed in any way: its violations are resolved, but for what is `left`. What `ended` it
        tells one that came back from one that was completed there."""
        if handoff.state == "held":
            self.outbox.not_held(handoff)
        self.outbox.resolve(handoff, [v for v in handoff.violations if v not in left], how)
        self.open.pop(handoff.id)
        rejected = bare(handoff, *left) if left else None
        self.closed.append(Closed(handoff.id, how, successor, rejected))
        self.forget_closed(MAX_CLOSED)
        if handoff.accepted_at:
            arrived = bare(handoff)
            self.arrived = arrived if size(arrived) <= MAX_ARRIVED else None
        self.outbox.count("handoffs_closed", how)
        self.outbox.feed.closed(handoff, ended or how, in_time)

    def trim(self, weigh: bool = True) -> None:
        """Past the limits of a task the oldest goes: what is rejected, and then what is open.

        Without `weigh` they are weighed only where what was captured since may be so much.
        """
        # What its captures leave of a record of the changelog.
        alone = MAX_RECORD_BYTES - self.limits.state_bytes - REST_BYTES
        most, largest = self.limits.open_handoffs, min(self.limits.state_bytes, alone)
        while len(self.open) > most:
            self.expire(next(iter(self.open.values())))
        rejected = [closed.rejected for closed in self.closed if closed.rejected is not None]
        kept = [*rejected, *self.open.values()]
        # What packages carry was captured, nearly all of it: mostly there is nothing to weigh.
        broken = sum([len(h.violations) + len(h.missing) + len(h.episodes) for h in kept])
        bound = 2 * len(kept) * (self.memory.size + MOST_TOLD) + broken * MOST_TOLD
        if not weigh and bound <= largest:
            return
        total = sum(map(size, kept))
        while total > largest and (rejected or len(self.open) > 1):
            if rejected:
                oldest = rejected.pop(0)
                self.outbox.resolve(oldest, oldest.violations, "expired")
                self.closed = [
                    replace(c, rejected=None) if c.rejected is oldest else c for c in self.closed
                ]
            else:
                oldest = next(iter(self.open.values()))
                self.expire(oldest)
            total -= size(oldest)
        if total > alone and len(encode(list(self.open.values()))) > alone:
            # The last one: with what else the task holds it would not fit into one record.
            self.expire(next(iter(self.open.values())))
            total = 0
        self.memory.size = max(self.memory.size, total)

    def forget_closed(self, most: int) -> None:
        """Forget the oldest closed ones; what was rejected in them nobody will send again."""
        while len(self.closed) > most:
            rejected = self.closed.pop(0).rejected
            if rejected is not None:
                self.outbox.resolve(rejected, rejected.violations, "expired")

    # --- what it carries changes --------------------------------------------------------------

    def fill(self, handoff: OpenHandoff, filled: dict[str, Kept], resolution: str) -> OpenHandoff:
        """A sent one gets what it lacked, in its next revision; fidelity stays as it was."""
        contract = self.outbox.contract_of(handoff)
        values = handoff.values | filled
        handoff = replace(
            handoff,
            values=values,
            missing=tuple([name for name in handoff.missing if name not in filled]),
            completeness=share(contract, [n for n, k in values.items() if k.how != "as_sent"]),
        )
        gone = [v for v in handoff.violations if v.kind != "rule_failed" and v.subject in filled]
        failed = [v for v in of_kind(handoff, "rule_failed") if v.trial is None]
        if contract is not None and failed:
            still = {rule.name for rule, _ in failing(contract, values, frozenset())}
            gone += [v for v in failed if v.subject not in still]
        handoff = self.outbox.resolve(handoff, gone, resolution)
        return self.revise(handoff, contract)

    def fill_late(self, handoff: OpenHandoff, names: Collection[str], output: ToolOutput) -> None:
        """Missing fields of a sent one that an output has captured just now, elsewhere."""
        contract = self.outbox.contract_of(handoff)
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

    def keep_before(self, earlier: Mapping[str, Capture], but: Collection[str] = ()) -> None:
        """Held ones, `but` for some, remember what stood `earlier` under names captured anew."""
        if held := self._held(but):
            self._keep(held, self.memory.changed_since(earlier))

    def keep_forgotten(self, forgotten: Mapping[str, Capture]) -> None:
        """Held ones are judged again by what stood before them, though the task forgets it."""
        if forgotten:
            self._keep(self._held(), forgotten)

    def _held(self, but: Collection[str] = ()) -> list[OpenHandoff]:
        return [h for h in self.open.values() if h.state == "held" and h.id not in but]

    def _keep(self, held: list[OpenHandoff], changed: Mapping[str, Capture | None]) -> None:
        captures = self.memory.captures
        for handoff in held:
            # That there was nothing under a name that holds nothing again needs no mention.
            before = {
                name: capture
                for name, capture in {**changed, **handoff.before}.items()
                if capture is not None or name in captures
            }
            self.open[handoff.id] = replace(handoff, before=before)

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
        if not handoff.event_id:
            return  # of a version that kept no more than its slot: it expires
        contract = self.outbox.contract_of(handoff)
        there, _, broken = destination(handoff.receiver, contract, self.tables, self.cause.now)
        wanted = {(found.kind, found.reason): found for found in broken}
        before = {violation.kind for violation in handoff.violations if violation.trial is None}
        absent = any(found.kind == "receiver_missing" for found in broken)
        for violation in handoff.violations:
            if violation.kind not in RECEIVING:
                continue
            if wanted.pop((violation.kind, violation.reason), None) is None:
                word = why_gone(violation, None, absent)
                handoff = self.outbox.resolve(handoff, [violation], word)
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
                self.cause.workflow,
            )
            told = found.kind in before  # broken in another way is no second break
            handoff = self.outbox.break_promise(
                handoff, found.kind, found.reason, message, told=told
            )
        if reassigned:
            handoff = self.revise(handoff, contract)
            handoff = self.outbox.signal(handoff, "reassigned", messages.reassigned(to(handoff)))
        self.open[handoff.id] = handoff

    # --- somebody types again what the system knew ----------------------------------------------

    def reentered(self, handoff: OpenHandoff, name: str, capture: Capture) -> None:
        """A value that the task had, that no package carried, and that was captured again where
        the handoff went. A closed handoff keeps no violation: it is resolved at once."""
        violation = OpenViolation(
            "context_reentered",
            name,
            handoff.version,
            self.outbox.severity(handoff, "context_reentered"),
            1,
            self.cause.event_id or handoff.event_id,
            self.cause.occurred_at,
            self.cause.now,
            origin=replace(capture, value=None, hashes=(), behind=()),
            candidates=capture.candidates(),
        )
        if any(v.id(handoff) == violation.id(handoff) for v in handoff.violations):
            return
        message = messages.reentered(name, capture, to(handoff))
        self.outbox.feed.count(handoff, "reentered")
        is_open = handoff.id in self.open
        handoff = self.outbox.open(handoff, violation, message)
        if is_open:
            self.open[handoff.id] = handoff
        else:
            self.outbox.resolve(handoff, handoff.violations[-1:], "completed")

    def revise(self, handoff: OpenHandoff, contract: Contract | None) -> OpenHandoff:
        """The next revision of its package."""
        handoff = replace(handoff, revision=handoff.revision + 1)
        _, queue, _ = destination(handoff.receiver, contract, self.tables, self.cause.now)
        self.outbox.package(handoff, contract, queue)
        self.open[handoff.id] = handoff
        return handoff


def _must_complete(handoff: OpenHandoff, contract: Contract | None) -> bool:
    """Whether more than acceptance is promised still."""
    if handoff.ends:
        return False
    if contract is None:
        return bool(handoff.complete_by)
    return contract.complete_within is not None


def of_kind(handoff: OpenHandoff, kind: ViolationKind) -> list[OpenViolation]:
    return [violation for violation in handoff.violations if violation.kind == kind]


def why_gone(violation: OpenViolation, how: str | None, absent: bool) -> str:
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
