"""How transactions shrink around a record that cannot be published, as a story in steps."""

import pytest

from processors.runtime.caution import Caution
from processors.runtime.transactions import Blocked

A, B = ("in0", 0), ("in0", 1)


def fail(caution: Caution, first: dict[tuple[str, int], int], times: int = 3) -> list[object]:
    reached = {place: offset + caution.limit for place, offset in first.items()}
    return [caution.aborted(first, reached, "too large") for _ in range(times)]


def test_three_aborts_at_one_start_shrink_the_transactions() -> None:
    caution = Caution(1000)
    fail(caution, {A: 10, B: 5}, 2)
    assert (caution.limit, caution.active) == (1000, False)
    fail(caution, {A: 10, B: 9}, 1)
    assert (caution.limit, caution.active) == (100, True)
    fail(caution, {A: 10}, 1)
    fail(caution, {A: 10}, 1)
    assert caution.limit == 1


def test_aborts_at_different_starts_do_not_add_up() -> None:
    caution = Caution(1000)
    for offset in range(10):
        fail(caution, {A: offset}, 1)
    assert not caution.active


def test_a_record_that_fails_alone_is_given_up_and_only_that() -> None:
    caution = Caution(10)
    fail(caution, {A: 10})
    assert caution.limit == 1
    # Records of another partition in between change nothing.
    assert fail(caution, {A: 10}, 2) == [None, None]
    caution.committed({A: 10, B: 7})
    assert fail(caution, {A: 10}, 1) == [A]
    assert caution.refusal(A, 10) == "too large"
    assert caution.refusal(A, 11) is None
    assert caution.refusal(B, 10) is None
    caution.committed({A: 10, B: 8})
    assert caution.refusal(A, 10) == "too large"
    caution.committed({A: 11, B: 8})
    assert caution.refusal(A, 10) is None


def test_they_grow_again_when_what_failed_is_behind() -> None:
    caution = Caution(10)
    fail(caution, {A: 10})
    caution.committed({A: 19})
    assert caution.active
    caution.committed({A: 20})
    assert not caution.active


def test_a_partition_that_goes_takes_its_trouble_along() -> None:
    caution = Caution(10)
    fail(caution, {A: 10})
    caution.revoked(A)
    assert not caution.active


def test_a_dead_letter_that_cannot_be_published_ends_the_lane() -> None:
    caution = Caution(10)
    fail(caution, {A: 10})
    fail(caution, {A: 10})
    with pytest.raises(Blocked, match="the dead letter of"):
        fail(caution, {A: 10})


def test_wakes_shrink_to_one_that_is_given_up_and_grow_again() -> None:
    caution = Caution(1000, 200)
    assert [caution.wakes_aborted(150) for _ in range(2)] == [False, False]
    assert not caution.active
    assert not caution.wakes_aborted(150)
    assert (caution.wakes, caution.active) == (20, True)
    caution.wakes_committed(20)
    assert [caution.wakes_aborted(n) for n in (20, 2)] == [False, False]
    assert caution.wakes == 1
    assert [caution.wakes_aborted(1) for _ in range(3)] == [False, False, True]
    caution.wakes_committed(128)
    assert caution.wakes == 1, "not all that was in the failed transaction is behind"
    caution.wakes_committed(1)
    assert (caution.wakes, caution.active) == (200, False)


def test_wakes_grow_again_when_none_waits_any_more() -> None:
    caution = Caution(1000, 200)
    for _ in range(3):
        caution.wakes_aborted(9)
    assert caution.active
    caution.no_wakes()
    assert not caution.active
