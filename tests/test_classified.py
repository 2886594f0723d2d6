"""What the contracts of a workflow classify together: which names and paths."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.contracts import telling
from processors.contracts.classified import Named, Outline, classify, outline
from schemas.documents import ContractField
from tests.properties import examples

LEAD = [
    Named(("email", "mail", "crm.email"), True),
    Named(("contact", "mail"), False),
    Named(("address", "contact"), False),
    Named(("email", "reach.at"), False),
    Named(("domain", "crm.email.domain"), False),
    Named(("profile", "crm"), False),
    Named(("summary", "profile.text"), False),
    Named(("phone", "crm.phone"), False),
    Named(("crm", "crm"), False),
]


@pytest.mark.parametrize(
    "path",
    [
        "email",
        "mail",
        "crm.email",
        "crm.email.domain",  # inside
        "mail.domain.2.x",
        "crm",  # leads there
        "contact",  # another name, in another contract
        "address",  # and another one for that
        "reach.at",  # what another contract reads for it
        "reach",
        "domain",
        "profile",  # takes what has it inside
        "profile.anything",
        "summary",
    ],
)
def test_what_is_classified_is_so_under_each_name_and_path(path: str) -> None:
    assert classify(LEAD).covers(path)


@pytest.mark.parametrize("path", ["phone", "crm.phone", "crm.emails", "emai", "reach.by", "other"])
def test_what_stands_beside_it_is_not(path: str) -> None:
    assert not classify(LEAD).covers(path)


@pytest.mark.parametrize(
    "crm",
    [
        '{"email": "kim@b.example", "tier": "gold"}',
        '[{"tier": "gold"}, {"email": "kim@b.example"}]',
        '[[{"email": {"at": ["kim@b.example"]}}]]',
        json.dumps('{"email": "kim@b.example", "tier": "gold"}'),
        json.dumps(['[{"email": "kim@b.example"}]', "gold"]),
        json.dumps(json.dumps(json.dumps({"email": "kim@b.example", "tier": "gold"}))),
        '{"email": "kim@b.example", "email": null}',
        '{"email": null, "tier": "gold", "email": "kim@b.example"}',
        json.dumps('{"email": "kim@b.example", "email": 1}'),
        '{"email": "kim@b.example", "half": "\\ud800"}',
        '{"email": "kim@b.example", "tier": "gold", "digits": ' + 5_000 * "7" + "}",
        json.dumps('{"email": "kim@b.example", "digits": ' + 5_000 * "7" + "}"),
        json.dumps('{"email": "kim@b.example", "share": NaN, "most": -Infinity}'),
    ],
)
def test_it_is_found_where_something_else_stands_in_the_place_of_an_object(crm: str) -> None:
    found = classify(LEAD[:1]).texts([("crm", crm.encode())])
    assert "kim@b.example" in found
    assert "gold" not in found


@pytest.mark.parametrize(
    ("path", "context"),
    [
        ("crm.'e.mail'", {"crm": {"e.mail": "kim@b.example", "e": {"mail": "other"}}}),
        ("crm.'e.mail'", {"crm": [{"e.mail": "kim@b.example", "mail": "other"}]}),
        ("crm.'the mail'", {"crm": {"the mail": "kim@b.example", "mail": "other"}}),
        ("'the mail'", {"the mail": "kim@b.example", "mail": "other"}),
        ("'e.mail'", {"e.mail": "kim@b.example", "e": {"mail": "other"}}),
        ("e.mail", {"e.mail": "kim@b.example", "e": {"post": "other"}}),
        ("crm.e.mail", {"crm": {"e.mail": "kim@b.example", "mail": "other"}}),
    ],
)
def test_it_is_found_under_a_name_in_quotes(path: str, context: dict[str, Any]) -> None:
    found = classify([Named(("mail_address", path), True)])
    texts = found.texts((name, json.dumps(value).encode()) for name, value in context.items())
    assert texts == {"kim@b.example"}


@pytest.mark.parametrize(
    ("tags", "classified", "public"),
    [
        ("pii", True, False),
        (["public", "pii"], True, False),
        ("public", False, True),
        ([], False, False),
    ],
)
def test_the_tag_public_alone_classifies_nothing(tags: Any, classified: bool, public: bool) -> None:
    field = ContractField.model_validate({"name": "city", "classification": tags})
    assert (field.classified, field.public) == (classified, public)
    unusable = outline(
        msgspec.json.encode(
            {"workflow": "w", "fields": [{"name": "city", "classification": tags}], "x": 1}
        )
    )
    assert unusable is not None
    assert list(unusable.named()) == [Named(("city",), classified)]


def test_nothing_is_classified_where_no_field_is() -> None:
    found = classify([Named(("a", "b"), False)])
    assert not found.covers("a")
    assert not found.at


def test_an_object_taken_out_of_another_one_hides_what_it_has_inside() -> None:
    found = classify([Named(("a", "a.b"), False), Named(("z", "a.b.c"), True)])
    assert found.covers("a.c"), "what was a.b.c is there in the package"
    assert found.covers("a.b.c")


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("notes.0.text", "notes.0.text"),
        ("crm.phone.x", "crm.phone.x"),
        ("crm.email.kim@example.com", "crm.email"),
        ("mail.kim@example.com", "mail"),
    ],
)
def test_a_place_is_told_as_far_as_its_names_are_nobodys_values(place: str, told: str) -> None:
    assert classify(LEAD).cut(place) == told


NAMES = st.sampled_from(["a", "b", "c", "a.b", "b.c", "c.a.b", "d"])
FIELDS = st.lists(
    st.builds(
        lambda name, paths, tagged: Named((name, *(paths or [name])), tagged),
        st.sampled_from(["a", "b", "c", "d"]),
        st.lists(NAMES, max_size=2, unique=True),
        st.booleans(),
    ),
    max_size=8,
)


@examples
@given(FIELDS, FIELDS)
def test_another_contract_never_declassifies(some: list[Named], more: list[Named]) -> None:
    alone, together = classify(some), classify([*some, *more])
    for path in ("a", "b", "c", "d", "a.b", "b.c", "c.a", "c.a.b", "d.x"):
        assert together.covers(path) or not alone.covers(path)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (b"", None),
        (b"[]", None),
        (b'{"workflow": 1}', None),
        (b'{"workflow": "w"}', []),
        (b'{"workflow": "w", "fields": [{"name": "a", "classification": []}]}', [False]),
        (
            b'{"workflow": "w", "fields": [{"name": "a", "from": "b", "classification": "x"}]}',
            [True],
        ),
        (b"[" * 3000, None),
    ],
)
def test_the_outline_of_a_contract_that_cannot_be_used(value: bytes, found: Any) -> None:
    left = outline(value)
    assert (left and [each.classified for each in left.named()]) == found
    assert left is None or isinstance(left, Outline)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("people[0].email", "people[0].email"),
        ("people[0]", "people[0]"),
        ("people[role=lead].email", "people[2].email"),
        ("'the people'.email", "'the people'.email"),
        ("tags[]", "tags[]"),
        ("crm.email", "crm.email"),
    ],
)
def test_a_top_level_name_that_is_spelled_as_a_path_is_classified(path: str, name: str) -> None:
    found = classify([Named(("mail", path), True)])
    assert found.within({name: b'"ana@example.com"', "other": b"1"}) == [
        (name, b'"ana@example.com"')
    ]
    assert found.texts([(name, b'"ana@example.com"')]) == {"ana@example.com"}


@pytest.mark.parametrize(
    "odd",
    [{"name": "x", "from": {"path": "y"}}, {"name": "x", "classification": True}, {"nome": "x"}, 7],
)
def test_an_odd_field_of_an_unusable_contract_declassifies_no_other(odd: Any) -> None:
    fields = [odd, {"name": "email", "from": "crm.mail", "classification": "pii"}]
    left = outline(json.dumps({"workflow": "w", "fields": fields}).encode())
    assert left is not None
    found = classify(left.named())
    assert found.covers("email")
    assert found.covers("crm.mail")
    assert found.covers("x") == (isinstance(odd, dict) and "classification" in odd)


@pytest.mark.parametrize("path", ["crm.email", "a." * 130_000, "crm" + "['x']" * 65_000])
@pytest.mark.parametrize(
    "name", ["a." * 260_000, "crm" + ".x" * 260_000, "crm" + "['x']" * 100_000]
)
def test_a_very_long_path_is_read_in_time(path: str, name: str) -> None:
    """That takes a second, and not hours, and nothing is lost by it."""
    found = classify([Named(("field", path), True)])
    held = json.dumps({name: "x"}).encode()
    assert found.texts([("field", b'"ana@example.com"'), (name, b"1"), ("crm", held)])
    assert found.covers(path)
    assert found.covers(path + ".inside")
    assert not found.covers("other" + name)
    assert found.cut(f"field.{name}") == "field"
    assert found.cut("other" + name) == "other" + name


def test_of_a_path_with_more_names_than_any_context_all_inside_of_the_last_is_classified() -> None:
    found = classify([Named((".".join("a" * 70),), True)])
    assert found.covers(".".join("a" * 64))
    assert found.covers(".".join("a" * 64) + ".b")
    assert not found.covers(".".join("a" * 62) + ".b.a")
    deep: Any = "ana@example.com"
    for _ in range(69):
        deep = {"a": deep}
    assert found.texts([("a", json.dumps(deep).encode())]) == {"ana@example.com"}


@given(st.text(st.sampled_from("aZ _.-,:/@1%&\\{[é\u00a0")))
def test_how_long_what_tells_a_plain_text_is_at_least(text: str) -> None:
    value = msgspec.json.encode(text)
    plain = telling.least_of_plain(value)
    if plain is not None:
        assert plain == min(map(telling.least, telling.texts(value)))
    assert plain is not None or not text.replace(" ", "").isalpha() or not text.isascii()
