"""What is wrong with the file of the read model: a sentence that says what to do about it."""

import os
import shutil
from pathlib import Path
from typing import Final

import apsw

# What SQLite cannot read was written by something else, or was damaged: it is of no use any more.
DAMAGED: Final = (apsw.CorruptError, apsw.NotADBError)
# What keeps a file that is whole from being used, for a while or until a person acts.
AWAY: Final = (
    apsw.BusyError,
    apsw.CantOpenError,
    apsw.FullError,
    apsw.IOError,
    apsw.LockedError,
    apsw.NoMemError,
    apsw.PermissionsError,
    apsw.ProtocolError,
    apsw.ReadOnlyError,
)
_SETTING: Final = "HANDOFF_CONSOLE_STATE_FILE"
_ROOM: Final = 1 << 20  # bytes; a disk with less than that is full, whatever SQLite calls it


def sentence(path: Path, error: Exception) -> str:
    """What keeps the read model from being kept in its file, and what to do."""
    if path.is_dir():
        return (
            f"the read model cannot be kept in {path}, which is a directory; move it away, or name "
            f"another file in {_SETTING}"
        )
    if isinstance(error, apsw.FullError) or _no_room(path):
        return (
            f"the disk is full, so the read model {path} cannot be written; make room there, and "
            "it goes on by itself"
        )
    if isinstance(error, apsw.BusyError | apsw.LockedError):
        return (
            f"another process holds the read model {path}; end that process, or name another file "
            f"in {_SETTING}"
        )
    if isinstance(error, apsw.ReadOnlyError | apsw.PermissionsError | apsw.CantOpenError):
        return (
            f"the read model {path} cannot be written ({_plain(error)}); give the console the "
            f"right to write there, or name another file in {_SETTING}"
        )
    return f"the read model {path} cannot be used ({_plain(error)}); look at the disk"


def delete(path: Path) -> None:
    """Delete a read model, with what SQLite keeps beside it. Raises OSError."""
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def _no_room(path: Path) -> bool:
    try:
        return shutil.disk_usage(path.parent).free < _ROOM
    except OSError:
        return False


def _plain(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno).lower()
    return str(error).partition(": ")[2] or str(error)
