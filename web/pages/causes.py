"""What keeps breaking: all causes, and one of them for somebody whom an alert has woken."""

import logging
from typing import Final

import apsw
import msgspec
from starlette.responses import Response

from console.errors import CommandError
from console.render import pattern_message
from processors.alerts import kinds
from schemas.flow import Refused
from schemas.records import Pattern
from schemas.unreadable import UNREADABLE
from web import cells, mending, seen, typed
from web.alerting import SPANS, TOLD, silenced
from web.auth.guard import Refusal
from web.context import Console, Registered
from web.mending import NotAsked, Revised
from web.model.queries import causes
from web.model.queries.causes import Cause, HeldBy, PatternRow
from web.page import Asked, render, route, see
from web.pages.today import causes_table
from web.tables import Cell, Column, Table, row
from web.telling import alerts_table, because, sinks_table
from web.urls import cause_url, contract_url, held_url, record_url

log = logging.getLogger("handoff.console")
NAV: Final = (("Causes", "/causes"),)
SEEN: Final = "held:"  # what the form names the revision of each handoff
_STATUSES: Final[dict[str, causes.Status]] = {"open": "open", "closed": "closed", "all": "all"}


def page(asked: Asked) -> Response:
    """`/causes`."""
    status = _STATUSES.get(asked.query("status"), "open")
    found = asked.console.model.ask(
        causes.patterns, asked.filters, status, asked.query("page") or None
    )
    more = asked.at(page=found.next, status=status) if found.next else None
    others = [each for each in _STATUSES if each != status]
    return render(
        asked,
        "causes.html",
        "Causes",
        tables=[causes_table(found.rows, more)],
        kinds=("patterns",),
        here="/causes",
        status_now=status,
        others=[(each, asked.at(status=each)) for each in others],
    )


def one(asked: Asked) -> Response:
    """`/cause/FINGERPRINT`, to which alerts lead."""
    return _one(asked, asked.request.path_params["fingerprint"])


def mend(asked: Asked) -> Response:
    """The form of `/cause/FINGERPRINT`: one wish for all that the cause holds, as it was seen."""
    fingerprint = asked.request.path_params["fingerprint"]
    form, console = asked.form, asked.console
    seen = {
        name.removeprefix(SEEN): mending.seen_revision(revision)
        for name, revision in form.items()
        if name.startswith(SEEN)
    }
    if not seen:
        raise Refusal(400, "The form names no held handoff. Open the page again.")
    try:
        with console.model.read() as db:
            rows = mending.checked(asked, db, seen)
            registered = console.registered(db)
            found = causes.cause(db, fingerprint, asked.now_ms)
        inputs = _inputs(found.pattern if found else None, registered)
        wish = mending.wish_of(
            form, {each.name: each for each in inputs}, sorted(registered.receivers)
        )
        made = mending.ask(asked, wish, rows)
    except Revised as revised:
        words = (
            f"{revised.now.id} is in another state than the page showed, so none of them was "
            "changed; look at it, and say it again"
        )
        return _one(asked, fingerprint, 409, words)
    except (NotAsked, Refused) as error:
        return _one(asked, fingerprint, 400, str(error))
    return see(cause_url(fingerprint), asked=len(made))


ROUTES: Final = (
    route("/causes", page),
    route("/cause/{fingerprint:path}", one),
    route("/cause/{fingerprint:path}", mend, methods=("POST",)),
)


def _one(asked: Asked, fingerprint: str, status: int = 200, problem: str | None = None) -> Response:
    console = asked.console
    with console.model.read() as db:
        lanes = seen.lanes_of(db, asked.person)
        found = causes.cause(db, fingerprint, asked.now_ms, lanes)
        if found is None:
            raise Refusal(
                404,
                "Nothing is known of that cause: it never was, or retention has taken it. What "
                "keeps breaking now is on the page Causes.",
            )
        workflow, teams = whose(db, found.fingerprint, found.pattern)
        asked.must("reader", workflow, *teams)
        if not seen.may_read_cause(db, asked.person, fingerprint):
            raise Refusal(403, "That cause is not yours to see: it breaks nothing of your teams.")
        registered = console.registered(db)
        other = because(found)
        may_follow = other is not None and seen.may_read_cause(db, asked.person, other)
    pattern = found.pattern
    follows = cause_url(other) if other is not None and may_follow else None
    may_change = bool(found.held) and asked.person.may("operator", workflow, *teams)
    message = _message(console, pattern, registered) if pattern else None
    inputs = _inputs(pattern, registered)
    number = asked.query("asked")
    waiting = [request.at for each in found.held for request in each.pending]
    return render(
        asked,
        "cause.html",
        kinds.title(found.kind, found.field, pattern.receiver if pattern else None),
        tables=[
            _held(found.held),
            # Of what is about no field nobody had anything.
            *([_had(found)] if found.field or found.had_last else []),
            _before(found),
            sinks_table(found, asked.now_ms),
            alerts_table(found),
            _earlier(found),
        ],
        kinds=("patterns", "violations", "held", "amendments", "alerts"),
        status=status,
        here="/causes",
        found=found,
        kind=cells.kind_in_words(found.kind),
        pattern=pattern,
        where=cells.where(pattern) if pattern else None,
        todo=kinds.KINDS.get(found.kind),
        follows=follows,
        workflow=workflow,
        message=message,
        tasks=[cells.task(each, workflow) for each in found.samples],
        may_change=may_change,
        inputs=(inputs, []),
        receivers=sorted(registered.receivers),
        seen={each.id: each.revision for each in found.held},
        form=asked.form if asked.request.method == "POST" else {},
        problem=problem,
        alerts=found.alerts,
        silences=found.silences,
        match=silenced(pattern) if pattern else {},
        spans=SPANS,
        may_tell=pattern is not None and asked.person.may("operator", workflow, *teams),
        told=TOLD.get(asked.query("told")),
        just_asked=number if number.isdecimal() and len(number) < 5 else None,
        waiting=len(waiting),
        waiting_since=min(waiting, default=None),
    )


