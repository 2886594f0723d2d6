"""What to do about a transaction that fails again and again because of a record in it.

After three aborts at one start the transactions shrink, tenfold each time, down to one record; a
record that fails three times alone is set aside as a dead letter. Once everything that was in the
failed transaction is behind, they grow again. Wakes (due deadlines, sweeps) shrink likewise, in
transactions of their own, down to one that is given up. Pure: nothing here knows Kafka.

It outlives the lane: a record that makes the lane itself fail is found in the same way.
"""

from processors.runtime.restoration import Place
from processors.runtime.transactions import Blocked, Cause

ABORTS_AT_ONE_START = 3
# What is not delivered in time was too much, if it was more than this. Else the cluster is the
# reason, and no record is set aside for it.
HEAVY_BYTES = 1 << 20


def may_be_a_record(cause: Cause, weight: int) -> bool:
    """Whether a transaction of `weight` bytes may have failed because of a record in it."""
    return cause is Cause.RECORD or (cause is Cause.TIME and weight >= HEAVY_BYTES)


class Caution:
    """How many records a transaction may have now (`limit`), and which are not to be judged;
    how many tasks may be woken at once (`wakes`)."""

    def __init__(self, usual: int, usual_wakes: int = 200) -> None:
        self._usual = usual
        self._usual_wakes = usual_wakes
        self.limit = usual
        self.wakes = usual_wakes
        self._wake_aborts = 0
        self._wakes_left = 0  # wakes of the failed transaction
        self._until: dict[Place, int] = {}  # small transactions up to here
        self._starts: dict[Place, tuple[int, int]] = {}  # offset, aborts that began there
        self._refused: dict[Place, tuple[int, str]] = {}  # offset, why

    @property
    def active(self) -> bool:
        """Whether each batch, of records or of wakes, is a transaction of its own."""
        return self.limit < self._usual or self.wakes < self._usual_wakes

    def aborted(self, first: dict[Place, int], reached: dict[Place, int], why: str) -> Place | None:
        """A transaction from `first` up to `reached` failed; a place whose record was given up.

        Raises `Blocked` when it was the dead letter of a record given up before that failed.
        """
        for place, offset in first.items():
            before, count = self._starts.get(place, (offset, 0))
            self._starts[place] = (offset, count + 1 if before == offset else 1)
        repeated = max((self._starts[place][1] for place in first), default=0)
        if self.limit == self._usual and repeated < ABORTS_AT_ONE_START:
            return None
        for place in first:
            self._until[place] = max(self._until.get(place, 0), reached[place])
        if self.limit > 1:
            self.limit = max(1, self.limit // 10)
            self._starts.clear()
        elif repeated >= ABORTS_AT_ONE_START:
            ((place, offset),) = first.items()
            if self.refusal(place, offset) is not None:
                raise Blocked(
                    f"the dead letter of {place[0]}-{place[1]} offset {offset} cannot be published "
                    f"({why}); look at the limits of the topic of dead letters"
                )
            self._refused[place] = (offset, why)
            del self._starts[place]
            return place
        return None

    def committed(self, following: dict[Place, int]) -> None:
        """A transaction was committed, and `following` comes next in each input."""
        for known in (self._starts, self._refused):
            for place in [p for p, (offset, _) in known.items() if following.get(p, 0) > offset]:
                del known[place]
        for place in [p for p, until in self._until.items() if following.get(p, until) >= until]:
            del self._until[place]
        if not self._until:
            self.limit = self._usual

    def wakes_aborted(self, tasks: int) -> bool:
        """A transaction of nothing but `tasks` wakes failed; whether its one is to be given up."""
        self._wake_aborts += 1
        if self.wakes == self._usual_wakes and self._wake_aborts < ABORTS_AT_ONE_START:
            return False
        self._wakes_left = max(self._wakes_left, tasks)
        if self.wakes > 1:
            self.wakes = max(1, self.wakes // 10)
            self._wake_aborts = 0
            return False
        if self._wake_aborts < ABORTS_AT_ONE_START:
            return False
        self.wakes_committed(1)
        return True

    def wakes_committed(self, tasks: int) -> None:
        """So many wakes are behind."""
        if tasks:
            self._wake_aborts = 0
            self._wakes_left = max(0, self._wakes_left - tasks)
            if not self._wakes_left:
                self.wakes = self._usual_wakes

    def no_wakes(self) -> None:
        """Nothing waits to be woken: what failed is behind, in whatever way."""
        self._wake_aborts = self._wakes_left = 0
        self.wakes = self._usual_wakes

    def refusal(self, place: Place, offset: int) -> str | None:
        """Why this record is not to be judged; None for all others."""
        refused, why = self._refused.get(place, (-1, ""))
        return why if refused == offset else None

    def revoked(self, place: Place) -> None:
        """The partition goes; whoever gets it finds out anew."""
        for known in (self._until, self._starts, self._refused):
            known.pop(place, None)
        if not self._until:
            self.limit = self._usual
