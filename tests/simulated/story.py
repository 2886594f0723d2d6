"""What a simulation plays: steps on a virtual clock, faults, and the tables that a step finds.

A story is plain data. What is left of it after some steps are dropped is a story again, so it can
be shrunken; a step keeps its number, by which faults and commits name it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from processors.contracts.registry import CONTRACTS, RECEIVERS
from processors.insights.limits import DEFAULT_LIMITS as INSIGHTS_LIMITS
from processors.insights.limits import Limits as InsightsLimits
from processors.integrity.limits import Limits
from processors.processor import Processor
from schemas import documents
from schemas.flow import Record

START: Final = 1_772_409_600_000  # 2026-03-02T00:00:00Z
SECOND: Final = 1_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
PARTITIONS: Final = 2
SILENCE: Final = 1_000_000  # the number of the step after which nothing comes any more


@dataclass(frozen=True)
class TablesChange:
    """The tables change: documents and liveness records as JSON by key, and the topics there are
    (None: nobody knows). What is not named stays as it was."""

    entries: tuple[tuple[str, str, bytes], ...] = ()  # topic, key, value
    existing: frozenset[str] | None = None


@dataclass(frozen=True)
class StoryStep:
    """One thing that happens at `at` (epoch ms): a record is read, the tables change, or nothing
    (None): time passes."""

    number: int
    at: int
    what: Record | TablesChange | None
    task: str = ""


Fate = Literal["abort", "crash"]


@dataclass(frozen=True)
class Fault:
    """At the `place`-th moment (from 1) of a step at which the processor can be struck: the
    transaction is aborted, or the process dies; `outage` is how long it is gone then (ms)."""

    step: int
    place: int
    fate: Fate
    outage: int = 0


@dataclass(frozen=True)
class Plan:
    """How a run goes wrong. A transaction ends after the steps in `commits` (None: each step), and
    with `restarts` the process too; with `aborts` each record is read, aborted and read again."""

    commits: frozenset[int] | None = None
    faults: tuple[Fault, ...] = ()
    restarts: bool = False
    aborts: bool = False


@dataclass(frozen=True)
class Story:
    """The world of one seed and what happened in it; `plans` are the runs beside the first, and
    `insights` is how the second processor goes wrong (by the numbers of its own steps)."""

    seed: int
    limits: Limits
    steps: tuple[StoryStep, ...]
    plans: tuple[Plan, ...]
    second: InsightsLimits = INSIGHTS_LIMITS
    insights: Plan | None = None


def silence(steps: Sequence[StoryStep]) -> list[StoryStep]:
    """What follows on the last of these steps: such a long time that everything is over."""
    end = steps[-1].at if steps else START
    return [StoryStep(SILENCE, end, None), StoryStep(SILENCE + 1, end + 60 * DAY, None)]


def entry(data: dict[str, Any]) -> tuple[str, str, bytes]:
    """A contract or receiver, as it lies on its topic."""
    document = documents.parse(data)
    topic = CONTRACTS if data["kind"] == "HandoffContract" else RECEIVERS
    return topic, documents.key(document), documents.to_json(document)


class StoryRegistry:
    """The tables after each change, built once for all the runs of a seed."""

    def __init__(self, processor: Processor[Any]) -> None:
        self._build = processor.build_tables
        self._names = processor.tables
        self._built: dict[tuple[int, ...], Any] = {}

    def after(self, changes: Sequence[StoryStep]) -> Any:
        """The tables after these steps."""
        numbers = tuple(step.number for step in changes)
        found = self._built.get(numbers)
        if found is None:
            topics: dict[str, dict[str, bytes]] = {name: {} for name in self._names}
            existing: frozenset[str] | None = None
            for step in changes:
                assert isinstance(step.what, TablesChange)
                for topic, key, value in step.what.entries:
                    if topic in topics:
                        topics[topic][key] = value
                existing = step.what.existing or existing
            found = self._built[numbers] = self._build(topics, existing)
        return found
