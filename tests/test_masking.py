"""What people are not shown of a context, and of an input that could not be understood."""

import json
import time
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from console.masking import MASK, Mask, PackageMask
from console.remembered import SeenTasks
from console.render import Contracts
from console.veiled import veiled, veiled_headers
from processors.contracts.classified import Named, Outline, classify
from schemas import documents, serde
from schemas.documents import HandoffContract
from schemas.flow import Record, Refused
from schemas.records import Package
from tests.core import CONTRACT
from tests.read_model import story

CLASSIFIED = classify([Named(("email", "mail", "crm.email"), True), Named(("pin",), True)])


def raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(value).encode())


def context(**values: Any) -> dict[str, msgspec.Raw]:
    return {name: raw(value) for name, value in values.items()}


@pytest.mark.parametrize(
    ("name", "value", "hidden"),
    [
        ("email", "a@b.example", True),
        ("crm", {"tier": "gold"}, True),  # its e-mail may be there
        ("wrap", {"a": [{"email": 7}]}, True),
        ("text", "write to kim@b.example soon", True),
        ("list", [1, {"x": "kim@b.example"}], True),
        ("number", 4455667, True),
        ("a name", {"kim@b.example": 1}, True),
        ("a name", [{"a": {"KIM@B.EXAMPLE": {"x": 1}}}], True),
        ("JSON", '{"q": "kim\\u0040b.example"}', True),
        ("JSON", json.dumps(json.dumps({"email": "x"})), True),  # a member of that name
        ("JSON", '[{"crm": {"mail": "x"}}]', True),
        ("address", "?to=kim%40b.example", True),
        ("HTML", "kim&#64;b&period;example", True),
        ("number", 4.455667e6, True),
        ("number", '{"p":4.455667e6}', True),
        ("text", "kim", False),
        ("tier", "gold", False),
        ("other", {"tier": {"level": 3}}, False),
        ("empty", {}, False),
    ],
)
def test_what_of_a_context_is_hidden(name: str, value: Any, hidden: bool) -> None:
    mask = Mask(CLASSIFIED, [context(email="kim@b.example", pin=4455667, tier="gold")])
    assert mask.hides(name, raw(value)) is hidden


@pytest.mark.parametrize(
    ("violations", "hidden"),
    [
        ([], set()),
        (["h-1:1:context_dropped:email"], set()),
        (["h-1:1:context_unstructured:email"], {"text"}),  # in the words of some field
        (["h-1:1:context_unstructured:tier"], set()),
        (["", "a:b", "h-1:1"], {"text"}),  # forged: nobody knows what they say
    ],
)
def test_what_the_ids_of_violations_hide(violations: list[str], hidden: set[str]) -> None:
    value = next(each.value for each in story() if each.topic == "handoff.packages" and each.value)
    package = replace(
        msgspec.json.decode(value, type=Package),
        violations=violations, context=context(text="gold", number=7), provenance={},
    )  # fmt: skip
    assert PackageMask(package, CLASSIFIED, True, ()).hidden() == hidden


def test_a_text_that_stands_somewhere_hides_all_that_are_texts() -> None:
    mask = Mask(CLASSIFIED, [], unplaced=True)
    assert mask.hides("text", raw(["any"]))
    assert not mask.hides("number", raw([1, True]))


