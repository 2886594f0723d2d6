"""Deadlines and sweeps in the driver, and the clock of a timeline: no broker, no time passing."""

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from processors.driver import Driver
from processors.timeline import Timeline
from processors.wakes import Wakes
from schemas import serde
from schemas.flow import Effect, Output, Publish, Record
from schemas.records import DeadLetter
from tests.toy import Tally, toy

TOY = toy("t.")


class Marked(DeadLetter, frozen=True):
    """A record that says whether it is backfill."""

    backfill: bool = False


FACTS = "t.facts"


def driver(**facts: bytes) -> Driver[Tally]:
    made = Driver(TOY, {FACTS: facts})
    made.assign(0, {})
    return made


def step(made: Driver[Tally], key: str, value: str, now: int = 0, partition: int = 0) -> None:
    made.step(Record("t.in0", partition, 0, key.encode(), value.encode(), now), now)


def commit(made: Driver[Tally]) -> None:
    made.merge(list(made.changelog()))


def woken(outputs: list[Output]) -> list[tuple[str, str]]:
    """Whose wake published what, of the outputs on `woken`."""
    return [
        ((output.key or b"").decode(), json.loads(output.value or b"")["key"])
        for output in outputs
        if output.topic == "t.woken"
    ]


# --- deadlines ----------------------------------------------------------------------------------


def test_a_deadline_fires_once_its_transaction_is_committed() -> None:
    made = driver()
    step(made, "k", "due:500", now=1000)
    assert made.next_due(0, 10_000) is None, "what is not committed fires nothing"
    assert made.fire(0, 10_000, 10_000, 9) == []
    commit(made)
    assert made.next_due(0, 10_000) == 1500
    assert made.fire(0, 1499, 1499, 9) == []
    assert woken(made.fire(0, 1500, 1600, 9)) == [("k", "due")]
    commit(made)
    assert made.next_due(0, 10_000) is None
    assert made.counts["woken", "", ""] == 1
    assert made.counts["applied", "t.in0", ""] == 1, "a wake is no record"


def test_deadlines_fire_in_the_order_of_their_time() -> None:
    made = driver()
    for key, after in (("b", 300), ("c", 100), ("a", 300)):
        step(made, key, f"due:{after}")
    commit(made)
    assert woken(made.fire(0, 1000, 1000, 2)) == [("c", "due"), ("a", "due")]
    assert woken(made.fire(0, 1000, 1000, 2)) == [("b", "due")]


def test_a_slice_of_wakes_ends_when_it_is_enough() -> None:
    """To judge one task again may take long, and the lane must get its turn: what is left waits."""
    made = driver(a=b"1")
    for key in ("x", "y", "z"):
        step(made, key, "watch:a")
        step(made, f"due-{key}", "due:300")
    commit(made)
    made.notice(0)
    made.sweep(0, 99)
    commit(made)
    made.tables = {FACTS: {"a": b"2"}}
    made.notice(0)
    looks = iter([False, False, True, False, True])
    assert len(woken(made.fire(0, 1000, 1000, 9, lambda: next(looks)))) == 2
    assert len(woken(made.sweep(1000, 9, lambda: next(looks)))) == 1
    commit(made)
    assert len(woken(made.fire(0, 1000, 1000, 9))) == 1
    assert len(woken(made.sweep(1000, 9))) == 2


def test_a_deadline_that_was_put_off_does_not_fire_early() -> None:
    made = driver()
    step(made, "k", "due:500")
    commit(made)
    step(made, "k", "due:800")
    commit(made)
    assert made.next_due(0, 600) == 800
    assert made.fire(0, 600, 600, 9) == []
    step(made, "k", "x")
    commit(made)
    assert made.fire(0, 9000, 9000, 9) == []
    assert made.next_due(0, 9000) is None


