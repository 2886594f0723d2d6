"""Pictures of the console: `python -m tests.browser.screenshots [FOLDER]`.

The stories of the demo. In a folder: each page at three widths, light and dark, to be looked at.
Without one: those of them that the docs show, in `docs/console`.
"""

import sys
import time
from collections.abc import Collection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from selenium.webdriver.common.by import By

from tests.browser import chromium, stories
from tests.browser.chromium import ChromiumWindow
from tests.browser.served import ServedSite
from tests.read_model import published

WIDTHS: Final = {390: 1000, 1280: 900, 1920: 1080}  # and how high at most, in CSS pixels
SHOWN: Final = (
    "today-1280-light", "map-1280-dark", "task-1280-light", "cause-1920-light", "held-1280-dark",
    "cause-390-dark", "today-390-light",
)  # fmt: skip
LEADS: Final = {
    "cause": ("/causes", "main tbody a[href^='/cause/']"),
    "held": ("/held", "main tbody a[href^='/held/']"),
}


def main(folder: Path, some: Collection[str] | None = None) -> None:
    """Take all pictures, or some."""
    folder.mkdir(parents=True, exist_ok=True)
    now = int(time.time() * 1000)
    with TemporaryDirectory(prefix="handoff-console-") as scratch:
        served = ServedSite(Path(scratch), published(stories.demo(now), now))
        window = ChromiumWindow()
        try:
            for name, url in pages(window, served.url).items():
                for width, most in WIDTHS.items():
                    for scheme in ("light", "dark"):
                        file = f"{name}-{width}-{scheme}"
                        if some is not None and file not in some:
                            continue
                        window.size(width, most)
                        window.scheme(scheme)
                        window.open(url)
                        window.picture(folder / f"{file}.png", most)
        finally:
            window.close()
            served.close()


def pages(window: ChromiumWindow, url: str) -> dict[str, str]:
    """The address of each page."""
    found = {
        "today": f"{url}/",
        "map": f"{url}/map",
        "task": f"{url}/task?id=lead-2041",
        "contracts": f"{url}/contracts",
        "receivers": f"{url}/receivers",
        "sources": f"{url}/sources",
        "change": f"{url}/change?id=lead-to-nurture",
    }
    for name, (path, css) in LEADS.items():
        window.open(url + path)
        link = window.driver.find_elements(By.CSS_SELECTOR, css)[0]
        found[name] = str(link.get_attribute("href"))
    return found


if __name__ == "__main__":
    if (why := chromium.missing()) is not None:
        sys.exit(f"No pictures: {why}")
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        main(Path("docs/console"), SHOWN)
