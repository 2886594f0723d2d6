"""Which sources feed a workflow, and how far each was read: deadlines wait for that.

An ack that lies in a topic of others, unread, was given. So nobody is blamed for a deadline before
each source that may tell of it was read past it.
"""

import logging
from collections.abc import Iterable, Mapping
from datetime import timedelta
from functools import lru_cache

import msgspec
from msgspec import Struct
from pydantic import ValidationError

from schemas.records import SourcePosition
from schemas.serde import epoch_ms
from schemas.sources import LiteralValue, Source, from_json

log = logging.getLogger(__name__)

SOURCES = "handoff.sources"
POSITIONS = "handoff.source-positions"

_decode = msgspec.json.Decoder(SourcePosition).decode


class WorkflowFeed(Struct, frozen=True):
    """An active source: its owner, the workflows that it writes to (None: any), and the moment up
    to which all its topics were read (epoch ms; None: not known). So long it may be silent:
    `grace`, in ms; None is for ever."""

    source: str
    owner: str
    contact: str | None
    workflows: frozenset[str] | None
    read_to: int | None
    grace: int | None

    def feeds(self, workflow: str) -> bool:
        """Whether it may write to a workflow."""
        return self.workflows is None or workflow in self.workflows

    def silent(self, now: int, since: int) -> bool:
        """Whether it has been silent for longer than it may; where it was never read, `since` a
        moment (epoch ms)."""
        read_to = since if self.read_to is None else self.read_to
        return self.grace is not None and now - read_to >= self.grace


def behind(feeds: Iterable[WorkflowFeed], workflow: str, moment: int) -> WorkflowFeed | None:
    """A source of a workflow that was not read past a moment: of several the one read least."""
    late = [
        feed
        for feed in feeds
        if feed.feeds(workflow) and (feed.read_to is None or feed.read_to < moment)
    ]
    return min(late, key=lambda feed: (feed.read_to or 0, feed.source), default=None)


def feeds(topics: Mapping[str, Mapping[str, bytes]]) -> tuple[WorkflowFeed, ...]:
    """The feeds of what lies on the topics of sources and of their positions."""
    told: dict[str, list[SourcePosition]] = {}
    for value in topics.get(POSITIONS, {}).values():
        try:
            record = _decode(value)
        except msgspec.DecodeError:
            continue  # as if nothing were told: deadlines wait
        told.setdefault(record.source, []).append(record)
    found = []
    for key, value in sorted(topics.get(SOURCES, {}).items()):
        source = None if "/" in key else _read(key, value)
        if source is not None and source.status == "active":
            grace = source.source_grace
            found.append(
                WorkflowFeed(
                    source=source.id,
                    owner=source.owner.name,
                    contact=source.owner.contact,
                    workflows=workflows(source),
                    read_to=read_to(source.topic, told.get(source.id, ())),
                    grace=None if grace is None else grace // timedelta(milliseconds=1),
                )
            )
    return tuple(found)


def read_to(topics: Iterable[str], told: Iterable[SourcePosition]) -> int | None:
    """The moment up to which every partition of the topics was read (epoch ms); None where that is
    not known of one. What is told once stays true, so the latest of several counts."""
    moments: dict[str, dict[str, int]] = {topic: {} for topic in topics}
    counts = dict.fromkeys(moments, 1)
    for record in told:
        own = moments.get(record.topic)
        if own is None:
            continue
        counts[record.topic] = max(counts[record.topic], record.partitions)
        for number, at in record.read_to.items():
            own[number] = max(epoch_ms(at), own.get(number, 0))
    if any(len(own) < counts[topic] for topic, own in moments.items()):
        return None
    return min(at for own in moments.values() for at in own.values())


def workflows(source: Source) -> frozenset[str] | None:
    """The workflows that a source writes to; None where its records say which."""
    tasks = [entry for entry in source.emit if entry.alert is None]
    said = [entry.workflow or source.defaults.workflow for entry in tasks]
    if "workflow" in source.override:
        said = [source.override["workflow"]]
    fixed = [str(each.value) for each in said if isinstance(each, LiteralValue)]
    known = bool(said or source.emit) and len(fixed) == len(said)
    return frozenset(fixed) if known else None


@lru_cache(maxsize=1_000)
def _read(key: str, value: bytes) -> Source | None:
    try:
        return from_json(value)
    except ValidationError:
        log.error("%s: the source %s cannot be used, and no deadline waits for it", SOURCES, key)
        return None
