"""The delivery's loop: sinks that fail, hang, answer 429 and come back."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import pytest

from alerts.delivery import Delivery
from alerts.notification import Answer, Delivered, Failed, Notification, Refused
from alerts.pacing import Limits
from alerts.sink_queue import Result
from tests.notices import notice
from tests.receiving import until

QUICK = Limits(
    first=0.01, longest=0.05, give_up=60, retry_after=1, opens_after=4, in_flight=4, hang=0.3
)


class PlayedSink:
    """A sink that answers as a test says, and notes what it was asked and when."""

    def __init__(self, name: str, answer: Callable[[int], Awaitable[Answer]]) -> None:
        self.name = name
        self.asked: list[Notification] = []
        self.times: list[float] = []
        self.taken: list[Notification] = []
        self.closed = False
        self._answer = answer

    async def send(self, notification: Notification) -> Answer:
        self.asked.append(notification)
        self.times.append(time.monotonic())
        answer = await self._answer(len(self.asked))
        if isinstance(answer, Delivered):
            self.taken.append(notification)
        return answer

    async def close(self) -> None:
        self.closed = True


async def well(_: int) -> Answer:
    return Delivered()


@contextmanager
def delivering(
    *sinks: PlayedSink, limits: Limits = QUICK
) -> Iterator[tuple[Delivery, list[Result]]]:
    results: list[Result] = []
    delivery = Delivery(sinks, results.append, limits=limits)
    delivery.start()
    try:
        yield delivery, results
    finally:
        delivery.close(0)
    assert all(sink.closed for sink in sinks)


def test_every_firing_and_every_resolve_is_delivered_by_a_sink_that_fails_in_every_way() -> None:
    """It fails every third time, hangs for longer than is waited, is away for a while and asks for
    pauses: all arrive, each key in order, repeats with the same key and number."""

    async def bad(time_: int) -> Answer:
        if 40 <= time_ < 60:
            return Failed("away")
        if time_ % 29 == 0:
            await asyncio.sleep(5)
        if time_ % 17 == 0:
            return Failed("429", after=0.05)
        return Failed("503") if time_ % 3 == 0 else Delivered()

    sink = PlayedSink("bad", bad)
    keys = [f"pattern-{number}" for number in range(60)]
    with delivering(sink) as (delivery, results):
        for key in keys:
            delivery.submit("bad", notice(key))
        # From then on a trigger is no longer dropped for its resolve.
        until(lambda: len({each.key for each in sink.asked}) == len(keys), "all were tried")
        for key in keys:
            delivery.submit("bad", notice(key, 2, "resolve"))
        until(lambda: len(results) == 2 * len(keys), "all have a result", limit=60)
    taken = Counter((each.key, each.action) for each in sink.taken)
    assert taken == {(key, action): 1 for key in keys for action in ("trigger", "resolve")}
    for key in keys:
        numbers = [each.number for each in sink.asked if each.key == key]
        assert numbers == sorted(numbers)
        assert set(numbers) == {1, 2}
    assert {type(each.outcome) for each in results} == {Delivered}
    assert max(each.attempts for each in results) > 1


def test_a_sink_that_hangs_holds_back_no_other() -> None:
    async def hang(_: int) -> Answer:
        await asyncio.Event().wait()
        raise AssertionError

    dead, live = PlayedSink("dead", hang), PlayedSink("live", well)

    def arrived(number: int) -> None:
        until(lambda: len(live.taken) > number, "the live sink has it", limit=1)

    with delivering(dead, live) as (delivery, _results):
        for number in range(200):
            delivery.submit("dead", notice(f"p{number}"))
        until(lambda: dead.asked, "the dead sink is asked")
        for number in range(50):
            began = time.monotonic()
            delivery.submit("live", notice(f"p{number}"))
            arrived(number)
            assert time.monotonic() - began < 1
        assert delivery.figures()["dead"].pending == 200


def test_a_sink_that_blocks_its_thread_is_not_the_loops_business() -> None:
    """What a sink does in a thread, as e-mail does, holds back nothing either."""
    release = threading.Event()

    async def block(_: int) -> Answer:
        await asyncio.to_thread(release.wait, 20)
        return Delivered()

    slow, live = PlayedSink("slow", block), PlayedSink("live", well)
    with delivering(slow, live) as (delivery, results):
        delivery.submit("slow", notice())
        until(lambda: slow.asked, "it is asked")
        delivery.submit("live", notice())
        until(lambda: live.taken, "the live sink has it", limit=1)
        release.set()
        until(lambda: len(results) == 2, "both have a result")


def test_the_circuit_opens_is_told_and_closes_when_the_sink_is_back() -> None:
    up = threading.Event()

    async def sometimes(_: int) -> Answer:
        return Delivered() if up.is_set() else Failed("connection refused")

    sink = PlayedSink("pager", sometimes)
    with delivering(sink) as (delivery, results):
        for number in range(30):
            delivery.submit("pager", notice(f"p{number}"))
        until(lambda: delivery.figures()["pager"].open, "the circuit is open")
        # The sink may fail for the first notices before the last one is handed over.
        until(lambda: delivery.figures()["pager"].pending == 30, "all wait")
        assert delivery.figures()["pager"].why == "connection refused"
        up.set()
        until(lambda: len(results) == 30, "all are delivered")
        assert not delivery.figures()["pager"].open
        assert delivery.figures()["pager"].outcomes["delivered"] == 30


def test_retry_after_is_waited_for() -> None:
    async def busy(time_: int) -> Answer:
        return Failed("429", after=0.4) if time_ == 1 else Delivered()

    sink = PlayedSink("chat", busy)
    with delivering(sink) as (delivery, results):
        delivery.submit("chat", notice())
        until(lambda: results, "it is delivered")
    assert sink.times[1] - sink.times[0] >= 0.4


def test_what_is_refused_or_given_up_is_told_once_with_its_reason() -> None:
    async def no(time_: int) -> Answer:
        return Refused("no such channel") if time_ == 1 else Failed("503")

    limits = Limits(first=0.01, longest=0.02, give_up=0.2, hang=1)
    with delivering(PlayedSink("chat", no), limits=limits) as (delivery, results):
        delivery.submit("chat", notice("a"))
        until(lambda: results, "it is refused")
        delivery.submit("chat", notice("b"))
        until(lambda: len(results) == 2, "it is given up")
    assert [(type(each.outcome).__name__, each.notification.key) for each in results] == [
        ("Refused", "a"),
        ("GivenUp", "b"),
    ]
    assert results[1].attempts > 1


def test_a_defect_of_a_sink_is_an_attempt_that_failed_and_its_text_is_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def broken(time_: int) -> Answer:
        if time_ == 1:
            raise ValueError("xoxb-secret")
        return Delivered()

    with delivering(PlayedSink("chat", broken)) as (delivery, results):
        delivery.submit("chat", notice())
        until(lambda: results, "it is delivered")
    assert "ValueError" in caplog.text
    assert "xoxb-secret" not in caplog.text


def test_close_sends_what_waits_and_then_takes_nothing() -> None:
    async def slowly(_: int) -> Answer:
        await asyncio.sleep(0.01)
        return Delivered()

    sink = PlayedSink("chat", slowly)
    delivery = Delivery([sink], lambda _: None, limits=QUICK)
    delivery.start()
    for number in range(20):
        delivery.submit("chat", notice(f"p{number}"))
    assert delivery.close(20) == 0
    assert len(sink.taken) == 20
    with pytest.raises(RuntimeError, match="closed"):
        delivery.submit("chat", notice())


def test_what_a_dead_sink_leaves_is_counted_at_the_end() -> None:
    async def dead(_: int) -> Answer:
        return Failed("away")

    delivery = Delivery([PlayedSink("chat", dead)], lambda _: None, limits=QUICK)
    delivery.start()
    delivery.submit("chat", notice())
    assert delivery.close(0.1) == 1


def test_ten_thousand_messages_for_two_sinks_of_which_one_is_dead() -> None:
    async def dead(_: int) -> Answer:
        return Failed("away")

    live = PlayedSink("live", well)
    with delivering(PlayedSink("dead", dead), live) as (delivery, results):
        began = time.monotonic()
        for number in range(10_000):
            delivery.submit("dead", notice(f"p{number}"))
            delivery.submit("live", notice(f"p{number}"))
        until(lambda: len(live.taken) == 10_000, "the live sink has all", limit=60)
        print(f"10,000 delivered in {time.monotonic() - began:.1f} s")
        assert len({each.key for each in live.taken}) == 10_000
        assert len(results) == 10_000
