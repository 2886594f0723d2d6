"""Edges: what is observed between two stages, or between a stage and a receiver.

    fold     a part is added to its edge; within `edge_interval_ms` the edge is published
    publish  the edge as it is by now
    judge    whether a contract documents it, and the pattern of a move that none does

That pattern, `undocumented_handoff`, counts the bare moves over an edge that no contract documents,
and is opened only while the workflow has a contract in force: where nobody has promised anything
the edge is only on the map. Moves that are older than the window (a replay's) are not counted.
"""

import math
from collections.abc import Mapping

from msgspec.structs import replace

from processors.contracts.registry import RegistrySnapshot
from processors.insights import figures, patterns, sentences
from processors.insights.limits import Limits
from processors.insights.patterns import MAX_NAME
from processors.insights.state import EdgeState, Entry
from schemas.feed import EDGE_COUNTS, EdgePart, PatternPart, bucket_ms, subject
from schemas.flow import Effect, Publish
from schemas.records import Edge
from schemas.serde import MAX_AHEAD_MS, utc

EDGES = "handoff.edges"
TYPES = frozenset({"string", "number", "integer", "object", "array", "boolean", "null"})

_MINUTE = 60_000


def fold(
    state: EdgeState | None, part: EdgePart, tables: RegistrySnapshot, now: int, limits: Limits
) -> tuple[EdgeState, list[Effect]]:
    """Add a part. `now` is the processor's clock."""
    part = _bounded(part, now + MAX_AHEAD_MS)
    if state is None:
        nothing = EdgePart(
            kind=part.kind,
            workflow=part.workflow,
            from_=part.from_,
            to=part.to,
            first_seen=part.first_seen,
            last_seen=part.last_seen,
        )
        state = EdgeState(nothing, documented=False, contract=None)
    total = state.total.plus(part)
    documented, contract = _documented(total, tables)
    bare = state.bare
    if not documented and part.counts.get("bare", 0):
        bare = _count_bare(bare, part, now, limits.pattern_window_ms)
    state = EdgeState(total, documented, contract, _soon(state, now, limits), bare)
    return _judge(state, tables, now)


def sweep(
    state: EdgeState, tables: RegistrySnapshot, now: int, limits: Limits
) -> tuple[EdgeState, list[Effect]]:
    """The contracts of the workflow may have changed."""
    documented, contract = _documented(state.total, tables)
    if (documented, contract) != (state.documented, state.contract):
        state = EdgeState(state.total, documented, contract, _soon(state, now, limits), state.bare)
    return _judge(state, tables, now)


def wake(
    state: EdgeState, at: int, tables: RegistrySnapshot, now: int
) -> tuple[EdgeState, list[Effect]]:
    """What fell due at `at` or before."""
    effects: list[Effect] = []
    if 0 < state.publish_at <= at:
        state = replace(state, publish_at=0)
        effects.append(_publish(state))
    bare = state.bare
    if bare is not None and bare.id is not None and bare.quiet_at <= at:
        state = replace(state, bare=None)
        effects += patterns.close(bare, sentences.QUIET, tables, now)
    return state, effects


def _soon(state: EdgeState, now: int, limits: Limits) -> int:
    """When it is published: not later than an interval from now, if a clock was set back."""
    soon = now + limits.edge_interval_ms
    return min(state.publish_at, soon) if state.publish_at else soon


def _bounded(part: EdgePart, limit: int) -> EdgePart:
    """A part without what is not known or not worth keeping: `limit` bounds its times."""
    fields = part.fields
    if not all(len(name) <= MAX_NAME and TYPES.issuperset(fields[name]) for name in fields):
        fields = {
            name: {type_: number for type_, number in types.items() if type_ in TYPES}
            for name, types in fields.items()
            if len(name) <= MAX_NAME
        }
    return replace(
        part,
        first_seen=min(part.first_seen, limit),
        last_seen=min(part.last_seen, limit),
        counts=figures.known_counts(part),
        fields=fields,
        lost_fields={},  # the figures have them, by hour
    )


# --- documented or not ----------------------------------------------------------------------------


