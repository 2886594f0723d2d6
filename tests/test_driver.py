"""The pure driver: overlay, merge and drop, dead letters, the order of co-partitioned inputs."""

import re
from collections import Counter
from dataclasses import replace

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from processors.driver import Driver
from processors.ordering import in_order
from schemas.feed import PatternPart
from schemas.flow import Accumulate, Effect, Record, Refused
from tests.toy import Tally, toy

NOW = 1_800_000_000_000


def record(
    key: str, value: str = "x", topic: str = "t.in0", offset: int = 0, timestamp: int = NOW
) -> Record:
    return Record(topic, 0, offset, key.encode(), value.encode(), timestamp)


def driver(store: dict[str, bytes]) -> Driver[Tally]:
    made = Driver(toy("t."), {})
    made.assign(0, store)
    return made


def test_state_changes_only_at_the_merge() -> None:
    store: dict[str, bytes] = {}
    made = driver(store)
    (first,) = made.step(record("k"), NOW)
    (second,) = made.step(record("k"), NOW)
    assert b'"exception":"1"' in (first.value or b"")
    assert b'"exception":"2"' in (second.value or b"")
    assert store == {}
    assert made.counts == Counter()
    changes = list(made.changelog())
    assert [(number, key) for number, key, _ in changes] == [(0, f"k#{0:012x}")]
    made.merge(changes)
    assert set(store) == {f"k#{0:012x}"}
    assert made.counts["applied", "t.in0", ""] == 2


def test_a_dropped_transaction_never_happened() -> None:
    store: dict[str, bytes] = {}
    made = driver(store)
    made.step(record("k"), NOW)
    made.merge(list(made.changelog()))
    before = dict(store)
    made.step(record("k"), NOW)
    made.drop()
    assert list(made.changelog()) == []
    (again,) = made.step(record("k"), NOW)
    assert b'"exception":"2"' in (again.value or b"")
    assert store == before
    assert made.counts["applied", "t.in0", ""] == 1


def test_a_record_that_fails_costs_itself() -> None:
    made = driver({})
    made.step(record("k"), NOW)
    (letter,) = made.step(record("k", "poison"), NOW)
    assert (letter.topic, letter.key, letter.value) == ("handoff.dead-letters", b"k", b"poison")
    lines = dict(letter.headers)["__streams.errors.stacktrace"].decode().splitlines()
    assert re.fullmatch(r'File "processors/driver.py", line \d+, in step', lines[0])
    assert re.fullmatch(r'File "(tests/)?toy.py", line \d+, in does', lines[-1])
    (after,) = made.step(record("k"), NOW)
    assert b'"exception":"2"' in (after.value or b"")
    made.merge(list(made.changelog()))
    assert made.counts["dead_letters", "t.in0", ""] == 1


def test_a_record_set_aside_is_not_judged() -> None:
    store: dict[str, bytes] = {}
    made = driver(store)
    letter = made.set_aside(record("k"), Refused("not_publishable", "Kafka did not take it"))
    assert ("__streams.errors.exception", b"not_publishable") in letter.headers
    assert ("__streams.errors.stacktrace", b"") in letter.headers, "no defect of ours"
    made.merge(list(made.changelog()))
    assert store == {}
    assert made.counts["dead_letters", "t.in0", ""] == 1


def test_partitions_do_not_share_state() -> None:
    made = driver({})
    made.assign(1, {})
    made.step(record("k"), NOW)
    (other,) = made.step(Record("t.in0", 1, 0, b"k", b"x", NOW), NOW)
    assert b'"exception":"1"' in (other.value or b"")
    made.revoke(1)
    assert [number for number, _, _ in made.changelog()] == [0]


def test_keys_from_another_partitioner_are_counted_once_a_key() -> None:
    made = driver({})
    made.partition_count = 6
    for n in range(60):
        made.step(record(f"k{n % 30}"), NOW)
    made.merge(list(made.changelog()))
    assert 0 < made.counts["misplaced", "t.in0", ""] < 30  # all lie in partition 0, some belong


def test_the_older_head_of_co_partitioned_inputs_goes_first() -> None:
    outputs = [record("a", topic="in0", offset=n, timestamp=t) for n, t in enumerate((10, 40, 20))]
    acks = [record("a", topic="in1", offset=n, timestamp=t) for n, t in enumerate((15, 30))]
    ordered = in_order([*outputs, *acks])
    assert [(r.topic, r.timestamp) for r in ordered] == [
        ("in0", 10),
        ("in1", 15),
        ("in1", 30),
        ("in0", 40),  # never before its own predecessors, whatever their timestamps say
        ("in0", 20),
    ]


@given(
    st.lists(
        st.tuples(st.sampled_from(["in0", "in1", "in2"]), st.integers(0, 2), st.integers(0, 50))
    )
)
def test_merging_keeps_every_record_and_the_offset_order(given: list[tuple[str, int, int]]) -> None:
    records = [
        Record(topic, partition, offset, b"k", b"x", timestamp)
        for offset, (topic, partition, timestamp) in enumerate(given)
    ]
    ordered = in_order(records)
    assert sorted(r.offset for r in ordered) == [r.offset for r in records]
    for place in {(r.topic, r.partition) for r in records}:
        offsets = [r.offset for r in ordered if (r.topic, r.partition) == place]
        assert offsets == sorted(offsets)


def rising(key: str, by: int) -> list[Effect]:
    part = PatternPart("k", "w", 1, 2, {0: by}, errors=by)
    return [Accumulate("handoff.internal.feed", key, part)]


def test_what_adds_up_is_one_record_a_transaction() -> None:
    made = driver({})
    made.processor = replace(made.processor, advance=lambda state, *_: (state, rising("s", 2)))
    assert made.step(record("k"), NOW) == []
    made.step(record("l"), NOW)
    (output,) = made.sums()
    assert (output.topic, output.key) == ("handoff.internal.feed", b"s")
    found = msgspec.json.decode(output.value or b"", type=PatternPart)
    assert (found.errors, found.minutes) == (4, {0: 4})
    assert made.sums() == [output], "asking changes nothing: a commit may be tried again"
    made.merge(list(made.changelog()))
    assert made.sums() == []
    made.step(record("k"), NOW)
    made.drop()
    assert made.sums() == [], "what was aborted never happened"
