"""A lane that is started anew again and again leaves nothing behind in its process.

`HANDOFF_RESTARTS=n` lets each kind of failure happen n times; the first tenth is not counted, so
that what is made once (caches, the client's own tables) is there.
"""

import gc
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from processors.runtime import lane_supervisor, retry_backoff
from processors.runtime.batch import Batch
from processors.runtime.global_tables import GlobalTables
from processors.runtime.transactions import Fatal
from tests.lanes import Bench, supervised, wait_for
from tests.toy import toy

RESTARTS = int(os.environ.get("HANDOFF_RESTARTS", "20"))


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def threads() -> int:
    """Those of the clients, which Python does not know, too."""
    return len(os.listdir("/proc/self/task"))


def memory() -> int:
    """What the process holds, in KiB."""
    (line,) = [x for x in Path("/proc/self/status").read_text().splitlines() if "VmRSS" in x]
    return int(line.split()[1])


def has_restarted(supervisor: lane_supervisor.LaneSupervisor, times: int) -> bool:
    return supervisor.status.restarts >= times


def fails_while_judging(patch: pytest.MonkeyPatch) -> Callable[[Batch], None]:
    return lambda batch: batch.done.set_exception(ZeroDivisionError("in a batch"))


def fails_when_partitions_come(patch: pytest.MonkeyPatch) -> Callable[[Batch], None]:
    def take(*_: object) -> None:
        raise Fatal("no partition")

    patch.setattr("processors.runtime.assignment.Assignment.take", take)
    return Batch.run


def fails_while_restoring(patch: pytest.MonkeyPatch) -> Callable[[Batch], None]:
    def step(*_: object) -> None:
        raise Fatal("no changelog")

    patch.setattr("processors.runtime.restoration.Restoration.step", step)
    patch.setattr("processors.runtime.restoration.Restoration.done", False)
    return Batch.run


def fails_to_build_the_tables(patch: pytest.MonkeyPatch) -> Callable[[Batch], None]:
    patch.setattr(GlobalTables, "_try", lambda *_, **__: False)
    return Batch.run


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts files under /proc")
@pytest.mark.parametrize(
    "failure",
    [
        fails_while_judging,
        fails_when_partitions_come,
        fails_while_restoring,
        fails_to_build_the_tables,
    ],
)
def test_a_lane_that_keeps_failing_leaves_nothing_behind(
    bench: Bench,
    failure: Callable[[pytest.MonkeyPatch], Callable[[Batch], None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench.create()
    bench.send("k")
    bench.flush()
    monkeypatch.setattr(lane_supervisor, "_BACK_OFF", (0.0, 0.0))
    monkeypatch.setattr(retry_backoff, "_PAUSE_SECONDS", 0.0)
    seen = []
    with supervised(bench, toy(bench.prefix), failure(monkeypatch)) as supervisor:
        for restarts in (RESTARTS // 10, RESTARTS):
            wait_for(partial(has_restarted, supervisor, restarts), 10 * RESTARTS, "restarts")
            gc.collect()
            seen.append((open_files(), threads(), memory()))
    (files, running, held), (files_later, running_later, held_later) = seen
    # One lane's clients may be half made or half closed at the moment of a look.
    assert files_later - files < 30
    assert running_later - running < 20
    assert held_later - held < 20 * 1024 + 20 * RESTARTS
