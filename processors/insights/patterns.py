"""Patterns: many violations of one cause, or repeats of one handoff, become one entry.

    fold      a part is added to its entry
    announce  the entry is opened at its threshold, and updated when it has doubled or grown worse
    close     nothing came for a window, or all is mended

A pattern of violations waits a moment before it is opened: what is mended by then opens none.

Event times are put into buckets, each a 23rd of the window long (in whole minutes, at least one),
and the window ends with the newest event. So it is never shorter than asked for, and longer by
less than one bucket. An event time of more than five minutes after the processor's clock counts as
that moment: a clock that runs ahead does not push the window away from everybody else.
"""

from collections import Counter
from collections.abc import Mapping
from itertools import islice
from typing import Literal

from msgspec.structs import replace

from processors.contracts.registry import RegistrySnapshot
from processors.insights import sentences
from processors.insights.sentences import Closing
from processors.insights.state import Entry
from schemas.feed import MAX_FIGURE, MAX_TASKS, PatternPart
from schemas.flow import Effect, Publish
from schemas.records import Pattern, Severity
from schemas.serde import MAX_AHEAD_MS, utc

PATTERNS = "handoff.patterns"
FIGURES = "handoff.figures"
UNDOCUMENTED = "undocumented_handoff"

BUCKETS = 24  # kept of a window at most
MAX_PLACES = 16  # stages, and tools, that are told apart: the most frequent
MAX_NAME = 200  # characters of a name that is kept; a longer one is none that a person reads
MAX_TASK = 1000  # characters of a sample task; a key that is longer is no sample
WARNINGS = 10  # within a window open an entry; one error does
BARE_MOVES = 20  # over an undocumented edge open one

MAX_GAPS = 8
# Kinds that are over when they are mended; others may come again with the next task.
OVER_WHEN_MENDED = frozenset(
    {"receiver_missing", "receiver_silent", "owner_missing", "source_silent"}
)

_MINUTE = 60_000
_HOUR = 3_600_000


