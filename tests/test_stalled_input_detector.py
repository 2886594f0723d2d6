"""A stalled input: records wait in it, and none is delivered. No broker."""

from processors.runtime.restoration import Place
from processors.runtime.stalled_input_detector import (
    ASK_SECONDS,
    STALLED_SECONDS,
    StalledInputDetector,
)
from tests.test_timer_barrier import AnsweringAdmin

A, B = ("outputs", 0), ("acks", 0)


class Watched:
    """Looks once a second; each question is answered at once with `ends`."""

    def __init__(self) -> None:
        self.admin = AnsweringAdmin()
        self.now = 0.0
        self.detector = StalledInputDetector(self.admin, lambda: self.now)  # type: ignore[arg-type]
        self.answered = 0

    def look(self, reached: dict[Place, int], seconds: float, **ends: int) -> Place | None:
        until = self.now + seconds
        while self.now < until:
            self.now += 1
            found = self.detector.find(reached)
            if found is not None:
                return found
            if len(self.admin.asked) > self.answered:
                self.answered += 1
                self.admin.answer(**ends)
        return None


def test_what_waits_and_does_not_come_is_found() -> None:
    watched = Watched()
    found = watched.look({A: 5, B: 3}, 200, outputs=5, acks=4)
    assert found == B
    assert STALLED_SECONDS < watched.now < STALLED_SECONDS + 4 * ASK_SECONDS


def test_an_input_that_was_read_to_its_end_may_rest() -> None:
    watched = Watched()
    assert watched.look({A: 5, B: 3}, 1000, outputs=5, acks=3) is None
    assert 0 < len(watched.admin.asked) <= 1000 / ASK_SECONDS


def test_an_input_that_is_read_is_not_asked_about() -> None:
    watched = Watched()
    for offset in range(500):
        assert watched.look({A: offset}, 1, outputs=10_000) is None
    assert watched.admin.asked == []


def test_an_input_that_moves_in_between_is_not_stalled() -> None:
    watched = Watched()
    for offset in range(10):
        assert watched.look({A: offset}, STALLED_SECONDS - 5, outputs=99) is None
    assert watched.look({A: 10}, 200, outputs=99) == A


def test_an_input_without_an_answer_is_not_stalled() -> None:
    watched = Watched()
    assert watched.look({A: 5}, 1000, outputs=-1001) is None, "a broker that comes and goes"
    watched.detector.clear()
    watched.answered = 10**6
    assert watched.look({A: 5}, 1000) is None, "a question that is never answered"


def test_partitions_that_come_anew_have_their_time() -> None:
    watched = Watched()
    assert watched.look({A: 5}, STALLED_SECONDS, outputs=9) is None
    watched.detector.clear()
    assert watched.look({A: 5}, STALLED_SECONDS, outputs=9) is None
