"""Reads of a written task only what says when it wants to be woken.

After an assignment each task is read once for that, and most are not asked for again soon. So the
bytes of events and of values are passed over.

The members stand in the order of those in `stored.py`: they are arrays, and names are not written.
"""

from collections.abc import Iterable

import msgspec
from msgspec import Raw, Struct

from processors.integrity.state import OpenHandoff, Task, Waiting
from processors.integrity.stored import Slice, StoredLinks, patched
from processors.processor import misfit

_NOTHING = Raw()


class _TimersHead(Struct, frozen=True, array_like=True, gc=False):
    """The first members of `_Head`."""

    next_number: int
    size: int
    names: int
    hops: int
    last_input_at: int


class _TimersHandoff(Struct, frozen=True, array_like=True, tag=0, gc=False):
    """The first member of `_Handoff`: an open handoff without its values."""

    handoff: OpenHandoff


class _TimersWhole(Struct, frozen=True, array_like=True, gc=False):
    """`_Whole`, all of it; what is `Raw` is passed over."""

    workflow: str
    task_id: str
    head: _TimersHead
    events: Raw
    forgotten: Raw
    retracted: Raw
    open: list[_TimersHandoff]
    closed: Raw
    arrived: Raw
    begun: Raw
    true: Raw
    heard: Raw
    path: Raw
    edges: Raw
    lost: Raw
    rounds: Raw
    gone: Raw = _NOTHING
    links: StoredLinks | None = None
    waiting: list[Waiting] = []


class _TimersChange(Struct, frozen=True, array_like=True, gc=False):
    """`_Change`, all of it; what is `Raw` is passed over."""

    since: int
    head: _TimersHead
    heard: Raw
    path: Raw
    edges: Raw
    events: Raw = _NOTHING
    open: list[Slice | _TimersHandoff] | None = None
    closed: Raw = _NOTHING
    arrived: Raw = _NOTHING
    begun: Raw = _NOTHING
    true: Raw = _NOTHING
    forgotten: Raw = _NOTHING
    retracted: Raw = _NOTHING
    lost: Raw = _NOTHING
    rounds: Raw = _NOTHING
    gone: Raw = _NOTHING
    links: StoredLinks | None = None
    waiting: list[Slice | Waiting] | None = None


_decode_whole = msgspec.msgpack.Decoder(_TimersWhole).decode
_decode_change = msgspec.msgpack.Decoder(_TimersChange).decode


def decode_timers(whole: bytes, changes: Iterable[bytes] = ()) -> Task:
    """A task with no more than `due` and `watched` read, as it was written whole, with what changed
    since. Raises `Refused` where they do not fit together."""
    task = _decode_whole(whole)
    head, links = task.head, task.links
    open_, waiting = tuple([each.handoff for each in task.open]), tuple(task.waiting)
    for each in changes:
        change = _decode_change(each)
        if change.since != head.next_number:
            raise misfit()
        head = change.head
        if change.open is not None:
            open_ = patched(open_, change.open, lambda written, _: written.handoff)
        if change.links is not None:
            links = change.links
        if change.waiting is not None:
            waiting = patched(waiting, change.waiting, lambda written, _: written)
    return Task(
        task.workflow,
        task.task_id,
        next_number=head.next_number,
        last_input_at=head.last_input_at,
        open=open_,
        waiting=waiting,
        wait_until=0 if links is None else links.wait_until,
    )
