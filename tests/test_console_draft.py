"""`handoff sources draft`: what it guesses of recorded records."""

from pathlib import Path
from typing import Any

import pytest

from tests.intake import EXAMPLES
from tests.test_console_intake import lines, run


@pytest.mark.parametrize(
    ("file", "guesses"),
    [
        (
            "pagerduty/webhooks.jsonl",
            [
                "decode: json",
                "task: value.event.data.id",
                "id: value.event.id",
                "occurred_at: value.event.occurred_at",
                "value.event.event_type seems to tell the kind of event",
            ],
        ),
        (
            "debezium-tickets/changes.jsonl",
            [
                "decode: debezium",
                "task: key.id",
                "id: value.source.lsn",
                "occurred_at: value.source.ts_ms",
                "stage: value.after.owner",
            ],
        ),
        (
            "agents/agents-sdk.jsonl",
            ["decode: agents-sdk\noverride:", "workflow: {value: UNKNOWN}"],
        ),
        ("agents/otel.json", ["decode: otel-genai  # does", "{otel-genai: {task: [ticket.id]}}"]),
    ],
)
def test_a_draft_lints_but_for_what_a_person_fills_in(
    file: str, guesses: list[str], tmp_path: Path
) -> None:
    drafted = run("draft", "--topic", "some.topic", str(EXAMPLES / file))
    assert drafted.exit_code == 0
    for guess in guesses:
        assert guess in drafted.output
    path = tmp_path / "draft.yaml"
    path.write_text(drafted.output, encoding="utf-8")
    result = run("lint", str(path))
    assert result.exit_code == 0
    problems = result.output.splitlines()[:-1]
    assert problems
    assert all("is not filled in" in line for line in problems)
    assert run("test", str(path), str(EXAMPLES / file)).exit_code == 0


def test_a_draft_of_conversations_and_of_what_only_has_messages() -> None:
    chat = {"messages": [{"role": "user", "content": "Where is my order?"}], "session_id": "S1"}
    assert "decode: openai-chat" in run("draft", "-", lines=lines(chat)).output
    ticket = {"id": "T1", "messages": [{"from": "Ana", "text": "Where is my order?"}]}
    assert "decode: json" in run("draft", "-", lines=lines(ticket)).output


def test_a_draft_of_odd_records() -> None:
    for given in (
        lines({"a b": {"c.d": 1}, "it": "x"}),
        lines([1, 2]),
        lines("text"),
        lines({"specversion": "1.0", "id": "1", "source": "s", "type": "t", "data": {"n": 1}}),
    ):
        assert run("draft", "-", lines=given).exit_code == 0
    for given, why in (
        ("", "-: holds no record; give a JSON value a line"),
        ("no JSON\n", "-: no record of it can be read: the value is no JSON"),
    ):
        result = run("draft", "-", lines=given)
        assert result.exit_code == 2
        assert why in result.output


def test_a_draft_takes_prices_and_truth_values_along_and_makes_no_id_of_a_fraction() -> None:
    told = [
        {"deal": {"id": 7, "price": 49.5, "vip": n > 0}, "seen_at": 1772352000.25 + n}
        for n in range(3)
    ]
    drafted = run("draft", "-", lines=lines(*told)).output
    assert "occurred_at: value.seen_at" in drafted
    assert "price: value.deal.price" in drafted
    assert "vip: value.deal.vip" in drafted
    assert "  id:" not in drafted
    told = [{"uid": 2**70 + n, "case": {"id": 1}, "rate": n / 2} for n in range(3)]
    assert "  id: value.uid" in run("draft", "-", lines=lines(*told)).output


def test_a_draft_puts_an_id_together_where_no_path_alone_is_one() -> None:
    told = [
        {"issue": {"key": f"A-{n % 2}"}, "at": f"2026-03-02T10:0{n // 2}:00Z", "kind": "moved"}
        for n in range(6)
    ]
    drafted = run("draft", "-", lines=lines(*told))
    assert 'id: "{value.issue.key}:{value.at}"' in drafted.output
    assert "  id:" not in run("draft", "-", lines=lines(told[0], told[0])).output


