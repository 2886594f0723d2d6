"""Which cause follows from another one, so that only the other one is told.

    receiver_missing, owner_missing   silence not_accepted and not_completed of the receiver
    source_silent                     silences those of the workflow
    a loss upstream                   silences the same loss downstream

A loss is downstream of another one when both are of the same field and workflow, the other one is
of a handoff into a stage from which this one leaves, it was seen first (in event time, at the same
moment the fingerprint decides, so that never two silence each other), and it is at least as severe.
What is lost on the way into a stage cannot leave it.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from processors.alerts.reasons import rank
from schemas.alerts import Cause

_RECEIVERS: Final = frozenset({"receiver_missing", "owner_missing"})
_SOURCE: Final = "source_silent"
_WAITED_FOR: Final = frozenset({"not_accepted", "not_completed"})
LOSSES: Final = frozenset(
    {
        "context_dropped",
        "context_empty",
        "context_unstructured",
        "context_shortened",
        "context_malformed",
        "context_retracted",
        "never_captured",
    }
)

Place = tuple[str, ...]


class Inhibitors:
    """The causes that may silence others, by what they are about."""

    def __init__(self) -> None:
        self._at: dict[Place, dict[str, Cause]] = defaultdict(dict)

    def put(self, cause: Cause) -> None:
        """Note a cause, as it is now."""
        place = _place(cause)
        if place is not None:
            self._at[place][cause.fingerprint] = cause

    def remove(self, cause: Cause) -> None:
        """Forget a cause."""
        place = _place(cause)
        if place is None:
            return
        self._at[place].pop(cause.fingerprint, None)
        if not self._at[place]:
            del self._at[place]

    def at(self, place: Place) -> Iterable[Cause]:
        """The causes that may silence those which look for a place."""
        return self._at.get(place, {}).values()


class Inhibition:
    """What silences what, at one moment. `counts` says whether a cause is told, so that it may
    silence others.

    Of a place only the oldest of each severity matters, which is looked for once: so 10,000 causes
    at one place are as many steps, and not as many squared.
    """

    def __init__(self, inhibitors: Inhibitors, counts: Callable[[Cause], bool]) -> None:
        self._inhibitors = inhibitors
        self._counts = counts
        self._oldest: dict[Place, dict[int, Cause]] = {}

    def of(self, cause: Cause) -> Cause | None:
        """The first seen of those from which a cause follows; None where it follows from none."""
        waited_for = cause.kind in _WAITED_FOR
        least = 0 if waited_for else rank(cause.severity)
        for place in _looked_for(cause):
            other = self._of_place(place).get(least)
            if other is not None and (waited_for or _age(other) < _age(cause)):
                return other
        return None

    def _of_place(self, place: Place) -> dict[int, Cause]:
        """The oldest cause that is at least so severe, by the number of that."""
        found = self._oldest.get(place)
        if found is None:
            found = self._oldest[place] = {}
            for cause in self._inhibitors.at(place):
                if not self._counts(cause):
                    continue
                for least in range(rank(cause.severity) + 1):
                    if least not in found or _age(cause) < _age(found[least]):
                        found[least] = cause
        return found


def _age(cause: Cause) -> tuple[object, str]:
    return cause.first_seen, cause.fingerprint


def _place(cause: Cause) -> Place | None:
    if cause.kind in _RECEIVERS and cause.receiver is not None:
        return "receiver", cause.receiver
    if cause.kind == _SOURCE:
        return "workflow", cause.workflow
    if cause.kind in LOSSES and cause.field is not None and cause.to is not None:
        return "loss", cause.workflow, cause.field, cause.to
    return None


def _looked_for(cause: Cause) -> Iterator[Place]:
    if cause.kind in _WAITED_FOR:
        if cause.receiver is not None:
            yield "receiver", cause.receiver
        yield "workflow", cause.workflow
    elif cause.kind in LOSSES and cause.field is not None:
        stages = cause.stages or ((cause.from_,) if cause.from_ is not None else ())
        for stage in stages:
            yield "loss", cause.workflow, cause.field, stage
