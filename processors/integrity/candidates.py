"""A field's candidates: the values that its paths lead to, in the events that a task remembers.

Of one event the first path that leads to a value counts. The latest value by event time leads; of
values of one time that which arrived later leads. What a package put under the receiver's name
counts from the handoff that did it, and by itself makes no second candidate. What only says that
there is no value (a placeholder) is none, unless nothing else was ever said, and neither is a cut
copy of a longer one.
"""

from collections.abc import KeysView, Sequence

from msgspec import Struct
from msgspec.structs import replace

from processors.contracts import cut, readers, values
from processors.contracts.classified import Classified
from processors.contracts.compiled import Field, undeclared
from processors.integrity.alone import EVERY, UNSAID, Alone, goes_on, names_of, under_one
from processors.integrity.digests import may_hold
from processors.integrity.events import Alias, EventRef, Remembered, TaskEvent
from schemas.paths import Path

_CACHED = 8
_MAX_CACHED = 1_000  # fields, of one task
_MAX_KNOWN = 1_000  # values of a field whose meaning is kept when events are forgotten


class Candidate(Struct, frozen=True, gc=False):
    """A value that a task holds for a field, and the latest event that said it.

    `value` is raw JSON as it was said, None where it was too large to keep; `ours` is the same in
    the receiver's terms. `top` is the name that its path begins at. `at` is the time that it counts
    from (epoch ms), and `number` its event. `alias_of` is the sender's name where a package put it,
    and `candidates` how many values there were for it then.
    """

    value: bytes | None
    ours: bytes | None
    ref: EventRef
    top: str
    at: int
    number: int
    alias_of: str | None = None
    candidates: int = 1


# What a value means to the receiver: its key, the value in their terms, whether that fits, and what
# it has in common with its cut copies.
Known = tuple[bytes, bytes, bool, str | None]


