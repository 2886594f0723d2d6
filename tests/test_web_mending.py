"""What people do in the console: amend, release, send on, discard; one, or all that a cause holds;
and see a masked value after that was written down."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from schemas import serde
from schemas.flow import Record
from schemas.records import Amendment, Package
from tests.read_model import CANARY, MINUTE, START, story
from tests.web_client import Browser, WebSite, held

STORY = story()
LATER = START + 10 * 60 * MINUTE
CAUSE = "/cause/contract%2Flead%2Fcontext_unstructured%2Femail"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[WebSite]:
    made = WebSite(tmp_path, STORY)
    yield made
    made.close()


@pytest.fixture
def browser(site: WebSite) -> Browser:
    return site.browser


def asked(site: WebSite) -> Amendment:
    (found,) = site.topics.amendments
    return found


def answered_by_nobody(site: WebSite, amendment: Amendment) -> None:
    """The amendment as it lies on its topic."""
    key = amendment.task_id.encode()
    site.add(Record("handoff.amendments", 5, 900, key, serde.encode(amendment), LATER, []))


def record(old: Record, offset: int, value: bytes | None) -> Record:
    """A later record of the same key."""
    return Record(old.topic, old.partition, offset, old.key, value, LATER, [])


def revise(site: WebSite, handoff_id: str, revision: int = 2) -> None:
    """A newer revision of a held handoff comes."""
    old = max(
        (
            each
            for each in site.topics.records.values()
            if each.topic == "handoff.held" and each.key == handoff_id.encode() and each.value
        ),
        key=lambda each: each.offset,
    )
    package = msgspec.json.decode(old.value or b"", type=Package)
    newer = replace(
        package, revision=revision, context={**package.context, "budget": msgspec.Raw(b"8")}
    )
    site.add(record(old, 900 + revision, serde.encode(newer)))


def test_a_release_is_written_with_its_reason_and_the_revision_that_was_seen(
    site: WebSite, browser: Browser
) -> None:
    link = held(browser)
    page = browser.send(browser.get(link).form(link, "release"), reason=" It is urgent. ")
    found = asked(site)
    assert (found.action, found.reason, found.revision) == ("release", "It is urgent.", 1)
    assert (found.by, f"/held/{found.handoff_id}") == ("unverified", link)
    assert "Requested. The processor has not answered yet" in page.text


def test_who_it_is_never_comes_from_the_form(site: WebSite, browser: Browser) -> None:
    link = held(browser)
    browser.send(browser.get(link).form(link, "discard"), reason="No.", by="The boss")
    assert asked(site).by == "unverified"


def test_an_amendment_has_the_types_of_the_contract(site: WebSite, browser: Browser) -> None:
    link = held(browser)
    form = browser.get(link).form(link, "set")
    assert {"field:email", "field:budget"} <= set(form.names)
    page = browser.send(form, values={"field:budget": "much", "reason": "They said so."})
    assert page.status == 400
    assert "budget is to be a whole number" in page.text
    assert "much" in page.form(link, "set").values["field:budget"]  # nothing has to be typed again
    assert not site.topics.amendments
    browser.send(form, values={"field:budget": "12", "field:email": "a@b.c", "reason": "Mail."})
    assert {name: bytes(raw) for name, raw in asked(site).fields.items()} == {
        "budget": b"12",
        "email": b'"a@b.c"',
    }


@pytest.mark.parametrize(
    ("wish", "values", "why"),
    [
        ("release", {"reason": " "}, "say why"),
        ("set", {"reason": "x"}, "put in a value"),
        ("discard", {"reason": "x" * 1001}, "longer than 1,000"),
        ("release", {"reason": "x", "action": "explode"}, "choose what to do"),
        ("release", {"reason": "x", "action": "redirect", "to": "nobody"}, "choose a receiver"),
    ],
)
def test_what_cannot_be_asked_is_said_and_not_written(
    site: WebSite, browser: Browser, wish: str, values: dict[str, str], why: str
) -> None:
    link = held(browser)
    page = browser.send(browser.get(link).form(link, wish), values)
    assert page.status == 400
    assert why in page.text
    assert not site.topics.amendments


def test_a_second_person_is_told_what_the_first_one_changed(
    site: WebSite, browser: Browser
) -> None:
    link = held(browser)
    form = browser.get(link).form(link, "set")
    revise(site, link.removeprefix("/held/"))
    page = browser.send(form, values={"field:email": "a@b.c", "reason": "Late."})
    assert page.status == 409
    assert "You saw revision 1; somebody was faster, and the newest is revision 2" in page.text
    assert "budget" in page.text
    assert "another value" in page.text
    assert not site.topics.amendments
    again = page.form(link, "set")
    assert again.values["field:email"] == "a@b.c"
    assert again.values["revision"] == "2"
    browser.send(again)
    assert asked(site).revision == 2


def test_what_is_held_no_more_cannot_be_released(site: WebSite, browser: Browser) -> None:
    link = held(browser)
    form = browser.get(link).form(link, "release")
    gone = next(
        each for each in site.topics.records.values()
        if each.topic == "handoff.held" and each.key == link.removeprefix("/held/").encode()
    )  # fmt: skip
    site.add(record(gone, 901, None))
    page = browser.send(form, reason="Go.")
    assert page.status == 409
    assert "held no more" in page.text
    assert not site.topics.amendments


def test_what_is_pending_is_read_from_the_topic(site: WebSite, browser: Browser) -> None:
    link = held(browser)
    page = browser.send(browser.get(link).form(link, "release"), reason="Go.")
    answered_by_nobody(site, asked(site))
    other = Browser(site.replica())
    assert "unverified requested: release" in other.get(link).text
    assert "requested, not answered yet" in other.get(link).rows[asked(site).id]
    assert "release requested by unverified" in other.get("/held").text
    assert page.status == 200


def test_all_that_a_cause_holds_is_mended_with_one_reason(site: WebSite, browser: Browser) -> None:
    form = browser.get(CAUSE).form(CAUSE, "release")
    page = browser.send(form, reason="The form is mended.")
    assert len(site.topics.amendments) == 8
    assert {each.reason for each in site.topics.amendments} == {"The form is mended."}
    assert len({each.id for each in site.topics.amendments}) == 8
    assert "Requested for 8 handoffs" in page.text


def test_of_a_cause_all_are_mended_or_none(site: WebSite, browser: Browser) -> None:
    form = browser.get(CAUSE).form(CAUSE, "discard")
    revise(site, held(browser).removeprefix("/held/"))
    page = browser.send(form, reason="Old.")
    assert page.status == 409
    assert "none of them was changed" in page.text
    assert not site.topics.amendments


def test_a_broker_that_is_away_takes_nothing_and_says_so(site: WebSite, browser: Browser) -> None:
    link = held(browser)
    form = browser.get(link).form(link, "release")
    site.topics.away = True
    assert browser.send(form, reason="Go.").status == 503
    assert not site.topics.amendments


def test_a_value_is_shown_after_that_was_written_down(site: WebSite, browser: Browser) -> None:
    link = held(browser)
    page = browser.get(link)
    form = next(each for each in page.forms if each.action == "/unmask")
    shown = browser.send(form, reason="The customer is on the phone.")
    (entry,) = site.topics.audits
    assert (entry.who, entry.reason) == ("unverified", "The customer is on the phone.")
    assert (entry.topic, entry.workflow) == ("handoff.held", "sales")
    assert entry.field in ("budget", "note")
    assert CANARY not in json.dumps(msgspec.to_builtins(entry))
    assert shown.headers["cache-control"] == "no-store"
    assert ("7" if entry.field == "budget" else CANARY) in shown.text


def test_without_a_reason_or_its_entry_no_value_is_shown(site: WebSite, browser: Browser) -> None:
    form = next(e for e in browser.get(held(browser)).forms if e.action == "/unmask")
    assert browser.send(form, reason=" ").status == 400
    site.topics.away = True
    page = browser.send(form, reason="Why not.")
    assert page.status == 503
    assert not site.topics.audits


def test_no_value_is_read_from_a_place_that_the_read_model_does_not_hold(
    site: WebSite, browser: Browser
) -> None:
    form = next(e for e in browser.get(held(browser)).forms if e.action == "/unmask")
    for topic in ("handoff.internal.feed", "handoff.contracts", "other"):
        assert browser.send(form, reason="x", topic=topic, offset="0").status == 404
    assert browser.send(form, reason="x", number="99").status == 404
    assert browser.send(form, reason="x", number="-1").status == 400
    assert not site.topics.audits
