"""Keeps one lane of a processor running: restarts it when it fails, abandons it when it hangs."""

import gc
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from processors.processor import Processor
from processors.runtime import clients
from processors.runtime.base_lane import BATCH_RECORDS
from processors.runtime.batch import Batch
from processors.runtime.disk import StateBlocked
from processors.runtime.global_tables import GlobalTables
from processors.runtime.lane import SLICE_WAKES, Lane
from processors.runtime.liveness_probe import LivenessProbe
from processors.runtime.poison_record_isolator import PoisonRecordIsolator
from processors.runtime.retry_backoff import RetryBackoff
from processors.runtime.settings import Settings, SettingsError
from processors.runtime.status import LaneStatus
from processors.runtime.transactions import Blocked, Fatal, Fenced, LaneError, Misconfigured

log = logging.getLogger("handoff.supervisor")

_BACK_OFF = (0.5, 30.0)
_HEALTHY_SECONDS = 60.0
# A lane that is fenced once may be fenced by its own earlier attempt. One that is fenced so often
# in so short a time runs beside another instance with the same ids.
_FENCED_TIMES, _FENCED_SECONDS = 3, 120.0
# Longer than any single call of a lane may take. When a broker comes back, about every second call
# of `send_offsets_to_transaction` with a limit of 5 s never returns (librdkafka 2.16).
STUCK_SECONDS = 25.0
_LOOK_SECONDS = 0.5


class LaneSupervisor:
    """Keeps one processor's lane running.

    When a lane ends with an error, a new one is started after a pause, which doubles while lanes
    keep failing. When no restart would help, `give_up` gets the sentence for a person. When a lane
    hangs in a Kafka client, it is abandoned and a new one is started: the new one has the same ids,
    so the broker fences whatever the old one still sends.
    """

    def __init__(
        self,
        settings: Settings,
        processor: Processor[Any],
        judge: Callable[[Batch], None],
        give_up: Callable[[str], None],
    ) -> None:
        self.status = LaneStatus(processor.name)
        self._settings = settings
        self._processor = processor
        self._judge = judge
        self._give_up = give_up
        self._stopping = threading.Event()
        self._lane: Lane | None = None
        # One id for the life of the process, so that a new lane fences the one before it.
        self._instance = clients.instance_id(settings, processor.name)
        self._thread = threading.Thread(
            target=self._keep, name=f"supervisor-{processor.name}", daemon=True
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
        tables = probe = None
        isolator, backoff = (
            PoisonRecordIsolator(BATCH_RECORDS, SLICE_WAKES),
            RetryBackoff(self.status),
        )
        while not self._stopping.is_set():
            began, wait = time.monotonic(), 0.0
            try:
                if tables is None:
                    made = GlobalTables(self._settings, self._processor)
                    made.start(self._stopping.is_set)
                    tables = made
                    probe = LivenessProbe(self._settings, self._processor, tables, self.status)
                    probe.start()
                    _run_collector_seldom()
                self._lane = Lane(
                    self._settings,
                    self._processor,
                    instance=self._instance,
                    tables=tables,
                    status=self.status,
                    judge=self._judge,
                    isolator=isolator,
                    backoff=backoff,
                )
                if not self._stopping.is_set():
                    self._run(self._lane)
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
            except Blocked as error:
                of_state = isinstance(error, StateBlocked)
                wait = backoff.failed(str(error), keeps_from_running=of_state)
            except LaneError as error:
                log.error("%s: %s", self._processor.name, error)
            except Exception:
                log.exception("%s: our defect; the lane starts anew", self._processor.name)
            if self._stopping.is_set():
                break
            self.status.restarts += 1
            if not wait:
                if time.monotonic() - began > _HEALTHY_SECONDS:
                    pause = _BACK_OFF[0]
                log.info("%s: starts anew in %.1f s", self._processor.name, pause)
                wait, pause = pause, min(2 * pause, longest)
            # Free the old lane now: the garbage collector runs seldom (`_run_collector_seldom`).
            self._lane = None
            gc.collect()
            self._stopping.wait(wait)
        if probe is not None:
            probe.stop()
        if tables is not None:
            tables.stop()

    def _run(self, lane: Lane) -> None:
        """Run the lane in a thread of its own; raises what it raises, or `Fatal` when it hangs."""
        failure: list[BaseException] = []

        def body() -> None:
            try:
                lane.run()
            except BaseException as error:  # noqa: BLE001 - raised again below
                failure.append(error)

        thread = threading.Thread(target=body, name=f"lane-{self._processor.name}", daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(_LOOK_SECONDS)
            silent = time.monotonic() - lane.seen
            if silent > STUCK_SECONDS:
                lane.abandon()
                raise Fatal(f"a Kafka client has not returned for {silent:.0f} s")
        if failure:
            try:
                raise failure[0]
            finally:
                failure.clear()  # the error refers to this frame: a cycle would keep the lane alive


def _run_collector_seldom() -> None:
    """Have the garbage collector skip what exists now and run seldom: with its defaults decoding
    takes 2.5 times as long. Records and states are structs without cycles."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
