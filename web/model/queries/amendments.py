"""What people asked of handoffs, and whether the processor has answered.

An answer is whatever the processor says of that handoff after the request: a package that was
amended by it, a later package or signal, a violation that refuses it, or its dead letter. "Later"
goes by Kafka's times, which are those of the clients that wrote.
"""

from collections.abc import Sequence

import apsw
from msgspec import Struct

from web.model.queries.common import Place, Values, listed, place, rows
from web.model.schema import NUMBER


class Request(Struct, frozen=True):
    """One amendment: who asked for what and when; `fields` names what is set. `revision` is that of
    the package that its writer saw, where it says so. `answered` says how it was answered: amended,
    package, signal, refused or dead_letter."""

    id: str
    handoff_id: str
    task_id: str
    workflow: str
    action: str
    by: str
    at: int
    fields: list[str]
    to: str | None
    revision: int | None
    answered: str | None
    place: Place


_ANSWERED = """case
  when exists (select 1 from dead_letters d where d.source_topic = 'handoff.amendments'
    and d.source_partition = a.partition and d.source_offset = a.offset) then 'dead_letter'
  when exists (select 1 from amended m where m.handoff_id = a.handoff_id and m.event_id = a.id)
    then 'amended'
  when exists (select 1 from violations v where v.handoff_id = a.handoff_id and v.event_id = a.id
    and v.kind = 'unknown_handoff') then 'refused'
  else (select case e.topic when :signals then 'signal' else 'package' end from events e
    where e.handoff_id = a.handoff_id and e.written >= a.written
    and e.topic in (:signals, :packages, :held) order by e.written limit 1)
end"""


def asked_of(db: apsw.Connection, handoffs: Sequence[str]) -> dict[str, list[Request]]:
    """The amendments of handoffs (at most 20 of each), oldest first."""
    found: dict[str, list[Request]] = {}
    for handoff_id in handoffs:
        some = _asked(db, handoff_id)
        if some:
            found[handoff_id] = some
    return found


def _asked(db: apsw.Connection, handoff_id: str) -> list[Request]:
    values: Values = {
        "handoff": handoff_id,
        "signals": NUMBER["handoff.signals"],
        "packages": NUMBER["handoff.packages"],
        "held": NUMBER["handoff.held"],
    }
    found = rows(
        db,
        f"select a.*, {_ANSWERED} as answered from amendments a where a.handoff_id = :handoff "
        "order by a.written, a.partition, a.offset limit 20",
        values,
    )
    return [
        Request(
            id=each["id"],
            handoff_id=each["handoff_id"],
            task_id=each["task_id"],
            workflow=each["workflow"],
            action=each["action"],
            by=each["by_"],
            at=each["at"],
            fields=listed(each["fields"]),
            to=each["to_receiver"],
            revision=each["revision"],
            answered=each["answered"],
            place=place("handoff.amendments", each["partition"], each["offset"]),
        )
        for each in found
    ]
