"""The records of a task, read for a page, and its story as it may be shown."""

from dataclasses import dataclass
from typing import Final

import apsw

from console import linked, others, sequence, story
from console.masking import Mask, texts_of
from console.story_veil import values_of, veiled
from processors.contracts.classified import Classified
from schemas.records import Package
from web.context import Console, Registered
from web.model.queries.common import Place
from web.model.schema import TOPICS

MOST_RECORDS: Final = 600  # of one task that a page reads; the newest
_TOLD: Final = frozenset({*sequence.OUTPUTS, "handoff.tool-outputs", "handoff.acks",
                          "handoff.amendments"})  # fmt: skip


@dataclass(frozen=True)
class ReadTask:
    """The events of a task that are still there, in order.

    `gone` counts the records that the read model knows and retention took; `left_out` those beyond
    the most that a page reads.
    """

    task_id: str
    workflow: str
    events: list[sequence.Event]
    places: dict[Place, sequence.Event]
    gone: int
    left_out: int

    def packages(self) -> dict[str, tuple[Place, Package]]:
        """The newest revision of each handoff, and where it lies."""
        found: dict[str, tuple[Place, Package]] = {}
        for place, event in self.places.items():
            body = event.body
            if isinstance(body, Package) and (
                body.id not in found or body.revision >= found[body.id][1].revision
            ):
                found[body.id] = place, body
        return found

    def known_texts(self, classified: Classified) -> set[str]:
        """The texts of what is classified anywhere in the task: what tells one is masked."""
        if not classified.at:
            return set()
        pairs = [
            (name, bytes(raw)) for values in values_of(self.events) for name, raw in values.items()
        ]
        return texts_of(classified, pairs)


def workflows_of(db: apsw.Connection, task_id: str) -> list[str]:
    """The workflows that have a task of this id, as far as the read model knows."""
    found = db.execute(
        "select workflow from tasks where task_id = ?1 union "
        "select workflow from events where task_id = ?1 and workflow is not null order by 1",
        (task_id,),
    )
    return [name for (name,) in found]


def places_of(db: apsw.Connection, task_id: str) -> list[Place]:
    """Where the records of a task lie, the newest first."""
    found = db.execute(
        "select topic, partition, offset from events where task_id = ?1 "
        "union all select ?2, partition, offset from held where task_id = ?1 "
        "order by 3 desc",
        (task_id, TOPICS.index("handoff.held")),
    )
    places = [Place(TOPICS[topic], partition, offset) for topic, partition, offset in found]
    return list(dict.fromkeys(place for place in places if place.topic in _TOLD))


def holds(db: apsw.Connection, place: Place) -> tuple[str, str | None] | None:
    """The task (id and workflow) of a record, where the read model holds its place."""
    if place.topic not in TOPICS:
        return None
    number = TOPICS.index(place.topic)
    found = db.execute(
        "select task_id, workflow from events "
        "where topic = ?1 and partition = ?2 and offset = ?3 and task_id is not null "
        "union all select task_id, workflow from held "
        "where ?1 = ?4 and partition = ?2 and offset = ?3 limit 1",
        (number, place.partition, place.offset, TOPICS.index("handoff.held")),
    )
    return next(((task, workflow) for task, workflow in found), None)


def read_task(console: Console, db: apsw.Connection, task_id: str, workflow: str) -> ReadTask:
    """Read the records of a task. Raises `CommandError` when the broker does not answer."""
    places = places_of(db, task_id)
    wanted = places[:MOST_RECORDS]
    found = console.gate.read(wanted)
    records = [found[place] for place in wanted if place in found]
    events = [
        event
        for event in sequence.in_order(sequence.of_task(records, task_id))
        if event.body is None or getattr(event.body, "workflow", workflow) == workflow
    ]
    by_place = {
        Place(each.record.topic, each.record.partition, each.record.offset): each for each in events
    }
    return ReadTask(
        task_id,
        workflow,
        events,
        by_place,
        gone=len(wanted) - len(records),
        left_out=len(places) - len(wanted),
    )


def tell(read: ReadTask, registered: Registered) -> story.TaskStory:
    """The story of a task; no value of a context is in it, and no name that tells one."""
    mask = Mask(registered.shown.classified(read.workflow), values_of(read.events))
    known = story.versions(read.events) <= registered.contracts.keys()
    return story.tell(
        [veiled(event, mask, known) for event in read.events],
        read.task_id,
        read.workflow,
        registered.contracts,
        others=others.of_others(read.events, read.workflow, registered.tables),
    )


def linked_names(db: apsw.Connection, task_id: str, workflow: str) -> list[tuple[str, str]]:
    """The other names of a task (workflow and id): those that it continues, or that continue it."""
    found = db.execute(
        "select of_workflow, of_task from links where task_id = ?1 and workflow = ?2 and "
        "kind <> 'unlinked' union "
        "select workflow, task_id from links where of_task = ?1 and of_workflow = ?2 and "
        "kind <> 'unlinked' order by 1, 2 limit ?3",
        (task_id, workflow, linked.MOST),
    )
    return [(workflow, task) for workflow, task in found]
