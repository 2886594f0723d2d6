"""What the pages are told of a story: thirty leads, ten of which lost the e-mail address."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from schemas import serde
from schemas.flow import Record
from schemas.records import Package
from schemas.serde import utc
from tests.read_model import CANARY, MINUTE, START, fill, story
from web.model.filters import Filters
from web.model.queries import audit, causes, map, registry, search, task, team, today
from web.model.queries.common import CursorError
from web.model.queries.held import HeldRow, held, held_one
from web.model.reader import EARLIER_SECONDS, Model
from web.model.store import DAY_MS, Store

STORY = story()
NOW = START + 6 * 60 * MINUTE
CAUSE = "contract/lead/context_unstructured/email"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "console.sqlite")
    fill(made, STORY)
    yield made
    made.close()


@pytest.fixture
def model(store: Store) -> Iterator[Model]:
    made = Model(store.path)
    yield made
    made.close()


def held_rows(model: Model, filters: Filters | None = None, size: int = 3) -> list[HeldRow]:
    found: list[HeldRow] = []
    page: str | None = None
    with model.read() as db:
        while True:
            some = held(db, filters or Filters(), page, size)
            found += some.rows
            page = some.next
            if page is None:
                return found


def test_every_count_of_today_opens_exactly_its_rows(model: Model) -> None:
    found = model.ask(today.today, Filters())
    assert found.held.number == 8 == len(held_rows(model, found.held.filters))
    with model.read() as db:
        page = today.stalled(db, found.stalled.filters)
        assert found.stalled.number == len(page.rows) > 15
        assert all(each.state == "sent" for each in page.rows)
        listed = causes.patterns(db, found.open_patterns.filters, "open")
    assert found.open_patterns.number == len(listed.rows) > 1
    assert listed.rows == found.patterns
    severities = [each.severity for each in listed.rows]
    assert severities == sorted(severities)  # errors before warnings
    nothing = model.ask(today.today, Filters(workflow="other"))
    assert (nothing.held.number, nothing.stalled.number, nothing.patterns) == (0, 0, [])


def test_held_handoffs_are_paged_and_say_why(model: Model) -> None:
    found = held_rows(model)
    assert [each.since for each in found] == sorted(each.since for each in found)
    assert len({each.id for each in found}) == 8
    first = found[0]
    assert (first.contract, first.receiver, first.owner) == ("lead", "nurture", "Dana Reyes")
    assert [(why.kind, why.field) for why in first.why] == [("context_unstructured", "email")]
    assert first.why[0].fingerprint == CAUSE
    assert held_rows(model, Filters(team="farmers")) == found
    assert held_rows(model, Filters(kind="context_unstructured", severity="warning")) == found
    assert held_rows(model, Filters(kind="rejected")) == []
    with model.read() as db, pytest.raises(CursorError):
        held(db, Filters(), "nonsense")


def test_one_that_was_amended_says_what_became_of_it(model: Model) -> None:
    with model.read() as db:
        story_of = task.task(db, "t-0")
        assert story_of is not None
        (handoff,) = story_of.handoffs
        found = held_one(db, handoff.id)
        assert held_one(db, "h-none") is None
    assert found is not None
    assert found.held is None
    assert (found.state, found.revision) == ("sent", 2)
    assert [(each.action, each.by, each.fields) for each in found.asked] == [
        ("set", "Ilse", ["email"])
    ]
    assert found.asked[0].answered == "amended"
    assert [(each.status, each.resolution) for each in found.violations if each.field] == [
        ("resolved", "amended")
    ]


def test_a_cause_keeps_its_violations_when_its_handoffs_were_sent_on_elsewhere(
    store: Store, model: Model
) -> None:
    """The record of a violation's end names the receiver and the contract of then, which are
    others: still the cause says which tool had the value last, and to whom it broke."""
    with model.read() as db:
        before = causes.cause(db, CAUSE, NOW)
    ends = [
        ended(record, number) for number, record in enumerate(STORY)
        if record.topic == "handoff.violations" and b"context_unstructured" in (record.value or b"")
        and b'"opened"' in (record.value or b"")
    ]  # fmt: skip
    fill(store, ends)
    with model.read() as db:
        after = causes.cause(db, CAUSE, NOW)
        teams = causes.patterns(db, Filters(team="farmers"), "open").rows
    assert before is not None
    assert after is not None
    assert (before.open, after.open) == (8, 0)
    assert after.had_last == before.had_last != []
    assert (after.total, after.samples) == (before.total, before.samples)
    assert (after.owner, CAUSE in {each.fingerprint for each in teams}) == (before.owner, True)


def ended(record: Record, number: int) -> Record:
    """The end of a violation whose handoff was sent on to the desk, under no contract."""
    body = json.loads(record.value or b"")
    to = {**body["to"], "receiver": "desk", "team": "helpers", "owner": "Ilse Kramer"}
    said = {**body, "status": "resolved", "contract": None, "to": to, "owner": "Ilse Kramer"}
    said |= {"resolution": "judged_again", "resolved_at": body["detected_at"]}
    value = json.dumps(said).encode()
    return Record(record.topic, record.partition, 10_000 + number, record.key, value, NOW)


def amendment(row: HeldRow, offset: int) -> Record:
    body = {
        "id": f"m-{offset}",
        "workflow": row.workflow,
        "task_id": row.task_id,
        "handoff_id": row.id,
        "action": "release",
        "by": "Ilse",
        "reason": CANARY,
        "occurred_at": NOW,
        "revision": row.revision,
    }
    value = json.dumps(body).encode()
    return Record("handoff.amendments", 5, offset, row.task_id.encode(), value, NOW)


@pytest.mark.parametrize("answer", ["package", "signal", "dead_letter", "gone"])
def test_an_amendment_is_pending_until_its_answer(model: Model, store: Store, answer: str) -> None:
    row = held_rows(model)[0]
    asked = amendment(row, 1000)
    fill(store, [asked])
    assert [each.id for each in held_rows(model)[0].pending] == ["m-1000"]
    assert held_rows(model)[0].pending[0].revision == row.revision
    old = next(
        each for each in STORY if each.topic == "handoff.held" and each.key == row.id.encode()
    )
    if answer == "dead_letter":
        letter = serde.dead_letter(asked, ValueError("x"))
        fill(store, [Record(letter.topic, 1, 0, letter.key, letter.value, NOW + 1, letter.headers)])
    elif answer == "gone":
        fill(store, [Record(old.topic, old.partition, 9_999, old.key, None, NOW + 1)])
        assert row.id not in {each.id for each in held_rows(model)}
        return
    elif answer == "signal":
        signal = next(each for each in STORY if each.topic == "handoff.signals")
        body = json.loads(signal.value or b"") | {"handoff_id": row.id, "kind": "released"}
        told = json.dumps(body).encode()
        fill(store, [Record(signal.topic, 1, 9_999, row.task_id.encode(), told, NOW + 1)])
    else:
        newer = Record(old.topic, old.partition, 9_999, old.key, revised(old), NOW + 1)
        fill(store, [newer])
    with model.read() as db:
        one = held_one(db, row.id)
    assert one is not None
    assert [each.answered for each in one.asked] == [answer]


def revised(record: Record) -> bytes:
    package = msgspec.json.decode(record.value or b"", type=Package)
    return serde.encode(replace(package, revision=package.revision + 1, sent_at=utc(NOW)))


def test_a_cause_says_who_is_to_act_and_what_it_holds(model: Model) -> None:
    with model.read() as db:
        found = causes.cause(db, CAUSE, NOW)
        assert causes.cause(db, "contract/none/x", NOW) is None
    assert found is not None
    assert found.pattern is not None
    assert (found.total, found.open) == (10, 8)  # the discarded one is over, too
    assert found.owner_contact == "dana@example.com"
    assert len(found.samples) == 10
    assert len(found.held) == 8
    assert {(each.what, each.id) for each in found.before} == {
        ("receiver", "nurture"),
        ("contract", "lead"),
    }


def test_a_task_is_told_under_each_of_its_names(model: Model) -> None:
    with model.read() as db:
        ways = [task.task(db, "t-4"), task.task(db, "t-100", "sales")]
        assert task.task(db, "nobody") is None
    for found in ways:
        assert found is not None
        assert {each.task_id for each in found.names} == {"t-4", "t-100"}
        assert [each.kind for each in found.links] == ["continues"]
        assert [each.at for each in found.events] == sorted(each.at for each in found.events)
        assert {each.what for each in found.events} >= {"output", "sent", "stalled", "opened"}


def test_search_finds_exactly_and_by_beginnings(model: Model) -> None:
    with model.read() as db:
        hits = search.search(db, " t-1 ")
        assert (hits[0].kind, hits[0].name, hits[0].exact) == ("task", "t-1", True)
        assert {each.name for each in hits if each.kind == "task"} >= {"t-1", "t-10", "t-18"}
        assert [each.kind for each in search.search(db, "lead")] == ["contract"]
        assert {each.kind for each in search.search(db, "nurt")} == {"receiver"}
        assert [each.kind for each in search.search(db, "e-7-qualify")] == ["event"]
        assert [each.kind for each in search.search(db, "contract/lead/context_u")] == ["pattern"]
        assert search.search(db, "") == []
        for hostile in ("%", "t_1", "'; drop table held --", "\x00", "\U0010ffff", "*" * 10_000):
            assert search.search(db, hostile) == []


def test_the_map_and_an_edge_of_it(model: Model) -> None:
    found = model.ask(map.map_, Filters(), now=NOW)
    (edge,) = (each for each in found.edges if each.kind == "handoff")
    assert (edge.volume, edge.before, edge.documented) == (30, 0, True)
    assert edge.lost == 10
    with model.read() as db:
        known = map.known_edge(db, edge.key)
        assert known is not None
        page = map.edge(db, known, Filters(), NOW)
        assert map.known_edge(db, "handoff/a/b/c") is None
        assert map.known_edge(db, "nonsense") is None
    assert page is not None
    assert page.now.begun == len(page.handoffs) == 30
    assert page.before.begun == 0
    assert {(each.kind, each.count) for each in page.losses if each.field == "email"} == {
        ("context_unstructured", 10)
    }
    later = model.ask(map.map_, Filters(since=NOW, hours=24), now=NOW)
    assert later.edges == []


def test_a_team_a_contract_and_the_audit(model: Model) -> None:
    with model.read() as db:
        assert team.teams(db) == ["farmers", "hunters"]
        got = team.team(db, "farmers", Filters(), NOW)
        listed = registry.contracts(db, Filters(), now=NOW)
        one = registry.contract(db, "lead", Filters(), NOW)
        receivers = registry.receivers(db, Filters(), now=NOW)
        found = audit.audit(db, Filters(), NOW)
    assert (got.received.now.begun, got.sent.now.begun) == (30, 0)
    assert got.received.now.late > 15
    assert [each.team for each in got.partners] == ["hunters"]
    assert [(each.id, each.version, each.use.begun) for each in listed.rows] == [("lead", 1, 30)]
    assert one is not None
    assert one.edges[0].sums.begun == 30
    assert [(each.id, each.owner) for each in receivers.rows] == [("nurture", "Dana Reyes")]
    assert len(found.audit.answers) == 6
    assert found.now.sums.begun == 30
    assert found.now.latency_ms_p50 is not None
    assert found.now.latency_ms_p50 > 60_000


def test_what_comes_late_is_measured_by_its_own_times_as_on_the_map(
    tmp_path: Path, model: Model
) -> None:
    """A recording that is sent a month later: the packages leave then."""
    late = [
        Record(each.topic, each.partition, each.offset, each.key, sent_later(each), each.timestamp)
        if each.topic == "handoff.packages"
        else each
        for each in STORY
    ]
    store = Store(tmp_path / "late.sqlite")
    fill(store, late)
    there = Model(store.path)
    with model.read() as db, there.read() as other:
        in_time, by_then = (audit.audit(each, Filters(), NOW).now for each in (db, other))
    assert by_then.latency_ms_p50 == in_time.latency_ms_p50
    there.close()
    store.close()


def sent_later(record: Record) -> bytes:
    package = msgspec.json.decode(record.value or b"", type=Package)
    return serde.encode(replace(package, sent_at=utc(NOW + 30 * 86_400_000)))


def record(topic: str, key: str, offset: int, value: object) -> Record:
    body = None if value is None else msgspec.json.encode(value)
    return Record(topic, 0, offset, key.encode(), body, NOW)


def test_moves_are_counted_in_the_range_where_there_are_figures(model: Model, store: Store) -> None:
    key = "move/sales/capture/qualify"

    def the_move() -> map.MapEdge:
        with model.read() as db:
            return next(each for each in map.map_(db, Filters(), NOW).edges if each.key == key)

    move = the_move()
    assert (move.volume, move.whole) == (30, False)  # those that the processor published
    keys = {each.key or b"" for each in STORY if each.topic == "handoff.figures"}
    gone = [
        record("handoff.figures", key.decode(), 10_000 + number, None)
        for number, key in enumerate(sorted(keys))
    ]
    fill(store, gone)
    assert the_move().whole
    hour = START // 3_600_000 * 3_600_000
    counted = {"kind": "move", "counts": {"moves": 4}, "lost_fields": {}}
    spans = [(hour, 3_600_000), (hour + 3_600_000, 3_600_000), (hour - 8 * DAY_MS, DAY_MS)]
    for number, (since, length) in enumerate(spans):
        told = counted | {"since": utc(since), "until": utc(since + length)}
        fill(store, [record("handoff.figures", f"{move.key}/{number}", 20_000 + number, told)])
    found = the_move()
    assert (found.volume, found.before, found.whole) == (8, 4, False)
    fill(store, [record("handoff.figures", f"{move.key}/0", 20_009, None)])
    assert the_move().volume == 4


def test_a_cause_says_what_people_were_told_of_it(model: Model, store: Store) -> None:
    pattern = next(
        each for each in STORY if each.topic == "handoff.patterns" and each.key == CAUSE.encode()
    )
    since, until = utc(NOW - 1000), utc(NOW + 1000)
    cause = {"of": "cause", "fingerprint": CAUSE, "alert": "k"}
    told = {"of": "alert", "state": "acknowledged", "started_at": since, "by": "Ilse"}
    silence = {"starts_at": since, "ends_at": until, "by": "Ilse", "reason": CANARY}
    match = {"contract": ["le*"], "severity": ["error", "warning"]}
    other = {"contract": ["l"]}
    fill(
        store,
        [
            record("handoff.alerts", f"cause/{CAUSE}", 0, cause),
            record("handoff.alerts", "alert/k", 1, told | {"title": CANARY}),
            record("handoff.alerts", "sink/s", 2, {"of": "sink", "sink": "s"}),
            record("handoff.silences", "s1", 0, silence | {"id": "s1", "match": match}),
            record("handoff.silences", "s2", 1, silence | {"id": "s2", "match": other}),
            replace(pattern, topic="handoff.figures", key=b"pattern/before", offset=77),
        ],
    )
    with model.read() as db:
        found = causes.cause(db, CAUSE, NOW)
        later = causes.cause(db, CAUSE, NOW + 5000)
    assert found is not None
    assert [(each.key, each.state, each.by) for each in found.alerts] == [
        ("k", "acknowledged", "Ilse")
    ]
    assert [each.key for each in found.silences] == ["s1"]
    assert len(found.earlier) == 1
    assert later is not None
    assert later.silences == []
    assert CANARY.encode() not in store.path.read_bytes()


def test_a_silence_covers_here_what_it_covers_for_the_alerts_and_as_fast(
    model: Model, store: Store
) -> None:
    silence = {"starts_at": utc(NOW - 1000), "ends_at": utc(NOW + 1000), "by": "I", "reason": "r"}
    matches: dict[str, dict[str, list[str]]] = {
        "slow": {"contract": ["*" + "l*" * 200 + "x"], "workflow": ["*" * 500 + "x"]},
        "none": {"receiver": ["*"], "contract": ["*ea*"]},  # the receiver is not known
        "no-member": {"status": ["*"]},
    }
    made = [
        record("handoff.silences", name, n, silence | {"id": name, "match": match})
        for n, (name, match) in enumerate(matches.items())
    ]
    long = next(e for e in STORY if e.topic == "handoff.patterns" and e.key == CAUSE.encode())
    value = json.loads(long.value or b"") | {"contract": "l" * 500 + "ead"}
    fill(store, [*made, replace(long, value=json.dumps(value).encode(), offset=9_999)])
    with model.read() as db:
        found = causes.cause(db, CAUSE, NOW)
    assert found is not None
    assert found.pattern is not None
    assert [each.key for each in found.silences] == ["none"]


def test_what_is_told_of_the_range_before_is_asked_once_a_minute(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, asked = 100.0, Counter[str]()
    monkeypatch.setattr("web.model.reader.time.monotonic", lambda: clock)

    def earlier(db: object, filters: Filters, now: int) -> int:
        asked["earlier"] += 1
        return 7

    def question(db: object, filters: Filters, now: int, before: int = 0) -> int:
        asked["question"] += 1
        return before

    for seconds in (0, 1, 5, 30, 59, 61):
        clock = 100.0 + seconds
        before = model.ask(earlier, Filters(), now=NOW, keep=EARLIER_SECONDS)
        assert model.ask(question, Filters(), now=NOW, before=before) == 7
    assert asked == {"earlier": 2, "question": 5}
