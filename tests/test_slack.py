"""The Slack sink, against a fake that refuses what Slack's documents refuse."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr

from alerts.notification import Answer, Delivered, Failed, Notification, Refused
from alerts.sinks.slack import Slack, SlackSettings
from tests.fake_slack import TOKEN, FakeSlack, error_of
from tests.notices import notice
from tests.sinks import HARD, send_all


@pytest.fixture
def slack() -> Iterator[FakeSlack]:
    with FakeSlack() as server:
        yield server


def sink(server: FakeSlack, token: str = TOKEN) -> Slack:
    api = server.url + "/api"
    return Slack(SlackSettings(name="chat", token=SecretStr(token), channel="C1", api=api))


def sent(server: FakeSlack, *notifications: Notification, token: str = TOKEN) -> list[Answer]:
    return send_all(sink(server, token), *notifications)


def shown(body: dict[str, Any]) -> str:
    """All that a person reads of a message."""
    return "\n".join(
        each["text"]
        for block in body["blocks"]
        for each in ([block["text"]] if block["type"] == "section" else block["elements"])
    )


def test_an_alert_is_one_message_that_changes_in_place(slack: FakeSlack) -> None:
    (answer,) = sent(slack, notice())
    assert isinstance(answer, Delivered)
    place = answer.reference
    ((_, before),) = slack.messages.items()
    assert "who had it*  call-recorder" in shown(before)
    assert "```handoff show lead-2041```" in shown(before)
    assert "<https://console.example/patterns/1|Console>" in shown(before)
    later = notice(number=2, action="update", title="80 handoffs", reference=place)
    assert sent(slack, later, notice(number=3, action="resolve", reference=place)) == [
        answer,
        answer,
    ]
    ((_, after),) = slack.messages.items()
    assert after["text"].startswith("Resolved: ")


def test_to_a_person_what_follows_goes_into_the_direct_chat(slack: FakeSlack) -> None:
    (answer,) = sent(slack, notice(to="U1"))
    assert isinstance(answer, Delivered)
    assert answer.reference is not None
    assert answer.reference.startswith("D1/")
    sent(slack, notice(number=2, action="resolve", to="U1", reference=answer.reference))
    assert len(slack.messages) == 1


@pytest.mark.parametrize("text", HARD)
def test_no_text_mentions_links_or_is_too_long(slack: FakeSlack, text: str) -> None:
    facts = tuple((f"label {number}", text) for number in range(40))
    hard = notice(text, title=text, facts=facts, command=text, link=text, runbook=text)
    (answer,) = sent(slack, hard)
    assert isinstance(answer, Delivered), answer


def test_an_address_that_is_too_long_is_left_out(slack: FakeSlack) -> None:
    """Names in other scripts are nine times as long in an address."""
    link = "https://console.example/cause/" + "%E6%BC%A2" * 500
    (answer,) = sent(slack, notice(link=link, runbook="https://runbook.example/#held"))
    assert isinstance(answer, Delivered), answer
    ((_, body),) = slack.messages.items()
    assert "Runbook" in shown(body)
    assert "Console" not in shown(body)


@pytest.mark.parametrize("why", ["message_not_found", "cant_update_message", "edit_window_closed"])
def test_a_message_that_cannot_be_changed_is_followed_by_another(
    slack: FakeSlack, why: str
) -> None:
    slack.answers.append(why)
    (answer,) = sent(slack, notice(number=2, action="resolve", reference="C1/1.5"))
    assert isinstance(answer, Delivered)
    assert len(slack.messages) == 1


def test_what_was_sent_in_doubt_says_that_it_may_stand_there_twice(slack: FakeSlack) -> None:
    slack.answers.append("lost")
    failed, again = sent(slack, notice(), notice())
    assert failed == Failed("it answered 504 Gateway Timeout")
    assert isinstance(again, Delivered)
    first, second = map(shown, slack.messages.values())
    assert "may stand here twice" not in first
    assert "may stand here twice" in second


@pytest.mark.parametrize(
    ("given", "answer"),
    [
        ((429, {"Retry-After": "30"}), Failed("Slack says ratelimited", 30.0)),
        ((429, {}), Failed("Slack says ratelimited", 1.0)),
        ("ratelimited", Failed("Slack says ratelimited")),
        ("fatal_error", Failed("Slack says fatal_error")),
        ("token_revoked", Failed("Slack says token_revoked")),
        ("not_in_channel", Refused("Slack says not_in_channel")),
        ("a <strange> one", Refused("an error without a name")),
        ((500, {}), Failed("it answered 500 Internal Server Error")),
        ((200, {}), Failed("it answered 200 OK")),
    ],
)
def test_what_an_answer_means(
    slack: FakeSlack, given: tuple[int, dict[str, str]] | str, answer: Answer
) -> None:
    slack.answers.append(given)
    assert sent(slack, notice()) == [answer]


def test_a_wrong_token_may_be_put_right_and_a_wrong_channel_is_refused(slack: FakeSlack) -> None:
    assert sent(slack, notice(), token="xoxb-wrong") == [Failed("Slack says invalid_auth")]
    assert sent(slack, notice(to="C9")) == [Refused("Slack says channel_not_found")]
    assert TOKEN not in repr(SlackSettings(name="chat", token=SecretStr(TOKEN)))


SECTION = {"type": "section", "text": {"type": "mrkdwn", "text": "x"}}


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({}, None),
        ({"channel": ""}, "channel_not_found"),
        ({"channel": 5}, "invalid_arguments"),
        ({"colour": "red"}, "invalid_arguments"),
        ({"text": "", "blocks": []}, "no_text"),
        ({"text": "x" * 4001}, "msg_too_long"),
        ({"blocks": [SECTION] * 51}, "invalid_blocks"),
        (
            {"blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": ""}}]},
            "invalid_blocks",
        ),
        (
            {"blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": "x" * 3001}}]},
            "invalid_blocks",
        ),
        (
            {"blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": "<!channel>"}}]},
            "invalid_blocks",
        ),
        (
            {"blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": "a & b"}}]},
            "invalid_blocks",
        ),
    ],
)
def test_the_fake_refuses_what_the_documents_refuse(
    changes: dict[str, Any], error: str | None
) -> None:
    assert error_of({"channel": "C1", "text": "x", "blocks": [SECTION], **changes}) == error
