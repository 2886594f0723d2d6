"""A reader of some teams sees no name of others: every page and every table that somebody else is
led to is asked for, and the search is asked for names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import apsw
import pytest
from pydantic import SecretStr
from ruamel.yaml import YAML

from console.lines import Line
from schemas.flow import Record
from tests.read_model import MINUTE, START, published
from tests.web_client import WebSite
from web import seen
from web.auth.people import Grant, Person
from web.model.queries.search import Hit, search
from web.model.schema import NUMBER

URL = "https://handoffs.example.com"
# Whatever has this in its name is of a team, or of a workflow, that the reader may not see.
HIDDEN = "hidden"
NAV = ("/", "/stalled", "/causes?status=all", "/held", "/map", "/teams", "/contracts", "/receivers",
       "/audit", "/change")  # fmt: skip
_CONTRACT = """
kind: HandoffContract
id: {name}-contract
version: 1
owner: {{name: Ana {name}, contact: ana@example.com}}
action: Call them.
workflow: {workflow}
from: {{team: {name}-senders, stage: {name}-qualify}}
to: {{receiver: {name}-desk, stage: {name}-desk}}
hold_on: [never_captured]
accept_within: PT1M
fields:
  - {{name: {name}-email, rebuild: false}}
"""
_RECEIVER = """
kind: Receiver
id: {name}-desk
team: {team}
owners: [{{name: Dana {name}, contact: dana@example.com}}]
"""


def documents(text: str, topic: str) -> Line:
    body = json.dumps(YAML(typ="safe").load(text)).encode()
    return Line(1, topic, None, body, START, None)


def output(task: str, at: int, workflow: str, stage: str, **more: Any) -> Line:
    body = {
        "id": f"e-{task}-{stage}", "task_id": task, "workflow": workflow, "stage": stage,
        "tool": f"{task.rpartition('-')[0]}-tool", "occurred_at": at, **more,
    }  # fmt: skip
    return Line(1, "handoff.tool-outputs", task.encode(), json.dumps(body).encode(), at, None)


def leads(name: str, workflow: str) -> list[Line]:
    """Tasks of one sender and one receiver: held ones, and one that stalls and has another name."""
    lines = []
    for number in range(12):
        at, task = START + number * MINUTE, f"{name}-{number}"
        context = {f"{name}-email": "a@b.c"} if number == 11 else {f"{name}-budget": 7}
        lines.append(output(task, at, workflow, f"{name}-capture", context={f"{name}-x": 1}))
        lines.append(
            output(
                task, at + 1000, workflow, f"{name}-qualify", team=f"{name}-senders",
                context=context, handoff={"to": f"{name}-desk"},
            )
        )  # fmt: skip
    last = START + 13 * MINUTE
    lines.append(output(f"{name}-12", last, workflow, f"{name}-other", context={},
                        continues={"task_id": f"{name}-11"}))  # fmt: skip
    return lines


@pytest.fixture(scope="module")
def records() -> list[Record]:
    """In one workflow handoffs of two pairs of teams, and a workflow beside it."""
    lines = []
    for name, workflow, team in (
        ("shown", "sales", "farmers"),
        ("hidden", "sales", "others"),
        ("hidden2", "hidden-flow", "others"),
    ):
        contract = _CONTRACT.format(name=name, workflow=workflow)
        lines.append(documents(contract, "handoff.contracts"))
        lines.append(documents(_RECEIVER.format(name=name, team=team), "handoff.receivers"))
        lines += leads(name, workflow)
    said = [each for each in lines if each.topic == "handoff.tool-outputs"]
    registered = [each for each in lines if each not in said]
    said.sort(key=lambda line: line.occurred_at or 0)
    return published([*registered, *said], START + 60 * MINUTE)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, records: list[Record]) -> Iterator[WebSite]:
    folder = tmp_path_factory.mktemp("seen")
    roles = [
        {"who": ["adam"], "role": "reader"},
        {"who": ["fred"], "role": "reader", "teams": ["farmers"]},
        {"who": ["sally"], "role": "reader", "workflows": ["sales"], "teams": ["farmers"]},
    ]
    with (folder / "access.yaml").open("w") as file:
        YAML().dump(
            {"kind": "ConsoleAccess", "proxy": {"addresses": ["10.0.0.0/8"]}, "roles": roles}, file
        )
    made = WebSite(
        folder, records, console_access=folder / "access.yaml", console_key=SecretStr("k" * 32),
        console_url=URL,
    )  # fmt: skip
    yield made
    made.close()


@pytest.fixture(scope="module")
def everything(site: WebSite, records: list[Record]) -> list[str]:
    """The address of whatever somebody who may see all is led to."""
    adam = site.person("adam")
    wide = "since=2026-03-01&until=2026-03-04"
    todo = [f"{path}{'&' if '?' in path else '?'}{wide}" for path in NAV]
    todo += [f"/search?q={name}" for name in ("hidden", "shown", "h-", "e-", "contract/", "edge/")]
    todo += [
        f"/records/{each.topic.removeprefix('handoff.')}/{each.partition}/{each.offset}"
        for each in records
        if each.topic in NUMBER
    ]
    reached: list[str] = []
    while todo:
        path = todo.pop()
        if path in reached:
            continue
        reached.append(path)
        if path.startswith("/records/") or "format=" in path:
            continue
        todo += [each for each in adam.get(path).links if each.startswith("/") and each != "/"]
    return reached


@pytest.mark.parametrize("name", ["fred", "sally"])
def test_no_name_of_others_is_on_any_page(site: WebSite, everything: list[str], name: str) -> None:
    browser = site.person(name)
    told = []
    for path in everything:
        answer = browser.ask("GET", path)
        if answer.status_code in (200, 303) and HIDDEN in answer.text:
            asked_for = path.partition("?")[2]
            lines = [line for line in answer.text.splitlines() if HIDDEN in line]
            told += [(path, line.strip()) for line in lines if not _echoed(line, asked_for)]
        elif answer.status_code not in (200, 303, 403, 404):
            told.append((path, str(answer.status_code)))
    assert told == []


def _echoed(line: str, asked_for: str) -> bool:
    """Whether a line only says what was asked for, or is of the page itself."""
    plain = line.replace('type="hidden"', "").replace("aria-hidden", "").replace(" hidden>", "")
    return HIDDEN not in plain or (HIDDEN in asked_for and ("Search" in line or "value=" in line))


def test_what_is_theirs_is_there(site: WebSite, everything: list[str]) -> None:
    fred = site.person("fred")
    kinds = {
        path.partition("?")[0].split("/")[1]
        for path in everything
        if "shown" in path and fred.ask("GET", path).status_code == 200
    }
    assert {"task", "edge", "cause", "contract", "search", "change"} <= kinds
    assert fred.get("/team?id=farmers").status == 200
    assert len(fred.get("/held").rows) == 11
    assert fred.get("/search?q=shown-").rows
    assert "shown-desk" in fred.get("/receivers").text
    assert fred.get("/sources").status == 403  # which are of no team
    assert "Sources" not in fred.get("/contracts").text


def test_who_may_see_all_is_led_to_all(everything: list[str]) -> None:
    """Else the test above would prove nothing."""
    hidden = {path.partition("?")[0].split("/")[1] for path in everything if HIDDEN in path}
    assert {"task", "edge", "cause", "contract", "team", "draft", "change"} <= hidden
    assert any(path.startswith("/held/") for path in everything)
    assert any("format=csv" in path for path in everything)


def test_the_search_finds_what_is_theirs_behind_what_is_not(site: WebSite) -> None:
    """Many names of others come before the few that are theirs, which a list of ten would cut."""
    with site.model.read() as db:
        fred = Person("fred", (Grant("reader", teams=("farmers",)),), signed_in=True)
        sees = seen.sees(db, fred)
        for beginning in ("e-", "h-", "contract/"):
            theirs = {each.name for each in search(db, beginning, sees)}
            assert theirs
            assert not any(HIDDEN in name for name in theirs)
        assert len({e.name for e in search(db, "e-", sees) if e.kind == "event"}) == 10
        for each in search(db, "e-")[:10]:
            assert HIDDEN in each.name  # else this would prove nothing


NAMES = ("h", "hidden", "hidden-1", "hidden2-", "shown", "shown-12", "sh", "e-", "e-shown",
         "h-", "contract/", "receiver/", "edge/", "hidden-desk", "shown-c", "sales")  # fmt: skip
GRANTS = (
    (),
    (Grant("reader", teams=("farmers",)),),
    (Grant("reader", workflows=("hidden-flow",)),),
    (Grant("operator", workflows=("sales",), teams=("hidden-senders", "nobody")),),
    (Grant("reader", teams=("oth*",)), Grant("unmasker", workflows=("sal*",), teams=("shown-*",))),
    (Grant("reader", workflows=("sales",)), Grant("reader", teams=("others",))),
)


@pytest.mark.parametrize("grants", GRANTS)
def test_the_search_finds_exactly_what_may_be_read(
    site: WebSite, grants: tuple[Grant, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same as all there is, asked about one by one."""
    monkeypatch.setattr("web.model.queries.search.EACH", 1_000)
    who = Person("somebody", grants, signed_in=True)
    with site.model.read() as db:
        sees = seen.sees(db, who)
        for name in NAMES:
            assert search(db, name, sees) == [
                each for each in search(db, name) if _may_see(db, who, each)
            ], name


def _may_see(db: apsw.Connection, who: Person, hit: Hit) -> bool:
    task, workflow = hit.task_id or hit.name, hit.workflow or ""
    match hit.kind:
        case "contract" | "receiver" | "source":
            return seen.may_read_document(db, who, hit.kind, hit.name)
        case "pattern":
            return seen.may_read_cause(db, who, hit.name)
        case "linked":
            others = db.execute(
                "select distinct of_workflow from links where of_task = ? and task_id = ? "
                "and workflow = ?", (hit.name, task, workflow),
            ).fetchall()  # fmt: skip
            both = [(task, workflow), *((hit.name, str(other)) for (other,) in others)]
            return all(seen.may_read_task(db, who, *each) for each in both)
    return seen.may_read_task(db, who, task, workflow)
