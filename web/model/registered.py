"""The rows of documents: contracts, receivers and sources, as they are registered.

The documents of contracts and receivers are kept whole: they are configuration that every reader
of their topics may see, and the pages need what they say at every turn. Of a source only what
names it is kept: its tables may name customers.
"""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from schemas import documents
from schemas import sources as source_documents
from schemas.flow import Record
from web.model import statements as to
from web.model.schema import NUMBER
from web.model.statements import Row

REMOVED = "removed"


def rows(record: Record) -> Iterator[Row]:
    """The rows of a record of `handoff.contracts`, `handoff.receivers` or `handoff.sources`; raises
    ValueError for a document that is none."""
    topic, key = NUMBER[record.topic], (record.key or b"").decode()
    place = record.partition, record.offset, record.timestamp
    here = topic, record.partition, record.offset
    if record.value is None:
        yield Row(to.NOT_REGISTERED, (topic, key, *place))
        name, _, number = key.rpartition("@")
        of = (name, int(number)) if name and number.isdecimal() else (key, None)
        yield Row(to.REGISTRATION, (*here, key, *of, REMOVED, record.timestamp))
        return
    outline = (
        _source(record.value) if record.topic == "handoff.sources" else _document(record.value)
    )
    if outline is not None:
        yield Row(to.REGISTRY, (topic, key, *outline, *place))
        id_, version, status, *_ = outline
        yield Row(to.REGISTRATION, (*here, key, id_, version, status, record.timestamp))


class _Outline(NamedTuple):
    """The columns of a document."""

    id: str
    version: int | None
    status: str
    team: str | None
    owner: str | None
    contact: str | None
    workflow: str | None
    receiver: str | None
    document: str


def _source(value: bytes) -> _Outline | None:
    """Of a source; none of a request to read again, which has a key of its own on the topic."""
    raw: Any = json.loads(value)
    if not isinstance(raw, dict) or raw.get("kind") != "Source":
        return None
    found = source_documents.from_json(value)
    owner = found.owner.name, found.owner.contact
    return _Outline(found.id, None, found.status, None, *owner, None, None, "")


def _document(value: bytes) -> _Outline:
    text = value.decode()
    match documents.from_json(value):
        case documents.HandoffContract() as found:
            owner = found.owner.name, found.owner.contact
            where = found.workflow, found.to.receiver
            of = found.id, found.version, found.status, found.from_.team
            return _Outline(*of, *owner, *where, text)
        case documents.Receiver() as found:
            first = found.owners[0] if found.owners else None
            return _Outline(
                id=found.id,
                version=None,
                status=found.status,
                team=found.team,
                owner=first.name if first else None,
                contact=first.contact if first else None,
                workflow=None,
                receiver=found.id,
                document=text,
            )
