"""The language of sources: what each verb and member makes of a record."""

import json
from collections import Counter
from typing import Any

import msgspec
import pytest

from processors.intake import following, values
from processors.intake.mapping import MAX_OUTPUTS, MAX_RECORD_BYTES, explain, map_record
from processors.intake.processor import intake
from processors.intake.registry import build_tables
from processors.intake.times import time_ms
from processors.intake.values import slug
from processors.processor import Relayed
from schemas import sources
from schemas.alerts import AlertAction
from schemas.flow import Refused
from schemas.paths import Where
from schemas.records import Ack, ToolOutput
from tests.intake import (
    NOW,
    SHARED,
    compiled,
    context,
    entry,
    event,
    made,
    mapped,
    record,
    refused,
    source,
)

# The expression of a context's member, members of the event, and the value that comes out; `...`
# is a member that is left out.
EXPRESSIONS: list[tuple[Any, dict[str, Any], Any]] = [
    ("value.a", {"a": "x"}, "x"),
    ("value.a", {"a": None}, ...),
    ("value.a", {}, ...),
    ("value.a.b[1].c", {"a": {"b": [0, {"c": [1]}]}}, [1]),
    ("value.a.b.-1", {"a": {"b": [1, 2]}}, 2),
    ("value.fields[id=42].value", {"fields": [{"id": 41}, {"id": 42, "value": "v"}]}, "v"),
    ('value["a.b"].c', {"a.b": {"c": 1}}, 1),
    ("value.a.b", {"a": "text"}, ...),
    ("key.id", {}, 9),
    ("headers.h", {}, "one"),
    ("record.offset", {}, 7),
    ("record.topic", {}, "desk.events"),
    (3, {}, 3),
    (True, {}, True),
    ({"value": {"a": [1]}}, {}, {"a": [1]}),
    ({"value": "value.a"}, {"a": "x"}, "value.a"),
    ("{value.a}-{key.id}", {"a": "x"}, "x-9"),
    ("{{{value.a}}}", {"a": "x"}, "{x}"),
    ("{value.a}", {"a": None}, ...),
    ("{value.a}", {"a": 1.5}, "1.5"),
    ("{value.a}", {"a": True}, "true"),
    ({"text": "no. {value.a}"}, {"a": 3}, "no. 3"),
    ({"from": "value.a", "slug": True}, {"a": "Müller & Söhne (2)"}, "muller-sohne-2"),
    ({"from": "value.a", "slug": True}, {"a": "Søren Łuk / Æro"}, "soren-luk-aero"),
    ({"from": "value.a", "slug": True}, {"a": "Πελάτες ΕΛΛΆΔΑΣ"}, "πελατες-ελλαδας"),
    ({"from": "value.a", "slug": True}, {"a": "Große STRASSE"}, "grosse-strasse"),
    ({"from": "value.a", "slug": True}, {"a": "Приёмный отдел"}, "приёмный-отдел"),
    ({"from": "value.a", "slug": True}, {"a": "Прие\u0308мныи\u0306 отдел"}, "приёмный-отдел"),
    ({"from": "value.a", "slug": True}, {"a": "지원팀 2"}, "지원팀-2"),
    ({"from": "value.a", "slug": True}, {"a": "ガス担当"}, "ガス担当"),
    ({"from": "value.a", "slug": True}, {"a": "ग्राहक सेवा"}, "ग्राहक-सेवा"),
    ({"from": "value.a", "slug": True}, {"a": "ฝ่ายสนับสนุน"}, "ฝ่ายสนับสนุน"),
    ({"from": "value.a", "slug": True}, {"a": "--"}, ...),
    ({"from": "value.a", "slug": True}, {"a": ["A b", "C"]}, ["a-b", "c"]),
    ({"from": "value.a", "split": ","}, {"a": "x, y,,z"}, ["x", "y", "z"]),
    ({"from": "value.a", "split": ",", "text": "ZD-{it}"}, {"a": "1,2"}, ["ZD-1", "ZD-2"]),
    ({"from": "value.a", "text": "{it.b}!"}, {"a": {"b": "x"}}, "x!"),
    ({"from": "value.a", "json": True}, {"a": '{"b": [1.50]}'}, {"b": [1.5]}),
    ({"from": "value.a", "json": True}, {"a": {"b": 1}}, {"b": 1}),
    ({"first": ["value.a", "value.b", {"value": "c"}]}, {"b": "x"}, "x"),
    ({"first": ["value.a", "value.b", {"value": "c"}]}, {"a": "", "b": None}, "c"),
    ({"lookup": "t", "by": "value.a", "else": {"value": "none"}}, {"a": 5}, "five"),
    ({"lookup": "t", "by": "value.a", "else": {"value": "none"}}, {"a": "6"}, "none"),
    ({"lookup": "t", "by": "value.a", "else": {"value": "none"}}, {}, "none"),
    ({"lookup": "t", "by": {"from": "value.a", "slug": True}}, {"a": "F I"}, "slugged"),
]


