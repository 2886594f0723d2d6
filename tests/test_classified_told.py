"""What is classified is masked wherever it is told: in violations, on the map, by insights."""

import json
import unicodedata
from typing import Any
from urllib.parse import quote, quote_plus, unquote

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.contracts.registry import CONTRACTS, build_tables
from processors.insights.processor import INSIGHTS
from processors.integrity.processor import INTEGRITY
from schemas.feed import PatternPart
from schemas.flow import InputEvent, Output, Publish, Record
from schemas.records import Package
from tests.core import CONTRACT, DAY_ONE, Registry, at_the_end, each_time, play, tables
from tests.fed import fed
from tests.properties import examples
from tests.test_classified import NAMES

SECRET = "zq-secret"
RECEIVERS = [{"queue": "handoff.queue.marketing"}, {"id": "ops", "queue": "handoff.queue.ops"}]
CLASSIFYING: dict[str, Any] = {
    "id": "one",
    "fields": [
        {"name": "email", "from": ["email", "crm.email"], "classification": "pii"},
        {"name": "profile", "type": "object", "classification": ["pii", "secret"]},
        {"name": "phone", "type": "integer", "classification": "pii"},
    ],
}


def repeating(*by: str, **more: Any) -> dict[str, Any]:
    """A contract of the same workflow that classifies nothing."""
    return {
        "id": "two",
        "from": {"stage": "score"},
        "repeat": {"by": list(by), "threshold": 2, "within": "P1D", "receiver": "ops"},
    } | more


def handed(context: dict[str, Any], n: int = 0) -> dict[str, Any]:
    return {
        "at": f"10:0{n}",
        "task": f"t{n}",
        "stage": "score",
        "context": context,
        "handoff": {"to": "marketing", "contract": "two"},
    }


def told(contracts: list[dict[str, Any]], *inputs: dict[str, Any]) -> list[dict[str, str | None]]:
    """The values of the repeats that insights is told of; the rest of them holds no secret."""
    _, driver = play(
        {"contracts": contracts, "receivers": RECEIVERS, "inputs": list(inputs)}, at_the_end
    )
    parts = fed(driver.published)
    assert SECRET not in json.dumps([msgspec.to_builtins(part) for part in parts.values()])
    repeats = [part for part in parts.values() if isinstance(part, PatternPart)]
    return [part.repeated.values for part in repeats if part.repeated is not None]


@pytest.mark.parametrize(
    ("by", "context"),
    [
        ("context.email", {"email": SECRET}),
        ("context.crm.email", {"crm": {"email": SECRET}}),
        ("context.crm", {"crm": {"email": SECRET}}),
        ("context.crm.email.domain", {"crm": {"email": {"domain": SECRET}}}),
        ("context.profile.born", {"profile": {"born": SECRET}}),
        ("context.crm.email", {"crm.email": SECRET}),
        ("context.phone", {"phone": 7}),
    ],
)
def test_a_repeat_by_what_another_contract_classifies_is_not_told(
    by: str, context: dict[str, Any]
) -> None:
    (values,) = told([CLASSIFYING, repeating(by)], handed(context))
    assert values == {by: None}


def test_a_repeat_by_another_name_of_it_is_not_told() -> None:
    renamed = [{"name": "reach", "from": ["email"]}, {"name": "all", "from": ["crm"]}]
    contract = repeating("context.reach", "context.all.phone", fields=renamed)
    context = {"email": SECRET, "crm": {"phone": SECRET}}
    (values,) = told([CLASSIFYING, contract], handed(context))
    assert values == {"context.reach": None, "context.all.phone": None}


def test_what_is_not_classified_is_told_as_before() -> None:
    contract = repeating("context.crm.tier", "context.code")
    (values,) = told([CLASSIFYING, contract], handed({"crm": {"tier": "gold"}, "code": 4}))
    assert values == {"context.crm.tier": '"gold"', "context.code": "4"}
    other = repeating("context.email", workflow="other") | {"id": "two"}
    (values,) = told(
        [CLASSIFYING, other], handed({"email": "a@example.com"}) | {"workflow": "other"}
    )
    assert values == {"context.email": '"a@example.com"'}, "another workflow's is another thing"


