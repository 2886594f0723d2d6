"""Runs of clean handoffs: what closes the pattern of a field before it has been quiet for long.

    judged   handoffs on the contract were judged: patterns that none of the last ones has are told
    broken   a pattern of a field was opened, or its violation came again: its run begins anew
    follows  what a pattern tells when that happens
    close    a pattern is told

A handoff that was judged later than a pattern's last violation did not have it: it would be the
last one. So a run is clean when the newest `clean_run` handoffs are all later, by event time, and
it need not be told which fields of a handoff were whole. The run of a pattern begins when it is
opened, at the earliest.

All of it lies in one partition, that of the contract.
"""

from processors.contracts.registry import RegistrySnapshot
from processors.insights import patterns, sentences
from processors.insights.limits import Limits
from processors.insights.state import Entry, RunBroken, RunClean, Runs
from schemas.feed import JudgedPart, contract_subject, is_of_field, newest
from schemas.flow import Effect, Tell
from schemas.serde import MAX_AHEAD_MS

MAX_OPEN = 64  # patterns of a contract; others are closed when they are quiet


def judged(
    runs: Runs | None, part: JudgedPart, now: int, limits: Limits
) -> tuple[Runs, list[Effect]]:
    """Add what was judged. `now` is the processor's clock."""
    before = runs or Runs()
    limit = now + MAX_AHEAD_MS
    times = newest((*before.times, *(min(at, limit) for at in part.times)))
    still, effects = before.open, list[Effect]()
    if still and len(times) >= limits.clean_run:
        run_began = times[limits.clean_run - 1]
        still = {fingerprint: at for fingerprint, at in still.items() if at >= run_began}
        effects += [Tell(name, RunClean()) for name in before.open if name not in still]
    return Runs(times, still), effects


def broken(runs: Runs | None, given: RunBroken, now: int) -> Runs:
    """A pattern was opened, or its violation came again."""
    before = runs or Runs()
    at = min(given.at, now + MAX_AHEAD_MS)
    known = before.open.get(given.fingerprint)
    if known is None:
        if len(before.open) >= MAX_OPEN:
            return before
        known = before.times[0] if before.times else at
    return Runs(before.times, {**before.open, given.fingerprint: max(at, known)})


def follows(entry: Entry) -> list[Effect]:
    """What an entry with a new violation tells: nothing, where no run of handoffs closes it."""
    total = entry.total
    if entry.id is None or entry.recurs or not is_of_field(total):
        return []
    where = contract_subject(total.contract or "", total.backfill)
    return [Tell(where, RunBroken(entry.fingerprint, total.last_seen))]


def close(
    entry: Entry | None, tables: RegistrySnapshot, now: int, limits: Limits
) -> tuple[Entry | None, list[Effect]]:
    """The entry of a pattern that the last handoffs do not have."""
    if entry is None or entry.id is None or entry.recurs:
        return entry, []
    why = sentences.clean(limits.clean_run)
    return patterns.closed(entry, clean=True), patterns.close(entry, why, tables, now)
