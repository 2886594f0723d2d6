"""What must hold of everything that is published, kept record by record.

The ledger reads the published bytes, as any consumer does, and knows nothing else of the core. What
it expects it works out by itself: when a deadline passes, what is late, when a handoff closes and a
task is forgotten, and how much of each is counted.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Final, cast

import msgspec

from processors.integrity.limits import Limits
from schemas import serde
from schemas.flow import InputEvent, Output, Record, Refused
from schemas.records import Ack, Package, Signal, ToolOutput, Violation
from schemas.serde import epoch_ms
from tests.simulated.known import (
    BrokenRule,
    Known,
    Remembered,
    contract_of,
    is_all,
    is_whole,
    must,
    promised,
    trace,
)
from tests.simulated.watched import CoreCall

PACKAGES: Final = "handoff.packages"
HELD: Final = "handoff.held"
VIOLATIONS: Final = "handoff.violations"
SIGNALS: Final = "handoff.signals"
DEAD_LETTERS: Final = "handoff.dead-letters"
# A deadline's violation, and how it is counted.
DEADLINES: Final = {
    "not_accepted": "accept",
    "not_completed": "complete",
    "held_too_long": "release",
}
# A signal that closes a handoff, and the way.
CLOSING: Final = {
    "completed": "completed",
    "returned": "completed",
    "rejected": "rejected",
    "discarded": "discarded",
    "superseded": "superseded",
    "expired": "expired",
}
RANKS: Final = {VIOLATIONS: 1, SIGNALS: 2}  # of one input: packages and queues, then these
# What is worked out here; other counts are nobody's promise.
COUNTED: Final = frozenset(
    {
        "applied",
        "duplicates",
        "refused",
        "dead_letters",
        "failed_wakes",
        "handoffs_begun",
        "handoffs_accepted",
        "handoffs_completed",
        "handoffs_stalled",
        "handoffs_released",
        "handoffs_closed",
        "tasks_forgotten",
    }
)

_package = msgspec.json.Decoder(Package).decode
_violation = msgspec.json.Decoder(Violation).decode
_signal = msgspec.json.Decoder(Signal).decode


class Ledger:
    """Reads what one run commits. Raises `BrokenRule` at the first record that cannot be right.

    `punctual`: no outage, so every deadline has to be met at its moment.
    """

    def __init__(self, limits: Limits, punctual: bool = True) -> None:
        self.limits = limits
        self.handoffs: dict[str, Known] = {}
        self.held: dict[str, Package] = {}  # the compacted content of the topic
        self.tasks: dict[str, Remembered] = {}
        self.seen: Counter[tuple[str, str]] = Counter()  # what the run came across
        self._punctual = punctual
        self._calls: list[CoreCall] = []
        self._open: defaultdict[str, dict[str, Known]] = defaultdict(dict)  # by task
        self._counts: Counter[tuple[str, str]] = Counter()
        self._arrival: InputEvent | None = None  # of the call at hand
        self._asked: tuple[Known, str] | None = None  # by an ack: a handoff, its state before
        self._released: set[str] = set()  # by the call at hand
        self._closed: list[Known] = []  # by the call at hand

    # --- beside the driver --------------------------------------------------------------------

    def called(self, call: CoreCall) -> None:
        """The driver was given something; it counts when it is committed."""
        self._calls.append(call)

    def dropped(self) -> None:
        """The open transaction never happened."""
        self._calls.clear()

    def committed(self, counts: Counter[tuple[str, str]]) -> None:
        """All of that is committed; `counts` are those of the whole run."""
        calls, self._calls = self._calls, []
        for call in calls:
            self._take(call)
        counted = {name: n for name, n in counts.items() if name[0] in COUNTED and n}
        expected = {name: n for name, n in self._counts.items() if n}
        differing = [
            f"{' '.join(name)} {counted.get(name, 0)}, and it must be {expected.get(name, 0)}"
            for name in sorted(counted.keys() | expected.keys())
            if counted.get(name) != expected.get(name)
        ]
        must(not differing, "accounting", "; ".join(differing))

    def still_open(self) -> list[Known]:
        """The handoffs that are not closed, in the order in which they began."""
        return [known for known in self.handoffs.values() if known.state != "closed"]

    # --- one call -----------------------------------------------------------------------------

    def _take(self, call: CoreCall) -> None:
        self._arrival = self._asked = None
        self._released.clear()
        self._closed.clear()
        if self._punctual:
            self._has_slept(call)
        outputs = call.outputs
        if isinstance(call.given, Record):
            if not self._is_read(call, call.given):
                return
        elif call.given is not None:
            must(call.given <= call.now, "deadline", "a deadline that has not passed yet")
        by_task: dict[str, list[Output]] = defaultdict(list)
        for output in outputs:
            by_task[self._task_of(output)].append(output)
        revised: dict[str, Package] = {}
        for task, published in by_task.items():
            self._read(call, task, published, revised)
        if isinstance(call.given, int):
            self._passes(call, call.given)
        self._agree(call)
        for id_, package in revised.items():
            is_whole(call, self.handoffs[id_], package, id_ in self._released)

    def _task_of(self, output: Output) -> str:
        if output.value is None:
            known = self.handoffs.get((output.key or b"").decode())
            return "" if known is None else known.task
        if output.topic == VIOLATIONS:
            violation = _violation(output.value)
            return f"{violation.workflow}/{violation.task_id}"
        if output.topic == SIGNALS:
            known = self.handoffs.get(_signal(output.value).handoff_id)
            return "" if known is None else known.task
        package = _package(output.value)
        return f"{package.workflow}/{package.task_id}"

    def _read(
        self, call: CoreCall, task: str, outputs: list[Output], revised: dict[str, Package]
    ) -> None:
        rank = 0
        for position, output in enumerate(outputs):
            before, rank = rank, RANKS.get(output.topic, 0)
            must(rank >= before, "order", f"{output.topic} after a record that comes later")
            if output.topic == VIOLATIONS:
                self._read_violation(call, output)
            elif output.topic == SIGNALS:
                self._read_signal(call, output)
            else:
                package = self._read_package(call, task, outputs, position)
                if package is not None:
                    revised[package.id] = package

    # --- a record -----------------------------------------------------------------------------

    def _is_read(self, call: CoreCall, record: Record) -> bool:
        """Whether an input counts: it is understood, and it has not come before."""
        letters = [output for output in call.outputs if output.topic == DEAD_LETTERS]
        if letters:
            self._set_aside(call, letters[0])
            return False
        try:
            arrival = serde.parse(
                record, call.now, self.limits.record_bytes, self.limits.backfill_after_ms
            )
        except Refused as refused:
            raise BrokenRule("letter", f"{refused.code}, and there is no dead letter") from refused
        body = arrival.body
        task = f"{body.workflow}/{body.task_id}"
        is_output = isinstance(body, ToolOutput)
        event = ("", body.tool, body.id) if is_output else (record.topic, body.by, body.id)
        known = self.tasks.get(task)
        if known is not None and event in known.events:
            must(not call.outputs, "repeated", f"{body.id} came again, and was published")
            self._counts["duplicates", ""] += 1
            return False
        self._counts["applied", ""] += 1
        if known is None and is_output:
            known = self.tasks[task] = Remembered(call.partition, call.now)
        if known is not None:
            known.events.append(event)
            known.last_input_at = call.now
        self._arrival = arrival
        for handoff in self.handoffs.values():
            if handoff.task == task:
                for kind, at in self._moments(handoff, whatever=True).items():
                    if abs(call.now - at) <= 1:
                        self.seen["near", f"{kind} {call.now - at:+}"] += 1
        if isinstance(body, Ack):
            asked = self._open[task].get(body.handoff_id or self._only_one(task, body.receiver))
            if asked is not None and asked.state != "held":
                self._asked = asked, asked.state
        return True

    def _only_one(self, task: str, receiver: str | None) -> str:
        """The id of the one that an ack without an id is about; "" where there is no such one."""
        there = [
            known.id
            for known in self._open[task].values()
            if known.state != "held" and receiver in (None, known.package.to.receiver)
        ]
        return there[0] if len(there) == 1 else ""

    def _set_aside(self, call: CoreCall, letter: Output) -> None:
        must(call.outputs == [letter], "letter", "a dead letter, and something beside it")
        headers = dict(letter.headers)
        self.seen["dead letter", headers["__streams.errors.exception"].decode()] += 1
        message = headers["__streams.errors.message"]
        must(b"our defect" not in message, "defect", trace(letter))
        self._counts["dead_letters", ""] += 1

    # --- time ---------------------------------------------------------------------------------

    def _has_slept(self, call: CoreCall) -> None:
        """Nothing was to happen before this call that has not happened."""
        bound = call.given if isinstance(call.given, int) else call.now
        for open_ in self._open.values():
            for known in open_.values():
                for kind, at in self._moments(known).items():
                    must(at >= bound, "deadline", f"{known.id} slept through {kind} at {at}")
        if self.limits.task_ttl_ms is None:
            return
        for task, remembered in self.tasks.items():
            ends = remembered.last_input_at + self.limits.task_ttl_ms
            must(self._open[task] or ends >= bound, "deadline", f"{task} lives after {ends}")

    def _passes(self, call: CoreCall, until: int) -> None:
        """These deadlines of a partition have passed: what of them ran is violated or closed."""
        for open_ in self._open.values():
            for known in [known for known in open_.values() if known.partition == call.partition]:
                moments = self._moments(known)
                if 0 < known.closes_at <= until < moments.get("expires", until + 1):
                    # Closed without a signal of its own: accepted, and nothing more was promised.
                    self._close(known, "completed")
                    continue
                for kind, at in moments.items():
                    must(at > until, "deadline", f"{known.id} slept through {kind} at {at}")
        if self.limits.task_ttl_ms is None:
            return
        for task, remembered in list(self.tasks.items()):
            ends = remembered.last_input_at + self.limits.task_ttl_ms
            if remembered.partition == call.partition and not self._open[task] and ends <= until:
                del self.tasks[task]
                self._counts["tasks_forgotten", ""] += 1

    def _moments(self, known: Known, whatever: bool = False) -> dict[str, int]:
        """When something happens to an open handoff by itself (epoch ms); `whatever` its state."""
        moments = known.deadlines() if whatever else known.running()
        if self.limits.handoff_ttl_ms is not None:
            moments["expires"] = known.begun_at + self.limits.handoff_ttl_ms
        if known.closes_at:
            moments["closes"] = known.closes_at
        return moments

    def moments(self) -> list[tuple[str, int, Known | None]]:
        """What is to happen by itself, when, and to which handoff (None: to a task)."""
        found: list[tuple[str, int, Known | None]] = []
        for known in self.still_open():
            found += [(kind, at, known) for kind, at in self._moments(known).items()]
            if known.package.begun == "implicit":
                found.append(("grace", known.begun_at + self.limits.early_grace_ms, known))
        if self.limits.task_ttl_ms is not None:
            ttl = self.limits.task_ttl_ms
            found += [("task", known.last_input_at + ttl, None) for known in self.tasks.values()]
        return found

    # --- packages -----------------------------------------------------------------------------

    def _read_package(
        self, call: CoreCall, task: str, outputs: list[Output], position: int
    ) -> Package | None:
        output = outputs[position]
        if output.topic == HELD:
            id_ = (output.key or b"").decode()
            if output.value is None:
                must(self.held.pop(id_, None), "held", f"{id_}: a tombstone for what is not held")
                return None
            package = _package(output.value)
            must(package.id == id_, "key", f"{id_} is not the key of its package")
            must(package.disposition == "held", "held", f"{id_} is on the held topic, and sent")
            self.held[id_] = package
            self._revise(call, task, package)
            return package
        must(output.value, "package", f"{output.topic}: a tombstone")
        package = _package(cast(bytes, output.value))
        must(output.key == package.task_id.encode(), "key", f"{package.id}: not keyed by its task")
        must(
            package.disposition == "sent" and package.id not in self.held,
            "held",
            f"{package.id} is held, and reached {output.topic}",
        )
        if output.topic != PACKAGES:
            twin = outputs[position - 1] if position else output
            must(
                twin.topic == PACKAGES and twin.value == output.value,
                "queue",
                f"{output.topic} holds what is not on {PACKAGES} just before",
            )
            must(self._queue(call, package) == output.topic, "queue", f"{output.topic}: not theirs")
            return None
        queue = self._queue(call, package)
        following = outputs[position + 1].topic if position + 1 < len(outputs) else None
        must(queue in (None, following), "queue", f"{package.id} did not reach {queue}")
        self._revise(call, task, package)
        return package

    def _queue(self, call: CoreCall, package: Package) -> str | None:
        receiver = call.tables.receivers.get(package.to.receiver)
        if receiver is None or call.tables.absence(receiver.id) is not None:
            return None
        found: str | None = receiver.queue
        return found

    def _revise(self, call: CoreCall, task: str, package: Package) -> None:
        self.seen["begun", package.begun] += 1
        for origin in package.provenance.values():
            self.seen["how", origin.how] += 1
        known = self.handoffs.get(package.id)
        if known is None:
            known = self._begin(call, task, package)
        else:
            must(known.state != "closed", "closed", f"{package.id} was revised after it was closed")
            must(
                package.revision == known.package.revision + 1,
                "revision",
                f"{package.id}: {known.package.revision}, then {package.revision}",
            )
            must(
                package.disposition == "sent" or known.state == "held",
                "disposition",
                f"{package.id} was sent and is held again",
            )
        if package.disposition == "sent":
            if known.state == "held" or package.revision == 1:
                self._sent(call, known, package)
            must(
                package.fidelity == known.fidelity,
                "fidelity",
                f"{package.id}: {known.fidelity} when it was sent, now {package.fidelity}",
            )
            must(
                (package.accept_by, package.complete_by)
                == (known.package.accept_by, known.package.complete_by)
                or package.id in self._released,
                "deadline",
                f"{package.id}: other deadlines than when it was sent",
            )
        known.package = package

    def _begin(self, call: CoreCall, task: str, package: Package) -> Known:
        must(package.revision == 1, "revision", f"{package.id} begins with {package.revision}")
        known = Known(
            package.id,
            task,
            package,
            package.disposition,
            call.partition,
            call.now,
            backfill=package.backfill,
            took=package.begun == "implicit" and self._accepts(),
        )
        before = self.handoffs.get(package.supersedes or "")
        if before is not None:
            must(before.task == task, "supersedes", f"{package.id}: of another task")
            known.took = known.took or before.took
            known.ended = before.ended
            if package.disposition == "sent" and package.begun != "implicit":
                known.closes_at = before.closes_at
        contract = contract_of(call, package)
        if package.disposition == "held" and contract is not None and not package.backfill:
            known.release_by = call.now + contract.release_within if contract.release_within else 0
        self.handoffs[package.id] = self._open[task][package.id] = known
        self._counts["handoffs_begun", package.disposition] += 1
        return known

    def _accepts(self) -> bool:
        """Whether the output that is judged may accept a handoff."""
        body = None if self._arrival is None else self._arrival.body
        return not isinstance(body, ToolOutput) or body.accepts

    def _sent(self, call: CoreCall, known: Known, package: Package) -> None:
        """It leaves: its deadlines count from now, but for a replay's."""
        self._released.add(package.id)
        known.fidelity = package.fidelity
        known.state = "accepted" if known.took else "sent"
        closes_at = known.closes_at or call.now + self.limits.early_grace_ms
        known.closes_at = closes_at if known.took and is_all(call, package) else 0
        contract = contract_of(call, package)
        replayed = known.backfill or (self._arrival is not None and self._arrival.backfill)
        for kind, within in (
            ("not_accepted", contract and not known.took and contract.accept_within),
            ("not_completed", contract and contract.complete_within),
        ):
            by = call.now + within if within and not replayed else 0
            found = promised(package, kind)
            if kind == "not_completed" and known.ended and not found:
                continue
            before = self.handoffs.get(package.supersedes or "")
            if kind == "not_accepted" and before is not None and before.state == "sent":
                # Who tries again puts off nothing.
                first = promised(before.package, kind)
                if found == first and first <= by:
                    continue
            must(found == by, "deadline", f"{package.id}: {found} promised, and it must be {by}")

    def _repeated(self, known: Known, signal: Signal) -> None:
        """A handoff came again after it was accepted: nothing else follows from that."""
        must(known.took or known.state == "closed", "repeated", f"{signal.id}: nobody has it")
        body = self._arrival.body if self._arrival is not None else None
        must(isinstance(body, ToolOutput), "repeated", f"{signal.id}: by no output")
        assert isinstance(body, ToolOutput)
        must(signal.id == f"{known.id}:{body.id}:duplicate", "signal", f"{signal.id}: {body.id}")
        sender = known.package.from_
        must(
            (body.stage or sender.stage, body.tool) == (sender.stage, sender.tool),
            "repeated",
            f"{signal.id}: by {body.tool} at {body.stage}",
        )

    # --- violations ---------------------------------------------------------------------------

    def _read_violation(self, call: CoreCall, output: Output) -> None:
        violation = _violation(output.value or b"")
        self.seen[violation.status, violation.resolution or violation.kind] += 1
        must(output.key == violation.task_id.encode(), "key", f"{violation.id}: not its task")
        if violation.kind == "unknown_handoff":
            must(violation.status == "opened", "unknown", f"{violation.id} is resolved")
            must(len(call.outputs) == 1, "unknown", f"{violation.id} changed a handoff")
            return
        known = self.handoffs.get(violation.handoff_id or "")
        must(known, "violation", f"{violation.id} is of no handoff")
        assert known is not None
        id_ = violation.id
        if violation.status == "opened":
            episode = known.episodes.get(id_, 0) + 1
            must(id_ not in known.open, "violation", f"{id_} opened while it is open")
            must(
                violation.episode == episode,
                "episode",
                f"{id_} opened as episode {violation.episode}, and {episode} is next",
            )
            known.open[id_] = violation
            known.episodes[id_] = episode
            package = known.package
            found = (violation.contract, violation.contract_version)
            judging = call.tables.version(*found)
            its_own = found == (package.contract, package.contract_version)
            if judging is not None and judging.trial and not its_own:
                known.trial.add(id_)
            if violation.kind in DEADLINES:
                self._in_time(call, known, violation)
        else:
            opened = known.open.pop(id_, None)
            known.trial.discard(id_)
            must(opened, "violation", f"{id_} is resolved, and is not open")
            assert opened is not None
            must(opened.episode == violation.episode, "episode", f"{id_}: another one is resolved")

    def _in_time(self, call: CoreCall, known: Known, violation: Violation) -> None:
        """A deadline's violation comes at the deadline, once, and none from a replay."""
        must(isinstance(call.given, int), "deadline", f"{violation.id}, and no deadline passed")
        must(not known.backfill, "backfill", f"{violation.id} pages for a replay")
        by = known.running().get(violation.kind)
        at = epoch_ms(violation.occurred_at)
        must(by == at, "deadline", f"{violation.id} at {at}, and {by} is its deadline")
        must(at <= cast(int, call.given), "deadline", f"{violation.id} is early")
        known.missed.add(violation.kind)
        self._counts["handoffs_stalled", DEADLINES[violation.kind]] += 1

    # --- signals ------------------------------------------------------------------------------

    def _read_signal(self, call: CoreCall, output: Output) -> None:
        signal = _signal(output.value or b"")
        self.seen["signal", signal.kind] += 1
        must(output.key == signal.task_id.encode(), "key", f"{signal.id}: not keyed by its task")
        known = self.handoffs.get(signal.handoff_id)
        must(known, "signal", f"{signal.id} is about no handoff")
        assert known is not None
        if signal.kind == "duplicate":
            self._repeated(known, signal)
            return
        known.signals += 1
        must(
            signal.id == f"{known.id}:{known.signals}:{signal.kind}",
            "signal",
            f"{signal.id} is number {known.signals} of its handoff",
        )
        must(known.state != "closed", "closed", f"{signal.id} after the handoff was closed")
        must(signal.late == self._is_late(known, signal), "late", f"{signal.id}: {signal.late}")
        how = "late" if signal.late else "in_time"
        if signal.kind == "accepted":
            must(known.state == "sent", "signal", f"{signal.id} of a handoff that is {known.state}")
            known.state, known.took = "accepted", True
            self._counts["handoffs_accepted", how] += 1
            if is_all(call, known.package):
                self._close(known, "completed")
        elif signal.kind in CLOSING:
            must(
                signal.kind != "discarded" or known.state == "held", "signal", f"{signal.id}: sent"
            )
            if CLOSING[signal.kind] == "completed":
                must(known.state != "held", "signal", f"{signal.id} of a held one")
                self._counts["handoffs_completed", how] += 1
            if signal.kind == "expired" and isinstance(call.given, int):
                at = self._moments(known)["expires"]
                must(at <= call.given, "deadline", f"{signal.id} is early, it ends at {at}")
            self._close(known, CLOSING[signal.kind])
        else:
            if signal.kind == "released":
                overridden = known.package.overridden
                self._counts["handoffs_released", "overridden" if overridden else "mended"] += 1
            expected = {"held": "held", "sent": "sent", "released": "sent"}.get(signal.kind)
            known.told = expected or known.told
            if expected == "sent" and known.took:
                expected = "accepted"
            must(
                expected in (None, known.state),
                "signal",
                f"{signal.id} of a handoff that is {known.state}",
            )

    def _is_late(self, known: Known, signal: Signal) -> bool:
        """Whether a receiver accepts or completes after a deadline: it has passed, or the answer
        reached Kafka after it."""
        if self._arrival is None or signal.kind not in ("accepted", "completed", "returned"):
            return False
        kinds = ["not_accepted"] if signal.kind == "accepted" else ["not_completed"]
        if not known.took:
            kinds.append("not_accepted")  # who completes has accepted, too
        at = self._arrival.timestamp
        return any(kind in known.missed or 0 < promised(known.package, kind) < at for kind in kinds)

    def _close(self, known: Known, way: str) -> None:
        known.state, known.way = "closed", way
        del self._open[known.task][known.id]
        self._closed.append(known)
        self._counts["handoffs_closed", way] += 1

    # --- after the call -----------------------------------------------------------------------

    def _agree(self, call: CoreCall) -> None:
        """What was read of a call agrees with itself, and with what was asked."""
        for known in self._closed:
            left = [violation.kind for violation in known.open.values()]
            must(left in ([], ["rejected"]), "open", f"{known.id} is closed, and {left} are open")
            must(known.id not in self.held, "held", f"{known.id} is closed, and held")
        for open_ in self._open.values():
            for known in open_.values():
                is_held = known.state == "held"
                must(is_held == (known.id in self.held), "held", f"{known.id} is elsewhere")
                told = "held" if is_held else "sent"
                must(known.told == told, "signal", f"{known.id} is {told}: its sender knows not")
        if self._arrival is None:
            return
        body = self._arrival.body
        if isinstance(body, ToolOutput):
            for known in self._open[f"{body.workflow}/{body.task_id}"].values():
                # It may have completed one that waits for its declaration, which is told later.
                known.ended = known.ended or self._waits(known, call.now)
        elif self._asked is not None and isinstance(body, Ack):
            self._answered(call, *self._asked, body.status)

    def _waits(self, known: Known, now: int) -> bool:
        """Whether nobody declared a handoff, and somebody may still."""
        grace_ends = known.begun_at + self.limits.early_grace_ms
        return known.package.begun == "implicit" and now < grace_ends

    def _answered(self, call: CoreCall, known: Known, before: str, status: str) -> None:
        """An ack of what is sent or accepted does what it says, or says again what is so."""
        if status == "rejected":
            must(known.way == "rejected", "ack", f"{known.id} was rejected, and is {known.state}")
        elif status == "accepted":
            changed = before == "sent"
            must(bool(call.outputs) == changed, "ack", f"{known.id} was accepted twice or not")
        elif self._waits(known, call.now) or known.ended:
            must(not call.outputs or known.ended, "ack", f"{known.id} waits, and is told")
            known.ended = True
        else:
            must(known.way == "completed", "ack", f"{known.id} was completed, and is {known.state}")

    # --- the end ------------------------------------------------------------------------------

    def close(self, left: object) -> None:
        """After the last deadline: everything is closed, resolved and forgotten."""
        must(not left, "forgotten", f"{left} are still in the state")
        must(not self.tasks, "forgotten", f"{sorted(self.tasks)} are still remembered")
        must(not self.held, "held", f"{sorted(self.held)} are on the held topic for ever")
        for known in self.handoffs.values():
            must(known.state == "closed", "lost", f"{known.id} is {known.state} for ever")
            must(not known.open, "open", f"{sorted(known.open)} are open for ever")
