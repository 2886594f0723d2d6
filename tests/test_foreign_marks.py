"""What goes with the offset of a foreign partition: which sources a record is for."""

import pytest

from processors.processor import Replay
from processors.runtime.foreign_marks import MAX_BYTES, ForeignMark, read_mark

FRESH = ForeignMark(3, "id", obeyed={"s": 100})


def test_a_mark_survives_as_metadata() -> None:
    mark = FRESH.begun("t", Replay(200, 0), 5, 40)
    assert read_mark(mark.text()) == mark


@pytest.mark.parametrize("metadata", [None, "", "another's", '{"partitions": "x"}'])
def test_what_is_no_mark_is_none(metadata: str | None) -> None:
    assert read_mark(metadata) is None


def test_a_replay_is_to_be_obeyed_once() -> None:
    asked = {"s": Replay(100, 0), "t": Replay(150, 0)}
    assert FRESH.to_obey(asked) == {"t": Replay(150, 0)}
    assert FRESH.begun("t", asked["t"], 5, 40).to_obey(asked) == {}


def test_what_was_read_before_is_for_the_source_that_asked_until_it_has_caught_up() -> None:
    mark = FRESH.begun("t", Replay(200, 0), 5, 40)
    assert [mark.sources_for(offset) for offset in (4, 5, 39, 40)] == [[], ["t"], ["t"], None]
    assert mark.at(39) == mark
    assert mark.at(40).sources_for(39) is None


def test_a_second_replay_meanwhile_keeps_the_first_and_how_far_all_was_read() -> None:
    mark = FRESH.begun("t", Replay(200, 0), 5, 40).begun("s", Replay(300, 0), 10, 20)
    assert mark.live == 40
    assert mark.sources_for(9) == ["t"]
    assert set(mark.sources_for(10) or ()) == {"s", "t"}


def test_nothing_since_a_time_is_nothing_to_read_again() -> None:
    mark = FRESH.begun("t", Replay(200, 0), 40, 40)
    assert (mark.live, mark.again) == (0, {})
    assert mark.obeyed["t"] == 200


def test_replays_of_many_sources_fit_or_wait() -> None:
    mark = ForeignMark(3, "0" * 22)
    begun = 0
    while mark.has_room():
        mark = mark.begun(f"{begun:064}", Replay(10**13, 0), 10**18, 2 * 10**18)
        assert len(mark.text()) <= MAX_BYTES
        begun += 1
    assert begun >= 20
    assert mark.at(2 * 10**18).has_room(), "they have ended"


def test_what_was_obeyed_is_forgotten_with_its_source() -> None:
    mark = FRESH.begun("t", Replay(200, 0), 5, 40)
    assert mark.of({"t"}).obeyed == {"t": 200}
    assert mark.of({"t"}).again == {"t": 5}
