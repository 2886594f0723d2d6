"""The rows of what tools, receivers and people say. Pure."""

from collections.abc import Iterator

import msgspec

from schemas.flow import Record
from schemas.serde import tasks_named
from web.model import statements as to
from web.model.outlines import AckOutline, AmendmentOutline, OutputOutline
from web.model.parts import check, check_names, event, json_text, moment, value
from web.model.schema import NUMBER
from web.model.statements import Row

_output = msgspec.json.Decoder(OutputOutline).decode
_ack = msgspec.json.Decoder(AckOutline).decode
_amendment = msgspec.json.Decoder(AmendmentOutline).decode


def outputs(record: Record) -> Iterator[Row]:
    said = _output(value(record))
    check(record, said.task_id, said.id, said.workflow, said.tool, said.stage)
    at = moment(said.occurred_at, record)
    stage = said.stage or None
    yield event(
        record,
        at,
        "output",
        task=said.task_id,
        workflow=said.workflow,
        stage=stage,
        tool=said.tool,
        event_id=said.id,
    )
    yield Row(to.TASK, (said.task_id, said.workflow, at, stage, record.timestamp))
    number = 0
    for kind, names in (
        ("continues", said.continues),
        ("continued_by", said.continued_by),
        ("unlinked", said.unlinked),
    ):
        for name in tasks_named(names):
            workflow = name.workflow or said.workflow
            check_names(name.task_id, workflow)
            here = NUMBER[record.topic], record.partition, record.offset, number
            link = kind, said.workflow, said.task_id, workflow, name.task_id, at
            yield Row(to.LINK, (*here, *link))
            number += 1


def acks(record: Record) -> Iterator[Row]:
    said = _ack(value(record))
    check(record, said.task_id, said.id, said.workflow, said.by, said.handoff_id, said.status)
    yield from _of_handoff(record, said, said.status)


def amendments(record: Record) -> Iterator[Row]:
    said = _amendment(value(record))
    check(
        record,
        said.task_id,
        said.id,
        said.workflow,
        said.by,
        said.handoff_id,
        said.action,
        said.to,
        *said.fields,
    )
    yield from _of_handoff(record, said, said.action)
    at = moment(said.occurred_at, record)
    asked = said.id, said.workflow, said.task_id, said.handoff_id, said.action, said.by
    rest = json_text(list(said.fields)), said.to, said.revision, at, record.timestamp
    yield Row(to.AMENDMENT, (record.partition, record.offset, *asked, *rest))


def _of_handoff(record: Record, said: AckOutline | AmendmentOutline, what: str) -> Iterator[Row]:
    at = moment(said.occurred_at, record)
    yield event(
        record,
        at,
        what,
        task=said.task_id,
        workflow=said.workflow,
        by=said.by,
        handoff=said.handoff_id,
        event_id=said.id,
    )
    yield Row(to.TASK, (said.task_id, said.workflow, at, None, record.timestamp))