@pytest.mark.parametrize(
    ("earlier", "context"),
    [
        ({}, {"email": SECRET, "words": f"mail to {SECRET} soon"}),
        ({}, {"profile": {"a": [SECRET]}, "words": [{"x": f"<{SECRET}>"}]}),
        ({}, {"phone": 49301234, "words": "call 49301234 soon"}),
        ({"email": SECRET}, {"words": f"mail to {SECRET} soon"}),
        ({"crm": {"email": SECRET}}, {"words": f"mail to {SECRET} soon"}),
        ({"crm.email": SECRET, "crm": {"email": 7}}, {"words": {"a": f"mail to {SECRET} soon"}}),
    ],
    ids=["beside it", "nested", "a number", "only in words", "captured", "captured before"],
)
def test_a_repeat_by_words_that_hold_it_is_not_told(
    earlier: dict[str, Any], context: dict[str, Any]
) -> None:
    fields = [{"name": "email", "rebuild": False}, {"name": "phone", "required": False}]
    contract = repeating("context.words", fields=fields)
    before = [{"at": "09:00", "task": "t0", "context": earlier}] if earlier else []
    (values,) = told([CLASSIFYING, contract], *before, handed(context))
    assert values == {"context.words": None}
    (values,) = told([CLASSIFYING, contract], *before, handed({**context, "words": "nothing"}))
    assert values == {"context.words": '"nothing"'}


@pytest.mark.parametrize(
    "then",
    [
        {"retracted": ["email"]},
        {"retracted": ["*"]},
        {"context": {f"n{number}": number for number in range(300)}},
        {"context": {f"n{number}": number for number in range(300)}, "retracted": ["n1", "email"]},
    ],
    ids=["taken back", "all of it", "forgotten", "both"],
)
@pytest.mark.parametrize("under", ["email", "crm"])
def test_a_value_that_is_gone_is_still_not_told(under: str, then: dict[str, Any]) -> None:
    """Neither by a repeat, nor by the name of a member, on the map or in a violation."""
    if "retracted" in then:
        then = then | {
            "retracted": [under if name == "email" else name for name in then["retracted"]]
        }
    value = SECRET if under == "email" else {"email": SECRET, "x": 1}
    before = [
        {"at": "09:00", "task": "t0", "context": {under: value}},
        {"at": "09:01", "task": "t0", **then},
        {"at": "09:02", "task": "t0", "context": {f"re: {SECRET}": 1}},
    ]
    contract = repeating("context.words")
    (values,) = told([CLASSIFYING, contract], *before, handed({"words": f"mail to {SECRET} soon"}))
    assert values == {"context.words": None}
    (values,) = told([CLASSIFYING, contract], *before, handed({"words": "nothing"}))
    assert values == {"context.words": '"nothing"'}


@pytest.mark.parametrize("under", ["email", "crm"])
@pytest.mark.parametrize("how", ["late", "late for all", "beyond the limit", "too large"])
def test_a_value_that_is_never_kept_is_not_told_either(under: str, how: str) -> None:
    value: Any = SECRET if under == "email" else {"email": SECRET, "x": 1}
    first: dict[str, Any] = {}
    if how.startswith("late"):
        first = {"retracted": [under if how == "late" else "*"]}
    if how == "too large":
        long = "x" * 70_000
        value = [SECRET, long] if under == "email" else {"email": [SECRET, long]}
    context = {under: value}
    if how == "beyond the limit":
        context |= {f"n{number}": number for number in range(300)}
    before = [
        {"at": "09:01", "task": "t0", "context": {"x": 1}, **first},
        {"at": "09:00", "task": "t0", "context": context},
    ]
    contract = repeating("context.words")
    (values,) = told([CLASSIFYING, contract], *before, handed({"words": f"mail to {SECRET} soon"}))
    assert values == {"context.words": None}
    (values,) = told([CLASSIFYING, contract], *before, handed({"words": "nothing"}))
    assert values == {"context.words": '"nothing"'}


def test_what_one_of_them_does_not_tell_all_of_them_do_not() -> None:
    """Of the second task nobody knows that the words hold anything."""
    contract = repeating("context.words")
    words = {"words": f"mail to {SECRET} soon"}
    for inputs in ([{**words, "email": SECRET}, words], [words, {**words, "email": SECRET}]):
        (values,) = told(
            [CLASSIFYING, contract], *(handed(each, n) for n, each in enumerate(inputs))
        )
        assert values == {"context.words": None}


@pytest.mark.parametrize("status", ["active", "deprecated", "trial"])
def test_a_version_that_judges_classifies(status: str) -> None:
    (values,) = told(
        [CLASSIFYING | {"status": status}, repeating("context.email")], handed({"email": SECRET})
    )
    assert values == {"context.email": None}


