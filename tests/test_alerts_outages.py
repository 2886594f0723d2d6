"""Sinks that hang, ask for pauses and go away, with the whole process of alerts on a broker: the
others are told as soon as ever, and what could not be told is told when they are back."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Sequence

import pytest
from aiohttp import web
from pydantic import SecretStr

from alerts.delivery import Sink
from alerts.pacing import Limits
from alerts.sinks.webhook import Webhook, WebhookSettings
from console.kafka import connect, read_table
from schemas.alerts import ALERTS
from tests.lanes import wait_for
from tests.receiving import Receiving, Request
from tests.test_alerts_service import AlertBench
from tests.test_sinks_together import HOOK

NUMBER = 12
# Whoever waited for a sink that hangs would wait for so long.
PATIENT = Limits(first=0.02, longest=0.2, hang=20.0)
Stage = Callable[[], AlertBench]


def hook(name: str, url: str) -> Sink:
    return Webhook(WebhookSettings(name=name, url=SecretStr(url), secrets=(SecretStr(HOOK),)))


async def well(_: Request) -> web.Response:
    return web.Response(status=204)


async def never(_: Request) -> web.Response:
    await asyncio.sleep(3600)
    raise AssertionError


async def later(_: Request) -> web.Response:
    return web.Response(status=429, headers={"Retry-After": "60"})


@pytest.fixture
def stage(embedded: str, prefix: str) -> Iterator[Stage]:
    made: list[AlertBench] = []

    def begun() -> AlertBench:
        made.append(AlertBench(embedded, f"{len(made)}{prefix}"))
        return made[-1]

    yield begun
    for each in made:
        each.close()


def told(server: Receiving) -> dict[str, tuple[float, list[str]]]:
    """By contract: when its alert came, and the actions, a repeat once."""
    found: dict[str, tuple[float, list[str]]] = {}
    seen = set[str]()
    for request in server.requests:
        data = json.loads(request.body)["data"]
        _, actions = found.setdefault(data["labels"]["contract"], (request.at, []))
        if request.headers["webhook-id"] not in seen:
            seen.add(request.headers["webhook-id"])
            actions.append(data["action"])
    return found


def delays(bench: AlertBench, good: Receiving, sinks: Sequence[Sink]) -> list[float]:
    """The seconds from a pattern's record until the good sink has it, of some patterns."""
    service = bench.start(*sinks, pacing=PATIENT)
    wait_for(lambda: service.status.phase == "active", 30, "it is active")
    began: dict[str, float] = {}
    for number in range(NUMBER):
        wait_for(lambda: len(told(good)) >= len(began) - 3, 30, "not all at once: no storm")
        began[f"c{number}"] = time.monotonic()
        bench.told(f"contract/c{number}/rejected")
        bench.producer.flush(10)
    wait_for(lambda: told(good).keys() == began.keys(), 60, "the good one is told all")
    return [at - began[name] for name, (at, _) in told(good).items()]


def test_a_sink_that_hangs_and_one_that_asks_for_pauses_delay_no_other(stage: Stage) -> None:
    with Receiving(well) as good:
        alone = delays(stage(), good, [hook("good", good.url)])
    with Receiving(never) as dead, Receiving(later) as busy, Receiving(well) as good:
        sinks = [hook("dead", dead.url), hook("busy", busy.url), hook("good", good.url)]
        beside = delays(stage(), good, sinks)
        assert dead.requests
        assert busy.requests
    # Three quarters of them: what this machine does besides may delay one.
    assert sorted(beside)[NUMBER * 3 // 4] < sorted(alone)[NUMBER * 3 // 4] + 1
    assert max(beside) < PATIENT.hang


def test_a_sink_that_comes_back_after_long_is_told_all_of_it(stage: Stage) -> None:
    """Alerts begin and end while it is away, and the process is stopped and begun anew."""
    bench = stage()
    with Receiving(well) as gone:
        pass
    with Receiving(well) as good:
        sinks = [hook("back", gone.url), hook("good", good.url)]
        service = bench.start(*sinks)

        def is_open() -> bool:
            found = service.status.figures().get("back")
            return found is not None and found.open and found.outcomes["failed"] > 20

        for number in range(6):
            bench.told(f"contract/c{number}/rejected")
        bench.producer.flush(10)
        wait_for(lambda: len(told(good)) == 6, 30, "the good one is told")
        wait_for(is_open, 30, "its circuit is open")
        bench.put("patterns", "contract/c0/rejected", None)
        bench.producer.flush(10)
        wait_for(lambda: told(good)["c0"][1] == ["trigger", "resolve"], 30, "one is over")
        assert service.stop(30)
        sinks = [hook("back", gone.url), hook("good", good.url)]
        service = bench.start(*sinks)
        bench.put("patterns", "contract/c1/rejected", None)
        bench.told("contract/c6/rejected")
        bench.producer.flush(10)
        wait_for(lambda: "c6" in told(good), 30, "the good one is told by the next process")
        wait_for(is_open, 30, "its circuit is open again")
        with Receiving(well, gone.port) as back:
            firing = {f"c{number}" for number in range(2, 7)}
            wait_for(lambda: told(back).keys() >= firing, 30, "all that fires is told")
            for name in firing:
                bench.put("patterns", f"contract/{name}/rejected", None)
            bench.producer.flush(10)
            wait_for(lambda: not alerts(bench), 30, "all is over, at each sink")
            assert {name: actions for name, (_, actions) in told(good).items()} == {
                f"c{number}": ["trigger", "resolve"] for number in range(7)
            }
            # Of what was never tried and is over nobody is told; what was tried may have come.
            for name, (_, actions) in told(back).items():
                assert actions == ["trigger", "resolve"], name
        assert not read_table(connect(bench.settings), "handoff.dead-letters")


def alerts(bench: AlertBench) -> list[str]:
    found = read_table(connect(bench.settings), ALERTS)
    return [key for key in found if key.startswith("alert/")]
