"""Readers: values that are the same have one key, however spelled, and nothing makes one fail."""

import datetime as dt
import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.contracts import cut
from processors.contracts.readers import Key, loosely, reader
from processors.contracts.words import words
from schemas.values import SameAs

READERS: list[SameAs | None] = [None, "text", "number", "date", "phone", "id"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
# What tools really write, and what is worse.
ODD = st.sampled_from(
    [
        "1,2,3", "1.2.3", "1,,000", "-", "+", "00", "0045", "+45", "2026-13-01", "31 June 2026",
        "01/05/2026", "May", "NaN", "Infinity", "1e999999999", "9" * 5_000, "[" * 60_000,
        "{'a': " * 100, "(" * 40, "\x00d2026-05-01", "&#0;&amp;&lt;", "\u0661\u0662", "\u2212", "T",
        "2026-05-01T24:00:00Z", "1 May 26", "\u0661 May 2026", "+45" + "1" * 300, "e", ".", ",",
    ]
)  # fmt: skip


def raw(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")


def key(same_as: SameAs | None, region: str | None = None) -> Key:
    return reader(same_as, region)


@pytest.mark.parametrize("same_as", READERS)
@given(value=JSON | ODD | st.lists(ODD, max_size=2))
def test_any_value_has_one_key_and_equal_values_have_equal_keys(
    same_as: SameAs | None, value: Any
) -> None:
    of, again = key(same_as), json.dumps(value, sort_keys=True, indent=1).encode()
    assert of(raw(value)) == of(raw(value))
    if "\\ud" not in again.decode():
        assert of(again) == of(raw(value)), "however the JSON is written"
    loosely(of)(raw(value))
    found = words(same_as, None)
    if found is not None:
        found.of(raw(value))
        list(found.inside(str(value)[:5_000]))


def test_bytes_that_python_cannot_read_are_their_own_key() -> None:
    for value in (b'"\\ud800"', b"1e999999999999", b'{"a":' * 900 + b"1" + b"}" * 900):
        for same_as in READERS:
            assert key(same_as)(value) == key(same_as)(value)
            loosely(key(same_as))(value)


# --- spellings, made without the readers ----------------------------------------------------------


@st.composite
def spelled_numbers(draw: st.DrawFn) -> tuple[Decimal, list[Any]]:
    whole, cents = draw(st.integers(0, 10**9)), draw(st.integers(0, 99))
    sign = draw(st.sampled_from(["", "-"]))
    number = Decimal(f"{sign}{whole}.{cents:02}")
    english, german = f"{whole:,}.{cents:02}", f"{whole:,}".replace(",", ".") + f",{cents:02}"
    spaced = f"{whole:,}".replace(",", " ") + f".{cents:02}"
    found: list[Any] = [f"{sign}{english}", f"{sign}{german}", f"{sign}{spaced}"]
    found += [f"{sign}{whole}.{cents:02}0", f" {sign}{whole},{cents:02} "]
    found.append("".join(chr(0x660 + int(c)) if c.isdigit() else c for c in f"{sign}{english}"))
    if whole < 1_000:  # a point before three digits would be decimal, and is one of the traps
        found[1] = f"{sign}{whole},{cents:02}"
    return number, found


@given(spelled_numbers(), spelled_numbers())
def test_numbers(one: tuple[Decimal, list[Any]], other: tuple[Decimal, list[Any]]) -> None:
    of = key("number")
    keys = {of(raw(spelling)) for spelling in one[1]} | {of(str(one[0]).encode())}
    assert len(keys) == 1
    assert (of(raw(other[1][0])) in keys) == (one[0] == other[0])


MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August"]
MONTHS += ["September", "October", "November", "December"]
DAYS = st.dates(dt.date(1991, 1, 1), dt.date(2099, 12, 30))


def spelled_dates(day: dt.date) -> list[Any]:
    midnight = dt.datetime.combine(day, dt.time(), dt.UTC)
    month = MONTHS[day.month - 1]
    return [
        day.isoformat(),
        int(midnight.timestamp() * 1000),
        int(midnight.timestamp()),
        f"{day.isoformat()}T00:00:00Z",
        f"{day.isoformat()}T00:00:00+05:30",
        f"{day.day} {month} {day.year}",
        f"{month} {day.day}, {day.year}",
        f"{day.day}. {month[:3]} {day.year}",
    ]


@given(DAYS, DAYS)
def test_dates(day: dt.date, other: dt.date) -> None:
    of = key("date")
    keys = {of(raw(spelling)) for spelling in spelled_dates(day)}
    assert len(keys) == 1
    assert (of(raw(other.isoformat())) in keys) == (day == other)


@given(st.integers(20_000_000, 99_999_999), st.integers(20_000_000, 99_999_999))
def test_phones(number: int, other: int) -> None:
    of, text = key("phone", "DK"), str(number)
    spaced = f"{text[:2]} {text[2:4]} {text[4:6]} {text[6:]}"
    spelled = [f"+45{number}", f"0045{number}", f"+45 {spaced}", spaced, number, f"(+45) {text}"]
    assert len({of(raw(each)) for each in spelled}) == 1
    assert (of(raw(other)) == of(raw(number))) == (other == number)
    said = words("phone", "DK")
    assert said is not None
    assert said.of(raw(number)) in set(said.inside(f"ring {spaced}, or {other}."))


@given(st.lists(st.sampled_from("abcXYZ019\u0416\u00e9"), min_size=1, max_size=12), st.data())
def test_ids(letters: list[str], data: st.DataObject) -> None:
    of = key("id")
    plain = "".join(letters)
    signs = data.draw(st.lists(st.sampled_from(" -_/."), min_size=len(letters)))
    dashed = "".join(a + b for a, b in zip(letters, signs, strict=False))
    assert len({of(raw(each)) for each in (plain, dashed, plain.lower(), f" {plain} ")}) == 1
    assert of(raw(plain + "7")) != of(raw(plain))


# --- cut copies -----------------------------------------------------------------------------------

MARKS = ["...", "\u2026", "...[truncated]", " (truncated)", "\u2026 [cut 12 characters]"]


@given(st.text("abc d\u00e9", min_size=70, max_size=200), st.integers(0, 200), st.data())
def test_a_cut_copy_is_the_beginning_of_a_longer_text(
    text: str, at: int, data: st.DataObject
) -> None:
    text = text.rstrip() + "."
    at = min(at, len(text) - 1)
    mark = data.draw(st.sampled_from(["", *MARKS]))
    piece = text[:at].rstrip()
    copy = raw(piece + mark)
    enough = len(piece) >= (16 if mark else 64)
    assert (cut.whole_of(copy, [raw("other"), raw(text)]) == raw(text)) == enough
    assert (copy in cut.copies([raw(text), copy])) == enough
    assert raw(text) not in cut.copies([raw(text), copy])


def test_what_is_no_cut_copy() -> None:
    for short, long in (
        ("1.2", "1.2.3"),
        ("x" * 63, "x" * 64),
        ("y" * 64, "x" * 64 + "more"),
        ([1, 2, 3], [1, 2, 3, 4]),
        ([1] * 8, [2] * 9),
        ("x" * 70, ["x" * 70, "y"]),
    ):
        assert cut.whole_of(raw(short), [raw(long)]) is None
        assert cut.copies([raw(short), raw(long)]) == set()
    assert cut.whole_of(raw([1] * 8), [raw([1] * 9)]) == raw([1] * 9)
    # A longer one that only adds a mark is no whole.
    assert cut.whole_of(raw("z" * 64), [raw("z" * 64 + "\u2026")]) is None