@pytest.mark.parametrize(("expr", "members", "expected"), EXPRESSIONS, ids=lambda x: str(x)[:60])
def test_an_expression_makes(expr: Any, members: dict[str, Any], expected: Any) -> None:
    given = compiled(
        emit=[{"stage": {"value": "s"}, "context": {"found": expr}}],
        lookups={"t": {"5": "five", "f-i": "slugged"}},
    )
    key, headers = {"id": 9}, [("h", b"one")]
    found = context(given, event(**members), key=key, headers=headers)
    assert found == ({} if expected is ... else {"found": expected})


# What is refused: members of an entry, members of the event, the code, and what the sentence says.
REFUSALS: list[tuple[dict[str, Any], dict[str, Any], str, str]] = [
    ({"id": "value.a"}, {"a": 1.5}, "member_malformed", "emit[0].id (value.a): is a number with"),
    ({"id": "value.a"}, {"a": 1.0}, "member_malformed", "fractions are no ids"),
    ({"id": "value.a"}, {"a": True}, "member_malformed", "is true or false"),
    ({"id": "value.a"}, {"a": ["x"]}, "member_malformed", "is a list"),
    ({"id": "value.a"}, {}, "member_missing", "emit[0].id (value.a): leads to nothing"),
    ({"id": "E-{value.a}"}, {"a": 1.5}, "member_malformed", "value.a is a number with"),
    ({"id": "value.a"}, {"a": "x" * 513}, "member_too_long", "has 513 bytes"),
    ({"stage": "value.a"}, {}, "member_missing", "emit[0].stage (value.a)"),
    ({"handoff": {"to": "value.a"}}, {}, "member_missing", "emit[0].handoff.to (value.a)"),
    ({"occurred_at": "value.a"}, {}, "member_missing", "emit[0].occurred_at (value.a)"),
    ({"occurred_at": "value.a"}, {"a": "2026-03-02 10:00:00"}, "wrong_time", "without an offset"),
    ({"when": 'value.a == "x"'}, {}, "condition_failed", "emit[0].when: has no result"),
    ({"when": 'value.a == "x"'}, {}, "condition_failed", "'a'; bind what may be absent with let"),
    ({"when": "value.a"}, {"a": 1}, "condition_failed", "neither true nor false"),
    ({"accepts": "value.a"}, {"a": 1}, "condition_failed", "emit[0].accepts: "),
    ({"context": {"*": "value.a"}}, {"a": [1]}, "member_malformed", "context.*: is a list"),
    ({"context": {"b": {"from": "value.a", "json": True}}}, {"a": "{"}, "not_json", "context.b: "),
    ({"each": "value.a"}, {"a": {"b": 1}}, "member_malformed", "emit[0].each (value.a): is an obj"),
    (
        {"each": "value.a", "stage": "it.s"},
        {"a": [{"s": "x"}, {}]},
        "member_missing",
        "(element 2)",
    ),
    ({"each": "value.a", "id": "it"}, {"a": ["x", "x"]}, "id_repeated", "emit[0]: two of its"),
]


def test_what_is_wrong_with_a_name_is_told_in_a_template_too() -> None:
    let = {"team": {"lookup": "t", "by": "value.a"}, "held": {"from": "value.b", "json": True}}
    given = compiled(
        let=let,
        lookups={"t": {"a": "desk"}},
        emit=[{"stage": {"value": "s"}, "context": {"team": "of {team}", "held": "{held.c}!"}}],
    )
    code, message = refused(given, event(a="b", b="{}"))
    assert code == "lookup_missed"
    assert "context.team: team: the look-up t lacks the key" in message
    assert refused(given, event(a="a", b="{"))[0] == "not_json"


