"""How a process is asked to end: SIGTERM, Ctrl-C (SIGINT), a terminal that closes (SIGHUP).

A handler only notes the signal. Whoever works looks at the note where it can stop in good order. No
handler raises: an exception that comes between two steps of anything (a call of librdkafka, an
event loop, an import, the removal of a folder) is lost there, or leaves it half done.
"""

import contextlib
import os
import signal
from multiprocessing import connection
from types import FrameType, TracebackType
from typing import Any, Self

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Ended(SystemExit):
    """The process was asked to end, and stops here; the status is 128 + the signal's number."""


class Ending:
    """Notes the first signal that asks the process to end, from `with` on, in the main thread.

    Signals that come later change nothing, also after the block: what was begun is cleared up,
    however often somebody asks. A signal that was ignored stays so: `nohup` ignores SIGHUP, and a
    shell ignores SIGINT in what it starts in the background.
    """

    def __init__(self) -> None:
        self._number: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        # Becomes readable with the signal, and stays so: threads, event loops and whoever waits for
        # processes can wait for it too.
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before if self._number is None else signal.SIG_IGN)
        os.close(self._read)
        os.close(self._write)

    @property
    def asked(self) -> bool:
        """Whether the process was asked to end."""
        return self._number is not None

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until the process is asked to end, so long at most; whether it is."""
        connection.wait([self._read], seconds)
        return self.asked

    def check(self) -> None:
        """Raises `Ended` where the process was asked to end."""
        if self._number is not None:
            raise Ended(128 + self._number)

    def fileno(self) -> int:
        """What becomes readable once the process is asked to end."""
        return self._read

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._number is None:
            self._number = number
        with contextlib.suppress(BlockingIOError):  # it is full, so it is readable
            os.write(self._write, b"\0")


def end_at_once() -> None:
    """From now on SIGTERM and Ctrl-C end the process at once, with nothing to read on standard
    error: for what has nothing to clear up."""
    for number in (signal.SIGTERM, signal.SIGINT):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _die)


def _die(number: int, frame: FrameType | None) -> None:
    # By the signal itself, so that a shell ends its loop too. The first process of a container
    # cannot be ended by that.
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(128 + number)
