"""Until when deadlines may fire: the ends of the inputs against what was read. No broker."""

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicPartition

from processors.runtime import timer_barrier
from processors.runtime.restoration import Bounds, Place, bounds
from processors.runtime.timer_barrier import TimerBarrier
from processors.runtime.transactions import Fatal

A, B = ("outputs", 0), ("acks", 0)


class AnsweringAdmin:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[dict[TopicPartition, Future[Any]]] = []

    def list_offsets(
        self, places: dict[TopicPartition, Any], isolation_level: Any, request_timeout: float
    ) -> dict[TopicPartition, Future[Any]]:
        assert isolation_level is IsolationLevel.READ_COMMITTED
        self.asked.append({place: Future() for place in places})
        return self.asked[-1]

    def answer(self, **ends: int) -> None:
        for place, future in self.asked[-1].items():
            future.set_result(SimpleNamespace(offset=ends[place.topic]))


@pytest.fixture
def admin(monkeypatch: pytest.MonkeyPatch) -> AnsweringAdmin:
    monkeypatch.setattr(timer_barrier, "_ASK_SECONDS", 0.0)
    monkeypatch.setattr(timer_barrier, "_RETRY_SECONDS", 0.0)
    return AnsweringAdmin()


@pytest.fixture
def barrier(admin: AnsweringAdmin) -> TimerBarrier:
    return TimerBarrier(admin, ["outputs", "acks"])  # type: ignore[arg-type]


def test_timers_pass_when_all_inputs_were_read_to_the_end_they_had(
    barrier: TimerBarrier, admin: AnsweringAdmin
) -> None:
    assert barrier.passable({0: 100}, {A: 5, B: 0}, 110) == {}
    assert barrier.asking
    assert barrier.passable({0: 100}, {A: 5, B: 0}, 120) == {}, "no answer yet"
    admin.answer(outputs=5, acks=3)
    assert barrier.passable({0: 100}, {A: 5, B: 2}, 130) == {}, "an ack waits"
    assert barrier.passable({0: 100}, {A: 5, B: 3}, 140) == {0: 110}, (
        "until the moment of the question"
    )
    assert barrier.passable({0: 111}, {A: 5, B: 3}, 150) == {}
    assert len(admin.asked) == 2


def test_what_is_sought_back_has_to_be_read_again(
    barrier: TimerBarrier, admin: AnsweringAdmin
) -> None:
    barrier.passable({0: 100}, {A: 7, B: 0}, 110)
    admin.answer(outputs=7, acks=0)
    assert barrier.passable({0: 100}, {A: 7, B: 0}, 130) == {0: 110}
    barrier.on_seek(A)
    assert barrier.passable({0: 100}, {A: 3, B: 0}, 140) == {}
    admin.answer(outputs=7, acks=0)
    assert barrier.passable({0: 100}, {A: 3, B: 0}, 150) == {}
    assert barrier.passable({0: 100}, {A: 7, B: 0}, 160) == {0: 140}


def test_it_does_not_wait_for_an_end_that_runs_ahead(
    barrier: TimerBarrier, admin: AnsweringAdmin
) -> None:
    barrier.passable({0: 100}, {A: 5, B: 0}, 110)
    admin.answer(outputs=1000, acks=0)
    for read in (100, 500, 900):
        assert barrier.passable({0: 100}, {A: read, B: 0}, 200 + read) == {}
    assert len(admin.asked) == 1
    assert barrier.passable({0: 100}, {A: 1000, B: 0}, 2000) == {0: 110}


def test_a_broker_that_does_not_say_is_asked_again(
    barrier: TimerBarrier, admin: AnsweringAdmin, caplog: pytest.LogCaptureFixture
) -> None:
    barrier.passable({0: 100}, {A: 5, B: 0}, 110)
    for future in admin.asked[-1].values():
        future.set_exception(KafkaException(KafkaError(KafkaError._TIMED_OUT)))
    barrier.passable({0: 100}, {A: 5, B: 0}, 120)
    assert "the ends of the inputs cannot be read" in caplog.text
    assert len(admin.asked) == 2
    admin.answer(outputs=5, acks=0)
    assert barrier.passable({0: 100}, {A: 5, B: 0}, 130) == {0: 120}


def test_an_answer_for_partitions_that_went_meanwhile_is_not_taken(
    barrier: TimerBarrier, admin: AnsweringAdmin
) -> None:
    barrier.passable({0: 100}, {A: 5, B: 0}, 110)
    barrier.clear()
    admin.answer(outputs=5, acks=0)
    assert barrier.passable({0: 100}, {A: 5, B: 0}, 120) == {}


def test_an_end_that_was_not_told_lets_nothing_pass(
    barrier: TimerBarrier, admin: AnsweringAdmin
) -> None:
    barrier.passable({0: 100}, {A: 5, B: 0}, 110)
    admin.answer(outputs=5, acks=-1001)
    assert barrier.passable({0: 100}, {A: 5, B: 0}, 120) == {}
    assert len(admin.asked) == 2, "it asks again"


def test_restoration_does_not_begin_without_an_end() -> None:
    class Answers:
        def list_offsets(self, places: Any, **_: Any) -> Any:
            found: dict[TopicPartition, Future[Any]] = {place: Future() for place in places}
            for future in found.values():
                future.set_result(SimpleNamespace(offset=-1001))
            return found

    with pytest.raises(Fatal, match="cannot be read"):
        bounds(Answers(), [A])  # type: ignore[arg-type]


def test_a_broker_that_does_not_lead_yet_is_asked_again() -> None:
    asked: list[list[Place]] = []

    class Answers:
        def list_offsets(self, places: Any, **_: Any) -> Any:
            asked.append([(place.topic, place.partition) for place in places])
            found: dict[TopicPartition, Future[Any]] = {place: Future() for place in places}
            for place, future in found.items():
                if place.partition == B[1] and place.topic == B[0] and len(asked) == 1:
                    error = KafkaError(KafkaError.NOT_LEADER_FOR_PARTITION)
                    future.set_exception(KafkaException(error))
                else:
                    future.set_result(SimpleNamespace(offset=7))
            return found

    assert bounds(Answers(), [A, B]) == {A: Bounds(7, 7), B: Bounds(7, 7)}  # type: ignore[arg-type]
    assert asked == [[A, B], [B], [A, B]], "only what was not answered"
