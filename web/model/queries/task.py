"""The story of a task, over all its names, as rows with coordinates."""

from typing import Final

import apsw
from msgspec import Struct

from web.model.queries.common import Place, Values, after, cursor_of, place, rows
from web.model.queries.held import Why, reasons

NAMES: Final = 32  # of a task; `handoff show` tells of as many
EVENTS: Final = 500  # of a page
_HANDOFFS: Final = 200


class Named(Struct, frozen=True):
    """A name of the task: a workflow and an id, last heard of at (epoch ms)."""

    workflow: str
    task_id: str
    stage: str | None
    last_at: int


class Linked(Struct, frozen=True):
    """What an output said of two tasks: `continues`, `continued_by` or `unlinked`."""

    kind: str
    workflow: str
    task_id: str
    of_workflow: str
    of_task: str
    at: int
    place: Place


class Event(Struct, frozen=True):
    """One record of the story. `what` is output, an ack's status, an amendment's action, sent or
    held (a package), opened or resolved (a violation), a signal's kind, or dead_letter."""

    at: int
    what: str
    task_id: str
    workflow: str | None
    stage: str | None
    tool: str | None
    by: str | None
    handoff_id: str | None
    event_id: str | None
    place: Place


class TaskHandoff(Struct, frozen=True):
    """A handoff of the task. `fidelity` is 0 to 1; `place` is its newest package."""

    id: str
    task_id: str
    hop: int | None
    revision: int | None
    state: str | None
    late: bool
    stalled: bool
    from_team: str | None
    from_stage: str | None
    from_tool: str | None
    receiver: str | None
    to_team: str | None
    owner: str | None
    contract: str | None
    contract_version: int | None
    at: int | None
    fidelity: float | None
    why: list[Why]
    place: Place | None


class Story(Struct, frozen=True):
    """A task: its names, the links between them, its handoffs, and one page of its records."""

    names: list[Named]
    links: list[Linked]
    handoffs: list[TaskHandoff]
    events: list[Event]
    next: str | None


def task(
    db: apsw.Connection, task_id: str, workflow: str | None = None, page: str | None = None
) -> Story | None:
    """The story of a task and of those that it is linked with; of every workflow where none is
    named. None where nothing is known of it. Raises `CursorError`."""
    known = _known(db, task_id, workflow)
    if not known:
        return None
    links: dict[Place, Linked] = {}
    todo, found = list(known), dict.fromkeys(known)
    while todo and len(found) < NAMES:
        here = todo.pop(0)
        for link in _links(db, *here):
            links[link.place] = link
            for other in ((link.workflow, link.task_id), (link.of_workflow, link.of_task)):
                if other not in found and len(found) < NAMES:
                    found[other] = None
                    todo.append(other)
    names = [_named(db, *name) for name in found]
    events, more = _events(db, list(found), page)
    handoffs = [each for name in found for each in _handoffs(db, *name)]
    handoffs.sort(key=lambda each: (each.at or 0, each.hop or 0, each.id))
    told = sorted(links.values(), key=lambda link: link.at)
    return Story(names, told, handoffs[:_HANDOFFS], events, more)


def _known(db: apsw.Connection, task_id: str, workflow: str | None) -> list[tuple[str, str]]:
    found = rows(
        db,
        "select workflow, task_id from tasks where task_id = :task "
        "and (:workflow is null or workflow = :workflow) union "
        "select of_workflow, of_task from links where of_task = :task "
        f"and (:workflow is null or of_workflow = :workflow) limit {NAMES}",
        {"task": task_id, "workflow": workflow},
    )
    if found:
        return [(each["workflow"], each["task_id"]) for each in found]
    # A dead letter, a signal or a violation without any output that is still there.
    alone = db.execute("select 1 from events where task_id = ? limit 1", (task_id,)).get
    return [(workflow or "", task_id)] if alone else []