@pytest.mark.parametrize(
    ("value", "may"),
    [
        ("gold", False),
        ("E-4012", False),
        (["a", 4.5, None, {"x": "high"}], False),
        ("two words", True),
        ("a@b.example", True),
        ('{"email":1}', True),
        ({"kim@b.example": 1}, True),
        ({"two words": 1}, True),
        ({"tier_2": {"x-y": 1}}, False),
        ({"x": [{"y": "said so"}]}, True),
    ],
)
def test_what_nobody_declared_may_quote(value: Any, may: bool) -> None:
    assert Mask(CLASSIFIED).may_quote(raw(value)) is may
    assert not Mask(classify([])).may_quote(raw(value)), "nothing is classified"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (
            {"id": "1", "workflow": ["w"], "context": {"email": "k@b", "tier": "gold"}},
            {"id": "1", "workflow": ["w"], "context": {"email": MASK, "tier": "gold"}},
        ),
        (
            {"email": "kim1", "context": {"a": [{"text": "said kim1"}], "n": 5, "t": "kim"}},
            {"email": MASK, "context": {"a": [{"text": MASK}], "n": 5, "t": "kim"}},
        ),
        (
            {"context": {"crm": {"email": 4455667, "tier": 2}, "n": 4455667, "crm.email": 1}},
            {"context": {"crm": {"email": MASK, "tier": 2}, "n": MASK, "crm.email": MASK}},
        ),
        ({"fields": {"mail": {"x": 1}}}, {"fields": {"mail": MASK}}),
        ([{"email": "x"}, "y"], [{"email": MASK}, "y"]),
        (
            {"email": "kim1", "context": {"KIM1": 1, "re: kim1": 2, "j": '{"x":"\\u006bim1"}'}},
            {"email": MASK, "context": {MASK: 1, MASK + MASK: 2, "j": MASK}},
        ),
    ],
)
def test_a_dead_letter_that_is_json_shows_what_is_not_classified(value: Any, shown: Any) -> None:
    found = veiled(json.dumps(value).encode(), CLASSIFIED)
    assert found is not None
    assert json.loads(found) == shown


@pytest.mark.parametrize("value", [{"id": "1", "context": {"tier": "gold"}}, [], {}, [1, "a"]])
def test_a_dead_letter_without_anything_classified_is_shown_as_it_is(value: Any) -> None:
    assert veiled(json.dumps(value).encode(), CLASSIFIED) is None


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (b'{"email":"k@b" "x"}', f'{{"email":{MASK} {MASK}}}'),
        (b'{"email" : k@b.c}', f'{{"email" : {MASK}@{MASK}}}'),
        (b'{"a": 17, "b": "\\"k', f'{{"a": {MASK}, "b": {MASK}'),
        (b'"kim"', MASK),
        (b'{"kim@b.example": 1 "x"}', f"{{{MASK}: {MASK} {MASK}}}"),
        (b'\xff{"a":"kim"}', f'\\{MASK}{{"a":{MASK}}}'),
    ],
)
def test_a_dead_letter_that_is_no_json_shows_its_names(value: bytes, shown: str) -> None:
    assert veiled(value, CLASSIFIED) == shown
    assert veiled(value, classify([])) is None


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (
            {"body": '{"email": "k@b", "n": 1}', "other": '{"n": 1.50}', "n": 2.50},
            '{"body":"••••","other":"{\\"n\\": 1.50}","n":2.5}',
        ),
        ({"context": '[{"crm": {"pin": 7}}]', "n": 1}, '{"context":"••••","n":1}'),
        ({"context": json.dumps(json.dumps({"pin": 7}))}, '{"context":"••••"}'),
        ({"context": [['{"mail": "long text"}']], "t": "a long text"}, None),
    ],
)
def test_a_string_of_a_dead_letter_that_holds_json_is_looked_into(value: Any, shown: Any) -> None:
    found = veiled(json.dumps(value).encode(), CLASSIFIED)
    assert found is not None
    shown = shown or '{"context":[["••••"]],"t":"••••"}'
    assert json.dumps(json.loads(found), ensure_ascii=False, separators=(",", ":")) == shown


@pytest.mark.parametrize(
    "value",
    [
        b'{"context": {"email": "kim1"}, "context": {"tier": "gold"}}',
        b'{"context": {"email": "kim1", "email": null}}',
        b'{"x": [{"y": "kim1", "y": 2}]}',
        b'{"context": "{\\"email\\": \\"kim1\\", \\"email\\": 1}"}',
    ],
)
def test_of_a_dead_letter_that_has_a_name_twice_only_names_are_shown(value: bytes) -> None:
    found = veiled(value, CLASSIFIED)
    assert found is not None
    assert "kim1" not in found
    assert "gold" not in found