def test_what_a_contract_that_cannot_be_used_classifies_stays_so() -> None:
    story = {"contracts": [repeating("context.crm.email")], "receivers": RECEIVERS}
    registry = Registry(story)
    unusable = json.loads(json.dumps(CONTRACT | CLASSIFYING))
    unusable["fields"][0]["schema"] = {"pattern": "(?=a)"}
    registry.topics[CONTRACTS]["one@1"] = json.dumps(unusable).encode()
    found = build_tables(registry.topics, None)
    assert list(found.contracts) == ["two"]
    repeat = found.contracts["two"].repeat
    assert repeat is not None
    assert repeat.tagged == {"context.crm.email"}
    assert found.classified("lead").covers("email")


def test_names_in_a_classified_object_are_not_told_as_a_place() -> None:
    outputs, _ = play(
        {
            "contracts": [{"fields": [{"name": "code"}]}, CLASSIFYING | {"from": {"stage": "x"}}],
            "inputs": [
                {"context": {"code": "E-4012"}},
                {"at": "10:00", "context": {"profile": {SECRET: "E-4012"}}, "handoff": "marketing"},
            ],
        },
        at_the_end,
    )
    (violation,) = [
        json.loads(each.value or b"") for each in outputs if each.topic == "handoff.violations"
    ]
    assert (violation["kind"], violation["found_in"]) == ("context_unstructured", "profile")
    assert SECRET not in json.dumps(violation)


PERSON = "Zoë Q. Secret"
WRITTEN: dict[str, Any] = {
    "a name": {PERSON: 1},
    "a name deep down": {"a": [{"b": {PERSON: {"x": "y"}}}]},
    "JSON": json.dumps({"email": PERSON}),
    "JSON in JSON": json.dumps(json.dumps({"q": PERSON})),
    "decomposed": unicodedata.normalize("NFD", PERSON),
    "upper case": PERSON.upper(),
    "no-break spaces": PERSON.replace(" ", "\u00a0"),
    "an address": "https://x.example/?q=" + quote_plus(PERSON),
    "HTML": f"<b>{PERSON.replace('ë', '&euml;')}</b>",
    "a number": {"p": 4.455667788e9},
    "a number in JSON": '{"p":4.455667788e9}',
    "a number as a name": {"4455667788": "x"},
}


@pytest.mark.parametrize("words", WRITTEN.values(), ids=WRITTEN.keys())
@pytest.mark.parametrize("kept", [True, False], ids=["sent", "captured before"])
def test_a_repeat_by_what_tells_it_in_another_form_is_not_told(words: Any, kept: bool) -> None:
    fields = [{"name": "email", "rebuild": False}, {"name": "phone", "required": False}]
    secrets = {"email": PERSON, "phone": 4455667788}
    inputs = (
        [handed({**secrets, "words": words})]
        if kept
        else [{"at": "09:00", "task": "t0", "context": secrets}, handed({"words": words})]
    )
    contract = repeating("context.words", fields=fields)
    (values,) = told([CLASSIFYING, contract], *inputs)
    assert values == {"context.words": None}


def test_a_place_that_is_told_in_part_hides_what_may_stand_there() -> None:
    """Of an earlier value only a hash is kept: the violation alone says where it stands."""
    earlier, now = "E-4012-QX", "E-7777-QX"
    fields = [{"name": "email", "rebuild": False}, {"name": "phone", "required": False}]
    for words in ({now: {"x": f"was {earlier}"}}, {"a": [f"was {earlier}"]}):
        inputs = [
            {"at": "09:00", "task": "t0", "context": {"email": earlier}},
            {"at": "09:10", "task": "t0", "context": {"email": now}},
            handed({"words": words}),
        ]
        by = "context.words" if "a" not in words else "context.words.a"
        (values,) = told([CLASSIFYING, repeating(by, fields=fields)], *inputs)
        assert values == {by: None}


# --- names that are values ------------------------------------------------------------------------


def published(*inputs: dict[str, Any], **contract: Any) -> tuple[list[Any], dict[str, Any]]:
    """The violations, and what insights is told by subject, of inputs to one contract."""
    fields = contract.pop("fields", [{"name": "email", "type": "string", "classification": "pii"}])
    outputs, driver = play(
        {
            "contracts": [{"fields": fields, **contract}],
            "receivers": RECEIVERS,
            "inputs": list(inputs),
        },
        each_time,
    )
    told = [each for each in outputs if each.topic in ("handoff.violations", "handoff.signals")]
    said = "".join((each.value or b"").decode() for each in told)
    parts = {key: msgspec.to_builtins(part) for key, part in driver.fed().items()}
    for text in (said, json.dumps(parts, ensure_ascii=False)):
        assert "kim@" not in unquote(text).lower()
    violations = [json.loads(e.value or b"") for e in told if e.topic == "handoff.violations"]
    return [each for each in violations if each["status"] == "opened"], parts


