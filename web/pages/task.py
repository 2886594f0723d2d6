"""A task: its story hop by hop, over its names, and what became of each field."""

from typing import Final

from starlette.responses import Response

from console import story
from console.hops import Hop
from web import cells, seen
from web.auth.guard import Refusal
from web.fields import missing_of, rows_of
from web.page import Asked, render, route, segment
from web.tables import Cell, Column, Row, Table, row
from web.tasks import linked_names, read_task, tell, workflows_of
from web.text import percent
from web.urls import record_url, task_url

NAV: Final = ()
# What a cell of the grid says: its letter, and the class of its colour.
LETTERS: Final = {
    "arrived": ("P", "there", "present: it arrived from the sender"),
    "translated": ("T", "there", "present, in the receiver's terms"),
    "gathered": ("G", "there", "present: gathered for a handoff that a contract began"),
    "extra": ("+", "rest", "present, and no contract asks for it"),
    "rebuilt": ("R", "mended", "rebuilt from an earlier output of the task"),
    "late": ("L", "mended", "came late"),
    "amended": ("A", "mended", "set by a person"),
    "as sent": ("S", "odd", "passed on as it was sent"),
    "in words only": ("W", "odd", "there as words inside another value"),
    "malformed": ("M", "odd", "not of the shape that was asked for"),
    "untranslatable": ("U", "odd", "in a term that the contract does not translate"),
    "changed": ("C", "odd", "changed on the way"),
    "cut": ("C", "odd", "cut on the way"),
    "dropped": ("X", "lost", "lost on the way"),
    "empty": ("E", "lost", "sent empty"),
    "retracted": ("B", "lost", "taken back"),
    "never captured": ("N", "lost", "no tool captured it"),
    "missing": ("X", "lost", "missing"),
    "not passed on": ("/", "odd", "not passed on, and nobody asked for it there"),
    "optional, missing": ("o", "rest", "optional, and missing"),
}


def page(asked: Asked) -> Response:
    """`/task?id=...&workflow=...`."""
    task_id = asked.query("id")
    console = asked.console
    with console.model.read() as db:
        known = [
            name
            for name in workflows_of(db, task_id)
            if seen.may_read_task(db, asked.person, task_id, name)
        ]
        workflow = asked.query("workflow") or (known[0] if known else "")
        if workflow not in known:
            raise Refusal(
                404,
                "Nothing is known of that task, or retention has taken all of it. Look at what "
                "the topics hold with: handoff show TASK",
            )
        registered = console.registered(db)
        names = [
            (name, id_)
            for name, id_ in linked_names(db, task_id, workflow)
            if seen.may_read_task(db, asked.person, id_, name)
        ]
        read = read_task(console, db, task_id, workflow)
    told = tell(read, registered)
    teams = {team for each in told.handoffs for team in (each.from_team, each.to_team)}
    asked.must("reader", workflow, *teams)
    beside = read.known_texts(registered.shown.classified(workflow))
    packages = read.packages()
    hops = [
        {
            "hop": each,
            "place": packages[each.id][0],
            "url": record_url(packages[each.id][0]),
            "rows": rows_of(packages[each.id][1], registered, beside),
            "missing": missing_of(packages[each.id][1]),
        }
        for each in told.handoffs
    ]
    return render(
        asked,
        "task.html",
        f"Task {task_id}",
        tables=[_handoffs(told), _grid_table(told), _violations(told)],
        kinds=("tasks", "handoffs", "violations", "amendments"),
        here="",
        read=read,
        told=told,
        hops=hops,
        letters=LETTERS,
        timeline=[_entry(each, told) for each in told.timeline],
        names=[(name, id_, task_url(id_, name)) for name, id_ in names],
        other_workflows=[name for name in known if name != workflow],
        task_url=task_url,
        record_url=record_url,
        may_unmask=asked.person.may("unmasker", workflow, *teams),
    )


ROUTES: Final = (route("/task", page),)


def _handoffs(told: story.TaskStory) -> Table:
    return Table(
        "handoffs",
        "Handoffs",
        [
            Column("Hop", "number"),
            Column("From → to"),
            Column("State"),
            Column("Owner"),
            Column("Fidelity", "number"),
            Column("Completeness", "number"),
            Column("Missing"),
            Column("Accept by", "time"),
            Column("Complete by", "time"),
            Column("Contract"),
        ],
        [_handoff(each) for each in told.handoffs],
        "This task was not handed off yet.",
    )


