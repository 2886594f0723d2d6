"""The judgement of fields: its short way for the most frequent case says what the long one says."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from processors.contracts.compiled import compile_contract
from processors.contracts.values import digest, is_empty
from processors.integrity import candidates
from processors.integrity.candidates import Candidates, Search
from processors.integrity.context import carry
from processors.integrity.events import Alias, EventRef, Remembered, TaskEvent
from processors.integrity.fields import AssembledContext, assemble
from schemas.documents import HandoffContract, parse

DOCUMENT = parse(
    {
        "kind": "HandoffContract",
        "id": "a-to-b",
        "version": 1,
        "owner": {"name": "O", "contact": "o@example.com"},
        "action": "Act.",
        "workflow": "w",
        "from": {"stage": "a"},
        "to": {"receiver": "b"},
        "fields": [
            {"name": "text", "type": "string"},
            {"name": "count", "type": "integer", "weight": 3},
            {"name": "any", "required": False},
            {"name": "other", "from": ["other", "text"]},
            {"name": "renamed", "from": ["text.inner", "renamed"]},
        ],
    }
)
assert isinstance(DOCUMENT, HandoffContract)
CONTRACT = compile_contract(DOCUMENT)
LONG_WAY = replace(CONTRACT, fields=tuple(replace(f, plain=False) for f in CONTRACT.fields))
NOW = EventRef(9, "a", "tool", "now", 200, False, 0, 8)

NAMES = st.sampled_from(["text", "count", "any", "other", "renamed", "extra"])
VALUES = st.sampled_from(
    [b'"words"', b'"wor\\u0064s"', b"1", b"1.0", b"1.5", b"null", b'""', b'{"inner":"x"}', b"[]"]
)


@st.composite
def carried(draw: st.DrawFn) -> tuple[dict[str, bytes], list[Remembered]]:
    """A context, and what the task held before: half of it the very values that are sent again."""
    context = draw(st.dictionaries(NAMES, VALUES, min_size=3))
    events: list[Remembered] = []
    for number in range(1, draw(st.integers(1, 4))):
        held = {}
        for name in draw(st.lists(NAMES, unique=True, min_size=1)):
            value = context.get(name) if draw(st.booleans()) else None
            value = value or draw(VALUES)
            if not is_empty(value):
                held[name] = value
        at = draw(st.sampled_from([90, 100, 100, 110]))
        ref = EventRef(number, "s", "earlier", f"e-{number}", at, False, 0, number)
        if held and draw(st.integers(0, 5)) == 0:
            name, value = held.popitem()
            events.append(Alias(number, 1, name, value, ref, "text", at))
        elif held and draw(st.integers(0, 5)) == 0:
            name, value = held.popitem()
            events.append(TaskEvent(ref, 0, held, {name: digest(value)}))
        else:
            events.append(TaskEvent(ref, draw(st.integers(0, 1)), held))
    return context, events


@given(carried())
def test_the_short_way_says_what_the_long_one_says(
    given_: tuple[dict[str, bytes], list[Remembered]],
) -> None:
    context, events = given_
    search = Search(events, {})
    short = assemble(CONTRACT, carry(context), search, NOW)
    long = assemble(LONG_WAY, carry(context), search, NOW)
    # A finding names its field, which differs here in the way that it is judged by.
    unlike = [replace(f, field=None) for f in short.broken + short.moved]
    assert unlike == [replace(f, field=None) for f in long.broken + long.moved]
    assert encoded(short) == encoded(long)


@given(carried(), st.integers(0, 4))
def test_what_was_searched_before_is_found_again(
    given_: tuple[dict[str, bytes], list[Remembered]], until: int
) -> None:
    """Also where more came since, and where what was searched has been taken back."""
    context, events = given_
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidates, "_CACHED", 0)
        cache: dict[int | str, Candidates] = {}
        others = [replace(event) for event in events[until:]]
        for before in (events[:until], events[:until] + others):
            assemble(CONTRACT, carry(context), Search(before, {}, b"", cache), NOW)
        kept = assemble(CONTRACT, carry(context), Search(events, {}, b"", cache), NOW)
    assert encoded(kept) == encoded(assemble(CONTRACT, carry(context), Search(events, {}), NOW))


def encoded(context: AssembledContext) -> bytes:
    return msgspec.json.encode(replace(context, broken=[], moved=[]))
