"""The dead man with whole processes: somebody outside notices within the time that docs/alerts.md
says that integrity has stopped, that a sink takes nothing, that alerts have stopped.

The limit of five minutes is no setting. The processes of the test have one of a minute instead, and
wait for it once.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from confluent_kafka import Producer

from alerts import progress
from alerts.heartbeat import ALIVE
from console.brokers import dying_with_us
from tests.alertmanager import RunningAlertmanager
from tests.alerts_core import pattern
from tests.commands import HandoffCommand
from tests.lanes import ROOT, wait_for
from tests.receiving import Receiving, Request

LIMIT = 60
# Set before the modules that read it are imported.
_ALERTS = f"""
import alerts.progress
alerts.progress.LIMIT_SECONDS = {LIMIT}.0
from console.main import main
main()
"""
EVERY = 2  # seconds between heartbeats
PATIENCE = 15  # seconds without one, after which the watcher calls people
LAPSE = 4 * EVERY
# A look asks Kafka some questions, and the machine may be busy.
LATE = 20
_SERVERS = "HANDOFF_KAFKA_BOOTSTRAP_SERVERS"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


async def well(_: Request) -> web.Response:
    return web.Response(status=204)


async def never(_: Request) -> web.Response:
    await asyncio.sleep(3600)
    raise AssertionError


class WatchedWorld:
    """Processors and alerts of one topic prefix, each a process, and who watches from outside."""

    def __init__(self, servers: str, prefix: str, folder: Path, sink: dict[str, Any]) -> None:
        self.command = HandoffCommand(servers, prefix)
        assert self.command("topics", "apply").exit_code == 0
        self.prefix = prefix
        self.folder = folder
        self.outside = Receiving(well)
        self.outside.__enter__()
        routes = {
            "kind": "AlertRoutes",
            "sinks": {"sink": sink},
            "routes": [{"name": "all", "sink": "sink"}],
            "heartbeat": {"url": self.outside.url, "every": f"PT{EVERY}S"},
        }
        self._routes = folder / f"{prefix}yaml"
        self._routes.write_text(json.dumps(routes))
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *command: str) -> None:
        python = ["-c", _ALERTS] if name == "alerts" else ["-m", "console"]
        clean = {k: v for k, v in os.environ.items() if not k.startswith("HANDOFF_")}
        own = {
            "HANDOFF_WEB_PORT": "0",
            "HANDOFF_ALERT_ROUTES": str(self._routes),
            "PYTHONPATH": str(ROOT),
            "HOOK_SECRET": SECRET,
        }
        with self.log(name).open("ab") as log:
            self._running[name] = subprocess.Popen(
                dying_with_us([sys.executable, *python, *command]),
                cwd=self.folder,
                env=clean | self.command.environment | own,
                stdout=log,
                stderr=log,
            )

    def log(self, name: str) -> Path:
        return self.folder / f"{self.prefix}{name}.log"

    def stop(self, name: str, *, kill: bool = False) -> float:
        """End a process; the moment after that."""
        process = self._running.pop(name)
        process.kill() if kill else process.terminate()
        process.wait(30)
        return time.monotonic()

    def close(self) -> None:
        for name in list(self._running):
            self.stop(name, kill=True)
        self.outside.close()

    def last_beat(self) -> float:
        """When the watcher was called last."""
        return self.outside.requests[-1].at

    def silent(self) -> bool:
        """Whether the watcher was not called for so long that it calls people."""
        return time.monotonic() - self.last_beat() > PATIENCE

    def beats(self, since: float) -> bool:
        return bool(self.outside.requests) and self.last_beat() > since


@pytest.fixture
def worlds(
    embedded: str, prefix: str, tmp_path: Path, alertmanager: RunningAlertmanager
) -> Iterator[tuple[WatchedWorld, WatchedWorld, Receiving]]:
    """One whose sink is a real Alertmanager, one whose sink takes nothing."""
    with Receiving(never) as hanging:
        hook = {"webhook": {"url": hanging.url, "secret": {"env": "HOOK_SECRET"}}}
        watched = WatchedWorld(
            embedded, prefix, tmp_path, {"alertmanager": {"url": alertmanager.url}}
        )
        mute = WatchedWorld(embedded, f"m{prefix}", tmp_path, hook)
        try:
            for world in (watched, mute):
                for name in ("integrity", "insights"):
                    world.start(name, "run", "--processor", name)
                world.start("alerts", "alerts", "run")
            yield watched, mute, hanging
        finally:
            watched.close()
            mute.close()


@pytest.mark.slow
def test_somebody_outside_notices_what_stops(
    worlds: tuple[WatchedWorld, WatchedWorld, Receiving], alertmanager: RunningAlertmanager
) -> None:
    assert progress.LIMIT_SECONDS == 300
    watched, mute, hanging = worlds

    def alive() -> bool:
        return [each["labels"]["alertname"] for each in alertmanager.firing()] == [ALIVE]

    wait_for(lambda: watched.beats(0.0) and mute.beats(0.0), 60, "all is well")
    wait_for(alive, 10, "the alert that always fires does")

    at = {"integrity": watched.stop("integrity")}
    now = datetime.now(UTC)
    broken = msgspec.json.encode(pattern("contract/a/rejected", now))
    producer = Producer({"bootstrap.servers": mute.command.environment[_SERVERS]})
    producer.produce(f"{mute.prefix}patterns", broken, b"contract/a/rejected")
    assert producer.flush(10) == 0
    wait_for(lambda: hanging.requests, 60, "the sink is asked, and does not answer")
    at["sink"] = hanging.requests[0].at

    limit = LIMIT + LATE + PATIENCE
    wait_for(watched.silent, limit, "integrity is away, and the watcher is not called")
    assert abs(watched.last_beat() - at["integrity"] - LIMIT) < LATE
    wait_for(lambda: not alive(), LAPSE + LATE, "the alert that always fires ends")
    assert "integrity has had no member for 1 minutes" in watched.log("alerts").read_text()
    wait_for(mute.silent, LATE + 60, "the sink takes nothing, and the watcher is not called")
    assert abs(mute.last_beat() - at["sink"] - LIMIT) < LATE
    assert "an alert has waited for 1 minutes for the sink sink" in mute.log("alerts").read_text()

    back = time.monotonic()
    watched.start("integrity", "run", "--processor", "integrity")
    wait_for(lambda: watched.beats(back), 60, "integrity is back, and the watcher is called")
    wait_for(alive, 10, "the alert that always fires does again")
    ended = watched.stop("alerts", kill=True)
    wait_for(watched.silent, PATIENCE + LATE, "alerts are away, and the watcher is not called")
    assert watched.last_beat() < ended + 1  # one may have been on its way
    wait_for(lambda: not alive(), LAPSE + LATE, "the alert that always fires ends")
