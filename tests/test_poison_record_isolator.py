"""How transactions shrink around a record that cannot be published, as a story in steps."""

import pytest

from processors.runtime.poison_record_isolator import PoisonRecordIsolator
from processors.runtime.transactions import Blocked

A, B = ("in0", 0), ("in0", 1)


def fail(
    isolator: PoisonRecordIsolator, first: dict[tuple[str, int], int], times: int = 3
) -> list[object]:
    reached = {place: offset + isolator.max_records for place, offset in first.items()}
    return [isolator.aborted(first, reached, "too large") for _ in range(times)]


def test_three_aborts_at_one_start_shrink_the_transactions() -> None:
    isolator = PoisonRecordIsolator(1000)
    fail(isolator, {A: 10, B: 5}, 2)
    assert (isolator.max_records, isolator.isolating) == (1000, False)
    fail(isolator, {A: 10, B: 9}, 1)
    assert (isolator.max_records, isolator.isolating) == (100, True)
    fail(isolator, {A: 10}, 1)
    fail(isolator, {A: 10}, 1)
    assert isolator.max_records == 1


def test_aborts_at_different_starts_do_not_add_up() -> None:
    isolator = PoisonRecordIsolator(1000)
    for offset in range(10):
        fail(isolator, {A: offset}, 1)
    assert not isolator.isolating


def test_a_record_that_fails_alone_is_given_up_and_only_that() -> None:
    isolator = PoisonRecordIsolator(10)
    fail(isolator, {A: 10})
    assert isolator.max_records == 1
    # Records of another partition in between change nothing.
    assert fail(isolator, {A: 10}, 2) == [None, None]
    isolator.committed({A: 10, B: 7})
    assert fail(isolator, {A: 10}, 1) == [A]
    assert isolator.why_refused(A, 10) == "too large"
    assert isolator.why_refused(A, 11) is None
    assert isolator.why_refused(B, 10) is None
    isolator.committed({A: 10, B: 8})
    assert isolator.why_refused(A, 10) == "too large"
    isolator.committed({A: 11, B: 8})
    assert isolator.why_refused(A, 10) is None


def test_they_grow_again_when_what_failed_is_behind() -> None:
    isolator = PoisonRecordIsolator(10)
    fail(isolator, {A: 10})
    isolator.committed({A: 19})
    assert isolator.isolating
    isolator.committed({A: 20})
    assert not isolator.isolating


def test_a_partition_that_goes_takes_its_trouble_along() -> None:
    isolator = PoisonRecordIsolator(10)
    fail(isolator, {A: 10})
    isolator.partition_revoked(A)
    assert not isolator.isolating


def test_a_dead_letter_that_cannot_be_published_ends_the_lane() -> None:
    isolator = PoisonRecordIsolator(10)
    fail(isolator, {A: 10})
    fail(isolator, {A: 10})
    with pytest.raises(Blocked, match="the dead letter of"):
        fail(isolator, {A: 10})


def test_wakes_shrink_to_one_that_is_given_up_and_grow_again() -> None:
    isolator = PoisonRecordIsolator(1000, 200)
    assert [isolator.wakes_aborted(150) for _ in range(2)] == [False, False]
    assert not isolator.isolating
    assert not isolator.wakes_aborted(150)
    assert (isolator.max_wakes, isolator.isolating) == (20, True)
    isolator.wakes_committed(20)
    assert [isolator.wakes_aborted(n) for n in (20, 2)] == [False, False]
    assert isolator.max_wakes == 1
    assert [isolator.wakes_aborted(1) for _ in range(3)] == [False, False, True]
    isolator.wakes_committed(128)
    assert isolator.max_wakes == 1, "not all that was in the failed transaction is behind"
    isolator.wakes_committed(1)
    assert (isolator.max_wakes, isolator.isolating) == (200, False)


def test_wakes_grow_again_when_none_waits_any_more() -> None:
    isolator = PoisonRecordIsolator(1000, 200)
    for _ in range(3):
        isolator.wakes_aborted(9)
    assert isolator.isolating
    isolator.no_wakes_left()
    assert not isolator.isolating