MAIL = "kim@b.example"
LOST = {"context": {"email": MAIL}}


@pytest.mark.parametrize(
    ("context", "found_in"),
    [
        ({"summary": {MAIL: f"mail of {MAIL}"}}, "summary"),
        ({"summary": [{"who": {MAIL.upper(): f"mail of {MAIL}"}}]}, "summary"),
        ({"summary": {quote(MAIL): {"x": f"mail of {MAIL}"}}}, "summary"),
        ({"summary": {"a" * 190 + MAIL: f"mail of {MAIL}"}}, "summary"),
        ({MAIL: f"mail of {MAIL}"}, None),
        ({MAIL: {"x": f"mail of {MAIL}"}}, None),
        ({f"re.{MAIL}": [f"mail of {MAIL}"]}, None),
        ({"summary": {"text": f"mail of {MAIL}"}}, "summary.text"),
    ],
)
def test_a_place_whose_name_is_the_value_is_told_without_it(
    context: dict[str, Any], found_in: str | None
) -> None:
    (violation,), _ = published(LOST, {"context": context, "handoff": "marketing", "at": "10:00"})
    assert (violation["kind"], violation["found_in"]) == ("context_unstructured", found_in)
    place = found_in or "a value whose name tells what is classified"
    assert f"only as words inside {place};" in violation["message"]


def test_a_place_of_another_field_s_value_is_told_without_the_name_too() -> None:
    fields = [
        {"name": "email", "required": False, "classification": "pii"},
        {"name": "code", "type": "string"},
    ]
    (violation,), _ = published(
        {"context": {"email": MAIL, "code": "E-4012"}},
        {"context": {"notes": {MAIL: "has E-4012"}}, "handoff": "marketing", "at": "10:00"},
        fields=fields,
    )
    assert (violation["field"], violation["found_in"]) == ("code", "notes")


def test_the_map_is_told_of_no_name_that_is_a_value() -> None:
    context = {"tone": "warm", MAIL: MAIL, f"re: {MAIL}": 1}
    _, parts = published(
        LOST,
        {"context": context, "handoff": "marketing", "at": "10:00"},
        {"context": context, "stage": "nurture", "at": "10:10"},
    )
    told = {key: part["fields"] for key, part in parts.items() if part.get("fields")}
    assert {key.partition("/")[0] for key in told} == {"move", "handoff"}
    assert all(fields["tone"] == {"string": 1} for fields in told.values())
    assert {name for fields in told.values() for name in fields} == {"tone", "email"}


def test_a_name_that_a_contract_gives_is_no_value() -> None:
    fields = [
        {"name": "channel", "from": ["channel", "crm.channel"], "classification": "pii"},
        {"name": "tone", "required": False},
    ]
    _, parts = published(
        {"context": {"channel": "tone", "crm": {"x": 1}}},
        {"context": {"channel": "tone", "tone": 1, "tones": 2}, "stage": "score", "at": "10:00"},
        fields=fields,
    )
    (told,) = [part["fields"] for part in parts.values() if part.get("fields")]
    assert set(told) == {"channel", "tone"}, "and another one may be"


def test_the_map_of_a_held_handoff_that_goes_elsewhere_is_told_of_none_either() -> None:
    _, parts = published(
        LOST,
        {"context": {MAIL: 1, "tone": "warm"}, "handoff": "nobody", "at": "10:00"},
        {"receivers": [{"id": "nobody"}], "at": "10:05"},
        {"context": {"x": 1}, "at": "10:10"},
    )
    assert any(part.get("fields") for part in parts.values())


def test_a_value_typed_again_under_a_name_that_is_one_is_not_told() -> None:
    inputs = [
        {"context": {"email": MAIL, MAIL: "called", "tone": "warm"}, "at": "09:00"},
        {"context": {"email": MAIL}, "handoff": "marketing", "at": "10:00"},
        {"context": {MAIL: "called", "tone": "warm"}, "stage": "nurture", "at": "10:10"},
    ]
    inputs[0]["stage"] = "converse"
    violations, _ = published(*inputs)
    typed = [each["field"] for each in violations if each["kind"] == "context_reentered"]
    assert typed == ["tone"]


