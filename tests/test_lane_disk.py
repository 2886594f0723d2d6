"""A lane whose state on disk is damaged, in the way, full or still open: exact, and by itself."""

import contextlib
import random
import signal
import subprocess
import threading
from base64 import b64encode
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from processors.runtime import clients
from processors.runtime.global_tables import GlobalTables
from processors.runtime.status import LaneStatus
from processors.runtime.transactions import LaneError
from tests.lanes import Bench, Instance, new_lane, wait_for
from tests.toy import toy

pytest.importorskip("rocksdict")


def feed(bench: Bench, count: int, keys: int = 30) -> None:
    for n in range(count):
        bench.send(f"k{n % keys}")
    bench.flush()


def on_disk(folder: Path) -> dict[str, str]:
    return {"HANDOFF_STATE": "disk", "HANDOFF_STATE_DIR": str(folder)}


def end(instance: Instance) -> None:
    instance.signal(signal.SIGTERM)
    assert instance.wait() == 0


def no_record_suffered(bench: Bench, instance: Instance) -> None:
    assert bench.read("dead-letters", 0) == []
    assert "Traceback" not in instance.log


@pytest.mark.fault("a file of the disk state damaged")
def test_damaged_state_is_restored_with_one_sentence_a_partition(
    bench: Bench, tmp_path: Path
) -> None:
    bench.create()
    environment = on_disk(tmp_path / "state")
    feed(bench, 300)
    first = bench.start(environment=environment).ready()
    bench.check_outputs()
    end(first)
    dice = random.Random(4)
    for file in (tmp_path / "state").rglob("*.sst"):
        data = bytearray(file.read_bytes())
        for _ in range(20):
            data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        file.write_bytes(data)
    feed(bench, 300)
    second = bench.start(environment=environment).ready()
    bench.check_outputs()
    no_record_suffered(bench, second)
    told = [line for line in second.log.splitlines() if "is damaged" in line]
    assert 1 <= len(told) <= 3
    assert all("restored from the changelog" in line for line in told)
    end(second)
    third = bench.start(environment=environment).ready()
    assert "restored 0 records" in third.log
    feed(bench, 30)
    bench.check_outputs()


@pytest.mark.fault("a file where the state directory should be")
def test_a_file_in_the_way_is_waited_for(bench: Bench, tmp_path: Path) -> None:
    bench.create()
    feed(bench, 300)
    (tmp_path / "state").write_text("x")
    instance = bench.start(environment=on_disk(tmp_path / "state"))
    wait_for(lambda: "toy is blocked: " in instance.log, 30, instance.log)
    assert instance.page("/healthz")[0] == 200
    assert instance.page("/readyz")[0] == 503
    (tmp_path / "state").unlink()
    instance.ready()
    # To run is the proof: nothing of it waits for a commit, or for a while without trouble.
    lines = instance.log.splitlines()
    (runs,) = [n for n, line in enumerate(lines) if "runs on partitions" in line]
    wait_for(lambda: instance.page("/readyz")[0] == 200, 2, instance.log)
    bench.check_outputs()
    (on,) = [line for line in instance.log.splitlines()[runs:] if "goes on; it was" in line]
    assert on.endswith(f"no state can be kept in {tmp_path / 'state'} (Not a directory)")
    (line,) = [line for line in instance.log.splitlines() if "toy is blocked: " in line]
    assert "move the file away, or set HANDOFF_STATE_DIR, and it goes on by itself" in line
    no_record_suffered(bench, instance)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 36 MB."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=36m", "tmpfs", str(place)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("only root can mount a small file system")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def has_judged_or_waits(instance: Instance, enough: int) -> bool:
    if "toy is blocked: " in instance.log:
        return True
    judged = "handoff_input_records_total"
    return f"{judged}{{" in instance.page("/metrics")[1] and instance.metric(judged) >= enough


@pytest.mark.fault("the disk of the state is full")
def test_a_disk_that_is_full_is_waited_for(bench: Bench, small: Path) -> None:
    bench.create()
    instance = bench.start(environment=on_disk(small)).ready()
    dice = random.Random(5)
    for n in range(600):  # 120 MB, of which compression leaves three quarters
        bench.send(f"k{n}", "watch:" + b64encode(dice.randbytes(150_000)).decode())
        if n % 60 == 59:  # in transactions of a moderate size
            bench.flush()
            wait_for(partial(has_judged_or_waits, instance, n // 2), 60, instance.log)
    feed(bench, 300)
    wait_for(lambda: "toy is blocked: " in instance.log, 180, "it waits for room")
    wait_for(lambda: instance.page("/readyz")[0] == 503, 30, "it is not ready")
    subprocess.run(["mount", "-o", "remount,size=500m", str(small)], check=True)
    bench.check_outputs(120)
    wait_for(lambda: "toy goes on; it was blocked" in instance.log, 30, "it goes on")
    (line,) = [line for line in instance.log.splitlines() if "toy is blocked: " in line]
    assert "(No space left on device); make room there" in line
    no_record_suffered(bench, instance)


@pytest.mark.fault("disk state that a lane left open")
def test_state_that_a_lane_left_behind_has_open_is_taken_over(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It hangs in a client, and whatever would close its files hangs, too."""
    bench.create()
    feed(bench, 300)
    settings = bench.settings(ordinal=0, state="disk", state_dir=tmp_path / "state")
    processor = toy(bench.prefix)
    tables = GlobalTables(settings, processor)
    tables.start(lambda: False)
    released = threading.Event()
    instance = clients.instance_id(settings, "toy")
    status = LaneStatus("toy")
    hanging = new_lane(settings, processor, instance=instance, tables=tables, status=status)
    monkeypatch.setattr(hanging, "_close", lambda: released.wait(60))

    def hang() -> None:
        with contextlib.suppress(LaneError):  # it is fenced, or finds its store closed
            hanging.run()

    lanes = [threading.Thread(target=hang, daemon=True)]
    lanes[0].start()
    bench.check_outputs()
    assert any(hanging._assignment.stores)
    hanging.abandon()
    following = new_lane(settings, processor, instance=instance, tables=tables, status=status)
    lanes.append(threading.Thread(target=following.run, daemon=True))
    lanes[1].start()
    try:
        feed(bench, 300)
        bench.check_outputs()
    finally:
        following.stop()
        released.set()
        for lane in lanes:
            lane.join(20)
        hanging._consumer.close()
        tables.stop()
    assert not any(lane.is_alive() for lane in lanes)
