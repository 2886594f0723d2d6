"""What a task has held: captures, retractions, aliases, and looking a value up among them."""

from collections.abc import Iterable, Mapping

from msgspec import Raw, Struct
from msgspec.structs import replace

from processors.contracts import values
from processors.contracts.compiled import Path
from processors.integrity import state
from processors.integrity.limits import Limits
from processors.integrity.state import (
    MAX_BEHIND,
    MAX_CANDIDATES,
    MAX_RETRACTED,
    Capture,
    Task,
    length,
)
from processors.integrity.texts import Texts
from schemas.flow import Arrival
from schemas.records import ToolOutput

_BRACE = ord("{")
_LONG = 1_000  # bytes of a value: below, to look it up costs as much as to read it again


class Carried(Struct, gc=False):
    """The context that an output carries itself, and which of its names hold nothing.

    `types` are those of the values, in the same order (`values.held_type`: "" for what is empty).
    """

    values: dict[str, bytes]
    types: tuple[str, ...]
    empty: frozenset[str]
    _texts: Texts | None = None

    def texts(self) -> Texts:
        """The strings in it, read when they are first asked for."""
        if self._texts is None:
            self._texts = Texts(self.values)
        return self._texts


_NONE: frozenset[str] = frozenset()


def carry(context: Mapping[str, Raw | bytes]) -> Carried:
    """A context as raw bytes of its own (an output's slices would keep the whole input alive)."""
    held: dict[str, bytes] = {}
    types: list[str] = []
    for name, raw in context.items():
        held[name] = value = bytes(raw)
        types.append(values.held_type(value))
    empty = _NONE
    if "" in types:
        empty = frozenset([name for name, type_ in zip(held, types, strict=True) if not type_])
    return Carried(held, tuple(types), empty)


def captured(value: bytes, output: ToolOutput, arrival: Arrival) -> Capture:
    """A value with the origin of the output that carries it."""
    return Capture(
        value,
        output.stage,
        output.tool,
        output.id,
        arrival.occurred_at,
        arrival.topic,
        arrival.partition,
        arrival.offset,
    )


NO_CONTEXT = Carried({}, (), _NONE)


class Found(Struct, frozen=True, gc=False):
    """A value that a path leads to among the captures; `value` is None where it was not kept."""

    value: bytes | None
    capture: Capture
    top: str


