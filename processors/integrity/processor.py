"""The integrity processor: its core, and where its inputs, state and tables live."""

from processors.contracts.feeding import POSITIONS, SOURCES
from processors.contracts.registry import (
    CONTRACTS,
    LIVENESS,
    RECEIVERS,
    RegistrySnapshot,
    build_tables,
)
from processors.integrity import state, stored, stored_timers
from processors.integrity.advance import advance
from processors.integrity.feed import FEED
from processors.integrity.limits import DEFAULT_LIMITS, Limits
from processors.integrity.outbox import HELD, PACKAGES, SIGNALS, VIOLATIONS
from processors.integrity.state import Task
from processors.processor import Processor
from schemas.flow import Effect, Input, InputEvent, Record
from schemas.links import LINKS
from schemas.serde import MAX_RECORD_BYTES, parse


def integrity(limits: Limits) -> Processor[Task]:
    """The integrity processor with these limits."""

    def parse_within(record: Record, now: int) -> InputEvent:
        most = MAX_RECORD_BYTES if record.topic == LINKS else limits.record_bytes
        return parse(record, now, most, limits.backfill_after_ms)

    def tables_within(
        topics: dict[str, dict[str, bytes]], existing: frozenset[str] | None
    ) -> RegistrySnapshot:
        return build_tables(topics, existing, limits.live_grace_ms, limits.stale_liveness_ms)

    def due(task: Task) -> int | None:
        return state.due(task, limits.handoff_ttl_ms, limits.task_ttl_ms)

    def advance_within(
        task: Task | None, given: Input, tables: RegistrySnapshot, now: int
    ) -> tuple[Task | None, list[Effect]]:
        return advance(task, given, tables, now, limits)

    return Processor(
        name="integrity",
        inputs=("handoff.tool-outputs", "handoff.acks", "handoff.amendments", LINKS),
        outputs=(PACKAGES, HELD, VIOLATIONS, SIGNALS, FEED, LINKS),
        changelog="handoff.integrity-state",
        tables=(CONTRACTS, RECEIVERS, LIVENESS, SOURCES, POSITIONS),
        build_tables=tables_within,
        parse=parse_within,
        state_key=_state_key,
        advance=advance_within,
        format=stored.FORMAT,
        encode=stored.encode,
        encode_change=stored.encode_change,
        decode=stored.decode,
        decode_timers=stored_timers.decode_timers,
        timers=state.timers,
        due=due,
        watched=state.watched,
        facts=RegistrySnapshot.facts,
        queues=RegistrySnapshot.named_queues,
        groups=_groups,
    )


def _state_key(event: InputEvent) -> str:
    return state.state_key(event.body.workflow, event.body.task_id)


def _groups(tables: RegistrySnapshot) -> dict[str, tuple[str, str]]:
    """The active receivers that name a consumer group: the group, and the topic that it reads."""
    return {
        receiver.id: (receiver.consumer_group, receiver.queue or PACKAGES)
        for receiver in tables.receivers.values()
        if receiver.consumer_group is not None and not receiver.retired
    }


INTEGRITY = integrity(DEFAULT_LIMITS)
