"""What is held, and one held handoff: why, what it carries, and what to do about it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import apsw
from starlette.responses import Response

from schemas.flow import Refused
from schemas.printable import listed
from schemas.records import Package, Violation
from web import cells, mending, typed
from web.auth.guard import Refusal
from web.context import Registered
from web.fields import declared_fields, missing_of, rows_of
from web.mending import NotAsked, Revised
from web.model.queries import held
from web.model.queries.amendments import Request
from web.model.queries.held import HeldOne, HeldRow
from web.page import Asked, render, route, see
from web.tables import Cell, Column, Table, row
from web.tasks import ReadTask, read_task
from web.text import percent
from web.urls import cause_url, held_url, record_url, task_url

NAV: Final = (("Held", "/held"),)
KINDS: Final = ("held", "amendments", "violations")
_ANSWERED: Final = {
    "amended": "the handoff was amended",
    "package": "a newer package was published",
    "signal": "a signal was sent",
    "refused": "refused: see the violations",
    "dead_letter": "became a dead letter: see handoff dead-letters list",
}


def page(asked: Asked) -> Response:
    """`/held`."""
    found = asked.console.model.ask(held.held, asked.filters, asked.query("page") or None)
    more = asked.at(page=found.next) if found.next else None
    return render(
        asked,
        "list.html",
        "Held handoffs",
        tables=[held_table(found.rows, more)],
        kinds=KINDS,
        here="/held",
        lead="Not sent, until what holds them is mended or a person decides. The oldest first.",
        fields=("workflow", "receiver", "team", "owner", "contract", "kind"),
        range=False,
    )


def held_table(rows: Sequence[HeldRow], more: str | None) -> Table:
    """Held handoffs as a table."""
    return Table(
        "held",
        "Held handoffs",
        [
            Column("Task"),
            Column("From → to"),
            Column("Why"),
            Column("Owner"),
            Column("Fidelity", "number"),
            Column("Held since", "time"),
            Column("Requested"),
        ],
        [
            row(
                each.id,
                Cell(each.task_id, href=held_url(each.id)),
                f"{each.from_stage} → {each.receiver}",
                cells.reasons(each.why),
                cells.owner(each.owner, each.owner_contact),
                Cell(each.fidelity, percent(each.fidelity)),
                each.since,
                cells.requested(each.pending),
            )
            for each in rows
        ],
        empty="Nothing is held. A handoff is held when its contract says so (hold_on), and when "
        "nobody owns what it goes to.",
        hint="handoff contracts show ID",
        more=more,
    )


def one(asked: Asked) -> Response:
    """`/held/ID`."""
    return _one(asked, asked.request.path_params["id"])


def mend(asked: Asked) -> Response:
    """A form of `/held/ID`."""
    handoff_id = asked.request.path_params["id"]
    form = asked.form
    seen = mending.seen_revision(form.get("revision", ""))
    console = asked.console
    try:
        with console.model.read() as db:
            rows = mending.checked(asked, db, {handoff_id: seen})
            registered = console.registered(db)
        inputs = _inputs(rows[0], registered)
        wish = mending.wish_of(form, {each.name: each for each in inputs}, _receivers(registered))
        (asked_id,) = mending.ask(asked, wish, rows)
    except Revised as revised:
        return _one(asked, handoff_id, status=409, revised=revised)
    except (NotAsked, Refused) as error:
        return _one(asked, handoff_id, status=400, problem=str(error))
    return see(held_url(handoff_id), asked=asked_id)


ROUTES: Final = (
    route("/held", page),
    route("/held/{id:path}", one),
    route("/held/{id:path}", mend, methods=("POST",)),
)


def _one(
    asked: Asked,
    handoff_id: str,
    status: int = 200,
    problem: str | None = None,
    revised: Revised | None = None,
) -> Response:
    console = asked.console
    with console.model.read() as db:
        found = held.held_one(db, handoff_id)
        if found is None or found.task_id is None or found.workflow is None:
            raise Refusal(404, f"Nothing is known of the handoff {handoff_id}.")
        teams = _teams(db, found)
        asked.must("reader", found.workflow, *teams)
        registered = console.registered(db)
        read = read_task(console, db, found.task_id, found.workflow)
        changed = (
            mending.difference(console, db, handoff_id, revised.seen, found.revision or 0)
            if revised is not None
            else None
        )
    package = read.packages().get(handoff_id)
    row_ = found.held
    beside = read.known_texts(registered.shown.classified(found.workflow))
    messages = _messages(read, handoff_id)
    return render(
        asked,
        "held.html",
        f"Handoff to {row_.receiver}" if row_ else f"Handoff {handoff_id}",
        tables=[_why(found, messages), _requests(found.asked)],
        kinds=KINDS,
        status=status,
        here="/held",
        found=found,
        row=row_,
        package=package[1] if package else None,
        place=package[0] if package else None,
        gone=package is None,
        fields=rows_of(package[1], registered, beside) if package else [],
        missing=missing_of(package[1]) if package else [],
        holding=_holding(package[1], registered) if package else [],
        record_url=record_url,
        task_url=task_url,
        may_change=row_ is not None and asked.person.may("operator", found.workflow, *teams),
        may_unmask=asked.person.may("unmasker", found.workflow, *teams),
        inputs=_ordered(row_, package[1] if package else None, registered) if row_ else ([], []),
        receivers=[each for each in _receivers(registered) if row_ and each != row_.receiver],
        form=asked.form if asked.request.method == "POST" else {},
        problem=problem,
        revised=revised,
        changed=changed,
        just_asked=_just_asked(asked, found),
    )


def _holding(package: Package, registered: Registered) -> list[str]:
    """What holds a handoff, in words."""
    holders = registered.shown.holders(package).items()
    return [
        f"Held: {listed(fields)}{', ' if fields else ''}{cells.in_words(kind)}."
        for kind, fields in holders
    ]


def _teams(db: apsw.Connection, found: HeldOne) -> tuple[str | None, str | None]:
    if found.held is not None:
        return found.held.from_team, found.held.to_team
    teams = db.execute(
        "select l.from_team, l.to_team from handoffs h join lanes l on l.id = h.lane "
        "where h.id = ?",
        (found.id,),
    ).fetchone()
    return teams or (None, None)


def _receivers(registered: Registered) -> list[str]:
    return sorted(registered.receivers)


def _inputs(row_: HeldRow, registered: Registered) -> list[typed.Input]:
    """The controls of a held handoff: its contract's fields, and what is missing beside them."""
    contract = registered.contracts.get(f"{row_.contract}@{row_.contract_version}")
    declared = {} if contract is None else {each.name: each for each in contract.fields}
    names = dict.fromkeys([*declared, *row_.missing])
    return [typed.input_of(name, declared.get(name)) for name in names]


