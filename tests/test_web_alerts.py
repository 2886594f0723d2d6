"""What a person says of an alert in the console: with a reason, under their name, as operator."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import msgspec
import pytest
from msgspec.structs import replace
from pydantic import SecretStr
from ruamel.yaml import YAML

from processors.alerts.routing import fits
from schemas import serde
from schemas.alerts import AlertAction, AlertSilence
from schemas.flow import Record
from tests.alerts_core import pattern
from tests.read_model import story
from tests.web_client import Browser, Page, WebSite
from web.auth import tokens

CAUSE = "/cause/contract%2Flead%2Fcontext_unstructured%2Femail"
FINGERPRINT = unquote(CAUSE.removeprefix("/cause/"))
URL = "https://handoffs.example.com"
NOW = int(datetime.now(UTC).timestamp() * 1000)
ROLES = [
    {"who": ["rita"], "role": "reader"},
    {"who": ["olga"], "role": "operator", "workflows": ["sales", "s[*]s"]},
    {"who": ["tess"], "role": "operator", "teams": ["farmers"]},
    {"who": ["otto"], "role": "operator", "workflows": ["other"]},
]


def entry(key: str, offset: int, body: dict[str, Any]) -> Record:
    value = json.dumps(body).encode()
    return Record("handoff.alerts", 0, offset, key.encode(), value, NOW, [])


def alerted(*fingerprints: str) -> list[Record]:
    """One alert that tells these causes."""
    causes = [
        entry(f"cause/{each}", number, {"of": "cause", "fingerprint": each, "alert": "a-1"})
        for number, each in enumerate(fingerprints, 1)
    ]
    alert = {"of": "alert", "key": "a-1", "state": "firing", "started_at": "2026-03-02T10:00:00Z"}
    return [*causes, entry("alert/a-1", 0, alert)]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[WebSite]:
    access = tmp_path / "access.yaml"
    with access.open("w") as file:
        YAML().dump(
            {"kind": "ConsoleAccess", "proxy": {"addresses": ["10.0.0.0/8"]}, "roles": ROLES}, file
        )
    made = WebSite(
        tmp_path, [*story(), *alerted(FINGERPRINT)], console_access=access,
        console_key=SecretStr("k" * 32), console_url=URL,
    )  # fmt: skip
    yield made
    made.close()


def say(browser: Browser, wish: str, **values: str) -> Page:
    return browser.send(browser.get(CAUSE).form("/alert", wish), values)


@pytest.mark.parametrize("wish", ["ack", "resolve"])
def test_an_operator_answers_an_alert_under_their_own_name(site: WebSite, wish: str) -> None:
    page = say(site.person("olga"), wish, reason=" I look. ", by="The boss")
    assert page.status == 200
    ((topic, key, value),) = site.topics.said
    said = msgspec.json.decode(value or b"", type=AlertAction)
    assert (topic, key) == ("handoff.alert-actions", "a-1")
    assert (said.action, said.key, said.by, said.reason) == (wish, "a-1", "olga", "I look.")
    assert "It is written down as olga" in page.text


def test_a_silence_names_the_cause_and_ends(site: WebSite) -> None:
    page = say(site.person("olga"), "silence", reason="The form is mended.", span="4")
    assert page.status == 200
    ((topic, key, value),) = site.topics.said
    made = msgspec.json.decode(value or b"", type=AlertSilence)
    assert (topic, key) == ("handoff.silences", made.id)
    assert made.match == {
        "workflow": ["sales"], "kind": ["context_unstructured"], "contract": ["lead"]
    }  # fmt: skip
    assert (made.by, made.reason) == ("olga", "The form is mended.")
    assert made.ends_at - made.starts_at == timedelta(hours=4)

    site.add(Record(topic, 0, 0, key.encode(), value, NOW, []))
    again = site.person("olga")
    assert "until" in again.get(CAUSE).text
    say(again, "end")
    assert site.topics.said[-1] == ("handoff.silences", key, None)


def test_a_star_in_a_name_is_silenced_as_it_is_spelled(site: WebSite) -> None:
    found = pattern("contract/l*d/rejected", datetime.now(UTC), workflow="sales")
    site.add(
        Record("handoff.patterns", 0, 99, b"contract/l*d/rejected", serde.encode(found), NOW, [])
    )
    olga = site.person("olga")
    page = olga.get("/cause/contract%2Fl*d%2Frejected")
    assert "contract l*d" in page.text
    olga.send(page.form("/alert", "silence"), {"reason": "x", "span": "4"})
    ((topic, key, value),) = site.topics.said
    made = msgspec.json.decode(value or b"", type=AlertSilence)
    assert fits(made.match, found)
    assert not fits(made.match, replace(found, contract="lead"))
    site.add(Record(topic, 0, 0, key.encode(), value, NOW, []))
    olga.send(olga.get("/cause/contract%2Fl*d%2Frejected").form("/alert", "end"))
    assert site.topics.said[-1] == (topic, key, None)


@pytest.mark.parametrize(
    ("wish", "values", "status"),
    [
        ("ack", {"reason": " "}, 400),
        ("ack", {"reason": "x" * 1001}, 400),
        ("ack", {"reason": "x", "key": "a-2"}, 404),
        ("ack", {"reason": "x", "action": "explode"}, 400),
        ("ack", {"reason": "x", "fingerprint": "none"}, 404),
        ("ack", {"reason": "x", "token": "x"}, 403),
        ("silence", {"reason": "x", "span": "9999"}, 400),
        ("silence", {"reason": "x", "span": "4", "action": "end", "key": "s-1"}, 404),
    ],
)
def test_what_cannot_be_said_is_not_written(
    site: WebSite, wish: str, values: dict[str, str], status: int
) -> None:
    assert say(site.person("olga"), wish, **values).status == status
    assert site.topics.said == []


def test_a_page_that_refuses_says_what_is_missing_and_leads_back(site: WebSite) -> None:
    page = say(site.person("olga"), "ack", reason=" ")
    assert page.title.startswith("Nothing was written: the reason is missing")
    assert CAUSE in page.links


def test_a_cause_says_which_sinks_were_told(site: WebSite) -> None:
    page = site.person("olga").get(CAUSE)
    assert "Nobody was told yet" in page.text
    sinks = {
        "chat": {"number": 1, "action": "trigger", "at": "2026-03-02T10:01:00Z", "reached": True},
        "mail": {"number": 1, "action": "trigger", "at": "2026-03-02T10:01:00Z",
                 "undelivered": "no such host " + "x" * 1000},
    }  # fmt: skip
    alert = {"of": "alert", "key": "a-1", "state": "firing", "sinks": sinks}
    site.add(entry("alert/a-1", 10, alert))
    page = site.person("olga").get(CAUSE)
    assert page.rows["a-1/chat"] == "chatit begantaken2026-03-02 10:01"
    assert page.rows["a-1/mail"].startswith("mailit begannot taken: no such host")
    assert "x" * 500 not in page.text
    assert "Nobody was told" not in page.text


def test_only_an_operator_of_all_that_it_is_about_may(site: WebSite) -> None:
    form = site.person("olga").get(CAUSE).form("/alert", "ack")
    rita, otto = site.person("rita"), site.person("otto")
    page = rita.get(CAUSE)
    assert not [each for each in page.forms if each.action == "/alert"]
    otto.get("/causes")
    for other, name in ((rita, "rita"), (otto, "otto")):
        token = tokens.token(b"k" * 32, other.cookies["__Host-handoff-form"], name)
        page = other.send(form, reason="x", token=token)
        assert page.status == 403
        assert "gives you no role" in page.text
    # A silence goes by names, so that it may cover other teams.
    tess = site.person("tess")
    assert say(tess, "silence", reason="x", span="4").status == 403
    assert site.topics.said == []
    assert say(tess, "ack", reason="x").status == 200
    # An alert that tells a cause of others, too, is not theirs alone.
    site.add(*alerted(FINGERPRINT, "contract/other/late"))
    assert say(tess, "ack", reason="x").status == 403
    assert len(site.topics.said) == 1


@pytest.mark.parametrize(
    ("match", "status"),
    [
        ({"workflow": ["sales"]}, 200),
        ({"workflow": ["sales", "other"]}, 403),
        ({"workflow": ["s*"]}, 403),
        ({"workflow": ["sales", r"s\*s"]}, 200),
        ({"severity": ["*"]}, 403),  # of every workflow
    ],
)
def test_a_silence_is_ended_by_operators_of_all_that_it_covers(
    site: WebSite, match: dict[str, list[str]], status: int
) -> None:
    now = datetime.now(UTC)
    made = AlertSilence("s-1", match, now, now + timedelta(hours=1), "Ana", "x")
    site.add(Record("handoff.silences", 0, 0, b"s-1", msgspec.json.encode(made), NOW, []))
    olga = site.person("olga")
    assert say(olga, "end").status == status
    ended = [("handoff.silences", "s-1", None)]
    assert site.topics.said == (ended if status == 200 else [])


def test_a_broker_that_is_away_takes_nothing_and_says_so(site: WebSite) -> None:
    olga = site.person("olga")
    form = olga.get(CAUSE).form("/alert", "ack")
    site.topics.away = True
    assert olga.send(form, reason="x").status == 503
    assert site.topics.said == []


def test_a_silence_is_ended_by_its_key_whatever_it_says_of_itself(site: WebSite) -> None:
    body = {
        "id": "another", "match": {"workflow": ["sales"]}, "starts_at": "2026-03-02T10:00:00Z",
        "ends_at": "9999-01-01T00:00:00Z", "by": "x", "reason": "",
    }  # fmt: skip
    site.add(Record("handoff.silences", 0, 0, b"s-9", json.dumps(body).encode(), NOW, []))
    say(site.person("olga"), "end")
    assert site.topics.said == [("handoff.silences", "s-9", None)]
