"""Plays seeded worlds through the cores on a virtual clock: `make simulate SEED=7 SEEDS=100`.

Each seed makes contracts, receivers, tasks, and what goes wrong with them (`simulated/world`,
`simulated/traffic`), with many things at the very moment of a deadline. It is played once straight
on, then with commits elsewhere, aborts, crashes and restarts (`simulated/machine`), which must
publish the same bytes for each task, and then with outages, which only come late.
`simulated/ledger` says what must hold of each of these runs. Insights reads what the first run told
it, straight on and with crashes of its own (`simulated/second`). A seed that fails is shrunken to
the steps that matter and told as a timeline.

Nothing here knows the inside of the core: a driver is given inputs, and publishes.
"""

import argparse
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, NamedTuple, Protocol, TypeVar

import msgspec
from msgspec import Struct

from processors.driver import Driver
from processors.insights.processor import insights
from processors.integrity.processor import integrity
from tests.fed import closes, fed, same
from tests.fed import told as told_
from tests.simulated.known import BrokenRule, must
from tests.simulated.ledger import Ledger
from tests.simulated.machine import Machine
from tests.simulated.second import adds_up, by_subject, steps_behind
from tests.simulated.shrink import shrunken
from tests.simulated.story import (
    HOUR,
    MINUTE,
    Fault,
    Plan,
    Story,
    StoryRegistry,
    StoryStep,
    silence,
)
from tests.simulated.telling import told
from tests.simulated.traffic import Traffic
from tests.simulated.world import SimulatedWorld

Core = type[Driver[Any]]
SIZES = (1, 1, 2, 3, 5, 8)  # tasks of a seed


class SeedOutcome(NamedTuple):
    """What became of a seed: what happened in it, what does not hold, if anything, and what the run
    without faults came across."""

    story: Story
    broken: BrokenRule | None
    seen: Counter[tuple[str, str]]


@dataclass
class Drawn:
    """A seed as it was drawn: its story, without the ways in which it goes wrong, and the run
    without faults, in which it was drawn. `random` draws what is still to be drawn."""

    story: Story
    broken: BrokenRule | None
    machine: Machine
    ledger: Ledger
    random: Random


def draw(
    seed: int,
    core: Core = Driver,
    worlds: type[SimulatedWorld] = SimulatedWorld,
    traffic: type[Traffic] = Traffic,
) -> Drawn:
    """Draw what happens in a seed, and play it straight on meanwhile."""
    random = Random(seed)
    world = worlds(random)
    ledger = Ledger(world.limits)
    processor = integrity(world.limits)
    machine = Machine(processor, StoryRegistry(processor), STRAIGHT, ledger, core)
    steps: list[StoryStep] = []
    broken: BrokenRule | None = None
    try:
        for step in traffic(world, ledger, random.choice(SIZES)).steps():
            steps.append(step)
            machine.play([step])
        machine.play(silence(steps))
        finish(machine, ledger)
    except BrokenRule as found:
        broken = found
    story = Story(seed, world.limits, tuple(steps), (), world.insights)
    return Drawn(story, broken, machine, ledger, random)


# The first run: each step is committed, and each record is read twice.
STRAIGHT = Plan(aborts=True)


def simulate(seed: int, core: Core = Driver) -> SeedOutcome:
    """Play one seed in all its ways."""
    drawn = draw(seed, core)
    story, broken = drawn.story, drawn.broken
    if broken is None:
        random, steps = drawn.random, story.steps
        plans = (
            replace(_strikes(random, steps, outages=False), restarts=random.random() < 0.5),
            _strikes(random, steps, outages=True),
        )
        behind = steps_behind(steps, drawn.machine.told)
        story = replace(story, plans=plans, insights=_strikes(random, behind, outages=False))
        broken = judge(story, core, drawn.machine)
    return SeedOutcome(story, broken, drawn.ledger.seen)


def judge(story: Story, core: Core = Driver, first: Machine | None = None) -> BrokenRule | None:
    """Play a story in all its ways: what does not hold, or None. `first` is the run without
    faults, where it was played already."""
    registry = StoryRegistry(integrity(story.limits))
    try:
        first = first or play(story, STRAIGHT, core, registry)
        for plan in story.plans:
            late = any(fault.outage for fault in plan.faults)
            again = play(story, plan, core, registry)
            if not late:
                _same(first, again)
        if story.insights is not None:
            play_insights(story, first, core)
    except BrokenRule as broken:
        return broken
    return None


def play(story: Story, plan: Plan, core: Core, registry: StoryRegistry) -> Machine:
    """One run of a story to its end, under the eyes of a ledger. Raises `BrokenRule`."""
    late = any(fault.outage for fault in plan.faults)
    ledger = Ledger(story.limits, punctual=not late)
    machine = Machine(integrity(story.limits), registry, plan, ledger, core)
    machine.play([*story.steps, *silence(story.steps)])
    finish(machine, ledger)
    return machine


