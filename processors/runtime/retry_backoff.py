"""The pause before the next attempt, and the one sentence that says why the last ones failed.

Attempts fail although the records are good: a right is missing, a disk is full, a broker restarts.
A `RetryBackoff` outlives the lane, so that a new lane does not repeat a sentence of the one before.
"""

import logging

from processors.runtime.status import LaneStatus

log = logging.getLogger("handoff.lane")

# A transient error (a rebalance, a broker that restarts) is usually gone after one or two attempts.
TRANSIENT_TIMES = 3
_PAUSE_SECONDS, _LONGEST_SECONDS = 0.1, 10.0


class RetryBackoff:
    """Counts failed attempts in a row, and doubles the pause after each. Sets `status.blocked` to
    the reason: while it is set, the lane is not ready."""

    def __init__(self, status: LaneStatus) -> None:
        self._status = status
        self._times = 0
        self._kept_from_running = False

    @property
    def failing(self) -> bool:
        """Whether the last attempt failed."""
        return self._times > 0

    def failed(
        self, why: str, *, transient: bool = False, keeps_from_running: bool = False
    ) -> float:
        """One more attempt failed. Returns the seconds to wait before the next one. When the error
        is `transient`, `why` is reported only after `TRANSIENT_TIMES` failures in a row. When it
        `keeps_from_running` a lane, it is over as soon as a lane runs."""
        self._kept_from_running = keeps_from_running
        self._times += 1
        if not transient or self._times >= TRANSIENT_TIMES:
            if why != self._status.blocked:
                log.error("%s is blocked: %s", self._status.processor, why)
            self._status.blocked = why
        return min(_LONGEST_SECONDS, _PAUSE_SECONDS * 2.0 ** min(self._times - 1, 10))

    def runs(self) -> None:
        """A lane runs: it can keep its state. Nothing is committed yet."""
        if self._kept_from_running:
            self.succeeded()

    def succeeded(self) -> None:
        """An attempt succeeded: begin to count anew."""
        self._times = 0
        if self._status.blocked:
            # What was to be done about it, after the last semicolon, is done.
            was = self._status.blocked.rpartition("; ")[0] or self._status.blocked
            log.info("%s goes on; it was blocked: %s", self._status.processor, was)
            self._status.blocked = ""
