"""The addresses of pages that others lead to."""

from urllib.parse import quote, urlencode

from web.records import Place


def task_url(task_id: str, workflow: str | None = None) -> str:
    """The page of a task. Its id is a parameter: as a part of the path `..` would lead elsewhere."""
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
