"""Debian's Chromium, driven by Selenium as a person uses it: by keys, and by counted clicks."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from selenium.common.exceptions import StaleElementReferenceException, WebDriverException
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

SECONDS: Final = 15.0  # for a page to come, or to change
# What the driver says at times in place of "stale": another page came while an element was read.
_EXCHANGED: Final = "does not belong to the document"
AXE: Final = Path(__file__).resolve().parents[2] / "build/axe/axe.min.js"


def missing() -> str | None:
    """Why no browser can run here; None where one can."""
    lacking = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"needs {' and '.join(lacking)} (Debian: chromium, chromium-driver)" if lacking else None


class ChromiumWindow:
    """One window with a profile of its own. `clicks` counts what a person pressed."""

    def __init__(self, width: int = 1280, height: int = 900) -> None:
        self._profile = tempfile.TemporaryDirectory(prefix="handoff-chromium-")
        options = ChromeOptions()
        options.binary_location = shutil.which("chromium") or ""
        for each in (
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--disable-extensions", "--disable-background-networking", "--no-first-run",
            "--force-device-scale-factor=1", "--hide-scrollbars",
            f"--user-data-dir={self._profile.name}", f"--window-size={width},{height}",
        ):  # fmt: skip
            options.add_argument(each)
        self.downloads = Path(self._profile.name) / "downloads"
        options.add_experimental_option(
            "prefs", {"download.default_directory": str(self.downloads)}
        )
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = Chrome(options=options, service=Service(shutil.which("chromedriver")))
        self.driver.set_page_load_timeout(30)
        self.driver.set_script_timeout(60)
        self.clicks = 0
        self.size(width, height)

    def size(self, width: int, height: int) -> None:
        """How large the page is, in CSS pixels."""
        self._cdp(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip

    def scheme(self, name: str) -> None:
        """What the person's system prefers: light or dark."""
        feature = {"name": "prefers-color-scheme", "value": name}
        self._cdp("Emulation.setEmulatedMedia", features=[feature])

    def headers(self, **named: str) -> None:
        """What a proxy adds to each request of the window."""
        self._cdp("Network.enable")
        given = {name.replace("_", "-"): value for name, value in named.items()}
        self._cdp("Network.setExtraHTTPHeaders", headers=given)

    def open(self, url: str) -> None:
        """Type an address."""
        self.driver.get(url)

    def find(self, css: str, text: str | None = None) -> WebElement:
        """The first element that is shown, of those whose text holds `text`."""

        def found() -> WebElement | None:
            for each in self.driver.find_elements(By.CSS_SELECTOR, css):
                if each.is_displayed() and (text is None or text in each.text):
                    return each
            return None

        shown: WebElement = self.until(found, f"{css} {text or ''}")
        return shown

    def click(self, css: str, text: str | None = None) -> None:
        """Press it; where that leads to another page, wait for that."""
        element = self.find(css, text)
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()
        self.clicks += 1

    def type(self, css: str, words: str) -> None:
        """Put words into a field."""
        self.find(css).send_keys(words)

    def press(self, *keys: str) -> None:
        """Press keys, wherever the focus is."""
        ActionChains(self.driver).send_keys(*keys).perform()

    def focused(self) -> WebElement:
        """Where the focus is."""
        return self.driver.switch_to.active_element

    def text(self, css: str = "body") -> str:
        """What is read there; empty while it is not there."""
        found = self.driver.find_elements(By.CSS_SELECTOR, css)
        return found[0].text if found else ""

    def script(self, words: str, *given: Any) -> Any:
        """What a script says."""
        return self.driver.execute_script(words, *given)

    def count(self, css: str) -> int:
        """How many there are."""
        return len(self.driver.find_elements(By.CSS_SELECTOR, css))

    def top(self, element: WebElement) -> float:
        """How far below the upper edge of the window it is seen, in CSS pixels."""
        return float(self.script("return arguments[0].getBoundingClientRect().top", element))

    def until(self, true: Callable[[], Any], what: str, seconds: float = SECONDS) -> Any:
        """Wait until something is so."""
        waiting = WebDriverWait(
            self.driver,
            seconds,
            poll_frequency=0.05,
            ignored_exceptions=[StaleElementReferenceException],
        )

        def attempt(_: object) -> Any:
            try:
                return true()
            except WebDriverException as error:
                if _EXCHANGED in (error.msg or ""):
                    return None
                raise

        try:
            return waiting.until(attempt)
        except Exception as error:
            here = f"{self.driver.current_url}\n{self.text()[:2000]}"
            raise AssertionError(f"waited in vain for {what} at {here}") from error

    def until_text(self, words: str, css: str = "body", seconds: float = SECONDS) -> None:
        """Wait until something is read there."""
        self.until(lambda: words in self.text(css), f"{words!r} in {css}", seconds)

    def console(self) -> list[str]:
        """What the browser complained of since it was asked last."""
        return [each["message"] for each in self.driver.get_log("browser")]  # type: ignore[no-untyped-call]

    def findings(self, *rules: str) -> list[str]:
        """What axe-core finds on the page that is serious or critical, by these rules or by all."""
        self.script(AXE.read_text())
        found = self.driver.execute_async_script(
            "const done = arguments[arguments.length - 1];"
            "const some = arguments[0].length ? {runOnly: arguments[0]} : {};"
            "axe.run(document, {resultTypes: ['violations'], ...some}).then("
            "  r => done(r.violations),"
            "  e => done([{id: String(e), impact: 'critical', nodes: []}]))",
            list(rules),
        )
        return [
            f"{each['id']} ({each['impact']}): {node['html'][:200]} {node['failureSummary'][:300]}"
            for each in found
            if each["impact"] in ("serious", "critical")
            for node in each["nodes"] or [{"html": "", "failureSummary": ""}]
        ]

    def picture(self, path: Path, most: int) -> None:
        """The page as a PNG, as wide as the window and at most so high."""
        high = min(most, int(self.script("return document.documentElement.scrollHeight")))
        width = int(self.script("return window.innerWidth"))
        self.size(width, high)
        self.driver.save_screenshot(str(path))

    def _cdp(self, command: str, **given: Any) -> None:
        self.driver.execute_cdp_cmd(command, given)

    def close(self) -> None:
        """End it."""
        self.driver.quit()
        self._profile.cleanup()
