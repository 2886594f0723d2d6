"""The file of the read model in trouble: damaged, in another's hands, or on a disk that is full.

Kafka is in memory here; the builder, the file and the pages are real. What is damaged is built
anew, what is blocked goes on when it can, and a page says so in a sentence.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import apsw
import pytest
from confluent_kafka import KafkaError, TopicPartition

from processors.runtime.settings import Settings
from schemas.flow import Record
from tests.lanes import wait_for
from tests.read_model import dump, fill, story
from tests.web_client import Browser, Topics
from web.app import build as application
from web.context import Console
from web.model import builder as building
from web.model import store as storing
from web.model.builder import Builder
from web.model.reader import Model
from web.model.schema import VERSION
from web.model.store import Store

SECONDS = 30.0
PAGES = ("/", "/causes", "/held", "/stalled", "/map", "/teams", "/contracts", "/audit",
         "/task?id=t-1", "/search?q=t-", "/held?format=csv")  # fmt: skip


class Messages:
    """A consumer of records in memory."""

    def __init__(self, records: list[Record]) -> None:
        self._records: dict[tuple[str, int], list[Record]] = {}
        for each in records:
            self._records.setdefault((each.topic, each.partition), []).append(each)
        self._at: dict[tuple[str, int], int] = {}
        self._ended: set[tuple[str, int]] = set()

    def list_topics(self, timeout: float) -> Any:
        """The topics of the records."""
        topics: dict[str, Any] = {}
        for topic, partition in self._records:
            found = topics.setdefault(topic, SimpleNamespace(error=None, partitions={}))
            found.partitions[partition] = None
        return SimpleNamespace(topics=topics)

    def get_watermark_offsets(
        self, place: TopicPartition, timeout: float = 0, cached: bool = False
    ) -> tuple[int, int]:
        """Nothing is deleted."""
        return 0, len(self._records[place.topic, place.partition])

    def assign(self, places: list[TopicPartition]) -> None:
        """Begin at these places."""
        self._at = {(each.topic, each.partition): each.offset for each in places}
        self._ended.clear()

    def consume(self, count: int, timeout: float) -> list[Any]:
        """What comes next."""
        found: list[Any] = []
        for here, at in self._at.items():
            more = self._records[here][at : at + 50]
            found += [_Message(each) for each in more]
            if not more and here not in self._ended:
                self._ended.add(here)
                found.append(_End(*here, at))
            self._at[here] = at + len(more)
        if not found:
            time.sleep(0.01)  # as a poll waits
        return found

    def close(self) -> None:
        """Nothing is open."""


class _Message:
    def __init__(self, record: Record) -> None:
        self._record = record

    def __getattr__(self, name: str) -> Callable[[], Any]:
        if name == "timestamp":
            return lambda: (1, self._record.timestamp)
        return lambda: getattr(self._record, name)

    def error(self) -> KafkaError | None:
        """None of them."""
        return None


class _End:
    """A partition has no more for now."""

    def __init__(self, topic: str, partition: int, offset: int) -> None:
        self.topic, self.partition, self.offset = (
            lambda: topic,
            lambda: partition,
            lambda: offset,
        )

    def error(self) -> KafkaError:
        """Said as librdkafka does."""
        return KafkaError(KafkaError._PARTITION_EOF)


class TroubledConsole:
    """A console whose file is in trouble."""

    def __init__(self, path: Path, records: list[Record]) -> None:
        self.path = path
        self.model = Model(path)
        settings = Settings.model_construct(
            topic_prefix="handoff.", kafka_bootstrap_servers="nowhere", console_host="127.0.0.1"
        )
        self.console = Console(settings, self.model, Topics(records))
        self.browser = Browser(application(settings, self.console))
        self.builder = Builder(settings, path, self.console.changes.note, self.model)

    def ask_all(self) -> list[str]:
        """All pages: none of them is our mistake. Returns those that were not answered."""
        found = []
        for path in PAGES:
            answer = self.browser.ask("GET", path)
            known = (200, 404, 503) if path.startswith("/task") else (200, 503)
            assert answer.status_code in known, path  # a task may not have been read yet
            assert "Traceback" not in answer.text
            if answer.status_code != 200:
                found.append(answer.text)
        return found

    def says(self, words: str) -> Callable[[], bool]:
        """Whether the front page says so."""
        return lambda: words in self.browser.ask("GET", "/").text


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return story()


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory, records: list[Record]) -> dict[str, Any]:
    store = Store(tmp_path_factory.mktemp("plain") / "plain.sqlite")
    fill(store, records)
    store.close()
    return without_positions(store.path)


@pytest.fixture
def site(
    tmp_path: Path, records: list[Record], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[Path], TroubledConsole]]:
    monkeypatch.setattr("web.model.builder.clients.reader", lambda settings: Messages(records))
    monkeypatch.setattr(building, "_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(building, "_SEEN_SECONDS", 0.05)
    monkeypatch.setattr(building, "_LOOK_SECONDS", 0.1)
    monkeypatch.setattr(building, "_SWEEP_SECONDS", 3600.0)  # the story is of another year
    monkeypatch.setattr(storing, "BUSY_MS", 100)
    monkeypatch.setattr("web.model.reader.BUSY_MS", 100)
    monkeypatch.setattr("web.model.reader.ANSWER_SECONDS", 0.0)
    monkeypatch.setattr(Model.ask, "__kwdefaults__", {"keep": 0.0, "before": None})
    made: list[TroubledConsole] = []

    def start(path: Path) -> TroubledConsole:
        made.append(TroubledConsole(path, records))
        made[-1].builder.start()
        return made[-1]

    yield start
    for each in made:
        each.builder.stop()
        each.model.close()


def without_positions(path: Path) -> dict[str, Any]:
    found = dump(path)
    return {name: rows for name, rows in found.items() if name != "positions"}


def until(condition: Callable[[], bool]) -> None:
    wait_for(condition, SECONDS, "what the read model says")


def built(path: Path, expected: dict[str, Any]) -> Callable[[], bool]:
    def found() -> bool:
        try:
            return without_positions(path) == expected
        except (apsw.Error, ValueError):
            return False

    return found


def garbage(path: Path) -> None:
    path.write_bytes(b"This is no database, though somebody put it here." * 200)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 // 4096 * 4096)


def cut_within_a_page(path: Path) -> None:
    os.truncate(path, path.stat().st_size * 2 // 3 + 123)


def blank_middle(path: Path) -> None:
    overwrite(path, 0.2, 0.8, b"\0")


def scribble(path: Path) -> None:
    overwrite(path, 0.2, 0.8, b"\xa5")


def no_header(path: Path) -> None:
    overwrite(path, 0.0, 0.01, b"\xff")


def overwrite(path: Path, since: float, until: float, with_: bytes) -> None:
    pages = path.stat().st_size // 4096
    first = int(pages * since)
    count = max(1, int(pages * until) - first)
    with path.open("r+b") as file:
        file.seek(first * 4096)
        file.write(with_ * 4096 * count)


def newer(path: Path) -> None:
    db = apsw.Connection(str(path))
    db.execute(f"pragma user_version = {VERSION + 1}; drop table sums")
    db.close()


DAMAGES = (garbage, cut, cut_within_a_page, blank_middle, scribble, no_header, newer)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda each: each.__name__)
def test_what_is_damaged_is_built_anew_when_it_starts(
    damage: Callable[[Path], None],
    site: Callable[[Path], TroubledConsole],
    records: list[Record],
    expected: dict[str, Any],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = tmp_path / "console.sqlite"
    store = Store(path)
    fill(store, records)
    store.close()
    damage(path)
    caplog.set_level(logging.INFO, "handoff.console")
    console = site(path)
    console.ask_all()
    until(built(path, expected))
    told = [each.getMessage() for each in caplog.records if "built anew" in each.getMessage()]
    # The builder says it, and a page that has met the damage at the same moment.
    assert 1 <= len(told) <= 2, told
    for each in told:
        assert ("of another version" if damage is newer else "is damaged") in each
        assert str(path) in each
    assert not any(each.exc_info for each in caplog.records)
    until(console.says("with all that was on the topics"))
    assert console.ask_all() == []


@pytest.mark.parametrize("damage", DAMAGES[:-1], ids=lambda each: each.__name__)
def test_what_is_damaged_while_it_runs_is_built_anew(
    damage: Callable[[Path], None],
    site: Callable[[Path], TroubledConsole],
    expected: dict[str, Any],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The writer has nothing to write: a page meets the damage. It is answered, or says that it
    cannot be yet."""
    path = tmp_path / "console.sqlite"
    console = site(path)
    until(console.says("with all that was on the topics"))
    assert console.ask_all() == []
    checkpoint = apsw.Connection(str(path))
    truncate = "pragma wal_checkpoint(truncate)"  # else what is read lies in the log of changes
    until(lambda: checkpoint.execute(truncate).get[0] == 0)
    checkpoint.close()
    damage(path)

    def met() -> bool:
        console.ask_all()
        return any("is damaged" in each.getMessage() for each in caplog.records)

    until(met)
    until(built(path, expected))
    until(lambda: console.ask_all() == [])
    assert not any(each.exc_info for each in caplog.records)