def test_deadlines_that_were_put_off_are_looked_at_a_few_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = driver()
    for n in range(30):
        step(made, f"k{n:02}", "due:500")
    commit(made)
    for n in range(29):
        step(made, f"k{n:02}", "due:5000")
    commit(made)
    monkeypatch.setattr("processors.driver.LOOKS", 10)
    assert made.next_due(0, 600) == 600
    assert made.fire(0, 600, 600, 5) == []
    assert woken(made.fire(0, 600, 600, 5)) == [("k29", "due")]


def test_what_the_open_transaction_says_of_a_deadline_counts_and_comes_back_with_an_abort() -> None:
    made = driver()
    step(made, "k", "due:500")
    commit(made)
    step(made, "k", "x")  # as an ack does: no deadline any more
    assert made.fire(0, 600, 600, 9) == []
    made.drop()
    assert woken(made.fire(0, 600, 600, 9)) == [("k", "due")]
    made.drop()
    assert woken(made.fire(0, 600, 600, 9)) == [("k", "due")]
    commit(made)
    assert made.fire(0, 600, 600, 9) == []


def test_a_task_that_is_forgotten_wakes_no_more() -> None:
    made = driver(a=b"1")
    step(made, "k", "watch:a")
    step(made, "k", "due:500")
    commit(made)
    step(made, "k", "forget")
    assert made.fire(0, 600, 600, 9) == []
    commit(made)
    assert made.partitions[0].journal.store == {}
    assert made.next_due(0, 9000) is None
    made.notice(0)
    assert made.sweep(0, 9) == []


@pytest.mark.parametrize("then", ["poison", "big", "spin"])
def test_a_wake_that_fails_costs_its_task_this_wake(
    then: str, caplog: pytest.LogCaptureFixture
) -> None:
    made = driver()
    step(made, "bad", f"due:100:{then}")
    step(made, "good", "due:200")
    commit(made)
    with caplog.at_level(logging.ERROR):
        assert woken(made.fire(0, 1000, 1000, 9)) == [("good", "due")]
    (line,) = caplog.messages
    if then == "poison":
        assert line.splitlines()[0].endswith("ZeroDivisionError")
        assert "in does" in line.splitlines()[-1]
    commit(made)
    assert made.counts["failed_wakes", "", ""] == 1
    assert made.fire(0, 1000, 1000, 9) == [], "it is not tried again"
    step(made, "bad", "due:100", now=2000)
    commit(made)
    assert woken(made.fire(0, 2100, 2100, 9)) == [("bad", "due")], "until it has changed"


def test_a_wake_that_cannot_be_published_is_given_up() -> None:
    made = driver(a=b"1")
    step(made, "k", "due:100")
    step(made, "w", "watch:a")
    commit(made)
    made.tables = {FACTS: {"a": b"2"}}
    made.notice(0)
    made.fire(0, 1000, 1000, 1)
    made.sweep(1000, 1)
    failed = list(made.woken)
    assert [(wake.kind, wake.key) for wake in failed] == [("due", "k"), ("sweep", "w")]
    made.drop()
    for wake in failed:
        made.give_up(wake)
    assert made.next_due(0, 1000) is None
    assert not made.sweeping
    assert made.counts["failed_wakes", "", ""] == 2


def test_the_deadlines_of_a_partition_are_found_in_its_store() -> None:
    first = driver(a=b"1")
    for key in ("a", "b"):
        step(first, key, "due:500")
    step(first, "w", "watch:a")
    commit(first)
    second = Driver(TOY, {FACTS: {"a": b"2"}})
    second.assign(0, {**first.partitions[0].journal.store, f"odd#{0:012x}": b"\x01nonsense"})
    assert second.counts["failed_wakes", "", ""] == 1, "a state that cannot be read stops nobody"
    assert woken(second.fire(0, 500, 500, 9)) == [("a", "due"), ("b", "due")]
    assert woken(second.sweep(0, 9)) == [("w", "sweep:a=2")]
    second.revoke(0)
    assert second.woken == []
    assert not second.sweeping


