"""The integrity processor: its core, and where its inputs, state and tables live."""

from processors.contracts.tables import CONTRACTS, LIVENESS, RECEIVERS, Tables, build_tables
from processors.integrity import state
from processors.integrity.advance import HELD, PACKAGES, SIGNALS, VIOLATIONS, advance
from processors.integrity.limits import DEFAULT_LIMITS, Limits
from processors.integrity.state import Task
from processors.processor import Processor
from schemas.flow import Arrival, Count, Emit, Input, Record
from schemas.wire import parse


def integrity(limits: Limits) -> Processor[Task]:
    """The integrity processor with these limits."""

    def parse_within(record: Record, now: int) -> Arrival:
        return parse(record, now, limits.record_bytes, limits.backfill_after_ms)

    def advance_within(
        task: Task | None, given: Input, tables: Tables, now: int
    ) -> tuple[Task, list[Emit | Count]]:
        return advance(task, given, tables, now, limits)

    return Processor(
        name="integrity",
        inputs=("handoff.tool-outputs",),
        outputs=(PACKAGES, HELD, VIOLATIONS, SIGNALS),
        changelog="handoff.integrity-state",
        tables=(CONTRACTS, RECEIVERS, LIVENESS),
        build_tables=build_tables,
        parse=parse_within,
        state_key=_state_key,
        advance=advance_within,
        encode=state.encode,
        decode=state.decode,
        groups=_groups,
    )


def _state_key(arrival: Arrival) -> str:
    return state.state_key(arrival.body.workflow, arrival.body.task_id)


def _groups(tables: Tables) -> dict[str, tuple[str, str]]:
    """The active receivers that name a consumer group: the group, and the topic that it reads."""
    return {
        receiver.id: (receiver.consumer_group, receiver.queue or PACKAGES)
        for receiver in tables.receivers.values()
        if receiver.consumer_group is not None and not receiver.retired
    }


INTEGRITY = integrity(DEFAULT_LIMITS)