@pytest.mark.parametrize("levels", [10, 70, 500, 960, 1_500, 20_000])
@pytest.mark.parametrize(("before", "behind"), [('{"a":', "}"), ("[", "]"), ('{"a":[', "]}")])
def test_a_dead_letter_of_any_depth_is_shown_without_it(
    levels: int, before: str, behind: str
) -> None:
    value = before * levels + '{"email": "kim1"}' + behind * levels
    for each in (value, json.dumps({"context": value}), f'{{"said": "kim1", "x": {value}}}'):
        found = veiled(each.encode(), CLASSIFIED)
        assert found is not None
        assert "kim1" not in found
        assert MASK in found


@pytest.mark.parametrize("levels", [10, 960, 20_000])
def test_a_value_of_any_depth_is_hidden(levels: int) -> None:
    value = msgspec.Raw(b'{"a":[' * levels + b'{"email":"kim1"}' + b"]}" * levels)
    assert Mask(CLASSIFIED).hides("x", value) or Mask(CLASSIFIED, [context(email="kim1")]).hides(
        "x", value
    )


def test_each_registered_contract_of_a_workflow_counts_whatever_its_status() -> None:
    field = {"name": "email", "classification": "pii"}
    found = []
    for status in ("draft", "trial", "active", "deprecated", "retired"):
        contract = documents.parse(CONTRACT | {"status": status, "fields": [field]})
        assert isinstance(contract, HandoffContract)
        found.append(Contracts([contract]).classified("lead").covers("email"))
    assert all(found)
    left = Outline("lead", [])
    assert not Contracts([], [left]).classified("lead").covers("email")
    left = msgspec.json.decode(json.dumps(CONTRACT | {"fields": [field]}), type=Outline)
    assert Contracts([], [left]).classified("lead").covers("email")
    assert Contracts([], [left]).classified(None).covers("email")
    assert not Contracts([], [left]).classified("other").covers("email")


BIG = "1" * 5_000


@pytest.mark.parametrize(
    "value",
    [
        f'{{"email":"jim@b.example","n":{BIG}}}',
        f'{{"a":[{{"mail":"jim@b.example"}}],"n":{BIG}}}',
        '{"email":"jim@b.example","t":"\\ud83d"}',
        json.dumps(f'{{"email":"jim@b.example","n":{BIG}}}'),
        json.dumps('{"email":"jim@b.example","n":NaN}'),
        json.dumps('{"em\\u0061il" :"jim@b.example","n":NaN'),
        json.dumps({"x": ['{"crm":{"pin":7654321},"t":"\\ud83d"']}),
        json.dumps("it's {'tier': 1, 'email' : 'jim@b.example'}"),
    ],
)
def test_a_member_of_what_cannot_be_read_is_hidden(value: str) -> None:
    assert Mask(CLASSIFIED).hides("x", msgspec.Raw(value.encode()))
    assert not Mask(classify([])).hides("x", msgspec.Raw(value.encode())), "nothing is classified"
    found = veiled(
        f'{{"context":{{"x":{value},"z":"to jim@b.example, 7654321"}}}}'.encode(), CLASSIFIED
    )
    assert found is not None
    assert "jim" not in found
    assert "7654321" not in found


@pytest.mark.parametrize(
    "value",
    [
        f'{{"email":"jim@b.example","n":{BIG}}}',
        json.dumps(f'{{"email":"jim@b.example","n":{BIG}}}'),
        json.dumps(['{"email":"jim@b.example","n":NaN}']),
    ],
)
def test_what_tells_a_value_in_what_cannot_be_read_is_hidden(value: str) -> None:
    contexts = [{"crm": msgspec.Raw(value.encode())}]
    assert Mask(CLASSIFIED, contexts).hides("x", raw("to jim@b.example"))
    seen = SeenTasks()
    seen.note(("w", "t"), contexts[0])
    assert "jim@b.example" in seen.texts(("w", "t"), CLASSIFIED)


