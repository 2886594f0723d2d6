"""State on disk mends itself: whatever is wrong with its files, what comes out is the same.

All of it on the locked RocksDB, without a broker: a version that tells of a fault in another way,
or not at all, fails here.
"""

import errno
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors import journal
from processors.driver import Driver
from processors.journal import StoreError
from processors.runtime import disk
from processors.runtime.disk import DiskStore, StateBlocked, StateLost
from processors.runtime.state import MemoryStore
from schemas.flow import Record
from tests.properties import examples
from tests.stores import LATER, NOW, Lanes, record, restore
from tests.toy import toy

rocksdict = pytest.importorskip("rocksdict")

UNREAD = ("LOG", "LOCK", "IDENTITY", "rocksdict-config.json")
KINDS = ("flip", "cut", "blank", "delete", "garbage", "longer")


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many small files instead of one, and a store that is really asked."""
    monkeypatch.setattr(disk, "_WRITE_BUFFER", 1 << 16)
    monkeypatch.setattr(disk, "ROOM", 1 << 20)
    monkeypatch.setattr(journal, "MAX_RECENT", 3)


def damage(path: Path, kind: str, at: float, seed: int = 0) -> None:
    """Do something to a file; `at` says where, from 0 to 1."""
    data = bytearray(path.read_bytes())
    place = min(int(at * len(data)), max(0, len(data) - 1))
    dice = random.Random(seed)
    if kind == "delete":
        path.unlink()
        return
    if kind == "flip" and data:
        data[place] ^= 1 << dice.randrange(8)
    elif kind == "cut":
        data = data[:place]
    elif kind == "blank":
        data[place : place + 512] = bytes(len(data[place : place + 512]))
    elif kind == "garbage":
        data = bytearray(dice.randbytes(len(data) or 100))
    elif kind == "longer":
        data += dice.randbytes(100)
    path.write_bytes(data)


def copied(folder: Path) -> Path:
    """Of a store that is open: files may go meanwhile."""
    copy = folder.with_name("copy")
    while True:
        try:
            return shutil.copytree(folder, copy)
        except shutil.Error:
            shutil.rmtree(copy)


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def fill(store: DiskStore, told: list[tuple[str, bytes]] | None = None) -> None:
    """Ten megabytes, a key a transaction; `told` gets them."""
    dice = random.Random(3)
    for n in range(10_000):
        key, value = f"{n:05}", dice.randbytes(1000)
        if told is not None:
            told.append((key, value))
        store[key] = value
        store.save(n + 1)


def traffic(count: int, seed: int) -> list[Record]:
    """Records of fifty keys: counted, with deadlines, with a state of some weight, forgotten."""
    dice = random.Random(seed)
    values = ["x", "x", "due:1000", "watch:" + "a" * 2000, "forget"]
    return [record(n, f"k{dice.randrange(50)}", dice.choice(values)) for n in range(count)]


# --- after any damage of any file the outputs are those of state in memory ------------------------


@settings(examples, max_examples=25)
@given(
    seed=st.integers(0, 1000),
    harms=st.dictionaries(
        st.integers(1, 30),
        st.tuples(st.integers(0, 100), st.sampled_from(KINDS), st.floats(0, 1), st.booleans()),
        min_size=1,
        max_size=3,
    ),
)
def test_after_any_damage_the_outputs_are_those_of_state_in_memory(
    seed: int, harms: dict[int, tuple[int, str, float, bool]]
) -> None:
    records = traffic(300, seed)
    expected = Lanes(records, MemoryStore).run()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "state" / "0"
        left = dict(harms)

        def harm(at: int, store: object) -> None:
            """While it is open; or as if the process had been killed, and another came."""
            if at // 10 not in left:
                return
            which, kind, place, killed = left.pop(at // 10)
            assert isinstance(store, DiskStore)
            if killed:
                copy = copied(folder)
                store.close()
                shutil.rmtree(folder)
                copy.rename(folder)
            there = files(folder)
            damage(there[which % len(there)], kind, place, seed)
            if killed:
                raise StateLost("killed")

        assert Lanes(records, lambda: DiskStore(folder), harm, most=8).run() == expected


def changes_of(seed: int) -> list[tuple[str, bytes]]:
    dice = random.Random(seed)
    return [(f"k{dice.randrange(300)}", dice.randbytes(300)) for _ in range(1500)]


WRITES = """
import os
from pathlib import Path
from processors.runtime import disk
from tests.test_disk import changes_of
disk._WRITE_BUFFER = 1 << 16
store = disk.DiskStore(Path({path!r}))
store.changelog_id = "id"
for number, (key, value) in enumerate(changes_of(1)[:{count}], start=1):
    store[key] = value
    if number % 3 == 0:
        store.save(number)