def _handoff(each: Hop) -> Row:
    state = f"{each.state}, stalled" if each.stalled else each.state
    mark = "bad" if each.stalled or each.state in ("held", "rejected", "expired") else "info"
    contract = f"{each.contract}@{each.contract_version}" if each.contract else None
    return row(
        each.id,
        Cell(each.hop),
        Cell(each.edge, href=f"/held/{segment(each.id)}" if each.state == "held" else None),
        Cell(state, mark="good" if each.state == "completed" and not each.stalled else mark),
        Cell(each.owner or "nobody"),
        Cell(each.fidelity, percent(each.fidelity)),
        Cell(each.completeness, percent(each.completeness)),
        Cell(", ".join(each.missing)),
        Cell(each.accept_by),
        Cell(each.complete_by),
        Cell(contract),
    )


def _grid_table(told: story.TaskStory) -> Table:
    """The grid as a table to take along."""
    return Table(
        "fields",
        "Fields, hop by hop",
        [Column("Field"), *(Column(f"{each.hop}: {each.edge}") for each in told.handoffs)],
        [
            row(name, name, *(each.cells.get(name, "") for each in told.handoffs))
            for name in told.fields
        ],
    )


def _violations(told: story.TaskStory) -> Table:
    return Table(
        "violations",
        "What broke",
        [
            Column("What", "phrase"),
            Column("Field"),
            Column("State"),
            Column("Hop", "number"),
            Column("In a sentence", "words"),
            Column("Since", "time"),
        ],
        [
            row(
                each.id,
                Cell(each.kind, cells.in_words(each.kind), mark=each.severity),
                each.field or each.rule,
                each.status if each.resolution is None else f"{each.status}: {each.resolution}",
                each.hop,
                Cell(each.message),
                each.opened_at,
            )
            for each in told.violations
        ],
        "Nothing broke.",
    )


def _entry(entry: story.Entry, told: story.TaskStory) -> dict[str, object]:
    """A line of the timeline: when, a label, its mark, and words."""
    hops = {each.id: each for each in told.handoffs}
    label, mark, words, why = _line(entry, hops)
    refused = getattr(entry, "refused", None)
    return {"at": entry.at, "label": label, "mark": mark, "words": words, "why": why,
            "refused": refused}  # fmt: skip


def _line(entry: story.Entry, hops: dict[str, Hop]) -> tuple[str, str, str, str | None]:
    match entry:
        case story.Captured():
            handed = f", handed to {', '.join(entry.handed_to)}" if entry.handed_to else ""
            taken = f"; took back {', '.join(entry.retracted)}" if entry.retracted else ""
            brought = ", ".join(entry.names) or "no values"
            where = f"{entry.stage or 'where the task was'}/{entry.tool}"
            return "output", "", f"{where} brought {brought}{taken}{handed}", None
        case story.PublishedRevision():
            held = entry.disposition == "held"
            how = ", ".join(f"{number} {each}" for each, number in entry.how.items())
            missing = f"; missing: {', '.join(entry.missing)}" if entry.missing else ""
            words = f"{'held for' if held else 'sent to'} {entry.receiver}, revision "
            words += f"{entry.revision}: {how or 'no fields'}{missing}"
            if entry.absent:
                words += f" ({entry.absent})"
            return f"hop {entry.hop}", "bad" if held else "good", words, None
        case story.Broke():
            mark = "good" if entry.status == "resolved" else entry.severity
            label = "resolved" if entry.status == "resolved" else entry.severity
            return label, mark, entry.message, None
        case story.SignalSent():
            late = ", late" if entry.late else ""
            to = entry.to_team or "the originator"
            return "signal", "info", f"{entry.kind}{late}, to {to}: {entry.message}", None
        case story.Acked():
            return "ack", "", f"{entry.by} says {entry.status}{_about(entry, hops)}", entry.reason
        case story.Amended():
            what = {
                "set": f"sets {', '.join(entry.names)}",
                "redirect": f"sends it on to {entry.to or 'another receiver'}",
                "release": "releases it",
            }.get(entry.action, "discards it")
            return entry.action, "", f"{entry.by} {what}{_about(entry, hops)}", entry.reason
        case story.Unread():
            place = f"{entry.topic}/{entry.partition}/{entry.offset}"
            return "unread", "bad", f"{place} is not what the topic holds", None


def _about(entry: story.Acked | story.Amended, hops: dict[str, Hop]) -> str:
    found = hops.get(entry.handoff_id or "")
    return f" (hop {found.hop}, {found.edge})" if found is not None else ""
