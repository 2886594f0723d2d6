"""Names that look like one that a contract asks for."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.integrity.near import MAX_NAMES, NearNames
from tests.core import each_time, play


@pytest.mark.parametrize(
    ("wanted", "at_hand", "found"),
    [
        ("policy_no", "policyNo", True),
        ("policy_no", "POLICY-NO", True),
        ("policy_no", "policy no.", True),
        ("policy_no", "polcy_no", True),
        ("policy_no", "policyy_no", True),
        ("policy_no", "polciy_no", True),
        ("policy_no", "policy_mo", True),
        ("policy_no", "policy", False),
        ("policy_no", "polcyno1", False),
        ("size", "sice", False),
        ("id", "ID", True),
        ("größe", "GRÖSSE", True),
        ("größe", "grösse", True),
        ("straße", "strasze", True),
        ("名前番号一", "名前番号二", True),
        ("total", "Total", True),
    ],
)
def test_what_looks_like_a_name(wanted: str, at_hand: str, found: bool) -> None:
    assert NearNames(["other", at_hand]).to([wanted]) == (at_hand if found else None)


def test_the_same_letters_come_before_a_typing_error() -> None:
    assert NearNames(["total1", "TOTAL"]).to(["total"]) == "TOTAL"


@given(st.text(min_size=5, alphabet="abcde"), st.integers(0, 99), st.sampled_from("abcdexyz"))
def test_one_edit_is_found_from_both_sides(name: str, place: int, char: str) -> None:
    at = place % len(name)
    for edited in (name[:at] + char + name[at:], name[:at] + char + name[at + 1 :]):
        assert NearNames([edited]).to([name]) == edited
        assert NearNames([name]).to([edited]) == name


def test_only_so_many_names_are_looked_at() -> None:
    names = [f"name{number}x" for number in range(MAX_NAMES)]
    assert NearNames([*names, "wanted_name"]).to(["wantedName"]) is None


def message(context: dict[str, object], secret: object = "Ana Silva") -> str:
    records, _ = play(
        {
            "contracts": [
                {"fields": [{"name": "policy_no"}, {"name": "who", "classification": "pii"}]}
            ],
            "inputs": [
                {"at": "09:00", "context": {"who": secret}},
                {"at": "10:00", "context": context, "handoff": "marketing"},
            ],
        },
        each_time,
    )
    (found,) = [r.value for r in records if b'"kind":"never_captured"' in (r.value or b"")][:1]
    return (found or b"").decode()


def test_a_violation_names_it() -> None:
    said = "(policy_no); there is policyNo: if that is it, add it to the field's from."
    assert said in message({"policyNo": "P-7"})
    assert "there is" not in message({"policyNo": ""})
    assert "there is" not in message({"nothing_like_it": 1})


def test_a_name_that_tells_a_classified_value_is_not_named() -> None:
    assert "there is" not in message({"Policy No": 1}, secret="Policy No")


def test_what_would_take_long_is_not_looked_for() -> None:
    names = NearNames(f"some_field_{number:04}" for number in range(1_000))
    assert names.to(["some_field_00001"]) is not None
    for number in range(30):
        names.to([f"other_name_{number}"])
    assert names.to(["some_field_00002"]) is None, "after so many pairs nothing is suggested"
    assert names.to(["someField0003"]) == "some_field_0003", "what only the spelling tells is"
    assert NearNames(["a" * 101]).to(["a" * 102]) is None


@pytest.mark.parametrize(
    ("path", "said", "near"),
    [
        ("crm.contact.phone_no", {"crm": {"contact": {"phoneNo": "1"}}}, "crm.contact.phoneNo"),
        ("people[0].Büro", {"people": [{"Bu\u0308ro": "2.04"}]}, "people[0].Bu\u0308ro"),
        ("f[id=7].value", {"f": [{"id": 7, "valeu": 1}]}, "f[id=7].valeu"),
        ("crm.phone_no", {"crm": {"phoneNo": None}}, None),
        ("crm.phone_no", {"crm": {"phone.no": 1}}, None),
        ("crm.phone_no", {"other": {"phoneNo": 1}}, None),
        ("crm.who.name", {"crm": {"who": {"nameX": "Ana Silva"}}}, None),
    ],
)
def test_a_member_of_an_object_that_is_called_almost_so_is_named(
    path: str, said: dict[str, object], near: str | None
) -> None:
    records, _ = play(
        {
            "contracts": [
                {
                    "fields": [
                        {"name": "wanted", "from": [path]},
                        {"name": "who", "from": ["crm.who"], "classification": "pii"},
                    ]
                }
            ],
            "inputs": [
                {"at": "09:00", "context": said},
                {"at": "09:30", "context": {"crm": 5}},
                {"at": "10:00", "context": {}, "handoff": "marketing"},
            ],
        },
        each_time,
    )
    found = [
        json.loads(r.value or b"{}") for r in records if b'"never_captured"' in (r.value or b"")
    ]
    (message,) = [each["message"] for each in found if each["field"] == "wanted"]
    assert message.endswith(
        f"; there is {near}: if that is it, add it to the field's from." if near else f"({path})."
    )