@pytest.mark.parametrize("text", ['{"tier":1 "n"', "[urgent] call", '"a": {{b}}', '{"mails": NaN}'])
def test_a_string_that_only_looks_like_json_is_shown(text: str) -> None:
    assert not Mask(CLASSIFIED).hides("x", raw(text))
    assert not Mask(CLASSIFIED).hides("x", msgspec.Raw(f'{{"tier":{BIG}}}'.encode()))
    assert Mask(CLASSIFIED).hides("x", msgspec.Raw(b'{"tier":NaN}')), "unreadable"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ('{"email":"k@b","t":"\\ud83d"}', ['"email": "••••"', '"t": "\\ud83d"']),
        ('{"email":"kim1","\\udc00":["kim1",7]}', ['"\\udc00": [', "7"]),
        ('{"email":"k\\ud83d@b","t":"a k\\ud83d@b"}', ['"t": "••••"']),
    ],
)
def test_half_a_character_is_shown_escaped(value: str, shown: list[str]) -> None:
    found = veiled(value.encode(), CLASSIFIED)
    assert found is not None
    found.encode()
    for each in shown:
        assert each in found


def test_a_member_with_dots_in_its_name_may_be_a_path_or_one_name() -> None:
    classified = classify([Named(("mail", "'user.email'", "crm.phone"), True)])
    value = {
        "context": {"user.email": "kim@b", "z": ["kim@b"], "crm.phone": 1, "user.tier": "gold"}
    }
    found = veiled(json.dumps(value).encode(), classified)
    assert found is not None
    assert json.loads(found) == {
        "context": {"user.email": MASK, "z": [MASK], "crm.phone": MASK, "user.tier": "gold"}
    }
    assert Mask(classified).hides("x", raw({"user.email": "kim@b"}))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ('{"email":"Kim":"Bo"}', f'{{"email":{MASK}:{MASK}}}'),
        ('{"email":"Kim" "Bo" : 1}', f'{{"email":{MASK} {MASK} : {MASK}}}'),
        ('"Kim" : 1', f"{MASK} : {MASK}"),
        ("नमस्ते: é\U0001f600", f"{MASK}: {MASK}"),
        ('{"a":"Kim\n","b":1 2}', f'{{"a":{MASK},"b":{MASK} {MASK}}}'),
    ],
)
def test_a_name_of_what_is_no_json_stands_where_a_name_does(value: str, shown: str) -> None:
    assert veiled(value.encode(), CLASSIFIED) == shown


@pytest.mark.parametrize("start", ["", '"', '{"email":"', '{"email":1,"x":"', '{"a":1,'])
@pytest.mark.parametrize("part", ['"', '\\"', '",', "{,", '":', "\\\\", "a "])
def test_what_is_no_json_is_veiled_in_linear_time(start: str, part: str) -> None:
    began = time.process_time()
    veiled((start + part * 100_000).encode(), CLASSIFIED)
    veiled(json.dumps({"context": {"x": start + part * 50_000}}).encode(), CLASSIFIED)
    assert time.process_time() - began < 10


def test_of_a_dead_letters_headers_only_ours_and_known_forms_are_shown() -> None:
    trace = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    given: Any = [
        ("x-user", b"kim@b.example"),
        ("kim@b.example", b""),
        ("traceparent", b"kim"),
        ("traceparent", trace),
        ("content-type", b"application/json"),
        ("content-type", b"text/plain; name=kim"),
        ("handoff-backfill", b"1"),
        ("handoff-note", b"kim"),
        ("none", None),
        ("__streams.errors.message", b"kim, of another processor"),
        ("__streams.errors.other", b"x"),
    ]
    letter = serde.dead_letter(
        Record("handoff.acks", 2, 7, b"t", b"{}", 0, given), Refused("not_json", "Why.")
    )
    found = veiled_headers(letter.headers, CLASSIFIED)
    mask = MASK.encode()
    assert found[: len(given)] == [
        ("x-user", mask),
        (MASK, b""),
        ("traceparent", mask),
        ("traceparent", trace),
        ("content-type", b"application/json"),
        ("content-type", mask),
        ("handoff-backfill", b"1"),
        ("handoff-note", mask),
        ("none", None),
        ("__streams.errors.message", mask),
        ("__streams.errors.other", mask),
    ]
    assert found[len(given) :] == letter.headers[len(given) :], "why it is one"
    assert veiled_headers(letter.headers, classify([])) == letter.headers
