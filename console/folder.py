"""Temporary folders of commands: gone when the command ends."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from console.errors import FOUND_PROBLEMS, CommandError


@contextmanager
def temporary(name: str) -> Iterator[Path]:
    """A folder for the block, whose name begins with `name`. Raises `CommandError` where none can
    be made: on a full disk, or one that may only be read."""
    try:
        made = tempfile.TemporaryDirectory(prefix=f"{name}-")
    except OSError as error:
        raise CommandError(
            f"no temporary folder can be made: {error.strerror}; make room there, or name a folder "
            "elsewhere with TMPDIR",
            FOUND_PROBLEMS,
        ) from None
    with made as folder:
        yield Path(folder)