@pytest.mark.parametrize("more", ["{%s}{%s}", {"from": "%s", "text": "{it}{it}"}], ids=str)
def test_a_text_is_no_longer_than_an_output(more: Any) -> None:
    let: dict[str, Any] = {"x0": "value.id"}
    for i in range(1, 21):  # it doubles as often
        before = f"x{i - 1}"
        let[f"x{i}"] = more % (before, before) if type(more) is str else {**more, "from": before}
    found = refused(compiled(let=let, emit=[{"stage": "x20"}]), event(id="T" * 100))
    assert found[0] == "too_large"
    assert "has 1,638,400 characters, the limit is 1,048,576" in found[1]


def test_texts_of_a_list_are_no_longer_than_one_together() -> None:
    given = entry(context={"x": {"from": "value.l", "text": "x" * 400 + "{it}"}})
    texts = context(given, event(l=["a"] * 2_500))["x"]
    assert len(texts) == 2_500
    found = refused(given, event(l=["a"] * 100_000))
    assert found[0] == "too_large"
    assert "context.x: the texts have more than 1,048,576 characters together" in found[1]


@pytest.mark.parametrize(("members", "given", "code", "words"), REFUSALS)
def test_a_record_is_refused(
    members: dict[str, Any], given: dict[str, Any], code: str, words: str
) -> None:
    found = refused(entry(**members), event(**given))
    assert found[0] == code
    assert found[1].startswith("source desk: ")
    assert words in found[1]


def test_what_is_refused_names_no_value() -> None:
    secret = "555-0199"
    for members in ({"id": "value.a"}, {"occurred_at": "value.a"}, {"when": "value.a > 3"}):
        for value in ([secret], secret + ".5x", {"b": secret}):
            found = mapped(entry(**members), event(a=value))
            assert found.refused is None or secret not in found.refused.message


def test_all_of_a_record_or_nothing() -> None:
    given = compiled(emit=[{"stage": {"value": "a"}}, {"stage": "value.gone"}])
    assert refused(given, event())[0] == "member_missing"


def test_an_output_has_its_members() -> None:
    given = entry(
        team="value.team",
        id="value.event",
        accepts=False,
        run="value.run",
        context={"*": "value.all", "without": ["b"], "a": "value.id"},
        retracted="*",
        handoff={
            "to": "value.to",
            "note": "{value.n} left",
            "part": "value.p",
            "contract": "value.c",
        },
    )
    value = event(
        team="x", event=5, run="r", all={"a": 0, "b": 1, "c": None, "d": 2}, to="y", n=1.5
    )
    (output,) = made(given, value)
    assert output == {
        "id": "5",
        "task_id": "T-1",
        "workflow": "ticket",
        "tool": "desk",
        "occurred_at": NOW,
        "stage": "intake",
        "team": "x",
        "run": "r",
        "accepts": False,
        "context": {"a": "T-1", "d": 2},
        "retracted": ["*"],
        "handoff": {"to": "y", "note": "1.5 left", "carries": "record"},
    }


def test_a_handoff_says_what_it_carries() -> None:
    for carries, told in (("record", "record"), ("history", "history"), ("context", None)):
        (output,) = made(entry(handoff={"to": {"value": "y"}, "carries": carries}), event())
        assert output["handoff"].get("carries") == told
    several = [{"to": {"value": "y"}}, {"to": {"value": "z"}}]
    (output,) = made(entry(handoff=several), event())
    assert [each["to"] for each in output["handoff"]] == ["y", "z"]


def test_an_output_is_one_that_integrity_takes() -> None:
    (output,) = mapped(entry(context={"a": "value.a"}), event(a={"b": 1})).records
    assert output.topic == "handoff.tool-outputs"
    assert msgspec.json.decode(output.value or b"", type=ToolOutput).stage == "intake"


def test_where_the_task_is() -> None:
    (output,) = made(entry(stage={"current": True}), event())
    assert "stage" not in output