@pytest.mark.parametrize(("own", "marked"), [(True, True), (False, False), (None, False)])
def test_a_record_that_says_whether_it_is_backfill_is_believed(
    own: bool | None, marked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    known: Any = serde._SCHEMA_HEADERS
    monkeypatch.setitem(known, Marked, ())
    fields = ("t", 0, 0, None, "x", "", "", None)
    record = DeadLetter(*fields) if own is None else Marked(*fields, own)
    effects: list[Effect] = [Publish("o", "k", record)]
    made = Driver(replace(TOY, advance=lambda *_: (None, effects)), {})
    made.assign(0, {})
    (output,) = made.step(Record("t.in0", 0, 0, b"k", b"x", 0), 0)
    assert (("handoff-backfill", b"1") in output.headers) is marked


# --- sweeps -------------------------------------------------------------------------------------


def test_those_who_watch_what_changed_are_swept() -> None:
    made = driver(a=b"1", b=b"1")
    for key, subject in (("x", "a"), ("y", "b"), ("z", "a")):
        step(made, key, f"watch:{subject}")
    commit(made)
    made.notice(0)
    made.sweep(0, 99)
    commit(made)
    made.tables = {FACTS: {"a": b"2", "b": b"1"}}
    made.notice(0)
    assert woken(made.sweep(0, 1)) == [("x", "sweep:a=2")]
    assert made.sweeping
    made.drop()
    assert woken(made.sweep(0, 9)) == [("x", "sweep:a=2"), ("z", "sweep:a=2")]
    commit(made)
    assert not made.sweeping
    made.notice(0)
    assert not made.sweeping
    made.tables = {FACTS: {"b": b"1"}}
    made.notice(0)
    assert woken(made.sweep(0, 9)) == [("x", "sweep:a="), ("z", "sweep:a=")]


def test_who_was_judged_by_the_old_tables_and_not_committed_yet_is_swept_too() -> None:
    made = driver(a=b"1")
    made.notice(0)
    step(made, "k", "watch:a")
    made.tables = {FACTS: {"a": b"2"}}
    made.notice(0)
    assert woken(made.sweep(0, 9)) == [("k", "sweep:a=2")]


def test_a_sweep_that_changes_nothing_leaves_nothing_to_commit() -> None:
    made = driver(a=b"1")
    step(made, "k", "watch:a")
    commit(made)
    made.notice(0)
    assert made.sweeping
    assert made.sweep(0, 9) == []
    assert list(made.changelog()) == []
    assert made.woken == []


# --- against a naive model ------------------------------------------------------------------------


class Deadlines(RuleBasedStateMachine):
    """The heap with all its shortcuts, against a dict of deadlines that is looked through."""

    @initialize()
    def begin(self) -> None:
        self.made = driver()
        self.due: dict[str, int] = {}
        self.open: dict[str, int | None] = {}
        self.gone: set[str] = set()  # looked at in the open transaction: had no deadline any more
        self.unsure: set[str] = set()  # maybe looked at
        self.now = 0

    keys = st.sampled_from("abcdef")

    @rule(key=keys, after=st.integers(0, 50))
    def deadline(self, key: str, after: int) -> None:
        step(self.made, key, f"due:{after}", self.now)
        self.open[key] = self.now + after

    @rule(key=keys, value=st.sampled_from(["x", "forget"]))
    def none(self, key: str, value: str) -> None:
        step(self.made, key, value, self.now)
        self.open[key] = None

    @rule()
    def merge(self) -> None:
        commit(self.made)
        self.due = {k: at for k, at in (self.due | self.open).items() if at is not None}
        self.open = {}
        self.gone, self.unsure = set(), set()

    @rule()
    def drop(self) -> None:
        self.made.drop()
        self.open = {}
        self.gone, self.unsure = set(), set()

    @rule()
    def assign_again(self) -> None:
        self.made.drop()
        self.open = {}
        self.gone, self.unsure = set(), set()
        self.made.assign(0, self.made.partitions[0].journal.store)

    @rule(after=st.integers(0, 40), most=st.integers(1, 3))
    def fire(self, after: int, most: int) -> None:
        self.now += after
        fired = [key for key, _ in woken(self.made.fire(0, self.now, self.now, most))]
        seen = {k: at for k, at in (self.due | self.open).items() if at is not None}
        # A deadline that the open transaction made, also anew where there was none any more when it
        # was looked at, or moved to an earlier time, waits for its merge.
        before = self.due.keys() - self.gone
        could = {k: max(at, self.due[k]) for k, at in seen.items() if k in before}
        expected = sorted((at, k) for k, at in could.items() if at <= self.now)
        surely = [k for _, k in expected if k not in self.unsure]
        assert set(fired) <= {k for _, k in expected}
        assert min(most, len(surely)) <= len(fired) <= min(most, len(expected))
        if all(k not in self.open for _, k in expected):
            assert fired == [k for _, k in expected[:most]]
        ended = {
            k for k, at in self.open.items() if at is None and self.due.get(k, 1 << 60) <= self.now
        }
        # One that the open transaction has put off was found so: put back, it waits for the merge.
        self.unsure |= {
            k
            for k, at in self.open.items()
            if at is not None and at > self.now and self.due.get(k, 1 << 60) <= self.now
        }
        if len(fired) < most:  # it has looked at all
            self.gone |= ended
        else:
            self.unsure |= ended
        self.open |= dict.fromkeys(fired)
        self.gone |= set(fired)

    @invariant()
    def the_next_one_is_known(self) -> None:
        found = self.made.next_due(0, 1 << 60)
        taken = {wake.key for wake in self.made.woken} | set(self.open)
        waiting = [at for key, at in self.due.items() if key not in taken]
        if not self.open:
            assert found == min(waiting, default=None)
        elif waiting:
            assert found is not None
            assert found <= min(waiting)


def test_a_deadline_that_is_put_off_and_back_again_waits_for_the_merge() -> None:
    made = driver()
    step(made, "d", "due:0", 0)
    commit(made)
    step(made, "d", "due:1", 0)
    assert made.fire(0, 0, 0, 1) == []
    step(made, "d", "due:0", 0)
    assert made.fire(0, 0, 0, 1) == []
    commit(made)
    assert woken(made.fire(0, 0, 0, 1)) == [("d", "due")]


TestDeadlines = Deadlines.TestCase
TestDeadlines.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9) | st.none()), max_size=5000))
@settings(max_examples=20, deadline=None)
def test_a_heap_of_stale_entries_is_made_anew(changes: list[tuple[str, int | None]]) -> None:
    wakes = Wakes()
    for key, due in changes * 50:
        wakes.changed(key, due, ())
    assert wakes.deadlines <= 3
    assert len(wakes._heap) <= 2 * 3 + 1_001


