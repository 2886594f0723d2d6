"""Pages in a real browser: what changes while one looks, hostile text, no mouse, and axe-core."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.browser import chromium, stories
from tests.browser.chromium import ChromiumWindow
from tests.browser.served import ServedSite
from tests.conftest import cannot_run
from tests.read_model import MINUTE, published
from web.live import GAP_LEAST_MS

NOW = int(time.time() * 1000)
CAUSE = f"/cause/{quote(stories.LEAD, safe='')}"
EDGE = "/edge?key=handoff%2Fsales%2Fqualify%2Fnurture"
HELD = "HELD"  # stands for the page of a held handoff
PAGES = ("/", "/stalled", "/causes", CAUSE, "/held", HELD, "/task?id=lead-99", "/map", EDGE,
         "/teams", "/team?id=hunters", "/contracts", "/contract?id=lead", "/change?id=lead",
         "/draft?key=move%2Fsales%2Fcapture%2Fqualify", "/receivers", "/sources",
         "/audit", "/search?q=lead-", "/nothing", "/?severity=x")  # fmt: skip
EMPTY = ("/", "/stalled", "/causes", "/held", "/map", "/teams", "/contracts", "/receivers",
         "/search?q=x")  # fmt: skip
HOSTILE = '"\'><img src=x onerror="window.hacked=1"><script>window.hacked=1</script>\u202e\x1b[31m'


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedSite]:
    """Two weeks of leads; nothing is changed by the tests that look at it."""
    made = ServedSite(tmp_path_factory.mktemp("story"), published(stories.two_weeks(NOW), NOW))
    yield made
    made.close()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[ServedSite]:
    """Two weeks of leads, for one test."""
    made = ServedSite(tmp_path, published(stories.two_weeks(NOW), NOW))
    yield made
    made.close()


def held(window: ChromiumWindow, url: str) -> str:
    window.open(f"{url}/held")
    return str(window.find("main tbody a[href^='/held/']").get_attribute("href"))


# --- accessibility -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def axe() -> None:
    if not chromium.AXE.exists():
        cannot_run("browser", "needs axe-core in build/axe: tests/browser/fetch")


@pytest.mark.usefixtures("axe")
@pytest.mark.parametrize("path", PAGES)
def test_axe_finds_nothing_serious(window: ChromiumWindow, story: ServedSite, path: str) -> None:
    window.size(1280, 900)
    window.open(held(window, story.url) if path == HELD else f"{story.url}{path}")
    window.console()
    # What is closed is not looked at.
    window.script("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert window.findings() == []
    window.scheme("dark")
    assert window.findings("color-contrast") == []
    window.scheme("light")
    window.size(390, 844)
    assert window.script("return document.documentElement.scrollWidth") <= 390
    window.size(1280, 900)
    assert window.console() == []


def test_where_nothing_is_yet_pages_say_what_to_do(window: ChromiumWindow, tmp_path: Path) -> None:
    served = ServedSite(tmp_path, [])
    for path in EMPTY:
        window.open(f"{served.url}{path}")
        assert window.find(".empty").text
    served.close()


# --- what is sent to others, and what changes ----------------------------------------------------


def test_filters_sent_as_an_address_open_the_same_elsewhere(
    window: ChromiumWindow, story: ServedSite
) -> None:
    window.open(f"{story.url}/map")
    window.find("main select[name=last]").send_keys("last 24 hours")
    window.type("main input[name=receiver]", "nurture")
    window.click("main button", "Show")
    window.until(lambda: "receiver=nurture" in window.driver.current_url, "the filters")
    address, seen = window.driver.current_url, window.text("main")
    assert window.count("table[data-rows=edges] tbody tr") == 1
    window.driver.delete_all_cookies()
    window.open(f"{story.url}/")
    window.driver.delete_all_cookies()
    window.open(address)
    assert window.text("main") == seen
    assert window.find("main input[name=receiver]").get_attribute("value") == "nurture"


@pytest.mark.parametrize(("width", "down"), [(1280, 0), (390, 250)])
def test_a_cause_opens_and_closes_without_moving_what_one_looks_at(
    window: ChromiumWindow, served: ServedSite, width: int, down: int
) -> None:
    window.size(width, 600)
    window.open(f"{served.url}/causes")
    window.until_text("Live.", "#live")
    row = window.driver.find_elements(By.CSS_SELECTOR, "table[data-rows=causes] tbody tr")[-1]
    link = row.find_element(By.CSS_SELECTOR, "a")
    window.script("arguments[0].focus(); window.scrollTo(0, arguments[1])", link, down)
    before = window.top(link)

    lines = stories.two_weeks(NOW)
    for number in range(12):
        at = NOW - 10 * MINUTE + number * 1000
        lines += stories.lead(f"new-{number}", at, {"email": "a@example.org", "budget": "much"})
    lines.sort(key=lambda line: line.occurred_at or 0)
    served.become(published(lines, NOW))
    window.until_text("1 new: show", "main")
    assert abs(window.top(link) - before) < 1
    assert window.focused() == link
    rows = window.count("table[data-rows=causes] tbody tr")

    served.become(published(lines, NOW + 3 * stories.DAY))  # it is quiet for three days
    window.until_text("gone: show", "main")
    assert window.count("tr.gone") >= 1
    assert abs(window.top(link) - before) < 1
    assert window.focused() == link
    assert window.count("table[data-rows=causes] tbody tr") == rows
    if chromium.AXE.exists() and width == 390:
        assert window.findings() == []
    window.click("button.fresh-rows")
    window.until(lambda: window.count("tr.gone") == 0, "the rows of now")
    window.size(1280, 900)


def test_those_who_are_told_together_do_not_ask_together(
    window: ChromiumWindow, served: ServedSite
) -> None:
    window.open(f"{served.url}/causes")
    window.until_text("Live.", "#live")
    window.script(
        "window.waits = []; const later = window.setTimeout.bind(window);"
        "window.setTimeout = (then, ms) => { window.waits.push(ms); return later(then, 1); };"
    )
    for chance in (0, 1):
        window.script("waits.length = 0; Math.random = () => arguments[0]", chance)
        served.site.console.changes.note(["patterns"])
        window.until(lambda: window.script("return waits.length"), "the next question")
        assert window.script("return waits[0]") == GAP_LEAST_MS * (1 + chance / 2)


def test_who_watches_keeps_no_server_from_its_end(
    window: ChromiumWindow, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    served = ServedSite(tmp_path, [])
    window.open(f"{served.url}/")
    window.until_text("Live.", "#live")
    served.close()
    assert [each for each in caplog.records if each.levelno >= logging.ERROR] == []
    window.until_text("Not live", "#live")


# --- several people ------------------------------------------------------------------------------


def test_whoever_is_second_is_told_so_and_types_nothing_again(
    window: ChromiumWindow, served: ServedSite
) -> None:
    link = held(window, served.url)
    window.open(link)
    window.type("input[name='field:email']", "lead@example.org")
    window.type("#why-set", "They called.")

    path = urlsplit(link).path
    other = served.site.browser
    other.send(other.get(path).form(path, "set"), {"field:budget": "9", "reason": "A typo."})
    first = list(served.site.topics.amendments)
    served.become(stories.after(stories.two_weeks(NOW), first, NOW + MINUTE))
    window.click("button", "Set, and judge it again")
    window.until_text("somebody was faster", "[role=alert]")
    assert "budget" in window.text("[role=alert]")
    assert served.site.topics.amendments == first
    window.click("button", "Set, and judge it again")
    window.until_text("Requested", "#held-state")
    second = served.site.topics.amendments[-1]
    assert (second.revision, second.reason) == (2, "They called.")
    assert bytes(second.fields["email"]) == b'"lead@example.org"'


def test_each_role_sees_its_own_and_a_sign_in_that_ends_is_told(
    window: ChromiumWindow, tmp_path: Path
) -> None:
    access = {
        "kind": "ConsoleAccess",
        "proxy": {"addresses": ["127.0.0.1/32"]},
        "roles": [{"who": ["rita"], "role": "reader"}, {"who": ["olga"], "role": "operator"}],
    }
    records = published(stories.two_weeks(NOW), NOW)
    served = ServedSite(tmp_path, records, access)
    try:
        for name, forms in (("rita", 0), ("olga", 5)):  # four to mend, one to silence
            window.headers(X_Forwarded_User=name)
            window.open(f"{served.url}{CAUSE}")
            assert name in window.text(".who")
            assert window.count(".panel form") == forms
        window.until_text("Live.", "#live")
        window.headers(X_Forwarded_User="")
        served.become(records)
        window.until_text("Your sign-in has ended", "#live")
        assert stories.OWNER in window.text("#cause-facts")  # what was there is left to be read
    finally:
        window.headers()
        window.console()
        served.close()


# --- hostile text --------------------------------------------------------------------------------


def test_hostile_text_does_nothing_on_any_page(window: ChromiumWindow, tmp_path: Path) -> None:
    served = ServedSite(tmp_path, published(stories.hostile(NOW, HOSTILE), NOW))
    query = urlencode({"q": HOSTILE})
    todo = [f"{served.url}{path}" for path in (*EMPTY, f"/search?{query}", f"/held?{query}")]
    seen: set[str] = set()
    while todo:
        url = todo.pop()
        seen.add(url)
        window.open(url)
        _harmless(window, url)
        found = window.script("return [...document.links].map(each => each.href)")
        todo += [
            each
            for each in dict.fromkeys(found)
            if each.startswith(served.url) and "csv" not in each and "#" not in each
            and each not in seen and each not in todo
        ]  # fmt: skip
    assert {"held", "task", "edge", "team", "records"} <= {
        urlsplit(url).path.split("/")[1] for url in seen
    }
    link = next(url for url in seen if "/held/" in url)
    for number in range(2):  # the value that is hostile, and the one that is large
        window.open(link)
        forms = window.driver.find_elements(By.CSS_SELECTOR, "td details")
        forms[number].find_element(By.CSS_SELECTOR, "summary").click()
        forms[number].find_element(By.NAME, "reason").send_keys("To see.")
        forms[number].find_element(By.CSS_SELECTOR, "button").click()
        window.until_text("handoff.console-audit", "main")
        assert "handoff-" not in window.text(".value")
        _harmless(window, f"value {number}")
    served.close()


def _harmless(window: ChromiumWindow, where: str) -> None:
    assert window.script("return window.hacked === undefined"), where
    assert window.count("main img, main script") == 0, where
    assert not {"\u202e", "\x1b"} & set(window.text("main")), where
    assert window.console() == [], where


# --- by keyboard alone ---------------------------------------------------------------------------


def test_by_keyboard_alone_all_of_a_cause_is_released(
    window: ChromiumWindow, served: ServedSite
) -> None:
    window.open(f"{served.url}{CAUSE}")
    window.press(Keys.TAB)
    assert "Skip" in window.focused().text
    window.press(Keys.ENTER)
    assert window.focused().get_attribute("id") == "main"
    _tab_to(window, "Mend", 3)
    window.press(Keys.ENTER)
    _tab_to(window, "why-release", 12)
    window.press("They know them all.", Keys.ENTER)
    window.until_text(f"Requested for {stories.LOST} handoffs", "main")
    assert {each.action for each in served.site.topics.amendments} == {"release"}


@pytest.mark.parametrize("path", ["/", CAUSE, "/map"])
def test_what_has_the_focus_is_seen_and_never_a_trap(
    window: ChromiumWindow, story: ServedSite, path: str
) -> None:
    window.open(f"{story.url}{path}")
    links = "a[href], button, input, select, textarea, summary, [tabindex='0']"
    steps = 0
    while steps <= window.count(links):
        window.press(Keys.TAB)
        if window.script("return document.activeElement === document.body"):
            break  # it has left the page, so nothing held it
        steps += 1
        style = "const s = getComputedStyle(document.activeElement); return [s.outlineStyle, "
        assert window.script(f"{style}s.outlineWidth]") == ["solid", "3px"], window.focused().text
    assert steps > 10


def _tab_to(window: ChromiumWindow, name: str, most: int) -> None:
    """Press Tab until that has the focus: `most` times at the most."""
    for _ in range(most):
        window.press(Keys.TAB)
        here = window.focused()
        if here.get_attribute("id") == name or here.text.startswith(name):
            return
    raise AssertionError(f"{name} is more than {most} steps away")
