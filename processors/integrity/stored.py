"""How a task is written down: whole now and then, and between as what changed.

What a change takes depends on the inputs that caused it, and not on the task. Both are MessagePack
arrays. Bytes that an event holds are written once: what has the same ones refers to the event.
Whoever changes what is written changes `stored_timers.py`, too, which reads a part of it.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from processors.integrity.events import (
    SHARED,
    Alias,
    EventRef,
    Remembered,
    TaskEvent,
    number_of,
)
from processors.integrity.state import (
    MAX_EDGES,
    MAX_EVENTS,
    MAX_PATH,
    Child,
    Closed,
    Forgotten,
    OpenHandoff,
    PackageField,
    Parent,
    Task,
    Waiting,
)
from processors.processor import misfit
from schemas.links import Whereabouts
from schemas.records import How

# Of this whole form. A state that was written in another one is not read.
FORMAT = 5
_PLACED = 48  # bytes of a package's value from which on it refers to an event that has it
Item = TypeVar("Item")


class _BytesPlace(Struct, frozen=True, array_like=True, gc=False):
    """Where the bytes of a value are: in the event of this number, under this name."""

    number: int
    name: str


class Slice(Struct, frozen=True, array_like=True, tag=9, gc=False):
    """The items from `first` to before `end` of what was there before."""

    first: int
    end: int


class _Event(Struct, frozen=True, array_like=True, tag=2, gc=False):
    """A `TaskEvent` with the number of another one instead of bytes that this has under the name:
    without such it is written as it is."""

    ref: EventRef
    hop: int
    context: dict[str, bytes | int]
    large: dict[str, bytes] = {}
    empty: tuple[str, ...] = ()
    run: str = ""
    root: str = ""


class _StoredField(Struct, frozen=True, array_like=True, gc=False):
    """A field of a package; `ref` is the place of its event in the handoff's `refs`."""

    name: str
    value: bytes | _BytesPlace
    how: How
    ref: int
    candidates: int
    by: str | None = None
    reason: str | None = None
    passed_over: int = 0


class _Handoff(Struct, frozen=True, array_like=True, tag=0, gc=False):
    """An open handoff: what it is without any values, and these apart."""

    handoff: OpenHandoff
    refs: list[EventRef]
    values: list[_StoredField]
    amended: list[_StoredField]
    context: list[tuple[str, bytes | _BytesPlace]]


class _Gone(Struct, frozen=True, array_like=True, tag=0, gc=False):
    """A classified value that was taken back or forgotten."""

    name: str
    value: bytes


class StoredLinks(Struct, frozen=True, array_like=True, gc=False):
    """The tasks that it continues and that continue it, and what waits for them."""

    parents: tuple[Parent, ...]
    children: tuple[Child, ...]
    wait_until: int
    whence: Whereabouts | None
    told: tuple[str, str, str] | None


class _Head(Struct, frozen=True, array_like=True, gc=False):
    """What is small, and changes with nearly every input."""

    next_number: int
    size: int
    names: int
    hops: int
    last_input_at: int
    stage: str
    tool: str
    stage_at: int
    left: bool
    handed: bool
    covered: bool


class _Whole(Struct, frozen=True, array_like=True, gc=False):
    workflow: str
    task_id: str
    head: _Head
    events: list[TaskEvent | Alias | _Event]
    forgotten: list[Forgotten]
    retracted: dict[str, int]
    open: list[_Handoff]
    closed: list[Closed]
    arrived: OpenHandoff | None
    begun: list[str]
    true: list[str]
    heard: bytes
    path: bytes
    edges: bytes
    lost: bytes
    rounds: dict[bytes, int]
    gone: list[tuple[str, bytes]] = []
    links: StoredLinks | None = None
    waiting: list[Waiting] = []


class _Change(Struct, frozen=True, array_like=True, gc=False):
    """What changed since the task's next event number was `since`. None: nothing of that; of rows
    of digests, those that were added. `arrived` has no item where it did not change."""

    since: int
    head: _Head
    heard: bytes
    path: bytes
    edges: bytes
    events: list[Slice | TaskEvent | Alias | _Event] | None = None
    open: list[Slice | _Handoff] | None = None
    closed: list[Slice | Closed] | None = None
    arrived: list[OpenHandoff | None] = []
    begun: list[str] | None = None
    true: list[str] | None = None
    forgotten: list[Forgotten] | None = None
    retracted: dict[str, int] | None = None
    lost: bytes = b""
    rounds: dict[bytes, int] | None = None
    gone: list[Slice | _Gone] | None = None
    links: StoredLinks | None = None
    waiting: list[Slice | Waiting] | None = None


