"""Signing in with OpenID Connect in a real browser, and a sign-in that ends beside an open form."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import stories
from tests.browser.chromium import ChromiumWindow
from tests.browser.served import ServedSite
from tests.oidc_provider import CLIENT, Provider
from tests.read_model import published

NOW = int(time.time() * 1000)


@pytest.fixture
def provider() -> Iterator[Provider]:
    made = Provider()
    yield made
    made.close()


@pytest.fixture
def served(tmp_path: Path, provider: Provider) -> Iterator[ServedSite]:
    access = {
        "kind": "ConsoleAccess",
        "oidc": {"issuer": provider.issuer, "client_id": CLIENT},
        "roles": [{"who": ["group:mending"], "role": "operator"}],
    }
    made = ServedSite(tmp_path, published(stories.two_weeks(NOW), NOW), access)
    yield made
    made.close()


def test_a_sign_in_that_ends_loses_nothing_of_a_form(
    window: ChromiumWindow, served: ServedSite
) -> None:
    window.open(f"{served.url}/held")
    window.click("#yes")
    window.until_text("dana@example.com", ".who")
    window.click("main tbody a")
    window.type("input[name='field:email']", "lead@example.org")
    window.type("#why-set", "They called.")
    window.driver.delete_cookie("handoff")  # as when its time is up
    window.click("button", "Set, and judge it again")
    window.until_text("Your sign-in has ended, and nothing was done", "main")
    assert served.site.topics.amendments == []

    page = window.driver.current_window_handle
    window.click("main a", "Sign in, in another window")
    window.until(lambda: len(window.driver.window_handles) == 2, "another window")
    other = next(each for each in window.driver.window_handles if each != page)
    window.driver.switch_to.window(other)
    window.click("#yes")
    window.until_text("You are signed in")
    window.driver.close()
    window.driver.switch_to.window(page)
    window.click("button", "Send it again")
    window.until_text("Requested", "#held-state")
    (found,) = served.site.topics.amendments
    assert (found.by, found.reason) == ("dana@example.com", "They called.")
    assert bytes(found.fields["email"]) == b'"lead@example.org"'
    window.click("button", "Sign out")
    window.until_text("You have signed out", "main")
    window.click("main a", "To the front page")
    window.find("#yes")
    window.console()
