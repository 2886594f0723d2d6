"""Find whatever has a name: exactly that, or what begins with it."""

import json
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final, NamedTuple

import apsw
from msgspec import Struct

from web.model.queries.causes import PATTERN_LANES
from web.model.queries.common import Values

EACH: Final = 10  # of a kind
SHORTEST: Final = 2  # characters of what others may begin with
LOOKED: Final = 20_000  # names of a kind that are looked through for who may not read all of them
_END: Final = "\U0010ffff"


class Hit(Struct, frozen=True):
    """Something that was found. `kind` is task, linked, handoff, event, contract, receiver, source
    or pattern. `name` is what fits; `task_id` and `workflow` where it leads, for those that are of
    a task."""

    kind: str
    name: str
    exact: bool
    task_id: str | None = None
    workflow: str | None = None


class Sees(NamedTuple):
    """What somebody may read who may not read everything: handoffs in `lanes` (their ids), those of
    them that name a team, the `workflow`s that are theirs as a whole, and a `document` by its kind
    and id."""

    lanes: frozenset[int]
    of_teams: frozenset[int]
    workflow: Callable[[str], bool]
    document: Callable[[str, str], bool]


class _Question(NamedTuple):
    """Of a kind: the rows `x` (name, task_id, workflow) and which of them somebody sees. Answered
    from an index on the name, in its order."""

    kind: str
    name: str
    columns: str
    table: str
    seen: str


def _task(task: str, workflow: str) -> str:
    """Whether a task is seen, as `seen.may_read_task` says it."""
    return (
        f"(reads_all({workflow}) or exists (select 1 from handoffs h where h.task_id = {task} "
        f"and h.workflow = {workflow} and h.lane in (select value from json_each(:of_teams))) "
        f"or exists (select 1 from held h where h.task_id = {task} "
        f"and h.workflow = {workflow} and h.lane in (select value from json_each(:of_teams))))"
    )


_TASK: Final = _task("coalesce(x.task_id, x.name)", "coalesce(x.workflow, '')")
_LINK: Final = (  # both tasks: the one that says that it goes on, and the one of that name
    f"{_TASK} and not exists (select 1 from links o where o.of_task = x.name and "
    "o.task_id = x.task_id and o.workflow = x.workflow and not "
    f"{_task('o.of_task', 'o.of_workflow')})"
)
_CAUSE: Final = (  # as `seen.may_read_cause` says it
    "case when exists (select 1 from violations v where v.fingerprint = x.name) then exists ("
    "select 1 from violations v where v.fingerprint = x.name "
    "and v.lane in (select value from json_each(:lanes))) else exists ("
    f"select 1 from patterns p join lanes l on {PATTERN_LANES} where p.fingerprint = x.name "
    "and l.id in (select value from json_each(:lanes))) end"
)
_OF_TASK: Final = "task_id, workflow"
_QUESTIONS: Final = (
    _Question("task", "task_id", _OF_TASK, "tasks", _TASK),
    _Question("linked", "of_task", _OF_TASK, "links", _LINK),
    _Question("handoff", "id", _OF_TASK, "handoffs", _TASK),
    _Question("handoff", "id", _OF_TASK, "held", _TASK),
    _Question("event", "event_id", _OF_TASK, "events", _TASK),
    _Question("pattern", "fingerprint", "null as task_id, workflow", "patterns", _CAUSE),
)
_REGISTERED: Final = (
    "select distinct case topic when 10 then 'contract' when 11 then 'receiver' else 'source' end, "
    "id from registry where id {fits} order by id"
)


def search(db: apsw.Connection, text: str, sees: Sees | None = None) -> list[Hit]:
    """What has this name, then what begins with it: at most ten of a kind each, of what somebody
    sees (None: everything). Letters count as they are written. Text around the name is cut off.

    For who does not see everything the first `LOOKED` names of a kind are looked through.
    """
    name = text.strip()
    if not name:
        return []
    values: Values = {"text": name, "end": name + _END}
    if sees is not None:
        values |= {
            "lanes": json.dumps(sorted(sees.lanes)),
            "of_teams": json.dumps(sorted(sees.of_teams)),
        }
        db.create_scalar_function("reads_all", _remembered(sees.workflow), 1)
    found: dict[tuple[str, str, str | None], Hit] = {}
    for exact in (True, False):
        if not exact and len(name) < SHORTEST:
            break
        fits = "= :text" if exact else "> :text and {0} < :end"
        for asked in _QUESTIONS:
            for hit, task_id, workflow in db.execute(_sql(asked, fits, sees), values):
                hit_ = Hit(asked.kind, hit, exact, task_id, workflow)
                found.setdefault((asked.kind, hit, workflow), hit_)
        for kind, hit in islice(_registered(db, fits, values, sees), EACH):
            found.setdefault((kind, hit, None), Hit(kind, hit, exact))
    return list(found.values())


def _sql(asked: _Question, fits: str, sees: Sees | None) -> str:
    here = fits.replace("{0}", asked.name)
    rows = (
        f"select {asked.name} as name, {asked.columns} from {asked.table} "
        f"where {asked.name} {here} order by {asked.name}"
    )
    if sees is None:
        return f"{rows} limit {EACH}"
    return f"select * from ({rows} limit {LOOKED}) x where {asked.seen} limit {EACH}"


def _registered(
    db: apsw.Connection, fits: str, values: Values, sees: Sees | None
) -> Iterator[tuple[str, str]]:
    sql = _REGISTERED.replace("{fits}", fits.replace("{0}", "id"))
    for kind, id_ in db.execute(sql, values):
        if sees is None or sees.document(kind, id_):
            yield kind, id_


def _remembered(question: Callable[[str], bool]) -> Callable[..., bool]:
    """The question as a function of SQL, asked once of each workflow."""
    known: dict[str, bool] = {}

    def answer(*names: object) -> bool:
        workflow = str(names[0])
        if workflow not in known:
            known[workflow] = question(workflow)
        return known[workflow]

    return answer
