"""The file of the read model: the same rows however it was built, and no value in it."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas.flow import Record
from tests.read_model import CANARY, START, dump, fill, story
from web.model import store as stores
from web.model.apply import apply
from web.model.parts import Unreadable
from web.model.schema import HOUR_MS, NUMBER
from web.model.store import DAY_MS, Position, Store

STORY = story()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model" / "console.sqlite"


def test_a_story_is_told_by_rows(path: Path) -> None:
    fill(Store(path), STORY)
    rows = dump(path)
    empty = {name for name, found in rows.items() if not found}
    assert empty == {"alerts", "silences", "occurrences", "dead_letters"}
    assert len(rows["held"]) == 8  # ten lost their address, one was amended and one discarded
    assert len(rows["handoffs"]) == 30
    assert len(rows["links"]) == 1


def test_no_value_and_no_words_of_people_are_in_the_file(path: Path) -> None:
    assert sum(CANARY.encode() in (each.value or b"") for each in STORY) > 50
    store = Store(path)
    fill(store, STORY)
    for file in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        assert CANARY.encode() not in file.read_bytes(), file
    store.tidy()
    store.close()
    assert CANARY.encode() not in path.read_bytes()


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1 << 30), batch=st.integers(1, 400))
def test_topics_may_be_read_in_any_order_and_twice(
    tmp_path_factory: pytest.TempPathFactory, seed: int, batch: int
) -> None:
    """The order within a partition is kept; batches that were read and not committed come again."""
    directory = tmp_path_factory.mktemp("order")
    plain, mixed = Store(directory / "plain"), Store(directory / "mixed")
    fill(plain, STORY)
    chance = random.Random(seed)
    waiting: dict[tuple[str, int], list[Record]] = {}
    for record in STORY:
        waiting.setdefault((record.topic, record.partition), []).append(record)
    order: list[Record] = []
    while waiting:
        here = chance.choice(sorted(waiting))
        some = chance.randint(1, 30)
        order += waiting[here][:some]
        waiting[here] = waiting[here][some:]
        if not waiting[here]:
            del waiting[here]
    fill(mixed, order, batch)
    again = chance.randrange(len(order))
    fill(mixed, order[again:], batch)
    assert dump(mixed.path) == dump(plain.path)
    plain.close()
    mixed.close()


def test_sums_are_what_a_group_by_says(path: Path) -> None:
    store = Store(path)
    fill(store, STORY)
    execute = store.db.execute
    for unit in (HOUR_MS, DAY_MS):
        begun = execute(
            "select lane, at / ?1, count(*), sum(late), sum(missing_n), sum(fidelity) "
            "from handoffs group by 1, 2 order by 1, 2",
            (unit,),
        ).fetchall()
        kept = execute(
            "select lane, at, begun, late, missing, fidelity from sums where unit = ?1 "
            "order by 1, 2",
            (unit,),
        ).fetchall()
        assert begun == kept != []
        broken = execute(
            "select lane, at / ?1, kind, coalesce(field, rule, ''), severity, count(*), "
            "sum(status = 'opened') from violations group by 1, 2, 3, 4, 5 order by 1, 2, 3, 4, 5",
            (unit,),
        ).fetchall()
        kept = execute(
            "select lane, at, kind, field, severity, n, open from breaks where unit = ?1 "
            "order by 1, 2, 3, 4, 5",
            (unit,),
        ).fetchall()
        assert broken == kept != []
    taken = (
        "select lane, at / 86400000, latency_bucket, count(*) from handoffs "
        "where latency_bucket is not null group by 1, 2, 3 order by 1, 2, 3"
    )
    found = store.db.execute(taken).fetchall()
    assert found
    assert found == store.db.execute("select * from latencies order by 1, 2, 3").fetchall()


def test_a_violation_knows_its_pattern(path: Path) -> None:
    """The fingerprints that the model computes are those that insights publishes."""
    store = Store(path)
    fill(store, STORY)
    patterns = {
        row[0]
        for row in store.db.execute(
            "select fingerprint from patterns where kind <> 'undocumented_handoff'"
        )
    }
    computed = {row[0] for row in store.db.execute("select distinct fingerprint from violations")}
    assert patterns
    assert patterns <= computed


def test_tombstones_are_followed(path: Path) -> None:
    store = Store(path)
    last = {each.key: each for each in STORY if each.topic == "handoff.held"}
    tables = ("handoff.held", "handoff.patterns", "handoff.edges", "handoff.contracts")
    fill(store, STORY)
    assert len(last) > store.db.execute("select count(*) from held").get > 0
    gone = [
        Record(topic, partition, 1_000_000 + number, key, None, START + DAY_MS)
        for number, (topic, partition, key) in enumerate(
            {(each.topic, each.partition, each.key) for each in STORY if each.topic in tables}
        )
    ]
    fill(store, gone)
    rows = dump(path)
    assert not rows["held"]
    assert not rows["patterns"]
    assert not rows["edges"]
    assert [row[1] for row in rows["registry"]] == ["nurture"]
    assert [row[6] for row in rows["registrations"]].count("removed") == 1


def test_what_is_none_of_ours_is_counted_and_left_out(path: Path) -> None:
    store = Store(path)
    topics = [topic for topic in NUMBER if topic not in stores.SAID]
    wrong = [
        Record(topic, 0, number, b"k", value, START)
        for topic in (*topics, *stores.SAID)
        for number, value in enumerate([b"{", b"[]", b"{}", b"\xff", b"[" * 100_000, b"nul"])
    ]
    long = {"id": "x" * 600, "task_id": "k", "workflow": "w", "tool": "t", "occurred_at": START}
    wrong.append(Record("handoff.tool-outputs", 1, 0, b"k", json.dumps(long).encode(), START))
    fill(store, wrong)
    assert not any(
        found for table, found in dump(path).items() if table not in ("positions", "lanes")
    )
    for topic in NUMBER:
        counted = store.db.execute(
            "select sum(unreadable) from positions where topic = ?", (NUMBER[topic],)
        ).get
        assert counted >= 4, topic
    with pytest.raises(Unreadable):
        apply(Record("handoff.edges", 0, 0, b"k", b"{", START))


@pytest.mark.parametrize("value", [10**30, -(10**30), 2**63])
def test_a_number_that_no_row_can_hold_leaves_out_its_record_alone(path: Path, value: int) -> None:
    """Else its transaction would fail, now and after each start."""
    store = Store(path)
    found = next(each for each in STORY if each.topic == "handoff.patterns" and each.value)
    large = json.dumps(json.loads(found.value or b"") | {"count": value}).encode()
    fill(store, [replace(found, value=large, offset=1), replace(found, offset=2)])
    assert len(dump(path)["patterns"]) == 1
    assert store.db.execute("select unreadable from positions").get == 1


def test_positions_and_rows_are_written_together(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(path)
    fill(store, STORY[:100])
    before = dump(path)
    seen = 0

    def fail(record: Record) -> object:
        nonlocal seen
        seen += 1
        if seen > 20:
            raise MemoryError
        return apply(record)

    monkeypatch.setattr(stores, "apply", fail)
    with pytest.raises(MemoryError):
        store.write(STORY[100:], {("handoff.acks", 0): Position(9, 9)})
    assert dump(path) == before


def test_a_writer_that_is_killed_leaves_whole_transactions(path: Path) -> None:
    program = f"""
        from itertools import islice
        from pathlib import Path
        from bench.read_model_records import HandoffTraffic
        from tests.read_model import fill
        from web.model.store import Store
        store, traffic = Store(Path({str(path)!r})), HandoffTraffic(50, 500, {START})
        fill(store, traffic.tables())
        print("begun", flush=True)
        fill(store, islice(traffic.handoffs(5_000), 40_000), 37)
    """
    root = Path(__file__).resolve().parents[1]
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        stdout=subprocess.PIPE,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"begun\n"
        reader = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        while reader.execute("select count(*) from events").get < 2_000:
            assert child.poll() is None
        child.send_signal(signal.SIGKILL)
    reader.close()
    store = Store(path)
    found = store.db.execute(
        "select p.topic, p.partition, p.next, count(e.offset) from positions p left join events e "
        "on e.topic = p.topic and e.partition = p.partition where p.topic in (?, ?, ?, ?) "
        "group by 1, 2",
        [NUMBER[f"handoff.{name}"] for name in ("tool-outputs", "packages", "signals", "acks")],
    ).fetchall()
    assert found
    assert all(after == count for _, _, after, count in found)


@pytest.mark.parametrize("how", ["version", "garbage", "cut"])
def test_a_file_that_does_not_fit_is_made_anew(path: Path, how: str) -> None:
    store = Store(path)
    fill(store, STORY)
    store.tidy()
    if how == "version":
        store.db.execute("pragma user_version = 9999")
        store.close()
    else:
        store.close()
        path.write_bytes(
            b"no database at all" * 500 if how == "garbage" else path.read_bytes()[:60]
        )
    again = Store(path)
    assert again.positions() == {}
    fill(again, STORY)
    assert again.db.execute("select count(*) from handoffs").get == 30


def test_a_deleted_file_is_noticed(path: Path) -> None:
    store = Store(path)
    assert not store.gone()
    path.unlink()
    assert store.gone()


def test_what_is_past_its_time_goes(path: Path) -> None:
    """What was said goes after a week, the rest after a month; tables of what is now stay."""
    store = Store(path)
    fill(store, STORY)
    before = dump(path)
    assert store.sweep(START + 2 * DAY_MS) == 0
    assert dump(path) == before
    while store.sweep(START + 10 * DAY_MS):
        pass
    week = dump(path)
    assert not week["amendments"]
    said = {NUMBER[topic] for topic in stores.SAID}
    assert not [row for row in week["events"] if row[0] in said]
    assert week["handoffs"] == before["handoffs"]
    while store.sweep(START + 40 * DAY_MS):
        pass
    month = dump(path)
    for table in (
        "events",
        "handoffs",
        "violations",
        "sums",
        "breaks",
        "latencies",
        "tasks",
        "links",
    ):
        assert not month[table], table
    for table in ("held", "patterns", "edges", "registry"):
        assert month[table] == before[table], table
