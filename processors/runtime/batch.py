"""The work that a lane gives to the agent of its processor, and the thread that runs it."""

import concurrent.futures
import threading
from collections.abc import Callable
from queue import SimpleQueue

from schemas.flow import Output


class Batch:
    """Work on the driver. `outputs` gets its results; `done` is resolved when it has ended."""

    __slots__ = ("_work", "done", "outputs")

    def __init__(self, work: Callable[[list[Output]], None]) -> None:
        self._work = work
        self.outputs: list[Output] = []
        self.done: concurrent.futures.Future[None] = concurrent.futures.Future()

    def run(self) -> None:
        """Run the work. An exception reaches the lane through `done`."""
        try:
            self._work(self.outputs)
        except BaseException as error:  # noqa: BLE001 - the lane raises it again
            self.done.set_exception(error)
        else:
            self.done.set_result(None)


class Worker:
    """Runs batches in a thread of its own. So the event loop can answer web pages and signals,
    however long a record takes.

    A lane gives one batch at a time. When a batch comes before the last one has ended, the lane of
    the last one was abandoned: the new batch does not wait, but gets another thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._last: Batch | None = None
        self._given: SimpleQueue[Batch | None] = SimpleQueue()

    def give(self, batch: Batch) -> None:
        """Run the batch in the thread. Returns at once."""
        if self._last is None or not self._last.done.done():
            self._given.put(None)  # a thread that is still busy ends after its batch
            self._given = SimpleQueue()
            # A daemon: when the process stops, the open transaction is aborted anyway.
            threading.Thread(
                target=_run_all, args=(self._given,), name=self._name, daemon=True
            ).start()
        self._last = batch
        self._given.put(batch)


def _run_all(given: "SimpleQueue[Batch | None]") -> None:
    while (batch := given.get()) is not None:
        batch.run()
        del batch  # frees its outputs now: the next batch may come late
