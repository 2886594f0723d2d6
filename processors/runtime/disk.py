"""State on disk, in RocksDB (the extra `disk`): a cache of the changelog, which is never repaired.

When its content is damaged (a wrong checksum, a missing file), it is deleted and restored from the
changelog. When its directory cannot be used (no room, no right, a file in its way, another process
has it open), a person has to act, and the lane waits (`Blocked`).

Three things were found with RocksDB 9.8 in rocksdict 0.3, and are tested:

- The store has no write-ahead log. After a crash it has the state of one earlier moment and the
  checkpoint of the same moment. With a log, a MANIFEST that has lost its end opens without an
  error, and the state has a gap in the middle.
- When an iterator comes to a damaged block, it ends as if there were no more keys. Only `status`
  shows the error.
- An iterator keeps the directory locked, even after its database is closed.
"""

import errno
import logging
import os
import shutil
import stat
import time
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

from processors.journal import StoreError
from processors.runtime.settings import SettingsError
from processors.runtime.transactions import Blocked, Fatal

log = logging.getLogger("handoff.state")

# Written in one file when it is full. After a crash, what was not written yet is restored.
_WRITE_BUFFER = 16 << 20
# So much must be free when a lane starts: for one buffer, and for a compaction of small files.
ROOM, _TRIAL = 2 * _WRITE_BUFFER, "trial"
_CHECKPOINT = b"checkpoint"  # all other keys begin with "="
_SLICE = 1_000
_CLOSE_SECONDS, _PAUSE_SECONDS = 1.0, 0.01
_BUFFERS, _STALL_SECONDS = 2, 10.0
_NEVER = 1 << 30

