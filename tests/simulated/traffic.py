"""What comes in: tasks on their way, acks, amendments, and all that goes wrong on the way there.

Much of it comes at the very moment of something that happens by itself, or a millisecond before or
after it: deadlines, ends of graces and of times to live, an owner's last midnight. Drawn step by
step, so that an ack can speak of a handoff that was really published; the same seed
draws the same all the same, as what is published depends on nothing but what was drawn before.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Final

import msgspec

from schemas.flow import Record
from tests.simulated.known import Known
from tests.simulated.ledger import Ledger
from tests.simulated.story import DAY, HOUR, MINUTE, PARTITIONS, SECOND, START, StoryStep
from tests.simulated.world import NAMES, NOBODY, RECEIVERS, STAGES, TOOLS, Data, SimulatedWorld

OUTPUTS: Final = "handoff.tool-outputs"
ACKS: Final = "handoff.acks"
AMENDMENTS: Final = "handoff.amendments"
VALUES: Final[tuple[Any, ...]] = (
    "red shoes", "blue hats", "they want red shoes now", "hot", 7, 55, 70.0, None, "", [],
    {"name": "Ann Lee"}, {"topic": ""}, ["red shoes"], True,
    "a text that is far too long to be kept",
)  # fmt: skip
# What tools say of a name as a rule; else any of the above.
USUAL: Final[dict[str, tuple[Any, ...]]] = {
    "topic": ("red shoes", "blue hats"),
    "score": (7, 55, 70, 70, 70.0),
    "mood": ("hot", "hot", "cold", "high"),
    "lead": (
        {"name": "Ann Lee"},
        {"name": "Ann Lee", "topic": "blue hats"},
        {"topic": "red shoes"},
    ),
    "notes": ("they want red shoes now", "they want red shoes...", "call back"),
    "budget": (5, 100, 100, 200),
}
GAPS: Final = (0, 1, SECOND, 30 * SECOND, 3 * MINUTE, 20 * MINUTE, 2 * HOUR, 9 * HOUR, 2 * DAY)
LIKELY: Final = (4, 2, 20, 25, 25, 14, 6, 2, 0.6)
LENGTHS: Final = (2, 3, 4, 4, 5, 5, 6, 6, 7, 8, 9, 9, 30)  # outputs of a task
SHORTEST_LIFE: Final = 5 * HOUR  # a task is not forgotten sooner
MAX_AGE: Final = 2 * HOUR  # of what one of the fields is rebuilt from
REPEATED: Final = 15 * MINUTE  # a tool that tries again does so within about this
AHEAD: Final = 5 * MINUTE  # an event may be so far ahead of its record


def _when(found: tuple[str, int, Known | None]) -> int:
    return found[1]


@dataclass
class Walk:
    """A task on its way."""

    workflow: str
    task_id: str
    left: int
    stage: str = "intake"
    count: int = 0


@dataclass
class Traffic:
    """Draws the steps of one seed. `ledger` tells what was published so far."""

    world: SimulatedWorld
    ledger: Ledger
    tasks: int
    now: int = START
    number: int = 0
    walks: list[Walk] = field(default_factory=list)
    sent: list[tuple[int, StoryStep]] = field(default_factory=list)  # records, to be repeated
    offsets: dict[tuple[str, int], int] = field(default_factory=dict)
    ids: int = 0
    names: tuple[str, ...] = NAMES
    declares: float = 0.5  # this share of the outputs hands off
    exact: bool = False  # the clock stands at a boundary
    near: Known | None = None  # the handoff whose boundary it is
    last_at: dict[str, int] = field(default_factory=dict)  # event times, by task
    last_timestamp: int = START

    @property
    def random(self) -> Random:
        return self.world.random

    def steps(self) -> Iterator[StoryStep]:
        """All that happens."""
        self.declares = self.random.choice((0.5, 0.5, 0.25, 0.1))
        for change in self.world.beginning():
            yield self._step(change)
        while self.tasks or self.walks:
            self.now += self._gap()
            step = self._draw()
            if step is not None:
                yield step
        for _ in range(self.random.randint(0, 3)):
            self.now += self._gap()
            yield self._answer() or self._step(None)

    def _gap(self) -> int:
        """How long nothing happens (ms)."""
        self.exact, self.near = False, None
        if self.random.random() < 0.25:
            ahead = [found for found in self._boundaries() if found[1] >= self.now]
            if ahead:
                kind = self.random.choice(sorted({kind for kind, _, _ in ahead}))
                alike = [found for found in ahead if found[0] == kind]
                _, at, self.near = min(self.random.sample(alike, min(2, len(alike))), key=_when)
                self.exact = True
                return max(at + self.random.choice((-1, 0, 1)) - self.now, 0)
        return self.random.choices(GAPS, LIKELY)[0]

    def _boundaries(self) -> list[tuple[str, int, Known | None]]:
        """What happens by itself, when, and to which handoff."""
        return [
            *self.ledger.moments(),
            *(("tables", at, None) for at in self.world.moments(self.now)),
            # A lost field is rebuilt from what is not older than this.
            *(("age", at + MAX_AGE, None) for at in self.last_at.values()),
        ]

    def _length(self) -> int:
        """How many outputs a task has."""
        return self.random.choice(LENGTHS)

    def _parts(self) -> int:
        """How many handoffs an output declares."""
        return self.random.choice((1, 1, 1, 1, 2, 3))

    def _draw(self) -> StoryStep | None:
        kinds = ("output", "answer", "repeat", "again", "table", "bad")
        weights = (60, 25, 5, 3, 6, 2) if self.near is None else (40, 55, 2, 2, 3, 0)
        kind = self.random.choices(kinds, weights)[0]
        if kind == "answer":
            return self._answer()
        if kind == "table":
            return self._step(self.world.change(self.now))
        if kind == "repeat":
            return self._repeat()
        if kind == "again":
            return self._again()
        if kind == "bad":
            return self._bad()
        return self._output()

    # --- tool outputs -------------------------------------------------------------------------

    def _walk(self) -> Walk:
        random = self.random
        if self.near is not None:
            about = self.near.package
            for walk in self.walks:
                if (walk.workflow, walk.task_id) == (about.workflow, about.task_id):
                    return walk
            walk = Walk(about.workflow, about.task_id, 1, about.from_.stage or STAGES[0])
            self.walks.append(walk)
            return walk
        if self.tasks and (not self.walks or random.random() < 0.25):
            self.tasks -= 1
            # A task id may come in two workflows: they are two tasks.
            name = f"t{random.randint(0, 2)}" if random.random() < 0.2 else f"t{self.tasks + 3}"
            walk = Walk(random.choice(self.world.workflows), name, self._length())
            self.walks.append(walk)
            return walk
        return random.choice(self.walks[-6:])

    def _output(self) -> StoryStep | None:
        random = self.random
        walk = self._walk()
        walk.left -= 1
        walk.count += 1
        if not walk.left:
            self.walks.remove(walk)
        if self.near is not None and self.near.package.to.stage and random.random() < 0.6:
            walk.stage = self.near.package.to.stage
        elif random.random() < 0.6:
            following = (STAGES.index(walk.stage) + 1) % len(STAGES)
            walk.stage = STAGES[following] if random.random() < 0.7 else random.choice(STAGES)
        if random.random() < 0.04:
            return None  # lost before it reached Kafka
        self.ids += 1
        names = random.sample(self.names, random.randint(0, 4))
        body: Data = {
            "id": f"e{self.ids}",
            "workflow": walk.workflow,
            "task_id": walk.task_id,
            "stage": walk.stage,
            "tool": random.choice(TOOLS),
            "context": {name: self._value(name) for name in names},
        }
        if random.random() < 0.4:
            body["team"] = "sales"
        if random.random() < 0.08:
            body["retracted"] = random.sample(self.names, random.randint(1, 2))
            if random.random() < 0.2:
                body["retracted"] = ["*"]
        if random.random() < 0.06:
            del body["stage"]  # it is where the task is
        if random.random() < 0.06:
            body["accepts"] = False
        if random.random() < 0.2:
            body["run"] = random.choice(("morning", "evening"))
        if random.random() < self.declares:
            requests = [self._request(walk) for _ in range(self._parts())]
            if len(requests) > 1 and random.random() < 0.8:  # else some are in one slot twice
                requests = [r | {"part": f"p{at}"} for at, r in enumerate(requests)]
            body["handoff"] = requests if len(requests) > 1 else requests[0]
        return self._record(OUTPUTS, body)

    def _value(self, name: str) -> Any:
        usual = name in USUAL and self.random.random() < 0.7
        return self.random.choice(USUAL[name] if usual else VALUES)

    def _request(self, walk: Walk) -> Data:
        random = self.random
        newest = [versions[-1] for versions in self.world.contracts.values()]
        fitting = [
            contract
            for contract in newest
            if contract["workflow"] == walk.workflow
            and (contract["from"]["stage"] == "*" or walk.stage in contract["from"]["stage"])
        ]
        request: Data = {"to": random.choice(RECEIVERS)}
        if fitting and random.random() < 0.8:
            contract = random.choice(fitting)
            request = {"to": contract["to"]["receiver"]}
            if random.random() < 0.2:
                request["contract"] = contract["id"]
        elif random.random() < 0.2:
            request["to"] = NOBODY
        elif random.random() < 0.2:
            request["contract"] = random.choice([*sorted(self.world.contracts), "unheard-of"])
        if random.random() < 0.2:
            request["part"] = random.choice(("north", "south"))
        if random.random() < 0.1:
            request["note"] = "call them first"
        if random.random() < 0.1:
            request["carries"] = random.choice(("record", "history"))
        return request

    # --- what receivers and people say --------------------------------------------------------

    def _answer(self) -> StoryStep | None:
        random = self.random
        handoffs = list(self.ledger.handoffs.values())
        still = [known for known in handoffs if known.state != "closed"]
        if not handoffs:
            return None
        known = random.choice(still if still and random.random() < 0.8 else handoffs[-20:])
        if self.near is not None and random.random() < 0.9:
            known = self.near
        self.ids += 1
        body: Data = {
            "id": f"e{self.ids}",
            "workflow": known.package.workflow,
            "task_id": known.package.task_id,
            "handoff_id": known.id,
            "by": random.choice(("Dana", "crm")),
        }
        if random.random() < 0.05:
            body["handoff_id"] = f"h-{random.randint(0, 9)}"
        if random.random() < 0.04:
            body["task_id"] = f"t{random.randint(0, 9)}"
        if random.random() < (0.8 if known.state == "held" else 0.15):
            return self._record(AMENDMENTS, body | self._amendment(known))
        status = random.choices(("accepted", "completed", "rejected"), (6, 3, 2))[0]
        if status == "rejected" and random.random() < 0.85:
            body["reason"] = "not ours"
        if random.random() < 0.15:
            del body["handoff_id"]  # the open one is meant, or the one to that receiver
            if random.random() < 0.6:
                body["receiver"] = known.package.to.receiver
        return self._record(ACKS, body | {"status": status})

    def _amendment(self, known: Known) -> Data:
        random = self.random
        action = random.choices(("set", "release", "discard"), (5, 3, 2))[0]
        made: Data = {"action": action}
        if random.random() < 0.85:
            made["reason"] = "asked the lead"
        if action == "set" and random.random() < 0.95:
            names = [*known.package.missing, *self.names]
            picked = random.sample(names, random.randint(1, 2))
            made["fields"] = {name: self._value(name) for name in picked}
        return made

    # --- how it travels -----------------------------------------------------------------------

    def _record(self, topic: str, body: Data) -> StoryStep:
        random = self.random
        timestamp, occurred_at = self._times(body["task_id"])
        body["occurred_at"] = occurred_at
        headers = [("handoff-backfill", b"1")] if random.random() < 0.04 else []
        if random.random() < 0.1:
            headers.append(("traceparent", b"00-ab-cd-01"))
        key = body["task_id"]
        value = msgspec.json.encode(body)
        return self._arrives(topic, key, value, timestamp, headers)

    def _times(self, task: str) -> tuple[int, int]:
        """When a record reached Kafka, by the clock there, and when its event was."""
        random = self.random
        if self.exact:
            timestamp = self.now + random.choice((0, 0, -1, 1))
            occurred_at = timestamp
        else:
            timestamp = self.now - random.choice((0, 0, 5, 2 * SECOND, MINUTE))
            if random.random() < 0.1:
                timestamp = min(self.last_timestamp + random.choice((-1, 0, 1)), self.now)
            if random.random() < 0.03:
                timestamp = self.now - random.choice((2 * DAY, DAY - 1, DAY, DAY + 1))
            occurred_at = timestamp - random.choice((0, 0, 0, SECOND))
        chance = random.random()
        if chance < 0.1:
            occurred_at -= random.choice((10 * MINUTE, 5 * HOUR, 3 * DAY))
        elif chance < 0.13:
            occurred_at += random.choice((MINUTE, HOUR, AHEAD - 1, AHEAD, AHEAD + 1))
        elif chance < 0.28:
            occurred_at = self.last_at.get(task, occurred_at) + random.choice((-1, 0, 0, 1))
        self.last_timestamp = timestamp
        self.last_at[task] = min(occurred_at, timestamp)
        return timestamp, occurred_at

    def _arrives(
        self,
        topic: str,
        key: str,
        value: bytes | None,
        timestamp: int,
        headers: list[tuple[str, bytes]],
    ) -> StoryStep:
        partition = sum(key.encode()) % PARTITIONS
        place = (topic, partition)
        offset = self.offsets.get(place, 0)
        self.offsets[place] = offset + 1
        record = Record(topic, partition, offset, key.encode(), value, timestamp, headers)
        step = self._step(record, key)
        if value is not None:
            self.sent.append((self.now, step))
        return step

    def _repeat(self) -> StoryStep | None:
        """A record once more: a producer that retried, or that was started anew."""
        recent = [step for at, step in self.sent[-40:] if self.now - at < SHORTEST_LIFE]
        if not recent:
            return None
        record = self.random.choice(recent).what
        assert isinstance(record, Record)
        assert record.key is not None
        kept = self.sent[:]
        step = self._arrives(
            record.topic, record.key.decode(), record.value, self.now, record.headers
        )
        self.sent = kept  # one that is repeated for ever would outlive its task
        return step

    def _again(self) -> StoryStep | None:
        """What an output said whose handoff was taken, said by another output: the tool runs again
        without need."""
        taken = {h.package.event_id for h in self.ledger.handoffs.values() if h.took}
        outputs = []
        for at, step in self.sent[-40:]:
            assert isinstance(step.what, Record)
            if step.what.topic == OUTPUTS and self.now - at < REPEATED:
                try:
                    body: Data = msgspec.json.decode(step.what.value or b"")
                except msgspec.ValidationError:  # a number that is too large for Python
                    continue
                if body["id"] in taken:
                    outputs.append(body)
        if not outputs:
            return None
        self.ids += 1
        return self._record(OUTPUTS, self.random.choice(outputs) | {"id": f"e{self.ids}"})

    def _bad(self) -> StoryStep:
        key = f"t{self.random.randint(0, 5)}"
        topic = self.random.choice((OUTPUTS, ACKS, AMENDMENTS))
        value = self.random.choice((None, b"{", b"[]", b'{"task_id": "t1"}', b"\xff"))
        step = self._arrives(topic, key, value, self.now, [])
        self.sent = [(at, sent) for at, sent in self.sent if sent is not step]
        return step

    def _step(self, what: Any, task: str = "") -> StoryStep:
        self.number += 1
        return replace(StoryStep(0, self.now, what, task), number=self.number)
