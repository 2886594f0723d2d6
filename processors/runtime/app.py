"""The process: a Faust app with one agent for each processor, the lanes, and the web pages.

Faust gives app, agents and web server; its own Kafka transport is off. A lane's thread puts a batch
into the in-memory channel of its agent and waits for it; the agent gives the batch to a thread. So
the event loop stays free for signals and web pages while records are judged.
"""

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import Sequence
from typing import Any

from prometheus_client.registry import Collector

from processors.processor import AnyProcessor, Relay
from processors.runtime import clients, metrics
from processors.runtime.batch import Batch, Worker
from processors.runtime.cluster import check_relay_topics, check_topics
from processors.runtime.connection import Unreachable, reach
from processors.runtime.ending import Ending
from processors.runtime.lane_supervisor import LaneSupervisor
from processors.runtime.logs import complain, log_lines
from processors.runtime.settings import Settings, SettingsError
from processors.runtime.status import LaneStatus
from processors.runtime.transactions import LaneError, Misconfigured

log = logging.getLogger("handoff.app")

EXIT_OK, EXIT_FAILED, EXIT_SETTINGS, EXIT_UNREACHABLE = 0, 1, 2, 3
# Long enough for a commit that is under way, and shorter than an orchestrator waits before it
# kills.
STOP_SECONDS = 12.0


def run(
    settings: Settings,
    processors: Sequence[AnyProcessor],
    ending: Ending,
    collectors: Sequence[Collector] = (),
) -> int:
    """Run the processors until `ending` is asked; the exit status. `collectors` are of what else
    runs in this process, for its page of metrics.

    0 once that is asked, 2 for settings that Kafka clients refuse, 3 when at the start no broker
    answers or accepts the sign-in within ten seconds, 1 for anything else that only a person can
    put right. One sentence on standard error says why.
    """
    _log_lines()
    try:
        _check(settings, processors)
        if ending.asked:
            return EXIT_OK
        return asyncio.run(_App(settings, processors, ending, collectors).run())
    except Unreachable as error:
        status, sentence = EXIT_UNREACHABLE, str(error)
    except SettingsError as error:
        status, sentence = EXIT_SETTINGS, str(error)
    except (Misconfigured, LaneError) as error:
        status, sentence = EXIT_FAILED, str(error)
    complain(sentence)
    return status


def _check(settings: Settings, processors: Sequence[AnyProcessor]) -> None:
    admin, _ = reach(settings)
    for processor in processors:
        if isinstance(processor, Relay):
            check_relay_topics(admin, settings, processor)
        else:
            check_topics(admin, settings, processor)
    clients.close_admin(admin)


class _App:
    """The Faust app of one process."""

    def __init__(
        self,
        settings: Settings,
        processors: Sequence[AnyProcessor],
        ending: Ending,
        collectors: Sequence[Collector],
    ) -> None:
        self._settings = settings
        self._processors = processors
        self._ending = ending
        self._collectors = collectors
        self._sentence: str | None = None

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        stopping = asyncio.Event()

        def asked() -> None:
            loop.remove_reader(self._ending)
            stopping.set()

        loop.add_reader(self._ending, asked)

        def give_up(sentence: str) -> None:
            self._sentence = sentence
            loop.call_soon_threadsafe(stopping.set)

        port = self._settings.web_port or _free_port(self._settings.web_host)
        app = _faust_app(self._settings, port)
        supervisors = [
            LaneSupervisor(self._settings, processor, _agent(app, processor.name, loop), give_up)
            for processor in self._processors
        ]
        _pages(app, [supervisor.status for supervisor in supervisors], self._collectors)
        # A Faust channel blocks each `put` until this has been called once.
        app.flow_control.resume()
        try:
            await app.start()
        except OSError as error:
            raise _cannot_listen(self._settings, port, error) from None
        log.info(
            "web pages on http://%s:%d/healthz /readyz /metrics", self._settings.web_host, port
        )
        for supervisor in supervisors:
            supervisor.start()
        await stopping.wait()
        log.info("stopping")
        # The lanes stop before the agents: a batch under way still needs its agent.
        for supervisor in supervisors:
            supervisor.stop()
        limit = time.monotonic() + STOP_SECONDS
        ended = [
            await asyncio.to_thread(supervisor.join, max(0.0, limit - time.monotonic()))
            for supervisor in supervisors
        ]
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(app.stop(), 3)
        if self._sentence is not None:
            raise Misconfigured(self._sentence)
        if not all(ended):
            raise Misconfigured("a lane did not settle in time; its open transaction is aborted")
        log.info("stopped")
        return EXIT_OK


