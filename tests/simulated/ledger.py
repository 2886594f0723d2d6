"""What must hold of everything that is published (DESIGN section 5), kept record by record.

The ledger reads the published bytes, as any consumer does, and compares them after each advance
with the state of the task. It stands between the driver and the core to know which records belong
to one advance; what it expects it works out by itself.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, cast

import msgspec

from processors.integrity import state
from processors.integrity.limits import Limits
from processors.integrity.state import Task
from processors.processor import Processor
from schemas.flow import Arrival, Due, Emit, Emitted, Input, Output
from schemas.records import Package, Signal, ToolOutput, Violation
from schemas.wire import epoch_ms
from tests.simulated.known import Broken, Call, Known, is_pure, is_whole, must, task_key, trace

PACKAGES: Final = "handoff.packages"
HELD: Final = "handoff.held"
VIOLATIONS: Final = "handoff.violations"
SIGNALS: Final = "handoff.signals"
DEAD_LETTERS: Final = "handoff.dead-letters"
DEADLINES: Final = {"not_accepted": "accept_by", "not_completed": "complete_by"}
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
ENDS: Final = ("applied", "duplicates", "refused", "dead_letters")

_package = msgspec.json.Decoder(Package).decode
_violation = msgspec.json.Decoder(Violation).decode
_signal = msgspec.json.Decoder(Signal).decode


class Ledger:
    """Reads what one run commits. Raises `Broken` at the first record that cannot be right.

    `punctual`: no outage, so every deadline has to be met at its moment.
    """

    def __init__(self, limits: Limits, punctual: bool = True) -> None:
        self.limits = limits
        self.handoffs: dict[str, Known] = {}
        self.held: dict[str, Package] = {}  # the compacted content of the topic
        self.letters = 0
        self.seen: Counter[tuple[str, str]] = Counter()  # what the run came across
        self._punctual = punctual
        self._calls: list[Call] = []
        self._open: defaultdict[str, dict[str, Known]] = defaultdict(dict)  # by task
        self._impure: Broken | None = None
        self._events: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)  # by task
        self._released: set[str] = set()  # by the advance at hand

    # --- beside the driver --------------------------------------------------------------------

    def watch(self, processor: Processor[Task]) -> Processor[Task]:
        """The processor, its advances noted and found to be pure."""

        def advance(
            task: Task | None, given: Input, tables: Any, now: int
        ) -> tuple[Task | None, list[Emitted]]:
            encoded = b"" if task is None else processor.encode(task)
            after, emits = processor.advance(task, given, tables, now)
            try:
                is_pure(processor, task, encoded, after)
            except Broken as broken:
                self._impure = broken  # raised here, the driver would make a dead letter of it
            name = task_key(after if task is None else task, given)
            records = sum(isinstance(emit, Emit) for emit in emits)
            self._calls.append(Call(name, given, now, tables, task, after, records))
            return after, emits

        return replace(processor, advance=advance)

    def dropped(self) -> None:
        """The open transaction never happened."""
        self._calls.clear()

    def committed(self, outputs: Sequence[Output]) -> None:
        """What a transaction published, in order."""
        if self._impure is not None:
            raise self._impure
        own = [output for output in outputs if output.topic != DEAD_LETTERS]
        for output in outputs:
            if output.topic == DEAD_LETTERS:
                self.letters += 1
                headers = dict(output.headers)
                self.seen["dead letter", headers["__streams.errors.exception"].decode()] += 1
                message = headers["__streams.errors.message"]
                must(b"our defect" not in message, "defect", trace(output))
        calls, self._calls = self._calls, []
        must(
            sum(call.emitted for call in calls) == len(own),
            "published",
            "the driver published something else than the core emitted",
        )
        at = 0
        for call in calls:
            self._take(call, own[at : at + call.emitted])
            at += call.emitted

    # --- one advance --------------------------------------------------------------------------

    def _take(self, call: Call, outputs: list[Output]) -> None:
        if self._punctual and isinstance(call.given, Arrival) and call.before is not None:
            due = state.due(call.before, self.limits.handoff_ttl_ms, self.limits.task_ttl_ms)
            must(due is None or due >= call.now, "deadline", f"{call.task} slept through one")
        self._is_new(call)
        self._released.clear()
        rank = 0
        revised: dict[str, Package] = {}
        for position, output in enumerate(outputs):
            before, rank = rank, RANKS.get(output.topic, 0)
            must(rank >= before, "order", f"{output.topic} after a record that comes later")
            if output.topic == VIOLATIONS:
                self._read_violation(call, output)
            elif output.topic == SIGNALS:
                self._read_signal(output)
            else:
                package = self._read_package(call, outputs, position)
                if package is not None:
                    revised[package.id] = package
        self._agree(call)
        for id_, package in revised.items():
            is_whole(call, self.handoffs[id_], package, id_ in self._released)

    def _is_new(self, call: Call) -> None:
        """The same event again does nothing."""
        if call.after is None:
            self._events.pop(call.task, None)
        elif isinstance(call.given, Arrival):
            body = call.given.body
            source = body.tool if isinstance(body, ToolOutput) else type(body).__name__
            events = self._events[call.task]
            if (source, body.id) in events and len(events) < state.MAX_EVENTS:
                must(not call.emitted, "repeated", f"{body.id} came again, and was published")
                must(call.after is call.before, "repeated", f"{body.id} came again, and counted")
            events.add((source, body.id))

    def _read_package(self, call: Call, outputs: list[Output], position: int) -> Package | None:
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
            self._revise(call, package)
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
        self._revise(call, package)
        return package

    def _queue(self, call: Call, package: Package) -> str | None:
        receiver = call.tables.receivers.get(package.to.receiver)
        if receiver is None or call.tables.absence(receiver.id) is not None:
            return None
        return receiver.queue

    def _revise(self, call: Call, package: Package) -> None:
        self.seen["begun", package.begun] += 1
        for origin in package.provenance.values():
            self.seen["how", origin.how] += 1
        known = self.handoffs.get(package.id)
        if known is None:
            must(package.revision == 1, "revision", f"{package.id} begins with {package.revision}")
            inherited = self.handoffs.get(package.supersedes or "")
            if inherited is not None:
                must(inherited.task == call.task, "supersedes", f"{package.id}: of another task")
            known = Known(
                package.id,
                call.task,
                package,
                package.disposition,
                package.backfill,
                package.begun == "implicit" or (inherited is not None and inherited.took),
            )
            self.handoffs[package.id] = self._open[call.task][package.id] = known
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
                self._released.add(package.id)
                known.fidelity = package.fidelity
                known.state = "accepted" if known.took else "sent"
            must(
                package.fidelity == known.fidelity,
                "fidelity",
                f"{package.id}: {known.fidelity} when it was sent, now {package.fidelity}",
            )
        if package.backfill and package.revision == 1:
            deadlines = (package.accept_by, package.complete_by)
            must(deadlines == (None, None), "backfill", f"{package.id} started a deadline")
        known.package = package

    def _read_violation(self, call: Call, output: Output) -> None:
        violation = _violation(output.value or b"")
        self.seen[violation.status, violation.resolution or violation.kind] += 1
        must(output.key == violation.task_id.encode(), "key", f"{violation.id}: not its task")
        if violation.kind == "unknown_handoff":
            must(violation.status == "opened", "unknown", f"{violation.id} is resolved")
            open_before, open_after = (
                [(handoff.id, handoff.state, handoff.revision) for handoff in task.open]
                if task is not None
                else []
                for task in (call.before, call.after)
            )
            must(open_before == open_after, "unknown", f"{violation.id} changed a handoff")
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
            self._in_time(call, known, violation)
        else:
            opened = known.open.pop(id_, None)
            known.trial.discard(id_)
            must(opened, "violation", f"{id_} is resolved, and is not open")
            assert opened is not None
            must(opened.episode == violation.episode, "episode", f"{id_}: another one is resolved")

    def _in_time(self, call: Call, known: Known, violation: Violation) -> None:
        """A deadline's violation comes at the deadline, and none from a replay."""
        member = DEADLINES.get(violation.kind)
        if member is None and violation.kind != "held_too_long":
            return
        must(isinstance(call.given, Due), "deadline", f"{violation.id} by {type(call.given)}")
        must(not known.backfill, "backfill", f"{violation.id} pages for a replay")
        if member is not None:
            by = getattr(known.package, member)
            must(by is not None, "deadline", f"{violation.id}, and there is no {member}")
            must(by == violation.occurred_at, "deadline", f"{violation.id}: {by} is its deadline")
        must(epoch_ms(violation.occurred_at) <= call.now, "deadline", f"{violation.id} is early")

    def _read_signal(self, output: Output) -> None:
        signal = _signal(output.value or b"")
        self.seen["signal", signal.kind] += 1
        must(output.key == signal.task_id.encode(), "key", f"{signal.id}: not keyed by its task")
        known = self.handoffs.get(signal.handoff_id)
        must(known, "signal", f"{signal.id} is about no handoff")
        assert known is not None
        known.signals += 1
        must(
            signal.id == f"{known.id}:{known.signals}:{signal.kind}",
            "signal",
            f"{signal.id} is number {known.signals} of its handoff",
        )
        must(known.state != "closed", "closed", f"{signal.id} after the handoff was closed")
        if signal.kind == "accepted":
            must(known.state == "sent", "signal", f"{signal.id} of a handoff that is {known.state}")
            known.state, known.took = "accepted", True
        elif signal.kind in CLOSING:
            must(
                signal.kind != "discarded" or known.state == "held", "signal", f"{signal.id}: sent"
            )
            if CLOSING[signal.kind] == "completed":
                must(known.state != "held", "signal", f"{signal.id} of a held one")
            self._close(known, CLOSING[signal.kind])
        else:
            expected = {"held": "held", "sent": "sent", "released": "sent"}.get(signal.kind)
            known.told = expected or known.told
            if expected == "sent" and known.took:
                expected = "accepted"
            must(
                expected in (None, known.state),
                "signal",
                f"{signal.id} of a handoff that is {known.state}",
            )

    def _close(self, known: Known, way: str) -> None:
        known.state, known.way = "closed", way
        del self._open[known.task][known.id]

    # --- the state agrees ---------------------------------------------------------------------

    def _agree(self, call: Call) -> None:
        there = {handoff.id: handoff for handoff in call.after.open} if call.after else {}
        mine = self._open[call.task]
        for known in [known for known in mine.values() if known.id not in there]:
            # Closed without a signal of its own: accepted, and nothing more was promised.
            package = known.package
            contract = call.tables.version(package.contract, package.contract_version)
            more = contract is not None and contract.complete_within is not None
            must(
                known.state == "accepted" and not more,
                "lost",
                f"{known.id} is {known.state} by its records, and not in the state",
            )
            self._close(known, "completed")
        must(there.keys() == mine.keys(), "state", f"{call.task}: others are open than is known")
        for id_, handoff in there.items():
            known = mine[id_]
            must(handoff.state == known.state, "state", f"{id_}: {handoff.state} {known.state}")
            held = {(v.id(handoff), v.episode) for v in handoff.violations}
            must(
                held == {(v.id, v.episode) for v in known.open.values()}
                and len(held) == len(handoff.violations),
                "open",
                f"{id_}: the state has {sorted(held)}, the topic {sorted(known.open)}",
            )
            must((handoff.state == "held") == (id_ in self.held), "held", f"{id_} is elsewhere")
            told = "held" if handoff.state == "held" else "sent"
            must(known.told == told, "signal", f"{id_} is {told}, and its sender does not know")
            if told == "sent":
                promised = (known.package.accept_by, known.package.complete_by)
                kept = (handoff.accept_by, handoff.complete_by)
                must(
                    tuple(epoch_ms(by) if by else 0 for by in promised) == kept,
                    "deadline",
                    f"{id_}: {promised} in the package, {kept} in the state",
                )
        if call.before is not None:
            gone = {handoff.id for handoff in call.before.open} - there.keys()
            closed = {c.id: c.how for c in call.after.closed} if call.after else {}
            for id_ in gone:
                known = self.handoffs[id_]
                must(closed.get(id_, known.way) == known.way, "way", f"{id_}: {known.way}")
                left = [violation.kind for violation in known.open.values()]
                must(left in ([], ["rejected"]), "open", f"{id_} is closed, and {left} are open")

    # --- the end ------------------------------------------------------------------------------

    def close(self, counts: Counter[tuple[str, str, str]], inputs: int, left: object) -> None:
        """After the last deadline: everything is closed, resolved, forgotten and accounted for."""
        must(not left, "forgotten", f"{left} are still in the state")
        must(not self.held, "held", f"{sorted(self.held)} are on the held topic for ever")
        for known in self.handoffs.values():
            must(known.state == "closed", "lost", f"{known.id} is {known.state} for ever")
            must(not known.open, "open", f"{sorted(known.open)} are open for ever")
        total: Counter[str] = Counter()
        labels: Counter[tuple[str, str]] = Counter()
        for (name, _, label), number in counts.items():
            total[name] += number
            labels[name, label] += number
        ended = sum(total[end] for end in ENDS)
        must(ended == inputs, "accounting", f"{ended} of {inputs} inputs came to an end")
        must(total["dead_letters"] == self.letters, "accounting", "dead letters are miscounted")
        must(not total["failed_wakes"], "defect", f"{total['failed_wakes']} wakes failed")
        begun = len(self.handoffs)
        must(total["handoffs_begun"] == begun, "accounting", f"{begun} begun: {dict(total)}")
        ways = Counter(known.way for known in self.handoffs.values())
        counted = {label: n for (name, label), n in labels.items() if name == "handoffs_closed"}
        must(ways == Counter(counted), "accounting", f"closed {dict(ways)}, counted {counted}")
