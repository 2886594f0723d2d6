"""When a sink is asked again, and what of its queue goes next: no clock, no sink."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.notification import Action, Answer, Delivered, Failed, Notification, Refused
from alerts.pacing import Breaker, Limits, Tried, next_step
from alerts.sink_queue import GivenUp, Result, SinkQueue, Superseded
from tests.notices import notice

LIMITS = Limits(first=1, longest=60, give_up=3600, retry_after=600, opens_after=3, in_flight=2)
NO = Failed("503")


@pytest.mark.parametrize(
    ("attempts", "chance", "wait"),
    [(1, 1.0, 1.0), (1, 0.0, 0.5), (2, 1.0, 2.0), (5, 1.0, 16.0), (9, 1.0, 60.0), (500, 0.0, 30.0)],
)
def test_a_message_that_fails_waits_twice_as_long_each_time(
    attempts: int, chance: float, wait: float
) -> None:
    assert next_step(Breaker(), Tried(attempts, 0), NO, 10, chance, LIMITS)[1] == wait


def test_the_circuit_opens_after_failures_in_a_row_and_rests_longer_each_time() -> None:
    sink, rests = Breaker(), []
    for _ in range(5):
        sink, _ = next_step(sink, Tried(1, 0), NO, 100, 1.0, LIMITS)
        rests.append((sink.open(LIMITS), sink.rests_until))
    assert rests == [(False, 0), (False, 0), (True, 101), (True, 102), (True, 104)]


@pytest.mark.parametrize("answer", [Delivered(), Refused("no such channel")])
def test_a_sink_that_answers_closes_the_circuit(answer: Answer) -> None:
    sink, wait = next_step(Breaker(7, 90.0), Tried(3, 0), answer, 100, 0.5, LIMITS)
    assert (sink.open(LIMITS), wait) == (False, None)


@pytest.mark.parametrize(("asked", "obeyed"), [(30.0, 30.0), (0.0, 0.75), (86_400.0, 600.0)])
def test_retry_after_is_obeyed_by_all_messages_and_bounded(asked: float, obeyed: float) -> None:
    answer = Failed("429", after=asked)
    sink, wait = next_step(Breaker(), Tried(1, 0), answer, 100, 0.5, LIMITS)
    assert (sink, wait) == (Breaker(0, 100 + obeyed), obeyed)


def test_a_success_beside_it_does_not_end_the_pause_that_was_asked_for() -> None:
    sink, _ = next_step(Breaker(0, 130.0), Tried(1, 0), Delivered(), 101, 0.5, LIMITS)
    assert sink.rests_until == 130.0


def test_a_message_is_given_up_when_its_next_attempt_would_be_too_late() -> None:
    late = next_step(Breaker(), Tried(20, 0), NO, 3599, 1.0, LIMITS)
    early = next_step(Breaker(), Tried(20, 0), NO, 3500, 1.0, LIMITS)
    assert (late[1], early[1]) == (None, 60.0)


# --- the queue ------------------------------------------------------------------------------------


def queue() -> SinkQueue:
    return SinkQueue("pager", LIMITS)


def taken(waiting: SinkQueue, now: float) -> Notification:
    found = waiting.take(now)
    assert isinstance(found, Notification), found
    return found


def test_messages_of_a_key_go_one_after_another_and_keys_beside_each_other() -> None:
    waiting = queue()
    for new in (notice("a"), notice("a", 2, "resolve"), notice("b"), notice("c")):
        # "a" is under way before its resolve comes, or both would be needless.
        assert waiting.submit(new, 0, in_doubt=True) == []
    assert [(taken(waiting, 0).key), taken(waiting, 0).key] == ["a", "b"]
    assert waiting.take(0) is None, "two are under way"
    waiting.answered("a", Delivered(), 1, 0.5)
    assert (taken(waiting, 1).key, waiting.take(1)) == ("c", None)
    waiting.answered("b", Delivered(), 2, 0.5)
    assert (found := taken(waiting, 2)).action == "resolve", found


def test_a_resolve_waits_for_its_trigger_that_fails() -> None:
    waiting = queue()
    waiting.submit(notice(), 0)
    taken(waiting, 0)
    waiting.submit(notice(number=2, action="resolve"), 1)
    assert waiting.answered("pattern-1", NO, 1, 1.0) == []
    assert waiting.take(1) == 1.0
    assert taken(waiting, 2).action == "trigger"
    waiting.answered("pattern-1", Delivered(), 3, 1.0)
    assert taken(waiting, 3).action == "resolve"


def test_what_was_never_tried_is_replaced_and_the_caller_is_told() -> None:
    waiting = queue()
    waiting.submit(notice(), 0)
    waiting.submit(notice(number=2, action="update"), 0)
    (gone,) = waiting.submit(notice(number=3, action="update"), 0)
    assert (gone.notification.number, gone.outcome) == (2, Superseded(3))
    assert [taken(waiting, 0).number, waiting.pending] == [1, 2]


def test_nobody_is_told_of_what_is_over_before_anything_was_tried() -> None:
    waiting = queue()
    waiting.submit(notice(), 0)
    waiting.submit(notice(number=2, action="update"), 0)
    gone = waiting.submit(notice(number=3, action="resolve"), 0)
    assert [(each.notification.number, each.outcome) for each in gone] == [
        (1, Superseded(3)),
        (2, Superseded(3)),
        (3, Superseded(3)),
    ]
    assert (waiting.take(0), waiting.pending) == (None, 0)


@pytest.mark.parametrize("how", ["in doubt", "told before"])
def test_a_resolve_is_sent_where_its_alert_may_be_known(
    how: Literal["in doubt", "told before"],
) -> None:
    waiting = queue()
    if how == "in doubt":
        waiting.submit(notice(), 0, in_doubt=True)
        expected = ["trigger", "resolve"]
    else:
        waiting.submit(notice(number=2), 0)  # the severity has risen; number 1 was delivered
        expected = ["resolve"]
    if how == "in doubt":  # it counts as tried
        assert waiting.submit(notice(number=3, action="resolve"), 0) == []
    else:
        assert len(waiting.submit(notice(number=3, action="resolve"), 0)) == 1
    found = []
    while isinstance(each := waiting.take(0), Notification):
        found.append(each.action)
        waiting.answered(each.key, Delivered(), 0, 0.5)
    assert found == expected


def test_what_the_sink_answered_goes_into_the_next_message_of_its_key() -> None:
    waiting = queue()
    waiting.submit(notice(), 0)
    taken(waiting, 0)
    waiting.submit(notice(number=2, action="update"), 0)
    waiting.answered("pattern-1", Delivered("C1/17.5"), 1, 0.5)
    assert taken(waiting, 1).reference == "C1/17.5"
    waiting.answered("pattern-1", Delivered("C1/17.5"), 2, 0.5)
    waiting.submit(notice(number=3, action="resolve"), 9)
    assert taken(waiting, 9).reference == "C1/17.5"


def test_while_the_circuit_is_open_one_message_is_tried_and_never_the_same_alone() -> None:
    waiting = queue()
    for key in "abc":
        waiting.submit(notice(key), 0)
    assert {taken(waiting, 0).key, taken(waiting, 0).key} == {"a", "b"}
    for key in "ab":
        waiting.answered(key, NO, 0, 1.0)
    assert taken(waiting, 0).key == "c"
    waiting.answered("c", NO, 0, 1.0)
    assert waiting.take(0) == 1.0
    assert taken(waiting, 1).key == "a"
    assert waiting.take(1) is None
    waiting.answered("a", NO, 1, 1.0)
    assert taken(waiting, 3).key == "b"
    waiting.answered("b", Delivered(), 3, 1.0)
    assert {taken(waiting, 3).key, taken(waiting, 3).key} == {"a", "c"}


def test_what_waits_behind_a_dead_sink_is_given_up_with_the_reason_though_never_tried() -> None:
    waiting = queue()
    for key in "abc":
        waiting.submit(notice(key), 0)
    for now in range(3):
        each = taken(waiting, now * 100)
        waiting.answered(each.key, NO, now * 100, 1.0)
    waiting.submit(notice("d"), 1800)
    assert waiting.expired(3599) == []
    gone = waiting.expired(3600)
    assert {each.notification.key for each in gone} == {"a", "b", "c"}
    assert {each.outcome for each in gone} == {GivenUp("503")}
    assert waiting.pending == 1


Step = tuple[Literal["submit", "answer"], int, int]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["submit", "answer"]), st.integers(0, 2), st.integers(0, 5)),
        max_size=60,
    )
)
def test_whatever_happens_each_message_ends_once_in_order_and_no_resolve_overtakes(
    steps: list[Step],
) -> None:
    """A sink that fails as it likes, alerts that fire, change and end as they like."""
    waiting, now = queue(), 0.0
    numbers = dict.fromkeys("abc", 0)
    life: dict[str, list[Action]] = {key: [] for key in "abc"}
    flying: list[str] = []
    arrived: dict[str, list[Notification]] = {key: [] for key in "abc"}
    results: list[Result] = []
    submitted = 0

    def drain(answers: list[int]) -> None:
        nonlocal now
        while (found := waiting.take(now)) is not None:
            if isinstance(found, Notification):
                assert found.key not in flying
                flying.append(found.key)
                arrived[found.key].append(found)
            elif flying or not answers:
                return
            else:
                now += found

    for what, which, kind in steps:
        key = "abc"[which]
        if what == "submit":
            open_ = bool(life[key]) and life[key][-1] != "resolve"
            if life[key] and not open_:
                continue  # the next occurrence has another key
            action: Action = "trigger" if not open_ else ("update" if kind < 4 else "resolve")
            numbers[key] += 1
            life[key].append(action)
            submitted += 1
            results += waiting.submit(notice(key, numbers[key], action), now)
        elif flying:
            answer: Answer = (Delivered(), NO, NO, Failed("429", 5.0), NO, Refused("x"))[kind]
            results += waiting.answered(flying.pop(0), answer, now, 0.5)
        drain([kind])
    while waiting.pending:
        while flying:
            results += waiting.answered(flying.pop(0), Delivered(), now, 0.5)
        drain([0])
    assert len(results) == submitted
    assert len({(each.notification.key, each.notification.number) for each in results}) == submitted
    for key in "abc":
        order = [each.number for each in arrived[key]]
        assert order == sorted(order), "an attempt repeats the last or goes on"
        sent = [each.action for each in arrived[key]]
        if "resolve" in sent:
            assert "trigger" in sent[: sent.index("resolve")]
        if "trigger" in sent and life[key][-1] == "resolve":
            assert sent[-1] == "resolve"
