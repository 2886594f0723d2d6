"""What keeps a lane from going on although its records are good: a missing right, a full disk.

It outlives the lane, so that one sentence is said once, however often the lane is started anew.
"""

import logging

from processors.runtime.status import LaneStatus

log = logging.getLogger("handoff.lane")

# What passes by itself (a rebalance, a broker that restarts) is gone after one or two attempts.
PASSING_TIMES = 3
_PAUSE_SECONDS, _LONGEST_SECONDS = 0.1, 10.0


class Blockage:
    """Counts failed attempts in a row. While `status.blocked` says why, the lane is not ready."""

    def __init__(self, status: LaneStatus) -> None:
        self._status = status
        self._times = 0

    @property
    def met_any(self) -> bool:
        """Whether the last attempt failed."""
        return self._times > 0

    def met(self, why: str, *, passing: bool = False) -> float:
        """One more attempt failed; the seconds to wait before the next one. `passing`: it usually
        passes by itself, and is said only when it does not."""
        self._times += 1
        if not passing or self._times >= PASSING_TIMES:
            if why != self._status.blocked:
                log.error("%s is blocked: %s", self._status.processor, why)
            self._status.blocked = why
        return min(_LONGEST_SECONDS, _PAUSE_SECONDS * 2.0 ** min(self._times - 1, 10))

    def over(self) -> None:
        """An attempt succeeded."""
        self._times = 0
        if self._status.blocked:
            log.info("%s goes on; it was blocked: %s", self._status.processor, self._status.blocked)
            self._status.blocked = ""
