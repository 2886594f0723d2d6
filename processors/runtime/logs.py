"""What a processor writes to standard error: one line for each event, and only printable text."""

import logging
import os
import sys

from schemas.printable import plain_lines


class _Formatter(logging.Formatter):
    """Lines for people and for programs that collect them. They contain names from documents and
    records: what is not printable is replaced, and further lines of an event are indented."""

    def format(self, record: logging.LogRecord) -> str:
        return _indented(super().format(record))


def log_lines(instance: int | None = None) -> None:
    """Log to standard error, unless the caller has set logging up already. With `instance`, each
    line names it, because several instances share standard error."""
    whose = "" if instance is None else f"instance {instance} "
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(f"%(asctime)s %(levelname)s {whose}%(name)s %(message)s"))
    level = os.environ.get("HANDOFF_LOG_LEVEL", "INFO").upper()
    logging.basicConfig(level=level, handlers=[handler])


def log_plainly() -> None:
    """Log only printable text where logging is not set up, as in most commands."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_Formatter("%(message)s"))


def complain(sentence: str) -> None:
    """One sentence on standard error, for whoever started the process."""
    print(f"handoff: {_indented(sentence)}", file=sys.stderr)  # noqa: T201


def _indented(text: str) -> str:
    return plain_lines(text).replace("\n", "\n    ")
