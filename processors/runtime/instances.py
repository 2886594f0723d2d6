"""`--instances N`: N processes with the ordinals 0 to N-1 share the partitions on one machine.

Each has its web pages on the port `web_port` plus its ordinal. They end when the parent ends, even
if it is killed. They are forked before this process has a thread or a Kafka client.
"""

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from multiprocessing import connection
from multiprocessing.context import ForkProcess
from types import FrameType

from processors.processor import AnyProcessor
from processors.runtime.app import EXIT_OK, STOP_SECONDS, run
from processors.runtime.logs import log_lines
from processors.runtime.settings import Settings

log = logging.getLogger("handoff.instances")

# The pause before a child that was killed is started again.
_AGAIN_SECONDS = 1.0
_LOOK_SECONDS = 0.5
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def run_instances(settings: Settings, processors: Sequence[AnyProcessor], count: int) -> int:
    """Run `count` instances until SIGTERM or SIGINT; the exit status.

    When an instance is killed, it is started again. When one ends by itself, it has said why: the
    others are ended too, and its status is returned.
    """
    made = _Instances(settings, list(processors))
    for number in _STOP_SIGNALS:
        signal.signal(number, made.on_signal)
    return made.run(count)


class _Instances:
    def __init__(self, settings: Settings, processors: list[AnyProcessor]) -> None:
        self._settings = settings
        self._processors = processors
        self._context = multiprocessing.get_context("fork")
        self._children: dict[int, ForkProcess] = {}
        self._stopping = False

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stopping = True
        self._end()

    def run(self, count: int) -> int:
        for ordinal in range(count):
            self._start(ordinal)
        status = EXIT_OK
        while self._children:
            connection.wait([child.sentinel for child in self._children.values()], 1.0)
            for ordinal, child in list(self._children.items()):
                code = child.exitcode
                if code is None:
                    continue
                del self._children[ordinal]
                if self._stopping:
                    status = status or max(code, 0)
                elif code < 0:
                    log.error("instance %d was killed by signal %d", ordinal, -code)
                    time.sleep(_AGAIN_SECONDS)
                    self._start(ordinal)
                else:
                    status = status or code
                    self._stopping = True
                    self._end()
        return status

    def _start(self, ordinal: int) -> None:
        port = self._settings.web_port
        own = {"ordinal": ordinal, "web_port": port + ordinal if port else 0}
        child = self._context.Process(
            target=_instance,
            args=(self._settings.model_copy(update=own), self._processors, os.getpid()),
            name=f"handoff-{ordinal}",
        )
        # A signal that comes before the child is in `_children` and has its own handlers would be
        # lost.
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
        try:
            if not self._stopping:
                child.start()
                self._children[ordinal] = child
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)

    def _end(self) -> None:
        for child in self._children.values():
            child.terminate()


def _instance(settings: Settings, processors: Sequence[AnyProcessor], parent: int) -> None:
    for number in _STOP_SIGNALS:  # until the app sets its own
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)
    threading.Thread(target=_die_with, args=(parent,), daemon=True).start()
    # The instances share one standard error, so each line names its instance. `run` does not change
    # the logging that it finds.
    log_lines(settings.ordinal)
    sys.exit(run(settings, processors))


def _die_with(parent: int) -> None:
    """End this process when its parent has ended, even by a kill: with SIGTERM, then with
    `_exit`."""
    while os.getppid() == parent:
        time.sleep(_LOOK_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(STOP_SECONDS)
    os._exit(1)
