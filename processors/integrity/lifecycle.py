"""The life of a task's handoffs: begun, held, sent, accepted, stalled, closed.

`Handoffs` holds those of one task while one input is judged. The table in `schemas.lifecycle` says
what can happen to one, in which states. Each method moves one on by a row of it, and notes what
is to be published about it.
"""

from collections.abc import Collection
from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from processors.contracts.compiled import Contract, Field
from processors.contracts.feeding import WorkflowFeed
from processors.contracts.registry import RegistrySnapshot
from processors.integrity import loops, sentences
from processors.integrity.candidates import Candidate
from processors.integrity.events import EventRef, weight
from processors.integrity.feed import Feed
from processors.integrity.fields import FieldResult, learnt, share
from processors.integrity.handoff import Verdict, failing
from processors.integrity.limits import Limits
from processors.integrity.memory import Memory
from processors.integrity.outbox import Outbox
from processors.integrity.publish import sender, to
from processors.integrity.receiver import RECEIVING, destination
from processors.integrity.state import (
    MAX_CLOSED,
    Closed,
    CloseReason,
    Deadline,
    OpenHandoff,
    OpenViolation,
    PackageField,
    Task,
    bare,
    size,
)
from processors.integrity.step import StepContext
from schemas.lifecycle import TRANSITIONS, TransitionName
from schemas.records import SignalKind, ViolationKind
from schemas.serde import MAX_RECORD_BYTES

REENTERED: Final = "context_reentered"
MAX_ARRIVED = 16 << 10  # bytes of the last handoff that arrived: its sender may have long names
REST_BYTES = 256 << 10  # of a task beside its events and handoffs: what is closed, retracted, ...
MOST_TOLD = 4096  # bytes of a violation, or of a handoff with none and without what it carries
_MISSED: dict[Deadline, TransitionName] = {
    "accept": "accept_missed",
    "complete": "complete_missed",
    "release": "release_missed",
}


