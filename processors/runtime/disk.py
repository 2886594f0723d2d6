"""State on disk, in RocksDB (the extra `disk`): a cache of the changelog, so no repair is worth it.

What is wrong with its content (a checksum that does not fit, a file that is gone) is mended by
deleting it: it is restored from the changelog. What is wrong with the place is for a person: no
room, no right, a file in the way, another process that has it. A lane then waits (`Blocked`).

Three things were found out with RocksDB 9.8 as rocksdict 0.3 has it, and are tested:

- It has no write-ahead log here. After a crash there is the state of an earlier moment, with the
  checkpoint of that moment, and never anything between. With a log, a MANIFEST that has lost its
  end opens without an error, to a state with a gap in the middle.
- An iterator that comes to a damaged block ends as if that were all; only `status` tells.
- An iterator keeps the directory locked, even when its database is closed.
"""

import errno
import logging
import os
import shutil
import time
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

from processors.driver import StoreError
from processors.runtime.settings import SettingsError
from processors.runtime.transactions import Blocked, Fatal

log = logging.getLogger("handoff.state")

# Written at once and in one file. A crash costs what was not written yet, to be restored.
_WRITE_BUFFER = 16 << 20
# So much must be free when a lane starts: for a buffer, and for a compaction of small files.
ROOM, _TRIAL = 2 * _WRITE_BUFFER, "trial"
_CHECKPOINT = b"checkpoint"  # all other keys begin with "="
_SLICE = 1_000
_CLOSE_SECONDS, _PAUSE_SECONDS = 1.0, 0.01
_BUFFERS, _STALL_SECONDS = 2, 10.0
_NEVER = 1 << 30

_WRITE = "give the processor the right to write there"
_LOCKED = "end the other process that has it open, or give each its own HANDOFF_ORDINAL"
# What the operating system says of a place, and what a person can do about it.
_PLACE = {
    errno.ENOSPC: "make room there",
    errno.EDQUOT: "raise the quota",
    errno.EROFS: _WRITE,
    errno.EACCES: _WRITE,
    errno.EPERM: _WRITE,
    errno.ENOTDIR: "a directory must be there: move the file away",
    errno.EEXIST: "a directory must be there: move the file away",
    errno.ENOLCK: _LOCKED,
    errno.EAGAIN: _LOCKED,
    errno.EBUSY: "look at the disk, which has written nothing for some seconds",
    errno.EMFILE: "raise the limit of open files",
    errno.ENFILE: "raise the limit of open files",
    errno.ENOMEM: "give the processor more memory",
}
# A MANIFEST is written in blocks, as records with a header of checksum (4 bytes), length (2) and
# type (1): full, first, middle, last. Where the type is one of a recycled log, RocksDB 9.8 reads
# for ever, and the whole process with it. A new one is begun when it is so large.
_BLOCK, _HEADER, _LAST = 32 << 10, 7, 4
_MANIFEST_BYTES = 4 << 20
# Of this process, by directory. A lane that hangs is left behind, and its successor takes what it
# had open.
_open: dict[Path, "DiskStore"] = {}


class StateLost(Fatal, StoreError):
    """The store is gone, and what it held is in the changelog: a new lane restores it."""


class StateBlocked(Blocked, StoreError):
    """No state can be kept in its place until a person mends that."""