def _documented(total: EdgePart, tables: RegistrySnapshot) -> tuple[bool, str | None]:
    """Whether the edge is documented, and the contract that does it, where it can be named.

    A move is by a contract in force between its stages, or when each was covered by a handoff on
    some contract; a handoff by the contract that its last one had, or that the next would have.
    """
    if total.kind == "move":
        found = tables.documents(total.workflow, total.from_, total.to)
        if found is None:
            return not total.counts.get("uncovered", 0), total.contract
    elif total.contract is not None:
        return True, total.contract
    else:
        found = tables.resolve(total.workflow, total.from_, total.to, None).contract
    return found is not None, None if found is None else found.id


def _count_bare(bare: Entry | None, part: EdgePart, now: int, window_ms: int) -> Entry | None:
    """The pattern of an undocumented move with the bare moves of a part."""
    if part.last_seen <= now - window_ms:
        return bare
    moves = part.counts["bare"]
    fingerprint = subject("edge", part.workflow, part.from_, part.to, patterns.UNDOCUMENTED)
    more = PatternPart(
        kind=patterns.UNDOCUMENTED,
        workflow=part.workflow,
        first_seen=part.first_seen,
        last_seen=part.last_seen,
        minutes={part.last_seen // _MINUTE: moves},
        stages={part.from_: moves},
        from_=part.from_,
        to=part.to,
    )
    return patterns.fold(bare, fingerprint, more, now, window_ms)


def _judge(state: EdgeState, tables: RegistrySnapshot, now: int) -> tuple[EdgeState, list[Effect]]:
    """Open, update or end the pattern of the moves that nobody documented."""
    bare = state.bare
    if bare is None:
        return state, []
    contracted = tables.contracted(state.total.workflow)
    if state.documented or (bare.id is not None and not contracted):
        why = sentences.DOCUMENTED if state.documented else sentences.NOT_PROMISED
        return replace(state, bare=None), patterns.close(bare, why, tables, now)
    if not contracted or bare.quiet_at <= now:
        return state, []
    after, effects = patterns.announce(bare, tables, now)
    return (state if after is bare else replace(state, bare=after)), effects


# --- what is published ----------------------------------------------------------------------------


def _publish(state: EdgeState) -> Publish:
    total, counts = state.total, state.total.counts
    moves, judged = counts.get("moves", 0), counts.get("judged", 0)
    shares = {
        name: round(min(sum(types.values()) / moves, 1.0), 6)
        for name, types in total.fields.items()
        if moves
    }
    handoffs = total.kind == "handoff"
    expected = counts.get("sent", 0) - counts.get("superseded", 0)
    record = Edge(
        kind=total.kind,
        workflow=total.workflow,
        from_=total.from_,
        to=total.to,
        moves=moves,
        tasks=counts.get("tasks", 0),
        documented=state.documented,
        contract=state.contract,
        fields=dict(sorted(shares.items(), key=lambda item: (-item[1], item[0]))),
        types={
            name: sorted(types, key=lambda type_: (-types[type_], type_))
            for name, types in sorted(total.fields.items())
        },
        counts={n: counts[n] for n in EDGE_COUNTS if n in counts and n not in ("moves", "tasks")},
        fidelity=round(total.fidelity / judged, 6) if handoffs and judged else None,
        completeness=round(total.completeness / judged, 6) if handoffs and judged else None,
        completion_rate=(
            round(min(counts.get("in_time", 0) / expected, 1.0), 6)
            if handoffs and expected > 0
            else None
        ),
        open=max(moves - counts.get("closed", 0), 0) if handoffs else None,
        accept_ms_p50=percentile(total.accepted_in, 0.5) if handoffs else None,
        accept_ms_p95=percentile(total.accepted_in, 0.95) if handoffs else None,
        first_seen=utc(total.first_seen),
        last_seen=utc(total.last_seen),
        from_workflow=total.from_workflow,
    )
    return Publish(EDGES, subject(total.kind, total.workflow, total.from_, total.to), record)


def percentile(buckets: Mapping[int, int], share: float) -> int | None:
    """The latency in milliseconds, within 5 %, that `share` of those counted do not exceed."""
    rank = math.ceil(share * sum(buckets.values()))
    for bucket in sorted(buckets):
        rank -= buckets[bucket]
        if rank <= 0:
            return bucket_ms(bucket)
    return None
