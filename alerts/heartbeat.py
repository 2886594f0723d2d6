"""The dead man: says outside that all is well, so that silence is noticed there.

An address is called, and an alert that always fires is kept in Alertmanager (`HandoffAlive`), as
long as the processors do their work and people are told. Whoever watches them is outside of this
system: nobody else notices that it is gone.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import SecretStr

from alerts.notification import Answer, Delivered, Failed
from alerts.progress import LIMIT_SECONDS, minutes
from alerts.sinks.alertmanager import Alertmanager
from alerts.sinks.http import Http

log = logging.getLogger("handoff.alerts")

ALIVE = "HandoffAlive"
_LAPSES_AFTER = 4  # heartbeats that do not come, until the alert ends by itself
_FIRST = 10.0  # seconds: an instance that ends before that, again and again, is not well


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
        self._missed: dict[str, datetime] = {}  # the Alertmanagers that are away, since when
        self._http = Http()
        self.withheld: str | None = None
        self.outcomes: Counter[str] = Counter()

    async def run(self) -> None:
        """One heartbeat after another, for ever."""
        try:
            await asyncio.sleep(min(_FIRST, self._every))
            while True:
                await self.beat()
                await asyncio.sleep(self._every)
        finally:
            await self._http.close()

    async def beat(self) -> None:
        """Look, and say that all is well, where it is."""
        why = await asyncio.to_thread(self._healthy)
        if why is None:
            why = await self._keep_alive()
        if why != self.withheld:
            if why is None:
                log.info("the heartbeat is sent again")
            else:
                log.error("the heartbeat is withheld: %s", why)
        self.withheld = why
        self.outcomes["sent" if why is None else "withheld"] += 1
        if why is None and self._url is not None:
            self._note(await self._call(self._url))

    async def _keep_alive(self) -> str | None:
        """Keep the alert firing in each Alertmanager. Why the address is not called: one of them
        has been away for five minutes, and no alert that fires is seen there."""
        answers = await asyncio.gather(*(each.post(self._alive()) for each in self._alertmanagers))
        away = None
        for each, answer in zip(self._alertmanagers, answers, strict=True):
            self._note(answer)
            if isinstance(answer, Delivered):
                self._missed.pop(each.name, None)
                continue
            gone = (self._now() - self._missed.setdefault(each.name, self._now())).total_seconds()
            if gone >= LIMIT_SECONDS:
                away = f"the sink {each.name} has not been reached for {minutes(gone)}"
        return away

    def _note(self, answer: Answer) -> None:
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
