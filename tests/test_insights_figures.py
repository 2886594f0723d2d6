"""What holds of the figures by hours and days: they add up to the edge, however they are cut."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Final

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from processors.driver import Driver
from processors.insights import state
from processors.insights.processor import FEED, INSIGHTS
from processors.insights.state import DAYS_KEPT, HOURS_KEPT, DayState
from processors.timeline import Timeline
from schemas.feed import EdgePart, PatternPart, Repeated, bucket_ms, subject
from schemas.flow import Output, Record
from schemas.records import Edge, Figures, Pattern
from schemas.serde import encode, epoch_ms
from tests.core import DAY_ONE, commit_into, tables
from tests.insights_core import shown
from tests.properties import examples

HOUR: Final = 3_600_000
DAY: Final = 24 * HOUR
FIGURES: Final = "handoff.figures"
NOW: Final = DAY_ONE + 500 * DAY
NO_TABLES: Final = tables({})

_edge = msgspec.json.Decoder(Edge).decode
_figures = msgspec.json.Decoder(Figures).decode


class _Run:
    """A processor on a virtual clock, which dies whenever it is told to: what it has published, and
    the changelog, are all that is left then."""

    def __init__(self) -> None:
        self.outputs: list[Output] = []
        self.store: dict[str, bytes] = {}
        self.dropped: Counter[tuple[str, str, str]] = Counter()
        self._offset = 0
        self._start(None)

    def _start(self, now: int | None) -> None:
        self.driver = Driver(INSIGHTS, NO_TABLES, self.dropped)
        self.driver.assign(0, dict(self.store))
        self.clock = Timeline(self.driver, self._settle)
        self.clock.now = now

    def _settle(self) -> tuple[Output, ...]:
        commit_into(self.store, self.driver)
        return ()

    def take(self, part: EdgePart | PatternPart, now: int, key: str = "") -> None:
        self.outputs += self.clock.to(now)
        if isinstance(part, EdgePart):
            key = subject(part.kind, part.workflow, part.from_, part.to)
        record = Record(FEED, 0, self._offset, key.encode(), encode(part), now)
        self._offset += 1
        self.outputs += self.driver.step(record, now)
        self._settle()

    def die(self) -> None:
        self._start(self.clock.now)

    def through(self, moment: int) -> None:
        self.outputs += self.clock.through(moment)
        self._settle()

    def table(self) -> dict[str, Figures]:
        """The figures as a reader of the compacted topic finds them."""
        found: dict[str, Figures] = {}
        for output in self.outputs:
            key = (output.key or b"").decode()
            if output.topic == FIGURES and output.value is None:
                del found[key]  # what is deleted was there
            elif output.topic == FIGURES:
                found[key] = _figures(output.value or b"")
        return found

    def edge(self) -> Edge:
        return [_edge(each.value or b"") for each in self.outputs if "edges" in each.topic][-1]


def added(figures: Iterable[Figures]) -> Figures:
    """Their sum."""
    counts: Counter[str] = Counter()
    lost: Counter[str] = Counter()
    accepted: Counter[str] = Counter()
    fidelity = completeness = 0.0
    last: Figures | None = None
    for last in figures:
        counts.update(last.counts)
        lost.update(last.lost_fields)
        accepted.update(last.accepted_in_ms)
        fidelity += last.fidelity_sum
        completeness += last.completeness_sum
    assert last is not None
    return replace(
        last,
        counts=dict(counts),
        lost_fields=dict(lost),
        accepted_in_ms=dict(accepted),
        fidelity_sum=fidelity,
        completeness_sum=completeness,
    )


ages = st.integers(0, 30 * DAY) | st.integers(0, DAYS_KEPT * DAY)
parts = st.builds(
    EdgePart,
    kind=st.just("handoff"),
    workflow=st.just("lead"),
    from_=st.just("a/b"),
    to=st.just("c"),
    first_seen=st.just(0),
    last_seen=ages.map(lambda age: NOW - age),
    counts=st.dictionaries(
        st.sampled_from(["moves", "tasks", "judged", "lost", "closed", "stalled"]),
        st.integers(1, 99),
    ),
    accepted_in=st.dictionaries(st.integers(0, 200), st.integers(1, 9), max_size=5),
    fidelity=st.integers(0, 9).map(lambda eighths: eighths / 8),  # exact in any order
    completeness=st.integers(0, 9).map(lambda eighths: eighths / 8),
    lost_fields=st.dictionaries(st.sampled_from("wxyz"), st.integers(1, 9), max_size=3),
).map(lambda part: replace(part, first_seen=part.last_seen))
steps = st.lists(
    st.tuples(parts, st.sampled_from([0, 1_000, HOUR, DAY, 9 * DAY]), st.booleans()),
    min_size=1,
    max_size=15,
)


@examples
@given(steps, st.integers(0, 20 * DAY))
def test_all_figures_of_an_edge_are_the_edge(
    steps_: list[tuple[EdgePart, int, bool]], later: int
) -> None:
    run = _Run()
    now = NOW
    end = NOW + sum(after for _, after, _ in steps_) + later + 20_000
    taken: list[EdgePart] = []
    for part, after, dies in steps_:
        now += after
        if part.last_seen // DAY * DAY + (1 + DAYS_KEPT) * DAY > end:  # not forgotten by then
            taken.append(part)
            run.take(part, now)
        if dies:
            run.die()
    if not taken:
        return
    run.through(now + 20_000)
    run.through(end)
    found, edge = run.table(), run.edge()
    whole = added(found.values())
    told = {"moves": edge.moves, "tasks": edge.tasks} | edge.counts
    assert whole.counts == {name: number for name, number in told.items() if number}
    judged = whole.counts.get("judged", 0)
    if judged:
        assert edge.fidelity == round(whole.fidelity_sum / judged, 6)
        assert edge.completeness == round(whole.completeness_sum / judged, 6)
    # Each hour, and each day that is old, has exactly what came of it.
    expected: defaultdict[str, list[EdgePart]] = defaultdict(list)
    for part in taken:
        keys = [key for key, each in found.items() if holds(each, part.last_seen)]
        assert len(keys) == 1
        expected[keys[0]].append(part)
    assert found.keys() == expected.keys()
    for key, each in found.items():
        sums = expected[key]
        counts: Counter[str] = Counter()
        lost: Counter[str] = Counter()
        accepted: Counter[str] = Counter()
        for part in sums:
            counts.update(part.counts)
            lost.update(part.lost_fields)
            for bucket, number in part.accepted_in.items():
                accepted[str(bucket_ms(bucket))] += number
        assert each.counts == counts
        assert each.lost_fields == lost
        assert each.accepted_in_ms == accepted
        assert each.fidelity_sum == sum(part.fidelity for part in sums)
        assert key.startswith("handoff/lead/a%2Fb/c/")


def holds(figures: Figures, at: int) -> bool:
    return epoch_ms(figures.since) <= at < epoch_ms(figures.until)


@examples
@given(st.lists(parts, min_size=1, max_size=15))
def test_the_hours_of_a_day_are_the_day(given_: list[EdgePart]) -> None:
    run = _Run()
    for part in given_:
        at = NOW - NOW % DAY + part.last_seen % DAY
        run.take(replace(part, first_seen=at, last_seen=at), NOW - NOW % DAY + DAY - 1)
    run.through(NOW - NOW % DAY + DAY + 20_000)
    hours = run.table()
    assert all(each.until.timestamp() - each.since.timestamp() == 3600 for each in hours.values())
    run.through(NOW - NOW % DAY + (1 + HOURS_KEPT) * DAY)
    ((key, day),) = run.table().items()
    whole = added(hours.values())
    assert key.endswith("/2027-07-15")
    assert day == replace(whole, contract=day.contract, since=day.since, until=day.until)
    assert epoch_ms(day.until) - epoch_ms(day.since) == DAY


def test_what_is_older_than_the_figures_is_counted_only() -> None:
    run = _Run()
    old = EdgePart("move", "lead", "a", "b", DAY_ONE, DAY_ONE, {"moves": 3})
    run.take(old, NOW)
    run.through(NOW + 20_000)
    assert run.table() == {}
    assert run.edge().moves == 3
    assert run.dropped["figures_too_old", FEED, ""] == 1


def test_a_time_of_the_future_counts_at_the_clock() -> None:
    run = _Run()
    ahead = NOW + 90 * DAY
    run.take(EdgePart("move", "lead", "a", "b", ahead, ahead, {"moves": 1}), NOW)
    run.through(NOW + 20_000)
    ((_, found),) = run.table().items()
    assert holds(found, NOW + 300_000)


def test_a_day_is_small_whatever_comes() -> None:
    run = _Run()
    for number in range(400):
        at = NOW - NOW % DAY + number * 200_000 % DAY
        counts = dict.fromkeys(["moves", "tasks", "judged", "lost", "sent", f"other {number}"], 1)
        lost = {f"field {number} {n}": 1 for n in range(9)} | {"x" * 300: 1}
        part = EdgePart("handoff", "lead", "a", "b", at, at, counts, lost_fields=lost)
        run.take(part, NOW + DAY)
    days = [each for each in states(run) if isinstance(each, DayState)]
    assert len(days) == 1
    assert len(days[0].hours) <= 24
    assert all(len(each.lost_fields) <= 256 for each in days[0].hours.values())
    # A change is as large as an hour, and not as the day.
    largest = max(
        len(value) for key, value in run.store.items() if not key.endswith("#" + "0" * 12)
    )
    assert largest < len(state.encode(days[0])) / 3


def states(run: _Run) -> list[state.State]:
    journal = run.driver.partitions[0].journal
    return [found for key in list(journal.states()) if (found := journal.get(key)) is not None]


def test_each_pattern_that_was_closed_is_kept_without_values() -> None:
    run = _Run()
    for day in (0, 40):
        at = NOW + day * DAY
        repeated = Repeated(1, HOUR, "nobody", {"context.phone": '"123"'})
        part = PatternPart("repeat", "lead", at, at, {at // 60_000: 1}, repeated=repeated)
        run.take(part, at, "repeat/c/x")
    run.through(NOW + 80 * DAY)
    kept = [
        (output.key, msgspec.json.decode(output.value or b"", type=Pattern))
        for output in run.outputs
        if output.topic == FIGURES
    ]
    assert [key for key, _ in kept] == [f"pattern/{each.id}".encode() for _, each in kept]
    assert len({each.id for _, each in kept}) == 2
    assert all(each.status == "closed" for _, each in kept)
    assert all(each.values == {"context.phone": None} for _, each in kept)
    assert not any("123" in each.message for _, each in kept)
    told = [shown(output)[1] for output in run.outputs if output.topic == "handoff.patterns"]
    assert any("123" in each["message"] for each in told)
