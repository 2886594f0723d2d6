"""Rows of digests, side by side: a few bytes each for what must be known again and not kept."""

from hashlib import blake2b

NAME_BYTES = 8  # of a name's digest
MAX_NAMES = 256  # forgotten names that are known; one more says that there were more
_EMPTY = blake2b(digest_size=8)


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
    found = digest(name)
    return row if holds(row, found, NAME_BYTES) else row + found


def may_hold(row: bytes, name: str) -> bool:
    """Whether a name is in a row of names, or there were more than a row has."""
    return bool(row) and (len(row) > MAX_NAMES * NAME_BYTES or holds(row, digest(name), NAME_BYTES))


def digest(text: str) -> bytes:
    """Eight bytes that stand for a text (BLAKE2b, RFC 7693)."""
    hashed = _EMPTY.copy()  # to begin one costs as much again
    hashed.update(text.encode("utf-8", "surrogatepass"))
    return hashed.digest()
