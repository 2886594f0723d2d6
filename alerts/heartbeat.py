"""The dead man: a sign of life that somebody outside misses when it stays away.

Every `every` seconds a URL is called, and an alert that always fires is sent to Alertmanager, which
routes it to something that alerts when it ends. Neither is sent while the processors do not keep
up: then nobody can rely on the alerts, and silence is noticed elsewhere.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol

from msgspec import Struct
from pydantic import SecretStr

from alerts.notification import Answer, Delivered
from alerts.sinks.alertmanager import ends_at
from alerts.sinks.http import Http, Response
from alerts.sinks.words import PRODUCT

log = logging.getLogger("handoff.alerts")

WATCHDOG = "HandoffAlive"


class HeartbeatSettings(Struct, frozen=True, kw_only=True):
    """`url` is called by GET, as healthchecks.io and the like want it; None: none is. `instance`
    tells several installations apart in Alertmanager."""

    url: SecretStr | None = None
    every: float = 60.0
    instance: str = "handoff"


class TakesAlerts(Protocol):
    """What `Alertmanager` is to the heartbeat."""

    async def post(self, alert: dict[str, Any]) -> Answer: ...


class Heartbeat:
    """Sends signs of life while `healthy` returns None; else its reason is logged once.

    `beats` and `withheld` count, `failures` counts what did not arrive.
    """

    def __init__(
        self,
        settings: HeartbeatSettings,
        healthy: Callable[[], str | None],
        alertmanagers: tuple[TakesAlerts, ...] = (),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._settings = settings
        self._healthy = healthy
        self._alertmanagers = alertmanagers
        self._now = now
        self._began = now()
        self._http = Http()
        self._said = ""
        self.beats = self.withheld = self.failures = 0

    async def run(self) -> None:
        """Beat for ever. A beat that takes long does not delay the next one."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                began = loop.time()
                await self.beat()
                await asyncio.sleep(max(0.0, self._settings.every - (loop.time() - began)))
        finally:
            await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    async def beat(self) -> None:
        """Beat once, or withhold it."""
        why = self._healthy()
        if why is not None:
            self.withheld += 1
            self._say(f"the sign of life is withheld: {why}")
            return
        self.beats += 1
        answers = await asyncio.gather(
            self._ping(), *(each.post(self._alert()) for each in self._alertmanagers)
        )
        bad = [answer.why for answer in answers if not isinstance(answer, Delivered)]
        self.failures += len(bad)
        self._say("; ".join(f"the sign of life does not arrive: {each}" for each in bad))

    async def _ping(self) -> Answer:
        if self._settings.url is None:
            return Delivered()
        answer = await self._http.get(self._settings.url.get_secret_value())
        if isinstance(answer, Response):
            return Delivered() if answer.ok else answer.failed()
        return answer

    def _alert(self) -> dict[str, Any]:
        labels = {"alertname": WATCHDOG, "severity": "none", "instance": self._settings.instance}
        summary = f"{PRODUCT} is alive; when this alert ends, nobody is alerted of handoffs"
        return {
            "labels": labels,
            "annotations": {"summary": summary},
            "startsAt": self._began,
            "endsAt": ends_at(self._now(), self._settings.every),
        }

    def _say(self, what: str) -> None:
        if what != self._said:
            if what:
                log.error("%s", what)
            else:
                log.info("no longer: %s", self._said)
            self._said = what
