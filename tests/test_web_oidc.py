"""Sign-in with OpenID Connect, against a provider of its own that signs real tokens."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from joserfc.jwk import RSAKey
from pydantic import SecretStr
from ruamel.yaml import YAML

from tests.oidc_provider import CLIENT, Provider
from tests.web_client import Browser, WebSite

CONSOLE = "http://console.example"


@pytest.fixture
def provider() -> Iterator[Provider]:
    made = Provider()
    yield made
    made.close()


@pytest.fixture
def site(tmp_path: Path, provider: Provider) -> Iterator[WebSite]:
    path = tmp_path / "access.yaml"
    with path.open("w") as file:
        YAML().dump(
            {
                "kind": "ConsoleAccess",
                "oidc": {"issuer": provider.issuer, "client_id": CLIENT},
                "roles": [{"who": ["group:mending"], "role": "operator"}],
            },
            file,
        )
    made = WebSite(
        tmp_path, [], console_access=path, console_key=SecretStr("k" * 32),
        console_oidc_secret=SecretStr("secret"), console_url=CONSOLE,
    )  # fmt: skip
    yield made
    made.close()


def signed_in(site: WebSite, provider: Provider, path: str = "/held?team=a") -> tuple[Browser, Any]:
    """Sign in as the browser does that a page has sent away; the last answer."""
    browser = Browser(site.app, host=CONSOLE)
    begin = browser.ask("GET", path).headers["location"]
    away = browser.ask("GET", begin).headers["location"]
    asked = parse_qs(urlsplit(away).query)
    assert asked["redirect_uri"] == [f"{CONSOLE}/sign-in/back"]
    assert asked["code_challenge_method"] == ["S256"]
    provider.nonce = asked["nonce"][0]
    query = {"code": "c", "state": asked["state"][0]}
    return browser, browser.ask("GET", "/sign-in/back", params=query)


def test_a_sign_in_leads_back_to_the_page_that_was_asked_for(
    site: WebSite, provider: Provider
) -> None:
    browser, answer = signed_in(site, provider)
    assert (answer.status_code, answer.headers["location"]) == (303, "/held?team=a")
    page = browser.get("/held?team=a")
    assert page.status == 200
    assert "dana@example.com" in page.text
    browser.send(page.form("/sign-out"))
    assert browser.ask("GET", "/held").status_code == 303


@pytest.mark.parametrize(
    ("claims", "status"),
    [
        ({"iss": "https://evil.example"}, 401),
        ({"aud": "another"}, 401),
        ({"exp": 1}, 401),
        ({"nonce": "another"}, 401),
        ({"email": None}, 403),
        ({"email_verified": False}, 403),
    ],
)
def test_a_token_that_says_something_else_lets_nobody_in(
    site: WebSite, provider: Provider, claims: dict[str, Any], status: int
) -> None:
    provider.claims = claims
    browser, answer = signed_in(site, provider)
    assert answer.status_code == status
    assert browser.ask("GET", "/held").status_code == 303


def test_a_token_of_another_key_lets_nobody_in(site: WebSite, provider: Provider) -> None:
    provider.signs_with = RSAKey.generate_key(2048, {"kid": "k1"})
    browser, answer = signed_in(site, provider)
    assert answer.status_code == 401
    assert browser.ask("GET", "/held").status_code == 303


def test_who_has_no_role_sees_nothing(site: WebSite, provider: Provider) -> None:
    provider.claims = {"groups": ["others"]}
    browser, _ = signed_in(site, provider)
    assert browser.get("/held").status == 403


@pytest.mark.parametrize("to", ["https://evil.example", "//evil.example", "/\\evil.example"])
def test_a_sign_in_leads_nowhere_else(site: WebSite, provider: Provider, to: str) -> None:
    browser = Browser(site.app, host=CONSOLE)
    away = browser.ask("GET", "/sign-in", params={"to": to}).headers["location"]
    asked = parse_qs(urlsplit(away).query)
    provider.nonce = asked["nonce"][0]
    query = {"code": "c", "state": asked["state"][0]}
    assert browser.ask("GET", "/sign-in/back", params=query).headers["location"] == "/"


def test_a_state_of_another_browser_lets_nobody_in(site: WebSite) -> None:
    browser = Browser(site.app, host=CONSOLE)
    answer = browser.ask("GET", "/sign-in/back", params={"code": "c", "state": "stolen"})
    assert answer.status_code == 401


def test_a_sign_in_ends_after_its_hours(
    site: WebSite, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser, _ = signed_in(site, provider)
    assert browser.get("/held").status == 200
    later = time.time() + 8 * 3600 + 1
    monkeypatch.setattr("web.auth.oidc.time.time", lambda: later)
    assert browser.ask("GET", "/held").status_code == 303


def test_a_form_that_is_sent_after_the_sign_in_ended_is_sent_again_as_it_was(
    site: WebSite, provider: Provider
) -> None:
    browser, _ = signed_in(site, provider)
    form = browser.get("/held").form("/sign-out")
    browser.cookies.delete("handoff")
    page = browser.send(form, reason='Ünïcode "words"')
    assert page.status == 401
    assert "nothing was done" in page.text
    again = page.form("/sign-out")
    assert again.values["reason"] == 'Ünïcode "words"'
    assert again.values["token"] == form.values["token"]
    # What another site has sent is not offered.
    foreign = browser.send(form, headers={"sec-fetch-site": "cross-site"}, reason="x")
    assert foreign.status == 401
    assert not [each for each in foreign.forms if each.action == "/sign-out"]
