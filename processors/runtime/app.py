"""The process: a Faust app with one agent a processor, the lanes beneath it, and its web pages.

Faust is the application layer: app, agents, web. Its own Kafka transport stays off; an agent reads
whole batches from an in-memory channel, and a lane's thread feeds it and waits for it.
"""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

from processors.processor import Processor
from processors.runtime import clients, metrics
from processors.runtime.cluster import Unreachable, check_reachable, check_topics
from processors.runtime.lane import Batch, Lane
from processors.runtime.settings import Settings, SettingsError
from processors.runtime.status import LaneStatus
from processors.runtime.tables import Tables
from processors.runtime.transactions import Fenced, LaneError, Misconfigured

log = logging.getLogger("handoff.app")

EXIT_OK, EXIT_FAILED, EXIT_SETTINGS, EXIT_UNREACHABLE = 0, 1, 2, 3
# Long enough for a commit that is under way, short enough for an orchestrator's patience.
STOP_SECONDS = 12.0
_BACK_OFF = (0.5, 30.0)
_HEALTHY_SECONDS = 60.0
# Fenced so often in so short a time: not our own earlier self, but a twin.
_FENCED_TIMES, _FENCED_SECONDS = 3, 120.0


def run(settings: Settings, processors: Sequence[Processor[Any]]) -> int:
    """Run the processors until SIGTERM or SIGINT; the exit status.

    0 after a signal, 2 for settings that Kafka clients refuse, 3 when no broker answers at the
    start within ten seconds, 1 for anything that only a person can mend. One sentence on standard
    error says which.
    """
    _log_lines()
    try:
        admin = clients.admin(settings)
        check_reachable(admin, settings)
        for processor in processors:
            check_topics(admin, settings, processor)
        return asyncio.run(_App(settings, processors).run())
    except Unreachable as error:
        status, sentence = EXIT_UNREACHABLE, str(error)
    except SettingsError as error:
        status, sentence = EXIT_SETTINGS, str(error)
    except (Misconfigured, LaneError) as error:
        status, sentence = EXIT_FAILED, str(error)
    print(f"handoff: {sentence}", file=sys.stderr)  # noqa: T201
    return status


class Keeper:
    """Keeps one processor's lane running, in a thread of its own.

    A lane that ends with an error is started anew, after a pause that doubles while it keeps
    failing; what no restart would mend is handed to `give_up`.
    """

    def __init__(
        self,
        settings: Settings,
        processor: Processor[Any],
        judge: Any,
        give_up: Any,
    ) -> None:
        self.status = LaneStatus(processor.name)
        self._settings = settings
        self._processor = processor
        self._judge = judge
        self._give_up = give_up
        self._stopping = threading.Event()
        self._lane: Lane | None = None
        # One id for the life of the process: a lane that is started anew fences its predecessor.
        self._instance = clients.instance_id(settings, processor.name)
        self._thread = threading.Thread(
            target=self._keep, name=f"lane-{processor.name}", daemon=True
        )

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ask the lane to settle and leave."""
        self._stopping.set()
        if self._lane is not None:
            self._lane.stop()

    def join(self, seconds: float) -> bool:
        """Wait for the end of the thread; whether it came."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _keep(self) -> None:
        pause, longest = _BACK_OFF
        fenced: list[float] = []
        tables = None
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                if tables is None:
                    made = Tables(self._settings, self._processor)
                    made.start(self._stopping.is_set)
                    tables = made
                    _quiet_the_collector()
                self._lane = Lane(
                    self._settings,
                    self._processor,
                    self._instance,
                    tables,
                    self.status,
                    self._judge,
                )
                if not self._stopping.is_set():
                    self._lane.run()
            except (Misconfigured, SettingsError) as error:
                self._give_up(str(error))
                break
            except Fenced as error:
                log.error("%s: %s", self._processor.name, error)
                fenced = [at for at in fenced if began - at < _FENCED_SECONDS] + [began]
                if len(fenced) >= _FENCED_TIMES and self._settings.ordinal is not None:
                    self._give_up(
                        "another instance runs with the same ordinal "
                        f"({self._settings.ordinal}) and application_id "
                        f"({self._settings.application_id}); give each its own HANDOFF_ORDINAL"
                    )
                    break
            except LaneError as error:
                log.error("%s: %s", self._processor.name, error)
            except Exception:
                log.exception("%s: our defect; the lane starts anew", self._processor.name)
            if self._stopping.is_set():
                break
            self.status.restarts += 1
            if time.monotonic() - began > _HEALTHY_SECONDS:
                pause = _BACK_OFF[0]
            log.info("%s: starts anew in %.1f s", self._processor.name, pause)
            self._stopping.wait(pause)
            pause = min(2 * pause, longest)
        if tables is not None:
            tables.stop()