def whose(
    db: apsw.Connection, fingerprint: str, pattern: PatternRow | None
) -> tuple[str | None, list[str]]:
    """The workflow and the teams of a cause."""
    rows = db.execute(
        "select distinct l.workflow, l.from_team, l.to_team from violations v "
        "join lanes l on l.id = v.lane where v.fingerprint = ? limit 100",
        (fingerprint,),
    ).fetchall()
    first = next((str(name) for name, *_ in rows), None)
    workflow = pattern.workflow if pattern else first
    teams = {str(team) for _, *both in rows for team in both if team}
    return workflow, sorted(teams)


def _message(console: Console, pattern: PatternRow, registered: Registered) -> str | None:
    """The sentence of a pattern, from its record; None where that cannot be read."""
    place = pattern.place
    try:
        record = console.gate.read([place]).get(place)
        if record is None or record.value is None:
            return None
        body = msgspec.json.decode(record.value, type=Pattern)
    except (CommandError, *UNREADABLE):
        log.warning("the record of a pattern cannot be read at %s", place)
        return None
    return pattern_message(body, registered.shown)


def _inputs(pattern: PatternRow | None, registered: Registered) -> list[typed.Input]:
    """The control for the field that a cause is about, as the newest version of its contract
    declares it."""
    if pattern is None or pattern.field is None or pattern.contract is None:
        return []
    versions = [each for each in registered.contracts.values() if each.id == pattern.contract]
    if not versions:
        return []
    newest = max(versions, key=lambda each: each.version)
    declared = next((each for each in newest.fields if each.name == pattern.field), None)
    return [typed.input_of(pattern.field, declared)] if declared is not None else []


def _held(rows: list[HeldBy]) -> Table:
    return Table(
        "held",
        "Held by it",
        [
            Column("Task"),
            Column("To"),
            Column("Revision", "number"),
            Column("Held since", "time"),
            Column("Requested"),
        ],
        [
            row(
                each.id,
                Cell(each.task_id, href=held_url(each.id)),
                each.receiver,
                each.revision,
                each.since,
                cells.requested(each.pending),
            )
            for each in rows
        ],
        "It holds no handoff.",
    )


def _had(found: Cause) -> Table:
    return Table(
        "had",
        "Who had it last",
        [
            Column("Tool"),
            Column("Stage"),
            Column("Times", "number"),
            Column("Last event"),
            Column("At", "time"),
        ],
        [
            row(
                f"{each.tool}/{each.stage}",
                each.tool,
                each.stage,
                each.count,
                Cell(each.event_id, href=record_url(each.place)),
                each.at,
            )
            for each in found.had_last
        ],
        "No tool is known to have had it.",
    )


def _before(found: Cause) -> Table:
    days = causes.DAYS_BEFORE
    return Table(
        "before",
        "What changed before it began",
        [
            Column("What"),
            Column("Id"),
            Column("Version", "number"),
            Column("State"),
            Column("Registered", "time"),
        ],
        [
            row(
                f"{each.what}/{each.id}/{each.place.offset}",
                each.what,
                Cell(each.id, href=contract_url(each.id) if each.what == "contract" else None),
                each.version,
                each.status,
                each.at,
            )
            for each in found.before
        ],
        f"In the {days} days before it began no version of its contract or receiver was "
        "registered, and no source.",
        notes=[f"Registered in the {days} days before it began, the newest first."]
        if found.before
        else [],
    )


def _earlier(found: Cause) -> Table:
    return Table(
        "earlier",
        "Earlier times",
        [
            Column("Count", "number"),
            Column("From", "time"),
            Column("To", "time"),
            Column("Closed", "time"),
        ],
        [
            row(
                each.id,
                each.count,
                each.first_seen,
                each.last_seen,
                each.closed_at,
            )
            for each in found.earlier
        ],
        "It was not there before, as far as is known.",
    )
