"""A lost value is found in the strings of a context as if each were read for it alone."""

import json
import re
import unicodedata
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.contracts import values
from processors.contracts.readers import plain_text
from processors.contracts.values import MAX_WHERE
from processors.contracts.words import words
from processors.integrity.texts import MOST_SAID, Texts, is_searched
from tests.core import each_time, play

PIECES = ["a-1", "b-22", "c", "économie", "12345", '"', "\\", "\0", "\n\0", " ", ".", "a-1b-22"]
PIECES += ["東京", "都", "e\u0301", "1.5", "_"]
STRINGS = st.lists(st.sampled_from(PIECES), max_size=6).map("".join)
VALUES = st.recursive(
    STRINGS | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(STRINGS, inner, max_size=3),
    max_leaves=6,
)


def naive(context: dict[str, bytes], text: str) -> str | None:
    """String by string: the first that holds the text."""
    text = plain_text(text)
    if not text:
        return None
    for name, raw in context.items():
        for where, held in values.strings(raw, name):
            if stands(text, plain_text(held)):
                return where
    return None


def stands(text: str, held: str) -> bool:
    """At any of all places: with no letter or digit on both sides of an end, no decimal cut."""
    for at in range(len(held) - len(text) + 1):
        end = at + len(text)
        if held[at:end] != text:
            continue
        ends = [held[max(at - 1, 0) : at + 1] if at else "", held[end - 1 : end + 1]]
        cut = re.match(r"\d\.\d", held[max(at - 2, 0) :]) if at > 1 else None
        cut = cut or re.match(r"\d\.\d", held[end - 1 :])
        if cut is None and not any(len(e) == 2 and all(map(in_word, e)) for e in ends):
            return True
    return False


def in_word(char: str) -> bool:
    return char not in "東京都" and (char.isalnum() or unicodedata.category(char).startswith("M"))


@given(
    st.dictionaries(STRINGS, VALUES, max_size=4),
    st.lists(STRINGS.filter(bool), max_size=4),
    st.booleans(),
)
def test_it_finds_what_a_reader_of_each_string_would(
    context: dict[str, Any], asked: list[str], ascii_: bool
) -> None:
    raw = {name: json.dumps(v, ensure_ascii=ascii_).encode() for name, v in context.items()}
    texts = Texts(raw)
    for text in asked:
        assert texts.where(text) == naive(raw, text)


def test_a_name_longer_than_anybody_reads_is_cut() -> None:
    long = "n" * 5_000
    raw = {long: b'[[{"' + long.encode() + b'": "E-4012 again"}]]'}
    where = Texts(raw).where("E-4012")
    assert where == "n" * (MAX_WHERE - 1) + "…"
    assert Texts({"notes": b'{"a": ["E-4012"]}'}).where("E-4012") == "notes.a.0"


def test_strings_are_read_once_for_all_fields_and_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not once for each lost field of each handoff: a hundred thousand strings, 640 times, took
    two minutes."""
    read: list[str] = []
    real = values.strings

    def noted(value: bytes, name: str, depth: int = 0) -> Iterator[tuple[str, str]]:
        if not depth:
            read.append(name)
        return real(value, name, depth)

    monkeypatch.setattr(values, "strings", noted)
    fields = [{"name": f"f{n}"} for n in range(20)]
    two = [{"context": {f"f{n}": f"{word}-{n}" for n in range(20)}} for word in ("one", "two")]
    parts = [{"to": "marketing", "part": str(n)} for n in range(8)]
    last = {"context": {"notes": ['two\\-"1', "f \\ one-3."]}, "handoff": parts}
    story = {"contracts": [{"fields": fields}], "inputs": [*two, last]}
    outputs, _ = play(story, each_time)
    found = [json.loads(each.value or b"{}") for each in outputs]
    assert read == ["notes"]
    unstructured = {f["field"]: f["found_in"] for f in found if f.get("found_in")}
    assert unstructured == {"f3": "notes.1"}


@pytest.mark.parametrize(
    ("value", "text", "found"),
    [
        ("1200", "See quotation Q-9120044, hall seats 350.", False),
        ("1200", "about 1200, they said", True),
        ("1200", "1200.50 was paid", False),
        ("1200", "it cost 3.1200", False),
        ("1200", "It was 1200.", True),
        ("5678", "1234,5678", True),
        ("2026-05-01", "on 2026-05-01T10:00:00Z", True),
        ("2026-05", "on 2026-05T", False),
        ("Reyes", "ask Dana Reyes's deputy", True),
        ("Anna", "Annabel called", False),
        ("Anna", "ANNA called", False),
        ("orders", "reorders", False),
        ("order-7", "see order-7/b", True),
        ("cafe", "the cafe\u0301 opens", False),
        ("v2.1", "with v2.1.3", False),
        ("大阪", "彼は大阪へ行く", True),
        ("서울", "내일 서울에서 만나요", True),
        ("กรุงเทพ", "ไปกรุงเทพพรุ่งนี้", True),
        ("駅", "駅前", False),
        ("Ürün kodu", "Yeni Ürün kodu: 7", True),
        ("Москва", "в Москва-Сити", True),
        ("Москва", "Москвам", False),
    ],
)
def test_words_begin_and_end_where_words_do(value: str, text: str, found: bool) -> None:
    texts = Texts({"note": json.dumps(text, ensure_ascii=False).encode()})
    assert (is_searched(value) and texts.where(value) is not None) == found


def test_a_word_that_almost_comes_very_often_is_looked_for_once() -> None:
    text = "abab" * 200_000 + " abab"
    assert Texts({"note": json.dumps(text).encode()}).where("abab") == "note"


def test_a_text_that_almost_comes_at_each_word_is_given_up() -> None:
    """A long one: to compare it at every place of a long text would take minutes."""
    note = json.dumps("1." * 500_000 + "1").encode()
    assert Texts({"note": note}).where("1." * 100_000 + "1") is None


def test_no_more_words_are_kept_than_any_text_has() -> None:
    read = words("phone", "CH")
    assert read is not None
    digits = "".join(map(str, range(90_000)))
    texts = Texts({"note": values.quoted(" ".join(digits))})
    texts.says(read, b'"044 123 45 67"')
    assert [len(said) for said in texts._said.values() if len(said) > MOST_SAID] == []
