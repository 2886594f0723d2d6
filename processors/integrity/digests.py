"""Rows of digests, side by side: a few bytes each for what must be known again and not kept."""

from hashlib import blake2b

NAME_BYTES = 8  # of a name's digest
MAX_NAMES = 256  # forgotten names that are known; one more says that there were more


def holds(row: bytes, wanted: bytes, width: int) -> bool:
    """Whether a row of digests, each of `width` bytes, holds these, side by side."""
    at = row.find(wanted)
    while at > 0 and at % width:  # found across two digests
        at = row.find(wanted, at + 1)
    return at >= 0


def add_name(row: bytes, name: str) -> bytes:
    """A row of names with one more, unless it is there or the row is full."""
    if len(row) > MAX_NAMES * NAME_BYTES:
        return row
    digest = _digest(name)
    return row if holds(row, digest, NAME_BYTES) else row + digest


def may_hold(row: bytes, name: str) -> bool:
    """Whether a name is in a row of names, or there were more than a row has."""
    return bool(row) and (
        len(row) > MAX_NAMES * NAME_BYTES or holds(row, _digest(name), NAME_BYTES)
    )


def _digest(name: str) -> bytes:
    return blake2b(name.encode("utf-8", "surrogatepass"), digest_size=NAME_BYTES).digest()