os._exit(0)
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[tuple[str, bytes]]]:
    """A folder as a killed process leaves it, and the changelog that belongs to it."""
    path = tmp_path_factory.mktemp("written") / "killed"
    write_and_die(path, 1500)
    return path, changes_of(1)


def write_and_die(path: Path, count: int) -> None:
    command = [sys.executable, "-c", WRITES.format(path=str(path), count=count)]
    subprocess.run(command, cwd=Path(__file__).parents[1], check=True)


@pytest.mark.parametrize("kind", KINDS)
def test_no_damage_of_any_file_goes_unseen(
    written: tuple[Path, list[tuple[str, bytes]]], tmp_path: Path, kind: str
) -> None:
    killed, changes = written
    wanted = dict(changes)
    seen = lost = 0
    for file in files(killed):
        places = 8 if kind in ("flip", "cut", "blank") and file.name not in UNREAD else 1
        for n in range(places):
            folder = tmp_path / "0"
            shutil.copytree(killed, folder)
            damage(folder / file.name, kind, n / 8, seed=n)
            found = _restored(folder, changes)
            if isinstance(found, StateLost):
                lost += 1
                found = _restored(folder, changes)
            assert found == wanted, (file.name, kind, n)
            seen += 1
            shutil.rmtree(folder)
    assert seen > 7
    if kind in ("flip", "blank"):
        assert lost > 0  # what only reading shows was among it


def _restored(folder: Path, changes: list[tuple[str, bytes]]) -> dict[str, bytes] | StateLost:
    store = DiskStore(folder)
    try:
        restore(store, list(changes))
        return {key: store[key] for key in store}
    except StateLost as error:
        return error
    finally:
        store.close()


def test_a_crash_leaves_the_state_of_one_moment_even_where_the_manifest_lost_its_end(
    tmp_path: Path,
) -> None:
    """With a write-ahead log this fails: its last part is replayed onto what the MANIFEST knows."""
    write_and_die(killed := tmp_path / "killed", 600)  # too little to be compacted
    changes = changes_of(1)
    (manifest,) = killed.glob("MANIFEST-*")
    ends = set()
    for size in range(0, manifest.stat().st_size + 1, 7):
        folder = tmp_path / "0"
        shutil.copytree(killed, folder)
        os.truncate(folder / manifest.name, size)
        store = DiskStore(folder)
        ends.add(store.checkpoint)
        assert {key: store[key] for key in store} == dict(changes[: store.checkpoint or 0])
        store.close()
        shutil.rmtree(folder)
    assert len(ends) > 1


def test_a_manifest_that_rocksdb_would_read_for_ever_is_not_given_to_it(
    written: tuple[Path, list[tuple[str, bytes]]], tmp_path: Path
) -> None:
    """One bit of the type of any record but the first."""
    killed, changes = written
    (manifest,) = killed.glob("MANIFEST-*")
    data = manifest.read_bytes()
    starts, at = [], 0
    while at < len(data):
        starts.append(at)
        at += 7 + int.from_bytes(data[at + 4 : at + 6], "little")
    assert len(starts) > 5
    for start in starts:
        folder = tmp_path / "0"
        shutil.copytree(killed, folder)
        found = bytearray(data)
        assert found[start + 6] == 1
        found[start + 6] = 5
        (folder / manifest.name).write_bytes(found)
        assert _restored(folder, changes) == dict(changes)
        shutil.rmtree(folder)


