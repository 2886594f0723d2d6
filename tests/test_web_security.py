"""What keeps others out of the console, one rule a test; and hostile text in every place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from pydantic import SecretStr
from ruamel.yaml import YAML

from console.lines import Line
from processors.runtime.settings import SettingsError
from schemas.flow import Record
from tests.read_model import CANARY, START, published, story
from tests.web_client import Browser, WebSite, held
from web.auth import tokens

STORY = story()
KEY = SecretStr("k" * 32)
URL = "https://handoffs.example.com"
CAUSE = "/cause/contract%2Flead%2Fcontext_unstructured%2Femail"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebSite]:
    made = WebSite(tmp_path_factory.mktemp("console"), STORY)
    yield made
    made.close()


@pytest.fixture
def browser(site: WebSite) -> Iterator[Browser]:
    yield Browser(site.app)
    site.topics.amendments.clear()
    site.topics.audits.clear()


# --- what every answer says ----------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/held", "/nothing", "/?severity=x"])
def test_every_answer_forbids_what_pages_do_not_need(browser: Browser, path: str) -> None:
    headers = browser.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"


def test_the_cookie_of_a_form_is_for_the_browser_alone(browser: Browser) -> None:
    cookie = browser.ask("GET", "/").headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie


# --- who asks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "[::1", "10.0.0.1"])
def test_another_name_of_this_machine_is_not_answered(browser: Browser, host: str) -> None:
    answer = browser.ask("GET", "/held", headers={"host": host})
    assert answer.status_code == 421
    assert "t-0" not in answer.text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("origin", "https://evil.example"),
        ("origin", "null"),
    ],
)
def test_a_form_from_another_site_does_nothing(
    site: WebSite, browser: Browser, name: str, value: str
) -> None:
    form = browser.get(held(browser)).form(held(browser), "release")
    page = browser.send(form, headers={name: value}, reason="x")
    assert page.status == 403
    assert not site.topics.amendments


@pytest.mark.parametrize("token", ["", "x" * 64, "\u00e9"])
def test_a_form_without_its_token_does_nothing(site: WebSite, browser: Browser, token: str) -> None:
    form = browser.get(held(browser)).form(held(browser), "release")
    assert browser.send(form, reason="x", token=token).status == 403
    assert not site.topics.amendments


def test_the_token_of_another_browser_does_nothing(site: WebSite, browser: Browser) -> None:
    form = browser.get(held(browser)).form(held(browser), "release")
    other = Browser(site.app)
    other.get("/")
    assert other.send(form, reason="x").status == 403
    assert not site.topics.amendments


def test_only_a_form_is_taken_and_only_of_a_size(site: WebSite, browser: Browser) -> None:
    link = held(browser)
    token = browser.get(link).form(link, "release").values["token"]
    own = {"origin": browser.host, "sec-fetch-site": "same-origin"}
    as_json = browser.ask("POST", link, json={"token": token}, headers=own)
    large = browser.ask("POST", link, data={"token": token, "reason": "x" * (1 << 20)}, headers=own)
    assert (as_json.status_code, large.status_code) == (415, 413)
    assert browser.ask("PUT", link).status_code == 405
    assert browser.ask("GET", "/unmask").status_code in (404, 405)
    assert not site.topics.amendments


@pytest.mark.parametrize(
    "settings",
    [
        {"console_host": "0.0.0.0"},
        {"console_host": "192.168.1.2"},
        {"console_url": URL},
    ],
)
def test_without_sign_in_nobody_else_may_reach_it(tmp_path: Path, settings: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="HANDOFF_CONSOLE"):
        WebSite(tmp_path, [], **settings)


# --- who may what --------------------------------------------------------------------------------


def access(folder: Path, roles: list[dict[str, Any]]) -> Path:
    path = folder / "access.yaml"
    with path.open("w") as file:
        YAML().dump(
            {"kind": "ConsoleAccess", "proxy": {"addresses": ["10.0.0.0/8"]}, "roles": roles}, file
        )
    return path


ROLES = [
    {"who": ["rita"], "role": "reader"},
    {"who": ["group:mending"], "role": "operator", "workflows": ["sales"]},
    {"who": ["uma"], "role": "unmasker", "teams": ["farmers"]},
    {"who": ["otto"], "role": "operator", "workflows": ["other"]},
    {"who": ["tom"], "role": "reader", "teams": ["nobodies"]},
    {"who": ["vera"], "role": "reader"},
    {"who": ["vera"], "role": "unmasker", "teams": ["nobodies"]},
]


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebSite]:
    folder = tmp_path_factory.mktemp("signed")
    made = WebSite(
        folder,
        STORY,
        console_access=access(folder, ROLES),
        console_key=KEY,
        console_url=URL,
    )
    yield made
    made.close()


def person(site: WebSite, name: str, groups: str = "", address: str = "10.1.2.3") -> Browser:
    made = Browser(site.app, address, URL)
    made.headers = {"x-forwarded-user": name, "x-forwarded-groups": groups}
    site.topics.amendments.clear()
    site.topics.audits.clear()
    return made


def test_a_header_is_believed_from_the_proxy_alone(signed: WebSite) -> None:
    assert person(signed, "rita").get("/held").status == 200
    page = person(signed, "rita", address="192.168.0.1").get("/held")
    assert page.status == 403
    assert "t-0" not in page.source


def test_nobody_is_shown_nothing(signed: WebSite) -> None:
    assert person(signed, "").get("/held").status == 401
    page = person(signed, "eve").get("/held")
    assert page.status == 403
    assert "no role is yours" in page.text


def test_two_subjects_are_none(signed: WebSite) -> None:
    browser = Browser(signed.app, "10.1.2.3", URL)
    two = [("x-forwarded-user", "rita"), ("x-forwarded-user", "eve")]
    assert browser.ask("GET", "/held", headers=two).status_code == 401


def test_a_reader_has_no_forms_and_may_send_none(signed: WebSite) -> None:
    operator = person(signed, "olga", "mending")
    link = held(operator)
    reader = person(signed, "rita")
    page = reader.get(link)
    assert page.status == 200
    assert not [each for each in page.forms if each.action in (link, "/unmask")]
    form = operator.get(link).form(link, "release")
    form.values["token"] = ""
    assert reader.send(form, reason="x").status == 403
    assert not signed.topics.amendments


def test_an_operator_mends_under_their_own_name(signed: WebSite) -> None:
    operator = person(signed, "olga", "others, mending")
    link = held(operator)
    operator.send(operator.get(link).form(link, "release"), reason="x")
    (found,) = signed.topics.amendments
    assert found.by == "olga"


def test_a_form_of_one_person_is_not_one_of_another(signed: WebSite) -> None:
    operator = person(signed, "olga", "mending")
    link = held(operator)
    form = operator.get(link).form(link, "release")
    operator.headers["x-forwarded-user"] = "oskar"
    assert operator.send(form, reason="x").status == 403
    assert not signed.topics.amendments


def test_an_operator_of_another_workflow_sees_and_changes_nothing_here(signed: WebSite) -> None:
    link = held(person(signed, "rita"))
    otto = person(signed, "otto")
    for path in (link, CAUSE, "/task?id=t-1", "/held?workflow=sales"):
        page = otto.get(path)
        assert page.status in (403, 404)
        assert "t-1" not in page.source.replace("/task?id=t-1", "")


def test_a_reader_of_another_team_sees_no_record(signed: WebSite) -> None:
    link = held(person(signed, "rita"))
    assert person(signed, "tom").get(link).status == 403
    assert person(signed, "tom").get(CAUSE).status == 403


def test_only_an_unmasker_sees_a_value(signed: WebSite) -> None:
    unmasker = person(signed, "uma")
    link = held(person(signed, "rita"))
    form = next(each for each in unmasker.get(link).forms if each.action == "/unmask")
    shown = unmasker.send(form, reason="To call back.")
    assert shown.status == 200
    assert [each.who for each in signed.topics.audits] == ["uma"]
    operator = person(signed, "olga", "mending")
    own = operator.get(link).form(link, "release").values["token"]
    assert operator.send(form, reason="x", token=own).status == 403
    assert not signed.topics.audits


def test_an_unmasker_of_another_team_sees_no_value_of_what_a_tool_wrote(signed: WebSite) -> None:
    """Such a record names no team; its task does."""
    uma, vera = person(signed, "uma"), person(signed, "vera")
    found = next(r for r in STORY if r.topic == "handoff.tool-outputs" and r.key == b"t-1")
    record = f"/records/tool-outputs/{found.partition}/{found.offset}"
    form = next(each for each in uma.get(record).forms if each.action == "/unmask")
    page = vera.get(record)
    assert page.status == 200
    assert not [each for each in page.forms if each.action == "/unmask"]
    token = tokens.token(b"k" * 32, vera.cookies["__Host-handoff-form"], "vera")
    assert vera.send(form, reason="x", token=token).status == 403
    assert not signed.topics.audits
    assert uma.send(form, reason="To call back.").status == 200


def test_with_https_the_cookie_is_of_this_host_alone(signed: WebSite) -> None:
    cookie = person(signed, "rita").ask("GET", "/held").headers["set-cookie"]
    assert cookie.startswith("__Host-")
    assert "; Secure" in cookie


# --- hostile text --------------------------------------------------------------------------------

HOSTILE = "\"'><script>alert(1)</script>\u202e\x1b[31m{{7*7}}"


def hostile_story() -> list[Record]:
    """A task whose every name, that a tool or a person chooses, is hostile."""
    body: dict[str, Any] = {
        "id": f"e{HOSTILE}",
        "workflow": f"w{HOSTILE}",
        "task_id": f"t{HOSTILE}",
        "stage": f"s{HOSTILE}",
        "tool": f"o{HOSTILE}",
        "team": f"m{HOSTILE}",
        "occurred_at": START,
        "context": {f"f{HOSTILE}": HOSTILE, "large": "x" * 900_000},
        "handoff": {"to": f"r{HOSTILE}", "note": HOSTILE},
    }
    line = Line(
        1,
        "handoff.tool-outputs",
        str(body["task_id"]).encode(),
        json.dumps(body).encode(),
        START,
        None,
    )
    return published([line], START + 1000)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebSite]:
    made = WebSite(tmp_path_factory.mktemp("hostile"), hostile_story())
    yield made
    made.close()


def test_hostile_names_are_text_on_every_page(hostile: WebSite) -> None:
    browser = Browser(hostile.app)
    begin = ["/", "/causes", "/held", "/stalled", "/map", "/teams", "/search?q=t"]
    ours = ("/held/", "/task?", "/records/", "/cause/", "/map", "/edge", "/team", "/audit")
    seen = set()
    for path, page in browser.walk(
        begin, lambda to: to.startswith(ours) and "format=csv" not in to
    ):
        seen.add(path)
        assert page.status in (200, 303), path
        assert "<script>alert" not in page.source
        assert not [each for tag, each in page.tags if tag == "script" and "src" not in each]
        # In attributes (what a form sends back) a name is as it is.
        assert not {"\x1b", "\u202e"} & set(page.text + page.title)
        assert "49" not in page.rows.get("f", "")
        assert len(page.source) < 500_000
    assert any(path.startswith("/task?") for path in seen)
    assert any(path.startswith("/held/") for path in seen)


def test_hostile_words_in_an_address_are_text(browser: Browser) -> None:
    for path in ("/search", "/held", "/", "/task"):
        answer = browser.ask(
            "GET", path, params={"q": HOSTILE, "id": HOSTILE, "receiver": HOSTILE, "page": "1~x"}
        )
        assert "<script>alert" not in answer.text


def test_a_cell_of_a_file_is_no_formula(tmp_path: Path) -> None:
    body = {
        "id": "e-1", "workflow": "=HYPERLINK(1)", "task_id": "@SUM(1)", "stage": "-1", "tool": "+1",
        "occurred_at": START, "context": {"a": 1}, "handoff": {"to": "=1+1"},
    }  # fmt: skip
    line = Line(1, "handoff.tool-outputs", b"@SUM(1)", json.dumps(body).encode(), START, None)
    site = WebSite(tmp_path, published([line], START + 1000))
    answer = site.browser.ask("GET", "/held?format=csv")
    assert "'@SUM(1)" in answer.text
    assert not [row for row in answer.text.splitlines() if row.startswith(("@", "=", "+", "-"))]
    site.close()


def test_a_time_outside_of_the_calendar_breaks_no_page(tmp_path: Path) -> None:
    """Whoever writes a record says when; an offset leads out of the years 1 to 9999."""
    late = "9999-12-31T23:59:59-14:00"
    odd = []
    for each in story():
        value = each.value
        if each.topic in ("handoff.patterns", "handoff.edges") and value is not None:
            changed = dict.fromkeys(("first_seen", "last_seen", "at"), late)
            value = json.dumps(json.loads(value) | changed).encode()
        at = 10**15 if each.offset % 7 == 3 else each.timestamp
        odd.append(replace(each, value=value, timestamp=at))
    site = WebSite(tmp_path, odd)
    for path in ("/", "/causes", CAUSE, "/audit", "/held", "/task?id=t-0", "/task?id=t-4"):
        assert site.browser.get(path).status == 200, path
    site.close()


FORGED = ["", "x", "a:b", ["a:b"], "h:1:context_unstructured", 7, {"email": {"how": "odd"}}]


@pytest.mark.parametrize("topic", ["handoff.held", "handoff.packages"])
def test_a_forged_package_breaks_no_page_and_shows_nothing(tmp_path: Path, topic: str) -> None:
    """Whoever may write to a topic may write any package there."""
    site = WebSite(tmp_path, story())
    whole = site.topics.records
    place, record = next((p, r) for p, r in whole.items() if p.topic == topic and r.value)
    body = json.loads(record.value or b"")
    paths = (
        f"/records/{topic.removeprefix('handoff.')}/{place.partition}/{place.offset}",
        f"/held/{body['id']}",
        f"/task?id={body['task_id']}",
    )
    for member in ("violations", "missing", "provenance", "context", "from"):
        for odd in FORGED:
            value = [odd] if member == "violations" and isinstance(odd, str) else odd
            forged = json.dumps(body | {member: value}).encode()
            site.topics.records = whole | {place: replace(record, value=forged)}
            for path in paths:
                answer = site.browser.ask("GET", path)
                assert answer.status_code < 500, (path, member, odd)
                assert CANARY not in answer.text, (path, member, odd)
    site.close()