# --- insights -------------------------------------------------------------------------------------


def test_insights_masks_what_it_was_told_before_it_was_classified() -> None:
    """A value that an older version told, or one that is classified since, stays in no record and
    in no state."""
    before = tables({"contracts": [repeating("context.email")], "receivers": RECEIVERS})
    after = tables({"contracts": [CLASSIFYING, repeating("context.email")], "receivers": RECEIVERS})
    _, driver = play(
        {
            "contracts": [repeating("context.email")],
            "receivers": RECEIVERS,
            "inputs": [handed({"email": SECRET}, n) for n in range(3)],
        },
        at_the_end,
    )
    (record,) = [each for each in driver.published if (each.key or b"").startswith(b"repeat/")]
    assert SECRET.encode() in (record.value or b""), "nobody classified it then"

    def fold(state: Any, known: Any) -> tuple[Any, list[Any]]:
        arrival = _arrived(record)
        state, effects = INSIGHTS.advance(state, arrival, known, DAY_ONE)
        return state, [each.record for each in effects if isinstance(each, Publish)]

    state, published = fold(None, after)
    assert published
    assert SECRET not in repr(published) + repr(state)
    assert published[0].values == {"context.email": None}
    assert "context.email masked" in published[0].message

    state, published = fold(None, before)
    assert SECRET in repr(published)
    for _ in range(3):
        state, published = fold(state, after)
    assert SECRET not in repr(published) + repr(state)


def _arrived(record: Output) -> InputEvent:
    return INSIGHTS.parse(
        Record(record.topic, 0, 0, record.key, record.value, DAY_ONE, record.headers), DAY_ONE
    )


# --- wherever a value goes ------------------------------------------------------------------------


def _places(value: Any, path: tuple[str, ...] = ()) -> list[str]:
    """Where in a context the secret stands."""
    if isinstance(value, dict):
        return [at for name, each in value.items() for at in _places(each, (*path, name))]
    return [".".join(path)] if value == SECRET else []


MEMBERS = st.sampled_from(["a", "b", "c"])
NESTED = st.recursive(
    st.sampled_from(["plain", "other", 7]),
    lambda inner: st.dictionaries(MEMBERS, inner, min_size=1, max_size=3),
    max_leaves=6,
)
DECLARED = st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from(["a", "b", "c", "d", "e"])},
        optional={
            "from": st.lists(NAMES, min_size=1, max_size=2, unique=True),
            "classification": st.just("pii"),
            "required": st.booleans(),
        },
    ),
    max_size=4,
    unique_by=lambda field: field["name"],
)


def _seed(value: Any, paths: list[tuple[str, ...]]) -> Any:
    """A context with the secret at each of the paths that it has."""
    if () in paths:
        return SECRET
    if not isinstance(value, dict):
        return value
    return {
        name: _seed(each, [path[1:] for path in paths if path[:1] == (name,)])
        for name, each in value.items()
    }


@examples
@given(
    st.lists(DECLARED, min_size=1, max_size=3),
    st.lists(st.dictionaries(st.sampled_from("abcde"), NESTED, max_size=4), max_size=5),
)
def test_no_package_has_it_under_a_name_that_is_not_covered(
    fields: list[list[dict[str, Any]]], contexts: list[dict[str, Any]]
) -> None:
    contracts = [
        {"id": f"c{n}", "from": {"stage": f"s{n}"}, "fields": each} for n, each in enumerate(fields)
    ]
    paths = [
        tuple(path.split("."))
        for each in fields
        for field in each
        if "classification" in field
        for path in (field["name"], *field.get("from", []))
    ]
    inputs: list[dict[str, Any]] = []
    for n, context in enumerate(contexts):
        number = n % len(contracts)
        inputs.append(
            {
                "at": f"09:{n:02}",
                "stage": f"s{number}",
                "context": _seed(context, paths),
                "handoff": {"to": "marketing", "contract": f"c{number}"},
            }
        )
    story = {"contracts": contracts, "inputs": inputs}
    classified = INTEGRITY.build_tables(Registry(story).topics, None).classified("lead")
    outputs, _ = play(story, at_the_end)
    for output in outputs:
        if output.topic == "handoff.packages" and output.value is not None:
            package = msgspec.json.decode(output.value, type=Package)
            context = {name: json.loads(bytes(raw)) for name, raw in package.context.items()}
            for place in _places(context):
                assert classified.covers(place), (place, context)
        elif output.topic != "handoff.held":
            assert SECRET.encode() not in (output.value or b"")