class Handoffs(Struct, gc=False):
    """A task's open and closed handoffs while one input is judged, and what is published of them.

    Nothing here changes the task: `open`, `closed` and `arrived` become the next task's. What a
    method changes of a handoff it changes in a draft of its own, one an input (`draft`).
    """

    step: StepContext
    tables: RegistrySnapshot
    limits: Limits
    memory: Memory
    outbox: Outbox
    open: dict[str, OpenHandoff]
    closed: list[Closed]
    arrived: OpenHandoff | None
    rounds: dict[bytes, int]
    _drafts: set[str] = set()

    @classmethod
    def of(
        cls, task: Task, step: StepContext, tables: RegistrySnapshot, limits: Limits, memory: Memory
    ) -> "Handoffs":
        """Those of a task, before anything has moved them on."""
        outbox = Outbox(step, tables, Feed(step, tables, task.edges), limits.output_bytes)
        open_ = {handoff.id: handoff for handoff in task.open} if task.open else {}
        return cls(
            step,
            tables,
            limits,
            memory,
            outbox,
            open=open_,
            closed=list(task.closed),
            arrived=task.arrived,
            rounds=task.rounds,
        )

    def draft(self, handoff: OpenHandoff) -> OpenHandoff:
        """An open handoff, to be changed: the same draft each time."""
        id_ = handoff.id
        if id_ in self._drafts:
            return self.open[id_]
        self._drafts.add(id_)
        self.open[id_] = handoff = replace(self.open[id_])
        return handoff

    def _draft(self, handoff: OpenHandoff, transition: TransitionName) -> OpenHandoff:
        """The draft of a handoff to which this may happen in its state."""
        assert handoff.state in TRANSITIONS[transition].before
        return self.draft(handoff)

    def put(self, handoff: OpenHandoff) -> None:
        """A handoff as it is from now on, made while this input is judged."""
        self._drafts.add(handoff.id)
        self.open[handoff.id] = handoff

    def held(self) -> list[OpenHandoff]:
        """Those that are held."""
        return [handoff for handoff in self.open.values() if handoff.state == "held"]

    def newest_of(self, handoff: OpenHandoff) -> Contract | None:
        """The contract version that judges a handoff now: held ones take the newest."""
        if handoff.state != "held" or handoff.contract is None:
            return self.outbox.contract_of(handoff)
        return self.tables.contracts.get(handoff.contract) or self.outbox.contract_of(handoff)

    # --- it begins ----------------------------------------------------------------------------

    def begin(
        self,
        handoff: OpenHandoff,
        verdict: Verdict,
        retried: str | None = None,
        *,
        accepted: bool = False,
    ) -> None:
        """Judged: sent or held; the one that is open in its slot is superseded. Where that is the
        one that is `retried`, its deadline stays: who tries again puts off nothing. `accepted`: the
        output with which it begins is the receiver's."""
        contract = verdict.route.contract
        now = self.step.now
        slot = handoff.slot
        before = self._before(handoff, contract) if self.open else None
        if before is not None:
            handoff.supersedes = before.id
            handoff.accepted_at = before.accepted_at
            handoff.late = before.late
            handoff.ends = before.ends
            handoff.close_by = 0 if handoff.state == "held" else before.close_by
        if accepted:
            handoff.accepted_at = now
            handoff.close_by = now + self.limits.early_grace_ms
        if handoff.state == "sent":
            self.send(handoff, contract)
            kept = before.accept_by if before is not None and before.id == retried else 0
            if kept > now:  # else somebody was blamed already
                handoff.accept_by = min(handoff.accept_by, kept)
        elif contract is not None and contract.release_within and not handoff.backfill:
            handoff.release_by = now + contract.release_within
        outbox = self.outbox
        for violation, message in verdict.opened:
            outbox.open(handoff, violation, message)
        if contract is not None:
            self._count_round(handoff, contract)
        outbox.package(handoff, contract, verdict.route.queue)
        kind: SignalKind = "held" if handoff.state == "held" else "sent"
        outbox.signal(handoff, kind, verdict.message)
        outbox.count("handoffs_begun", kind)
        secrets = self.memory.secrets
        outbox.feed.begun(handoff, contract, secrets)
        outbox.feed.repeats(handoff, contract, before, secrets)
        if before is not None:
            before = self._draft(before, "superseded")
            outbox.signal(before, "superseded", sentences.superseded(to(before)))
            self.close(before, "superseded", handoff.id)
        # What the receiver rejected before is mended by sending again.
        for index, closed in enumerate(self.closed):
            rejected = closed.rejected
            if rejected is not None and rejected.slot == slot:
                self.closed[index] = replace(closed, rejected=None)
                outbox.resolve(replace(rejected), rejected.violations, "sent_again")
        self.put(handoff)

    def _before(self, handoff: OpenHandoff, contract: Contract | None) -> OpenHandoff | None:
        """The open one in the slot of a handoff, or else one that meant what it says rightly."""
        slot = handoff.slot
        before = next((h for h in self.open.values() if h.slot == slot), None)
        if before is None and contract is not None:
            before = next((h for h in self.open.values() if self._was_meant(h, handoff)), None)
        return before

    def _count_round(self, handoff: OpenHandoff, contract: Contract) -> None:
        """Whether it goes back where another one came from, and how often that was so."""
        self.rounds, returns = loops.after(self.rounds, handoff.stage, handoff.stage_here)
        if not returns:
            return
        self.outbox.feed.count(handoff, "returns")
        if returns in (contract.loop_after, 2 * contract.loop_after):
            severity = self.outbox.severity(handoff, "handoff_loop")
            if returns > contract.loop_after and severity == "warning":
                severity = "error"
            message = sentences.looped(sender(handoff), to(handoff), returns)
            self.outbox.feed.count(handoff, "looped")
            self.outbox.break_promise(handoff, "handoff_loop", message, severity=severity)

    def _was_meant(self, held: OpenHandoff, handoff: OpenHandoff) -> bool:
        """Whether a handoff says rightly what one that is held for a receiver nobody knows meant:
        the stage has one receiver only, or what it carries is the same."""
        if held.state != "held" or held.contract is not None or held.stage != handoff.stage:
            return False
        if held.receiver in self.tables.receivers:
            return False
        here = self.tables.at(self.step.workflow, handoff.stage)
        if len({contract.receiver for contract in here}) == 1:
            return True
        return held.context == self.memory.said(handoff.source.number)

    def duplicate(self, handoff: OpenHandoff) -> None:
        """The handoff with its id is accepted or completed already: this is the same one again."""
        self.outbox.signal(handoff, "duplicate", sentences.duplicate(to(handoff)))
        self.outbox.count("handoffs_repeated")

    def send(self, handoff: OpenHandoff, contract: Contract | None) -> None:
        """It is sent. Deadlines count from here; a replay starts none."""
        now = self.step.now
        accept_by = complete_by = close_by = 0
        if contract is not None and not (handoff.backfill or self.step.backfill):
            if contract.accept_within and not handoff.accepted_at:
                accept_by = now + contract.accept_within
            if contract.complete_within and not handoff.ends:
                complete_by = now + contract.complete_within
        if handoff.accepted_at and not _must_complete(handoff, contract):
            # Accepted before it was sent: nobody will close it.
            close_by = handoff.close_by or now + self.limits.early_grace_ms
        handoff.state = "accepted" if handoff.accepted_at else "sent"
        handoff.sent_at = now
        handoff.accept_by = accept_by
        handoff.complete_by = complete_by
        handoff.close_by = close_by

    # --- the receiver says something ----------------------------------------------------------

    def accept(self, handoff: OpenHandoff, message: str) -> None:
        """Sent -> accepted, and closed where nothing more is promised."""
        handoff = self._draft(handoff, "accepted")
        late = self._is_late(handoff, "accept", handoff.accept_by)
        handoff.state = "accepted"
        handoff.accepted_at = self.step.now
        handoff.late = late
        self.outbox.resolve(handoff, of_kind(handoff, "not_accepted"), "accepted")
        self.outbox.resolve(handoff, of_kind(handoff, "source_silent"), "source_there")
        self.outbox.signal(handoff, "accepted", message, late)
        self.outbox.count("handoffs_accepted", "late" if late else "in_time")
        self.outbox.feed.accepted(handoff, self.step.is_ack)
        if not _must_complete(handoff, self.outbox.contract_of(handoff)):
            self.close(handoff, "completed", in_time=not late)

    def complete(
        self, handoff: OpenHandoff, kind: Literal["completed", "returned"], message: str
    ) -> None:
        """Sent or accepted -> closed: completed, or `returned` to where it came from."""
        handoff = self._draft(handoff, kind)
        grace_ends = handoff.begun_at + self.limits.early_grace_ms
        if handoff.begun == "implicit" and self.step.now < grace_ends:
            # Its declaration may still be on its way, and must find it open.
            if not handoff.accepted_at:  # who completes has accepted, too
                handoff.late = self._is_late(handoff, "accept", handoff.accept_by)
                handoff.state = "accepted"
                handoff.accepted_at = self.step.now
                self.outbox.feed.accepted(handoff, self.step.is_ack)
            handoff.ends = kind
            handoff.close_by = grace_ends
            return
        late = self._is_late(handoff, "complete", handoff.complete_by)
        if not handoff.accepted_at:  # who completes has accepted, too
            late = late or self._is_late(handoff, "accept", handoff.accept_by)
            self.outbox.feed.accepted(handoff, self.step.is_ack)
            handoff.accepted_at = self.step.now
        self.outbox.signal(handoff, kind, message, late)
        self.outbox.count("handoffs_completed", "late" if late else "in_time")
        self.close(handoff, "completed", ended=kind, in_time=not (late or handoff.late))

    def end_grace(self, handoff: OpenHandoff) -> None:
        """Nobody declared an implicit one in time: closed, and told what has ended it."""
        handoff = self.draft(handoff)
        if handoff.ends:
            message = sentences.ended(to(handoff), handoff.ends)
            self.outbox.signal(handoff, handoff.ends, message)
            self.outbox.count("handoffs_completed", "in_time")
        self.close(handoff, "completed", ended=handoff.ends, in_time=not handoff.late)

    def reject(self, handoff: OpenHandoff, message: str) -> None:
        """Sent or accepted -> closed: rejected; its violation is open until it is sent again."""
        handoff = self._draft(handoff, "rejected")
        self.outbox.break_promise(handoff, "rejected", message)
        self.outbox.signal(handoff, "rejected", message)
        self.close(handoff, "rejected", left=handoff.violations[-1:])

    def _is_late(self, handoff: OpenHandoff, deadline: Deadline, by: int) -> bool:
        return deadline in handoff.passed or bool(by and self.step.timestamp > by)

    # --- time passes --------------------------------------------------------------------------

    def miss(self, handoff: OpenHandoff, deadline: Deadline, at: int) -> None:
        """A deadline passed: the handoff is stalled, which is a mark and not a state."""
        transition = _MISSED[deadline]
        handoff = self._draft(handoff, transition)
        kind = TRANSITIONS[transition].violation
        assert kind is not None
        message = sentences.missed(kind, to(handoff))
        if not handoff.passed:
            self.outbox.feed.count(handoff, "stalled")
        handoff.passed = (*handoff.passed, deadline)
        self.outbox.break_promise(handoff, kind, message, at=at)
        self.outbox.signal(handoff, "stalled", message, at=at)
        self.outbox.count("handoffs_stalled", deadline)

    def look_at_sources(self, handoff: OpenHandoff, silent: WorkflowFeed | None) -> bool:
        """A source that a deadline of it waits for is `silent`, or none is any more. Returns
        whether that is new."""
        before = of_kind(handoff, "source_silent")
        gone = [each for each in before if silent is None or each.reason != silent.source]
        if not gone and (silent is None or before):
            return False
        handoff = self.draft(handoff)
        self.outbox.resolve(handoff, gone, "source_there")
        if silent is not None:
            message = sentences.source_silent(silent.source, to(handoff))
            self.outbox.break_promise(handoff, "source_silent", message, silent.source)
        return True

    def expire(self, handoff: OpenHandoff) -> None:
        """Nobody closed it in all that time, or the task has too many."""
        handoff = self._draft(handoff, "expired")
        self.outbox.signal(handoff, "expired", sentences.expired(to(handoff)))
        self.close(handoff, "expired")

    def discard(self, handoff: OpenHandoff, message: str) -> None:
        """Held -> closed: a person decided that nobody is to get it."""
        handoff = self._draft(handoff, "discarded")
        self.outbox.signal(handoff, "discarded", message)
        self.close(handoff, "discarded")

    def close(
        self,
        handoff: OpenHandoff,
        how: CloseReason,
        successor: str | None = None,
        left: tuple[OpenViolation, ...] = (),
        ended: Literal["completed", "returned"] | None = None,
        in_time: bool = False,
    ) -> None:
        """Closed in any way: its violations end, but for what is `left`. What `ended` it
        tells one that came back from one that was completed there."""
        if handoff.state == "held":
            self.outbox.not_held(handoff)
        gone = [violation for violation in handoff.violations if violation not in left]
        self.outbox.resolve_each(
            handoff, [(each, _end_of(each, handoff, how), None) for each in gone]
        )
        self.open.pop(handoff.id)
        rejected = bare(handoff, *left) if left else None
        self.closed.append(
            Closed(
                id=handoff.id,
                how=how,
                successor=successor,
                rejected=rejected,
                stage_here=handoff.stage_here,
                number=handoff.source.number,
            )
        )
        self.forget_closed(MAX_CLOSED)
        if handoff.accepted_at:
            self._arrive(handoff)
        self.outbox.count("handoffs_closed", how)
        self.outbox.feed.closed(handoff, ended or how, in_time)

    def _arrive(self, handoff: OpenHandoff) -> None:
        """The closed handoff that arrived last, and how often what was typed again there was."""
        arrived = bare(handoff)
        again = f"{REENTERED}:"
        arrived.episodes = {id_: n for id_, n in handoff.episodes.items() if again in id_}
        self.arrived = arrived if size(arrived) <= MAX_ARRIVED else None

    def trim(self, weigh: bool = True) -> int:
        """Past the limits of a task the oldest goes: what is rejected, and then what is open.

        Without `weigh` they are weighed only where what was captured since may be so much. Gives
        how many names hold nothing any more, as the task forgot their values.
        """
        # What its events leave of a record of the changelog.
        alone = MAX_RECORD_BYTES - self.limits.state_bytes - REST_BYTES
        most, largest = self.limits.open_handoffs, min(self.limits.state_bytes, alone)
        open_ = self.open
        while len(open_) > most:
            self.expire(next(iter(open_.values())))
        gone = self.memory.trim(self.held)
        rejected = []
        if self.closed:
            rejected = [closed.rejected for closed in self.closed if closed.rejected is not None]
        kept = [*rejected, *open_.values()] if rejected else open_.values()
        # What packages carry was captured, nearly all of it: mostly there is nothing to weigh.
        if not weigh and self.memory.whole:
            bound = len(kept) * (2 * self.memory.draft.size + MOST_TOLD)
            for h in kept:
                if h.violations or h.missing or h.episodes or h.note:
                    told = len(h.violations) + len(h.missing) + len(h.episodes)
                    bound += told * MOST_TOLD + 4 * len(h.note or "")
            if bound <= largest:
                return gone
        total = sum(map(size, kept)) + self._forgotten_size()
        while total > largest and (rejected or len(self.open) > 1):
            if rejected:
                oldest = rejected.pop(0)
                total -= size(oldest)
                self.outbox.resolve(replace(oldest), oldest.violations, "expired")
                self.closed = [
                    replace(c, rejected=None) if c.rejected is oldest else c for c in self.closed
                ]
            else:
                oldest = next(iter(self.open.values()))
                total -= size(oldest) + self._forgotten_size()
                self.expire(oldest)
                gone += self.memory.trim(self.held)
                total += self._forgotten_size()
        if total > alone:
            # The last one: with what else the task holds it would not fit into one record.
            self.expire(next(iter(self.open.values())))
            gone += self.memory.trim(self.held)
        return gone

    def _forgotten_size(self) -> int:
        return sum([weight(each.event) for each in self.memory.draft.forgotten])

    def forget_closed(self, most: int) -> None:
        """Forget the oldest closed ones; what was rejected in them nobody will send again."""
        while len(self.closed) > most:
            rejected = self.closed.pop(0).rejected
            if rejected is not None:
                self.outbox.resolve(replace(rejected), rejected.violations, "expired")

    # --- what it carries changes --------------------------------------------------------------

    def fill(self, handoff: OpenHandoff, filled: dict[str, PackageField], resolution: str) -> None:
        """A sent one gets what it lacked, in its next revision; fidelity stays as it was."""
        handoff = self._draft(handoff, "filled")
        contract = self.outbox.contract_of(handoff)
        values = handoff.values | filled
        handoff.values = values
        handoff.missing = tuple([name for name in handoff.missing if name not in filled])
        handoff.completeness = share(contract, [n for n, f in values.items() if f.how != "as_sent"])
        gone = [v for v in handoff.violations if v.kind != "rule_failed" and v.subject in filled]
        failed = [v for v in of_kind(handoff, "rule_failed") if v.trial is None]
        if contract is not None and failed:
            still = {rule.name for rule, _ in failing(contract, values, frozenset())}
            gone += [v for v in failed if v.subject not in still]
        self.outbox.resolve(handoff, gone, resolution)
        self.revise(handoff, contract)

    def fill_late(self, handoff: OpenHandoff, names: Collection[str], event: EventRef) -> None:
        """Missing fields of a sent one that an event has said just now, elsewhere."""
        contract = self.outbox.contract_of(handoff)
        if contract is None:
            return
        filled: dict[str, PackageField] = {}
        for name in handoff.missing:
            field = contract.fields_by_name.get(name)
            if field is None or not any(top in names for top in field.tops):
                continue
            late = learnt(field, self.memory.search)
            if late is not None and late.held.ref.number == event.number:
                filled[name] = late.packed()
                source_name = late.held.alias_of or late.held.top
                self._remember(
                    field,
                    late.value,
                    event,
                    source_name=source_name,
                    handoff=handoff,
                    candidates=late.candidates,
                )
        if filled:
            self.fill(handoff, filled, "arrived_late")

    def remember_moved(self, handoff: OpenHandoff, moved: list[FieldResult]) -> None:
        """What a sent package carried is remembered under the receiver's names, with its origin."""
        for result in moved:
            field = handoff.values.get(result.name)
            if result.value is None or field is None or field.value != result.value:
                continue
            held = result.held
            ref = field.ref if held is None else held.ref
            source_name = result.source if held is None else held.alias_of or result.source
            self._remember(
                result.field,
                result.value,
                ref,
                source_name=source_name,
                handoff=handoff,
                candidates=result.candidates,
            )

    def _remember(
        self,
        field: Field,
        value: bytes,
        ref: EventRef,
        source_name: str,
        handoff: OpenHandoff,
        candidates: int,
    ) -> None:
        newest = self.memory.search.newest(field)
        source = handoff.source
        at = ref.occurred_at
        if newest is not None and newest.at > at:
            if newest.number != source.number:
                return  # the task has learnt something later under that name
            at = source.occurred_at  # its own context was captured after it was judged
        self.memory.alias(
            field.name,
            value,
            ref,
            source_name=source_name,
            hop=handoff.hop,
            at=at,
            candidates=candidates,
        )

    # --- its receiver changes -----------------------------------------------------------------

    def look_again(self, handoff: OpenHandoff) -> None:
        """A sent one: who receives it now? Owners end, receivers retire, groups fall silent."""
        contract = self.outbox.contract_of(handoff)
        there, queue, broken = destination(handoff.receiver, contract, self.tables, self.step.now)
        wanted = {(found.kind, found.reason): found for found in broken}
        before = {violation.kind for violation in handoff.violations if violation.trial is None}
        absent = any(found.kind == "receiver_missing" for found in broken)
        gone = [
            violation
            for violation in handoff.violations
            if violation.kind in RECEIVING
            and wanted.pop((violation.kind, violation.reason), None) is None
        ]
        reassigned = there.owner is not None and there.owner != handoff.owner
        if not (gone or wanted or reassigned):
            return
        handoff = self.draft(handoff)
        for violation in gone:
            word = why_gone(violation, None, absent)
            again = any(found.kind == violation.kind for found in wanted.values())
            self.outbox.resolve(handoff, [violation], word, False if again else None)
        if reassigned:
            handoff.owner = there.owner
            handoff.owner_contact = there.owner_contact
            handoff.to_team = there.team
        for found in wanted.values():
            message = sentences.about_handoff(
                found,
                sender(handoff),
                to(handoff),
                asked=handoff.asked_to,
                named=handoff.asked_contract,
                workflow=self.step.workflow,
            )
            known = found.kind in before  # broken in another way is no second break
            self.outbox.break_promise(handoff, found.kind, message, found.reason, known=known)
        if reassigned or (gone and queue is not None and handoff.unqueued):
            # What was sent while there was no queue is on none: this revision is the first there.
            self.revise(handoff, contract)
        if reassigned:
            self.outbox.signal(handoff, "reassigned", sentences.reassigned(to(handoff)))

    # --- somebody types again what the system knew ----------------------------------------------

    def reentered(self, handoff: OpenHandoff, name: str, held: Candidate, candidates: int) -> None:
        """A value that the task had, that no package carried, and that was captured again where
        the handoff went. A closed handoff keeps no violation: it is resolved at once. Of a name
        that tells what is classified nothing is said."""
        if self.memory.secrets.told_by((name,), {}):
            return
        violation = OpenViolation(
            kind=REENTERED,
            subject=name,
            version=handoff.version,
            severity=self.outbox.severity(handoff, REENTERED),
            episode=1,
            event_id=self.step.event_id or handoff.source.event_id,
            occurred_at=self.step.occurred_at,
            detected_at=self.step.now,
            origin=held.ref,
            candidates=candidates,
        )
        if any(v.id(handoff) == violation.id(handoff) for v in handoff.violations):
            return
        is_open = handoff.id in self.open
        handoff = self.draft(handoff) if is_open else replace(handoff)
        self.outbox.feed.count(handoff, "reentered")
        self.outbox.open(handoff, violation, sentences.reentered(name, held.ref, to(handoff)))
        if not is_open:
            self.outbox.resolve(handoff, handoff.violations[-1:], "completed")
            if self.arrived is not None and self.arrived.id == handoff.id:
                self._arrive(handoff)

    def revise(self, handoff: OpenHandoff, contract: Contract | None) -> None:
        """The next revision of a draft's package."""
        handoff.revision += 1
        _, queue, _ = destination(handoff.receiver, contract, self.tables, self.step.now)
        self.outbox.package(handoff, contract, queue)


def _must_complete(handoff: OpenHandoff, contract: Contract | None) -> bool:
    """Whether more than acceptance is promised still."""
    if handoff.ends:
        return False
    if contract is None:
        return bool(handoff.complete_by)
    return contract.complete_within is not None


def _end_of(violation: OpenViolation, handoff: OpenHandoff, how: CloseReason) -> str:
    """The word for why a violation ends with its handoff: a value that the receiver never got is
    not there because the work is done without it."""
    of_a_field = violation.kind != "rule_failed" and violation.trial is None
    if how == "completed" and of_a_field and violation.subject in handoff.missing:
        return "never_reached"
    return how


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
