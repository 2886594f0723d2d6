"""A thousand seeded worlds hold; and what is broken on purpose is found, and told shortly.

`simulation` says what a seed is. `make simulate SEED=7 SEEDS=10000` plays more of them.
"""

import json
import os
from collections import Counter
from collections.abc import Callable
from typing import Any, get_args

import msgspec
import pytest

from processors.driver import Driver
from schemas.flow import Output, Record
from schemas.records import Begun, How, SignalKind, ViolationKind
from tests.simulation import judge, report, simulate

ALL = 1_000
SEEDS = int(os.environ.get("HANDOFF_SEEDS", ALL))  # fewer where only mistakes are asked for
BROKEN_SEEDS = 60  # in so many a defect has to show
PACKAGES, HELD = "handoff.packages", "handoff.held"
VIOLATIONS, SIGNALS = "handoff.violations", "handoff.signals"
# At these something happens by itself; inputs come then, and a millisecond before and after.
BOUNDARIES = ("not_accepted", "not_completed", "held_too_long", "expires", "closes")


@pytest.mark.slow
def test_a_thousand_seeds_hold() -> None:
    seen: Counter[tuple[str, str]] = Counter()
    for seed in range(SEEDS):
        story, broken, found = simulate(seed)
        if broken is not None:
            told = report(seed, story, broken) if SEEDS >= ALL else f"seed {seed}: {broken}"
            pytest.fail(told, pytrace=False)
        seen += found
    if SEEDS < ALL:
        return
    # They must come across everything there is, or else they prove less than they seem to.
    boundaries = [f"{what} {ms:+}" for what in BOUNDARIES for ms in (-1, 0, 1)]
    for what, kinds in (
        ("begun", get_args(Begun)),
        ("how", get_args(How)),
        # Sources and their outages are drawn in tests/test_source_outages.py, links in
        # tests/test_links_simulation.py.
        ("opened", set(get_args(ViolationKind)) - {"source_silent", "link_refused"}),
        ("signal", get_args(SignalKind)),
        ("near", boundaries),
    ):
        assert {kind for name, kind in seen if name == what} == set(kinds)


def test_a_seed_is_always_the_same() -> None:
    stories = [simulate(7).story for _ in range(2)]
    assert stories[0] == stories[1]
    assert len(stories[0].steps) > 10


# --- what is broken on purpose ------------------------------------------------------------------

Outputs = list[Output]
Given = Record | int | None  # a record, a moment whose deadlines have passed, other tables
Defect = Callable[[Outputs, Given], Outputs]


def with_defect(defect: Defect) -> type[Driver[Any]]:
    """The driver, with a defect in what it publishes."""

    class Defective(Driver[Any]):
        def step(self, record: Record, now: int) -> Outputs:
            return defect(super().step(record, now), record)

        def fire(self, number: int, until: int, now: int, most: int, *_: Any) -> Outputs:
            return defect(super().fire(number, until, now, most), until)

        def sweep(self, now: int, most: int, *_: Any) -> Outputs:
            return defect(super().sweep(now, most), None)

    return Defective


def read(output: Output) -> dict[str, Any]:
    if output.value is None or output.topic == "handoff.dead-letters":
        return {}
    found: dict[str, Any] = json.loads(output.value)
    return found


def rewritten(output: Output, **members: Any) -> Output:
    """The record with other members; the rest of it byte by byte as it was."""
    body = msgspec.json.decode(output.value or b"", type=dict[str, msgspec.Raw])
    for name, value in members.items():
        body[name] = msgspec.Raw(msgspec.json.encode(value))
    return Output(output.topic, output.key, msgspec.json.encode(body), output.headers)


def first(outputs: Outputs, topic: str, **members: Any) -> int | None:
    """The place of the first record of a topic with these members."""
    for place, output in enumerate(outputs):
        if output.topic == topic and members.items() <= read(output).items():
            return place
    return None


def without(outputs: Outputs, place: int | None) -> Outputs:
    return outputs if place is None else [*outputs[:place], *outputs[place + 1 :]]


def loses_a_resolution(outputs: Outputs, _: Given) -> Outputs:
    return without(outputs, first(outputs, VIOLATIONS, status="resolved"))


def opens_again(outputs: Outputs, _: Given) -> Outputs:
    place = first(outputs, VIOLATIONS, kind="context_dropped", status="opened")
    return outputs if place is None else [*outputs[:place], outputs[place], *outputs[place:]]


def leaks_what_is_held(outputs: Outputs, _: Given) -> Outputs:
    place = first(outputs, HELD, disposition="held")
    if place is None:
        return outputs
    held = outputs[place]
    key = read(held)["task_id"].encode()
    return [Output(PACKAGES, key, held.value, held.headers), *outputs]


def leaves_it_on_the_held_topic(outputs: Outputs, _: Given) -> Outputs:
    return [output for output in outputs if output.value is not None]