_UNCHANGED = (None, None)
_head = attrgetter(*_Head.__struct_fields__)  # of a task, as `_Head` has it
_encode = msgspec.msgpack.Encoder().encode
_decode_whole = msgspec.msgpack.Decoder(_Whole).decode
_decode_change = msgspec.msgpack.Decoder(_Change).decode


# --- written --------------------------------------------------------------------------------------


def encode(task: Task) -> bytes:
    """A task, whole."""
    return _encode(
        (
            task.workflow,
            task.task_id,
            _head(task),
            [_event(event, task.events) for event in task.events],
            task.forgotten,
            task.retracted,
            [_handoff(handoff, task.events) for handoff in task.open],
            task.closed,
            task.arrived,
            task.begun,
            task.true,
            task.heard,
            task.path,
            task.edges,
            task.lost,
            task.rounds,
            task.gone,
            *((_links(task), task.waiting) if _linked(task) else ()),
        )
    )


def encode_change(before: Task, after: Task) -> bytes:
    """What is to be done to one task to have the other."""
    events = after.events
    row = [
        before.next_number,
        _head(after),
        _added(before.heard, after.heard, 8, MAX_EVENTS),
        b"" if after.path is before.path else _added(before.path, after.path, 4, MAX_PATH),
        b"" if after.edges is before.edges else _added(before.edges, after.edges, 4, MAX_EDGES),
        _patch(before.events, events, _event, events),
    ]
    if after.open is not before.open or after.closed is not before.closed:
        row += [
            _patch(before.open, after.open, _handoff, events),
            _patch(before.closed, after.closed),
        ]
    else:
        row += _UNCHANGED
    linked = _linked(before) or _linked(after)
    if (
        after.arrived is not before.arrived
        or after.begun != before.begun
        or after.true != before.true
        or after.forgotten is not before.forgotten
        or after.retracted is not before.retracted
        or after.lost is not before.lost
        or after.rounds is not before.rounds
        or after.gone is not before.gone
        or linked
    ):
        row += [
            [] if after.arrived is before.arrived else [after.arrived],
            None if after.begun == before.begun else after.begun,
            None if after.true == before.true else after.true,
            None if after.forgotten is before.forgotten else after.forgotten,
            None if after.retracted is before.retracted else after.retracted,
            after.lost[len(before.lost) :],
            None if after.rounds is before.rounds else after.rounds,
            _patch(before.gone, after.gone, lambda each, _: _Gone(*each)),
        ]
        if linked:
            links = _links(after)
            row += [
                None if links == _links(before) else links,
                _patch(before.waiting, after.waiting),
            ]
    return _encode(row)


def _linked(task: Task) -> object:
    return task.parents or task.children or task.waiting or task.whence or task.told


def _links(task: Task) -> StoredLinks:
    return StoredLinks(task.parents, task.children, task.wait_until, task.whence, task.told)


def _event(event: Remembered, events: Sequence[Remembered]) -> Any:
    """An event as it is written: with the bytes that no event before it has."""
    if type(event) is not TaskEvent:
        return event
    context = event.context
    if not context or len(max(context.values(), key=len)) < SHARED:
        return event
    shared: dict[str, int] = {}
    for name, value in context.items():
        if len(value) >= SHARED and (number := _holder(event, name, value, events)):
            shared[name] = number
    if not shared:
        return event
    written: dict[str, bytes | int] = {**event.context, **shared}
    return _Event(
        ref=event.ref,
        hop=event.hop,
        context=written,
        large=event.large,
        empty=event.empty,
        run=event.run,
        root=event.root,
    )


def _holder(event: TaskEvent, name: str, value: bytes, events: Sequence[Remembered]) -> int:
    """The number of the event before this one that has the bytes under the name; 0: none."""
    last = len(events) - 1
    own = last if events[last] is event else bisect_left(events, event.number, key=number_of)
    for index in range(own - 1, -1, -1):
        other = events[index]
        if isinstance(other, TaskEvent) and name in other.context:
            return other.number if other.context[name] is value else 0
    return 0


