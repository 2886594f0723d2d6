"""Which value stands under a name: worked out from a task's events, in the order of their arrival.

The latest value by event time leads. Of values of one time that which arrived later leads.
"""

from collections.abc import Iterable
from itertools import repeat

from msgspec import Struct
from msgspec.structs import replace

from processors.contracts import values
from processors.integrity.events import Alias, EventRef, TaskEvent
from schemas.paths import Path

MAX_CANDIDATES = 16  # distinct values told apart under a name: beyond "several" nobody counts
MAX_BEHIND = 4  # overwritten objects kept behind a newer one
_BRACE = ord("{")
_LONG = 1_000  # bytes of a value: below, to look it up costs as much as to read it again


class Capture(Struct, frozen=True, gc=False):
    """The latest value under a name, and the event that it came with.

    `value` is raw JSON, None where it was too large to keep. `hashes` are the digests of the
    distinct values that the task has held under the name; empty while the value at hand is the
    only one. `behind` are overwritten objects that have a member the newer one lacks, newest first.
    `hop` is the last handoff that carried it (0: none did). `alias_of` is the sender's name where
    this is a value as a package put it; such values are no candidates.
    """

    value: bytes | None
    ref: EventRef
    hop: int = 0
    hashes: tuple[bytes, ...] = ()
    behind: tuple["Capture", ...] = ()
    alias_of: str | None = None

    def candidates(self) -> int:
        """How many distinct values the task has held under this name itself."""
        if self.hashes:
            return len(self.hashes)
        return 0 if self.alias_of is not None else 1


class Found(Struct, frozen=True, gc=False):
    """A value that a path leads to among the captures; `value` is None where it was not kept."""

    value: bytes | None
    capture: Capture
    top: str


class CaptureIndex(Struct, gc=False):
    """The values of a task by name. `retracted` maps a name to the time of its retraction,
    and `last` is the number of the last event that counts."""

    captures: dict[str, Capture]
    retracted: dict[str, int]
    last: int = 0
    _read: dict[bytes, bytes] = {}  # long values -> in canonical form

    @classmethod
    def of(cls, events: Iterable[TaskEvent | Alias], retracted: dict[str, int]) -> "CaptureIndex":
        """What these events come to."""
        index = cls({}, retracted)
        for event in events:
            index.add(event)
        return index

    # --- one more event -----------------------------------------------------------------------

    def add(self, event: TaskEvent | Alias) -> None:
        """Each value of an event becomes its name's capture, unless a later one stands there."""
        if isinstance(event, Alias):
            self._alias(event)
            return
        captures, context = self.captures, event.context
        ref, hop = event.ref, event.hop
        self.last = ref.number
        if captures.keys().isdisjoint(context):
            made = map(Capture, context.values(), repeat(ref), repeat(hop))
            captures.update(zip(context, made, strict=True))
            context = {}
        for name, value in context.items():
            old = captures.get(name)
            if old is None:
                captures[name] = Capture(value, ref, hop)
            elif (
                old.value == value
                and ref.occurred_at >= old.ref.occurred_at
                and old.alias_of is None
                and not old.behind
            ):
                # The same value again, the most frequent case: only its origin is newer.
                captures[name] = Capture(value, ref, hop or old.hop, old.hashes)
            else:
                captures[name] = _replaced(old, Capture(value, ref, hop), value, b"")
        for name, digest in event.large.items():
            new = Capture(None, ref, hop, (digest,))
            old = captures.get(name)
            captures[name] = new if old is None else _replaced(old, new, None, digest)

    def _alias(self, alias: Alias) -> None:
        """A package's value stands under the receiver's name, with its first origin."""
        self.last = alias.number
        old = self.captures.get(alias.name)
        if old is not None and old.value is not None and old.value == alias.value:
            self.captures[alias.name] = replace(old, hop=alias.hop)
            return
        hashes: tuple[bytes, ...] = ()
        if old is not None and old.alias_of is None:
            hashes = old.hashes or _digests(old)
        self.captures[alias.name] = Capture(
            alias.value, alias.ref, alias.hop, hashes, (), alias.source_name
        )

    # --- looking up ---------------------------------------------------------------------------

    def look_up(self, path: Path, beside: Iterable[str] = ()) -> Found | None:
        """The newest value that a path leads to, unless a name `beside` it was retracted since.

        A name spelled exactly so comes first; then the dotted path, through the object at hand and
        those that stand behind it.
        """
        exact = self.captures.get(path.name)
        if exact is not None and self._stands(exact, path.name, beside):
            return Found(exact.value, exact, path.name)
        top = self.captures.get(path.top) if path.rest else None
        if top is None:
            return None
        for capture in (top, *top.behind):
            if capture.value is None or not self._stands(capture, path.top, beside):
                continue
            value = values.descend(capture.value, path.rest)
            if value is not None and not values.is_empty(value):
                return Found(value, capture, path.top)
        return None

    def candidates(self, found: Found) -> int:
        """Distinct values held under the name behind a finding, an alias' first name included."""
        own = self.captures[found.top]
        count = own.candidates()
        if own.alias_of is not None:
            source = self.captures.get(own.alias_of)
            count = max(count, source.candidates() if source is not None else 1)
        return max(count, 1)

    def _stands(self, capture: Capture, name: str, beside: Iterable[str]) -> bool:
        if not self.retracted:
            return True
        # What a retraction of its own name had to forget is not here any more.
        at = [
            self.retracted[other] for other in beside if other in self.retracted and other != name
        ]
        return not at or max(at) < capture.ref.occurred_at

    # --- comparing ----------------------------------------------------------------------------

    def same(self, a: bytes, b: bytes) -> bool:
        """Whether two JSON values are equal."""
        return values.same(a, b, self._canonical)

    def digest(self, value: bytes) -> bytes:
        """Eight bytes that stand for a JSON value."""
        return values.digest(value, self._canonical)

    def _canonical(self, value: bytes) -> bytes:
        """A value in canonical form. To read a long one takes up to a microsecond a byte, and an
        output may hand it off sixteen times: it is read once for an input."""
        if len(value) < _LONG:
            return values.canonical(value)
        found = self._read.get(value)
        if found is None:
            found = self._read[value] = values.canonical(value)
        return found


