"""The read model over a broker: it follows the topics, from wherever it was."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from console.kafka import Writer, connect
from processors.runtime.settings import Settings
from schemas.flow import Record
from tests.commands import HandoffCommand
from tests.lanes import wait_for
from tests.read_model import START, dump, fill, story
from web.model.builder import Builder
from web.model.changes import Changes
from web.model.filters import Filters
from web.model.queries.freshness import freshness
from web.model.queries.held import held
from web.model.reader import Model, NotBuilt
from web.model.store import Store

pytestmark = pytest.mark.embedded
SECONDS = 30.0


@pytest.fixture
def published(handoff: HandoffCommand, monkeypatch: pytest.MonkeyPatch) -> list[Record]:
    for name, value in handoff.environment.items():
        monkeypatch.setenv(name, value)
    records = story()
    write(records)
    return records


def write(records: list[Record]) -> None:
    cluster = connect()
    writer = Writer(cluster)
    for each in records:
        writer.write(each.topic, each.key or b"", each.value, each.headers, each.topic)
    writer.flush()
    assert not writer.failed


def until(condition: Callable[[], bool]) -> None:
    wait_for(condition, SECONDS, "what is read")


@pytest.fixture
def build(tmp_path: Path) -> Iterator[Callable[[Changes], Builder]]:
    running: list[Builder] = []

    def made(changes: Changes) -> Builder:
        builder = Builder(connect().settings, tmp_path / "console.sqlite", changes.note)
        builder.start()
        running.append(builder)
        return builder

    yield made
    for each in running:
        each.stop()


def rows_of(path: Path, table: str) -> int:
    return len(dump(path)[table])


def test_it_holds_what_the_topics_hold(
    published: list[Record], build: Callable[[Changes], Builder], tmp_path: Path
) -> None:
    changes, path = Changes(), tmp_path / "console.sqlite"
    builder = build(changes)
    assert builder.caught_up(SECONDS)
    plain = Store(tmp_path / "plain.sqlite")
    fill(plain, published)
    told, expected = dump(path), dump(plain.path)
    assert {name: len(found) for name, found in told.items() if name != "positions"} == {
        name: len(found) for name, found in expected.items() if name != "positions"
    }
    for table in ("sums", "links", "breaks"):
        assert told[table] == expected[table], table
    assert {"held", "handoffs", "patterns"} <= changes.since(0).kinds
    model = Model(path)
    until(lambda: model.ask(freshness, now=START) is not None)
    with model.read() as db:
        now = freshness(db, int(time.time() * 1000))
        assert now.records == 0
        assert len(held(db, Filters()).rows) == 8
    model.close()


def test_it_goes_on_where_it_was_and_begins_again_where_the_file_is_gone(
    published: list[Record], build: Callable[[Changes], Builder], tmp_path: Path
) -> None:
    path = tmp_path / "console.sqlite"
    first = build(Changes())
    assert first.caught_up(SECONDS)
    before = rows_of(path, "handoffs")
    first.stop()
    changes = Changes()
    second = build(changes)
    assert second.caught_up(SECONDS)
    assert changes.version == 0  # nothing was read twice
    model = Model(path)
    with model.read() as db:
        assert len(held(db, Filters()).rows) == 8
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    with pytest.raises(NotBuilt), model.read():
        pass
    until(lambda: path.exists() and changes.version > 0)
    until(lambda: rows_of(path, "handoffs") == before)
    with model.read() as db:
        assert len(held(db, Filters()).rows) == 8
    model.close()


def test_a_topic_that_was_made_anew_is_read_anew(
    published: list[Record],
    build: Callable[[Changes], Builder],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = tmp_path / "console.sqlite"
    first = build(Changes())
    assert first.caught_up(SECONDS)
    first.stop()
    store = Store(path)
    store.db.execute("update positions set next = next + 1000000")
    store.close()
    changes = Changes()
    second = build(changes)
    assert second.caught_up(SECONDS)
    until(lambda: rows_of(path, "handoffs") == 30)
    assert "made anew" in caplog.text
    assert "held" in changes.since(0).kinds


def test_watchers_are_told_of_what_comes(
    published: list[Record], build: Callable[[Changes], Builder]
) -> None:
    changes = Changes()
    builder = build(changes)
    assert builder.caught_up(SECONDS)

    async def watch() -> list[frozenset[str]]:
        seen = changes.version
        waiting = [asyncio.create_task(changes.wait(seen, SECONDS)) for _ in range(200)]
        await asyncio.sleep(0)
        gone = next(each for each in published if each.topic == "handoff.held")
        await asyncio.to_thread(write, [Record("handoff.held", 0, 0, gone.key, None, START)])
        return [(await each).kinds for each in waiting]

    told = asyncio.run(watch())
    assert len(told) == 200
    assert all("held" in kinds for kinds in told)


def test_without_a_broker_it_says_so_and_waits(tmp_path: Path) -> None:
    path = tmp_path / "console.sqlite"
    builder = Builder(Settings(kafka_bootstrap_servers="127.0.0.1:1"), path, Changes().note)
    builder.start()
    model = Model(path)

    def told() -> bool:
        try:
            with model.read() as db:
                return "does not answer" in (freshness(db, START).problem or "")
        except NotBuilt:
            return False

    until(told)
    model.close()
    builder.stop()
