"""What is the same is no loss, what is rebuilt fits and is whole, what was captured is known to be.

The spellings of a value are made here, by what people and systems do; the readers are not asked.
"""

import datetime as dt
import html
import json
import unicodedata
from collections.abc import Iterator
from typing import Any, Final

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from processors.contracts.compiled import Contract, compile_contract
from processors.contracts.readers import loosely, reader
from processors.driver import Driver
from processors.integrity import candidates
from processors.integrity.alone import Alone
from processors.integrity.candidates import Candidates, Search
from processors.integrity.context import carry
from processors.integrity.events import EventRef, Remembered, TaskEvent
from processors.integrity.fields import AssembledContext, assemble
from processors.integrity.limits import Limits
from processors.integrity.processor import integrity
from schemas.documents import HandoffContract, parse
from schemas.flow import Output, Record
from tests.core import CONTRACT, DAY_ONE, tables

NOW: Final = EventRef(99, "s", "tool", "now", 10_000, False, 0, 99)
# No letter whose case depends on the language.
CASED: Final = "abcxyzäöéßåæøñçőБЯжщ\u0391\u0392ΓΔΩ\u03b1β\u03b3"
PLAIN: Final = "abc XYZ ä é Ж ω ő & < 日本 한 7"
POOL: Final = st.integers(0, 5)


def raw(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


# --- spellings ------------------------------------------------------------------------------------


def numbers(which: int, how: int) -> Any:
    """Of a number with thousands and a fraction."""
    whole, cents = 1_000 + 9_173 * which, 5 + which
    english = f"{whole:,}.{cents:02}"
    return [
        float(f"{whole}.{cents:02}"),
        english,
        english.replace(",", " ").replace(".", ","),
        english.translate(str.maketrans(",.", ".,")),
        english.replace(",", "\u2019"),
        "".join(chr(0x966 + int(c)) if c.isdigit() else c for c in english),
        f"  +{whole}.{cents:02}00",
        f"{whole}{cents:02}e-2",
    ][how % 8]


def days(which: int, how: int) -> Any:
    """Of a day."""
    day = dt.date(2025, 11, 27) + dt.timedelta(days=which)
    seconds = int(dt.datetime.combine(day, dt.time(), dt.UTC).timestamp())
    return [
        day.isoformat(),
        seconds,
        seconds * 1000,
        f"{day}T00:00:00+13:45",
        f"{day} 00:00",
        f"{day:%B} {day.day}, {day.year}",
        f"{day.day} {day:%b} {day.year}",
        day.strftime("%Y%m%d"),
    ][how % 8]


def moments(which: int, how: int) -> Any:
    """Of a moment that is midnight nowhere."""
    moment = dt.datetime(2026, 5, 1, 7, 7, 7, tzinfo=dt.UTC) + dt.timedelta(hours=which)
    zone = dt.timezone(dt.timedelta(hours=how % 5 - 2, minutes=15))
    return [moment.isoformat(), moment.astimezone(zone).isoformat(), int(moment.timestamp())][
        how % 3
    ]


def phones(which: int, how: int) -> Any:
    """Of a number in Norway."""
    local = f"2230{which:04}"
    pairs = " ".join(local[at : at + 2] for at in range(0, 8, 2))
    return [
        f"+47{local}",
        f"0047 {pairs}",
        pairs,
        int(local),
        f"(+47) {local[:3]}-{local[3:]}",
        f"tel:+47-{local}",
        f"+47{chr(0xA0)}{local[:4]}.{local[4:]}",
        local,
    ][how % 8]


def ids(which: int, how: int) -> Any:
    """Of a code of letters and digits."""
    parts = ["Kx", f"00{which}", "Ж9"]
    return (
        [sign.join(parts) for sign in ("-", "", " ", "_", "/", ".")][how % 6].swapcase()
        if (how % 2)
        else ["-".join(parts), " ".join(parts).lower(), "".join(parts).upper()][how % 3]
    )


def cased(which: int, how: int) -> Any:
    """Of a text in whatever case."""
    text = CASED[which * 3 :] + " " + CASED[: which + 4]
    return [text, text.upper(), text.lower(), f"\n{text.upper()}\t", text.capitalize()][how % 5]


def plain(which: int, how: int) -> Any:
    """Of a text in one case."""
    text = f"{PLAIN} {which}"
    return [
        text,
        html.escape(text),
        unicodedata.normalize("NFD", text),
        text.replace(" ", "\u00a0\n "),
        text.encode("ascii", "xmlcharrefreplace").decode().replace("& ", "&amp; "),
        f"\u3000{text} ",
    ][how % 6]


MAKERS: Final = {
    "number": numbers,
    "date": days,
    "moment": moments,
    "phone": phones,
    "id": ids,
    "text": cased,
    "plain": plain,
}
KINDS: Final = sorted(MAKERS)


def keyed(kind: str) -> dict[str, str]:
    """What a contract says of a field of this kind."""
    if kind == "plain":
        return {}
    same_as = {"same_as": "date" if kind == "moment" else kind}
    return same_as | ({"region": "NO"} if kind == "phone" else {})


def contract(*fields: dict[str, Any]) -> Contract:
    document = parse(CONTRACT | {"fields": list(fields)})
    assert isinstance(document, HandoffContract)
    return compile_contract(document)


READ: Final = {
    kind: contract(
        {"name": "f", "from": ["f", "box.list[0].f"], "rebuild": {"pick": "unambiguous"}}
        | keyed(kind),
        {"name": "whole", "rebuild": {"pick": "unambiguous"}} | keyed(kind),
        {"name": "fixed", "from": ["f", "box.list[0].f"], "stable": True} | keyed(kind),
    )
    for kind in KINDS
}


def said(value: Any, shape: int) -> dict[str, bytes]:
    """A context that says a value: under its name, deep in a list, or as a part of a list."""
    whole = {"whole": raw([value, {"x": value}])}
    return [whole | {"f": raw(value)}, whole | {"box": raw({"list": [{"f": value, "n": shape}]})}][
        shape % 2
    ]


def event(number: int, at: int, context: dict[str, bytes], hop: int = 0) -> TaskEvent:
    return TaskEvent(EventRef(number, "s", "t", f"e{number}", at, False, 0, number), hop, context)


def judged(
    kind: str, events: list[Remembered], sent: dict[str, bytes], cached: bool
) -> AssembledContext:
    cache: dict[int | str, Candidates | Alone] | None = {} if cached else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidates, "_CACHED", 0)
        if cached:
            assemble(READ[kind], carry({}), Search(events[:1], {}, b"", cache), NOW)
        return assemble(READ[kind], carry(sent), Search(events, {}, b"", cache), NOW)


