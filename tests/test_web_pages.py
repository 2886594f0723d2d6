"""The pages of the console, read as a client reads them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from processors.alerts.kinds import KINDS
from schemas.flow import Record
from tests.read_model import CANARY, story
from tests.web_client import HOST, Browser, WebSite
from web.app import build
from web.context import Console
from web.model.reader import Model

STORY = story()
CAUSE = "/cause/contract%2Flead%2Fcontext_unstructured%2Femail"
PAGES = ("/", "/causes", "/held", "/stalled", "/search?q=t-", CAUSE, "/task?id=t-1",
         "/map", "/edge?key=handoff%2Fsales%2Fqualify%2Fnurture", "/teams", "/team?id=farmers",
         "/contracts", "/contract?id=lead", "/receivers", "/sources", "/audit")  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebSite]:
    made = WebSite(tmp_path_factory.mktemp("console"), STORY)
    yield made
    made.close()


@pytest.fixture
def lost(site: WebSite) -> Iterator[WebSite]:
    """The topics may be taken from it."""
    records = site.topics.records
    yield site
    site.topics.records, site.topics.away = records, False


@pytest.fixture
def browser(site: WebSite) -> Browser:
    return site.browser


def held_of(browser: Browser) -> list[str]:
    return [link for link in browser.get("/held").links if link.startswith("/held/")]


def test_every_count_of_the_front_page_opens_exactly_its_rows(browser: Browser) -> None:
    page = browser.get("/?workflow=sales")
    for path, words in (("/causes", "open cause"), ("/held", "handoffs held")):
        link = next(each for each in page.links if each.startswith(f"{path}?"))
        listed = len(browser.get(link).rows)
        assert f"{listed} {words}" in " ".join(page.text.split())


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_whole_for_a_reader_and_a_screen_reader(browser: Browser, path: str) -> None:
    page = browser.get(path)
    assert page.status == 200
    assert page.title.endswith("Handoff Integrity")
    tags = [tag for tag, _ in page.tags]
    assert tags.count("h1") == tags.count("main") == 1
    assert ("html", {"lang": "en"}) in page.tags
    assert any(link == "#main" for link in page.links)
    assert all(given.get("scope") for tag, given in page.tags if tag == "th")
    ids = [given["id"] for _, given in page.tags if "id" in given]
    assert len(ids) == len(set(ids))
    # Nothing inline, and nothing from elsewhere.
    assert not [given for _, given in page.tags if "style" in given or "onclick" in given]
    for _, given in page.tags:
        for name in ("src", "href", "action"):
            assert given.get(name, "/").startswith(("/", "#"))


@pytest.mark.parametrize("path", PAGES)
def test_no_value_and_no_typed_word_is_on_a_page(browser: Browser, path: str) -> None:
    assert CANARY not in browser.get(path).source


@pytest.mark.parametrize("path", [path for path in PAGES if not path.startswith("/task")])
def test_every_table_is_there_as_csv(browser: Browser, path: str) -> None:
    page = browser.get(path)
    links = [link for link in page.links if "format=csv" in link]
    for link in links:
        answer = browser.ask("GET", link)
        assert answer.headers["content-type"].startswith("text/csv")
        rows = list(csv.reader(io.StringIO(answer.text)))
        assert len(rows) > 1
        assert {len(row) for row in rows} == {len(rows[0])}
    assert links or "No " in page.text or "Nothing" in page.text


def test_held_pages_go_on_where_the_last_one_ended(browser: Browser) -> None:
    assert len(browser.get("/held").rows) == 8


def test_a_cause_says_who_is_to_act_and_what_it_holds(browser: Browser) -> None:
    page = browser.get(CAUSE)
    assert "Dana Reyes (dana@example.com)" in page.text
    assert "capture" in page.text  # the stage that had it last
    assert "form" in page.text
    assert len([link for link in page.links if link.startswith("/held/")]) == 8
    assert page.title.startswith("email arrives only as words in another value")
    assert "sent only in words (context_unstructured)" in page.text
    todo = KINDS["context_unstructured"]
    assert todo.means in page.text
    assert f"Do: {todo.do}" in page.text
    assert "handoff show t-27: found_in names the field" in page.text
    assert "no process of the alerts has written anything of it" in page.text


def test_who_had_it_last_is_told_of_what_is_about_a_field(browser: Browser) -> None:
    assert "Who had it last" in browser.get(CAUSE).text
    paths = [link for link in browser.get("/causes").links if link.endswith("rejected")]
    page = browser.get(paths[0])
    assert page.status == 200
    assert "What changed before it began" in page.text
    assert "Who had it last" not in page.text


def test_the_record_of_a_violation_says_its_kind_in_words_and_by_name(browser: Browser) -> None:
    place = next(each for each in STORY if each.topic == "handoff.violations"
                 and b'"context_unstructured"' in (each.value or b""))  # fmt: skip
    page = browser.get(f"/records/violations/{place.partition}/{place.offset}")
    assert "sent only in words (context_unstructured)" in page.text


def test_what_broke_is_said_in_words_and_files_have_the_kinds(browser: Browser) -> None:
    for path in ("/", "/causes", "/held", held_of(browser)[0], "/team?id=farmers"):
        page = browser.get(path)
        kinds = [name for name in KINDS if "_" in name and name in page.text]
        assert kinds == [], path
    assert "context_unstructured: email" in browser.ask("GET", "/causes?format=csv").text
    form = next(each for each in browser.get("/causes?kind=rejected").forms if "kind" in each.names)
    assert form.action == "/causes"
    assert "Handoffs to a receiver are rejected" in browser.get("/causes").text


def test_a_held_handoff_says_why_and_what_it_carries(browser: Browser) -> None:
    page = browser.get(held_of(browser)[0])
    assert page.status == 200
    assert "email" in page.text
    assert "only as words inside" in page.text  # the violation's sentence, from its record
    assert "masked" in page.text


def test_a_task_tells_its_story_with_a_grid_of_its_fields(browser: Browser) -> None:
    page = browser.get("/task?id=t-1&workflow=sales")
    assert "qualify → nurture" in page.text
    assert "email" in page.rows
    assert "arrived" in page.rows["email"]
    assert "What happened" in page.text


def test_a_task_leads_to_its_other_names(browser: Browser) -> None:
    page = browser.get("/task?id=t-4")
    assert any("id=t-100" in link for link in page.links)
    assert any("id=t-4" in link for link in browser.get("/task?id=t-100").links)


def test_the_records_behind_a_page_are_pages(browser: Browser) -> None:
    page = browser.get("/task?id=t-1")
    links = [link for link in page.links if link.startswith("/records/")]
    assert links
    for link in links:
        record = browser.get(link)
        assert record.status == 200
        assert CANARY not in record.source


def test_only_a_place_that_the_read_model_holds_is_read(browser: Browser) -> None:
    for place in ("packages/0/99999", "internal.feed/0/0", "packages/x/1", "packages/0/1%2F2"):
        assert browser.get(f"/records/{place}").status == 404


def test_what_retention_took_is_a_state_and_no_error(lost: WebSite, browser: Browser) -> None:
    link = held_of(browser)[0]
    lost.topics.records = {
        place: each
        for place, each in lost.topics.records.items()
        if place.topic in ("handoff.contracts", "handoff.receivers")
    }
    assert "past retention" in browser.get(link).text
    assert "past retention" in browser.get("/task?id=t-1").text


def test_a_broker_that_is_away_leaves_the_lists(lost: WebSite, browser: Browser) -> None:
    lost.topics.away = True
    assert browser.get("/held").status == 200
    page = browser.get("/task?id=t-1")
    assert page.status == 503
    assert "does not answer" in page.text


def test_search_opens_what_it_finds(browser: Browser) -> None:
    found = browser.ask("GET", "/search?q=t-12")
    assert found.status_code == 303
    assert found.headers["location"].startswith("/task?id=t-12")
    page = browser.get("/search?q=t-")
    assert len([link for link in page.links if link.startswith("/task?")]) == 11
    assert "/contract?id=lead" in browser.get("/search?q=lead").links
    assert "Nothing has that name" in browser.get("/search?q=zzz").text


@pytest.mark.parametrize(
    "query", ["severity=bad", "since=yesterday", "last=7y", "workflow=" + "x" * 1001]
)
def test_a_filter_that_is_none_is_said_in_a_sentence(browser: Browser, query: str) -> None:
    page = browser.get(f"/?{query}")
    assert page.status == 400
    assert "The filters in the address are wrong" in page.text


def test_a_place_in_a_list_that_is_none_is_said_in_a_sentence(browser: Browser) -> None:
    page = browser.get("/held?page=%00~")
    assert page.status == 400
    assert "begin with its first page" in page.text


def test_before_the_read_model_is_built_a_page_says_so(site: WebSite, tmp_path: Path) -> None:
    console = Console(site.console.settings, Model(tmp_path / "none.sqlite"), site.topics)
    page = Browser(build(site.console.settings, console)).get("/")
    assert page.status == 503
    assert "look again" in page.text


def test_without_traffic_every_page_says_what_to_do_next(tmp_path: Path) -> None:
    site = WebSite(tmp_path, [])
    paths = ("/", "/causes", "/held", "/stalled", "/search", "/map", "/teams", "/contracts")
    for path in (*paths, "/receivers", "/sources"):
        page = site.browser.get(path)
        assert page.status == 200
        assert not page.rows
        assert any("empty" in given.get("class", "") for _, given in page.tags)
    site.close()


def test_there_is_no_other_page(browser: Browser) -> None:
    assert browser.get("/nothing").status == 404
    assert browser.get("/held/h-none").status == 404
    assert browser.get("/cause/none").status == 404
    assert browser.get("/task?id=none").status == 404
    assert browser.host == HOST


def test_each_page_that_another_one_leads_to_is_there(browser: Browser) -> None:
    """Also that of a cause of which no task is known."""
    others = ("/static", "/records/")  # of which there are many, all alike
    seen = set()
    for path, page in browser.walk(["/"], lambda to: to[:1] == "/" and not to.startswith(others)):
        assert page.status == 200, path
        seen.add(path)
    assert {"/map", "/audit"} < seen
    assert [path for path in seen if path.endswith("undocumented_handoff")]


def registered(number: int) -> list[Record]:
    """So many contracts of two versions, receivers and sources."""
    made: list[tuple[str, dict[str, Any]]] = []
    for each in range(number):
        owner = {"name": f"Owner {each}", "contact": "o@example.com"}
        contract = {"kind": "HandoffContract", "id": f"co-{each}", "owner": owner, "action": "Do.",
                    "workflow": "sales", "from": {"team": "hunters", "stage": f"s-{each}"},
                    "to": {"receiver": f"re-{each}", "stage": "next"}}  # fmt: skip
        made += [("contracts", {**contract, "version": version}) for version in (1, 2)]
        receiver = {"kind": "Receiver", "id": f"re-{each}", "team": "farmers", "owners": [owner]}
        source = {"kind": "Source", "id": f"so-{each}", "owner": owner, "topic": "desk",
                  "decode": "json",
                  "defaults": {"task": "value.id", "tool": {"value": "desk"},
                               "workflow": {"value": "sales"}, "occurred_at": "value.at"},
                  "emit": [{"stage": {"value": "new"}, "context": {}}]}  # fmt: skip
        made += [("receivers", receiver), ("sources", source)]
    return [
        Record(f"handoff.{topic}", 0, 100 + number, key(document), json.dumps(document).encode(), 1)
        for number, (topic, document) in enumerate(made)
    ]


def key(document: dict[str, Any]) -> bytes:
    version = document.get("version")
    return (f"{document['id']}@{version}" if version else document["id"]).encode()


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebSite]:
    made = WebSite(tmp_path_factory.mktemp("full"), [*STORY, *registered(60)])
    yield made
    made.close()


@pytest.mark.parametrize(
    ("path", "table", "expected"),
    [
        (
            "/contracts",
            "contracts",
            {f"co-{e}@{v}" for e in range(60) for v in (1, 2)} | {"lead@1"},
        ),
        ("/receivers", "receivers", {f"re-{e}" for e in range(60)} | {"nurture"}),
        ("/sources", "sources", {f"so-{e}@None" for e in range(60)}),
    ],
)
def test_what_is_registered_is_listed_by_pages(
    full: WebSite, path: str, table: str, expected: set[str]
) -> None:
    """Each row is on one of them, and the file of a page has the rows of that page."""
    listed: list[str] = []
    todo = [path]
    while todo:
        page = full.browser.get(todo.pop())
        here = [each for each in page.rows if each in expected]
        (file,) = (each for each in page.links if f"table={table}" in each)
        names = [line[0] for line in csv.reader(io.StringIO(full.browser.get(file).source))][1:]
        assert names == [each.partition("@")[0] for each in here]
        assert len(here) <= 50
        listed += here
        todo += [each for each in page.links if each.startswith(f"{path}?page=")]
    assert len(listed) == len(expected)
    assert set(listed) == expected


def test_what_is_registered_is_filtered_as_other_lists_are(full: WebSite) -> None:
    get = full.browser.get
    assert list(get("/contracts?contract=co-7").rows) == ["co-7@2", "co-7@1"]
    assert list(get("/contracts?owner=Owner+7").rows) == ["co-7@2", "co-7@1"]
    assert list(get("/contracts?receiver=re-7").rows) == ["co-7@2", "co-7@1"]
    assert list(get("/receivers?owner=Owner+7&team=farmers").rows) == ["re-7"]
    assert get("/receivers?owner=Owner+7&team=hunters").rows == {}
    (more,) = (each for each in get("/contracts?team=hunters").links if "page=" in each)
    assert "team=hunters" in more


@pytest.mark.parametrize(("name", "row"), [("re-9", "re-9"), ("so-9", "so-9@None")])
def test_the_search_leads_to_what_stands_on_a_later_page(
    full: WebSite, name: str, row: str
) -> None:
    links = full.browser.get(f"/search?q={name}").links
    (link,) = (each for each in links if each.endswith(f"={name}") and "/search" not in each)
    assert list(full.browser.get(link).rows) == [row]


def test_the_contracts_lead_to_the_sources_that_they_do_not_show(full: WebSite) -> None:
    (link,) = (e for e in full.browser.get("/contracts").links if e.startswith("/sources?page="))
    assert len(full.browser.get(link).rows) == 10