def _ordered(
    row_: HeldRow, package: Package | None, registered: Registered
) -> tuple[list[typed.Input], list[typed.Input]]:
    """The controls of the fields that broke, and the other ones."""
    broken = {each.field for each in row_.why} | set(row_.missing)
    inputs = _inputs(row_, registered)
    if package is not None and not declared_fields(package, registered):
        inputs += [typed.input_of(name, None) for name in package.context if name not in broken]
    return (
        [each for each in inputs if each.name in broken],
        [each for each in inputs if each.name not in broken],
    )


def _messages(read: ReadTask, handoff_id: str) -> Mapping[str, str]:
    """The sentences of a handoff's violations, by their ids; of each the last one."""
    return {
        event.body.id: event.body.message
        for event in read.events
        if isinstance(event.body, Violation) and event.body.handoff_id == handoff_id
    }


def _why(found: HeldOne, messages: Mapping[str, str]) -> Table:
    return Table(
        "why",
        "What broke",
        [
            Column("What", "phrase"),
            Column("Field"),
            Column("State"),
            Column("In a sentence", "words"),
            Column("Had last by"),
            Column("Since", "time"),
        ],
        [
            row(
                each.id,
                Cell(
                    each.kind,
                    cells.in_words(each.kind),
                    href=cause_url(each.fingerprint) if each.fingerprint else None,
                    mark="good" if each.status == "resolved" else each.severity,
                ),
                each.field or each.rule,
                f"{each.status}: {each.resolution}" if each.resolution else each.status,
                Cell(messages.get(each.id, "its record is past retention")),
                Cell(
                    f"{each.origin_stage}/{each.origin_tool}" if each.origin_tool else None,
                    href=record_url(each.origin) if each.origin else None,
                ),
                each.at,
            )
            for each in found.violations
        ],
        "Nothing broke.",
    )


def _requests(requests: Sequence[Request]) -> Table:
    return Table(
        "requests",
        "What was asked of it",
        [
            Column("What"),
            Column("By"),
            Column("When", "time"),
            Column("For revision", "number"),
            Column("Answer"),
        ],
        [
            row(
                each.id,
                Cell(_asked_for(each)),
                each.by,
                each.at,
                each.revision,
                Cell("requested, not answered yet", mark="info")
                if each.answered is None
                else Cell(
                    _ANSWERED.get(each.answered, each.answered),
                    mark="bad" if each.answered in ("refused", "dead_letter") else "good",
                ),
            )
            for each in requests
        ],
        "Nobody has asked anything of it yet.",
    )


def _asked_for(request: Request) -> str:
    if request.action == "set":
        return f"set {', '.join(request.fields)}"
    return f"send it on to {request.to}" if request.action == "redirect" else request.action


def _just_asked(asked: Asked, found: HeldOne) -> dict[str, Any] | None:
    """What became of the request that this person has just written."""
    asked_id = asked.query("asked")
    if not asked_id.startswith("console-"):
        return None
    request = next((each for each in found.asked if each.id == asked_id), None)
    answered = request.answered if request else None
    bad = answered in ("refused", "dead_letter")
    words = (
        "Requested. The processor has not answered yet; this page says it when it has."
        if answered is None
        else f"Answered: {_ANSWERED.get(answered, answered)}."
    )
    return {"words": words, "mark": "bad" if bad else "good" if answered else ""}