SPELLINGS = st.lists(st.tuples(POOL, POOL, st.integers(0, 90)), min_size=1, max_size=6)


@pytest.mark.parametrize("kind", KINDS)
@given(which=POOL, told=SPELLINGS, how=st.none() | st.integers(0, 8), cached=st.booleans())
def test_what_is_the_same_is_no_loss_and_never_ambiguous(
    kind: str, which: int, told: list[tuple[int, int, int]], how: int | None, cached: bool
) -> None:
    """However often a value was said, in whatever order, shape and spelling."""
    make = MAKERS[kind]
    events: list[Remembered] = [
        event(number, at, said(make(which, spelled), shape), hop=number % 2)
        for number, (spelled, shape, at) in enumerate(told, start=1)
    ]
    sent = {} if how is None else said(make(which, how), how)
    found = judged(kind, events, sent, cached)
    if how is not None:
        assert found.broken == []
        assert found.fidelity == 1.0
        for name in ("f", "whole", "fixed"):
            assert found.values[name].candidates == 1
        assert found.values["f"].value == raw(make(which, how)), "spelled as it was sent"
        return
    assert {finding.kind for finding in found.broken} == {"context_dropped"}
    assert found.missing == []
    latest = max((at, number) for number, (_, _, at) in enumerate(told, start=1))[1]
    for name in ("f", "whole", "fixed"):
        kept = found.values[name]
        assert (kept.how, kept.candidates, kept.ref.number) == ("rebuilt", 1, latest)
        field = READ[kind].fields_by_name[name]
        assert field.in_their_terms(kept.value) == (kept.value, None)


