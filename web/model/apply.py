"""From one record to the rows that follow from it. Pure: no clock, no Kafka, no file."""

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import msgspec

from schemas.flow import Record
from schemas.lifecycle import AFTER
from schemas.records import MAX_NAME_BYTES, Edge, From, To
from schemas.serde import epoch_ms, read_dead_letter
from web.model import alerted, registered, said
from web.model import statements as to
from web.model.causes import fingerprint_of
from web.model.outlines import (
    PackageOutline,
    PatternOutline,
    SignalOutline,
    ViolationOutline,
)
from web.model.parts import Unreadable, event, json_text, key_of, millionths, ms, value
from web.model.schema import NUMBER
from web.model.statements import Row

_MOST = 1 << 53  # so that SQLite can add up a thousand of them

_package = msgspec.json.Decoder(PackageOutline).decode
_violation = msgspec.json.Decoder(ViolationOutline).decode
_signal = msgspec.json.Decoder(SignalOutline).decode
_pattern = msgspec.json.Decoder(PatternOutline).decode
_edge = msgspec.json.Decoder(Edge).decode


def apply(record: Record) -> list[Row]:
    """The rows of a record; none of a topic that is not read. Raises `Unreadable`."""
    rows = _OF.get(record.topic)
    if rows is None:
        return []
    try:
        made = list(rows(record))
        for row in made:
            _must_fit(row)
        return made
    except (msgspec.DecodeError, RecursionError, ValueError, OverflowError) as error:
        raise Unreadable(type(error).__name__) from None


def _must_fit(row: Row) -> None:
    for each in row.values:
        if type(each) is int and abs(each) > _MOST:
            raise Unreadable("a number too large")


# --- what the processors publish -----------------------------------------------------------------


class _Lane(NamedTuple):
    workflow: str
    from_stage: str
    receiver: str
    contract: str
    from_team: str
    to_team: str
    owner: str


def _lane(workflow: str, contract: str | None, sender: From | None, receiver: To | None) -> _Lane:
    return _Lane(
        workflow=workflow,
        from_stage="" if sender is None else sender.stage,
        receiver="" if receiver is None else receiver.receiver,
        contract=contract or "",
        from_team=(sender and sender.team) or "",
        to_team=(receiver and receiver.team) or "",
        owner=(receiver and receiver.owner) or "",
    )


def _packages(record: Record) -> Iterator[Row]:
    found = _package(value(record))
    yield from _of_package(record, found)


def _held(record: Record) -> Iterator[Row]:
    place = record.partition, record.offset, record.timestamp
    if record.value is None:
        yield Row(to.NOT_HELD, (key_of(record), *place))
        return
    found = _package(record.value)
    yield from _of_package(record, found)
    lane = _lane(found.workflow, found.contract, found.from_, found.to)
    why = json_text(found.missing), json_text(found.violations)
    who = found.from_.tool, found.to.owner_contact
    of = found.id, found.revision, found.task_id, found.workflow, found.contract_version
    since = epoch_ms(found.occurred_at)
    rest = since, found.hop, int(found.backfill), found.supersedes
    values = (*of, *who, millionths(found.fidelity), *why, *rest, *place)
    yield Row(to.HELD, (*values, *lane))


def _of_package(record: Record, found: PackageOutline) -> Iterator[Row]:
    lane = _lane(found.workflow, found.contract, found.from_, found.to)
    at = epoch_ms(found.occurred_at)
    yield Row(to.LANE, lane)
    rebuilt = sorted(name for name, each in found.provenance.items() if each.how == "rebuilt")
    package = (
        found.revision,
        found.task_id,
        found.workflow,
        found.contract_version,
        found.from_.tool,
        found.to.stage,
        found.to.owner_contact,
        found.disposition,
        found.begun,
        millionths(found.fidelity),
        millionths(found.completeness),
        json_text(found.missing),
        len(found.missing),
        json_text(rebuilt),
        len(rebuilt),
        int(found.overridden),
        found.supersedes,
        ms(found.accept_by),
        ms(found.complete_by),
        at,
        ms(found.sent_at),
        found.hop,
        int(found.backfill),
        NUMBER[record.topic],
        record.partition,
        record.offset,
    )
    yield Row(to.HANDOFF, (found.id, record.timestamp, *package, *lane))
    # A package that is published again says when its handoff was: its place in the story is when
    # the record was written.
    yield event(
        record,
        record.timestamp if found.revision > 1 and not found.backfill else at,
        found.disposition,
        detail=str(found.revision),
        task=found.task_id,
        workflow=found.workflow,
        stage=found.from_.stage,
        tool=found.from_.tool,
        handoff=found.id,
    )
    yield Row(to.TASK, (found.task_id, found.workflow, at, None, record.timestamp))
    amended = {each.event_id for each in found.provenance.values() if each.how == "amended"}
    for event_id in sorted(amended):
        yield Row(to.AMENDED, (found.id, event_id, found.revision, record.timestamp))


