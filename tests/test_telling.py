"""Which texts tell a classified value, in what form they may be written, and what that may cost."""

import html
import json
import unicodedata
from collections.abc import Callable
from time import process_time
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.contracts import telling
from processors.contracts.classified import Named, classify
from processors.contracts.telling import MAX_SEARCHED, Secrets
from processors.integrity.events import EventRef, TaskEvent
from processors.integrity.secrets import TaskSecrets
from tests.test_core_properties import examples

NAME = "Jörg Müller-Lüdenscheidt"
PHONE = "4455667788"
SECRETS = Secrets([NAME, PHONE, "12 Elm"])

# How tools, templates and people write the same thing.
FORMS: dict[str, Callable[[str], Any]] = {
    "as it is": lambda text: text,
    "in words": lambda text: f"said {text}, twice",
    "a name": lambda text: {text: 1},
    "a name deep down": lambda text: {"a": [{"b": {text: {"x": "y"}}}]},
    "JSON": lambda text: json.dumps({"email": text}),
    "JSON in plain words": lambda text: "payload: " + json.dumps({"email": text}) + " (cut of",
    "a name in JSON": lambda text: json.dumps({text: 1}),
    "JSON in JSON": lambda text: json.dumps(json.dumps({"q": [text]})),
    "JSON in JSON with an object between": lambda text: json.dumps(
        {"body": json.dumps({"q": [text]})}
    ),
    "decomposed": lambda text: unicodedata.normalize("NFD", text),
    "full width": lambda text: "".join(
        chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text
    ),
    "upper case": str.upper,
    "other case": str.swapcase,
    "without accents": lambda text: "".join(
        c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c)
    ),
    "no-break spaces": lambda text: text.replace(" ", "\u00a0"),
    "narrow spaces": lambda text: text.replace(" ", "\u202f"),
    "two spaces": lambda text: text.replace(" ", "  "),
    "lines": lambda text: text.replace(" ", "\r\n\t"),
    "a space that has no width": lambda text: text.replace(" ", "\u200b"),
    "with what shows nothing": "\u200d".join,
    "with soft hyphens": lambda text: text[:3] + "\u00ad" + text[3:],
    "with the mark of a direction": lambda text: "\u202e" + text[:2] + "\u2066" + text[2:],
    "with a zero byte": lambda text: text[:3] + "\0" + text[3:],
    "with fillers": lambda text: text[:3] + "\u3164\u2800" + text[3:],
    "in an address": quote,
    "in a form": quote_plus,
    "each byte in an address": lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
    "HTML": lambda text: html.escape(text).replace("ö", "&ouml;").replace("ü", "&uuml;"),
    "HTML by number": lambda text: "".join(f"&#{ord(c)};" for c in text),
    "HTML by number, in hex": lambda text: "".join(f"&#x{ord(c):X};" for c in text),
    "HTML in JSON": lambda text: json.dumps({"b": "".join(f"&#{ord(c)};" for c in text)}),
    "escapes": lambda text: "".join(f"\\u{ord(c):04X}" for c in text),
}


def written(value: Any) -> str:
    return json.dumps(value)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("text", [NAME, PHONE, "12 Elm"])
@pytest.mark.parametrize("write", [written, lambda value: json.dumps(value, ensure_ascii=False)])
def test_a_value_is_told_in_each_form(text: str, form: str, write: Callable[[Any], str]) -> None:
    assert SECRETS.tells(write(FORMS[form](text)))


@pytest.mark.parametrize(
    "form", [form for form in FORMS if "in words" not in form and "plain" not in form]
)
def test_and_so_is_one_that_was_captured_in_such_a_form(form: str) -> None:
    captured = json.dumps(FORMS[form](NAME)).encode()
    assert Secrets(telling.texts(captured)).tells(json.dumps({"note": f"{NAME} called"}))


