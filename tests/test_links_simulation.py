"""Tasks that continue each other, on virtual time, struck between any two things that happen.

Messages between tasks are read as soon as they are committed, as one more input. Whatever dies or
aborts in between, each task publishes the same bytes, in the same order.
"""

from collections.abc import Iterable, Iterator
from random import Random
from typing import Any, Final

import msgspec
import pytest

from processors.driver import Driver
from processors.integrity.limits import Limits
from processors.integrity.links import above
from processors.integrity.processor import integrity
from processors.integrity.state import state_key
from processors.partitioning import partition_of
from processors.processor import Processor
from processors.timeline import Timeline
from schemas.flow import Output, Record
from schemas.links import LINKS
from tests.core import CONTRACT, DAY_ONE, RECEIVER
from tests.simulated.machine import Machine, PublishedRecord
from tests.simulated.story import (
    PARTITIONS,
    Fault,
    Plan,
    StoryRegistry,
    StoryStep,
    TablesChange,
    entry,
)
from tests.simulation import by_task
from tests.states import check_timers, tasks_of

SEEDS: Final = 150
WORKFLOWS: Final = {"ticket": "answer", "issue": "triage", "change": "plan"}
NAMES: Final = ("subject", "error", "mail", "version", "note")
GRACE: Final = 5_000


class Apart(Timeline[Any]):
    """A clock that leaves what the processor sends to itself to whoever reads it."""

    def _sent(self, outputs: Iterable[Output], now: int) -> Iterator[Output]:
        yield from outputs


class LinkMachine(Machine):
    """A machine whose processor reads what it sends to itself, once that is committed."""

    timeline = Apart

    def __init__(self, processor: Processor[Any], registry: StoryRegistry, plan: Plan) -> None:
        self.sent: list[Record] = []  # committed messages
        self._taken = self._taken_safely = 0
        super().__init__(processor, registry, plan)

    def _play(self, index: int, step: StoryStep) -> None:
        self._index, self._moments = index, 0
        self._drain(index)
        super()._play(index, step)
        if any(each.output.topic == LINKS for each in self._pending):
            self._commit(index + 1)
        if self._position.step == index + 1:
            self._drain(index + 1)

    def _settle(self) -> tuple[Output, ...]:
        super()._settle()
        if not self._plan.faults:
            check_timers(self._driver)
        self._drain(self._index)
        return ()

    def _drain(self, index: int) -> None:
        """Read the messages that are committed and not read yet."""
        while self._taken < len(self.sent):
            self._moment()
            message = self.sent[self._taken]
            self._taken += 1
            self._publish(self._driver.step(message, self._clock.now or 0))
            self._moment()
            self._commit(index)

    def _publish(self, outputs: Iterable[Output]) -> None:
        self._pending += map(self._published, outputs)

    def _commit(self, index: int) -> None:
        for each in self._pending:
            if each.output.topic == LINKS:
                self.sent.append(self._message(each))
        self._pending[:] = [each for each in self._pending if each.output.topic != LINKS]
        super()._commit(index)
        self._taken_safely = self._taken

    def _begin(self, outage: int = 0, anew: bool = True) -> None:
        self._taken = self._taken_safely
        super()._begin(outage, anew)

    def _message(self, each: PublishedRecord) -> Record:
        key = each.output.key or b""
        number = partition_of(key, PARTITIONS)
        return Record(LINKS, number, len(self.sent), key, each.output.value, each.now)


def contracts() -> list[dict[str, Any]]:
    """From each workflow into the next one, and one within."""
    fields = [{"name": "error"}, {"name": "mail"}, {"name": "what", "from": ["subject", "note"]}]
    across = [
        {
            "id": f"{one}-{other}",
            "workflow": one,
            "from": {"stage": WORKFLOWS[one]},
            "to": {"receiver": "marketing", "workflow": other, "stage": WORKFLOWS[other]},
            "accept_within": "PT1H",
            "fields": fields,
        }
        for one, other in (("ticket", "issue"), ("issue", "change"), ("ticket", "change"))
    ]
    within = {
        "id": "ship",
        "workflow": "issue",
        "from": {"stage": "triage"},
        "to": {"receiver": "marketing", "stage": "ship"},
        "complete_within": "PT2H",
        "hold_on": ["never_captured"],
        "fields": [*fields, {"name": "version", "rebuild": {"pick": "unambiguous"}}],
    }
    return [CONTRACT | each for each in (*across, within)]


