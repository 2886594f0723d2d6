"""Files of routes: what is refused with a sentence, what is doubtful, what is left out."""

import re
from pathlib import Path
from typing import get_args

import pytest
from click.testing import CliRunner

from console.main import main
from processors.alerts.kinds import KINDS, title
from processors.alerts.reasons import IN_WORDS, Reason
from schemas.loading import DocumentErrors
from schemas.records import ViolationKind
from schemas.route_files import lint_routes, load_routes
from schemas.routes import in_use

ROOT = Path(__file__).resolve().parents[1]
HEAD = """\
kind: AlertRoutes
sinks:
  hook: {webhook: {url: "https://h.example", secret: {env: S}}}
"""
WRONG = {
    "a literal secret": (
        'kind: AlertRoutes\nsinks:\n  a: {pagerduty: {routing_key: "abc"}}\nroutes: []\n',
        "f:3: sinks.a.pagerduty.routing_key: a secret must not stand in this file; name it",
    ),
    "a password in an address": (
        "kind: AlertRoutes\nsinks:\n  a: {alertmanager: {url: 'https://u:p@h.example/'}}\n"
        "routes: []\n",
        "f:3: sinks.a.alertmanager.url: has a user or a password in the address",
    ),
    "two kinds of one sink": (
        "kind: AlertRoutes\nsinks:\n  a:\n    slack: {token: {env: T}, channel: c}\n"
        "    pagerduty: {routing_key: {env: K}}\nroutes: []\n",
        "f:3: sinks.a: must be of exactly one kind",
    ),
    "a sink that is not there": (
        HEAD + "routes:\n  - {name: all, sink: hock}\n",
        "the route 'all' names the sink 'hock', which is not here; known here: hook",
    ),
    "an unknown key": (
        HEAD + "routes:\n  - {name: all, sink: hook, groupby: owner}\n",
        "f:5: routes[0].groupby: unknown key; did you mean 'group_by'?",
    ),
    "no time zone": (
        HEAD + "routes:\n  - name: all\n    sink: hook\n"
        '    quiet_hours: {from: "22:00", to: "07:00", time_zone: Mars}\n',
        "f:7: routes[0].quiet_hours.time_zone: there is no time zone 'Mars'",
    ),
    "a name of no variable": (
        "kind: AlertRoutes\nsinks:\n  a: {pagerduty: {routing_key: {env: 'A B'}}}\nroutes: []\n",
        "'A B' is no name of a variable",
    ),
    "two documents": (HEAD + "routes: []\n---\n" + HEAD + "routes: []\n", "second document"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said_with_its_place(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, told = WRONG[name]
    monkeypatch.chdir(tmp_path)
    Path("f").write_text(text)
    with pytest.raises(DocumentErrors) as error:
        load_routes("f")
    assert told in str(error.value)
    assert "abc" not in str(error.value)
    assert "u:p" not in str(error.value)


def test_what_is_doubtful_is_a_warning(tmp_path: Path) -> None:
    file = tmp_path / "routes.yaml"
    file.write_text(
        HEAD + "  spare: {slack: {token: {env: T}, channel: c}}\n"
        "routes:\n  - {name: most, match: {workflow: 'a*', owner: Ana}, sink: hook}\n"
        "  - {name: some, match: {workflow: [ab, ac], owner: Ana, kind: rejected}, sink: hook}\n"
    )
    routes, location = load_routes(file)
    told = [problem.message for problem in lint_routes(routes, location, ["Ana", "Dana"])]
    assert told == [
        "nothing reaches the route 'some': 'most' before it takes all",
        "no route names the sink 'spare'",
        "no route reaches Dana",
    ]


def test_mails_without_an_address_are_doubtful(tmp_path: Path) -> None:
    file = tmp_path / "routes.yaml"
    mail = "kind: AlertRoutes\nsinks:\n  mail: {email: {host: h, from: a@example.com%s}}\n"
    route = "routes:\n  - {name: all, sink: mail}\n"
    contacts = "contacts: {Ana: {email: ana@example.com}}\n"
    for text, doubts in (
        (mail % "" + route, 1),
        (mail % ", to: b@example.com" + route, 0),
        (mail % "" + contacts + route, 0),
    ):
        file.write_text(text)
        assert len(list(lint_routes(*load_routes(file)))) == doubts


def test_the_shipped_routes_are_in_use_where_variables_are_set() -> None:
    routes, location = load_routes(ROOT / "alerts" / "routes.yaml")
    assert list(lint_routes(routes, location)) == []
    kept, said = in_use(routes, frozenset({"HANDOFF_ALERT_ALERTMANAGER_URL"}))
    assert [route.name for route in kept.routes] == ["all-to-alertmanager"]
    assert list(kept.sinks) == ["alertmanager"]
    assert kept.digest is None
    assert len(said) == 4
    assert "the sink slack is left out: HANDOFF_ALERT_SLACK_TOKEN is not set" in said


def test_each_kind_has_words_and_the_runbook_says_the_same() -> None:
    assert set(KINDS) == {*get_args(ViolationKind), "undocumented_handoff", "repeat", "held"}
    _, _, entries = (ROOT / "docs" / "alerts.md").read_text().partition("## What each kind means")
    for name, kind in KINDS.items():
        entry = f"\n### {name}\n\n{kind.means} **Look at** {kind.look} **Do:** {kind.do}\n"
        assert entry in entries
    assert re.findall(r"^### (.*)$", entries, re.MULTILINE) == list(KINDS)


@pytest.mark.parametrize(
    ("kind", "field", "receiver", "words"),
    [
        ("context_dropped", "email", None, "email is dropped"),
        ("context_dropped", None, None, "A field is dropped"),
        ("never_captured", "{receiver}", "desk", "No tool captures {receiver}"),
        ("not_accepted", None, "desk", "Handoffs to desk are not accepted in time"),
        ("not_accepted", None, None, "Handoffs to a receiver are not accepted in time"),
        ("rule_failed", None, None, "The rule of a contract fails"),
        ("of_tomorrow", "email", None, "Of tomorrow"),
    ],
)
def test_a_kind_in_words(kind: str, field: str | None, receiver: str | None, words: str) -> None:
    assert title(kind, field, receiver) == words


def test_each_reason_has_words() -> None:
    assert set(IN_WORDS) == set(Reason)


def test_a_test_of_a_route_that_is_left_out_says_so() -> None:
    """Its sink waits for a variable: that is another thing than a name that is not there."""
    unset = CliRunner(env={"HANDOFF_ALERT_SLACK_TOKEN": "", "HANDOFF_ALERT_SLACK_CHANNEL": ""})
    result = unset.invoke(main, ["alerts", "test", "all-to-slack"])
    assert result.exit_code == 2
    assert result.output == (
        "handoff: the route 'all-to-slack' is not in use, as the sink slack is left out: "
        "HANDOFF_ALERT_SLACK_TOKEN is not set; set it\n"
    )
    wrong = unset.invoke(main, ["alerts", "test", "all-to-slak"])
    assert wrong.exit_code == 2
    assert wrong.output == (
        "handoff: there is no route 'all-to-slak' in the shipped routes (HANDOFF_ALERT_ROUTES is "
        "not set); known there: errors-to-pagerduty, all-to-alertmanager, all-to-slack, "
        "all-to-webhook\n"
    )