def _faust_app(settings: Settings, port: int) -> Any:
    import faust  # noqa: PLC0415 - half a second that only a running processor should pay
    from faust.app.base import BootStrategy  # noqa: PLC0415

    class WithoutKafka(BootStrategy):
        enable_kafka = False

    class App(faust.App):
        BootStrategy = WithoutKafka

        def _create_directories(self) -> None:
            """This app stores nothing in Faust's data directory."""

    return App(
        settings.application_id,
        broker="kafka://127.0.0.1:1",  # never connected to
        store="memory://",
        autodiscover=False,
        web_bind=settings.web_host,
        web_host=settings.web_host,
        web_port=port,
    )


def _agent(app: Any, name: str, loop: asyncio.AbstractEventLoop) -> Any:
    """Make the agent of one processor. Returns the function by which its lane gives it a batch."""
    channel = app.channel(maxsize=4)
    worker = Worker(f"judge-{name}")

    async def judge(stream: Any) -> None:
        async for batch in stream:
            worker.give(batch)

    app.agent(channel, name=name)(judge)

    def put(batch: Batch) -> None:
        asyncio.run_coroutine_threadsafe(channel.put(batch), loop)

    return put


def _pages(app: Any, statuses: Sequence[LaneStatus], collectors: Sequence[Collector]) -> None:
    registry = metrics.registry(statuses, collectors)

    async def healthz(web: Any, request: Any) -> Any:
        return web.json({"status": "alive"})

    async def readyz(web: Any, request: Any) -> Any:
        ready = all(status.ready for status in statuses)
        phases = {status.processor: status.phase for status in statuses}
        blocked = {status.processor: status.blocked for status in statuses if status.blocked}
        found = {"ready": ready, "lanes": phases, **({"blocked": blocked} if blocked else {})}
        if unread := {each.processor: each.problems for each in statuses if each.problems}:
            found["unread"] = unread
        return web.json(found, status=200 if ready else 503)

    async def metrics_(web: Any, request: Any) -> Any:
        return web.text(metrics.page(registry))

    for path, view in (("/healthz", healthz), ("/readyz", readyz), ("/metrics", metrics_)):
        app.page(path)(view)


def check_web_port(settings: Settings) -> None:
    """Raises `Misconfigured` where the web pages could not listen, before anything is started."""
    try:
        where = socket.getaddrinfo(
            settings.web_host, settings.web_port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, kind, protocol, _, address in where:
            with socket.socket(family, kind, protocol) as trial:
                # As the pages' own server: a port that was closed a moment ago is free.
                trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                trial.bind(address)
                trial.listen()
    except OSError as error:
        raise _cannot_listen(settings, settings.web_port, error) from None


def _cannot_listen(settings: Settings, port: int, error: OSError) -> Misconfigured:
    return Misconfigured(
        f"the web pages cannot listen on {settings.web_host}:{port} "
        f"({os.strerror(error.errno or 0)}); set HANDOFF_WEB_PORT, 0 for any free port"
    )


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _log_lines() -> None:
    """Log to standard error, one line for each event, unless the caller has set logging up."""
    log_lines()
    # Faust's App logs under the name of the module in which its class is defined.
    for name in ("faust", "mode", "aiohttp", "asyncio", __name__):
        logging.getLogger(name).setLevel(logging.ERROR)