@pytest.mark.parametrize(
    ("secret", "value"),
    [
        (4455667788, 4455667788.0),
        (4455667788, "4.455667788e9"),
        (4455667788, '{"p":4.455667788E+09}'),
        (4455667788, json.dumps(json.dumps([4455667788.0]))),
        (4455667788, {"4455667788": 1}),
        (4455667788.0, "call 4455667788"),
        ("4455667788", 4455667788.0),
        (4455.5, "4.4555e3"),
        (0.00045, "4.50e-4"),
        (-4455.0, -4455),
        (1e3, "1000"),
        ("4455 667 788", "4455667788"),
        ("+49 30 1234", "+49301234"),
    ],
)
def test_a_number_is_told_however_it_is_spelled(secret: Any, value: Any) -> None:
    secrets = Secrets(telling.texts(json.dumps(secret).encode()))
    assert secrets.tells(json.dumps(value))


@pytest.mark.parametrize(
    "value",
    [
        "Jörg",
        "Müller",
        "4455 66 77 beside 4455667787",
        {"Jörg": "Müller"},
        "112 elves to 12 alms trees",
        "",
        {},
        [1, None, True, 4.5],
        "4455667788"[:9],
        "e" * 1000,
        "\\u00",
        "%zz%",
        "&nosuch; &#xFFFFFFFFF; &#;",
    ],
)
def test_what_is_something_else_tells_nothing(value: Any) -> None:
    assert not SECRETS.tells(json.dumps(value))


@pytest.mark.parametrize(
    "text", ["abc", "  a ", "\u200b\u200b\u200b\u200b", "", "\0\0\0\0\0", "Zoë"]
)
def test_what_is_short_stands_in_others_by_chance(text: str) -> None:
    assert not Secrets([text]).tells("abc a \u200b\u200b\u200b\u200b\0\0\0\0\0 zoe, and more")


def test_a_short_one_is_no_part_of_two_words() -> None:
    assert not Secrets(["Anna"]).tells("Susan named it")
    assert Secrets(["Anna"]).tells("SUSANNA")


def test_names_that_no_tool_gives_are_values_and_others_are_not() -> None:
    value = b'{"street": {"kim@b.example": 1, "4455": 2, "two words": 3, "phone_number": "77771"}}'
    assert set(telling.texts(value)) == {
        "kim@b.example",
        "4455",
        "two words",
        "1",
        "2",
        "3",
        "77771",
    }


@pytest.mark.parametrize(
    "value",
    [
        b'"J\\u00f6rg M\\u00fcller-L\\u00fcdenscheidt \\ud83d"',
        b'["' + NAME.encode() + b'", 1e999, "\\udc00"]',
        b"[" * 2000 + b'"' + NAME.encode() + b'"' + b"]" * 2000,
        b'{"' + NAME.encode() + b'": "\\ud800"}',
    ],
)
def test_what_python_cannot_read_tells_and_is_told_all_the_same(value: bytes) -> None:
    assert SECRETS.tells(value.decode())
    found = telling.texts(value)
    assert any(Secrets([text]).tells(NAME + " \ud83d") for text in found)


TEXT = st.text(max_size=12) | st.text(
    alphabet="ab%&;\\u00e9 1.e{}\"'\u0301\u00e9\u200b\n", max_size=12
)


@examples
@given(TEXT, TEXT, TEXT)
def test_a_text_tells_what_stands_in_it_as_it_is(before: str, secret: str, behind: str) -> None:
    if len(telling._seen(secret)) >= 4 and telling._fold(secret):
        assert Secrets([secret]).tells(before + secret + behind)


@examples
@given(st.recursive(st.none() | TEXT | st.integers() | st.floats(), st.lists), TEXT)
def test_what_a_value_has_is_told_where_it_is_written_again(value: Any, around: str) -> None:
    raw = json.dumps(value)
    secrets = Secrets(telling.texts(raw.encode()))
    assert secrets.tells(around) in (True, False)
    if any(
        len(telling._fold(text)) >= 4 == len(telling._seen(text))
        for text in telling.texts(raw.encode())
    ):
        assert secrets.tells(json.dumps([around, raw]))


