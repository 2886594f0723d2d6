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

from processors.processor import AnyProcessor
from processors.runtime.app import EXIT_OK, STOP_SECONDS, run
from processors.runtime.ending import SIGNALS, Ending
from processors.runtime.logs import log_lines
from processors.runtime.settings import Settings

log = logging.getLogger("handoff.instances")

# The pause before a child that was killed is started again.
_AGAIN_SECONDS = 1.0
_LOOK_SECONDS = 0.5


def run_instances(
    settings: Settings, processors: Sequence[AnyProcessor], ending: Ending, count: int
) -> int:
    """Run `count` instances until `ending` is asked; the exit status.

    When an instance is killed, it is started again. When one ends by itself, it has said why: the
    others are ended too, and its status is returned.
    """
    return _Instances(settings, list(processors), ending).run(count)


class _Instances:
    def __init__(self, settings: Settings, processors: list[AnyProcessor], ending: Ending) -> None:
        self._settings = settings
        self._processors = processors
        self._ending = ending
        self._context = multiprocessing.get_context("fork")
        self._children: dict[int, ForkProcess] = {}
        self._stopping = False

    def run(self, count: int) -> int:
        for ordinal in range(count):
            if not self._ending.asked:
                self._start(ordinal)
        status = EXIT_OK
        while self._children:
            sentinels = [child.sentinel for child in self._children.values()]
            connection.wait(
                sentinels if self._stopping else [*sentinels, self._ending.fileno()], 1.0
            )
            if self._ending.asked and not self._stopping:
                self._end()
            for ordinal, child in list(self._children.items()):
                code = child.exitcode
                if code is None:
                    continue
                del self._children[ordinal]
                if self._stopping:
                    status = status or max(code, 0)
                elif code < 0:
                    log.error("instance %d was killed by signal %d", ordinal, -code)
                    if not self._ending.wait(_AGAIN_SECONDS):
                        self._start(ordinal)
                else:
                    status = status or code
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
        # One that comes to the child before it has its own handlers would be lost.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            child.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        self._children[ordinal] = child

    def _end(self) -> None:
        self._stopping = True
        for child in self._children.values():
            child.terminate()


def _instance(settings: Settings, processors: Sequence[AnyProcessor], parent: int) -> None:
    with Ending() as ending:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        threading.Thread(target=_die_with, args=(parent,), daemon=True).start()
        # The instances share one standard error, so each line names its instance. `run` does not
        # change the logging that it finds.
        log_lines(settings.ordinal)
        status = run(settings, processors, ending)
    sys.exit(status)


def _die_with(parent: int) -> None:
    """End this process when its parent has ended, even by a kill: with SIGTERM, then with
    `_exit`."""
    while os.getppid() == parent:
        time.sleep(_LOOK_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(STOP_SECONDS)
    os._exit(1)
