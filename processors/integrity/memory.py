"""What a task remembers while one input is judged: events are added, taken back, forgotten.

The task itself stays as it is. `Memory` holds what the next one will remember.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from processors.contracts import values
from processors.contracts.classified import Classified
from processors.integrity.candidates import Search
from processors.integrity.context import Carried, carry
from processors.integrity.digests import add_name
from processors.integrity.events import (
    SHARED,
    Alias,
    EventRef,
    Remembered,
    TaskEvent,
    length,
    total_weight,
    weight,
    weight_beside,
)
from processors.integrity.limits import Limits
from processors.integrity.secrets import TaskSecrets, classified_of, short_texts
from processors.integrity.state import Forgotten, OpenHandoff, Task
from schemas.links import SaidThere
from schemas.records import FIRST_MS, Carries, ToolOutput

MAX_RETRACTED = 64 << 10  # bytes of retracted names
MAX_GONE = 64 << 10  # bytes of classified values that were taken back or forgotten
EVERY_NAME = "*"  # among those that are taken back


class Memory(Struct, gc=False):
    """The events of a task, and what follows from them: it changes a `draft` of the next one.

    `size` and `names` of a task are upper bounds. They are counted anew where they pass a limit.
    `classified` is what is so in its workflow.
    """

    draft: Task
    limits: Limits
    classified: Classified
    # What held handoffs of this input are judged by: the parts of an output have it in common.
    _before: dict[tuple[int, int], Search] = {}

    @property
    def search(self) -> Search:
        """What it remembers now, to be searched."""
        task = self.draft
        return Search(
            events=task.events,
            retracted=task.retracted,
            lost=task.lost,
            cache=task.searched,
            gone=task.gone,
            classified=self.classified,
        )

    @property
    def secrets(self) -> TaskSecrets:
        """The values that are `classified`, those that are gone, too."""
        found = self.draft.secrets
        if found is None or found.classified is not self.classified:
            found = TaskSecrets(self.classified).beyond(self.draft.gone).after(self.draft.events)
            self.draft.secrets = found
        return found

    def _let_go(self, events: Iterable[Remembered]) -> None:
        """Note what is classified of events that are taken back, in part or whole, or forgotten.
        Past `MAX_GONE` the oldest of it is forgotten, too."""
        if not self.classified.at:
            return
        self._note_gone(
            [pair for event in events for pair in classified_of(event, self.classified)]
        )
        self.draft.secrets = None

    def _let_go_values(self, context: Mapping[str, bytes]) -> None:
        """Note what is classified of values that are not remembered at all; of those that are too
        large to be, the short texts."""
        pairs: list[tuple[str, bytes]] = []
        for name, value in self.classified.within(context):
            if len(value) <= self.limits.value_bytes:
                pairs.append((name, value))
            else:
                pairs += short_texts(name, value, self.classified)
        if pairs:
            self._note_gone(pairs)
            self.draft.secrets = None

    def _note_gone(self, pairs: Iterable[tuple[str, bytes]]) -> None:
        found = dict.fromkeys(self.draft.gone)
        for each in pairs:
            found.pop(each, None)
            found[each] = None
        gone = list(found)
        size = sum([len(name) + len(value) for name, value in gone])
        first = 0
        while size > MAX_GONE:
            name, value = gone[first]
            size -= len(name) + len(value)
            first += 1
        gone = gone[first:]
        if tuple(gone) != self.draft.gone:
            self.draft.gone = tuple(gone)

    @property
    def whole(self) -> bool:
        """Whether nothing was forgotten for want of room, as far as the numbers tell."""
        task = self.draft
        return bool(task.events) and task.events[0].number == 1 and not task.forgotten

    def before(self, number: int, lost: int) -> Search:
        """What it remembered before the event `number` came, but for what was taken back since.
        `lost` is how much of the row of forgotten names there was then."""
        task = self.draft
        if number >= task.next_number and not task.forgotten and lost == len(task.lost):
            return self.search
        found = self._before.get((number, lost))
        if found is None or found.retracted is not task.retracted:
            past = [each.event for each in task.forgotten if each.event.number < number <= each.at]
            events = [event for event in task.events if event.number < number]
            lost_then = task.lost[:lost]
            found = Search(
                events=[*past, *events],
                retracted=task.retracted,
                lost=lost_then,
                cache={},
                gone=task.gone,
                classified=self.classified,
            )
            self._before[number, lost] = found
        return found

    def said(self, number: int) -> dict[str, bytes] | None:
        """The context of an event that is remembered, without what is empty."""
        found = [event for event in self.draft.events if event.number == number]
        return found[0].context if found and isinstance(found[0], TaskEvent) else None

    def carried(self, carries: Carries, output: ToolOutput, context: Carried) -> Carried:
        """What counts as arrived with an output: its context, over the latest values that were
        captured before it by the same tool (`record`) or in the same run (`history`)."""
        run = output.run or ""
        said = [
            each
            for each in self.draft.events
            if isinstance(each, TaskEvent)
            and (each.run == run if carries == "history" else each.ref.tool == output.tool)
        ]
        held: dict[str, bytes] = {}
        for event in sorted(said, key=lambda each: each.ref.occurred_at):
            held.update(event.context)
        return carry(held | context.values)

    # --- one more event -----------------------------------------------------------------------

    def refer(
        self,
        stage: str,
        tool: str,
        event_id: str,
        occurred_at: int,
        from_person: bool,
        partition: int,
        offset: int,
    ) -> EventRef:
        """The next event."""
        number = self.draft.next_number
        self.draft.next_number = number + 1
        return EventRef(
            number=number,
            stage=stage,
            tool=tool,
            event_id=event_id,
            occurred_at=occurred_at,
            from_person=from_person,
            partition=partition,
            offset=offset,
        )

    def add(self, ref: EventRef, carried: Carried, hop: int, run: str = "") -> None:
        """Remember the values of an event, and which are empty (`hop` 0: no handoff carried them).

        A value that comes too late is not: its name was taken back since. Past the number of names
        that a task may hold, the first ones are not.
        """
        context = carried.values
        empty: tuple[str, ...] = ()
        if carried.empty:
            context, empty = carried.filled(), tuple(sorted(carried.empty)[: self.limits.fields])
        if self.draft.retracted:
            at = ref.occurred_at
            late = {n: v for n, v in context.items() if self.taken_back(n, at)}
            if late:
                self._let_go_values(late)
                context = {n: v for n, v in context.items() if n not in late}
        if len(context) > self.limits.fields:
            names = list(context)
            for name in names[: -self.limits.fields]:
                self.draft.lost = add_name(self.draft.lost, name)
            self._let_go_values({name: context[name] for name in names[: -self.limits.fields]})
            context = {name: context[name] for name in names[-self.limits.fields :]}
        if not context and not empty and not hop:
            return
        said = context.keys()
        large: dict[str, bytes] = {}
        if carried.size >= SHARED or carried.size > self.limits.value_bytes:
            said_whole = context
            context, large = self._with_long(context, self.limits.value_bytes)
            if large:
                self._let_go_values({name: said_whole[name] for name in large})
        event = TaskEvent(ref, hop, context, large, empty, run=run)
        characters = len(ref.stage) + len(ref.tool) + len(ref.event_id) + len(run)
        self._append(event, 64 + 4 * characters + carried.size, said)

    def _with_long(
        self, context: dict[str, bytes], largest: int
    ) -> tuple[dict[str, bytes], dict[str, bytes]]:
        """What of a context with long values is kept, and the digests of those that are too large.
        Of a value that is there already no second copy is kept."""
        kept: dict[str, bytes] = {}
        large: dict[str, bytes] = {}
        for name, value in context.items():
            if len(value) > largest:
                large[name] = values.digest(value)
            else:
                kept[name] = self._held(name, value) if len(value) >= SHARED else value
        return kept, large

    def _held(self, name: str, value: bytes) -> bytes:
        """The bytes that the last event with the name has under it, if they are equal."""
        for event in reversed(self.draft.events):
            if isinstance(event, TaskEvent) and name in event.context:
                held = event.context[name]
                return held if held == value else value
        return value

    def alias(
        self,
        name: str,
        value: bytes,
        ref: EventRef,
        source_name: str,
        hop: int,
        at: int,
        candidates: int,
    ) -> None:
        """Remember a package's value under the receiver's name, with its first origin, from the
        time `at`.

        What a late handoff carried of a name that was taken back since is taken back here too, and
        not remembered.
        """
        if self.taken_back(source_name, ref.occurred_at):
            at = max(self._retracted_at(source_name), self._retracted_at(name))
            self.draft.retracted = {**self.draft.retracted, name: at}
            self._retraction_changed()
        if self.taken_back(name, ref.occurred_at):
            return
        kept = value if len(value) <= self.limits.value_bytes else None
        number, self.draft.next_number = self.draft.next_number, self.draft.next_number + 1
        root = self._root_of(ref.number) if self.draft.parents else ""
        alias = Alias(
            number=number,
            hop=hop,
            name=name,
            value=kept,
            ref=ref,
            source_name=source_name,
            at=at,
            candidates=candidates,
            root=root,
        )
        self._append(alias, weight(alias), (name,))

    def _append(self, event: Remembered, size: int, names: Collection[str]) -> None:
        task = self.draft
        task.events = (*task.events, event)
        task.size += size
        named = task.named
        if named is None:
            task.names += len(names)
        else:
            named.update(names)
            task.names = len(named)
        secrets = task.secrets
        if secrets is not None and (told := classified_of(event, secrets.classified)):
            task.secrets = secrets.beyond(told)

    # --- what other tasks know ----------------------------------------------------------------

    def inherit(self, said: SaidThere, root: str) -> EventRef | None:
        """Remember what the task with the key `root` said, which this one continues, directly or
        not; None where it is known, or was taken back. What came from others has at most a quarter
        of the room: beyond that the oldest of it is forgotten."""
        place = said.from_person, said.partition, said.offset
        alias = said.source_name
        for known in self.draft.events:
            if not known.root or _place(known.ref) != place:
                continue
            if known.name in said.context if isinstance(known, Alias) else not alias:
                return None
        context = {
            name: bytes(value)
            for name, value in said.context.items()
            if len(value) <= self.limits.value_bytes and not self.taken_back(name, said.occurred_at)
        }
        if not context and not said.empty:
            return None
        ref = self.refer(said.stage, said.tool, said.event_id, said.occurred_at, *place)
        event: Remembered
        if alias:
            ((name, value),) = context.items()
            event = Alias(
                number=ref.number,
                hop=0,
                name=name,
                value=value,
                ref=ref,
                source_name=alias,
                at=said.at,
                candidates=said.candidates,
                root=root,
            )
        else:
            event = TaskEvent(
                ref=ref,
                hop=0,
                context=context,
                large={},
                empty=tuple(said.empty),
                run=said.run,
                root=root,
            )
        self._append(event, weight(event), context)
        self._bound_inherited()
        return ref

    def _bound_inherited(self) -> None:
        inherited = [event for event in self.draft.events if event.root]
        size = sum(map(weight, inherited))
        names = Counter([name for event in inherited for name in _names(event)])
        gone = set()
        for event in inherited:
            if 4 * size <= self.limits.state_bytes and 4 * len(names) <= self.limits.fields:
                break
            gone.add(event.number)
            size -= weight(event)
            names -= Counter(_names(event))
            for name in _names(event):
                self.draft.lost = add_name(self.draft.lost, name)
        self._drop(gone)

    def disinherit(self, above: Collection[str]) -> set[int]:
        """Forget what came from tasks that this one does not continue any more: from others than
        `above`. The numbers of the events."""
        task = self.draft
        past = [each.event for each in task.forgotten]
        gone = {e.number for e in (*past, *task.events) if e.root and e.root not in above}
        if gone:
            task.forgotten = tuple([f for f in task.forgotten if f.event.number not in gone])
        self._drop(gone)
        return gone

    def _root_of(self, number: int) -> str:
        """Which task the event of a number came from; empty: this one."""
        past = [each.event for each in self.draft.forgotten]
        found = [event for event in (*self.draft.events, *past) if event.ref.number == number]
        return found[0].root if found else ""

    def _drop(self, numbers: Collection[int]) -> None:
        if not numbers:
            return
        task = self.draft
        self._let_go([event for event in task.events if event.number in numbers])
        task.events = tuple([event for event in task.events if event.number not in numbers])
        task.size = total_weight(task.events)
        task.named = None
        task.searched = {}
        task.secrets = None

    # --- taken back ---------------------------------------------------------------------------

    def taken_back(self, name: str, occurred_at: int) -> bool:
        """Whether a value comes too late: its name was retracted since."""
        return occurred_at < self._retracted_at(name)

    def _retracted_at(self, name: str) -> int:
        """Until when what came under a name was taken back (event time), with every name or not."""
        at = self.draft.retracted.get(name, FIRST_MS)
        return max(at, self.draft.retracted.get(EVERY_NAME, FIRST_MS))

    def retract(self, names: Iterable[str], at: int) -> set[str]:
        """Forget the values of names and of their aliases, up to the time `at`; which these were.
        The time stays on record: what happened before it may still arrive."""
        gone = set(names)
        if EVERY_NAME in gone:
            gone.update(self.search.names())
        retracted = self.draft.retracted.copy()
        # A forgotten alias is taken back as its name was: asked for, it is no name never captured.
        gone.update(self._aliases_of(gone, at))
        for name in sorted(gone):
            retracted[name] = max(at, retracted.get(name, at))
        self.draft.retracted = retracted
        events: list[Remembered] = []
        changed: list[Remembered] = []
        for event in self.draft.events:
            left = _without(event, gone, at)
            if left is not event:
                changed.append(event)
            if left is not None:
                events.append(left)
        self._let_go(changed)
        self.draft.events = tuple(events)
        self.draft.forgotten = tuple(
            [
                replace(each, event=left)
                for each in self.draft.forgotten
                if (left := _without(each.event, gone, at)) is not None
            ]
        )
        self._retraction_changed()
        self._limit_retractions()  # now: what is judged next must be judged so again
        return gone

    def _aliases_of(self, names: set[str], at: int) -> list[str]:
        """The names under which a package's value of some names stands now."""
        found = []
        search = self.search
        for name in {event.name for event in self.draft.events if isinstance(event, Alias)}:
            held = search.under(name)
            newest = None if held is None else held.newest
            if newest is not None and newest.alias_of in names and newest.ref.occurred_at <= at:
                found.append(name)
        return found

    def _retraction_changed(self) -> None:
        self.draft.secrets = None
        self.draft.searched = {}

    def note_late(self, names: Iterable[str], occurred_at: int) -> None:
        """What comes under these names too late, after every name was taken back, was taken back,
        too. That is known before anything is judged, so that it is judged so again."""
        task = self.draft
        if occurred_at >= task.retracted.get(EVERY_NAME, FIRST_MS):
            return
        new = [name for name in names if name not in task.retracted]
        if new:
            task.retracted = task.retracted | dict.fromkeys(new, task.retracted[EVERY_NAME])
            self._retraction_changed()
            self._limit_retractions()

    # --- forgotten ----------------------------------------------------------------------------

    def trim(self, held: Callable[[], Iterable[OpenHandoff]]) -> int:
        """Past the limits of a task the oldest events are forgotten; how many names hold nothing
        any more.

        `held` gives the handoffs that are held: each is judged again by what stood before it, so
        for them these events stay.
        """
        task = self.draft
        most, largest = self.limits.fields, self.limits.state_bytes
        if not (task.size > largest or task.names > most or task.forgotten or task.retracted):
            return 0
        gone = 0
        if task.size > largest:
            task.size = total_weight(task.events)
        if task.names > most or task.size > largest:
            gone = self._forget(most, largest)
        if task.forgotten:
            waiting = [handoff.as_of for handoff in held()]
            task.forgotten = tuple(
                [
                    each
                    for each in task.forgotten
                    if any(each.event.number < number <= each.at for number in waiting)
                ]
            )
        if task.retracted:
            self._limit_retractions()
        return gone

    def _limit_retractions(self) -> None:
        left = self.draft.retracted
        size = sum(map(length, left))
        if len(left) <= self.limits.fields and size <= MAX_RETRACTED:
            return
        # That all was taken back is forgotten last: it holds for what nobody has named yet.
        oldest = sorted(left, key=lambda name: (name == EVERY_NAME, left[name], name))
        gone = 0
        while gone < len(oldest) and (
            len(oldest) - gone > self.limits.fields or size > MAX_RETRACTED
        ):
            size -= length(oldest[gone])
            self.draft.lost = add_name(self.draft.lost, oldest[gone])
            gone += 1
        forgotten = set(oldest[:gone])
        self.draft.retracted = {name: at for name, at in left.items() if name not in forgotten}
        self._retraction_changed()

    def _forget(self, most: int, largest: int) -> int:
        task = self.draft
        before = self.search.names()
        if len(before) <= most and task.size <= largest:
            task.named, task.names = set(before), len(before)
            return 0
        # So much is enough: it is not to be forgotten again with the next output.
        enough = most - most // 4 if len(before) > most else most
        if task.size > largest:
            largest = largest // 8 * 7
        names: set[str] = set()
        size = 0
        first = len(task.events)
        seen: set[int] = set()
        while first > 0:
            event = task.events[first - 1]
            more = size + weight_beside(event, seen)
            names.update(_names(event))
            if (len(names) > most or more > largest) and first < len(task.events):
                break
            size = more
            first -= 1
            if enough <= len(names) and enough < most:
                break
        at = task.next_number
        task.next_number = at + 1  # what comes after it is told apart from what came before
        task.forgotten += tuple([Forgotten(event, at) for event in task.events[:first]])
        self._let_go(task.events[:first])
        for event in task.events[:first]:
            for name in _names(event):
                task.lost = add_name(task.lost, name)
        searched = {key: found.after(task.events, first) for key, found in task.searched.items()}
        task.events = task.events[first:]
        task.size = size
        task.searched = searched
        left = self.search.names()
        task.named, task.names = set(left), len(left)
        return len([name for name in before if name not in left])


def _place(ref: EventRef) -> tuple[bool, int, int]:
    return ref.from_person, ref.partition, ref.offset


def _names(event: Remembered) -> tuple[str, ...]:
    return (event.name,) if isinstance(event, Alias) else (*event.context, *event.large)


def _without(event: Remembered, names: set[str], at: int) -> Remembered | None:
    """What is left of an event without some names, if it is as old as that; None: nothing."""
    if event.ref.occurred_at > at:
        return event
    if isinstance(event, Alias):
        return None if event.name in names or event.source_name in names else event
    if names.isdisjoint(_names(event)):
        return event
    context = {n: v for n, v in event.context.items() if n not in names}
    large = {n: v for n, v in event.large.items() if n not in names}
    if not (context or large or event.empty):
        return None
    return replace(event, context=context, large=large)
