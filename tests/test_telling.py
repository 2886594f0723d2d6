"""Who was told of a cause, as its page says it; and why nobody was."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from processors.alerts.reasons import Reason
from web.model.queries.common import Place
from web.model.queries.told import Decided, SinkTold, Told
from web.telling import because, sinks_table, untold

NOW = 1_000_000
PLACE = Place("handoff.alerts", 0, 0)


@dataclass
class OfPattern:
    status: str = "opened"


@dataclass
class OfCause:
    """What the page knows of a cause, as far as it counts here."""

    pattern: OfPattern | None = field(default_factory=OfPattern)
    decided: Decided | None = None
    alerts: list[Told] = field(default_factory=list)
    silences: list[Told] = field(default_factory=list)


def alert(*sinks: SinkTold, state: str = "firing", due: int | None = None) -> Told:
    return Told("a-1", state, NOW, None, None, PLACE, due, list(sinks))


def of(**given: Any) -> Any:
    return OfCause(**given)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (of(), "no process of the alerts has written anything of it"),
        (of(pattern=None), "this broke too seldom, or is over"),
        (of(pattern=OfPattern("closed")), "it is over"),
        (of(decided=Decided(None, "no_route", None)), "no route matches it. Add one to the file"),
        (of(decided=Decided(None, "silenced", "s-1")), "a silence covers it (s-1)"),
        (of(decided=Decided(None, "quieted_by_person", "olga")), "silenced it (olga)"),
        (of(decided=Decided(None, "of_tomorrow", None)), "Nobody is told: of_tomorrow."),
        (of(alerts=[alert(state="waiting", due=NOW + 1)]), "told from 1970-01-01T00:16:40Z on"),
        (of(alerts=[alert(state="waiting", due=NOW)]), "it is due: its route has quiet hours"),
    ],
)
def test_why_nobody_was_told(found: Any, words: str) -> None:
    told = untold(found, NOW)
    assert told is not None
    assert words in told
    assert sinks_table(found, NOW).empty == told


@pytest.mark.parametrize("reason", Reason)
def test_each_reason_is_said_as_a_sentence(reason: Reason) -> None:
    told = untold(of(decided=Decided(None, reason.value, None)), NOW)
    assert told is not None
    assert told.startswith("Nobody is told: ")
    assert reason.value not in told or "_" not in reason.value


def test_another_cause_is_named_by_the_page_alone() -> None:
    """It may be of teams that are not theirs who look."""
    found = of(decided=Decided(None, "inhibited", "receiver/desk/owner_missing"))
    assert because(found) == "receiver/desk/owner_missing"
    assert "desk" not in (untold(found, NOW) or "")
    assert because(of(decided=Decided(None, "silenced", "s-1"))) is None


def test_what_became_of_the_last_message_to_each_sink() -> None:
    table = sinks_table(
        of(
            alerts=[
                alert(
                    SinkTold("chat", "trigger", 5, False, None),
                    SinkTold("mail", "trigger", 6, False, "no such host"),
                    SinkTold("pager", "resolve", 7, True, "an earlier failure"),
                    SinkTold("quiet", None, None, False, None),
                )
            ]
        ),
        NOW,
    )
    assert [[cell.value for cell in row.cells] for row in table.rows] == [
        ["chat", "it began", "taken", 5],
        ["mail", "it began", "not taken: no such host", 6],
        ["pager", "it is over", "sent, not answered yet", 7],
        ["quiet", None, "not told yet", None],
    ]
    assert table.notes == []


def test_while_an_alert_waits_its_sinks_are_named_and_why() -> None:
    waiting = alert(SinkTold("mail", None, None, False, None), state="waiting", due=NOW + 1)
    table = sinks_table(of(alerts=[waiting]), NOW)
    assert [row.cells[2].value for row in table.rows] == ["not told yet"]
    assert "waits for others" in table.notes[0]