def _violations(record: Record) -> Iterator[Row]:
    found = _violation(value(record))
    lane = _lane(found.workflow, found.contract, found.from_, found.to)
    yield Row(to.LANE, lane)
    origin = found.origin
    came_from = (
        (None,) * 7
        if origin is None
        else (
            origin.stage,
            origin.tool,
            origin.event_id,
            epoch_ms(origin.occurred_at),
            origin.topic,
            origin.partition,
            origin.offset,
        )
    )
    at, resolved = epoch_ms(found.occurred_at), ms(found.resolved_at)
    values = (
        found.id,
        found.status,
        found.kind,
        found.severity,
        fingerprint_of(found),
        found.task_id,
        found.handoff_id,
        found.event_id,
        found.workflow,
        found.contract,
        found.contract_version,
        found.episode,
        found.field,
        found.rule,
        found.owner,
        found.owner_contact,
        *came_from,
        found.last_seen_hop,
        found.hop,
        found.disposition,
        found.resolution,
        at,
        epoch_ms(found.detected_at),
        resolved,
        int(found.backfill),
        record.partition,
        record.offset,
        record.timestamp,
    )
    yield Row(to.VIOLATION, (*values, *lane))
    yield event(
        record,
        at if resolved is None else resolved,
        found.status,
        detail=found.kind,
        task=found.task_id,
        workflow=found.workflow,
        stage=lane.from_stage or None,
        handoff=found.handoff_id,
    )


_AFTER: Final[dict[str, str]] = {kind: state for kind, state in AFTER.items()}  # noqa: C416


def _signals(record: Record) -> Iterator[Row]:
    found = _signal(value(record))
    at = epoch_ms(found.occurred_at)
    stalled = 1 if found.kind == "stalled" else 0 if found.kind in _AFTER else None
    after = _AFTER.get(found.kind)
    state = found.handoff_id, found.task_id, after, at, at if found.kind == "accepted" else None
    late = int(found.late or found.kind == "stalled")
    place = record.partition, record.offset, record.timestamp
    yield Row(to.SIGNAL, (*state, late, stalled, *place))
    told_at = at if found.kind != "stalled" else epoch_ms(found.at)
    yield event(record, told_at, found.kind, task=found.task_id, handoff=found.handoff_id)


def _dead_letters(record: Record) -> Iterator[Row]:
    try:
        letter = read_dead_letter(record)
    except ValueError:
        raise Unreadable("no dead letter") from None
    task = (
        None
        if letter.key is None
        else letter.key.encode()[:MAX_NAME_BYTES].decode("utf-8", "ignore")
    )
    code = letter.exception[:200]
    source = letter.topic[:MAX_NAME_BYTES], letter.partition, letter.offset
    yield Row(
        to.DEAD_LETTER, (record.partition, record.offset, *source, code, task, record.timestamp)
    )
    yield event(record, record.timestamp, "dead_letter", detail=code, task=task)


def _patterns(record: Record) -> Iterator[Row]:
    place = record.partition, record.offset, record.timestamp
    if record.value is None:
        yield Row(to.NO_PATTERN, (key_of(record), *place))
        return
    found = _pattern(record.value)
    yield Row(
        to.PATTERN,
        (
            found.fingerprint,
            found.id,
            found.status,
            found.kind,
            found.severity,
            found.workflow,
            found.contract,
            found.receiver,
            found.from_,
            found.to,
            found.field,
            found.owner,
            found.owner_contact,
            found.count,
            found.recent,
            found.rate,
            epoch_ms(found.first_seen),
            epoch_ms(found.last_seen),
            json_text(found.stages),
            json_text(found.tools),
            json_text(found.tasks),
            epoch_ms(found.at),
            int(found.backfill),
            *place,
        ),
    )


def _edges(record: Record) -> Iterator[Row]:
    place = record.partition, record.offset, record.timestamp
    key = key_of(record)
    if record.value is None:
        yield Row(to.NO_EDGE, (key, *place))
        return
    found = _edge(record.value)
    names = found.kind, found.workflow, found.from_, found.to
    volume = found.moves, found.tasks, int(found.documented), found.contract
    carried = json_text(found.fields), json_text(found.types), json_text(found.counts)
    well = found.fidelity, found.completeness, found.completion_rate, found.open
    spans = found.accept_ms_p50, found.accept_ms_p95
    seen = epoch_ms(found.first_seen), epoch_ms(found.last_seen)
    yield Row(to.EDGE, (key, *names, *volume, *carried, *well, *spans, *seen, *place))


_OF: Final[dict[str, Callable[[Record], Iterator[Row]]]] = {
    "handoff.tool-outputs": said.outputs,
    "handoff.acks": said.acks,
    "handoff.amendments": said.amendments,
    "handoff.held": _held,
    "handoff.packages": _packages,
    "handoff.violations": _violations,
    "handoff.signals": _signals,
    "handoff.dead-letters": _dead_letters,
    "handoff.patterns": _patterns,
    "handoff.edges": _edges,
    "handoff.contracts": registered.rows,
    "handoff.receivers": registered.rows,
    "handoff.sources": registered.rows,
    "handoff.figures": alerted.figures,
    "handoff.alerts": alerted.alerts,
    "handoff.silences": alerted.silences,
}
