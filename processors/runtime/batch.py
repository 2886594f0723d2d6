"""What a lane hands to the agent of its processor: one piece of work at a time."""

import concurrent.futures
from collections.abc import Callable

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
