"""Secrets of the routes are in no log, topic, page or error, even where each sink fails and answers
with all that it was sent."""

from __future__ import annotations

import logging
import threading
import urllib.error
import urllib.request
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from aiohttp import web

from alerts.active import AlertSetup
from alerts.pacing import Limits
from alerts.process import _Pages
from alerts.service import AlertService
from console.kafka import connect, read_all
from processors.runtime.settings import load_settings
from tests.commands import HandoffCommand
from tests.every_sink import NAMES, SECRETS, WATCHER, EverySink
from tests.lanes import wait_for
from tests.receiving import Handler, Request
from tests.test_alerts_service import AlertBench, hurried

LIMITS = Limits(first=0.02, longest=0.2, give_up=3.0)


def echo(seen: Counter[str]) -> Handler:
    """Refuses, and fails, each time with all that it was sent."""

    async def answer(request: Request) -> web.Response:
        seen[request.path] += 1
        said = f"{request.path} {dict(request.headers)} {request.body.decode()}"
        if seen[request.path] % 3 == 0:
            return web.Response(status=503, text=said)
        body = {"ok": False, "error": said, "errors": [said], "message": said}
        status = 200 if request.path.startswith("/api/chat") else 400
        return web.json_response(body, status=status)

    return answer


def test_no_secret_is_told_where_each_sink_fails(
    handoff: HandoffCommand,
    prefix: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    settings = load_settings()
    bench = AlertBench(settings.kafka_bootstrap_servers, prefix, topics=False)
    seen = Counter[str]()
    with EverySink(tmp_path, echo(seen)) as sinks:
        monkeypatch.setenv(WATCHER, sinks.watcher)
        sinks.mail.box.answers = ["451 later"] * 2 + ["550 5.1.1 no"] * 50
        service = AlertService(
            AlertSetup(
                settings=settings,
                routes=sinks.routes(),
                make_sinks=sinks.sinks,
                pacing=LIMITS,
                clock=hurried(),
            )
        )
        pages = _Pages(("127.0.0.1", 0), service.status)
        thread = threading.Thread(target=pages.serve_forever)
        thread.start()
        try:
            service.start()
            for number in range(4):
                bench.told(f"contract/c{number}/rejected")
            bench.producer.flush(10)

            def over(name: str) -> bool:
                figures = service.status.figures().get(name)
                found = figures.outcomes if figures is not None else {}
                return bool(found.get("refused") or found.get("given_up"))

            for name in NAMES:
                wait_for(partial(over, name), 60, f"{name} does not take one")
            wait_for(lambda: sinks.sent()["watcher"], 30, "the watcher is called")
            told = [str(service.status.figures()), str(service.status.problem)]
            for page in ("readyz", "metrics", "healthz"):
                told.append(_page(f"http://127.0.0.1:{pages.server_port}/{page}"))
        finally:
            assert service.stop(30)
            bench.close()
            pages.shutdown()
            pages.server_close()
            thread.join(10)
        sent = str(sinks.sent())
    for secret in SECRETS[:1] + SECRETS[1:2] + SECRETS[4:]:
        assert secret in sent, "what each sink was sent did hold them"
    told += [handoff("alerts", "list").output, handoff("dead-letters", "list").output]
    for topic in ("handoff.alerts", "handoff.dead-letters"):
        records = list(read_all(connect(settings), [topic]))
        assert records
        told += [f"{each.key!r} {each.value!r} {each.headers}" for each in records]
    for name in NAMES:
        assert any(name in text for text in told)
    for secret in SECRETS:
        assert secret not in caplog.text
        for text in told:
            assert secret not in text


def _page(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            return error.read().decode()