# --- the clock ----------------------------------------------------------------------------------


def timeline(made: Driver[Tally]) -> Timeline[Tally]:
    def settle() -> Iterator[Output]:
        commit(made)
        return iter(())

    return Timeline(made, settle)


def test_between_two_inputs_all_happens_at_its_moment() -> None:
    made = driver(a=b"since:1250")
    clock = timeline(made)
    assert list(clock.to(1000)) == []
    step(made, "k", "due:500", now=1000)
    step(made, "w", "watch:a", now=1000)
    step(made, "l", "due:200", now=1000)
    seen = [(clock.now, *woken([output])) for output in clock.to(1500)]
    assert seen == [(1200, ("l", "due")), (1250, ("w", "sweep:a=True"))], (
        "what falls due just now waits: an ack is in time"
    )
    assert woken(list(clock.through(1500))) == [("k", "due")]
    assert clock.fired == 2
    assert clock.now == 1500
    list(clock.to(900))
    assert clock.now == 1500


def test_exchanged_tables_are_swept_at_once() -> None:
    made = driver(a=b"1")
    clock = timeline(made)
    list(clock.to(1000))
    step(made, "w", "watch:a", now=1000)
    commit(made)
    assert woken(list(clock.exchange({FACTS: {"a": b"2"}}))) == [("w", "sweep:a=2")]
