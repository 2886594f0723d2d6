"""The read model: how fast it is built, and how long its questions take while records come.

    python -m bench.read_model [--records 1000000] [--edges 2500] [--tasks 100000] [--rate 1000]

The records are made up in this process and applied without a broker, so the figures of building are
those of the rows alone; a line for each tenth shows whether memory grows with the records. Then
each question is asked over and over for `--seconds` (0: not at all), each time as if nobody had
asked it before (`Model.read`, not `Model.ask`), while a writer goes on at `--rate` records a
second. The last line says what building took. Processor time is told beside the time: on a machine
that does other things, only that can be compared.
"""

import argparse
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final

import apsw

from bench.measuring import peak_megabytes, percentile
from bench.read_model_records import RECORDS, HandoffTraffic, add_traffic, apply
from schemas.flow import Record
from web.model.filters import Filters
from web.model.queries import (
    audit,
    causes,
    freshness,
    held,
    map,
    ranges,
    registry,
    search,
    task,
    team,
    today,
)
from web.model.reader import Model
from web.model.store import Store

UNTIL: Final = 1_790_000_000_000
BATCH: Final = 2_000
_TICK_SECONDS: Final = 0.25


def main() -> None:
    """Build, ask, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add_traffic(parser)
    parser.add_argument("--seconds", type=float, default=60, help="for how long to ask")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="read-model-") as directory:
        store = Store(Path(directory) / "console.sqlite")
        traffic = HandoffTraffic(given.edges, given.tasks, UNTIL)
        handoffs = traffic.handoffs(given.records // RECORDS, given.rate / RECORDS)
        stream = chain(traffic.tables(), handoffs)
        built = _build(store, islice(stream, given.records), given.records)
        if given.seconds:
            _ask(store, stream, given.rate, given.seconds)
        store.close()
        print(built)


def _build(store: Store, records: Iterator[Record], expected: int) -> str:
    """Apply all records; what that took, as a line."""
    written, spent, worked, told = 0, 0.0, 0.0, 0
    while batch := list(islice(records, BATCH)):
        begin, began = time.perf_counter(), time.thread_time()
        apply(store, batch)
        spent += time.perf_counter() - begin
        worked += time.thread_time() - began
        written += len(batch)
        if written * 10 // expected > told:
            told = written * 10 // expected
            print(
                f"  {written:>9,} records: {peak_megabytes():,.0f} MB of memory at most", flush=True
            )
    store.tidy()
    return (
        f"built from {written:,} records in {spent:.1f} s, {worked:.1f} s of processor time: "
        f"{written / spent:,.0f} a second, {written / worked:,.0f} a second of processor time; "
        f"{store.path.stat().st_size / 1e6:,.0f} MB of file, "
        f"{peak_megabytes():,.0f} MB of memory at most"
    )


def _ask(store: Store, records: Iterator[Record], rate: int, seconds: float) -> None:
    stop = threading.Event()
    written = 0
    path = store.path
    store.close()

    def write() -> None:
        nonlocal written
        writer = Store(path)  # the connection of this thread
        due = time.perf_counter()
        while not stop.is_set():
            batch = list(islice(records, int(rate * _TICK_SECONDS)))
            apply(writer, batch)
            written += len(batch)
            due += _TICK_SECONDS
            stop.wait(max(0.0, due - time.perf_counter()))
        writer.close()

    thread = threading.Thread(target=write)
    thread.start()
    model = Model(path)
    questions = _questions(model)
    took: dict[str, list[float]] = {name: [] for name in questions}
    worked: dict[str, list[float]] = {name: [] for name in questions}
    begun = time.perf_counter()
    while time.perf_counter() - begun < seconds:
        for name, question in questions.items():
            begin, began = time.perf_counter(), time.thread_time()
            with model.read() as db:
                question(db)
            took[name].append((time.perf_counter() - begin) * 1000)
            worked[name].append((time.thread_time() - began) * 1000)
    spent = time.perf_counter() - begun
    stop.set()
    thread.join()
    model.close()
    print(f"asked for {spent:.0f} s while {written / spent:,.0f} records came a second:")
    for name, times in took.items():
        cpu = worked[name]
        print(
            f"  {name:<12} p50 {percentile(times, 0.5):6.1f} ms   "
            f"p99 {percentile(times, 0.99):6.1f} ms   of {len(times):,}; processor time "
            f"p50 {percentile(cpu, 0.5):6.1f} ms   p99 {percentile(cpu, 0.99):6.1f} ms"
        )


def _questions(model: Model) -> dict[str, Callable[[apsw.Connection], Any]]:
    filters, now = Filters(), UNTIL
    with model.read() as db:
        pattern = causes.patterns(db, filters).rows[0].fingerprint
        waiting = held.held(db, filters).rows[0]
        before = ranges.earlier(db, filters, now)  # which pages remember for a minute
        measured = audit.earlier_measures(db, filters, now)
        edges = map.map_(db, filters, now).edges
        busiest = map.known_edge(db, next(e.key for e in edges if e.kind == "handoff"))
        assert busiest is not None
    return {
        "earlier": lambda db: ranges.earlier(db, filters, now),
        "today": lambda db: today.today(db, filters),
        "worst": lambda db: today.worst(db, filters, now, before),
        "stalled": lambda db: today.stalled(db, filters),
        "patterns": lambda db: causes.patterns(db, filters),
        "cause": lambda db: causes.cause(db, pattern, now),
        "held": lambda db: held.held(db, filters),
        "held_one": lambda db: held.held_one(db, waiting.id),
        "task": lambda db: task.task(db, waiting.task_id),
        "search": lambda db: search.search(db, "task-17"),
        "map": lambda db: map.map_(db, filters, now, before=before),
        "edge": lambda db: map.edge(db, busiest, filters, now),
        "team": lambda db: team.team(db, "team-3", filters, now),
        "contracts": lambda db: registry.contracts(db, filters, now=now),
        "audit": lambda db: audit.audit(db, filters, now, measured),
        "freshness": lambda db: freshness.freshness(db, now),
    }


if __name__ == "__main__":
    main()