def test_an_ack() -> None:
    ack = {"status": "accepted", "by": "value.who", "receiver": "value.to", "reason": "value.why"}
    given = compiled(emit=[{"ack": ack}])
    (output,) = mapped(given, event(who="Ana", to="x")).records
    assert output.topic == "handoff.acks"
    found = msgspec.json.decode(output.value or b"", type=Ack)
    assert (found.status, found.by, found.receiver, found.reason) == ("accepted", "Ana", "x", None)
    assert found.handoff_id is None
    assert found.id == "desk:desk.events:0:7"
    assert refused(given, event())[0] == "member_missing"
    states = compiled(
        emit=[{"ack": {"status": {"lookup": "s", "by": "value.s"}, "by": "value.who"}}],
        lookups={"s": {"done": "completed", "no": "rejected", "odd": "seen"}},
    )
    assert made(states, event(s="done", who="Ana"))[0]["status"] == "completed"
    assert "none of accepted" in refused(states, event(s="odd", who="Ana"))[1]
    assert "needs a reason" in refused(states, event(s="no", who="Ana"))[1]
    code, message = refused(states, event(s="other", who="Ana"))
    assert code == "lookup_missed"
    assert "other" not in message


def test_an_ack_needs_no_stage_of_the_defaults() -> None:
    given = compiled(
        defaults={**SHARED, "stage": "value.stage", "team": "value.stage.of"},
        emit=[{"ack": {"status": "accepted", "by": {"value": "Ana"}}}],
    )
    assert "stage" not in made(given, event(stage=[1]))[0]


def test_an_alert_action() -> None:
    """It needs no task, and no workflow of the source waits for it."""
    alert = {"key": "value.dedup", "action": "ack", "by": "value.who"}
    given = compiled(defaults={"occurred_at": "value.at"}, emit=[{"alert": alert}])
    assert given.workflows == frozenset()
    (output,) = mapped(given, event(dedup="a-1", who="Ana")).records
    assert (output.topic, output.key) == ("handoff.alert-actions", b"a-1")
    found = msgspec.json.decode(output.value or b"", type=AlertAction)
    assert (found.key, found.action, found.by) == ("a-1", "ack", "Ana")
    assert found.id == "desk:desk.events:0:7"
    assert refused(given, event(who="Ana"))[0] == "member_missing"
    assert refused(given, event(dedup="x" * 513, who="Ana"))[0] == "member_too_long"
    words = {"lookup": "s", "by": "value.s"}
    states = compiled(
        emit=[{"alert": {**alert, "action": words}}, {"stage": {"value": "intake"}}],
        lookups={"s": {"done": "resolve", "odd": "seen"}},
    )
    assert states.workflows == frozenset({"ticket"})
    action, told = made(states, event(s="done", dedup="a-1", who="Ana"))
    assert (action["action"], told["stage"]) == ("resolve", "intake")
    assert "none of ack, resolve, silence" in refused(states, event(s="odd", dedup="a", who="b"))[1]


def test_what_nothing_comes_of_is_told() -> None:
    assert mapped(compiled(when='value.k == "a"'), event(k="b")).skipped.code == "when_false"  # type: ignore[union-attr]
    assert mapped(entry(when='value.k == "a"'), event(k="b")).skipped.code == "no_entry"  # type: ignore[union-attr]
    assert mapped(entry(each="value.k"), event(k=[])).skipped.code == "no_element"  # type: ignore[union-attr]
    assert mapped(entry(), None).skipped.code == "tombstone"  # type: ignore[union-attr]
    given = compiled(
        emit=[{"stage": {"lookup": "s", "by": "value.k", "else": "skip"}}],
        lookups={"s": {"a": "b"}},
    )
    found = mapped(given, event(k="z"))
    assert found.skipped is not None
    assert found.skipped.code == "lookup_skipped"
    assert found.lookup_misses == [("s", "z")]


def test_a_key_that_a_table_lacks_is_no_label() -> None:
    """Who reads metrics may not read the records: a person's address is the usual key."""
    given = source(
        emit=[{"stage": {"lookup": "s", "by": "value.k", "else": {"value": "a"}}}],
        lookups={"s": {"a": "b"}},
    )
    tables = build_tables({sources.TOPIC: {"desk": sources.to_json(given)}}, None)
    done = Relayed([], counted=Counter())
    intake(1 << 20, 1).step(done, record(event(k="kim@example.com")), tables, NOW, None)
    assert done.counted == {("desk", "mapped", ""): 1, ("desk", "lookup_misses", "s"): 1}


