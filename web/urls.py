"""The addresses of pages that others lead to."""

from urllib.parse import quote, urlencode

from web.model.filters import Filters
from web.model.queries.common import Place


def task_url(task_id: str, workflow: str | None = None) -> str:
    """The page of a task. Its id is a parameter: in the path `..` would lead elsewhere."""
    params = {"id": task_id, **({"workflow": workflow} if workflow else {})}
    return f"/task?{urlencode(params)}"


def record_url(place: Place) -> str:
    """The page of a record."""
    return f"/records/{place.topic.removeprefix('handoff.')}/{place.partition}/{place.offset}"


def held_url(handoff_id: str) -> str:
    """The page of a held handoff."""
    return f"/held/{quote(handoff_id, safe='')}"


def cause_url(fingerprint: str) -> str:
    """The page of a cause, to which alerts lead."""
    return f"/cause/{quote(fingerprint, safe='')}"


def edge_url(key: str, filters: Filters | None = None) -> str:
    """The page of an edge of the map."""
    return f"/edge?{urlencode({'key': key, **(filters.pairs() if filters else {})})}"


def team_url(name: str) -> str:
    """The page of a team."""
    return f"/team?{urlencode({'id': name})}"


def draft_url(key: str, *, file: bool = False) -> str:
    """The page of a draft for an edge; or the file."""
    return f"/draft?{urlencode({'key': key, **({'format': 'yaml'} if file else {})})}"


def change_url(id_: str) -> str:
    """The page that says what a change of a contract would do."""
    return f"/change?{urlencode({'id': id_})}"


def contract_url(id_: str) -> str:
    """The page of a contract."""
    return f"/contract?{urlencode({'id': id_})}"


def receiver_url(id_: str) -> str:
    """The page Receivers with this one only."""
    return f"/receivers?{urlencode({'receiver': id_})}"


def sources_url(**params: str) -> str:
    """The page Sources: from a `page` of it on, or the one of an `id`."""
    return f"/sources?{urlencode(params)}"
