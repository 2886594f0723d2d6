"""Find whatever has a name: exactly that, or what begins with it."""

from typing import Any, Final

import apsw
from msgspec import Struct

from web.model.queries.common import Values

EACH: Final = 10  # of a kind
SHORTEST: Final = 2  # characters of what others may begin with
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


# Each is answered from an index, in the order of that index.
_QUESTIONS: Final = (
    (
        "task",
        "select task_id, task_id, workflow from tasks where task_id {fits} order by task_id",
    ),
    (
        "linked",
        "select of_task, task_id, workflow from links where of_task {fits} order by of_task",
    ),
    ("handoff", "select id, task_id, workflow from handoffs where id {fits} order by id"),
    ("handoff", "select id, task_id, workflow from held where id {fits} order by id"),
    (
        "event",
        "select event_id, task_id, workflow from events where event_id {fits} order by event_id",
    ),
    ("pattern", "select fingerprint, null, workflow from patterns where fingerprint {fits}"),
)
_REGISTERED: Final = (
    "select distinct case topic when 10 then 'contract' when 11 then 'receiver' else 'source' end, "
    "id from registry where id {fits} order by id"
)


def search(db: apsw.Connection, text: str) -> list[Hit]:
    """What has this name, then what begins with it: at most ten of a kind each. Letters count as
    they are written. Text around the name is cut off."""
    name = text.strip()
    if not name:
        return []
    found: dict[tuple[str, str, str | None], Hit] = {}
    for exact in (True, False):
        if not exact and len(name) < SHORTEST:
            break
        values: Values = {"text": name, "end": name + _END}
        fits = "= :text" if exact else "> :text and {0} < :end"
        for kind, question in _QUESTIONS:
            for hit, task_id, workflow in _ask(db, question, fits, values):
                found.setdefault((kind, hit, workflow), Hit(kind, hit, exact, task_id, workflow))
        for kind, hit in _ask(db, _REGISTERED, fits, values):
            found.setdefault((kind, hit, None), Hit(kind, hit, exact))
    return list(found.values())


def _ask(db: apsw.Connection, question: str, fits: str, values: Values) -> list[tuple[Any, ...]]:
    column = question.split("{fits}", maxsplit=1)[0].rsplit(maxsplit=1)[-1]
    sql = question.replace("{fits}", fits.replace("{0}", column))
    return db.execute(f"{sql} limit {EACH}", values).fetchall()
