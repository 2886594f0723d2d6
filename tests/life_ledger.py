"""What must hold of the life of handoffs, told from the topics alone.

`audit` gets every committed record of every topic: what players said, what the processor answered,
and its changelog. Each input has an `occurred_at` of its own within its task, and what follows from
it carries that time or its id: so every effect has one cause, and every cause one effect.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from processors.integrity.state import OpenHandoff, Task
from schemas.flow import Record, Refused
from schemas.records import Ack, Amendment, Package, Signal, ToolOutput, Violation
from schemas.serde import epoch_ms
from tests.life import HELD, PACKAGES, SIGNALS
from tests.life_tales import ACKS, AMENDMENTS, ARCHIVE, OUTPUTS, RELEASE_WITHIN_MS
from tests.states import states

VIOLATIONS = "handoff.violations"
DEAD_LETTERS = "handoff.dead-letters"
CHANGELOG = "handoff.integrity-state"
TOPICS = (OUTPUTS, ACKS, AMENDMENTS, PACKAGES, HELD, SIGNALS, VIOLATIONS, DEAD_LETTERS, CHANGELOG)

CLOSING = {
    "completed": "completed",
    "rejected": "rejected",
    "discarded": "discarded",
    "superseded": "superseded",
}
MISSED = {"not_accepted": "accept", "not_completed": "complete", "held_too_long": "release"}
# A record gets its timestamp from its sender, and its place in the topic a little later: what is
# said so shortly before a deadline may come too late.
CLOSE_MS = 1_000

T = TypeVar("T", bound=Struct)


class Said(Struct, frozen=True):
    """An input, with the time that Kafka says it came."""

    body: Any
    timestamp: int

    @property
    def at(self) -> tuple[str, int]:
        """What tells its effects."""
        return self.body.task_id, self.body.occurred_at


class Deadline(Struct, frozen=True):
    """What was promised, what is known of its being met, and whether that was a late one."""

    by: int
    met: int | None
    said_late: bool | None


def audit(records: Iterable[Record], now: int) -> list[str]:
    """What is lost, double or contradicts itself; a sentence each. `now` is epoch ms, and some
    seconds after the last record."""
    found = _Found(list(records), now)
    for check in (
        found.begun,
        found.revisions,
        found.violations_in_turn,
        found.signals_in_turn,
        found.acks_answered,
        found.amendments_answered,
        found.deadlines,
        found.set_aside,
        found.held_topic,
        found.queue,
        found.remembered,
    ):
        check()
    return found.wrong


class _Found:
    def __init__(self, records: Sequence[Record], now: int) -> None:
        self.wrong: list[str] = []
        self.now = now
        self.topics: defaultdict[str, list[Record]] = defaultdict(list)
        for record in records:
            self.topics[record.topic].append(record)
        self.outputs = self._said(OUTPUTS, ToolOutput)
        self.acks = self._said(ACKS, Ack)
        self.amendments = self._said(AMENDMENTS, Amendment)
        self.letters = Counter(r.value for r in self.topics[DEAD_LETTERS])
        self.aside = Counter({_id(value): number for value, number in self.letters.items()})
        inputs = (*self.outputs.values(), *self.acks.values(), *self.amendments.values())
        self.came = {said.at: said.timestamp for said in inputs}
        self.signals = self._read(SIGNALS, Signal)
        self.violations = self._read(VIOLATIONS, Violation)
        # Held ones come first: what was sent is never held again.
        packages = self._read(HELD, Package) + self._read(PACKAGES, Package)
        self.handoffs: dict[str, list[Package]] = {}
        for package in packages:
            self.handoffs.setdefault(package.id, []).append(package)
        self.successor = {ps[0].supersedes: id_ for id_, ps in self.handoffs.items()}
        self.told: defaultdict[str, list[Signal]] = defaultdict(list)
        for signal in self.signals:
            self.told[signal.handoff_id].append(signal)
        self.unknown = Counter(v.event_id for v in self.violations if v.kind == "unknown_handoff")
        self.open: defaultdict[str, dict[str, int]] = defaultdict(dict)  # episodes by id
        self.caused: Counter[str] = Counter()  # revisions by the id of what brought them
        self.overridden: Counter[str] = Counter()  # by handoff

    def _read(self, topic: str, kind: type[T]) -> list[T]:
        read = msgspec.json.Decoder(kind).decode
        return [read(r.value) for r in self.topics[topic] if r.value is not None]

    def _said(self, topic: str, kind: type[T]) -> dict[str, Said]:
        """The first record of each id: the others are duplicates."""
        read = msgspec.json.Decoder(kind).decode
        said: dict[str, Said] = {}
        for record in self.topics[topic]:
            body: Any = read(record.value or b"")
            said.setdefault(body.id, Said(body, record.timestamp))
        return said

    def must(self, holds: object, rule: str, sentence: str) -> None:
        if not holds:
            self.wrong.append(f"{rule}: {sentence}")

    def once(self, number: int, rule: str, what: str) -> None:
        self.must(number == 1, rule, f"{what} {number} times")

    # --- what is published, in its order ------------------------------------------------------

    def begun(self) -> None:
        """Each output that hands off began one handoff, and no handoff came from nowhere."""
        began = Counter(p.event_id for ps in self.handoffs.values() for p in ps if p.revision == 1)
        for said in self.outputs.values():
            if said.body.handoff is not None:
                self.once(began.pop(said.body.id, 0), "begun", f"{said.body.id} began a handoff")
        self.must(not began, "begun", f"{began} began one, and asked for none")

    def revisions(self) -> None:
        """1, 2, ..., each after the first because of one input; and each late capture made one."""
        for id_, packages in self.handoffs.items():
            numbers = [package.revision for package in packages]
            wanted = list(range(1, len(packages) + 1))
            self.must(numbers == wanted, "revision", f"{id_} has the revisions {numbers}")
            for before, after in pairwise(packages):
                causes = {
                    origin.event_id
                    for name, origin in after.provenance.items()
                    if origin.how in ("late", "amended") and origin != before.provenance.get(name)
                }
                self.caused.update(causes)
                if after.overridden and not before.overridden:
                    self.overridden[id_] += 1
                    causes.add("a release")
                self.must(
                    len(causes) == 1, "revision", f"{id_} revision {after.revision} by {causes}"
                )
        for said in self.outputs.values():
            if said.body.stage == ARCHIVE:
                self.once(self.caused[said.body.id], "late", f"{said.body.id} made a revision")

    def violations_in_turn(self) -> None:
        """Opened, resolved, opened as the next episode; in the end open only where it may be."""
        episodes: Counter[str] = Counter()
        for violation in self.violations:
            id_ = violation.id
            if violation.kind == "unknown_handoff":
                episodes[id_] += 1
                self.once(episodes[id_], "violation", f"{id_} was opened")
                continue
            open_ = self.open[violation.handoff_id or ""]
            if violation.status == "opened":
                self.must(id_ not in open_, "violation", f"{id_} is opened while it is open")
                episodes[id_] += 1
                open_[id_] = episodes[id_]
            else:
                self.must(id_ in open_, "violation", f"{id_} is resolved, and not open")
                open_.pop(id_, None)
            self.must(violation.episode == episodes[id_], "violation", f"{id_}: a wrong episode")
        for id_ in self.handoffs:
            way = self._way(id_)
            if way is not None:
                kinds = {name.split(":")[2] for name in self.open[id_]}
                left = {"rejected"} if way == "rejected" and not self._sent_after(id_) else set()
                self.must(kinds == left, "violation", f"{id_} is closed ({way}) with {kinds} open")

    def signals_in_turn(self) -> None:
        """Numbered 1, 2, ... for each handoff, none after the one that closes it."""
        ids = Counter(signal.id for signal in self.signals)
        for id_, number in ids.items():
            self.once(number, "signal", f"{id_} was signalled")
        for handoff, signals in self.told.items():
            self.must(handoff in self.handoffs, "signal", f"{handoff} is signalled, never begun")
            kinds = [signal.kind for signal in signals]
            wanted = [f"{handoff}:{n}:{kind}" for n, kind in enumerate(kinds, start=1)]
            self.must([s.id for s in signals] == wanted, "signal", f"{handoff} was told {kinds}")
            closing = [n for n, kind in enumerate(kinds) if kind in CLOSING]
            self.must(closing in ([], [len(kinds) - 1]), "signal", f"{handoff} is told on: {kinds}")
            for kind in ("accepted", "released"):
                self.must(kinds.count(kind) <= 1, "signal", f"{handoff} was told {kinds}")
        for handoff in self.handoffs:
            self.must(handoff in self.told, "signal", f"nobody was told that {handoff} began")

    # --- each input has its effect ------------------------------------------------------------

    def acks_answered(self) -> None:
        """Each ack made one signal; or it only repeats, or meets nothing, or is set aside."""
        heard = Counter((s.task_id, epoch_ms(s.occurred_at), s.kind) for s in self.signals)
        for id_, ack in self.acks.items():
            signals = heard.pop((*ack.at, ack.body.status), 0)
            answers = signals + self.unknown[id_] + self.aside[id_]
            if answers == 0 and self._only_repeats(ack):
                continue
            self.once(answers, "ack", f"{id_} ({ack.body.status}) was answered")
        left = [at for at in heard if at[2] in ("accepted", "completed", "rejected")]
        self.must(not left, "ack", f"signalled without an ack: {left}")

    def _only_repeats(self, ack: Said) -> bool:
        """Whether somebody else's ack did what this one asks for."""
        status = ack.body.status
        done = {status, "completed"} if status == "accepted" else {status}
        chain = self._chain(ack.body.handoff_id)
        return any(
            signal.kind in done and epoch_ms(signal.occurred_at) != ack.body.occurred_at
            for id_ in chain
            for signal in self.told[id_]
        )

    def _chain(self, id_: str) -> list[str]:
        """A handoff and those that were sent in its place."""
        chain = [id_]
        while (after := self.successor.get(chain[-1])) is not None:
            chain.append(after)
        return chain

    def amendments_answered(self) -> None:
        """Each amendment made one revision, or one discarded; or meets nothing, or is set aside."""
        heard = Counter((s.task_id, epoch_ms(s.occurred_at), s.kind) for s in self.signals)
        for id_, amendment in self.amendments.items():
            body = amendment.body
            effects = self.unknown[id_] + self.aside[id_]
            if body.action == "set":
                effects += self.caused[id_]
            elif body.action == "discard":
                effects += heard[*amendment.at, "discarded"]
            else:
                released = heard[*amendment.at, "released"]
                overridden = self.overridden[body.handoff_id]
                self.must(
                    effects or overridden == released,
                    "amendment",
                    f"{id_}: overridden {overridden} times, signalled {released} times",
                )
                effects += released
            self.once(effects, "amendment", f"{id_} ({body.action}) had an effect")

    def set_aside(self) -> None:
        """What gives no reason is set aside once, as it came; nothing else is."""
        for value, number in self.letters.items():
            body = msgspec.json.decode(value or b"")
            bad = body.get("status") == "rejected" or body.get("action") == "release"
            self.must(bad and not body["reason"], "dead letter", f"{body['id']} is well-formed")
            self.once(number, "dead letter", f"{body['id']} was set aside")

    # --- deadlines ----------------------------------------------------------------------------

    def deadlines(self) -> None:
        """A deadline that nobody met is told once, as a signal and a violation; one that was met
        is not; what is said after it is late, whether it was told or not."""
        stalls: Counter[tuple[str, int]] = Counter()
        for signal in self.signals:
            if signal.kind == "stalled":
                stalls[signal.handoff_id, epoch_ms(signal.occurred_at)] += 1
                self.must(signal.at >= signal.occurred_at, "stall", f"{signal.id} is early")
        opened = Counter(
            (v.handoff_id or "", epoch_ms(v.occurred_at))
            for v in self.violations
            if v.kind in MISSED and v.status == "opened"
        )
        self.must(stalls == opened, "stall", f"signals unlike violations: {stalls - opened}")
        for handoff in self.handoffs:
            for name, deadline in self._deadlines(handoff).items():
                told = stalls.pop((handoff, deadline.by), 0)
                met = deadline.met if deadline.met is not None else self.now + CLOSE_MS
                if met < deadline.by - CLOSE_MS:
                    self.must(told == 0, "stall", f"{handoff}: {name} was met, and told {told}")
                    late = deadline.said_late
                    self.must(not late, "late", f"{handoff}: {name} was in time, and counts late")
                elif deadline.met is None and deadline.by < self.now:
                    self.once(told, "stall", f"{handoff}: that {name} passed was told")
                elif deadline.met is not None and met > deadline.by:
                    self.must(told <= 1, "stall", f"{handoff}: {name} was told {told} times")
                    late = deadline.said_late
                    self.must(late is not False, "late", f"{handoff}: {name} came late, unsaid")
        self.must(not stalls, "stall", f"stalled without a deadline: {stalls}")

    def _deadlines(self, handoff: str) -> dict[str, Deadline]:
        found: dict[str, Deadline] = {}
        told = {signal.kind: signal for signal in self.told[handoff]}
        sent = self.handoffs[handoff][-1]
        if "held" in told:
            ends = [self._came(told[k]) for k in ("released", "discarded") if k in told]
            by = epoch_ms(told["held"].at) + RELEASE_WITHIN_MS
            found["release"] = Deadline(by, min(ends, default=None), None)
        if "superseded" in told or sent.disposition == "held":
            return found
        ends_of = {"accept": ("accepted", "completed", "rejected"), "complete": CLOSING}
        for name, moment in (("accept", sent.accept_by), ("complete", sent.complete_by)):
            if moment is None:
                continue
            signals = [told[kind] for kind in ends_of[name] if kind in told]
            first = min(signals, key=self._came, default=None)
            late = None
            if first is not None and first.kind in ("accepted", "completed"):
                both = name == "complete" and "accepted" not in told  # late in one or the other
                late = None if both else first.late
            found[name] = Deadline(
                epoch_ms(moment), None if first is None else self._came(first), late
            )
        return found

    def _came(self, signal: Signal) -> int:
        """When the input came that a signal answers."""
        return self.came.get((signal.task_id, epoch_ms(signal.occurred_at)), self.now)

    # --- what is compacted, and what is remembered ----------------------------------------------

    def held_topic(self) -> None:
        """What is on it is held; what left it has one tombstone."""
        last: dict[bytes | None, bytes | None] = {}
        buried: Counter[str] = Counter()
        for record in self.topics[HELD]:
            last[record.key] = record.value
            if record.value is None:
                buried[(record.key or b"").decode()] += 1
        there = {(key or b"").decode() for key, value in last.items() if value is not None}
        left = {i for i, p in self.handoffs.items() if p[0].disposition == "held"} - there
        self.must(
            buried == Counter(left), "held", f"tombstones {buried - Counter(left)}, left {left}"
        )
        for id_ in there:
            sent = any(package.disposition == "sent" for package in self.handoffs[id_])
            is_held = not sent and self._way(id_) is None
            self.must(is_held, "held", f"{id_} is on the held topic, and is {self._way(id_)}")

    def queue(self) -> None:
        """A receiver's queue holds its packages, in their order."""
        queues = self.topics.keys() - set(TOPICS)
        mine, theirs = defaultdict(list), defaultdict(list)
        for record in self.topics[PACKAGES]:
            if b'"receiver":"settlers"' in (record.value or b""):
                mine[record.key].append(record.value)
        for queue in queues:
            for record in self.topics[queue]:
                theirs[record.key].append(record.value)
        different = [key for key in mine.keys() | theirs.keys() if mine[key] != theirs[key]]
        self.must(not different, "queue", f"it differs for {different}")

    def remembered(self) -> None:
        """The changelog's last values agree with all of this, input by input."""
        store: dict[str, bytes] = {}
        numbers: dict[str, int] = {}
        for record in self.topics[CHANGELOG]:
            key = (record.key or b"").decode()
            of, _, number = key.rpartition("#")
            if record.value is None:
                store.pop(key, None)
                continue
            store[key] = record.value
            last = numbers.get(of)
            now = int(number, 16) or int.from_bytes(record.value[1:7], "big")
            follows = last in (None, now) if int(number, 16) == 0 else now - 1 == last
            self.must(follows, "state", f"{of} goes from its change {last} to {now}")
            numbers[of] = now
        try:
            tasks: dict[str, Task] = {task.task_id: task for task in states(store).values()}
        except Refused as error:
            self.must(False, "state", error.message)
            return
        inputs: Counter[str] = Counter()
        for said in (self.outputs, self.acks, self.amendments):
            for id_, each in said.items():
                inputs[each.body.task_id] += not self.aside[id_]
        of_task = defaultdict(list)
        for id_, packages in self.handoffs.items():
            of_task[packages[0].task_id].append(id_)
        begun = {each.body.task_id for each in self.outputs.values()}
        self.must(tasks.keys() == begun, "state", f"tasks differ: {tasks.keys() ^ begun}")
        for task_id, task in tasks.items():
            known = len(task.heard) // 8
            self.must(
                known == inputs[task_id], "state", f"{task_id} knows {known} of {inputs[task_id]}"
            )
            there = {handoff.id: handoff for handoff in task.open}
            mine = {id_ for id_ in of_task[task_id] if self._way(id_) is None}
            self.must(there.keys() == mine, "state", f"{task_id}: open {sorted(there)}, {mine}")
            ways = {closed.id: closed.how for closed in task.closed}
            told = {id_: self._way(id_) for id_ in of_task[task_id] if id_ not in mine}
            self.must(ways == told, "state", f"{task_id}: closed {ways}, told {told}")
            for id_ in there.keys() & mine:
                self._same(there[id_])

    def _same(self, handoff: OpenHandoff) -> None:
        id_, last = handoff.id, self.handoffs[handoff.id][-1]
        accepted = any(s.kind == "accepted" for i in self._before(id_) for s in self.told[i])
        name = "held" if last.disposition == "held" else "accepted" if accepted else "sent"
        self.must(handoff.state == name, "state", f"{id_} is {handoff.state}, told {name}")
        seen = handoff.revision, handoff.signals
        told = last.revision, len(self.told[id_])
        self.must(seen == told, "state", f"{id_}: revision and signals {seen}, told {told}")
        open_ = {violation.id(handoff): violation.episode for violation in handoff.violations}
        self.must(open_ == self.open[id_], "state", f"{id_}: {open_}, told {self.open[id_]}")

    def _before(self, id_: str) -> list[str]:
        """A handoff and those in whose place it was sent."""
        chain = [id_]
        while (before := self.handoffs[chain[-1]][0].supersedes) in self.handoffs:
            chain.append(before or "")
        return chain

    def _way(self, id_: str) -> str | None:
        """How a handoff was closed, by its signals."""
        return next((CLOSING[s.kind] for s in self.told[id_] if s.kind in CLOSING), None)

    def _sent_after(self, id_: str) -> bool:
        """Whether the task was handed off again later."""
        first = self.handoffs[id_][0]
        return any(
            packages[0].task_id == first.task_id and packages[0].occurred_at > first.occurred_at
            for packages in self.handoffs.values()
        )


def _id(value: bytes | None) -> str:
    return str(msgspec.json.decode(value or b"")["id"])
