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
from collections.abc import Iterator
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

    def of(self, cause: Cause) -> Iterator[Cause]:
        """Those from which a cause follows, the first one seen first."""
        for place in _looked_for(cause):
            for other in sorted(self._at.get(place, {}).values(), key=_age):
                if other.fingerprint != cause.fingerprint and _silences(other, cause):
                    yield other


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


def _silences(other: Cause, cause: Cause) -> bool:
    if cause.kind in _WAITED_FOR:
        return True
    older = (other.first_seen, other.fingerprint) < (cause.first_seen, cause.fingerprint)
    return older and rank(other.severity) >= rank(cause.severity)