_WRITE = "give the processor the right to write there"
_LOCKED = "end the other process that has it open, or give each its own HANDOFF_ORDINAL"
# An error of the operating system, and what a person can do about it.
_ADVICE = {
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
# A MANIFEST consists of blocks of records. The header of a record is checksum (4 bytes), length (2)
# and type (1): full, first, middle, last. When the type is one of a recycled log, RocksDB 9.8 reads
# in an endless loop, and the whole process stands still. At this size a new MANIFEST is begun.
_BLOCK, _HEADER, _LAST = 32 << 10, 7, 4
_MANIFEST_BYTES = 4 << 20
# The open stores of this process, by directory. When a lane hangs and is abandoned, the next lane
# closes the stores that it had open.
_open: dict[Path, "DiskStore"] = {}


class StateLost(Fatal, StoreError):
    """The store was deleted or closed; the next lane restores it from the changelog."""


class StateBlocked(Blocked, StoreError):
    """No state can be kept in the directory until a person puts that right."""


class DiskStore(MutableMapping[str, bytes]):
    """The state of one partition in RocksDB: data and checkpoint in one write batch.

    A damaged store is deleted. If that happens when it is opened, it is empty afterwards; if later,
    `StateLost` is raised. Raises `StateBlocked` when the directory cannot be used, and
    `SettingsError` without the package.
    """

    def __init__(self, path: Path) -> None:
        self._rocks = _rocksdict()
        self._path = path
        self._closed = True
        self._write = self._rocks.WriteOptions()
        self._write.disable_wal = self._write.no_slowdown = True
        try:
            self._open()
        except Exception as error:  # noqa: BLE001 - RocksDB raises no special type
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
        # RocksDB itself must never stop a write: `save` waits instead (`_wait_for_files`).
        options.set_max_write_buffer_number(_NEVER)
        options.set_level_zero_slowdown_writes_trigger(_NEVER)
        options.set_level_zero_stop_writes_trigger(_NEVER)
        options.set_soft_pending_compaction_bytes_limit(0)
        options.set_hard_pending_compaction_bytes_limit(0)
        options.set_keep_log_file_num(2)
        options.set_max_manifest_file_size(_MANIFEST_BYTES)
        _check_files(self._path)
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
        """The exception for an error of an open store. Raises `StateBlocked`."""
        if self._closed:  # by another thread, and another lane may use the directory now
            return StateLost(f"the state in {self._path} is closed")
        return self._mended(error)

    def _mended(self, error: Exception) -> StateLost:
        """Delete the content, because `error` says that it is damaged. Raises `StateBlocked` when
        `error` comes from the directory, or when the content cannot be deleted."""
        self.close()
        if _number(error) is not None:
            raise _blocked(self._path, error) from None
        self._delete()
        return StateLost(
            f"the state in {self._path} is damaged ({_text(error)}); "
            "it was deleted, and is restored from the changelog"
        )

    def _delete(self) -> None:
        """Delete what is in the directory. Itself it may be a link, or another disk: it stays."""
        try:
            for file in self._path.iterdir():
                if file.is_dir() and not file.is_symlink():
                    shutil.rmtree(file)
                else:
                    file.unlink(missing_ok=True)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise _blocked(self._path, error) from None

    def wipe(self) -> None:
        self.close()
        self._delete()
        self._open_empty()

    def close(self) -> None:
        """Try to write what is not written yet; what is not written is in the changelog."""
        if self._closed:
            return
        self._closed = True
        if _open.get(self._path) is self:
            del _open[self._path]
        limit = time.monotonic() + _CLOSE_SECONDS
        while time.monotonic() < limit:
            try:
                self._db.close()
            except RuntimeError:  # a thread of an abandoned lane is in a call
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
        # Without a look-up: no caller uses the old value, and to delete a missing key does no harm.
        del self[key]
        return default

    def __iter__(self) -> Iterator[str]:
        keys = self._keys(b"=")
        while keys:
            try:
                names = [key[1:].decode() for key in keys]
            except UnicodeDecodeError as error:  # none that was written here
                raise self._failed(error) from None
            yield from names
            keys = self._keys(keys[-1] + b"\0")

    def _keys(self, first: bytes) -> list[bytes]:
        """The next keys from `first` on, read with an iterator that is closed before they are
        used."""
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
            del found  # else the traceback keeps the iterator, and the iterator keeps the lock
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
        """Wait while more than `_BUFFERS` buffers are not written to files yet. If RocksDB waited
        itself, the whole process would stand still, on a full disk for ever."""
        limit = time.monotonic() + _STALL_SECONDS
        while self._db.property_int_value("rocksdb.num-immutable-mem-table") > _BUFFERS:
            if time.monotonic() > limit:
                _try_room(self._path.parent)
                raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
            time.sleep(_PAUSE_SECONDS)
            # A write raises the reason why files are not written.
            self._put({_CHECKPOINT: self._changed[_CHECKPOINT]})

    def measure(self) -> tuple[int, int]:
        try:
            keys = self._db.property_int_value("rocksdb.estimate-num-keys") or 0
            size = self._db.property_int_value("rocksdb.estimate-live-data-size") or 0
        except Exception as error:  # noqa: BLE001
            raise self._failed(error) from None
        return keys, size


def _check_files(path: Path) -> None:
    """Raises `ValueError` for what RocksDB must not even open: it would wait for a pipe, and read a
    device for ever."""
    for file in path.glob("*"):
        try:
            kind = file.stat().st_mode
        except OSError:  # a link to nowhere: RocksDB says what it makes of that
            continue
        if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
            raise ValueError(f"{file.name} is no file, but a pipe, a socket or a device")
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
    """Raises `StateBlocked` when a lane could not keep its state in this folder, and
    `SettingsError` without the package.

    Called before a lane joins its group. If the lane joined and failed then, its partitions would
    move between instances again and again.
    """
    _rocksdict()
    try:
        _try_room(folder)
    except OSError as error:
        raise _blocked(folder / _TRIAL, error) from None


def _try_room(folder: Path) -> None:
    """Raises `OSError` when `ROOM` bytes cannot be written to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    trial = folder / _TRIAL
    trial.unlink(missing_ok=True)  # whatever it is: to open a pipe would take for ever
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
    """The `errno` of an error that comes from the directory; None when the content is damaged.

    RocksDB gives it only as a text, that of the C library.
    """
    if isinstance(error, OSError) and error.errno in _ADVICE:
        return error.errno
    text = str(error)
    return next((number for number in _ADVICE if os.strerror(number) in text), None)


def _blocked(path: Path, error: Exception) -> StateBlocked:
    """The exception when `path` cannot be used; the same sentence for all paths beside it."""
    number = _number(error)
    why, what = _text(error), "look at the disk"
    if isinstance(error, OSError) and error.strerror:
        why = error.strerror
        if error.errno == errno.ENOENT:  # as under /proc
            what = "make that directory"
    if number is not None:
        why, what = os.strerror(number), _ADVICE[number]
    place = next((place for place in (path, *path.parents) if os.path.isfile(place)), path.parent)
    return StateBlocked(
        f"no state can be kept in {place} ({why}); {what}, or set HANDOFF_STATE_DIR, "
        "and it goes on by itself"
    )


def _text(error: Exception) -> str:
    return " ".join(str(error).split())