def _handoff(handoff: OpenHandoff, events: Sequence[Remembered]) -> tuple[Any, ...]:
    """A handoff as `_Handoff` has it."""
    bare = replace(handoff)
    bare.values, bare.amended, bare.context = {}, {}, {}
    refs: dict[int, EventRef] = {}
    values = _fields(handoff.values, refs, events)
    amended = _fields(handoff.amended, refs, events) if handoff.amended else ()
    if not handoff.context:
        return 0, bare, list(refs.values()), values, amended, ()
    number = handoff.source.number
    context = [
        (name, value if len(value) < _PLACED else _placed(value, number, events))
        for name, value in handoff.context.items()
    ]
    return 0, bare, list(refs.values()), values, amended, context


def _fields(
    values: dict[str, PackageField], refs: dict[int, EventRef], events: Sequence[Remembered]
) -> list[tuple[Any, ...]]:
    """Fields as `_StoredField` has them; the events that they came with are put into `refs`."""
    places = dict(zip(refs, range(len(refs)), strict=True))
    found: list[tuple[Any, ...]] = []
    for name, field in values.items():
        ref, value = field.ref, field.value
        number = ref.number
        place = places.get(number)
        if place is None:
            place = places[number] = len(refs)
            refs[number] = ref
        if len(value) >= _PLACED:
            value = _placed(value, number, events)  # type: ignore[assignment]
        if field.by is None and not field.passed_over:
            found.append((name, value, field.how, place, field.candidates))
        else:
            more = field.by, field.reason, field.passed_over
            found.append((name, value, field.how, place, field.candidates, *more))
    return found


def _placed(value: bytes, number: int, events: Sequence[Remembered]) -> bytes | _BytesPlace:
    """Where an event has these bytes; the bytes where it does not."""
    event = _find(events, number)
    if isinstance(event, TaskEvent):
        for name, held in event.context.items():
            if held == value:
                return _BytesPlace(number, name)
    return value


def _find(events: Sequence[Remembered], number: int) -> Remembered | None:
    if not events:
        return None
    at = number - events[0].number  # where none between them is gone
    if not (0 <= at < len(events) and events[at].number == number):
        at = bisect_left(events, number, key=number_of)
    return events[at] if at < len(events) and events[at].number == number else None


def _patch(
    before: tuple[Item, ...],
    after: tuple[Item, ...],
    write: Callable[[Item, Sequence[Remembered]], Any] = lambda item, _: item,
    events: Sequence[Remembered] = (),
) -> list[Any] | None:
    """How to make the second from the first: slices of it, and items of its own, as `write` makes
    them of an item and the task's events; None: as it is."""
    if after is before:
        return None
    found: list[Any]
    count = len(before)
    if len(after) >= count and after[:count] == before:
        if len(after) == count:
            return None
        found = [Slice(0, count)]
        for item in after[count:]:
            found.append(write(item, events))
        return found
    places = {id(item): place for place, item in enumerate(before)}
    found = []
    first = end = 0
    for item in after:
        place = places.get(id(item))
        if place is not None and place == end > first:
            end += 1
            continue
        if end > first:
            found.append(Slice(first, end))
        first, end = (0, 0) if place is None else (place, place + 1)
        if place is None:
            found.append(write(item, events))
    if end > first:
        found.append(Slice(first, end))
    return found


def _added(before: bytes, after: bytes, width: int, most: int) -> bytes:
    """The digests at the end of a row that were not there before; the oldest of it may be gone."""
    if after is before:
        return b""
    if len(after) < width * most:
        return after[len(before) :]
    for gone in range(0, len(before) + 1, width):
        if after.startswith(before[gone:]):
            return after[len(before) - gone :]
    return after


# --- read -----------------------------------------------------------------------------------------


def decode(whole: bytes, changes: Iterable[bytes] = ()) -> Task:
    """A task as it was written whole, with what changed since.

    Raises `Refused` where they do not fit together.
    """
    task = _task(_decode_whole(whole))
    for change in changes:
        _change(task, _decode_change(change))
    return task


