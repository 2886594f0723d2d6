"""What the ids of a package's violations say: which promise broke, of which field or rule. Pure.

The processor makes them (`processors/integrity/state.py`): handoff, contract version, kind, and
field or rule, with colons between; only the last one may have colons itself. Whoever may write to a
topic may write any text there.
"""

from collections.abc import Iterable
from typing import NamedTuple

_PARTS = 4


class BrokenPromise(NamedTuple):
    """The kind of a violation, and its field or rule; empty where it has none."""

    kind: str
    about: str


def promises(ids: Iterable[str]) -> list[BrokenPromise]:
    """What the ids say; one that is not of the form above is left out."""
    parts = (each.split(":", _PARTS - 1) for each in ids)
    return [BrokenPromise(each[2], each[3]) for each in parts if len(each) == _PARTS]


def readable(ids: Iterable[str]) -> bool:
    """Whether all of them are of the form above."""
    return all(each.count(":") >= _PARTS - 1 for each in ids)
