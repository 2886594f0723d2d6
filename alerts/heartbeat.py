"""The dead man: says outside that all is well, so that silence is noticed there.

An address is called, and an alert that always fires is kept in Alertmanager (`HandoffAlive`), as
long as the processors do their work. Whoever watches them is outside of this system: nobody else
notices that it is gone.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import SecretStr

from alerts.notification import Delivered, Failed
from alerts.sinks.alertmanager import Alertmanager
from alerts.sinks.http import Http

log = logging.getLogger("handoff.alerts")

ALIVE = "HandoffAlive"
_LAPSES_AFTER = 4  # heartbeats that do not come, until the alert ends by itself


class Heartbeat:
    """`healthy` is called in a thread and says why all is not well, or None. `every` is in
    seconds. `withheld` is why the last heartbeat was not sent. `outcomes` counts those that were
    sent and withheld, and as failed each that did not arrive."""

    def __init__(
        self,
        healthy: Callable[[], str | None],
        url: SecretStr | None,
        alertmanagers: Sequence[Alertmanager],
        every: float,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._healthy = healthy
        self._url = url
        self._alertmanagers = alertmanagers
        self._every = every
        self._now = now
        self._began = now()
        self._http = Http()
        self.withheld: str | None = None
        self.outcomes: Counter[str] = Counter()

    async def run(self) -> None:
        """One heartbeat after another, for ever."""
        try:
            while True:
                await self.beat()
                await asyncio.sleep(self._every)
        finally:
            await self._http.close()

    async def beat(self) -> None:
        """Look, and say that all is well, where it is."""
        why = await asyncio.to_thread(self._healthy)
        if why != self.withheld:
            if why is None:
                log.info("the heartbeat is sent again")
            else:
                log.error("the heartbeat is withheld: %s", why)
        self.withheld = why
        self.outcomes["sent" if why is None else "withheld"] += 1
        if why is None:
            sent = [each.post(self._alive()) for each in self._alertmanagers]
            answers = list(await asyncio.gather(*sent))
            if self._url is not None:
                answers.append(await self._call(self._url))
            for answer in answers:
                if not isinstance(answer, Delivered):
                    self.outcomes["failed"] += 1
                    log.warning("a heartbeat did not arrive: %s", answer.why)

    async def _call(self, url: SecretStr) -> Delivered | Failed:
        answer = await self._http.get(url.get_secret_value())
        if isinstance(answer, Failed):
            return answer
        return Delivered() if answer.ok else answer.failed()

    def _alive(self) -> dict[str, Any]:
        return {
            "labels": {"alertname": ALIVE, "severity": "none"},
            "annotations": {
                "summary": "Handoffs are judged and counted, and alerts are told.",
                "description": "This alert always fires. Route it to what notices its absence.",
            },
            "startsAt": self._began,
            "endsAt": self._now() + timedelta(seconds=_LAPSES_AFTER * self._every),
        }
