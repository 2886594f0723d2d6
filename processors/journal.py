"""How the states of one partition are written down: whole now and then, in between what changed.

So what a commit writes depends on what has come, and not on how much a task holds. Each record has
a key of its own: that of the state, `#`, and a number. The whole state has the number 0, and says
which was the last change that it contains. The changes since have the numbers that follow. When
they come to twice as many bytes as the whole, the state is written whole again, and they are
deleted.

A number is never used again: the first one is the time (epoch ms) at which the state came to be.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Generic, NamedTuple

from msgspec import Struct

from processors.processor import Processor, State, misfit

Store = MutableMapping[str, bytes]  # record key -> value
FRAME = 300  # bytes of a record beside its key and value: headers, and what holds it in memory
# Decoded states kept a partition, as a task's inputs come close together; and their bytes, encoded.
MAX_RECENT, MAX_RECENT_BYTES = 8192, 32 << 20
_DIGITS = 12  # of a number in a key, hexadecimal
_TAIL = _DIGITS + 1
_WHOLE = "#" + "0" * _DIGITS
_SPARE = 4096  # bytes of changes that there may be anyway
_HEADER = 7  # bytes before a whole state: the format, and the number of its last change


class StoreError(Exception):
    """A store cannot be read or written. No record and no task is at fault, so nothing is made of
    it: whoever runs the driver ends, and takes everything anew."""


class UnknownFormat(StoreError):
    """A state was written by another version; see `args[0]`."""


class _Entry(Struct, Generic[State], gc=False):
    """A decoded state, the number of its last change, and what of it is in the store: the bytes of
    the whole, and the number and bytes of the changes since."""

    state: State
    number: int
    whole: int
    changes: int = 0
    bytes: int = 0

    def rewrites(self, size: int) -> bool:
        """Whether a change of so many bytes has the state written whole."""
        return self.bytes + size > 2 * self.whole + _SPARE


class _Records(NamedTuple):
    """What is in the store of one state: the whole, the changes that follow on it, and the number
    of the last one."""

    whole: bytes
    changes: list[bytes]
    number: int

    def encoded(self) -> tuple[bytes, list[bytes]]:
        """The whole and the changes as the processor encoded them."""
        return self.whole[_HEADER:], [change[1:] for change in self.changes]


class Journal(Generic[State]):
    """The committed states of one partition. `store` holds the records."""

    def __init__(self, processor: Processor[State], store: Store) -> None:
        self.store = store
        self._processor = processor
        self._encode_change = processor.encode_change
        self._decode_timers = processor.decode_timers or processor.decode
        self._format = bytes((processor.format,))
        # By least recent use, in two generations: what is used comes to the young one.
        self._young: dict[str, _Entry[State]] = {}
        self._old: dict[str, _Entry[State]] = {}
        self._young_bytes = 0
        # What the open transaction writes; and how many records that are.
        self._writes: dict[str, _Entry[State] | None] = {}
        self.written = 0
        self.count = 0  # of the committed states
        self._changes: Counter[str] = Counter()  # in the store by key, while it is looked through
        self._stray: set[str] = set()  # keys whose records do not fit together
        self._deletes: list[str] = []  # records that are not in the store any more

    def states(self) -> Iterator[str]:
        """The keys of all states, for each of which `timers` is to be asked next: once the whole
        changelog was read it can be told whether the records of a state fit together. Raises
        `UnknownFormat`."""
        keys: list[str] = []
        changes = self._changes
        for key in self.store:
            if key.endswith(_WHOLE):
                keys.append(key[:-_TAIL])
            elif key[-_TAIL:-_DIGITS] == "#":
                changes[key[:-_TAIL]] += 1
            else:
                raise UnknownFormat(self._unknown("an older one"))
        self._stray = set(changes) - set(keys)
        self.count = len(keys)
        yield from keys
        changes.clear()

    @property
    def decoded(self) -> int:
        """How many states are kept decoded."""
        return len(self._young) + len(self._old)

    def get(self, key: str) -> State | None:
        """The committed state of a key. Raises `UnknownFormat`, and what decoding raises."""
        entry = self._entry(key)
        return None if entry is None else entry.state

    def timers(self, key: str) -> State:
        """The state of a key that `states` has just given, decoded for this once as far as `due`
        and `watched` read it.

        Raises `Refused`, now and whenever the state is asked for, where some of its changes do not
        follow on the others; and what decoding raises.
        """
        records = self._records(key)
        if records is None or len(records.changes) != self._changes[key]:
            self._stray.add(key)
            raise misfit()
        return self._decode_timers(*records.encoded())

    def delete_misfits(self) -> None:
        """Delete the states whose records do not fit together; the changelog's with the next
        commit."""
        for record in list(self.store):
            if record[:-_TAIL] in self._stray:
                del self.store[record]
                self._deletes.append(record)
        self._stray.clear()

    def weight(self, key: str, state: State | None, size: int) -> int:
        """The bytes, about, that a commit writes of a state that was asked for just now, beside the
        input of `size` bytes."""
        entry = self._young.get(key)
        if entry is None:
            return FRAME
        if state is None:
            return (entry.changes + 1) * FRAME
        if self._encode_change is None:
            return entry.whole + FRAME
        if not entry.rewrites(2 * size + FRAME):
            return FRAME
        return entry.whole + entry.bytes + (entry.changes + 1) * FRAME

    # --- written ------------------------------------------------------------------------------

    def write(
        self, overlay: Mapping[str, State | None], now: int
    ) -> Iterator[tuple[str, bytes | None]]:
        """The records of changed states, to be written in one transaction: (key, value)."""
        self.drop()
        if overlay:
            for stray in self._deletes:
                self.written += 1
                yield stray, None
        encode_change = self._encode_change
        for key, state in overlay.items():
            before = self._entry(key)
            if state is None:
                self._writes[key] = None
                if before is not None:
                    self.written += 1
                    yield key + _WHOLE, None
                    yield from self._deleted(key, before)
                continue
            made = None
            if before is not None and encode_change is not None:
                made = encode_change(before.state, state)
            if before is not None and made is not None:
                change = self._format + made
                size = len(change)
                if not before.rewrites(size):
                    number = before.number + 1
                    self._writes[key] = _Entry(
                        state, number, before.whole, before.changes + 1, before.bytes + size
                    )
                    self.written += 1
                    yield _numbered(key, number), change
                    continue
            number = now if before is None else before.number
            whole = self._format + number.to_bytes(6, "big") + self._processor.encode(state)
            self._writes[key] = _Entry(state, number, len(whole))
            self.written += 1
            yield key + _WHOLE, whole
            if before is not None:
                yield from self._deleted(key, before)

    def _deleted(self, key: str, entry: _Entry[State]) -> Iterator[tuple[str, None]]:
        for number in range(entry.number - entry.changes + 1, entry.number + 1):
            self.written += 1
            yield _numbered(key, number), None

    def keep(self, key: str) -> State | None:
        """The state of a key was written, and is committed: what it was before."""
        before = self._young.pop(key, None)
        if before is not None:
            self._young_bytes -= before.whole + before.bytes
        entry = self._writes.get(key)
        if entry is not None:
            self._put(key, entry)
        self.count += (entry is not None) - (before is not None)
        return None if before is None else before.state

    def settle(self) -> None:
        """All that was written is committed. What was not used lately is not kept decoded."""
        if self.written:
            self._deletes.clear()
        self.drop()
        if len(self._young) > MAX_RECENT // 2 or self._young_bytes > MAX_RECENT_BYTES // 2:
            self._old, self._young = self._young, {}
            self._young_bytes = 0

    def drop(self) -> None:
        """What was to be written is not."""
        self._writes.clear()
        self.written = 0

    # --- read ---------------------------------------------------------------------------------

    def _entry(self, key: str) -> _Entry[State] | None:
        entry = self._young.get(key)
        if entry is None:
            if key in self._stray:
                raise misfit()
            entry = self._old.pop(key, None) or self._read(key)
            if entry is not None:
                self._put(key, entry)
        return entry

    def _put(self, key: str, entry: _Entry[State]) -> None:
        self._young[key] = entry
        self._young_bytes += entry.whole + entry.bytes

    def _read(self, key: str) -> _Entry[State] | None:
        records = self._records(key)
        return None if records is None else self._decoded(records)

    def _records(self, key: str) -> _Records | None:
        whole = self.store.get(key + _WHOLE)
        if whole is None:
            return None
        self._check(whole)
        number = int.from_bytes(whole[1:_HEADER], "big")
        changes: list[bytes] = []
        if self._encode_change is not None:
            while (change := self.store.get(_numbered(key, number + 1))) is not None:
                self._check(change)
                number += 1
                changes.append(change)
        return _Records(whole, changes, number)

    def _decoded(self, records: _Records) -> _Entry[State]:
        whole, changes, number = records
        state = self._processor.decode(*records.encoded())
        return _Entry(state, number, len(whole), len(changes), sum(map(len, changes)))

    def _check(self, value: bytes) -> None:
        wanted = self._processor.format
        if value[0] != wanted:
            raise UnknownFormat(self._unknown(str(value[0])))

    def _unknown(self, form: str) -> str:
        return (
            f"a state of {self._processor.name} is written in another form ({form}) than this "
            f"version reads ({self._processor.format}); to read the inputs anew, where they still "
            "are, start once with: handoff run --rebuild"
        )


def _numbered(key: str, number: int) -> str:
    return f"{key}#{number.to_bytes(_DIGITS // 2, 'big').hex()}"
