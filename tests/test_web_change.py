"""What a change of contracts would do, and drafts for what nobody wrote down, in the console."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.documents import HandoffContract, from_json
from schemas.loading import load
from tests.read_model import CANARY, story
from tests.web_client import Browser, Page, WebSite
from web import trying


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebSite]:
    made = WebSite(tmp_path_factory.mktemp("console"), story())
    yield made
    made.close()


@pytest.fixture
def browser(site: WebSite) -> Browser:
    site.topics.away = False
    return site.browser


def text_of(page: Page) -> str:
    """What the text field of the page holds."""
    return page.texts["text"]


def written(browser: Browser) -> str:
    return text_of(browser.get("/change?id=lead"))


def tried(browser: Browser, text: str) -> Page:
    return browser.send(browser.get("/change").form("/change"), text=text)


def test_the_text_to_begin_with_is_the_contract_that_is_registered(
    site: WebSite, browser: Browser, tmp_path: Path
) -> None:
    file = tmp_path / "lead.yaml"
    file.write_text(written(browser))
    (found,) = load([file]).contracts
    registered = from_json(site.topics.documents()["handoff.contracts"]["lead@1"])
    assert found == registered


def test_a_contract_that_is_the_same_breaks_nobody(browser: Browser) -> None:
    page = tried(browser, written(browser))
    assert "It breaks nobody" in page.text
    assert "None of the newest handoffs would newly fail or be held" in page.text


def test_a_stricter_contract_says_whom_it_breaks_and_which_handoffs_fail(browser: Browser) -> None:
    text = written(browser).replace("version: 1", "version: 2")
    page = tried(browser, f"{text}\n".replace("fields:", "fields:\n- name: phone"))
    assert "1 change breaks a sender or a receiver" in page.text
    assert "sender" in page.rows["0"]
    assert "fields.phone" in page.rows["0"]
    newly = next(row for key, row in page.rows.items() if key.startswith("newly fails/"))
    assert "no tool captured it (never_captured)" in newly
    assert any(link.startswith("/task?id=t-") for link in page.links)
    assert text_of(page).count("phone") == 1  # it can be changed further
    assert CANARY not in page.source


def test_a_looser_contract_says_what_is_held_no_longer(browser: Browser) -> None:
    text = written(browser).replace("version: 1", "version: 2")
    page = tried(browser, text.replace("- context_unstructured", "- receiver_missing"))
    assert "10" in page.rows["no longer held/"]


def test_another_body_under_the_same_version_is_refused_by_the_cluster(browser: Browser) -> None:
    page = tried(browser, written(browser).replace("Call them.", "Write to them."))
    assert "Raise the version to 2" in page.text


def test_a_contract_that_is_new_judges_what_nothing_covered(browser: Browser) -> None:
    page = tried(browser, written(browser).replace("id: lead", "id: other"))
    assert "handoffs that nothing covered are judged by it" in page.text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (" ", "Put in the contract"),
        ("kind: Nothing", "Line 1, kind: unknown kind 'Nothing'"),
        ("kind: Nothing", "Contracts (kind: HandoffContract) are tried here"),
        ("kind: Receiver\nid: 7\nteam: b\n", "Line 2, id: must be"),
        ("a: [", "is not valid YAML"),
        ("kind: Receiver\nid: a\nteam: b\n", "holds no contract"),
        ("x" * (trying.MOST_CHARACTERS + 1), "longer than 100,000"),
    ],
)
def test_what_cannot_be_read_is_said_with_its_place(browser: Browser, text: str, why: str) -> None:
    page = tried(browser, text)
    assert page.status == 400
    assert why in page.text


def test_where_the_inputs_cannot_be_read_the_difference_is_told(
    site: WebSite, browser: Browser
) -> None:
    text = written(browser)
    form = browser.get("/change").form("/change")
    site.topics.away = True
    page = browser.send(form, text=text)
    assert page.status == 200
    assert "were not judged again" in page.text
    assert "Nothing is another one" in page.text


def test_what_retention_took_is_counted(site: WebSite, browser: Browser) -> None:
    text, records = written(browser), site.topics.records
    try:
        site.topics.records = {
            place: each for place, each in records.items()
            if place.topic != "handoff.tool-outputs" or place.offset > 2
        }  # fmt: skip
        assert "other records of them are past retention" in tried(browser, text).text
    finally:
        site.topics.records = records


def test_what_nobody_wrote_down_has_a_draft_that_lint_reads(
    browser: Browser, tmp_path: Path
) -> None:
    page = browser.get("/contracts")
    drafts = [link for link in page.links if link.startswith("/draft?")]
    assert drafts
    for link in drafts:
        page = browser.get(link)
        assert page.status == 200
        assert "status: draft" in page.text
        file = tmp_path / "draft.yaml"
        answer = browser.ask("GET", next(each for each in page.links if "format=yaml" in each))
        assert answer.headers["content-disposition"].endswith('.yaml"')
        assert CANARY not in answer.text
        file.write_text(answer.text)
        (found,) = load([file]).contracts
        assert isinstance(found, HandoffContract)
        assert found.status == "draft"


def test_an_edge_that_a_contract_documents_has_no_draft(browser: Browser) -> None:
    page = browser.get("/draft?key=handoff%2Fsales%2Fqualify%2Fnurture")
    assert page.status == 404
    assert "documents that edge already" in page.text
    assert browser.get("/draft?key=nothing").status == 404


def test_an_edge_leads_to_its_draft_and_to_a_change_of_its_contract(browser: Browser) -> None:
    links = browser.get("/edge?key=handoff%2Fsales%2Fqualify%2Fnurture").links
    assert "/change?id=lead" in links
    draft = next(
        link for link in browser.get("/contracts").links if link.startswith("/draft?key=move")
    )
    edge = draft.replace("/draft", "/edge")
    assert draft in browser.get(edge).links
