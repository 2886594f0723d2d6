"""What of the read model a person may read, where not all of it is theirs.

A lane has a workflow and two teams; of the two teams one is enough. Of a task that is handed on
several times the teams of any of its handoffs count.
"""

from collections.abc import Iterable

import apsw
from msgspec.structs import replace

from web.auth.guard import Refusal
from web.auth.people import Person
from web.model.queries.causes import PATTERN_LANES
from web.model.queries.map import KnownEdge, known_edge
from web.model.queries.search import Sees
from web.model.schema import NUMBER

_TASK = (
    "select l.from_team, l.to_team from handoffs h join lanes l on l.id = h.lane "
    "where h.task_id = ?1 and h.workflow = ?2 union "
    "select l.from_team, l.to_team from held h join lanes l on l.id = h.lane "
    "where h.task_id = ?1 and h.workflow = ?2"
)


def lanes_of(db: apsw.Connection, person: Person) -> frozenset[int] | None:
    """The ids of the lanes whose handoffs a person may read; None where that is all of them."""
    if person.everywhere:
        return None
    found = db.execute("select id, workflow, from_team, to_team from lanes")
    known: dict[tuple[str, str, str], bool] = {}
    ids = []
    for id_, *of in found:
        workflow, *teams = here = (of[0], of[1], of[2])
        if here not in known:
            known[here] = person.may("reader", workflow, *teams)
        if known[here]:
            ids.append(id_)
    return frozenset(ids)


def sees(db: apsw.Connection, person: Person) -> Sees | None:
    """What a person may read, for the search; None where that is everything."""
    lanes = lanes_of(db, person)
    if lanes is None:
        return None
    with_teams = db.execute("select id from lanes where from_team <> '' or to_team <> ''")
    return Sees(
        lanes,
        lanes & {id_ for (id_,) in with_teams},
        lambda workflow: may_read_all(person, workflow),
        lambda kind, id_: may_read_document(db, person, kind, id_),
    )


def teams_of_task(db: apsw.Connection, task_id: str, workflow: str) -> set[str]:
    """The teams of the handoffs of a task, as far as the read model knows."""
    return {team for both in db.execute(_TASK, (task_id, workflow)) for team in both if team}


def may_read_task(db: apsw.Connection, person: Person, task_id: str, workflow: str) -> bool:
    """Whether a person may read a task; one that was not handed off yet is for those who may read
    all of its workflow."""
    if may_read_all(person, workflow):
        return True
    teams = teams_of_task(db, task_id, workflow)
    return bool(teams) and person.may("reader", workflow, *teams)


def may_unmask(
    db: apsw.Connection, person: Person, task_id: str, workflow: str, *teams: str | None
) -> bool:
    """Whether a person may see the values of a record of these teams. What names no team, as what a
    tool wrote, is of its task's; of a task that was not handed off yet it is for who may unmask all
    of the workflow."""
    named = {team for team in teams if team} or teams_of_task(db, task_id, workflow)
    if not named:
        return person.does_all("unmasker", workflow)
    return person.may("unmasker", workflow, *named)


def may_read_cause(db: apsw.Connection, person: Person, fingerprint: str) -> bool:
    """Whether a person may read of a cause: of one of its violations, or where none is known any
    more, of handoffs where it breaks."""
    lanes = lanes_of(db, person)
    if lanes is None:
        return True
    found = db.execute("select distinct lane from violations where fingerprint = ?", (fingerprint,))
    broken = {lane for (lane,) in found}
    if not broken:
        near = db.execute(f"select l.id from patterns p join lanes l on {PATTERN_LANES} "
                          "where p.fingerprint = ?", (fingerprint,))  # fmt: skip
        broken = {lane for (lane,) in near}
    return bool(broken & lanes)


def may_read_document(db: apsw.Connection, person: Person, kind: str, id_: str) -> bool:
    """Whether a person may read a contract (of a workflow, from a team to that of its receiver), a
    receiver (of a team) or a source (of no team: for who reads of all teams somewhere)."""
    if person.everywhere:
        return True
    if kind == "source":
        return any("*" in grant.teams for grant in person.grants)
    found = db.execute(
        "select d.workflow, d.team, r.team from registry d left join registry r "
        "on r.topic = :receivers and r.id = d.receiver where d.topic = :topic and d.id = :id",
        {
            "receivers": NUMBER["handoff.receivers"],
            "topic": NUMBER[f"handoff.{kind}s"],
            "id": id_,
        },
    ).fetchall()
    if kind == "receiver":
        return any(person.reads_of(str(team)) for _, team, _ in found)
    return any(
        person.may("reader", str(workflow), *(str(team) for team in teams if team))
        for workflow, *teams in found
    )


def teams_of(db: apsw.Connection, person: Person) -> set[str] | None:
    """The teams of the handoffs that a person may read; None: of all."""
    lanes = lanes_of(db, person)
    if lanes is None:
        return None
    found = db.execute("select id, from_team, to_team from lanes")
    return {str(team) for id_, *both in found for team in both if team and id_ in lanes}


def workflows_of(db: apsw.Connection, person: Person, known: Iterable[str]) -> list[str]:
    """Those of the known workflows of which a person may read something: all that is theirs by
    name, but where only some teams are theirs, those that handed something to or from them."""
    named = person.workflows(known)
    if all(may_read_all(person, name) for name in named):
        return named
    lanes = db.execute("select distinct workflow, from_team, to_team from lanes")
    ours = {
        workflow
        for workflow, *teams in lanes
        if any(teams) and person.may("reader", workflow, *teams)
    }
    return [name for name in named if name in ours or may_read_all(person, name)]


def edge_for(db: apsw.Connection, person: Person, key: str) -> KnownEdge:
    """An edge, with those of its lanes that a person may read. A move has no team, so it is for
    those who may read all of its workflow. Raises `Refusal`."""
    found = known_edge(db, key)
    if found is None:
        raise Refusal(404, "Nothing is known of that edge. The busiest ones are on the page Map.")
    if may_read_all(person, found.workflow):
        return found
    ours = lanes_of(db, person) or frozenset()
    lanes = [each for each in found.lanes if each in ours]
    if found.kind == "move" or not lanes:
        raise Refusal(403, "That edge is not yours to see: the access file gives you no role here.")
    return replace(found, lanes=lanes)


def may_read_all(person: Person, workflow: str) -> bool:
    """Whether a person may read of every team in a workflow."""
    return bool(person.workflows([workflow])) and person.teams(workflow, ()) is None