def test_a_write_ahead_log_is_not_trusted(tmp_path: Path) -> None:
    """An earlier version wrote one."""
    db = rocksdict.Rdict(str(tmp_path / "0"), rocksdict.Options(raw_mode=True))
    db.put(b"=k", b"v")
    db.put(b"checkpoint", b"1 1800000000000")
    copy = copied(tmp_path / "0")
    db.close()
    store = DiskStore(copy)
    assert (list(store), store.checkpoint) == ([], None)
    store.close()


FILES = ("CURRENT", "MANIFEST-*", "*.sst", "LOCK", "IDENTITY", "OPTIONS-*", "LOG", "000099.log")


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_socket(path: Path) -> None:
    found = socket.socket(socket.AF_UNIX)
    found.bind(str(path))
    found.close()


def a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def a_link_to_a_pipe(path: Path) -> None:
    os.mkfifo("pipe")
    path.symlink_to(Path("pipe").absolute())


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("make", [a_pipe, a_socket, a_device, a_link_to_a_pipe])
def test_what_is_no_file_is_not_even_opened(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    file: str,
    make: Callable[[Path], None],
) -> None:
    store = DiskStore(tmp_path / "0")
    for n in range(3):
        store[f"k{n}"] = b"1"
        store.save(n)
    store.close()
    folder = tmp_path / "0"
    place = next(iter(folder.glob(file)), folder / file)
    place.unlink(missing_ok=True)
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    make(Path("0") / place.name)
    opened = []
    open_ = rocksdict.Rdict

    def rdict(path: str, options: Any) -> Any:
        opened.append(place.exists() and not place.is_file())
        return open_(path, options)

    monkeypatch.setattr(rocksdict, "Rdict", rdict)
    with closing(DiskStore(folder)) as store:
        assert (len(store), store.checkpoint) == (0, None)
        assert opened == [False], "it was deleted before"
        assert "is damaged" in caplog.text
        assert place.name in caplog.text
        store["k"] = b"2"
        store.save(7)
        assert store.get("k") == b"2"


