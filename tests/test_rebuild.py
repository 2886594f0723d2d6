"""What `--rebuild` relies on: the inputs judged once more, over whatever is left of the state."""

import json
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.integrity.processor import INTEGRITY
from schemas.flow import Output, Record
from schemas.records import Package
from schemas.serde import DEAD_LETTERS
from tests.core import Feeding
from tests.properties import examples
from tests.states import states_of
from tests.test_core_properties import (
    MINUTE,
    START,
    TABLES,
    commit,
    event,
    now,
    numbered,
    plain,
    run,
    wild,
)


def anew(records: list[Record], left: dict[str, bytes]) -> tuple[list[list[Output]], Feeding]:
    """The outputs of each record, judged over what is left."""
    again = Feeding(TABLES)
    again.assign(0, left)
    published = []
    for record in records:
        published.append(again.step(record, now(record)))
        commit(again)
    return published, again


def key_of(record: Record) -> str | None:
    try:
        return INTEGRITY.state_key(INTEGRITY.parse(record, now(record)))
    except Exception:  # noqa: BLE001 - a dead letter, of no task
        return None


@settings(examples, max_examples=100)
@given(wild, st.randoms(use_true_random=False))
def test_what_was_lost_is_published_again_as_it_was_and_what_is_left_stays(
    records: list[Record], random: Any
) -> None:
    published, running = run(records)
    store, whole = running.partitions[0].journal.store, states_of(running)
    kept = {key for key in whole if random.random() < 0.5}
    left = {key: value for key, value in store.items() if key.rpartition("#")[0] in kept}
    repeated, again = anew(records, left)
    assert states_of(again) == whole
    for record, before, after in zip(records, published, repeated, strict=True):
        if key_of(record) not in kept:
            assert plain(after) == plain(before)
        elif after:  # what could not be judged before cannot be now, unless it is known by its id
            assert plain(after) == plain(before)
            assert {output.topic for output in after} == {DEAD_LETTERS}


def test_acks_and_amendments_are_known_again_too() -> None:
    records = [event(0, {"context": {"a": "zq1"}, "handoff": {"to": "r1", "contract": "one"}})]
    published, _ = run(records)
    package = msgspec.json.decode(published[0][0].value or b"", type=Package)

    def said(topic: str, number: int, **members: Any) -> Record:
        body = {
            "id": f"said{number}",
            "workflow": "w",
            "task_id": "t1",
            "handoff_id": package.id,
            "by": "somebody",
            "occurred_at": START + number * MINUTE,
        }
        value = json.dumps(body | members).encode()
        return Record(topic, 0, number, b"t1", value, START + 60 * MINUTE)

    records += [
        said("handoff.amendments", 1, action="set", fields={"n": 7}),
        said("handoff.acks", 2, status="accepted"),
        said("handoff.amendments", 3, action="set", fields={"n": 8}),
    ]
    published, running = run(numbered(records))
    assert all(published)
    store, whole = running.partitions[0].journal.store, states_of(running)
    repeated, again = anew(records, dict(store))
    assert repeated == [[], [], [], []]
    assert states_of(again) == whole
    repeated, again = anew(records, {})
    assert list(map(plain, repeated)) == list(map(plain, published))
    assert states_of(again) == whole
