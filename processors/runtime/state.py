"""Where the state of one partition lies between transactions: in memory, or on disk.

Both hold encoded bytes by state key: compact, and nothing for the garbage collector to walk. Only
what a committed transaction changed ever gets here. `checkpoint` is the changelog offset up to
which the content is complete, so restoration can go on from there; None means read it from its
start.
"""

import time
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

from processors.runtime.settings import Settings, SettingsError

# Tombstones older than this may be gone from the changelog (its `delete.retention.ms`), so a copy
# of the state that is older could keep keys that were deleted meanwhile.
DELETE_RETENTION_MS = 86_400_000


class MemoryStore(dict[str, bytes]):
    """State in memory. It counts its bytes as they come and go."""

    # The methods beside the mapping, here and in `DiskStore`: `save` makes all changes since the
    # last one last, together with their checkpoint; `wipe` forgets everything, the checkpoint too;
    # `measure` is (keys, bytes), an estimate where the state is on disk.

    def __init__(self) -> None:
        super().__init__()
        self.checkpoint: int | None = None
        self._bytes = 0

    def __setitem__(self, key: str, value: bytes) -> None:
        before = self.get(key)
        self._bytes += len(value) - (-len(key) if before is None else len(before))
        super().__setitem__(key, value)

    def pop(self, key: str, default: Any = None, /) -> Any:
        before = super().pop(key, default)
        if before is not None:
            self._bytes -= len(before) + len(key)
        return before

    def save(self, checkpoint: int | None) -> None:
        self.checkpoint = checkpoint

    def wipe(self) -> None:
        self.clear()
        self._bytes = 0
        self.checkpoint = None

    def close(self) -> None:
        self.wipe()

    def measure(self) -> tuple[int, int]:
        return len(self), self._bytes


class DiskStore(MutableMapping[str, bytes]):
    """State in RocksDB (the extra `disk`): data and checkpoint in one write batch.

    A crash leaves an older state with an older checkpoint, never one without the other. A copy
    whose checkpoint is older than `DELETE_RETENTION_MS` is wiped when it is opened.
    """

    def __init__(self, path: Path, now_ms: int) -> None:
        try:
            import rocksdict  # noqa: PLC0415 - an optional extra
        except ImportError:
            raise SettingsError(
                "state = disk needs the package rocksdict; install it with: pip install rocksdict"
            ) from None
        self._rocks = rocksdict
        self._path = path
        self._open()
        self.checkpoint: int | None = None
        found = self._db.get(b"checkpoint")
        if found is not None:
            offset, saved_at = found.split(b" ")
            if now_ms - int(saved_at) > DELETE_RETENTION_MS:
                self.wipe()
            else:
                self.checkpoint = int(offset)

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._db = self._rocks.Rdict(str(self._path), self._rocks.Options(raw_mode=True))
        self._batch = self._rocks.WriteBatch(raw_mode=True)

    def get(self, key: str, default: Any = None) -> Any:
        return self._db.get(b"=" + key.encode(), default)

    def __getitem__(self, key: str) -> bytes:
        found: bytes | None = self.get(key)
        if found is None:
            raise KeyError(key)
        return found

    def __setitem__(self, key: str, value: bytes) -> None:
        self._batch.put(b"=" + key.encode(), value)

    def __delitem__(self, key: str) -> None:
        self._batch.delete(b"=" + key.encode())

    def pop(self, key: str, default: Any = None, /) -> Any:
        # Not looked up first: nobody needs what was there, and a delete of nothing is harmless.
        del self[key]
        return default

    def __iter__(self) -> Iterator[str]:
        keys: Any = self._db.keys()
        for key in keys:
            if key.startswith(b"="):
                yield key[1:].decode()

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def save(self, checkpoint: int | None) -> None:
        self.checkpoint = checkpoint
        if checkpoint is None:
            self._batch.delete(b"checkpoint")
        else:
            saved_at = time.time_ns() // 1_000_000
            self._batch.put(b"checkpoint", b"%d %d" % (checkpoint, saved_at))
        self._db.write(self._batch)
        self._batch = self._rocks.WriteBatch(raw_mode=True)

    def wipe(self) -> None:
        self._db.close()
        self._rocks.Rdict.destroy(str(self._path), self._rocks.Options(raw_mode=True))
        self._open()
        self.checkpoint = None

    def close(self) -> None:
        self._db.close()

    def measure(self) -> tuple[int, int]:
        keys = self._db.property_int_value("rocksdb.estimate-num-keys") or 0
        size = self._db.property_int_value("rocksdb.estimate-live-data-size") or 0
        return keys, size


Store = MemoryStore | DiskStore


def open_store(settings: Settings, processor: str, partition: int) -> Store:
    """The store of one partition, as the settings want it. Raises `SettingsError`."""
    if settings.state == "memory":
        return MemoryStore()
    # One folder an ordinal: a partition moves to another instance while the one that had it, frozen
    # or slow, still holds RocksDB's lock.
    owner = "" if settings.ordinal is None else f"-{settings.ordinal}"
    path = settings.state_dir / f"{settings.application_id}-{processor}{owner}" / str(partition)
    return DiskStore(path, time.time_ns() // 1_000_000)
