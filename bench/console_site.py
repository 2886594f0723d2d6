"""A console to be measured, in a process of its own: `bench.console` starts it.

It serves what `handoff console` serves, over a read model of records that it makes up. A thread
applies more of them as the builder does, at an even rate, and tells the watchers. Kafka is not
there: records that a page looks at come from memory. It prints one line of JSON when it can be
asked, and one when its input ends, and then it ends.
"""

import argparse
import json
import resource
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Final

from bench.measuring import peak_megabytes
from bench.read_model_records import RECORDS, HandoffTraffic, add_traffic, apply
from console.errors import UnreachableError
from processors.contracts.registry import CONTRACTS, RECEIVERS
from processors.runtime.settings import Settings
from schemas.flow import Record
from schemas.records import Amendment, ConsoleAudit
from web.app import build
from web.context import Console
from web.model.builder import BATCH, POLL_SECONDS
from web.model.filters import Filters
from web.model.queries import causes, held, map
from web.model.queries.common import Place
from web.model.reader import Model
from web.model.store import Store
from web.serving import listen, served
from web.urls import cause_url, contract_url, edge_url, held_url, task_url, team_url

TASK: Final = "task-17"
_READ: Final = ("handoff.packages", "handoff.held", "handoff.tool-outputs")
_NO_KAFKA: Final = "there is no Kafka behind this console: it is measured"


class MemoryGate:
    """A gate to records in memory: documents, what is held, and all of some tasks."""

    def __init__(self) -> None:
        self._documents: dict[str, dict[str, bytes]] = {CONTRACTS: {}, RECEIVERS: {}}
        self._records: dict[Place, Record] = {}

    def keep(self, records: Iterable[Record]) -> Iterator[Record]:
        """Pass records on, and keep what pages will look at."""
        for each in records:
            if each.topic in self._documents and each.value is not None:
                self._documents[each.topic][(each.key or b"").decode()] = each.value
            elif each.key == TASK.encode() or each.topic == "handoff.held":
                self._records[Place(each.topic, each.partition, each.offset)] = each
            yield each

    def read(self, places: Iterable[Place]) -> dict[Place, Record]:
        """The records at these places."""
        return {place: self._records[place] for place in places if place in self._records}

    def documents(self) -> dict[str, dict[str, bytes]]:
        """What the topics of contracts and receivers hold."""
        return self._documents

    def amend(self, bodies: Sequence[Amendment]) -> None:
        """Nothing is changed here."""
        raise UnreachableError(_NO_KAFKA)

    def audit(self, entry: ConsoleAudit) -> None:
        """Nothing is shown here."""
        raise UnreachableError(_NO_KAFKA)

    def alert(self, topic: str, key: str, value: bytes | None) -> None:
        """Nothing is changed here."""
        raise UnreachableError(_NO_KAFKA)

    def close(self) -> None:
        """Nothing is open."""


class Applying:
    """Writes records at an even rate, as the builder's thread does, until it is stopped."""

    def __init__(self, path: Path, records: Iterator[Record], rate: int, console: Console) -> None:
        self._path, self._records, self._rate, self._console = path, records, rate, console
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="read-model")
        self.written = 0
        self.seconds = 0.0  # of processor time, for making up and writing

    def __enter__(self) -> "Applying":
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        store = Store(self._path)
        due = told = time.monotonic()
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            due += POLL_SECONDS
            batch = list(islice(self._records, int(self._rate * POLL_SECONDS)))
            self._console.changes.note(apply(store, batch))
            self.written += len(batch)
            if time.monotonic() - told >= 1.0:
                told = time.monotonic()
                store.seen(int(time.time() * 1000))
        self.seconds = time.thread_time()
        store.close()


def main() -> None:
    """Build, serve until the input ends, tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_traffic(parser)
    parser.add_argument("--folder", type=Path, required=True, help="for the file of the read model")
    given = parser.parse_args()
    gate = MemoryGate()
    now = int(time.time() * 1000)
    traffic = HandoffTraffic(given.edges, given.tasks, now)
    handoffs = traffic.handoffs(given.records // RECORDS, given.rate / RECORDS)
    stream = gate.keep(chain(traffic.tables(), handoffs))
    path = given.folder / "console.sqlite"
    built = _build(path, islice(stream, given.records))
    settings = Settings.model_construct()
    console = Console(settings, Model(path), gate)
    socket = listen("127.0.0.1", 0)
    with socket, served(build(settings, console), socket, console):
        ready = {
            "url": f"http://127.0.0.1:{socket.getsockname()[1]}",
            "pages": _pages(console.model, now),
            **built,
            "cpu": (before := _cpu()),
        }
        print(json.dumps(ready), flush=True)
        began = time.monotonic()
        with Applying(path, stream, given.rate, console) as applying:
            sys.stdin.read()
        spent = time.monotonic() - began
    ended = {
        "seconds": spent,
        "written": applying.written,
        "apply_cpu": applying.seconds,
        "cpu": _cpu() - before,
        "megabytes": peak_megabytes(),
        "file": path.stat().st_size / 1e6,
    }
    print(json.dumps(ended), flush=True)


def _build(path: Path, records: Iterator[Record]) -> dict[str, float]:
    store = Store(path)
    spent, cpu, written = 0.0, 0.0, 0
    while batch := list(islice(records, BATCH)):
        began, before = time.monotonic(), time.thread_time()
        apply(store, batch)
        spent += time.monotonic() - began
        cpu += time.thread_time() - before
        written += len(batch)
    store.seen(int(time.time() * 1000))
    store.tidy()
    store.close()
    return {
        "built": written,
        "build_seconds": spent,
        "build_cpu": cpu,
        "build_megabytes": peak_megabytes(),
    }


def _pages(model: Model, now: int) -> dict[str, str]:
    """What is asked, by its name."""
    with model.read() as db:
        cause = causes.patterns(db, Filters()).rows[0]
        waiting = held.held(db, Filters()).rows[0]
        edges = map.map_(db, Filters(), now).edges
        edge = next(each for each in edges if each.kind == "handoff")
    pages = {
        "today": "/",
        "stalled": "/stalled",
        "causes": "/causes",
        "cause": cause_url(cause.fingerprint),
        "map": "/map",
        "edge": edge_url(edge.key),
        "held": "/held",
        "held one": held_url(waiting.id),
        "task": task_url(TASK),
        "teams": "/teams",
        "team": team_url("team-3"),
        "contracts": "/contracts",
        "contract": contract_url("contract-3"),
        "receivers": "/receivers",
        "audit": "/audit",
        "search": "/search?q=task-17",
        "search, prefix": "/search?q=task-1&format=csv",
    }
    csv = {
        f"{name}, CSV": f"{path}{'&' if '?' in path else '?'}format=csv"
        for name, path in pages.items()
        if "search" not in name
    }
    return pages | csv


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