@pytest.mark.parametrize("kind", KINDS)
@given(one=POOL, other=POOL, hows=st.tuples(POOL, POOL), cached=st.booleans())
def test_what_is_another_value_is_told_apart(
    kind: str, one: int, other: int, hows: tuple[int, int], cached: bool
) -> None:
    assume(one != other)
    make = MAKERS[kind]
    first, second = said(make(one, hows[0]), hows[0]), said(make(other, hows[1]), hows[1])
    found = judged(kind, [event(1, 1, first), event(2, 2, second)], {}, cached)
    refused = {finding.name: finding.refusal for finding in found.broken}
    assert refused == {"f": "ambiguous", "whole": "ambiguous", "fixed": None}
    changed = judged(kind, [event(1, 1, first, 1)], second, cached)
    assert {(finding.name, finding.kind) for finding in changed.broken} == {
        ("fixed", "context_changed")
    }


# --- in a wrong shape -----------------------------------------------------------------------------

SIMPLE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text("ab'\"\\ é日", max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab'é"), inner, max_size=3),
    max_leaves=6,
)


@given(SIMPLE.filter(lambda value: not isinstance(value, str) and value is not None))
def test_a_text_says_what_json_or_python_writes_into_it(value: Any) -> None:
    key = loosely(reader(None))
    wanted = key(raw(value))
    for text in (json.dumps(value), json.dumps(value, indent=2), repr(value), f" {value!r}\n"):
        assert key(raw(text)) == wanted
    if isinstance(value, list):
        assert key(raw(repr(tuple(value)))) == wanted
    assert key(raw("no " + repr(value))) != wanted


TYPES: Final = {bool: "boolean", int: "integer", list: "array", dict: "object"}


@given(SIMPLE, SIMPLE, st.booleans())
def test_a_respelled_value_is_what_the_task_holds_and_no_other(
    value: Any, other: Any, as_json: bool
) -> None:
    assume(type(value) in TYPES and value not in ([], {}))
    field = {"name": "f", "type": TYPES[type(value)], "rebuild": False}
    asked = contract(field)
    text = json.dumps(value) if as_json else repr(value)
    held: list[Remembered] = [event(1, 1, {"f": raw(value)})]
    if other not in ("", None, [], {}):
        held.append(event(2, 2, {"g": raw(other)}))
    found = assemble(asked, carry({"f": raw(text)}), Search(held, {}), NOW)
    (finding,) = found.broken
    assert (finding.kind, finding.refusal) == ("context_malformed", "respelled")
    assert found.values["f"].how == "rebuilt"
    assert found.values["f"].value == raw(value)
    sent = json.dumps(other)
    if loosely(reader(None))(raw(sent)) != loosely(reader(None))(raw(value)):
        assume(sent.strip().casefold() not in ("null", '""', "nan"))
        found = assemble(asked, carry({"f": raw(sent)}), Search(held, {}), NOW)
        assert found.values["f"].how == "as_sent"
        assert found.values["f"].value == raw(sent)


# --- cut ------------------------------------------------------------------------------------------

LONG: Final = st.text("абв гд", min_size=66, max_size=120).map(lambda text: f"Ж{text}Ж")


@given(LONG, st.lists(st.tuples(st.integers(17, 60), st.integers(0, 90)), max_size=4), st.data())
def test_a_cut_copy_is_never_what_is_rebuilt(
    text: str, pieces: list[tuple[int, int]], data: st.DataObject
) -> None:
    """Whoever cut it, whenever it was said, and however many there are."""
    asked = contract({"name": "f", "from": ["f", "log[-1]"], "rebuild": {"pick": "unambiguous"}})
    contexts = [(data.draw(st.integers(0, 90)), {"f": raw(text)})]
    for length, at in pieces:
        copy = text[:length].rstrip() + data.draw(st.sampled_from(["…", "...", " [truncated]"]))
        assume(len(" ".join(text[:length].split())) >= 16)
        contexts.append((at, {"log": raw(["x", copy])}))
    contexts = data.draw(st.permutations(contexts))
    events: list[Remembered] = [event(n, at, c) for n, (at, c) in enumerate(contexts, start=1)]
    found = assemble(asked, carry({}), Search(events, {}), NOW)
    assert found.values["f"].value == raw(text)
    assert (found.values["f"].how, found.values["f"].candidates) == ("rebuilt", 1)
    found = assemble(asked, carry({"f": raw(text[:64])}), Search(events, {}), NOW)
    (finding,) = found.broken
    assert (finding.kind, finding.lengths) == ("context_shortened", (64, len(text)))
    assert found.values["f"].value == raw(text)