def _links(db: apsw.Connection, workflow: str, task_id: str) -> list[Linked]:
    found = rows(
        db,
        "select * from links where task_id = :task and workflow = :workflow union all "
        "select * from links where of_task = :task and of_workflow = :workflow limit 200",
        {"task": task_id, "workflow": workflow},
    )
    return [
        Linked(
            kind=each["kind"],
            workflow=each["workflow"],
            task_id=each["task_id"],
            of_workflow=each["of_workflow"],
            of_task=each["of_task"],
            at=each["at"],
            place=place(each["topic"], each["partition"], each["offset"]),
        )
        for each in found
    ]


def _named(db: apsw.Connection, workflow: str, task_id: str) -> Named:
    found = rows(
        db,
        "select * from tasks where task_id = :task and workflow = :workflow",
        {"task": task_id, "workflow": workflow},
    )
    if not found:
        return Named(workflow, task_id, None, 0)
    row = found[0]
    return Named(workflow, task_id, row["stage"], row["last_at"])


def _events(
    db: apsw.Connection, names: list[tuple[str, str]], page: str | None
) -> tuple[list[Event], str | None]:
    """A page of the records of tasks, in the order of their times."""
    last = after(page)
    found = []
    for workflow, task_id in names:
        values: Values = {"task": task_id, "workflow": workflow}
        where = "task_id = :task and (workflow is null or workflow = :workflow or :workflow = '')"
        if last is not None:
            where += " and at >= :last"
            values["last"] = last[0]
        found += rows(
            db,
            f"select * from events where {where} order by at, topic, partition, offset "
            f"limit {EVENTS + 200}",
            values,
        )
    # A record without a workflow is found under each workflow that has the task's id.
    once = {(each["topic"], each["partition"], each["offset"]): each for each in found}
    told = sorted(once.values(), key=lambda each: (each["at"], _place(each)))
    if last is not None:
        told = [each for each in told if (each["at"], _place(each)) > last]
    more = None
    if len(told) > EVENTS:
        told = told[:EVENTS]
        more = cursor_of(told[-1]["at"], _place(told[-1]))
    return [
        Event(
            at=each["at"],
            what=each["what"],
            task_id=each["task_id"],
            workflow=each["workflow"],
            stage=each["stage"],
            tool=each["tool"],
            by=each["by_"],
            handoff_id=each["handoff_id"],
            event_id=each["event_id"],
            place=place(each["topic"], each["partition"], each["offset"]),
        )
        for each in told
    ], more


def _place(row: dict[str, int]) -> str:
    """A place as a text that has the same order."""
    return f"{row['topic']:02}-{row['partition']:05}-{row['offset']:016}"


def _handoffs(db: apsw.Connection, workflow: str, task_id: str) -> list[TaskHandoff]:
    found = rows(
        db,
        "select h.*, l.contract, l.from_team, l.from_stage, l.receiver, l.to_team, l.owner "
        "from handoffs h left join lanes l on l.id = h.lane where h.task_id = :task "
        "and (h.workflow is null or h.workflow = :workflow or :workflow = '') "
        f"order by h.at limit {_HANDOFFS}",
        {"task": task_id, "workflow": workflow},
    )
    return [
        TaskHandoff(
            id=each["id"],
            task_id=each["task_id"],
            hop=each["hop"],
            revision=each["revision"],
            state=each["state"] or each["disposition"],
            late=bool(each["late"]),
            stalled=bool(each["stalled"]),
            from_team=each["from_team"] or None,
            from_stage=each["from_stage"],
            from_tool=each["from_tool"],
            receiver=each["receiver"],
            to_team=each["to_team"] or None,
            owner=each["owner"] or None,
            contract=each["contract"] or None,
            contract_version=each["contract_version"],
            at=each["at"],
            fidelity=None if each["fidelity"] is None else each["fidelity"] / 1_000_000,
            why=reasons(db, each["id"]),
            place=None
            if each["topic"] is None
            else place(each["topic"], each["partition"], each["offset"]),
        )
        for each in found
    ]
