"""Which tasks of one partition want to be woken: those with a deadline, those that wait.

Pure, and a consequence of the committed state: `changed` and `forgotten` are called for what a
commit changed, never for what an open transaction would change. What an open transaction takes from
here comes back with `drop`, and is settled with `settle`.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterable
from heapq import heapify, heappop, heappush
from typing import Literal

Kind = Literal["due", "sweep"]
_SPARE = 1_000  # stale entries that the heap may have anyway


class Wakes:
    """The deadlines and the sweeps of one partition, by state key.

    A key has at most one live entry in the heap, at its deadline or earlier: a deadline that moves
    on is only found when its entry comes up (`put_off`), as most of them are met long before.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[int, str]] = []
        self._scheduled: dict[str, int] = {}  # the live entry of each key
        self._watching: dict[str, frozenset[str]] = {}
        self._same: dict[frozenset[str], frozenset[str]] = {}  # many keys watch the same subjects
        self._watchers: dict[str, set[str]] = {}  # subject -> keys
        # Keys to be swept, in order: a plain dict is slow to take the first from, again and again.
        self._waiting: OrderedDict[str, None] = OrderedDict()
        self._failed: set[tuple[Kind, str]] = set()
        # What the open transaction took.
        self._fired: dict[str, int] = {}
        self._swept: dict[str, None] = {}
        self._failing: list[tuple[Kind, str]] = []
        self._postponed: dict[str, int] = {}

    @property
    def deadlines(self) -> int:
        """How many keys have a deadline."""
        return len(self._scheduled)

    @property
    def waiting(self) -> int:
        """How many keys are to be swept."""
        return len(self._waiting)

    # --- what a commit changed --------------------------------------------------------------

    def changed(self, key: str, due: int | None, watched: Collection[str]) -> None:
        """A state was written: when it wants to be woken, and which subjects it watches."""
        if self._failed:
            self._failed -= {("due", key), ("sweep", key)}
        held = self._scheduled.get(key)
        if due is None:
            self._scheduled.pop(key, None)
        elif held is None or due < held:
            self._push(key, due)
        if watched or key in self._watching:
            self._watch(key, frozenset(watched))

    def awaits(self, key: str) -> bool:
        """Whether a key has an entry that the open transaction has not touched, and no wake has
        failed: then a later deadline, and the same subjects, need not be told."""
        return key in self._scheduled and key not in self._fired and not self._failed

    def forgotten(self, key: str) -> None:
        """A state was deleted."""
        self.changed(key, None, ())
        self._waiting.pop(key, None)

    def settle(self) -> None:
        """The transaction was committed: what it took stays taken."""
        self._fired.clear()
        self._swept.clear()
        self._failed.update(self._failing)
        self._failing.clear()
        for key, at in self._postponed.items():
            if at < self._scheduled.get(key, at + 1):
                self._push(key, at)
        self._postponed.clear()

    def drop(self) -> None:
        """The transaction was aborted: all that it took comes back."""
        for key, at in self._fired.items():
            if at < self._scheduled.get(key, at + 1):
                self._push(key, at)
        for key in reversed(self._swept):
            self._waiting[key] = None
            self._waiting.move_to_end(key, last=False)
        self._fired.clear()
        self._swept.clear()
        self._failing.clear()
        self._postponed.clear()

    # --- deadlines --------------------------------------------------------------------------

    def first(self) -> tuple[int, str] | None:
        """The earliest entry, (epoch ms, key); it may be earlier than the deadline itself."""
        while self._heap:
            at, key = self._heap[0]
            if self._scheduled.get(key) == at:
                return at, key
            heappop(self._heap)
        return None

    def take_first(self) -> None:
        """Take the entry that `first` gave."""
        at, key = heappop(self._heap)
        del self._scheduled[key]
        self._fired.setdefault(key, at)

    def put_off(self, key: str, due: int | None) -> None:
        """The entry of a key came up, and its deadline is later, or there is none any more."""
        if due is None:
            self._scheduled.pop(key, None)
        else:
            self._push(key, due)

    def postpone(self, key: str, at: int) -> None:
        """The deadline of a key that was taken is held back: it comes up again at `at`, once the
        open transaction is committed."""
        self._postponed[key] = at

    def _push(self, key: str, at: int) -> None:
        self._scheduled[key] = at
        if len(self._heap) > 2 * len(self._scheduled) + _SPARE:
            self._heap = [(time, name) for name, time in self._scheduled.items()]
            heapify(self._heap)
        else:
            heappush(self._heap, (at, key))

    # --- sweeps -----------------------------------------------------------------------------

    def sweep(self, subjects: Iterable[str]) -> None:
        """These subjects changed: whoever watches one of them is to be swept."""
        keys = set[str]().union(*(self._watchers.get(subject, ()) for subject in subjects))
        self.wait(sorted(keys))

    def sweep_all(self) -> None:
        """Everyone that watches anything is to be swept."""
        self.wait(sorted(self._watching))

    def wait(self, keys: Iterable[str]) -> None:
        """These keys are to be swept, but for those that failed and have not changed since."""
        for key in keys:
            if ("sweep", key) not in self._failed:
                self._waiting[key] = None

    def take_sweep(self) -> str | None:
        """Take the next key that is to be swept."""
        if not self._waiting:
            return None
        key, _ = self._waiting.popitem(last=False)
        self._swept[key] = None
        return key

    def _watch(self, key: str, watched: frozenset[str]) -> None:
        before = self._watching.get(key, frozenset())
        if watched == before:
            return
        for subject in before - watched:
            watchers = self._watchers[subject]
            watchers.discard(key)
            if not watchers:
                del self._watchers[subject]
        for subject in watched - before:
            self._watchers.setdefault(subject, set()).add(key)
        if watched:
            self._watching[key] = self._same.setdefault(watched, watched)
        else:
            self._watching.pop(key, None)

    # --- what fails -------------------------------------------------------------------------

    def fail(self, kind: Kind, key: str) -> None:
        """A wake that was taken failed: the key is not woken so again before it changes."""
        self._failing.append((kind, key))

    def give_up(self, kind: Kind, key: str) -> None:
        """No transaction is open, and this wake is not to be tried again before the key changes."""
        self._failed.add((kind, key))
        if kind == "due":
            self._scheduled.pop(key, None)
        else:
            self._waiting.pop(key, None)
