"""The forms about an alert on the page of a cause, pressed in a real browser; what follows from
each is decided as `handoff alerts run` does, and the page says it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import msgspec
import pytest

from processors.alerts.events import SilencePut, of_action
from schemas.alerts import ACTIONS, ALERTS, SILENCES, AlertSilence
from schemas.flow import Record
from tests.alerts_core import AlertPlayer
from tests.browser import stories
from tests.browser.chromium import ChromiumWindow
from tests.browser.served import ServedSite
from tests.read_model import published

CAUSE = f"/cause/{quote(stories.LEAD, safe='')}"
FORMS = "Look after the alert, resolve it, or silence this"
ROUTES = {
    "kind": "AlertRoutes",
    "sinks": {
        "hook": {"webhook": {"url": "https://h.example", "secret": {"env": "S"}}},
        "mail": {"email": {"host": "m.example", "from": "a@m.example", "to": "b@m.example"}},
    },
    "routes": [
        {"name": "all", "sink": "hook", "continue": True},
        {"name": "mails", "sink": "mail"},
    ],
}


class ToldSite:
    """A console on two weeks of leads, and the alerts about them; the sink `mail` refuses all."""

    def __init__(self, folder: Path) -> None:
        at = int(time.time() * 1000)
        self._now = datetime.now(UTC)
        self._written: dict[str, bytes] = {}
        self._records: list[Record] = []
        self._player = AlertPlayer(ROUTES)
        self._player.refuse.add("mail")
        self._player.told(stories.LEAD, self._now, workflow="sales")
        self._player.tick(self._now)
        self.pass_time(31)
        self.served = ServedSite(folder, [*published(stories.two_weeks(at), at), *self._entries()])

    def pass_time(self, seconds: int) -> None:
        """Decide what waits, so much later."""
        self._now += timedelta(seconds=seconds)
        self._player.tick(self._now)

    def answer(self) -> None:
        """The alerts hear what was said last, and the console reads what they wrote."""
        topic, key, value = self.served.site.topics.said[-1]
        if topic == ACTIONS:
            said = of_action(Record(topic, 0, 0, key.encode(), value, 0), len(value or b""))
            assert said is not None
            self._player.take(said, self._now)
        else:
            made = None if value is None else msgspec.json.decode(value, type=AlertSilence)
            self._player.take(SilencePut(key, made), self._now)
            offset = len(self.served.site.topics.said)
            self._records.append(
                Record(SILENCES, 0, offset, key.encode(), value, int(time.time() * 1000))
            )
        self.pass_time(1)
        self.served.become(self._entries())

    def _entries(self) -> list[Record]:
        now, topic = int(time.time() * 1000), self._player.topic
        for key in {**self._written, **topic}:
            if topic.get(key) != self._written.get(key):
                offset = len(self._records)
                self._records.append(
                    Record(ALERTS, 0, offset, key.encode(), topic.get(key), now, [])
                )
        self._written = dict(topic)
        return self._records


@pytest.fixture
def told(tmp_path: Path, window: ChromiumWindow) -> Iterator[ToldSite]:
    made = ToldSite(tmp_path)
    yield made
    window.open("about:blank")  # a page that is open asks for what is new, of nobody by then
    made.served.close()


def test_who_looks_after_an_alert_sees_that_it_is_quiet_and_may_resolve_it(
    window: ChromiumWindow, told: ToldSite
) -> None:
    window.open(f"{told.served.url}{CAUSE}")
    sinks = window.text("table[data-rows=sinks]").splitlines()
    assert [line.split(" 20")[0] for line in sinks[1:]] == [
        "hook it began taken",
        "mail it began not taken: no reason is known",
    ]
    assert "firing" in window.text("table[data-rows=alerts]")

    window.click("summary", FORMS)
    window.click("button", "Look after it")
    assert told.served.site.topics.said == [], "the field of the reason is empty"
    window.type("#why-ack-1", "I look at the form.")
    window.click("button", "Look after it")
    window.until_text("You look after it", "main")
    told.answer()
    window.until_text("looked after", "table[data-rows=alerts]")
    assert "unverified" in window.text("table[data-rows=alerts]")
    window.until_text("somebody looks after it", "table[data-rows=sinks]")

    window.click("summary", FORMS)
    window.type("#why-resolve-1", "The form asks for it again.")
    window.click("button", "Resolve it")
    window.until_text("Resolved: its causes are quiet", "main")
    told.answer()
    window.open(f"{told.served.url}{CAUSE}")
    window.until_text("a person acknowledged, resolved or silenced it (unverified)", "main")
    assert [each for _, each, _ in told.served.site.topics.said].count("") == 0
    assert window.console() == []


def test_a_silence_is_put_for_a_time_and_ended(window: ChromiumWindow, told: ToldSite) -> None:
    window.open(f"{told.served.url}{CAUSE}")
    window.click("summary", FORMS)
    window.find("select[name=span]").send_keys("four hours")
    window.type("#why-silence", "The form is being changed.")
    window.click("button", "Silence it")
    window.until_text("Silenced: nobody is told of it until the silence ends", "main")
    told.answer()
    window.until_text("1 new: show", "main")
    window.click("button.fresh-rows", "1 new")
    window.until_text("silence", "table[data-rows=alerts]")

    window.open(f"{told.served.url}{CAUSE}")
    window.click("summary", FORMS)
    window.click("button", "End that silence")
    window.until_text("The silence is ended: what still fires is told", "main")
    told.answer()
    window.open(f"{told.served.url}{CAUSE}")
    window.until_text("firing", "table[data-rows=alerts]")
    assert "silence" not in window.text("table[data-rows=alerts]")
    assert window.console() == []
