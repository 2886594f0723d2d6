"""Paths into a context: what they say, where they lead, and what is none."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.contracts.values import descend
from schemas import paths
from schemas.cel.errors import ExpressionError
from schemas.paths import Where

TICKET = {
    "subject": "No boot",
    "requester": {"name": "Ana", "phones": ["+49 30 1", "+49 30 2", None]},
    "custom_fields": [
        {"id": 360017140598, "value": "v7.1.3"},
        {"id": "serial", "value": {"text": "SN-00418"}},
        {"id": True, "value": "flag"},
        "not an object",
        {"id": "serial", "value": "a later one"},
    ],
    "first name": "Ana",
    "a.b": {"c": 1},
    "it's": 2,
    "grid": [[1, 2], [3, 4]],
    "3": {"2": "by name"},
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("subject", "No boot"),
        ("requester.name", "Ana"),
        ("requester.phones[0]", "+49 30 1"),
        ("requester.phones.1", "+49 30 2"),
        ("requester.phones[-2]", "+49 30 2"),
        ("requester.phones.-1", None),
        ("custom_fields[id=360017140598].value", "v7.1.3"),
        ("custom_fields[id=serial].value.text", "SN-00418"),
        ("custom_fields['id'=\"serial\"].value['text']", "SN-00418"),
        ('requester["name"]', "Ana"),
        ("requester['name]", "refused"),
        ("custom_fields[id=true].value", "flag"),
        ("custom_fields[ id = serial ].value.text", "SN-00418"),
        ("'first name'", "Ana"),
        ("first name", "Ana"),
        ('"a.b".c', 1),
        ("'a.b'.c", 1),
        ("it's", 2),
        ("'it\\'s'", 2),
        ("grid[1][0]", 3),
        ("grid.1.-1", 4),
        ("3.2", "by name"),
    ],
)
def test_a_path_leads_to(text: str, expected: object) -> None:
    if expected == "refused":
        with pytest.raises(ExpressionError):
            paths.parse(text)
        return
    path = paths.parse(text)
    found = descend(json.dumps(TICKET[path.top]).encode(), path.rest)
    assert found is not None
    assert json.loads(found) == expected


@pytest.mark.parametrize(
    "text",
    [
        "subject.x",
        "subject[0]",
        "requester[0]",
        "requester.phones[3]",
        "requester.phones[-4]",
        "requester.phones.first",
        "custom_fields[id=none].value",
        "custom_fields[kind=serial].value",
        "requester[name=Ana]",
        "grid[1][0][0]",
    ],
)
def test_a_path_leads_nowhere(text: str) -> None:
    path = paths.parse(text)
    assert descend(json.dumps(TICKET[path.top]).encode(), path.rest) is None


@pytest.mark.parametrize(
    ("text", "message", "position"),
    [
        ("", "a name is missing here", 0),
        (".a", "a name is missing here", 0),
        ("a..b", "a name is missing here", 2),
        ("a.", "a name is missing here", 2),
        ("a. .b", "a name is missing here", 2),
        ("a[0", "this bracket is no element of a list", 1),
        ("a[]", "this bracket is no element of a list", 1),
        ("a[1.5]", "this bracket is no element of a list", 1),
        ("a[id]", "this bracket is no element of a list", 1),
        ("a[=x]", "this bracket is no element of a list", 1),
        ("a[id=x", "this bracket is not closed", 1),
        ("a[id='x'y]", "this bracket is not closed", 1),
        ("'a", "this quote is not closed", 0),
        ("''", "a name is missing in these quotes", 0),
        ("'a'b", "a '.' or a '[' must follow here", 3),
        ("a[0]b", "a '.' or a '[' must follow here", 4),
    ],
)
def test_what_is_no_path_says_where(text: str, message: str, position: int) -> None:
    with pytest.raises(ExpressionError) as raised:
        paths.parse(text)
    assert (raised.value.message, raised.value.position) == (message, position)
    assert raised.value.place.splitlines()[1] == " " * (position + 2) + "^"
    assert paths.read(text) == paths.Path(text, text, ())


names = st.text(min_size=1).filter(str.strip)
steps = st.lists(names | st.integers(-99, 99) | st.builds(Where, names, names), max_size=5)


def quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


@given(names, steps)
def test_what_is_written_in_quotes_is_read_back(top: str, rest: list[Any]) -> None:
    text = quoted(top)
    for step in rest:
        if isinstance(step, int):
            text += f"[{step}]"
        elif isinstance(step, str):
            text += "." + quoted(step)
        else:
            text += f"[{quoted(step.member)}={quoted(step.text)}]"
    assert paths.parse(text) == paths.Path(text, top, tuple(rest))


@given(st.text())
def test_any_text_is_a_path_or_says_where_it_is_none(text: str) -> None:
    path = paths.read(text)
    assert path.name == text
    try:
        assert paths.parse(text) == path
    except ExpressionError:
        assert (path.top, path.rest) == (text, ())


@pytest.mark.parametrize("digits", ["9" * 19, "9" * 5_000, "-" + "9" * 5_000, "0" * 5_000])
def test_an_index_that_no_list_has_leads_nowhere(digits: str) -> None:
    with pytest.raises(ExpressionError, match="this index has more than 18 digits"):
        paths.parse(f"a[{digits}]")
    assert paths.read(f"a[{digits}].b") == paths.Path(f"a[{digits}].b", f"a[{digits}].b", ())
    assert paths.index_of(digits) is None
    assert descend(b"[1]", paths.parse(f"a.{digits}").rest) is None
    assert descend(f'{{"{digits}": 1}}'.encode(), paths.parse(f"a.{digits}").rest) == b"1"