def fold(
    entry: Entry | None, fingerprint: str, part: PatternPart, now: int, window_ms: int
) -> Entry:
    """Add a part. `now` is the processor's clock, `window_ms` that of violations."""
    gaps: tuple[int, ...] = ()
    recurs = False
    if entry is not None and is_of_violations(entry):
        recurs = entry.recurs or (entry.clean and now < entry.still_at)
        gap = now - entry.last_at
        gaps = (*entry.gaps, gap)[-MAX_GAPS:] if gap >= _HOUR and part.minutes else entry.gaps
        entry = None if entry.closed else entry
    if part.repeated is not None:
        window_ms = part.repeated.within_ms
    limit = now + MAX_AHEAD_MS
    part = replace(
        part,
        first_seen=min(part.first_seen, limit),
        last_seen=min(part.last_seen, limit),
        tasks=tuple([task for task in part.tasks if len(task) <= MAX_TASK][:MAX_TASKS]),
    )
    if entry is None:
        total = part
        entry = Entry(fingerprint, part, count=0, peak=0, window_ms=window_ms, last_at=now)
    else:
        total = entry.total.plus(part)
    minutes, peak = slide(total.minutes, limit // _MINUTE, window_ms)
    return replace(
        entry,
        total=replace(
            total,
            minutes=minutes,
            stages=_most_frequent(total.stages),
            tools=_most_frequent(total.tools),
        ),
        count=min(entry.count + sum(part.minutes.values()), MAX_FIGURE),
        peak=max(peak, entry.peak),
        window_ms=window_ms,
        last_at=now if part.minutes else entry.last_at,
        gaps=gaps,
        recurs=recurs,
    )


def slide(minutes: Mapping[int, int], latest: int, window_ms: int) -> tuple[dict[int, int], int]:
    """The counts of the last window, by the first minute of each bucket, and the most that were
    within any one window. `latest` is the last minute that is believed."""
    width = max(1, -(-window_ms // (_MINUTE * (BUCKETS - 1))))  # minutes
    reach = -(-window_ms // (_MINUTE * width)) * width
    counts: Counter[int] = Counter()
    for minute, number in minutes.items():
        counts[min(minute, latest) // width * width] += number
    starts = sorted(counts)
    peak = within = first = 0
    for start in starts:
        within += counts[start]
        while starts[first] < start - reach:
            within -= counts[starts[first]]
            first += 1
        peak = max(peak, within)
    kept = {start: min(counts[start], MAX_FIGURE) for start in islice(starts, first, None)}
    return kept, min(peak, MAX_FIGURE)


def _most_frequent(counts: Mapping[str, int]) -> dict[str, int]:
    named = [item for item in counts.items() if len(item[0]) <= MAX_NAME]
    return dict(sorted(named, key=lambda item: (-item[1], item[0]))[:MAX_PLACES])


# --- what is told ---------------------------------------------------------------------------------


def is_of_violations(entry: Entry) -> bool:
    """Whether it counts violations: no repeats, and no moves."""
    return entry.total.repeated is None and entry.total.kind != UNDOCUMENTED


def is_mended(entry: Entry) -> bool:
    """Whether the cause of all that it counts is gone, of a kind that then is over."""
    return entry.total.kind in OVER_WHEN_MENDED and entry.total.mended >= entry.count


def closed(entry: Entry, clean: bool = False) -> Entry | None:
    """What stays of an entry that ends: how long it was without a part, of one that was told, and
    whether a run of `clean` handoffs ended it."""
    if entry.id is None or not is_of_violations(entry):
        return None
    total = replace(entry.total, minutes={}, stages={}, tools={}, tasks=())
    return Entry(
        entry.fingerprint,
        total,
        count=0,
        peak=0,
        window_ms=entry.window_ms,
        last_at=entry.last_at,
        gaps=entry.gaps,
        closed=True,
        clean=clean,
    )


def announce(
    entry: Entry, tables: RegistrySnapshot, now: int, settle_ms: int = 0
) -> tuple[Entry, list[Effect]]:
    """Open the entry, or update it, where that is due."""
    entry = _masked(entry, tables)
    severity: Severity = "error" if entry.total.errors else "warning"
    status: Literal["opened", "updated"] = "updated"
    if entry.id is None:
        if not _is_reached(entry):
            return (replace(entry, settle_at=0) if entry.settle_at else entry), []
        if settle_ms and is_of_violations(entry):
            if not entry.settle_at:
                return replace(entry, settle_at=now + settle_ms), []
            if now < entry.settle_at:
                return entry, []
            entry = replace(entry, settle_at=0)
        entry = replace(entry, id=f"{entry.fingerprint}@{entry.total.first_seen}")
        status = "opened"
    elif entry.count < 2 * max(entry.published, 1) and severity == entry.severity:
        return entry, []
    entry = replace(entry, published=entry.count, severity=severity)
    return entry, _emits(entry, status, None, tables, now)


def close(entry: Entry, why: Closing, tables: RegistrySnapshot, now: int) -> list[Effect]:
    """What is told when an entry ends: nothing, where it was never opened."""
    return [] if entry.id is None else _emits(_masked(entry, tables), "closed", why, tables, now)


def _masked(entry: Entry, tables: RegistrySnapshot) -> Entry:
    """Without the values that are classified by now, whoever told them."""
    repeated = entry.total.repeated
    if repeated is None:
        return entry
    classified = tables.classified(entry.total.workflow)
    shown = {
        path: None if classified.covers(path.removeprefix("context.")) else value
        for path, value in repeated.values.items()
    }
    return entry if shown == repeated.values else _showing(entry, shown)


def _showing(entry: Entry, values: dict[str, str | None]) -> Entry:
    repeated = entry.total.repeated
    assert repeated is not None
    return replace(entry, total=replace(entry.total, repeated=replace(repeated, values=values)))


def _is_reached(entry: Entry) -> bool:
    total = entry.total
    if total.repeated is not None:
        return entry.peak >= total.repeated.threshold
    if total.kind == UNDOCUMENTED:
        return entry.count >= BARE_MOVES
    return total.errors > total.mended_errors or entry.peak - total.mended >= WARNINGS


def _emits(
    entry: Entry,
    status: Literal["opened", "updated", "closed"],
    why: Closing | None,
    tables: RegistrySnapshot,
    now: int,
) -> list[Effect]:
    """The entry as it is told now; a repeat goes to the receiver that the contract names, too."""
    total, repeated = entry.total, entry.total.repeated
    owner, contact, queue = total.owner, total.owner_contact, None
    if repeated is not None:
        owner, contact, queue = _who(repeated.receiver, tables, now)
    recent = 0 if status == "closed" else sum(total.minutes.values())
    record = Pattern(
        id=entry.id or "",
        status=status,
        kind=total.kind,
        fingerprint=entry.fingerprint,
        severity=entry.severity,
        workflow=total.workflow,
        contract=total.contract,
        receiver=total.receiver if repeated is None else repeated.receiver,
        from_=total.from_,
        to=total.to,
        field=total.field,
        owner=owner,
        owner_contact=contact,
        count=entry.count,
        recent=recent,
        rate=round(recent * _HOUR / max(entry.window_ms, 1), 3),
        first_seen=utc(total.first_seen),
        last_seen=utc(total.last_seen),
        stages=total.stages,
        tools=total.tools,
        tasks=list(total.tasks),
        values=None if repeated is None else repeated.values,
        message=(sentences.about(entry, owner) if why is None else sentences.closed(entry, why)),
        at=utc(now),
        backfill=total.backfill,
        contract_version=total.contract_version,
        last_stage=total.last_stage,
        last_tool=total.last_tool,
        closed_by=None if why is None else why.by,
    )
    effects: list[Effect] = [Publish(PATTERNS, entry.fingerprint, record)]
    if queue is not None:
        effects.append(Publish(queue, entry.fingerprint, record))
    if why is not None:  # the next one of the fingerprint takes its place among the patterns
        effects.append(Publish(FIGURES, f"pattern/{record.id}", _history(entry, record, why)))
    return effects


def _history(entry: Entry, record: Pattern, why: Closing) -> Pattern:
    """What is kept of an entry that was closed: no values, as a contract may classify them yet."""
    if record.values is None:
        return record
    masked = dict.fromkeys(record.values)
    return replace(record, values=masked, message=sentences.closed(_showing(entry, masked), why))


def _who(
    receiver: str, tables: RegistrySnapshot, now: int
) -> tuple[str | None, str | None, str | None]:
    """A receiver's owner in force with their contact, and its queue: None where nobody would
    receive it."""
    registered = tables.receivers.get(receiver)
    if registered is None or tables.absence(receiver) is not None:
        return None, None, None
    owner = registered.owner_at(now)
    if owner is None:
        return None, None, registered.queue
    return owner.name, owner.contact, registered.queue