class Memory(Struct, gc=False):
    """A task's captures while one input is judged.

    `captures` and `retracted` become the next task's. `size` is an upper bound of their bytes: what
    is replaced is not taken off, until `trim` finds the bound over the limit and counts anew.
    """

    captures: dict[str, Capture]
    retracted: dict[str, int]
    size: int
    limits: Limits
    _read: dict[bytes, bytes] = {}  # long values -> in canonical form

    @classmethod
    def of(cls, task: Task, limits: Limits) -> "Memory":
        """What a task remembers: copies, so the task itself stays as it is."""
        return cls(task.captures.copy(), task.retracted.copy(), task.size, limits)

    def as_before(self, changed: Mapping[str, Capture | None]) -> "Memory":
        """The memory as it was before some names were captured; None: they were not there."""
        captures = dict(self.captures)
        for name, capture in changed.items():
            if capture is None:
                captures.pop(name, None)
            else:
                captures[name] = capture
        return Memory(captures, self.retracted.copy(), self.size, self.limits)

    def changed_since(self, captures: Mapping[str, Capture]) -> dict[str, Capture | None]:
        """The names whose capture is another than in `captures`, with what stood there."""
        now = self.captures
        changed = {name: old for name, old in captures.items() if now.get(name) is not old}
        return {**changed, **{name: None for name in now if name not in captures}}

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
        return not at or max(at) < capture.occurred_at

    # --- changing -----------------------------------------------------------------------------

    def retract(self, names: Iterable[str], at: int) -> None:
        """Forget names, what stands behind them and their aliases, until a newer capture.

        The time stays on record: what happened before it may still arrive.
        """
        for name in names:
            self.retracted[name] = max(at, self.retracted.get(name, at))
            for other in list(self.captures):
                capture = self.captures[other]
                if name in (other, capture.alias_of):
                    self._retract_one(other, capture, at)

    def _retract_one(self, name: str, capture: Capture, at: int) -> None:
        """Keep what was captured after the retraction (it arrived late), forget the rest.

        A forgotten alias is taken back as its name was: asked for, it is no name never captured.
        """
        if capture.occurred_at > at:
            behind = tuple(old for old in capture.behind if old.occurred_at > at)
            self.captures[name] = replace(capture, behind=behind)
        else:
            self.retracted[name] = max(at, self.retracted.get(name, at))
            del self.captures[name]

    def capture(self, context: Carried, output: ToolOutput, arrival: Arrival, hop: int) -> None:
        """Each value that is not empty becomes its name's latest capture (`hop` 0: no handoff)."""
        captures, empty, retracted = self.captures, context.empty, self.retracted
        stage, tool, event_id = output.stage, output.tool, output.id
        occurred_at, topic = arrival.occurred_at, arrival.topic
        partition, offset = arrival.partition, arrival.offset
        largest = self.limits.value_bytes
        size = 0
        for name, value in context.values.items():
            if name in empty or (retracted and self.taken_back(name, occurred_at)):
                continue
            size += len(value) + 4 * len(name)
            last_hop = hop
            hashes: tuple[bytes, ...] = ()
            old = captures.get(name)
            if old is None:
                if len(value) > largest:
                    captures[name] = self._new(value, output, arrival, hop)
                    continue
            elif (
                old.value == value
                and occurred_at >= old.occurred_at
                and old.alias_of is None
                and not old.behind
            ):
                # The same value again, the most frequent case: only its origin is newer.
                last_hop = hop or old.hop
                hashes = old.hashes
            else:
                new = _replaced(old, self._new(value, output, arrival, hop), value)
                captures[name] = new
                size += weight(name, new) if new.behind else 0
                continue
            captures[name] = Capture(
                value,
                stage,
                tool,
                event_id,
                occurred_at,
                topic,
                partition,
                offset,
                last_hop,
                hashes,
            )
        self.size += size + 4 * len(context.values) * (len(stage) + len(tool) + len(event_id))

    def set(self, name: str, new: Capture) -> None:
        """A value that a person gave a name is captured like one that a tool gave it."""
        assert new.value is not None
        if self.taken_back(name, new.occurred_at):
            return
        value, old = new.value, self.captures.get(name)
        if len(value) > self.limits.value_bytes:
            new = replace(new, value=None, hashes=(values.digest(value),))
        self.captures[name] = new if old is None else _replaced(old, new, value)
        self.size += weight(name, self.captures[name])

    def _new(self, value: bytes, output: ToolOutput, arrival: Arrival, hop: int) -> Capture:
        """A capture of a value, which is not kept where it is too large."""
        new = replace(captured(value, output, arrival), hop=hop)
        if len(value) > self.limits.value_bytes:
            return replace(new, value=None, hashes=(values.digest(value),))
        return new

    def taken_back(self, name: str, occurred_at: int) -> bool:
        """Whether a capture comes too late: its name was retracted since."""
        at = self.retracted.get(name)
        return at is not None and occurred_at < at

    def alias(self, name: str, value: bytes, source: Capture, source_name: str, hop: int) -> None:
        """Remember a package's value under the receiver's name, with its first origin.

        What a late handoff carried of a name that was taken back since is taken back here too.
        """
        if self.taken_back(source_name, source.occurred_at):
            self.retracted[name] = max(self.retracted[source_name], self.retracted.get(name, 0))
        if self.taken_back(name, source.occurred_at):
            return
        old = self.captures.get(name)
        if old is not None and old.value == value:
            self.captures[name] = replace(old, hop=hop)
            return
        kept = value if len(value) <= self.limits.value_bytes else None
        hashes: tuple[bytes, ...] = ()
        if old is not None and old.alias_of is None:
            hashes = old.hashes or _digests(old)
        alias = replace(source, value=kept, hop=hop, hashes=hashes, behind=(), alias_of=source_name)
        self.captures[name] = alias
        self.size += weight(name, alias)

    def trim(self) -> dict[str, Capture]:
        """Forget the oldest captures beyond the limits of a task; those that went, by name."""
        gone: dict[str, Capture] = {}
        most, largest = self.limits.fields, self.limits.state_bytes
        if self.size > largest:
            self.size = sum(weight(name, capture) for name, capture in self.captures.items())
        if len(self.captures) > most or self.size > largest:
            for name in sorted(self.captures, key=lambda name: self.captures[name].occurred_at):
                if len(self.captures) <= most and self.size <= largest:
                    break
                gone[name] = self.captures.pop(name)
                self.size -= weight(name, gone[name])
        while self.retracted and (
            len(self.retracted) > most or sum(map(length, self.retracted)) > MAX_RETRACTED
        ):
            del self.retracted[min(self.retracted, key=self.retracted.__getitem__)]
        return gone


def _replaced(old: Capture, new: Capture, value: bytes) -> Capture:
    """What stands under a name after `new` (of raw `value`) came to `old`: the later one leads."""
    newer = new.occurred_at >= old.occurred_at
    plain = old.alias_of is None and not old.behind
    if newer and plain and value[0] != _BRACE and old.value is not None:
        # No object is overwritten by one, so nothing has to stay behind.
        hashes = old.hashes or (values.digest(old.value),)
        digest = values.digest(value)
        if digest not in hashes:
            hashes = (*hashes, digest)[:MAX_CANDIDATES]
        elif len(hashes) == 1 and new.value is not None:
            hashes = ()  # the same value, spelled differently
        return replace(new, hop=new.hop or old.hop, hashes=hashes)
    late, first = (new, old) if newer else (old, new)
    hashes = old.hashes
    known = old.value is not None and old.alias_of is None and values.same(old.value, value)
    if not known:
        held = hashes or (() if old.alias_of is not None else _digests(old))
        digest = values.digest(value)
        if not held and new.value is not None:
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
    alias_of = late.alias_of
    return replace(late, hop=max(old.hop, new.hop), hashes=hashes, behind=behind, alias_of=alias_of)


def _by_time(captures: list[Capture]) -> list[Capture]:
    return sorted(captures, key=lambda capture: -capture.occurred_at)


def _digests(capture: Capture) -> tuple[bytes, ...]:
    return () if capture.value is None else (values.digest(capture.value),)


def weight(name: str, capture: Capture) -> int:
    """The bytes that a capture takes under a name: a sender may make both long."""
    return length(name) + state.weight(capture)