# --- forgotten ------------------------------------------------------------------------------------

NAMES: Final = ["a", "b", "c", "d", "box"]
FIELDS: Final = [{"name": name} for name in "abc"] + [
    {"name": "deep", "from": "box.deep"},
    {"name": "e", "from": ["e", "d"]},
    {"name": "never"},
]
SMALL: Final = {fields: integrity(Limits(fields=fields)) for fields in (1, 2, 3)}
TINY: Final = integrity(Limits(state_bytes=600, value_bytes=40))
WORLD: Final = tables({"contracts": [{"from": {"stage": "s"}, "fields": FIELDS}]})
VALUES: Final = st.sampled_from([1, "x", "y" * 30, "z" * 60, {"deep": 1}, {"other": 2}, [3]])


def play(processor: Any, contexts: list[dict[str, Any]]) -> list[Output]:
    """What is published, where the last of some outputs hands off."""
    driver = Driver(processor, WORLD)
    driver.assign(0, {})
    outputs: list[Output] = []
    for number, context in enumerate(contexts, start=1):
        body = {"id": f"e{number}", "task_id": "t", "workflow": "lead", "stage": "s", "tool": "x"}
        more: dict[str, Any] = {"occurred_at": DAY_ONE + number, "context": context}
        if number == len(contexts):
            more["handoff"] = {"to": "marketing"}
        value = msgspec.json.encode(body | more)
        record = Record("handoff.tool-outputs", 0, number, b"t", value, DAY_ONE + number)
        outputs += driver.step(record, DAY_ONE + number)
        driver.merge(list(driver.changelog()))
    return outputs


def violations(outputs: list[Output]) -> Iterator[dict[str, Any]]:
    for output in outputs:
        if output.topic == "handoff.violations" and output.value is not None:
            yield json.loads(output.value)


@given(
    st.lists(st.tuples(st.sampled_from(NAMES), VALUES), max_size=12),
    st.sampled_from([*SMALL.values(), TINY]),
    st.sampled_from([0, 0, 0, 300]),
)
@settings(deadline=None, max_examples=60)
def test_what_was_captured_is_never_called_never_captured(
    told: list[tuple[str, Any]], processor: Any, others: int
) -> None:
    """Whatever was forgotten since, also when more names were than are known."""
    contexts: list[dict[str, Any]] = [{name: value} for name, value in told]
    contexts += [{f"n{number}": number} for number in range(others)]
    outputs = play(processor, [*contexts, {}])
    names = {name for name, _ in told}
    tops = {"deep": {"box"}, "e": {"e", "d"}}
    for violation in violations(outputs):
        name = violation["field"]
        if violation["kind"] == "never_captured":
            if name == "deep":
                assert not any(n == "box" and "deep" in v for n, v in told if isinstance(v, dict))
            else:
                assert names.isdisjoint(tops.get(name, {name}))
        else:
            assert violation["kind"] == "context_dropped"
            if violation["reason"] == "forgotten":
                assert others or not names.isdisjoint(tops.get(name, {name}))
    (package,) = [json.loads(o.value or b"") for o in outputs if o.topic == "handoff.packages"]
    for name, value in package["context"].items():
        field = "box" if name == "deep" else "d" if name == "e" else name
        held = [told_ for top, told_ in told if top == field]
        if name == "deep":
            held = [each["deep"] for each in held if isinstance(each, dict) and "deep" in each]
        assert value in held
