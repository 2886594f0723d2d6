"""What the web pages show of a lane: readiness, counts, sizes, times.

It outlives the lane, so a new lane goes on counting. Only the lane's thread writes a number; other
threads read it, perhaps a moment late.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import Histogram

_BATCH_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_LATENESS_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0, 3600.0)


@dataclass
class LaneStatus:
    """What is known of the lane of one processor.

    `phase` is starting, standing by (joined, no partition), restoring, running or stopped.
    `counts` is the driver's accounting: (name, input topic, label) -> number. `outputs` counts the
    committed records by topic, `lag` the records not yet judged by (topic, partition), `state`
    holds (keys, bytes) by partition, `deadlines` the tasks that have one, `sweeps` those that wait
    to be swept. `probes` counts the probes of receivers by outcome. `blocked` says what is missing
    outside while the lane waits for it, and is empty otherwise.
    `sources` counts what became of foreign records, by (source, outcome, label); `read_to` is the
    moment up to which a topic was read, by (source, topic); `problems` says of a topic why it is
    not read.
    `renewed` counts the producers exchanged because a connection had broken in a transaction.
    """

    processor: str
    phase: str = "starting"
    blocked: str = ""
    counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    outputs: Counter[str] = field(default_factory=Counter)
    lag: dict[tuple[str, int], int] = field(default_factory=dict)
    state: dict[int, tuple[int, int]] = field(default_factory=dict)
    deadlines: dict[int, int] = field(default_factory=dict)
    sweeps: dict[int, int] = field(default_factory=dict)
    committed: int = 0
    aborted: int = 0
    restarts: int = 0
    renewed: int = 0
    lost_to_gaps: int = 0
    restored_records: int = 0
    restore_seconds: float = 0.0
    probes: Counter[str] = field(default_factory=Counter)
    sources: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    read_to: dict[tuple[str, str], int] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        def histogram(
            name: str, text: str, buckets: tuple[float, ...] = _BATCH_BUCKETS
        ) -> Histogram:
            return Histogram(name, text, ["processor"], registry=None, buckets=buckets)

        self.batches = histogram("handoff_batch_seconds", "Judging one batch.")
        self.commits = histogram("handoff_commit_seconds", "Committing one transaction.")
        self.lateness = histogram(
            "handoff_deadline_lateness_seconds",
            "How long after its time the first deadline of a slice fired.",
            _LATENESS_BUCKETS,
        )
        self.observe_batch = self.batches.labels(self.processor).observe
        self.observe_commit = self.commits.labels(self.processor).observe
        self.observe_lateness = self.lateness.labels(self.processor).observe

    def stands_by(self) -> None:
        """No partition is assigned to the lane now."""
        self.phase = "standing by"
        figures: tuple[dict[Any, Any], ...]
        figures = (self.lag, self.state, self.deadlines, self.sweeps, self.read_to)
        for each in figures:
            each.clear()

    def runs_on(self, partition: int) -> bool:
        """Whether the lane runs on this partition. Up to a second late after a change."""
        return self.phase == "running" and partition in self.state

    @property
    def ready(self) -> bool:
        """Whether nothing is amiss: the lane runs, or stands by without a partition, and is not
        blocked. One that could read none of its topics is not ready."""
        idle = bool(self.problems) and self.phase == "standing by"
        return self.phase in ("running", "standing by") and not self.blocked and not idle
