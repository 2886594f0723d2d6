"""The three walks of `docs/console.md` in a real browser. Each has a limit of time, and counts."""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from selenium.webdriver.common.by import By

from processors.alerts.kinds import KINDS
from tests.browser import stories
from tests.browser.chromium import ChromiumWindow
from tests.browser.served import ServedSite
from tests.read_model import MINUTE, published

CAUSE = f"/cause/{quote(stories.LEAD, safe='')}"


@pytest.fixture
def now() -> int:
    return int(time.time() * 1000)


@pytest.fixture
def served(tmp_path: Path, now: int) -> Iterator[ServedSite]:
    made = ServedSite(tmp_path, published(stories.two_weeks(now), now))
    yield made
    made.close()


def test_on_monday_the_tool_that_had_the_field_last_is_five_clicks_away(
    window: ChromiumWindow, served: ServedSite, tmp_path: Path
) -> None:
    """What got worst, on which edge, which field, which tool had it last; what a change of the
    contract would do; the draft for the edge that nobody wrote down."""
    window.open(f"{served.url}/")
    window.clicks = 0
    worst = window.find("table[data-rows=worse] tbody tr").text
    assert stories.EDGE in worst
    assert "fields lost per handoff" in worst
    window.click("table[data-rows=worse] a", stories.EDGE)
    assert "email" in window.find("table[data-rows=losses]").text
    assert stories.TOOL in window.find("table[data-rows=had]").text
    window.click("nav a", "Today")
    window.click("table[data-rows=causes] a", "email")
    assert stories.TOOL in window.find("table[data-rows=had]").text
    assert window.clicks <= 5

    window.click("nav a", "Today")
    window.click("table[data-rows=worse] a", stories.EDGE)
    window.click("a", "What would a change of lead do?")
    text = str(window.find("textarea").get_attribute("value"))
    file = tmp_path / "lead.yaml"
    looser = text.replace("version: 1", "version: 2").replace("hold_on:\n- context_dropped\n", "")
    file.write_text(looser.replace("fields:", "fields:\n- name: phone"))
    window.driver.find_element(By.CSS_SELECTOR, "input[type=file]").send_keys(str(file))
    window.until(lambda: "phone" in str(window.find("textarea").get_attribute("value")), "the file")
    window.click("button", "See what it would do")
    window.until_text("a sender or a receiver; the table says which", "main")
    changes = window.find("table[data-rows=changes-lead]").text
    assert "fields.phone" in changes
    assert "hold_on" in changes
    outcome = window.find("table[data-rows=outcome]").text
    assert "newly fails no tool captured it (never_captured) phone 100" in outcome
    freed = next(line for line in outcome.splitlines() if "no longer held" in line)
    assert freed.split()[5] == str(stories.LOST)

    window.click("nav a", "Contracts")
    window.click("table[data-rows=undocumented] a", "draft it")
    assert "owner: UNKNOWN" in window.text("main")
    window.click("a.button", "Download")
    draft = window.downloads / "sales-capture-to-qualify.yaml"
    window.until(draft.exists, "the draft")
    assert "budget" in draft.read_text()
    assert window.console() == []


def test_at_three_the_forty_of_an_alert_are_sent_on_in_two_minutes(
    window: ChromiumWindow, served: ServedSite, now: int
) -> None:
    """From the alert's link: what happened, who is to act, what changed; one reason for all; then
    "requested", and the answer of the processor on the page that is open."""
    began = time.monotonic()
    window.open(f"{served.url}{CAUSE}")
    assert stories.OWNER in window.text("#cause-facts")
    assert "What changed before it began" in window.text("main")
    assert window.text("h1") == "email is dropped"
    assert "dropped on the way (context_dropped)" in window.text("#cause-facts")
    assert KINDS["context_dropped"].do in window.text("main")
    assert window.count("table[data-rows=held] tbody tr") == stories.LOST
    window.clicks = 0
    window.click("summary", f"Mend {stories.LOST} handoffs")
    window.find("select[name=to]").send_keys("desk")
    window.type("#why-redirect", "The desk calls them until the form is mended.")
    window.click("button", "Send them on")
    window.until_text(f"Requested for {stories.LOST} handoffs", "main")
    asked = served.site.topics.amendments
    assert {(each.action, each.to) for each in asked} == {("redirect", "desk")}
    assert len({each.handoff_id for each in asked}) == stories.LOST
    assert window.clicks <= 5

    served.become(stories.after(stories.two_weeks(now), asked, now + MINUTE))
    window.until_text(f"{stories.LOST} gone: show", "main")
    window.click("button.fresh-rows", f"{stories.LOST} gone")
    window.until_text("It holds no handoff", "main")
    assert stories.TOOL in window.find("table[data-rows=had]").text  # also when all are mended
    window.open(f"{served.url}/task?id={asked[0].task_id}")
    assert "desk" in window.find("table[data-rows=handoffs]").text
    assert time.monotonic() - began < 120


def test_the_review_is_a_table_against_the_week_before_to_take_along(
    window: ChromiumWindow, served: ServedSite
) -> None:
    """What a team sent and got, late, lost, against the week before."""
    window.open(f"{served.url}/")
    window.clicks = 0
    window.click("nav a", "Teams")
    window.click("main a", "hunters")
    sent = window.find("table[data-rows=sent]").text
    assert "Before" in sent
    assert "Late" in sent
    shown = [row.split() for row in sent.splitlines()[1:]]
    window.click("a.csv", "CSV")
    assert window.clicks <= 5
    file = window.downloads / "sent.csv"
    window.until(file.exists, "the file")
    with file.open(encoding="utf-8-sig", newline="") as given:
        rows = list(csv.reader(given))
    assert len(rows) == len(shown) + 1
    lost = next(row for row in rows if row[0] == "Fields missing")
    assert (int(lost[1]), int(lost[2])) == (stories.LOST, 0)
