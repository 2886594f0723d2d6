"""Sends alerts: an event loop in a thread of its own, with a task for each sink.

At least once: a sink that does not answer may have taken a message, and is sent it again, with the
same key and number. What goes next to a sink is decided in `alerts.sink_queue`; this is the loop
around it. No sink waits for another: each has its own queue, and nothing blocks the loop.
"""

import asyncio
import contextlib
import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from msgspec import Struct

from alerts.notification import Answer, Failed, Notification
from alerts.pacing import Limits
from alerts.sink_queue import Result, SinkQueue

log = logging.getLogger("handoff.alerts")

# Names are looked up in threads, and a dead name server holds one for half a minute.
_THREADS = 64
_CLOSE_SECONDS = 5.0


class Sink(Protocol):
    """What a notification is sent to. `send` answers with `Failed` where it can be tried again; it
    raises nothing that is foreseen. Both are called on the delivery's event loop."""

    @property
    def name(self) -> str: ...

    async def send(self, notification: Notification) -> Answer: ...

    async def close(self) -> None: ...


class SinkFigures(Struct, frozen=True):
    """One sink at a moment. `outcomes` counts since the start: delivered, refused, given_up,
    superseded, and failed, which counts attempts. `open`: the circuit is open, as the sink fails.
    `oldest` is the age of the oldest waiting message in seconds, `why` the last failure."""

    pending: int
    oldest: float
    open: bool
    outcomes: Mapping[str, int]
    why: str


class _Lane:
    """A sink, its queue, and the task that sends."""

    def __init__(self, sink: Sink, limits: Limits) -> None:
        self.sink = sink
        self.queue = SinkQueue(sink.name, limits)
        self.wake = asyncio.Event()
        self.sending: set[asyncio.Task[None]] = set()
        self.outcomes: Counter[str] = Counter()


class Delivery:
    """Delivers notifications to sinks by name.

    `on_result` is called once for each submitted message, in the delivery's thread: it must be
    quick and must not raise. `beside` are coroutines that run on the same loop until the end: what
    `Alertmanager.resend` and `Heartbeat.run` are. `submit`, `figures` and `close` may be called by
    any thread.
    """

    def __init__(
        self,
        sinks: Sequence[Sink],
        on_result: Callable[[Result], None],
        *,
        limits: Limits | None = None,
        beside: Sequence[Callable[[], Coroutine[Any, Any, None]]] = (),
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._limits = limits or Limits()
        self._lanes = {sink.name: _Lane(sink, self._limits) for sink in sinks}
        if len(self._lanes) != len(sinks):
            raise ValueError("two sinks have the same name")
        self._on_result = on_result
        self._beside = beside
        self._clock = clock
        self._chance = chance
        self._loop = asyncio.new_event_loop()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="alert-delivery", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(self, sink: str, notification: Notification, *, in_doubt: bool = False) -> None:
        """Have a message sent. `in_doubt`: an earlier process may have sent it already, so it is
        never dropped for its resolve. Raises `KeyError` for a sink that is not there and
        `RuntimeError` after `close`."""
        lane = self._lanes[sink]
        if self._closing:
            raise RuntimeError("the delivery is closed")
        self._loop.call_soon_threadsafe(self._take_in, lane, notification, in_doubt)

    def figures(self) -> dict[str, SinkFigures]:
        """How each sink does, by its name; a moment late."""
        now = self._clock()
        return {
            name: SinkFigures(
                pending=lane.queue.pending,
                oldest=lane.queue.oldest(now),
                open=lane.queue.breaker.open(self._limits),
                outcomes=dict(lane.outcomes),
                why=lane.queue.last_failure,
            )
            for name, lane in self._lanes.items()
        }

    def close(self, limit: float) -> int:
        """Send what waits, for `limit` seconds at most, then end the thread. Returns the number of
        messages that are left; `on_result` is not called for them."""
        self._closing = True
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._drain(limit), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._loop.close()
        return sum(lane.queue.pending for lane in self._lanes.values())

    # --- on the loop --------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="alert-lookup")
        self._loop.set_default_executor(executor)
        tasks = [self._loop.create_task(self._serve(lane)) for lane in self._lanes.values()]
        tasks += [self._loop.create_task(self._aside(each)) for each in self._beside]
        self._loop.run_forever()
        for lane in self._lanes.values():
            tasks += lane.sending
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        closing = [
            asyncio.wait_for(lane.sink.close(), _CLOSE_SECONDS) for lane in self._lanes.values()
        ]
        self._loop.run_until_complete(asyncio.gather(*closing, return_exceptions=True))
        executor.shutdown(wait=False, cancel_futures=True)

    async def _drain(self, limit: float) -> None:
        until = self._loop.time() + limit
        while any(lane.queue.pending for lane in self._lanes.values()):
            if self._loop.time() >= until:
                return
            await asyncio.sleep(0.02)

    def _take_in(self, lane: _Lane, notification: Notification, in_doubt: bool) -> None:
        self._tell(lane, lane.queue.submit(notification, self._clock(), in_doubt=in_doubt))
        lane.wake.set()

    async def _serve(self, lane: _Lane) -> None:
        """Send to one sink what its queue says, for ever."""
        while True:
            lane.wake.clear()
            now = self._clock()
            self._tell(lane, lane.queue.expired(now))
            found = lane.queue.take(now)
            if isinstance(found, Notification):
                task = self._loop.create_task(self._send(lane, found))
                lane.sending.add(task)
                task.add_done_callback(lane.sending.discard)
                # A sink that answers at once must not keep the loop to itself.
                await asyncio.sleep(0)
                continue
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(lane.wake.wait(), found)

    async def _send(self, lane: _Lane, notification: Notification) -> None:
        try:
            answer = await asyncio.wait_for(lane.sink.send(notification), self._limits.hang)
        except TimeoutError:
            answer = Failed(f"no answer within {self._limits.hang:.0f} s")
        except Exception as error:  # noqa: BLE001 - no defect of one sink may stop the others
            # Its text may hold what was sent.
            log.error("sink %s: our defect: %s", lane.sink.name, type(error).__name__)
            answer = Failed(f"our defect: {type(error).__name__}")
        if isinstance(answer, Failed):
            lane.outcomes["failed"] += 1
        before = lane.queue.breaker
        results = lane.queue.answered(notification.key, answer, self._clock(), self._chance())
        self._say(lane, was_open=before.open(self._limits))
        self._tell(lane, results)
        lane.wake.set()

    async def _aside(self, make: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await make()
        except Exception:
            log.exception("our defect: what runs beside the delivery has ended")

    def _say(self, lane: _Lane, *, was_open: bool) -> None:
        is_open = lane.queue.breaker.open(self._limits)
        if is_open and not was_open:
            log.error("sink %s is not reached: %s", lane.sink.name, lane.queue.last_failure)
        elif was_open and not is_open:
            log.info("sink %s is reached again", lane.sink.name)

    def _tell(self, lane: _Lane, results: Sequence[Result]) -> None:
        for result in results:
            lane.outcomes[_WORDS[type(result.outcome).__name__]] += 1
            try:
                self._on_result(result)
            except Exception:
                log.exception("our defect: the result of a message is lost")


_WORDS = {
    "Delivered": "delivered",
    "Refused": "refused",
    "GivenUp": "given_up",
    "Superseded": "superseded",
}
