"""Runs a pure core over records, in plain values: the lane and `dry-run` both stand on this.

A `Driver` holds the state of the partitions at hand, and above it an overlay of what the open
transaction has changed. Nothing here reads a clock or a network.

Three things advance a task: a record (`step`), its deadline (`fire`), and a change of what it waits
for in the tables (`notice`, then `sweep`). The last two are wakes: no record brings them, so one
that fails costs its task this one wake, and not a dead letter.

What the open transaction holds is weighed. Whoever drives commits when it is `full`: all of it is
in memory until then, and has to reach the broker before the transaction times out.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple

from msgspec import Struct

from processors.journal import FRAME, Journal, Store, StoreError
from processors.partitioning import partition_of
from processors.processor import Processor, State
from processors.wakes import Kind, Wakes
from schemas import serde
from schemas.feed import JudgedPart, Part, key_of, totals
from schemas.flow import (
    UNFINISHED,
    Accumulate,
    Effect,
    Headers,
    Increment,
    InputEvent,
    Output,
    Publish,
    PutOff,
    Record,
    Refused,
    StateTold,
    TableChanged,
    Tell,
    TimerFired,
)

log = logging.getLogger("handoff.driver")

_VERDICTS = frozenset({"duplicates", "refused"})  # what became of an input, if not applied
# Bytes, about, of a transaction that is to be committed: outputs, parts of sums, changed states. Of
# usual records it is more than comes in 100 ms. With what one more record may cause (16 MiB, unless
# set otherwise) a link of 3 MB/s carries it in time.
FULL = 8 << 20
MAX_ROUNDS = 1_000  # of one task at one moment: a core that goes on longer does not end
# Entries looked at in one call whose deadlines turn out to be later: a state is decoded for each.
LOOKS = 1_000
_ASSIGN_SLICE = 1_000
_HALF = serde.MAX_RECORD_BYTES // 2  # what is less than this fits, whatever its key and headers
_GONE = object()


class Woken(NamedTuple):
    """A wake: of which task, and whether it is due or swept."""

    partition: int
    kind: Kind
    key: str


@dataclass
class Partition(Generic[State]):
    """The state of one input partition: what is committed, and what the transaction changed.

    `journal` has what is committed, in its decoded form too where that was used lately.
    """

    journal: Journal[State]
    wakes: Wakes = field(default_factory=Wakes)
    overlay: dict[str, State | None] = field(default_factory=dict)
    counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)


def _never() -> bool:
    return False


class Driver(Generic[State]):
    """Feeds records to a core, partition by partition, in the order they are given.

    `tables` may be exchanged between records. `counts` holds the accounting of everything merged:
    (name, topic, label) -> number.
    """

    def __init__(
        self,
        processor: Processor[State],
        tables: Any,
        counts: Counter[tuple[str, str, str]] | None = None,
    ) -> None:
        self.processor = processor
        self.tables = tables
        self.partitions: dict[int, Partition[State]] = {}
        self.counts = Counter() if counts is None else counts
        self.partition_count = 0  # of the inputs; 0 where nobody checks where keys lie
        self.woken: list[Woken] = []  # they changed something in the open transaction
        self.waking: Woken | None = None  # under way, or it never ended
        self._weight = 0  # of the open transaction
        self._now = 0  # as the core was told last
        # Of the open transaction, by topic and key.
        self._parts: defaultdict[tuple[str, str], list[Part]] = defaultdict(list)
        self._facts: Mapping[str, Hashable] = {}
        self._told: set[str] = set()  # stack traces that are in the log

    # --- partitions ---------------------------------------------------------------------------

    def assign(self, partition: int, store: Store) -> None:
        """Take a partition whose restored state is `store`."""
        for _ in self.assigning(partition, store):
            pass

    def assigning(self, partition: int, store: Store) -> Iterator[None]:
        """Take a partition, a thousand states at a time: it is there when this has ended.

        Each state is decoded once, as far as its deadline and what it watches need it. Whoever
        watches anything is to be swept: nobody knows what changed while the partition was nobody's.
        """
        made: Partition[State] = Partition(Journal(self.processor, store))
        for number, key in enumerate(made.journal.states(), start=1):
            self._index(made, key, None)
            if number % _ASSIGN_SLICE == 0:
                yield
        made.wakes.sweep_all()
        self.partitions[partition] = made

    def revoke(self, partition: int) -> None:
        """Give a partition back; what was not merged is gone."""
        self.partitions.pop(partition, None)
        self.woken = [woken for woken in self.woken if woken.partition != partition]

    @property
    def full(self) -> bool:
        """Whether the open transaction holds as much as one should."""
        return self._weight >= FULL

    # --- records ------------------------------------------------------------------------------

    def step(self, record: Record, now: int) -> list[Output]:
        """Judge one input record at processor time `now` (epoch ms); what it would publish.

        The core's new state and effects are taken only when all of it has been encoded, so a record
        that fails costs itself: its one output is a dead letter. Raises `StoreError`.
        """
        processor = self.processor
        partition = self.partitions[record.partition]
        self._now = now
        try:
            event = processor.parse(record, now)
            key = processor.state_key(event)
            before = self._state(partition, key)
            state, effects = processor.advance(before, event, self.tables, now)
            changed = {} if state is before else {key: state}
            outputs, weight = self._encode(partition, effects, event, changed, now)
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001
            # Whatever it was: this record is set aside, and the next one is judged.
            return [self.set_aside(record, error)]
        overlay = partition.overlay
        size = len(record.value or b"")
        for key, state in changed.items():
            weight += size
            if key not in overlay:
                weight += partition.journal.weight(key, state, size)
            overlay[key] = state
        self._weight += weight
        counts, topic = partition.counts, record.topic
        if before is None and self._is_misplaced(record):
            counts["misplaced", topic, ""] += 1
        verdict = "applied"
        for effect in effects:
            if type(effect) is Accumulate:
                self._parts[effect.topic, effect.key].append(effect.part)
            elif type(effect) is Increment:
                if effect.name in _VERDICTS:
                    verdict = effect.name
                else:
                    counts[effect.name, topic, effect.label] += 1
        counts[verdict, topic, ""] += 1
        return outputs

    def _encode(
        self,
        partition: Partition[State],
        effects: list[Effect],
        event: InputEvent | None,
        changed: dict[str, State | None],
        now: int,
    ) -> tuple[list[Output], int]:
        """Encode the effects of one step, and weigh them; a wake has no event. Other states are
        told what they say, and what follows from it is added to `effects` and `changed`.

        A record that says itself whether it is backfill is believed. Raises `Refused` when a record
        would be too large for Kafka.
        """
        outputs: list[Output] = []
        weight = 0
        record: Struct | None = None
        value: bytes | None = None
        headers: Headers = []
        for effect in effects:  # those that are added, too
            if type(effect) is Publish:
                # A package goes to its receiver's queue next: it is encoded once.
                if effect.record is None or effect.record is not record:
                    record, value = effect.record, effect.value
                    if value is None and record is not None:
                        value = serde.encode(record)
                    headers = _headers(record, event, effect.backfill)
                key = effect.key.encode()
                output = Output(effect.topic, key, value, headers)
                if value is not None:
                    weight += len(value) + len(key)
                    if len(value) > _HALF:
                        _refuse_too_large(output)
                outputs.append(output)
            elif type(effect) is Tell:
                name = effect.key
                was = changed[name] if name in changed else self._state(partition, name)
                given = StateTold(effect.body)
                state, more = self.processor.advance(was, given, self.tables, now)
                effects += more
                if state is not was:
                    changed[name] = state
        return outputs, weight + FRAME * len(effects)

    def set_aside(self, record: Record, error: Exception) -> Output:
        """The dead letter of a record that is not judged, or could not be."""
        self.partitions[record.partition].counts["dead_letters", record.topic, ""] += 1
        letter = serde.dead_letter(record, error)
        self._weight += len(letter.value or b"") + FRAME
        return letter

    def _is_misplaced(self, record: Record) -> bool:
        """Whether its sender has another partitioner: its task lives where it lies, but apart from
        what others send of it. Asked for new keys only: a hash costs 5 microseconds."""
        count = self.partition_count
        return count > 0 and partition_of(record.key or b"", count) != record.partition

    def partition_of(self, key: bytes) -> int:
        """The partition of a record that the processor sends to itself."""
        return partition_of(key, self.partition_count or len(self.partitions))

    # --- deadlines ----------------------------------------------------------------------------

    def next_due(self, number: int, until: int) -> int | None:
        """The earliest deadline of a partition's committed states, epoch ms.

        Exact where it is at or before `until` (but for what `LOOKS` bounds); of later ones only a
        moment before which there is none. What the open transaction changes counts after its merge.
        """
        partition = self.partitions[number]
        wakes = partition.wakes
        for _ in range(LOOKS):
            first = wakes.first()
            if first is None:
                return None
            at, key = first
            if at > until:
                return at
            due = self._due(partition, key, committed=True)
            if due is not None and due <= at:
                return at
            wakes.put_off(key, due)
        return until

    def fire(
        self,
        number: int,
        until: int,
        now: int,
        most: int,
        enough: Callable[[], bool] = _never,
        tables: Any = None,
    ) -> list[Output]:
        """Wake at most `most` tasks of a partition whose deadlines are at or before `until`, in the
        order of their deadlines, and none any more once the transaction is full or it is `enough`;
        what they would publish. `tables` are those at the moment `until`, the present ones unless
        they are given."""
        then = self.tables if tables is None else tables
        partition = self.partitions[number]
        outputs: list[Output] = []
        fired = 0
        for _ in range(most + LOOKS):
            first = partition.wakes.first()
            if fired == most or self.full or first is None or first[0] > until or enough():
                break
            if self._take_due(partition, *first):
                fired += 1
                outputs += self._wake(number, "due", first[1], TimerFired(until, then), now)
        return outputs

    def _take_due(self, partition: Partition[State], at: int, key: str) -> bool:
        """Take the first entry of the deadlines, if it is due; else put it off."""
        wakes = partition.wakes
        due = self._due(partition, key, committed=False)
        if due is not None and due <= at:
            wakes.take_first()
            return True
        if key in partition.overlay:
            wakes.take_first()  # put off by the open transaction only: it comes back if that drops
        wakes.put_off(key, due)
        return False

    def restless(self, until: int) -> bool:
        """Whether the open transaction has a state with a deadline at or before `until`."""
        return any(
            (due := self._due(partition, key, committed=False)) is not None and due <= until
            for partition in self.partitions.values()
            for key in partition.overlay
        )

    def _due(self, partition: Partition[State], key: str, *, committed: bool) -> int | None:
        """The deadline of a state; None too where it cannot be told: it could not be fired."""
        try:
            state = partition.journal.get(key) if committed else self._state(partition, key)
            return None if state is None else self.processor.due(state)
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001
            self._failed("a deadline cannot be told", self.counts, error)
            return None

    # --- sweeps -------------------------------------------------------------------------------

    @property
    def sweeping(self) -> bool:
        """Whether tasks are to be swept."""
        return any(partition.wakes.waiting for partition in self.partitions.values())

    def news(self, now: int) -> list[str]:
        """The subjects of which the tables say something else than at the last `notice`."""
        return self._differing(self._ask(now))

    def notice(self, now: int) -> None:
        """Look what the tables say at `now` (epoch ms): whoever watches what changed is to be
        swept. That the open transaction makes a task watch a subject counts already: it may have
        been judged by the tables as they were."""
        facts = self._ask(now)
        subjects = self._differing(facts)
        if not subjects:
            return
        self._facts = facts
        changed = frozenset(subjects)
        for partition in self.partitions.values():
            partition.wakes.sweep(subjects)
            partition.wakes.wait(
                key
                for key, state in partition.overlay.items()
                if state is not None and not changed.isdisjoint(self._watched(state))
            )

    def _watched(self, state: State) -> Collection[str]:
        try:
            return self.processor.watched(state)
        except Exception as error:  # noqa: BLE001
            self._failed("a state does not tell what it watches", self.counts, error)
            return ()

    def sweep(self, now: int, most: int, enough: Callable[[], bool] = _never) -> list[Output]:
        """Sweep at most `most` of the tasks that are to be, and none any more once the transaction
        is full or it is `enough`; what they would publish."""
        outputs: list[Output] = []
        for number, partition in self.partitions.items():
            while most > 0 and not self.full and not enough():
                key = partition.wakes.take_sweep()
                if key is None:
                    break
                most -= 1
                outputs += self._wake(number, "sweep", key, TableChanged(), now)
        return outputs

    def _ask(self, now: int) -> Mapping[str, Hashable]:
        try:
            return self.processor.facts(self.tables, now)
        except Exception as error:  # noqa: BLE001 - records are judged all the same
            self._failed("the tables cannot be asked", self.counts, error)
            return self._facts

    def _differing(self, facts: Mapping[str, Hashable]) -> list[str]:
        before = self._facts
        if facts == before:
            return []
        return sorted(
            subject
            for subject in facts.keys() | before.keys()
            if facts.get(subject, _GONE) != before.get(subject, _GONE)
        )

    # --- one wake -----------------------------------------------------------------------------

    def _wake(
        self, number: int, kind: Kind, key: str, given: TimerFired | TableChanged, now: int
    ) -> list[Output]:
        """Give a task its wake. All that follows from it is taken, or nothing."""
        self.waking = Woken(number, kind, key)
        outputs = self._taken(self.waking, given, now)
        self.waking = None
        return outputs

    def _taken(self, wake: Woken, given: TimerFired | TableChanged, now: int) -> list[Output]:
        number, kind, key = wake
        partition = self.partitions[number]
        self._now = now
        try:
            before = self._state(partition, key)
            if before is None:
                return []
            told: dict[str, State | None] = {}
            state, outputs, effects, weight, later = self._rounds(
                partition, before, given, now, told
            )
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001
            # Whatever it was: this task sleeps until it changes, and the next one is woken.
            partition.wakes.fail(kind, key)
            self._failed(f"a wake ({kind}) failed", partition.counts, error)
            return []
        self._weight += weight
        changed = told if state is before else {key: state, **told}
        for name, each in changed.items():
            if name not in partition.overlay:
                self._weight += partition.journal.weight(name, each, 0)
            partition.overlay[name] = each
        if later is not None:
            partition.wakes.postpone(key, later)
        if changed or outputs:
            self.woken.append(wake)
        for effect in effects:
            if type(effect) is Accumulate:
                self._parts[effect.topic, effect.key].append(effect.part)
            elif type(effect) is Increment:
                partition.counts[effect.name, "", effect.label] += 1
                if effect.name == UNFINISHED:
                    partition.wakes.wait([key])
        return outputs

    def _rounds(
        self,
        partition: Partition[State],
        state: State | None,
        given: TimerFired | TableChanged,
        now: int,
        told: dict[str, State | None],
    ) -> tuple[State | None, list[Output], list[Effect], int, int | None]:
        """Advance a state, after a deadline until none of its deadlines is left at that moment, or
        until that makes a transaction full: what is left is due still, when this is committed. The
        last of the results is until when deadlines are held back, None where none is. What becomes
        of other states is added to `told`."""
        outputs: list[Output] = []
        followed: list[Effect] = []
        weight = 0
        for _ in range(MAX_ROUNDS):
            before = state
            state, effects = self.processor.advance(before, given, self.tables, now)
            later = next((each.until for each in effects if isinstance(each, PutOff)), None)
            published, bytes_ = self._encode(partition, effects, None, told, now)
            outputs += published
            followed += effects
            weight += bytes_
            if isinstance(given, TableChanged) or state is None or weight >= FULL:
                return state, outputs, followed, weight, later
            due = self.processor.due(state)
            if due is None or due > given.at or later is not None:
                return state, outputs, followed, weight, later
            if state is before:
                break
        raise Refused("due_for_ever", "the core does not move on a deadline that has passed")

    def give_up(self, woken: Woken) -> None:
        """After an abort: what follows from this wake cannot be published, even alone. The task is
        not woken so again before it changes."""
        self.partitions[woken.partition].wakes.give_up(woken.kind, woken.key)
        self.counts["failed_wakes", "", ""] += 1

    def _failed(self, what: str, counts: Counter[tuple[str, str, str]], error: Exception) -> None:
        """Count it, and log each place in the code once: a hundred thousand tasks may share it."""
        counts["failed_wakes", "", ""] += 1
        if isinstance(error, Refused):
            why = f"{error.code}: {error.message}"
        else:
            why = f"{type(error).__name__}\n{serde.stack(error.__traceback__)}"
        if why not in self._told:
            self._told.add(why)
            log.error("%s: %s: %s", self.processor.name, what, why)

    # --- sums ---------------------------------------------------------------------------------

    def sums(self) -> list[Output]:
        """What the open transaction has added up, to be published with it: one record a key, of an
        edge one for each hour."""
        sums = [
            (topic, key_of(key, part), part)
            for (topic, key), parts in self._parts.items()
            for part in totals(parts)
        ]
        # What broke a run of clean handoffs comes before the handoffs that follow it.
        sums.sort(key=lambda each: isinstance(each[2], JudgedPart))
        return [
            Output(topic, key.encode(), serde.encode(part), serde.headers(part))
            for topic, key, part in sums
        ]

    # --- state --------------------------------------------------------------------------------

    def _state(self, partition: Partition[State], key: str) -> State | None:
        overlay = partition.overlay
        return overlay[key] if key in overlay else partition.journal.get(key)

    def _index(self, partition: Partition[State], key: str, state: State | None) -> None:
        """Note when a committed state wants to be woken; None: it is in the store only."""
        processor = self.processor
        try:
            if state is None:
                state = partition.journal.timers(key)
            partition.wakes.changed(key, processor.due(state), processor.watched(state))
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001 - a record of the task will say what is wrong
            self._failed("a state does not tell when to wake it", self.counts, error)

    def changelog(self) -> Iterator[tuple[int, str, bytes | None]]:
        """What is to be written of the dirty states: (input partition, key, value or tombstone)."""
        for number, partition in self.partitions.items():
            for key, value in partition.journal.write(partition.overlay, self._now):
                yield number, key, value

    def merge(self, changes: Iterable[tuple[int, str, bytes | None]]) -> None:
        """After the commit: `changes`, as `changelog` gave them, become the state."""
        for number, key, encoded in changes:
            there = self.partitions.get(number)
            if there is None:
                continue
            if encoded is None:
                there.journal.store.pop(key, None)
            else:
                there.journal.store[key] = encoded
        for partition in self.partitions.values():
            if partition.overlay:
                self._remember(partition)
            partition.journal.settle()
            partition.wakes.settle()
            if partition.counts:
                self.counts.update(partition.counts)
                partition.counts.clear()
        self._parts.clear()
        self.woken.clear()
        self._weight = 0

    def _remember(self, partition: Partition[State]) -> None:
        """The overlay of a partition was written: it is what is known of its states now."""
        journal, wakes, timers = partition.journal, partition.wakes, self.processor.timers
        for key, state in partition.overlay.items():
            before = journal.keep(key)
            if state is None:
                wakes.forgotten(key)
            elif before is None or timers(before) is not timers(state) or not wakes.awaits(key):
                self._index(partition, key, state)
        partition.overlay.clear()

    def drop(self) -> None:
        """After an abort: the transaction never happened."""
        for partition in self.partitions.values():
            partition.wakes.drop()
            partition.journal.drop()
            partition.counts.clear()
            partition.overlay.clear()
        self._parts.clear()
        self.woken.clear()
        self._weight = 0


def _headers(record: Struct | None, event: InputEvent | None, backfill: bool) -> Headers:
    """The headers of what is published: the record's own, then what comes from the input."""
    found = [] if record is None else serde.headers(record)
    if event is not None:
        backfill = backfill or event.backfill
        if event.traceparent is not None:
            found.append(("traceparent", event.traceparent))
    if getattr(record, "backfill", backfill):
        found.append((serde.BACKFILL_HEADER, b"1"))
    return found


def _refuse_too_large(output: Output) -> None:
    size = serde.size(output)
    if size > serde.MAX_RECORD_BYTES:
        raise Refused(
            "output_too_large",
            f"a record for {output.topic} would have {len(output.value or b''):,} bytes, "
            f"the limit is {serde.MAX_RECORD_BYTES:,}",
        )
