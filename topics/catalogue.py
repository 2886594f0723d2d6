"""The topics of Handoff Integrity, as data.

Names here are canonical: they start with `handoff.`, whatever prefix a cluster uses; `physical`
gives the name on the cluster. A receiver's queue is named by its document and never changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum
from types import MappingProxyType
from typing import Final

from msgspec import Struct

CANONICAL_PREFIX: Final = "handoff."
DEFAULT_PARTITIONS: Final = 6
SUBJECT_PARTITIONS: Final = 3

DAY_MS: Final = 86_400_000
WEEK: Final = {"retention.ms": str(7 * DAY_MS)}
# Long enough for a receiver, or a person who reads the records, to come back from a holiday.
MONTH: Final = {"retention.ms": str(30 * DAY_MS)}
# What auditors ask for: a year, and some time to ask.
FOUR_HUNDRED_DAYS: Final = {"retention.ms": str(400 * DAY_MS)}
# The largest record on any topic of ours. The producer has the same limit: if the topic's limit
# were lower, the output of a good record would be refused at each commit.
MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024
# A changelog is read whole at each restoration. Small segments let compaction keep it short.
# Tombstones stay for a day, so that a state on disk of yesterday still gets them.
CHANGELOG: Final = {
    "segment.bytes": str(64 * 1024 * 1024),
    "segment.ms": str(60 * 60 * 1000),
    "delete.retention.ms": str(DAY_MS),
}
# For a table that is written every few seconds and read whole at each start: it is compacted each
# hour. By Kafka's default a small topic is compacted once a week.
HOURLY: Final = {"segment.ms": str(60 * 60 * 1000)}


class TopicError(Exception):
    """A problem with topics that a person has to solve; the text is a sentence for that person."""


class TopicRightError(TopicError):
    """A right on topics is missing; the text names it."""


class Spread(Enum):
    """How many partitions a topic gets, and which topics must have the same number."""

    TASK = "task"  # the inputs and the changelog of integrity: the same count, for ever
    SUBJECT = "subject"  # the feed and the changelog of insights: the same count, for ever
    TRACE = "trace"  # the spans of traces and the changelog of them: the same count, for ever
    MANY = "many"  # the count of the task topics, but free to differ
    ONE = "one"  # a small table that every reader reads whole

    @property
    def fixed(self) -> bool:
        """Whether state is kept by partition, so that the number cannot change."""
        return self in (Spread.TASK, Spread.SUBJECT, Spread.TRACE)


class Topic(Struct, frozen=True, kw_only=True):
    """One topic as it should be.

    `name` is canonical and `physical` is the name on the cluster. `config` holds the settings that
    we depend on, as Kafka spells them; all others are the cluster's. `queue` marks a receiver's
    queue, which may be a topic of the receiver's own.
    """

    name: str
    physical: str
    partitions: int
    spread: Spread
    config: dict[str, str]
    key: str
    writer: str
    meaning: str
    queue: bool = False


class CatalogueRow(Struct, frozen=True):
    name: str
    spread: Spread
    cleanup: str
    config: dict[str, str]
    key: str
    writer: str
    meaning: str


# fmt: off
TABLE: Final = (
    CatalogueRow("handoff.tool-outputs", Spread.TASK, "delete", WEEK,
        key="task_id", writer="tools, intake, traces",
        meaning="what the tools produced"),
    CatalogueRow("handoff.acks", Spread.TASK, "delete", WEEK,
        key="task_id", writer="receivers, intake",
        meaning="handoffs that were accepted, completed or rejected"),
    CatalogueRow("handoff.amendments", Spread.TASK, "delete", WEEK,
        key="task_id", writer="people",
        meaning="values set by hand, and held handoffs released or discarded"),
    CatalogueRow("handoff.internal.links", Spread.TASK, "delete", WEEK,
        key="task_id", writer="integrity",
        meaning="what tasks that continue each other tell each other"),
    CatalogueRow("handoff.contracts", Spread.ONE, "compact", {},
        key="id@version", writer="handoff contracts apply",
        meaning="the registered contracts"),
    CatalogueRow("handoff.receivers", Spread.ONE, "compact", {},
        key="id", writer="handoff receivers apply",
        meaning="the registered receivers"),
    CatalogueRow("handoff.receiver-liveness", Spread.ONE, "compact", HOURLY,
        key="receiver", writer="the probe",
        meaning="whether somebody reads a receiver's queue"),
    CatalogueRow("handoff.sources", Spread.ONE, "compact", {},
        key="id", writer="handoff sources apply",
        meaning="the registered sources, and what they are to read again"),
    CatalogueRow("handoff.source-positions", Spread.ONE, "compact", HOURLY,
        key="source/topic/partition", writer="intake",
        meaning="how far each source was read"),
    CatalogueRow("handoff.packages", Spread.MANY, "delete", MONTH,
        key="task_id", writer="integrity",
        meaning="the handoffs, with what their receivers need"),
    CatalogueRow("handoff.violations", Spread.MANY, "delete", MONTH,
        key="task_id", writer="integrity",
        meaning="broken promises, opened and resolved"),
    CatalogueRow("handoff.signals", Spread.MANY, "delete", MONTH,
        key="task_id", writer="integrity",
        meaning="what the originating teams are told"),
    CatalogueRow("handoff.held", Spread.MANY, "compact", {},
        key="handoff id", writer="integrity",
        meaning="the handoffs that wait for a repair"),
    CatalogueRow("handoff.dead-letters", Spread.MANY, "delete", MONTH,
        key="as the source", writer="processors",
        meaning="inputs that could not be understood, untouched"),
    CatalogueRow("handoff.integrity-state", Spread.TASK, "compact", CHANGELOG,
        key="state key", writer="integrity",
        meaning="the changelog of the tasks"),
    CatalogueRow("handoff.internal.feed", Spread.SUBJECT, "delete", {"retention.ms": str(DAY_MS)},
        key="subject", writer="integrity",
        meaning="what insights counts"),
    CatalogueRow("handoff.insights-state", Spread.SUBJECT, "compact", CHANGELOG,
        key="state key", writer="insights",
        meaning="the changelog of patterns and edges"),
    CatalogueRow("handoff.internal.traces", Spread.TRACE, "delete", {"retention.ms": str(DAY_MS)},
        key="trace", writer="intake",
        meaning="the spans of traces, until a trace is quiet"),
    CatalogueRow("handoff.traces-state", Spread.TRACE, "compact", CHANGELOG,
        key="state key", writer="traces",
        meaning="the changelog of traces"),
    CatalogueRow("handoff.edges", Spread.ONE, "compact", {},
        key="edge", writer="insights",
        meaning="the map: who hands to whom, and how well"),
    CatalogueRow("handoff.patterns", Spread.ONE, "compact", {},
        key="fingerprint", writer="insights",
        meaning="what people and pagers read: one entry a cause"),
    CatalogueRow("handoff.figures", Spread.ONE, "compact,delete",
        FOUR_HUNDRED_DAYS,
        key="edge/hour", writer="insights",
        meaning="the map by hours and days, and patterns that were closed"),
    CatalogueRow("handoff.alerts", Spread.ONE, "compact", HOURLY,
        key="kind/name", writer="handoff alerts run",
        meaning="what is firing, and whom it was told"),
    CatalogueRow("handoff.silences", Spread.ONE, "compact", {},
        key="id", writer="handoff alerts silence",
        meaning="what is not told for a time"),
    CatalogueRow("handoff.alert-actions", Spread.ONE, "delete", WEEK,
        key="alert key", writer="people, intake",
        meaning="alerts that a person acknowledged, resolved or silenced"),
    CatalogueRow("handoff.console-audit", Spread.ONE, "delete", FOUR_HUNDRED_DAYS,
        key="who", writer="the console",
        meaning="which masked value was shown to whom, and why"),
)
# fmt: on

NAMES: Final = frozenset(row.name for row in TABLE)
_LEGAL = re.compile(r"[a-zA-Z0-9._-]{1,249}")


def physical(name: str, prefix: str = CANONICAL_PREFIX) -> str:
    """The name on the cluster: ours under `prefix`, any other (a queue's) as it is."""
    return prefix + name.removeprefix(CANONICAL_PREFIX) if name in NAMES else name


def catalogue(
    prefix: str = CANONICAL_PREFIX,
    partitions: int = DEFAULT_PARTITIONS,
    queues: Iterable[str] = (),
) -> list[Topic]:
    """All topics as they should be: ours in the order of `TABLE`, then the queues.

    `partitions` is the count of the task topics, `queues` the names from the receivers' documents.
    Raises TopicError for a prefix or queue that Kafka would refuse, and for a queue that is named
    as a topic of ours is.
    """
    if partitions < 1:
        raise TopicError(f"A topic needs at least 1 partition, not {partitions}.")
    if prefix and not _LEGAL.fullmatch(prefix):
        raise TopicError(
            f"The topic prefix {prefix!r} is not allowed: use letters, digits, '.', '_' and '-'."
        )
    counts = MappingProxyType(
        {
            Spread.TASK: partitions,
            Spread.MANY: partitions,
            Spread.SUBJECT: SUBJECT_PARTITIONS,
            Spread.TRACE: partitions,
            Spread.ONE: 1,
        }
    )
    ours = [
        Topic(
            name=row.name,
            physical=physical(row.name, prefix),
            partitions=counts[row.spread],
            spread=row.spread,
            config={
                "cleanup.policy": row.cleanup,
                "max.message.bytes": str(MAX_MESSAGE_BYTES),
                **row.config,
            },
            key=row.key,
            writer=row.writer,
            meaning=row.meaning,
        )
        for row in TABLE
    ]
    taken = {topic.physical for topic in ours}
    return ours + [_queue(name, partitions, taken) for name in sorted(set(queues))]


def _queue(name: str, partitions: int, taken: set[str]) -> Topic:
    if name in taken:
        raise TopicError(
            f"A receiver names {name} as its queue, but that is a topic of ours: "
            "give the receiver a queue of its own."
        )
    if not _LEGAL.fullmatch(name) or name in {".", ".."}:
        raise TopicError(
            f"A receiver names {name!r} as its queue, which Kafka does not allow: use at most 249 "
            "letters, digits, '.', '_' and '-'."
        )
    return Topic(
        name=name,
        physical=name,
        partitions=partitions,
        spread=Spread.MANY,
        config={
            "cleanup.policy": "delete",
            "max.message.bytes": str(MAX_MESSAGE_BYTES),
            **MONTH,
        },
        key="task_id",
        writer="integrity",
        meaning="the packages of one receiver",
        queue=True,
    )
