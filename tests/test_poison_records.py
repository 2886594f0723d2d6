"""A record that makes the lane itself fail is found by the lanes that follow, and set aside."""

import dataclasses
import threading
from typing import Any

import pytest

from processors.runtime import base_lane, lane_supervisor, retry_backoff
from processors.runtime.batch import Batch
from processors.runtime.poison_record_isolator import HEAVY_BYTES, may_be_a_record
from processors.runtime.transactions import AbortCause
from schemas.flow import Effect, Input, TimerFired
from tests.lanes import Bench, headers, supervised, wait_for
from tests.toy import Tally, toy


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane_supervisor, "_BACK_OFF", (0.0, 0.0))
    monkeypatch.setattr(retry_backoff, "_PAUSE_SECONDS", 0.0)


def feed(bench: Bench, bad: str) -> None:
    bench.create()
    for n in range(40):
        bench.send(f"k{n % 10}")
    bench.send("bad", bad)
    bench.expected["bad"] -= 1
    for n in range(40):
        bench.send(f"k{n % 10}")
    bench.flush()


def judged(bench: Bench, supervisor: lane_supervisor.LaneSupervisor) -> None:
    """Everything but the bad record is judged, once. Outputs are read when that is done: a reader
    that was there before the aborts may miss records on the embedded broker."""

    def all_counted() -> bool:
        counted = sum(n for (name, *_), n in supervisor.status.counts.items() if name == "counted")
        return counted >= sum(bench.expected.values())

    wait_for(all_counted, 120, "all records judged")
    bench.check_outputs()


@pytest.mark.fault("a record whose state cannot be encoded")
@pytest.mark.slow
def test_a_state_that_cannot_be_encoded_costs_its_record(bench: Bench) -> None:
    feed(bench, "huge")
    sound = toy(bench.prefix)

    def encode(state: Tally) -> bytes:
        if state.padding:
            raise ZeroDivisionError("no such state")
        return sound.encode(state)

    with supervised(bench, dataclasses.replace(sound, encode=encode)) as supervisor:
        judged(bench, supervisor)
        (letter,) = bench.read("dead-letters", 1)
        assert letter.value() == b"huge"
        assert headers(letter)["__streams.errors.exception"] == "not_publishable"
        assert "ZeroDivisionError" in headers(letter)["__streams.errors.message"]
        assert (
            supervisor.status.restarts >= 8
        )  # thrice with 1,000 records, then 100, 10, and thrice 1


@pytest.mark.fault("a record that is judged for too long")
@pytest.mark.slow
def test_a_record_that_is_not_judged_in_time_costs_itself(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_lane, "AGENT_SECONDS", 1.0)
    monkeypatch.setattr(base_lane, "BEAT_SECONDS", 0.1)
    feed(bench, "slow")
    sound = toy(bench.prefix)
    over = threading.Event()

    def advance(
        state: Tally | None, given: Input, tables: Any, now: int
    ) -> tuple[Tally | None, list[Effect]]:
        if getattr(getattr(given, "body", None), "tool", "") == "slow":
            over.wait(60)
        return sound.advance(state, given, tables, now)

    def judge(batch: Batch) -> None:
        threading.Thread(target=batch.run, daemon=True).start()

    try:
        with supervised(bench, dataclasses.replace(sound, advance=advance), judge) as supervisor:
            judged(bench, supervisor)
            (letter,) = bench.read("dead-letters", 1)
            assert letter.value() == b"slow"
            assert "did not judge" in headers(letter)["__streams.errors.message"]
    finally:
        over.set()


@pytest.mark.fault("a deadline that is judged for too long")
@pytest.mark.slow
def test_a_wake_that_is_not_judged_in_time_costs_itself(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the task changes: then it is tried again."""
    monkeypatch.setattr(base_lane, "AGENT_SECONDS", 1.0)
    monkeypatch.setattr(base_lane, "BEAT_SECONDS", 0.1)
    bench.create()
    for n in range(30):
        bench.send(f"k{n}", "due:1000:stuck" if n == 13 else "due:1000")
    bench.flush()
    sound = toy(bench.prefix)
    over = threading.Event()

    def advance(
        state: Tally | None, given: Input, tables: Any, now: int
    ) -> tuple[Tally | None, list[Effect]]:
        if isinstance(given, TimerFired) and state is not None and state.then == "stuck":
            over.wait(60)
        return sound.advance(state, given, tables, now)

    def judge(batch: Batch) -> None:
        threading.Thread(target=batch.run, daemon=True).start()

    try:
        with supervised(bench, dataclasses.replace(sound, advance=advance), judge) as supervisor:
            expected = sorted(f"k{n}" for n in range(30) if n != 13)
            assert fired(bench, 29) == expected
            restarts = supervisor.status.restarts
            assert restarts >= 6
            bench.send("k13")
            bench.flush()
            bench.check_outputs()
            assert fired(bench, 29) == expected
            assert supervisor.status.restarts == restarts
    finally:
        over.set()


def fired(bench: Bench, count: int) -> list[str]:
    """Whose deadlines have fired."""
    return sorted((message.key() or b"").decode() for message in bench.read("woken", count))


def test_what_was_not_delivered_in_time_was_too_much_or_the_cluster_is_the_reason() -> None:
    assert may_be_a_record(AbortCause.TIME, HEAVY_BYTES)
    assert not may_be_a_record(AbortCause.TIME, HEAVY_BYTES - 1)


@pytest.mark.parametrize("cause", [AbortCause.BLOCKED, AbortCause.TRANSIENT])
def test_what_is_missing_outside_is_never_held_against_a_record(cause: AbortCause) -> None:
    assert not may_be_a_record(cause, 1 << 30)


def test_a_record_that_is_refused_is_suspected_however_small() -> None:
    assert may_be_a_record(AbortCause.RECORD, 1)
