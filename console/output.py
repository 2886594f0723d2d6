"""How commands write: lines for programs, tables for people, progress on standard error."""

import errno
import os
import select
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click
import msgspec
from rich.table import Table
from rich.text import Text

from console.render import console
from schemas.printable import plain, plain_json, plain_lines

_PROGRESS_SECONDS = 2.0

as_json = click.option(
    "--output",
    "-o",
    "output_",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="A form for people, or JSON for programs.",
)


def say(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Text for people, of one line or several, on standard output or standard error (`err`)."""
    click.echo(plain_lines(text), err=err, nl=nl)


def line(data: bytes, *, flush: bool = False) -> None:
    """One line of JSON on standard output; flush where a reader waits for each."""
    sys.stdout.buffer.write(plain_json(data) + b"\n")
    if flush:
        sys.stdout.buffer.flush()


def document(value: Any) -> None:
    """One JSON value on standard output."""
    line(msgspec.json.encode(value))
    sys.stdout.buffer.flush()


def columns(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table of short cells, of any length: one row a line, and a terminal may break it."""
    cells = [headings, *([plain(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        say("  ".join(padded).rstrip())


def table(headings: Sequence[str], rows: Sequence[Sequence[str | Text]]) -> None:
    """A table of a few rows, whose cells wrap."""
    grid = Table(*headings, box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for row in rows:
        grid.add_row(*(cell if isinstance(cell, Text) else Text(plain(cell)) for cell in row))
    console().print(grid)


def number(count: int, noun: str, plural: str | None = None) -> str:
    """A count with its noun: 1 record, 1,200 records."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


@contextmanager
def ends_cleanly() -> Iterator[None]:
    """A reader that has gone (`| head`) is how a stream ends, and no failure."""
    try:
        yield
    except BrokenPipeError:
        _go_nowhere()
    finally:
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            _go_nowhere()


def no_room(error: OSError) -> str | None:
    """What there is to say where something finds no room to be written, else None."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        return None
    try:
        sys.stdout.flush()
    except OSError:
        _go_nowhere()
    # The system names a file only when it is opened.
    where = error.filename or f"standard output or a file in {tempfile.gettempdir()}"
    return f"{where} cannot be written: {error.strerror}; make room there, and run it again"


def _go_nowhere() -> None:
    # Python flushes standard output once more when it ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def reader_gone() -> bool:
    """Whether nobody reads our standard output any more: a quiet stream must end too."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    except (OSError, ValueError, AttributeError):
        return False


class Progress:
    """Says on standard error how far a long thing is, every two seconds: `tick` often."""

    def __init__(self, words: Callable[[], str]) -> None:
        self._words = words
        self._next = time.monotonic() + _PROGRESS_SECONDS
        self._said = False

    def tick(self) -> None:
        """Print a line if it is time."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _PROGRESS_SECONDS
            self._said = True
            say(self._words(), err=True)

    def end(self) -> None:
        """How far it came in the end, where a line before said less."""
        if self._said:
            say(self._words(), err=True)