def test_slugs_of_documents_are_not_remembered() -> None:
    slug("A name")
    before = values._slug_of_short.cache_info().currsize
    assert slug("A. " * 500) == "-".join("a" * 500)
    assert values._slug_of_short.cache_info().currsize == before


def test_numbers_keep_their_spelling() -> None:
    raw = (
        b'{"id": "T", "at": 1772445600, "a": 1.10, "b": 123456789012345678901234567890, "c": 1e400}'
    )
    (output,) = mapped(entry(context={"*": "value"}), raw).records
    text = (output.value or b"").decode()
    assert '"a":1.10' in text
    assert '"b":123456789012345678901234567890' in text
    assert '"c":1E+400' in text


def test_what_no_element_changes_is_made_once_a_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand elements and a list of 50,000 to look through took a quarter of an hour."""
    fits, looked = following._fits, []

    def noted(item: Any, where: Where) -> bool:
        looked.append(item)
        return fits(item, where)

    monkeypatch.setattr(following, "_fits", noted)
    each: dict[str, Any] = {"each": "value.items", "id": "it.n"}
    team = "value.fields[id=team].value"
    given = entry(**each, team=team, context={"x": "value.fields[id=x].value", "n": "it.n"})
    skips = {"lookup": "t", "by": team, "else": "skip"}
    leaves_out = compiled(
        emit=[{"stage": {"value": "a"}, **each, "context": {"x": skips}}], lookups={"t": {"a": "b"}}
    )
    fields = [{"id": str(n)} for n in range(50)]
    value = event(items=[{"n": n} for n in range(100)], fields=[*fields, {"id": "team"}])
    assert len(made(given, value)) == 100
    assert len(looked) == 51 + 51
    looked.clear()
    assert mapped(leaves_out, value).skipped is not None
    assert len(looked) == 51
    _, steps = explain(given, record(value), NOW)
    assert sum(step.path == "value.fields[id=x].value" for step in steps) == 100


def test_all_outputs_of_a_record_have_a_limit_together() -> None:
    given = entry(each="value.items", id="it.n", context={"*": "value"})
    items = [{"n": n} for n in range(1_000)]
    assert len(made(given, event(items=items))) == 1_000
    code, sentence = refused(given, event(items=items, text="x" * 100_000))
    assert code == "output_too_large"
    assert "emit[0]: more than 16,777,216 bytes would follow from the record" in sentence


def test_each_element_and_entry_has_its_own_id() -> None:
    given = compiled(
        defaults={**SHARED, "id": "value.e"},
        emit=[
            {"stage": {"value": "a"}, "when": "value.first"},
            {"stage": {"value": "b"}},
            {"stage": {"value": "c"}, "each": "value.items", "when": "it.on"},
            {"stage": {"value": "d"}, "each": "value.items", "id": "it.id", "when": "it.on"},
        ],
    )
    items = [{"on": True, "id": "x"}, {"on": False, "id": "y"}, {"on": True, "id": "z"}]
    ids = [each["id"] for each in made(given, event(e="E", first=True, items=items))]
    assert ids == ["E", "E#2", "E#3.1", "E#3.3", "x#4", "z#4"]
    # What another entry makes, or does not, changes no id.
    assert [each["id"] for each in made(given, event(e="E", first=False, items=items))] == ids[1:]
    items[0]["on"] = False
    fewer = [each["id"] for each in made(given, event(e="E", first=True, items=items))]
    assert fewer == ["E", "E#2", "E#3.3", "z#4"]


def test_a_record_leads_to_so_many_outputs_and_no_more() -> None:
    given = entry(each="value.a")
    assert len(made(given, event(a=[1] * MAX_OUTPUTS))) == MAX_OUTPUTS
    code, message = refused(given, event(a=[1] * (MAX_OUTPUTS + 1)))
    assert code == "too_many_outputs"
    assert "1,001 elements, the limit is 1,000" in message
    twice = compiled(emit=[{"stage": {"value": "s"}, "each": "value.a"}] * 2)
    assert refused(twice, event(a=[1] * 600))[0] == "too_many_outputs"


def test_neither_a_record_nor_what_follows_from_it_has_more_bytes_than_the_limit() -> None:
    given = entry(context={"*": "value"})
    room = MAX_RECORD_BYTES - len(record(event(a="")).value or b"")
    code, message = refused(given, event(a="x" * (room + 1)))
    assert (code, message) == (
        "too_large",
        "source desk: the value has 1,048,577 bytes, the limit is 1,048,576",
    )
    code, message = refused(given, event(a="x" * room))
    assert code == "output_too_large"
    assert "emit[0]: a record for handoff.tool-outputs would have 1,048,7" in message
    left_out = entry(context={"*": "value", "without": ["a"]})
    assert len(made(left_out, event(a="x" * room))) == 1


def test_a_trace_goes_on() -> None:
    header = ("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    (output,) = mapped(entry(), event(), headers=[header, ("x", b"y")]).records
    assert output.headers == [header]


def test_an_explanation_marks_where_a_path_ended() -> None:
    given = entry(context={"a": "value.x.y.z"}, when="value.on")
    told, steps = explain(given, record(event(on=True, x={"y": {}})), NOW)
    assert told == map_record(given, record(event(on=True, x={"y": {}})), NOW)
    (step,) = [step for step in steps if step.member == "emit[0].context.a"]
    assert (step.path, step.ended, step.found) == ("value.x.y.z", "value.x.y", "nothing")
    assert [step.found for step in steps if step.member == "emit[0].when"] == ["true"]


TIMES: list[tuple[Any, int | str]] = [
    ("2026-03-02T10:00:00Z", NOW),
    ("2026-03-02T11:00:00.5+01:00", NOW + 500),
    ("2026-03-02T10:00:00.000+0000", NOW),
    ("2026-03-02 12:00:00+02", NOW),
    (1772445600, NOW),
    (1772445600.25, NOW + 250),
    (1772445600000, NOW),
    (1772445600000000, NOW),
    (1772445600000000123, NOW),
    ("1772445600", NOW),
    ("1772445600.500", NOW + 500),
    (" 1772445600000 ", NOW),
    ("2026-03-02T10:00Z", NOW),
    ("20260302T100000Z", NOW),
    ("2026-03-02t10:00:00.000000000z", NOW),
    ("2026-03-02 10:00:00 UTC", NOW),
    ("2026-03-02 11:00:00 +0100", NOW),
    ("2026-03-02T11:00:00.5+01:00[Europe/Berlin]", NOW + 500),
    ("2026-03-02T10:00:00Z[UTC]", NOW),
    ("Mon, 02 Mar 2026 10:00:00 GMT", NOW),
    ("Mon, 2 Mar 2026 12:00:00 +0200 (EET)", NOW),
    ("2 Mar 2026 10:00 -0000", NOW),
    (20260302100000, "in digits"),
    ("20260302100000", "in digits"),
    ("Mon, 02 Mar 2026 10:00:00 EST", "no time"),
    ("2026-03-02T10:00:00[Europe/Berlin]", "no time"),
    ("20260302T100000", "without an offset"),
    ("2026-03-02 10:00", "without an offset"),
    ("2026-03-02T10:00:00", "without an offset"),
    ("2026-03-02", "without an offset"),
    ("yesterday", "no time"),
    ("", "no time"),
    (0, "no time since 1990"),
    (12345, "no time since 1990"),
    (-5, "no time since 1990"),
    (10**25, "no time since 1990"),
    (True, "is true or false"),
    ([1], "is a list"),
    ({}, "is an object"),
    ("0001-01-01T00:00:00+05:00", "outside of the years"),
]


@pytest.mark.parametrize(("value", "expected"), TIMES)
def test_a_time_is_found_out(value: Any, expected: int | str) -> None:
    if isinstance(expected, int):
        assert time_ms(value) == expected
    else:
        with pytest.raises(Refused, match=expected) as caught:
            time_ms(value)
        assert caught.value.code == "wrong_time"


def test_a_unit_may_be_said() -> None:
    given = entry(occurred_at={"from": "value.t", "unit": "s"})
    assert made(given, event(t=5))[0]["occurred_at"] == 5_000
    given = entry(occurred_at="{value.t}Z")
    assert made(given, event(t="2026-03-02T10:00:00"))[0]["occurred_at"] == NOW


def test_workflows_are_known_beforehand_where_no_record_decides() -> None:
    assert compiled().workflows == frozenset({"ticket"})
    looked_up = {"lookup": "w", "by": "value.a", "else": {"value": "z"}}
    given = compiled(
        defaults={**SHARED, "workflow": looked_up}, lookups={"w": {"a": "x", "b": "y"}}
    )
    assert given.workflows == frozenset({"x", "y", "z"})
    assert compiled(defaults={**SHARED, "workflow": "value.w"}).workflows is None


def test_a_workflow_that_is_no_name_costs_its_records_and_not_the_source() -> None:
    lookup = {"lookup": "t", "by": "value.w", "else": {"value": {"a": 1}}}
    given = compiled(
        defaults={**SHARED, "workflow": lookup}, lookups={"t": {"a": "x", "b": True, "c": 1.5}}
    )
    assert given.workflows == frozenset({"x"})
    assert len(map_record(given, record(event(w="a")), NOW).records) == 1
    for word in ("b", "c", "d"):
        refused = map_record(given, record(event(w=word)), NOW).refused
        assert refused is not None
        assert refused.code == "member_malformed"


def test_keys_are_json_or_text() -> None:
    given = entry(context={"k": "key"})
    assert context(given, event(), key=b"T-9") == {"k": "T-9"}
    assert context(given, event(), key=b'"T-9"') == {"k": "T-9"}
    assert context(given, event(), key=b"12") == {"k": 12}
    assert context(
        given, event(), key=json.dumps({"schema": {}, "payload": {"id": 1}}).encode()
    ) == {"k": {"id": 1}}


# --- other tasks -------------------------------------------------------------------------------

LISTED = {"from": "value.tickets", "split": ",", "text": "ZD-{it}"}


@pytest.mark.parametrize("member", ["continues", "continued_by", "unlinked"])
@pytest.mark.parametrize(
    ("link", "tickets", "expected"),
    [
        ({"tasks": "value.tickets"}, "ZD-1", [{"task_id": "ZD-1"}]),
        ({"tasks": "value.tickets"}, 7, [{"task_id": "7"}]),
        ({"tasks": "value.tickets"}, ["a", "b"], [{"task_id": "a"}, {"task_id": "b"}]),
        ({"tasks": "value.tickets"}, None, None),
        ({"tasks": LISTED}, "1, 2", [{"task_id": "ZD-1"}, {"task_id": "ZD-2"}]),
        (
            {"tasks": "value.tickets", "workflow": "support"},
            "ZD-1",
            [{"task_id": "ZD-1", "workflow": "support"}],
        ),
    ],
)
def test_other_tasks_are_named(
    member: str, link: dict[str, Any], tickets: Any, expected: list[dict[str, str]] | None
) -> None:
    (output,) = made(entry(**{member: link}), event(tickets=tickets))
    assert output.get(member) == expected
    msgspec.json.decode(json.dumps(output), type=ToolOutput)


@pytest.mark.parametrize(
    ("tickets", "code", "says"),
    [
        (1.5, "member_malformed", "emit[0].continues.tasks"),
        (["a", {"b": 1}], "member_malformed", "emit[0].continues.tasks"),
        (["a"] * 17, "member_malformed", "leads to 17 tasks, and 16 may be named"),
        (["a" * 600], "member_too_long", "has 600 bytes"),
    ],
)
def test_what_is_no_task_is_refused(tickets: Any, code: str, says: str) -> None:
    found, message = refused(entry(continues={"tasks": "value.tickets"}), event(tickets=tickets))
    assert found == code
    assert says in message


@pytest.mark.parametrize(
    ("starts", "begin"),
    [
        (["earliest"], 0),
        (["latest"], None),
        (["2026-03-01T09:00:00+01:00"], 1_772_352_000_000),
        (["latest", "2026-03-01T08:00:00Z"], 1_772_352_000_000),
        (["2026-03-01T08:00:00Z", "earliest", "latest"], 0),
    ],
)
def test_the_source_that_wants_the_most_of_a_topic_decides_its_start(
    starts: list[str], begin: int | None
) -> None:
    found = [source(id=f"s{number}", start=start) for number, start in enumerate(starts)]
    lies = {each.id: sources.to_json(each) for each in found}
    tables = build_tables({sources.TOPIC: lies}, None)
    assert tables.topics["desk.events"].begin == begin


def test_white_space_is_no_id() -> None:
    code, message = refused(entry(task="value.x"), event(x=" \t"))
    assert code == "member_missing"
    assert "value.x" in message
