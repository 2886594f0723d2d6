"""A thousand seeded worlds hold; and what is broken on purpose is found, and told shortly.

`simulation` says what a seed is. `make simulate SEED=7 SEEDS=10000` plays more of them.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

import pytest
from msgspec.structs import replace as changed

from processors.integrity.limits import Limits
from processors.integrity.processor import integrity
from processors.integrity.state import Task
from processors.processor import Processor
from schemas.flow import Arrival, Count, Due, Emit, Emitted, Input
from schemas.records import Begun, How, Package, Signal, SignalKind, Violation, ViolationKind
from tests.simulation import judge, report, simulate

SEEDS = 1_000
BROKEN_SEEDS = 60  # in so many a defect has to show
Emits = list[Emitted]


@pytest.mark.slow
def test_a_thousand_seeds_hold() -> None:
    seen: Counter[tuple[str, str]] = Counter()
    for seed in range(SEEDS):
        story, broken, found = simulate(seed)
        if broken is not None:
            pytest.fail(report(seed, story, broken), pytrace=False)
        seen += found
    # They must come across everything there is, or else they prove less than they seem to.
    for what, kinds in (
        ("begun", get_args(Begun)),
        ("how", get_args(How)),
        ("opened", get_args(ViolationKind)),
        ("signal", get_args(SignalKind)),
    ):
        assert {kind for name, kind in seen if name == what} == set(kinds)


def test_a_seed_is_always_the_same() -> None:
    stories = [simulate(7).story for _ in range(2)]
    assert stories[0] == stories[1]
    assert len(stories[0].steps) > 10


# --- what is broken on purpose ------------------------------------------------------------------

Defect = Callable[[Emits, Task | None, Input], Emits]


def with_defect(defect: Defect) -> Callable[[Limits], Processor[Task]]:
    """The core, with a defect in what it emits."""

    def core(limits: Limits) -> Processor[Task]:
        whole = integrity(limits)

        def advance(
            task: Task | None, given: Input, tables: Any, now: int
        ) -> tuple[Task | None, Emits]:
            after, emits = whole.advance(task, given, tables, now)
            return after, defect(list(emits), task, given)

        return replace(whole, advance=advance)

    return core


def first(emits: Emits, kind: type, wanted: Callable[[Any], bool]) -> Emit | None:
    found = (e for e in emits if isinstance(e, Emit) and isinstance(e.record, kind))
    return next((emit for emit in found if wanted(emit.record)), None)


def loses_a_resolution(emits: Emits, _: Task | None, __: Input) -> Emits:
    lost = first(emits, Violation, lambda violation: violation.status == "resolved")
    return [emit for emit in emits if emit is not lost]


def opens_again(emits: Emits, _: Task | None, __: Input) -> Emits:
    twice = first(emits, Violation, lambda violation: violation.kind == "context_dropped")
    return [each for emit in emits for each in ((emit, emit) if emit is twice else (emit,))]


def leaks_what_is_held(emits: Emits, _: Task | None, __: Input) -> Emits:
    held = first(emits, Package, lambda package: package.disposition == "held")
    if held is None:
        return emits
    assert isinstance(held.record, Package)
    return [Emit("handoff.packages", held.record.task_id, held.record), *emits]


def leaves_it_on_the_held_topic(emits: Emits, _: Task | None, __: Input) -> Emits:
    return [emit for emit in emits if not (isinstance(emit, Emit) and emit.record is None)]


def in_later_packages(emits: Emits, **members: Any) -> Emits:
    def later(emit: Emitted) -> Emitted:
        if not isinstance(emit, Emit) or not isinstance(emit.record, Package):
            return emit
        if emit.record.revision == 1 or emit.record.fidelity is None:
            return emit
        return Emit(emit.topic, emit.key, changed(emit.record, **members))

    return [later(emit) for emit in emits]


def skips_a_revision(emits: Emits, _: Task | None, __: Input) -> Emits:
    return in_later_packages(emits, revision=9)


def raises_fidelity(emits: Emits, _: Task | None, __: Input) -> Emits:
    return in_later_packages(emits, fidelity=0.99)


def loses_an_expiry(emits: Emits, _: Task | None, __: Input) -> Emits:
    lost = first(emits, Signal, lambda signal: signal.kind == "expired")
    return [emit for emit in emits if emit is not lost]


def says_it_too_late(emits: Emits, _: Task | None, __: Input) -> Emits:
    violation = first(emits, Violation, lambda violation: violation.status == "resolved")
    return [emit for emit in emits if emit is not violation] + ([violation] if violation else [])


def forgets_to_count(emits: Emits, _: Task | None, __: Input) -> Emits:
    return [e for e in emits if not (isinstance(e, Count) and e.name == "handoffs_closed")]


def changes_what_it_was_given(emits: Emits, task: Task | None, given: Input) -> Emits:
    if task is not None and isinstance(given, Due):
        task.captures.clear()
    return emits


DEFECTS: list[tuple[Defect, str]] = [
    (loses_a_resolution, "open"),
    (opens_again, "violation"),
    (leaks_what_is_held, "held"),
    (leaves_it_on_the_held_topic, "held"),
    (skips_a_revision, "revision"),
    (raises_fidelity, "fidelity"),
    (loses_an_expiry, "lost"),
    (says_it_too_late, "order"),
    (forgets_to_count, "accounting"),
    (changes_what_it_was_given, "pure"),
]


@pytest.mark.parametrize(
    ("defect", "rule"), DEFECTS, ids=lambda each: getattr(each, "__name__", "")
)
def test_a_defect_is_found(defect: Defect, rule: str) -> None:
    core = with_defect(defect)
    broken = [found for seed in range(BROKEN_SEEDS) if (found := simulate(seed, core).broken)]
    assert rule in {found.rule for found in broken}


def remembers_beside_its_state(limits: Limits) -> Processor[Task]:
    """It knows which tasks it has seen, and nothing of that is in the changelog."""
    whole = integrity(limits)
    seen: Counter[str] = Counter()

    def decode(encoded: bytes) -> Task:
        seen.clear()
        return whole.decode(encoded)

    def advance(
        task: Task | None, given: Input, tables: Any, now: int
    ) -> tuple[Task | None, Emits]:
        after, emits = whole.advance(task, given, tables, now)
        name = given.body.task_id if isinstance(given, Arrival) else ""
        seen[name] += 1
        for place, emit in enumerate(emits):
            if isinstance(emit, Emit) and isinstance(emit.record, Signal):
                told = changed(emit.record, message=f"input {seen[emit.record.task_id]}")
                emits[place] = Emit(emit.topic, emit.key, told)
        return after, emits

    return replace(whole, decode=decode, advance=advance)


def never_wakes(limits: Limits) -> Processor[Task]:
    return replace(integrity(limits), due=lambda task: None)


def reads_back_less(limits: Limits) -> Processor[Task]:
    whole = integrity(limits)
    return replace(whole, decode=lambda encoded: changed(whole.decode(encoded), hops=0))


@pytest.mark.parametrize(
    ("core", "rule"),
    [
        (remembers_beside_its_state, "same"),
        (never_wakes, "deadline"),
        (reads_back_less, "state"),
    ],
)
def test_a_defect_beside_the_records_is_found(
    core: Callable[[Limits], Processor[Task]], rule: str
) -> None:
    broken = [found for seed in range(BROKEN_SEEDS) if (found := simulate(seed, core).broken)]
    assert rule in {found.rule for found in broken}


def test_a_failing_seed_is_told_shortly() -> None:
    """Of a long story what matters is left, and it still fails in the same way."""
    core = with_defect(leaks_what_is_held)
    seed, story, broken = next(
        (seed, story, broken)
        for seed in range(BROKEN_SEEDS)
        for story, broken, _ in [simulate(seed, core)]
        if broken is not None and len(story.steps) > 20
    )
    text = report(seed, story, broken, core)
    shown = [line for line in text.splitlines() if "] " in line and line.startswith("day")]
    assert broken.rule in text.splitlines()[0]
    assert f"make simulate SEED={seed} " in text
    assert "-> held" in text
    assert "-> packages" in text
    assert len(shown) <= 6, text
    assert judge(story) is None, "without the defect it holds"
