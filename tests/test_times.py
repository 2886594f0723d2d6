"""The time of an input, as tools really send it."""

import json

import pytest

from processors.integrity.processor import INTEGRITY
from schemas.flow import InputEvent, Record, Refused
from schemas.serde import epoch_ms, utc

NOW = 1_772_355_600_000  # 2026-03-01T09:00:00Z


def parsed(occurred_at: object, timestamp: int = NOW) -> InputEvent:
    body = {"id": "e", "task_id": "t", "workflow": "w", "stage": "s", "tool": "x"}
    value = json.dumps(body | {"occurred_at": occurred_at}).encode()
    record = Record("handoff.tool-outputs", 0, 0, b"t", value, timestamp)
    event: InputEvent = INTEGRITY.parse(record, NOW)
    return event


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (NOW, NOW),
        (NOW // 1000, NOW),
        (631_152_000, 631_152_000_000),  # the first second of 1990
        (NOW // 1000 + 300, NOW + 300_000),  # a clock may be five minutes ahead
        (31_536_000_000, 31_536_000_000),  # the first millisecond of 1971
        ("2026-03-01T10:00:00+01:00", NOW),
        ("1969-07-20T20:17:40Z", -14_182_940_000),
    ],
)
def test_seconds_are_not_milliseconds(given: object, expected: int) -> None:
    assert parsed(given).occurred_at == expected


@pytest.mark.parametrize("given", [0, -1, 631_151_999, NOW // 1000 + 301, 31_535_999_999])
def test_a_number_that_is_no_time_is_refused(given: int) -> None:
    with pytest.raises(Refused) as raised:
        parsed(given)
    assert raised.value.code == "wrong_time"
    assert raised.value.message.endswith(
        "give epoch milliseconds, or a time such as 2026-03-01T09:00:00Z"
    )


SOURCE = "; a source can read it as it is (docs/intake.md)"


@pytest.mark.parametrize(
    ("given", "cure"),
    [
        (
            "2026-03-01T09:00:00",
            "; a time without an offset: add Z for UTC, or one such as +02:00" + SOURCE,
        ),
        (
            "2026-03-01 09:00:00",
            "; a time without an offset: add Z for UTC, or one such as +02:00" + SOURCE,
        ),
        # With an offset these are no times either.
        ("2026-03-01 09:00", "; give epoch milliseconds, or a time such as 2026-03-01T09:00:00Z"),
        ("2026-03-01", "; give epoch milliseconds, or a time such as 2026-03-01T09:00:00Z"),
        (
            "1772355600",
            "; a number in quotes: give it without them, as epoch milliseconds" + SOURCE,
        ),
        (
            "1772355600000.5",
            "; a number in quotes: give it without them, as epoch milliseconds" + SOURCE,
        ),
        (1772355600.25, "; a fraction: give epoch milliseconds" + SOURCE),
        (NOW * 1000, "; micro- or nanoseconds: give epoch milliseconds" + SOURCE),
        (NOW * 1_000_000, "; micro- or nanoseconds: give epoch milliseconds" + SOURCE),
        ("yesterday", "; give epoch milliseconds, or a time such as 2026-03-01T09:00:00Z"),
        (None, "; give epoch milliseconds, or a time such as 2026-03-01T09:00:00Z"),
        (True, "; give epoch milliseconds, or a time such as 2026-03-01T09:00:00Z"),
        ({}, "; give epoch milliseconds, or a time such as 2026-03-01T09:00:00Z"),
    ],
)
def test_what_is_no_time_says_the_cure(given: object, cure: str) -> None:
    with pytest.raises(Refused) as raised:
        parsed(given)
    assert raised.value.code == "wrong_shape"
    assert raised.value.message.endswith(cure)


def test_a_time_is_read_the_same_everywhere() -> None:
    assert epoch_ms(NOW // 1000) == epoch_ms(NOW) == epoch_ms(utc(NOW)) == NOW