class Candidates(Struct, gc=False):
    """All that a task holds for a field, each distinct value once.

    `fit` are those that are what the contract asks for, by the key that equal ones have in common,
    and `unfit` the others. `said` are the keys of those that fit and that outputs said themselves,
    each with the last event that did. `newest` is the latest of all, `best` the latest that fits,
    `carried` what the last handoff did that carried any (`last_hop`; 0: none did), and `first` the
    first of all, where the field is stable. `empty` and `placeholders` tell whether something was
    said that is no value.
    """

    field: Field
    retracted: dict[str, int]  # until when a value that begins at a name was taken back with others
    fit: dict[bytes, Candidate]
    unfit: dict[bytes, Candidate]
    said: dict[bytes, int]
    newest: Candidate | None = None
    best: Candidate | None = None
    first: Candidate | None = None
    carried: Candidate | None = None
    last_hop: int = 0
    empty: bool = False
    placeholders: bool = False
    # How long values begin, what several of them begin with, and whether one more such was said.
    heads: set[str] = set()
    alike: set[str] = set()
    copied: bool = False
    passed: bool = False  # whether a value stands no more for one event that said it
    hop_number: int = 0  # the event that `last_hop` carried
    read: int = 0  # events
    last: Remembered | None = None  # of these
    _known: dict[bytes, Known] = {}

    def after(self, events: Sequence[Remembered], first: int) -> "Candidates":
        """What is left of `events` from the one with the index `first` on, where that can be told
        from what was found in them; else nothing yet. What values mean is known already."""
        known, number = self._known, events[first].number
        if len(known) > _MAX_KNOWN:
            return Candidates(self.field, self.retracted, {}, {}, {})
        left = Candidates(
            self.field,
            self.retracted,
            {},
            {},
            {},
            heads=self.heads.copy(),
            alike=self.alike.copy(),
            _known=known.copy(),
        )
        known_so_far = self.read >= first and goes_on(self.read, self.last, events)
        if not known_so_far or not self._may_be_cut(number):
            return left
        left.fit = {key: each for key, each in self.fit.items() if each.number >= number}
        left.unfit = {key: each for key, each in self.unfit.items() if each.number >= number}
        left.said = {key: last for key, last in self.said.items() if last >= number}
        left.newest = max([*left.fit.values(), *left.unfit.values()], key=_order, default=None)
        left.best = max(left.fit.values(), key=_order, default=None)
        left.first = self.first
        left.carried, left.last_hop = self.carried, self.last_hop
        left.hop_number = self.hop_number
        left.read, left.last = self.read - first, self.last
        return left

    def _may_be_cut(self, number: int) -> bool:
        """Whether what is left without the events before a number can be told without them."""
        # Of lists the last ones are compared, in the order in which they came.
        if self.empty or self.placeholders or self.passed or "[" in self.alike:
            return False
        if self.last_hop and self.hop_number < number:
            return False
        return not self.field.stable or self.first is None or self.first.number >= number

    def add(self, events: Sequence[Remembered]) -> None:
        """Look through more events, in order."""
        if not events:
            return
        self.read += len(events)
        self.last = events[-1]
        paths, tops = self.field.paths, self.field.tops
        name = paths[0].name if len(paths) == 1 and paths[0].name == paths[0].top else None
        for event in events:
            if type(event) is not TaskEvent:
                if event.name in tops:
                    self._add_alias(event)
            elif name is None:
                # Most events of a long task have none of the names.
                if not event.context.keys().isdisjoint(tops) or event.large or event.empty:
                    self._search(event, paths)
            elif name in event.context:
                self._put(event, event.context[name], name)
            elif event.large and name in event.large:
                self._put_large(event, event.large[name], name)
            elif event.empty and name in event.empty:
                self.empty = True
        if self.copied:
            self._drop_copies()
            self.copied = False

    def _search(self, event: TaskEvent, paths: tuple[Path, ...]) -> None:
        for path in paths:
            value, top = values.at(event.context, path)
            if value is not None and not values.is_empty(value):
                if self._put(event, value, top):
                    return
                continue
            self.empty = self.empty or value is not None or path.name in event.empty
            self.empty = self.empty or (not path.rest and path.top in event.empty)
            for name in (path.name, path.top):
                if name in event.large:  # nobody knows what is inside
                    self._put_large(event, event.large[name], name)
                    return

    def _add_alias(self, alias: Alias) -> None:
        name, value = alias.name, alias.value
        for path in self.field.paths:
            if path.name == name:
                break
            if path.top == name and alias.value is not None:
                value = values.descend(alias.value, path.rest)
                if value is not None and not values.is_empty(value):
                    break
        else:
            return
        if value is not None and self.field.is_placeholder(value):
            self.placeholders = True
            return
        ref, at, number = alias.ref, alias.at, alias.number
        if value is None:
            key, ours, fits = b"\0" + name.encode(), None, True
        else:
            key, ours, fits, head = self._in_their_terms(value)
            self.copied |= head in self.alike
        found = Candidate(
            value=value,
            ours=ours,
            ref=ref,
            top=name,
            at=at,
            number=number,
            alias_of=alias.source_name,
            candidates=alias.candidates,
        )
        self._place(found, key, fits, alias.hop)

    def _put(self, event: TaskEvent, value: bytes, top: str) -> bool:
        """Take a value that an event says; false where that only says that there is none."""
        if value[:2] not in self.field.sure and self.field.is_placeholder(value):
            self.placeholders = True
            return False
        key, ours, fits, head = self._known.get(value) or self._in_their_terms(value)
        if head is not None and head in self.alike:
            self.copied = True
        ref = event.ref
        found = Candidate(
            value=value, ours=ours, ref=ref, top=top, at=ref.occurred_at, number=ref.number
        )
        if self._place(found, key, fits, event.hop) and fits:
            self.said[key] = ref.number
        return True

    def _put_large(self, event: TaskEvent, digest: bytes, top: str) -> None:
        ref = event.ref
        key = b"\0" + digest  # no JSON begins so
        found = Candidate(
            value=None, ours=None, ref=ref, top=top, at=ref.occurred_at, number=ref.number
        )
        if self._place(found, key, True, event.hop):
            self.said[key] = ref.number

    def _place(self, found: Candidate, key: bytes, fits: bool, hop: int) -> bool:
        if self.retracted and found.ref.occurred_at <= self.retracted.get(found.top, -1):
            return False
        if hop and hop >= self.last_hop:
            self.last_hop, self.hop_number = hop, found.number
            self.carried = found if fits else None
        newest, at = self.newest, found.at
        if newest is None or newest.at <= at:
            self.newest = found
        among = self.fit if fits else self.unfit
        held = among.get(key)
        if held is None or held.at <= at:
            among[key] = found
        else:
            self.passed = True
        if not fits:
            return True
        first, best = self.first, self.best
        if first is None or first.at > at:
            self.first = found
        if best is None or best.at <= at:
            self.best = found
        return True

    def _in_their_terms(self, value: bytes) -> Known:
        known = self._known.get(value)
        if known is None:
            head = cut.head(value)
            known = (*self.field.meaning(value), head)
            self._known[value] = known
            if head is not None:
                (self.alike if head in self.heads else self.heads).add(head)
        return known

    def _drop_copies(self) -> None:
        """Of cut copies only the whole counts."""
        held = [each.value for each in (*self.fit.values(), *self.unfit.values()) if each.value]
        copies = cut.copies([value for value in held if self._known[value][3] in self.alike])
        if not copies:
            return
        self.passed = True
        for key, each in list(self.fit.items()):
            if each.value in copies:
                del self.fit[key]
                self.said.pop(key, None)
        self.best = max(self.fit.values(), key=_order, default=None)
        self.first = min(self.fit.values(), key=_order, default=None)
        self.newest = max([*self.fit.values(), *self.unfit.values()], key=_order)

    # --- what is asked ------------------------------------------------------------------------

    def same(self, value: bytes) -> tuple[Candidate | None, bool]:
        """The latest that says the same as a value, and whether that fits."""
        key, _, fits, _ = self._in_their_terms(value)
        return (self.fit if fits else self.unfit).get(key), fits

    def key(self, value: bytes) -> bytes:
        """What a value has in common with those that say the same."""
        return self._in_their_terms(value)[0]

    def count(self, one: Candidate) -> int:
        """How many distinct values that fit outputs said themselves, and not fewer than there were
        when a package put `one` where it is."""
        return max(len(self.said), one.candidates)

    def passed_over(self, chosen: Candidate) -> int:
        """How many values that do not fit are later than one that does."""
        return sum(each.at >= chosen.at for each in self.unfit.values())

    def latest_first(self) -> list[Candidate]:
        """All of them."""
        return sorted([*self.fit.values(), *self.unfit.values()], key=_order, reverse=True)

    def whole(self, value: bytes) -> Candidate | None:
        """The latest of which a value is a cut copy."""
        held = {each.value: each for each in self.latest_first() if each.value is not None}
        found = cut.whole_of(value, held)
        return None if found is None else held[found]

    def respelled(self, value: bytes) -> Candidate | None:
        """The latest that fits and says the same as a value in a wrong shape."""
        loose_key = readers.loosely(self.field.key)
        key = loose_key(value)
        for each in sorted(self.fit.values(), key=_order, reverse=True):
            if each.ours is not None and loose_key(each.ours) == key:
                return each
        return None


