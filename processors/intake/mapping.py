"""From a foreign record to tool outputs, acks and alert actions: a pure function of source and
record."""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from processors.intake.compiled import (
    CompiledEntry,
    CompiledSource,
    MadeMember,
    compile_source,
)
from processors.intake.expressions import LeftOut
from processors.intake.making import place
from processors.intake.mapped import MappedRecord, Misses, Skipped, Stamp, Traced
from processors.intake.scope import Scope
from processors.intake.source_spans import take_spans
from processors.intake.values import kind_of
from schemas.flow import Headers, Output, Record, Refused
from schemas.serde import BACKFILL_HEADER

# What one record may lead to: a list of more elements is a file, and no event.
MAX_OUTPUTS: Final = 1_000
# What the processors take by default, and well below what Kafka does.
MAX_RECORD_BYTES: Final = 1 << 20
MAX_BYTES: Final = 16 << 20  # of all outputs of a record
_WHEN_FALSE: Final = Skipped("when_false", "the source's when does not hold")
_NO_ENTRY: Final = Skipped("no_entry", "no entry of emit has a when that holds")
_encode = msgspec.json.Encoder(decimal_format="number").encode


def map_record(
    source: CompiledSource,
    record: Record,
    now: int,
    *,
    backfill: bool = False,
    most: int = MAX_RECORD_BYTES,
) -> MappedRecord:
    """What a record of a foreign topic becomes. `record.topic` is the name on the cluster; `now`
    is epoch ms. `backfill`: it is no news. A value of more than `most` bytes is refused, and so is
    a record of which one with more would follow. Never raises for any bytes; the same record gives
    the same bytes."""
    mapped = MappedRecord([])
    misses: Misses = {}
    try:
        value = record.value
        if value is not None and len(value) > most:
            message = f"the value has {len(value):,} bytes, the limit is {most:,}"
            raise Refused("too_large", message)
        if source.decode is None:
            take_spans(source, record, _stamp([], record, now, most, backfill), mapped, misses)
        else:
            decoded = source.decode(record)
            if type(decoded) is Skipped:
                mapped.skipped = decoded
            else:
                scope = Scope(record, decoded, source.lets, misses)
                traces = _traces(record) if record.headers else []
                stamp = _stamp(traces, record, now, most, backfill or decoded.backfill)
                _take_value(source, scope, stamp, mapped)
    except Refused as error:
        place(error, f"source {source.source.id}")
        error.__traceback__ = error.__context__ = None  # these hold this frame, which would hold it
        mapped = MappedRecord([], refused=error)
    except RecursionError:
        too_deep = Refused("not_json", f"source {source.source.id}: nests too deep to be mapped")
        mapped = MappedRecord([], refused=too_deep)
    if misses:
        mapped.lookup_misses = list(misses)
    return mapped


def explain(source: CompiledSource, record: Record, now: int) -> tuple[MappedRecord, list[Traced]]:
    """The same, with every path and condition that was followed on the way, in order."""
    steps: list[Traced] = []
    told = compile_source(source.source, steps.append)
    return map_record(told, record, now), steps


def _take_value(source: CompiledSource, scope: Scope, stamp: Stamp, mapped: MappedRecord) -> None:
    """Fill in `mapped` by what the entries make. Raises `Refused`."""
    try:
        holds = source.when is None or source.when(scope)
    except LeftOut:
        mapped.skipped = _left_out("when")
        return
    except Refused as error:
        place(error, "when")
        raise
    if not holds:
        mapped.skipped = _WHEN_FALSE
        return
    ids: set[tuple[str, str]] = set()
    skipped = _NO_ENTRY
    for entry in source.entries:
        if entry.each is not None:
            for made in _of_elements(entry, entry.each, scope):
                if type(made) is Skipped:
                    skipped = made
                else:
                    _add(entry, made, stamp, mapped, ids)
            continue
        try:
            members = entry.make(scope, 0)
        except LeftOut:
            skipped = _left_out(entry.path)
        else:
            if members is not None:
                _add(entry, members, stamp, mapped, ids)
    if not mapped.records:
        mapped.skipped = skipped


def _add(
    entry: CompiledEntry,
    members: dict[str, Any],
    stamp: Stamp,
    mapped: MappedRecord,
    ids: set[tuple[str, str]],
) -> None:
    """Add the output of these members. `ids` are those that `mapped` has, by topic. Raises
    `Refused`."""
    headers, at, most = stamp
    output = Output(entry.topic, members[entry.key].encode(), _encode(members), headers, at)
    mapped.add(output, entry.path, most)
    identity = entry.topic, members["id"]
    if ids:
        _check_together(entry, identity in ids, mapped)
    ids.add(identity)


def _check_together(entry: CompiledEntry, repeated: bool, mapped: MappedRecord) -> None:
    """Whether a record may lead to all these outputs; `repeated`: the last one has the id of
    another. Raises `Refused`."""
    if repeated:
        raise Refused(
            "id_repeated",
            f"{entry.path}: two of its outputs have the same id; let the id tell the elements "
            "apart",
        )
    if len(mapped.records) > MAX_OUTPUTS:
        raise Refused(
            "too_many_outputs",
            f"{entry.path}: the record leads to more than {MAX_OUTPUTS:,} outputs; split it before "
            "it comes here",
        )
    if mapped.size > MAX_BYTES:
        raise Refused(
            "output_too_large",
            f"{entry.path}: more than {MAX_BYTES:,} bytes would follow from the record; leave out "
            "of the context what each element repeats (without), or split the record before it "
            "comes here",
        )


def _of_elements(
    entry: CompiledEntry, each: MadeMember, scope: Scope
) -> Iterator[dict[str, Any] | Skipped]:
    """What an entry makes of each element, one after the other."""
    try:
        items = _elements(each, scope)
        if not items:
            yield Skipped("no_element", f"{entry.path}.each leads to no element")
    except LeftOut:
        yield _left_out(entry.path)
        return
    for number, item in enumerate(items, start=1):
        scope.made["it"] = item
        try:
            members = entry.make(scope, number)
            if members is not None:
                yield members
        except LeftOut:
            yield _left_out(entry.path)
        except Refused as error:
            error.reword(f"{error.message} (element {number})")
            raise


def _left_out(where: str) -> Skipped:
    return Skipped("lookup_skipped", f"a look-up of {where} has no such key")


def _elements(each: MadeMember, scope: Scope) -> list[Any]:
    try:
        items = each.make(scope)
    except Refused as error:
        place(error, each.path)
        raise
    if items is None:
        return []
    if type(items) is not list:
        message = f"{each.path}: is {kind_of(items)}, not a list"
        raise Refused("member_malformed", message)
    if len(items) > MAX_OUTPUTS:
        raise Refused(
            "too_many_outputs",
            f"{each.path}: has {len(items):,} elements, the limit is {MAX_OUTPUTS:,}; split the "
            "record before it comes here",
        )
    return items


# --- records ---------------------------------------------------------------------------------


def _traces(record: Record) -> Headers:
    """The headers of a record that all which follows from it has: the foreign trace goes on."""
    return [header for header in record.headers if header[0] == "traceparent"]


def _stamp(headers: Headers, record: Record, now: int, most: int, backfill: bool) -> Stamp:
    """The stamp of all that follows from a record with these headers. The time is that of the
    record; what is backfill is marked, and has the time at which it is produced: with its own,
    retention would take it before it is judged."""
    if backfill:
        return [*headers, (BACKFILL_HEADER, b"1")], 0, most
    # A clock that is ahead must not keep the segments of our topics.
    return headers, 0 if record.timestamp > now else max(0, record.timestamp), most