def test_a_directory_in_its_place_is_said_and_not_deleted(
    site: Callable[[Path], TroubledConsole],
    expected: dict[str, Any],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = tmp_path / "console.sqlite"
    path.mkdir()
    (path / "mine.txt").write_text("not yours")
    console = site(path)
    until(console.says("which is a directory; move it away"))
    assert len(console.ask_all()) == len(PAGES)
    assert (path / "mine.txt").read_text() == "not yours"
    told = [each for each in caplog.records if "directory" in each.getMessage()]
    assert len(told) == 1
    path.rename(tmp_path / "elsewhere")
    until(built(path, expected))
    until(console.says("with all that was on the topics"))


def test_another_process_that_holds_it_is_said(
    site: Callable[[Path], TroubledConsole],
    records: list[Record],
    expected: dict[str, Any],
    tmp_path: Path,
) -> None:
    path = tmp_path / "console.sqlite"
    store = Store(path)
    fill(store, records[: len(records) // 2])
    store.seen(1)
    store.close()
    hold = "import apsw, sys; db = apsw.Connection(sys.argv[1]); db.execute('begin immediate'); "
    hold += "print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as other:  # fmt: skip
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        console = site(path)
        until(console.says("another process holds the read model"))
        page = console.browser.get("/")
        assert page.status == 200  # as of when it was, with what it had then
        assert "As of 1970-01-01" in page.text
        assert console.ask_all() == []
        assert other.stdin is not None
        other.stdin.close()
    until(built(path, expected))
    until(console.says("with all that was on the topics"))
    assert console.model.trouble is None


def test_a_full_disk_is_said_and_it_goes_on_when_there_is_room(
    site: Callable[[Path], TroubledConsole],
    records: list[Record],
    expected: dict[str, Any],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """SQLite refuses to grow the file, as on a disk without room."""
    path = tmp_path / "console.sqlite"
    store = Store(path)
    fill(store, records[:20])
    store.seen(1)
    store.tidy()
    most = path.stat().st_size // 4096 + 2
    store.close()
    opened = Store._open

    def within(self: Store) -> None:
        opened(self)
        self.db.execute(f"pragma max_page_count = {most}")

    monkeypatch.setattr(Store, "_open", within)
    console = site(path)
    until(console.says("the disk is full"))
    for _ in range(20):  # it is not said to be well in between
        page = console.browser.get("/")
        assert page.status == 200
        assert "the disk is full" in page.text
        assert "As of 1970-01-01" in page.text
    assert console.ask_all() == []
    assert len([each for each in caplog.records if "disk is full" in each.getMessage()]) == 1
    monkeypatch.setattr(Store, "_open", opened)
    until(built(path, expected))
    until(console.says("with all that was on the topics"))
    assert not console.says("the disk is full")()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own that is soon full."""
    where = tmp_path / "disk"
    where.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", where], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("a disk is mounted, which only root may do")
    yield where
    subprocess.run(["umount", "-l", where], check=True)


def test_a_real_disk_without_room(
    small_disk: Path, site: Callable[[Path], TroubledConsole], expected: dict[str, Any]
) -> None:
    path = small_disk / "console.sqlite"
    ballast = small_disk / "ballast"
    free = os.statvfs(small_disk)
    ballast.write_bytes(b"x" * (free.f_bavail * free.f_bsize - 300_000))
    console = site(path)
    until(console.says("disk is full"))
    for text in console.ask_all():
        assert "he disk is full" in text or "Nothing is known of that task" in text
    ballast.unlink()
    until(built(path, expected))
    until(console.says("with all that was on the topics"))
    assert console.ask_all() == []


def test_a_disk_that_is_read_only(
    small_disk: Path,
    site: Callable[[Path], TroubledConsole],
    expected: dict[str, Any],
) -> None:
    path = small_disk / "console.sqlite"
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    console = site(path)
    until(console.says("give the console the right to write there"))
    assert len(console.ask_all()) == len(PAGES)
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    until(built(path, expected))
    until(console.says("with all that was on the topics"))
