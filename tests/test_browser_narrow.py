"""Long names in a real browser, on a phone and on a screen: no page is wider than its window, and
no column hides all others."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.browser import stories
from tests.browser.chromium import ChromiumWindow
from tests.browser.served import ServedSite
from tests.read_model import published

WIDEST = 360  # CSS pixels of a cell
LED_TO = {  # pages, and where a link to each is
    "/held/": "/held",
    "/cause/": "/held/",
    "/edge?": "/map",
    "/task?": "/held/",
}
WIDER = """
const found = [];
const most = document.documentElement.clientWidth;
if (document.documentElement.scrollWidth > most) found.push(
  `the page: ${document.documentElement.scrollWidth} of ${most}`);
for (const each of document.querySelectorAll("main td:not(.words), main th")) {
  const table = each.closest("table");  // one that has room takes it
  if (table.offsetWidth > table.parentElement.clientWidth && each.offsetWidth > arguments[0])
    found.push(`${each.offsetWidth}: ${each.textContent.slice(0, 40)}`);
}
return found;
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedSite]:
    now = int(time.time() * 1000)
    made = ServedSite(tmp_path_factory.mktemp("long"), published(stories.long_names(now), now))
    yield made
    made.close()


@pytest.mark.parametrize("width", [390, 1280])
def test_long_names_widen_no_page_and_no_column(
    window: ChromiumWindow, served: ServedSite, width: int
) -> None:
    window.size(width, 900)
    pages = {path: f"{served.url}{path}" for path in ("/", "/held", "/map", "/teams", "/contracts")}
    for begin, at in LED_TO.items():
        window.open(pages[at])
        link = window.find(f"main a[href^='{begin}']")
        pages[begin] = f"{served.url}{link.get_dom_attribute('href')}"
    wider = {}
    for path, url in pages.items():
        window.open(url)
        found = window.script(WIDER, WIDEST)
        if found:
            wider[path] = found[:5]
    assert wider == {}
