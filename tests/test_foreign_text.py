"""Text from outside: entities and normalization forms, in a time that grows with its length."""

import html
import re
import unicodedata
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.contracts import telling
from processors.contracts.readers import folded_text, plain_text
from processors.contracts.telling import Secrets
from processors.intake.values import slug
from schemas.foreign_text import MOST_MARKS, Form, normalized, unescape

FORMS: tuple[Form, ...] = ("NFC", "NFD", "NFKC", "NFKD")
MANY = "9" * 5_000
ZEROS = "0" * 5_000


# --- entities -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (f"a &amp; &#{MANY};", f"a & &#{MANY};"),
        (f"&#{MANY} &lt;&#65;", f"&#{MANY} <A"),
        (f"&#x{MANY};&#x41;", f"&#x{MANY};A"),
        (
            "&#1114111; &#1114112; &#x110000;",
            html.unescape("&#1114111;") + " &#1114112; &#x110000;",
        ),
        (f"&#{ZEROS}65;&#x{ZEROS}41;", "AA"),
        ("&amp;#65;", "&#65;"),
    ],
)
def test_a_number_that_is_no_code_point_stays_as_it_is_written(text: str, read: str) -> None:
    assert unescape(text) == read


ENTITIES = st.one_of(
    st.sampled_from(["&", "#", ";", "x", "X", "0", "amp", "notit", "&#", "&#x", "&lt", " ", "é"]),
    st.integers(0, 0x10FFFF).map(lambda code: f"&#{code};"),
    st.integers(0, 0x10FFFF).map(lambda code: f"&#x{code:x}"),
)


@given(st.lists(ENTITIES).map("".join))
def test_all_other_entities_are_those_of_html(text: str) -> None:
    codes = re.findall(r"&#([0-9]+)|&#[xX]([0-9a-fA-F]+)", text)
    if all((int(hexa, 16) if hexa else int(digits)) <= 0x10FFFF for digits, hexa in codes):
        assert unescape(text) == html.unescape(text)


def test_texts_with_such_numbers_are_read_and_compared() -> None:
    assert plain_text(f"Ann  &amp; &#{MANY};") == f"Ann & &#{MANY};"
    assert telling.texts(f'"&#{MANY};"'.encode())
    secrets = Secrets(["Ann Example", f"&#{MANY};"])
    assert secrets.tells(f"so says &#{ZEROS}65;nn Example")
    assert not secrets.tells("so says Ben")


# --- normalization forms --------------------------------------------------------------------------

MARKS = ["\u0300", "\u0327", "\u0344", "\u0345", "\u0f73", "\uff9e", "\u3099", "\U0001d165"]
LETTERS = st.sampled_from(
    [*MARKS, "a", "é", "\u0390", "\u1f82", "\ufb2c", "각", "\u1100", "\u034f"]
)
RUNS = st.tuples(LETTERS, st.integers(1, 40)).map(lambda run: run[0] * run[1])
TEXTS = st.one_of(st.text(), st.lists(st.one_of(LETTERS, RUNS), max_size=40).map("".join))


def longest(text: str) -> int:
    """The most combining marks in a row, once a text is decomposed."""
    most = marks = 0
    for char in text:
        marks = marks + 1 if unicodedata.combining(char) else 0
        most = max(most, marks)
    return most


@given(TEXTS, st.sampled_from(FORMS))
def test_a_text_is_normalized_as_unicode_has_it(text: str, form: Form) -> None:
    found = normalized(form, text)
    decomposed = unicodedata.normalize("NFKD" if "K" in form else "NFD", text)
    if longest(decomposed) <= MOST_MARKS:
        assert found == unicodedata.normalize(form, text)
    assert unicodedata.is_normalized(form, found)
    assert normalized(form, found) == found
    again = unicodedata.normalize("NFKD" if "K" in form else "NFD", found)
    assert sorted(again.replace("\u034f", "")) == sorted(decomposed.replace("\u034f", ""))


@given(TEXTS)
def test_no_text_has_more_marks_in_a_row_than_a_language(text: str) -> None:
    for form in FORMS:
        decomposed = unicodedata.normalize("NFKD" if "K" in form else "NFD", normalized(form, text))
        assert longest(decomposed) <= MOST_MARKS


def test_no_character_is_taken_for_less_than_it_is() -> None:
    """More of any character in a row than the search for long runs looks at."""
    for char in map(chr, range(0x80, 0x110000)):
        if unicodedata.combining(unicodedata.normalize("NFKD", char)[0]):
            found = normalized("NFKD", "a" + char * (MOST_MARKS + 1))
            assert longest(found) <= MOST_MARKS, hex(ord(char))


@pytest.mark.parametrize(
    "read", [plain_text, folded_text, slug, *[partial(normalized, form) for form in FORMS]]
)
def test_very_many_marks_are_read_in_time(read: Callable[[str], str]) -> None:
    """That takes a second, and not minutes."""
    assert read("a" + "\u0300" * 300_000 + "\u0327" * 300_000)[:1] in ("a", "à")


def test_very_many_marks_hide_no_secret() -> None:
    text = "Zoe Exa" + "\u0300" * 100_000 + "\u0327" * 100_000 + "mple"
    assert Secrets(["zoé example"], most=1 << 40).tells(text)
    assert Secrets([text], most=1 << 40).tells("to Zoe Example")
