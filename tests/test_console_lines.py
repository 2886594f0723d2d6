"""Inputs as lines, and where their keys go."""

import gzip
from pathlib import Path

import pytest

from console.errors import BadInputError
from console.lines import lines_of, moment, read_lines
from processors.partitioning import murmur2, partition_of
from schemas.flow import Record


# From Apache Kafka's own UtilsTest.testMurmur2, as signed numbers.
@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_murmur2_is_kafkas(key: bytes, expected: int) -> None:
    assert murmur2(key) == expected % 2**32
    assert partition_of(key, 6) == (expected & 0x7FFFFFFF) % 6


def test_a_file_plain_and_gzip_reads_alike(tmp_path: Path) -> None:
    text = (
        b'\xef\xbb\xbf{"task_id": "t1", "occurred_at": "2026-03-01T09:00:00+01:00"}\n'
        b"\n"
        b'{"topic": "handoff.acks", "value": {"task_id": "t2", "occurred_at": 5}}'
    )
    plain, packed = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    plain.write_bytes(text)
    packed.write_bytes(gzip.compress(text))
    lines = list(read_lines(str(plain)))
    assert lines == list(read_lines(str(packed)))
    assert [(line.number, line.topic, line.key, line.occurred_at) for line in lines] == [
        (1, "handoff.tool-outputs", b"t1", 1772352000000),
        (3, "handoff.acks", b"t2", 5),
    ]
    assert lines[1].value == b'{"task_id": "t2", "occurred_at": 5}'


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"nonsense", "is not JSON"),
        (b"[1]", "not an object"),
        (b'{"a": 1}', "has no task_id"),
        (b'{"task_id": 7}', "has no task_id"),
        (b'{"task_id": ""}', "has no task_id"),
        (b'{"a": "\xff"}', "is not UTF-8"),
        (b'{"a": ' + b"[" * 100_000, "is not JSON"),
        (b'{"topic": "handoff.packages", "value": {}}', "no input"),
        (b'{"topic": "handoff.acks", "value": 3}', "no object"),
        (b'{"topic": "handoff.acks"}', "no object"),
    ],
)
def test_a_line_without_a_key_says_why(tmp_path: Path, text: bytes, problem: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(text)
    (line,) = read_lines(str(path))
    assert line.key is None
    assert problem in (line.problem or "")


def test_a_time_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(b'{"task_id": "t", "occurred_at": "2026-03-01T09:00:00"}')
    (line,) = read_lines(str(path))
    assert (line.key, line.occurred_at, line.problem) == (b"t", None, None)


def test_a_broken_gzip_and_a_missing_file_are_bad_input(tmp_path: Path) -> None:
    cut = tmp_path / "cut.gz"
    cut.write_bytes(gzip.compress(b'{"task_id": "t"}\n' * 999)[:-12])
    with pytest.raises(BadInputError, match="gzip data ends or breaks"):
        list(read_lines(str(cut)))
    with pytest.raises(BadInputError, match="there is no such file; check the path"):
        list(read_lines(str(tmp_path / "none")))
    with pytest.raises(BadInputError, match="cannot be read"):
        list(read_lines(str(tmp_path)))


def test_moments() -> None:
    assert moment("1970-01-01T01:00:01+01:00") == 1000
    for text in ("yesterday", "2026-03-01T09:00:00", "2026-03-01"):
        with pytest.raises(BadInputError, match="no time with an offset"):
            moment(text)


def test_records_become_lines_in_the_order_of_their_arrival() -> None:
    def record(topic: str, offset: int, timestamp: int, value: bytes = b"{}") -> Record:
        return Record(topic, 0, offset, b"t", value, timestamp)

    found = lines_of(
        [
            record("handoff.tool-outputs", 0, 30, b'{"occurred_at": 7}'),
            record("handoff.tool-outputs", 1, 10, b"nonsense"),  # never before its predecessor
            record("handoff.acks", 0, 20),
            Record("handoff.acks", 1, 0, None, None, 40),
        ]
    )
    assert [
        (line.topic, line.key, line.value, line.occurred_at, line.problem) for line in found
    ] == [
        ("handoff.acks", b"t", b"{}", None, None),
        ("handoff.tool-outputs", b"t", b'{"occurred_at": 7}', 7, None),
        ("handoff.tool-outputs", b"t", b"nonsense", None, None),
        ("handoff.acks", None, b"", None, "has no key"),
    ]
