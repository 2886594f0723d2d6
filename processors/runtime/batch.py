"""What a lane hands to the agent of its processor: one piece of work at a time."""

import concurrent.futures
import threading
from collections.abc import Callable
from queue import SimpleQueue

from schemas.flow import Output


class Batch:
    """Work on the driver. `done` is resolved when all of it is done; `outputs` is what it made."""

    __slots__ = ("_work", "done", "outputs")

    def __init__(self, work: Callable[[list[Output]], None]) -> None:
        self._work = work
        self.outputs: list[Output] = []
        self.done: concurrent.futures.Future[None] = concurrent.futures.Future()

    def run(self) -> None:
        """Do it; whatever is raised reaches the lane through `done`."""
        try:
            self._work(self.outputs)
        except BaseException as error:  # noqa: BLE001 - the lane raises it again
            self.done.set_exception(error)
        else:
            self.done.set_result(None)


class Worker:
    """Runs batches in a thread of its own, so that the event loop is free meanwhile: however long
    a record takes, web pages are answered and signals obeyed.

    A lane hands over one batch at a time. One that comes before the last one is done is of a lane
    whose predecessor gave up waiting: it does not wait as well, but gets another thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._last: Batch | None = None
        self._given: SimpleQueue[Batch | None] = SimpleQueue()

    def give(self, batch: Batch) -> None:
        """Have it run. Returns at once."""
        if self._last is None or not self._last.done.done():
            self._given.put(None)  # the thread that is busy, if any, ends when it is done
            self._given = SimpleQueue()
            # No process waits for it to end: the open transaction is aborted.
            threading.Thread(
                target=_run_all, args=(self._given,), name=self._name, daemon=True
            ).start()
        self._last = batch
        self._given.put(batch)


def _run_all(given: "SimpleQueue[Batch | None]") -> None:
    while (batch := given.get()) is not None:
        batch.run()
        del batch  # its outputs may be large, and the next one may come late