class _App:
    """The Faust app of one process."""

    def __init__(self, settings: Settings, processors: Sequence[Processor[Any]]) -> None:
        self._settings = settings
        self._processors = processors
        self._sentence: str | None = None

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        stopping = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)

        def give_up(sentence: str) -> None:
            self._sentence = sentence
            loop.call_soon_threadsafe(stopping.set)

        port = self._settings.web_port or _free_port(self._settings.web_host)
        app = _faust_app(self._settings, port)
        keepers = [
            Keeper(self._settings, processor, _agent(app, processor.name, loop), give_up)
            for processor in self._processors
        ]
        _pages(app, [keeper.status for keeper in keepers])
        # A Faust channel blocks every `put` until this has been called once.
        app.flow_control.resume()
        try:
            await app.start()
        except OSError as error:
            raise Misconfigured(
                f"the web pages cannot listen on {self._settings.web_host}:{port} "
                f"({os.strerror(error.errno or 0)}); set HANDOFF_WEB_PORT, 0 for any free port"
            ) from None
        log.info(
            "web pages on http://%s:%d/healthz /readyz /metrics", self._settings.web_host, port
        )
        for keeper in keepers:
            keeper.start()
        await stopping.wait()
        log.info("stopping")
        # The lanes before the agents: a batch under way still needs its agent.
        for keeper in keepers:
            keeper.stop()
        limit = time.monotonic() + STOP_SECONDS
        ended = [
            await asyncio.to_thread(keeper.join, max(0.0, limit - time.monotonic()))
            for keeper in keepers
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
            """Nothing of ours lies in Faust's data directory."""

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
    """The agent of one processor, and how its lane's thread reaches it."""
    channel = app.channel(maxsize=4)

    async def judge(stream: Any) -> None:
        async for batch in stream:
            batch.run()

    app.agent(channel, name=name)(judge)

    def put(batch: Batch) -> None:
        asyncio.run_coroutine_threadsafe(channel.put(batch), loop)

    return put


def _pages(app: Any, statuses: Sequence[LaneStatus]) -> None:
    found = metrics.registry(statuses)

    async def healthz(web: Any, request: Any) -> Any:
        return web.json({"status": "alive"})

    async def readyz(web: Any, request: Any) -> Any:
        ready = all(status.ready for status in statuses)
        phases = {status.processor: status.phase for status in statuses}
        return web.json({"ready": ready, "lanes": phases}, status=200 if ready else 503)

    async def metrics_(web: Any, request: Any) -> Any:
        return web.text(metrics.page(found))

    for path, view in (("/healthz", healthz), ("/readyz", readyz), ("/metrics", metrics_)):
        app.page(path)(view)


def _quiet_the_collector() -> None:
    """The garbage collector costs 2.5 times in decoding: what is there now stays, and the rest is
    looked at seldom. Records and states are structs without cycles."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _log_lines() -> None:
    """One line an event on standard error, unless the caller has set logging up already."""
    logging.basicConfig(
        level=os.environ.get("HANDOFF_LOG_LEVEL", "INFO").upper(),
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
        stream=sys.stderr,
    )
    # Faust's App logs under the name of the module that its class stands in.
    for name in ("faust", "mode", "aiohttp", "asyncio", __name__):
        logging.getLogger(name).setLevel(logging.ERROR)