def _task(whole: _Whole) -> Task:
    events = patched((), whole.events, _read_event)
    task = Task(
        whole.workflow,
        whole.task_id,
        events=events,
        forgotten=tuple(whole.forgotten),
        retracted=whole.retracted,
        open=tuple([_read(handoff, events) for handoff in whole.open]),
        closed=tuple(whole.closed),
        arrived=whole.arrived,
        begun=tuple(whole.begun),
        true=tuple(whole.true),
        heard=whole.heard,
        path=whole.path,
        edges=whole.edges,
        lost=whole.lost,
        rounds=whole.rounds,
        gone=tuple(whole.gone),
        waiting=tuple(whole.waiting),
    )
    if whole.links is not None:
        _put_links(task, whole.links)
    _put_head(task, whole.head)
    return task


def _change(task: Task, change: _Change) -> None:
    """Make of a task what it was after a change. Nobody else has it yet."""
    if change.since != task.next_number:
        raise misfit()
    if change.events is not None:
        task.events = patched(task.events, change.events, _read_event)
    if change.open is not None:
        events = task.events
        task.open = patched(task.open, change.open, lambda each, _: _read(each, events))
    if change.closed is not None:
        task.closed = patched(task.closed, change.closed, lambda each, _: each)
    if change.arrived:
        (task.arrived,) = change.arrived
    if change.begun is not None:
        task.begun = tuple(change.begun)
    if change.true is not None:
        task.true = tuple(change.true)
    if change.forgotten is not None:
        task.forgotten = tuple(change.forgotten)
    if change.retracted is not None:
        task.retracted = change.retracted
    if change.rounds is not None:
        task.rounds = change.rounds
    if change.gone is not None:
        task.gone = patched(task.gone, change.gone, lambda each, _: (each.name, each.value))
    if change.links is not None:
        _put_links(task, change.links)
    if change.waiting is not None:
        task.waiting = patched(task.waiting, change.waiting, lambda each, _: each)
    task.heard = (task.heard + change.heard)[-8 * MAX_EVENTS :]
    if change.path:
        task.path = (task.path + change.path)[-4 * MAX_PATH :]
    if change.edges:
        task.edges = (task.edges + change.edges)[-4 * MAX_EDGES :]
    task.lost += change.lost
    _put_head(task, change.head)


def _put_links(task: Task, links: StoredLinks) -> None:
    task.parents, task.children = links.parents, links.children
    task.wait_until, task.whence, task.told = links.wait_until, links.whence, links.told


def _put_head(task: Task, head: _Head) -> None:
    task.next_number, task.size, task.names = head.next_number, head.size, head.names
    task.hops, task.last_input_at = head.hops, head.last_input_at
    task.stage, task.tool, task.stage_at = head.stage, head.tool, head.stage_at
    task.left, task.handed, task.covered = head.left, head.handed, head.covered


def patched(
    before: tuple[Item, ...],
    written: Iterable[Any],
    read: Callable[[Any, Sequence[Item]], Item],
) -> tuple[Item, ...]:
    """What a `_patch` makes of the items that were there before. `read` makes an item of what was
    written, and of the items that stand before it."""
    found: list[Item] = []
    for each in written:
        if type(each) is Slice:
            found += before[each.first : each.end]
        else:
            found.append(read(each, found))
    return tuple(found)


def _read_event(written: TaskEvent | Alias | _Event, before: Sequence[Remembered]) -> Remembered:
    if not isinstance(written, _Event):
        return written
    context = {
        name: _at(_BytesPlace(value, name), before) if isinstance(value, int) else value
        for name, value in written.context.items()
    }
    return TaskEvent(
        ref=written.ref,
        hop=written.hop,
        context=context,
        large=written.large,
        empty=written.empty,
        run=written.run,
        root=written.root,
    )


def _read(written: _Handoff, events: Sequence[Remembered]) -> OpenHandoff:
    handoff = written.handoff

    def fields(listed: list[_StoredField]) -> dict[str, PackageField]:
        return {
            each.name: PackageField(
                value=each.value if isinstance(each.value, bytes) else _at(each.value, events),
                how=each.how,
                ref=written.refs[each.ref],
                candidates=each.candidates,
                by=each.by,
                reason=each.reason,
                passed_over=each.passed_over,
            )
            for each in listed
        }

    handoff.values = fields(written.values)
    handoff.amended = fields(written.amended)
    handoff.context = {
        name: value if isinstance(value, bytes) else _at(value, events)
        for name, value in written.context
    }
    return handoff


def _at(place: _BytesPlace, events: Sequence[Remembered]) -> bytes:
    event = _find(events, place.number)
    assert isinstance(event, TaskEvent)
    return event.context[place.name]