def _replaced(old: Capture, new: Capture, value: bytes | None, digest: bytes) -> Capture:
    """What stands under a name after `new` came to `old`: the later one leads.

    `value` is the new one's; None where it was not kept, then `digest` stands for it.
    """
    newer = new.ref.occurred_at >= old.ref.occurred_at
    plain = old.alias_of is None and not old.behind
    if newer and plain and value is not None and value[0] != _BRACE and old.value is not None:
        # No object is overwritten by one, so nothing has to stay behind.
        hashes = old.hashes or (values.digest(old.value),)
        digest = values.digest(value)
        if digest not in hashes:
            hashes = (*hashes, digest)[:MAX_CANDIDATES]
        elif len(hashes) == 1:
            hashes = ()  # the same value, spelled differently
        return Capture(value, new.ref, new.hop or old.hop, hashes)
    late, first = (new, old) if newer else (old, new)
    hashes = old.hashes
    known = (
        old.value is not None
        and value is not None
        and old.alias_of is None
        and values.same(old.value, value)
    )
    if not known:
        held = hashes or (() if old.alias_of is not None else _digests(old))
        if value is not None:
            digest = values.digest(value)
        if not held and value is not None:
            hashes = ()  # the first value of its own under an alias' name
        else:
            hashes = held if digest in held else (*held, digest)[:MAX_CANDIDATES]
    behind = old.behind
    if late.value is not None and late.value[0] == _BRACE and not (known and not behind):
        older = [first, *behind] if first is old else _by_time([first, *behind])
        behind = tuple(
            replace(capture, behind=(), hashes=())
            for capture in older
            if capture.value is not None and values.lacks_member_of(late.value, capture.value)
        )[:MAX_BEHIND]
    else:
        behind = ()
    return Capture(late.value, late.ref, max(old.hop, new.hop), hashes, behind, late.alias_of)


def _by_time(captures: list[Capture]) -> list[Capture]:
    return sorted(captures, key=lambda capture: -capture.ref.occurred_at)


def _digests(capture: Capture) -> tuple[bytes, ...]:
    return () if capture.value is None else (values.digest(capture.value),)
