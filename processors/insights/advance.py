"""The insights core: one input advances one subject. The whole of it is pure.

    part of an edge     -> edges.fold:    the map, and the pattern of an undocumented move
    the same, dated     -> figures.fold:  what happened in its hour (a `StateTold`)
    part of a pattern   -> patterns.fold: one entry for many violations of one cause
    part of a contract  -> runs.judged:   patterns of its fields that the last handoffs do not have
    deadline            -> an edge and its hours are published; an entry that was quiet is closed
    sweep               -> a contract came or went: is the edge documented now?

Read on in `patterns`, `edges`, `figures` and `runs`. `state` is what is remembered of a subject,
and bounded: a pattern's window has at most 24 buckets, 16 stages and 16 tools (the most frequent),
10 sample tasks; an edge has the counts of `EDGE_COUNTS`, 256 fields (the first ones) and 401
latency buckets; a day has 24 hours, each with the same but for the fields, and with 256 names of
lost ones; a contract has 20 times and 64 open patterns.
Names longer than 200 characters are not told apart from those that are not there.
"""

from processors.contracts.registry import RegistrySnapshot
from processors.insights import edges, figures, patterns, runs, sentences
from processors.insights.limits import DEFAULT_LIMITS, Limits
from processors.insights.state import (
    Dated,
    DayState,
    EdgeState,
    Entry,
    Fed,
    RunBroken,
    RunClean,
    Runs,
    State,
)
from schemas.feed import EdgePart, JudgedPart
from schemas.flow import Effect, Input, InputEvent, StateTold, TimerFired


def advance(
    state: State | None,
    given: Input,
    tables: RegistrySnapshot,
    now: int,
    limits: Limits = DEFAULT_LIMITS,
) -> tuple[State | None, list[Effect]]:
    """Advance a subject by one input at processor time `now` (epoch ms).

    Returns the next state (the same object where nothing changed, None where it is forgotten) and
    what is to be published, in order.
    """
    if isinstance(given, InputEvent):
        fed: Fed = given.body
        part = fed.part
        if isinstance(part, EdgePart):
            assert state is None or isinstance(state, EdgeState)
            state, effects = edges.fold(state, part, tables, now, limits)
            return state, effects + figures.dated(fed.subject, part, now)
        if isinstance(part, JudgedPart):
            assert state is None or isinstance(state, Runs)
            return runs.judged(state, part, now, limits)
        assert state is None or isinstance(state, Entry)
        if not part.minutes and (state is None or state.closed):
            return state, []  # mended after it was told and closed
        entry = patterns.fold(state, fed.subject, part, now, limits.pattern_window_ms)
        entry, effects = patterns.announce(entry, tables, now, limits.pattern_settle_ms)
        if patterns.is_mended(entry):
            effects += patterns.close(entry, sentences.MENDED, tables, now)
            return patterns.closed(entry), effects
        return entry, effects + (runs.follows(entry) if part.minutes else [])
    if isinstance(given, StateTold):
        return _heard(state, given.body, tables, now, limits)
    assert state is not None
    if isinstance(state, DayState):
        return figures.wake(state, given.at) if isinstance(given, TimerFired) else (state, [])
    if isinstance(state, EdgeState):
        if isinstance(given, TimerFired):
            return edges.wake(state, given.at, tables, now)
        return edges.sweep(state, tables, now, limits)
    if isinstance(state, Runs) or not isinstance(given, TimerFired):
        return state, []
    effects = []
    if state.settle_at and state.settle_at <= given.at:
        state, effects = patterns.announce(state, tables, now, limits.pattern_settle_ms)
        effects += runs.follows(state)
    if state.quiet_at > given.at:
        return state, effects
    if state.closed:
        return None, effects
    effects += patterns.close(state, sentences.QUIET, tables, now)
    return patterns.closed(state), effects


def _heard(
    state: State | None,
    body: Dated | RunBroken | RunClean,
    tables: RegistrySnapshot,
    now: int,
    limits: Limits,
) -> tuple[State | None, list[Effect]]:
    """What another state of the partition tells."""
    if isinstance(body, Dated):
        assert state is None or isinstance(state, DayState)
        return figures.fold(state, body, now, limits), []
    if isinstance(body, RunBroken):
        assert state is None or isinstance(state, Runs)
        return runs.broken(state, body, now), []
    assert state is None or isinstance(state, Entry)
    return runs.close(state, tables, now, limits)