def finish(machine: Machine, ledger: Ledger) -> None:
    """Nothing more happens. Raises `BrokenRule` where something is left over."""
    ledger.close(list(machine.state()))
    try:
        closes(fed(each.output for each in machine.told), ())
    except AssertionError as wrong:
        raise BrokenRule("feed", str(wrong)) from wrong


def play_insights(story: Story, first: Machine, core: Core) -> None:
    """Insights over what the first run told it: it adds up, with and without faults, and these
    change nothing. Raises `BrokenRule`."""
    steps = steps_behind(first.steps, first.told)
    if not steps:
        return
    processor = insights(story.second)
    registry = StoryRegistry(processor)
    runs = []
    for plan in (Plan(), story.insights or Plan()):
        machine = Machine(processor, registry, plan, driver=core)
        machine.play([*steps, *silence(steps)])
        adds_up(machine)
        runs.append(by_subject(machine.published))
    straight, again = runs
    for name in sorted(straight.keys() | again.keys()):
        must(straight[name] == again[name], "insights", f"{name} is told otherwise after a crash")


def _same(first: Machine, again: Machine) -> None:
    """What was published of each task is the same, in the same order, and so are the counts."""
    ours, theirs = (
        by_task([each.output for each in machine.published]) for machine in (first, again)
    )
    for task in sorted(ours.keys() | theirs.keys()):
        for at, (one, other) in enumerate(zip(ours[task], theirs[task], strict=False)):
            must(one == other, "same", f"record {at + 1} of {task} is another one after a crash")
        must(
            len(ours[task]) == len(theirs[task]),
            "same",
            f"{task} has {len(ours[task])} records, and {len(theirs[task])} after a crash",
        )
    sums, others = (told_(fed(each.output for each in machine.told)) for machine in (first, again))
    must(same(sums, others), "same", "insights was told something else after a crash")
    must(first.counts == again.counts, "same", f"other counts: {first.counts - again.counts}")


class _Place(Struct):
    """Where a published record belongs."""

    task_id: str
    workflow: str = ""
    id: str = ""
    handoff_id: str | None = None


_place = msgspec.json.Decoder(_Place).decode


class Placed(Protocol):
    """A published record, of whatever type."""

    @property
    def topic(self) -> str: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...


Some = TypeVar("Some", bound=Placed)


def by_task(published: Iterable[Some]) -> dict[str, list[Some]]:
    """The records of each task, `workflow/task_id`; a tombstone and a signal are of the task of
    their package, dead letters of no task, but of their key."""
    tasks: dict[str, str] = {}  # of handoffs
    found: dict[str, list[Some]] = defaultdict(list)
    for record in published:
        key = (record.key or b"").decode(errors="replace")
        if record.value is None:
            key = tasks.get(key, key)
        elif record.topic != "handoff.dead-letters":
            place = _place(record.value)
            if place.handoff_id is None:
                tasks[place.id] = f"{place.workflow}/{place.task_id}"
            key = tasks.get(place.handoff_id or place.id, f"{place.workflow}/{place.task_id}")
        found[key].append(record)
    return found


def _strikes(random: Random, steps: Sequence[StoryStep], outages: bool) -> Plan:
    share = random.choice((1.0, 0.6, 0.2, 0.05))
    commits = frozenset(step.number for step in steps if random.random() < share)
    faults = []
    for _ in range(random.randint(1, 6) if steps else 0):
        outage = random.choice((MINUTE, HOUR, 30 * HOUR)) if outages else 0
        fate = "crash" if outages or random.random() < 0.6 else "abort"
        faults.append(
            Fault(random.choice(steps).number, random.randint(1, 4), fate, outage)  # type: ignore[arg-type]
        )
    return Plan(commits, tuple(faults))


def report(seed: int, story: Story, broken: BrokenRule, core: Core = Driver) -> str:
    """A failing seed for people: what does not hold, the shrunken story, how to see it again."""
    small = shrunken(story, broken.rule, lambda other: judge(other, core))
    again = judge(small, core) or broken
    return (
        f"seed {seed}: {again}\n\n{told(small, core)}\n"
        f"again: make simulate SEED={seed}   ({len(story.steps)} steps, "
        f"{len(small.steps)} of them matter)\n"
    )


def main() -> int:
    """Play seeds from the command line; the exit code says whether all of them hold."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("seed", type=int, help="the first seed")
    parser.add_argument("seeds", type=int, nargs="?", default=1, help="how many (default 1)")
    parser.add_argument("--tell", action="store_true", help="tell the story of a seed that holds")
    arguments = parser.parse_args()
    failures = steps = 0
    started = shown = time.monotonic()
    for seed in range(arguments.seed, arguments.seed + arguments.seeds):
        story, broken, _ = simulate(seed)
        steps += len(story.steps)
        if broken is not None:
            failures += 1
            print(report(seed, story, broken), flush=True)
        elif arguments.tell:
            print(told(story, Driver), flush=True)
        if time.monotonic() - shown > 2:
            shown = time.monotonic()
            print(f"{seed - arguments.seed + 1} seeds, {failures} fail", file=sys.stderr)
    took = time.monotonic() - started
    print(f"{arguments.seeds} seeds, {steps} steps, {failures} fail, {took:.1f} s")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
