"""Readers: values that are the same have one key, however spelled, and nothing makes one fail."""

import datetime as dt
import html
import json
import unicodedata
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
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
# What tools really write, and what is worse.
ODD = st.sampled_from(
    [
        "1,2,3", "1.2.3", "1,,000", "-", "+", "00", "0045", "+45", "2026-13-01", "31 June 2026",
        "01/05/2026", "May", "NaN", "Infinity", "1e999999999", "9" * 5_000, "[" * 60_000,
        "{'a': " * 100, "(" * 40, "\x00d2026-05-01", "&#0;&amp;&lt;", "\u0661\u0662", "\u2212", "T",
        "2026-05-01T24:00:00Z", "1 May 26", "\u0661 May 2026",
        "\x7f]", "]", "2026-05-01]", "+45" + "1" * 300, "e", ".", ",",
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

MARKS = [
    "...",
    "\u2026",
    "...[truncated]",
    " (truncated)",
    "\u2026 [cut 12 characters]",
    "....",
    " [...]",
    "... (+12 chars)",
    " [12 more]",
    " (gek\u00fcrzt)",
    "\u2026\u201d",
    "\uff08\u4ee5\u4e0b\u7701\u7565\uff09",
    "&hellip;",
]


@given(st.text("abc d\u00e9", min_size=70, max_size=200), st.integers(0, 200), st.data())
def test_a_cut_copy_is_the_beginning_of_a_longer_text(
    text: str, at: int, data: st.DataObject
) -> None:
    text = text.rstrip() + "."
    at = min(at, len(text) - 1)
    mark = data.draw(st.sampled_from(["", *MARKS]))
    piece = text[:at].rstrip()
    copy = raw(piece + mark)
    enough = len(" ".join(piece.split())) >= 16 if mark else len(piece) >= 64
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
    # What stands in brackets may say something else.
    paid = "The order of Monday is 12 (paid)"
    assert cut.whole_of(raw(paid), [raw("The order of Monday is 12 (open, more to come)")]) is None
    # A longer one that only adds a mark is no whole.
    assert cut.whole_of(raw([1] * 8), [raw([*[1] * 8, "[truncated]"])]) is None
    assert cut.whole_of(raw("z" * 64), [raw("z" * 64 + "\u2026")]) is None


def test_a_cut_copy_may_be_spelled_otherwise() -> None:
    whole = (
        'Fran\u00e7oise says &amp; writes:\r\n"the   valve at gate 4 leaks badly, and nobody came."'
    )
    for copy in (
        'Franc\u0327oise says & writes:\n"the valve at gate 4 leaks badly, and nobod',
        "Fran&ccedil;oise says &amp;amp; writes: ...",
        "  Fran\u00e7oise says & writes: \u201cthe \u2026".replace("\u201c", '"'),
    ):
        assert cut.whole_of(raw(copy), [raw(whole)]) == raw(whole)
        assert cut.copies([raw(whole), raw(copy)]) == {raw(copy)}
        assert cut.head(raw(copy)) == cut.head(raw(whole))
    assert cut.length(raw(whole)) == len(whole), "as it was sent"


@pytest.mark.parametrize("mark", ["...", "\u2026", "[truncated]", "&hellip;"])
def test_a_list_may_end_with_a_mark(mark: str) -> None:
    whole = list(range(20))
    copy = [*range(8), mark]
    found = cut.whole_of(raw(copy), [raw(whole)])
    assert found == raw(whole)
    assert cut.copies([raw(whole), raw(copy)]) == {raw(copy)}
    assert cut.whole_of(raw([*range(7), mark]), [raw(whole)]) is None


# --- hostile --------------------------------------------------------------------------------------

HOSTILE = {
    "brackets": '"' + "[" * 65_000 + '"',
    "brackets that close": '"' + "[" * 32_000 + "]" * 32_000 + '"',
    "brackets side by side": '"' + "[]," * 21_000 + '"',
    "braces": '"' + "{" * 65_000 + '"',
    "parentheses": '"' + "(" * 65_000 + '"',
    "deep python": '"' + "['a'," * 100 + "]" * 100 + '"',
    "signs": '"[' + "-" * 60_000 + '1]"',
    "nots": '"[' + "not " * 15_000 + '1]"',
    "sums": '"[' + "1+" * 30_000 + '1]"',
    "dots": '"[a' + ".b" * 30_000 + ']"',
    "powers": '"[9**9**9**9]"',
    "a huge number in python": '"[' + "9" * 60_000 + ']"',
    "deep JSON": "[" * 5_000 + "]" * 5_000,
    "deep JSON in a text": '"' + "[" * 4_000 + "]" * 4_000 + '"',
    "a huge integer": "9" * 60_000,
    "a huge negative integer": "-" + "9" * 5_000,
    "a huge number in a text": '"' + "9" * 60_000 + '"',
    "a huge exponent": "1e999999999999999999",
    "a huge exponent in a text": '"1e999"',
    "a larger exponent": "1e9999999999999999999",
    "a larger exponent in a list in a text": '"[1e9999999999999999999]"',
    "a fence": '"' + "```\\n" * 10_000 + '"',
    "blank lines in a fence": '"```' + "\\n" * 30_000 + '```"',
    "blank lines in a fence, text, blanks": '"```' + "\\n" * 15_000 + "a" + " " * 15_000 + '``"',
    "an empty fence": '"```json\\n```"',
    "a string in a string": '"\\"\\\\\\"1\\\\\\"\\""',
    "a small exponent": "1e-999999999999999999",
    "no number": '"NaN"',
    "infinite": '"-Infinity"',
    "lone surrogate": '"\\ud800"',
    "lone surrogates in a text": "\"['\\\\ud800']\"",
    "a surrogate as an entity": '"&#xD800;"',
    "an entity that is no character": '"&#99999999999999;"',
    "entities": '"' + "&amp;" * 12_000 + '"',
    "entities in entities": '"&' + "amp;" * 15_000 + '"',
    "combining marks": '"e' + "\u0301" * 30_000 + '"',
    "white space": '"' + " " * 60_000 + '"',
    "NUL": '"\\u0000d2026-05-01"',
    "separators": '"' + "1," * 30_000 + '"',
    "points": '"' + "1." * 30_000 + '"',
    "zones": '"2026-05-01T00:00:00+99:99"',
    "the first year": '"0001-01-01T00:00:00+14:00"',
    "the last year": '"9999-12-31T23:59:59-14:00"',
    "a leap second": '"2026-06-30T23:59:60Z"',
    "a month alone": '"May 2026"',
    "too many days": '"99999999 May 2026"',
    "plusses": '"' + "+" * 40 + '"',
    "a phone of zeros": '"00' + "0" * 38 + '"',
    "an extension": '"+4530112233;ext=' + "9" * 20 + '"',
}


@pytest.mark.parametrize("name", sorted(HOSTILE))
@pytest.mark.parametrize("same_as", READERS)
def test_nothing_makes_a_reader_fail(same_as: SameAs | None, name: str) -> None:
    """And the same bytes are the same value, whatever they are."""
    value = HOSTILE[name].encode()
    of = key(same_as, "DK")
    assert of(value) == of(value)
    assert loosely(of)(value) == loosely(of)(value)
    found = words(same_as, "DK")
    if found is not None:
        found.of(value)
    cut.length(value)
    assert cut.whole_of(value, [value, b'"other"', b"[1]"]) is None
    assert cut.copies([value, b'"other"']) == set()


PIECES = (
    "1 12 2026 May Mon am Z UTC EST GMT+3 T : 00:00 - / . , ' + +45 00 ( ) ext ; tel: e9 E st of "
    "# & &# &amp; [ ] { } True None \\ nan _ 1_000 0x1 b' \" \u0661 \u00b2 \u2212 \u0130 \u00df "
    "\u0301 \0"
)


@given(
    st.lists(st.sampled_from(PIECES.split()), max_size=9),
    st.sampled_from(["", " "]),
    st.sampled_from([None, "US"]),
)
def test_no_text_makes_a_reader_fail(pieces: list[str], between: str, region: str | None) -> None:
    value = raw(between.join(pieces))
    for same_as in READERS:
        of = key(same_as, region)
        assert of(value) == of(value)
        loosely(of)(value)
        found = words(same_as, region)
        if found is not None:
            found.of(value)
            list(found.inside(between.join(pieces)))


@given(st.lists(st.sampled_from("aåßжЖ\u03a9\u03c3\u03c2 \u0301é&<日"), max_size=12), st.data())
def test_texts(letters: list[str], data: st.DataObject) -> None:
    text = unicodedata.normalize("NFC", "".join(letters))
    text = " ".join(text.split())
    spelled = [
        html.escape(text),
        unicodedata.normalize("NFD", text),
        text.replace(" ", data.draw(st.sampled_from(["  ", "\t", "\u00a0", "&nbsp;", "\r\n"]))),
        f" {text}\n",
        "".join(f"&#{ord(char)};" if char in "&<é日" else char for char in text),
    ]
    exact, folded = key(None), key("text")
    if text.find("&") < 0 or html.unescape(text) == text:
        assert {exact(raw(each)) for each in spelled} == {exact(raw(text))}
        assert {exact(raw([{"x": each}])) for each in spelled} == {exact(raw([{"x": text}]))}
        assert {folded(raw(each)) for each in spelled} == {folded(raw(text))}
    assert exact(raw(text + "b")) != exact(raw(text))
    assert folded(raw(text + "b")) != folded(raw(text))


@pytest.mark.parametrize(
    ("same_as", "spelled"),
    [
        ("number", ["1200", "\u0661\u066c\u0662\u0660\u0660", "1&nbsp;200", "\u200e1,200"]),
        ("number", ["1.5", "\u0661\u066b\u0665"]),
        ("number", ["1234567", "12,34,567", "12,34,567.00"]),
        ("date", ["2026-05-01", "2026/05/01", "2026.5.1", "2026\u5e745\u67081\u65e5", "20260501"]),
        ("date", ["2026-05-01", "\uff12\uff10\uff12\uff16-05-01", "\u0662026-05-01"]),
        ("date", ["2026-05-01T10:00:00Z", "2026-05-01t10:00:00z", "2026/05/01 12:00:00+02:00"]),
        ("phone", ["+4545454545", "\u202a+45 45 45 45 45\u202c"]),
        ("id", ["SN00418", "\uff33\uff2e-00418", "sn \u0660\u0660\u0664\u0661\u0668"]),
        ("text", ["Jo & Co", "jo &amp;amp; co", "JO &amp;amp;amp; CO", "jo\ufeff &#38; co"]),
        (None, ["reset the fuse", "re\u00adset the\u200b fuse"]),
    ],
)
def test_values_of_other_scripts_and_systems(same_as: SameAs | None, spelled: list[str]) -> None:
    assert len({key(same_as)(raw(each)) for each in spelled}) == 1


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        (True, ["TRUE", '"true"']),
        (
            {"n": 1.25},
            [{"n": "1.25"}, json.dumps(json.dumps({"n": 1.25})), '```json\n{"n": 1.25}\n```'],
        ),
        ([1, [2, True]], [["1", ["2", "True"]], ["1", "[2, True]"], "[1, '[2, true]']"]),
        ({"tags": ["ü"]}, [{"tags": "['ü']"}, {"tags": '["\\u00fc"]'}]),
    ],
)
def test_what_is_wrapped_in_texts_says_the_same(value: object, texts: list[object]) -> None:
    of = loosely(key(None))
    assert {of(raw(each)) for each in texts} == {of(raw(value))}
    assert of(raw(value)) != of(raw("other"))