class DiskStore(MutableMapping[str, bytes]):
    """The state of one partition in RocksDB: data and checkpoint in one write batch.

    What is damaged is deleted: when it is opened, it is empty then; later, `StateLost` is raised.
    Raises `StateBlocked` where the place is not fit, and `SettingsError` without the package.
    """

    def __init__(self, path: Path) -> None:
        self._rocks = _rocksdict()
        self._path = path
        self._closed = True
        self._write = self._rocks.WriteOptions()
        self._write.disable_wal = self._write.no_slowdown = True
        try:
            self._open()
        except Exception as error:  # noqa: BLE001 - nothing more special is raised
            log.warning("%s", self._mended(error))
            self._open_empty()

    # --- opened, deleted, closed --------------------------------------------------------------

    def _open(self) -> None:
        earlier = _open.pop(self._path, None)
        if earlier is not None:
            earlier.close()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        options = self._rocks.Options(raw_mode=True)
        options.set_write_buffer_size(_WRITE_BUFFER)
        # Never as many as that: `save` waits for them.
        options.set_max_write_buffer_number(_NEVER)
        options.set_level_zero_slowdown_writes_trigger(_NEVER)
        options.set_level_zero_stop_writes_trigger(_NEVER)
        options.set_soft_pending_compaction_bytes_limit(0)
        options.set_hard_pending_compaction_bytes_limit(0)
        options.set_keep_log_file_num(2)
        options.set_max_manifest_file_size(_MANIFEST_BYTES)
        _check_logs(self._path)
        self._db = self._rocks.Rdict(str(self._path), options)
        self._closed = False
        _open[self._path] = self
        self._changed: dict[bytes, bytes | None] = {}  # since the last save
        self.checkpoint: int | None = None
        self.saved_at, self.changelog_id = 0, ""
        found = self._db.get(_CHECKPOINT)
        if found is not None:
            offset, saved_at, *rest = found.decode().split(" ")
            self.checkpoint, self.saved_at, self.changelog_id = (
                int(offset),
                int(saved_at),
                "".join(rest),
            )

    def _open_empty(self) -> None:
        try:
            self._open()
        except Exception as error:  # noqa: BLE001
            self.close()
            raise _blocked(self._path, error) from None

    def _failed(self, error: Exception) -> StoreError:
        """What an error of an open store means; raises `StateBlocked`, too."""
        if self._closed:  # by another thread: the directory may be another lane's already
            return StateLost(f"the state in {self._path} is closed")
        return self._mended(error)

    def _mended(self, error: Exception) -> StateLost:
        """Delete the content, which is to blame for `error`. Raises `StateBlocked` where it is
        not, or where it cannot be deleted."""
        self.close()
        if _number(error) is not None:
            raise _blocked(self._path, error) from None
        self._delete()
        return StateLost(
            f"the state in {self._path} is damaged ({_text(error)}); "
            "it was deleted, and is restored from the changelog"
        )

    def _delete(self) -> None:
        try:
            shutil.rmtree(self._path)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise _blocked(self._path, error) from None

    def wipe(self) -> None:
        self.close()
        self._delete()
        self._open_empty()

    def close(self) -> None:
        """Write what is not written yet, as far as that goes: the rest is in the changelog."""
        if self._closed:
            return
        self._closed = True
        if _open.get(self._path) is self:
            del _open[self._path]
        limit = time.monotonic() + _CLOSE_SECONDS
        while time.monotonic() < limit:
            try:
                self._db.close()
            except RuntimeError:  # another thread, of a lane that was left behind, is inside
                time.sleep(_PAUSE_SECONDS)
                continue
            except Exception:  # noqa: BLE001 - what is not written is restored
                return
            else:
                return

    # --- the mapping --------------------------------------------------------------------------

    def get(self, key: str, default: Any = None) -> Any:
        try:
            return self._db.get(b"=" + key.encode(), default)
        except Exception as error:  # noqa: BLE001
            raise self._failed(error) from None

    def __getitem__(self, key: str) -> bytes:
        found: bytes | None = self.get(key)
        if found is None:
            raise KeyError(key)
        return found

    def __setitem__(self, key: str, value: bytes) -> None:
        self._changed[b"=" + key.encode()] = value

    def __delitem__(self, key: str) -> None:
        self._changed[b"=" + key.encode()] = None

    def pop(self, key: str, default: Any = None, /) -> Any:
        # Not looked up first: nobody needs what was there, and a delete of nothing is harmless.
        del self[key]
        return default

    def __iter__(self) -> Iterator[str]:
        keys = self._keys(b"=")
        while keys:
            for key in keys:
                yield key[1:].decode()
            keys = self._keys(keys[-1] + b"\0")

    def _keys(self, first: bytes) -> list[bytes]:
        """The next keys from `first` on, in an iterator of their own."""
        keys: list[bytes] = []
        found: Any = None
        try:
            found = self._db.iter()
            found.seek(first)
            while len(keys) < _SLICE and found.valid():
                key: bytes = found.key()
                if not key.startswith(b"="):
                    break
                keys.append(key)
                found.next()
            found.status()
        except Exception as error:  # noqa: BLE001
            del found  # a traceback would hold it, and it would hold the lock
            raise self._failed(error) from None
        return keys

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def save(self, checkpoint: int | None) -> None:
        self.checkpoint, self.saved_at = checkpoint, time.time_ns() // 1_000_000
        self._changed[_CHECKPOINT] = (
            None
            if checkpoint is None
            else f"{checkpoint} {self.saved_at} {self.changelog_id}".encode()
        )
        try:
            self._put(self._changed)
            self._wait_for_files()
        except Exception as error:  # noqa: BLE001
            raise self._failed(error) from None
        self._changed.clear()

    def _put(self, changes: dict[bytes, bytes | None]) -> None:
        batch = self._rocks.WriteBatch(raw_mode=True)
        for key, value in changes.items():
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        self._db.write(batch, self._write)

    def _wait_for_files(self) -> None:
        """As long as buffers wait to be written. RocksDB would wait, too, with the whole process,
        and on a full disk for ever."""
        limit = time.monotonic() + _STALL_SECONDS
        while self._db.property_int_value("rocksdb.num-immutable-mem-table") > _BUFFERS:
            if time.monotonic() > limit:
                _try_room(self._path.parent)
                raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
            time.sleep(_PAUSE_SECONDS)
            self._put({_CHECKPOINT: self._changed[_CHECKPOINT]})  # tells why files are not written

    def measure(self) -> tuple[int, int]:
        try:
            keys = self._db.property_int_value("rocksdb.estimate-num-keys") or 0
            size = self._db.property_int_value("rocksdb.estimate-live-data-size") or 0
        except Exception as error:  # noqa: BLE001
            raise self._failed(error) from None
        return keys, size


