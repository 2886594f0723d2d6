"""What conditions of sources see of a record, and what it costs."""

from typing import Any

import pytest

from processors.intake import scope, values
from tests.intake import compiled, context, entry, event, made, mapped, refused


def test_conditions_see_roots_and_names() -> None:
    given = compiled(
        let={"was": "value.before.owner", "is": "value.after.owner"},
        emit=[{"stage": {"value": "s"}, "when": "was != null && was != is"}],
    )
    assert mapped(given, event(after={"owner": "b"})).skipped is not None
    assert mapped(given, event(before={"owner": "b"}, after={"owner": "b"})).skipped is not None
    assert made(given, event(before={"owner": "a"}, after={"owner": "b"}))
    assert made(
        entry(when='key.id == 9 && "h" in headers && record.offset > 1'),
        event(),
        {"id": 9},
        headers=[("h", b"x")],
    )
    assert made(entry(when="has(value.a.b) && !has(value.a.c)"), event(a={"b": 1}))
    # Numbers that a double would not spell again, and such beyond 64 bits.
    assert made(
        entry(when="value.a > 1.0 && value.b > 1.0"),
        b'{"id": "T", "at": 1772445600, "a": 1.10, "b": 123456789012345678901234567890}',
    )
    given = entry(when="value.a == [1.1, 2] && 1.1 in value.a", context={"a": "value.a"})
    (output,) = mapped(given, b'{"id": "T", "at": 1772445600, "a": [1.10, 2]}').records
    assert b'"a":[1.10,2]' in (output.value or b"")


def test_conditions_look_through_a_list_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def nested_in(value: Any) -> list[Any] | None:
        seen.append(value)
        return values.nested_in(value)

    monkeypatch.setattr(scope, "nested_in", nested_in)
    given = entry(each="value.items", when="it.kind in value.kinds && size(value.kinds) > 1")
    items = [{"kind": "a"}, {"kind": "x"}, {"kind": "b"}]
    assert len(made(given, event(items=items, kinds=["a", "b"]))) == 2
    assert seen == [["a", "b"]]
    seen.clear()
    value = event(a={"b": {"c": [1]}})
    assert made(entry(when="size(value) > 1 && size(value.a) == 1 && 1 in value.a.b.c"), value)
    assert seen == [value]


def test_a_condition_reads_the_text_of_a_long_number_as_members_do() -> None:
    """An id beyond 64 bits is text of its digits, also where a condition compares it."""
    given = compiled(
        let={"number": {"text": "{value.number}"}},
        emit=[
            {
                "stage": {"value": "intake"},
                "when": 'number == "123456789012345678901" && value.number > 1.0',
                "context": {"number": "number"},
            }
        ],
    )
    number = b'{"id": "T-1", "at": "2026-03-02T10:00:00Z", "number": 123456789012345678901}'
    assert context(given, number) == {"number": "123456789012345678901"}


def test_what_conditions_look_through_counts_where_it_is_in_the_key_too() -> None:
    given = compiled(emit=[{"stage": {"value": "s"}, "each": "value.a", "when": "it in key"}])
    code, message = refused(given, event(a=list(range(1, 1001))), key=[0] * 50_000)
    assert code == "condition_failed"
    assert "would go through more of the context than they may" in message