def test_a_pipe_in_the_place_of_the_trial_is_no_obstacle(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "trial")
    disk.check_state_dir(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("key", [b"=\xff\xfe", b"=k1\xc3", b"=\xed\xa0\x80"])
def test_a_key_that_is_no_text_is_damage(tmp_path: Path, key: bytes) -> None:
    with closing(DiskStore(tmp_path / "0")) as store:
        store["k1"] = b"1"
        store._changed[key] = b"x"
        store.save(3)
        with pytest.raises(StateLost, match=r"is damaged \(.*utf-8.*restored from the changelog"):
            list(store)
    with closing(DiskStore(tmp_path / "0")) as store:
        assert (list(store), store.checkpoint) == ([], None)


def test_keys_behind_a_damaged_block_are_missed_by_nobody(tmp_path: Path) -> None:
    """An iterator of rocksdict just ends there."""
    store = DiskStore(tmp_path / "0")
    for n in range(2000):
        store[f"{n:05}"] = random.Random(n).randbytes(100)
    store.save(1)
    store.close()
    (table,) = (tmp_path / "0").glob("*.sst")
    damage(table, "flip", 0.5)
    store = DiskStore(tmp_path / "0")
    with pytest.raises(StateLost, match=r"is damaged \(Corruption: .*restored from the changelog"):
        list(store)
    store.close()
    assert list(DiskStore(tmp_path / "0")) == []


def test_what_is_damaged_is_said_in_one_sentence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = DiskStore(tmp_path / "0")
    store["k"] = b"v"
    store.save(1)
    store.close()
    (tmp_path / "0" / "CURRENT").write_bytes(b"nothing")
    store = DiskStore(tmp_path / "0")
    assert (list(store), store.checkpoint) == ([], None)
    (line,) = caplog.messages
    assert line.startswith(f"the state in {tmp_path / '0'} is damaged (Corruption: ")
    assert line.endswith("it was deleted, and is restored from the changelog")
    store.close()


def test_a_folder_that_goes_under_a_running_store_is_restored(tmp_path: Path) -> None:
    store = DiskStore(tmp_path / "0")
    shutil.rmtree(tmp_path / "0")
    with pytest.raises(StateLost):
        fill(store)
    again = DiskStore(tmp_path / "0")
    assert list(again) == []
    again.close()


def test_opening_again_and_again_leaves_no_files_behind(tmp_path: Path) -> None:
    for n in range(20):
        store = DiskStore(tmp_path / "0")
        store["k"] = b"%d" % n
        store.save(n)
        store.close()
    assert len(files(tmp_path)) < 20


# --- whoever has it open --------------------------------------------------------------------------


def test_a_lane_takes_what_one_that_was_left_behind_has_open(tmp_path: Path) -> None:
    left = DiskStore(tmp_path / "0")
    for n in range(3000):
        left[f"{n}"] = b"v"
    left.save(7)
    reading = iter(left)
    next(reading)  # in the middle of an assignment
    taken = DiskStore(tmp_path / "0")
    assert (len(taken), taken.checkpoint) == (3000, 7)
    for use in (lambda: left["1"], lambda: left.save(9), left.measure, lambda: list(reading)):
        with pytest.raises(StateLost, match="is closed"):
            use()
    left.close()
    assert taken["1"] == b"v"
    taken.close()


def test_state_that_another_process_has_open_waits_for_its_end(tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from processors.runtime.disk import DiskStore
store = DiskStore(Path({str(tmp_path / "0")!r}))
store["k"] = b"theirs"
store.save(5)
print("open", flush=True)
input()
store.close()
"""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == "open\n"
            with pytest.raises(StateBlocked, match="end the other process that has it open"):
                DiskStore(tmp_path / "0")
            other.communicate("\n", timeout=20)
        finally:
            other.kill()
    store = DiskStore(tmp_path / "0")
    assert (store.checkpoint, store["k"]) == (5, b"theirs")
    store.close()


# --- the place ------------------------------------------------------------------------------------


def test_a_place_where_no_directory_can_be_made_is_told_in_words() -> None:
    with pytest.raises(StateBlocked) as caught:
        disk.check_state_dir(Path("/proc/none/app-toy"))
    assert str(caught.value) == (
        "no state can be kept in /proc/none/app-toy (No such file or directory); make that "
        "directory, or set HANDOFF_STATE_DIR, and it goes on by itself"
    )


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "afile").write_text("x")
    sentence = f"no state can be kept in {tmp_path / 'afile'} "
    for start in (
        lambda: disk.check_state_dir(tmp_path / "afile" / "app-toy"),
        lambda: disk.check_state_dir(tmp_path / "afile"),
        lambda: DiskStore(tmp_path / "afile"),
        lambda: DiskStore(tmp_path / "afile" / "app-toy" / "0"),
    ):
        with pytest.raises(StateBlocked) as caught:
            start()
        assert str(caught.value).startswith(sentence)
        assert "move the file away, or set HANDOFF_STATE_DIR" in str(caught.value)
    assert (tmp_path / "afile").read_text() == "x"
    (tmp_path / "afile").unlink()
    disk.check_state_dir(tmp_path / "afile" / "app-toy")
    DiskStore(tmp_path / "afile" / "app-toy" / "0").close()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """`tmp_path/small` is a file system of 6 MB; what is given remounts it."""
    place = tmp_path / "small"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(place)],
        capture_output=True,
        check=False,
    )
    if made.returncode:
        pytest.skip("only root can mount a small file system")

    def again(options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", str(place)], check=True)

    yield again
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_full_disk_waits_for_room_and_goes_on_exactly(
    tmp_path: Path, small: Callable[[str], None]
) -> None:
    folder = tmp_path / "small" / "app-toy"
    dice = random.Random(3)
    records = [record(n, f"k{n}", "watch:" + dice.randbytes(3000).hex()) for n in range(1500)]

    def opened() -> DiskStore:
        """As a lane's supervisor does it; at the third time a person has made room."""
        if len(lanes.failures) == 2:
            small("size=100m")
        disk.check_state_dir(folder)
        return DiskStore(folder / "0")

    def filling(at: int, store: object) -> None:
        if at == 300 and not lanes.failures:  # somebody else takes the rest
            with pytest.raises(OSError, match="No space left"):
                (tmp_path / "small" / "other").write_bytes(bytes(8 << 20))

    lanes = Lanes(records, opened, filling)
    assert lanes.run() == Lanes(records, MemoryStore).run()
    first, second = lanes.failures
    assert first == second
    assert "(No space left on device); make room there, or set HANDOFF_STATE_DIR" in first


def test_a_disk_that_fills_while_it_runs_says_so_and_keeps_what_it_has(
    tmp_path: Path, small: Callable[[str], None]
) -> None:
    folder = tmp_path / "small" / "0"
    store = DiskStore(folder)
    wanted: list[tuple[str, bytes]] = []
    with pytest.raises(StateBlocked, match="No space left on device"):
        fill(store, wanted)
    small("size=100m")
    store = DiskStore(folder)
    kept = store.checkpoint
    assert kept is not None
    assert kept > 1000
    assert {key: store[key] for key in store} == dict(wanted[:kept])
    assert restore(store, list(wanted)) == kept
    assert {key: store[key] for key in store} == dict(wanted)
    store.close()


def test_a_read_only_place_is_named_and_its_state_kept(
    tmp_path: Path, small: Callable[[str], None]
) -> None:
    store = DiskStore(tmp_path / "small" / "0")
    store["k"] = b"v"
    store.save(3)
    store.close()
    small("ro")
    for start in (
        lambda: disk.check_state_dir(tmp_path / "small"),
        lambda: DiskStore(tmp_path / "small" / "0"),
        lambda: DiskStore(tmp_path / "small" / "1"),
    ):
        with pytest.raises(StateBlocked, match=r"\(Read-only file system\); give the processor"):
            start()
    small("rw")
    store = DiskStore(tmp_path / "small" / "0")
    assert (store.checkpoint, store["k"]) == (3, b"v")
    store.close()


def test_a_missing_right_is_named(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir(mode=0o500)
    user = os.geteuid()
    try:
        if user == 0:  # who may write everywhere
            os.seteuid(65534)
        for start in (disk.check_state_dir, lambda folder: DiskStore(folder / "0")):
            with pytest.raises(StateBlocked, match=r"\(Permission denied\); give the processor"):
                start(tmp_path / "theirs")
    finally:
        os.seteuid(user)


class Faulty:
    """A RocksDB whose next call fails with the words that are given."""

    def __init__(self, real: object, words: str) -> None:
        self._real, self._words = real, words

    def __getattr__(self, name: str) -> object:
        if name == "close":
            return getattr(self._real, name)

        def fails(*_: object) -> None:
            raise Exception(self._words)  # as rocksdict does

        return fails


@pytest.mark.parametrize("number", sorted(disk._ADVICE), ids=lambda number: errno.errorcode[number])
@pytest.mark.parametrize("use", [lambda s: s.get("k"), lambda s: s.save(2), list])
def test_what_the_system_says_of_the_place_deletes_nothing(
    tmp_path: Path, number: int, use: Callable[[DiskStore], object]
) -> None:
    store = DiskStore(tmp_path / "0")
    store["k"] = b"v"
    store.save(1)
    store._db = Faulty(store._db, f"IO error: {os.strerror(number)}: While appending: 000012.sst")
    with pytest.raises(StateBlocked):
        use(store)
    store = DiskStore(tmp_path / "0")
    assert (store["k"], store.checkpoint) == (b"v", 1)
    store.close()


def test_a_disk_that_writes_nothing_for_long_is_named_and_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RocksDB itself would wait as long as it takes, and hold the whole process meanwhile."""
    monkeypatch.setattr(disk, "_STALL_SECONDS", 0.1)
    store = DiskStore(tmp_path / "0")
    store["k"] = b"v"
    store.save(1)
    real = store._db

    class Stalled:
        def property_int_value(self, name: str) -> int:
            assert real.property_int_value(name) == 0  # the name is right
            return 99

        def __getattr__(self, name: str) -> object:
            return getattr(real, name)

    store._db = Stalled()
    with pytest.raises(StateBlocked, match="which has written nothing for some seconds"):
        store.save(2)
    store = DiskStore(tmp_path / "0")
    assert (store["k"], store.checkpoint) == (b"v", 2)
    store.close()


@pytest.mark.parametrize("words", ["Corruption: x", "IO error: Input/output error", "anything"])
@pytest.mark.parametrize("use", [lambda s: s.get("k"), lambda s: s.save(2), list])
def test_anything_else_deletes_the_content(
    tmp_path: Path, words: str, use: Callable[[DiskStore], object]
) -> None:
    store = DiskStore(tmp_path / "0")
    store["k"] = b"v"
    store.save(1)
    store._db = Faulty(store._db, words)
    with pytest.raises(StateLost):
        use(store)
    store = DiskStore(tmp_path / "0")
    assert (store.get("k"), store.checkpoint) == (None, None)
    store.close()


# --- what a failing store means to the driver -----------------------------------------------------


class UnreadableStore(dict[str, bytes]):
    """A store that cannot be read any more."""

    broken = False

    def get(self, key: str, default: object = None) -> object:  # type: ignore[override]
        if self.broken:
            raise StateLost("x")
        return super().get(key, default)

    def __getitem__(self, key: str) -> bytes:
        if self.broken:
            raise StateLost("x")
        return super().__getitem__(key)


def test_a_store_that_fails_is_no_fault_of_a_record_or_a_wake() -> None:
    store = UnreadableStore()
    made = Driver(toy("t."), {})
    made.assign(0, store)
    for n in range(10):
        made.step(record(n, f"k{n}", "due:1000"), NOW)
        made.merge(list(made.changelog()))
    store.broken = True
    before = dict(made.counts)
    with pytest.raises(StoreError):
        made.step(record(10, "k0", "x"), NOW)
    with pytest.raises(StoreError):
        made.fire(0, LATER, LATER, 1)
    with pytest.raises(StoreError):
        made.next_due(0, LATER)
    with pytest.raises(StoreError):
        made.assign(1, store)
    made.drop()
    assert made.counts == before


# --- older than the changelog ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_a_store_is_read_on_from_its_checkpoint_while_it_fits(tmp_path: Path, kind: str) -> None:
    store = MemoryStore() if kind == "memory" else DiskStore(tmp_path / "0")
    changes: list[tuple[str, bytes | None]] = [(f"k{n}", b"v") for n in range(20)]
    assert restore(store, changes[:10]) == 0
    assert restore(store, changes) == 10
    assert len(store) == 20
    assert restore(store, changes, id_="another topic") == 0
    assert restore(store, changes, id_="") is None  # a broker that tells no ids
    assert restore(store, changes[:5], id_="another topic") == 0  # it was cut
    assert sorted(store) == sorted(f"k{n}" for n in range(5))
    assert restore(store, changes[8:], first=8, id_="another topic") == 8
    day = 86_400_000
    store.saved_at -= day + 60_000  # tombstones since then may be gone
    assert restore(store, changes[8:], first=8, id_="another topic") == 8
    store.saved_at += day + 60_000  # by a clock that was wrong
    assert restore(store, changes[8:], first=8, id_="another topic") == 8
    store.close()


def test_a_checkpoint_of_an_earlier_version_is_understood(tmp_path: Path) -> None:
    store = DiskStore(tmp_path / "0")
    store["k0"] = b"v"
    store.save(1)
    store._db.put(b"checkpoint", b"1 %d" % store.saved_at)
    store.close()
    store = DiskStore(tmp_path / "0")
    assert (store.checkpoint, store.changelog_id) == (1, "")
    assert restore(store, [("k0", b"v"), ("k1", b"v")]) == 1
    store.close()


def test_a_directory_that_is_a_link_is_mended_where_it_leads(
    written: tuple[Path, list[tuple[str, bytes]]], tmp_path: Path
) -> None:
    killed, changes = written
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "0"
    shutil.copytree(killed, elsewhere)
    folder.symlink_to(elsewhere)
    damage(next(elsewhere.glob("MANIFEST-*")), "garbage", 0.5, seed=1)
    (elsewhere / "lost").mkdir()
    (elsewhere / "nowhere").symlink_to(tmp_path / "nothing")
    assert _restored(folder, changes) == dict(changes)
    assert folder.is_symlink()
    assert list(elsewhere.glob("MANIFEST-*"))
    assert not list(elsewhere.glob("lost"))
