"""What is known of other records of a task while a command shows it."""

import json
from typing import Any

import msgspec

from console.remembered import SeenTasks
from processors.contracts.classified import Named, classify

EMAIL = classify([Named(("email", "mail"), True)])
TASK = ("lead", "t1")


def raw(**values: Any) -> dict[str, msgspec.Raw]:
    return {name: msgspec.Raw(json.dumps(value).encode()) for name, value in values.items()}


def test_what_is_classified_of_a_task_is_told_and_nothing_of_another() -> None:
    seen = SeenTasks()
    seen.note(TASK, raw(email="kim@b", tier="gold"))
    seen.note(("lead", "t2"), raw(email="jim@b"))
    seen.note(("other", "t1"), raw(email="tim@b"))
    assert seen.texts(TASK, EMAIL) == {"kim@b"}
    seen.note(TASK, raw(mail="kim@c", tier="gold"))
    assert seen.texts(TASK, EMAIL) == {"kim@b", "kim@c"}
    assert not seen.texts(TASK, classify([]))
    assert seen.texts(TASK, classify([Named(("tier",), True)])) == {"gold"}, "another contract"
    assert not seen.texts(("lead", "t3"), EMAIL)


def test_what_is_remembered_is_bounded_and_the_task_that_was_quiet_goes_first() -> None:
    seen = SeenTasks(most=3_000)
    for number in range(100):
        seen.note(TASK, raw(email="kim@b"))
        seen.note(("lead", f"u{number}"), raw(email=f"u{number}@b"))
    assert seen.texts(TASK, EMAIL) == {"kim@b"}
    assert seen.texts(("lead", "u99"), EMAIL) == {"u99@b"}
    assert not seen.texts(("lead", "u1"), EMAIL)
    for number in range(100):
        seen.note(TASK, raw(email=f"kim{number}@b"))
        assert f"kim{number}@b" in seen.texts(TASK, EMAIL)
    assert 3 < len(seen.texts(TASK, EMAIL)) < 20
    seen.note(TASK, raw(email="k" * 9_000))
    assert not seen.texts(TASK, EMAIL), "larger than all that is remembered"


def test_an_input_that_cannot_be_read_is_none_of_any_task() -> None:
    seen = SeenTasks()
    for value in (b"", b"[", b"{}", b'{"context":{"email":"x"}}', b"[" * 100_000, b"\xff"):
        for topic in ("handoff.tool-outputs", "handoff.amendments", "handoff.acks"):
            seen.note_input(topic, value)
    assert not seen.texts(TASK, EMAIL)