def in_later_packages(outputs: Outputs, **members: Any) -> Outputs:
    def later(output: Output) -> Output:
        body = read(output)
        if body.get("revision", 1) == 1 or body["fidelity"] is None:
            return output
        return rewritten(output, **members)

    return [later(output) for output in outputs]


def skips_a_revision(outputs: Outputs, _: Given) -> Outputs:
    return in_later_packages(outputs, revision=9)


def raises_fidelity(outputs: Outputs, _: Given) -> Outputs:
    return in_later_packages(outputs, fidelity=0.99)


def loses_an_expiry(outputs: Outputs, _: Given) -> Outputs:
    return without(outputs, first(outputs, SIGNALS, kind="expired"))


def says_it_too_late(outputs: Outputs, _: Given) -> Outputs:
    place = first(outputs, VIOLATIONS, status="resolved")
    return outputs if place is None else [*without(outputs, place), outputs[place]]


def is_never_late(outputs: Outputs, _: Given) -> Outputs:
    return [
        rewritten(output, late=False) if read(output).get("late") else output for output in outputs
    ]


def promises_a_millisecond_more(outputs: Outputs, _: Given) -> Outputs:
    def more(output: Output) -> Output:
        by = read(output).get("accept_by")
        if by is None or "." in by:
            return output
        return rewritten(output, accept_by=by.replace("Z", ".001Z"))

    return [more(output) for output in outputs]


DEFECTS: list[tuple[Defect, str]] = [
    (loses_a_resolution, "open"),
    (opens_again, "violation"),
    (leaks_what_is_held, "held"),
    (leaves_it_on_the_held_topic, "held"),
    (skips_a_revision, "revision"),
    (raises_fidelity, "fidelity"),
    (loses_an_expiry, "deadline"),
    (says_it_too_late, "order"),
    (is_never_late, "late"),
    (promises_a_millisecond_more, "deadline"),
]


def broken_by(core: type[Driver[Any]], seeds: int = BROKEN_SEEDS) -> set[str]:
    """The rules that do not hold of a driver."""
    found = (simulate(seed, core).broken for seed in range(seeds))
    return {broken.rule for broken in found if broken is not None}


@pytest.mark.parametrize(
    ("defect", "rule"), DEFECTS, ids=lambda each: getattr(each, "__name__", "")
)
def test_a_defect_is_found(defect: Defect, rule: str) -> None:
    assert rule in broken_by(with_defect(defect))


class RemembersBesideItsState(Driver[Any]):
    """It counts its transactions, and nothing of that is in the changelog."""

    seen = 0

    def merge(self, changes: Any) -> None:
        self.seen += 1
        super().merge(changes)

    def step(self, record: Record, now: int) -> Outputs:
        return [
            rewritten(output, message=f"after {self.seen}") if output.topic == SIGNALS else output
            for output in super().step(record, now)
        ]


class ChangesWhatItWasGiven(Driver[Any]):
    """What it publishes goes by how often it was asked."""

    asked = 0

    def step(self, record: Record, now: int) -> Outputs:
        self.asked += 1
        return [
            rewritten(output, message=f"time {self.asked}") if output.topic == SIGNALS else output
            for output in super().step(record, now)
        ]


class ForgetsToCount(Driver[Any]):
    def merge(self, changes: Any) -> None:
        super().merge(changes)
        for name in [name for name in self.counts if name[0] == "handoffs_closed"]:
            del self.counts[name]


class NeverWakes(Driver[Any]):
    def next_due(self, number: int, until: int) -> int | None:
        return None


class WakesALittleLate(Driver[Any]):
    def next_due(self, number: int, until: int) -> int | None:
        due = super().next_due(number, until)
        return None if due is None else due + 1


class WakesALittleEarly(Driver[Any]):
    def fire(self, number: int, until: int, now: int, most: int, *_: Any) -> Outputs:
        return super().fire(number, until + 1, now + 1, most)


class ReadsBackLess(Driver[Any]):
    """After a restart one task is another one: what was written last is not there."""

    def assign(self, partition: int, store: Any) -> None:
        for key in sorted(store)[-1:]:
            del store[key]
        super().assign(partition, store)


@pytest.mark.parametrize(
    ("core", "rules"),
    [
        (RemembersBesideItsState, {"same"}),
        (ChangesWhatItWasGiven, {"pure"}),
        (ForgetsToCount, {"accounting"}),
        (NeverWakes, {"deadline"}),
        (WakesALittleLate, {"deadline"}),
        (WakesALittleEarly, {"accounting", "deadline"}),
        (ReadsBackLess, {"same"}),
    ],
)
def test_a_defect_beside_the_records_is_found(core: type[Driver[Any]], rules: set[str]) -> None:
    assert rules & broken_by(core)


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
