"""What a task has held: captures, retractions, aliases, and looking a value up among them."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from msgspec import Raw
from msgspec.structs import replace

from processors.contracts import values
from processors.contracts.compiled import Path
from processors.integrity.state import (
    MAX_BEHIND,
    MAX_CANDIDATES,
    MAX_FIELDS,
    MAX_STATE_BYTES,
    MAX_VALUE_BYTES,
    Capture,
)
from schemas.flow import Arrival
from schemas.records import ToolOutput


class Found(NamedTuple):
    """A value that a path leads to among the captures; `value` is None where it was not kept."""

    value: bytes | None
    capture: Capture
    top: str


class Memory:
    """A task's captures while one input is judged: copies first, so the task itself stays as it is.

    `captures` and `retracted` become the next task's; `size` is the bytes of their values.
    """

    def __init__(
        self, captures: Mapping[str, Capture], retracted: Mapping[str, int], size: int
    ) -> None:
        self.captures = dict(captures)
        self.retracted = dict(retracted)
        self.size = size

    # --- looking up ---------------------------------------------------------------------------

    def look_up(self, path: Path, after: int | None) -> Found | None:
        """The newest value that a path leads to, captured later than `after` (epoch ms).

        A name spelled exactly so comes first; then the dotted path, through the object at hand and
        those that stand behind it.
        """
        exact = self.captures.get(path.name)
        if exact is not None and (after is None or exact.occurred_at > after):
            return Found(exact.value, exact, path.name)
        top = self.captures.get(path.top) if path.rest else None
        if top is None:
            return None
        for capture in (top, *top.behind):
            if capture.value is None or (after is not None and capture.occurred_at <= after):
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

    def retracted_at(self, tops: Iterable[str]) -> int | None:
        """When one of these names was last taken back, if it still is."""
        if not self.retracted:
            return None
        return max((self.retracted[top] for top in tops if top in self.retracted), default=None)

    # --- changing -----------------------------------------------------------------------------

    def retract(self, names: Iterable[str], at: int) -> None:
        """Forget names, what stands behind them and their aliases, until a newer capture."""
        for name in names:
            self.retracted[name] = max(at, self.retracted.get(name, at))
            for other in list(self.captures):
                capture = self.captures[other]
                if name in (other, capture.alias_of):
                    self._retract_one(other, capture, name, at)

    def _retract_one(self, name: str, capture: Capture, source: str, at: int) -> None:
        """Keep what was captured after the retraction (it arrived late), forget the rest."""
        if capture.occurred_at > at:
            if name == source:
                self.retracted.pop(source, None)
            behind = tuple(old for old in capture.behind if old.occurred_at > at)
            self._put(name, replace(capture, behind=behind))
        else:
            self._put(name, None)

    def capture(
        self, context: Mapping[str, Raw], output: ToolOutput, arrival: Arrival, hop: int
    ) -> None:
        """Each value that is not empty becomes its name's latest capture (`hop` 0: no handoff)."""
        captures = self.captures
        occurred_at = arrival.occurred_at
        for name, raw in context.items():
            value = bytes(raw)
            if values.is_empty(value):
                continue
            taken_back = self.retracted.get(name) if self.retracted else None
            if taken_back is not None:
                if occurred_at < taken_back:
                    continue
                del self.retracted[name]
            large = len(value) > MAX_VALUE_BYTES
            new = Capture(
                None if large else value,
                output.stage,
                output.tool,
                output.id,
                occurred_at,
                arrival.topic,
                arrival.partition,
                arrival.offset,
                hop,
                (values.digest(value),) if large else (),
            )
            old = captures.get(name)
            if old is None:
                captures[name] = new
                self.size += len(value) if not large else 0
            else:
                self._put(name, _replaced(old, new, value))

    def alias(self, name: str, value: bytes, source: Capture, source_name: str, hop: int) -> None:
        """Remember a package's value under the receiver's name, with its first origin."""
        old = self.captures.get(name)
        if old is not None and old.value == value:
            if old.hop != hop:
                self._put(name, replace(old, hop=hop))
            return
        if len(value) > MAX_VALUE_BYTES:
            return
        hashes: tuple[bytes, ...] = ()
        if old is not None and old.alias_of is None:
            hashes = old.hashes or _digests(old)
        alias = replace(
            source, value=value, hop=hop, hashes=hashes, behind=(), alias_of=source_name
        )
        self._put(name, alias)

    def _put(self, name: str, new: Capture | None) -> None:
        old = self.captures.pop(name, None) if new is None else self.captures.get(name)
        self.size += (_weight(new) if new else 0) - (_weight(old) if old else 0)
        if new is not None:
            self.captures[name] = new

    def trim(self) -> int:
        """Forget the oldest captures beyond the limits of a task; how many went."""
        gone = 0
        if len(self.captures) > MAX_FIELDS or self.size > MAX_STATE_BYTES:
            for name in sorted(self.captures, key=lambda name: self.captures[name].occurred_at):
                if len(self.captures) <= MAX_FIELDS and self.size <= MAX_STATE_BYTES:
                    break
                self._put(name, None)
                gone += 1
        if len(self.retracted) > MAX_FIELDS:
            latest = sorted(self.retracted.items(), key=lambda entry: -entry[1])
            self.retracted = dict(latest[:MAX_FIELDS])
        return gone


def _replaced(old: Capture, new: Capture, value: bytes) -> Capture:
    """What stands under a name after `new` (of raw `value`) came to `old`: the later one leads."""
    if new.occurred_at < old.occurred_at:
        late, first = old, new
    else:
        late, first = new, old
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
    if late.value is not None and late.value[0] == 0x7B and not (known and not behind):
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


def _weight(capture: Capture) -> int:
    return sum(len(c.value or b"") for c in (capture, *capture.behind))
