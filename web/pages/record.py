"""One record, read when it is looked at; and a masked value of one, shown to an unmasker after that
was written down."""

import uuid
from typing import Final

import msgspec
from starlette.responses import Response

from console import asking, sequence
from schemas.flow import Record, Refused
from schemas.records import Amendment, ConsoleAudit, Package, Signal, ToolOutput, Violation
from web import cells, seen, tasks
from web.auth.guard import Refusal
from web.context import Registered
from web.fields import FieldRow, input_rows, missing_of, readable, rows_of
from web.mending import MOST_REASON
from web.model.queries.common import Place
from web.page import Asked, render, route
from web.tasks import ReadTask
from web.text import moment
from web.urls import task_url

NAV: Final = ()
_MOST_DIGITS: Final = 18


def page(asked: Asked) -> Response:
    """`/records/TOPIC/PARTITION/OFFSET`."""
    params = asked.request.path_params
    place = _place(f"handoff.{params['topic']}", params["partition"], params["offset"])
    read, registered, event, may_unmask = _read(asked, place)
    body = event.body if event else None
    return render(
        asked,
        "record.html",
        f"Record {place.topic}/{place.partition}/{place.offset}",
        here="",
        place=place,
        task_id=read.task_id,
        workflow=read.workflow,
        task=task_url(read.task_id, read.workflow),
        gone=event is None,
        body=body,
        kind=type(body).__name__ if body is not None else None,
        facts=_facts(event) if event else [],
        message=body.message if isinstance(body, Violation | Signal) else None,
        fields=_fields(body, read, registered),
        missing=missing_of(body) if isinstance(body, Package) else [],
        may_unmask=may_unmask,
    )


def unmask(asked: Asked) -> Response:
    """`/unmask`, a form: one value, with a reason, after that was written to
    `handoff.console-audit`."""
    form = asked.form
    place = _place(form.get("topic", ""), form.get("partition", ""), form.get("offset", ""))
    reason = form.get("reason", "").strip()
    if not reason or len(reason) > MOST_REASON:
        raise Refusal(
            400, f"Say why you need to see the value, in at most {MOST_REASON:,} characters."
        )
    read, registered, event, may_unmask = _read(asked, place)
    body = event.body if event else None
    if not may_unmask:
        raise Refusal(
            403,
            "You may not see values that are masked: the access file gives you no role for it "
            "here.",
        )
    values = _values(body)
    number = form.get("number", "")
    if not (number.isascii() and number.isdecimal() and len(number) < 6):
        raise Refusal(400, "The form names no value. Open the page again.")
    if int(number) >= len(values):
        raise Refusal(404, "The record is past retention, or has no such value.")
    shown = _fields(body, read, registered)[int(number)]
    entry = ConsoleAudit(
        f"console-{uuid.uuid4().hex}",
        asked.person.subject,
        asking.now(),
        read.workflow,
        read.task_id,
        *place,
        shown.name,
        reason,
    )
    try:
        asked.console.gate.audit(entry)
    except Refused as error:
        raise Refusal(400, f"No value is shown: {error}.") from None
    return render(
        asked,
        "unmasked.html",
        f"Value of {shown.name}",
        here="",
        place=place,
        field=shown,
        value=readable(list(values.values())[int(number)]),
        entry=entry,
        task_id=read.task_id,
        task=task_url(read.task_id, read.workflow),
    )


ROUTES: Final = (
    route("/records/{topic}/{partition}/{offset}", page),
    route("/unmask", unmask, methods=("POST",)),
)


def _place(topic: str, partition: str, offset: str) -> Place:
    numbers = partition, offset
    if not all(n.isascii() and n.isdecimal() and len(n) <= _MOST_DIGITS for n in numbers):
        raise Refusal(404, "A record is named by a topic, a partition and an offset.")
    return Place(topic, int(partition), int(offset))


def _read(asked: Asked, place: Place) -> tuple[ReadTask, Registered, sequence.Event | None, bool]:
    """The task of a record, and the record in it; None where retention took it; and whether the
    person may see its values. Raises `Refusal` for a place that the read model does not hold:
    nothing else is read."""
    console = asked.console
    with console.model.read() as db:
        known = tasks.holds(db, place)
        if known is None:
            raise Refusal(404, "The read model holds no record at that place, so it is not read.")
        task_id, workflow = known
        if workflow is None:
            workflow = next(iter(tasks.workflows_of(db, task_id)), "")
        if not seen.may_read_task(db, asked.person, task_id, workflow):
            raise Refusal(403, "That record is of a task that is not yours to see.")
        registered = console.registered(db)
        read = tasks.read_task(console, db, task_id, workflow)
    event = read.places.get(place)
    if event is None:  # beyond the most that is read of a task
        record = console.gate.read([place]).get(place)
        event = _alone(record, task_id) if record is not None else None
    teams = _teams(event.body if event else None)
    asked.must("reader", workflow, *teams)
    with console.model.read() as db:
        may_unmask = seen.may_unmask(db, asked.person, task_id, workflow, *teams)
    return read, registered, event, may_unmask


def _alone(record: Record, task_id: str) -> sequence.Event | None:
    return next(iter(sequence.in_order(sequence.of_task([record], task_id))), None)


def _teams(body: object) -> tuple[str | None, ...]:
    if isinstance(body, Package):
        return body.from_.team, body.to.team
    if isinstance(body, Violation | Signal):
        ends = getattr(body, "from_", None), getattr(body, "to", None)
        return tuple(getattr(each, "team", None) for each in ends)
    return ()


def _values(body: object) -> dict[str, msgspec.Raw]:
    match body:
        case Package(context=values) | ToolOutput(context=values) | Amendment(fields=values):
            return values
    return {}


def _fields(body: object, read: ReadTask, registered: Registered) -> list[FieldRow]:
    beside = read.known_texts(registered.shown.classified(read.workflow))
    match body:
        case Package():
            return rows_of(body, registered, beside)
        case ToolOutput(context=values) | Amendment(fields=values):
            return input_rows(values, read.workflow, registered, beside)
    return []


def _facts(event: sequence.Event) -> list[tuple[str, object]]:
    """What may be said of a record without its values and without what people typed."""
    record, body = event.record, event.body
    told: list[tuple[str, object]] = [
        ("Written", moment(record.timestamp)),
        ("Size", f"{len(record.value or b''):,} bytes"),
        ("Refused", event.refused),
    ]
    names = {
        "id": "Id",
        "event_id": "Event",
        "handoff_id": "Handoff",
        "revision": "Revision",
        "stage": "Stage",
        "tool": "Tool",
        "status": "Status",
        "action": "Action",
        "kind": "Kind",
        "by": "By",
        "disposition": "Disposition",
        "severity": "Severity",
        "occurred_at": "Occurred",
    }
    for name, title in names.items():
        value = getattr(body, name, None)
        if name == "action" and isinstance(body, Package):
            continue
        if name == "kind":
            value = None if value is None else cells.kind_in_words(value)
        if value is not None:
            told.append((title, moment(value) if name == "occurred_at" else str(value)))
    return told
