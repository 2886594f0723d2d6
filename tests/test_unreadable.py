"""A record that is no UTF-8, or nests too deep, ends no command: who reads on shows the others."""

import pytest

from console import linked, sequence
from console.lines import lines_of
from console.remembered import SeenTasks
from schemas.flow import Record
from schemas.links import LINKS

LATIN_1 = '{"id": "e", "task_id": "t", "workflow": "käse", "occurred_at": "käse"}'.encode("latin-1")
DEEP = b'{"id":' + b"[" * 100_000
OUTPUTS, AMENDMENTS = "handoff.tool-outputs", "handoff.amendments"

unreadable = pytest.mark.parametrize("value", [LATIN_1, DEEP, b"{", b"[]"], ids=len)


def record(value: bytes, topic: str = OUTPUTS) -> Record:
    return Record(topic, 0, 0, b"t", value, 1)


@unreadable
def test_a_line_of_it_has_no_time(value: bytes) -> None:
    [line] = lines_of([record(value)])
    assert (line.value, line.occurred_at) == (value, None)


@unreadable
def test_the_story_of_its_task_has_it_unread(value: bytes) -> None:
    [found] = sequence.of_task([record(value)], "t")
    assert found.body is None


@unreadable
def test_it_links_no_tasks(value: bytes) -> None:
    assert linked.linked([record(value), record(value, LINKS)], ("lead", "t")) == set()
    assert linked.waiting([record(value, LINKS)], 1) == []


@unreadable
@pytest.mark.parametrize("topic", [OUTPUTS, AMENDMENTS])
def test_nothing_of_it_is_remembered(topic: str, value: bytes) -> None:
    SeenTasks().note_input(topic, value)