# --- names and places -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("summary.0.text", "summary.0.text"),
        (f"summary.{NAME}", "summary"),
        (f"summary.people.{NAME.upper()}.note", "summary"),
        (f"summary.{quote(NAME)}", "summary"),
        (f"{NAME}", None),
        (f"{NAME}.text", None),
        (f"call.{NAME}.text", None),
        ("summary.aaa" + "a" * 180 + "Jörg Mü…", "summary"),
        ("b" * 199 + "…", None),
        ("a.b", "a.b"),
        (f"a.b.{NAME}", "a"),
    ],
)
def test_a_place_is_told_as_far_as_it_tells_no_value(place: str, told: str | None) -> None:
    names = ["summary", NAME, f"call.{NAME}", "a.b", "a", "b" * 250]
    assert SECRETS.place(place, names) == told
    assert Secrets().place(place, names) == place


def test_the_names_that_tell_are_found_among_others() -> None:
    names = ["email", NAME, "x" * 300, f"re: {PHONE}", "note", "445566", "7788"]
    assert SECRETS.named(names) == {NAME, f"re: {PHONE}"}
    assert Secrets().named(names) == set()


# --- what it costs --------------------------------------------------------------------------------


def test_what_would_take_long_counts_as_telling() -> None:
    assert SECRETS.tells("a" * MAX_SEARCHED)
    many = Secrets([f"{number:08}" for number in range(5_000)])
    assert many.tells("nothing of that"), "nobody looks for so many"
    assert many.place("a.b", ["a"]) is None
    assert many.named(["a"]) == {"a"}
    assert not Secrets([f"{number:08}" for number in range(3_000)]).tells("nothing of that")
    assert not Secrets().tells("a" * MAX_SEARCHED)


@pytest.mark.parametrize(
    "part",
    [
        "&a;",
        "&#65;",
        "%41",
        "\\u0041",
        "\\\\",
        "9",
        "1.5,",
        "1e39,",
        "\u0301",
        "é",
        "\u200b",
        '"',
        "{",
        " ",
    ],
)
def test_the_longest_text_that_is_read_is_read_in_time(part: str) -> None:
    text = part * ((MAX_SEARCHED // 67 - telling._READ) // len(part))
    began = process_time()
    SECRETS.tells(text)
    telling.texts(json.dumps(text).encode())
    assert process_time() - began < 10, "some tenths of a second: nothing grows with its square"


# --- names that are too short to tell anything ----------------------------------------------------

PIECES = st.sampled_from(
    [
        "kim",
        "Kim B",
        "ab",
        "7.50",
        "1e3",
        "%41",
        "a+b",
        "&amp;",
        "\\u0061",
        "é",
        "ﬁ",
        " ",
        "\t",
        "_x",
        "-",
    ]
)
SOME = st.lists(PIECES, max_size=4).map("".join)


@examples
@given(st.lists(SOME, max_size=4), SOME, SOME.filter(bool))
def test_a_shorter_name_never_tells(held: list[str], now: str, name: str) -> None:
    """That is decided by lengths alone; whoever reads the texts finds the same."""
    classified = classify([Named(("pin",), True)])
    events = [
        TaskEvent(EventRef(n, "s", "t", "e", n, False, 0, n), 0, {"pin": json.dumps(text).encode()})
        for n, text in enumerate(held)
    ]
    secrets = TaskSecrets(classified).after(events)
    context = {"pin": json.dumps(now).encode(), name: b"1"}
    found = secrets.told_by(tuple(context), context)
    assert found == secrets.beside(context).named(classified.unknown(tuple(context)))


@pytest.mark.parametrize("part", ['\\"', '"', '":', "\\", '\\\\"', "{", "a "])
def test_the_words_of_what_is_nested_too_deep_are_found_in_time(part: str) -> None:
    """That takes seconds, and not hours."""
    value = json.dumps("[" * 2000 + part * (600_000 // len(part))).encode()
    assert telling.texts(value)
