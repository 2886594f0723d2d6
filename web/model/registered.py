"""The rows of documents: contracts, receivers and sources, as they are registered.

The documents of contracts and receivers are kept whole: they are configuration that every reader
of their topics may see, and the pages need what they say at every turn. Of a source only what
names it is kept: its tables may name customers.
"""

import json
from collections.abc import Iterator
from typing import Any

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
        name, _, version = key.rpartition("@")
        of = (name, int(version)) if name and version.isdecimal() else (key, None)
        yield Row(to.REGISTRATION, (*here, key, *of, REMOVED, record.timestamp))
        return
    if record.topic == "handoff.sources":
        # The topic has requests to read again, too, under keys of their own.
        raw: Any = json.loads(record.value)
        if not isinstance(raw, dict) or raw.get("kind") != "Source":
            return
        source = source_documents.from_json(record.value)
        version, status = None, source.status
        who: tuple[str | None, ...] = (None, source.owner.name, source.owner.contact, None, None)
        id_, document = source.id, ""
    else:
        found = documents.from_json(record.value)
        id_, document, status = found.id, record.value.decode(), found.status
        if isinstance(found, documents.HandoffContract):
            version = found.version
            owner = found.owner
            who = (found.from_.team, owner.name, owner.contact, found.workflow, found.to.receiver)
        else:
            version = None
            first = found.owners[0] if found.owners else None
            named = (first.name, first.contact) if first else (None, None)
            who = (found.team, *named, None, found.id)
    yield Row(to.REGISTRY, (topic, key, id_, version, status, *who, document, *place))
    yield Row(to.REGISTRATION, (*here, key, id_, version, status, record.timestamp))
