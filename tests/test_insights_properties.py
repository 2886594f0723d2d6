"""What holds of insights whatever comes: sums, 16 records at most, one open entry, small state."""

import itertools
import math
from collections import Counter, defaultdict
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from processors.driver import Driver
from processors.insights import edges, patterns, state
from processors.insights.advance import advance
from processors.insights.limits import Limits
from processors.insights.processor import FEED, INSIGHTS
from processors.insights.state import DayState, EdgeState, Entry, Fed, Runs, State
from processors.timeline import Timeline
from schemas.feed import (
    EDGE_COUNTS,
    HOUR_MS,
    MAX_FIGURE,
    EdgePart,
    JudgedPart,
    Part,
    PatternPart,
    Repeated,
    contract_subject,
    latency_bucket,
    subject,
    totals,
)
from schemas.flow import (
    Increment,
    Input,
    InputEvent,
    Output,
    Publish,
    Record,
    StateTold,
    TableChanged,
    Tell,
    TimerFired,
)
from schemas.records import FIRST_MS, LAST_MS, Edge, Figures, Pattern
from schemas.serde import encode
from tests.core import DAY_ONE, tables
from tests.insights_core import at_the_end, shown
from tests.properties import examples

DAY: Final = 86_400_000
WITH_CONTRACT: Final = tables({"contracts": [{}]})
FINGERPRINT: Final = "contract/c/context_dropped/tone"