def _check_logs(path: Path) -> None:
    """Raises `ValueError` for what RocksDB must not even open."""
    for file in path.glob("*.log"):
        if file.stat().st_size:
            raise ValueError(f"{file.name} is a write-ahead log, and there must be none")
    for file in path.glob("MANIFEST-*"):
        data = file.read_bytes()
        at = 0
        while at + _HEADER <= len(data):
            left = _BLOCK - at % _BLOCK
            if left < _HEADER:
                at += left
                continue
            if data[at + 6] > _LAST:
                raise ValueError(f"{file.name} has a record of an unknown type")
            at += _HEADER + int.from_bytes(data[at + 4 : at + 6], "little")


def check_state_dir(folder: Path) -> None:
    """Raises `StateBlocked` when a lane that keeps its state there could not begin, and
    `SettingsError` without the package.

    Asked before a lane joins its group: partitions that it could not hold would go to and fro.
    """
    _rocksdict()
    try:
        _try_room(folder)
    except OSError as error:
        raise _blocked(folder / _TRIAL, error) from None


def _try_room(folder: Path) -> None:
    """Raises `OSError` where `ROOM` bytes cannot be written to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    trial = folder / _TRIAL
    try:
        with trial.open("wb") as file:
            for _ in range(ROOM >> 20):
                file.write(bytes(1 << 20))
    finally:
        trial.unlink(missing_ok=True)


def _rocksdict() -> Any:
    try:
        import rocksdict  # noqa: PLC0415 - an optional extra
    except ImportError:
        raise SettingsError(
            "state = disk needs the package rocksdict; install it with: pip install rocksdict"
        ) from None
    return rocksdict


def _number(error: Exception) -> int | None:
    """By which number the operating system refused a place; None where the content is to blame.

    RocksDB tells it in words only, those of the C library.
    """
    if isinstance(error, OSError) and error.errno in _PLACE:
        return error.errno
    text = str(error)
    return next((number for number in _PLACE if os.strerror(number) in text), None)


def _blocked(path: Path, error: Exception) -> StateBlocked:
    """That what is to lie at `path` cannot; the same sentence for all that lies beside it."""
    number = _number(error)
    why, what = _text(error), "look at the disk"
    if number is not None:
        why, what = os.strerror(number), _PLACE[number]
    place = next((place for place in (path, *path.parents) if os.path.isfile(place)), path.parent)
    return StateBlocked(
        f"no state can be kept in {place} ({why}): {what}, or set HANDOFF_STATE_DIR; "
        "it goes on by itself then"
    )


def _text(error: Exception) -> str:
    return " ".join(str(error).split())
