"""The judgement of fields: its short way for the most frequent case says what the long one says."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from processors.contracts import cut
from processors.contracts.compiled import compile_contract
from processors.contracts.values import digest, is_empty
from processors.integrity import candidates
from processors.integrity.alone import Alone
from processors.integrity.candidates import Candidates, Search, said_by
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
        cache: dict[int | str, Candidates | Alone] = {}
        others = [replace(event) for event in events[until:]]
        for before in (events[:until], events[:until] + others):
            assemble(CONTRACT, carry(context), Search(before, {}, b"", cache), NOW)
        kept = assemble(CONTRACT, carry(context), Search(events, {}, b"", cache), NOW)
    assert encoded(kept) == encoded(assemble(CONTRACT, carry(context), Search(events, {}), NOW))


def encoded(context: AssembledContext) -> bytes:
    return msgspec.json.encode(replace(context, broken=[], moved=[]))


SPELLED = parse(
    {
        **DOCUMENT.model_dump(mode="json", by_alias=True),
        "fields": [
            {"name": "sum", "from": ["sum", "total"], "same_as": "number", "type": "integer"},
            {"name": "day", "same_as": "date", "rebuild": {"pick": "unambiguous"}},
            {"name": "text", "from": ["text", "box.text"]},
        ],
    }
)
assert isinstance(SPELLED, HandoffContract)
READ = compile_contract(SPELLED)
LONG = "A long text of more than sixty-four characters, so that a piece of it is a cut copy of it."
WORDS = [LONG, LONG[:70], f"{LONG[:30]}\u2026", "None", " n/a", "-", "short", ""]
SAID = {
    "sum": st.sampled_from([b"1200", b'"1,200"', b'"1,200.00"', b"7", b'"None"', b"null"]),
    "total": st.sampled_from([b"1200.0", b'"unknown"', b"8"]),
    "day": st.sampled_from([b'"2026-05-01"', b"1777593600000", b'"1 May 2026"', b'"-"']),
    "text": st.sampled_from(WORDS).map(msgspec.json.encode),
    "box": st.sampled_from(WORDS).map(lambda text: msgspec.json.encode({"text": text, "n": 1})),
}
CONTEXTS = st.dictionaries(st.sampled_from(list(SAID)), st.none(), min_size=1).flatmap(
    lambda names: st.fixed_dictionaries({name: SAID[name] for name in names})
)


def event(number: int, context: dict[str, bytes]) -> TaskEvent:
    ref = EventRef(number, "s", "earlier", f"e-{number}", 100 + number, False, 0, number)
    filled = {name: value for name, value in context.items() if not is_empty(value)}
    return TaskEvent(ref, 0, filled, {}, tuple(context.keys() - filled.keys()))


@given(st.lists(CONTEXTS, max_size=5), CONTEXTS | st.just({}))
def test_what_holds_of_any_values(before: list[dict[str, bytes]], sent: dict[str, bytes]) -> None:
    """A value that is the same is no loss and not ambiguous; a rebuild always fits; what is rebuilt
    is no cut copy; what was said is never called never captured."""
    events = [event(number, context) for number, context in enumerate(before, start=1)]
    found = assemble(READ, carry(sent), Search(events, {}), NOW)
    broken = {finding.name: finding for finding in found.broken}
    for field in READ.fields:
        said = [value for each in events if (value := said_by(each, field)) is not None]
        finding = broken.get(field.name)
        kept = found.values.get(field.name)
        if kept is not None and kept.how == "rebuilt":
            assert field.in_their_terms(kept.value) == (kept.value, None)
            copies = cut.copies([*said])
            assert kept.value not in copies
            assert not field.is_placeholder(kept.value) or all(map(field.is_placeholder, said))
        if finding is not None and finding.kind == "never_captured":
            assert all(map(field.is_placeholder, said))
        keys = {field.key(value) for value in said}
        if len(keys) == 1 and finding is not None:
            assert finding.refusal != "ambiguous"
            if kept is not None and kept.how == "as_sent":
                assert field.key(kept.value) not in keys or finding.kind != "context_changed"


@given(st.lists(CONTEXTS, max_size=4), st.sampled_from(["sum", "day"]), st.data())
def test_a_value_that_is_the_same_is_no_loss(
    before: list[dict[str, bytes]], name: str, data: st.DataObject
) -> None:
    spelled = {"sum": [b"1200", b"1200.0", b"1.2e3"], "day": [b'"2026-05-01"', b"1777593600"]}[name]
    held = event(9, {name: data.draw(st.sampled_from(spelled))})
    events = [*[event(n, c) for n, c in enumerate(before, start=1)], held]
    sent = {name: data.draw(st.sampled_from(spelled))}
    found = assemble(READ, carry(sent), Search(events, {}), NOW)
    assert name not in {finding.name for finding in found.broken}
    assert found.values[name].value == sent[name], "spelled as it was sent"
    assert found.values[name].ref.number == 9


STABLE = compile_contract(
    SPELLED.model_copy(
        update={"fields": [field.model_copy(update={"stable": True}) for field in SPELLED.fields]}
    )
)


@st.composite
def held_long(draw: st.DrawFn) -> list[Remembered]:
    """What a task holds, some of it late, some carried by handoffs and put there by packages."""
    events: list[Remembered] = []
    for number, context in enumerate(draw(st.lists(CONTEXTS, min_size=1, max_size=9)), start=1):
        at = draw(st.sampled_from([100 + number, 100 + number, 103, 90]))
        one = event(number, context)
        ref = replace(one.ref, occurred_at=at)
        hop = draw(st.sampled_from([0, 0, number, 2]))
        name, value = next(iter(context.items()))
        match draw(st.sampled_from(["said", "said", "said", "put", "large"])):
            case "put":
                source = EventRef(1, "s", "earlier", "e-1", at, False, 0, 1)
                events.append(Alias(number, hop, name, value, source, "sum", at, 2))
            case "large":
                events.append(TaskEvent(ref, hop, {}, {name: digest(value)}))
            case _:
                events.append(replace(one, ref=ref, hop=hop))
    return events


@given(held_long(), CONTEXTS, st.data())
def test_what_is_left_is_known_when_the_oldest_is_forgotten(
    events: list[Remembered], sent: dict[str, bytes], data: st.DataObject
) -> None:
    read = data.draw(st.integers(0, len(events)), "events that were searched")
    taken_back = data.draw(st.booleans(), "what was searched has been taken back")
    first = data.draw(st.integers(0, len(events) - 1), "events that are forgotten")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidates, "_CACHED", 0)
        cache: dict[int | str, Candidates | Alone] = {}
        searched = [replace(each) for each in events[:read]] if taken_back else events[:read]
        for contract in (READ, STABLE):
            assemble(contract, carry(sent), Search(searched, {}, b"", cache), NOW)
        cache = {key: found.after(events, first) for key, found in cache.items()}
        left = events[first:]
        for contract in (READ, STABLE):
            kept = assemble(contract, carry(sent), Search(left, {}, b"", cache), NOW)
            anew = assemble(contract, carry(sent), Search(left, {}, b"", {}), NOW)
            assert kept == anew
        for field in (*READ.fields, *CONTRACT.fields):
            for search in (Search(left, {}, b"", cache), Search(left, {}, b"", {})):
                held, under = search.newest(field), search.under(field.name)
                assert held == (None if under is None else under.newest)
