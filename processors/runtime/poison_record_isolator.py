"""Isolates a poison record: one that makes every transaction with it fail.

When a transaction has aborted three times at the same first offsets, the next ones have a tenth of
the records, and so on down to one record. When one record alone has aborted three times, it becomes
a dead letter. When everything that was in the failed transaction is committed, transactions get
their usual size again. Wakes (timers that fired, sweeps) are isolated in the same way, in
transactions of their own; the wake that fails alone is given up until its task changes. Pure:
nothing here knows Kafka.

It outlives the lane, so a record that makes the lane itself fail is isolated in the same way.
"""

from processors.driver import Woken
from processors.runtime.restoration import Place
from processors.runtime.transactions import AbortCause, Blocked

ABORTS_AT_ONE_START = 3
# When a transaction was not delivered in time: if it had more bytes than this, a record in it may
# be the reason. If not, the cluster is the reason, and no record becomes a dead letter for it.
HEAVY_BYTES = 1 << 20


def may_be_a_record(cause: AbortCause, size: int) -> bool:
    """Whether a transaction of `size` bytes may have failed because of a record in it."""
    return cause is AbortCause.RECORD or (cause is AbortCause.TIME and size >= HEAVY_BYTES)


class PoisonRecordIsolator:
    """Tells how many records a transaction may have now (`max_records`), how many tasks may be
    woken in one (`max_wakes`), and which records are not to be judged (`why_refused`)."""

    def __init__(self, usual: int, usual_wakes: int = 200) -> None:
        self._usual = usual
        self._usual_wakes = usual_wakes
        self.max_records = usual
        self.max_wakes = usual_wakes
        self._wake_aborts = 0
        self._wakes_left = 0  # wakes of the failed transaction
        self._until: dict[Place, int] = {}  # transactions are small up to this offset
        self._starts: dict[Place, tuple[int, int]] = {}  # first offset, aborts from there
        self._refused: dict[Place, tuple[int, str]] = {}  # offset, why
        self.given_up: set[Woken] = set()  # wakes that no later lane is to try

    @property
    def isolating(self) -> bool:
        """Whether each batch, of records or of wakes, is a transaction of its own."""
        return self.max_records < self._usual or self.max_wakes < self._usual_wakes

    def aborted(self, first: dict[Place, int], reached: dict[Place, int], why: str) -> Place | None:
        """A transaction of the records from `first` up to `reached` has aborted.

        Returns the partition whose record at `first` becomes a dead letter now, or None. Raises
        `Blocked` when the record was a dead letter already, and that cannot be published either.
        """
        for place, offset in first.items():
            before, count = self._starts.get(place, (offset, 0))
            self._starts[place] = (offset, count + 1 if before == offset else 1)
        repeated = max((self._starts[place][1] for place in first), default=0)
        if self.max_records == self._usual and repeated < ABORTS_AT_ONE_START:
            return None
        for place in first:
            self._until[place] = max(self._until.get(place, 0), reached[place])
        if self.max_records > 1:
            self.max_records = max(1, self.max_records // 10)
            self._starts.clear()
        elif repeated >= ABORTS_AT_ONE_START:
            ((place, offset),) = first.items()
            if self.why_refused(place, offset) is not None:
                raise Blocked(
                    f"the dead letter of {place[0]}-{place[1]} offset {offset} cannot be published "
                    f"({why}); look at the limits of the topic of dead letters"
                )
            self._refused[place] = (offset, why)
            del self._starts[place]
            return place
        return None

    def committed(self, positions: dict[Place, int]) -> None:
        """A transaction was committed; `positions` is the next offset of each input partition."""
        for known in (self._starts, self._refused):
            for place in [p for p, (offset, _) in known.items() if positions.get(p, 0) > offset]:
                del known[place]
        for place in [p for p, until in self._until.items() if positions.get(p, until) >= until]:
            del self._until[place]
        if not self._until:
            self.max_records = self._usual

    def wakes_aborted(self, tasks: int) -> bool:
        """A transaction of `tasks` wakes and no record has aborted. Returns whether its only wake
        is to be given up."""
        self._wake_aborts += 1
        if self.max_wakes == self._usual_wakes and self._wake_aborts < ABORTS_AT_ONE_START:
            return False
        self._wakes_left = max(self._wakes_left, tasks)
        if self.max_wakes > 1:
            self.max_wakes = max(1, self.max_wakes // 10)
            self._wake_aborts = 0
            return False
        if self._wake_aborts < ABORTS_AT_ONE_START:
            return False
        self.wakes_committed(1)
        return True

    def wakes_committed(self, tasks: int) -> None:
        """Wakes of so many tasks were committed."""
        if tasks:
            self._wake_aborts = 0
            self._wakes_left = max(0, self._wakes_left - tasks)
            if not self._wakes_left:
                self.max_wakes = self._usual_wakes

    def no_wakes_left(self) -> None:
        """No task waits to be woken, so none of the wakes that failed is left."""
        self._wake_aborts = self._wakes_left = 0
        self.max_wakes = self._usual_wakes

    def changed(self, partition: int, key: str) -> None:
        """A task has changed: what was given up of it may be tried again."""
        self.given_up -= {Woken(partition, "due", key), Woken(partition, "sweep", key)}

    def why_refused(self, place: Place, offset: int) -> str | None:
        """Why this record becomes a dead letter without being judged; None for all others."""
        refused, why = self._refused.get(place, (-1, ""))
        return why if refused == offset else None

    def partition_revoked(self, place: Place) -> None:
        """The partition was revoked: forget it. The instance that gets it begins to isolate
        again."""
        for known in (self._until, self._starts, self._refused):
            known.pop(place, None)
        self.given_up = {wake for wake in self.given_up if wake.partition != place[1]}
        if not self._until:
            self.max_records = self._usual
