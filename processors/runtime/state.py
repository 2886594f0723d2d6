"""The store for the committed state of one partition: in memory, or on disk (`disk`).

Both hold encoded bytes by state key, which is compact and gives the garbage collector nothing to
walk. Only changes of committed transactions are written to it. `checkpoint` is the changelog offset
up to which the content is complete, and restoration goes on from there; when it is None, the
changelog is read from its start. It was taken at `saved_at` (epoch ms), from the changelog whose
topic id is `changelog_id` (empty when it is not known).
"""

import time
from pathlib import Path
from typing import Any

from processors.runtime import disk
from processors.runtime.disk import DiskStore
from processors.runtime.settings import Settings


class MemoryStore(dict[str, bytes]):
    """State in memory. It counts its bytes as they come and go."""

    # The methods beside the mapping, here and in `DiskStore`: `save` writes all changes since the
    # last `save` together with their checkpoint. `wipe` deletes everything, the checkpoint too.
    # `measure` is (keys, bytes), on disk an estimate.

    def __init__(self) -> None:
        super().__init__()
        self.checkpoint: int | None = None
        self.saved_at, self.changelog_id = 0, ""
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
        self.checkpoint, self.saved_at = checkpoint, time.time_ns() // 1_000_000

    def wipe(self) -> None:
        self.clear()
        self._bytes = 0
        self.checkpoint = None

    def close(self) -> None:
        self.wipe()

    def measure(self) -> tuple[int, int]:
        return len(self), self._bytes


Store = MemoryStore | DiskStore


def check_state_dir(settings: Settings, processor: str) -> None:
    """Raises `StateBlocked` when no state can be kept in its folder, and `SettingsError`."""
    if settings.state == "disk":
        disk.check_state_dir(_folder(settings, processor))


def open_store(settings: Settings, processor: str, partition: int) -> Store:
    """The store of one partition, as the settings want it. Raises what `check_state_dir` does."""
    if settings.state == "memory":
        return MemoryStore()
    return DiskStore(_folder(settings, processor) / str(partition))


def _folder(settings: Settings, processor: str) -> Path:
    # A folder for each ordinal: a partition may move to another instance while the one that had it
    # is frozen or slow and still holds RocksDB's lock.
    owner = "" if settings.ordinal is None else f"-{settings.ordinal}"
    return settings.state_dir.absolute() / f"{settings.application_id}-{processor}{owner}"