def _order(candidate: Candidate) -> tuple[int, int]:
    return candidate.at, candidate.number


def said_by(event: TaskEvent, field: Field) -> bytes | None:
    """What one event said for a field: the value that the first path leads to."""
    for path in field.paths:
        value, _ = values.at(event.context, path)
        if value is not None and not values.is_empty(value):
            return value
    return None


class Search(Struct, gc=False):
    """What a task remembers, to be searched.

    `retracted` maps a name to the time of its retraction; `lost` are the digests of the names in
    what was forgotten. `cache` is what was found already: by a field's identity, or by a name.
    None: nothing is kept. `gone` are classified values that it holds no more: nothing finds them.
    `classified` is what is so in the task, where that is known.
    """

    events: Sequence[Remembered]
    retracted: dict[str, int]
    lost: bytes = b""
    cache: dict[int | str, Candidates | Alone] | None = None
    gone: Sequence[tuple[str, bytes]] = ()
    classified: Classified | None = None
    _alone: dict[str, tuple[bytes, EventRef] | None] | None = None
    _last: Candidates | None = None

    def candidates(self, field: Field, key: int | str = 0) -> Candidates | None:
        """What the task holds for a field; None for nothing."""
        events, last = self.events, self._last
        if last is not None and last.field is field and last.read == len(events):
            return last
        if self.cache is None or len(events) < _CACHED:
            found = self._begin(field)
            found.add(events)
        else:
            found = self._continued(field, key or id(field))
        if found.newest is None and found.placeholders and not found.empty:
            found = self._begin(replace(field, placeholders=frozenset()))
            found.add(events)
        if found.newest is None:
            return None
        self._last = found
        return found

    def emptied(self, field: Field) -> bool:
        """Whether something was said for a field that is empty."""
        found = self._begin(field)
        found.add(self.events)
        return found.empty

    def under(self, name: str) -> Candidates | None:
        """What the task holds under a name that no contract says anything of."""
        return self.candidates(undeclared(name), name)

    def newest(self, field: Field) -> Candidate | None:
        """The latest value that the task holds under a declared field's own name, as it is."""
        held = self.candidates(field) if field.is_as_said() else None
        if held is None or held.placeholders:
            held = self.under(field.name)
        return None if held is None else held.newest

    def alone(self, field: Field, value: bytes, otherwise: EventRef) -> EventRef | None:
        """The latest event that said these bytes under a field's own name, `otherwise` where none
        said anything for it; None where something else was said, too."""
        said = self.said
        one = said.get(field.name, UNSAID)
        if len(field.tops) > 1 and (
            not under_one(field, said) or (self.retracted and self._is_long())
        ):
            one = None
        if one is UNSAID:
            return otherwise
        if one is not None and one[0] == value:
            return one[1]
        if not self._is_long():
            return None
        # It may have been spelled otherwise.
        held = self.candidates(field)
        if held is None:
            return otherwise
        best = held.best
        alone = len(held.fit) == len(held.said) == 1 and not held.unfit
        return best.ref if alone and best is not None and best.value == value else None

    def _is_long(self) -> bool:
        """Whether it is worth while to carry on what was found."""
        return self.cache is not None and len(self.events) >= _CACHED

    @property
    def said(self) -> dict[str, tuple[bytes, EventRef] | None]:
        """What was said alone under each name, as `Alone` has it."""
        if self._alone is None:
            self._alone = self._said_alone()
        return self._alone

    def _said_alone(self) -> dict[str, tuple[bytes, EventRef] | None]:
        cache, events = self.cache, self.events
        found = None if cache is None else cache.get(EVERY)
        if not isinstance(found, Alone) or not goes_on(found.read, found.last, events):
            found = Alone()
            if cache is not None and len(events) >= _CACHED:
                cache[EVERY] = found
        if found.read < len(events):
            found.add(events[found.read :])
        return found.said

    def forgot(self, field: Field) -> bool:
        """Whether the task may have held a value for a field, and has forgotten it."""
        return any(may_hold(self.lost, top) for top in field.tops)

    def names(self) -> KeysView[str]:
        """The names that the task holds anything under, in the order of their arrival."""
        return names_of(self.events)

    def _begin(self, field: Field) -> Candidates:
        retracted = self.retracted
        until: dict[str, int] = {}
        if retracted and len(field.tops) > 1 and not retracted.keys().isdisjoint(field.tops):
            # What a retraction of its own name had to forget is not here any more.
            for top in field.tops:
                beside = [retracted[each] for each in field.tops if each in retracted]
                if top in retracted:
                    beside = [retracted[o] for o in field.tops if o in retracted and o != top]
                until[top] = max(beside, default=-1)
        return Candidates(field, until, {}, {}, {})

    def _continued(self, field: Field, key: int | str) -> Candidates:
        cache, events = self.cache, self.events
        assert cache is not None
        found = cache.get(key)
        if not isinstance(found, Candidates) or not goes_on(found.read, found.last, events):
            if len(cache) >= _MAX_CACHED:
                cache.clear()
            found = cache[key] = self._begin(field)
        if found.read < len(events):
            found.add(events[found.read :])
        return found