@pytest.mark.parametrize(
    ("told", "guesses"),
    [
        (  # Zendesk: the group is not what is handed on
            [
                {"id": f"e{n}", "time": f"2026-03-02T10:0{n}:00Z", "account_id": 1, "subject": "s"}
                | {"detail": {"id": "12", "group_id": f"g{n % 2}", "subject": "Cannot save"}}
                for n in range(4)
            ],
            [
                "task: value.detail.id ",
                "id: value.id ",
                "stage: value.detail.group_id ",
                "      subject: value.subject\n",
                "      detail_subject: value.detail.subject\n",
            ],
        ),
        (  # Opsgenie: names in camel case
            [
                {"action": f"a{n % 2}", "alert": {"alertId": "a1", "updatedAt": 1772445600 + n}}
                for n in range(4)
            ],
            ["task: value.alert.alertId ", "occurred_at: value.alert.updatedAt "],
        ),
        (  # ServiceNow: values in objects, times in UTC that do not say so
            [
                {
                    "number": {"display_value": "INC1", "value": "INC1"},
                    "state": {"display_value": f"State {n % 2}", "value": str(n % 2)},
                    "sys_updated_on": {"value": f"2026-03-02 10:0{n}:00"},
                }
                for n in range(4)
            ],
            [
                "task: value.number.value ",
                'occurred_at: "{value.sys_updated_on.value}Z"  # ',
                "without an offset in each of them: is it UTC?",
                "stage: value.state.value ",
                "      state_display_value: value.state.display_value\n",
            ],
        ),
        (  # HubSpot: a record is a list of events
            [[{"eventId": n, "objectId": 7, "occurredAt": 1772445600000 + n}] for n in range(3)],
            [
                "# Drafted from 3 of 3 records",
                "task: it.objectId  # in 3 of 3 records, the same value; ",
                "id: it.eventId ",
                "occurred_at: it.occurredAt ",
                "  - each: value ",
            ],
        ),
        (  # nothing repeats, so nothing says that it does
            [{"id": f"x{n}", "at": f"2026-03-02T10:0{n}:00Z"} for n in range(3)],
            ["task: value.id  # in 3 of 3 records, 3 different values; it never repeats here"],
        ),
        (  # one record says nothing of what repeats
            [{"task_id": "x", "uuid": "y", "at": "2026-03-02T10:00:00Z"}],
            [
                "task: value.task_id  # in 1 of 1 records; names the thing that is handed on? give",
                "id: value.uuid  # in 1 of 1 records; names the event? give more records",
            ],
        ),
        (  # names that no path has, and those that mean something else in a context
            [
                {"id": "x", "": 1, " ": {"\t": 2}, "{http://example.com}a": 3, "*": 4}
                | {"without": "e", "a.b": 5, "größe": 6, "b\nc": {"type": "de"[n]}}
                | {"sent on": {"at": "2026-03-02T10:00:00"}}
                for n in range(2)
            ],
            [
                'occurred_at: "{value.\\"sent on\\".at}Z"  #',
                '  # "value.b\\x0ac.type" seems to tell',
                "    context:  #",
                '      "a.b": "value.\\"a.b\\""\n      "größe": "value.größe"\n',
            ],
        ),
    ],
    ids=["zendesk", "opsgenie", "servicenow", "hubspot", "once-each", "one", "odd-names"],
)
def test_a_draft_knows_how_tools_name_things(
    told: list[Any], guesses: list[str], tmp_path: Path
) -> None:
    given = lines(*told)
    drafted = run("draft", "--topic", "some.topic", "-", lines=given)
    for guess in guesses:
        assert guess in drafted.output
    path = tmp_path / "draft.yaml"
    path.write_text(drafted.output, encoding="utf-8")
    assert run("lint", str(path)).exit_code == 0
    assert "0 refused" in run("test", str(path), "-", lines=given).output