times = st.integers(DAY_ONE - 3 * DAY, DAY_ONE + 3 * DAY)
any_time = st.integers(FIRST_MS, LAST_MS) | st.sampled_from([FIRST_MS, LAST_MS]) | times
names = st.text(max_size=4) | st.sampled_from(["a", "b", "/", "x" * 300])
figures = st.integers(0, 50) | st.integers(0, MAX_FIGURE)
minutes = st.dictionaries(times.map(lambda at: at // 60_000), st.integers(1, 40), max_size=9)
repeats = st.builds(
    Repeated,
    threshold=st.integers(0, 20),
    within_ms=st.sampled_from([0, 1, 60_000, 3_600_000, 30 * DAY]),
    receiver=names,
    values=st.dictionaries(names, st.none() | names, max_size=2),
)
wild_patterns = st.builds(
    PatternPart,
    kind=st.sampled_from(["context_dropped", "receiver_missing", "repeat", "of a newer version"]),
    workflow=names,
    first_seen=any_time,
    last_seen=any_time,
    minutes=minutes | st.dictionaries(any_time.map(lambda at: at // 60_000), figures, max_size=9),
    errors=figures,
    stages=st.dictionaries(names, figures, max_size=5),
    tools=st.dictionaries(names, figures, max_size=5),
    tasks=st.lists(names | st.just("t" * 2000), max_size=4).map(tuple),
    contract=st.none() | names,
    receiver=st.none() | names,
    from_=st.none() | names,
    to=st.none() | names,
    field=st.none() | names,
    owner=st.none() | names,
    backfill=st.booleans(),
    repeated=st.none() | repeats,
)
wild_edges = st.builds(
    EdgePart,
    kind=st.sampled_from(["move", "handoff"]),
    workflow=st.sampled_from(["lead", "other"]),
    from_=names,
    to=names,
    first_seen=any_time,
    last_seen=any_time,
    counts=st.dictionaries(st.sampled_from([*EDGE_COUNTS, "unknown"]), figures, max_size=9),
    fields=st.dictionaries(
        names, st.dictionaries(st.sampled_from(["string", "x"]), figures), max_size=4
    ),
    accepted_in=st.dictionaries(st.integers(0, 400), figures, max_size=4),
    fidelity=st.floats(0, MAX_FIGURE),
    completeness=st.floats(0, MAX_FIGURE),
    contract=st.none() | names,
)


def arrival(subject_: str, part: Part) -> InputEvent:
    return InputEvent(Fed(subject_, part), part.last_seen, FEED, 0, 0, False, None)


def warning(at: int, times_: int = 1) -> PatternPart:
    return PatternPart("context_dropped", "lead", at, at, {at // 60_000: times_})


# --- sums -----------------------------------------------------------------------------------------


@st.composite
def grouped(draw: st.DrawFn, parts: Any) -> tuple[list[Any], list[Any]]:
    """The same parts twice: as they are, and in another order, some of them added up before."""
    one = draw(st.lists(parts, min_size=1, max_size=12))
    rest = list(draw(st.permutations(one)))
    other = []
    while rest:
        size = draw(st.integers(1, len(rest)))
        part, *more = rest[:size]
        for each in more:
            part = part.plus(each)
        other.append(part)
        rest = rest[size:]
    return one, other


tame_patterns = st.builds(
    PatternPart,
    kind=st.just("rejected"),
    workflow=st.just("lead"),
    first_seen=times,
    last_seen=times,
    minutes=minutes,
    errors=st.integers(0, 5),
    stages=st.dictionaries(st.sampled_from("abcd"), st.integers(1, 9)),
)
tame_edges = st.builds(
    EdgePart,
    kind=st.just("handoff"),
    workflow=st.just("lead"),
    from_=st.just("a"),
    to=st.just("b"),
    first_seen=times,
    last_seen=times,
    counts=st.dictionaries(st.sampled_from(EDGE_COUNTS), st.integers(0, 99)),
    fields=st.dictionaries(
        st.sampled_from("abcd"),
        st.dictionaries(st.sampled_from(["string", "null"]), st.integers(1, 9)),
    ),
    accepted_in=st.dictionaries(st.integers(0, 200), st.integers(1, 9)),
    fidelity=st.integers(0, 9).map(float),
    contract=st.sampled_from([None, "one", "two"]),
)


@examples
@given(grouped(tame_patterns))
def test_a_pattern_is_the_same_in_any_order_and_any_grouping(given_: Any) -> None:
    found, counts = [], []
    for parts in given_:
        entry: Entry | None = None
        for part in parts:
            entry = patterns.fold(entry, FINGERPRINT, part, DAY_ONE + 3 * DAY, DAY)
        assert entry is not None
        total = entry.total
        found.append(replace(total, tasks=()))
        counts.append(entry.count)
    assert found[0] == found[1]
    assert counts[0] == counts[1] == sum(sum(part.minutes.values()) for part in given_[0])


@examples
@given(grouped(tame_edges))
def test_an_edge_is_the_same_in_any_order_and_any_grouping(given_: Any) -> None:
    found = []
    for parts in given_:
        before: State | None = None
        for part in parts:
            before, _ = advance(before, arrival("s", part), WITH_CONTRACT, DAY_ONE + 9 * DAY)
        assert isinstance(before, EdgeState)
        _, (effect,) = advance(
            before, TimerFired(before.publish_at), WITH_CONTRACT, before.publish_at
        )
        assert isinstance(effect, Publish)
        found.append(effect.record)
    assert found[0] == found[1]
    assert isinstance(found[0], Edge)
    assert found[0].moves == sum(part.counts.get("moves", 0) for part in given_[0])


@examples
@given(wild_edges, wild_edges, st.booleans())
def test_two_parts_of_an_hour_add_up_to_their_total(
    one: EdgePart, other: EdgePart, many: bool
) -> None:
    if many:  # more names than are told apart
        types = {"string": 1}
        other = replace(
            other,
            fields={f"field {number}": types for number in range(300)},
            lost_fields={f"field {number}": 1 for number in range(300)},
        )
    other = replace(other, last_seen=one.last_seen // HOUR_MS * HOUR_MS + other.last_seen % HOUR_MS)
    for parts in ([one, other], [other, one], [other, other]):
        (whole,) = totals(parts)
        assert parts[0].plus(parts[1]) == whole


# --- what is told ---------------------------------------------------------------------------------


def told(
    parts: list[tuple[int, str, PatternPart | EdgePart]], until: int, found: Any = WITH_CONTRACT
) -> list[Output]:
    """What a processor tells of parts that come at their times, and in silence until the end."""
    driver = Driver(INSIGHTS, found)
    driver.assign(0, {})

    def settle() -> tuple[Output, ...]:
        driver.merge(list(driver.changelog()))
        return ()

    clock = Timeline(driver, settle)
    outputs: list[Output] = []
    for now, key, part in parts:
        outputs += clock.to(now)
        outputs += driver.step(Record(FEED, 0, 0, key.encode(), encode(part), now), now)
        at_the_end(driver)
    outputs += clock.through(until)
    assert driver.counts["failed_wakes", "", ""] == 0
    assert driver.counts["dead_letters", FEED, ""] == 0
    return outputs


@settings(examples, max_examples=12)
@given(threshold=st.integers(1, 12), error_at=st.integers(-1, 9_999))
def test_ten_thousand_repeats_make_at_most_16_records(threshold: int, error_at: int) -> None:
    repeated = Repeated(threshold, 30 * DAY, "nobody", {})
    once = PatternPart(
        "repeat", "lead", DAY_ONE, DAY_ONE, {DAY_ONE // 60_000: 1}, repeated=repeated
    )
    entry: State | None = None
    effects: list[Any] = []
    for number in range(10_000):
        part = replace(once, errors=1) if number == error_at else once
        entry, more = advance(entry, arrival("repeat/c/x", part), WITH_CONTRACT, DAY_ONE)
        effects += more
    assert entry is not None
    due = state.due(entry)
    assert due is not None
    entry, more = advance(entry, TimerFired(due), WITH_CONTRACT, due)
    effects += more
    assert entry is None
    records = [effect.record for effect in effects if effect.topic == "handoff.patterns"]
    assert len(records) <= 16
    assert records[-1].count == 10_000
    assert [r.status for r in records][:2] == ["opened", "updated"]
    assert records[0].count == threshold


@pytest.mark.parametrize("threshold", [1, 2, 5, 9_999, 10_000])
def test_each_doubling_is_told_once(threshold: int) -> None:
    repeated = Repeated(threshold, DAY, "nobody", {})
    once = PatternPart(
        "repeat", "lead", DAY_ONE, DAY_ONE, {DAY_ONE // 60_000: 1}, repeated=repeated
    )
    outputs = told([(DAY_ONE, "repeat/c/x", once)] * 10_000, DAY_ONE + DAY)
    patterns_ = [output for output in outputs if output.topic == "handoff.patterns"]
    counts = [shown(output)[1]["count"] for output in patterns_]
    doublings = itertools.takewhile(
        lambda count: count <= 10_000, (threshold << n for n in itertools.count())
    )
    assert counts == [*doublings, 10_000]


@settings(examples, max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 2 * DAY),  # after the one before
            st.sampled_from(["contract/c/rejected", "receiver/r/owner_missing", "bare"]),
            st.integers(0, 2),
            st.integers(1, 30),
        ),
        max_size=25,
    )
)
def test_opened_then_updated_then_closed(steps: list[tuple[int, str, int, int]]) -> None:
    now, parts = DAY_ONE, list[tuple[int, str, PatternPart | EdgePart]]()
    for after, key, errors, number in steps:
        now += after
        if key == "bare":
            counts = {"moves": number, "bare": number, "uncovered": number}
            edge = EdgePart("move", "lead", "a", "b", now, now, counts)
            parts.append((now, subject("move", "lead", "a", "b"), edge))
        else:
            parts.append((now, key, replace(warning(now, number), errors=errors)))
    open_: dict[str, Any] = {}
    seen: set[str] = set()
    for topic, record in map(shown, told(parts, now + 31 * DAY)):
        if topic != "handoff.patterns":
            continue
        before = open_.get(record["fingerprint"])
        if record["status"] == "opened":
            assert before is None
            assert record["id"] not in seen
            seen.add(record["id"])
        else:
            assert before is not None
            assert before["id"] == record["id"]
            doubled = record["count"] >= 2 * before["count"]
            worse = (before["severity"], record["severity"]) == ("warning", "error")
            assert doubled or worse or record["status"] == "closed"
            assert (before["severity"], record["severity"]) != ("error", "warning")
        if record["status"] == "closed":
            del open_[record["fingerprint"]]
        else:
            open_[record["fingerprint"]] = record
    assert not open_


@examples
@given(
    window=st.integers(1, 40 * DAY),
    ages=st.lists(st.integers(0, 3 * DAY), min_size=1, max_size=60),
)
def test_a_window_is_never_shorter_than_asked_for(window: int, ages: list[int]) -> None:
    now = DAY_ONE
    counts = Counter((now - age) // 60_000 for age in ages)
    kept, peak = patterns.slide(counts, now // 60_000, window)
    newest = now - min(ages)
    width = max(60_000, math.ceil(window / 23 / 60_000) * 60_000)
    within = sum(newest - window <= now - age for age in ages)
    around = sum(newest - window - 2 * width < now - age for age in ages)
    assert within <= sum(kept.values()) <= around
    assert peak >= sum(kept.values())
    assert len(kept) <= patterns.BUCKETS


# --- latencies ------------------------------------------------------------------------------------


@examples
@given(
    st.lists(st.integers(1, 30 * DAY), min_size=1, max_size=200), st.sampled_from([0.5, 0.95, 1.0])
)
def test_a_percentile_is_within_five_percent(latencies: list[int], share: float) -> None:
    found = edges.percentile(Counter(map(latency_bucket, latencies)), share)
    true = sorted(latencies)[math.ceil(share * len(latencies)) - 1]
    assert found is not None
    assert abs(found - true) <= 0.05 * true + 0.5  # it is told in whole milliseconds


def test_no_latency_has_no_percentile() -> None:
    assert edges.percentile({}, 0.5) is None


# --- whatever comes -------------------------------------------------------------------------------


def in_bounds(found: State) -> None:
    """The bounds that the docstring of `advance` gives."""
    if isinstance(found, Runs):
        assert len(found.times) <= 20
        assert len(found.open) <= 64
        return
    if isinstance(found, DayState):
        assert len(found.hours) <= 24
        return
    entry = found if isinstance(found, Entry) else found.bare
    if entry is not None:
        total = entry.total
        assert len(total.minutes) <= 24
        assert len(total.stages) <= 16
        assert len(total.tools) <= 16
        assert len(total.tasks) <= 10
    if isinstance(found, EdgeState):
        assert found.total.counts.keys() <= set(EDGE_COUNTS)
        assert len(found.total.fields) <= 256
    assert len(state.encode(found)) < 100_000


@settings(examples, max_examples=150)
@given(
    st.lists(st.tuples(st.sampled_from("pewsj"), wild_patterns, wild_edges, any_time), max_size=6)
)
def test_nothing_raises_and_all_can_be_written_down(
    steps: list[tuple[str, PatternPart, EdgePart, int]],
) -> None:
    states: dict[str, State | None] = defaultdict(lambda: None)
    for what, pattern, edge, now in steps:
        effects: list[Any] = []
        if what == "p":
            states["p"], effects = advance(states["p"], arrival("p", pattern), WITH_CONTRACT, now)
        elif what == "e":
            same = replace(edge, kind="move", workflow="lead", from_="a", to="b")
            states["e"], effects = advance(states["e"], arrival("e", same), WITH_CONTRACT, now)
        elif what == "j":
            judged = JudgedPart("c", (now, pattern.last_seen))
            about = contract_subject("c", backfill=False)
            states[about], effects = advance(
                states[about], arrival(about, judged), WITH_CONTRACT, now
            )
        for key, before in list(states.items()):
            if before is None:
                continue
            if what in "ws":
                wake: Input = TimerFired(now) if what == "w" else TableChanged()
                states[key], more = advance(before, wake, WITH_CONTRACT, now)
                effects += more
        for effect in effects:  # those that are added, too
            if isinstance(effect, Tell):
                told_, given_ = states[effect.key], StateTold(effect.body)
                states[effect.key], more = advance(told_, given_, WITH_CONTRACT, now)
                effects += more
        for after in states.values():
            if after is None:
                continue
            assert state.decode(state.encode(after), []) == after
            in_bounds(after)
        for effect in effects:
            if isinstance(effect, Tell):
                continue
            if isinstance(effect, Increment):
                assert effect.name == "figures_too_old"
                continue
            assert isinstance(effect.record, Pattern | Edge | Figures)
            assert encode(effect.record)


@settings(examples, max_examples=30)
@given(wild_edges)
def test_a_handoffs_edge_can_always_be_told(edge: EdgePart) -> None:
    before, _ = advance(None, arrival("e", edge), WITH_CONTRACT, DAY_ONE)
    assert isinstance(before, EdgeState)
    after, (effect, *_) = advance(before, TimerFired(before.publish_at), WITH_CONTRACT, DAY_ONE)
    assert isinstance(effect, Publish)
    assert isinstance(effect.record, Edge)
    assert all(0 <= share <= 1 for share in effect.record.fields.values())
    assert isinstance(after, EdgeState)
    assert after.publish_at == 0


def test_what_grows_without_end_stays_bounded() -> None:
    entry: State | None = None
    edge: State | None = None
    for number in range(2_000):
        now = DAY_ONE + number * 600_000
        more = replace(
            warning(now),
            stages={f"stage {number}": 1, "often": 1},
            tools={f"tool {number}": 1},
            tasks=(f"task {number}",),
        )
        entry, _ = advance(entry, arrival(FINGERPRINT, more), WITH_CONTRACT, now)
        moved = EdgePart(
            "move",
            "lead",
            "a",
            "b",
            now,
            now,
            {"moves": 1, "bare": 1, "uncovered": 1},
            {f"{n}": {"string": 1} for n in range(number, number + 3)},
            {number % 400: 1},
        )
        edge, _ = advance(edge, arrival("e", moved), WITH_CONTRACT, now)
    assert isinstance(entry, Entry)
    assert isinstance(edge, EdgeState)
    in_bounds(entry)
    in_bounds(edge)
    assert entry.count == 2_000
    assert entry.total.stages["often"] == 2_000
    assert len(state.encode(entry)) < 2_000
    assert len(state.encode(edge)) < 10_000


# --- clocks ---------------------------------------------------------------------------------------


def test_a_clock_that_was_ahead_does_not_blind_an_entry() -> None:
    """A machine's clock was a year ahead for a moment: what comes after it counts as before."""
    ahead = DAY_ONE + 365 * DAY
    entry: State | None = None
    at_once = Limits(pattern_settle_ms=0)
    entry, _ = advance(entry, arrival(FINGERPRINT, warning(ahead)), WITH_CONTRACT, ahead, at_once)
    effects: list[Any] = []
    for number in range(9):
        now = DAY_ONE + number * 60_000
        given_ = arrival(FINGERPRINT, warning(now))
        entry, more = advance(entry, given_, WITH_CONTRACT, now, at_once)
        effects += more
    assert [effect.record.status for effect in effects] == ["opened"]
    assert entry is not None
    assert state.due(entry) == DAY_ONE + 8 * 60_000 + DAY


def test_an_edge_is_published_soon_after_a_clock_was_set_back() -> None:
    part = EdgePart("move", "lead", "a", "b", DAY_ONE, DAY_ONE, {"moves": 1})
    ahead = DAY_ONE + 365 * DAY
    edge, _ = advance(None, arrival("e", part), WITH_CONTRACT, ahead)
    edge, _ = advance(edge, arrival("e", part), WITH_CONTRACT, DAY_ONE)
    assert edge is not None
    assert state.due(edge) == DAY_ONE + 10_000
