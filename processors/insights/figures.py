"""Figures: what happened over an edge, hour by hour of event time, and later day by day.

    dated    the day and the hour that a part of an edge belongs to
    fold     the part is added to its hour; within `edge_interval_ms` the hour is published
    wake     hours are published; those of an old day become the day; an older one is forgotten

The state is kept by edge and day, beside that of the edge and in the same partition, so both are
published in one transaction. A day has its hours for `HOURS_KEPT` more days: two weeks can be cut
at any hour. What comes later counts in the day. What is older than `DAYS_KEPT` days is in no
figures, and counted as `figures_too_old`.

A part has the event time of the moves and handoffs that it is about. So what becomes of a handoff
counts in the hour in which it was made, and the shares of an hour are shares of the same handoffs.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache, reduce

from msgspec.structs import replace

from processors.insights.limits import Limits
from processors.insights.patterns import FIGURES, MAX_NAME
from processors.insights.state import DAY_MS, DAYS_KEPT, WHOLE, Dated, DayState, fold_at, forget_at
from schemas.feed import EDGE_COUNTS, HOUR_MS, EdgePart, bucket_ms, subject
from schemas.flow import Effect, Increment, Publish, Tell
from schemas.records import LAST_MS, Figures
from schemas.serde import MAX_AHEAD_MS, utc

_KNOWN = frozenset(EDGE_COUNTS)
_TOO_OLD = Increment("figures_too_old")


def is_too_old(part: EdgePart, now: int) -> bool:
    """Whether a part that comes when the clock is `now` is in no figures."""
    return forget_at(part.last_seen // DAY_MS) <= now


def dated(edge: str, part: EdgePart, now: int) -> list[Effect]:
    """A part of an edge, its subject, that comes when the clock is `now`: its day is told of it,
    where it is not too old.

    A time of the future counts as an edge's does.
    """
    if is_too_old(part, now):
        return [_TOO_OLD]
    at = min(part.last_seen, now + MAX_AHEAD_MS)
    day, within = divmod(at, DAY_MS)
    lost = part.lost_fields
    if lost:
        lost = {name: number for name, number in lost.items() if len(name) <= MAX_NAME}
    bounded = replace(
        part,
        first_seen=min(part.first_seen, at),
        last_seen=at,
        counts=known_counts(part),
        fields={},
        lost_fields=lost,
    )
    return [Tell(f"{edge}/{_date(day)}", Dated(day, within // HOUR_MS, bounded))]


def known_counts(part: EdgePart) -> dict[str, int]:
    """The counts of a part that this version knows; in any order."""
    counts = part.counts
    if counts.keys() <= _KNOWN:
        return counts
    return {name: number for name, number in counts.items() if name in _KNOWN}


def fold(state: DayState | None, given: Dated, now: int, limits: Limits) -> DayState:
    """Add a part. `now` is the processor's clock."""
    part = given.part
    slot, publish_at = given.hour, now + limits.edge_interval_ms
    if state is None:
        if fold_at(given.day) <= now:
            return DayState(
                day=given.day, hours={}, whole=part, dirty=(WHOLE,), told=(), publish_at=publish_at
            )
        return DayState(
            day=given.day,
            hours={slot: part},
            whole=None,
            dirty=(slot,),
            told=(),
            publish_at=publish_at,
        )
    hours, whole, dirty = state.hours, state.whole, state.dirty
    if whole is not None:
        slot, whole = WHOLE, whole.plus(part)
    else:
        before = hours.get(slot)
        hours = {**hours, slot: part if before is None else before.plus(part)}
    if slot not in dirty:
        dirty = (*dirty, slot)
    if 0 < state.publish_at < publish_at:
        publish_at = state.publish_at
    return DayState(
        day=state.day, hours=hours, whole=whole, dirty=dirty, told=state.told, publish_at=publish_at
    )


def wake(state: DayState, at: int) -> tuple[DayState | None, list[Effect]]:
    """What fell due at `at` or before."""
    if forget_at(state.day) <= at:
        return None, [*_tombstones(state)]
    if state.whole is None and fold_at(state.day) <= at:
        whole = reduce(EdgePart.plus, [state.hours[hour] for hour in sorted(state.hours)])
        folded = DayState(state.day, {}, whole, told=(WHOLE,))
        return folded, [_published(folded, WHOLE), *_tombstones(state)]
    if 0 < state.publish_at <= at:
        effects: list[Effect] = [_published(state, slot) for slot in sorted(state.dirty)]
        told = tuple(sorted({*state.told, *state.dirty}))
        return replace(state, dirty=(), told=told, publish_at=0), effects
    return state, []


# --- what is published ----------------------------------------------------------------------------


def _any_of(state: DayState) -> EdgePart:
    return state.whole or next(iter(state.hours.values()))


def _key(state: DayState, slot: int) -> str:
    part = _any_of(state)
    day = f"{subject(part.kind, part.workflow, part.from_, part.to)}/{_date(state.day)}"
    return day if slot == WHOLE else f"{day}T{slot:02}"


@lru_cache(maxsize=2 * DAYS_KEPT)
def _date(day: int) -> str:
    return utc(day * DAY_MS).date().isoformat()


def _tombstones(state: DayState) -> Iterator[Publish]:
    return (Publish(FIGURES, _key(state, slot), None) for slot in state.told)


def _published(state: DayState, slot: int) -> Publish:
    if slot == WHOLE:
        part, since, long = _any_of(state), state.day * DAY_MS, DAY_MS
    else:
        part, since, long = state.hours[slot], state.day * DAY_MS + slot * HOUR_MS, HOUR_MS
    record = Figures(
        kind=part.kind,
        workflow=part.workflow,
        from_=part.from_,
        to=part.to,
        contract=part.contract,
        since=utc(since),
        until=utc(min(since + long, LAST_MS)),
        counts={name: part.counts[name] for name in EDGE_COUNTS if name in part.counts},
        lost_fields=dict(sorted(part.lost_fields.items())),
        fidelity_sum=part.fidelity,
        completeness_sum=part.completeness,
        accepted_in_ms=_latencies(part.accepted_in),
    )
    return Publish(FIGURES, _key(state, slot), record)


def _latencies(buckets: Mapping[int, int]) -> dict[str, int]:
    """Counts by the milliseconds that stand for a bucket: the smallest buckets share them."""
    found: Counter[int] = Counter()
    for bucket, number in buckets.items():
        found[bucket_ms(bucket)] += number
    return {str(ms): found[ms] for ms in sorted(found)}
