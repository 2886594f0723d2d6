"""Makes a failing story small: whatever can go while the same thing fails, goes."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from tests.simulated.known import BrokenRule
from tests.simulated.story import Plan, Story, StoryStep

Item = TypeVar("Item")
Judge = Callable[[Story], BrokenRule | None]
MOST = 1_500  # tries: a story of some hundred steps takes a third of that


def shrunken(story: Story, rule: str, judge: Judge) -> Story:
    """The smallest story found, by leaving out, that breaks the same rule."""
    tries = 0

    def fails(other: Story) -> bool:
        nonlocal tries
        tries += 1
        if tries > MOST:
            return False
        found = judge(other)
        return found is not None and found.rule == rule

    for plan in (Plan(), *story.plans):
        alone = replace(story, plans=() if plan == Plan() else (plan,))
        if fails(alone):
            story = alone
            break
    while True:
        before = story
        story = _without_tasks(story, fails)
        story = _without_steps(story, fails)
        story = _without_faults(story, fails)
        if story == before:
            return story


def _keeping(story: Story, steps: Iterable[StoryStep]) -> Story:
    return replace(story, steps=tuple(steps))


def _without_tasks(story: Story, fails: Callable[[Story], bool]) -> Story:
    for task in sorted({step.task for step in story.steps if step.task}):
        other = _keeping(story, (step for step in story.steps if step.task != task))
        if fails(other):
            story = other
    return story


def _without_steps(story: Story, fails: Callable[[Story], bool]) -> Story:
    return _keeping(story, fewer(story.steps, lambda steps: fails(_keeping(story, steps))))


def fewer(items: Sequence[Item], fails: Callable[[Sequence[Item]], bool]) -> Sequence[Item]:
    """What is left of `items` that still `fails`: halves are left out first, then ever smaller
    parts."""
    size = len(items) // 2
    while size:
        at = 0
        while at < len(items):
            other = [*items[:at], *items[at + size :]]
            if fails(other):
                items = other
            else:
                at += size
        size //= 2
    return items


def _without_faults(story: Story, fails: Callable[[Story], bool]) -> Story:
    if not story.plans:
        return story
    (plan,) = story.plans
    for fault in plan.faults:
        less = replace(plan, faults=tuple(f for f in plan.faults if f != fault))
        if fails(replace(story, plans=(less,))):
            plan = less
    for commits in (None, frozenset[int]()):
        if plan.commits != commits and fails(
            replace(story, plans=(replace(plan, commits=commits),))
        ):
            plan = replace(plan, commits=commits)
            break
    return replace(story, plans=(plan,))