def drawn(seed: int) -> list[StoryStep]:
    """What happens in a seed."""
    random = Random(seed)
    tasks = [
        (workflow, f"{workflow}-{number}")
        for workflow in WORKFLOWS
        for number in range(random.randint(1, 3))
    ]
    now = DAY_ONE
    documents = tuple(entry(each) for each in (*contracts(), RECEIVER))
    steps = [StoryStep(1, now, TablesChange(documents))]
    for number in range(2, random.randint(8, 40)):
        now += random.choice((0, 1, 500, GRACE - 1, GRACE, GRACE + 1, 60_000, 3_600_000))
        workflow, task = random.choice(tasks)
        context = {name: random.choice(("a", "b", "")) for name in NAMES if random.random() < 0.4}
        body: dict[str, Any] = {
            "id": f"e{number}",
            "task_id": task,
            "workflow": workflow,
            "stage": random.choice((WORKFLOWS[workflow], WORKFLOWS[workflow], "ship")),
            "tool": random.choice(("desk", "tracker")),
            "occurred_at": now - random.choice((0, 0, 1, 10_000)),
            "context": context,
        }
        others = random.sample(tasks, min(2, len(tasks)))
        named = [{"workflow": w, "task_id": t} for w, t in others]
        for member, share in (("continues", 0.3), ("continued_by", 0.15), ("unlinked", 0.07)):
            if random.random() < share:
                body[member] = named[: random.randint(1, 2)]
        if random.random() < 0.3:
            body["handoff"] = {"to": "marketing"}
        if random.random() < 0.1:
            body["retracted"] = [random.choice((*NAMES, "*"))]
        value = msgspec.json.encode(body)
        partition = partition_of(task.encode(), PARTITIONS)
        record = Record("handoff.tool-outputs", partition, number, task.encode(), value, now)
        steps.append(StoryStep(number, now, record, task))
    steps.append(StoryStep(len(steps) + 1, now + 40 * 86_400_000, None))
    return steps


def plans(seed: int, steps: list[StoryStep]) -> list[Plan]:
    """Straight on, with a new process after each step, and with crashes and aborts."""
    random = Random(-seed - 1)
    faults = tuple(
        Fault(
            random.choice(steps).number, random.randint(1, 8), random.choice(("crash", "abort")), 0
        )
        for _ in range(6)
    )
    commits = frozenset(step.number for step in steps if random.random() < 0.5)
    return [Plan(), Plan(restarts=True), Plan(None, faults), Plan(commits, faults)]


def played(seed: int, plan: Plan, limits: Limits) -> LinkMachine:
    processor = integrity(limits)
    machine = LinkMachine(processor, StoryRegistry(processor), plan)
    machine.play(drawn(seed))
    return machine


@pytest.mark.parametrize(
    "limits", [Limits(), Limits(fields=16, state_bytes=4_096)], ids=["", "low"]
)
def test_each_task_publishes_the_same_whatever_strikes(limits: Limits) -> None:
    links = refused = 0
    for seed in range(SEEDS):
        first, *others = [played(seed, plan, limits) for plan in plans(seed, drawn(seed))]
        assert not [e for e in first.published if e.output.topic == "handoff.dead-letters"], seed
        expected = outputs_of(first)
        for other in others:
            found = outputs_of(other)
            for task in sorted(expected.keys() | found.keys()):
                assert found.get(task) == expected.get(task), (seed, task)
        _holds_nothing_of_others(first, seed)
        links += len(first.sent)
        refused += sum(
            ("handoff-kind", b"link_refused") in each.output.headers for each in first.published
        )
    assert links > 20 * SEEDS
    assert refused > SEEDS


def _holds_nothing_of_others(machine: LinkMachine, seed: int) -> None:
    """What a task has inherited is of tasks that it continues, directly or not."""
    for task in tasks_of(machine._driver):
        roots = {event.root for event in task.events if event.root}
        assert roots <= set(above(task)), (seed, task.task_id)
        for parent in task.parents:
            assert state_key(task.workflow, task.task_id) not in parent.above, (seed, task.task_id)


def outputs_of(machine: LinkMachine) -> dict[str, list[Output]]:
    return by_task([each.output for each in machine.published])


def test_a_task_without_links_tells_nobody_anything() -> None:
    driver: Driver[Any] = Driver(integrity(Limits()), integrity(Limits()).build_tables({}, None))
    driver.assign(0, {})
    body = {"id": "1", "task_id": "t", "workflow": "w", "stage": "s", "tool": "x"}
    value = msgspec.json.encode(body | {"occurred_at": DAY_ONE, "context": {"a": 1}})
    assert driver.step(Record("handoff.tool-outputs", 0, 0, b"t", value, DAY_ONE), DAY_ONE) == []
