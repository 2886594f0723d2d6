"""Filters as they stand in a URL, and who waits for changes."""

from __future__ import annotations

import asyncio
import json
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from web.live import Watchers
from web.model.changes import PAUSE_SECONDS, Changed, Changes
from web.model.filters import HOUR_MS, MOST_HOURS, FilterError, Filters, Span
from web.model.queries.common import pieces
from web.model.reader import ANSWER_SECONDS

NAMES = st.none() | st.text(min_size=1, max_size=20)
MOMENTS = st.none() | st.integers(0, 4_000_000_000_000)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.builds(
        Filters,
        workflow=NAMES,
        contract=NAMES,
        receiver=NAMES,
        team=NAMES,
        owner=NAMES,
        kind=NAMES,
        severity=st.sampled_from([None, "error", "warning", "info"]),
        since=MOMENTS,
        until=MOMENTS,
        hours=st.integers(1, MOST_HOURS),
    ).filter(lambda each: each.since is None or each.until is None or each.since < each.until),
    st.integers(1_600_000_000_000, 2_000_000_000_000),
)
def test_filters_say_the_same_as_their_url(filters: Filters, now: int) -> None:
    assert Filters.parse(filters.query()) == filters
    assert Filters.parse(filters.pairs()) == filters
    span, before = filters.span(now), filters.before(now)
    assert span.until - span.since == before.until - before.since >= HOUR_MS
    assert before.until == span.since
    assert span.since % HOUR_MS == span.until % HOUR_MS == 0


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("since=yesterday", "since is a time such as"),
        ("since=2026-03-02&until=2026-03-01", "before until"),
        ("severity=bad", "error, warning, info"),
        ("last=7w", "such as 24h or 7d"),
        ("last=0h", "at least an hour"),
        ("last=9999d", "at most 400 days"),
        ("since=9999-12-31T23:59:59-23:59", "since lies outside of the years 1 to 9999"),
        ("until=0001-01-01T00:00:00%2B23:59", "until lies outside of the years 1 to 9999"),
        ("workflow=" + "x" * 1001, "longer than"),
    ],
)
def test_what_is_no_filter_is_told(query: str, words: str) -> None:
    with pytest.raises(FilterError, match=words):
        Filters.parse(query)


def test_a_date_and_days_are_understood_and_other_names_left_alone() -> None:
    found = Filters.parse("since=2026-03-01&last=2d&page=3&workflow=")
    assert found == Filters(since=1_772_323_200_000, hours=48)
    assert found.span(0).until - found.span(0).since == 48 * HOUR_MS


def test_seven_days_end_with_this_hour() -> None:
    now = 1_772_323_200_000 + 5 * 60_000
    span = Filters().span(now)
    assert span.until == 1_772_323_200_000 + HOUR_MS
    assert span.until - span.since == 7 * 24 * HOUR_MS


def test_a_watcher_misses_nothing_between_two_waits() -> None:
    async def watch() -> None:
        changes = Changes()
        changes.note(["held"])
        first = await changes.wait(0, 1)
        assert first == Changed(1, frozenset({"held"}))
        changes.note(["patterns"])
        changes.note(["edges"])
        assert (await changes.wait(first.version, 1)).kinds == {"patterns", "edges"}
        assert await changes.wait(3, 0.01) == Changed(3, frozenset())
        # A version of a process that was there before says nothing: everything may have changed.
        assert (await changes.wait(99, 1)).kinds == {"held", "patterns", "edges"}

    asyncio.run(watch())


def test_a_page_watches_from_what_every_remembered_answer_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = 100.0
    monkeypatch.setattr("web.model.changes.time.monotonic", lambda: clock)
    changes = Changes()
    changes.note(["held"])
    assert changes.settled() == 0  # an answer from before it may still be given
    clock += ANSWER_SECONDS + 0.1
    assert changes.settled() == 1
    changes.note(["edges"])
    assert changes.settled() == 1
    assert changes.since(changes.settled()).kinds == {"edges"}


def test_who_begins_to_watch_is_told_what_changed_since_the_page_was_made() -> None:
    async def told(watchers: Watchers, since: str) -> str:
        stream = watchers.messages(since)
        try:
            return await anext(stream)
        finally:
            await stream.aclose()

    changes = Changes()
    here, other = Watchers(changes), Watchers(Changes())
    changes.note(["held"])
    assert "held" in asyncio.run(told(here, here.place()))
    place = here.place().partition(".")[0] + ".1"
    assert '"kinds": []' in asyncio.run(told(here, place))
    # A page of another replica, or of a process that was there before, may have missed anything.
    large = here.place().partition(".")[0] + "." + "9" * 5000
    for since in (other.place(), "", "nonsense", large):
        assert '"patterns"' in asyncio.run(told(here, since))


def test_the_more_watch_the_later_each_asks() -> None:
    """Twenty pages a second at most on average: a browser waits a quarter longer on average."""

    async def gaps(watchers: Watchers, number: int) -> list[int]:
        streams = [watchers.messages() for _ in range(number)]
        try:
            told = [await anext(each) for each in streams]
        finally:
            for each in streams:
                await each.aclose()
        return [json.loads(each.partition("data: ")[2])["gap"] for each in told]

    assert asyncio.run(gaps(Watchers(Changes()), 3)) == [2100] * 3  # milliseconds
    assert asyncio.run(gaps(Watchers(Changes()), 200))[-1] == 8_000


def test_the_more_watch_the_less_often_all_are_told() -> None:
    changes = Changes()
    watchers = Watchers(changes)

    async def watch(number: int) -> float:
        streams = [watchers.messages() for _ in range(number)]
        for each in streams:
            await anext(each)
        pause = changes.pause
        for each in streams:
            await each.aclose()
        return pause

    assert asyncio.run(watch(200)) == 2.0
    assert changes.pause == PAUSE_SECONDS


def test_who_is_behind_is_told_with_all_others() -> None:
    changes = Changes()
    changes.note(["held"])

    async def watch() -> list[Changed]:
        waiting = [asyncio.create_task(changes.wait(version, 20)) for version in (0, 1)]
        await asyncio.sleep(0)
        changes.note(["edges"])
        return [await each for each in waiting]

    behind, other = asyncio.run(watch())
    assert behind == Changed(2, frozenset({"held", "edges"}))
    assert other == Changed(2, frozenset({"edges"}))


@given(st.integers(0, 60), st.integers(1, 60 * 24))
def test_a_range_is_each_of_its_hours_once(since: int, length: int) -> None:
    hours: Counter[int] = Counter()
    rows = 0
    for unit, begin, end, sign in pieces(Span(since * HOUR_MS, (since + length) * HOUR_MS)):
        rows += end - begin
        for hour in range(begin * unit // HOUR_MS, end * unit // HOUR_MS):
            hours[hour] += sign
    assert {hour: n for hour, n in hours.items() if n} == dict.fromkeys(
        range(since, since + length), 1
    )
    assert rows <= length // 24 + 2 + 24