def test_what_looks_wrapped_says_something_else() -> None:
    of = loosely(key(None))
    for one, other in (
        (["00418"], [418]),
        ({"a": "yes"}, {"a": True}),
        (["1"], [1, 2]),
        ("1.00000000000000000001", 1),
    ):
        assert of(raw(one)) != of(raw(other))


@pytest.mark.parametrize(
    ("same_as", "one", "other"),
    [
        ("number", "12,34", "1234"),
        ("number", "1,23,45", "12345"),
        ("date", "2026/05/01", "2026/01/05"),
        ("date", "01/05/2026", "2026/05/01"),
        (None, "\u0645\u06cc\u200c\u0631\u0648\u062f", "\u0645\u06cc\u0631\u0648\u062f"),
    ],
)
def test_values_that_only_look_alike(same_as: SameAs | None, one: str, other: str) -> None:
    assert key(same_as)(raw(one)) != key(same_as)(raw(other))


@pytest.mark.parametrize(
    ("same_as", "value", "text", "says"),
    [
        ("id", "GB29-NWBK-6016", "pay to GB29 NWBK 6016, please", True),
        ("id", "SN-00418", "serial no. SN 00418 broke", True),
        ("id", "ACME", "the acme of it", False),
        ("id", "A-12", "room a12", False),
        (
            "phone",
            "+201012345678",
            "call \u0660\u0661\u0660\u0661\u0662\u0663\u0664\u0665\u0666\u0667\u0668",
            True,
        ),
        ("date", "2026-05-01", "\u51fa\u5e2d2026\u5e745\u67081\u65e5", True),
        ("date", "2026-05-01", "due 2026/05/01.", True),
        (
            "number",
            1200,
            "\u0627\u0644\u0645\u0628\u0644\u063a \u0661\u066c\u0662\u0660\u0660",
            True,
        ),
    ],
)
def test_words_of_other_scripts_and_in_groups(
    same_as: SameAs, value: object, text: str, says: bool
) -> None:
    found = words(same_as, "EG")
    assert found is not None
    told = found.of(raw(value))
    assert (told is not None and told in set(found.inside(text))) == says


@pytest.mark.parametrize(
    "same", ["STRASSE Straße straße", "ΟΔΌΣ οδός Οδόσ", "ЁЛКА ёлка", "ԵՐԵՒԱՆ երեւան երևան", "Ǆ ǆ ǅ"]
)
def test_the_case_of_any_script(same: str) -> None:
    assert len({key("text")(raw(each)) for each in same.split()}) == 1
